// SPDX-License-Identifier: Apache-2.0
/*
 * Reads the CPUID leaves of the processor we run on. Only leaves that say what a user program may
 * do are kept: those that differ between the processors of one machine (APIC ids, topology) would
 * make every comparison fail. CPUID is a user instruction; what a hypervisor or CPUID faulting
 * shows us is what the job would see as well.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51 /* Linux v5.14, uapi/linux/auxvec.h */
#endif

#if defined(__x86_64__)
#include <cpuid.h>

/* Main leaves worth keeping, and the last sub-leaf to ask for (leaf 7 states its own). */
static const struct {
	uint32_t leaf, last;
} wanted[] = {
	{ 0x0, 0 },        { 0x1, 0 },        { 0x7, 2 },        { 0xd, 62 },
	{ 0x19, 0 },       { 0x1d, 1 },       { 0x1e, 1 },       { 0x24, 0 },
	{ 0x80000000, 0 }, { 0x80000001, 0 }, { 0x80000002, 0 }, { 0x80000003, 0 },
	{ 0x80000004, 0 }, { 0x80000007, 0 }, { 0x80000008, 0 }, { 0x80000021, 0 },
};

static int add_leaf(CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf)
{
	CkptCpuidLeaf *l = CK_PB_NEW(CkptCpuidLeaf, ckpt_cpuid_leaf);

	if (!l)
		return -ENOMEM;
	l->leaf = leaf;
	l->subleaf = subleaf;
	__cpuid_count(leaf, subleaf, l->eax, l->ebx, l->ecx, l->edx);
	if (leaf == 1)
		l->ebx &= 0x00ffffff; /* the initial APIC id is this processor's own */
	if (subleaf && !(l->eax | l->ebx | l->ecx | l->edx)) {
		free(l);
		return 0;
	}
	if (ck_pb_append(&cpu->leaves, &cpu->n_leaves, l) < 0) {
		free(l);
		return -ENOMEM;
	}
	return 0;
}

/* Which user components there are; asking for all 63 sub-leaves would cost an exit each. */
static uint64_t user_components(void)
{
	uint32_t a, b, c, d;

	__cpuid_count(0xd, 0, a, b, c, d);
	return (uint64_t)d << 32 | a;
}

static uint64_t read_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static int read_cpu(CkptCpuFacts *cpu)
{
	uint32_t max = 0, max_ext = 0, a, b, c, d;
	uint64_t components;

	__cpuid(0, max, b, c, d);
	__cpuid(0x80000000, max_ext, b, c, d);
	components = max >= 0xd ? user_components() : 0;
	for (size_t i = 0; i < CK_ARRAY_SIZE(wanted); i++) {
		uint32_t leaf = wanted[i].leaf, last = wanted[i].last;

		/* Above the maximum, Intel answers with the last leaf's data. */
		if (leaf > (leaf & 0x80000000 ? max_ext : max))
			continue;
		if (leaf == 7) {
			__cpuid_count(7, 0, a, b, c, d);
			last = a < last ? a : last;
		}
		for (uint32_t sub = 0; sub <= last; sub++) {
			if (leaf == 0xd && sub > 1 && !(components >> sub & 1))
				continue;
			if (add_leaf(cpu, leaf, sub) < 0)
				return -ENOMEM;
		}
	}
	__cpuid(1, a, b, c, d);
	if (c >> 27 & 1) { /* OSXSAVE: xgetbv would fault without it */
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
	struct utsname u;
	char codename[64];
	int r;

	if (uname(&u) < 0)
		return -errno;
	cpu->arch = strdup(u.machine);
	if (!cpu->arch)
		return -ENOMEM;
	r = read_cpu(cpu);
	if (r < 0)
		return r;
	cpuinfo_codename(codename, sizeof(codename));
	if (codename[0]) {
		cpu->codename = strdup(codename);
		if (!cpu->codename)
			return -ENOMEM;
	}
	cpu->has_minsigstksz = minsig != 0;
	cpu->minsigstksz = (uint32_t)minsig;
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
