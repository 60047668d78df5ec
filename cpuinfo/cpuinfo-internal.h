/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cpuinfo/: leaves by number, and the parts of cpuinfo_derive(). */
#ifndef CK_CPUINFO_CPUINFO_INTERNAL_H
#define CK_CPUINFO_CPUINFO_INTERNAL_H

#include "cpuinfo/cpuinfo.h"

/* NULL: unknown. */
const CkptCpuidLeaf *cpuinfo_leaf(const CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf);
/* Appends a leaf; -ENOMEM. regs are EAX, EBX, ECX and EDX. */
int cpuinfo_add_leaf(CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf, const uint32_t regs[4]);

/* cpuinfo/xsave.c: xcr0 (where it isn't known), the components and the sizes. -ENOMEM. */
int cpuinfo_derive_xsave(CkptCpuFacts *cpu);
/* cpuinfo/codename.c: codename, where the table has one and there is none yet. -ENOMEM. */
int cpuinfo_derive_codename(CkptCpuFacts *cpu);

#endif
