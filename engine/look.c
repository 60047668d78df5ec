// SPDX-License-Identifier: Apache-2.0
/*
 * Looks at a stopped tree: what /proc and ptrace tell, without changing anything in it. What only a
 * thread itself can see is asked later, by the blob (engine/inject.c). Refuses what an image can't
 * keep; descriptors are engine/res/'s matter.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/arch/x86_64/stub.h"
#include "engine/dump.h"
#include "image/format.h"

enum { XSAVE_MAX = 64 * 1024, VDSO_MAX = 64 * 1024, CPUS_MAX = 8192 };
#define IOPRIO_WHO_PROCESS 1

/* ---- one thread ---- */

static int look_xsave(struct engine_thread *th, struct ck_err *err)
{
	struct iovec io = { .iov_len = XSAVE_MAX };

	th->xsave = malloc(XSAVE_MAX);
	if (!th->xsave)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the vector registers");
	io.iov_base = th->xsave;
	if (ptrace(PTRACE_GETREGSET, th->tid, NT_X86_XSTATE, &io) < 0)
		return ck_fail_errno(err, "cannot read the vector registers");
	th->xsave_len = io.iov_len;
	return 0;
}

/*
 * An rseq critical section that a stop interrupts resumes at its abort address, as after any
 * preemption; the blob running in between would make the kernel forget the section
 * (kernel/rseq.c:rseq_ip_fixup()).
 */
static int look_rseq(struct engine_thread *th, struct ck_err *err)
{
	struct __ptrace_rseq_configuration conf = { 0 };
	struct rseq_cs cs = { 0 };
	uint64_t cs_addr = 0;
	int memfd = th->task->memfd;

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, th->tid, sizeof(conf), &conf) < 0) {
		int r = ck_fail_errno(err, "cannot read the rseq registration");

		return ck_err_hint(err, r,
				   "needs Linux 5.13, or start the job with "
				   "GLIBC_TUNABLES=glibc.pthread.rseq=0");
	}
	th->rseq_addr = conf.rseq_abi_pointer;
	th->rseq_size = conf.rseq_abi_size;
	th->rseq_sig = conf.signature;
	th->rseq_flags = conf.flags;
	if (!th->rseq_addr)
		return 0;
	if (ck_pread_full(memfd, &cs_addr, 8,
			  (off_t)(th->rseq_addr + offsetof(struct rseq, rseq_cs))) != 8)
		return ck_fail(err, CK_ERR_REFUSED, -EFAULT, "the rseq area can't be read");
	if (!cs_addr || ck_pread_full(memfd, &cs, sizeof(cs), (off_t)cs_addr) != sizeof(cs))
		return 0;
	if (th->stopped.rip - cs.start_ip < cs.post_commit_offset)
		th->stopped.rip = cs.abort_ip;
	return 0;
}

/* A thread that may run everywhere has chosen nothing; what it may elsewhere is the caller's
 * matter.
 */
static int look_cpus(struct engine_thread *th, struct ck_err *err)
{
	cpu_set_t set[CPUS_MAX / CPU_SETSIZE];
	long len = syscall(SYS_sched_getaffinity, th->tid, sizeof(set), set);

	if (len < 0)
		return ck_fail_errno(err, "cannot read the CPU affinity");
	if (CPU_COUNT_S((size_t)len, set) >= sysconf(_SC_NPROCESSORS_ONLN))
		return 0;
	th->cpus = malloc((size_t)len);
	if (!th->cpus)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the CPU affinity");
	memcpy(th->cpus, set, (size_t)len);
	th->cpus_len = (size_t)len;
	return 0;
}

