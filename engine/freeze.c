// SPDX-License-Identifier: Apache-2.0
/*
 * Stops a tree of tasks and lets it go again.
 *
 * Invariants:
 * 1. A task is asked for its children only after all its threads have stopped: it can't fork any
 *    more, so the list is final. New threads and children are looked for until a whole pass finds
 *    none.
 * 2. Until engine_inject(), nothing is changed in any task: if ckpt dies, the kernel detaches all
 *    threads and they go on.
 * 3. No cgroup freezer: it would outlive us.
 * 4. No single steps: a tracer that dies leaves the trap flag set, and the next instruction ends
 *    the job by SIGTRAP (kernel/ptrace.c:exit_ptrace() does not call ptrace_disable()).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/dump.h"

enum {
	FREEZE_PATIENCE_MS = 10000, /* for tasks in uninterruptible waits or the vDSO, all tries */
	FREEZE_TRY_MS = 200,        /* for one of them, before the tree is let go and tried again */
};

enum stop_answer { STOPPED = 0, STOP_GONE = 1, STOP_LATE = 2 };

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* SIGCHLD is blocked (engine_dump): it is the wake-up for a tracee's stop. */
static void wait_for_news(int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	(void)sigtimedwait(&set, NULL, &ts);
}

static bool is_stop_signal(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

/*
 * Waits until a seized and interrupted thread stops. A signal that is just being delivered is let
 * through: its handler's frame is then part of what we find. A stop signal's stop is the process's
 * state: it is there again as soon as a thread is let go, by us or by our death. Linux
 * kernel/ptrace.c:__ptrace_unlink()
 */
static enum stop_answer wait_interrupted(struct engine_thread *th, int64_t deadline)
{
	for (;;) {
		int status, r = waitpid(th->tid, &status, __WALL | WNOHANG);

		if (r < 0)
			return STOP_GONE;
		if (r == 0) {
			int64_t left = deadline - now_ms();

			if (left <= 0)
				return STOP_LATE;
			wait_for_news(left < 10 ? (int)left : 10);
			continue;
		}
		if (!WIFSTOPPED(status))
			return STOP_GONE;
		th->at_stop = true;
		if (status >> 16 == PTRACE_EVENT_STOP) {
			if (is_stop_signal(WSTOPSIG(status)))
				th->task->stop_signo = WSTOPSIG(status);
			return STOPPED;
		}
		if (ptrace(PTRACE_CONT, th->tid, 0, WSTOPSIG(status)) < 0)
			return STOP_GONE;
		th->at_stop = false;
	}
}

int engine_wait_stop(struct engine_thread *th, int *ret_status)
{
	int status;

	while (waitpid(th->tid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -ESRCH;
	if (!WIFSTOPPED(status)) {
		th->detached = true;
		return -ESRCH;
	}
	th->at_stop = true;
	*ret_status = status;
	return 0;
}

int engine_event_stop(struct engine_thread *th)
{
	int status, r;

	if (ptrace(PTRACE_INTERRUPT, th->tid, 0, 0) < 0)
		return -errno;
	do {
		th->at_stop = false;
		if (ptrace(PTRACE_CONT, th->tid, 0, 0) < 0)
			return -errno;
		r = engine_wait_stop(th, &status);
		if (r < 0)
			return r;
		if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP)
			th->deferred = WSTOPSIG(status);
	} while (status >> 16 != PTRACE_EVENT_STOP);
	return 0;
}

static int explain_eperm(const struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(proc_status) struct proc_status st = { 0 };
	int r;

	if (proc_read_status(t->dirfd, &st, NULL) == 0 && st.tracer) {
		r = ck_fail(err, CK_ERR_BUSY, -EBUSY, "cannot stop a task that pid %d traces",
			    (int)st.tracer);
		return ck_err_hint(err, r, "end the debugger or tracer first");
	}
	if (st.uid[0] != getuid() && geteuid() != 0) {
		r = ck_fail(err, CK_ERR_PERM, -EPERM, "cannot stop a task of uid %u", st.uid[0]);
		return ck_err_hint(err, r, "run ckpt as that user or as root");
	}
	r = ck_fail(err, CK_ERR_PERM, -EPERM, "the kernel does not let us trace the task");
	return ck_err_hint(err, r,
			   "a setuid program can't be dumped; else see "
			   "/proc/sys/kernel/yama/ptrace_scope: 1 needs root or an ancestor");
}

static struct engine_thread *add_thread(struct engine_task *t, pid_t tid)
{
	struct engine_thread *grown = realloc(t->threads, (t->n_threads + 1) * sizeof(*t->threads));
	struct engine_thread *th;

	if (!grown)
		return NULL;
	t->threads = grown;
	th = &grown[t->n_threads++];
	*th = (struct engine_thread){ .tid = tid, .task = t };
	return th;
}

static bool knows_thread(const struct engine_task *t, pid_t tid)
{
	for (size_t i = 0; i < t->n_threads; i++)
		if (t->threads[i].tid == tid)
			return true;
	return false;
}

/* Of a thread that is listed but can't be seized: it has ended, and waits for the others or its
 * parent. */
static bool has_ended(const struct engine_task *t, pid_t tid)
{
	CK_AUTO(fd) int dir = proc_open_tid(t->pid, tid);
	struct proc_stat st;

	return dir < 0 || proc_read_stat(dir, &st, NULL) < 0 || st.state == 'Z' || st.state == 'X';
}

/* It could not be let go in an earlier try, since it would not stop. */
static bool is_still_ours(const struct engine_task *t, pid_t tid)
{
	CK_AUTO(fd) int dir = proc_open_tid(t->pid, tid);
	CK_AUTO(proc_status) struct proc_status st = { 0 };

	return dir >= 0 && proc_read_status(dir, &st, NULL) == 0 && st.tracer == getpid();
}

/* A tracer may ask, if it takes nothing from the parent. Linux kernel/exit.c:wait_task_continued()
 */
bool engine_was_continued(pid_t tid)
{
	siginfo_t si = { 0 };

	return waitid(P_PID, (id_t)tid, &si, WCONTINUED | WNOHANG | WNOWAIT | __WALL) == 0 &&
	       si.si_pid;
}

/*
 * Between SIGCONT and its next turn on a CPU a thread still has to learn that the job's stop ended
 * its call with EINTR. Whoever sleeps has had that turn.
 */
static bool is_asleep(const struct engine_task *t, pid_t tid)
{
	CK_AUTO(fd) int dir = proc_open_tid(t->pid, tid);
	struct proc_stat st;

	return dir >= 0 && proc_read_stat(dir, &st, NULL) == 0 && st.state == 'S';
}

/* 0 or 1 (seized), negative on error. A thread that ended meanwhile is no error. */
static int seize_thread(struct engine_task *t, pid_t tid, struct ck_err *err)
{
	struct engine_thread *th;
	int r;

	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) < 0) {
		r = -errno;
		if (r == -ESRCH || (r == -EPERM && has_ended(t, tid)))
			return 0;
		if (r != -EPERM)
			return ck_fail(err, CK_ERR_SYS, r, "cannot trace");
		if (!is_still_ours(t, tid))
			return explain_eperm(t, err);
	}
	th = add_thread(t, tid);
	if (!th) {
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember thread %d", (int)tid);
	}
	th->seized = true;
	th->asleep = engine_was_continued(tid) && is_asleep(t, tid);
	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0 && errno != ESRCH)
		return ck_fail_errno(err, "cannot interrupt thread %d", (int)tid);
	return 1;
}

