// SPDX-License-Identifier: Apache-2.0
/* Emits the stub and the ways back: see stub.h. Encodings: Intel SDM vol. 2. */
#include "engine/arch/x86_64/stub.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct emit {
	uint8_t *buf;
	size_t len, size;
	int full;
};

static void put(struct emit *e, const void *bytes, size_t n)
{
	if (e->full || e->size - e->len < n) {
		e->full = 1;
		return;
	}
	memcpy(e->buf + e->len, bytes, n);
	e->len += n;
}

static void put8(struct emit *e, uint8_t v)
{
	put(e, &v, 1);
}

static void put32(struct emit *e, uint32_t v)
{
	put(e, &v, 4);
}

static void put64(struct emit *e, uint64_t v)
{
	put(e, &v, 8);
}

enum reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* mov $imm64, reg */
static void mov_imm(struct emit *e, enum reg r, uint64_t v)
{
	put8(e, r >= R8 ? 0x49 : 0x48);
	put8(e, (uint8_t)(0xb8 | (r & 7)));
	put64(e, v);
}

/* mov $imm32, reg32: clears the upper half */
static void mov_imm32(struct emit *e, enum reg r, uint32_t v)
{
	if (r >= R8)
		put8(e, 0x41);
	put8(e, (uint8_t)(0xb8 | (r & 7)));
	put32(e, v);
}

static void syscall_insn(struct emit *e)
{
	put(e, "\x0f\x05", 2);
}

static void emit_back(struct emit *e, const struct user_regs_struct *regs, uint64_t sigmask)
{
	mov_imm(e, RSP, regs->rsp);
	/* rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8); the mask stands behind a jump over it */
	put(e, "\xeb\x08", 2); /* jmp +8 */
	put64(e, sigmask);
	put(e, "\x48\x8d\x35", 3); /* lea -15(%rip), %rsi */
	put32(e, (uint32_t)-15);
	mov_imm32(e, RAX, SYS_rt_sigprocmask);
	mov_imm32(e, RDI, SIG_SETMASK);
	mov_imm32(e, RDX, 0);
	mov_imm32(e, R10, 8);
	syscall_insn(e);
	mov_imm(e, RAX, regs->rax);
	mov_imm(e, RCX, regs->rcx);
	mov_imm(e, RDX, regs->rdx);
	mov_imm(e, RBX, regs->rbx);
	mov_imm(e, RBP, regs->rbp);
	mov_imm(e, RSI, regs->rsi);
	mov_imm(e, RDI, regs->rdi);
	mov_imm(e, R8, regs->r8);
	mov_imm(e, R9, regs->r9);
	mov_imm(e, R10, regs->r10);
	mov_imm(e, R11, regs->r11);
	mov_imm(e, R12, regs->r12);
	mov_imm(e, R13, regs->r13);
	mov_imm(e, R14, regs->r14);
	mov_imm(e, R15, regs->r15);
	put(e, "\xff\x25", 2); /* jmp *0(%rip) */
	put32(e, 0);
	put64(e, regs->rip);
}

size_t arch_emit_back(uint8_t *buf, size_t size, const struct user_regs_struct *regs,
		      uint64_t sigmask)
{
	struct emit e = { .buf = buf, .size = size };

	emit_back(&e, regs, sigmask);
	return e.full ? 0 : e.len;
}

void arch_stub_build(struct arch_stub *ret, const struct user_regs_struct *regs, uint64_t sigmask,
		     size_t area_len, int marker)
{
	struct emit e = { .buf = ret->code, .size = sizeof(ret->code) };

	mov_imm32(&e, RAX, SYS_mmap);
	mov_imm32(&e, RDI, 0);
	mov_imm(&e, RSI, area_len);
	mov_imm32(&e, RDX, PROT_READ | PROT_WRITE | PROT_EXEC);
	mov_imm32(&e, R10, MAP_PRIVATE | MAP_ANONYMOUS);
	mov_imm(&e, R8, (uint64_t)-1);
	mov_imm32(&e, R9, 0);
	syscall_insn(&e);
	put(&e, "\x48\x89\xc7", 3); /* mov %rax, %rdi */
	mov_imm32(&e, RAX, (uint32_t)marker);
	syscall_insn(&e);
	ret->leave = e.len;
	mov_imm(&e, RSI, area_len);
	mov_imm32(&e, RAX, SYS_munmap); /* of -errno as an address: EINVAL, harmless */
	ret->syscall = e.len;
	syscall_insn(&e);
	emit_back(&e, regs, sigmask);
	ret->len = e.full ? 0 : e.len;
}

/*
 * Calls that answer a mere stop with EINTR, signal(7) "Interruption of system calls ... by stop
 * signals": the job must not see it, since nothing happened to it.
 */
static int stop_gives_eintr(long nr)
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
#ifdef SYS_epoll_pwait2
	case SYS_epoll_pwait2:
#endif
		return 1;
	default:
		return 0;
	}
}

/* include/linux/errno.h: seen by a tracer, never by the program */
#define K_ERESTARTSYS 512
#define K_ERESTARTNOINTR 513
#define K_ERESTARTNOHAND 514
#define K_ERESTART_RESTARTBLOCK 516

static enum arch_interrupted interrupted_how(const struct user_regs_struct *regs)
{
	if ((long)regs->orig_rax < 0)
		return ARCH_NOT_INTERRUPTED;
	switch (-(long)regs->rax) {
	case K_ERESTARTNOINTR:
		return ARCH_RESTARTS;
	case K_ERESTARTSYS:
		return ARCH_RESTARTS_IF_ASKED;
	case K_ERESTARTNOHAND:
	case K_ERESTART_RESTARTBLOCK:
		return ARCH_ENDS;
	default:
		return ARCH_NOT_INTERRUPTED;
	}
}

bool arch_hide_stop(struct user_regs_struct *regs)
{
	if ((long)regs->rax != -EINTR || !stop_gives_eintr((long)regs->orig_rax))
		return false;
	regs->rax = (unsigned long)-K_ERESTARTNOHAND;
	return true;
}

enum arch_interrupted arch_interrupted_call(const struct user_regs_struct *regs,
					    struct user_regs_struct *ret_resume,
					    struct user_regs_struct *ret_ended)
{
	enum arch_interrupted how = interrupted_how(regs);

	*ret_resume = *regs;
	*ret_ended = *regs;
	if (how != ARCH_NOT_INTERRUPTED) {
		ret_resume->rax = regs->orig_rax;
		ret_resume->rip = regs->rip - 2; /* the syscall instruction */
		ret_ended->rax = (unsigned long)-EINTR;
	}
	ret_resume->orig_rax = (unsigned long)-1;
	ret_ended->orig_rax = (unsigned long)-1;
	return how;
}
