// SPDX-License-Identifier: Apache-2.0
/*
 * Extended state from each CPU's layout to each other's, over all layouts that real processors
 * have: threads' areas and signal frames. What both have arrives, nothing else changes, nothing is
 * written beside. Then the kernel: a frame that was rewritten brings its registers back.
 */
#include <check.h>
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "engine/arch/arch.h"
#include "tests/unit/readings.h"

#define BIT(n) (1ull << (n))
#define ALL_DEAD (~0ull)

enum { MAX_LAYOUTS = 64, ROOM = 16384, GUARD = 256, PAINT = 0xa5 };

static struct arch_xstate_layout layouts[MAX_LAYOUTS];
static size_t n_layouts;

static bool same(const struct arch_xstate_layout *a, const struct arch_xstate_layout *b)
{
	if (a->xcr0 != b->xcr0 || a->size != b->size)
		return false;
	for (unsigned int i = 0; i < ARCH_XSTATE_BITS; i++)
		if (a->c[i].offset != b->c[i].offset || a->c[i].size != b->c[i].size)
			return false;
	return true;
}

static void add_layout(const CkptCpuFacts *cpu)
{
	struct arch_xstate_layout l = { .mxcsr_mask = 0xffff };

	if (!cpu->has_xcr0 || !cpu->has_xsave_size)
		return;
	l.xcr0 = cpu->xcr0;
	l.size = cpu->xsave_size;
	for (size_t i = 0; i < cpu->n_xsave; i++) {
		l.c[cpu->xsave[i]->bit].offset = cpu->xsave[i]->offset;
		l.c[cpu->xsave[i]->bit].size = cpu->xsave[i]->size;
	}
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if ((l.xcr0 & BIT(i)) && !l.c[i].size)
			return; /* a sub-leaf is missing */
	for (size_t i = 0; i < n_layouts; i++)
		if (same(&layouts[i], &l))
			return;
	ck_assert_uint_lt(n_layouts, MAX_LAYOUTS);
	layouts[n_layouts++] = l;
}

static void load_layouts(void)
{
	static struct reading r[MAX_READINGS];
	size_t n = readings_load(r);
	/* A server with AMX, of which there is no reading; APX where MPX was. */
	struct arch_xstate_layout amx = { 0 }, apx;
	unsigned int seen = 0;

	n_layouts = 0;
	for (size_t i = 0; i < n; i++)
		add_layout(r[i].cpu);
	readings_done(r, n);
	for (size_t i = 0; i < n_layouts; i++) {
		seen |= layouts[i].c[ARCH_OPMASK].offset == 0x340 ? 1 : 0;
		seen |= layouts[i].c[ARCH_OPMASK].offset == 0x440 ? 2 : 0;
		seen |= layouts[i].c[ARCH_PKRU].offset == 0x340 ? 4 : 0;
		seen |= layouts[i].c[ARCH_BNDREGS].size ? 8 : 0;
		if (layouts[i].xcr0 == 0x2e7 && layouts[i].c[ARCH_OPMASK].offset == 0x440)
			amx = layouts[i];
	}
	ck_assert_uint_eq(seen, 15);
	amx.xcr0 |= BIT(ARCH_TILECFG) | BIT(ARCH_TILEDATA);
	amx.size = 0xb00 + 8192;
	amx.c[ARCH_TILECFG].offset = 0xac0, amx.c[ARCH_TILECFG].size = 64;
	amx.c[ARCH_TILEDATA].offset = 0xb00, amx.c[ARCH_TILEDATA].size = 8192;
	layouts[n_layouts++] = amx;
	apx = amx;
	apx.xcr0 |= BIT(19);
	apx.c[19].offset = 0x3c0, apx.c[19].size = 128;
	layouts[n_layouts++] = apx;
	layouts[n_layouts++] =
		(struct arch_xstate_layout){ .xcr0 = 3, .size = 512, .mxcsr_mask = 0xffff };
	ck_assert_uint_ge(n_layouts, 12);
}

