// SPDX-License-Identifier: Apache-2.0
/*
 * Private pages from /proc/PID/pagemap: see pagemap.h. PAGEMAP_SCAN jumps over what was never
 * touched; before it the kernel has a word for every page,
 * Documentation/admin-guide/mm/pagemap.rst.
 */
#include "engine/pagemap.h"

#include <errno.h>
#include <linux/types.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"

/* <linux/fs.h> from Linux 6.7 on; Debian 12's headers are older. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
_Static_assert(sizeof(struct scan_arg) == 96, "struct pm_scan_arg");
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
enum {
	SCAN_FILE = 1 << 2,
	SCAN_PRESENT = 1 << 3,
	SCAN_SWAPPED = 1 << 4,
	SCAN_ZERO = 1 << 5,
	SCAN_GUARD = 1 << 8, /* v6.15 */
};

#define WORD_PRESENT (1ull << 63)
#define WORD_SWAPPED (1ull << 62)
#define WORD_FILE (1ull << 61)
#define WORD_GUARD (1ull << 58) /* v6.15 */
enum { PAGE = 4096, WORDS = 8192, REGIONS = 256 };

typedef int run_fn(uint64_t start, uint64_t end, void *arg, struct ck_err *err);

/* COMPAT(v6.7): until PAGEMAP_SCAN is the baseline */
static int by_words(int pagemap, uint64_t start, uint64_t end, run_fn *fn, void *arg,
		    struct ck_err *err)
{
	CK_AUTO(free) uint64_t *words = malloc(WORDS * sizeof(*words));
	uint64_t run = 0;
	int in_run = 0, r;

	if (!words)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the pagemap");
	for (uint64_t at = start; at < end;) {
		size_t want = (end - at) / PAGE < WORDS ? (end - at) / PAGE : WORDS;
		ssize_t got = ck_pread_full(pagemap, words, want * 8, (off_t)(at / PAGE * 8));

		if (got < 8)
			return ck_fail(err, CK_ERR_SYS, got < 0 ? (int)got : -EIO,
				       "cannot read the pagemap");
		for (size_t i = 0; i < (size_t)got / 8; i++, at += PAGE) {
			int own = (words[i] & (WORD_PRESENT | WORD_SWAPPED)) &&
				  !(words[i] & (WORD_FILE | WORD_GUARD));

			if (own && !in_run)
				run = at;
			if (!own && in_run) {
				r = fn(run, at, arg, err);
				if (r < 0)
					return r;
			}
			in_run = own;
		}
	}
	return in_run ? fn(run, end, arg, err) : 0;
}

/* Which pages: those that have all of the first, none of the second, any of the third categories.
 */
struct wanted {
	uint64_t all, none, any;
};

/* -ENOTTY, and no error, if the kernel knows no such scan. *ret_at: how far it came. */
static int scan(int pagemap, const struct wanted *want, uint64_t *at, uint64_t end, run_fn *fn,
		void *arg, struct ck_err *err)
{
	struct scan_region regions[REGIONS];

	while (*at < end) {
		struct scan_arg scan = {
			.size = sizeof(scan),
			.start = *at,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = REGIONS,
			.category_inverted = want->none,
			.category_mask = want->all | want->none,
			.category_anyof_mask = want->any,
			.return_mask = SCAN_PRESENT,
		};
		int n = ioctl(pagemap, SCAN_IOCTL, &scan);

		/* An older kernel, or a filter of system calls. */
		if (n < 0 &&
		    (errno == ENOTTY || errno == EINVAL || errno == ENOSYS || errno == EPERM))
			return -ENOTTY;
		if (n < 0)
			return ck_fail_errno(err, "cannot scan the pagemap");
		for (int i = 0; i < n; i++) {
			int r = fn(regions[i].start, regions[i].end, arg, err);

			if (r < 0)
				return r;
		}
		if (scan.walk_end <= *at)
			return ck_fail(err, CK_ERR_SYS, -EIO, "the pagemap scan makes no progress");
		*at = scan.walk_end;
	}
	return 0;
}

int engine_private_pages(int pagemap, uint64_t start, uint64_t end, run_fn *fn, void *arg,
			 struct ck_err *err)
{
	static const struct wanted ways[] = {
		{ 0, SCAN_FILE | SCAN_ZERO | SCAN_GUARD, SCAN_PRESENT | SCAN_SWAPPED },
		/* COMPAT(v6.15): what guards can't be told apart there, and can't be read */
		{ 0, SCAN_FILE | SCAN_ZERO, SCAN_PRESENT | SCAN_SWAPPED },
	};
	int r = -ENOTTY;

	for (size_t i = 0; i < CK_ARRAY_SIZE(ways) && r == -ENOTTY; i++)
		r = scan(pagemap, &ways[i], &start, end, fn, arg, err);
	return r == -ENOTTY ? by_words(pagemap, start, end, fn, arg, err) : r;
}

int engine_guard_pages(int pagemap, uint64_t start, uint64_t end, run_fn *fn, void *arg,
		       struct ck_err *err)
{
	static const struct wanted guards = { SCAN_GUARD, 0, 0 };
	int r = scan(pagemap, &guards, &start, end, fn, arg, err);

	return r == -ENOTTY ? 0 : r;
}