/* Forgets a thread that ended while we were waiting for it. */
static void drop_thread(struct engine_task *t, size_t i)
{
	memmove(&t->threads[i], &t->threads[i + 1], (t->n_threads - i - 1) * sizeof(*t->threads));
	t->n_threads--;
}

/* 0, or 1 if the thread ended instead of stopping. */
static int await_thread(struct engine_thread *th, int64_t deadline, struct ck_err *err)
{
	int r;

	switch (wait_interrupted(th, deadline)) {
	case STOPPED:
		return 0;
	case STOP_GONE:
		return 1;
	case STOP_LATE:
		break;
	}
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN, "thread %d is in an uninterruptible wait",
		    (int)th->tid);
	return ck_err_hint(err, r, "wait until its I/O is done and try again");
}

/* Returns how many stopped, or a negative errno. */
static int await_threads(struct engine_task *t, struct ck_err *err)
{
	int64_t deadline = now_ms() + FREEZE_TRY_MS;
	int stopped = 0;

	for (size_t i = 0; i < t->n_threads;) {
		int r;

		if (t->threads[i].at_stop) {
			i++;
			continue;
		}
		r = await_thread(&t->threads[i], deadline, err);
		if (r < 0)
			return r;
		if (r > 0) {
			drop_thread(t, i);
		} else {
			stopped++;
			i++;
		}
	}
	return stopped;
}

