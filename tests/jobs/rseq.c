// SPDX-License-Identifier: Apache-2.0
/*
 * Three threads that are nearly always inside a restartable sequence: each adds to a counter of
 * the CPU it runs on, with a long way between reading and the committing store. If a sequence
 * were resumed in its middle instead of at its abort address, an update would be lost or the CPU
 * would no longer be the one it started on.
 */
#include <pthread.h>
#include <sys/rseq.h>

#include "job.h"

#define N 3
#define CPUS 4096
#define PER_ROUND 40

static struct {
	volatile uint64_t n;
	char pad[56];
} counters[CPUS];
static _Atomic uint64_t commits;
static _Atomic bool over;
static pthread_barrier_t started;

static struct rseq *self(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* 0: committed. 1: aborted, nothing has happened. 2: on another CPU inside of the sequence. */
static int add_one(struct rseq *rs)
{
	uint64_t tmp, spins = 3000;
	uint32_t cpu;
	int ret;

	__asm__ volatile(".pushsection __rseq_cs, \"aw\"\n\t"
			 ".balign 32\n\t"
			 "3: .long 0, 0\n\t"
			 ".quad 1f, 2f - 1f, 4f\n\t"
			 ".popsection\n\t"
			 "lea 3b(%%rip), %[tmp]\n\t"
			 "mov %[tmp], %[cs]\n\t"
			 "1:\n\t"
			 "mov %[cpu_id], %[cpu]\n\t"
			 "mov %[cpu], %k[tmp]\n\t"
			 "shl $6, %[tmp]\n\t"
			 "add %[base], %[tmp]\n\t"
			 "mov (%[tmp]), %%r12\n\t"
			 "6: sub $1, %[spins]\n\t"
			 "jnz 6b\n\t"
			 "cmp %[cpu_id], %[cpu]\n\t"
			 "jne 5f\n\t"
			 "add $1, %%r12\n\t"
			 "mov %%r12, (%[tmp])\n\t" /* the commit */
			 "2:\n\t"
			 "movl $0, %[ret]\n\t"
			 "jmp 7f\n\t"
			 ".long 0x53053053\n\t"
			 "4: movl $1, %[ret]\n\t"
			 "jmp 7f\n\t"
			 "5: movl $2, %[ret]\n\t"
			 "7:\n\t"
			 : [tmp] "=&r"(tmp), [cpu] "=&r"(cpu), [spins] "+r"(spins), [ret] "=r"(ret),
			   [cs] "=m"(rs->rseq_cs)
			 : [cpu_id] "m"(rs->cpu_id), [base] "r"(counters)
			 : "r12", "memory", "cc");
	return ret;
}

static void add(struct rseq *rs, unsigned int times)
{
	while (times) {
		int r = add_one(rs);

		CHECKF(r != 2, "a restartable sequence went on on another CPU");
		if (r == 0) {
			times--;
			commits++;
		}
	}
}

static void *work(void *arg)
{
	struct rseq *rs = self();

	(void)arg;
	pthread_barrier_wait(&started);
	while (!over) {
		CHECK(rs->cpu_id < CPUS);
		add(rs, PER_ROUND);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[N - 1];
	uint64_t sum = 0;

	job_begin(12000);
	if (!__rseq_size) {
		printf("rseq: this libc or kernel has none\n");
		return 77;
	}
	CHECK(!pthread_barrier_init(&started, NULL, N));
	for (int i = 0; i < N - 1; i++)
		CHECK(!pthread_create(&t[i], NULL, work, NULL));
	pthread_barrier_wait(&started);
	while (job_more())
		add(self(), PER_ROUND);
	over = true;
	for (int i = 0; i < N - 1; i++)
		CHECK(!pthread_join(t[i], NULL));
	for (int i = 0; i < CPUS; i++)
		sum += counters[i].n;
	CHECKF(sum == commits, "%llu updates were lost", (unsigned long long)(commits - sum));
	return job_end("rseq", job_limit);
}
