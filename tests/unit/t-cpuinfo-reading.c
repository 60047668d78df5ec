// SPDX-License-Identifier: Apache-2.0
/* CPUID readings in text form, made up for the occasion: what counts in them, and what must not. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cpuinfo/cpuinfo.h"

#define INTEL "CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69 [GenuineIntel]\n"
#define LONG_MODE "CPUID 80000001: 00000000-00000000-00000021-20000000\n"
/* Alder Lake, read under a system that left the protection keys off: OSPKE is 0, and so is their
 * part of the area (0x340 of 0xa88 bytes). */
#define ALDER_LAKE                                                                      \
	INTEL "CPUID 00000001: 000906A4-00000800-3CD83201-07808101\n"                   \
	      "CPUID 00000007: 00000001-000001A9-00000008-00000000 [SL 00]\n"           \
	      "CPUID 00000007: 00000010-00000000-00000000-00000000 [SL 01]\n"           \
	      "CPUID 0000000D: 00000207-00000340-00000A88-00000000 [SL 00]\n"           \
	      "CPUID 0000000D: 00000003-00000000-00000000-00000000 [SL 01]\n"           \
	      "CPUID 0000000D: 00000100-00000240-00000000-00000000 [SL 02]\n"           \
	      "CPUID 0000000D: 00000080-00000000-00000001-00000000 [SL 08]\n"           \
	      "CPUID 0000000D: 00000008-00000A80-00000000-00000000 [SL 09]\n" LONG_MODE \
	      "CPUID 80000002: 20202020-69614620-4320726B-00205550\n"                   \
	      "CPUID 80000003: 00000000-00000000-00000000-00000000\n"                   \
	      "CPUID 80000004: 00000000-00000000-00000000-00000000\n"

static CkptCpuFacts *parsed(const char *text)
{
	struct ck_err err = CK_ERR_INIT;
	CkptCpuFacts *cpu = NULL;
	int r = cpuinfo_parse(text, strlen(text), &cpu, &err);

	ck_assert_msg(r == 0, "%s", err.what);
	return cpu;
}

static void done(CkptCpuFacts *cpu)
{
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
}

START_TEST(a_reading)
{
	CkptCpuFacts *cpu = parsed("# notes\n" ALDER_LAKE);

	ck_assert_str_eq(cpu->arch, "x86_64");
	ck_assert_str_eq(cpu->vendor, "GenuineIntel");
	ck_assert_str_eq(cpu->brand, "Faikr CPU");
	ck_assert_str_eq(cpu->codename, "Alder Lake");
	ck_assert_uint_eq(cpu->family, 6);
	ck_assert_uint_eq(cpu->model, 0x9a);
	ck_assert_uint_eq(cpu->stepping, 4);
	ck_assert_str_eq(cpu->level, "x86-64-v3");
	/* CPUID does not tell: inferred is what Linux turns on. */
	ck_assert(cpu->xcr0_inferred);
	ck_assert_uint_eq(cpu->xcr0, 0x207);
	ck_assert_uint_eq(cpu->xsave_size, 0xa88);
	ck_assert_uint_eq(cpu->n_xsave, 2);
	ck_assert_uint_eq(cpuinfo_component(cpu, 9)->offset, 0xa80);
	ck_assert_uint_eq(cpuinfo_component(cpu, 9)->compacted, 832);
	ck_assert_uint_eq(cpu->xsave_compacted, 840);
	ck_assert(cpuinfo_has(cpu, "pku"));
	ck_assert(cpuinfo_has(cpu, "xsavec"));
	ck_assert(cpuinfo_has(cpu, "avx_vnni"));
	ck_assert(!cpuinfo_has(cpu, "avx512f"));
	/* Not shown outside 64-bit mode, but every such CPU has it. */
	ck_assert(cpuinfo_has(cpu, "syscall"));
	done(cpu);
}
END_TEST

/* Line ends of Windows, small letters, other lines between, no newline at the end; the second
 * processor does not count. */
START_TEST(forms)
{
	CkptCpuFacts *cpu = parsed("------[ Logical CPU #0 ]------\r\n"
				   "CPUID 00000000: 00000001-68747541-444d4163-69746e65\r\n"
				   "allcpu: Package 0 / Core 0 / Thread 0: Valid\r\n"
				   "MSR 0000001B: 0000-0000-FEE0-0900\r\n"
				   "CPUID 00000001: 00000f4a-00000800-00000000-07808101\r\n"
				   "CPUID 80000001: 00000f4a-00000000-00000000-20000000\r\n"
				   "------[ Logical CPU #1 ]------\r\n"
				   "CPUID 00000000: 00000001-68747541-444d4163-69746e65\r\n"
				   "CPUID 00000001: 00000f4b-00000800-ffffffff-07808101\r\n"
				   "CPUID 00000007: 00000000-ffffffff-ffffffff-ffffffff");

	ck_assert_str_eq(cpu->vendor, "AuthenticAMD");
	ck_assert_str_eq(cpu->codename, "K8");
	ck_assert_str_eq(cpu->level, "x86-64");
	ck_assert_uint_eq(cpu->n_leaves, 3);
	ck_assert(!cpu->has_xcr0);
	ck_assert(!cpuinfo_has(cpu, "avx2"));
	done(cpu);
}
END_TEST

/* A tool that counted on: sub-leaf 1 is the next processor's sub-leaf 0, and says nothing of
 * XSAVEOPT and XSAVEC (its EAX would). */
