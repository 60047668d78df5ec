/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code emitted for a stopped thread of the job: it must find its own way back at any instant. It
 * uses only mov, lea, syscall and jmp, so it changes no flags, no vector register and no byte of
 * the thread's stack.
 */
#ifndef CK_ENGINE_ARCH_X86_64_STUB_H
#define CK_ENGINE_ARCH_X86_64_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

/* Flags that a program sees and sets; the rest (TF, RF, IF, NT, VM ...) is the kernel's. */
#define ARCH_USER_RFLAGS 0x40cd5ull /* CF PF AF ZF SF DF OF AC */

/*
 * The way back: takes the thread's stack, puts its signal mask back, then all its registers, and
 * jumps to where it was. Flags are the caller's matter. Position independent. Returns the bytes
 * used, or 0 if size is too small.
 */
size_t arch_emit_back(uint8_t *buf, size_t size, const struct user_regs_struct *regs,
		      uint64_t sigmask);

struct arch_stub {
	uint8_t code[512];
	size_t len;     /* 0 if the code did not fit */
	size_t leave;   /* offset: unmaps the area in rdi, then the way back */
	size_t syscall; /* offset of leave's syscall instruction; the way back follows it */
};

/*
 * The stub: maps area_len bytes, makes the marker call with the result in rdi, and if nobody
 * catches it there, falls into leave.
 */
void arch_stub_build(struct arch_stub *ret, const struct user_regs_struct *regs, uint64_t sigmask,
		     size_t area_len, int marker);

/* What a signal handler would do to the system call that a stop interrupted. */
enum arch_interrupted {
	ARCH_NOT_INTERRUPTED,
	ARCH_RESTARTS,          /* nothing: it is re-issued whatever happens */
	ARCH_RESTARTS_IF_ASKED, /* ended with EINTR by a handler without SA_RESTART */
	ARCH_ENDS,              /* ended with EINTR by any handler */
};

/* A thread stopped by PTRACE_INTERRUPT, and by nothing else: a call that answers a stop with EINTR
 * is to be re-issued as others are. regs are those of PTRACE_GETREGS. True if it is such a call. */
bool arch_hide_stop(struct user_regs_struct *regs);

/*
 * With *regs of a stopped thread the kernel re-issues an interrupted call as after any stop.
 * *ret_resume re-issues it without the kernel's help, *ret_ended ends it with EINTR.
 */
enum arch_interrupted arch_interrupted_call(const struct user_regs_struct *regs,
					    struct user_regs_struct *ret_resume,
					    struct user_regs_struct *ret_ended);

#endif
