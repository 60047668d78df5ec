// SPDX-License-Identifier: Apache-2.0
/*
 * Everything about signals that a task carries: dispositions with their flags, masks, pending
 * signals with their data in their order (for the process and for a thread), an alternate stack,
 * interval timers, and POSIX timers of every way of notifying.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "job.h"

#define QUEUED 20

static char alt[32768];
static volatile uint64_t alarms, virtuals, profs, timer_hits, thread_hits, queue_next;
static volatile pid_t thread_tid;
static volatile bool over;

static void on_alarm(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	CHECK(sig == SIGALRM && si->si_code == SI_KERNEL);
	CHECK(job_runs_on(alt, sizeof(alt)));
	alarms++;
}

static void on_cpu_timer(int sig, siginfo_t *si, void *uc)
{
	(void)si;
	(void)uc;
	if (sig == SIGVTALRM)
		virtuals++;
	else
		profs++;
}

static void on_timer(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	CHECK(sig == SIGRTMIN + 1 && si->si_code == SI_TIMER);
	CHECKF(si->si_value.sival_int == 0x7157, "value %x", si->si_value.sival_int);
	timer_hits += 1;
}

static void on_thread_timer(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	CHECK(sig == SIGRTMIN + 2 && si->si_code == SI_TIMER);
	CHECK(si->si_value.sival_int == 0x7158);
	CHECK(syscall(SYS_gettid) == thread_tid);
	thread_hits++;
}

static void on_queue(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	CHECK(sig == SIGRTMIN + 3 && si->si_code == SI_QUEUE && si->si_pid == getpid());
	CHECKF(si->si_value.sival_int == (int)queue_next, "queued %d came instead of %d",
	       si->si_value.sival_int, (int)queue_next);
	queue_next++;
}

static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_RESTART | flags };

	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGURG);
	CHECK(!sigaction(sig, &sa, NULL));
}

static void check_action(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa;

	CHECK(!sigaction(sig, NULL, &sa));
	CHECK(sa.sa_sigaction == fn);
	sa.sa_flags &= ~0x04000000; /* SA_RESTORER, libc's own */
	CHECKF(sa.sa_flags == (SA_SIGINFO | SA_RESTART | flags), "signal %d: flags %x", sig,
	       (unsigned int)sa.sa_flags);
	CHECK(sigismember(&sa.sa_mask, SIGURG) == 1 && sigismember(&sa.sa_mask, SIGUSR1) == 0);
}

static void setup_actions(void)
{
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };

	CHECK(!sigaltstack(&ss, NULL));
	handle(SIGALRM, on_alarm, SA_ONSTACK);
	handle(SIGVTALRM, on_cpu_timer, 0);
	handle(SIGPROF, on_cpu_timer, SA_NODEFER);
	handle(SIGRTMIN + 1, on_timer, 0);
	handle(SIGRTMIN + 2, on_thread_timer, 0);
	handle(SIGRTMIN + 3, on_queue, 0);
	handle(SIGUSR2, on_cpu_timer, SA_RESETHAND | SA_NOCLDSTOP);
	CHECK(signal(SIGPIPE, SIG_IGN) == SIG_DFL);
	CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
}

static void check_actions(void)
{
	struct sigaction sa;
	stack_t ss;

	check_action(SIGALRM, on_alarm, SA_ONSTACK);
	check_action(SIGPROF, on_cpu_timer, SA_NODEFER);
	check_action(SIGRTMIN + 3, on_queue, 0);
	check_action(SIGUSR2, on_cpu_timer, SA_RESETHAND | SA_NOCLDSTOP);
	CHECK(!sigaction(SIGPIPE, NULL, &sa) && sa.sa_handler == SIG_IGN);
	CHECK(!sigaction(SIGHUP, NULL, &sa) && sa.sa_handler == SIG_IGN);
	CHECK(!sigaction(SIGTERM, NULL, &sa) && sa.sa_handler == SIG_DFL);
	CHECK(!sigaltstack(NULL, &ss));
	CHECK(ss.ss_sp == alt && ss.ss_size == sizeof(alt) && ss.ss_flags == 0);
}

static void block(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	CHECK(!pthread_sigmask(how, &set, NULL));
}

static timer_t make_timer(int notify, int sig, int value, pid_t tid, long first_ns, long every_ns)
{
	struct sigevent ev = { .sigev_notify = notify, .sigev_signo = sig };
	struct itimerspec its = { { 0, every_ns }, { 0, first_ns } };
	timer_t t;

	if (first_ns >= 1000000000) {
		its.it_value.tv_sec = first_ns / 1000000000;
		its.it_value.tv_nsec = first_ns % 1000000000;
	}
	ev.sigev_value.sival_int = value;
	ev._sigev_un._tid = tid;
	CHECK(!timer_create(CLOCK_MONOTONIC, &ev, &t));
	CHECK(!timer_settime(t, 0, &its, NULL));
	return t;
}

