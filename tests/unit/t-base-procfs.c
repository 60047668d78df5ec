// SPDX-License-Identifier: Apache-2.0
/* The /proc parsers on captured and on hostile texts, and the readers on this very process. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/procfs.h"

static const char stat_text[] =
	"6271 (a) R 1 (\n)) S 6265 6264 3560 34816 -1 4194304 102 0 0 0 0 0 0 0 20 0 3 0 141504 "
	"3133440 416 18446744073709551615 94874396577792 94874396597673 140729904417376 0 0 0 0 0 "
	"0 0 0 0 17 0 0 0 0 0 0 94874396613680 94874396615296 94874448187392 140729904425562 "
	"140729904425618 140729904425619 140729904426987 256\n";

/* Linux 6.1, two pid namespaces, no Kthread line */
static const char status_text[] =
	"Name:\ta\\nUid:\t7 7 7 7\n"
	"Umask:\t0027\n"
	"State:\tt (tracing stop)\n"
	"Tgid:\t812\nNgid:\t0\nPid:\t813\nPPid:\t1\nTracerPid:\t99\n"
	"Uid:\t1001\t1002\t1003\t1004\nGid:\t100\t101\t102\t4294967295\n"
	"FDSize:\t64\nGroups:\t4 24 4294967294 \n"
	"NStgid:\t812\t5\nNSpid:\t813\t6\nNSpgid:\t812\t5\nNSsid:\t800\t0\n"
	"VmPeak:\t    3060 kB\nVmRSS:\t    1776 kB\n"
	"SigPnd:\t0000000000000001\nShdPnd:\t0000000000004000\nSigBlk:\tffffffffffffffff\n"
	"SigIgn:\t0000000001001000\nSigCgt:\t0000000180000000\n"
	"CapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\nCapEff:\t0000000000000004\n"
	"CapBnd:\t0000000000000008\nCapAmb:\t0000000000000010\n"
	"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"
	"x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk wrss \n";

/* Linux 6.6, which has no more to tell where there is no shadow stack */
static const char status_locked[] =
	"Name:\tx\nState:\tS (sleeping)\nTgid:\t5\nPid:\t5\nPPid:\t2\nTracerPid:\t0\n"
	"Uid:\t1\t1\t1\t1\nGid:\t2\t2\t2\t2\nx86_Thread_features:\t\n"
	"x86_Thread_features_locked:\tshstk \n";

/* the least that a status must have: a zombie of an old kernel */
static const char status_min[] = "Name:\tx\nState:\tZ (zombie)\nTgid:\t5\nPid:\t5\nPPid:\t2\n"
				 "TracerPid:\t0\nUid:\t1\t1\t1\t1\nGid:\t2\t2\t2\t2\n";

static const char smaps_text[] =
	"00400000-00401000 r-xp 00002000 fe:1a 131 /tmp/new\\012line [x]\\134012 (deleted)\n"
	"Size:                  4 kB\nRss:                   8 kB\n"
	"Anonymous:             4 kB\nAnonHugePages:         0 kB\nSwap:                 12 kB\n"
	"VmFlags: rd ex mr mw me sd gd lo zz \nProtectionKey:         5\n"
	"7ffc0000-7ffd0000 rw-p 00000000 00:00 0                          [stack]\n"
	"VmFlags: rd wr mr mw me gd ac \n"
	"7ffd0000-7ffd1000 ---s fffffffffffff000 00:01 18446744073709551615 \n"
	"VmFlags: mr sh ms dd wf sl um uw ui ss \n"
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

static const char fdinfo_text[] =
	"pos:\t-1\nflags:\t02102001\nmnt_id:\t24\nino:\t9007199254740993\n"
	"lock:\t1: FLOCK  ADVISORY  WRITE 812 fe:01:1234 0 EOF\n"
	"lock:\t2: POSIX  ADVISORY  READ  813 fe:01:1234 10 19\n"
	"lock:\t3: OFDLCK ADVISORY  WRITE -1 fe:01:1234 9223372036854775806 EOF\n"
	"lock:\t4: LEASE  ACTIVE    READ  812 fe:01:1234 0 EOF\n"
	"eventfd-count:                3\n";

static const char mountinfo_text[] =
	"24 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"
	"25 24 0:23 /a\\040b /mnt/x\\134y\\012z\\011 rw - tmpfs  rw,size=4k\n"
	"26 24 0:24 / /s rw unbindable - fuse.sshfs u@h:/d\\040 rw\n";

