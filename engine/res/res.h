/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to engine/res/: what tasks hold open. Words: a descriptor is a number in a task; a file
 * here is what stands behind it, an open file description of the kernel (offset, flags), shared by
 * all descriptors that came from it by dup() or fork(). Each kind of kernel object is one res_type
 * with a file of its own and a row in table.c; docs/HOWTO-resource.md shows how to add one.
 *
 * Nothing here needs privilege, and nothing changes what the job has: files are reopened through
 * /proc/PID/fd, or looked at through pidfd_getfd() and closed again. Only share.c has tags put on
 * descriptions for a moment; engine/order.c says why that can't be noticed.
 */
#ifndef CK_ENGINE_RES_RES_H
#define CK_ENGINE_RES_RES_H

#include "engine/dump.h"
#include "engine/restore.h"
#include "image/fdinfo.pb-c.h"
#include "image/file-lock.pb-c.h"
#include "image/fs.pb-c.h"
#include "image/pipe-data.pb-c.h"

struct res_file;
struct res_rfile;
struct res_carried;
struct res_sock;
struct res_runix;
struct res_rinet;

/* One kind of kernel object: a row of res_types. Functions that a kind does not need are NULL. */
struct res_type {
	const char *name; /* a noun with article: "a pipe" */
	FdTypes fd_type;  /* CRIU's number for it */

	/* ---- dump: the whole job is stopped ---- */
	/* Is this descriptor of this kind? The first row that says so has it. */
	bool (*match)(const struct engine_fd *fd);
	/* Reads what the kernel tells of the file into f, and refuses what can't be kept. */
	int (*look)(struct engine_dump *d, struct res_file *f, struct ck_err *err);
	/* Writes the file_entry, with res_put_file(), and contents. */
	int (*dump)(struct engine_dump *d, struct res_file *f, struct ck_err *err);
	/* Adds to d->needs what a host must have for it. */
	int (*needs)(struct engine_dump *d, struct res_file *f, struct ck_err *err);

	/* ---- restore ---- */
	/* Is this entry of files.img of this kind? Of rows with the fd_type, the first has it. */
	bool (*owns)(const FileEntry *fe);
	/* Checks the entry and all that it refers to. Acts on nothing. */
	int (*load)(struct engine_restore *r, struct res_rfile *f, struct ck_err *err);
	/* Makes the description, with its flags and offset. The caller parks *ret_fd. */
	int (*open)(struct engine_restore *r, struct res_rfile *f, int *ret_fd, struct ck_err *err);
	/* Of files whose opener was set by load(), late.c: adds what opens it, at the lowest number
	 * that is free, to the opener's script, when all processes exist. open() is
	 * res_late_open(). */
	int (*plan_open)(const struct engine_restore *r, const struct res_rfile *f,
			 struct script *s, struct ck_err *err);
	/* Where the image has who gets signals from it; NULL if it has not. After load(). */
	const FownEntry *(*fown)(const struct engine_restore *r, const struct res_rfile *f);
	/* Once, after all files of all kinds are open: contents, ends to be closed. */
	int (*finish)(struct engine_restore *r, struct ck_err *err);
};

/* The last row matches every descriptor and owns every entry, and refuses. */
extern const struct res_type *const res_types[];
extern const size_t res_n_types;
const struct res_type *res_type_of(const struct engine_fd *fd);
const struct res_type *res_type_owning(const FileEntry *fe);

