// SPDX-License-Identifier: Apache-2.0
/*
 * Extended state, component by component. Offsets in the xsave area differ between CPUs (AMD puts
 * k0-k7 where Intel puts nothing), and the kernel takes an area of the wrong layout without a word:
 * it only checks that it is long enough, and reads it at its own offsets. So nothing is ever copied
 * as a whole; what an image holds is named by component, and put where this host has it.
 *
 * Left to others: whether a component is dead (the caller says so); signal frames (sigframe.c).
 */
#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "engine/arch/arch.h"
#include "engine/arch/x86_64/xstate.h"

#define FXSAVE_SIZE 512u
#define XSAVE_HEADER 576u /* fxsave region and header */
#define XSAVE_MAX 65536u  /* no real area is near it */
#define BV_OFFSET 512u
#define MXCSR_INIT 0x1f80u
#define MXCSR_MASK_DEFAULT 0xffbfu
#define BIT(n) (1ull << (n))

/* Where the legacy region holds what the image names. */
struct fxsave {
	uint16_t cwd, swd, twd, fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask;
	uint32_t st_space[32];
	uint32_t xmm_space[64];
	uint32_t reserved[24];
};
_Static_assert(sizeof(struct fxsave) == FXSAVE_SIZE, "the fxsave region is 512 bytes");

/* Components that CRIU's format has a list for. */
static const struct part {
	unsigned int bit, size, elem;
	const char *name;
	size_t n, list; /* offsets in UserX86XsaveEntry */
} parts[] = {
#define PART(bit, size, type, field, name)                                             \
	{                                                                              \
		bit, size, sizeof(type), name, offsetof(UserX86XsaveEntry, n_##field), \
			offsetof(UserX86XsaveEntry, field)                             \
	}
	PART(ARCH_YMM, 256, uint32_t, ymmh_space, "AVX"),
	PART(ARCH_BNDREGS, 64, uint64_t, bndreg_state, "MPX bound registers"),
	PART(ARCH_BNDCSR, 64, uint64_t, bndcsr_state, "MPX configuration"),
	PART(ARCH_OPMASK, 64, uint64_t, opmask_reg, "AVX-512 mask registers"),
	PART(ARCH_ZMM_HI256, 512, uint64_t, zmm_upper, "AVX-512 upper halves of zmm0-15"),
	PART(ARCH_HI16_ZMM, 1024, uint64_t, hi16_zmm, "AVX-512 zmm16-31"),
	PART(ARCH_PKRU, 8, uint32_t, pkru, "protection keys"),
#undef PART
};

static const struct part *part_of(unsigned int bit)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(parts); i++)
		if (parts[i].bit == bit)
			return &parts[i];
	return NULL;
}

static size_t *part_n(const UserX86XsaveEntry *x, const struct part *p)
{
	return (size_t *)((char *)(uintptr_t)x + p->n);
}

static void **part_list(const UserX86XsaveEntry *x, const struct part *p)
{
	return (void **)((char *)(uintptr_t)x + p->list);
}

static uint64_t xgetbv0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

/* fxsave64 tells, Intel SDM volume 1, 11.6.6. */
static uint32_t host_mxcsr_mask(void)
{
	struct fxsave f __attribute__((aligned(16)));

	memset(&f, 0, sizeof(f));
	__asm__ volatile("fxsave64 %0" : "+m"(f));
	return f.mxcsr_mask;
}

int arch_xstate_host(struct arch_xstate_layout *ret, struct ck_err *err)
{
	struct arch_xstate_layout l = { .xcr0 = BIT(ARCH_X87) | BIT(ARCH_SSE),
					.size = FXSAVE_SIZE,
					.mxcsr_mask = host_mxcsr_mask() };
	unsigned int a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) &&
	    __get_cpuid_count(0xd, 0, &a, &b, &c, &d)) {
		l.xcr0 = xgetbv0();
		l.size = b;
		for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++) {
			if (!(l.xcr0 & BIT(i)))
				continue;
			__get_cpuid_count(0xd, i, &a, &b, &c, &d);
			if (b < XSAVE_HEADER || a > l.size || b > l.size - a)
				return ck_fail(err, CK_ERR_HOST, -EPROTO,
					       "cannot use this CPU's xsave layout: component %u",
					       i);
			l.c[i].offset = b;
			l.c[i].size = a;
		}
		if (l.size < XSAVE_HEADER || l.size > XSAVE_MAX)
			return ck_fail(err, CK_ERR_HOST, -EPROTO,
				       "cannot use this CPU's xsave layout: %u bytes", l.size);
	}
	*ret = l;
	return 0;
}

/* ---- towards the image ---- */

static void *dup_bytes(const void *p, size_t n)
{
	void *q = malloc(n);

	return q ? memcpy(q, p, n) : NULL;
}

