// SPDX-License-Identifier: Apache-2.0
/*
 * Sums that the compiler may vectorise, on small integers, so that every order of adding and every
 * rounding gives the same; and bits counted, for which some CPUs have an instruction that others
 * take for another one. Compared with loops that can't be vectorised. What it is compiled for is
 * the builder's choice.
 */
#include "../../jobs/job.h"

enum { N = 512 };

static double x[N], y[N];
static int32_t i[N], j[N];

__attribute__((noinline)) static double sum_of_products(void)
{
	double s[8] = { 0 };

	for (int k = 0; k < N; k += 8)
		for (int l = 0; l < 8; l++)
			s[l] += x[k + l] * y[k + l];
	return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

__attribute__((noinline)) static int32_t sum_of_integers(void)
{
	int32_t s = 0;

	for (int k = 0; k < N; k++)
		s += i[k] * j[k];
	return s;
}

static uint64_t fill(uint64_t seed, int64_t *want)
{
	volatile int64_t sum = 0;

	for (int k = 0; k < N; k++) {
		seed = job_next(seed);
		i[k] = (int32_t)(seed % 1000);
		j[k] = (int32_t)(seed >> 40) % 900;
		x[k] = i[k];
		y[k] = j[k];
		sum += (int64_t)i[k] * j[k];
	}
	*want = sum;
	return seed;
}

static void check_bits(uint64_t v)
{
	volatile int high = 0, low = 0, ones = 0;

	for (int k = 0; k < 64; k++) {
		if (!(v >> k & 1))
			continue;
		if (!ones++)
			low = k;
		high = k;
	}
	CHECKF(63 - __builtin_clzll(v) == high && __builtin_ctzll(v) == low &&
		       __builtin_popcountll(v) == ones,
	       "bits of %llx: %d %d %d", (unsigned long long)v, __builtin_clzll(v),
	       __builtin_ctzll(v), __builtin_popcountll(v));
}

int main(void)
{
	uint64_t seed = 3;
	int64_t want;

	job_begin(20000);
	while (job_more()) {
		seed = fill(seed, &want);
		CHECK((int64_t)sum_of_products() == want);
		CHECK(sum_of_integers() == (int32_t)want);
		for (int k = 0; k < 64; k += 5)
			check_bits((seed | 1) >> k | 1);
	}
	return job_end("vector", seed);
}
