// SPDX-License-Identifier: Apache-2.0
/*
 * The verdicts about register state, for every ordered pair of 169 real processors and three ways
 * in which a glibc program may have been started on the first. XSTATE_BV is what such programs were
 * seen to have: 0x2a2 (SSE, opmask, zmm16-31) with AVX-512, 0x206 where it was masked, 0x202 where
 * AVX was, too. Each verdict is compared with what the leaves say, read again by other code, and
 * with what the engine then does: the check refuses if and only if the restore would.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cpuinfo/cpuinfo.h"
#include "engine/arch/arch.h"
#include "image/needs.pb-c.h"
#include "tests/unit/readings.h"

#define BIT(n) (1ull << (n))
#define AVX 4ull
#define AVX512 0xe4ull

static struct reading all[MAX_READINGS];
static size_t n_all;

static const struct rule *rule_of(const char *id)
{
	const struct rule *r = cpuinfo_rules;

	while (strcmp(r->id, id) != 0)
		ck_assert_ptr_nonnull((++r)->id);
	return r;
}

/* The worst status that a rule gives. */
static enum finding_status judge(const char *id, CkptNeeds *n, CkptCpuFacts *s, CkptCpuFacts *t)
{
	const struct rule *r = rule_of(id);
	CkptFacts source = CKPT_FACTS__INIT, target = CKPT_FACTS__INIT;
	struct rule_input in = { .needs = n, .source = &source, .target = &target };
	struct findings f = { 0 };
	enum finding_status worst = FINDING_OK;

	source.cpu = s;
	target.cpu = t;
	r->evaluate(r, &in, &f);
	ck_assert(!f.failed && f.n > 0);
	for (size_t i = 0; i < f.n; i++)
		if (f.f[i].status > worst)
			worst = f.f[i].status;
	findings_done(&f);
	return worst;
}

/* XCR0 as Linux sets it, from the leaf itself. */
static uint64_t state_of(const CkptCpuFacts *cpu)
{
	uint64_t xcr0 = 0;
	bool xsave = false;

	for (size_t i = 0; i < cpu->n_leaves; i++) {
		const CkptCpuidLeaf *l = cpu->leaves[i];

		if (l->leaf == 1)
			xsave = l->ecx >> 26 & 1;
		if (l->leaf == 0xd && l->subleaf == 0)
			xcr0 = l->eax & 0x602ff;
	}
	return xsave ? xcr0 : 3;
}

static bool same_arch(const CkptCpuFacts *a, const CkptCpuFacts *b)
{
	return !strcmp(a->arch, b->arch) && !strcmp(a->arch, "x86_64");
}

/* Every component of the standard format is known. */
static bool layout_of(const CkptCpuFacts *cpu, struct arch_xstate_layout *l)
{
	*l = (struct arch_xstate_layout){ .xcr0 = 3, .size = 512, .mxcsr_mask = 0xffff };
	if (!cpu->has_xcr0)
		return !(state_of(cpu) & ~3ull);
	l->xcr0 = cpu->xcr0;
	l->size = cpu->xsave_size < 576 ? 576 : cpu->xsave_size;
	for (size_t i = 0; i < cpu->n_xsave; i++) {
		l->c[cpu->xsave[i]->bit].offset = cpu->xsave[i]->offset;
		l->c[cpu->xsave[i]->bit].size = cpu->xsave[i]->size;
	}
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if ((l->xcr0 & BIT(i)) && !l->c[i].size)
			return false;
	return true;
}

/* An area of that layout with everything in bv live and not initial. */
static void fill(const struct arch_xstate_layout *l, uint64_t bv, uint8_t *area, size_t len)
{
	const uint32_t mxcsr = 0x1f80, pkru = 0x55555554;

	memset(area, 0, len);
	memcpy(area + 24, &mxcsr, 4);
	memcpy(area + 512, &bv, 8);
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if (bv & BIT(i))
			memset(area + l->c[i].offset, 0x5a, l->c[i].size);
	if (l->c[ARCH_PKRU].size) {
		memset(area + l->c[ARCH_PKRU].offset, 0, 8);
		memcpy(area + l->c[ARCH_PKRU].offset, &pkru, 4);
	}
}

/* ---- threads ---- */

/* What the engine says to the same state: does it refuse? */
static bool engine_refuses(const struct arch_xstate_layout *s, const struct arch_xstate_layout *t,
			   uint64_t bv, bool dead)
{
	static uint8_t from[16384], to[16384];
	UserX86FpregsEntry *e = NULL;
	struct ck_err err = CK_ERR_INIT;
	int r;

	fill(s, bv, from, sizeof(from));
	ck_assert_int_eq(arch_xstate_to_image(s, from, s->size, &e, NULL), 0);
	r = arch_xstate_from_image(t, e, dead ? ARCH_XSTATE_CALLER_SAVED : 0, to, t->size, &err);
	ck_assert(r == 0 || err.kind == CK_ERR_HOST);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
	return r < 0;
}