static int look_sched(struct engine_thread *th, struct ck_err *err)
{
	struct sched_param param = { 0 };
	int policy = sched_getscheduler(th->tid);
	long ioprio = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, th->tid);

	if (policy < 0 || sched_getparam(th->tid, &param) < 0)
		return ck_fail_errno(err, "cannot read the scheduling policy");
	th->sched_policy = (uint32_t)(policy & ~SCHED_RESET_ON_FORK);
	th->reset_on_fork = policy & SCHED_RESET_ON_FORK;
	th->sched_prio = (uint32_t)param.sched_priority;
	th->ioprio = ioprio > 0 ? (uint32_t)ioprio : 0;
	errno = 0;
	th->nice = getpriority(PRIO_PROCESS, (id_t)th->tid);
	return errno ? ck_fail_errno(err, "cannot read the nice value") : look_cpus(th, err);
}

#define SHSTK_HINT "start the job with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK"

static int look_thread(struct engine_thread *th, struct ck_err *err)
{
	CK_AUTO(fd) int dirfd = proc_open_tid(th->task->pid, th->tid);
	struct iovec io = { &th->stopped, sizeof(th->stopped) };
	size_t rlen = 0;
	int r;

	if (dirfd < 0)
		return ck_fail(err, CK_ERR_SYS, dirfd, "cannot look at the thread in /proc");
	r = proc_read_status(dirfd, &th->status, err);
	if (r < 0)
		return r;
	th->ns_tid = th->status.ns_pid;
	if (th->status.shadow_stack) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a thread that has a shadow stack");
		return ck_err_hint(err, r, SHSTK_HINT);
	}
	if (ptrace(PTRACE_GETREGSET, th->tid, NT_PRSTATUS, &io) < 0)
		return ck_fail_errno(err, "cannot read the registers");
	if (io.iov_len != sizeof(th->stopped) || th->stopped.cs != 0x33) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a 32-bit task");
		return ck_err_hint(err, r, "use a 64-bit build of the program");
	}
	if (th->stopped.rip >= th->task->vdso_map->start &&
	    th->stopped.rip < th->task->vdso_map->end)
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "a thread was stopped inside the vDSO");
	r = look_rseq(th, err);
	if (r < 0)
		return r;
	if (!th->task->stop_signo && (th->asleep || !engine_was_continued(th->tid)))
		th->stop_hidden = arch_hide_stop(&th->stopped);
	th->interrupted = arch_interrupted_call(&th->stopped, &th->resume, &th->ended);
	th->in_syscall = th->interrupted != ARCH_NOT_INTERRUPTED;
	r = look_xsave(th, err);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETSIGMASK, th->tid, 8, &th->sigmask) < 0)
		return ck_fail_errno(err, "cannot read the signal mask");
	if (syscall(SYS_get_robust_list, th->tid, &th->robust_list, &rlen) < 0)
		return ck_fail_errno(err, "cannot read the robust futex list");
	th->robust_len = rlen;
	r = look_sched(th, err);
	if (r < 0)
		return r;
	return proc_read_comm(dirfd, th->comm, err);
}

/* ---- one task ---- */

static int look_number(int dirfd, const char *name, int base, long *ret)
{
	CK_AUTO(free) char *text = NULL;
	char *end;
	int r = ck_read_file_at(dirfd, name, 64, &text, NULL);

	if (r < 0)
		return r;
	*ret = strtol(text, &end, base);
	return end == text ? -EINVAL : 0;
}

static int look_auxv(struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(free) char *raw = NULL;
	size_t len = 0;
	int r = ck_read_file_at(t->dirfd, "auxv", 16384, &raw, &len);

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read the auxiliary vector");
	t->n_auxv = len / 8;
	t->auxv = (uint64_t *)(void *)ck_take_ptr(&raw);
	return 0;
}

/* The fate word of a dump that was killed means nothing any more, and is no part of the job. */
static void drop_leftovers(struct engine_task *t)
{
	struct proc_maps *maps = &t->maps;
	size_t n = 0;

	for (size_t i = 0; i < maps->n; i++)
		if (engine_is_word(t->memfd, &maps->m[i]))
			free(maps->m[i].name);
		else
			maps->m[n++] = maps->m[i];
	maps->n = n;
}