static const char timers_text[] = "ID: 0\nsignal: 14/0000000000000000\nnotify: signal/pid.812\n"
				  "ClockID: 0\n"
				  "ID: 2147483647\nsignal: 60/ffffffffffffffff\n"
				  "notify: signal/tid.813\nClockID: -6\n"
				  "ID: 7\nsignal: 0/00007fff86e452a8\nnotify: none/pid.0\n"
				  "ClockID: 9\n";

static const char limits_text[] =
	"Limit                     Soft Limit           Hard Limit           Units     \n"
	"Max cpu time              unlimited            unlimited            seconds   \n"
	"Max file size             1                    2                    bytes     \n"
	"Max data size             unlimited            unlimited            bytes     \n"
	"Max stack size            8388608              unlimited            bytes     \n"
	"Max core file size        0                    unlimited            bytes     \n"
	"Max resident set          unlimited            unlimited            bytes     \n"
	"Max processes             96365                96365                processes \n"
	"Max open files            20000                20001                files     \n"
	"Max locked memory         8388608              8388608              bytes     \n"
	"Max address space         unlimited            unlimited            bytes     \n"
	"Max file locks            unlimited            unlimited            locks     \n"
	"Max pending signals       96365                96365                signals   \n"
	"Max msgqueue size         819200               819200               bytes     \n"
	"Max nice priority         0                    0                    \n"
	"Max realtime priority     0                    99                   \n"
	"Max realtime timeout      unlimited            18446744073709551614 us        \n";

START_TEST(stat_fields)
{
	struct proc_stat s;

	ck_assert_int_eq(proc_parse_stat(stat_text, strlen(stat_text), &s), 0);
	ck_assert_int_eq(s.pid, 6271);
	ck_assert_str_eq(s.comm, "a) R 1 (\n)");
	ck_assert_int_eq(s.state, 'S');
	ck_assert_int_eq(s.ppid, 6265);
	ck_assert_int_eq(s.pgrp, 6264);
	ck_assert_int_eq(s.sid, 3560);
	ck_assert_int_eq(s.tty_nr, 34816);
	ck_assert_int_eq(s.tpgid, -1);
	ck_assert_int_eq(s.num_threads, 3);
	ck_assert_uint_eq(s.start_time, 141504);
	ck_assert_uint_eq(s.start_code, 94874396577792);
	ck_assert_uint_eq(s.end_code, 94874396597673);
	ck_assert_uint_eq(s.start_stack, 140729904417376);
	ck_assert_uint_eq(s.start_data, 94874396613680);
	ck_assert_uint_eq(s.end_data, 94874396615296);
	ck_assert_uint_eq(s.start_brk, 94874448187392);
	ck_assert_uint_eq(s.arg_start, 140729904425562);
	ck_assert_uint_eq(s.arg_end, 140729904425618);
	ck_assert_uint_eq(s.env_start, 140729904425619);
	ck_assert_uint_eq(s.env_end, 140729904426987);
	ck_assert_int_eq(s.exit_code, 256);
	ck_assert_int_eq(s.exit_signal, 17);
}
END_TEST

START_TEST(stat_bad)
{
	static const char *const bad[] = {
		"",
		"\n",
		"1\n",
		"1 (\n",
		"1 (a)\n",
		"1 (a) \n",
		"99999999999 (a) S 1\n",
		"1 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 99999999999 0\n",
	};
	struct proc_stat s;

	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(proc_parse_stat(bad[i], strlen(bad[i]), &s), -EINVAL);
}
END_TEST

