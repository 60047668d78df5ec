// SPDX-License-Identifier: Apache-2.0
/*
 * The tracer of a restore. Every task and thread is traced from birth, with PTRACE_O_EXITKILL: when
 * the tracer goes, for whatever reason, nothing is left of the job. Until all threads have arrived
 * it only lets them run; then it takes the zone out of every process, sets registers and masks, and
 * lets go of all.
 *
 * 1. A thread has arrived if it stops while its slot says so; the signal that stopped it is
 * dropped.
 * 2. From then on it executes nothing but what the tracer puts into its registers.
 * 3. After the first detach nothing can fail any more.
 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/procfs.h"
#include "engine/arch/arch.h"
#include "engine/restore.h"
#include "image/format.h"

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define RSEQ_CS_OFFSET 8 /* struct rseq: cpu_id_start, cpu_id, rseq_cs */

struct tracer {
	struct engine_restore *r;
	uint8_t *done; /* per slot: arrived, or gone */
	size_t n, n_done;
};

int engine_seize(pid_t pid, struct ck_err *err)
{
	const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
			     PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD;

	if (ptrace(PTRACE_SEIZE, pid, 0, options) < 0)
		return ck_fail_errno(err, "cannot trace the new task %d", (int)pid);
	return 0;
}

/* ---- until all have arrived ---- */

static bool is_fault(int signo)
{
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE ||
	       signo == SIGTRAP || signo == SIGSYS;
}

static void mark_done(struct tracer *t, size_t slot)
{
	if (!t->done[slot]) {
		t->done[slot] = 1;
		t->n_done++;
	}
}

static int task_gone(struct tracer *t, size_t slot, int status, struct ck_err *err)
{
	int rc = script_zone_failure(t->r->zone, err);

	if (rc < 0)
		return rc;
	if (script_zone_role(t->r->zone, slot) != SCRIPT_EXITS)
		return script_zone_crashed(t->r->zone, slot, status, err);
	mark_done(t, slot);
	return 0;
}

/*
 * Until the thread is a zombie. What the kernel clears at its end (set_tid_address(2)) it clears
 * before it sends signals to children that wanted them (PR_SET_PDEATHSIG): too early for those that
 * still have to ask for one. Linux kernel/exit.c:do_exit()
 */
static void await_end(pid_t tid)
{
	const struct timespec nap = { .tv_nsec = 50000 };
	struct proc_stat st;

	for (int i = 0; i < 200000; i++) {
		CK_AUTO(fd) int dir = proc_open_tid(tid, tid);

		if (dir < 0 || proc_read_stat(dir, &st, NULL) < 0 || st.state == 'Z' ||
		    st.state == 'X')
			return;
		nanosleep(&nap, NULL);
	}
}

static void tell_left(struct pie_slot *s)
{
	__atomic_store_n(&s->left, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &s->left, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int task_stopped(struct tracer *t, size_t slot, pid_t tid, int status, struct ck_err *err)
{
	struct pie_slot *s = script_zone_slot(t->r->zone, slot);
	uint32_t state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
	int signo = WSTOPSIG(status);
	bool event = status >> 16;

	if (!event && state == PIE_ARRIVED) {
		mark_done(t, slot);
		return 0;
	}
	/* It ends, and is not to be ours while it does: its parent would learn of it through us. */
	if (!event && state == PIE_LEAVING) {
		ptrace(PTRACE_DETACH, tid, 0, 0);
		await_end(tid);
		tell_left(s);
		mark_done(t, slot);
		return 0;
	}
	if (!event && script_zone_role(t->r->zone, slot) != SCRIPT_EXITS) {
		if (is_fault(signo))
			return script_zone_crashed(t->r->zone, slot, status, err);
		if (state != PIE_STOPPING)
			signo = 0; /* from outside, to a job that does not run yet */
	}
	if (event && state == PIE_STOPPING && signo != SIGTRAP)
		__atomic_store_n(&s->stopped, 1, __ATOMIC_RELEASE);
	ptrace(PTRACE_CONT, tid, 0, event ? 0 : signo);
	return 0;
}

static int wait_for_all(struct tracer *t, struct ck_err *err)
{
	int rc = 0;

	while (t->n_done < t->n && rc == 0) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL);
		ssize_t slot;

		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			return ck_fail_errno(err, "cannot wait for the job's tasks");
		slot = script_zone_find(t->r->zone, tid);
		if (slot < 0)
			continue; /* an orphan of somebody else's */
		if (WIFSTOPPED(status))
			rc = task_stopped(t, (size_t)slot, tid, status, err);
		else
			rc = task_gone(t, (size_t)slot, status, err);
	}
	return rc;
}

/* ---- taking the zone away ---- */

static int set_mask(pid_t tid, uint64_t mask, struct ck_err *err)
{
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0)
		return ck_fail_errno(err, "cannot set the signal mask of %d", (int)tid);
	return 0;
}

