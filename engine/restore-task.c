// SPDX-License-Identifier: Apache-2.0
/*
 * The plan of what belongs to a process and is neither memory nor a descriptor: what the kernel
 * remembers about its address space, signal actions, timers, limits, pending signals. Executed by
 * the leader: engine_plan_task() before the other threads exist, engine_plan_last() after.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/arch/arch.h"
#include "engine/restore.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67 /* v6.4 */
#endif
#define ARCH_REQ_XCOMP_PERM 0x1023 /* v5.16 */
#define MAX_AUXV 1024u
#define NSIG_KERNEL 64
#define CAP_BIT_SYS_RESOURCE 24

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/* ---- the address space as the kernel remembers it ---- */

int engine_plan_program(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	const struct engine_rtask *base = engine_memory_base(t->proc);
	const MmEntry *mm = t->mm;
	int exe = res_parked_fd(r, mm->exe_file_id);
	size_t words = 0;
	struct prctl_mm_map map = {
		.start_code = mm->mm_start_code,
		.end_code = mm->mm_end_code,
		.start_data = mm->mm_start_data,
		.end_data = mm->mm_end_data,
		.start_brk = mm->mm_start_brk,
		.brk = mm->mm_brk,
		.start_stack = mm->mm_start_stack,
		.arg_start = mm->mm_arg_start,
		.arg_end = mm->mm_arg_end,
		.env_start = mm->mm_env_start,
		.env_end = mm->mm_env_end,
		.exe_fd = (uint32_t)exe,
	};
	uint64_t at;

	if (exe < 0)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot find the program's file (id %u)", mm->exe_file_id);
	/* What follows the end mark is the source kernel's room for more; ours may be smaller. */
	while (words + 2 <= mm->n_mm_saved_auxv && words < MAX_AUXV) {
		words += 2;
		if (mm->mm_saved_auxv[words - 2] == AT_NULL)
			break;
	}
	map.auxv_size = (uint32_t)(words * sizeof(uint64_t));
	at = script_data(t->script, mm->mm_saved_auxv, map.auxv_size);
	map.auxv = words ? (void *)(uintptr_t)at : NULL;
	at = script_data(t->script, &map, sizeof(map));
	if (!base || base->mm->exe_file_id != mm->exe_file_id)
		script_syscall(t->script, SCRIPT_OK_OR_NEXT, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP,
			       at, sizeof(map), 0, 0,
			       "set /proc/%u/exe and the program's addresses", t->ps->pid);
	map.exe_fd = (uint32_t)-1;
	at = script_data(t->script, &map, sizeof(map));
	script_syscall(t->script, SCRIPT_OK, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at, sizeof(map),
		       0, 0, "set the program's addresses");
	return 0;
}

static bool has_tile_data(const struct engine_rtask *t)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		const ThreadInfoX86 *ti = t->core[i]->thread_info;
		const UserX86XsaveEntry *x = ti ? ti->fpregs->xsave : NULL;

		for (size_t k = 0; x && k < x->n_ckpt_parts; k++)
			if (x->ckpt_parts[k]->bit == ARCH_TILEDATA)
				return true;
	}
	return false;
}

/* A permission without tiles is what a library asks for that might use them. */
static void plan_tiles(const struct engine_rtask *t)
{
	bool tiles = has_tile_data(t), permitted = false;

	/* A thread that has ended has no state. */
	for (size_t i = 0; i < t->n_threads; i++) {
		const ThreadInfoX86 *ti = t->core[i]->thread_info;

		permitted = permitted || (ti && (ti->ckpt_xcomp_perm & ARCH_XSTATE_DYNAMIC));
	}
	if (tiles || permitted)
		script_syscall(t->script, tiles ? SCRIPT_OK : SCRIPT_DEGRADED, SYS_arch_prctl,
			       ARCH_REQ_XCOMP_PERM, ARCH_TILEDATA, 0, 0, 0, 0,
			       "get permission for AMX tiles");
}

/* ---- signals ---- */

static void plan_action(struct script *s, int signo, const struct kernel_sigaction *sa)
{
	script_syscall(s, SCRIPT_OK, SYS_rt_sigaction, (uint64_t)signo,
		       script_data(s, sa, sizeof(*sa)), 0, 8, 0, 0, "set the action of signal %d",
		       signo);
}

/* Children that were made as zombies have left a SIGCHLD: setting an action that ignores a signal
 * throws away what is pending of it. Linux kernel/signal.c:do_sigaction() */
