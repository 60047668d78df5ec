// SPDX-License-Identifier: Apache-2.0
/*
 * Reads all CPUID leaves and sub-leaves of the processor we run on. What differs between the
 * processors of one machine (their numbers) is left out: it would make every comparison fail. CPUID
 * is a user instruction; what a hypervisor or CPUID faulting shows us is what the job would see as
 * well.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo-internal.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51 /* Linux v5.14, uapi/linux/auxvec.h */
#endif

#if defined(__x86_64__)
#include <cpuid.h>

enum {
	EAX,
	EBX,
	ECX,
	EDX,
	MAX_SUBLEAVES = 64,
	MAX_LEAVES = 256, /* in one range */
};

/* How far the sub-leaves of a leaf go. */
enum extent {
	EXTENT_COUNT,  /* EAX of sub-leaf 0 is the last one */
	EXTENT_TYPED,  /* until the type in EAX (low five bits) is 0 */
	EXTENT_LEVELS, /* until the level type in ECX (bits 8 to 15) is 0 */
	EXTENT_BITS,   /* EBX of sub-leaf 0 has a bit for each */
	EXTENT_XSAVE,  /* leaf 0xD: the components of XCR0 and IA32_XSS */
	EXTENT_TWO,
};

/* Intel SDM volume 2A, CPUID; AMD64 APM volume 3, appendix E. Any other leaf has no sub-leaves. */
static const struct {
	uint32_t leaf;
	enum extent extent;
} extents[] = {
	{ 0x4, EXTENT_TYPED },        { 0x7, EXTENT_COUNT },       { 0xb, EXTENT_LEVELS },
	{ 0xd, EXTENT_XSAVE },        { 0xf, EXTENT_TWO },         { 0x10, EXTENT_BITS },
	{ 0x12, EXTENT_TWO },         { 0x14, EXTENT_COUNT },      { 0x17, EXTENT_COUNT },
	{ 0x18, EXTENT_COUNT },       { 0x1d, EXTENT_COUNT },      { 0x1e, EXTENT_COUNT },
	{ 0x1f, EXTENT_LEVELS },      { 0x20, EXTENT_COUNT },      { 0x24, EXTENT_COUNT },
	{ 0x8000001d, EXTENT_TYPED }, { 0x80000020, EXTENT_BITS }, { 0x80000026, EXTENT_LEVELS },
};

static void ask(uint32_t leaf, uint32_t sub, uint32_t regs[4])
{
	__cpuid_count(leaf, sub, regs[EAX], regs[EBX], regs[ECX], regs[EDX]);
}

/* Takes out the number of the processor that happened to answer. */
static void blank_own_number(uint32_t leaf, uint32_t regs[4])
{
	switch (leaf) {
	case 0x1: /* the initial APIC id */
		regs[EBX] &= 0x00ffffff;
		break;
	case 0xb:
	case 0x1f:
	case 0x80000026: /* the x2APIC id */
		regs[EDX] = 0;
		break;
	case 0x8000001e: /* the APIC id, the core's and the node's */
		regs[EAX] = 0;
		regs[EBX] &= ~0xffu;
		regs[ECX] &= ~0xffu;
		break;
	}
}

static int keep(CkptCpuFacts *cpu, uint32_t leaf, uint32_t sub, uint32_t regs[4])
{
	blank_own_number(leaf, regs);
	return cpuinfo_add_leaf(cpu, leaf, sub, regs);
}

/* The sub-leaves worth asking for, bit by number; only for extents that are known beforehand. */
static uint64_t wanted(enum extent extent, const uint32_t first[4])
{
	uint32_t one[4];

	switch (extent) {
	case EXTENT_COUNT:
		return first[EAX] < MAX_SUBLEAVES - 1 ? (UINT64_C(2) << first[EAX]) - 1 : 1;
	case EXTENT_BITS:
		return (uint64_t)first[EBX] | 1;
	case EXTENT_TWO:
		return 3;
	case EXTENT_XSAVE:
		ask(0xd, 1, one);
		return (uint64_t)(first[EDX] | one[EDX]) << 32 | first[EAX] | one[ECX] | 3;
	case EXTENT_TYPED:
	case EXTENT_LEVELS:
		break;
	}
	return UINT64_MAX;
}