struct range {
	uint64_t start, end;
};

/* Where no thread may be dumped: code that belongs to this kernel or to dumps that were killed. */
static int find_strange(const struct engine_task *t, struct range **ret, size_t *ret_n,
			struct ck_err *err)
{
	CK_AUTO(proc_maps) struct proc_maps maps = { 0 };
	CK_AUTO(fd) int memfd = openat(t->dirfd, "mem", O_RDONLY | O_CLOEXEC);
	int r = proc_read_maps(t->dirfd, &maps, err);
	struct range *at;
	size_t n = 0;

	if (r < 0)
		return r;
	at = calloc(maps.n + 1, sizeof(*at));
	if (!at)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember the task's areas");
	for (size_t i = 0; i < maps.n; i++) {
		const struct proc_map *m = &maps.m[i];

		if (!strcmp(m->name, "[vdso]") || engine_is_area(memfd, m))
			at[n++] = (struct range){ m->start, m->end };
	}
	*ret = at;
	*ret_n = n;
	return 0;
}

static bool is_inside(const struct engine_thread *th, const struct range *at, size_t n)
{
	struct user_regs_struct regs = { 0 };
	struct iovec io = { &regs, sizeof(regs) };

	if (ptrace(PTRACE_GETREGSET, th->tid, NT_PRSTATUS, &io) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (regs.rip >= at[i].start && regs.rip < at[i].end)
			return true;
	return false;
}

/*
 * Lets a stopped thread run for a moment and stops it again; returns as await_thread(). Mostly some
 * microseconds, at times longer: on a busy machine it would be stopped each time before it ran.
 */
static int let_run(struct engine_thread *th, int tries, struct ck_err *err)
{
	struct timespec ts = { .tv_nsec = 10000L << tries % 12 };
	enum stop_answer already;

	if (ptrace(PTRACE_CONT, th->tid, 0, 0) < 0)
		return 1;
	th->at_stop = false;
	nanosleep(&ts, NULL);
	/* A process that was stopped when we came stops once more for our interrupt. */
	already = wait_interrupted(th, now_ms());
	if (already != STOP_LATE)
		return already == STOPPED ? 0 : 1;
	if (ptrace(PTRACE_INTERRUPT, th->tid, 0, 0) < 0)
		return 1;
	return await_thread(th, now_ms() + FREEZE_TRY_MS, err);
}

/*
 * A thread inside the vDSO is let run until it is found elsewhere: that code belongs to this
 * kernel, and will be another's at the restore. So is one that is still on its way back from a
 * dump that was killed. Returns how many threads ran: they may have made others.
 */
static int leave_strange(struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(free) struct range *at = NULL;
	size_t n = 0;
	int ran = 0, r = find_strange(t, &at, &n, err);
	int64_t deadline = now_ms() + FREEZE_PATIENCE_MS;

	for (size_t i = 0; i < t->n_threads && r >= 0;) {
		int tries = 0;

		for (r = 0; r == 0 && is_inside(&t->threads[i], at, n); tries++)
			r = now_ms() < deadline ? let_run(&t->threads[i], tries, err)
						: ck_fail(err, CK_ERR_BUSY, -EBUSY,
							  "thread %d does not leave the vDSO",
							  (int)t->threads[i].tid);
		ran += tries > 0;
		if (r > 0)
			drop_thread(t, i);
		else
			i++;
	}
	return r < 0 ? r : ran;
}

/* Seizes all threads of a task that aren't yet. Returns how many were new, or a negative errno. */
static int seize_threads(struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(free) pid_t *tids = NULL;
	size_t n = 0;
	int fresh = 0, r = proc_read_tids(t->dirfd, &tids, &n, err);

	for (size_t i = 0; i < n && r >= 0; i++) {
		if (knows_thread(t, tids[i]))
			continue;
		r = seize_thread(t, tids[i], err);
		fresh += r > 0;
	}
	return r < 0 ? r : fresh;
}

/* Stops all threads of a task that aren't yet. Returns how many did, or a negative errno. */
static int freeze_threads(struct engine_task *t, struct ck_err *err)
{
	int found = 0;

	for (;;) {
		int fresh = seize_threads(t, err), r;

		if (fresh < 0)
			return fresh;
		r = await_threads(t, err);
		if (r < 0)
			return r;
		found += r;
		if (!fresh)
			return found;
	}
}

static struct engine_task *knows_task(const struct engine_dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		if (d->tasks[i]->pid == pid)
			return d->tasks[i];
	return NULL;
}

static void task_free(struct engine_task *t)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		free(t->threads[i].xsave);
		free(t->threads[i].frames);
		free(t->threads[i].pending);
		free(t->threads[i].cpus);
		proc_status_done(&t->threads[i].status);
	}
	free(t->threads);
	if (t->ended) {
		proc_status_done(&t->ended->status);
		free(t->ended->cpus);
	}
	free(t->ended);
	for (size_t i = 0; i < t->n_fds; i++) {
		free(t->fds[i].link);
		proc_fdinfo_done(&t->fds[i].info);
	}
	free(t->fds);
	free(t->exe);
	free(t->map_file_ids);
	free(t->children);
	free(t->view);
	free(t->vdso);
	free(t->auxv);
	free(t->pending);
	proc_status_done(&t->status);
	proc_maps_done(&t->maps);
	proc_timers_done(&t->timers);
	if (t->memfd >= 0)
		close(t->memfd);
	if (t->dirfd >= 0)
		close(t->dirfd);
	if (t->procfd >= 0 && t->procfd != t->dirfd)
		close(t->procfd);
	free(t);
}