/* Its mask lets only its own timer in, so that the process-wide ones reach the main thread. */
static void *timer_thread(void *arg)
{
	struct timespec ts = { 0, 2000000 };
	sigset_t set;

	(void)arg;
	sigfillset(&set);
	sigdelset(&set, SIGRTMIN + 2);
	CHECK(!pthread_sigmask(SIG_SETMASK, &set, NULL));
	thread_tid = (pid_t)syscall(SYS_gettid);
	while (!over)
		nanosleep(&ts, NULL);
	return NULL;
}

/* Not sigtimedwait(3), which hides SI_TKILL. */
static void take(int sig, siginfo_t *si)
{
	struct timespec zero = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	CHECKF(syscall(SYS_rt_sigtimedwait, &set, si, &zero, 8) == sig, "signal %d is not pending",
	       sig);
}

/* Signals that pend over a stretch of work come out in the order and with the data they had. */
static void pend(uint64_t round, uint64_t *x)
{
	uint64_t base = queue_next;
	siginfo_t si;

	for (int i = 0; i < QUEUED; i++) {
		union sigval v = { .sival_int = (int)base + i };

		CHECK(!sigqueue(getpid(), SIGRTMIN + 3, v));
	}
	CHECK(!raise(SIGUSR1));         /* pends for this thread */
	CHECK(!kill(getpid(), SIGURG)); /* for the process */
	*x = job_chain(*x, 400000 + round % 1000);
	take(SIGUSR1, &si);
	CHECK(si.si_code == SI_TKILL && si.si_pid == getpid() && si.si_uid == getuid());
	take(SIGURG, &si);
	CHECK(si.si_code == SI_USER && si.si_pid == getpid() && si.si_uid == getuid());
	block(SIG_UNBLOCK, SIGRTMIN + 3);
	block(SIG_BLOCK, SIGRTMIN + 3);
	CHECKF(queue_next == base + QUEUED, "only %d of %d queued signals came",
	       (int)(queue_next - base), QUEUED);
}

static void check_still_armed(timer_t silent, timer_t far)
{
	struct itimerspec its;
	struct itimerval itv;

	CHECK(!timer_gettime(silent, &its));
	CHECK(its.it_interval.tv_nsec == 7000000 && (its.it_value.tv_nsec || its.it_value.tv_sec));
	CHECK(!timer_gettime(far, &its));
	CHECK(its.it_interval.tv_nsec == 0 && its.it_value.tv_sec > 500);
	CHECK(!getitimer(ITIMER_REAL, &itv));
	CHECK(itv.it_interval.tv_usec / 1000 == 11 && itv.it_interval.tv_sec == 0);
}

/* The timers must go on after the last stop too. */
static void wait_for_hits(volatile uint64_t *hits)
{
	uint64_t until = job_ns(CLOCK_MONOTONIC) + 20000000000ull, was = *hits;

	while (*hits < was + 3)
		CHECKF(job_ns(CLOCK_MONOTONIC) < until, "a timer has stopped");
}

int main(void)
{
	struct itimerval real = { { 0, 11000 }, { 0, 11000 } },
			 cpu = { { 0, 13000 }, { 0, 13000 } };
	timer_t t[4];
	pthread_t th;
	uint64_t x = 3;

	job_begin(1200);
	setup_actions();
	block(SIG_BLOCK, SIGRTMIN + 3);
	block(SIG_BLOCK, SIGUSR1);
	block(SIG_BLOCK, SIGURG);
	CHECK(!pthread_create(&th, NULL, timer_thread, NULL));
	while (!thread_tid)
		sched_yield();
	CHECK(!setitimer(ITIMER_REAL, &real, NULL));
	CHECK(!setitimer(ITIMER_VIRTUAL, &cpu, NULL));
	CHECK(!setitimer(ITIMER_PROF, &cpu, NULL));
	t[0] = make_timer(SIGEV_SIGNAL, SIGRTMIN + 1, 0x7157, 0, 5000000, 9000000);
	t[1] = make_timer(SIGEV_NONE, 0, 0, 0, 5000000, 7000000);
	t[2] = make_timer(SIGEV_THREAD_ID, SIGRTMIN + 2, 0x7158, thread_tid, 5000000, 8000000);
	t[3] = make_timer(SIGEV_SIGNAL, SIGRTMIN + 1, 0x7157, 0, 1000000000000, 0);
	CHECK(!timer_delete(t[0])); /* a hole in the numbers */
	t[0] = make_timer(SIGEV_SIGNAL, SIGRTMIN + 1, 0x7157, 0, 5000000, 9000000);
	for (uint64_t round = 0; job_more(); round++) {
		pend(round, &x);
		check_actions();
		check_still_armed(t[1], t[3]);
	}
	wait_for_hits(&alarms);
	wait_for_hits(&virtuals);
	wait_for_hits(&profs);
	wait_for_hits(&timer_hits);
	wait_for_hits(&thread_hits);
	for (int i = 0; i < 4; i++)
		CHECK(!timer_delete(t[i]));
	over = true;
	CHECK(!pthread_join(th, NULL));
	return job_end("signals", x);
}
