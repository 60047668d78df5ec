// SPDX-License-Identifier: Apache-2.0
/*
 * Nearly always inside a signal handler, while the code that it interrupted holds vector registers
 * full of known values: xmm, ymm or zmm, by the word on the command line. They come back from the
 * signal frame, which lies on the job's own stack.
 */
#include <signal.h>
#include <sys/time.h>

#include "../../jobs/job.h"

static unsigned char want[16][64] __attribute__((aligned(64))),
	is[16][64] __attribute__((aligned(64)));
static volatile int handled;

/* Without the vector registers: they are what is being watched. */
__attribute__((target("general-regs-only"))) static void on_timer(int sig)
{
	(void)sig;
	for (unsigned int n = 100000000; n; n--)
		__asm__ volatile("");
	handled = 1;
}

/* clang-format off */
#define FOR16(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
/* clang-format on */
#define LOAD(op, reg, n) op " 64*" #n "(%[w]), %%" reg #n "\n\t"
#define STORE(op, reg, n) op " %%" reg #n ", 64*" #n "(%[i])\n\t"
#define X_LOAD(n) LOAD("movups", "xmm", n)
#define X_STORE(n) STORE("movups", "xmm", n)
#define Y_LOAD(n) LOAD("vmovups", "ymm", n)
#define Y_STORE(n) STORE("vmovups", "ymm", n)
#define Z_LOAD(n) LOAD("vmovups", "zmm", n)
#define Z_STORE(n) STORE("vmovups", "zmm", n)
#define WAIT "1: pause\n\tcmpl $0, %[handled]\n\tjz 1b\n\t"
#define CLOBBER                                                                                  \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory"
#define HOLD(name, isa, load, store, end)                          \
	__attribute__((target(isa))) static void name(void)        \
	{                                                          \
		__asm__ volatile(FOR16(load) WAIT FOR16(store) end \
				 : [handled] "+m"(handled)         \
				 : [w] "r"(want), [i] "r"(is)      \
				 : CLOBBER);                       \
	}

HOLD(hold_xmm, "sse2", X_LOAD, X_STORE, "")
HOLD(hold_ymm, "avx", Y_LOAD, Y_STORE, "vzeroupper\n\t")
HOLD(hold_zmm, "avx512f", Z_LOAD, Z_STORE, "vzeroupper\n\t")

static const struct width {
	const char *name;
	size_t bytes;
	void (*hold)(void);
} widths[] = { { "xmm", 16, hold_xmm }, { "ymm", 32, hold_ymm }, { "zmm", 64, hold_zmm } };

static uint64_t fill(uint64_t x)
{
	for (int r = 0; r < 16; r++)
		for (int k = 0; k < 64; k += 8) {
			x = job_next(x);
			memcpy(&want[r][k], &x, 8);
		}
	return x;
}

int main(int argc, char **argv)
{
	const struct itimerval soon = { .it_value.tv_usec = 1000 };
	struct sigaction sa = { .sa_handler = on_timer };
	const struct width *w = NULL;
	uint64_t x = 31;

	for (size_t k = 0; k < sizeof(widths) / sizeof(widths[0]); k++)
		if (argc == 2 && !strcmp(argv[1], widths[k].name))
			w = &widths[k];
	CHECKF(w, "xmm, ymm or zmm?");
	CHECK(!sigaction(SIGALRM, &sa, NULL));
	job_begin(15);
	while (job_more()) {
		x = fill(x);
		handled = 0;
		CHECK(!setitimer(ITIMER_REAL, &soon, NULL));
		w->hold();
		for (int r = 0; r < 16; r++)
			CHECKF(!memcmp(want[r], is[r], w->bytes),
			       "%s%d is another after the signal handler", w->name, r);
	}
	return job_end("sigframe", x);
}
