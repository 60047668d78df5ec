/* SPDX-License-Identifier: Apache-2.0 */
/* Private to policies/: what an image that CRIU made needs, read from its own files. */
#ifndef CK_POLICIES_FOREIGN_H
#define CK_POLICIES_FOREIGN_H

#include "image/facts.pb-c.h"
#include "image/needs.pb-c.h"

struct ck_err;
struct image;

/* As policy_read_needs(). What the image does not tell stays absent: checksums, uids, mounts. */
int policy_derive_needs(const struct image *img, CkptNeeds **ret_needs, CkptFacts **ret_source,
			struct ck_err *err);

#endif
