// SPDX-License-Identifier: Apache-2.0
/*
 * A tight loop without system calls: registers and memory carry a sequence that is recomputed at
 * the end. All callee-saved and most scratch registers hold known values meanwhile.
 */
#include "job.h"

static uint64_t spin(uint64_t x, uint64_t n)
{
	uint64_t r8 = ~x, r9 = x ^ 9, r10 = x ^ 10, r11 = x ^ 11;

	__asm__ volatile("mov %[x], %%r12\n\t"
			 "lea 1(%[x]), %%r13\n\t"
			 "lea 2(%[x]), %%r14\n\t"
			 "lea 3(%[x]), %%r15\n\t"
			 "1: add $1, %%r12\n\t"
			 "sub $1, %%r13\n\t"
			 "sub $1, %[n]\n\t"
			 "jnz 1b\n\t"
			 "add %%r13, %%r12\n\t"
			 "sub %%r14, %%r12\n\t"
			 "sub %%r15, %%r12\n\t"
			 "neg %%r12\n\t"
			 "mov %%r12, %[x]\n\t"
			 : [x] "+r"(x), [n] "+r"(n), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r11)
			 :
			 : "r12", "r13", "r14", "r15", "cc", "memory");
	/* r12 + r13 is 2x + 1 whatever n is, minus r14 + r15 = 2x + 5: always 4. */
	CHECK(x == 4);
	CHECK((r9 ^ r10) == 3 && (r10 ^ r11) == 1 && (r8 ^ r9) == ~9ull);
	return n;
}

int main(void)
{
	uint64_t x = 1;

	job_begin(2500);
	while (job_more()) {
		CHECK(spin(x, 300000 + x % 1000) == 0);
		x = job_chain(x, 100000);
	}
	CHECK(x == job_chain(1, job_rounds() * 100000));
	return job_end("spin", x);
}
