/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which instructions the code of an image can still execute: read from the image's pages and from
 * the files that it maps, where they are still the same here. Gathers evidence (ckpt_isa); what it
 * means for a host is judged in cpuinfo/rules-isa.c.
 */
#ifndef CK_ISA_ISA_H
#define CK_ISA_ISA_H

#include "image/ckpt-isa.pb-c.h"
#include "image/needs.pb-c.h"

struct ck_err;
struct image;

/*
 * Looks at all tasks. What can't be looked at (a file that is gone or another one now, code that
 * belongs to no file) is no error: the evidence names it. -ENODATA if the image has no pages to
 * look at (an archive). The caller frees *ret with ckpt_isa__free_unpacked(*ret, NULL).
 */
int isa_gather(const struct image *img, const CkptNeeds *needs, CkptIsa **ret, struct ck_err *err);

#endif
