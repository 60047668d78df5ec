// SPDX-License-Identifier: Apache-2.0
/*
 * The extended state in a signal frame, from one CPU's layout to another's. rt_sigreturn(2) reads
 * components where this CPU has them, whatever the frame was written for; and one that says it is
 * larger than this CPU's areas loses all but x87 and SSE without a word
 * (Linux arch/x86/kernel/fpu/signal.c:check_xstate_in_sigframe()). A smaller one that is sound in
 * itself is taken: components beyond its end get their initial values. So a frame is rewritten in
 * place, as large as its components need and the place allows.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "engine/arch/arch.h"
#include "engine/arch/x86_64/xstate.h"

#define BIT(n) (1ull << (n))
#define LEGACY (BIT(ARCH_X87) | BIT(ARCH_SSE))
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u

enum {
	MXCSR = 24,
	SOFTWARE = 464, /* struct _fpx_sw_bytes */
	HEADER = 512,   /* XSTATE_BV first */
	LEAST = 576,
	END_MARK = 4,
};

struct software {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t size, padding[7];
};

struct translation {
	const struct arch_xstate_layout *from, *to;
	uint64_t dead;
	const uint8_t *old;
	uint8_t *area;
	uint32_t size, room;
	uint64_t xfeatures; /* that the old one can hold */
	uint64_t bv;        /* of the new one */
	uint64_t places;    /* that it has */
};

static bool ends_within(const struct arch_xstate_layout *l, unsigned int bit, uint32_t len)
{
	return l->c[bit].size && l->c[bit].offset <= len &&
	       l->c[bit].size <= len - l->c[bit].offset;
}

/* What the target has beyond the frame gets its initial value, as it had where the frame was made.
 */
static bool is_native(const struct translation *t)
{
	if ((t->xfeatures & ~t->to->xcr0) || t->size > t->to->size)
		return false;
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if ((t->xfeatures & BIT(i)) && t->from->c[i].offset != t->to->c[i].offset)
			return false;
	return true;
}

/* Those that fit. The kernel gives a frame place for tiles only where they are permitted, and takes
 * no larger one. */
static void find_places(struct translation *t)
{
	t->places = LEGACY;
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if ((t->to->xcr0 & BIT(i)) && ends_within(t->to, i, t->room - END_MARK) &&
		    (i != ARCH_TILEDATA || (t->xfeatures & BIT(i))))
			t->places |= BIT(i);
}

static int no_room(const struct translation *t, unsigned int bit, struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			"cannot rewrite a signal frame: this CPU keeps state component %u at byte "
			"%u, and there is room for %u bytes",
			bit, t->to->c[bit].offset, t->room - END_MARK);

	return ck_err_hint(err, r, "restore it on a CPU like that of the source");
}

static int move_component(struct translation *t, unsigned int bit, struct ck_err *err)
{
	const uint8_t *data = t->old + t->from->c[bit].offset;
	uint32_t len = t->from->c[bit].size;
	int r;

	if (!ends_within(t->from, bit, t->size))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot find state component %u in a signal frame of %u bytes", bit,
			       t->size);
	if (!(t->places & BIT(bit))) {
		r = arch_xstate_missing(bit, data, len, t->dead, err);
		return r < 0 && t->to->c[bit].size ? no_room(t, bit, err) : r;
	}
	if (len != t->to->c[bit].size)
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot rewrite a signal frame: component %u has %u bytes, here %u",
			       bit, len, t->to->c[bit].size);
	memcpy(t->area + t->to->c[bit].offset, data, len);
	t->bv |= BIT(bit);
	return 0;
}

/* Without it in the frame, returning would open all keys. */
static int move_pkru(struct translation *t, uint64_t bv, struct ck_err *err)
{
	uint32_t v = ARCH_PKRU_DEFAULT;

	if (bv & BIT(ARCH_PKRU)) {
		if (!ends_within(t->from, ARCH_PKRU, t->size))
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot find PKRU in a signal frame of %u bytes", t->size);
		memcpy(&v, t->old + t->from->c[ARCH_PKRU].offset, sizeof(v));
	} else if (t->xfeatures & BIT(ARCH_PKRU)) {
		v = 0;
	}
	if (t->places & BIT(ARCH_PKRU)) {
		memcpy(t->area + t->to->c[ARCH_PKRU].offset, &v, sizeof(v));
		t->bv |= BIT(ARCH_PKRU);
		return 0;
	}
	if (v != ARCH_PKRU_DEFAULT && v != 0)
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore protection keys (PKRU %#x) in a signal frame", v);
	return 0;
}

static void finish(struct translation *t)
{
	struct software w = { .magic1 = MAGIC1, .xfeatures = t->places, .size = LEAST };
	const uint32_t mark = MAGIC2;

	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if ((t->places & BIT(i)) && t->to->c[i].offset + t->to->c[i].size > w.size)
			w.size = t->to->c[i].offset + t->to->c[i].size;
	w.extended_size = w.size + END_MARK;
	memcpy(t->area + SOFTWARE, &w, sizeof(w));
	memcpy(t->area + HEADER, &t->bv, sizeof(t->bv));
	memcpy(t->area + w.size, &mark, sizeof(mark));
}

/* Onto a cleared area. */
static int rewrite(struct translation *t, struct ck_err *err)
{
	uint64_t bv;
	int r = 0;

	memcpy(&bv, t->old + HEADER, sizeof(bv));
	bv &= t->xfeatures;
	memcpy(t->area, t->old, SOFTWARE);
	t->bv = bv & LEGACY;
	find_places(t);
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS && r == 0; i++)
		if ((bv & BIT(i)) && i != ARCH_PKRU)
			r = move_component(t, i, err);
	if (r == 0)
		r = move_pkru(t, bv, err);
	if (r == 0 && t->to->size >= LEAST)
		finish(t);
	return r;
}

int arch_frame_translate(const struct arch_xstate_layout *from, const struct arch_xstate_layout *to,
			 uint64_t dead, void *area, uint32_t size, uint32_t room,
			 struct ck_err *err)
{
	struct translation t = { .from = from, .to = to, .dead = dead, .size = size, .room = room };
	CK_AUTO(free) uint8_t *old = NULL;
	struct software w;
	uint32_t mxcsr;
	int r;

	if (size < LEAST || room < size + END_MARK)
		return ck_fail(err, CK_ERR_BUG, -EINVAL,
			       "cannot rewrite a signal frame of %u bytes with room for %u", size,
			       room);
	memcpy(&mxcsr, (uint8_t *)area + MXCSR, sizeof(mxcsr));
	memcpy(&w, (uint8_t *)area + SOFTWARE, sizeof(w));
	t.xfeatures = w.xfeatures;
	r = arch_mxcsr_check(to, mxcsr, err);
	if (r < 0 || is_native(&t))
		return r;
	old = malloc(room);
	if (!old)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot rewrite a signal frame");
	memcpy(old, area, room);
	memset(area, 0, room);
	t.old = old;
	t.area = area;
	r = rewrite(&t, err);
	return r < 0 ? r : 1;
}
