/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cpuinfo/: leaves by number, and the parts of cpuinfo_derive(). */
#ifndef CK_CPUINFO_CPUINFO_INTERNAL_H
#define CK_CPUINFO_CPUINFO_INTERNAL_H

#include "cpuinfo/cpuinfo.h"
#include "image/needs.pb-c.h"

/* NULL: unknown. */
const CkptCpuidLeaf *cpuinfo_leaf(const CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf);
/* Appends a leaf; -ENOMEM. regs are EAX, EBX, ECX and EDX. */
int cpuinfo_add_leaf(CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf, const uint32_t regs[4]);

/* cpuinfo/xsave.c: xcr0 (where it isn't known), the components and the sizes. -ENOMEM. */
int cpuinfo_derive_xsave(CkptCpuFacts *cpu);
/* cpuinfo/codename.c: codename, where the table has one and there is none yet. -ENOMEM. */
int cpuinfo_derive_codename(CkptCpuFacts *cpu);

/* What becomes of a component that is live in a thread, or was in code that a handler interrupted.
 */
enum cpuinfo_fate {
	CPUINFO_CARRIED, /* there is a place for it, or it holds nothing */
	CPUINFO_DEAD,    /* dropped; the thread's code can't look at it any more */
	CPUINFO_DOUBT,   /* dropped, though its code may look at it again */
	CPUINFO_LOST,
};
/* places: the components that there is a place for. */
enum cpuinfo_fate cpuinfo_fate(const CkptNeedXstate *x, unsigned int bit, uint64_t places);
/* Bits of MXCSR that are set and that no such CPU has. */
uint32_t cpuinfo_lost_mxcsr(const CkptNeedXstate *x, const CkptCpuFacts *cpu);
/* "Intel(R) Xeon(R) ...", or the architecture. */
const char *cpuinfo_cpu_name(const CkptCpuFacts *cpu);

/* Bytes that the standard format takes for the components in mask, as far as it has a place for
 * them. */
uint32_t cpuinfo_area_size(const CkptCpuFacts *cpu, uint64_t mask);
/* The same for the compacted format: one component behind the other, in the order of their bits. */
uint32_t cpuinfo_compacted_size(const CkptCpuFacts *cpu, uint64_t mask);

/* cpuinfo/rules-frame.c */
void cpuinfo_frame_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void cpuinfo_sigstack_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
/* cpuinfo/rules-size.c */
void cpuinfo_size_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
/* cpuinfo/rules-isa.c */
void cpuinfo_isa_rule(const struct rule *r, const struct rule_input *in, struct findings *out);

#endif