struct launch {
	const char *name;
	uint64_t bv;    /* live */
	uint64_t needs; /* state that the source must have for that */
};

/* How many pairs were refused, of how many. */
struct score {
	size_t pairs, refused;
};

static struct score thread_pairs(const struct launch *l, bool in_syscall)
{
	CkptNeedXstate x = CKPT_NEED_XSTATE__INIT, *list = &x;
	CkptNeeds n = CKPT_NEEDS__INIT;
	struct score score = { 0, 0 };

	n.arch = (char *)(uintptr_t) "x86_64";
	n.n_xstate = 1;
	n.xstate = &list;
	x.in_syscall = in_syscall;
	x.caller = (char *)(uintptr_t)(in_syscall ? "/lib/x86_64-linux-gnu/libc.so.6" : NULL);
	x.has_pkru = 1;
	x.pkru = 0x55555554;
	for (size_t i = 0; i < n_all; i++)
		for (size_t k = 0; k < n_all; k++) {
			CkptCpuFacts *s = all[i].cpu, *t = all[k].cpu;
			struct arch_xstate_layout from, to;
			enum finding_status got;
			bool want;

			if (!same_arch(s, t) || (l->needs & ~state_of(s)))
				continue;
			/* Keys are live wherever they are on. */
			x.xstate_bv = (l->bv & ~BIT(ARCH_PKRU)) | (state_of(s) & BIT(ARCH_PKRU));
			got = judge("cpu.xsave.component", &n, s, t);
			want = !in_syscall &&
			       (x.xstate_bv & ~state_of(t) & ~(3ull | BIT(ARCH_PKRU)));
			ck_assert_msg(got == (want ? FINDING_REFUSE : FINDING_OK),
				      "%s, %s on %s: %d", l->name, all[i].name, all[k].name, got);
			if (layout_of(s, &from) && from.size > 512 && layout_of(t, &to))
				ck_assert_msg(engine_refuses(&from, &to, x.xstate_bv, in_syscall) ==
						      want,
					      "%s, %s on %s: the engine differs", l->name,
					      all[i].name, all[k].name);
			score.pairs++;
			score.refused += want;
		}
	return score;
}

static void load(void)
{
	n_all = readings_load(all);
}

START_TEST(threads)
{
	static const struct launch plain = { "AVX-512", 0x2a2, AVX512 }, v3 = { "v3", 0x206, AVX },
				   v2 = { "v2", 0x202, 0 };
	struct score a, b, c;

	load();
	a = thread_pairs(&plain, false);
	b = thread_pairs(&v3, false);
	c = thread_pairs(&v2, false);
	/* Whoever started without AVX can go anywhere; with AVX-512, to less than half. */
	ck_assert_uint_eq(c.refused, 0);
	ck_assert_uint_gt(c.pairs, 20000);
	ck_assert_uint_gt(a.refused, a.pairs / 2);
	ck_assert_uint_lt(a.refused, a.pairs);
	ck_assert_uint_gt(b.refused, 0);
	ck_assert_uint_lt(b.refused * a.pairs, a.refused * b.pairs);
	/* In a call of the C library, no state stands in the way of anything. */
	ck_assert_uint_eq(thread_pairs(&plain, true).refused, 0);
	ck_assert_uint_eq(thread_pairs(&v3, true).refused, 0);
	readings_done(all, n_all);
}
END_TEST

/* ---- signal frames ---- */

static int translate(const struct arch_xstate_layout *s, const struct arch_xstate_layout *t,
		     uint64_t bv, uint32_t room)
{
	static uint8_t area[20000];
	const uint32_t magic1 = 0x46505853, magic2 = 0x46505845, end = s->size + 4;

	fill(s, bv, area, sizeof(area));
	memcpy(area + 464, &magic1, 4);
	memcpy(area + 468, &end, 4);
	memcpy(area + 472, &s->xcr0, 8);
	memcpy(area + 480, &s->size, 4);
	memcpy(area + s->size, &magic2, 4);
	return arch_frame_translate(s, t, 0, area, s->size, room, NULL);
}

static void frame_pair(const struct reading *a, const struct reading *b, uint64_t bv,
		       uint32_t slack, struct score *score)
{
	CkptNeedXstate x = CKPT_NEED_XSTATE__INIT;
	CkptNeedFrame frame = CKPT_NEED_FRAME__INIT, *list = &frame;
	CkptNeeds n = CKPT_NEEDS__INIT;
	struct arch_xstate_layout from, to;
	enum finding_status got;

	if (!same_arch(a->cpu, b->cpu) || !layout_of(a->cpu, &from) || from.size < 576 ||
	    !layout_of(b->cpu, &to))
		return;
	n.arch = a->cpu->arch;
	n.n_frames = 1;
	n.frames = &list;
	frame.state = &x;
	frame.xfeatures = from.xcr0;
	frame.size = from.size;
	frame.room = from.size + 4 + slack;
	x.xstate_bv = bv & from.xcr0;
	x.has_pkru = from.c[ARCH_PKRU].size > 0;
	x.pkru = 0x55555554;
	got = judge("cpu.xsave.frame", &n, a->cpu, b->cpu);
	ck_assert(got == FINDING_OK || got == FINDING_REFUSE);
	ck_assert_msg((translate(&from, &to, x.xstate_bv, frame.room) < 0) ==
			      (got == FINDING_REFUSE),
		      "%s on %s, %#llx: the check says %d", a->name, b->name,
		      (unsigned long long)bv, got);
	score->pairs++;
	score->refused += got == FINDING_REFUSE;
}

