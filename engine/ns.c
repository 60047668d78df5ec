// SPDX-License-Identifier: Apache-2.0
/*
 * Where a job can have its old numbers back. In place, if this pid namespace lets us choose them
 * and all are free; else in a fresh pid and mount namespace, within a user namespace where there is
 * no privilege. Nothing is inferred from capability bits: each way is tried with a throw-away
 * child.
 *
 * The user namespace maps one id, the job's to ours; so the job sees the numbers that it knows.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/restore.h"
#include "fsmap/fsmap.h"

#define NSEC 1000000000l
#define MAX_CAPS 64u

/* ---- rights ---- */

static uint64_t bounding_set(void)
{
	uint64_t set = 0;

	for (unsigned int cap = 0; cap < MAX_CAPS; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			set |= 1ull << cap;
	return set;
}

/* All that this kernel has: what the first task of a new user namespace gets. */
static uint64_t every_cap(void)
{
	uint64_t set = 0;

	for (unsigned int cap = 0; cap < MAX_CAPS; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0)
			set |= 1ull << cap;
	return set;
}

static uint64_t effective_caps(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

static void own_rights(struct engine_restore *r)
{
	r->rights.userns = false;
	r->rights.permitted = effective_caps();
	r->rights.bounding = bounding_set();
}

/* ---- trying ---- */

/* Makes a child that ends at once; 0 or -errno. tid 0: any number. */
static int try_child(uint64_t flags, pid_t tid)
{
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };
	long pid;

	if (tid) {
		args.set_tid = (uintptr_t)&tid;
		args.set_tid_size = 1;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid == 0)
		for (;;)
			syscall(SYS_exit_group, 0);
	while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return 0;
}

static int try_number(pid_t pid, struct ck_err *err)
{
	int rc = try_child(0, pid);

	if (rc == -EEXIST)
		return ck_fail(err, CK_ERR_BUSY, rc, "cannot have pid %d, which is taken",
			       (int)pid);
	if (rc == -EPERM)
		return ck_fail(err, CK_ERR_PERM, rc, "cannot choose pids in this pid namespace");
	if (rc < 0)
		return ck_fail(err, CK_ERR_HOST, rc, "cannot have pid %d", (int)pid);
	return 0;
}

static int try_numbers(const struct engine_restore *r, struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < r->n_procs && rc == 0; i++)
		rc = try_number(r->procs[i]->pid, err);
	for (size_t i = 0; i < r->n_tasks && rc == 0; i++)
		for (size_t k = 1; k < r->tasks[i].n_threads && rc == 0; k++)
			rc = try_number((pid_t)r->tasks[i].ps->threads[k], err);
	return rc;
}

/* Does our user namespace have this id? Lines are "INSIDE OUTSIDE COUNT". */
static bool is_mapped(const char *map, uint32_t id)
{
	CK_AUTO(free) char *text = NULL;
	bool found = false;

	if (ck_read_file_at(AT_FDCWD, map, 1 << 16, &text, NULL) < 0)
		return true;
	for (char *p = text, *end; *p && !found; p = end) {
		unsigned long first = strtoul(p, &end, 10), count;

		(void)strtoul(end, &end, 10);
		count = strtoul(end, &end, 10);
		end += *end == '\n';
		if (end == p)
			break;
		found = id >= first && id - first < count;
	}
	return found;
}

static bool may_be_user(const struct engine_restore *r)
{
	const uint64_t need = 1ull << CAP_SETUID | 1ull << CAP_SETGID;

	if (r->one_uid &&
	    (!is_mapped("/proc/self/uid_map", r->uid) || !is_mapped("/proc/self/gid_map", r->gid)))
		return false;
	return (r->rights.permitted & need) == need ||
	       (r->one_uid && r->uid == r->rights.uid && r->gid == r->rights.gid);
}

bool engine_binds(const struct engine_restore *r)
{
	return r->opts->maps && r->opts->maps->n && r->opts->map_mode == ENGINE_MAP_BIND;
}

static int try_in_place(struct engine_restore *r, struct ck_err *err)
{
	int rc;

	r->strategy = ENGINE_INPLACE;
	if (engine_binds(r) && !(r->rights.permitted >> CAP_SYS_ADMIN & 1))
		return ck_fail(err, CK_ERR_PERM, -EPERM, "cannot bind paths without privilege");
	if (r->ipc && !(r->rights.permitted >> CAP_SYS_ADMIN & 1))
		return ck_fail(err, CK_ERR_PERM, -EPERM,
			       "cannot make an IPC namespace without privilege");
	if (!may_be_user(r))
		return ck_fail(err, CK_ERR_PERM, -EPERM, "cannot restore a job of user %u", r->uid);
	rc = engine_plan_tree(r, err);
	return rc < 0 ? rc : try_numbers(r, err);
}

