/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts: what the restorer blob executes inside a task. The zone is one shared mapping at an
 * address that is free in every task of the job; scripts, their data and the blob live in it. While
 * planning it is an ordinary buffer; it becomes a mapping once nothing is left to decide.
 */
#ifndef CK_ENGINE_SCRIPT_H
#define CK_ENGINE_SCRIPT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/pie/pie-script.h"

struct ck_err;
struct script;
struct script_zone;

/* How a result is judged. */
enum script_expect {
	SCRIPT_OK = PIE_OK,                 /* not negative */
	SCRIPT_IS_ARG0 = PIE_IS_ARG0,       /* equal to the first argument (mmap, mremap) */
	SCRIPT_ANY = PIE_ANY,               /* not looked at */
	SCRIPT_OK_OR_NEXT = PIE_OK_OR_NEXT, /* EPERM and EBUSY let the next operation run, which is
					     * skipped otherwise; noted as a degradation */
	SCRIPT_DEGRADED = PIE_OK_DEGRADED,  /* a failure is noted and let pass */
};

/*
 * Appends a system call. what names it for the user, to be read behind "cannot": "map
 * /usr/lib/libc.so.6 at 7f..."; it is copied. Running out of memory is remembered in the script and
 * reported when the zone is finished.
 */
void script_syscall(struct script *s, enum script_expect expect, long nr, uint64_t a0, uint64_t a1,
		    uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, const char *what, ...)
	__attribute__((format(printf, 10, 11)));

/* Copies len bytes into the zone and returns the address at which the task will see them, a
 * multiple of 64. */
uint64_t script_data(struct script *s, const void *data, size_t len);

/* ---- for engine/restore*.c ---- */

/* Appends any operation of engine/pie/pie-script.h. */
void script_op(struct script *s, enum pie_code code, enum script_expect expect, uint64_t nr,
	       const uint64_t a[6], const char *what, ...) __attribute__((format(printf, 6, 7)));
/* The slot's number, for PIE_CLONE. */
size_t script_slot(const struct script *s);
/* A barrier of n participants; the address of its struct pie_barrier. */
uint64_t script_barrier(struct script_zone *z, uint32_t n);
/* The script's task reads pages through a buffer. */
void script_wants_bounce(struct script *s);

enum script_role {
	SCRIPT_THREAD, /* ends by arriving */
	SCRIPT_EXITS,  /* a zombie, or a helper */
};

/* base: page aligned, room bytes behind it are the zone's. */
int script_zone_new(uint64_t base, uint64_t room, struct script_zone **ret, struct ck_err *err);
void script_zone_free(struct script_zone *z);
/* A script for the thread that shall have the number tid; owned by the zone. who names it for the
 * user: "task 812 (python3)". NULL if memory ran out, remembered; the functions above take NULL. */
struct script *script_new(struct script_zone *z, enum script_role role, pid_t tid, const char *who,
			  ...) __attribute__((format(printf, 4, 5)));
/* The thread is made by ckpt, not by another script. */
void script_set_top(struct script *s);
/* Lays the zone out; nothing can be appended afterwards. */
int script_zone_finish(struct script_zone *z, uint32_t mark_signo, struct ck_err *err);
uint64_t script_zone_base(const struct script_zone *z);
/* Bytes of the mapping; 0 before script_zone_finish(). */
uint64_t script_zone_size(const struct script_zone *z);
uint64_t script_zone_room(const struct script_zone *z);
size_t script_zone_count(const struct script_zone *z);

/* Makes the mapping in this process; it is inherited by fork, and shared. */
int script_zone_map(struct script_zone *z, struct ck_err *err);
void script_zone_unmap(struct script_zone *z);
/* ---- once it is mapped ---- */
struct pie_zone *script_zone_header(const struct script_zone *z);
struct pie_slot *script_zone_slot(const struct script_zone *z, size_t slot);
/* The script of a thread id; -1 if there is none. */
ssize_t script_zone_find(const struct script_zone *z, pid_t tid);
enum script_role script_zone_role(const struct script_zone *z, size_t slot);
/* What a task has reported, as an error; code is 0 if none has. */
int script_zone_failure(const struct script_zone *z, struct ck_err *err);
/* Which operation slot is at, for a task that died without a word. */
int script_zone_crashed(const struct script_zone *z, size_t slot, int wait_status,
			struct ck_err *err);
/* Texts of what was let pass, one per call with *slot counting up from 0; NULL at the end. */
const char *script_zone_degraded(const struct script_zone *z, size_t *slot, const char **ret_who);

#endif
