/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/arch/x86_64/: what an xsave area and the one in a signal frame have in common.
 */
#ifndef CK_ENGINE_ARCH_X86_64_XSTATE_H
#define CK_ENGINE_ARCH_X86_64_XSTATE_H

#include <stddef.h>
#include <stdint.h>

#define ARCH_PKRU_DEFAULT 0x55555554u /* Linux arch/x86/mm/pkeys.c:init_pkru_value */

struct arch_xstate_layout;
struct ck_err;

/* CK_ERR_HOST if bits are set that a CPU of that layout hasn't got. */
int arch_mxcsr_check(const struct arch_xstate_layout *l, uint32_t mxcsr, struct ck_err *err);
/* There is no place for a live component: 0 if it may be dropped, else CK_ERR_HOST. */
int arch_xstate_missing(unsigned int bit, const void *data, size_t len, uint64_t dead,
			struct ck_err *err);

#endif
