// SPDX-License-Identifier: Apache-2.0
/* Extended state between CPUs whose layouts differ, and what must be refused. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "engine/arch/arch.h"

#define BIT(n) (1ull << (n))

enum { AREA = 16384 }; /* bytes: room for every host, tiles included */

/* An AVX-512 server of Intel's, and Zen 4: same components, other places. Then two without AVX-512.
 * Numbers as their CPUID leaf 0xD says. */
static struct arch_xstate_layout intel(void)
{
	struct arch_xstate_layout l = { .xcr0 = 0x2e7, .size = 0xa88, .mxcsr_mask = 0xffff };

	l.c[ARCH_YMM].offset = 0x240, l.c[ARCH_YMM].size = 256;
	l.c[ARCH_OPMASK].offset = 0x440, l.c[ARCH_OPMASK].size = 64;
	l.c[ARCH_ZMM_HI256].offset = 0x480, l.c[ARCH_ZMM_HI256].size = 512;
	l.c[ARCH_HI16_ZMM].offset = 0x680, l.c[ARCH_HI16_ZMM].size = 1024;
	l.c[ARCH_PKRU].offset = 0xa80, l.c[ARCH_PKRU].size = 8;
	return l;
}

static struct arch_xstate_layout zen4(void)
{
	struct arch_xstate_layout l = intel();

	l.size = 0x988;
	l.c[ARCH_OPMASK].offset = 0x340;
	l.c[ARCH_ZMM_HI256].offset = 0x380;
	l.c[ARCH_HI16_ZMM].offset = 0x580;
	l.c[ARCH_PKRU].offset = 0x980;
	return l;
}

static struct arch_xstate_layout haswell(void)
{
	struct arch_xstate_layout l = { .xcr0 = 7, .size = 0x340, .mxcsr_mask = 0xffff };

	l.c[ARCH_YMM].offset = 0x240, l.c[ARCH_YMM].size = 256;
	return l;
}

static struct arch_xstate_layout nehalem(void)
{
	return (struct arch_xstate_layout){ .xcr0 = 3, .size = 512, .mxcsr_mask = 0xffff };
}

/* A thread with bv live: every component filled with its own pattern, PKRU as Linux starts it. */
static void fill(const struct arch_xstate_layout *l, uint64_t bv, uint8_t *raw)
{
	uint32_t pkru = 0x55555554, mxcsr = 0x1f80, mask = 0xffff;

	memset(raw, 0, l->size);
	for (int i = 0; i < 416; i++)
		raw[i] = (uint8_t)(i * 7);
	memcpy(raw + 24, &mxcsr, 4);
	memcpy(raw + 28, &mask, 4);
	if (l->size == 512)
		return;
	memcpy(raw + 512, &bv, 8);
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++)
		if (l->c[i].size && (bv & BIT(i)))
			for (unsigned int k = 0; k < l->c[i].size; k++)
				raw[l->c[i].offset + k] = (uint8_t)(i * 16 + k);
	if (l->c[ARCH_PKRU].size) {
		memset(raw + l->c[ARCH_PKRU].offset, 0, 8);
		memcpy(raw + l->c[ARCH_PKRU].offset, &pkru, 4);
	}
}

static UserX86FpregsEntry *through_wire(UserX86FpregsEntry *e)
{
	size_t n = user_x86_fpregs_entry__get_packed_size(e);
	uint8_t *buf = malloc(n);
	UserX86FpregsEntry *out;

	ck_assert_ptr_nonnull(buf);
	user_x86_fpregs_entry__pack(e, buf);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
	out = user_x86_fpregs_entry__unpack(NULL, n, buf);
	free(buf);
	ck_assert_ptr_nonnull(out);
	return out;
}

static UserX86FpregsEntry *entry_of(const struct arch_xstate_layout *l, uint64_t bv)
{
	uint8_t raw[AREA];
	UserX86FpregsEntry *e = NULL;

	fill(l, bv, raw);
	ck_assert_int_eq(arch_xstate_to_image(l, raw, l->size, &e, NULL), 0);
	return through_wire(e);
}

static void check_same(const struct arch_xstate_layout *from, const struct arch_xstate_layout *to,
		       uint64_t bv)
{
	uint8_t want[AREA], got[AREA];
	UserX86FpregsEntry *e = entry_of(from, bv);

	fill(to, bv, want);
	ck_assert_int_eq(arch_xstate_from_image(to, e, 0, got, to->size, NULL), 0);
	ck_assert_mem_eq(got, want, to->size);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}

