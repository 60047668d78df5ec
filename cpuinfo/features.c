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
#include "cpuinfo/cpuinfo.h"

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

const char *cpuinfo_component_name(unsigned int bit)
{
	static const char *const names[] = {
		[0] = "x87",
		[1] = "SSE",
		[2] = "AVX upper halves",
		[3] = "MPX bounds",
		[4] = "MPX configuration",
		[5] = "AVX-512 opmask",
		[6] = "AVX-512 upper halves (ZMM_Hi256)",
		[7] = "AVX-512 high registers (Hi16_ZMM)",
		[9] = "protection keys (PKRU)",
		[17] = "AMX tile configuration",
		[18] = "AMX tile data",
		[19] = "APX registers",
		[62] = "LWP",
	};

	return bit < CK_ARRAY_SIZE(names) && names[bit] ? names[bit] : "unnamed component";
}

const CkptXsaveComponent *cpuinfo_component(const CkptCpuFacts *cpu, unsigned int bit)
{
	for (size_t i = 0; i < cpu->n_xsave; i++)
		if (cpu->xsave[i]->bit == bit)
			return cpu->xsave[i];
	return NULL;
}

static const CkptCpuidLeaf *find_leaf(const CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < cpu->n_leaves; i++)
		if (cpu->leaves[i]->leaf == leaf && cpu->leaves[i]->subleaf == subleaf)
			return cpu->leaves[i];
	return NULL;
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

static int derive_features(CkptCpuFacts *cpu)
{
	uint64_t xcr0 = cpu->has_xcr0 ? cpu->xcr0 : 0;

	for (size_t i = 0; i < cpuinfo_n_features; i++) {
		const struct cpuinfo_feature *f = &cpuinfo_features[i];
		const CkptCpuidLeaf *l = find_leaf(cpu, f->leaf, f->subleaf);

		if (!l || !(reg_of(l, f->reg) >> f->bit & 1) || (f->xcr0 & ~xcr0))
			continue;
		if (ck_pb_append_str(&cpu->features, &cpu->n_features, f->name) < 0)
			return -ENOMEM;
	}
	if (cpu->n_features)
		qsort(cpu->features, cpu->n_features, sizeof(*cpu->features), compare_names);
	return 0;
}

/* CPUID 0xD: sub-leaf n >= 2 is component n; ECX bit 0 marks those that only the kernel sees. */
static int derive_xsave(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *main = find_leaf(cpu, 0xd, 0);

	if (!main || !cpu->has_xcr0 || !cpu->xcr0)
		return 0;
	if (!cpu->has_xsave_size) {
		cpu->has_xsave_size = true;
		cpu->xsave_size = main->ebx;
	}
	for (unsigned int bit = 2; bit < 63; bit++) {
		const CkptCpuidLeaf *l = find_leaf(cpu, 0xd, bit);
		CkptXsaveComponent *c;

		if (!(cpu->xcr0 >> bit & 1) || !l || !l->eax || (l->ecx & 1))
			continue;
		c = CK_PB_NEW(CkptXsaveComponent, ckpt_xsave_component);
		if (!c)
			return -ENOMEM;
		c->bit = bit;
		c->size = l->eax;
		c->offset = l->ebx;
		if (ck_pb_append(&cpu->xsave, &cpu->n_xsave, c) < 0) {
			free(c);
			return -ENOMEM;
		}
	}
	return 0;
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
	const CkptCpuidLeaf *l = find_leaf(cpu, 0, 0);
	uint32_t words[12];
	size_t n = 0;

	if (l && !cpu->vendor) {
		uint32_t v[3] = { l->ebx, l->edx, l->ecx };

		if (set_text(&cpu->vendor, v, 3) < 0)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < 3; i++) {
		l = find_leaf(cpu, 0x80000002 + i, 0);
		if (!l)
			return 0;
		words[n++] = l->eax;
		words[n++] = l->ebx;
		words[n++] = l->ecx;
		words[n++] = l->edx;
	}
	return cpu->brand ? 0 : set_text(&cpu->brand, words, n);
}

/* CPUID 1 EAX, as Intel and AMD agree on it for families 6 and 15. */
static void derive_model(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *l = find_leaf(cpu, 1, 0);
	uint32_t family, model;

	if (!l || cpu->has_family)
		return;
	family = l->eax >> 8 & 0xf;
	model = l->eax >> 4 & 0xf;
	if (family == 6 || family == 15)
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
		r = derive_xsave(cpu);
	if (r == 0 && !cpu->n_features)
		r = derive_features(cpu);
	return r;
}