CK_DEFINE_AUTO(task, struct engine_task *, task_free);

void engine_tasks_free(struct engine_dump *d)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		task_free(d->tasks[i]);
	free(d->tasks);
	d->tasks = NULL;
	d->n_tasks = 0;
}

/* Takes a task into the tree: 0, or 1 if it went away before we could look. */
static int add_task(struct engine_dump *d, const struct engine_thread *parent, pid_t pid,
		    struct ck_err *err)
{
	CK_AUTO(task) struct engine_task *t = calloc(1, sizeof(*t));
	struct engine_task **grown;
	int r;

	if (!t)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember task %d", (int)pid);
	*t = (struct engine_task){ .pid = pid, .memfd = -EBADF };
	t->procfd = t->dirfd = -EBADF;
	if (parent) {
		t->parent = parent->task;
		t->parent_tid = parent->tid;
	}
	if (pid == getpid())
		return ck_fail(err, CK_ERR_REFUSED, -EINVAL, "ckpt itself belongs to the tree");
	t->procfd = t->dirfd = proc_open_pid(pid);
	if (t->dirfd < 0)
		return 1;
	r = proc_read_stat(t->dirfd, &t->stat, err);
	if (r < 0)
		return r == -ESRCH ? 1 : r;
	t->zombie = t->stat.state == 'Z' && t->stat.num_threads <= 1;
	grown = realloc(d->tasks, (d->n_tasks + 1) * sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember task %d", (int)pid);
	d->tasks = grown;
	d->tasks[d->n_tasks++] = ck_take_ptr(&t);
	return 0;
}

/* Looks for children of a stopped task. Returns how many were new. */
static int add_children(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	int found = 0;

	for (size_t i = 0; i < t->n_threads; i++) {
		CK_AUTO(free) pid_t *kids = NULL;
		size_t n = 0;
		int r = proc_read_children(t->dirfd, t->threads[i].tid, &kids, &n, err);

		if (r < 0)
			return r;
		for (size_t k = 0; k < n; k++) {
			if (knows_task(d, kids[k]))
				continue;
			r = add_task(d, &t->threads[i], kids[k], err);
			if (r < 0)
				return r;
			found += r == 0;
		}
	}
	return found;
}

/* Stops one task. Returns how many threads did; a task without any has ended. */
static int freeze_task(struct engine_task *t, struct ck_err *err)
{
	int r = freeze_threads(t, err);

	if (r == -ESRCH || (r >= 0 && t->n_threads == 0)) {
		/* It ended before we had it: what is left is a zombie, or nothing. */
		t->zombie = true;
		return 1;
	}
	/* Of threads that stood before, none has run since they were looked at. */
	if (r > 0) {
		int ran = leave_strange(t, err);

		r = ran < 0 ? ran : r + ran;
	}
	return r < 0 ? ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t)) : r;
}

/* New tasks stop side by side while we look at one after the other. What can't be seized is told by
 * freeze_task(). */
static void head_start(struct engine_dump *d)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		if (!d->tasks[i]->zombie && !d->tasks[i]->n_threads)
			(void)seize_threads(d->tasks[i], NULL);
}

