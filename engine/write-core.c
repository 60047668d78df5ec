// SPDX-License-Identifier: Apache-2.0
/*
 * core-*.img: registers, signals, timers, credentials, limits of each thread and process. Messages
 * are put together from memory of their own, which core_free() gives back with protobuf-c's own
 * walk.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/pb.h"
#include "engine/arch/arch.h"
#include "engine/dump.h"
#include "image/core.pb-c.h"
#include "image/format.h"

/* COMPAT(v6.3): until MEMBARRIER_CMD_GET_REGISTRATIONS is the baseline. To be registered for a kind
 * of barrier that is not asked for does nothing; to be not is an error: the private and the global
 * expedited one. */
#define MEMBARRIER_UNTOLD 0x14u

static void core_free(CoreEntry *c)
{
	core_entry__free_unpacked(c, NULL);
}

CK_DEFINE_AUTO(core, CoreEntry *, core_free);

/* A zeroed message of type T, initialised; NULL without memory. */
#define NEW(T, init)                         \
	({                                   \
		T *new_ = malloc(sizeof(T)); \
		if (new_)                    \
			init(new_);          \
		new_;                        \
	})

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe the task");
}

static int put_caps(uint64_t caps, uint32_t **ret, size_t *ret_n)
{
	*ret = malloc(IMAGE_CAP_WORDS * sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)[0] = (uint32_t)caps;
	(*ret)[1] = (uint32_t)(caps >> 32);
	*ret_n = IMAGE_CAP_WORDS;
	return 0;
}

static CredsEntry *make_creds(const struct engine_thread *th)
{
	const struct proc_status *s = &th->status;
	CredsEntry *c = NEW(CredsEntry, creds_entry__init);

	if (!c)
		return NULL;
	c->uid = s->uid[0];
	c->euid = s->uid[1];
	c->suid = s->uid[2];
	c->fsuid = s->uid[3];
	c->gid = s->gid[0];
	c->egid = s->gid[1];
	c->sgid = s->gid[2];
	c->fsgid = s->gid[3];
	c->secbits = th->view.securebits;
	c->has_no_new_privs = 1;
	c->no_new_privs = s->no_new_privs;
	if (put_caps(s->cap_inh, &c->cap_inh, &c->n_cap_inh) < 0 ||
	    put_caps(s->cap_prm, &c->cap_prm, &c->n_cap_prm) < 0 ||
	    put_caps(s->cap_eff, &c->cap_eff, &c->n_cap_eff) < 0 ||
	    put_caps(s->cap_bnd, &c->cap_bnd, &c->n_cap_bnd) < 0 ||
	    put_caps(s->cap_amb, &c->cap_amb, &c->n_cap_amb) < 0)
		goto fail;
	if (s->n_groups) {
		c->groups = malloc(s->n_groups * sizeof(*c->groups));
		if (!c->groups)
			goto fail;
		memcpy(c->groups, s->groups, s->n_groups * sizeof(*c->groups));
		c->n_groups = s->n_groups;
	}
	return c;
fail:
	creds_entry__free_unpacked(c, NULL);
	return NULL;
}

static SignalQueueEntry *make_queue(const struct engine_siginfo *si, size_t n)
{
	SignalQueueEntry *q = NEW(SignalQueueEntry, signal_queue_entry__init);

	if (!q || !n)
		return q;
	q->signals = calloc(n, sizeof(*q->signals));
	for (size_t i = 0; q->signals && i < n; i++) {
		SiginfoEntry *e = NEW(SiginfoEntry, siginfo_entry__init);

		if (!e)
			break;
		q->signals[q->n_signals++] = e;
		e->siginfo.data = malloc(sizeof(si[i].raw));
		if (!e->siginfo.data)
			break;
		e->siginfo.len = sizeof(si[i].raw);
		memcpy(e->siginfo.data, si[i].raw, sizeof(si[i].raw));
	}
	if (q->signals && q->n_signals == n && q->signals[n - 1]->siginfo.len)
		return q;
	signal_queue_entry__free_unpacked(q, NULL);
	return NULL;
}