static void plan_actions(struct engine_restore *r, struct engine_rtask *t)
{
	const TaskCoreEntry *tc = t->core[0]->tc;
	struct kernel_sigaction sa = { .handler = 0 };
	size_t i = 0;

	plan_action(t->script, SIGCHLD, &sa);
	engine_plan_meeting(r, t, ENGINE_MEET_CHILD);
	for (int signo = 1; signo <= NSIG_KERNEL && !t->kin[ENGINE_KIN_SIGHAND]; signo++) {
		const SaEntry *e;

		if (signo == SIGKILL || signo == SIGSTOP)
			continue;
		memset(&sa, 0, sizeof(sa));
		if (i < tc->n_sigactions) {
			e = tc->sigactions[i++];
			sa.handler = e->sigaction;
			sa.flags = e->flags;
			sa.restorer = e->restorer;
			sa.mask = e->mask;
		}
		plan_action(t->script, signo, &sa);
	}
}

int engine_plan_pending(struct script *s, const SignalQueueEntry *q, pid_t pid, pid_t tid,
			struct ck_err *err)
{
	for (size_t i = 0; q && i < q->n_signals; i++) {
		const ProtobufCBinaryData *d = &q->signals[i]->siginfo;
		uint8_t raw[sizeof(siginfo_t)] = { 0 };
		uint64_t at;
		int signo;

		if (d->len < sizeof(signo) || d->len > sizeof(raw))
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot use a pending signal of %zu bytes", d->len);
		memcpy(raw, d->data, d->len);
		memcpy(&signo, raw, sizeof(signo));
		if (signo < 1 || signo > NSIG_KERNEL)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot use a pending signal %d", signo);
		at = script_data(s, raw, sizeof(raw));
		if (tid)
			script_syscall(s, SCRIPT_OK, SYS_rt_tgsigqueueinfo, (uint64_t)pid,
				       (uint64_t)tid, (uint64_t)signo, at, 0, 0,
				       "queue signal %d for a thread", signo);
		else
			script_syscall(s, SCRIPT_OK, SYS_rt_sigqueueinfo, (uint64_t)pid,
				       (uint64_t)signo, at, 0, 0, 0, "queue signal %d", signo);
	}
	return 0;
}

/* ---- timers ---- */

/*
 * A real-time interval timer that has expired is not armed again until its SIGALRM is taken: it
 * then has an interval, no time left, and a signal that pends. It gets there by expiring once more;
 * the signals become one. Linux kernel/signal.c:dequeue_signal()
 */
static void plan_itimer(struct script *s, int which, const ItimerEntry *e)
{
	bool expired = e && which == ITIMER_REAL && (e->isec || e->iusec);
	struct itimerval v;

	if (!e || (!e->vsec && !e->vusec && !expired))
		return;
	v.it_interval.tv_sec = (time_t)e->isec;
	v.it_interval.tv_usec = (suseconds_t)e->iusec;
	v.it_value.tv_sec = (time_t)e->vsec;
	v.it_value.tv_usec = (suseconds_t)e->vusec;
	if (!e->vsec && !e->vusec)
		v.it_value.tv_usec = 1;
	script_syscall(s, SCRIPT_OK, SYS_setitimer, (uint64_t)which, script_data(s, &v, sizeof(v)),
		       0, 0, 0, 0, "set interval timer %d", which);
}

static void plan_posix_timer(struct script *s, const PosixTimerEntry *e)
{
	struct pie_timer t = { .clock = (int32_t)e->clock_id, .id = (int32_t)e->it_id };
	struct sigevent sev;
	uint64_t a[6] = { 0 };

	_Static_assert(sizeof(sev) == sizeof(t.sigevent), "struct sigevent has 64 bytes");
	memset(&sev, 0, sizeof(sev));
	sev.sigev_value.sival_ptr = (void *)(uintptr_t)e->sival_ptr;
	sev.sigev_signo = (int)e->si_signo;
	sev.sigev_notify = (int)e->it_sigev_notify;
	if (e->has_notify_thread_id)
		sev._sigev_un._tid = e->notify_thread_id;
	memcpy(t.sigevent, &sev, sizeof(sev));
	t.interval_sec = (int64_t)e->isec;
	t.interval_nsec = (int64_t)e->insec;
	t.value_sec = (int64_t)e->vsec;
	t.value_nsec = (int64_t)e->vnsec;
	a[0] = script_data(s, &t, sizeof(t));
	script_op(s, PIE_TIMER, SCRIPT_OK, 0, a, "make timer %u", e->it_id);
}

static int by_id(const void *a, const void *b)
{
	const PosixTimerEntry *x = *(PosixTimerEntry *const *)a, *y = *(PosixTimerEntry *const *)b;

	return (x->it_id > y->it_id) - (x->it_id < y->it_id);
}

static void plan_timers(struct engine_rtask *t)
{
	const TaskTimersEntry *e = t->core[0]->tc->timers;

	if (!e)
		return;
	/* Before v6.15 the kernel hands numbers out upwards only. */
	if (e->n_posix > 1)
		qsort(e->posix, e->n_posix, sizeof(*e->posix), by_id);
	for (size_t i = 0; i < e->n_posix; i++)
		plan_posix_timer(t->script, e->posix[i]);
	plan_itimer(t->script, ITIMER_REAL, e->real);
	plan_itimer(t->script, ITIMER_VIRTUAL, e->virt);
	plan_itimer(t->script, ITIMER_PROF, e->prof);
}