START_TEST(wrapped_sub_leaves)
{
	CkptCpuFacts *cpu = parsed(
		INTEL "CPUID 00000001: 000306A9-00000800-0C000001-07808101\n"
		      "CPUID 00000004: 00000121-00C0003F-0000003F-00000000 [SL 00]\n"
		      "CPUID 00000004: 00000122-00C0003F-0000001F-00000000 [SL 01]\n"
		      "CPUID 00000004: 00000121-00C0003F-0000003F-00000000 [SL 02]\n"
		      "CPUID 00000004: 00000122-00C0003F-0000001F-00000000 [SL 03]\n"
		      "CPUID 0000000B: 00000001-00000001-00000100-00000000 [SL 00]\n"
		      "CPUID 0000000B: 00000004-00000002-00000201-00000000 [SL 01]\n"
		      "CPUID 0000000B: 00000001-00000001-00000100-00000002 [SL 02]\n"
		      "CPUID 0000000D: 00000003-00000240-00000240-00000000 [SL 00]\n"
		      "CPUID 0000000D: 00000003-00000240-00000240-00000000 [SL 01]\n"
		      "CPUID 0000000F: 00000000-00000000-00000000-00000000 [SL 00]\n"
		      "CPUID 0000000F: 00000000-00000000-00000000-00000000 [SL 01]\n" LONG_MODE);

	ck_assert_uint_eq(cpu->n_leaves, 2 + 2 + 2 + 1 + 2 + 1);
	ck_assert(!cpuinfo_has(cpu, "xsavec"));
	ck_assert(cpuinfo_has(cpu, "xsave"));
	ck_assert_uint_eq(cpu->xcr0, 3);
	ck_assert_uint_eq(cpu->xsave_size, 576);
	done(cpu);
}
END_TEST

/* What is not read is not there, and not zero: no layout without the leaf of each component. */
START_TEST(missing_sub_leaves)
{
	CkptCpuFacts *cpu =
		parsed(INTEL "CPUID 00000001: 000306C3-00000800-3CD83201-07808101\n"
			     "CPUID 0000000D: 00000007-00000340-00000340-00000000\n" LONG_MODE);

	ck_assert_uint_eq(cpu->xcr0, 7);
	ck_assert_uint_eq(cpu->n_xsave, 0);
	ck_assert(!cpu->has_xsave_size);
	ck_assert(!cpu->has_xsave_compacted);
	ck_assert(cpuinfo_has(cpu, "avx"));
	done(cpu);
}
END_TEST

START_TEST(no_long_mode)
{
	CkptCpuFacts *cpu = parsed(INTEL "CPUID 00000001: 00000681-00000000-00000000-07808101\n");

	ck_assert_str_eq(cpu->arch, "i686");
	ck_assert_ptr_null(cpu->level);
	ck_assert_ptr_null(cpu->codename); /* a model without a row has no name */
	done(cpu);
}
END_TEST

START_TEST(no_reading)
{
	static const struct {
		const char *text, *what;
	} t[] = {
		{ "", "no CPUID leaves 0 and 1" },
		{ "\n\n", "no CPUID leaves 0 and 1" },
		{ INTEL, "no CPUID leaves 0 and 1" },
		{ "processor : 0\nflags : sse\n", "no CPUID leaves 0 and 1" },
		{ INTEL "CPUID 00000001: 00000681-00000000-00000000\n", "line 2" },
		{ INTEL "CPUID 00000001: 00000681-00000000-00000000-0780810\n", "line 2" },
		{ "\nCPUID 00000001: zero\n", "line 2" },
		{ "CPUID 00000007: 00000000-00000000-00000000-00000000 [SL 1]\n", "line 1" },
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(t); i++) {
		struct ck_err err = CK_ERR_INIT;
		CkptCpuFacts *cpu = NULL;

		ck_assert_int_eq(cpuinfo_parse(t[i].text, strlen(t[i].text), &cpu, &err), -EINVAL);
		ck_assert_int_eq((int)err.kind, CK_ERR_CONFIG);
		ck_assert_msg(strstr(err.what, t[i].what) != NULL, "%zu: %s", i, err.what);
	}
}
END_TEST

START_TEST(too_many_leaves)
{
	size_t size = 5000 * 64;
	CK_AUTO(free) char *text = malloc(size);
	struct ck_err err = CK_ERR_INIT;
	CkptCpuFacts *cpu = NULL;
	size_t len = 0;

	for (unsigned int i = 0; i < 5000; i++)
		len += (size_t)snprintf(text + len, size - len,
					"CPUID %08X: 00000000-00000000-00000000-00000000\n", i);
	ck_assert_int_eq(cpuinfo_parse(text, len, &cpu, &err), -E2BIG);
}
END_TEST

/* Any reading, whatever was done to it, is read or refused. */
START_TEST(damaged)
{
	static const char any[18] = { '0', '1', '2', '3', '7', '8', '9', 'A',  'C',
				      'F', 'f', ' ', '-', '[', ']', 'S', '\n', '\0' };
	const size_t len = strlen(ALDER_LAKE);
	unsigned int seed = 4711;

	for (int round = 0; round < 3000; round++) {
		CK_AUTO(free) char *text = malloc(len);
		CkptCpuFacts *cpu = NULL;
		size_t n = (size_t)rand_r(&seed) % 8 ? len : (size_t)rand_r(&seed) % len;

		memcpy(text, ALDER_LAKE, len);
		for (int k = rand_r(&seed) % 12; k >= 0; k--)
			text[(size_t)rand_r(&seed) % len] = any[rand_r(&seed) % 18];
		if (cpuinfo_parse(text, n, &cpu, NULL) == 0)
			done(cpu);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cpuinfo-reading");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, a_reading);
	tcase_add_test(tc, forms);
	tcase_add_test(tc, wrapped_sub_leaves);
	tcase_add_test(tc, missing_sub_leaves);
	tcase_add_test(tc, no_long_mode);
	tcase_add_test(tc, no_reading);
	tcase_add_test(tc, too_many_leaves);
	tcase_add_test(tc, damaged);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
