// SPDX-License-Identifier: Apache-2.0
/*
 * The CPU's code name for people to read. The one file that knows libcpuid; its view of features
 * and of xsave is too coarse for verdicts, so nothing else is taken from it.
 */
#include <errno.h>
#include <libcpuid/libcpuid.h>
#include <string.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo-internal.h"

static void silent(const char *msg)
{
	(void)msg;
}

/* Leaves as libcpuid keeps them: one register set a leaf, and a few arrays of sub-leaves. */
static void fill(const CkptCpuFacts *cpu, struct cpu_raw_data_t *raw)
{
	const struct {
		uint32_t leaf, max;
		uint32_t (*to)[NUM_REGS];
	} arrays[] = {
		{ 0x4, MAX_INTELFN4_LEVEL, raw->intel_fn4 },
		{ 0xb, MAX_INTELFN11_LEVEL, raw->intel_fn11 },
		{ 0x12, MAX_INTELFN12H_LEVEL, raw->intel_fn12h },
		{ 0x14, MAX_INTELFN14H_LEVEL, raw->intel_fn14h },
		{ 0x8000001d, MAX_AMDFN8000001DH_LEVEL, raw->amd_fn8000001dh },
	};

	memset(raw, 0, sizeof(*raw));
	for (size_t i = 0; i < cpu->n_leaves; i++) {
		const CkptCpuidLeaf *l = cpu->leaves[i];
		const uint32_t regs[NUM_REGS] = { l->eax, l->ebx, l->ecx, l->edx };

		if (l->leaf < MAX_CPUID_LEVEL && !l->subleaf)
			memcpy(raw->basic_cpuid[l->leaf], regs, sizeof(regs));
		if (l->leaf - 0x80000000u < MAX_EXT_CPUID_LEVEL && !l->subleaf)
			memcpy(raw->ext_cpuid[l->leaf - 0x80000000u], regs, sizeof(regs));
		for (size_t k = 0; k < CK_ARRAY_SIZE(arrays); k++)
			if (l->leaf == arrays[k].leaf && l->subleaf < arrays[k].max)
				memcpy(arrays[k].to[l->subleaf], regs, sizeof(regs));
	}
}

int cpuinfo_derive_codename(CkptCpuFacts *cpu)
{
	struct cpu_raw_data_t raw;
	struct cpu_id_t id, other;

	if (cpu->codename || !cpuinfo_leaf(cpu, 0, 0) || !cpuinfo_leaf(cpu, 1, 0))
		return 0;
	cpuid_set_warn_function(silent);
	fill(cpu, &raw);
	if (cpu_identify(&raw, &id) < 0 || !id.cpu_codename[0])
		return 0;
	/* For a model newer than its table libcpuid answers with whatever is least unlike. Such an
	 * answer doesn't depend on the model number; a real one does. */
	raw.basic_cpuid[1][0] ^= 0x000f00f0;
	if (cpu_identify(&raw, &other) == 0 && !strcmp(id.cpu_codename, other.cpu_codename))
		return 0;
	cpu->codename = strdup(id.cpu_codename);
	return cpu->codename ? 0 : -ENOMEM;
}
