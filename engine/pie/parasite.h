/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ckpt and the parasite blob share. The blob runs in every thread of a job that is being
 * dumped, out of an area that a stub in the vDSO's dead bytes has mapped (engine/inject.c). Layout
 * of the area: the blob's code, struct parasite_process, one struct parasite_slot per thread.
 *
 * The blob answers what only the thread itself can see, then makes a marker system call. ckpt holds
 * it at the entry stop of that call for the rest of the dump, and then gives the thread its
 * registers back. If ckpt dies instead, the call simply returns, and the blob finds its own way:
 * back to where the thread was, or, once the image is durable, to the end of the process.
 */
#ifndef CK_PIE_PARASITE_H
#define CK_PIE_PARASITE_H

#include <stddef.h>
#include <stdint.h>

/* sched_yield(2): no arguments, no effect, in every seccomp profile. */
#define PARASITE_MARKER 24

/* The word that all blobs of a tree share (read-only to them). */
enum parasite_fate {
	PARASITE_RESUME = 0,
	PARASITE_KILL = 1,
};
/* Behind the word, so that a later dump knows what a killed one left attached. */
#define PARASITE_WORD_MAGIC "ckpt fate word\0"
struct parasite_word {
	uint32_t fate, pad;
	uint8_t magic[16];
};

#define PARASITE_STACK 4096
#define PARASITE_CODE 384 /* of one emitted way back */
#define PARASITE_NSIG 64
#define PARASITE_NTIMERS 1024
#define PARASITE_NNODES 16 /* words of a mask of NUMA nodes */
#define PARASITE_NFLAWS 3  /* PR_SPEC_STORE_BYPASS and on */
#define PARASITE_NRUNS 4096
#define PARASITE_VEC (256 * 1024)
#define PARASITE_NKIN 16 /* descriptors that bear a tag */
#define PARASITE_ADDR 8  /* of the family, a zero and what the kernel names a socket by itself */

/* What the host thread can be told to do: it finds the order as its marker returns, carries it out,
 * and makes the next marker call. */
enum parasite_order {
	PARASITE_NO_ORDER = 0, /* the marker returns because ckpt died: the way back */
	PARASITE_TAG,          /* F_SETSIG of each listed descriptor: its tag */
	PARASITE_READ,         /* F_GETSIG of each */
	PARASITE_UNTAG,        /* F_SETSIG of each: what it was */
	PARASITE_RESIDENT,     /* which pages of a range are in memory: mincore() */
	PARASITE_FETCH,        /* have the swapped pages of a range read: MADV_WILLNEED */
	PARASITE_PASS,         /* send a copy of a descriptor to the socket of this name */
	PARASITE_CHILDREN,     /* what can be waited for of each listed child but its end */
	PARASITE_KIN_TAG,      /* struct parasite_kin: its tags */
	PARASITE_KIN_UNTAG,    /* what was before */
};

/* A descriptor of the task. Those that may be tagged come first. */
struct parasite_fd {
	int32_t fd;  /* in */
	int32_t was; /* its signal before any tag, or -errno */
	int32_t tag; /* in */
	int32_t is;  /* its signal when it was read, or -errno */
	int32_t owner_type,
		owner_pid;      /* F_GETOWN_EX, as the task numbers processes; pid 0: nobody */
	uint32_t owner_uids[2]; /* F_GETOWNER_UIDS: real and effective */
	int32_t fd_flags;       /* F_GETFD, or -errno */
};

struct parasite_child {
	int32_t pid;  /* in: as the task numbers processes */
	int32_t code; /* CLD_STOPPED, CLD_CONTINUED, or 0 */
};

struct parasite_run {
	uint64_t start, end;
};

/* Behind the slots, untouched until it is needed. */
struct parasite_scratch {
	struct parasite_run run[PARASITE_NRUNS];
	uint8_t vec[PARASITE_VEC];
};

/* The order and its arguments: written and read by ckpt while the host is held at the marker. */
struct parasite_orders {
	uint32_t order;  /* enum parasite_order; cleared by the blob */
	int32_t error;   /* -errno of the first call that failed */
	uint32_t tagged; /* descriptors may bear tags: the way back takes them off */
	uint32_t n_fds;  /* that may be tagged */
	uint32_t n_all, pad;
	uint64_t fds;      /* address of struct parasite_fd */
	uint64_t children; /* address of struct parasite_child */
	uint64_t n_children;
	uint64_t scratch;    /* address of struct parasite_scratch */
	uint64_t start, end; /* PARASITE_RESIDENT moves start forward, to end if all was said */
	uint64_t n_runs;
	int32_t pass_fd;
	uint8_t pass_to[PARASITE_ADDR]; /* struct sockaddr_un, all of it in use */
};