static RseqEntry *make_rseq(const struct engine_thread *th)
{
	RseqEntry *e = NEW(RseqEntry, rseq_entry__init);

	if (!e)
		return NULL;
	e->rseq_abi_pointer = th->rseq_addr;
	e->rseq_abi_size = th->rseq_size;
	e->signature = th->rseq_sig;
	return e;
}

/* What is as the kernel has it by itself is left out. */
static int put_settings(const struct engine_thread *th, ThreadCoreEntry *c)
{
	const struct engine_thread_view *v = &th->view;

	c->has_timerslack = v->timerslack_ns != 0;
	c->timerslack = v->timerslack_ns;
	c->has_ioprio = th->ioprio != 0;
	c->ioprio = th->ioprio;
	c->has_reset_on_fork = c->reset_on_fork = th->reset_on_fork;
	c->has_tsc = v->tsc > 0 && v->tsc != PR_TSC_ENABLE;
	c->tsc = (uint32_t)v->tsc;
	c->has_mce_kill = v->mce_kill >= 0 && v->mce_kill != PR_MCE_KILL_DEFAULT;
	c->mce_kill = (uint32_t)v->mce_kill;
	if (th->cpus) {
		c->cpus.data = malloc(th->cpus_len);
		if (!c->cpus.data)
			return -ENOMEM;
		memcpy(c->cpus.data, th->cpus, th->cpus_len);
		c->cpus.len = th->cpus_len;
		c->has_cpus = 1;
	}
	c->speculation = calloc(PARASITE_NFLAWS, sizeof(*c->speculation));
	c->nodes = calloc(PARASITE_NNODES, sizeof(*c->nodes));
	if (!c->speculation || !c->nodes)
		return -ENOMEM;
	for (size_t i = 0; i < PARASITE_NFLAWS; i++) {
		int32_t s = v->speculation[i];

		c->speculation[i] =
			s > 0 && (s & PR_SPEC_PRCTL) ? (uint32_t)(s & ~PR_SPEC_PRCTL) : 0;
		if (c->speculation[i] & ~(uint32_t)PR_SPEC_ENABLE)
			c->n_speculation = i + 1;
	}
	c->has_mempolicy = v->mempolicy > 0;
	c->mempolicy = (uint32_t)v->mempolicy;
	memcpy(c->nodes, v->nodes, sizeof(v->nodes));
	c->n_nodes = c->has_mempolicy ? PARASITE_NNODES : 0;
	return 0;
}

static ThreadCoreEntry *make_thread_core(const struct engine_thread *th)
{
	ThreadCoreEntry *c = NEW(ThreadCoreEntry, thread_core_entry__init);

	if (!c)
		return NULL;
	c->futex_rla = th->robust_list;
	c->futex_rla_len = (uint32_t)th->robust_len;
	c->has_blk_sigset = 1;
	c->blk_sigset = th->sigmask;
	c->has_pdeath_sig = th->view.pdeath_sig != 0;
	c->pdeath_sig = th->view.pdeath_sig;
	c->sched_nice = th->nice;
	c->has_sched_nice = 1;
	c->has_sched_policy = 1;
	c->sched_policy = th->sched_policy;
	c->has_sched_prio = 1;
	c->sched_prio = th->sched_prio;
	c->has_seccomp_mode = 1;
	c->seccomp_mode = SECCOMP_MODE__disabled;
	c->comm = strndup(th->comm, sizeof(th->comm));
	c->creds = make_creds(th);
	c->signals_p = make_queue(th->pending, th->n_pending);
	c->sas = NEW(ThreadSasEntry, thread_sas_entry__init);
	if (c->sas) {
		c->sas->ss_sp = th->view.sas_sp;
		c->sas->ss_size = th->view.sas_size;
		c->sas->ss_flags = th->view.sas_flags;
	}
	if (th->rseq_addr)
		c->rseq_entry = make_rseq(th);
	if (put_settings(th, c) == 0 && c->comm && c->creds && c->signals_p && c->sas &&
	    (!th->rseq_addr || c->rseq_entry))
		return c;
	thread_core_entry__free_unpacked(c, NULL);
	return NULL;
}

