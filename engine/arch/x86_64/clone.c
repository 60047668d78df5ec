// SPDX-License-Identifier: Apache-2.0
/* Entering a new task on a stack of its own, and the registers of a system call in a stopped one.
 */
#include <linux/sched.h>
#include <sys/syscall.h>

#include "engine/arch/arch.h"

long arch_clone_into(struct clone_args *args, size_t size, uint64_t entry, uint64_t arg)
{
	register uint64_t r8 __asm__("r8") = arg;
	register uint64_t r9 __asm__("r9") = entry;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r8, %%rdi\n\t"
			 "call *%%r9\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone3), "D"(args), "S"(size), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

void arch_regs_call(struct user_regs_struct *regs, uint64_t insn, long nr, uint64_t a0, uint64_t a1)
{
	regs->rip = insn;
	regs->rax = (uint64_t)nr;
	regs->orig_rax = -1ull;
	regs->rdi = a0;
	regs->rsi = a1;
}