static int look_vdso(struct engine_task *t, struct ck_err *err)
{
	for (size_t i = 0; i < t->maps.n; i++) {
		const struct proc_map *m = &t->maps.m[i];

		if (strcmp(m->name, "[vdso]") != 0)
			continue;
		t->vdso_map = m;
		t->vdso_len = m->end - m->start;
		if (t->vdso_len > VDSO_MAX)
			break;
		t->vdso = malloc(t->vdso_len);
		if (!t->vdso)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the vDSO");
		if (ck_pread_full(t->memfd, t->vdso, t->vdso_len, (off_t)m->start) !=
		    (ssize_t)t->vdso_len)
			return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the vDSO");
		return 0;
	}
	return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a task without a vDSO");
}

/* What engine_write_mm() would not know how to keep. */
static const struct {
	uint32_t flag;
	const char *what, *hint;
} refused_flags[] = {
	{ PROC_VM_HUGETLB, "a huge page mapping", "run the job without MAP_HUGETLB" },
	{ PROC_VM_UFFD_MISSING | PROC_VM_UFFD_WP | PROC_VM_UFFD_MINOR, "userfaultfd memory",
	  "the job handles page faults of its own" },
	{ PROC_VM_SHSTK, "a shadow stack", SHSTK_HINT },
	{ PROC_VM_SEALED, "a sealed mapping", "start the job without memory sealing" },
	{ PROC_VM_IO | PROC_VM_PFNMAP, "device memory", "close the device first" },
};

static int refuse_map(const struct proc_map *m, const char *what, const char *hint,
		      struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump %s", what);

	ck_err_hint(err, r, "%s", hint);
	return ck_err_at(err, r, "mapping %llx-%llx %s", (unsigned long long)m->start,
			 (unsigned long long)m->end, m->name);
}

uint32_t engine_map_status(const struct proc_map *m)
{
	bool zero = !strcmp(m->name, "/dev/zero") && m->deleted;

	if (!strcmp(m->name, "[vdso]"))
		return IMAGE_VMA_REGULAR | IMAGE_VMA_VDSO | IMAGE_VMA_ANON_PRIVATE;
	if (!strncmp(m->name, "[vvar", 5))
		return IMAGE_VMA_REGULAR | IMAGE_VMA_VVAR | IMAGE_VMA_ANON_PRIVATE;
	if (!strcmp(m->name, "[vsyscall]"))
		return IMAGE_VMA_VSYSCALL;
	if (!strcmp(m->name, "[heap]"))
		return IMAGE_VMA_REGULAR | IMAGE_VMA_HEAP | IMAGE_VMA_ANON_PRIVATE;
	if (!strncmp(m->name, "[stack", 6))
		return IMAGE_VMA_REGULAR | IMAGE_VMA_STACK | IMAGE_VMA_ANON_PRIVATE;
	if (!m->name[0] || !strncmp(m->name, "[anon:", 6))
		return m->shared ? 0 : IMAGE_VMA_REGULAR | IMAGE_VMA_ANON_PRIVATE;
	if (!strncmp(m->name, "[anon_shmem:", 12) || (zero && m->shared))
		return IMAGE_VMA_REGULAR | IMAGE_VMA_ANON_SHARED;
	if (!strncmp(m->name, "/SYSV", 5) && m->shared && m->deleted && !m->dev_major)
		return IMAGE_VMA_REGULAR | IMAGE_VMA_ANON_SHARED | IMAGE_VMA_SYSVIPC;
	if (m->name[0] == '/' && strcmp(m->name, "/[aio]") != 0 &&
	    strcmp(m->name, "/anon_hugepage") != 0 && strcmp(m->name, "/secretmem") != 0)
		return IMAGE_VMA_REGULAR |
		       (m->shared ? IMAGE_VMA_FILE_SHARED : IMAGE_VMA_FILE_PRIVATE);
	return 0;
}

