// SPDX-License-Identifier: Apache-2.0
/*
 * All vector and floating point state that this CPU has, live in registers over long stretches
 * without a system call: xmm or ymm or zmm, opmasks, x87, MXCSR and the x87 control word.
 */
#include <cpuid.h>

#include "job.h"

#define STRETCH 400000u

static unsigned char want[32][64] __attribute__((aligned(64))),
	is[32][64] __attribute__((aligned(64)));

static double x87_sum;

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

static bool has_avx512(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX512F) && os_saves(0xe6);
}

/* clang-format off */
#define FOR16(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define FOR32(X)                                                                                  \
	FOR16(X)                                                                                  \
	X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) \
		X(31)
/* clang-format on */
#define LOAD(op, reg, n) op " 64*" #n "(%[w]), %%" reg #n "\n\t"
#define STORE(op, reg, n) op " %%" reg #n ", 64*" #n "(%[i])\n\t"
#define SPIN "1: pause\n\tsub $1, %[n]\n\tjnz 1b\n\t"
#define X_LOAD(n) LOAD("movups", "xmm", n)
#define X_STORE(n) STORE("movups", "xmm", n)
#define Y_LOAD(n) LOAD("vmovups", "ymm", n)
#define Y_STORE(n) STORE("vmovups", "ymm", n)
#define Z_LOAD(n) LOAD("vmovups", "zmm", n)
#define Z_STORE(n) STORE("vmovups", "zmm", n)
#define CLOBBER16                                                                                \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory"

static void hold_xmm(unsigned int n)
{
	__asm__ volatile(FOR16(X_LOAD) SPIN FOR16(X_STORE)
			 : [n] "+r"(n)
			 : [w] "r"(want), [i] "r"(is)
			 : CLOBBER16);
}

__attribute__((target("avx"))) static void hold_ymm(unsigned int n)
{
	__asm__ volatile(FOR16(Y_LOAD) SPIN FOR16(Y_STORE) "vzeroupper\n\t"
			 : [n] "+r"(n)
			 : [w] "r"(want), [i] "r"(is)
			 : CLOBBER16);
}

__attribute__((target("avx512f"))) static void hold_zmm(unsigned int n)
{
	unsigned int k[7] = { 0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777 },
		     l[7] = { 0 };

	__asm__ volatile(
		FOR32(Z_LOAD) "kmovw (%[k]), %%k1\n\tkmovw 4(%[k]), %%k2\n\tkmovw 8(%[k]), %%k3\n\t"
			      "kmovw 12(%[k]), %%k4\n\tkmovw 16(%[k]), %%k5\n\tkmovw 20(%[k]), "
			      "%%k6\n\t"
			      "kmovw 24(%[k]), %%k7\n\t" SPIN
			      "kmovw %%k1, (%[l])\n\tkmovw %%k2, 4(%[l])\n\tkmovw %%k3, 8(%[l])\n\t"
			      "kmovw %%k4, 12(%[l])\n\tkmovw %%k5, 16(%[l])\n\tkmovw %%k6, "
			      "20(%[l])\n\t"
			      "kmovw %%k7, 24(%[l])\n\t" FOR32(Z_STORE) "vzeroupper\n\t"
		: [n] "+r"(n)
		: [w] "r"(want), [i] "r"(is), [k] "r"(k), [l] "r"(l)
		: CLOBBER16, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
		  "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1",
		  "k2", "k3", "k4", "k5", "k6", "k7");
	for (int i = 0; i < 7; i++)
		CHECKF((uint16_t)l[i] == k[i], "k%d", i + 1);
}

/* Eight x87 registers full, odd rounding and precision, sticky flags. */
static void hold_x87(unsigned int n)
{
	uint16_t cw = 0x0a7f, cw_was, cw_is;
	uint32_t mx = 0x7fb0, mx_was, mx_is;
	double sum;

	__asm__ volatile(
		"fnstcw %[cww]\n\tstmxcsr %[mxw]\n\tfldcw %[cw]\n\tldmxcsr %[mx]\n\t"
		"fld1\n\tfldl2t\n\tfldl2e\n\tfldpi\n\tfldlg2\n\tfldln2\n\tfldz\n\tfld1\n\t" SPIN
		"faddp\n\tfaddp\n\tfaddp\n\tfaddp\n\tfaddp\n\tfaddp\n\tfaddp\n\tfstpl %[sum]\n\t"
		"fnstcw %[cwi]\n\tstmxcsr %[mxi]\n\tfnclex\n\tfldcw %[cww]\n\tldmxcsr %[mxw]\n\t"
		: [n] "+r"(n), [sum] "=m"(sum), [cwi] "=m"(cw_is), [mxi] "=m"(mx_is),
		  [cww] "=m"(cw_was), [mxw] "=m"(mx_was)
		: [cw] "m"(cw), [mx] "m"(mx)
		: "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	CHECKF(cw_is == cw && mx_is == mx, "control words %x %x", cw_is, mx_is);
	if (!x87_sum)
		x87_sum = sum;
	CHECKF(sum == x87_sum, "x87 stack: %f", sum);
}

static void fill(uint64_t seed)
{
	uint64_t v = seed;

	for (int i = 0; i < 32; i++)
		for (int j = 0; j < 64; j += 8) {
			v = job_next(v);
			memcpy(&want[i][j], &v, 8);
		}
	memset(is, 0, sizeof(is));
}

static void compare(int regs, size_t bytes)
{
	for (int i = 0; i < regs; i++)
		CHECKF(!memcmp(want[i], is[i], bytes), "register %d of %zu bytes", i, bytes);
}

int main(void)
{
	bool avx = has_avx(), avx512 = has_avx512();
	uint64_t x = 0;

	job_begin(40);
	hold_x87(1);
	while (job_more()) {
		fill(x);
		hold_xmm(STRETCH);
		compare(16, 16);
		hold_x87(STRETCH);
		if (avx) {
			hold_ymm(STRETCH);
			compare(16, 32);
		}
		if (avx512) {
			hold_zmm(STRETCH);
			compare(32, 64);
		}
		x = job_next(x);
	}
	return job_end("vectors", x);
}