/* The byte that component bit has at k: never 0, so that nothing looks initial. */
static uint8_t byte_of(unsigned int bit, uint32_t k)
{
	return (uint8_t)(bit * 37 + k * 11) | 1;
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

/* An area with bv live, every component full. */
static void make_area(const struct arch_xstate_layout *l, uint64_t bv, uint8_t *area)
{
	memset(area, 0, l->size);
	for (int i = 32; i < 416; i++)
		area[i] = byte_of(0, (uint32_t)i);
	put32(area + 24, 0x1f80);
	if (l->size > 512)
		memcpy(area + 512, &bv, 8);
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		for (uint32_t k = 0; (bv & BIT(i)) && k < l->c[i].size; k++)
			area[l->c[i].offset + k] = byte_of(i, k);
}

static bool has_component(const struct arch_xstate_layout *l, const uint8_t *area, unsigned int bit)
{
	for (uint32_t k = 0; k < l->c[bit].size; k++)
		if (area[l->c[bit].offset + k] != byte_of(bit, k))
			return false;
	return true;
}

/* ---- threads' areas ---- */

static void through_image(const struct arch_xstate_layout *from,
			  const struct arch_xstate_layout *to, uint64_t bv)
{
	uint8_t *src = malloc(from->size), *dst = malloc(to->size + GUARD);
	UserX86FpregsEntry *e = NULL;
	uint64_t got = 3;

	make_area(from, bv, src);
	memset(dst, PAINT, to->size + GUARD);
	ck_assert_int_eq(arch_xstate_to_image(from, src, from->size, &e, NULL), 0);
	ck_assert_int_eq(arch_xstate_from_image(to, e, ALL_DEAD, dst, to->size, NULL), 0);
	for (int i = 0; i < GUARD; i++)
		ck_assert_uint_eq(dst[to->size + i], PAINT);
	ck_assert_mem_eq(dst + 32, src + 32, 384);
	if (to->size > 512)
		memcpy(&got, dst + 512, 8);
	ck_assert_uint_eq(got & ~to->xcr0, 0);
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++) {
		if (i == ARCH_PKRU)
			continue;
		ck_assert_int_eq((got >> i & 1), (bv & to->xcr0) >> i & 1);
		if (got & BIT(i))
			ck_assert(has_component(to, dst, i));
	}
	user_x86_fpregs_entry__free_unpacked(e, NULL);
	free(src);
	free(dst);
}

START_TEST(areas_between_all_layouts)
{
	load_layouts();
	for (size_t i = 0; i < n_layouts; i++)
		for (size_t k = 0; k < n_layouts; k++) {
			uint64_t xcr0 = layouts[i].xcr0;

			/* All, and each component alone. */
			through_image(&layouts[i], &layouts[k], xcr0 & ~BIT(ARCH_PKRU));
			for (unsigned int b = 2; b < ARCH_XSTATE_BITS; b++)
				if ((xcr0 & BIT(b)) && b != ARCH_PKRU)
					through_image(&layouts[i], &layouts[k], 3 | BIT(b));
		}
}
END_TEST

/* ---- signal frames ---- */

