/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump and restore: what other folders may use. The engine neither prints nor exits, keeps no
 * writable globals, and leaves the job as it was whenever it returns an error.
 */
#ifndef CK_ENGINE_ENGINE_H
#define CK_ENGINE_ENGINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "image/ckpt-isa.pb-c.h"

struct fsmap_maps;
struct image;

/*
 * What a caller may want to know meanwhile. Each function may be NULL. All are called in the
 * caller's process, some while the job stands still: they must not block.
 */
struct engine_watch {
	/* A stage of docs/ARCHITECTURE.md begins: "freeze", "let-go". */
	void (*stage)(void *arg, const char *name);
	/* What it found or did, for people. */
	void (*detail)(void *arg, const char *text);
	/* Bytes of memory that were copied so far, many times a second; total is an estimate. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

enum engine_dump_flags {
	ENGINE_LEAVE_RUNNING = 1 << 0,  /* let the job go on instead of killing it */
	ENGINE_DUMP_SHELL_JOB = 1 << 1, /* a terminal as stdio is fine */
};

/* What becomes of a connection of the job's whose other end is outside of it. */
enum engine_outside {
	ENGINE_OUTSIDE_REFUSE, /* the dump fails */
	ENGINE_OUTSIDE_CLOSE,  /* after the restore, the other side has closed it */
	ENGINE_OUTSIDE_RESET,  /* after the restore, the other side has reset it */
};

struct engine_dump_opts {
	pid_t pid;       /* root of the tree, in our pid namespace */
	const char *dir; /* the image */
	unsigned int flags;
	enum engine_outside tcp;
	enum engine_outside unix_sockets, pipes; /* never ENGINE_OUTSIDE_RESET */
	struct engine_watch watch;
};

struct engine_dump_stats {
	uint64_t freezing_ns; /* until all tasks had stopped */
	uint64_t frozen_ns;   /* from the first stop to the last release (or kill) */
	uint64_t memory_ns;   /* copying memory into the image's files */
	uint64_t commit_ns;   /* until the image was durable */
	uint64_t total_ns;
	uint64_t pages, shared_pages; /* written; shared anonymous ones are not among the first */
	uint64_t scanned, shared_scanned; /* read: zero pages, too */
	uint64_t tasks, threads;
	/* What the complete image has to do without: page checksums or statistics; kind is
	 * CK_ERR_NONE if it has both. */
	struct ck_err late;
};

/*
 * Dumps a tree. 0: the image is complete and durable, and the job was killed (or runs on with
 * ENGINE_LEAVE_RUNNING). Negative: there is no image and the job runs on. SIGKILL at any instant
 * leaves the whole tree running, or the whole tree gone and the image complete.
 */
int engine_dump(const struct engine_dump_opts *o, struct engine_dump_stats *ret_stats,
		struct ck_err *err);

enum engine_restore_flags {
	ENGINE_DETACH = 1 << 0,            /* return once the job runs */
	ENGINE_RESTORE_SHELL_JOB = 1 << 1, /* the caller's terminal and session become the job's */
	ENGINE_NO_INPLACE = 1 << 2,        /* always a fresh pid namespace */
	/* Go on without live state that this CPU lacks: of threads; of what handlers interrupted.
	 */
	ENGINE_DROP_STATE = 1 << 3,
	ENGINE_DROP_FRAMES = 1 << 4,
	ENGINE_MAKE_DIRS = 1 << 5, /* directories that are missing are made */
};

/* How the job comes to what is elsewhere on this host. */
enum engine_map_mode {
	ENGINE_MAP_REWRITE, /* it is opened where it is now */
	ENGINE_MAP_BIND,    /* in a mount namespace of the job's it is where it was */
};

/* What becomes of output files that have grown since the dump. */
enum engine_files {
	ENGINE_FILES_REFUSE,
	ENGINE_FILES_KEEP,     /* they stay as they are; the job goes on where it was */
	ENGINE_FILES_ROLLBACK, /* cut back to what they were; the rest is saved beside them */
};

struct engine_restore_stats {
	pid_t pid;           /* the root task's, in the caller's pid namespace */
	uint64_t forking_ns; /* making the first tasks */
	uint64_t restore_ns; /* until the job ran */
	uint64_t pages;      /* restored */
	uint64_t compared;   /* of these, with what was inherited */
	uint64_t kept;       /* of these, found equal and left shared */
};

struct engine_restore_opts {
	const struct image *image;
	const CkptIsa *isa;            /* what is known of its code; may be NULL */
	const struct fsmap_maps *maps; /* NULL: everything is where it was */
	enum engine_map_mode map_mode;
	enum engine_files files;
	unsigned int flags;
	struct engine_watch watch;
	/* Called once the job runs, in the caller's process; may be NULL. */
	void (*on_running)(void *arg, const struct engine_restore_stats *stats);
	/* Called before that for each thing that is not quite as it was; may be NULL. */
	void (*on_note)(void *arg, const char *text);
	void *arg; /* of these two */
};

/*
 * Restores a tree and, without ENGINE_DETACH, waits for its root task as its parent would: signals
 * are forwarded, *ret_wait_status is the root's. Negative: nothing of the job is left running and
 * the image is as before.
 */
int engine_restore(const struct engine_restore_opts *o, int *ret_wait_status, struct ck_err *err);

#endif
