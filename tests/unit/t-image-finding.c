// SPDX-License-Identifier: Apache-2.0
/* Findings: texts are copied, may be left out, and a NULL finding is accepted. */
#include <check.h>
#include <stdlib.h>

#include "image/rule.h"

static const struct rule rule = { .id = "cpu.isa", .title = "instructions" };

START_TEST(holds_what_it_was_given)
{
	struct findings f = { 0 };
	char subject[] = "avx2";
	struct finding *x;

	x = findings_add(&f, &rule, FINDING_REFUSE, subject);
	finding_need(x, "needs %s", "AVX2");
	finding_have(x, "%d", 42);
	finding_evidence(x, NULL);
	finding_remedy(x, "first");
	finding_remedy(x, "second");
	subject[0] = 'X';
	ck_assert_uint_eq(f.n, 1);
	ck_assert_str_eq(f.f[0].rule, "cpu.isa");
	ck_assert_int_eq(f.f[0].status, FINDING_REFUSE);
	ck_assert_str_eq(f.f[0].subject, "avx2");
	ck_assert_str_eq(f.f[0].need, "needs AVX2");
	ck_assert_str_eq(f.f[0].have, "42");
	ck_assert_ptr_null(f.f[0].evidence);
	ck_assert_str_eq(f.f[0].remedy, "second");
	ck_assert(!f.failed);
	findings_done(&f);
	ck_assert_uint_eq(f.n, 0);
	findings_done(&f);
}
END_TEST

START_TEST(grows)
{
	struct findings f = { 0 };

	for (int i = 0; i < 1000; i++)
		finding_need(findings_add(&f, &rule, FINDING_OK, NULL), "%d", i);
	ck_assert_uint_eq(f.n, 1000);
	ck_assert_str_eq(f.f[999].need, "999");
	ck_assert_ptr_null(f.f[999].subject);
	finding_need(NULL, "%d", 1);
	findings_done(&f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image-finding");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(t, holds_what_it_was_given);
	tcase_add_test(t, grows);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
