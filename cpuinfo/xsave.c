// SPDX-License-Identifier: Apache-2.0
/*
 * Where the register state of a thread lies in memory, from CPUID leaf 0xD alone: its sub-leaf 0
 * tells what there is, sub-leaf n >= 2 the size and the place of component n. Pure.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo-internal.h"

#define BIT(n) (UINT64_C(1) << (n))
/* Linux arch/x86/kernel/fpu/xstate.c, XFEATURE_MASK_USER_SUPPORTED; AMX since v5.16, APX since
 * v6.16. */
#define LINUX_ENABLES (0xff | BIT(9) | BIT(17) | BIT(18) | BIT(19))

enum {
	BASE = 576,         /* bytes before the first component: x87, SSE and the header */
	FIRST = 2,          /* components 0 and 1 lie in the legacy area */
	IS_SUPERVISOR = 1,  /* ECX: the kernel's own */
	IS_ALIGNED = 2,     /* ECX: to 64 bytes in the compacted format */
	XSAVE_BIT = 26,     /* leaf 1, ECX */
	ALIGNMENT = 64,     /* bytes, of areas and of what lies in them */
	MAX_AREA = 1 << 20, /* bytes; more is nonsense */
};

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

/*
 * All layouts that there are, by what they hold and how large they are (from CPUID leaf 0xD of some
 * 350 processors): where components 5 to 9 begin.
 */
static const struct known_layout {
	uint64_t has, lacks;  /* components */
	uint32_t least, most; /* bytes */
	uint32_t at[5];
} known_layouts[] = {
	/* Zen 2; Zen 3; Zen 4 and 5 */
	{ BIT(9), BIT(5), 0x348, 0x380, { [4] = 0x340 } },
	{ BIT(9), BIT(5), 0x988, 0x988, { [4] = 0x980 } },
	{ BIT(5), 0, 0x980, 0x988, { 0x340, 0x380, 0x580, 0, 0x980 } },
	/* Intel, with AVX-512, AMX or neither */
	{ 0, 0, 0xa80, 0x8000, { 0x440, 0x480, 0x680, 0, 0xa80 } },
};

uint32_t cpuinfo_offset(const CkptCpuFacts *cpu, uint64_t xfeatures, uint32_t size,
			unsigned int bit)
{
	const CkptXsaveComponent *c = cpu ? cpuinfo_component(cpu, bit) : NULL;

	if (c)
		return c->offset;
	switch (bit) {
	case 2:
		return BASE;
	case 3:
		return 0x3c0;
	case 4:
		return 0x400;
	case 17:
		return 0xac0;
	case 18:
		return 0xb00;
	}
	for (size_t i = 0; bit >= 5 && bit <= 9 && i < CK_ARRAY_SIZE(known_layouts); i++) {
		const struct known_layout *k = &known_layouts[i];

		if ((xfeatures & k->has) == k->has && !(xfeatures & k->lacks) && size >= k->least &&
		    size <= k->most)
			return k->at[bit - 5];
	}
	return 0;
}

/*
 * XCR0 is not part of CPUID. Whoever read the leaves ran some operating system, which may have left
 * components off (leaf 0xD, EBX); on such a CPU Linux turns on all it knows.
 */
static void infer_xcr0(CkptCpuFacts *cpu, const CkptCpuidLeaf *d)
{
	const CkptCpuidLeaf *one = cpuinfo_leaf(cpu, 1, 0);

	if (cpu->has_xcr0 || !one || !(one->ecx >> XSAVE_BIT & 1))
		return;
	cpu->has_xcr0 = cpu->has_xcr0_inferred = cpu->xcr0_inferred = true;
	cpu->xcr0 = ((uint64_t)d->edx << 32 | d->eax) & LINUX_ENABLES;
}

static int add_component(CkptCpuFacts *cpu, unsigned int bit, const CkptCpuidLeaf *l)
{
	CkptXsaveComponent *c = CK_PB_NEW(CkptXsaveComponent, ckpt_xsave_component);

	if (!c)
		return -ENOMEM;
	c->bit = bit;
	c->size = l->eax;
	c->offset = l->ebx;
	c->has_aligned = true;
	c->aligned = (l->ecx & IS_ALIGNED) != 0;
	if (ck_pb_append(&cpu->xsave, &cpu->n_xsave, c) < 0) {
		free(c);
		return -ENOMEM;
	}
	return 0;
}

