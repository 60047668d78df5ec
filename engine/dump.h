/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to engine/: the state of one dump. Everything hangs off struct engine_dump, so that two
 * dumps can run in one process. Pids are those of our own pid namespace, unless the name says ns_:
 * that is the number the task itself knows, and the one images carry.
 */
#ifndef CK_ENGINE_DUMP_H
#define CK_ENGINE_DUMP_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/user.h>

#include "base/err.h"
#include "base/procfs.h"
#include "cpuinfo/cpuinfo.h"
#include "engine/engine.h"
#include "engine/kin.h"
#include "engine/pie/parasite.h"
#include "image/image.h"
#include "image/ipc.pb-c.h"
#include "image/needs.pb-c.h"

struct engine_task;

/* One descriptor of one task, as /proc shows it. */
struct engine_fd {
	const struct engine_task *task;
	int fd;
	struct stat st; /* of the open file */
	char *link;     /* /proc/PID/fd/N, raw */
	struct proc_fdinfo info;
	uint32_t id;  /* of its open file description in files.img; 0 until assigned */
	bool unclear; /* may have its description in common with another one: to be tagged */
	bool odd;     /* /proc tells O_CLOEXEC of it whether it has that or not */
	/* Who gets which signal from it, as the blob was told; its F_GETSIG, or -errno. */
	int sig;
	struct f_owner_ex owner; /* as the task numbers processes; pid 0: nobody */
	uid_t owner_uids[2];
	int tag; /* if unclear: to put, or that was read */
};

/* What only the thread itself can see; filled by the blob (engine/inject.c). */
struct engine_thread_view {
	uint64_t sas_sp, sas_size;
	uint32_t sas_flags;
	uint64_t clear_tid_addr;
	uint32_t pdeath_sig;
	uint32_t securebits;
	uint64_t timerslack_ns;
	/* The kernel's numbers, or -errno where it does not tell. */
	int32_t mempolicy, tsc, mce_kill, speculation[PARASITE_NFLAWS];
	uint64_t nodes[PARASITE_NNODES];
};

/* A signal frame on one of the thread's stacks. */
struct engine_frame {
	struct cpuinfo_frame f;
	bool in_syscall;    /* what it interrupted was in a system call ... */
	const char *caller; /* ... made by code of this mapping, by its name; NULL: not known */
};

struct engine_siginfo {
	uint8_t raw[128]; /* siginfo_t */
};

struct engine_thread {
	pid_t tid, ns_tid;
	struct engine_task *task;
	bool seized, at_stop; /* ours; and in a ptrace stop */
	bool detached;
	bool asleep;      /* when it was seized, although its process had been let go on */
	bool stop_hidden; /* its call is re-issued, but a stop signal of the job's would end it */
	int deferred;     /* a stop signal that came meanwhile, to be sent again */
	struct user_regs_struct stopped; /* to go on with, after any stop */
	struct user_regs_struct resume;  /* as an image carries it: calls are re-issued by hand */
	bool in_syscall;                 /* stopped in a system call, which will be re-issued */
	struct user_regs_struct ended;   /* the same with the interrupted call ended by EINTR */
	int interrupted;                 /* enum arch_interrupted */
	uint8_t *xsave;                  /* NT_X86_XSTATE, standard format of this host */
	size_t xsave_len;
	struct engine_frame *frames; /* by engine_find_frames(), the newest first */
	size_t n_frames;
	uint64_t sigmask;
	struct engine_siginfo *pending;
	size_t n_pending;
	uint64_t robust_list, robust_len;
	uint64_t rseq_addr;
	uint32_t rseq_size, rseq_sig;
	uint32_t rseq_flags;
	char comm[16];
	int32_t nice;
	uint32_t sched_policy, sched_prio;
	bool reset_on_fork;
	uint32_t ioprio;
	uint8_t *cpus; /* its CPUs as a mask, if not all of this host; owned */
	size_t cpus_len;
	struct proc_status status;
	struct engine_thread_view view;
};

