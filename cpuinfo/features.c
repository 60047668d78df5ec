// SPDX-License-Identifier: Apache-2.0
/*
 * The table of CPU features and what follows from CPUID leaves alone. Pure: works on the facts of
 * any host. An absent leaf is unknown and therefore gives no feature.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo-internal.h"

#define CPU_FEATURE(name_, leaf_, subleaf_, reg_, bit_, class_, xcr0_) \
	{ .name = name_,                                               \
	  .leaf = leaf_,                                               \
	  .subleaf = subleaf_,                                         \
	  .reg = CPUINFO_##reg_,                                       \
	  .bit = bit_,                                                 \
	  .class = CPUINFO_##class_,                                   \
	  .xcr0 = xcr0_ },
const struct cpuinfo_feature cpuinfo_features[] = {
#include "cpuinfo/features.def"
};
const size_t cpuinfo_n_features = CK_ARRAY_SIZE(cpuinfo_features);

const struct cpuinfo_feature *cpuinfo_feature_find(const char *name)
{
	for (size_t i = 0; i < cpuinfo_n_features; i++)
		if (!strcmp(cpuinfo_features[i].name, name))
			return &cpuinfo_features[i];
	return NULL;
}

bool cpuinfo_has(const CkptCpuFacts *cpu, const char *name)
{
	for (size_t i = 0; i < cpu->n_features; i++)
		if (!strcmp(cpu->features[i], name))
			return true;
	return false;
}

const CkptCpuidLeaf *cpuinfo_leaf(const CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < cpu->n_leaves; i++)
		if (cpu->leaves[i]->leaf == leaf && cpu->leaves[i]->subleaf == subleaf)
			return cpu->leaves[i];
	return NULL;
}

int cpuinfo_add_leaf(CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf, const uint32_t regs[4])
{
	CkptCpuidLeaf *l = CK_PB_NEW(CkptCpuidLeaf, ckpt_cpuid_leaf);

	if (!l)
		return -ENOMEM;
	l->leaf = leaf;
	l->subleaf = subleaf;
	l->eax = regs[0];
	l->ebx = regs[1];
	l->ecx = regs[2];
	l->edx = regs[3];
	if (ck_pb_append(&cpu->leaves, &cpu->n_leaves, l) < 0) {
		free(l);
		return -ENOMEM;
	}
	return 0;
}

static uint32_t reg_of(const CkptCpuidLeaf *l, enum cpuinfo_reg reg)
{
	switch (reg) {
	case CPUINFO_EAX:
		return l->eax;
	case CPUINFO_EBX:
		return l->ebx;
	case CPUINFO_ECX:
		return l->ecx;
	case CPUINFO_EDX:
		return l->edx;
	}
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Is the bit set, for a job under Linux in 64-bit mode? Three bits tell about the system that read
 * them instead: OSXSAVE and OSPKE, and on Intel SYSCALL, which shows in 64-bit mode only. AVX10 has
 * a version number instead of bits.
 */
static bool is_set(const CkptCpuFacts *cpu, const struct cpuinfo_feature *f, const CkptCpuidLeaf *l)
{
	bool inferred = cpu->has_xcr0_inferred && cpu->xcr0_inferred;
	unsigned int bit = f->bit;

	if (inferred && f->leaf == 1 && f->reg == CPUINFO_ECX && bit == 27)
		bit = 26; /* XSAVE */
	if (inferred && f->leaf == 7 && f->reg == CPUINFO_ECX && bit == 4)
		bit = 3; /* PKU */
	if (f->leaf == 0x80000001 && f->reg == CPUINFO_EDX && bit == 11)
		return l->edx >> 11 & 1 || l->edx >> 29 & 1; /* LM: every such CPU has it */
	if (f->leaf == 0x24)
		return (l->ebx & 0xff) >= bit;
	return reg_of(l, f->reg) >> bit & 1;
}

