// SPDX-License-Identifier: Apache-2.0
/*
 * Two ways in which a compiler lets a program suit its CPU: clones of a function, of which the
 * dynamic linker binds one, and questions of __builtin_cpu_supports(), which remembers what CPUID
 * said at the start. With a word on the command line, only "clones" or only "supports".
 */
#include "../../jobs/job.h"

enum { N = 1024 };

static int32_t x[N], y[N];

#define DOT(name, ...)                                                   \
	__attribute__((noinline, __VA_ARGS__)) static int32_t name(void) \
	{                                                                \
		int32_t s = 0;                                           \
                                                                         \
		for (int k = 0; k < N; k++)                              \
			s += x[k] * y[k];                                \
		return s;                                                \
	}

/* clang-format off */
DOT(dot_avx512, target("avx512f,avx512bw,prefer-vector-width=512"))
DOT(dot_avx2, target("avx2"))
DOT(dot_sse2, optimize("O3"))
/* clang-format on */

__attribute__((target_clones("arch=skylake-avx512", "avx2", "sse4.2", "default"))) static int32_t
dot_cloned(void)
{
	int32_t s = 0;

	for (int k = 0; k < N; k++)
		s += x[k] * y[k];
	return s;
}

static int32_t dot_supported(void)
{
	if (__builtin_cpu_supports("avx512bw"))
		return dot_avx512();
	if (__builtin_cpu_supports("avx2"))
		return dot_avx2();
	return dot_sse2();
}

int main(int argc, char **argv)
{
	bool clones = argc < 2 || !strcmp(argv[1], "clones"),
	     supports = argc < 2 || !strcmp(argv[1], "supports");
	uint64_t seed = 11;

	__builtin_cpu_init();
	job_begin(20000);
	while (job_more()) {
		volatile uint32_t want = 0;

		for (int k = 0; k < N; k++) {
			seed = job_next(seed);
			x[k] = (int32_t)(seed >> 33);
			y[k] = (int32_t)seed & 0xffff;
			want += (uint32_t)x[k] * (uint32_t)y[k];
		}
		CHECK(!clones || (uint32_t)dot_cloned() == want);
		CHECK(!supports || (uint32_t)dot_supported() == want);
	}
	return job_end("clones", seed);
}
