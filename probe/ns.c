// SPDX-License-Identifier: Apache-2.0
/*
 * What may be done with namespaces and pids, by doing it: capability bits tell little (full
 * capabilities in a sandbox still can't choose a pid if the pid namespace belongs to an outer user
 * namespace). The first child stays in our namespaces; the second is the first task of fresh ones,
 * and whatever it made goes away with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "probe/probe-internal.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* struct clone_args as of v5.5, with set_tid */
struct clone_args_v5_5 {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t set_tid, set_tid_size;
};

void probe_set_tid(struct probe_answers *p, enum probe_fact f, pid_t tid)
{
	struct clone_args_v5_5 args = { .exit_signal = SIGCHLD,
					.set_tid = (uintptr_t)&tid,
					.set_tid_size = 1 };
	long r = syscall(SYS_clone3, &args, sizeof(args));

	if (r == 0)
		_exit(0);
	/* EEXIST comes after the permission was checked (kernel/pid.c:alloc_pid()). */
	probe_result(p, f, r < 0 && errno == EEXIST ? 0 : r, "clone3 with set_tid");
	if (r > 0)
		waitpid((pid_t)r, NULL, 0);
}

static int write_proc(pid_t pid, const char *file, const char *text)
{
	CK_AUTO(fd) int fd = -EBADF;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return ck_write_full(fd, text, strlen(text));
}

/* Maps our own ids onto themselves: getuid() and the ownership of files stay what they are. */
static int map_ids(pid_t pid, uid_t uid, gid_t gid)
{
	char map[64];
	int r;

	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	r = write_proc(pid, "uid_map", map);
	if (r < 0)
		return r;
	r = write_proc(pid, "setgroups", "deny");
	if (r < 0 && r != -ENOENT)
		return r;
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return write_proc(pid, "gid_map", map);
}

/* The first task of the new pid namespace. */
static void inside(struct probe_answers *p)
{
	struct prctl_mm_map map;
	int r;

	probe_set_tid(p, PROBE_NS_SET_TID, 4711);
	if (probe_own_mm_map(&map) == 0) {
		map.exe_fd = (uint32_t)open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		r = prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
		/* EBUSY: our program is still mapped, which is looked at last. */
		probe_result(p, PROBE_NS_EXE, r < 0 && errno == EBUSY ? 0 : r,
			     "prctl PR_SET_MM_MAP with exe_fd");
	}
	r = mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	if (r == 0)
		r = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	probe_result(p, PROBE_NS_PROC, r, "mount proc");
	r = unshare(CLONE_NEWTIME);
	if (r == 0) {
		CK_AUTO(fd) int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);

		r = fd < 0 ? -1 : 0;
		if (r == 0 && write(fd, "monotonic 4711 0\n", 17) != 17)
			r = -1;
	}
	probe_result(p, PROBE_NS_TIME, r, "time namespace");
}

static void child_of_namespaces(struct probe_answers *p, int go)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(5);
	/* Nothing arrives if the parent could not map our ids. */
	if (ck_read_full(go, &c, 1) == 1)
		inside(p);
	_exit(0);
}

void probe_namespaces(struct probe_answers *p)
{
	CK_AUTO(fd) int rd = -EBADF;
	CK_AUTO(fd) int wr = -EBADF;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int pipefd[2], r;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return;
	rd = pipefd[0];
	wr = pipefd[1];
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL,
			     NULL, NULL, 0);
	if (pid < 0) {
		probe_no(p, PROBE_NS, errno, "clone of new namespaces");
		return;
	}
	if (pid == 0) {
		close(wr);
		child_of_namespaces(p, rd);
	}
	r = map_ids(pid, uid, gid);
	if (r < 0) {
		probe_no(p, PROBE_NS, -r, "writing the id maps");
	} else {
		probe_yes(p, PROBE_NS);
		r = ck_write_full(wr, "g", 1);
	}
	close(ck_take_fd(&wr));
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
