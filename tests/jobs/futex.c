// SPDX-License-Identifier: Apache-2.0
/*
 * Two threads hand a token to and fro with bare futex calls: wait without a timeout, with a
 * relative and with an absolute one. A wake-up that gets lost hangs the job; EINTR is not
 * allowed, since the job takes no signals.
 */
#include <linux/futex.h>
#include <pthread.h>

#include "job.h"

static _Atomic uint32_t turn;
static _Atomic uint32_t stop;
static uint64_t sums[2];

static long futex(_Atomic uint32_t *w, int op, uint32_t val, const struct timespec *ts, uint32_t v3)
{
	return syscall(SYS_futex, w, op | FUTEX_PRIVATE_FLAG, val, ts, NULL, v3);
}

static void wait_for(uint32_t me, unsigned int way)
{
	uint64_t far = job_ns(CLOCK_MONOTONIC) + 1000000000000ull;
	struct timespec rel = { 1000, 0 };
	struct timespec abs = job_timespec(far);
	uint32_t now;
	long r;

	while ((now = turn) != me) {
		if (way == 0)
			r = futex(&turn, FUTEX_WAIT, now, NULL, 0);
		else if (way == 1)
			r = futex(&turn, FUTEX_WAIT, now, &rel, 0);
		else
			r = futex(&turn, FUTEX_WAIT_BITSET, now, &abs, ~0u);
		CHECKF(r == 0 || errno == EAGAIN, "futex wait, way %u", way);
	}
}

static void hand_to(uint32_t other)
{
	turn = other;
	CHECK(futex(&turn, FUTEX_WAKE, 1, NULL, 0) >= 0);
}

static void *partner(void *arg)
{
	(void)arg;
	for (uint64_t i = 0;; i++) {
		wait_for(1, i % 3);
		if (stop)
			break;
		sums[1] = job_chain(sums[1], 2000);
		hand_to(0);
	}
	return NULL;
}

int main(void)
{
	uint64_t rounds = 0;
	pthread_t t;

	job_begin(25000);
	CHECK(!pthread_create(&t, NULL, partner, NULL));
	while (job_more()) {
		sums[0] = job_chain(sums[0], 2000);
		hand_to(1);
		wait_for(0, rounds++ % 3);
	}
	stop = 1;
	hand_to(1);
	CHECK(!pthread_join(t, NULL));
	CHECK(sums[0] == sums[1] && sums[0] == job_chain(0, 2000 * rounds));
	return job_end("futex", sums[0]);
}
