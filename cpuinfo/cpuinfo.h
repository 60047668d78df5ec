/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about CPUs: which instructions and which register state a host gives to user programs.
 * What an image still needs of them is judged in cpuinfo/rules.c. Works on stored facts of any
 * host; only cpuinfo_facts() asks the CPU it runs on.
 */
#ifndef CK_CPUINFO_CPUINFO_H
#define CK_CPUINFO_CPUINFO_H

#include "image/facts.pb-c.h"

struct ck_err;

/* The live CPU. The caller frees *ret with ckpt_cpu_facts__free_unpacked(*ret, NULL). */
int cpuinfo_facts(CkptCpuFacts **ret, struct ck_err *err);

#endif
