/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about this host's kernel, privileges, memory and mounts, tried for real where trying is
 * harmless. Nothing is changed on the host; experiments run in children that are gone afterwards.
 */
#ifndef CK_PROBE_PROBE_H
#define CK_PROBE_PROBE_H

#include "image/facts.pb-c.h"

struct ck_err;

/* The whole live host, CPU included; no paths and no pids. Takes about 10 ms. The caller frees *ret
 * with ckpt_facts__free_unpacked(*ret, NULL). */
int probe_facts(CkptFacts **ret, struct ck_err *err);

#endif
