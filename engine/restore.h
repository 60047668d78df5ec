/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to engine/: the state of one restore. A restore is planned whole before anything happens:
 * each task gets a script, a flat list of operations that the restorer blob (engine/pie/restorer.c)
 * executes inside the task, from a zone of memory that no task of the job uses. Descriptions,
 * shared memory and page files are opened once, by the process that all tasks are forked from, and
 * are inherited.
 */
#ifndef CK_ENGINE_RESTORE_H
#define CK_ENGINE_RESTORE_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>
#include <time.h>

#include "base/err.h"
#include "engine/engine.h"
#include "engine/kin.h"
#include "engine/script.h"
#include "image/core.pb-c.h"
#include "image/image.h"
#include "image/ipc.pb-c.h"
#include "image/mm.pb-c.h"
#include "image/pstree.pb-c.h"

struct engine_rproc;

/* Where those that share something wait for each other; by which each has come to ... */
enum engine_meeting {
	ENGINE_MEET_MEMORY, /* memory is in place */
	ENGINE_MEET_QUIET,  /* nobody but the first opens descriptors any more */
	ENGINE_MEET_DIRS,   /* nobody opens paths any more */
	ENGINE_MEET_PARKED, /* nobody needs parked descriptors any more */
	ENGINE_MEET_FDS,    /* descriptors are in place */
	ENGINE_MEET_CHILD,  /* nobody sets the action of SIGCHLD any more */
	ENGINE_NMEETINGS,
};

/* A thread's registers in this host's form. */
struct engine_rregs {
	struct user_regs_struct regs;
	uint8_t *xstate;
	size_t xstate_len; /* bytes; 512: the CPU has no xsave */
};

/* Memory that has to be other on this CPU than in the image. */
struct engine_rpatch {
	uint64_t addr;
	uint8_t *bytes;
	size_t len;
};

struct engine_rtask {
	PstreeEntry *ps;
	CoreEntry **core; /* per thread, the leader first */
	size_t n_threads;
	TaskKobjIdsEntry *ids; /* NULL for a zombie */
	MmEntry *mm;           /* NULL for a zombie */
	struct engine_rtask *parent;
	/* The first task that has it, too; NULL if that is itself. */
	struct engine_rtask *kin[ENGINE_NKIN];
	uint64_t meet[ENGINE_NMEETINGS]; /* of the first: barriers, 0 until they are needed */
	uint64_t creds_done;             /* of the first that has the memory: likewise */
	struct script *script;
	bool zombie;
	bool ended;                 /* the leader has ended before other threads */
	int stop_signo;             /* that stops it; 0: it runs */
	uint32_t unwaited;          /* enum image_unwaited */
	struct image_pagemap pages; /* of private memory and the vDSO */
	struct engine_rproc *proc;
	struct engine_rmem *mem;   /* while planning, engine/restore-mem.c */
	struct engine_rregs *regs; /* per thread */
	struct engine_rpatch *patches;
	size_t n_patches;
};

/* A process to be made: a task of the job, or a helper that stands in for one that is gone, so that
 * its session or process group can be had. Helpers are gone when the job runs. */
struct engine_rproc {
	pid_t pid;
	pid_t sid, pgid;             /* 0: the caller's */
	struct engine_rtask *task;   /* NULL: a helper */
	struct engine_rproc *parent; /* whose child it is; NULL: ckpt's, or init's */
	struct engine_rproc *maker;  /* whose script makes it; NULL: the trunk */
	bool early;                  /* made before its maker becomes a session leader */
	pid_t born;                  /* the session it is born in */
	struct script *script;
};

/* One object of shared anonymous memory. */
struct engine_rshm {
	uint64_t id;
	uint64_t size; /* bytes, whole pages */
	uint64_t addr; /* where it is parked: the same in all tasks */
	bool noreserve;
	const CkptIpcShm *sysv; /* a System V segment; NULL if it is none */
	struct image_pagemap pages;
};

enum engine_strategy {
	ENGINE_INPLACE,    /* in this pid namespace, with the old pids */
	ENGINE_NAMESPACES, /* in a fresh pid (user, mount) namespace */
};