static int check_maps(const struct engine_task *t, struct ck_err *err)
{
	for (size_t i = 0; i < t->maps.n; i++) {
		const struct proc_map *m = &t->maps.m[i];
		uint32_t status = engine_map_status(m);

		if (!status)
			return refuse_map(m, "this kind of memory",
					  "AIO and secret memory can't be kept yet", err);
		if (status & (IMAGE_VMA_VVAR | IMAGE_VMA_VSYSCALL))
			continue;
		for (size_t k = 0; k < CK_ARRAY_SIZE(refused_flags); k++)
			if (m->vmflags & refused_flags[k].flag)
				return refuse_map(m, refused_flags[k].what, refused_flags[k].hint,
						  err);
		if (m->protection_key > 0)
			return refuse_map(m, "memory with a protection key", "drop pkey_mprotect()",
					  err);
	}
	return 0;
}

/* The blob attaches the fate word by a number, which means another segment in another namespace. */
static int check_ipc(struct engine_dump *d, const struct engine_task *t, struct ck_err *err)
{
	struct stat own, root, theirs;

	if (stat("/proc/self/ns/ipc", &own) < 0 || fstatat(t->dirfd, "ns/ipc", &theirs, 0) < 0 ||
	    fstatat(d->tasks[0]->dirfd, "ns/ipc", &root, 0) < 0)
		return ck_fail_errno(err, "cannot compare IPC namespaces");
	d->other_ipc = own.st_ino != theirs.st_ino || own.st_dev != theirs.st_dev;
	if (root.st_ino != theirs.st_ino || root.st_dev != theirs.st_dev)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a tree with an IPC namespace of its own inside");
	return 0;
}

/*
 * A restore gives the job the caller's network, host name and control groups: those must be ours
 * now. User, mount and time namespace may be the job's own, for it gets fresh ones, but it gets
 * only one of each; and a task's children are born into its own.
 */
static const struct {
	const char *file, *like, *what;
	bool ours;
} namespaces[] = {
	{ "ns/net", "ns/net", "a network namespace of its own", true },
	{ "ns/uts", "ns/uts", "a UTS namespace (host name) of its own", true },
	{ "ns/cgroup", "ns/cgroup", "a cgroup namespace of its own", true },
	{ "ns/user", "ns/user", "a user namespace of its own", false },
	{ "ns/mnt", "ns/mnt", "a mount namespace of its own", false },
	{ "ns/time", "ns/time", "a time namespace of its own", false },
	{ "ns/time_for_children", "ns/time", "a time namespace that only its children are in",
	  false },
	{ "ns/pid_for_children", "ns/pid", "a pid namespace that only its children are in", false },
};

static int check_namespaces(const struct engine_dump *d, const struct engine_task *t,
			    struct ck_err *err)
{
	CK_AUTO(fd) int self = proc_open_pid(getpid());

	for (size_t i = 0; i < CK_ARRAY_SIZE(namespaces); i++) {
		const int with = namespaces[i].ours ? self : d->tasks[0]->dirfd;
		struct stat is, must;
		int r;

		/* COMPAT: a kernel may be without it; then nobody has one. */
		if (fstatat(with, namespaces[i].like, &must, 0) < 0)
			continue;
		/* Linux fs/nsfs.c: one for children that has no init yet can't be told */
		if (fstatat(t->dirfd, namespaces[i].file, &is, 0) == 0 &&
		    is.st_ino == must.st_ino && is.st_dev == must.st_dev)
			continue;
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a task with %s",
			    namespaces[i].what);
		if (namespaces[i].ours)
			r = ck_err_hint(err, r, "run ckpt in that namespace, as nsenter does");
		return r;
	}
	return 0;
}

static int check_task(struct engine_dump *d, const struct engine_task *t, int own_filters,
		      struct ck_err *err)
{
	const struct engine_task *root = d->tasks[0];
	int r;

