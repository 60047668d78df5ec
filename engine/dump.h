/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to engine/: the state of one dump. Everything hangs off struct engine_dump, so that two
 * dumps can run in one process. Pids are those of our own pid namespace, unless the name says ns_:
 * that is the number the task itself knows, and the one images carry.
 */
#ifndef CK_ENGINE_DUMP_H
#define CK_ENGINE_DUMP_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/user.h>

#include "base/err.h"
#include "base/procfs.h"
#include "engine/engine.h"
#include "image/image.h"
#include "image/needs.pb-c.h"

struct engine_task;

/* One descriptor of one task, as /proc shows it. */
struct engine_fd {
	const struct engine_task *task;
	int fd;
	struct stat st;          /* of the open file */
	char *link;              /* /proc/PID/fd/N, raw */
	struct proc_fdinfo info;
	uint32_t id;             /* of its open file description in files.img; 0 until assigned */
};

/* What only the thread itself can see; filled by the blob (engine/inject.c). */
struct engine_thread_view {
	uint64_t sas_sp, sas_size;
	uint32_t sas_flags;
	uint64_t clear_tid_addr;
	uint32_t pdeath_sig;
};

struct engine_siginfo {
	uint8_t raw[128]; /* siginfo_t */
};

struct engine_thread {
	pid_t tid, ns_tid;
	int dirfd; /* /proc/PID/task/TID */
	struct engine_task *task;
	struct user_regs_struct stopped; /* exactly as it was stopped */
	struct user_regs_struct resume;  /* as an image carries it: calls to be re-issued are */
	bool in_syscall;                 /* stopped in a system call that will be re-issued */
	uint8_t *xsave;                  /* NT_X86_XSTATE, standard format of this host */
	size_t xsave_len;
	uint64_t sigmask;
	struct engine_siginfo *pending;
	size_t n_pending;
	uint64_t robust_list, robust_len;
	uint64_t rseq_addr;
	uint32_t rseq_size, rseq_sig;
	uint32_t rseq_flags;
	char comm[16];
	struct engine_thread_view view;
};

struct engine_task {
	pid_t pid, ns_pid, ns_ppid, ns_pgid, ns_sid;
	struct engine_task *parent; /* NULL for the root */
	bool zombie;
	int exit_code;              /* wait status of a zombie */
	int dirfd;                  /* /proc/PID; -EBADF for a zombie that went away */
	int memfd;                  /* /proc/PID/mem, read and write; -EBADF for a zombie */
	struct proc_stat stat;
	struct proc_status status;
	struct proc_maps maps;      /* smaps, of the stopped task */
	char *exe;                  /* link text */
	struct engine_thread *threads; /* the leader first */
	size_t n_threads;
	struct engine_fd *fds;
	size_t n_fds;
	uint32_t *map_file_ids;     /* per mapping: id in files.img, or 0; by res_dump_maps() */
	uint32_t exe_file_id;       /* by res_dump_maps() */
	struct engine_inject *inject;
	void *view; /* process-wide results of the blob, engine/inject.h */
};

struct engine_dump {
	const struct engine_dump_opts *opts;
	struct engine_task **tasks; /* parents before children; [0] is the root */
	size_t n_tasks;
	struct image_writer *images;
	CkptNeeds needs;            /* grown by engine_need_*() */
	struct res_dump *res;       /* engine/res/ */
	uint64_t pages;
};

/* "task 812 (python3)" into a buffer inside the task's comm; for ck_err_at(). */
#define ENGINE_TASK_FMT "task %d (%s)"
#define ENGINE_TASK_ARG(t) (int)(t)->pid, (t)->stat.comm

/*
 * ---- engine/res/: descriptors, mapped files, cwd, root, umask, locks ----
 * Called with the whole tree stopped, and before anything of the images is committed.
 */
/* Lists and classifies all descriptors of all tasks, finds the shared descriptions, and refuses
 * what no type takes. Reads only. */
int res_look(struct engine_dump *d, struct ck_err *err);
/* Writes files.img, fdinfo-*, fs-*, pipes-data, fifo-data, ghost-file-*, remap-fpath, filelocks,
 * and files' ids of mappings and of the exe. Adds the paths to d->needs. */
int res_dump(struct engine_dump *d, struct ck_err *err);
void res_dump_done(struct engine_dump *d);

#endif
