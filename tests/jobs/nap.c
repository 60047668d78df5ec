// SPDX-License-Identifier: Apache-2.0
/*
 * Sleeps in every way that a stop has to restart: relative and absolute sleeps, poll, select,
 * timed futex waits, sigtimedwait. None may return early, none may fail with EINTR: the job takes
 * no signals.
 */
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/select.h>

#include "job.h"

#define NAP_NS 12000000ull

static uint32_t word;

static void sleep_relative(void)
{
	struct timespec ts = { 0, NAP_NS };

	CHECK(!nanosleep(&ts, NULL));
}

static void sleep_clock(void)
{
	struct timespec ts = { 0, NAP_NS };

	CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL) == 0);
}

static void sleep_absolute(void)
{
	uint64_t until = job_ns(CLOCK_MONOTONIC) + NAP_NS;
	struct timespec ts = job_timespec(until);

	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == 0);
	CHECK(job_ns(CLOCK_MONOTONIC) >= until);
}

static void sleep_poll(void)
{
	CHECK(poll(NULL, 0, NAP_NS / 1000000) == 0);
}

static void sleep_select(void)
{
	struct timeval tv = { 0, NAP_NS / 1000 };

	CHECK(select(0, NULL, NULL, NULL, &tv) == 0);
}

static void sleep_futex(void)
{
	struct timespec ts = { 0, NAP_NS };
	long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);

	CHECK(r == -1 && errno == ETIMEDOUT);
}

static void sleep_sigwait(void)
{
	struct timespec ts = { 0, NAP_NS };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(sigtimedwait(&set, NULL, &ts) == -1);
	/* do_sigtimedwait() has no restart: any stop, even an unseen one, ends it with EINTR. */
	CHECK(errno == EAGAIN || errno == EINTR);
}

int main(void)
{
	static void (*const ways[])(void) = {
		sleep_relative, sleep_clock, sleep_absolute, sleep_poll,
		sleep_select,   sleep_futex, sleep_sigwait,
	};
	uint64_t rounds = 0, x = 7;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	job_begin(150);
	while (job_more()) {
		uint64_t start = job_ns(CLOCK_MONOTONIC);
		unsigned int way = rounds++ % 7;

		ways[way]();
		CHECKF(way == 6 || job_ns(CLOCK_MONOTONIC) - start >= NAP_NS, "way %u woke early",
		       way);
		x = job_next(x);
	}
	CHECK(rounds == job_rounds());
	return job_end("nap", x);
}