/* Goes on to the next stop at a system call; other stops are passed over. */
static int to_syscall_stop(pid_t tid, struct ck_err *err)
{
	for (;;) {
		int status;

		if (ptrace(PTRACE_SYSCALL, tid, 0, 0) < 0)
			return ck_fail_errno(err, "cannot resume %d", (int)tid);
		if (waitpid(tid, &status, __WALL) != tid)
			return ck_fail_errno(err, "cannot wait for %d", (int)tid);
		if (!WIFSTOPPED(status))
			return ck_fail(err, CK_ERR_SYS, -ECHILD, "cannot finish task %d: it ended",
				       (int)tid);
		if (WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
	}
}

/* One thread makes the call; no other thread of the process executes anything any more. */
static int unmap_zone(struct tracer *t, pid_t tid, struct ck_err *err)
{
	const struct pie_zone *z = script_zone_header(t->r->zone);
	struct user_regs_struct regs;
	int rc = set_mask(tid, ~0ull, err);

	if (rc < 0)
		return rc;
	if (ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0)
		return ck_fail_errno(err, "cannot read the registers of %d", (int)tid);
	arch_regs_call(&regs, z->syscall_insn, SYS_munmap, z->base, z->size);
	if (ptrace(PTRACE_SETREGS, tid, 0, &regs) < 0)
		return ck_fail_errno(err, "cannot set the registers of %d", (int)tid);
	rc = to_syscall_stop(tid, err);
	if (rc == 0)
		rc = to_syscall_stop(tid, err);
	if (rc < 0)
		return rc;
	if (ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0)
		return ck_fail_errno(err, "cannot read the registers of %d", (int)tid);
	if (regs.rax)
		return ck_fail(err, CK_ERR_SYS, (int)regs.rax,
			       "cannot unmap the restorer in task %d", (int)tid);
	return 0;
}

/* ---- giving threads their state ---- */

/* CRIU notes in which restartable sequence a thread was; the kernel has forgotten by now. */
static int set_rseq_cs(pid_t tid, const RseqEntry *e, struct ck_err *err)
{
	if (!e || !e->has_rseq_cs_pointer || !e->rseq_cs_pointer)
		return 0;
	if (ptrace(PTRACE_POKEDATA, tid, e->rseq_abi_pointer + RSEQ_CS_OFFSET, e->rseq_cs_pointer) <
	    0)
		return ck_fail_errno(err, "cannot set the rseq area of %d", (int)tid);
	return 0;
}

static uint64_t mask_of(const CoreEntry *c)
{
	if (c->thread_core->has_blk_sigset)
		return c->thread_core->blk_sigset;
	return c->tc ? c->tc->blk_sigset : 0;
}

static int set_thread(const struct engine_rtask *t, size_t i, struct ck_err *err)
{
	const struct engine_rregs *g = &t->regs[i];
	pid_t tid = (pid_t)t->ps->threads[i];
	struct iovec io = { g->xstate, g->xstate_len };
	const long set = g->xstate_len > 512 ? NT_X86_XSTATE : NT_PRFPREG;
	int rc = set_rseq_cs(tid, t->core[i]->thread_core->rseq_entry, err);

	if (rc < 0)
		return rc;
	if (ptrace(PTRACE_SETREGSET, tid, set, &io) < 0)
		return ck_fail_errno(err, "cannot set the extended state of %d", (int)tid);
	if (ptrace(PTRACE_SETREGS, tid, 0, &g->regs) < 0)
		return ck_fail_errno(err, "cannot set the registers of %d", (int)tid);
	return set_mask(tid, mask_of(t->core[i]), err);
}

static int set_task(struct tracer *t, const struct engine_rtask *task, struct ck_err *err)
{
	size_t first = engine_first_alive(task);
	/* Of those that share their memory, the first does it for all. */
	int rc = task->kin[ENGINE_KIN_VM] ? 0 : unmap_zone(t, (pid_t)task->ps->threads[first], err);

	if (rc == 0)
		rc = engine_put_patches(task, err);
	for (size_t i = first; i < task->n_threads && rc == 0; i++)
		rc = set_thread(task, i, err);
	return rc;
}

/* Every task has mapped what it shares; who has it attached is counted, and we are none of the job.
 */
static void unpark(const struct engine_restore *r)
{
	for (size_t i = 0; i < r->n_shm; i++)
		munmap((void *)(uintptr_t)r->shm[i].addr, r->shm[i].size);
}

static void let_go(const struct engine_restore *r)
{
	for (size_t i = r->n_tasks; i-- > 0;)
		for (size_t k = engine_first_alive(&r->tasks[i]);
		     !r->tasks[i].zombie && k < r->tasks[i].n_threads; k++)
			ptrace(PTRACE_DETACH, (pid_t)r->tasks[i].ps->threads[k], 0, 0);
}

int engine_trace(struct engine_restore *r, struct ck_err *err)
{
	struct tracer t = { .r = r, .n = script_zone_count(r->zone) };
	CK_AUTO(free) uint8_t *done = calloc(t.n, 1);
	int rc;

	if (!done)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot trace the job");
	t.done = done;
	rc = wait_for_all(&t, err);
	if (rc == 0) {
		unpark(r);
		engine_restore_stage(r, "finish");
	}
	for (size_t i = 0; i < r->n_tasks && rc == 0; i++) {
		if (r->tasks[i].zombie)
			continue;
		rc = set_task(&t, &r->tasks[i], err);
		if (rc < 0)
			ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(&r->tasks[i]));
	}
	if (rc == 0) {
		engine_restore_stage(r, "go");
		let_go(r);
	}
	return rc;
}