extern const struct res_type res_type_procfile;
extern const struct res_type res_type_path;     /* reg.c: O_PATH */
extern const struct res_type res_type_regular;  /* reg.c */
extern const struct res_type res_type_dir;      /* reg.c */
extern const struct res_type res_type_device;   /* device.c */
extern const struct res_type res_type_pipe;     /* pipe.c */
extern const struct res_type res_type_fifo;     /* fifo.c */
extern const struct res_type res_type_tty;      /* tty.c */
extern const struct res_type res_type_eventfd;  /* eventfd.c */
extern const struct res_type res_type_ptmx;     /* pty.c */
extern const struct res_type res_type_epoll;    /* epoll.c */
extern const struct res_type res_type_timerfd;  /* timerfd.c */
extern const struct res_type res_type_signalfd; /* signalfd.c */
extern const struct res_type res_type_socket;   /* sock.c: until the family is known */
extern const struct res_type res_type_unix;     /* unix.c */
extern const struct res_type res_type_inet;     /* inet.c */
extern const struct res_type res_type_netlink;  /* netlink.c */
extern const struct res_type res_type_inotify;  /* inotify.c */
extern const struct res_type res_type_pidfd;    /* pidfd.c */
extern const struct res_type res_type_other;    /* other.c */

/* Bits of the kernel's f_flags as /proc and images carry them: x86-64's O_LARGEFILE, which libc
 * defines as 0, is set on what was opened by name and not on what pipe() made. */
#define RES_O_LARGEFILE 0100000u
/* Status flags, that F_SETFL can change */
#define RES_O_STATUS ((uint32_t)(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC))

/* =============================== dump =============================== */

/* An open file description; or a file that is only mapped, executed, or stood in. */
struct res_file {
	uint32_t id; /* in files.img */
	const struct res_type *type;
	const struct engine_task *task; /* whose /proc leads to it */
	int fd;                         /* a descriptor of it in task; -1 if it is not open */
	char *via; /* its link below task->dirfd: "fd/5", "exe"; NULL if none */
	struct stat st;
	const char *
		link; /* its text, as the kernel writes it; of open files, owned by the engine_fd */
	uint32_t flags; /* O_*, without O_CLOEXEC */
	uint64_t pos;   /* bytes */
	int mnt_id;     /* -1 if unknown */
	char *name;     /* absolute, without " (deleted)"; NULL for what has no path */
	uint32_t ghost; /* id of its carried copy, 0 if it is not carried */
	bool named;     /* carried, though its name leads to it */
	bool memfd;     /* carried, and made again by memfd_create() */
	int inherit;    /* the caller's descriptor 0..2 that will stand for it, else -1 */
	int stdio;      /* the lowest descriptor 0..2 in any task that is this file, else -1 */
	FownEntry fown;
	struct res_pipe *pipe; /* of pipes and FIFOs */
	bool hung_up;          /* a slave whose master is gone */
	int pty; /* number of a pseudo terminal that the job has both sides of, else -1 */
	struct res_sock *sock;   /* of sockets */
	struct res_watch *watch; /* of inotify instances */
	size_t n_watches;
};

/* What an inotify instance watches. */
struct res_watch {
	struct proc_watch w;
	struct res_file f; /* task is NULL until it is found */
};

/* A pipe or FIFO: what all files of it have in common. */
struct res_pipe {
	dev_t dev;
	ino_t ino;
	uint32_t id;             /* pipe_id in the image */
	struct res_file *reader; /* one that can be read from, NULL if the job has none */
	struct res_file *writer;
	int inherit;  /* the lowest stdio of its ends, if it leads out of the job; or -1 */
	bool outer;   /* somebody outside of the job has an end */
	bool settled; /* outer is known */
	bool dumped;  /* its contents are in the image */
};

/* Files of the image that are written entry by entry; opened at the first. */
enum res_out {
	RES_OUT_FILES,
	RES_OUT_PIPES_DATA,
	RES_OUT_FIFO_DATA,
	RES_OUT_SK_QUEUES,
	RES_OUT_REMAP,
	RES_OUT_CKPT_FILES,
	RES_OUT_LOCKS,
	RES_OUT_TTY_INFO,
	RES_N_OUT,
};

enum { RES_MAX_DIRS = 64 }; /* above a file that is carried */

struct res_need; /* needs.c */
struct res_ghost_src;

