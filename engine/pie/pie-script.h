/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ckpt and the restorer blob share. Layout of the zone: struct pie_zone, the blob's code on
 * pages of their own, data, the operations, struct pie_slot per thread, stacks, bounce buffers. It
 * is one shared mapping, inherited by every task of the job, at the same address everywhere.
 */
#ifndef CK_PIE_SCRIPT_H
#define CK_PIE_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#define PIE_PAGE 4096ull
#define PIE_STACK (4 * PIE_PAGE)   /* bytes of a slot's stack */
#define PIE_BOUNCE (64 * PIE_PAGE) /* bytes of a bounce buffer */
#define PIE_SUM_CHUNK (1ull << 20) /* bytes of a pages file that one checksum covers */

enum pie_code {
	PIE_SYSCALL,    /* nr(a0..a5) */
	PIE_PAGES,      /* a0: struct pie_pages */
	PIE_CLONE,      /* a0: slot to start; a1: clone flags; a2: exit signal, unless
			   the flags say which */
	PIE_BARRIER,    /* a0: struct pie_barrier */
	PIE_COPY,       /* a2 bytes from a1 to a0 */
	PIE_TIMER,      /* a0: struct pie_timer */
	PIE_STOP,       /* stops the process as signal a0 does; with a1, to go on again */
	PIE_WRITE_FILE, /* a0: path; a1, a2: data and its length */
	PIE_EXIT,       /* a0: wait status to leave behind; does not return */
	PIE_AWAIT_LEFT, /* waits until the thread of slot a0 has left, after PIE_LEAVE */
	PIE_LEAVE,      /* tells the tracer, and ends this thread with status a0; does not return */
	PIE_ARRIVE,     /* tells the tracer and waits for it; does not return */
};

enum pie_expect {
	PIE_OK,         /* not negative */
	PIE_IS_ARG0,    /* equal to a0 */
	PIE_ANY,        /* not looked at */
	PIE_OK_OR_NEXT, /* not negative, and the next operation is skipped; degraded by EPERM, EBUSY
			 */
	PIE_OK_DEGRADED, /* a failure is only noted */
};

struct pie_op {
	uint32_t code;   /* enum pie_code */
	uint32_t expect; /* enum pie_expect */
	uint64_t nr;
	uint64_t a[6];
};

/* How the bytes of a run get to where they belong. */
enum pie_run_mode {
	PIE_RUN_READ,    /* straight into place */
	PIE_RUN_COMPARE, /* only pages that differ are written, so that the others stay shared */
	PIE_RUN_SKIP,    /* only looked at, for the checksum */
	PIE_RUN_ZERO,    /* not in the file: zeroes */
};

struct pie_run {
	uint64_t addr, len; /* bytes, whole pages */
	uint64_t mode;
};

/* The runs lie in the file one after the other, from offset 0. */
struct pie_pages {
	uint64_t runs, n_runs; /* struct pie_run */
	uint64_t sums, n_sums; /* uint64_t, XXH64 of each chunk; none if 0 */
	int64_t fd;
};

struct pie_barrier {
	uint32_t count, target;
};

struct pie_timer {
	uint8_t sigevent[64]; /* struct sigevent */
	int64_t interval_sec, interval_nsec, value_sec, value_nsec;
	int32_t clock, id;
};

enum pie_state {
	PIE_NEW,
	PIE_READY, /* waits for the word; only tasks made by ckpt itself */
	PIE_RUNNING,
	PIE_STOPPING, /* a stop signal is on its way, and meant */
	PIE_ARRIVED,
	PIE_LEAVING,
};

/* One thread of the job, or one of the helpers that exist only during the restore. */
struct pie_slot {
	uint64_t zone;       /* struct pie_zone */
	uint64_t ops, n_ops; /* struct pie_op */
	uint64_t stack;      /* lowest address, PIE_STACK bytes */
	uint64_t bounce;     /* PIE_BOUNCE bytes, or 0 */
	int32_t tid;         /* the number it shall have */
	uint32_t top;        /* made by ckpt itself: waits for the word */
	uint32_t at;         /* index of the operation it is at */
	uint32_t state;      /* enum pie_state */
	uint32_t degraded;   /* 1 + index of the last operation that was let pass */
	uint32_t stopped;    /* by the tracer: its process has been stopped */
	uint32_t left;       /* by the tracer: its thread has ended, and told its children so */
};

struct pie_zone {
	uint64_t base, size;
	uint64_t slots, n_slots;
	uint64_t syscall_insn; /* a system call instruction in the blob, for the tracer */
	uint32_t mark_signo;   /* an arriving thread raises it; pending nowhere in the job */
	uint32_t go;           /* futex: 1 once the first tasks are traced */
	int32_t trunk;         /* who will say so, as the first tasks see it */
	uint32_t failed;       /* 1 taken, 2 the fields below are valid */
	uint32_t slot, op;     /* whose script, which operation */
	int32_t error;         /* -errno */
	uint64_t detail;       /* PIE_PAGES with -EBADMSG: the chunk */
	uint64_t filled;       /* bytes of page files that were read so far */
	uint64_t kept;         /* pages that were found equal to the inherited ones */
};

_Static_assert(sizeof(struct pie_op) == 64, "layout");
_Static_assert(sizeof(struct pie_zone) <= PIE_PAGE, "the header has one page");

#endif
