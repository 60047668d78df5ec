// SPDX-License-Identifier: Apache-2.0
/* The feature table is sound, derivation from leaves is exact, the live CPU agrees with the kernel.
 */
#include <check.h>
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo.h"

static void add(CkptCpuFacts *cpu, uint32_t leaf, uint32_t sub, const uint32_t v[4])
{
	CkptCpuidLeaf *l = CK_PB_NEW(CkptCpuidLeaf, ckpt_cpuid_leaf);

	ck_assert_ptr_nonnull(l);
	l->leaf = leaf;
	l->subleaf = sub;
	l->eax = v[0];
	l->ebx = v[1];
	l->ecx = v[2];
	l->edx = v[3];
	ck_assert_int_eq(ck_pb_append(&cpu->leaves, &cpu->n_leaves, l), 0);
}

static CkptCpuFacts *fresh(void)
{
	CkptCpuFacts *cpu = CK_PB_NEW(CkptCpuFacts, ckpt_cpu_facts);

	ck_assert_ptr_nonnull(cpu);
	cpu->arch = strdup("x86_64");
	return cpu;
}

START_TEST(table_is_sound)
{
	for (size_t i = 0; i < cpuinfo_n_features; i++) {
		const struct cpuinfo_feature *f = &cpuinfo_features[i];

		ck_assert_uint_lt(f->bit, 32);
		ck_assert_ptr_eq(cpuinfo_feature_find(f->name), f);
		for (size_t k = 0; k < i; k++) {
			const struct cpuinfo_feature *g = &cpuinfo_features[k];

			ck_assert_msg(f->leaf != g->leaf || f->subleaf != g->subleaf ||
					      f->reg != g->reg || f->bit != g->bit,
				      "%s and %s are one bit", f->name, g->name);
		}
	}
	ck_assert_ptr_null(cpuinfo_feature_find("no_such_feature"));
}
END_TEST

static bool isa_set_needs(const char *set, const char *feature)
{
	const char *const *needs = cpuinfo_isa_set(set);

	ck_assert_msg(needs != NULL, "%s", set);
	for (; *needs; needs++)
		if (!strcmp(*needs, feature))
			return true;
	return false;
}

/* What an instruction needs is never a hint. */
START_TEST(isa_sets_are_sound)
{
	for (size_t i = 0; i < cpuinfo_n_isa_sets; i++) {
		const struct cpuinfo_isa_set *s = &cpuinfo_isa_sets[i];

		ck_assert_msg(!i || strcmp(s[-1].name, s->name) < 0, "%s is not sorted", s->name);
		ck_assert_ptr_eq(cpuinfo_isa_set(s->name), s->needs);
		for (const char *const *n = s->needs; *n; n++) {
			const struct cpuinfo_feature *f = cpuinfo_feature_find(*n);

			ck_assert_msg(f && f->class != CPUINFO_HINT, "%s: %s", s->name, *n);
		}
	}
	ck_assert(isa_set_needs("AVX512BW_256", "avx512bw"));
	ck_assert(isa_set_needs("AVX512BW_256", "avx512vl"));
	ck_assert(!isa_set_needs("AVX512BW_512", "avx512vl"));
	ck_assert(isa_set_needs("LZCNT", "abm"));
	ck_assert_ptr_null(*cpuinfo_isa_set("CET"));
	ck_assert_ptr_null(*cpuinfo_isa_set("PAUSE"));
	ck_assert_ptr_null(cpuinfo_isa_set("KNCV"));
}
END_TEST

/* AVX10 has a version, not bits: whoever has version 2 has version 1. */
START_TEST(avx10_has_versions)
{
	for (uint32_t version = 0; version < 4; version++) {
		CkptCpuFacts *cpu = fresh();

		add(cpu, 0x24, 0, (uint32_t[]){ 0, 0x70000 | version, 0, 0 });
		cpu->has_xcr0 = true;
		cpu->xcr0 = 0xe7;
		ck_assert_int_eq(cpuinfo_derive(cpu), 0);
		ck_assert_int_eq(cpuinfo_has(cpu, "avx10_1"), version >= 1);
		ck_assert_int_eq(cpuinfo_has(cpu, "avx10_2"), version >= 2);
		ckpt_cpu_facts__free_unpacked(cpu, NULL);
	}
}
END_TEST

/* AVX-512 in CPUID is worth nothing while XCR0 does not have its components. */
START_TEST(xcr0_gates_features)
{
	static const uint32_t one[4] = { 0xc06f2, 0, 1u << 27 | 1u << 28 | 1u << 12, 1u << 26 };
	static const uint32_t seven[4] = { 0, 1u << 16 | 1u << 5 | 1u << 3, 1u << 4, 0 };

	for (int pass = 0; pass < 3; pass++) {
		static const uint64_t xcr0[] = { 0, 0x207, 0xe7 };
		CkptCpuFacts *cpu = fresh();

		add(cpu, 1, 0, one);
		add(cpu, 7, 0, seven);
		cpu->has_xcr0 = pass > 0;
		cpu->xcr0 = xcr0[pass];
		ck_assert_int_eq(cpuinfo_derive(cpu), 0);
		ck_assert(cpuinfo_has(cpu, "sse2"));
		ck_assert(cpuinfo_has(cpu, "bmi1"));
		ck_assert_int_eq(cpuinfo_has(cpu, "avx"), pass > 0);
		ck_assert_int_eq(cpuinfo_has(cpu, "avx2"), pass > 0);
		ck_assert_int_eq(cpuinfo_has(cpu, "fma"), pass > 0);
		ck_assert_int_eq(cpuinfo_has(cpu, "pku"), pass == 1);
		ck_assert_int_eq(cpuinfo_has(cpu, "avx512f"), pass == 2);
		ck_assert_uint_eq(cpu->family, 6);
		ck_assert_uint_eq(cpu->model, 207);
		ck_assert_uint_eq(cpu->stepping, 2);
		ckpt_cpu_facts__free_unpacked(cpu, NULL);
	}
}
END_TEST

