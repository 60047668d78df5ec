// SPDX-License-Identifier: Apache-2.0
/* The error object: what callers read from it, and that long texts end instead of overflowing. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

START_TEST(fail_fills_everything)
{
	struct ck_err e = CK_ERR_INIT;

	errno = ENOTTY;
	ck_assert_int_eq(ck_fail(&e, CK_ERR_REFUSED, -EPERM, "cannot dump %d", 7), -EPERM);
	ck_assert_int_eq(__LINE__ - 1, e.line);
	ck_assert_int_eq(e.kind, CK_ERR_REFUSED);
	ck_assert_int_eq(e.code, -EPERM);
	ck_assert_str_eq(e.what, "cannot dump 7");
	ck_assert_str_eq(e.where, "");
	ck_assert_str_eq(e.hint, "");
	ck_assert_ptr_nonnull(strstr(e.file, "t-base-err.c"));
	ck_assert_int_eq(errno, ENOTTY);
}
END_TEST

START_TEST(fail_forgets_the_last_error)
{
	struct ck_err e = CK_ERR_INIT;
	int r = ck_fail(&e, CK_ERR_SYS, -EIO, "first");

	ck_err_at(&e, r, "place");
	ck_err_hint(&e, r, "hint");
	ck_fail(&e, CK_ERR_IMAGE, -EINVAL, "second");
	ck_assert_str_eq(e.what, "second");
	ck_assert_str_eq(e.where, "");
	ck_assert_str_eq(e.hint, "");
}
END_TEST

START_TEST(fail_takes_null)
{
	ck_assert_int_eq(ck_fail(NULL, CK_ERR_SYS, -EIO, "nobody looks"), -EIO);
	errno = EACCES;
	ck_assert_int_eq(ck_fail_errno(NULL, "nobody looks"), -EACCES);
	ck_assert_int_eq(ck_err_at(NULL, -EIO, "x"), -EIO);
	ck_assert_int_eq(ck_err_hint(NULL, -EIO, "x"), -EIO);
}
END_TEST

/* A caller that passes a code which is no error must still see a failure. */
START_TEST(fail_is_always_negative)
{
	struct ck_err e;

	ck_assert_int_lt(ck_fail(&e, CK_ERR_BUG, 0, "x"), 0);
	ck_assert_int_lt(ck_fail(&e, CK_ERR_VERDICT, 20, "x"), 0);
	ck_assert_int_eq(e.code, 20);
	errno = 0;
	ck_assert_int_lt(ck_fail_errno(&e, "x"), 0);
	ck_assert_int_lt(e.code, 0);
}
END_TEST

START_TEST(errno_is_kept_and_told)
{
	struct ck_err e;
	char line[200];

	errno = ENOENT;
	ck_assert_int_eq(ck_fail_errno(&e, "open %s", "/x"), -ENOENT);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(e.kind, CK_ERR_SYS);
	ck_err_format(&e, line, sizeof(line));
	ck_assert_str_eq(line, "open /x: No such file or directory");
}
END_TEST

START_TEST(places_stand_outermost_first)
{
	struct ck_err e;
	int r = ck_fail(&e, CK_ERR_REFUSED, -EPERM, "cannot dump a socket");
	char line[300];

	errno = EBUSY;
	ck_assert_int_eq(ck_err_at(&e, r, "fd %d", 5), r);
	ck_assert_int_eq(ck_err_at(&e, r, "task %d", 812), r);
	ck_assert_int_eq(errno, EBUSY);
	ck_assert_str_eq(e.where, "task 812 > fd 5");
	ck_err_format(&e, line, sizeof(line));
	ck_assert_str_eq(line, "cannot dump a socket (task 812 > fd 5)");
}
END_TEST

START_TEST(the_innermost_hint_stays)
{
	struct ck_err e;
	int r = ck_fail(&e, CK_ERR_REFUSED, -EPERM, "cannot dump a terminal");
	char line[300];

	ck_assert_int_eq(ck_err_hint(&e, r, "use --%s", "shell-job"), r);
	ck_assert_int_eq(ck_err_hint(&e, r, "ask someone"), r);
	ck_err_format(&e, line, sizeof(line));
	ck_assert_str_eq(line, "cannot dump a terminal; use --shell-job");
}
END_TEST

START_TEST(long_texts_are_cut)
{
	char big[2000], line[64];
	struct ck_err e;
	int r;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	r = ck_fail(&e, CK_ERR_SYS, -EIO, "%s", big);
	ck_assert_uint_eq(strlen(e.what), sizeof(e.what) - 1);
	ck_err_hint(&e, r, "%s", big);
	ck_assert_uint_eq(strlen(e.hint), sizeof(e.hint) - 1);
	for (int i = 0; i < 10; i++) {
		ck_err_at(&e, r, "%d%s", i, big);
		ck_assert_uint_lt(strlen(e.where), sizeof(e.where));
		/* The newest place is the outermost and must not be the one that is lost. */
		ck_assert_int_eq(e.where[0], '0' + i);
	}
	ck_err_format(&e, line, sizeof(line));
	ck_assert_uint_eq(strlen(line), sizeof(line) - 1);
}
END_TEST

START_TEST(long_origin_keeps_its_end)
{
	struct ck_err e;

	ck_fail_at(&e, CK_ERR_SYS, -EIO, "/a/very/long/build/directory/somewhere/engine/res/pipe.c",
		   3, "x");
	ck_assert_uint_eq(strlen(e.file), sizeof(e.file) - 1);
	ck_assert_str_eq(e.file + strlen(e.file) - 6, "pipe.c");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/err");
	TCase *t = tcase_create("err");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, fail_fills_everything);
	tcase_add_test(t, fail_forgets_the_last_error);
	tcase_add_test(t, fail_takes_null);
	tcase_add_test(t, fail_is_always_negative);
	tcase_add_test(t, errno_is_kept_and_told);
	tcase_add_test(t, places_stand_outermost_first);
	tcase_add_test(t, the_innermost_hint_stays);
	tcase_add_test(t, long_texts_are_cut);
	tcase_add_test(t, long_origin_keeps_its_end);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