START_TEST(translates_between_vendors)
{
	struct arch_xstate_layout a = intel(), b = zen4();

	check_same(&a, &b, 0x2e7);
	check_same(&b, &a, 0x2e7);
	check_same(&a, &a, 0x2a2);
	check_same(&b, &a, 0x202);
}
END_TEST

START_TEST(legacy_cpus_both_ways)
{
	struct arch_xstate_layout a = nehalem(), b = haswell(), c = intel();
	UserX86FpregsEntry *e = entry_of(&a, 3);
	uint8_t got[AREA], want[AREA];

	check_same(&a, &a, 3);
	check_same(&b, &a, 3);
	fill(&c, 0x203, want);
	ck_assert_int_eq(arch_xstate_from_image(&c, e, 0, got, c.size, NULL), 0);
	ck_assert_mem_eq(got, want, c.size);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(supplies_protection_keys)
{
	struct arch_xstate_layout a = haswell(), b = intel();
	UserX86FpregsEntry *e = entry_of(&a, 7);
	uint8_t got[AREA];
	uint32_t pkru;
	uint64_t bv;

	ck_assert_int_eq(arch_xstate_from_image(&b, e, 0, got, b.size, NULL), 0);
	memcpy(&pkru, got + 0xa80, 4);
	memcpy(&bv, got + 512, 8);
	ck_assert_uint_eq(pkru, 0x55555554);
	ck_assert_uint_eq(bv, 0x207);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(keys_in_use_need_keys)
{
	struct arch_xstate_layout a = intel(), b = haswell();
	UserX86FpregsEntry *e = entry_of(&a, 0x203);
	struct ck_err err = CK_ERR_INIT;
	uint8_t got[AREA];

	ck_assert_int_eq(arch_xstate_from_image(&b, e, 0, got, b.size, NULL), 0);
	e->xsave->pkru[0] = 0x55555550;
	ck_assert_int_lt(arch_xstate_from_image(&b, e, 0, got, b.size, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_HOST);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(live_state_without_a_home)
{
	struct arch_xstate_layout a = intel(), b = haswell();
	UserX86FpregsEntry *e = entry_of(&a, 0x2e7);
	struct ck_err err = CK_ERR_INIT;
	uint8_t got[AREA];
	uint64_t bv;

	ck_assert_int_lt(arch_xstate_from_image(&b, e, 0, got, b.size, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_HOST);
	ck_assert_ptr_nonnull(strstr(err.what, "AVX-512"));
	ck_assert_int_eq(arch_xstate_from_image(&b, e, ARCH_XSTATE_CALLER_SAVED, got, b.size, NULL),
			 0);
	memcpy(&bv, got + 512, 8);
	ck_assert_uint_eq(bv, 7);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(live_but_initial_may_go)
{
	struct arch_xstate_layout a = intel(), b = haswell();
	UserX86FpregsEntry *e = entry_of(&a, 0x2e7);
	uint8_t got[AREA];

	memset(e->xsave->opmask_reg, 0, 64);
	memset(e->xsave->zmm_upper, 0, 512);
	memset(e->xsave->hi16_zmm, 0, 1024);
	ck_assert_int_eq(arch_xstate_from_image(&b, e, 0, got, b.size, NULL), 0);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(mxcsr_survives_a_dropped_avx)
{
	struct arch_xstate_layout a = haswell(), b = nehalem();
	UserX86FpregsEntry *e = entry_of(&a, 4 | 1);
	struct arch_xstate_layout c = a;
	uint8_t got[AREA];
	uint64_t bv;

	e->mxcsr = 0x9fc0;
	c.c[ARCH_YMM].size = 0;
	ck_assert_int_eq(arch_xstate_from_image(&c, e, BIT(ARCH_YMM), got, c.size, NULL), 0);
	memcpy(&bv, got + 512, 8);
	ck_assert_uint_eq(bv, 3);
	ck_assert_int_eq(arch_xstate_from_image(&b, e, BIT(ARCH_YMM), got, b.size, NULL), 0);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(unknown_bits_of_mxcsr_are_refused)
{
	struct arch_xstate_layout a = zen4(), b = intel();
	UserX86FpregsEntry *e = entry_of(&a, 0x207);
	struct ck_err err = CK_ERR_INIT;
	uint8_t got[AREA];

	e->mxcsr = 0x21f80; /* AMD's MM */
	a.mxcsr_mask = 0x2ffff;
	ck_assert_int_eq(arch_xstate_from_image(&a, e, 0, got, a.size, NULL), 0);
	ck_assert_int_lt(arch_xstate_from_image(&b, e, 0, got, b.size, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_HOST);
	/* A CPU that does not say which it has, has no DAZ. */
	b.mxcsr_mask = 0;
	e->mxcsr = 0x1f80;
	ck_assert_int_eq(arch_xstate_from_image(&b, e, 0, got, b.size, NULL), 0);
	e->mxcsr = 0x1fc0;
	ck_assert_int_lt(arch_xstate_from_image(&b, e, 0, got, b.size, NULL), 0);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(unknown_components_travel)
{
	struct arch_xstate_layout a = intel(), b = intel();
	UserX86FpregsEntry *e;
	uint8_t got[AREA], want[AREA];

	a.xcr0 |= BIT(17), a.size = 0xb00, a.c[17].offset = 0xac0, a.c[17].size = 64;
	e = entry_of(&a, 0x2e7 | BIT(17));
	ck_assert_uint_eq(e->xsave->n_ckpt_parts, 1);
	fill(&a, 0x2e7 | BIT(17), want);
	ck_assert_int_eq(arch_xstate_from_image(&a, e, 0, got, a.size, NULL), 0);
	ck_assert_mem_eq(got, want, a.size);
	ck_assert_int_lt(arch_xstate_from_image(&b, e, 0, got, b.size, NULL), 0);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
	e = entry_of(&a, 0x2e7);
	ck_assert_uint_eq(e->xsave->n_ckpt_parts, 0);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
}
END_TEST

START_TEST(hostile_entries)
{
	struct arch_xstate_layout a = intel();
	UserX86FpregsEntry *e = entry_of(&a, 0x2e7);
	struct ck_err err = CK_ERR_INIT;
	uint8_t got[AREA];

	e->xsave->n_hi16_zmm = 100;
	ck_assert_int_lt(arch_xstate_from_image(&a, e, 0, got, a.size, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_IMAGE);
	e->xsave->n_hi16_zmm = 128;
	e->n_xmm_space = 63;
	ck_assert_int_lt(arch_xstate_from_image(&a, e, 0, got, a.size, &err), 0);
	e->n_xmm_space = 64;
	e->xsave->xstate_bv |= BIT(63);
	ck_assert_int_lt(arch_xstate_from_image(&a, e, 0, got, a.size, &err), 0);
	e->xsave->xstate_bv = BIT(40);
	ck_assert_int_lt(arch_xstate_from_image(&a, e, 0, got, a.size, &err), 0);
	user_x86_fpregs_entry__free_unpacked(e, NULL);
	ck_assert_int_lt(arch_xstate_to_image(&a, got, 512, &e, &err), 0);
}
END_TEST

START_TEST(this_host)
{
	struct arch_xstate_layout l;

	ck_assert_int_eq(arch_xstate_host(&l, NULL), 0);
	ck_assert_uint_eq(l.xcr0 & 3, 3);
	check_same(&l, &l, l.xcr0 & ~BIT(ARCH_TILEDATA));
}
END_TEST

START_TEST(registers_come_back)
{
	struct user_regs_struct r, s;
	UserX86RegsEntry e = USER_X86_REGS_ENTRY__INIT;
	struct ck_err err = CK_ERR_INIT;

	for (size_t i = 0; i < sizeof(r); i++)
		((uint8_t *)&r)[i] = (uint8_t)(i * 3 + 1);
	r.cs = 0x33;
	r.ss = 0x2b;
	arch_regs_to_image(&r, &e);
	ck_assert_uint_eq(e.orig_ax, r.orig_rax);
	ck_assert_int_eq(arch_regs_from_image(&e, &s, NULL), 0);
	r.orig_rax = -1ull;
	ck_assert_mem_eq(&r, &s, sizeof(r));
	r.cs = 0x23;
	arch_regs_to_image(&r, &e);
	ck_assert_int_lt(arch_regs_from_image(&e, &s, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_REFUSED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine-xstate");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int bad;

	tcase_add_test(t, translates_between_vendors);
	tcase_add_test(t, legacy_cpus_both_ways);
	tcase_add_test(t, supplies_protection_keys);
	tcase_add_test(t, keys_in_use_need_keys);
	tcase_add_test(t, live_state_without_a_home);
	tcase_add_test(t, live_but_initial_may_go);
	tcase_add_test(t, mxcsr_survives_a_dropped_avx);
	tcase_add_test(t, unknown_bits_of_mxcsr_are_refused);
	tcase_add_test(t, unknown_components_travel);
	tcase_add_test(t, hostile_entries);
	tcase_add_test(t, this_host);
	tcase_add_test(t, registers_come_back);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