static int derive_features(CkptCpuFacts *cpu)
{
	uint64_t xcr0 = cpu->has_xcr0 ? cpu->xcr0 : 0;

	for (size_t i = 0; i < cpuinfo_n_features; i++) {
		const struct cpuinfo_feature *f = &cpuinfo_features[i];
		const CkptCpuidLeaf *l = cpuinfo_leaf(cpu, f->leaf, f->subleaf);

		if (!l || !is_set(cpu, f, l) || (f->xcr0 & ~xcr0))
			continue;
		if (ck_pb_append_str(&cpu->features, &cpu->n_features, f->name) < 0)
			return -ENOMEM;
	}
	if (cpu->n_features)
		qsort(cpu->features, cpu->n_features, sizeof(*cpu->features), compare_names);
	return 0;
}

/* System V ABI for x86-64, 3.1.1: each level has what the one before has. */
static const struct {
	const char *name, *needs[12];
} levels[] = {
	{ "x86-64", { "lm", "cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2" } },
	{ "x86-64-v2", { "cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3" } },
	{ "x86-64-v3", { "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave" } },
	{ "x86-64-v4", { "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl" } },
};

static int derive_level(CkptCpuFacts *cpu)
{
	const char *level = NULL;

	for (size_t i = 0; i < CK_ARRAY_SIZE(levels); i++) {
		for (const char *const *n = levels[i].needs; *n; n++)
			if (!cpuinfo_has(cpu, *n))
				goto out;
		level = levels[i].name;
	}
out:
	if (!level)
		return 0;
	cpu->level = strdup(level);
	return cpu->level ? 0 : -ENOMEM;
}

/* Registers of a name leaf as text, without the blanks around it. */
static int set_text(char **ret, const uint32_t *words, size_t n)
{
	char buf[64] = "";
	const char *s = buf;
	size_t len;
	char *copy;

	memcpy(buf, words, n * sizeof(*words));
	while (*s == ' ')
		s++;
	for (len = strlen(s); len && s[len - 1] == ' '; len--)
		continue;
	copy = strndup(s, len);
	if (!copy)
		return -ENOMEM;
	free(*ret);
	*ret = copy;
	return 0;
}

static int derive_names(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *l = cpuinfo_leaf(cpu, 0, 0);
	uint32_t words[12];
	size_t n = 0;

	if (l && !cpu->vendor) {
		uint32_t v[3] = { l->ebx, l->edx, l->ecx };

		if (set_text(&cpu->vendor, v, 3) < 0)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < 3; i++) {
		l = cpuinfo_leaf(cpu, 0x80000002 + i, 0);
		if (!l)
			return 0;
		words[n++] = l->eax;
		words[n++] = l->ebx;
		words[n++] = l->ecx;
		words[n++] = l->edx;
	}
	return cpu->brand ? 0 : set_text(&cpu->brand, words, n);
}

/* CPUID 1 EAX, as Linux arch/x86/lib/cpu.c reads it. */
static void derive_model(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *l = cpuinfo_leaf(cpu, 1, 0);
	uint32_t family, model;

	if (!l || cpu->has_family)
		return;
	family = l->eax >> 8 & 0xf;
	model = l->eax >> 4 & 0xf;
	if (family >= 6)
		model += (l->eax >> 16 & 0xf) << 4;
	if (family == 15)
		family += l->eax >> 20 & 0xff;
	cpu->has_family = cpu->has_model = cpu->has_stepping = true;
	cpu->family = family;
	cpu->model = model;
	cpu->stepping = l->eax & 0xf;
}

int cpuinfo_derive(CkptCpuFacts *cpu)
{
	int r = derive_names(cpu);

	derive_model(cpu);
	if (r == 0 && !cpu->n_xsave)
		r = cpuinfo_derive_xsave(cpu);
	if (r == 0 && !cpu->n_features)
		r = derive_features(cpu);
	if (r == 0 && !cpu->level)
		r = derive_level(cpu);
	return r < 0 ? r : cpuinfo_derive_codename(cpu);
}
