// SPDX-License-Identifier: Apache-2.0
/*
 * An event loop: epoll over a timerfd, a signalfd, an eventfd and a pipe, each fed by a child
 * process or by itself. Every event is accounted for.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "job.h"

enum { TIMER, SIGNALS, EVENTS, PIPE, N_SOURCES };

static int ep, source[N_SOURCES], to_loop, from_loop;

static void add(int what, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = ~(uint64_t)what };

	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, source[what], &ev) == 0);
}

/* Answers each number that comes with a signal, an eventfd's count and a line in the pipe. */
static void child(void)
{
	uint64_t n;
	ssize_t r;

	for (;;) {
		do {
			r = read(from_loop, &n, sizeof(n));
		} while (r < 0 && errno == EINTR);
		if (r == 0)
			_exit(42);
		CHECK(r == sizeof(n));
		CHECK(sigqueue(getppid(), SIGRTMIN + 1,
			       (union sigval){ .sival_int = (int)(n & 0xffff) }) == 0);
		CHECK(write(source[EVENTS], &(uint64_t){ n % 7 + 1 }, 8) == 8);
		CHECK(write(to_loop, &n, sizeof(n)) == sizeof(n));
	}
}

static void open_all(void)
{
	struct itimerspec its = { .it_interval = { 0, 700000 }, .it_value = { 0, 1 } };
	sigset_t set;
	int p[2];

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	source[TIMER] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	source[SIGNALS] = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	source[EVENTS] = eventfd(0, EFD_NONBLOCK);
	CHECK(pipe(p) == 0);
	source[PIPE] = p[0];
	to_loop = p[1];
	CHECK(ep >= 0 && source[TIMER] >= 0 && source[SIGNALS] >= 0 && source[EVENTS] >= 0);
	CHECK(timerfd_settime(source[TIMER], 0, &its, NULL) == 0);
	add(TIMER, EPOLLIN);
	add(SIGNALS, EPOLLIN);
	add(EVENTS, EPOLLIN | EPOLLET);
	add(PIPE, EPOLLIN | EPOLLONESHOT);
}

struct round {
	uint64_t n; /* what was asked */
	unsigned int got;
};

static uint64_t ticks;

static void take(int what, struct round *round)
{
	struct signalfd_siginfo si;
	uint64_t v = 0;

	switch (what) {
	case TIMER:
		if (read(source[TIMER], &v, 8) == 8)
			ticks += v;
		return;
	case SIGNALS:
		CHECK(read(source[SIGNALS], &si, sizeof(si)) == sizeof(si));
		CHECK(si.ssi_int == (int)(round->n & 0xffff));
		break;
	case EVENTS:
		/* An edge may come once more than needed. */
		if (read(source[EVENTS], &v, 8) < 0 && errno == EAGAIN)
			return;
		CHECK(v == round->n % 7 + 1);
		break;
	case PIPE:
		CHECK(read(source[PIPE], &v, 8) == 8 && v == round->n);
		break;
	default:
		CHECK(0);
	}
	CHECK(!(round->got & 1u << what));
	round->got |= 1u << what;
}

int main(void)
{
	uint64_t x = 5;
	int down[2], status;
	pid_t pid;

	open_all();
	CHECK(pipe(down) == 0);
	from_loop = down[0];
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		close(down[1]);
		child();
	}
	close(down[0]);
	job_begin(60000);
	while (job_more()) {
		struct round round = { .n = x = job_chain(x, 200) };
		struct epoll_event got[8], ev = { .events = EPOLLIN | EPOLLONESHOT };

		CHECK(write(down[1], &round.n, 8) == 8);
		while (round.got != (1u << SIGNALS | 1u << EVENTS | 1u << PIPE)) {
			int n = epoll_wait(ep, got, 8, -1);

			CHECK(n > 0);
			for (int i = 0; i < n; i++)
				take((int)~got[i].data.u64, &round);
		}
		ev.data.u64 = ~(uint64_t)PIPE;
		CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, source[PIPE], &ev) == 0);
	}
	CHECK(ticks > 0);
	close(down[1]);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
	return job_end("epoll", x);
}