	if (t->status.n_ns != root->status.n_ns)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a tree with a pid namespace of its own inside");
	if (t->zombie && t->stat.exit_signal > 0 && t->stat.exit_signal != SIGCHLD) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a child that has ended with signal %d for its parent",
			    t->stat.exit_signal);
		return ck_err_hint(err, r, "its parent has to wait for it first (__WALL)");
	}
	if (t->zombie)
		return 0;
	/* As many filters as ours: they are the container's, and there again at restore. */
	if (t->status.seccomp == 1 ||
	    (t->status.seccomp == 2 && t->status.seccomp_filters > own_filters)) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a task with a seccomp filter");
		return ck_err_hint(err, r, "start the job without its sandbox");
	}
	r = check_namespaces(d, t, err);
	if (r == 0)
		r = check_ipc(d, t, err);
	return r < 0 ? r : check_maps(t, err);
}

/* After the numbers have wrapped, the leader need not have the lowest. */
static void leader_first(struct engine_task *t)
{
	for (size_t i = 1; i < t->n_threads; i++)
		if (t->threads[i].tid == t->pid) {
			struct engine_thread tmp = t->threads[0];

			t->threads[0] = t->threads[i];
			t->threads[i] = tmp;
		}
}

static int by_id(const void *a, const void *b)
{
	const struct proc_timer *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* The kernel lists the newest first; images carry them in the order of their numbers. */
static int look_timers(struct engine_task *t, struct ck_err *err)
{
	int r = proc_read_timers(t->procfd, &t->timers, err);

	if (r == 0 && t->timers.n > 1)
		qsort(t->timers.t, t->timers.n, sizeof(*t->timers.t), by_id);
	return r;
}

static bool has_our_mounts(const struct engine_task *t)
{
	struct stat own, theirs;

	return stat("/proc/self/ns/mnt", &own) == 0 &&
	       fstatat(t->dirfd, "ns/mnt", &theirs, 0) == 0 && own.st_ino == theirs.st_ino &&
	       own.st_dev == theirs.st_dev;
}

static int look_names(struct engine_task *t, struct ck_err *err)
{
	int r;

	leader_first(t);
	r = proc_read_stat(t->procfd, &t->stat, err);
	if (r == 0)
		r = proc_read_status(t->procfd, &t->status, err);
	if (r < 0)
		return r;
	t->ns_pid = t->status.ns_pid;
	t->ns_pgid = t->status.ns_pgid;
	t->ns_sid = t->status.ns_sid;
	t->ns_ppid = t->parent ? t->parent->ns_pid : 0;
	t->exit_code = t->stat.exit_code;
	return 0;
}

/*
 * The first thread has ended and the others go on: what it leaves is its name, its credentials, and
 * the exit status that becomes the process's if the last thread ends as it did. The kernel tells of
 * memory and files only through another one.
 */
static int look_ended(struct engine_task *t, struct ck_err *err)
{
	struct engine_thread *e = t->ended = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember the first thread");
	*e = (struct engine_thread){ .tid = t->pid, .ns_tid = t->ns_pid, .task = t };
	e->status = t->status;
	e->sigmask = t->status.sig_blk;
	t->status = (struct proc_status){ 0 };
	memcpy(e->comm, t->stat.comm, sizeof(e->comm) - 1);
	if (t->stop_signo)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a stopped process whose first thread has ended");
	r = look_sched(e, err);
	t->dirfd = proc_open_tid(t->pid, t->threads[0].tid);
	if (t->dirfd < 0)
		return ck_fail(err, CK_ERR_SYS, t->dirfd, "cannot look at thread %d",
			       (int)t->threads[0].tid);
	if (r == 0)
		r = proc_read_stat(t->dirfd, &t->stat, err);
	if (r == 0)
		r = proc_read_status(t->dirfd, &t->status, err);
	snprintf(t->stat.comm, sizeof(t->stat.comm), "%s", e->comm);
	return r;
}

static int look_task(struct engine_task *t, struct ck_err *err)
{
	long v = 0;
	int r;

	r = look_names(t, err);
	if (r == 0 && !t->zombie && t->threads[0].tid != t->pid)
		r = look_ended(t, err);
	if (r < 0 || t->zombie)
		return r;
	t->memfd = openat(t->dirfd, "mem", O_RDWR | O_CLOEXEC);
	if (t->memfd < 0)
		return ck_fail_errno(err, "cannot open the task's memory");
	t->our_mounts = has_our_mounts(t);
	r = ck_readlink_at(t->dirfd, "exe", &t->exe);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read the exe link");
	r = proc_read_smaps(t->dirfd, &t->maps, err);
	if (r == 0) {
		drop_leftovers(t);
		r = look_vdso(t, err);
	}
	if (r == 0)
		r = look_auxv(t, err);
	if (r == 0)
		r = look_timers(t, err);
	if (r == 0)
		r = proc_read_limits(t->dirfd, &t->limits, err);
	if (r == 0)
		r = engine_look_pending(t, err);
	if (r < 0)
		return r;
	if (t->timers.n > PARASITE_NTIMERS)
		return ck_fail(err, CK_ERR_REFUSED, -E2BIG, "cannot dump more than %d POSIX timers",
			       PARASITE_NTIMERS);
	if (look_number(t->dirfd, "oom_score_adj", 10, &v) == 0)
		t->oom_score_adj = (int32_t)v;
	if (look_number(t->dirfd, "personality", 16, &v) == 0)
		t->personality = (uint32_t)v;
	t->has_coredump_filter = look_number(t->procfd, "coredump_filter", 16, &v) == 0;
	t->coredump_filter = (uint32_t)v;
	for (size_t i = 0; i < t->n_threads && r == 0; i++) {
		r = look_thread(&t->threads[i], err);
		if (r < 0)
			ck_err_at(err, r, "thread %d", (int)t->threads[i].tid);
	}
	return r;
}

/* Which keys are allocated can't be put back without what they guard, and the rights to them. */
static int check_keys(const struct engine_task *t, struct ck_err *err)
{
	int r;

	if (!t->view->keys)
		return 0;
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
		    "cannot dump a process that has allocated protection keys (%d of them)",
		    __builtin_popcount(t->view->keys));
	return ck_err_hint(err, r, "the program calls pkey_alloc(2): let it do without");
}