START_TEST(status_fields)
{
	CK_AUTO(proc_status) struct proc_status s;

	ck_assert_int_eq(proc_parse_status(status_text, strlen(status_text), &s), 0);
	ck_assert_uint_eq(s.umask, 027);
	ck_assert_int_eq(s.state, 't');
	ck_assert_int_eq(s.tgid, 812);
	ck_assert_int_eq(s.pid, 813);
	ck_assert_int_eq(s.ppid, 1);
	ck_assert_int_eq(s.tracer, 99);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(s.uid[i], 1001 + i);
	ck_assert_uint_eq(s.gid[3], UINT32_MAX);
	ck_assert_uint_eq(s.n_groups, 3);
	ck_assert_uint_eq(s.groups[2], 4294967294u);
	ck_assert_int_eq(s.ns_pid, 6);
	ck_assert_int_eq(s.ns_pgid, 5);
	ck_assert_int_eq(s.ns_sid, 0);
	ck_assert_uint_eq(s.n_ns, 2);
	ck_assert_uint_eq(s.sig_pnd, 1);
	ck_assert_uint_eq(s.shd_pnd, 0x4000);
	ck_assert_uint_eq(s.sig_blk, UINT64_MAX);
	ck_assert_uint_eq(s.sig_ign, 0x1001000);
	ck_assert_uint_eq(s.sig_cgt, 0x180000000);
	ck_assert_uint_eq(s.cap_prm, 0x1fffeffffff);
	ck_assert_uint_eq(s.cap_eff, 4);
	ck_assert_uint_eq(s.cap_bnd, 8);
	ck_assert_uint_eq(s.cap_amb, 16);
	ck_assert(s.no_new_privs);
	ck_assert_int_eq(s.seccomp, 2);
	ck_assert_int_eq(s.seccomp_filters, 3);
	ck_assert(s.shadow_stack);
	ck_assert_uint_eq(s.vm_rss_kib, 1776);
}
END_TEST

START_TEST(status_lines_missing)
{
	CK_AUTO(proc_status) struct proc_status s;
	struct proc_status t;
	char text[sizeof(status_min)];

	ck_assert_int_eq(proc_parse_status(status_locked, strlen(status_locked), &t), 0);
	ck_assert(!t.shadow_stack);
	proc_status_done(&t);
	ck_assert_int_eq(proc_parse_status(status_min, strlen(status_min), &s), 0);
	ck_assert_uint_eq(s.umask, UINT32_MAX);
	ck_assert_int_eq(s.seccomp_filters, -1);
	ck_assert_int_eq(s.ns_pid, 5);
	ck_assert_int_eq(s.ns_pgid, -1);
	ck_assert_uint_eq(s.n_ns, 1);
	/* without any one of the lines that every kernel writes it is no status */
	strcpy(text, status_min);
	memcpy(strstr(text, "PPid"), "Ppid", 4);
	ck_assert_int_eq(proc_parse_status(text, strlen(text), &t), -EINVAL);
	strcpy(text, status_min);
	memcpy(strstr(text, "Pid:\t5"), "Pid:\tx", 6);
	ck_assert_int_eq(proc_parse_status(text, strlen(text), &t), -EINVAL);
}
END_TEST

START_TEST(maps_fields)
{
	CK_AUTO(proc_maps) struct proc_maps m;

	ck_assert_int_eq(proc_parse_maps(smaps_text, strlen(smaps_text), &m), 0);
	ck_assert_uint_eq(m.n, 4);
	ck_assert_uint_eq(m.m[0].start, 0x400000);
	ck_assert_uint_eq(m.m[0].end, 0x401000);
	ck_assert_uint_eq(m.m[0].pgoff, 0x2000);
	ck_assert(m.m[0].r && !m.m[0].w && m.m[0].x && !m.m[0].shared);
	ck_assert_uint_eq(m.m[0].dev_major, 0xfe);
	ck_assert_uint_eq(m.m[0].dev_minor, 0x1a);
	ck_assert_uint_eq(m.m[0].inode, 131);
	ck_assert_str_eq(m.m[0].name, "/tmp/new\nline [x]\\134012");
	ck_assert(m.m[0].deleted);
	ck_assert_uint_eq(m.m[0].vmflags, PROC_VM_GROWSDOWN | PROC_VM_LOCKED);
	ck_assert_int_eq(m.m[0].protection_key, 5);
	ck_assert_uint_eq(m.m[0].rss_kib, 8);
	ck_assert_uint_eq(m.m[0].anon_kib, 4);
	ck_assert_uint_eq(m.m[0].swap_kib, 12);
	ck_assert_str_eq(m.m[1].name, "[stack]");
	ck_assert(!m.m[1].deleted);
	ck_assert_int_eq(m.m[1].protection_key, -1);
	ck_assert(m.m[2].shared && !m.m[2].r);
	ck_assert_str_eq(m.m[2].name, "");
	ck_assert_uint_eq(m.m[2].inode, UINT64_MAX);
	ck_assert_uint_eq(m.m[2].vmflags, PROC_VM_SHARED | PROC_VM_MAYSHARE | PROC_VM_DONTDUMP |
						  PROC_VM_WIPEONFORK | PROC_VM_SEALED |
						  PROC_VM_UFFD_MISSING | PROC_VM_UFFD_WP |
						  PROC_VM_UFFD_MINOR | PROC_VM_SHSTK);
	ck_assert_uint_eq(m.m[3].end, 0xffffffffff601000);
}
END_TEST