static void make_frame(const struct arch_xstate_layout *l, uint64_t bv, uint8_t *area)
{
	make_area(l, bv, area);
	put32(area + 464, 0x46505853);
	put32(area + 468, l->size + 4);
	memcpy(area + 472, &l->xcr0, 8);
	put32(area + 480, l->size);
	put32(area + l->size, 0x46505845);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static bool fits(const struct arch_xstate_layout *l, unsigned int bit, uint32_t room)
{
	return l->c[bit].size && l->c[bit].offset + l->c[bit].size + 4 <= room;
}

/* What the kernel would find in a frame, as it looks (check_xstate_in_sigframe()). */
static uint64_t as_kernel_reads(const struct arch_xstate_layout *l, const uint8_t *area)
{
	uint32_t size = get32(area + 480);
	uint64_t xfeatures, bv;

	if (l->size == 512 || get32(area + 464) != 0x46505853 || size < 576 || size > l->size ||
	    size > get32(area + 468) || get32(area + size) != 0x46505845)
		return 3;
	memcpy(&xfeatures, area + 472, 8);
	memcpy(&bv, area + 512, 8);
	ck_assert_uint_eq(bv & ~l->xcr0, 0); /* or it faults */
	return bv & xfeatures;
}

/* The reference: what both have arrives if it fits; the rest is gone, or refused. */
static void frame_between(const struct arch_xstate_layout *from,
			  const struct arch_xstate_layout *to, uint64_t bv, uint32_t slack)
{
	static uint8_t area[ROOM + GUARD], was[ROOM + GUARD];
	uint32_t room = from->size + 4 + slack;
	struct ck_err err = CK_ERR_INIT;
	uint64_t want = 3, got;
	int r;

	memset(area, PAINT, sizeof(area));
	make_frame(from, bv, area);
	memcpy(was, area, sizeof(was));
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if ((bv & BIT(i)) && (to->xcr0 & BIT(i)) && fits(to, i, room))
			want |= BIT(i);
	r = arch_frame_translate(from, to, 0, area, from->size, room, &err);
	ck_assert_mem_eq(area + room, was + room, sizeof(area) - room);
	if (want != (bv | 3)) {
		ck_assert_int_lt(r, 0);
		ck_assert_int_eq(err.kind, CK_ERR_HOST);
		memcpy(area, was, sizeof(area));
		r = arch_frame_translate(from, to, ALL_DEAD, area, from->size, room, NULL);
	}
	ck_assert_int_ge(r, 0);
	if (r == 0)
		ck_assert_mem_eq(area, was, sizeof(area));
	ck_assert_mem_eq(area + room, was + room, sizeof(area) - room);
	got = as_kernel_reads(to, area) & ~BIT(ARCH_PKRU);
	ck_assert_msg(got == (want & ~BIT(ARCH_PKRU)), "%#llx of %#llx from %#llx to %#llx",
		      (unsigned long long)got, (unsigned long long)want,
		      (unsigned long long)from->xcr0, (unsigned long long)to->xcr0);
	ck_assert_mem_eq(area + 32, was + 32, 384);
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if (got & BIT(i))
			ck_assert(has_component(to, area, i));
}

START_TEST(frames_between_all_layouts)
{
	load_layouts();
	for (size_t i = 0; i < n_layouts; i++)
		for (size_t k = 0; k < n_layouts; k++) {
			uint64_t xcr0 = layouts[i].xcr0;

			if (layouts[i].size < 576)
				continue;
			for (uint32_t slack = 0; slack < 64; slack += 21) {
				frame_between(&layouts[i], &layouts[k], xcr0 & ~BIT(ARCH_PKRU),
					      slack);
				for (unsigned int b = 2; b < ARCH_XSTATE_BITS; b++)
					if ((xcr0 & BIT(b)) && b != ARCH_PKRU)
						frame_between(&layouts[i], &layouts[k], 3 | BIT(b),
							      slack);
			}
		}
}
END_TEST

/* There and back again: a frame that got smaller has lost nothing that both have. */
START_TEST(round_trips)
{
	load_layouts();
	for (size_t i = 0; i < n_layouts; i++)
		for (size_t k = 0; k < n_layouts; k++) {
			const struct arch_xstate_layout *a = &layouts[i], *b = &layouts[k];
			uint64_t both = a->xcr0 & b->xcr0 & ~BIT(ARCH_PKRU);
			uint32_t room = a->size + 4 + 60, size;
			static uint8_t area[ROOM];
			uint64_t kept = 3;

			if (a->size < 576 || b->size < 576)
				continue;
			for (unsigned int n = 2; n < ARCH_XSTATE_BITS; n++)
				if ((both & BIT(n)) && fits(b, n, room))
					kept |= BIT(n);
			make_frame(a, both, area);
			ck_assert_int_ge(arch_frame_translate(a, b, ALL_DEAD, area, a->size, room,
							      NULL),
					 0);
			size = get32(area + 480);
			ck_assert_uint_le(size + 4, room);
			ck_assert_int_ge(arch_frame_translate(b, a, ALL_DEAD, area, size, room,
							      NULL),
					 0);
			ck_assert_uint_eq(as_kernel_reads(a, area) & ~BIT(ARCH_PKRU), kept);
			for (unsigned int n = 2; n < ARCH_XSTATE_BITS; n++)
				if (kept & BIT(n))
					ck_assert(has_component(a, area, n));
		}
}
END_TEST

/* Zen 4 to Intel: the upper registers end 256 bytes further on. */
START_TEST(a_frame_can_not_grow)
{
	struct arch_xstate_layout zen = { 0 }, intel = { 0 };
	static uint8_t area[ROOM];
	struct ck_err err = CK_ERR_INIT;

	load_layouts();
	for (size_t i = 0; i < n_layouts; i++)
		if (layouts[i].xcr0 == 0x2e7)
			*(layouts[i].c[ARCH_OPMASK].offset == 0x340 ? &zen : &intel) = layouts[i];
	ck_assert_uint_ne(zen.size, 0);
	ck_assert_uint_ne(intel.size, 0);
	make_frame(&zen, 0xe7, area);
	ck_assert_int_lt(arch_frame_translate(&zen, &intel, 0, area, zen.size, zen.size + 67, &err),
			 0);
	ck_assert_ptr_nonnull(strstr(err.what, "there is room for"));
	/* Not live, or dead: it goes. */
	make_frame(&zen, 0x67, area);
	ck_assert_int_eq(arch_frame_translate(&zen, &intel, 0, area, zen.size, zen.size + 67, NULL),
			 1);
	ck_assert_uint_eq(as_kernel_reads(&intel, area), 0x67);
	make_frame(&zen, 0xe7, area);
	ck_assert_int_eq(arch_frame_translate(&zen, &intel, ARCH_XSTATE_CALLER_SAVED, area,
					      zen.size, zen.size + 67, NULL),
			 1);
	ck_assert_uint_eq(as_kernel_reads(&intel, area), 0x67);
	/* The other way there is room, and PKRU comes along. */
	make_frame(&intel, 0x2e7, area);
	put32(area + intel.c[ARCH_PKRU].offset, 0x55555550);
	ck_assert_int_eq(arch_frame_translate(&intel, &zen, 0, area, intel.size, intel.size + 4,
					      NULL),
			 1);
	ck_assert_uint_eq(get32(area + zen.c[ARCH_PKRU].offset), 0x55555550);
	zen.xcr0 &= ~BIT(ARCH_PKRU), zen.c[ARCH_PKRU].size = 0, zen.size = 0x980;
	make_frame(&intel, 0x2e7, area);
	put32(area + intel.c[ARCH_PKRU].offset, 0x55555550);
	ck_assert_int_lt(arch_frame_translate(&intel, &zen, 0, area, intel.size, intel.size + 4,
					      NULL),
			 0);
	/* The same places, but some bytes at the end that this CPU does not have. */
	zen = intel;
	zen.size += 64;
	make_frame(&zen, 0xe7, area);
	ck_assert_int_eq(arch_frame_translate(&zen, &intel, 0, area, zen.size, zen.size + 4, NULL),
			 1);
	ck_assert_uint_eq(as_kernel_reads(&intel, area) & 0xff, 0xe7);
	/* MXCSR of another vendor. */
	make_frame(&intel, 3, area);
	put32(area + 24, 0x21f80);
	ck_assert_int_lt(arch_frame_translate(&intel, &intel, 0, area, intel.size, intel.size + 4,
					      NULL),
			 0);
}
END_TEST

/* A dump says that a component is live that lies beyond the frame. */
START_TEST(hostile_frames)
{
	struct arch_xstate_layout a, b;
	static uint8_t area[ROOM];
	struct ck_err err = CK_ERR_INIT;

	load_layouts();
	a = layouts[n_layouts - 2];
	b = layouts[0];
	make_frame(&a, 0x602e7, area);
	put32(area + 480, 832);
	ck_assert_int_lt(arch_frame_translate(&a, &b, ALL_DEAD, area, 832, 836, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_IMAGE);
	ck_assert_int_lt(arch_frame_translate(&a, &b, 0, area, 500, 600, &err), 0);
	ck_assert_int_lt(arch_frame_translate(&a, &b, 0, area, 832, 832, &err), 0);
}
END_TEST

/* ---- the kernel's opinion ---- */

static struct arch_xstate_layout host, small;
static volatile int translated;

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	uint8_t *area = (uint8_t *)((ucontext_t *)uc)->uc_mcontext.fpregs;
	uint32_t size = get32(area + 480);

	(void)sig;
	(void)si;
	/* As if from this CPU to one that has no more than AVX. */
	translated = arch_frame_translate(&host, &small, ALL_DEAD, area, size, size + 4, NULL);
}

START_TEST(the_kernel_takes_it)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	uint8_t want[16][32], is[16][32];
	unsigned int a, b, c, d;
	sigset_t none;
	long ret = 0;

	ck_assert_int_eq(arch_xstate_host(&host, NULL), 0);
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(host.xcr0 & BIT(ARCH_YMM)) || host.xcr0 == 7)
		return;
	small = host;
	small.xcr0 = 7;
	small.size = 832;
	for (unsigned int i = 3; i < ARCH_XSTATE_BITS; i++)
		small.c[i].size = small.c[i].offset = 0;
	for (int i = 0; i < 16; i++)
		for (int k = 0; k < 32; k++)
			want[i][k] = (uint8_t)(i * 32 + k + 1);
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
#define L(n) "vmovups 32*" #n "(%[w]), %%ymm" #n "\n\t"
#define S(n) "vmovups %%ymm" #n ", 32*" #n "(%[i])\n\t"
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
	__asm__ volatile(
		ALL(L) "mov $39, %%eax\n\tsyscall\n\tmov %%eax, %%edi\n\tmov $62, %%eax\n\t"
		       "mov $10, %%esi\n\tsyscall\n\t" ALL(S) "vzeroupper"
		: "+a"(ret)
		: [w] "r"(want), [i] "r"(is)
		: "rdi", "rsi", "rcx", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
		  "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
		  "xmm13", "xmm14", "xmm15");
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(translated, 1);
	ck_assert_mem_eq(want, is, sizeof(is));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine-sigframe");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, areas_between_all_layouts);
	tcase_add_test(t, frames_between_all_layouts);
	tcase_add_test(t, round_trips);
	tcase_add_test(t, a_frame_can_not_grow);
	tcase_add_test(t, hostile_frames);
	tcase_add_test(t, the_kernel_takes_it);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
