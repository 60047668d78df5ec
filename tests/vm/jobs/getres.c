// SPDX-License-Identifier: Apache-2.0
/*
 * Clocks as programs use them, through the C library: their resolution, sleeping until a moment,
 * and the agreement with what the kernel says.
 */
#include "../../jobs/job.h"

int main(void)
{
	uint64_t last = job_ns(CLOCK_MONOTONIC);

	job_begin(200);
	while (job_more()) {
		struct timespec libc, kernel, until;
		uint64_t now;

		for (clockid_t c = CLOCK_REALTIME; c <= CLOCK_BOOTTIME; c++) {
			CHECK(!clock_getres(c, &libc));
			CHECK(!syscall(SYS_clock_getres, c, &kernel));
			CHECKF(libc.tv_sec == kernel.tv_sec && libc.tv_nsec == kernel.tv_nsec,
			       "resolution of clock %d: %ld ns, the kernel says %ld ns", c,
			       libc.tv_nsec, kernel.tv_nsec);
		}
		now = job_ns(CLOCK_MONOTONIC);
		CHECKF(now >= last, "the clock went back by %llu ns",
		       (unsigned long long)(last - now));
		until = job_timespec(now + 10000000);
		CHECK(!clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
		last = job_ns(CLOCK_MONOTONIC);
		CHECK(last >= now + 10000000);
	}
	return job_end("getres", 0);
}
