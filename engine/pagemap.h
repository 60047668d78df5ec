/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages of a stopped task hold something of its own. */
#ifndef CK_ENGINE_PAGEMAP_H
#define CK_ENGINE_PAGEMAP_H

#include <stdint.h>

struct ck_err;

/*
 * Calls fn for each run of pages in [start, end) that are private to the task, whether in memory or
 * swapped out: not those of a mapped file that nobody wrote to, and (where the kernel can tell) not
 * the shared zero page. pagemap is an open /proc/PID/pagemap. Stops at a negative return of fn,
 * which it returns.
 */
int engine_private_pages(int pagemap, uint64_t start, uint64_t end,
			 int (*fn)(uint64_t start, uint64_t end, void *arg, struct ck_err *err),
			 void *arg, struct ck_err *err);

/* The same for pages under MADV_GUARD_INSTALL, of all mappings; none where the kernel can't tell.
 */
int engine_guard_pages(int pagemap, uint64_t start, uint64_t end,
		       int (*fn)(uint64_t start, uint64_t end, void *arg, struct ck_err *err),
		       void *arg, struct ck_err *err);

#endif