/* What the process that all tasks are forked from may do. */
struct engine_rights {
	bool userns;        /* it is in a user namespace made for the job */
	uint64_t permitted; /* capabilities */
	uint64_t bounding;
	uint32_t uid, gid; /* outside */
};

/* The vDSO of this kernel and how the job gets on with it; engine/vdso.h. */
struct engine_rvdso;

struct engine_restore {
	const struct engine_restore_opts *opts;
	const struct image *image;
	struct engine_rtask *tasks; /* parents before children */
	size_t n_tasks;
	struct script_zone *zone; /* its address is fixed before planning */
	struct res_restore *res;  /* engine/res/ */

	enum engine_strategy strategy;
	struct engine_rights rights;
	struct engine_rproc **procs; /* makers before what they make; the tasks' come first */
	size_t n_procs;
	struct engine_rshm *shm;
	size_t n_shm;
	CkptIpc *ipc; /* System V IPC; NULL if there is none */
	struct engine_rvdso *vdso;
	uint64_t task_size;          /* first address that no mapping can have */
	uint64_t window, window_len; /* free in every task: zone, parked memory and vDSO */
	uint32_t uid, gid;           /* of the job, if it has only one each */
	bool one_uid;
	uint64_t pages, compared; /* in the image's page files; of these, to be compared */
	int report;               /* in the trunk: where to it says how far it is; else -EBADF */
	char **notes;
	size_t n_notes;
	bool has_clocks;
	struct timespec monotonic, boottime; /* as the job saw them last */
};

/* Which of its threads is the first that lives. */
static inline size_t engine_first_alive(const struct engine_rtask *t)
{
	return t->ended ? 1 : 0;
}

/* Who of those that share it with t comes first in the tree. */
static inline struct engine_rtask *engine_rkin_of(struct engine_rtask *t, enum engine_kin kin)
{
	return t->kin[kin] ? t->kin[kin] : t;
}

#define ENGINE_RTASK_FMT "task %u (%s)"
#define ENGINE_RTASK_ARG(t) (t)->ps->pid, (t)->core[0]->tc->comm

/* ---- engine/restore-load.c: reads the image, trusts nothing in it ---- */
int engine_load(struct engine_restore *r, struct ck_err *err);
void engine_load_done(struct engine_restore *r);

/* ---- engine/restore-ipc.c ---- */
/* After shared memory. */
int engine_load_ipc(struct engine_restore *r, struct ck_err *err);
/* In the trunk, which is in a namespace of its own: semaphores and queues. */
int engine_make_ipc(const struct engine_restore *r, struct ck_err *err);
int engine_attach_shm(const struct engine_rshm *shm, struct ck_err *err);
int engine_finish_shm(const struct engine_rshm *shm, struct ck_err *err);

/* ---- engine/restore-tree.c: who makes whom, sessions and process groups ---- */
int engine_plan_tree(struct engine_restore *r, struct ck_err *err);
void engine_tree_done(struct engine_restore *r);
/* The task whose memory a process has when it is made; NULL: the trunk's. */
struct engine_rtask *engine_memory_base(const struct engine_rproc *p);
/* Appends to the scripts of all processes. */
int engine_plan_forks(struct engine_restore *r, const struct engine_rproc *p, struct ck_err *err);
void engine_plan_groups(struct engine_restore *r, const struct engine_rproc *p, uint64_t led,
			uint64_t joined);
/* Who is stopped becomes so; nothing if nobody is. */
void engine_plan_stops(struct engine_restore *r, const struct engine_rproc *p, uint64_t stopped);
/* Waits for what the parent has waited for. */
void engine_plan_reap(struct engine_restore *r, const struct engine_rproc *p);

/* ---- engine/restore-kin.c: processes that share memory, descriptors and the like ---- */
/* Takes it from the tasks' ids. */
int engine_load_kin(struct engine_restore *r, struct ck_err *err);
/* Can maker make t so that they share what t shares with others? */
bool engine_can_make(struct engine_rtask *maker, const struct engine_rtask *t);
/* The flags of clone(2) for what they share. */
uint64_t engine_clone_flags(struct engine_rtask *maker, const struct engine_rtask *t);
/* Appends to t's script that it waits for the others; nothing if it shares with nobody. */
void engine_plan_meeting(struct engine_restore *r, struct engine_rtask *t,
			 enum engine_meeting meeting);
