// SPDX-License-Identifier: Apache-2.0
/* The growing string: contents, hand-over, and one report for all that went wrong on the way. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/strbuf.h"

START_TEST(empty_is_an_empty_string)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	CK_AUTO(free) char *s = NULL;

	ck_assert_str_eq(ck_strbuf_str(&b), "");
	ck_assert(ck_strbuf_ok(&b));
	s = ck_strbuf_take(&b);
	ck_assert_ptr_nonnull(s);
	ck_assert_str_eq(s, "");
}
END_TEST

START_TEST(add_keeps_bytes)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	ck_strbuf_add(&b, "a\0b", 3);
	ck_strbuf_add(&b, "", 0);
	ck_strbuf_addf(&b, "%s-%d", "c", 42);
	ck_assert_uint_eq(b.len, 7);
	ck_assert_mem_eq(ck_strbuf_str(&b), "a\0bc-42", 8);
}
END_TEST

/* Every length around the points where the buffer grows. */
START_TEST(grows_at_any_length)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	for (size_t i = 0; i < 5000; i++) {
		char c = (char)('a' + i % 26);

		if (i % 2)
			ck_strbuf_add(&b, &c, 1);
		else
			ck_strbuf_addf(&b, "%c", c);
		ck_assert_uint_eq(b.len, i + 1);
		ck_assert_uint_lt(b.len, b.size);
		ck_assert_int_eq(b.s[i + 1], '\0');
	}
	for (size_t i = 0; i < 5000; i++)
		ck_assert_int_eq(b.s[i], (char)('a' + i % 26));
}
END_TEST

START_TEST(take_hands_over)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	CK_AUTO(free) char *s = NULL;

	ck_strbuf_addf(&b, "one");
	s = ck_strbuf_take(&b);
	ck_assert_str_eq(s, "one");
	ck_assert_str_eq(ck_strbuf_str(&b), "");
	ck_strbuf_addf(&b, "two");
	ck_assert_str_eq(s, "one");
	ck_assert_str_eq(ck_strbuf_str(&b), "two");
}
END_TEST

START_TEST(reset_starts_again)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	ck_strbuf_reset(&b);
	ck_assert_str_eq(ck_strbuf_str(&b), "");
	ck_strbuf_addf(&b, "long enough to have a buffer");
	ck_strbuf_reset(&b);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_str_eq(ck_strbuf_str(&b), "");
	ck_strbuf_addf(&b, "x");
	ck_assert_str_eq(ck_strbuf_str(&b), "x");
}
END_TEST

/* SIZE_MAX / 2 bytes can't be had: nothing is copied, and the failure is not forgotten. */
START_TEST(failure_is_remembered)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	ck_strbuf_addf(&b, "kept");
	ck_strbuf_add(&b, "x", SIZE_MAX / 2);
	ck_assert(!ck_strbuf_ok(&b));
	ck_strbuf_addf(&b, "later");
	ck_assert(!ck_strbuf_ok(&b));
	ck_assert_str_eq(ck_strbuf_str(&b), "kept");
	ck_assert_ptr_null(ck_strbuf_take(&b));
	ck_assert(ck_strbuf_ok(&b));
	ck_assert_str_eq(ck_strbuf_str(&b), "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/strbuf");
	TCase *t = tcase_create("strbuf");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, empty_is_an_empty_string);
	tcase_add_test(t, add_keeps_bytes);
	tcase_add_test(t, grows_at_any_length);
	tcase_add_test(t, take_hands_over);
	tcase_add_test(t, reset_starts_again);
	tcase_add_test(t, failure_is_remembered);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