struct res_dump {
	struct res_file **files; /* ids ascend */
	size_t n_files;
	uint32_t last_id;
	struct res_pipe **pipes;
	size_t n_pipes;
	struct res_ghost_src *ghosts;
	size_t n_ghosts;
	dev_t tmpfs; /* a device that is known to be one */
	/* The last directory whose modes, and those of the ones above it, were asked for */
	const struct engine_task *modes_task; /* NULL: none */
	char *modes_dir;
	uint32_t modes[RES_MAX_DIRS];
	size_t n_modes;
	struct res_need *needs;
	size_t n_needs;
	void *needs_by_path;   /* tsearch() */
	uint64_t hashed;       /* bytes that were read at once for checksums */
	struct res_held *held; /* sums.c: files to be read when the job has been let go */
	size_t n_held;
	struct proc_mounts mounts; /* of the root task */
	struct res_diag *diag;     /* diag.c: NULL until asked for */
	struct res_flight *flight; /* peek.c: what is open only in messages; or NULL */
	uint32_t *tty_ids;         /* whose tty_info_entry is written */
	size_t n_ttys;
	int *pidfds; /* per task; -EBADF until asked for, another negative errno if it can't be had
		      */
	struct image_file *out[RES_N_OUT];
};

/* look.c */
/* A new file with the next id; task and via (copied; may be NULL) say how it is reached. Owned by
 * d->res. NULL if memory ran out. */
struct res_file *res_file_new(struct engine_dump *d, const struct engine_task *t, const char *via);
struct res_file *res_file_by_id(const struct engine_dump *d, uint32_t id);
/* What /proc shows of one descriptor; fd is zeroed before. */
int res_look_fd(struct engine_task *t, int number, struct engine_fd *fd, struct ck_err *err);
/* A number for an entry of files.img that is no res_file: the path of a FIFO or terminal. */
uint32_t res_id_new(struct engine_dump *d);
/* Adds "task 812 (python3) > fd 5"; returns r. */
int res_err_at_file(const struct res_file *f, struct ck_err *err, int r);
/* Opens the file anew through /proc: own offset, same inode, never blocking. Or -errno. */
int res_file_reopen(const struct res_file *f, int flags);
/* The very description that the job has, for harmless questions, to be closed at once. -errno;
 * before the blob is in place, -EPERM and -ENOSYS in many containers. */
int res_file_borrow(struct engine_dump *d, const struct res_file *f);
/* Reopened if its mode allows that to us, else borrowed: for what needs neither an offset of its
 * own nor a change. */
int res_file_peek(struct engine_dump *d, const struct res_file *f, int flags);

/* A task's descriptor; NULL if it is not open. */
const struct engine_fd *res_fd_of(const struct engine_task *t, int fd);
/* What /proc/PID/fdinfo says of it; the caller frees *ret. */
int res_fdinfo(const struct res_file *f, char **ret, size_t *ret_len, struct ck_err *err);

/* share.c: marks descriptors that may share a description; and, with the blob in, makes one
 * res_file per open file description, and gives every descriptor its id. */
int res_share_list(struct engine_dump *d, struct ck_err *err);
int res_share(struct engine_dump *d, struct ck_err *err);

/* name.c */
/* f->name from a link's text. If no name leads to the file, a copy will be carried. */
int res_name_look(struct engine_dump *d, struct res_file *f, const char *link, struct ck_err *err);
/* stat() and open() of an absolute path as the task sees it, symbolic links at its end not
 * followed. 0 or a descriptor, or -errno. */
int res_name_stat(const struct engine_task *t, const char *path, struct stat *ret);
int res_name_open(const struct engine_task *t, const char *path, int flags);
/* Takes " (deleted)" off the end; false if it wasn't there. */
bool res_name_strip_deleted(char *name);

/* reg.c: writes a reg_file_entry of f under id, which is f's, or goes with it (res_id_new()). */
int res_put_reg(struct engine_dump *d, const struct res_file *f, uint32_t id, struct ck_err *err);

