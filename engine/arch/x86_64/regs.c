// SPDX-License-Identifier: Apache-2.0
/*
 * General registers between struct user_regs_struct and the image. The image's registers already
 * re-issue an interrupted system call; so orig_rax is kept for information in the image and always
 * -1 towards the kernel (a value there would make it restart the call once more).
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "engine/arch/arch.h"

/* Selectors of 64-bit user code and of flat user data: Linux arch/x86/include/asm/segment.h */
#define USER_CS 0x33
#define USER_DS 0x2b

/* clang-format off */
#define EACH_REG(X)                                                           \
	X(r15, r15) X(r14, r14) X(r13, r13) X(r12, r12) X(rbp, bp) X(rbx, bx) \
	X(r11, r11) X(r10, r10) X(r9, r9) X(r8, r8) X(rax, ax) X(rcx, cx)     \
	X(rdx, dx) X(rsi, si) X(rdi, di) X(orig_rax, orig_ax) X(rip, ip)      \
	X(cs, cs) X(eflags, flags) X(rsp, sp) X(ss, ss) X(fs_base, fs_base)   \
	X(gs_base, gs_base) X(ds, ds) X(es, es) X(fs, fs) X(gs, gs)
/* clang-format on */

void arch_regs_to_image(const struct user_regs_struct *r, UserX86RegsEntry *e)
{
#define X(kernel, image) e->image = r->kernel;
	EACH_REG(X)
#undef X
	e->has_mode = 1;
	e->mode = r->cs == USER_CS ? USER_X86_REGS_MODE__NATIVE : USER_X86_REGS_MODE__COMPAT;
}

int arch_regs_from_image(const UserX86RegsEntry *e, struct user_regs_struct *ret,
			 struct ck_err *err)
{
	struct user_regs_struct r;

	if ((e->has_mode && e->mode != USER_X86_REGS_MODE__NATIVE) || (e->cs && e->cs != USER_CS) ||
	    (e->ss && e->ss != USER_DS))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore a thread that runs 32-bit code");
	memset(&r, 0, sizeof(r));
#define X(kernel, image) r.kernel = e->image;
	EACH_REG(X)
#undef X
	r.cs = USER_CS;
	r.ss = USER_DS;
	r.orig_rax = -1ull;
	*ret = r;
	return 0;
}
