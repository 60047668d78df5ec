// SPDX-License-Identifier: Apache-2.0
/*
 * A job that sits in signal handlers, one to three deep, on its own and on an alternate stack,
 * while the code that they interrupted has vector registers, MXCSR and the x87 control word full of
 * values. Whether these come back shows when the handlers return. The frames on the stacks, as the
 * job finds them, must be sound for the CPU that it runs on: the handlers look.
 */
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include "job.h"

enum { DEPTH = 3, X87_CW = 0x0a7f, MXCSR = 0x7fb0, SPINS = 60000 };

static __thread char alt[65536] __attribute__((aligned(64)));
static __thread volatile int depth;
static __thread uint64_t seed;
static bool avx, avx512;

struct lanes {
	unsigned char b[32][64] __attribute__((aligned(64)));
};

static bool os_saves(unsigned int mask)
{
	unsigned int a, b, c, d, lo, hi;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (lo & mask) == mask;
}

static bool has_avx(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX) && os_saves(6);
}

/* JOB_LANES=32 leaves the upper ones alone, for a job that is to go on where there are none. */
static bool has_avx512(void)
{
	const char *lanes = getenv("JOB_LANES");
	unsigned int a, b, c, d;

	return !(lanes && !strcmp(lanes, "32")) && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
	       (b & bit_AVX512F) && os_saves(0xe6);
}

static void fill(struct lanes *l, uint64_t v)
{
	for (int i = 0; i < 32; i++)
		for (int k = 0; k < 64; k += 8) {
			v = job_next(v);
			memcpy(&l->b[i][k], &v, 8);
		}
}

/*
 * Sends itself a signal with everything full and looks whether it still is when the handlers have
 * returned. The system call is part of the same piece of code: nothing is dead around it.
 */
/* clang-format off */
#define FOR16(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define FOR32(X) FOR16(X) \
	X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define X_LOAD(n) "movups 64*" #n "(%[w]), %%xmm" #n "\n\t"
#define X_STORE(n) "movups %%xmm" #n ", 64*" #n "(%[i])\n\t"
#define Y_LOAD(n) "vmovups 64*" #n "(%[w]), %%ymm" #n "\n\t"
#define Y_STORE(n) "vmovups %%ymm" #n ", 64*" #n "(%[i])\n\t"
#define Z_LOAD(n) "vmovups 64*" #n "(%[w]), %%zmm" #n "\n\t"
#define Z_STORE(n) "vmovups %%zmm" #n ", 64*" #n "(%[i])\n\t"
#define XMM16 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
	"xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define XMM32 "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", \
	"xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"
/* clang-format on */
#define KILL "mov %[nr], %%eax\n\tsyscall\n\t"
#define OPERANDS                                                                        \
	: "+a"(ret), [old_cw] "+m"(old_cw), [old_mx] "+m"(old_mx), [is_cw] "=m"(is_cw),       \
	  [is_mx] "=m"(is_mx)                                                                  \
	: [w] "r"(want), [i] "r"(is), [nr] "i"(SYS_tgkill), "D"(getpid()),                    \
	  "S"(syscall(SYS_gettid)), "d"(sig), [cw] "m"(cw), [mx] "m"(mx)
#define BEGIN "fnstcw %[old_cw]\n\tstmxcsr %[old_mx]\n\tfldcw %[cw]\n\tldmxcsr %[mx]\n\t"
#define END "fnstcw %[is_cw]\n\tstmxcsr %[is_mx]\n\tfldcw %[old_cw]\n\tldmxcsr %[old_mx]\n\t"

#define HOLD(name, attribute, load, store, ...)                                                 \
	attribute static void name(const struct lanes *want, struct lanes *is, int sig)         \
	{                                                                                       \
		uint16_t cw = X87_CW, old_cw = 0, is_cw;                                        \
		uint32_t mx = MXCSR, old_mx = 0, is_mx;                                         \
		long ret = 0;                                                                   \
                                                                                                \
		__asm__ volatile(BEGIN load KILL store END OPERANDS                             \
				 : "rcx", "r11", "cc", "memory", __VA_ARGS__);                  \
		CHECKF(!ret, "tgkill: %ld", ret);                                               \
		CHECKF(is_cw == X87_CW && is_mx == MXCSR, "control words %x %x", is_cw, is_mx); \
	}
