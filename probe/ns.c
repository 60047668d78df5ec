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

static void try_set_tid(struct probe_answers *p, enum probe_fact f, pid_t tid)
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

static void try_exe(struct probe_answers *p, enum probe_fact f)
{
	struct prctl_mm_map map;
	int r;

	if (probe_own_mm_map(&map) < 0)
		return;
	map.exe_fd = (uint32_t)open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if ((int)map.exe_fd < 0)
		return;
	r = prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
	/* EBUSY: our program is still mapped, which is looked at last (kernel/fork.c:
	 * replace_mm_exe_file()). */
	probe_result(p, f, r < 0 && errno == EBUSY ? 0 : r, "prctl PR_SET_MM_MAP with exe_fd");
}

static void try_time(struct probe_answers *p, enum probe_fact f)
{
	static const char offsets[] = "monotonic 4711 0\n";
	CK_AUTO(fd) int fd = -EBADF;
	int r = unshare(CLONE_NEWTIME);

	if (r == 0) {
		fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
		r = fd < 0 ? -1 : 0;
	}
	if (r == 0 && write(fd, offsets, sizeof(offsets) - 1) != (ssize_t)sizeof(offsets) - 1)
		r = -1;
	probe_result(p, f, r, "time namespace");
}

/* The number of a child that has just gone is free in this pid namespace, most likely. */
void probe_in_place(struct probe_answers *p)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid > 0 && waitpid(pid, NULL, 0) == pid)
		try_set_tid(p, PROBE_SET_TID, pid);
	try_exe(p, PROBE_MM_EXE);
	try_time(p, PROBE_TIME);
}

/* A kind of namespaces to restore in, and what is asked about it. */
struct place {
	uint64_t flags;
	enum probe_fact make, set_tid, proc;
};

static const struct place places[] = {
	{ CLONE_NEWPID | CLONE_NEWNS, PROBE_PIDNS, PROBE_PIDNS_SET_TID, PROBE_PIDNS_PROC },
	{ CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS, PROBE_NS, PROBE_NS_SET_TID, PROBE_NS_PROC },
};

static const struct {
	int flag;
	enum probe_fact fact;
} others[] = {
	{ CLONE_NEWUTS, PROBE_NS_UTS },
	{ CLONE_NEWIPC, PROBE_NS_IPC },
	{ CLONE_NEWCGROUP, PROBE_NS_CGROUP },
	{ CLONE_NEWNET, PROBE_NS_NET },
};

/* Some hosts let everybody make a user namespace, but give no capabilities in it (AppArmor). */
static void note_capabilities(struct probe_answers *p)
{
	CkptPrivFacts f = CKPT_PRIV_FACTS__INIT;

	probe_capabilities(&f);
	p->ns_cap_eff = f.cap_eff;
	p->has_ns_cap_eff = f.has_cap_eff;
}

/* The first task of the new pid namespace. */
static void inside(struct probe_answers *p, const struct place *place)
{
	int r;

	if (place->flags & CLONE_NEWUSER)
		note_capabilities(p);
	try_set_tid(p, place->set_tid, 4711);
	if (place->flags & CLONE_NEWUSER)
		try_exe(p, PROBE_NS_EXE);
	r = mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	if (r == 0)
		r = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	probe_result(p, place->proc, r, "mount proc");
	if (!(place->flags & CLONE_NEWUSER))
		return;
	try_time(p, PROBE_NS_TIME);
	for (size_t i = 0; i < CK_ARRAY_SIZE(others); i++)
		probe_result(p, others[i].fact, unshare(others[i].flag), "unshare");
	probe_tcp_repair(p, PROBE_NS_TCP_REPAIR);
}

static void child_of_namespaces(struct probe_answers *p, const struct place *place, int go)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(5);
	/* Nothing arrives if the parent could not map our ids. */
	if (ck_read_full(go, &c, 1) == 1)
		inside(p, place);
	_exit(0);
}

static const enum probe_fact dependent[] = {
	PROBE_NS_EXE, PROBE_NS_TIME,   PROBE_NS_UTS,        PROBE_NS_IPC,
	PROBE_NS_NET, PROBE_NS_CGROUP, PROBE_NS_TCP_REPAIR,
};

static void try_place(struct probe_answers *p, const struct place *place)
{
	CK_AUTO(fd) int rd = -EBADF;
	CK_AUTO(fd) int wr = -EBADF;
	int pipefd[2], r = 0;
	pid_t pid;

	probe_unknown(p, place->set_tid, "not tried, without the namespace");
	probe_unknown(p, place->proc, "not tried, without the namespace");
	for (size_t i = 0; i < CK_ARRAY_SIZE(dependent) && place->flags & CLONE_NEWUSER; i++)
		probe_unknown(p, dependent[i], "not tried, without the namespace");
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return;
	rd = pipefd[0];
	wr = pipefd[1];
	pid = (pid_t)syscall(SYS_clone, place->flags | SIGCHLD, NULL, NULL, NULL, 0);
	if (pid < 0) {
		probe_no(p, place->make, errno, "clone of new namespaces");
		return;
	}
	if (pid == 0) {
		close(wr);
		child_of_namespaces(p, place, rd);
	}
	if (place->flags & CLONE_NEWUSER)
		r = map_ids(pid, geteuid(), getegid());
	if (r < 0) {
		probe_no(p, place->make, -r, "writing the id maps");
	} else {
		probe_yes(p, place->make);
		(void)ck_write_full(wr, "g", 1);
	}
	close(ck_take_fd(&wr));
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void probe_namespaces(struct probe_answers *p)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(places); i++)
		try_place(p, &places[i]);
}
