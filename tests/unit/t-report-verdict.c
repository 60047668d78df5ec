// SPDX-License-Identifier: Apache-2.0
/* Verdicts as text and JSON: harmless whatever the names are, and no longer than a screen. */
#include <check.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "report/report.h"

static const struct rule rule = { .id = "fs.cwd", .title = "t" };

static char *text_of(const struct verdict *v, unsigned int flags)
{
	char *s = NULL;
	size_t n;
	FILE *f = open_memstream(&s, &n);

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(report_verdict_text(f, v, flags, NULL), 0);
	fclose(f);
	return s;
}

static size_t count(const char *s, const char *what)
{
	size_t n = 0;

	while ((s = strstr(s, what)) != NULL) {
		n++;
		s++;
	}
	return n;
}

START_TEST(control_characters)
{
	CK_AUTO(verdict) struct verdict v = { .status = VERDICT_INCOMPATIBLE };
	struct finding *f = findings_add(&v.findings, &rule, FINDING_REFUSE, "a\x1b[2Jb\n\x7f");
	CK_AUTO(free) char *s = NULL;

	/* CSI as a character of two bytes and as one byte; a letter stays. */
	finding_have(f, "%s",
		     "\xc2\x9b"
		     "2J \x9b"
		     "2J \xc3\xa4");

	finding_need(f, "%s", "\r\b");
	v.source_host = strdup("\x07");
	v.image = strdup("\x1b]0;x");
	s = text_of(&v, 0);
	for (const char *p = s; *p; p++)
		ck_assert(*p == '\n' || (unsigned char)*p >= 0x20);
	ck_assert_ptr_nonnull(strstr(s, "a\\x1b[2Jb\\x0a\\x7f"));
	ck_assert_ptr_nonnull(strstr(s, "\\xc2\\x9b"
					"2J \\x9b"
					"2J \xc3\xa4"));
}
END_TEST

static void add_full(struct findings *f, enum finding_status status)
{
	struct finding *x = findings_add(f, &rule, status, "x");

	finding_need(x, "a");
	finding_have(x, "b");
	finding_evidence(x, "c");
	finding_remedy(x, "d");
}

/* What decides is whole, then come first lines, then a number. */
START_TEST(one_screen)
{
	CK_AUTO(verdict) struct verdict v = { .status = VERDICT_INCOMPATIBLE };
	CK_AUTO(free) char *s = NULL;
	CK_AUTO(free) char *all = NULL;

	for (int i = 0; i < 500; i++)
		add_full(&v.findings, FINDING_REFUSE);
	findings_add(&v.findings, &rule, FINDING_DEGRADED, "y");
	findings_add(&v.findings, &rule, FINDING_OK, "z");
	s = text_of(&v, 0);
	ck_assert_uint_eq(count(s, "\n"), 24);
	ck_assert_uint_eq(count(s, "remedy"), 4);
	ck_assert_uint_eq(count(s, "REFUSED"), 5);
	ck_assert_uint_eq(count(s, "and 496 more"), 1);
	ck_assert_uint_eq(count(s, "OK"), 0);
	all = text_of(&v, REPORT_ALL);
	ck_assert_uint_eq(count(all, "REFUSED"), 500);
	ck_assert_uint_eq(count(all, "remedy"), 500);
	ck_assert_uint_eq(count(all, "OK"), 1);
}
END_TEST

/* A consequence is one line below its cause; an override is said. */
START_TEST(consequences)
{
	CK_AUTO(verdict) struct verdict v = { .status = VERDICT_INCOMPATIBLE };
	CK_AUTO(free) char *s = NULL;

	add_full(&v.findings, FINDING_REFUSE);
	add_full(&v.findings, FINDING_UNKNOWN);
	v.findings.f[1].cause = "fs.cwd";
	add_full(&v.findings, FINDING_DEGRADED);
	v.findings.f[2].overridden = true;
	v.overrides = calloc(1, sizeof(*v.overrides));
	v.n_overrides = 1;
	v.overrides[0] =
		(struct verdict_override){ strdup("a.b"), strdup("me\n"), strdup("now"), 1 };
	s = text_of(&v, 0);
	ck_assert_uint_eq(count(s, "remedy"), 2);
	ck_assert_uint_eq(count(s, "    hence    "), 1);
	ck_assert_uint_eq(count(s, "UNDECIDED"), 0);
	ck_assert_uint_eq(count(s, "  OVERRIDDEN  "), 1);
	ck_assert_ptr_nonnull(strstr(s, "a.b overridden by me\\x0a at now: 1 finding\n"));
}
END_TEST

START_TEST(json_is_whole)
{
	CK_AUTO(verdict) struct verdict v = { .status = VERDICT_TRY_LATER };
	struct finding *f = findings_add(&v.findings, &rule, FINDING_REFUSE,
					 "\xff\xc3\xa4\xed\xa0\x80\xf0\x9f\x98\x80\xc3");
	struct json_object *o, *list, *one, *x;
	char *s = NULL;
	size_t n;
	FILE *out = open_memstream(&s, &n);

	f->retry = true;
	finding_remedy(f, "say \"%s\"", "\t");
	ck_assert_int_eq(report_verdict_json(out, &v, 75, NULL), 0);
	fclose(out);
	o = json_tokener_parse(s);
	ck_assert_ptr_nonnull(o);
	ck_assert(json_object_object_get_ex(o, "exit_status", &x));
	ck_assert_int_eq(json_object_get_int(x), 75);
	ck_assert(json_object_object_get_ex(o, "findings", &list));
	one = json_object_array_get_idx(list, 0);
	ck_assert(json_object_object_get_ex(one, "subject", &x));
	/* One replacement for each byte that is no part of a character. */
	ck_assert_str_eq(json_object_get_string(x),
			 "\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
			 "\xf0\x9f\x98\x80\xef\xbf\xbd");
	ck_assert(json_object_object_get_ex(one, "retry", &x));
	ck_assert(json_object_object_get_ex(one, "remedy", &x));
	ck_assert_str_eq(json_object_get_string(x), "say \"\t\"");
	json_object_put(o);
	free(s);
}
END_TEST

START_TEST(full_disk)
{
	CK_AUTO(verdict) struct verdict v = { 0 };
	FILE *out = fopen("/dev/full", "we");

	ck_assert_ptr_nonnull(out);
	ck_assert_int_lt(report_verdict_text(out, &v, 0, NULL), 0);
	ck_assert_int_lt(report_verdict_json(out, &v, 0, NULL), 0);
	fclose(out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("report-verdict");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, control_characters);
	tcase_add_test(tc, one_screen);
	tcase_add_test(tc, consequences);
	tcase_add_test(tc, json_is_whole);
	tcase_add_test(tc, full_disk);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