static int freeze_pass(struct engine_dump *d, struct ck_err *err)
{
	int news = 0;

	head_start(d);

	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i];
		int r;

		if (t->zombie)
			continue;
		r = freeze_task(t, err);
		if (r < 0)
			return r;
		news += r;
		r = add_children(d, t, err);
		if (r < 0)
			return r;
		news += r;
	}
	return news;
}

/* A zombie whose parent reaped it before that was stopped is not in the tree. */
static void drop_ghosts(struct engine_dump *d)
{
	size_t keep = 0;

	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i];

		if (t->zombie && proc_read_stat(t->dirfd, &t->stat, NULL) < 0)
			task_free(t);
		else
			d->tasks[keep++] = t;
	}
	d->n_tasks = keep;
}

static int freeze_once(struct engine_dump *d, struct ck_err *err)
{
	int r = add_task(d, NULL, d->opts->pid, err);

	if (r > 0 || (r == 0 && d->tasks[0]->zombie)) {
		r = ck_fail(err, CK_ERR_GONE, -ESRCH, "no such process");
		return ck_err_at(err, r, "pid %d", (int)d->opts->pid);
	}
	while (r >= 0) {
		r = freeze_pass(d, err);
		if (r == 0)
			break;
	}
	if (r < 0)
		return r;
	if (d->tasks[0]->zombie)
		return ck_fail(err, CK_ERR_GONE, -ESRCH, "the process ended meanwhile");
	drop_ghosts(d);
	return 0;
}

/* Threads that had not stopped when we gave up: they stop now that the others are gone. */
static void thaw_late(struct engine_dump *d)
{
	int64_t deadline = now_ms() + FREEZE_TRY_MS;

	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->n_threads; k++) {
			struct engine_thread *th = &d->tasks[i]->threads[k];

			if (!th->seized || th->detached)
				continue;
			if (wait_interrupted(th, deadline) != STOP_GONE)
				ptrace(PTRACE_DETACH, th->tid, 0, 0);
			th->detached = true;
		}
}

void engine_thaw(struct engine_dump *d)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		int deferred = 0;

		for (size_t k = 0; k < d->tasks[i]->n_threads; k++) {
			struct engine_thread *th = &d->tasks[i]->threads[k];

			if (th->deferred)
				deferred = th->deferred;
			if (!th->at_stop || th->detached)
				continue;
			ptrace(PTRACE_DETACH, th->tid, 0, 0);
			th->detached = true;
		}
		if (deferred)
			kill(d->tasks[i]->pid, deferred);
	}
	thaw_late(d);
}

int engine_freeze(struct engine_dump *d, struct ck_err *err)
{
	int64_t deadline = now_ms() + FREEZE_PATIENCE_MS;
	int pause_ms = 5, r;

	for (;;) {
		r = freeze_once(d, err);
		if (r == 0)
			return 0;
		engine_thaw(d);
		/* A vfork() parent waits uninterruptibly until its child, which we stopped, execs.
		 */
		if (r != -EAGAIN || now_ms() > deadline)
			break;
		engine_tasks_free(d);
		wait_for_news(pause_ms);
		pause_ms = pause_ms < 200 ? pause_ms * 2 : 200;
	}
	engine_tasks_free(d);
	return r;
}

/* Whoever may trace a task may not always signal it (CAP_SYS_PTRACE without CAP_KILL): it is let
 * go, and kills itself. */
static void kill_or_let_go(struct engine_task *t)
{
	if (t->zombie || kill(t->pid, SIGKILL) == 0)
		return;
	for (size_t k = 0; k < t->n_threads; k++) {
		if (!t->threads[k].detached)
			ptrace(PTRACE_DETACH, t->threads[k].tid, 0, 0);
		t->threads[k].detached = true;
	}
}

void engine_kill(struct engine_dump *d)
{
	/* Children first would let a parent see them die; all are stopped, so the order is free. */
	for (size_t i = 0; i < d->n_tasks; i++)
		kill_or_let_go(d->tasks[i]);
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = d->tasks[i]->n_threads; k > 0; k--) {
			struct engine_thread *th = &d->tasks[i]->threads[k - 1];
			int status = 0;

			if (th->detached)
				continue;
			while (waitpid(th->tid, &status, __WALL) > 0 && WIFSTOPPED(status))
				;
			th->detached = true;
		}
}
