// SPDX-License-Identifier: Apache-2.0
/* /proc text about the host: what is read of it, what is refused, and that its end is the end. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/procfs.h"

#define HEADING \
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \n"
#define REST " 00000000:00000000 00:00000000 00000000  1000        0 637 1 0000 100 0 0 10 0\n"
#define ANY6 "00000000000000000000000000000000:0000"

START_TEST(listeners)
{
	static const char text[] = HEADING "   0: 0100007F:1F90 00000000:0000 0A" REST
					   " 117: 00000000000000000000000001000000:FFFF " ANY6
					   " 0A" REST "   2: 020200C0:9324 507100CB:0050 01" REST
					   "   3: 00000000:0044 00000000:0000 07" REST;
	CK_AUTO(proc_listeners) struct proc_listeners l = { 0 };

	ck_assert_int_eq(proc_parse_listeners(text, strlen(text), &l), 0);
	ck_assert_uint_eq(l.n, 3);
	ck_assert(!l.l[0].v6);
	ck_assert_mem_eq(l.l[0].address, "\x7f\0\0\1", 4);
	ck_assert_uint_eq(l.l[0].port, 8080);
	ck_assert_uint_eq(l.l[0].uid, 1000);
	ck_assert(l.l[1].v6);
	ck_assert_mem_eq(l.l[1].address, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	ck_assert_uint_eq(l.l[1].port, 65535);
	ck_assert_uint_eq(l.l[2].port, 68);
	ck_assert(l.others);
}
END_TEST

START_TEST(no_listeners)
{
	static const char *const bad[] = {
		HEADING "   0 0100007F:1F90 00000000:0000 0A" REST,
		HEADING "   0: 0100007F 00000000:0000 0A" REST,
		HEADING "   0: 0100007:1F90 00000000:0000 0A" REST,
		HEADING "   0: 0100007G:1F90 00000000:0000 0A" REST,
		HEADING "   0: 0100007F:11F90 00000000:0000 0A" REST,
		HEADING "   0: 0100007F:1F90 00000000:0000\n",
		HEADING "   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0\n",
		HEADING "   0: 0100007F:1F90",
	};
	struct proc_listeners l;

	ck_assert_int_eq(proc_parse_listeners("", 0, &l), 0);
	ck_assert_uint_eq(l.n, 0);
	ck_assert_int_eq(proc_parse_listeners(HEADING, strlen(HEADING), &l), 0);
	ck_assert(!l.others);
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(proc_parse_listeners(bad[i], strlen(bad[i]), &l), -EINVAL);
		ck_assert_ptr_null(l.l);
	}
}
END_TEST

START_TEST(loadavg)
{
	static const char *const bad[] = { "", "\n", "1 2 3 4 5\n", "1 2 3 4/\n",
					   "1 2 3 1/99999999999 6\n" };
	uint32_t tasks = 7, last = 7;

	ck_assert_int_eq(proc_parse_loadavg("0.31 0.25 0.15 1/123 4711\n", 26, &tasks, &last), 0);
	ck_assert_uint_eq(tasks, 123);
	ck_assert_uint_eq(last, 4711);
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_loadavg(bad[i], strlen(bad[i]), &tasks, &last),
				 -EINVAL);
	ck_assert_uint_eq(tasks, 123);
}
END_TEST

START_TEST(cgroups)
{
	static const char text[] = "9:name=systemd:/s\n4:cpu,memory:/a:b/c\n0::/u\n";
	static const char *const bad[] = { "x\n", "1:memory\n", "1:memory:/cut" };
	CK_AUTO(proc_cgroups) struct proc_cgroups g = { 0 };
	struct proc_cgroups none;

	ck_assert_int_eq(proc_parse_cgroups(text, strlen(text), &g), 0);
	ck_assert_uint_eq(g.n, 3);
	ck_assert_str_eq(g.g[0].controllers, "name=systemd");
	ck_assert_str_eq(g.g[1].controllers, "cpu,memory");
	ck_assert_str_eq(g.g[1].path, "/a:b/c");
	ck_assert_str_eq(g.g[2].controllers, "");
	ck_assert_str_eq(g.g[2].path, "/u");
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(proc_parse_cgroups(bad[i], strlen(bad[i]), &none), -EINVAL);
		ck_assert_ptr_null(none.g);
	}
}
END_TEST

START_TEST(filesystems)
{
	static const char text[] = "nodev\tsysfs\n\text4\nnodev\tcgroup2\n\txfs";

	ck_assert(proc_has_filesystem(text, strlen(text), "sysfs"));
	ck_assert(proc_has_filesystem(text, strlen(text), "ext4"));
	ck_assert(!proc_has_filesystem(text, strlen(text), "ext"));
	ck_assert(!proc_has_filesystem(text, strlen(text), "cgroup"));
	ck_assert(!proc_has_filesystem(text, strlen(text), "nodev"));
	ck_assert(!proc_has_filesystem(text, strlen(text), "xfs")); /* cut */
	ck_assert(!proc_has_filesystem("", 0, ""));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/procfs-host");
	TCase *c = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(c, listeners);
	tcase_add_test(c, no_listeners);
	tcase_add_test(c, loadavg);
	tcase_add_test(c, cgroups);
	tcase_add_test(c, filesystems);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