struct engine_task {
	pid_t pid, ns_pid, ns_ppid, ns_pgid, ns_sid;
	struct engine_task *parent; /* NULL for the root */
	pid_t parent_tid;           /* of the thread whose child it is */
	bool zombie;
	int exit_code;     /* wait status of a zombie */
	int stop_signo;    /* that stopped the process, as job control does; 0: it runs */
	uint32_t unwaited; /* enum image_unwaited */
	/* The first task that has it, too, by engine_find_kin(); NULL if that is itself. */
	struct engine_task *kin[ENGINE_NKIN];
	struct engine_task **children; /* that live */
	size_t n_children;
	/* /proc/PID, and where memory, files and the like are: the same, or another thread's
	 * directory if the first has ended. -EBADF for a zombie that went away. */
	int procfd, dirfd;
	bool our_mounts; /* it is in our mount namespace */
	int memfd;       /* /proc/PID/mem, read and write; -EBADF for a zombie */
	struct proc_stat stat;
	struct proc_status status;
	struct proc_maps maps;         /* smaps, of the stopped task */
	char *exe;                     /* link text */
	struct engine_thread *threads; /* those that live; the leader first, if it does */
	size_t n_threads;
	struct engine_thread *ended; /* the leader, if it does not; owned */
	struct engine_fd *fds;
	size_t n_fds;
	uint32_t *map_file_ids;        /* per mapping: id in files.img, or 0; by res_dump_maps() */
	uint32_t exe_file_id;          /* by res_dump_maps() */
	struct engine_inject *inject;  /* engine/inject.c */
	struct parasite_process *view; /* what the process answered, by engine_inject(); owned */
	uint8_t *vdso; /* the [vdso] mapping as it was before the injection; owned */
	size_t vdso_len;
	const struct proc_map *vdso_map; /* in maps */
	uint64_t *auxv;
	size_t n_auxv; /* words */
	struct proc_timers timers;
	struct proc_limits limits;
	int32_t oom_score_adj;
	uint32_t personality;
	bool has_coredump_filter;
	uint32_t coredump_filter;
	struct engine_siginfo *pending; /* process-wide signals */
	size_t n_pending;
};

struct engine_dump {
	const struct engine_dump_opts *opts;
	struct engine_task **tasks; /* parents before children; [0] is the root */
	size_t n_tasks;
	struct image_writer *images;
	CkptNeeds needs;            /* grown by engine_need_*() */
	struct res_dump *res;       /* engine/res/ */
	struct parasite_word *fate; /* the word all blobs share; NULL until engine_inject() */
	int shmid;
	bool other_ipc;            /* the job's IPC namespace is not ours */
	CkptIpc *ipc;              /* its System V IPC, engine/ipc.c; NULL if it has none */
	uint64_t pages;            /* written so far */
	uint64_t scanned, to_scan; /* pages read so far, and an estimate of all */
	struct engine_dump_stats stats;
	bool again;                    /* not the first try to stop the tree */
	const struct proc_map **shmem; /* one mapping of each shared anonymous object */
	size_t n_shmem;
	struct arch_xstate_layout *xstate; /* this host's; NULL until it is needed */
	struct engine_out *out;            /* engine/write-pages.c */
	struct image_known_sums *sums;     /* of pages files that are written; owned */
	size_t n_sums;
};

/* "task 812 (python3)" into a buffer inside the task's comm; for ck_err_at(). */
#define ENGINE_TASK_FMT "task %d (%s)"
#define ENGINE_TASK_ARG(t) (int)(t)->pid, (t)->stat.comm

/* ---- engine/freeze.c ---- */
/*
 * Stops the tree under opts->pid: every thread in PTRACE_EVENT_STOP, until a whole pass finds
 * nothing new. Fills d->tasks (stat, status, dirfd, memfd, threads). On failure nothing stays
 * stopped.
 */
int engine_freeze(struct engine_dump *d, struct ck_err *err);
/* Lets every thread go on from where it is. The threads must have their own registers. */
void engine_thaw(struct engine_dump *d);
/* SIGKILLs and reaps the tree. */
void engine_kill(struct engine_dump *d);
/* Waits until a thread stops; 0 and its wait status, or -ESRCH if it ended. */
int engine_wait_stop(struct engine_thread *th, int *ret_status);
/* From any stop to PTRACE_EVENT_STOP without executing an instruction of the program; 0 or -errno.
 */