/* All children are made by the first thread at a restore, and are the next one's if that has ended.
 */
int engine_check_views(const struct engine_task *t, struct ck_err *err)
{
	bool other = t->parent && t->parent_tid != t->parent->threads[0].tid;

	for (size_t i = 0; i < t->n_threads && other; i++) {
		int r;

		if (!t->threads[i].view.pdeath_sig)
			continue;
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a process that wants a signal at the end of thread %d of "
			    "its parent (PR_SET_PDEATHSIG)",
			    (int)t->parent_tid);
		return ck_err_hint(err, r, "start it from the first thread of the program");
	}
	return check_keys(t, err);
}

static int own_seccomp_filters(void)
{
	CK_AUTO(proc_status) struct proc_status st = { 0 };
	CK_AUTO(fd) int self = proc_open_pid(getpid());

	if (self < 0 || proc_read_status(self, &st, NULL) < 0)
		return 0;
	return st.seccomp == 2 ? st.seccomp_filters : 0;
}

static int list_children(struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i], *p = t->parent, **grown;

		if (!p || t->zombie)
			continue;
		grown = reallocarray(p->children, p->n_children + 1, sizeof(struct engine_task *));
		if (!grown)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list the children of %d",
				       (int)p->pid);
		p->children = grown;
		p->children[p->n_children++] = t;
	}
	return 0;
}

int engine_look(struct engine_dump *d, struct ck_err *err)
{
	int own_filters = own_seccomp_filters(), r = list_children(d, err);

	for (size_t i = 0; i < d->n_tasks && r == 0; i++) {
		struct engine_task *t = d->tasks[i];

		r = look_task(t, err);
		if (r == 0)
			r = check_task(d, t, own_filters, err);
		if (r < 0)
			ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
	}
	return r;
}