START_TEST(maps_names)
{
	static const struct {
		const char *tail, *name;
		bool deleted;
	} rows[] = {
		{ "fe:01 12   /a b\n", "/a b", false },
		{ "fe:01 12   /a (deleted)\n", "/a", true },
		{ "fe:01 12   /a (deleted) (deleted)\n", "/a (deleted)", true },
		{ "fe:01 12    (deleted)\n", "(deleted)", false },
		{ "00:01 12   /dev/zero (deleted)\n", "/dev/zero", true },
		{ "00:01 12   /memfd:x y (deleted)\n", "/memfd:x y", true },
		{ "00:00 0  [anon:7f-80 rw-p]\n", "[anon:7f-80 rw-p]", false },
		{ "fe:01 12   /a\\01\n", "/a\\01", false },
		{ "fe:01 12   /a\\0120\\040\n", "/a\n0\\040", false },
		{ "fe:01 12\n", "", false },
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(rows); i++) {
		CK_AUTO(proc_maps) struct proc_maps m;
		char text[200];

		snprintf(text, sizeof(text), "1000-2000 r--p 00000000 %s", rows[i].tail);
		ck_assert_int_eq(proc_parse_maps(text, strlen(text), &m), 0);
		ck_assert_str_eq(m.m[0].name, rows[i].name);
		ck_assert(m.m[0].deleted == rows[i].deleted);
	}
}
END_TEST

START_TEST(maps_bad)
{
	static const char *const bad[] = {
		"Size: 4 kB\n",
		"\n",
		"2000-1000 r--p 00000000 00:00 0 \n",
		"1000-1000 r--p 00000000 00:00 0 \n",
		"1000-10000000000000000 r--p 00000000 00:00 0 \n",
		"1000-2000 r-zp 00000000 00:00 0 \n",
		"1000-2000 r-xq 00000000 00:00 0 \n",
		"1000-2000 r-xp 00000000 00:00 99999999999999999999 \n",
		"1000-2000 r-xp 00000000 100000000:00 1 \n",
		"1000-2000 r-xp 00000000 00:00 1x\n",
		"1000-2000 r-xp 00000000 00:00 1",
		"1000-3000 r-xp 0 00:00 1\n2000-4000 r-xp 0 00:00 1\n",
		"1000-2000 r-xp 0 00:00 1\nSwap: x kB\n",
	};
	struct proc_maps m;

	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(proc_parse_maps(bad[i], strlen(bad[i]), &m), -EINVAL);
		ck_assert_ptr_null(m.m);
		ck_assert_uint_eq(m.n, 0);
	}
	ck_assert_int_eq(proc_parse_maps("", 0, &m), 0);
	ck_assert_uint_eq(m.n, 0);
}
END_TEST

START_TEST(fdinfo_fields)
{
	CK_AUTO(proc_fdinfo) struct proc_fdinfo i;

	ck_assert_int_eq(proc_parse_fdinfo(fdinfo_text, strlen(fdinfo_text), &i), 0);
	ck_assert_int_eq(i.pos, -1);
	ck_assert_uint_eq(i.flags, 02102001);
	ck_assert_int_eq(i.mnt_id, 24);
	ck_assert_uint_eq(i.ino, 9007199254740993u);
	ck_assert_uint_eq(i.n_locks, 4);
	ck_assert_str_eq(i.locks[0].kind, "FLOCK");
	ck_assert_str_eq(i.locks[0].type, "WRITE");
	ck_assert_int_eq(i.locks[0].pid, 812);
	ck_assert_uint_eq(i.locks[0].end, UINT64_MAX);
	ck_assert_str_eq(i.locks[1].kind, "POSIX");
	ck_assert_str_eq(i.locks[1].type, "READ");
	ck_assert_uint_eq(i.locks[1].start, 10);
	ck_assert_uint_eq(i.locks[1].end, 19);
	ck_assert_str_eq(i.locks[2].kind, "OFDLCK");
	ck_assert_int_eq(i.locks[2].pid, -1);
	ck_assert_uint_eq(i.locks[2].start, INT64_MAX - 1);
	ck_assert_str_eq(i.locks[3].kind, "LEASE");
}
END_TEST