/* Sizes of both formats, from the components. Those that a leaf is missing for leave them unknown.
 */
static void measure(CkptCpuFacts *cpu, bool complete)
{
	uint64_t end = BASE, compacted = BASE;

	for (size_t i = 0; i < cpu->n_xsave; i++) {
		CkptXsaveComponent *c = cpu->xsave[i];

		if ((uint64_t)c->offset + c->size > end)
			end = (uint64_t)c->offset + c->size;
		if (c->aligned)
			compacted = (compacted + 63) & ~UINT64_C(63);
		if (complete && compacted < MAX_AREA) {
			c->has_compacted = true;
			c->compacted = (uint32_t)compacted;
		}
		compacted += c->size;
	}
	if (!complete || end > MAX_AREA || compacted > MAX_AREA)
		return;
	cpu->has_xsave_compacted = true;
	cpu->xsave_compacted = (uint32_t)compacted;
	if (!cpu->has_xsave_size) {
		cpu->has_xsave_size = true;
		cpu->xsave_size = (uint32_t)end;
	}
}

int cpuinfo_derive_xsave(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *d = cpuinfo_leaf(cpu, 0xd, 0);
	bool complete = true;

	if (!d)
		return 0;
	infer_xcr0(cpu, d);
	if (!cpu->has_xcr0 || !cpu->xcr0)
		return 0;
	if (!cpu->has_xsave_size && !cpu->xcr0_inferred) {
		cpu->has_xsave_size = true;
		cpu->xsave_size = d->ebx;
	}
	for (unsigned int bit = FIRST; bit < 63; bit++) {
		const CkptCpuidLeaf *l = cpuinfo_leaf(cpu, 0xd, bit);

		if (!(cpu->xcr0 & BIT(bit)))
			continue;
		if (!l || !l->eax) {
			complete = false;
			continue;
		}
		if (l->ecx & IS_SUPERVISOR)
			continue;
		if (add_component(cpu, bit, l) < 0)
			return -ENOMEM;
	}
	measure(cpu, complete);
	return 0;
}

uint32_t cpuinfo_area_size(const CkptCpuFacts *cpu, uint64_t mask)
{
	uint32_t size = BASE;

	for (size_t i = 0; i < cpu->n_xsave; i++) {
		const CkptXsaveComponent *c = cpu->xsave[i];

		if (c->bit < 64 && (mask & BIT(c->bit)) && c->size < UINT32_MAX - c->offset &&
		    c->offset + c->size > size)
			size = c->offset + c->size;
	}
	return size;
}

uint32_t cpuinfo_compacted_size(const CkptCpuFacts *cpu, uint64_t mask)
{
	uint32_t size = BASE;

	for (unsigned int bit = FIRST; bit < 63; bit++) {
		const CkptXsaveComponent *c = mask & BIT(bit) ? cpuinfo_component(cpu, bit) : NULL;

		if (!c || c->size > MAX_AREA || size > MAX_AREA)
			continue;
		if (!c->has_aligned || c->aligned)
			size = (size + ALIGNMENT - 1) & ~(uint32_t)(ALIGNMENT - 1);
		size += c->size;
	}
	return size;
}

uint64_t cpuinfo_save_room(const CkptCpuFacts *cpu, const CkptIsaTask *t, const CkptIsaSave *s)
{
	uint64_t mask = cpu->has_xcr0 ? s->mask & cpu->xcr0 : 0;
	uint64_t area =
		s->compacted ? cpuinfo_compacted_size(cpu, mask) : cpuinfo_area_size(cpu, mask);
	bool compacts = false;

	for (size_t i = 0; i < t->n_usable; i++)
		compacts = compacts || !strcmp(t->usable[i], "xsavec");
	/* glibc uses XSAVEC wherever it takes it for usable. */
	if (!s->size || (t->has_has_usable && t->has_usable && compacts != s->compacted))
		return 0;
	return (s->offset + area + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}