/* Old numbers of System V IPC can only be had where nobody else has any. */
static uint64_t ipc_flag(const struct engine_restore *r)
{
	return r->ipc ? CLONE_NEWIPC : 0;
}

static uint64_t namespace_flags(const struct engine_restore *r)
{
	return ipc_flag(r) | CLONE_NEWPID | CLONE_NEWNS | (r->rights.userns ? CLONE_NEWUSER : 0);
}

static int try_namespaces(struct engine_restore *r, struct ck_err *err)
{
	int rc;

	r->strategy = ENGINE_NAMESPACES;
	if (!(r->rights.permitted >> CAP_SYS_ADMIN & 1) || !may_be_user(r)) {
		r->rights.userns = true;
		r->rights.permitted = r->rights.bounding = every_cap();
		if (!r->one_uid)
			return ck_err_hint(err,
					   ck_fail(err, CK_ERR_PERM, -EPERM,
						   "cannot restore a job with several user ids"),
					   "restore it as root");
	}
	rc = try_child(namespace_flags(r), 0);
	if (rc < 0) {
		rc = ck_fail(err, CK_ERR_PERM, rc, "cannot make %s namespaces",
			     r->rights.userns ? "user and pid" : "pid and mount");
		return ck_err_hint(err, rc,
				   "user namespaces must be allowed: see "
				   "/proc/sys/user/max_user_namespaces and the container's seccomp "
				   "and AppArmor profiles");
	}
	return engine_plan_tree(r, err);
}

int engine_choose_place(struct engine_restore *r, struct ck_err *err)
{
	struct ck_err first = CK_ERR_INIT;
	int rc = -EINVAL, in_place = -EINVAL;

	own_rights(r);
	if (!(r->opts->flags & ENGINE_NO_INPLACE)) {
		in_place = try_in_place(r, &first);
		if (in_place == 0)
			return 0;
		if (first.kind == CK_ERR_IMAGE || first.kind == CK_ERR_SYS) {
			*err = first;
			return in_place;
		}
	}
	rc = try_namespaces(r, err);
	if (rc == 0 && first.kind == CK_ERR_BUSY)
		engine_note(r, "%s: the job gets a pid namespace of its own", first.what);
	/* A taken pid may be free in a minute, and is what the user can do something about. */
	if (rc < 0 && first.kind == CK_ERR_BUSY && err && err->kind == CK_ERR_PERM) {
		*err = first;
		return ck_err_hint(err, in_place,
				   "no namespaces are allowed here either: try again when the pid "
				   "is free");
	}
	return rc;
}

/* ---- the trunk ---- */

static int write_proc(pid_t pid, const char *file, const char *text)
{
	char path[64];
	CK_AUTO(fd) int fd = -EBADF;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return ck_write_full(fd, text, strlen(text));
}

static int map_ids(const struct engine_restore *r, pid_t pid, struct ck_err *err)
{
	char text[64];
	int rc;

	snprintf(text, sizeof(text), "%u %u 1", r->uid, r->rights.uid);
	rc = write_proc(pid, "uid_map", text);
	if (rc < 0)
		return ck_fail(err, CK_ERR_PERM, rc, "cannot map user %u into a user namespace",
			       r->uid);
	rc = write_proc(pid, "setgroups", "deny");
	if (rc < 0 && rc != -ENOENT)
		return ck_fail(err, CK_ERR_PERM, rc, "cannot set up a user namespace");
	snprintf(text, sizeof(text), "%u %u 1", r->gid, r->rights.gid);
	rc = write_proc(pid, "gid_map", text);
	if (rc < 0)
		return ck_fail(err, CK_ERR_PERM, rc, "cannot map group %u into a user namespace",
			       r->gid);
	return 0;
}

/*
 * The trunk asks to die with ckpt, says that it has, and waits for a word back: that one was
 * written by a ckpt that lived, and whose end will be noticed. No word means that it died or gave
 * up.
 */
static bool die_with_parent(int fd)
{
	char c = 0;

	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && write(fd, &c, 1) == 1 &&
	       ck_read_full(fd, &c, 1) == 1;
}