START_TEST(fdinfo_odd)
{
	static const char old[] = "pos:\t9223372036854775807\nflags:\t0100000\n";
	static const char twice[] = "pos:\t1\nflags:\t02\npos:\t2\nflags:\t03\nmnt_id:\t1\n"
				    "mnt_id:\t2\n";
	static const char *const bad[] = {
		"",
		"pos:\t1\n",
		"flags:\t1\n",
		"pos:\tx\nflags:\t0\n",
		"pos:\t1\nflags:\t9\n",
		"pos:\t9223372036854775808\nflags:\t0\n",
		"pos:\t0\nflags:\t0\nlock:\t1: FLOCK  ADVISORY  WRITE 1 0:0:0 5 4\n",
		"pos:\t0\nflags:\t0\nlock:\t1: FLOCK  ADVISORY  WRITE 1 0:0:0 -5 EOF\n",
		"pos:\t0\nflags:\t0\nlock:\t1: FLOCKFLOCK  ADVISORY  WRITE 1 0:0:0 0 EOF\n",
		"pos:\t0\nflags:\t0\nlock:\t\n",
	};
	struct proc_fdinfo i;

	ck_assert_int_eq(proc_parse_fdinfo(old, strlen(old), &i), 0);
	ck_assert_int_eq(i.pos, INT64_MAX);
	ck_assert_int_eq(i.mnt_id, -1);
	ck_assert_uint_eq(i.ino, 0);
	ck_assert_int_eq(proc_parse_fdinfo(twice, strlen(twice), &i), 0);
	ck_assert_int_eq(i.pos, 1);
	ck_assert_uint_eq(i.flags, 2);
	ck_assert_int_eq(i.mnt_id, 1);
	for (size_t k = 0; k < CK_ARRAY_SIZE(bad); k++)
		ck_assert_int_eq(proc_parse_fdinfo(bad[k], strlen(bad[k]), &i), -EINVAL);
}
END_TEST

START_TEST(mountinfo_fields)
{
	CK_AUTO(proc_mounts) struct proc_mounts m;
	struct proc_mounts bad;

	ck_assert_int_eq(proc_parse_mountinfo(mountinfo_text, strlen(mountinfo_text), &m), 0);
	ck_assert_uint_eq(m.n, 3);
	ck_assert_int_eq(m.m[0].id, 24);
	ck_assert_int_eq(m.m[0].parent, 1);
	ck_assert_uint_eq(m.m[0].major, 254);
	ck_assert_str_eq(m.m[0].point, "/");
	ck_assert_str_eq(m.m[0].options, "rw,relatime");
	ck_assert_str_eq(m.m[0].fstype, "ext4");
	ck_assert_str_eq(m.m[0].source, "/dev/vda");
	ck_assert_str_eq(m.m[0].super_options, "rw,discard");
	ck_assert_str_eq(m.m[1].root, "/a b");
	ck_assert_str_eq(m.m[1].point, "/mnt/x\\y\nz\t");
	ck_assert_str_eq(m.m[1].source, "");
	ck_assert_str_eq(m.m[2].fstype, "fuse.sshfs");
	ck_assert_str_eq(m.m[2].source, "u@h:/d ");
	ck_assert_int_eq(proc_parse_mountinfo("24 1 254:0 / / rw ext4 x rw\n", 28, &bad), -EINVAL);
}
END_TEST

START_TEST(timers_fields)
{
	CK_AUTO(proc_timers) struct proc_timers t;
	struct proc_timers bad;

	ck_assert_int_eq(proc_parse_timers(timers_text, strlen(timers_text), &t), 0);
	ck_assert_uint_eq(t.n, 3);
	ck_assert_int_eq(t.t[0].id, 0);
	ck_assert_int_eq(t.t[0].signo, 14);
	ck_assert_int_eq(t.t[0].notify, SIGEV_SIGNAL);
	ck_assert_int_eq(t.t[0].notify_pid, 812);
	ck_assert(!t.t[0].notify_tid);
	ck_assert_int_eq(t.t[1].id, INT32_MAX);
	ck_assert_uint_eq(t.t[1].sigval, UINT64_MAX);
	ck_assert(t.t[1].notify_tid);
	ck_assert_int_eq(t.t[1].notify, SIGEV_SIGNAL | SIGEV_THREAD_ID);
	ck_assert_int_eq(t.t[1].clock, -6);
	ck_assert_int_eq(t.t[2].notify, SIGEV_NONE);
	ck_assert_uint_eq(t.t[2].sigval, 0x7fff86e452a8);
	ck_assert_int_eq(proc_parse_timers("signal: 1/0\n", 12, &bad), -EINVAL);
	ck_assert_int_eq(proc_parse_timers("ID: 4294967296\n", 15, &bad), -EINVAL);
}
END_TEST