HOLD(hold_xmm, , FOR16(X_LOAD), FOR16(X_STORE), XMM16)
HOLD(hold_ymm, __attribute__((target("avx"))), FOR16(Y_LOAD), FOR16(Y_STORE) "vzeroupper\n\t",
     XMM16)
HOLD(hold_zmm, __attribute__((target("avx512f"))), FOR32(Z_LOAD), FOR32(Z_STORE) "vzeroupper\n\t",
     XMM16, XMM32)

/* What the kernel left says of itself; an area of another CPU's layout would not. */
static void check_frame(const ucontext_t *uc)
{
	const char *area = (const char *)uc->uc_mcontext.fpregs;
	uint32_t magic, size, end;
	uint64_t features, live;

	CHECK(depth > 1 || uc->uc_mcontext.fpregs->mxcsr == MXCSR);
	if (!os_saves(3))
		return;
	memcpy(&magic, area + 464, 4);
	memcpy(&features, area + 472, 8);
	memcpy(&size, area + 480, 4);
	memcpy(&live, area + 512, 8);
	CHECKF(magic == 0x46505853, "magic %x", magic);
	memcpy(&end, area + size, 4);
	CHECKF(end == 0x46505845, "a frame of %u bytes ends with %x", size, end);
	CHECKF(!(live & ~features), "state %llx in a frame for %llx", (unsigned long long)live,
	       (unsigned long long)features);
}

static void stay(void)
{
	for (unsigned int i = 0; i < SPINS; i++)
		__asm__ volatile("pause");
}

/* SIGUSR1 on the alternate stack, SIGUSR2 on whatever it comes on. */
static void on_signal(int sig, siginfo_t *si, void *uc)
{
	CHECK(si->si_code == SI_TKILL && (sig == SIGUSR2 || job_runs_on(alt, sizeof(alt))));
	depth++;
	if (avx)
		__asm__ volatile("vzeroall" ::: XMM16);
	stay();
	if (depth < DEPTH)
		CHECK(!syscall(SYS_tgkill, getpid(), syscall(SYS_gettid),
			       (seed >> depth & 1) ? SIGUSR1 : SIGUSR2));
	stay();
	check_frame(uc);
	depth--;
}

static uint64_t round_of(int sig)
{
	struct lanes want, is;
	size_t len = avx512 ? 64 : avx ? 32 : 16;

	seed = job_next(seed);
	fill(&want, seed);
	memset(&is, 0, sizeof(is));
	if (avx512)
		hold_zmm(&want, &is, sig);
	else if (avx)
		hold_ymm(&want, &is, sig);
	else
		hold_xmm(&want, &is, sig);
	for (int i = 0; i < (avx512 ? 32 : 16); i++)
		CHECKF(!memcmp(want.b[i], is.b[i], len),
		       "register %d of %zu bytes is lost over a signal return", i, len);
	return seed;
}

static volatile bool ending;

static void take_alt(void)
{
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };

	CHECK(!sigaltstack(&ss, NULL));
}

/* The same in a second thread, whose frames are its own. */
static void *other(void *arg)
{
	(void)arg;
	take_alt();
	seed = 77;
	while (!ending)
		round_of(SIGUSR1);
	return NULL;
}

int main(void)
{
	struct sigaction on_alt = { .sa_sigaction = on_signal,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	struct sigaction plain = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };
	uint64_t digest = 0;
	pthread_t t;

	job_begin(100);
	avx = has_avx();
	avx512 = has_avx512();
	take_alt();
	CHECK(!sigaction(SIGUSR1, &on_alt, NULL));
	CHECK(!sigaction(SIGUSR2, &plain, NULL));
	CHECK(!pthread_create(&t, NULL, other, NULL));
	while (job_more())
		digest = round_of(digest & 1 ? SIGUSR1 : SIGUSR2);
	ending = true;
	CHECK(!pthread_join(t, NULL));
	CHECK(!depth);
	return job_end("frames", digest);
}
