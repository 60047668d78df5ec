// SPDX-License-Identifier: Apache-2.0
/*
 * Binds a function of a library lazily in each round, right below a frame that is full of known
 * bytes. The dynamic linker keeps the vector registers on the stack meanwhile, in as much room as
 * it once found necessary; a CPU that writes more writes into the frame.
 */
#include "lazy.h"
#include "../../jobs/job.h"

enum { CANARY = 4096 };

#define DECLARE(n) uint64_t LAZY_NAME(n)(uint64_t);
LAZY_ALL(DECLARE)

/* The array is the lowest thing in this frame: the call below pushes its return address next to it.
 */
#define CALL(n)                                                                                   \
	__attribute__((noinline)) static void call_##n(uint64_t x)                                \
	{                                                                                         \
		unsigned char canary[CANARY];                                                     \
		uint64_t got;                                                                     \
                                                                                                  \
		for (int i = 0; i < CANARY; i++)                                                  \
			((volatile unsigned char *)canary)[i] = (unsigned char)(i * 7 + 1);       \
		got = LAZY_NAME(n)(x);                                                            \
		for (int i = 0; i < CANARY; i++)                                                  \
			CHECKF(((volatile unsigned char *)canary)[i] ==                           \
				       (unsigned char)(i * 7 + 1),                                \
			       "stack overwritten at byte %d above the call of function " #n, i); \
		CHECK(got == (x ^ 0x##n));                                                        \
	}
LAZY_ALL(CALL)

#define ROW(n) call_##n,
static void (*const calls[])(uint64_t) = { LAZY_ALL(ROW) };

int main(void)
{
	const size_t n = sizeof(calls) / sizeof(calls[0]);
	uint64_t x = 21;
	size_t next = 0;

	job_begin(200);
	while (job_more()) {
		if (next < n)
			calls[next++](x);
		x = job_chain(x, 4000000);
	}
	return job_end("lazy", x);
}