START_TEST(limits_fields)
{
	struct proc_limits l;

	ck_assert_int_eq(proc_parse_limits(limits_text, strlen(limits_text), &l), 0);
	ck_assert_uint_eq(l.cur[RLIMIT_FSIZE], 1);
	ck_assert_uint_eq(l.max[RLIMIT_FSIZE], 2);
	ck_assert_uint_eq(l.cur[RLIMIT_CPU], UINT64_MAX);
	ck_assert_uint_eq(l.max[RLIMIT_NOFILE], 20001);
	ck_assert_uint_eq(l.max[RLIMIT_RTPRIO], 99);
	ck_assert_uint_eq(l.max[RLIMIT_RTTIME], UINT64_MAX - 1);
}
END_TEST

/* Parses every prefix of a text, each in a heap block of exactly that size. */
#define EACH_PREFIX(text, type, parse, done)           \
	for (size_t n_ = 0; n_ < sizeof(text); n_++) { \
		char *copy_ = malloc(n_ ? n_ : 1);     \
		type v_;                               \
		memcpy(copy_, text, n_);               \
		if (parse(copy_, n_, &v_) == 0)        \
			done(&v_);                     \
		free(copy_);                           \
	}

static void nothing_done(void *p)
{
	(void)p;
}

START_TEST(truncated_anywhere)
{
	EACH_PREFIX(stat_text, struct proc_stat, proc_parse_stat, nothing_done);
	EACH_PREFIX(status_text, struct proc_status, proc_parse_status, proc_status_done);
	EACH_PREFIX(smaps_text, struct proc_maps, proc_parse_maps, proc_maps_done);
	EACH_PREFIX(fdinfo_text, struct proc_fdinfo, proc_parse_fdinfo, proc_fdinfo_done);
	EACH_PREFIX(mountinfo_text, struct proc_mounts, proc_parse_mountinfo, proc_mounts_done);
	EACH_PREFIX(timers_text, struct proc_timers, proc_parse_timers, proc_timers_done);
	EACH_PREFIX(limits_text, struct proc_limits, proc_parse_limits, nothing_done);
}
END_TEST

START_TEST(truncated_is_refused)
{
	CK_AUTO(proc_status) struct proc_status st;
	struct proc_stat s;
	struct proc_maps m;

	/* a number cut in the middle must not become a smaller number */
	ck_assert_int_eq(proc_parse_stat(stat_text, strlen(stat_text) - 2, &s), -EINVAL);
	ck_assert_int_eq(proc_parse_maps(smaps_text, strlen(smaps_text) - 1, &m), -EINVAL);
	ck_assert_int_eq(proc_parse_status(status_text, strlen(status_text) - 1, &st), -EINVAL);
}
END_TEST

/* Every byte of a text replaced by bytes that mean something: no crash, no leak (under ASan). */
START_TEST(garbled_anywhere)
{
	static const char bytes[] = { '\0', '\n', ' ', '-', '9', 'f', ':', '(', ')', '\\', '\xff' };
	char text[2048];

	for (size_t i = 0; i < sizeof(smaps_text) - 1; i++)
		for (size_t b = 0; b < sizeof(bytes); b++) {
			CK_AUTO(proc_maps) struct proc_maps m;
			CK_AUTO(proc_fdinfo) struct proc_fdinfo f;
			CK_AUTO(proc_status) struct proc_status s;
			CK_AUTO(proc_mounts) struct proc_mounts mi;

			memcpy(text, smaps_text, sizeof(smaps_text));
			text[i] = bytes[b];
			(void)!proc_parse_maps(text, sizeof(smaps_text) - 1, &m);
			memcpy(text, fdinfo_text, sizeof(fdinfo_text));
			text[i % (sizeof(fdinfo_text) - 1)] = bytes[b];
			(void)!proc_parse_fdinfo(text, sizeof(fdinfo_text) - 1, &f);
			memcpy(text, status_text, sizeof(status_text));
			text[i % (sizeof(status_text) - 1)] = bytes[b];
			(void)!proc_parse_status(text, sizeof(status_text) - 1, &s);
			memcpy(text, mountinfo_text, sizeof(mountinfo_text));
			text[i % (sizeof(mountinfo_text) - 1)] = bytes[b];
			(void)!proc_parse_mountinfo(text, sizeof(mountinfo_text) - 1, &mi);
		}
}
END_TEST