/* The barrier at which all threads with t's memory have their credentials; 0: there is but one. */
uint64_t engine_creds_barrier(struct engine_restore *r, struct engine_rtask *t);

/* ---- engine/restore-mem.c ---- */
/* Private memory in place and filled: what children inherit. */
int engine_plan_private(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);
/* The protection of a private mapping while children are made. */
uint32_t engine_mem_fill(const struct engine_rtask *t, size_t vma);
void engine_mem_done(struct engine_rtask *t);
/* The number at which a task's pages file is parked. */
int engine_pages_fd(const struct engine_restore *r, const struct engine_rtask *t);

/* ---- engine/restore-share.c: shared mappings, vDSO, protections, advice ---- */
int engine_plan_shared(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);

/* ---- engine/restore-task.c: what belongs to the process ---- */
int engine_plan_task(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);
/* The program, and where its parts are. While another program is mapped that was there before, the
 * kernel does not let it be replaced: so before the task's mappings are made. A child that was made
 * with the same program has it. Linux kernel/fork.c:replace_mm_exe_file() */
int engine_plan_program(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);
int engine_plan_last(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);
/* Signals that were pending; for the process if tid is 0. */
int engine_plan_pending(struct script *s, const SignalQueueEntry *q, pid_t pid, pid_t tid,
			struct ck_err *err);

/* ---- engine/restore-thread.c: what belongs to each thread, credentials too ---- */
void engine_plan_name(const char *name, struct script *s);
int engine_plan_thread(struct engine_restore *r, struct engine_rtask *t, size_t i, struct script *s,
		       uint64_t creds_done, struct ck_err *err);

/* ---- engine/restore-frames.c: signal frames that another CPU wrote ---- */
struct arch_xstate_layout;
int engine_plan_frames(struct engine_restore *r, const struct arch_xstate_layout *host,
		       struct ck_err *err);

/* ---- engine/restore-patch.c: ld.so's memory of the CPU, and how memory is changed at all ---- */
/* Takes bytes over, also if it fails. */
int engine_patch(struct engine_rtask *t, uint64_t addr, uint8_t *bytes, size_t len,
		 struct ck_err *err);
int engine_plan_saves(struct engine_restore *r, struct ck_err *err);
/* In the tracer: into the stopped task. */
int engine_put_patches(const struct engine_rtask *t, struct ck_err *err);
void engine_patches_done(struct engine_rtask *t);

