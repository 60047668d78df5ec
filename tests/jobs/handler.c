// SPDX-License-Identifier: Apache-2.0
/*
 * A job that is nearly always inside a signal handler, sometimes two deep and on an alternate
 * stack, with floating point and vector state live both in the handler and in what it
 * interrupted. Every signal frame on the stack therefore holds state that has to survive.
 */
#include <signal.h>
#include <sys/time.h>

#include "job.h"

static char alt[65536] __attribute__((aligned(64)));
static volatile sig_atomic_t depth;
static uint64_t inner, outer;
static volatile uint64_t taken;

/* Values in xmm registers and x87 across a spin; false if they changed. */
static bool vectors_hold(uint64_t seed, unsigned int spins)
{
	double a = (double)(seed & 0xffff) + 0.5, b = a;
	long double c = (long double)seed * 3, d = c;

	__asm__ volatile("1: pause; sub $1, %[n]; jnz 1b"
			 : "+x"(a), "+t"(c), [n] "+r"(spins)
			 :
			 : "cc");
	return a == b && c == d;
}

static void on_inner(int sig, siginfo_t *si, void *uc)
{
	CHECK(sig == SIGUSR1 && si->si_code == SI_TKILL && uc);
	CHECK(depth >= 1);
	CHECK(vectors_hold(taken * 7 + 1, 3000));
	inner++;
}

static void on_timer(int sig, siginfo_t *si, void *uc)
{
	CHECK(sig == SIGALRM && si->si_code == SI_KERNEL && uc);
	CHECK(job_runs_on(alt, sizeof(alt)));
	depth++;
	taken++;
	CHECK(vectors_hold(taken, 8000));
	CHECK(!raise(SIGUSR1));
	CHECK(vectors_hold(taken ^ 5, 8000));
	CHECK(inner == taken);
	depth--;
}

int main(void)
{
	struct sigaction timer = { .sa_sigaction = on_timer,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct sigaction user = { .sa_sigaction = on_inner, .sa_flags = SA_SIGINFO };
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };

	job_begin(1500);
	CHECK(!sigaltstack(&ss, NULL));
	CHECK(!sigaction(SIGALRM, &timer, NULL));
	CHECK(!sigaction(SIGUSR1, &user, NULL));
	CHECK(!setitimer(ITIMER_REAL, &every, NULL));
	while (job_more()) {
		uint64_t before = taken;

		while (taken == before)
			CHECK(vectors_hold(outer + 3, 200));
		outer = job_next(outer);
	}
	memset(&every, 0, sizeof(every));
	CHECK(!setitimer(ITIMER_REAL, &every, NULL));
	CHECK(!depth && inner == taken && taken >= job_rounds());
	return job_end("handler", outer);
}