static int add_frame(ThreadInfoX86 *ti, const struct engine_frame *f)
{
	CkptX86Frame *e = NEW(CkptX86Frame, ckpt_x86_frame__init);

	if (!e || ck_pb_append(&ti->ckpt_frames, &ti->n_ckpt_frames, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->area = f->f.area;
	e->in_syscall = f->in_syscall;
	return 0;
}

static int make_thread(const struct arch_xstate_layout *layout, const struct engine_thread *th,
		       CoreEntry **ret, struct ck_err *err)
{
	CK_AUTO(core) CoreEntry *core = NEW(CoreEntry, core_entry__init);
	ThreadInfoX86 *ti;
	int r;

	if (!core)
		return no_memory(err);
	core->mtype = CORE_ENTRY__MARCH__X86_64;
	core->thread_core = make_thread_core(th);
	core->thread_info = ti = NEW(ThreadInfoX86, thread_info_x86__init);
	if (!core->thread_core || !ti)
		return no_memory(err);
	ti->clear_tid_addr = th->view.clear_tid_addr;
	ti->gpregs = NEW(UserX86RegsEntry, user_x86_regs_entry__init);
	if (!ti->gpregs)
		return no_memory(err);
	arch_regs_to_image(engine_regs_to_keep(th), ti->gpregs);
	/* The call that it was stopped in: nothing is restarted by it, but it tells that vector
	 * registers are dead. */
	ti->gpregs->orig_ax = th->stopped.orig_rax;
	if (th == th->task->threads && (th->task->view->xcomp_perm & ARCH_XSTATE_DYNAMIC)) {
		ti->has_ckpt_xcomp_perm = 1;
		ti->ckpt_xcomp_perm = th->task->view->xcomp_perm & ARCH_XSTATE_DYNAMIC;
	}
	for (size_t i = 0; i < th->n_frames; i++)
		if (add_frame(ti, &th->frames[i]) < 0)
			return no_memory(err);
	r = arch_xstate_to_image(layout, th->xsave, th->xsave_len, &ti->fpregs, err);
	if (r < 0)
		return r;
	*ret = ck_take_ptr(&core);
	return 0;
}

/* ---- what belongs to the process ---- */

static ItimerEntry *make_itimer(const int64_t v[4])
{
	ItimerEntry *e = NEW(ItimerEntry, itimer_entry__init);

	if (e) {
		e->isec = (uint64_t)v[0];
		e->iusec = (uint64_t)v[1];
		e->vsec = (uint64_t)v[2];
		e->vusec = (uint64_t)v[3];
	}
	return e;
}

/* The tid as the job sees it, for a number of our own pid namespace. */
static pid_t inner_tid(const struct engine_task *t, pid_t tid)
{
	for (size_t i = 0; i < t->n_threads; i++)
		if (t->threads[i].tid == tid)
			return t->threads[i].ns_tid;
	return 0;
}

static PosixTimerEntry *make_posix_timer(const struct engine_task *t, size_t i)
{
	const struct proc_timer *p = &t->timers.t[i];
	const struct parasite_timer *v = &t->view->timers[i];
	PosixTimerEntry *e = NEW(PosixTimerEntry, posix_timer_entry__init);

	if (!e)
		return NULL;
	e->it_id = (uint32_t)p->id;
	e->clock_id = (uint32_t)p->clock;
	e->si_signo = (uint32_t)p->signo;
	e->it_sigev_notify = (uint32_t)p->notify;
	e->sival_ptr = p->sigval;
	e->overrun = (uint32_t)v->overrun;
	e->isec = (uint64_t)v->interval_sec;
	e->insec = (uint64_t)v->interval_nsec;
	e->vsec = (uint64_t)v->value_sec;
	e->vnsec = (uint64_t)v->value_nsec;
	if (p->notify_tid) {
		e->it_sigev_notify |= SIGEV_THREAD_ID;
		e->has_notify_thread_id = 1;
		e->notify_thread_id = inner_tid(t, p->notify_pid);
	}
	return e;
}

static TaskTimersEntry *make_timers(const struct engine_task *t)
{
	TaskTimersEntry *e = NEW(TaskTimersEntry, task_timers_entry__init);

	if (!e)
		return NULL;
	e->real = make_itimer(t->view->itimer[ITIMER_REAL]);
	e->virt = make_itimer(t->view->itimer[ITIMER_VIRTUAL]);
	e->prof = make_itimer(t->view->itimer[ITIMER_PROF]);
	if (t->timers.n)
		e->posix = calloc(t->timers.n, sizeof(*e->posix));
	for (size_t i = 0; e->posix && i < t->timers.n; i++) {
		e->posix[i] = make_posix_timer(t, i);
		if (!e->posix[i])
			break;
		e->n_posix++;
	}
	if (e->real && e->virt && e->prof && e->n_posix == t->timers.n)
		return e;
	task_timers_entry__free_unpacked(e, NULL);
	return NULL;
}

static TaskRlimitsEntry *make_rlimits(const struct engine_task *t)
{
	TaskRlimitsEntry *e = NEW(TaskRlimitsEntry, task_rlimits_entry__init);

	if (!e)
		return NULL;
	e->rlimits = calloc(PROC_NLIMITS, sizeof(*e->rlimits));
	for (size_t i = 0; e->rlimits && i < PROC_NLIMITS; i++) {
		RlimitEntry *l = NEW(RlimitEntry, rlimit_entry__init);

		if (!l)
			break;
		l->cur = t->limits.cur[i];
		l->max = t->limits.max[i];
		e->rlimits[e->n_rlimits++] = l;
	}
	if (e->n_rlimits == PROC_NLIMITS)
		return e;
	task_rlimits_entry__free_unpacked(e, NULL);
	return NULL;
}

static int make_sigactions(const struct engine_task *t, TaskCoreEntry *tc)
{
	tc->sigactions = calloc(PARASITE_NSIG, sizeof(*tc->sigactions));
	if (!tc->sigactions)
		return -ENOMEM;
	for (int sig = 1; sig <= PARASITE_NSIG; sig++) {
		SaEntry *e;

		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		e = NEW(SaEntry, sa_entry__init);
		if (!e)
			return -ENOMEM;
		e->sigaction = t->view->sa[sig].handler;
		e->flags = t->view->sa[sig].flags;
		e->restorer = t->view->sa[sig].restorer;
		e->mask = t->view->sa[sig].mask;
		tc->sigactions[tc->n_sigactions++] = e;
	}
	return 0;
}

/*
 * A SIGSTOP that came while everything was held, and before the signals were looked at again, has
 * been taken off the queue already: the process is about to stop. (It comes again with
 * --leave-running.)
 */
static int stopped_by(const struct engine_task *t)
{
	for (size_t i = 0; i < t->n_threads && !t->stop_signo; i++)
		if (t->threads[i].deferred == SIGSTOP)
			return SIGSTOP;
	return t->stop_signo;
}

static int add_process(const struct engine_task *t, CoreEntry *core, struct ck_err *err)
{
	TaskCoreEntry *tc = NEW(TaskCoreEntry, task_core_entry__init);

	core->tc = tc;
	if (!tc)
		return no_memory(err);
	tc->task_state = t->zombie ? IMAGE_TASK_DEAD : IMAGE_TASK_ALIVE;
	tc->exit_code = t->zombie || t->ended ? (uint32_t)t->exit_code : 0;
	tc->personality = t->personality;
	tc->has_exit_signal = t->stat.exit_signal != SIGCHLD && t->stat.exit_signal >= 0;
	tc->exit_signal = tc->has_exit_signal ? (uint32_t)t->stat.exit_signal : 0;
	tc->comm = strndup(t->stat.comm, 15);
	if (!tc->comm)
		return no_memory(err);
	if (t->zombie)
		return 0;
	tc->stop_signo = (uint32_t)stopped_by(t);
	tc->has_stop_signo = tc->stop_signo != 0;
	if (tc->has_stop_signo)
		tc->task_state = IMAGE_TASK_STOPPED;
	tc->has_unwaited = 1;
	tc->unwaited = tc->has_stop_signo && !t->stop_signo ? IMAGE_UNWAITED_STOP : t->unwaited;
	tc->blk_sigset = t->ended ? t->ended->sigmask : t->threads[0].sigmask;
	tc->has_oom_score_adj = 1;
	tc->oom_score_adj = t->oom_score_adj;
	tc->has_coredump_filter = t->has_coredump_filter;
	tc->coredump_filter = t->coredump_filter;
	tc->has_memory_merge = tc->memory_merge = t->view->memory_merge > 0;
	tc->has_membarrier_registration_mask = 1;
	tc->membarrier_registration_mask =
		t->view->membarrier >= 0 ? (uint32_t)t->view->membarrier : MEMBARRIER_UNTOLD;
	tc->has_child_subreaper = t->view->subreaper != 0;
	tc->child_subreaper = t->view->subreaper != 0;
	tc->timers = make_timers(t);
	tc->rlimits = make_rlimits(t);
	tc->signals_s = make_queue(t->pending, t->n_pending);
	if (!tc->timers || !tc->rlimits || !tc->signals_s || make_sigactions(t, tc) < 0)
		return no_memory(err);
	return 0;
}

static int write_zombie(struct engine_dump *d, const struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(core) CoreEntry *core = NEW(CoreEntry, core_entry__init);
	int r;

	if (!core)
		return no_memory(err);
	core->mtype = CORE_ENTRY__MARCH__X86_64;
	r = add_process(t, core, err);
	return r < 0 ? r
		     : image_write_one(d->images, IMAGE_CORE, (unsigned int)t->ns_pid, &core->base,
				       err);
}

/* Of a first thread that has ended there are no registers; CRIU refuses a core without. */
static int write_ended(struct engine_dump *d, const struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(core) CoreEntry *core = NEW(CoreEntry, core_entry__init);
	int r;

	if (!core)
		return no_memory(err);
	core->mtype = CORE_ENTRY__MARCH__X86_64;
	/* What it can't be asked any more, and nobody can see. */
	t->ended->view = t->threads[0].view;
	core->thread_core = make_thread_core(t->ended);
	if (!core->thread_core)
		return no_memory(err);
	r = add_process(t, core, err);
	return r < 0 ? r
		     : image_write_one(d->images, IMAGE_CORE, (unsigned int)t->ns_pid, &core->base,
				       err);
}

/* Once per dump: it asks the CPU, which in a virtual machine is its hypervisor. */
static int find_layout(struct engine_dump *d, struct ck_err *err)
{
	struct arch_xstate_layout *l = d->xstate ? NULL : malloc(sizeof(*l));
	int r;

	if (d->xstate)
		return 0;
	if (!l)
		return no_memory(err);
	r = arch_xstate_host(l, err);
	if (r == 0)
		d->xstate = l;
	else
		free(l);
	return r;
}

int engine_write_core(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	int r;

	if (t->zombie)
		return write_zombie(d, t, err);
	r = find_layout(d, err);
	if (r == 0 && t->ended)
		r = write_ended(d, t, err);
	for (size_t i = 0; i < t->n_threads && r == 0; i++) {
		CK_AUTO(core) CoreEntry *core = NULL;

		r = make_thread(d->xstate, &t->threads[i], &core, err);
		if (r == 0 && i == 0 && !t->ended)
			r = add_process(t, core, err);
		if (r == 0)
			r = image_write_one(d->images, IMAGE_CORE,
					    (unsigned int)t->threads[i].ns_tid, &core->base, err);
		if (r < 0)
			ck_err_at(err, r, "thread %d", (int)t->threads[i].tid);
	}
	return r;
}