static bool is_last(enum extent extent, const uint32_t regs[4])
{
	return (extent == EXTENT_TYPED && !(regs[EAX] & 0x1f)) ||
	       (extent == EXTENT_LEVELS && !(regs[ECX] >> 8 & 0xff));
}

static int read_sub_leaves(CkptCpuFacts *cpu, uint32_t leaf, enum extent extent)
{
	uint64_t mask = 1;
	int r = 0;

	for (uint32_t sub = 0; sub < MAX_SUBLEAVES && r == 0; sub++) {
		uint32_t regs[4];

		if (sub && !(mask >> sub & 1))
			continue;
		ask(leaf, sub, regs);
		if (sub == 0)
			mask = wanted(extent, regs);
		else if (is_last(extent, regs))
			break;
		r = keep(cpu, leaf, sub, regs);
	}
	return r;
}

static int read_leaf(CkptCpuFacts *cpu, uint32_t leaf)
{
	uint32_t regs[4];

	for (size_t i = 0; i < CK_ARRAY_SIZE(extents); i++)
		if (extents[i].leaf == leaf)
			return read_sub_leaves(cpu, leaf, extents[i].extent);
	ask(leaf, 0, regs);
	return keep(cpu, leaf, 0, regs);
}

/*
 * Leaves from base on; EAX of the first is the last. Where a range does not exist, an Intel CPU
 * answers with its last basic leaf, so an answer counts only if it lies in the range.
 */
static int read_range(CkptCpuFacts *cpu, uint32_t base)
{
	uint32_t regs[4];
	int r = 0;

	ask(base, 0, regs);
	if (regs[EAX] < base || regs[EAX] - base >= 0x10000)
		return 0;
	for (uint32_t i = 0; i <= regs[EAX] - base && i < MAX_LEAVES && r == 0; i++)
		r = read_leaf(cpu, base + i);
	return r;
}

static uint64_t read_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static int read_cpu(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *one;
	int r = read_range(cpu, 0);

	one = cpuinfo_leaf(cpu, 1, 0);
	if (r == 0 && one && one->ecx >> 31 & 1) /* under a hypervisor */
		r = read_range(cpu, 0x40000000);
	if (r == 0)
		r = read_range(cpu, 0x80000000);
	if (r == 0)
		r = read_range(cpu, 0xc0000000); /* VIA, Zhaoxin */
	if (r < 0)
		return r;
	if (one && one->ecx >> 27 & 1) { /* OSXSAVE: xgetbv would fault without it */
		cpu->has_xcr0 = true;
		cpu->xcr0 = read_xcr0();
	}
	return cpuinfo_derive(cpu);
}
#else
static int read_cpu(CkptCpuFacts *cpu)
{
	(void)cpu;
	return 0;
}
#endif

static int fill(CkptCpuFacts *cpu)
{
	unsigned long minsig = getauxval(AT_MINSIGSTKSZ);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct utsname u;
	int r;

	if (uname(&u) < 0)
		return -errno;
	cpu->arch = strdup(u.machine);
	if (!cpu->arch)
		return -ENOMEM;
	r = read_cpu(cpu);
	if (r < 0)
		return r;
	cpu->has_minsigstksz = minsig != 0;
	cpu->minsigstksz = (uint32_t)minsig;
	cpu->has_cpus = cpus > 0;
	cpu->cpus = cpus > 0 ? (uint32_t)cpus : 0;
	return 0;
}

int cpuinfo_facts(CkptCpuFacts **ret, struct ck_err *err)
{
	CkptCpuFacts *cpu = CK_PB_NEW(CkptCpuFacts, ckpt_cpu_facts);
	int r = cpu ? fill(cpu) : -ENOMEM;

	if (r < 0) {
		if (cpu)
			ckpt_cpu_facts__free_unpacked(cpu, NULL);
		return ck_fail(err, CK_ERR_SYS, r, "cannot describe the CPU");
	}
	*ret = cpu;
	return 0;
}