static int give_word(const struct engine_restore *r, pid_t pid, int fd, struct ck_err *err)
{
	char c;
	int rc = 0;

	if (ck_read_full(fd, &c, 1) != 1)
		return ck_fail(err, CK_ERR_SYS, -EPIPE, "cannot start the restoring process");
	if (r->rights.userns)
		rc = map_ids(r, pid, err);
	if (rc == 0 && send(fd, &c, 1, MSG_NOSIGNAL) != 1)
		rc = ck_fail_errno(err, "cannot start the restoring process");
	return rc;
}

pid_t engine_spawn_trunk(struct engine_restore *r, struct ck_err *err)
{
	bool fresh = r->strategy == ENGINE_NAMESPACES;
	struct clone_args args = { .flags = fresh ? namespace_flags(r) : ipc_flag(r),
				   .exit_signal = SIGCHLD };
	int s[2], rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return ck_fail_errno(err, "cannot make a socket");
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		close(s[1]);
		if (!die_with_parent(s[0]))
			_exit(1);
		close(s[0]);
		return 0;
	}
	rc = pid < 0 ? ck_fail_errno(err, "cannot make a process") : 0;
	close(s[0]);
	if (rc == 0)
		rc = give_word(r, pid, s[1], err);
	close(s[1]);
	if (rc < 0 && pid > 0)
		waitpid(pid, NULL, 0);
	return rc < 0 ? rc : pid;
}

/*
 * A /proc of its own shows the job under its own numbers. Where the outer one has parts hidden
 * (most containers) the kernel forbids a new one; /proc/self is right in the outer one too. Linux
 * fs/namespace.c:mount_too_revealing()
 */
void engine_enter_namespaces(struct engine_restore *r)
{
	if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		engine_note(r, "no /proc of its own could be mounted for the job (%s)",
			    strerror(errno));
}

/* ---- clocks ---- */

/* "NAME SECONDS NANOSECONDS" */
static struct timespec offset_of(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	struct timespec ts = { 0 };
	char *end;

	if (!at)
		return ts;
	ts.tv_sec = strtoll(at + strlen(name), &end, 10);
	ts.tv_nsec = strtol(end, NULL, 10);
	return ts;
}

/* What the current namespace adds to the host's clocks. */
static void current_offsets(struct timespec *mono, struct timespec *boot)
{
	CK_AUTO(free) char *text = NULL;

	*mono = *boot = (struct timespec){ 0 };
	if (ck_read_file_at(AT_FDCWD, "/proc/self/timens_offsets", 4096, &text, NULL) < 0)
		return;
	*mono = offset_of(text, "monotonic");
	*boot = offset_of(text, "boottime");
}

/*
 * saved - (now - offset), and a tick more: the coarse clocks stand at the last tick, which may be
 * nearer at the dump than it is here, and must not go back either.
 */
static struct timespec offset_for(clockid_t clock, const struct timespec *saved,
				  const struct timespec *offset)
{
	struct timespec now, tick, d;

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	clock_gettime(clock, &now);
	d.tv_sec = saved->tv_sec - now.tv_sec + offset->tv_sec + tick.tv_sec;
	d.tv_nsec = saved->tv_nsec - now.tv_nsec + offset->tv_nsec + tick.tv_nsec;
	for (; d.tv_nsec < 0; d.tv_nsec += NSEC)
		d.tv_sec--;
	for (; d.tv_nsec >= NSEC; d.tv_nsec -= NSEC)
		d.tv_sec++;
	return d;
}

int engine_set_clocks(struct engine_restore *r, struct ck_err *err)
{
	struct timespec mono, boot;
	char text[160];
	int rc = 0;

	if (!r->has_clocks)
		return 0;
	current_offsets(&mono, &boot);
	if (unshare(CLONE_NEWTIME) < 0) {
		rc = -errno;
	} else {
		mono = offset_for(CLOCK_MONOTONIC, &r->monotonic, &mono);
		boot = offset_for(CLOCK_BOOTTIME, &r->boottime, &boot);
		snprintf(text, sizeof(text), "monotonic %lld %ld\nboottime %lld %ld\n",
			 (long long)mono.tv_sec, mono.tv_nsec, (long long)boot.tv_sec,
			 boot.tv_nsec);
		rc = write_proc(0, "timens_offsets", text);
		if (rc < 0)
			return ck_fail(err, CK_ERR_HOST, rc, "cannot set the job's clocks");
	}
	if (rc < 0)
		engine_note(r, "the job's monotonic clock jumps: no time namespace (%s)",
			    strerror(-rc));
	return 0;
}
