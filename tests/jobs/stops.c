// SPDX-License-Identifier: Apache-2.0
/*
 * Children that job control has stopped, and what their parent can still wait for:
 *
 *   reported  stopped, and its parent knows: from time to time it goes on, and is stopped again
 *   untold    stopped by SIGTSTP, which its parent has not waited for yet
 *   gone-on   was stopped and goes on, which its parent has not waited for yet
 *   many      four threads, all stopped
 *   blocked   has a stop signal pending, and goes on
 *   asleep    stopped in epoll_wait(), which fails with EINTR when it goes on, and nothing else
 * does
 *
 * Whoever is stopped counts nothing, whoever is not goes on counting.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>

#include "job.h"

enum { REPORTED, UNTOLD, GONE_ON, MANY, BLOCKED, ASLEEP, N };

static volatile uint64_t *count; /* shared: of each child, and one more per thread of MANY */
static pid_t child[N];

static void tick(volatile uint64_t *c)
{
	struct timespec ts = { 0, 500000 };

	++*c;
	nanosleep(&ts, NULL);
}

static void *counts(void *arg)
{
	for (;;)
		tick(arg);
	return NULL;
}

static void block(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
}

static bool is_pending(int signo)
{
	sigset_t set;

	CHECK(!sigpending(&set));
	return sigismember(&set, signo) == 1;
}

/* A real stop, unlike that of a dump, ends the call: signal(7). */
static void sleep_in_epoll(void)
{
	struct epoll_event ev;
	int fd = epoll_create1(EPOLL_CLOEXEC);

	CHECK(fd >= 0);
	for (;;) {
		count[ASLEEP]++;
		CHECK(epoll_wait(fd, &ev, 1, -1) == -1 && errno == EINTR);
	}
}

__attribute__((noreturn)) static void be(int who)
{
	pthread_t t;

	/* Not the group of its parent, who is in the same session: the group is not orphaned. */
	CHECK(!setpgid(0, 0));
	if (who == BLOCKED) {
		block(SIGTSTP);
		CHECK(!raise(SIGTSTP));
	}
	for (int i = 0; who == MANY && i < 3; i++)
		CHECK(!pthread_create(&t, NULL, counts, (void *)(uintptr_t)&count[N + i]));
	if (who == ASLEEP)
		sleep_in_epoll();
	for (;;) {
		CHECK(who != BLOCKED || is_pending(SIGTSTP));
		tick(&count[who]);
	}
}

static void wait_count(const volatile uint64_t *c, uint64_t was)
{
	while (*c == was)
		sched_yield();
}

static int what_of(int who, int options)
{
	siginfo_t si = { 0 };

	CHECK(!waitid(P_PID, (id_t)child[who], &si,
		      WSTOPPED | WCONTINUED | WEXITED | WNOHANG | options));
	return si.si_pid ? si.si_code << 8 | si.si_status : 0;
}

static void stop(int who, int signo)
{
	siginfo_t si;

	CHECK(!kill(child[who], signo));
	CHECK(!waitid(P_PID, (id_t)child[who], &si, WSTOPPED | WNOWAIT));
	CHECK(si.si_code == CLD_STOPPED && si.si_status == signo);
}

static void start(int who)
{
	child[who] = fork();
	CHECK(child[who] >= 0);
	if (!child[who])
		be(who);
	while (!count[who])
		sched_yield();
}

/* A stop can be waited for a moment before its SIGCHLD comes. */
static void take_signals(void)
{
	struct timespec ts = { 0, 20000000 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	while (sigtimedwait(&set, NULL, &ts) == SIGCHLD || errno == EINTR)
		;
}

static void start_all(void)
{
	uint64_t was;

	for (int i = 0; i < N; i++)
		start(i);
	for (int i = 0; i < 3; i++)
		wait_count(&count[N + i], 0);
	stop(REPORTED, SIGSTOP);
	what_of(REPORTED, 0);
	stop(UNTOLD, SIGTSTP);
	stop(GONE_ON, SIGSTOP);
	what_of(GONE_ON, 0);
	was = count[GONE_ON];
	CHECK(!kill(child[GONE_ON], SIGCONT));
	wait_count(&count[GONE_ON], was);
	stop(MANY, SIGSTOP);
	what_of(MANY, 0);
	stop(ASLEEP, SIGSTOP);
	what_of(ASLEEP, 0);
}

static void check_all(const uint64_t *stopped_at)
{
	CHECK(what_of(REPORTED, WNOWAIT) == 0);
	CHECK(what_of(UNTOLD, WNOWAIT) == (CLD_STOPPED << 8 | SIGTSTP));
	CHECK(what_of(GONE_ON, WNOWAIT) == (CLD_CONTINUED << 8 | SIGCONT));
	CHECK(what_of(MANY, WNOWAIT) == 0);
	CHECK(what_of(BLOCKED, WNOWAIT) == 0);
	CHECK(what_of(ASLEEP, WNOWAIT) == 0);
	for (int i = 0; i < N + 3; i++)
		CHECKF(i == GONE_ON || i == BLOCKED || count[i] == stopped_at[i],
		       "child %d has gone on", i);
}

/* Lets one go on and stops it again, told to nobody in between. */
static void move(int who, uint64_t *stopped_at)
{
	CHECK(!kill(child[who], SIGCONT));
	wait_count(&count[who], stopped_at[who]);
	stop(who, SIGSTOP);
	CHECK(what_of(who, 0) == (CLD_STOPPED << 8 | SIGSTOP));
	stopped_at[who] = count[who];
}

int main(void)
{
	uint64_t x = 1, stopped_at[N + 3];

	job_begin(1200);
	count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(count != MAP_FAILED);
	block(SIGCHLD);
	start_all();
	for (int i = 0; i < N + 3; i++)
		stopped_at[i] = count[i];
	take_signals();
	while (job_more()) {
		CHECK(!is_pending(SIGCHLD));
		check_all(stopped_at);
		x = job_chain(x, 400000);
		if (job_rounds() % 100 != 50)
			continue;
		wait_count(&count[GONE_ON], count[GONE_ON]);
		wait_count(&count[BLOCKED], count[BLOCKED]);
		move(REPORTED, stopped_at);
		move(ASLEEP, stopped_at);
		take_signals();
	}
	for (int i = 0; i < N; i++) {
		int st;

		CHECK(!kill(child[i], SIGKILL));
		CHECK(waitpid(child[i], &st, 0) == child[i] && st == SIGKILL);
	}
	return job_end("stops", x);
}
