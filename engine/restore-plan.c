// SPDX-License-Identifier: Apache-2.0
/*
 * Puts the plan together: where the window lies, one script per thread, helper and zombie, in the
 * order that the parts need. Pure but for looking at our own address space; nothing is done yet.
 *
 * The window is free in every task of the job and in us. From its beginning: the parked vDSO, which
 * may stay there for good; parked shared memory; the zone.
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "base/procfs.h"
#include "engine/arch/arch.h"
#include "engine/restore.h"
#include "engine/vdso.h"
#include "image/format.h"

#define ZONE_ROOM (1ull << 36) /* bytes of address space, not of memory */
#define ZONE_LEAST (1ull << 28)
#define LOWEST (1ull << 20)
/* Highest address of a mapping that was not asked for by address, with four page table levels. */
#define TASK_SIZE_47 ((1ull << 47) - PIE_PAGE)

/* ---- notes ---- */

void engine_note(struct engine_restore *r, const char *fmt, ...)
{
	char **grown, *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	for (size_t i = 0; text && i < r->n_notes; i++)
		if (!strcmp(r->notes[i], text)) {
			free(text);
			return;
		}
	grown = text ? reallocarray(r->notes, r->n_notes + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(text);
		return;
	}
	r->notes = grown;
	r->notes[r->n_notes++] = text;
}

void engine_notes_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->n_notes; i++)
		free(r->notes[i]);
	free(r->notes);
	r->notes = NULL;
	r->n_notes = 0;
}

/* ---- the window ---- */

struct hole {
	uint64_t start, end;
};

