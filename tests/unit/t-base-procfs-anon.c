// SPDX-License-Identifier: Apache-2.0
/* Parsers of fdinfo of anonymous files, on text as kernels write it and on text that is broken. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/procfs.h"

#define HEAD "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1034\n"

START_TEST(eventfd_text)
{
	static const char old[] = HEAD "eventfd-count: fffffffffffffffe\n";
	static const char now[] =
		HEAD "eventfd-count:               1a\neventfd-id: 3\neventfd-semaphore: 1\n";
	static const char *const bad[] = { "", HEAD, HEAD "eventfd-count: \n",
					   HEAD "eventfd-count: 1ffffffffffffffff\n",
					   HEAD "eventfd-count: 1" };
	struct proc_eventfd e;

	ck_assert_int_eq(proc_parse_eventfd(old, strlen(old), &e), 0);
	ck_assert_uint_eq(e.count, UINT64_MAX - 1);
	ck_assert_int_eq(e.semaphore, -1);
	ck_assert_int_eq(proc_parse_eventfd(now, strlen(now), &e), 0);
	ck_assert_uint_eq(e.count, 0x1a);
	ck_assert_int_eq(e.semaphore, 1);
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_eventfd(bad[i], strlen(bad[i]), &e), -EINVAL);
}
END_TEST

#define WATCH "inotify wd:2 ino:3c51a sdev:fe00000 mask:84000fff ignored_mask:0 "

START_TEST(inotify_text)
{
	static const char text[] =
		HEAD WATCH "fhandle-bytes:8 fhandle-type:81 f_handle:1ac50300000000ff\n" WATCH "\n";
	static const char *const bad[] = {
		HEAD "inotify wd:0 ino:1 sdev:1 mask:2 ignored_mask:0 \n",
		HEAD "inotify wd:80000000 ino:1 sdev:1 mask:2 ignored_mask:0 \n",
		HEAD WATCH "fhandle-bytes:8 fhandle-type:1 f_handle:1ac503000000\n",
		HEAD WATCH "fhandle-bytes:81 fhandle-type:1 f_handle:1ac503000000\n",
		HEAD WATCH "else\n",
		HEAD WATCH,
	};
	CK_AUTO(proc_inotify) struct proc_inotify e;

	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_inotify(bad[i], strlen(bad[i]), &e), -EINVAL);
	ck_assert_int_eq(proc_parse_inotify(text, strlen(text), &e), 0);
	ck_assert_uint_eq(e.n, 2);
	ck_assert_int_eq(e.watch[0].wd, 2);
	ck_assert_uint_eq(e.watch[0].ino, 0x3c51a);
	ck_assert_uint_eq(e.watch[0].kdev, 0xfe00000);
	ck_assert_uint_eq(e.watch[0].mask, 0x84000fff);
	ck_assert_int_eq(e.watch[0].handle_type, 0x81);
	ck_assert_uint_eq(e.watch[0].handle_len, 8);
	ck_assert_uint_eq(e.watch[0].handle[0], 0x1a);
	ck_assert_uint_eq(e.watch[0].handle[7], 0xff);
	ck_assert_uint_eq(e.watch[1].handle_len, 0);
}
END_TEST

START_TEST(pidfd_text)
{
	int pid;

	ck_assert_int_eq(proc_parse_pidfd(HEAD "Pid:\t812\n", strlen(HEAD "Pid:\t812\n"), &pid), 0);
	ck_assert_int_eq(pid, 812);
	ck_assert_int_eq(proc_parse_pidfd("Pid:\t-1\nNSpid:\t5\n", 17, &pid), 0);
	ck_assert_int_eq(pid, -1);
	ck_assert_int_eq(proc_parse_pidfd("Pid:\t-2\n", 8, &pid), -EINVAL);
	ck_assert_int_eq(proc_parse_pidfd("NSpid:\t8\n", 9, &pid), -EINVAL);
}
END_TEST

#define ITEM "tfd:        5 events:       19 data: 8000000000000005  pos:7 ino:40a sdev:800013\n"

START_TEST(epoll_text)
{
	static const char text[] =
		HEAD ITEM "tfd: 2147483647 events: c0000000 data: 0  pos:0 ino:1 sdev:d\n";
	static const char *const bad[] = {
		HEAD "tfd: 5 events: 19 data: 5\n",
		HEAD "tfd: -5 events: 19 data: 5  pos:0 ino:1 sdev:d\n",
		HEAD "tfd: 5 events: 190000000 data: 5  pos:0 ino:1 sdev:d\n",
		HEAD ITEM "tfd: 5 events: 19 da",
	};
	CK_AUTO(proc_epoll) struct proc_epoll e;

	ck_assert_int_eq(proc_parse_epoll(HEAD, strlen(HEAD), &e), 0);
	ck_assert_uint_eq(e.n, 0);
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_epoll(bad[i], strlen(bad[i]), &e), -EINVAL);
	ck_assert_int_eq(proc_parse_epoll(text, strlen(text), &e), 0);
	ck_assert_uint_eq(e.n, 2);
	ck_assert_int_eq(e.item[0].fd, 5);
	ck_assert_uint_eq(e.item[0].events, 0x19);
	ck_assert_uint_eq(e.item[0].data, 1ull << 63 | 5);
	ck_assert_uint_eq(e.item[0].pos, 7);
	ck_assert_uint_eq(e.item[0].ino, 0x40a);
	ck_assert_uint_eq(e.item[0].kdev, 0x800013);
	ck_assert_int_eq(e.item[1].fd, 2147483647);
	ck_assert_uint_eq(e.item[1].events, 0xc0000000);
}
END_TEST

#define TIMER(value) \
	"clockid: 1\nticks: 3\nsettime flags: 01\nit_value: " value "\nit_interval: (1, 0)\n"

START_TEST(timerfd_text)
{
	static const char text[] = HEAD TIMER("(18446744073709551615, 999999999)");
	static const char *const bad[] = { HEAD,
					   HEAD "clockid: 1\n",
					   HEAD TIMER("(1)"),
					   HEAD TIMER("(1, 2"),
					   HEAD TIMER("1, 2)"),
					   HEAD TIMER("(1, 1000000000)"),
					   HEAD TIMER("(-1, 0)") };
	struct proc_timerfd t;

	ck_assert_int_eq(proc_parse_timerfd(text, strlen(text), &t), 0);
	ck_assert_int_eq(t.clock, 1);
	ck_assert_uint_eq(t.ticks, 3);
	ck_assert_uint_eq(t.settime_flags, 1);
	ck_assert_uint_eq(t.value[0], UINT64_MAX);
	ck_assert_uint_eq(t.value[1], 999999999);
	ck_assert_uint_eq(t.interval[0], 1);
	ck_assert_uint_eq(t.interval[1], 0);
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_timerfd(bad[i], strlen(bad[i]), &t), -EINVAL);
}
END_TEST

START_TEST(signalfd_text)
{
	static const char text[] = HEAD "sigmask:\t8000000000000200\n";
	static const char *const bad[] = { HEAD, HEAD "sigmask:\t\n", HEAD "sigmask:\t12345" };
	uint64_t mask;

	ck_assert_int_eq(proc_parse_signalfd(text, strlen(text), &mask), 0);
	ck_assert_uint_eq(mask, 0x8000000000000200);
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_signalfd(bad[i], strlen(bad[i]), &mask), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/procfs-anon");
	TCase *c = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(c, eventfd_text);
	tcase_add_test(c, epoll_text);
	tcase_add_test(c, pidfd_text);
	tcase_add_test(c, inotify_text);
	tcase_add_test(c, timerfd_text);
	tcase_add_test(c, signalfd_text);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