/* A Zen 3's layout: PKRU stands at 0x980, not where Intel has it; supervisor components don't
 * count. */
START_TEST(xsave_layout)
{
	static const uint32_t main_leaf[4] = { 0x207, 0x988, 0x988, 0 };
	static const uint32_t avx[4] = { 0x100, 0x240, 0, 0 }, pkru[4] = { 8, 0x980, 0, 0 };
	static const uint32_t cet[4] = { 0x10, 0, 1, 0 };
	CkptCpuFacts *cpu = fresh();

	add(cpu, 0xd, 0, main_leaf);
	add(cpu, 0xd, 2, avx);
	add(cpu, 0xd, 9, pkru);
	add(cpu, 0xd, 11, cet);
	cpu->has_xcr0 = true;
	cpu->xcr0 = 0x207 | 1 << 11;
	ck_assert_int_eq(cpuinfo_derive(cpu), 0);
	ck_assert_uint_eq(cpu->xsave_size, 0x988);
	ck_assert_uint_eq(cpu->n_xsave, 2);
	ck_assert_uint_eq(cpuinfo_component(cpu, 9)->offset, 0x980);
	ck_assert_uint_eq(cpuinfo_component(cpu, 2)->size, 0x100);
	ck_assert_ptr_null(cpuinfo_component(cpu, 5));
	ck_assert_ptr_null(cpuinfo_component(cpu, 11));
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
}
END_TEST

START_TEST(no_leaves_no_features)
{
	CkptCpuFacts *cpu = fresh();

	ck_assert_int_eq(cpuinfo_derive(cpu), 0);
	ck_assert_uint_eq(cpu->n_features, 0);
	ck_assert_uint_eq(cpu->n_xsave, 0);
	ck_assert_ptr_null(cpu->vendor);
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
}
END_TEST

/* What the kernel shows a user program and what we read must be one and the same. */
START_TEST(live_agrees_with_kernel)
{
	static const char *const both[] = {
		"sse2",    "ssse3",    "sse4_1", "sse4_2",   "popcnt",    "avx", "avx2",
		"fma",     "f16c",     "bmi1",   "bmi2",     "movbe",     "abm", "aes",
		"avx512f", "avx512bw", "adx",    "avx512vl", "pclmulqdq",
	};
	CK_AUTO(free) char *text = NULL;
	CkptCpuFacts *cpu = NULL, *again = NULL;
	char *flags, *end;

	ck_assert_int_ge(ck_read_file_at(-1, "/proc/cpuinfo", 1 << 24, &text, NULL), 0);
	flags = strstr(text, "\nflags");
	ck_assert_ptr_nonnull(flags);
	end = strchr(flags + 1, '\n');
	ck_assert_ptr_nonnull(end);
	end[0] = ' ';
	end[1] = '\0';
	ck_assert_int_eq(cpuinfo_facts(&cpu, NULL), 0);
	ck_assert_str_eq(cpu->arch, "x86_64");
	for (size_t i = 0; i < CK_ARRAY_SIZE(both); i++) {
		char word[40];

		snprintf(word, sizeof(word), " %s ", both[i]);
		ck_assert_msg(cpuinfo_has(cpu, both[i]) == !!strstr(flags, word), "%s", both[i]);
	}
	for (size_t i = 1; i < cpu->n_features; i++)
		ck_assert_int_lt(strcmp(cpu->features[i - 1], cpu->features[i]), 0);
	if (cpu->has_xcr0)
		ck_assert_uint_eq(cpu->xcr0 & 3, 3);
	ck_assert(!cpu->xcr0_inferred);
	ck_assert_str_eq(cpu->level, strstr(flags, " avx512vl ") ? "x86-64-v4"
				     : strstr(flags, " bmi2 ")   ? "x86-64-v3"
				     : strstr(flags, " sse4_2 ") ? "x86-64-v2"
								 : "x86-64");
	/* Read twice, on whatever processor: the same. */
	ck_assert_int_eq(cpuinfo_facts(&again, NULL), 0);
	ck_assert_uint_eq(cpu->n_leaves, again->n_leaves);
	for (size_t i = 0; i < cpu->n_leaves; i++) {
		const CkptCpuidLeaf *a = cpu->leaves[i], *b = again->leaves[i];

		ck_assert_msg(a->leaf == b->leaf && a->subleaf == b->subleaf && a->eax == b->eax &&
				      a->ebx == b->ebx && a->ecx == b->ecx && a->edx == b->edx,
			      "leaf %#x, %u", a->leaf, a->subleaf);
	}
	if (cpu->has_xsave_size && cpuinfo_has(cpu, "xsavec")) {
		uint32_t size[4];

		__cpuid_count(0xd, 0, size[0], size[1], size[2], size[3]);
		ck_assert_uint_eq(cpu->xsave_size, size[1]);
		ck_assert_uint_le(cpu->xsave_compacted, cpu->xsave_size);
	}
	ckpt_cpu_facts__free_unpacked(again, NULL);
	if (cpuinfo_has(cpu, "avx"))
		ck_assert_uint_eq(cpuinfo_component(cpu, 2)->offset, 576);
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cpuinfo-leaves");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, table_is_sound);
	tcase_add_test(tc, isa_sets_are_sound);
	tcase_add_test(tc, avx10_has_versions);
	tcase_add_test(tc, xcr0_gates_features);
	tcase_add_test(tc, xsave_layout);
	tcase_add_test(tc, no_leaves_no_features);
	tcase_add_test(tc, live_agrees_with_kernel);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