static int legacy_to_image(const struct fxsave *f, UserX86FpregsEntry *e)
{
	e->cwd = f->cwd;
	e->swd = f->swd;
	e->twd = f->twd;
	e->fop = f->fop;
	e->rip = f->rip;
	e->rdp = f->rdp;
	e->mxcsr = f->mxcsr;
	e->mxcsr_mask = f->mxcsr_mask;
	e->st_space = dup_bytes(f->st_space, sizeof(f->st_space));
	e->xmm_space = dup_bytes(f->xmm_space, sizeof(f->xmm_space));
	if (!e->st_space || !e->xmm_space)
		return -ENOMEM;
	e->n_st_space = CK_ARRAY_SIZE(f->st_space);
	e->n_xmm_space = CK_ARRAY_SIZE(f->xmm_space);
	return 0;
}

/* A component without a field of its own. */
static int extra_to_image(UserX86XsaveEntry *x, unsigned int bit, const uint8_t *data, size_t len)
{
	CkptX86XsavePart **list, *p;

	list = realloc(x->ckpt_parts, (x->n_ckpt_parts + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	x->ckpt_parts = list;
	p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	ckpt_x86_xsave_part__init(p);
	list[x->n_ckpt_parts++] = p;
	p->bit = bit;
	p->data.data = dup_bytes(data, len);
	p->data.len = p->data.data ? len : 0;
	return p->data.data ? 0 : -ENOMEM;
}

static int component_to_image(const struct arch_xstate_layout *l, unsigned int bit,
			      const uint8_t *raw, UserX86XsaveEntry *x)
{
	const struct part *p = part_of(bit);
	const uint8_t *data = raw + l->c[bit].offset;

	if (!p || l->c[bit].size != p->size)
		return x->xstate_bv & BIT(bit) ? extra_to_image(x, bit, data, l->c[bit].size) : 0;
	*part_list(x, p) = dup_bytes(data, p->size);
	if (!*part_list(x, p))
		return -ENOMEM;
	*part_n(x, p) = p->size / p->elem;
	return 0;
}

static int extended_to_image(const struct arch_xstate_layout *l, const uint8_t *raw,
			     UserX86FpregsEntry *e)
{
	UserX86XsaveEntry *x = malloc(sizeof(*x));

	if (!x)
		return -ENOMEM;
	user_x86_xsave_entry__init(x);
	e->xsave = x;
	memcpy(&x->xstate_bv, raw + BV_OFFSET, sizeof(x->xstate_bv));
	x->xstate_bv &= l->xcr0;
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++) {
		if (l->c[i].size && component_to_image(l, i, raw, x) < 0)
			return -ENOMEM;
	}
	return 0;
}

int arch_xstate_to_image(const struct arch_xstate_layout *l, const void *raw, size_t len,
			 UserX86FpregsEntry **ret, struct ck_err *err)
{
	struct fxsave f;
	UserX86FpregsEntry *e;
	int r;

	if (len < l->size || l->size < FXSAVE_SIZE)
		return ck_fail(err, CK_ERR_BUG, -EPROTO,
			       "cannot read extended state: %zu bytes where %u belong", len,
			       l->size);
	e = malloc(sizeof(*e));
	if (!e)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot keep extended state");
	user_x86_fpregs_entry__init(e);
	memcpy(&f, raw, sizeof(f));
	r = legacy_to_image(&f, e);
	if (r == 0 && l->size >= XSAVE_HEADER)
		r = extended_to_image(l, raw, e);
	if (r < 0) {
		user_x86_fpregs_entry__free_unpacked(e, NULL);
		return ck_fail(err, CK_ERR_SYS, r, "cannot keep extended state");
	}
	*ret = e;
	return 0;
}

/* ---- towards the host ---- */

int arch_mxcsr_check(const struct arch_xstate_layout *l, uint32_t mxcsr, struct ck_err *err)
{
	uint32_t mask = l->mxcsr_mask ? l->mxcsr_mask : MXCSR_MASK_DEFAULT;

	if (!(mxcsr & ~mask))
		return 0;
	return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
		       "cannot restore MXCSR %#x: this CPU has no bits %#x", mxcsr, mxcsr & ~mask);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static int legacy_from_image(const UserX86FpregsEntry *e, uint8_t *raw, struct ck_err *err)
{
	struct fxsave f = { .cwd = (uint16_t)e->cwd };

	if (e->n_st_space < CK_ARRAY_SIZE(f.st_space) ||
	    e->n_xmm_space < CK_ARRAY_SIZE(f.xmm_space))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot use the saved registers: %zu and %zu words of x87 and SSE",
			       e->n_st_space, e->n_xmm_space);
	f.swd = (uint16_t)e->swd;
	f.twd = (uint16_t)e->twd;
	f.fop = (uint16_t)e->fop;
	f.rip = e->rip;
	f.rdp = e->rdp;
	f.mxcsr = e->mxcsr;
	f.mxcsr_mask = e->mxcsr_mask;
	memcpy(f.st_space, e->st_space, sizeof(f.st_space));
	memcpy(f.xmm_space, e->xmm_space, sizeof(f.xmm_space));
	memcpy(raw, &f, sizeof(f));
	return 0;
}