int engine_event_stop(struct engine_thread *th);
/* Has SIGCONT let its process go on, which its parent has not waited for yet? */
bool engine_was_continued(pid_t tid);
void engine_tasks_free(struct engine_dump *d);

/* ---- engine/look.c ---- */
/* Reads what /proc and ptrace tell of the stopped tree and refuses what can't be kept. */
int engine_look(struct engine_dump *d, struct ck_err *err);
/* The same for what only the blob could tell, after engine_inject(). */
int engine_check_views(const struct engine_task *t, struct ck_err *err);

/* ---- engine/ipc.c ---- */
/* Calls fn where the job's System V IPC is; what fn attaches is ours. What it returns, or -errno.
 */
int engine_in_ipc(const struct engine_dump *d, int (*fn)(void *arg), void *arg);
/* Fills d->ipc, and refuses what can't be kept. */
int engine_look_ipc(struct engine_dump *d, struct ck_err *err);
int engine_write_ipc(struct engine_dump *d, struct ck_err *err);

/* ---- engine/pending.c ---- */
/* Reads the pending signals of a stopped task and of its threads, for the first time. */
int engine_look_pending(struct engine_task *t, struct ck_err *err);
/* Reads them again once the blob has read the timers, so that an expiry in between is neither lost
 * nor kept twice. */
int engine_review_pending(struct engine_task *t, struct ck_err *err);

/* ---- engine/inject.c ---- */
/* Puts the blob into every thread, fills task->view and thread->view, and leaves all threads in
 * their marker call. On failure, engine_eject() has been done. */
int engine_inject(struct engine_dump *d, struct ck_err *err);
/* With which a thread goes on elsewhere: a signal that waits may have ended its interrupted call,
 * which would begin anew only after the handler. */
const struct user_regs_struct *engine_regs_to_keep(const struct engine_thread *th);
/* Takes the blob out: every thread is again as engine_freeze() left it. Keeps going on errors; the
 * first one is returned. */
int engine_eject(struct engine_dump *d, struct ck_err *err);
/* What a dump that was killed may have left in a task: the attached word, and the area. */
bool engine_is_word(int memfd, const struct proc_map *m);
bool engine_is_area(int memfd, const struct proc_map *m);
/*
 * From now on, should ckpt end, no thread of t runs on before SO_PEEK_OFF of its descriptor fd is
 * off again. fd -1 ends that. Nothing to be done if t has no blob (tests). 0 or -errno.
 */
int engine_guard_peek(struct engine_task *t, int fd, int off);
/* From now on, whoever is left alone by us ends itself. */
void engine_doom(struct engine_dump *d);
void engine_inject_done(struct engine_dump *d);

/* ---- engine/order.c ---- */
/*
 * Tags on the descriptions behind a task's unclear descriptors, which engine_inject() must have
 * found marked. First begin() for all tasks that have any: fills fd->sig. Then put() fd->tag,
 * read() into fd->tag. At last end() for all of them, whatever failed in between: takes them off.
 */
int engine_tags_begin(struct engine_task *t, struct ck_err *err);
int engine_tags_put(struct engine_task *t, struct ck_err *err);
int engine_tags_read(struct engine_task *t, struct ck_err *err);
int engine_tags_end(struct engine_task *t, struct ck_err *err);
/* What the blob is to tag with; and its order to do so, or to put back what was. */
int engine_kin_set(struct engine_task *t, const struct parasite_kin *k, struct ck_err *err);
int engine_kin_order(struct engine_task *t, enum parasite_order order, struct ck_err *err);
/* Is a's memory b's? */
bool engine_kin_memory(const struct engine_task *a, const struct engine_task *b);
/* Fills unwaited of a task's children, once all tasks have the blob. */
int engine_ask_children(struct engine_task *t, struct ck_err *err);
/* Tells fn of the runs of pages that are in memory, in a range of a task's shared anonymous memory:
 * neither holes nor what is swapped out. Runs can be split. */
int engine_resident(struct engine_task *t, uint64_t start, uint64_t end,
		    int (*fn)(uint64_t start, uint64_t end, void *arg, struct ck_err *err),
		    void *arg, struct ck_err *err);
