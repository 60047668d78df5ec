/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts: what the restorer blob executes inside a task. The zone is one shared mapping at an
 * address that is free in every task of the job; scripts, their data and the blob live in it.
 */
#ifndef CK_ENGINE_SCRIPT_H
#define CK_ENGINE_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

struct script;
struct script_zone;

/* How a result is judged. */
enum script_expect {
	SCRIPT_OK,      /* not negative */
	SCRIPT_IS_ARG0, /* equal to the first argument (mmap, mremap) */
	SCRIPT_ANY,     /* not looked at */
};

/*
 * Appends a system call. what names it for the user ("map /usr/lib/libc.so.6 at 7f..."); it is
 * copied. Running out of memory is remembered in the script and reported when it is finished.
 */
void script_syscall(struct script *s, enum script_expect expect, long nr, uint64_t a0, uint64_t a1,
		    uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, const char *what, ...)
	__attribute__((format(printf, 10, 11)));

/* Copies len bytes into the zone and returns the address at which the task will see them. */
uint64_t script_data(struct script *s, const void *data, size_t len);

#endif