/* ghost.c: files that no name leads to travel in the image, once per inode. */
int res_ghost_add(struct engine_dump *d, struct res_file *f, struct ck_err *err);
/* A mapped file. Without f->via only what is mapped can be had of it; st_ino and st_dev are those
 * of maps. */
int res_ghost_add_mapped(struct engine_dump *d, struct res_file *f, struct ck_err *err);
/* One that has its name. */
int res_ghost_add_named(struct engine_dump *d, struct res_file *f, struct ck_err *err);
/* Where a carried file was known by one res_file, it is now known by another. */
void res_ghost_move(struct engine_dump *d, const struct res_file *from, const struct res_file *to);
/* Entry id of files.img stands for the carried copy. */
int res_ghost_put_remap(struct engine_dump *d, const struct res_file *f, uint32_t id,
			struct ck_err *err);
int res_ghosts_dump(struct engine_dump *d, struct ck_err *err);

/* fown.c: who gets signals from it, into f->fown. */
int res_fown_look(struct engine_dump *d, struct res_file *f, struct ck_err *err);

/* inotify-find.c: finds what is watched, as descriptors of the job or paths: what can't be found
 * has no task. */
int res_watches_find(struct engine_dump *d, const struct engine_task *t, struct res_watch *w,
		     size_t n, struct ck_err *err);

/* reg.c: of a deleted file; /proc can't tell a memfd's link from a path. */
bool res_is_memfd(const char *name, dev_t dev);

/* state.c: carries f if its contents belong to the job's state. */
int res_state_look(struct engine_dump *d, struct res_file *f, bool mapped_shared,
		   struct ck_err *err);

/* pipe.c */
int res_pipe_look(struct engine_dump *d, struct res_file *f, struct ck_err *err);
/* After all files were looked at: which pipes lead out of the job. */
int res_pipes_settle(struct engine_dump *d, struct ck_err *err);
int res_pipe_dump_data(struct engine_dump *d, struct res_pipe *p, enum res_out out,
		       struct ck_err *err);
void res_pipes_done(struct res_dump *res);

/* peek.c: what sockets have received and nobody has read, and what is open only in there. The blob
 * is in place, which keeps this unnoticed (engine_guard_peek()). */
int res_peek(struct engine_dump *d, struct ck_err *err);
void res_peek_done(struct res_dump *res);
/* unix.c, inet.c: after all files were looked at, those in messages too. */
int res_unix_settle(struct engine_dump *d, struct ck_err *err);
int res_inet_settle(struct engine_dump *d, struct ck_err *err);
void res_socks_done(struct res_dump *res);

/* maps.c and fs.c: mapped files and the exe; cwd, root and umask. */
int res_dump_maps(struct engine_dump *d, struct engine_task *t, struct ck_err *err);
int res_dump_fs(struct engine_dump *d, struct engine_task *t, struct ck_err *err);
/* A file that is not open. f (on the caller's stack; its strings stay the caller's or are set to
 * NULL) is written unless an equal one was; *ret is the one that counts. */
int res_path_file(struct engine_dump *d, struct res_file *f, CkptPathRole role,
		  struct res_file **ret, struct ck_err *err);

/* lock.c */
int res_locks_look(struct engine_dump *d, struct ck_err *err);
int res_locks_dump(struct engine_dump *d, struct ck_err *err);

/* needs.c: f's path is needed in this role; equal paths become one need. */
int res_need_path(struct engine_dump *d, const struct res_file *f, CkptPathRole role,
		  struct ck_err *err);
int res_need_inherit(struct engine_dump *d, int fd, struct ck_err *err);
/* Identifies what was collected, and puts it into d->needs. */
int res_needs_finish(struct engine_dump *d, struct ck_err *err);
void res_needs_done(struct res_dump *res);

/* sums.c: gives d->needs.paths[index] its checksum, now or later; st is the file's at the stop. fd
 * can be read; later, it is taken. */
void res_sum(struct engine_dump *d, CkptNeedPath *p, size_t index, const struct stat *st, int *fd);
void res_sums_done(struct res_dump *res);
/* owners.c: which packages own the files that the job needs. 0 or -ENOMEM */
int res_owners(struct engine_dump *d, CkptContents *c);

