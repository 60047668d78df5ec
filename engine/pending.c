// SPDX-License-Identifier: Apache-2.0
/*
 * Pending signals, with their data. Timers go on while a task is stopped: one may expire between
 * the reading of the signals and the reading of the timers. If the signals came first only, it
 * would be lost; if the timers did, it would go off twice. So the signals are read before and
 * after, and a timer whose signal is new has expired.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>

#include "base/auto.h"
#include "engine/dump.h"

enum { PENDING_MAX = 65536 };

struct queue {
	struct engine_siginfo *s;
	size_t n;
};

static int peek_siginfo(pid_t tid, uint32_t flags, struct engine_siginfo **ret, size_t *ret_n,
			struct ck_err *err)
{
	CK_AUTO(free) struct engine_siginfo *all = NULL;
	size_t n = 0;

	for (;;) {
		struct __ptrace_peeksiginfo_args args = { .off = n, .flags = flags, .nr = 32 };
		struct engine_siginfo *grown = realloc(all, (n + 32) * sizeof(*all));
		long got;

		if (!grown)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read pending signals");
		all = grown;
		got = ptrace(PTRACE_PEEKSIGINFO, tid, &args, all + n);
		if (got < 0)
			return ck_fail_errno(err, "cannot read pending signals");
		n += (size_t)got;
		if (got == 0 || n > PENDING_MAX)
			break;
	}
	*ret = ck_take_ptr(&all);
	*ret_n = n;
	return 0;
}

int engine_look_pending(struct engine_task *t, struct ck_err *err)
{
	int r = peek_siginfo(t->threads[0].tid, PTRACE_PEEKSIGINFO_SHARED, &t->pending,
			     &t->n_pending, err);

	for (size_t i = 0; i < t->n_threads && r == 0; i++)
		r = peek_siginfo(t->threads[i].tid, 0, &t->threads[i].pending,
				 &t->threads[i].n_pending, err);
	return r;
}

/* How many signals came from this timer: an interval timer's, or timer id's if code is SI_TIMER. */
static size_t count(const struct engine_siginfo *s, size_t n, int code, int signo, int id)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		siginfo_t si;

		memcpy(&si, s[i].raw, sizeof(si));
		if (si.si_code == code && si.si_signo == signo &&
		    (code != SI_TIMER || si.si_timerid == id))
			found++;
	}
	return found;
}

/* Only what goes off once: of a periodic timer, nobody counts the signals. */
static void settle_timers(struct engine_task *t, const struct queue *before,
			  const struct queue *after)
{
	int64_t *real = t->view->itimer[ITIMER_REAL]; /* interval sec, usec, value sec, usec */

	if (!real[0] && !real[1] &&
	    count(after->s, after->n, SI_KERNEL, SIGALRM, 0) >
		    count(before->s, before->n, SI_KERNEL, SIGALRM, 0))
		real[2] = real[3] = 0;
	for (size_t i = 0; i < t->timers.n; i++) {
		struct parasite_timer *v = &t->view->timers[i];
		const struct proc_timer *p = &t->timers.t[i];

		if (v->interval_sec || v->interval_nsec)
			continue;
		if (count(after->s, after->n, SI_TIMER, p->signo, p->id) >
		    count(before->s, before->n, SI_TIMER, p->signo, p->id))
			v->value_sec = v->value_nsec = 0;
	}
}

static int review_queue(struct engine_task *t, pid_t tid, uint32_t flags,
			struct engine_siginfo **pending, size_t *n_pending, struct ck_err *err)
{
	struct queue before = { *pending, *n_pending }, after = { NULL, 0 };
	int r = peek_siginfo(tid, flags, &after.s, &after.n, err);

	if (r < 0)
		return r;
	settle_timers(t, &before, &after);
	free(before.s);
	*pending = after.s;
	*n_pending = after.n;
	return 0;
}

int engine_review_pending(struct engine_task *t, struct ck_err *err)
{
	int r = review_queue(t, t->threads[0].tid, PTRACE_PEEKSIGINFO_SHARED, &t->pending,
			     &t->n_pending, err);

	for (size_t i = 0; i < t->n_threads && r == 0; i++)
		r = review_queue(t, t->threads[i].tid, 0, &t->threads[i].pending,
				 &t->threads[i].n_pending, err);
	return r;
}
