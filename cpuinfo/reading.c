// SPDX-License-Identifier: Apache-2.0
/*
 * CPUID readings as text, in the form that AIDA64 writes and many collections have:
 *
 *	CPUID 00000007: 00000001-239CA7EB-984007AC-FC18C410 [SL 00]
 *
 * leaf, then EAX, EBX, ECX and EDX, then the sub-leaf where there are several. What else stands in
 * the text is skipped. Only the first logical processor is taken. A leaf that is not there is
 * unknown: older readings have no sub-leaves.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo-internal.h"

enum {
	MAX_LEAVES = 4096,
	LM_BIT = 29, /* leaf 0x80000001, EDX: 64-bit mode */
};

struct cursor {
	const char *p, *end;
};

static bool skip(struct cursor *c, const char *s)
{
	size_t n = strlen(s);

	if ((size_t)(c->end - c->p) < n || memcmp(c->p, s, n) != 0)
		return false;
	c->p += n;
	return true;
}

/* Exactly this many hexadecimal digits. */
static bool hex(struct cursor *c, unsigned int digits, uint32_t *ret)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < digits; i++) {
		unsigned char d = c->p < c->end ? (unsigned char)*c->p : 0;

		if (d >= '0' && d <= '9')
			v = v << 4 | (uint32_t)(d - '0');
		else if ((d >= 'A' && d <= 'F') || (d >= 'a' && d <= 'f'))
			v = v << 4 | (uint32_t)((d | 0x20) - 'a' + 10);
		else
			return false;
		c->p++;
	}
	*ret = v;
	return true;
}

/* 1: a leaf; 0: some other line; -EINVAL: a leaf that can't be read. */
static int parse_line(struct cursor *c, uint32_t *ret_leaf, uint32_t *ret_sub, uint32_t regs[4])
{
	if (!skip(c, "CPUID ") || !hex(c, 8, ret_leaf) || !skip(c, ":"))
		return 0;
	while (skip(c, " "))
		continue;
	for (int i = 0; i < 4; i++)
		if ((i && !skip(c, "-")) || !hex(c, 8, &regs[i]))
			return -EINVAL;
	while (skip(c, " "))
		continue;
	*ret_sub = 0;
	/* Other brackets hold the registers as text: "[GenuineIntel]". */
	if (skip(c, "[SL ") && (!hex(c, 2, ret_sub) || !skip(c, "]")))
		return -EINVAL;
	return 1;
}

/* All leaves of the first processor. *ret_line is the line that could not be read. */
static int parse(struct cursor *text, CkptCpuFacts *cpu, size_t *ret_line)
{
	for (*ret_line = 1; text->p < text->end; (*ret_line)++) {
		const char *nl = memchr(text->p, '\n', (size_t)(text->end - text->p));
		struct cursor c = { text->p, nl ? nl : text->end };
		uint32_t leaf = 0, sub = 0, regs[4];
		int r = parse_line(&c, &leaf, &sub, regs);

		text->p = nl ? nl + 1 : text->end;
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (leaf == 0 && cpuinfo_leaf(cpu, 0, 0))
			return 0; /* the next processor */
		if (cpuinfo_leaf(cpu, leaf, sub))
			continue;
		if (cpu->n_leaves >= MAX_LEAVES)
			return -E2BIG;
		r = cpuinfo_add_leaf(cpu, leaf, sub, regs);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool same_regs(const CkptCpuidLeaf *a, const CkptCpuidLeaf *b)
{
	/* The x2APIC id differs between processors. */
	bool own = a->leaf == 0xb || a->leaf == 0x1f || a->leaf == 0x80000026;

	return a->eax == b->eax && a->ebx == b->ebx && a->ecx == b->ecx &&
	       (own || a->edx == b->edx);
}

/*
 * Some tools went on counting where the next processor's sub-leaves began: a sub-leaf that looks
 * like sub-leaf 0 is one of those, and so are all after it. Left in, leaf 0xD would tell of XSAVEC
 * on CPUs that have none.
 */
static void drop_wrapped(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *first = NULL;
	bool wrapped = false;
	size_t kept = 0;

	for (size_t i = 0; i < cpu->n_leaves; i++) {
		CkptCpuidLeaf *l = cpu->leaves[i];

		if (!first || first->leaf != l->leaf) {
			first = l;
			wrapped = false;
		} else if (!first->subleaf && (l->eax | l->ebx) && same_regs(first, l)) {
			wrapped = true;
		}
		if (wrapped)
			ckpt_cpuid_leaf__free_unpacked(l, NULL);
		else
			cpu->leaves[kept++] = l;
	}
	cpu->n_leaves = kept;
}

static int describe(CkptCpuFacts *cpu)
{
	const CkptCpuidLeaf *ext = cpuinfo_leaf(cpu, 0x80000001, 0);

	cpu->arch = strdup(ext && ext->edx >> LM_BIT & 1 ? "x86_64" : "i686");
	return cpu->arch ? cpuinfo_derive(cpu) : -ENOMEM;
}

static inline void ck_auto_cpu(CkptCpuFacts **cpu)
{
	if (*cpu)
		ckpt_cpu_facts__free_unpacked(*cpu, NULL);
}

int cpuinfo_parse(const char *text, size_t len, CkptCpuFacts **ret, struct ck_err *err)
{
	CK_AUTO(cpu) CkptCpuFacts *cpu = CK_PB_NEW(CkptCpuFacts, ckpt_cpu_facts);
	struct cursor c = { text, text + len };
	size_t line;
	int r = cpu ? parse(&c, cpu, &line) : -ENOMEM;

	if (r == -ENOMEM)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read CPUID leaves");
	if (r < 0)
		return ck_fail(err, CK_ERR_CONFIG, r, "line %zu: %s", line,
			       r == -E2BIG ? "too many CPUID leaves" : "is not a CPUID leaf");
	if (!cpuinfo_leaf(cpu, 0, 0) || !cpuinfo_leaf(cpu, 1, 0)) {
		r = ck_fail(err, CK_ERR_CONFIG, -EINVAL, "there are no CPUID leaves 0 and 1");
		ck_err_hint(err, r, "lines look like \"CPUID 00000001: eax-ebx-ecx-edx [SL 00]\"");
		return r;
	}
	drop_wrapped(cpu);
	if (describe(cpu) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read CPUID leaves");
	*ret = ck_take_ptr(&cpu);
	return 0;
}