/* dump.c */
int res_put(struct engine_dump *d, enum res_out out, const ProtobufCMessage *m, struct ck_err *err);
/* Behind the entry that was put last. */
int res_put_raw(struct engine_dump *d, enum res_out out, const void *data, size_t len,
		struct ck_err *err);
int res_put_file(struct engine_dump *d, const FileEntry *fe, struct ck_err *err);

/* =============================== restore =============================== */

/* Why an entry of files.img is to be opened */
enum res_want {
	RES_WANT_FD = 1 << 0,
	RES_WANT_MAP = 1 << 1,
	RES_WANT_EXE = 1 << 2,
	RES_WANT_CWD = 1 << 3,
	RES_WANT_ROOT = 1 << 4,
};

/* An entry of files.img. */
struct res_rfile {
	const FileEntry *fe;
	const struct res_type *type; /* NULL if not wanted */
	unsigned int want; /* enum res_want; 0: only other entries refer to it, it is not opened */
	int slot;          /* parked at res_base() + slot; -1 if not wanted */
	int fd;            /* parked; -EBADF until opened */
	struct res_carried *carried; /* the copy that its path stands for, or NULL */
	const struct engine_rtask
		*holder; /* a task that has it open, and at which number; or NULL */
	int holder_fd;
	int stdio;   /* the lowest descriptor 0..2 in any task that is this file, else -1 */
	int inherit; /* the caller's descriptor that stands for it, else -1 */
	const struct engine_rtask *opener; /* whose script opens it, late.c; or NULL */
	int relay;                         /* slot of the sockets that hand it on, else -1 */
	bool gone;                         /* procfile.c: the process that it is of */
	pid_t dead;                        /* pidfd.c: a process that stands for one that is gone */
};

/* A pipe or FIFO while it is being restored. */
struct res_rpipe {
	uint32_t id;
	bool fifo;
	const PipeDataEntry *data; /* NULL: nothing is known of its contents */
	uint64_t raw_off;          /* of the contents in the image file */
	int end[2]; /* [0] to be read, [1] to be written; of a FIFO [0] is both; -EBADF until made
		     */
	bool taken[2]; /* a file of the job has this description */
	bool filled;
};

struct res_rtask {
	struct image_entries fds; /* FdinfoEntry, ascending */
	FsEntry *fs;
};

struct res_restore {
	struct image_entries files, remaps, ckpt_files, locks, tty_infos, tty_data, pipes_data,
		fifo_data;
	struct image_entries sk_queues;
	struct res_rfile *file; /* ids ascend */
	size_t n_files;
	struct res_rtask *task; /* per r->tasks */
	struct res_carried **carried;
	struct res_carried **named; /* by index in ckpt_files; NULL until asked for */
	size_t last_named;          /* where the last one was found */
	size_t n_carried;
	struct res_rpipe **pipes;
	size_t n_pipes;
	struct res_rpty *ptys; /* pty.c */
	size_t n_ptys;
	struct res_runix *unix_socks; /* unix-open.c: all of them, ino ascends; or NULL */
	size_t n_unix;
	struct res_rinet *inet_socks; /* inet-open.c, likewise */
	size_t n_inet;
	int base;
	size_t n_slots;
};

/* load.c */
/* As image_read_all() with id 0; no entries if there is no such file. */
int res_read_all(struct engine_restore *r, enum image_kind kind, struct image_entries *ret,
		 struct ck_err *err);
struct res_rfile *res_rfile_find(const struct engine_restore *r, uint32_t id);
/* What a task (by its own number) has open at fd; NULL if nothing. */
struct res_rfile *res_rfile_at(const struct engine_restore *r, int64_t pid, int64_t fd);
/* Its path, or a word for what it is. */
const char *res_rfile_name(const struct res_rfile *f);
int res_err_at_rfile(const struct res_rfile *f, struct ck_err *err, int r);
/* The file will be opened. */
int res_want(struct engine_restore *r, uint32_t id, enum res_want want, struct ck_err *err);