/* What tells whether two processes have one table of descriptors, or one directory and umask: for a
 * moment, close-on-exec flags and the umask are others (engine/kin.c). */
struct parasite_kin {
	uint32_t tagged; /* the way back puts all back as it was */
	uint32_t n_fds;
	int32_t fd[PARASITE_NKIN];
	uint32_t fd_was, fd_tag;      /* bit i: FD_CLOEXEC of fd[i] */
	int32_t umask_was, umask_tag; /* -1: to be left alone */
};

struct parasite_timer {
	int32_t id; /* in */
	int32_t overrun;
	int64_t interval_sec, interval_nsec, value_sec, value_nsec;
};

/* Process-wide answers, given by the host thread. */
struct parasite_process {
	/* in */
	int32_t shmid;    /* of the page with the shared word */
	uint32_t n_aimed; /* threads that have been pointed at the blob and not taken out again */
	uint64_t stub_leave; /* unmaps the area and restores the host's registers */
	uint64_t area;
	uint64_t query_sigs; /* bit n-1: ask for signal n's action */
	struct parasite_orders orders;
	struct parasite_kin kin;
	uint32_t id, pad3; /* another one in each task */
	uint32_t n_timers;
	uint32_t mark; /* raised before each marker call, see engine/inject.c; 0: none */
	/* While a queue is read through SO_PEEK_OFF: the socket, by its number plus 1, and what the
	 * option is to be again. */
	uint32_t peeked_fd1;
	int32_t peek_off;
	/* out */
	int64_t shm;        /* where the word is, or -errno */
	uint32_t left;      /* threads that have taken the way back */
	int32_t error;      /* first failing query: -errno ... */
	int32_t error_call; /* ... and its system call number */
	uint32_t dumpable, thp_disabled, subreaper;
	int32_t memory_merge; /* or -errno */
	int32_t membarrier;   /* MEMBARRIER_CMD_GET_REGISTRATIONS, or -errno */
	uint32_t keys;        /* protection keys that are allocated, as bits */
	uint64_t brk;
	uint64_t xcomp_perm; /* state components that the process may use, as ARCH_GET_XCOMP_PERM */
	int64_t monotonic_sec, monotonic_nsec, boottime_sec, boottime_nsec;
	struct {
		uint64_t handler, flags, restorer, mask;
	} sa[PARASITE_NSIG + 1];
	int64_t itimer[3][4]; /* interval sec, usec, value sec, usec */
	struct parasite_timer timers[PARASITE_NTIMERS];
};

struct parasite_slot {
	uint8_t stack[PARASITE_STACK] __attribute__((aligned(16)));
	/* in */
	uint64_t all;        /* ~0: the mask that blocks everything */
	uint64_t process;    /* address of struct parasite_process */
	uint64_t eintr_sigs; /* a pending one of these ends the interrupted call with EINTR */
	uint64_t sigmask;    /* the thread's own */
	uint64_t flags;      /* rflags */
	uint32_t host;       /* this thread answers for the process */
	uint32_t pad;
	/* out */
	uint64_t sas_sp, sas_size;
	uint32_t sas_flags, pdeath_sig;
	uint64_t clear_tid_addr, timerslack_ns;
	uint32_t securebits;
	int32_t mempolicy; /* its mode, or -errno */
	uint64_t nodes[PARASITE_NNODES];
	int32_t tsc, mce_kill; /* or -errno */
	int32_t speculation[PARASITE_NFLAWS];
	int32_t pad3;
	/* the ways back (arch_emit_back), with the interrupted call re-issued or ended by EINTR */
	uint8_t back[PARASITE_CODE] __attribute__((aligned(16)));
	uint8_t back_eintr[PARASITE_CODE] __attribute__((aligned(16)));
};

_Static_assert(sizeof(struct parasite_timer) == 40, "layout");
_Static_assert(offsetof(struct parasite_slot, all) == PARASITE_STACK, "used by the entry code");

#endif
