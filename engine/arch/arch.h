/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine asks of a machine: a thread's registers and extended state between the kernel's
 * form and the image's, the host's layout of that state, and entering a new task on a stack of its
 * own. One folder per machine implements it.
 */
#ifndef CK_ENGINE_ARCH_ARCH_H
#define CK_ENGINE_ARCH_ARCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

#include "image/core-x86.pb-c.h"

struct ck_err;

/* State components by their bit in XCR0; the rest is named where it matters. */
enum arch_xstate_bit {
	ARCH_X87 = 0,
	ARCH_SSE = 1,
	ARCH_YMM = 2,
	ARCH_BNDREGS = 3,
	ARCH_BNDCSR = 4,
	ARCH_OPMASK = 5,
	ARCH_ZMM_HI256 = 6,
	ARCH_HI16_ZMM = 7,
	ARCH_PKRU = 9,
	ARCH_TILECFG = 17,
	ARCH_TILEDATA = 18,
	ARCH_XSTATE_BITS = 63,
};

/* Used only by those who have asked for it. Linux XFEATURE_MASK_USER_DYNAMIC */
#define ARCH_XSTATE_DYNAMIC (1ull << ARCH_TILEDATA)

/* Caller-saved in every C ABI: dead while a thread is inside a system call made by a function. */
#define ARCH_XSTATE_CALLER_SAVED                                                 \
	((1ull << ARCH_YMM) | (1ull << ARCH_OPMASK) | (1ull << ARCH_ZMM_HI256) | \
	 (1ull << ARCH_HI16_ZMM))

/* The standard (not compacted) xsave layout of one CPU under one kernel. */
struct arch_xstate_layout {
	uint64_t xcr0;
	uint32_t size;       /* bytes of the whole area; 512: no xsave, only the fxsave region */
	uint32_t mxcsr_mask; /* bits of MXCSR that there are; 0: the default ones */
	struct {
		uint32_t offset, size; /* bytes; 0 where the bit is not in xcr0 */
	} c[ARCH_XSTATE_BITS];
};

/* The layout of this host. */
int arch_xstate_host(struct arch_xstate_layout *ret, struct ck_err *err);

/*
 * raw is what PTRACE_GETREGSET gives for NT_X86_XSTATE (or the 512 bytes of NT_PRFPREG on a CPU
 * without xsave) on a CPU of that layout. *ret is freed by
 * user_x86_fpregs_entry__free_unpacked(x, NULL). Components without a field in CRIU's format go
 * into ckpt_parts if they are live; CRIU would lose them, so an image that has any must carry an
 * inventory version that it refuses.
 */
int arch_xstate_to_image(const struct arch_xstate_layout *l, const void *raw, size_t len,
			 UserX86FpregsEntry **ret, struct ck_err *err);

/*
 * Fills raw, l->size bytes, ready for PTRACE_SETREGSET on a CPU of that layout. A component that is
 * live in e and that l lacks is dropped if it holds its initial value or if its bit is in dead;
 * otherwise CK_ERR_HOST. Protection keys are always supplied.
 */
int arch_xstate_from_image(const struct arch_xstate_layout *l, const UserX86FpregsEntry *e,
			   uint64_t dead, void *raw, size_t size, struct ck_err *err);

/*
 * Rewrites the extended state of a signal frame where it lies: area is of layout from, size bytes
 * and the word that ends it, and may take room bytes, with that word, of layout to. 1: it was
 * rewritten; 0: a CPU of layout to takes it as it is; CK_ERR_HOST as above, or for lack of room.
 */
int arch_frame_translate(const struct arch_xstate_layout *from, const struct arch_xstate_layout *to,
			 uint64_t dead, void *area, uint32_t size, uint32_t room,
			 struct ck_err *err);

/* r becomes e, field by field; e was initialised. */
void arch_regs_to_image(const struct user_regs_struct *r, UserX86RegsEntry *e);
/* Ready for PTRACE_SETREGS: orig_rax is -1, so that the kernel restarts nothing by itself.
 * CK_ERR_REFUSED for what is not 64-bit code. */
int arch_regs_from_image(const UserX86RegsEntry *e, struct user_regs_struct *ret,
			 struct ck_err *err);

/* clone3(2) with a stack of the child's own (args->stack), on which it calls entry(arg) and must
 * not return. The number of the new task, or -errno. */
struct clone_args;
long arch_clone_into(struct clone_args *args, size_t size, uint64_t entry, uint64_t arg);
/* regs as for a system call made at insn: PTRACE_SETREGS, then PTRACE_SYSCALL. */
void arch_regs_call(struct user_regs_struct *regs, uint64_t insn, long nr, uint64_t a0,
		    uint64_t a1);

#endif