START_TEST(read_self)
{
	CK_AUTO(fd) int dir = proc_open_pid(getpid());
	CK_AUTO(proc_status) struct proc_status st;
	CK_AUTO(proc_maps) struct proc_maps maps, smaps;
	CK_AUTO(proc_mounts) struct proc_mounts mounts;
	CK_AUTO(proc_timers) struct proc_timers timers;
	CK_AUTO(free) pid_t *tids = NULL, *kids = NULL;
	struct ck_err err = CK_ERR_INIT;
	struct proc_stat s;
	struct proc_limits l;
	struct rlimit rl;
	size_t n;
	char comm[16];
	bool found = false;

	ck_assert_int_ge(dir, 0);
	ck_assert_int_eq(proc_read_stat(dir, &s, &err), 0);
	ck_assert_int_eq(s.pid, getpid());
	ck_assert_int_eq(s.pgrp, getpgrp());
	ck_assert_int_eq(proc_read_status(dir, &st, &err), 0);
	ck_assert_uint_eq(st.uid[1], geteuid());
	ck_assert_int_eq(st.ppid, getppid());
	ck_assert_int_eq(proc_read_own_maps(&maps, &err), 0);
	ck_assert_uint_gt(maps.n, 5);
	ck_assert_int_eq(proc_read_smaps(dir, &smaps, &err), 0);
	for (size_t i = 0; i < smaps.n; i++)
		found |= smaps.m[i].start <= (uintptr_t)&found &&
			 (uintptr_t)&found < smaps.m[i].end &&
			 (smaps.m[i].vmflags & PROC_VM_GROWSDOWN) && smaps.m[i].w;
	ck_assert(found);
	ck_assert_int_eq(proc_read_mountinfo(dir, &mounts, &err), 0);
	ck_assert_uint_gt(mounts.n, 0);
	ck_assert_int_eq(proc_read_timers(dir, &timers, &err), 0);
	ck_assert_int_eq(proc_read_limits(dir, &l, &err), 0);
	getrlimit(RLIMIT_NOFILE, &rl);
	ck_assert_uint_eq(l.cur[RLIMIT_NOFILE], rl.rlim_cur);
	ck_assert_int_eq(proc_read_comm(dir, comm, &err), 0);
	ck_assert_str_eq(comm, s.comm);
	ck_assert_int_eq(proc_read_tids(dir, &tids, &n, &err), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(tids[0], getpid());
	ck_assert_int_eq(proc_read_children(dir, getpid(), &kids, &n, &err), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(read_fds_and_locks)
{
	CK_AUTO(fd) int dir = proc_open_tid(getpid(), getpid());
	char name[] = "/tmp/t-procfs-XXXXXX";
	CK_AUTO(fd) int fd = mkstemp(name);
	CK_AUTO(free) int *fds = NULL;
	CK_AUTO(proc_fdinfo) struct proc_fdinfo i;
	struct flock fl = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 3 };
	struct ck_err err = CK_ERR_INIT;
	struct stat st;
	size_t n, at = 0;

	unlink(name);
	ck_assert_int_eq(pwrite(fd, "0123456789", 10, 0), 10);
	lseek(fd, 7, SEEK_SET);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(fcntl(fd, F_SETLK, &fl), 0);
	ck_assert_int_eq(proc_read_fds(dir, &fds, &n, &err), 0);
	while (at < n && fds[at] != fd)
		at++;
	ck_assert_uint_lt(at, n);
	for (size_t k = 1; k < n; k++)
		ck_assert_int_gt(fds[k], fds[k - 1]);
	ck_assert_int_eq(proc_read_fdinfo(dir, fd, &i, &err), 0);
	ck_assert_int_eq(i.pos, 7);
	ck_assert_int_eq(i.flags & O_ACCMODE, O_RDWR);
	fstat(fd, &st);
	ck_assert(i.ino == 0 || i.ino == st.st_ino);
	ck_assert_uint_eq(i.n_locks, 2);
	for (size_t k = 0; k < 2; k++) {
		ck_assert_int_eq(i.locks[k].pid, getpid());
		if (!strcmp(i.locks[k].kind, "POSIX"))
			ck_assert_uint_eq(i.locks[k].end, 7);
		else
			ck_assert_str_eq(i.locks[k].kind, "FLOCK");
	}
}
END_TEST

START_TEST(read_gone)
{
	CK_AUTO(fd) int dir = -EBADF;
	struct ck_err err = CK_ERR_INIT;
	struct proc_stat s;
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	dir = proc_open_pid(pid);
	ck_assert_int_ge(dir, 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(proc_read_stat(dir, &s, &err), -ESRCH);
	ck_assert_int_eq(err.kind, CK_ERR_GONE);
	ck_assert_int_eq(proc_open_pid(pid), -ESRCH);
}
END_TEST

/* smaps is read in pieces, whose ends fall anywhere. */
static int read_text(const char *text, size_t len, struct proc_maps *ret)
{
	char dir[] = "/tmp/t-procfs-XXXXXX";
	struct ck_err err = CK_ERR_INIT;
	int at, fd, r;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = openat(at, "smaps", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ck_write_full(fd, text, len), 0);
	close(fd);
	r = proc_read_smaps(at, ret, &err);
	unlinkat(at, "smaps", 0);
	close(at);
	rmdir(dir);
	return r;
}

static const size_t piece_sizes[] = { 1000, 131071, 131072, 131073, 262144, 300000, 900000 };

START_TEST(smaps_in_pieces)
{
	size_t size = piece_sizes[_i], len = 0;
	char *text = malloc(size + 8192);
	struct proc_maps want = { 0 }, got = { 0 };

	for (uint64_t a = 0x10000; len < size; a += 0x2000) {
		len += (size_t)sprintf(text + len, "%llx-%llx rw-p 0 0:0 0 %*d\n",
				       (unsigned long long)a, (unsigned long long)a + 4096,
				       (int)(a / 0x2000 % 4001), 1);
		len += (size_t)sprintf(text + len, "Rss: %d kB\nVmFlags: rd wr gd \n",
				       (int)(a % 97));
	}
	ck_assert_int_eq(proc_parse_maps(text, len, &want), 0);
	ck_assert_int_eq(read_text(text, len, &got), 0);
	ck_assert_uint_eq(got.n, want.n);
	for (size_t i = 0; i < want.n; i++) {
		ck_assert_uint_eq(got.m[i].start, want.m[i].start);
		ck_assert_uint_eq(got.m[i].rss_kib, want.m[i].rss_kib);
		ck_assert_uint_eq(got.m[i].vmflags, PROC_VM_GROWSDOWN);
		ck_assert_str_eq(got.m[i].name, want.m[i].name);
	}
	proc_maps_done(&got);
	/* Cut short, or nonsense in the middle, or a line that is too long. */
	ck_assert_int_eq(read_text(text, len - 1, &got), -EINVAL);
	memset(text + len / 2, '\n', 100);
	text[len / 2 + 1] = 'f';
	ck_assert_int_eq(read_text(text, len, &got), -EINVAL);
	memset(text, 'A', len);
	text[len - 1] = '\n';
	ck_assert_int_eq(read_text(text, len, &got), -EINVAL);
	proc_maps_done(&want);
	free(text);
}
END_TEST

static Suite *procfs_suite(void)
{
	const TTest *const tests[] = {
		stat_fields,        stat_bad,
		status_fields,      status_lines_missing,
		maps_fields,        maps_names,
		maps_bad,           fdinfo_fields,
		fdinfo_odd,         mountinfo_fields,
		timers_fields,      limits_fields,
		truncated_anywhere, truncated_is_refused,
		garbled_anywhere,   read_self,
		read_fds_and_locks, read_gone,
	};
	Suite *s = suite_create("base/procfs");
	TCase *c = tcase_create("all");

	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
	tcase_add_loop_test(c, smaps_in_pieces, 0,
			    (int)(sizeof(piece_sizes) / sizeof(piece_sizes[0])));
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(procfs_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