/* ---- limits ---- */

/* A hard limit can't be raised again without a privilege of the host. */
static void clamp(struct engine_restore *r, const struct engine_rtask *t, unsigned int which,
		  struct rlimit *l)
{
	bool may = !r->rights.userns && (r->rights.permitted >> CAP_BIT_SYS_RESOURCE & 1);
	struct rlimit own;

	if (may || getrlimit((__rlimit_resource_t)which, &own) < 0 || l->rlim_max <= own.rlim_max)
		return;
	l->rlim_max = own.rlim_max;
	if (l->rlim_cur <= own.rlim_max)
		return;
	l->rlim_cur = own.rlim_max;
	engine_note(r, ENGINE_RTASK_FMT ": resource limit %u is lower here than it was",
		    ENGINE_RTASK_ARG(t), which);
}

static void plan_limits(struct engine_restore *r, struct engine_rtask *t)
{
	const TaskRlimitsEntry *e = t->core[0]->tc->rlimits;

	for (size_t i = 0; e && i < e->n_rlimits && i < RLIM_NLIMITS; i++) {
		struct rlimit l = { .rlim_cur = e->rlimits[i]->cur,
				    .rlim_max = e->rlimits[i]->max };

		if (l.rlim_cur > l.rlim_max)
			l.rlim_cur = l.rlim_max;
		clamp(r, t, (unsigned int)i, &l);
		script_syscall(t->script, SCRIPT_OK, SYS_prlimit64, 0, i,
			       script_data(t->script, &l, sizeof(l)), 0, 0, 0,
			       "set resource limit %zu", i);
	}
}

/* ---- in order ---- */

static void plan_coredump(struct engine_rtask *t, uint32_t filter)
{
	static const char path[] = "/proc/self/coredump_filter";
	CK_AUTO(free) char *own = NULL;
	char text[16];
	int len = snprintf(text, sizeof(text), "0x%x", filter);
	uint64_t a[6] = { script_data(t->script, path, sizeof(path)),
			  script_data(t->script, text, (size_t)len), (uint64_t)len };

	if (ck_read_file_at(AT_FDCWD, path, 64, &own, NULL) == 0 &&
	    strtoul(own, NULL, 16) == filter)
		return;
	script_op(t->script, PIE_WRITE_FILE, SCRIPT_DEGRADED, 0, a, "set coredump_filter to %#x",
		  filter);
}

static void plan_oom(struct engine_rtask *t, int32_t adj)
{
	static const char path[] = "/proc/self/oom_score_adj";
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", adj);
	uint64_t a[6] = { script_data(t->script, path, sizeof(path)),
			  script_data(t->script, text, (size_t)len), (uint64_t)len };

	script_op(t->script, PIE_WRITE_FILE, SCRIPT_DEGRADED, 0, a, "set oom_score_adj to %d", adj);
}

int engine_plan_task(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	const TaskCoreEntry *tc = t->core[0]->tc;
	struct script *s = t->script;
	int rc;

	script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_THP_DISABLE,
		       t->mm->has_thp_disabled && t->mm->thp_disabled, 0, 0, 0, 0,
		       "set PR_SET_THP_DISABLE");
	script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_CHILD_SUBREAPER,
		       tc->has_child_subreaper && tc->child_subreaper, 0, 0, 0, 0,
		       "set PR_SET_CHILD_SUBREAPER");
	script_syscall(s, SCRIPT_OK, SYS_personality, tc->personality, 0, 0, 0, 0, 0,
		       "set personality %#x", tc->personality);
	if (tc->has_oom_score_adj)
		plan_oom(t, tc->oom_score_adj);
	if (tc->has_coredump_filter)
		plan_coredump(t, tc->coredump_filter);
	if (tc->has_memory_merge && tc->memory_merge)
		script_syscall(s, SCRIPT_DEGRADED, SYS_prctl, PR_SET_MEMORY_MERGE, 1, 0, 0, 0, 0,
			       "set PR_SET_MEMORY_MERGE");
	for (unsigned int bit = 0; tc->has_membarrier_registration_mask && bit < 32; bit++)
		if (tc->membarrier_registration_mask >> bit & 1)
			script_syscall(s, SCRIPT_OK, SYS_membarrier, 1u << bit, 0, 0, 0, 0, 0,
				       "register for membarrier");
	plan_tiles(t);
	rc = res_plan(r, t, err);
	if (rc == 0)
		plan_actions(r, t);
	return rc;
}

int engine_plan_last(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	int rc = engine_plan_pending(t->script, t->core[0]->tc->signals_s, (pid_t)t->ps->pid, 0,
				     err);

	if (rc < 0)
		return rc;
	plan_timers(t);
	plan_limits(r, t);
	return 0;
}
