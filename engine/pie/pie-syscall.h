/* SPDX-License-Identifier: Apache-2.0 */
/* System calls for code without libc, x86-64. They return -errno, never set errno. */
#ifndef CK_PIE_SYSCALL_H
#define CK_PIE_SYSCALL_H

static inline long pie_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define pie_syscall0(nr) pie_syscall6(nr, 0, 0, 0, 0, 0, 0)
#define pie_syscall1(nr, a) pie_syscall6(nr, (long)(a), 0, 0, 0, 0, 0)
#define pie_syscall2(nr, a, b) pie_syscall6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define pie_syscall3(nr, a, b, c) pie_syscall6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define pie_syscall4(nr, a, b, c, d) \
	pie_syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define pie_syscall5(nr, a, b, c, d, e) \
	pie_syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

#endif