static int by_start(const void *a, const void *b)
{
	const struct hole *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* All mappings of all tasks and of ourselves. */
static struct hole *list_mappings(const struct engine_restore *r, const struct proc_maps *own,
				  size_t *ret_n)
{
	struct hole *h;
	size_t n = own->n, k = 0;

	for (size_t i = 0; i < r->n_tasks; i++)
		n += r->tasks[i].mm ? r->tasks[i].mm->n_vmas : 0;
	h = calloc(n + 1, sizeof(*h));
	for (size_t i = 0; h && i < own->n; i++)
		h[k++] = (struct hole){ own->m[i].start, own->m[i].end };
	for (size_t i = 0; h && i < r->n_tasks; i++) {
		const MmEntry *mm = r->tasks[i].mm;

		for (size_t v = 0; mm && v < mm->n_vmas; v++)
			h[k++] = (struct hole){ mm->vmas[v]->start, mm->vmas[v]->end };
	}
	*ret_n = k;
	return h;
}

/* The largest hole, less a quarter on either side: stacks and heaps grow, ours too. */
static struct hole find_hole(struct hole *h, size_t n)
{
	struct hole best = { 0, 0 };
	uint64_t at = LOWEST, quarter;

	qsort(h, n, sizeof(*h), by_start);
	for (size_t i = 0; i <= n; i++) {
		uint64_t end = i < n ? h[i].start : TASK_SIZE_47;

		end = end < TASK_SIZE_47 ? end : TASK_SIZE_47;
		if (end > at && end - at > best.end - best.start)
			best = (struct hole){ at, end };
		if (i < n && h[i].end > at)
			at = h[i].end;
	}
	quarter = (best.end - best.start) / 4 / PIE_PAGE * PIE_PAGE;
	best.start = (best.start + quarter + PIE_PAGE - 1) / PIE_PAGE * PIE_PAGE;
	best.end = best.start + 2 * quarter;
	return best;
}

static int place_window(struct engine_restore *r, struct ck_err *err)
{
	CK_AUTO(proc_maps) struct proc_maps own = { 0 };
	CK_AUTO(free) struct hole *h = NULL;
	struct hole room;
	uint64_t at;
	size_t n = 0;
	int rc = proc_read_own_maps(&own, err);

	if (rc < 0)
		return rc;
	h = list_mappings(r, &own, &n);
	if (!h)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot plan memory");
	room = find_hole(h, n);
	at = r->window = room.start;
	r->vdso->parked = at;
	at += engine_vdso_span(r->vdso);
	for (size_t i = 0; i < r->n_shm; i++) {
		r->shm[i].addr = at;
		if (r->shm[i].size > room.end - at)
			at = room.end;
		else
			at += r->shm[i].size;
	}
	if (at > room.end || room.end - at < ZONE_LEAST)
		return ck_fail(err, CK_ERR_HOST, -ENOSPC,
			       "cannot find room for the restorer beside the job's memory");
	r->window_len = at - room.start + ZONE_ROOM;
	if (r->window_len > room.end - room.start)
		r->window_len = room.end - room.start;
	return script_zone_new(at, r->window + r->window_len - at, &r->zone, err);
}

/* ---- the mark ---- */

static uint64_t queue_mask(const SignalQueueEntry *q)
{
	uint64_t mask = 0;

	for (size_t i = 0; q && i < q->n_signals; i++) {
		int signo = 0;

		if (q->signals[i]->siginfo.len >= sizeof(signo))
			memcpy(&signo, q->signals[i]->siginfo.data, sizeof(signo));
		if (signo > 0 && signo <= 64)
			mask |= 1ull << (signo - 1);
	}
	return mask;
}

/* An ordinary signal that is pending nowhere, best one that is ignored by default. */
static int find_mark(const struct engine_restore *r, uint32_t *ret, struct ck_err *err)
{
	static const int wanted[] = { SIGURG,    SIGWINCH, SIGIO,   SIGUSR1, SIGUSR2,  SIGPWR,
				      SIGSTKFLT, SIGXCPU,  SIGXFSZ, SIGALRM, SIGPROF,  SIGHUP,
				      SIGINT,    SIGQUIT,  SIGTERM, SIGPIPE, SIGVTALRM };
	uint64_t pending = 0;

	for (size_t i = 0; i < r->n_tasks; i++) {
		const struct engine_rtask *t = &r->tasks[i];

		if (t->core[0]->tc)
			pending |= queue_mask(t->core[0]->tc->signals_s);
		for (size_t k = 0; k < t->n_threads; k++)
			if (t->core[k]->thread_core)
				pending |= queue_mask(t->core[k]->thread_core->signals_p);
	}
	for (size_t i = 0; i < CK_ARRAY_SIZE(wanted); i++)
		if (!(pending >> (wanted[i] - 1) & 1)) {
			*ret = (uint32_t)wanted[i];
			return 0;
		}
	return ck_fail(err, CK_ERR_REFUSED, -EAGAIN,
		       "cannot restore a job in which every signal is pending");
}

/* ---- scripts ---- */

static void new_scripts(struct engine_restore *r)
{
	for (size_t i = 0; i < r->n_procs; i++) {
		struct engine_rproc *p = r->procs[i];
		enum script_role role = p->task && !p->task->zombie ? SCRIPT_THREAD : SCRIPT_EXITS;

		if (p->task)
			p->script = script_new(r->zone, role, p->pid, ENGINE_RTASK_FMT,
					       ENGINE_RTASK_ARG(p->task));
		else
			p->script = script_new(r->zone, role, p->pid, "helper %d", (int)p->pid);
		if (p->task)
			p->task->script = p->script;
		if (!p->maker)
			script_set_top(p->script);
	}
}

static int plan_threads(struct engine_restore *r, struct engine_rtask *t, uint64_t creds_done,
			struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 1; i < t->n_threads && rc == 0; i++) {
		struct script *s = script_new(r->zone, SCRIPT_THREAD, (pid_t)t->ps->threads[i],
					      ENGINE_RTASK_FMT " > thread %u", ENGINE_RTASK_ARG(t),
					      t->ps->threads[i]);
		uint64_t a[6] = { script_slot(s), CLONE_VM | CLONE_FS | CLONE_FILES |
							  CLONE_SIGHAND | CLONE_THREAD |
							  CLONE_SYSVSEM };

		script_op(t->script, PIE_CLONE, SCRIPT_OK, 0, a, "make thread %u",
			  t->ps->threads[i]);
		rc = engine_plan_thread(r, t, i, s, creds_done, err);
	}
	return rc;
}

static int plan_alive(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	uint64_t creds_done = engine_creds_barrier(r, t);
	int rc = t->kin[ENGINE_KIN_VM] ? 0 : engine_plan_shared(r, t, err);

	engine_plan_meeting(r, t, ENGINE_MEET_MEMORY);
	if (rc == 0)
		rc = engine_plan_task(r, t, err);
	if (rc == 0)
		rc = plan_threads(r, t, creds_done, err);
	if (rc == 0)
		rc = engine_plan_last(r, t, err);
	return rc < 0 ? rc : engine_plan_thread(r, t, 0, t->script, creds_done, err);
}

static void plan_exit(const struct engine_rproc *p)
{
	uint64_t a[6] = { p->task ? p->task->core[0]->tc->exit_code : 0 };

	if (p->task)
		engine_plan_name(p->task->core[0]->tc->comm, p->script);
	script_op(p->script, PIE_EXIT, SCRIPT_OK, 0, a, "exit");
}

/* State for the tracer, translated now, while a refusal still costs nothing. A thread that was
 * stopped in a system call has nothing in the registers that calls may change. */