/* The image's bytes of one component: NULL if it has none. */
static const uint8_t *component_find(const UserX86XsaveEntry *x, unsigned int bit, size_t *ret_len)
{
	const struct part *p = part_of(bit);

	for (size_t i = 0; i < x->n_ckpt_parts; i++)
		if (x->ckpt_parts[i]->bit == bit) {
			*ret_len = x->ckpt_parts[i]->data.len;
			return x->ckpt_parts[i]->data.data;
		}
	if (!p || !*part_n(x, p))
		return NULL;
	*ret_len = *part_n(x, p) * p->elem;
	return *part_list(x, p);
}

int arch_xstate_missing(unsigned int bit, const void *data, size_t len, uint64_t dead,
			struct ck_err *err)
{
	const struct part *p = part_of(bit);
	int r;

	if ((dead & BIT(bit)) || all_zero(data, len))
		return 0;
	if (p)
		r = ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			    "cannot restore live CPU state: this host has no %s", p->name);
	else
		r = ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			    "cannot restore live CPU state: this host has no component %u", bit);
	return ck_err_hint(err, r, "restore it on a host with that state, or start the job there");
}

static int component_from_image(const struct arch_xstate_layout *l, const UserX86XsaveEntry *x,
				unsigned int bit, uint64_t dead, uint8_t *raw, uint64_t *bv,
				struct ck_err *err)
{
	size_t len = 0;
	const uint8_t *data = component_find(x, bit, &len);

	if (!data)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot find state component %u, which is said to be live", bit);
	if (!l->c[bit].size)
		return arch_xstate_missing(bit, data, len, dead, err);
	if (len != l->c[bit].size)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot use state component %u: %zu bytes where this CPU has %u",
			       bit, len, l->c[bit].size);
	memcpy(raw + l->c[bit].offset, data, len);
	*bv |= BIT(bit);
	return 0;
}

/*
 * PKRU is live in every thread under Linux, and without it the register becomes 0: all keys open. A
 * host without keys runs anything that never used one, which is what these two values say.
 */
static int pkru_from_image(const struct arch_xstate_layout *l, const UserX86XsaveEntry *x,
			   uint8_t *raw, uint64_t *bv, struct ck_err *err)
{
	uint32_t v = ARCH_PKRU_DEFAULT;

	if (x && x->n_pkru)
		v = x->xstate_bv & BIT(ARCH_PKRU) ? x->pkru[0] : 0;
	if (l->c[ARCH_PKRU].size >= sizeof(v)) {
		memcpy(raw + l->c[ARCH_PKRU].offset, &v, sizeof(v));
		*bv |= BIT(ARCH_PKRU);
		return 0;
	}
	if (v != ARCH_PKRU_DEFAULT && v != 0)
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore protection keys (PKRU %#x): this host has none", v);
	return 0;
}

static int extended_from_image(const struct arch_xstate_layout *l, const UserX86FpregsEntry *e,
			       uint64_t dead, uint8_t *raw, struct ck_err *err)
{
	const UserX86XsaveEntry *x = e->xsave;
	uint64_t legacy = BIT(ARCH_X87) | BIT(ARCH_SSE);
	uint64_t live = x ? x->xstate_bv : legacy, bv = live & legacy;
	int r = arch_mxcsr_check(l, e->mxcsr, err);

	if (r < 0)
		return r;

	if (x && x->cet && (x->cet->ssp || x->cet->cet))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore a thread with a shadow stack");
	for (unsigned int i = 2; x && i < 64; i++) {
		if (i == ARCH_PKRU || !(live & BIT(i)))
			continue;
		if (i >= ARCH_XSTATE_BITS)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot use state component %u",
				       i);
		r = component_from_image(l, x, i, dead, raw, &bv, err);
		if (r < 0)
			return r;
	}
	r = pkru_from_image(l, x, raw, &bv, err);
	if (r < 0)
		return r;
	/* MXCSR is taken with SSE or AVX only; the image may have had it with a dropped AVX. */
	if (e->mxcsr != MXCSR_INIT)
		bv |= BIT(ARCH_SSE);
	if (l->size >= XSAVE_HEADER)
		memcpy(raw + BV_OFFSET, &bv, sizeof(bv));
	return 0;
}

int arch_xstate_from_image(const struct arch_xstate_layout *l, const UserX86FpregsEntry *e,
			   uint64_t dead, void *raw, size_t size, struct ck_err *err)
{
	int r;

	if (size < l->size || l->size < FXSAVE_SIZE)
		return ck_fail(err, CK_ERR_BUG, -EPROTO,
			       "cannot build extended state: %zu bytes where %u belong", size,
			       l->size);
	memset(raw, 0, size);
	r = legacy_from_image(e, raw, err);
	return r < 0 ? r : extended_from_image(l, e, dead, raw, err);
}
