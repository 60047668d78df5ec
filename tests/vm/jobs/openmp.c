// SPDX-License-Identifier: Apache-2.0
/*
 * OpenMP: a team of two threads with static and dynamic loops, reductions and a critical section.
 */
#include "../../jobs/job.h"

enum { N = 20000 };

int main(void)
{
	static uint32_t v[N];
	uint64_t x = 17;

	job_begin(2000);
	while (job_more()) {
		volatile uint64_t want = 0;
		uint64_t a = 0, b = 0, c = 0;

		x = job_next(x);
		for (int k = 0; k < N; k++)
			want += (uint32_t)(x >> 20) ^ (uint32_t)k;
#pragma omp parallel for schedule(static) reduction(+ : a)
		for (int k = 0; k < N; k++) {
			v[k] = (uint32_t)(x >> 20) ^ (uint32_t)k;
			a += v[k];
		}
#pragma omp parallel for schedule(dynamic, 700) reduction(+ : b)
		for (int k = 0; k < N; k++)
			b += v[k];
#pragma omp parallel
		{
			uint64_t mine = 0;

#pragma omp for
			for (int k = 0; k < N; k++)
				mine += v[k];
#pragma omp critical
			c += mine;
		}
		CHECK(a == want && b == want && c == want);
	}
	return job_end("openmp", x);
}