START_TEST(frames)
{
	struct score score = { 0, 0 };

	load();
	for (size_t i = 0; i < n_all; i++)
		for (size_t k = 0; k < n_all; k++) {
			frame_pair(&all[i], &all[k], 0x602ff, 13, &score);
			frame_pair(&all[i], &all[k], 0x207, 40, &score);
			frame_pair(&all[i], &all[k], 0x203, 0, &score);
		}
	ck_assert_uint_gt(score.refused, score.pairs / 100);
	ck_assert_uint_lt(score.refused, score.pairs / 2);
	readings_done(all, n_all);
}
END_TEST

/* What is only known by its size has the places that its leaves would tell. */
START_TEST(known_places)
{
	load();
	for (size_t i = 0; i < n_all; i++) {
		const CkptCpuFacts *cpu = all[i].cpu;
		struct arch_xstate_layout l;

		/* Where a sub-leaf is missing, the size is not known. */
		for (size_t k = 0; layout_of(cpu, &l) && k < cpu->n_xsave; k++) {
			unsigned int bit = cpu->xsave[k]->bit;
			uint32_t at = cpuinfo_offset(NULL, cpu->xcr0, cpu->xsave_size, bit);

			ck_assert_msg(bit > 18 || at == cpu->xsave[k]->offset, "%s: %u at %#x",
				      all[i].name, bit, at);
		}
	}
	readings_done(all, n_all);
}
END_TEST

/* For every processor: no number that a restore leaves, or makes, lets ld.so write beyond. */
START_TEST(rooms)
{
	CkptIsaTask task = CKPT_ISA_TASK__INIT;
	CkptIsaSave s = CKPT_ISA_SAVE__INIT;
	size_t larger = 0;

	load();
	s.size = 896;
	s.mask = 0xee;
	s.offset = 64;
	for (size_t i = 0; i < n_all; i++) {
		struct arch_xstate_layout l;
		uint64_t end = 576, sum = 576, room;

		if (!layout_of(all[i].cpu, &l) || l.size < 576)
			continue;
		for (unsigned int bit = 2; bit < 8; bit++) {
			if (!l.c[bit].size || !(s.mask >> bit & 1))
				continue;
			if (l.c[bit].offset + l.c[bit].size > end)
				end = l.c[bit].offset + l.c[bit].size;
			sum += l.c[bit].size;
		}
		s.compacted = 0;
		room = cpuinfo_save_room(all[i].cpu, &task, &s);
		ck_assert_msg(room >= end + 64 && room < end + 128 && !(room % 64), "%s: %llu",
			      all[i].name, (unsigned long long)room);
		larger += room > s.size;
		s.compacted = 1;
		ck_assert_uint_ge(cpuinfo_save_room(all[i].cpu, &task, &s), sum + 64);
	}
	ck_assert_uint_gt(larger, 10);
	ck_assert_uint_lt(larger, n_all);
	readings_done(all, n_all);
}
END_TEST

/* Nothing that is only a hint makes a difference between two CPUs. */
START_TEST(hints_decide_nothing)
{
	CkptNeeds n = CKPT_NEEDS__INIT;

	load();
	n.arch = (char *)(uintptr_t) "x86_64";
	for (size_t i = 0; i < n_all; i++) {
		CkptCpuFacts *s = all[i].cpu, bare = *s;
		size_t kept = 0;

		if (strcmp(s->arch, "x86_64") != 0)
			continue;
		bare.features = calloc(s->n_features + 1, sizeof(*bare.features));
		for (size_t k = 0; k < s->n_features; k++)
			if (cpuinfo_feature_find(s->features[k])->class != CPUINFO_HINT)
				bare.features[kept++] = s->features[k];
		ck_assert_uint_lt(kept, s->n_features);
		bare.n_features = kept;
		ck_assert_msg(judge("cpu.isa", &n, s, &bare) == FINDING_OK, "%s", all[i].name);
		free(bare.features);
	}
	readings_done(all, n_all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cpuinfo-pairs");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int bad;

	tcase_set_timeout(t, 120);
	tcase_add_test(t, threads);
	tcase_add_test(t, frames);
	tcase_add_test(t, known_places);
	tcase_add_test(t, rooms);
	tcase_add_test(t, hints_decide_nothing);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