/* ---- engine/restore-plan.c ---- */
int engine_plan(struct engine_restore *r, struct ck_err *err);
/* Something that won't be quite as it was; told to the caller once, however often it comes. */
void engine_note(struct engine_restore *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void engine_notes_done(struct engine_restore *r);

/* ---- engine/restore-run.c: acts, in the trunk: the process that everything is forked from ---- */
/* Makes the tree and lets it go. Whatever fails, the trunk has only to exit and nothing is left. */
int engine_run(struct engine_restore *r, struct ck_err *err);

/* ---- engine/restore-trace.c ---- */
int engine_seize(pid_t pid, struct ck_err *err);
/* Runs the tracees until every thread has arrived; then gives them their registers and lets go. */
int engine_trace(struct engine_restore *r, struct ck_err *err);

/* ---- engine/ns.c: where tasks can have their old numbers ---- */
/* Sets r->strategy, r->rights and the tree's plan; leaves nothing behind. */
int engine_choose_place(struct engine_restore *r, struct ck_err *err);
/* The trunk as a child of ours: in place, or init of fresh namespaces. Returns its pid in the
 * parent, 0 in the trunk, which is only returned to when it may go on. */
pid_t engine_spawn_trunk(struct engine_restore *r, struct ck_err *err);
/* In the trunk of namespaces: its own /proc, or a note that it can't be had. */
void engine_enter_namespaces(struct engine_restore *r);
/* Does the job need a mount namespace for the sake of its paths? */
bool engine_binds(const struct engine_restore *r);
/* In the trunk: children see the clocks go on from where the job saw them last. */
int engine_set_clocks(struct engine_restore *r, struct ck_err *err);

/* ---- engine/user.c: whose files are opened ---- */
struct engine_self {
	bool changed;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int n_groups;
	int parent_signal, dumpable;
};
/*
 * From here on files are opened, made and changed as the job's user, if that is another one than
 * ours and we have the privilege. *self is set in any case. Meanwhile the end of our parent is not
 * noticed.
 */
int engine_act_as_job(const struct engine_restore *r, struct engine_self *self, struct ck_err *err);
void engine_act_as_self(struct engine_self *self);
/* Is path one that the job can only have been given: an image of our own names it, and none but us
 * can change the directories above it? */
bool engine_is_given(const struct engine_restore *r, const char *path);
/* Is what the image says what we dumped ourselves? Nobody else can write to it. */
bool engine_trusts_image(const struct engine_restore *r);

/* ---- engine/changes.c: what changes on the host before the trunk is there ---- */
struct engine_changes;
/* In ckpt: does what the options say. *ret may be NULL. */
int engine_change(struct engine_restore *r, struct engine_changes **ret, struct ck_err *err);
/* The restore failed: undoes everything, and frees c. What it can't goes into err. */
void engine_changes_undo(struct engine_changes *c, struct ck_err *err);
void engine_changes_free(struct engine_changes *c);

/* ---- engine/scan.c ---- */
/* Notes how often the job's memory has paths that were mapped by rewriting. */
int engine_scan_paths(struct engine_restore *r, struct ck_err *err);

/* ---- engine/bind.c ---- */
/* In the trunk, before anything is opened: what maps say, by mounts, if engine_binds(). */
int engine_bind_maps(struct engine_restore *r, struct ck_err *err);

/* ---- engine/supervise.c: between ckpt and the trunk, and while the job runs ---- */
/* A stage begins, here or in the trunk: the caller is told. */
void engine_restore_stage(const struct engine_restore *r, const char *name);
/* In the trunk, after engine_spawn_trunk(): runs, reports, and as init waits for the end. */
void engine_trunk_main(struct engine_restore *r, int sock) __attribute__((noreturn));
/* In ckpt: until the job runs, and, without ENGINE_DETACH, until its root ends. */
int engine_supervise(struct engine_restore *r, pid_t trunk, int sock, uint64_t start,
		     int *ret_wait_status, struct ck_err *err);

/*
 * ---- engine/res/ ----
 * load and plan only read the image; open acts, in the process that all tasks are forked from.
 */
int res_load(struct engine_restore *r, struct ck_err *err);
/*
 * Which numbers res_open() parks at: [res_base(), res_base() + res_count()), above every descriptor
 * of every task, so that plans can name them. Known after res_load(). Whoever else parks
 * descriptors (page files, the zone) takes numbers from res_base() + res_count() on.
 */
int res_base(const struct engine_restore *r);
size_t res_count(const struct engine_restore *r);
/* The path of file id (of files.img) here, or a word for what it is. Known after res_load(). */
const char *res_path_of(const struct engine_restore *r, uint32_t file_id);
/* The parked number that file id (of files.img) has, or -ENOENT. Known after res_load(). */
int res_parked_fd(const struct engine_restore *r, uint32_t file_id);
/* Opens every description once and parks it, close-on-exec; opens mapped files and the exes
 * likewise. Contents of pipes and carried files are put back. RLIMIT_NOFILE must allow the numbers.
 */
int res_open(struct engine_restore *r, struct ck_err *err);
/* Appends, when all processes exist: what only a task can open, cwd, root, umask, descriptors put
 * at their numbers with their close-on-exec flag, all others closed, POSIX locks. No parked
 * descriptor can be named afterwards. */
int res_plan(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);
/* What a session's leader does right after it became one: takes the terminal that it had. */
void res_ctty_plan(const struct engine_restore *r, const struct engine_rtask *t);
void res_restore_done(struct engine_restore *r);

#endif