/* map.c: the entries' paths become those of this host. Once, before anything else looks at them. */
int res_map_files(struct engine_restore *r, struct ck_err *err);

/* reg.c */
/* Sanity of an entry. */
int res_load_reg(const RegFileEntry *reg, struct ck_err *err);
const FownEntry *res_reg_fown(const struct engine_restore *r, const struct res_rfile *f);
/* Opens reg's path (or the copy of f that is carried) with reg's flags, after a look whether it is
 * what was dumped. O_NONBLOCK is set, the offset is 0. */
int res_open_reg(struct engine_restore *r, struct res_rfile *f, const RegFileEntry *reg,
		 int *ret_fd, struct ck_err *err);

/* open.c: the status flags as they were recorded. */
int res_set_status(int fd, uint32_t flags, struct ck_err *err);

/* inherit.c: a new description for the caller's descriptor n; for a terminal, any of 0..2 that is
 * one if n is not; for a socket, which is both read and written, any that can be. */
enum res_inherit_kind {
	RES_INHERIT_PIPE,
	RES_INHERIT_SOCKET,
	RES_INHERIT_TTY,
};
int res_inherit_open(int n, enum res_inherit_kind kind, uint32_t flags, int *ret_fd,
		     struct ck_err *err);

/* carried.c */
int res_carried_load(struct engine_restore *r, struct ck_err *err);
mode_t res_carried_mode(const struct res_carried *c);
/* Makes the file if it isn't there yet, near path, and opens it. */
int res_carried_open(struct engine_restore *r, struct res_carried *c, const char *path, int flags,
		     int *ret_fd, struct ck_err *err);
int res_carried_finish(struct engine_restore *r, struct ck_err *err);
void res_carried_done(struct engine_restore *r);

/* pipe.c */
int res_rpipe_get(struct engine_restore *r, uint32_t id, bool fifo, struct res_rpipe **ret,
		  struct ck_err *err);
/* Capacity and contents, once; fd can be written to. */
int res_rpipe_fill(struct engine_restore *r, struct res_rpipe *p, int fd, struct ck_err *err);
void res_rpipes_done(struct engine_restore *r);

/* unix-open.c, inet-open.c */
void res_runix_done(struct engine_restore *r);
void res_rinet_done(struct engine_restore *r);

/* late.c */
/* When all files were loaded: numbers for handing on. */
void res_late_load(struct engine_restore *r);
int res_late_open(int *ret_fd, struct ck_err *err);
int res_late_finish(struct engine_restore *r, struct ck_err *err);
int res_late_plan(const struct engine_restore *r, const struct engine_rtask *t, struct ck_err *err);

/* pty.c */
void res_rptys_done(struct engine_restore *r);
void res_foreground_plan(const struct engine_restore *r, const struct engine_rtask *t);

/* fown.c, lock.c, fs.c, tty.c, epoll.c: what they check, do when files are open, and add to a
 * task's script.
 */
int res_fown_load(const struct engine_restore *r, const struct res_rfile *f, struct ck_err *err);
int res_fown_open(const struct engine_restore *r, const struct res_rfile *f, int fd,
		  struct ck_err *err);
void res_fown_plan(const struct engine_restore *r, const struct engine_rtask *t);
int res_locks_load(struct engine_restore *r, struct ck_err *err);
int res_locks_open(struct engine_restore *r, struct ck_err *err);
void res_locks_plan(const struct engine_restore *r, const struct engine_rtask *t);
int res_load_fs(struct engine_restore *r, size_t i, struct ck_err *err);
void res_fs_plan(const struct engine_restore *r, const struct engine_rtask *t, const FsEntry *fs);
void res_tty_plan(const struct engine_restore *r, const struct engine_rtask *t);
void res_epoll_plan(const struct engine_restore *r, const struct engine_rtask *t);

#endif