static int plan_state(struct engine_restore *r, const ThreadInfoX86 *ti, struct engine_rregs *g,
		      const struct arch_xstate_layout *l, struct ck_err *err)
{
	bool in_call = (int64_t)ti->gpregs->orig_ax >= 0;
	uint64_t dead = in_call ? ARCH_XSTATE_CALLER_SAVED : 0;
	int rc = arch_xstate_from_image(l, ti->fpregs, dead, g->xstate, g->xstate_len, err);

	if (rc == 0 || err->kind != CK_ERR_HOST || !(r->opts->flags & ENGINE_DROP_STATE))
		return rc;
	*err = (struct ck_err)CK_ERR_INIT;
	memset(g->xstate, 0, g->xstate_len);
	rc = arch_xstate_from_image(l, ti->fpregs, ~0ull, g->xstate, g->xstate_len, err);
	if (rc == 0)
		engine_note(r, "live register state that this CPU lacks is lost, as was asked for");
	return rc;
}

static int plan_registers(struct engine_restore *r, struct engine_rtask *t,
			  const struct arch_xstate_layout *l, struct ck_err *err)
{
	int rc = 0;

	t->regs = calloc(t->n_threads, sizeof(t->regs[0]));
	if (!t->regs)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot plan registers");
	for (size_t i = 0; i < t->n_threads && rc == 0; i++) {
		const ThreadInfoX86 *ti = t->core[i]->thread_info;
		struct engine_rregs *g = &t->regs[i];

		if (!ti) /* a leader that has ended */
			continue;
		g->xstate_len = l->size;
		g->xstate = calloc(1, l->size);
		if (!g->xstate)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot plan registers");
		rc = arch_regs_from_image(ti->gpregs, &g->regs, err);
		if (rc == 0)
			rc = plan_state(r, ti, g, l, err);
		if (rc < 0)
			ck_err_at(err, rc, "thread %u", t->ps->threads[i]);
	}
	return rc;
}

static int plan_all_registers(struct engine_restore *r, struct ck_err *err)
{
	struct arch_xstate_layout l;
	int rc = arch_xstate_host(&l, err);

	for (size_t i = 0; i < r->n_tasks && rc == 0; i++) {
		if (r->tasks[i].zombie)
			continue;
		rc = plan_registers(r, &r->tasks[i], &l, err);
		if (rc < 0)
			ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(&r->tasks[i]));
	}
	if (rc == 0)
		rc = engine_plan_frames(r, &l, err);
	return rc < 0 ? rc : engine_plan_saves(r, err);
}

/* All processes wait at these for each other. */
struct barriers {
	uint64_t led, joined; /* the process groups have their leaders; have their members */
	uint64_t stopped;     /* 0: nobody stops */
};

static void make_barriers(struct engine_restore *r, struct barriers *ret)
{
	bool stops = false;

	for (size_t i = 0; i < r->n_tasks; i++)
		stops = stops || r->tasks[i].stop_signo ||
			r->tasks[i].unwaited == IMAGE_UNWAITED_CONT;
	ret->led = script_barrier(r->zone, (uint32_t)r->n_procs);
	ret->joined = script_barrier(r->zone, (uint32_t)r->n_procs);
	ret->stopped = stops ? script_barrier(r->zone, (uint32_t)r->n_procs) : 0;
}

static int plan_proc(struct engine_restore *r, struct engine_rproc *p, const struct barriers *b,
		     struct ck_err *err)
{
	bool alive = p->task && !p->task->zombie;
	int rc = alive && !p->task->kin[ENGINE_KIN_VM] ? engine_plan_private(r, p->task, err) : 0;

	if (rc == 0)
		rc = engine_plan_forks(r, p, err);
	if (rc < 0)
		return rc;
	engine_plan_groups(r, p, b->led, b->joined);
	if (b->stopped)
		engine_plan_stops(r, p, b->stopped);
	engine_plan_reap(r, p);
	if (alive)
		return plan_alive(r, p->task, err);
	plan_exit(p);
	return 0;
}

int engine_plan(struct engine_restore *r, struct ck_err *err)
{
	uint32_t mark = 0;
	struct barriers b;
	int rc = engine_vdso_find(&r->vdso, err);

	if (rc == 0)
		rc = plan_all_registers(r, err);
	if (rc == 0)
		rc = place_window(r, err);
	if (rc == 0)
		rc = find_mark(r, &mark, err);
	if (rc < 0)
		return rc;
	make_barriers(r, &b);
	new_scripts(r);
	for (size_t i = 0; i < r->n_procs && rc == 0; i++) {
		struct engine_rproc *p = r->procs[i];

		rc = plan_proc(r, p, &b, err);
		if (rc < 0 && p->task)
			ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(p->task));
	}
	return rc < 0 ? rc : script_zone_finish(r->zone, mark, err);
}