/* Has the kernel begin to read what is swapped out in such a range. */
int engine_fetch(struct engine_task *t, uint64_t start, uint64_t end, struct ck_err *err);
/* A copy of a task's descriptor, which is of the file want; or -errno, -EPERM without the blob. */
int engine_pass(struct engine_task *t, int fd, const struct stat *want);

/* ---- engine/kin.c ---- */
/* With the blob in: finds which processes share memory, descriptors, directories or signal actions,
 * and refuses what can't be kept of that. */
int engine_find_kin(struct engine_dump *d, struct ck_err *err);
/* Who of those that share it with t comes first in the tree. */
static inline const struct engine_task *engine_kin_of(const struct engine_task *t,
						      enum engine_kin kin)
{
	return t->kin[kin] ? t->kin[kin] : t;
}

/* ---- engine/frames.c ---- */
/* Signal frames of all threads, with the blob in. */
int engine_find_frames(struct engine_dump *d, struct ck_err *err);
/* The name of the mapping that an instruction is in; "" if it has none, NULL if there is none. */
const char *engine_code_name(const struct engine_task *t, uint64_t ip);

/* ---- engine/write*.c: what was looked at, as images ---- */
int engine_write_tree(struct engine_dump *d, struct ck_err *err); /* pstree, ids, inventory ... */
/* Adds to d->needs what does not come from descriptors and files; d->pages is final. */
int engine_fill_needs(struct engine_dump *d, struct ck_err *err);
int engine_write_core(struct engine_dump *d, struct engine_task *t, struct ck_err *err);
int engine_write_mm(struct engine_dump *d, struct engine_task *t, struct ck_err *err);
/* About how many pages will be read, after engine_find_shmem(). */
uint64_t engine_pages_to_scan(const struct engine_dump *d);
/* All private pages of a task. */
int engine_write_pages(struct engine_dump *d, struct engine_task *t, uint32_t pages_id,
		       struct ck_err *err);
/* A shared object's pages, from runs in the tasks that map it, in the order of their offsets. */
struct engine_run {
	uint32_t id; /* of the object */
	struct engine_task *task;
	uint64_t start, end; /* in the task */
	int64_t shift;       /* added to these: offsets in the object */
};
int engine_write_runs(struct engine_dump *d, uint32_t id, uint32_t pages_id,
		      const struct engine_run *runs, size_t n, struct ck_err *err);
/* Once per tree: all shared anonymous memory. With the blob in. */
int engine_write_shmem(struct engine_dump *d, uint32_t first_pages_id, struct ck_err *err);
/* Lists the shared anonymous memory objects of the tree, so that they have ids from 1 on. */
int engine_find_shmem(struct engine_dump *d, struct ck_err *err);
/* The image's id of the object behind a mapping, 0 if it is not in the list. */
uint32_t engine_shmem_id(const struct engine_dump *d, const struct proc_map *m);

/* What kind of mapping it is: enum image_vma_status; 0 if we can't keep it. */
uint32_t engine_map_status(const struct proc_map *m);

/*
 * ---- engine/res/: descriptors, mapped files, cwd, root, umask, locks ----
 * Called with the whole tree stopped, and before anything of the images is committed.
 */
/* Lists the descriptors of all tasks and marks those that /proc can't tell apart. */
int res_list(struct engine_dump *d, struct ck_err *err);
/* With the blob in: finds the shared descriptions, has each kind look at its own, and refuses what
 * no kind takes. Nothing that the job could notice is left behind. */
int res_look(struct engine_dump *d, struct ck_err *err);
/* Writes files.img, fdinfo-*, fs-*, pipes-data, fifo-data, ghost-file-*, remap-fpath, filelocks,
 * and files' ids of mappings and of the exe. Adds the paths to d->needs. */
int res_dump(struct engine_dump *d, struct ck_err *err);
/* After the commit, when the job can't run any more: what is read from it with loss. */
int res_pty_drain(struct engine_dump *d, struct ck_err *err);
/* The image is whole and the job about to be killed: its addresses are to be free at once. */
void res_abort(struct engine_dump *d);
/* The image is committed and the job was let go: the checksums that had to wait. */
int res_write_sums(struct engine_dump *d, const struct image *img, struct ck_err *err);
void res_dump_done(struct engine_dump *d);

#endif
