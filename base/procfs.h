/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded parsers of /proc text, in one place. Text from /proc is hostile (names with newlines and
 * brackets, tasks that die between two lines): each parser takes a buffer, is fuzzed, and never
 * trusts a length. The proc_parse_*() functions are pure; the proc_read_*() ones read a task's file
 * and parse it, and return -ESRCH when the task is gone (ENOENT and ESRCH both mean gone).
 *
 * dirfd is always an open descriptor of a /proc/PID or /proc/PID/task/TID directory.
 */
#ifndef CK_BASE_PROCFS_H
#define CK_BASE_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ck_err;

/* /proc/PID/stat, proc_pid_stat(5). Addresses are those of the task. */
struct proc_stat {
	char comm[64];
	char state;
	pid_t pid, ppid, pgrp, sid;
	int tty_nr, tpgid;
	int num_threads;
	uint64_t start_time; /* clock ticks after boot; with pid it names a task for good */
	uint64_t start_code, end_code, start_stack;
	int exit_signal; /* that its parent gets when it ends; 0: none */
	uint64_t start_data, end_data, start_brk;
	uint64_t arg_start, arg_end, env_start, env_end;
	int exit_code; /* wait status */
};

/* /proc/PID/status, proc_pid_status(5) */
struct proc_status {
	uint32_t umask; /* (uint32_t)-1 if the kernel doesn't say */
	char state;
	pid_t tgid, pid, ppid, tracer;
	uint32_t uid[4], gid[4]; /* real, effective, saved, fs */
	uint32_t *groups;        /* n_groups of them, owned */
	size_t n_groups;
	pid_t ns_pid;  /* the innermost of NSpid, or pid */
	pid_t ns_pgid; /* likewise */
	pid_t ns_sid;
	size_t n_ns; /* levels in NSpid */
	uint64_t sig_pnd, shd_pnd, sig_blk, sig_ign, sig_cgt;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	bool no_new_privs;
	int seccomp;         /* 0 none, 1 strict, 2 filter */
	int seccomp_filters; /* how many, -1 if the kernel doesn't say */
	bool shadow_stack;   /* is on, or writing to it is permitted */
	uint64_t vm_rss_kib;
	uint64_t vm_lck_kib; /* locked */
};

/* VmFlags of smaps, proc_pid_smaps(5): the ones a dump cares about */
enum proc_vmflag {
	PROC_VM_GROWSDOWN = 1 << 0,     /* gd */
	PROC_VM_LOCKED = 1 << 1,        /* lo */
	PROC_VM_SEQ_READ = 1 << 2,      /* sr */
	PROC_VM_RAND_READ = 1 << 3,     /* rr */
	PROC_VM_DONTCOPY = 1 << 4,      /* dc */
	PROC_VM_DONTEXPAND = 1 << 5,    /* de */
	PROC_VM_ACCOUNT = 1 << 6,       /* ac */
	PROC_VM_NORESERVE = 1 << 7,     /* nr */
	PROC_VM_HUGETLB = 1 << 8,       /* ht */
	PROC_VM_SYNC = 1 << 9,          /* sf */
	PROC_VM_WIPEONFORK = 1 << 10,   /* wf */
	PROC_VM_DONTDUMP = 1 << 11,     /* dd */
	PROC_VM_MIXEDMAP = 1 << 12,     /* mm */
	PROC_VM_HUGEPAGE = 1 << 13,     /* hg */
	PROC_VM_NOHUGEPAGE = 1 << 14,   /* nh */
	PROC_VM_MERGEABLE = 1 << 15,    /* mg */
	PROC_VM_UFFD_MISSING = 1 << 16, /* um */
	PROC_VM_UFFD_WP = 1 << 17,      /* uw */
	PROC_VM_IO = 1 << 18,           /* io */
	PROC_VM_PFNMAP = 1 << 19,       /* pf */
	PROC_VM_DROPPABLE = 1 << 20,    /* dp */
	PROC_VM_MAYSHARE = 1 << 21,     /* ms */
	PROC_VM_SHARED = 1 << 22,       /* sh */
	PROC_VM_SEALED = 1 << 23,       /* sl */
	PROC_VM_UFFD_MINOR = 1 << 24,   /* ui */
	PROC_VM_SHSTK = 1 << 25,        /* ss */
	PROC_VM_LOCKONFAULT = 1 << 26,  /* lf */
};

/* One mapping of /proc/PID/maps or smaps */
struct proc_map {
	uint64_t start, end, pgoff; /* bytes */
	bool r, w, x, shared;
	uint32_t dev_major, dev_minor;
	uint64_t inode;
	char *name;         /* as the kernel writes it, octal escapes undone; "" if none; owned */
	bool deleted;       /* the kernel's " (deleted)" stood behind the name and was taken off */
	uint32_t vmflags;   /* enum proc_vmflag; 0 when read from maps */
	int protection_key; /* -1 if none stated */
	uint64_t rss_kib;
	uint64_t anon_kib; /* of these, no page of a file */
	uint64_t swap_kib;
	uint64_t mapped_twice_kib; /* of rss_kib: mapped elsewhere, too */
};

struct proc_maps {
	struct proc_map *m;
	size_t n;
};

/* /proc/PID/fdinfo/N: the fields that every file has, and its locks */
struct proc_lock {
	char kind[8];        /* FLOCK, POSIX, OFDLCK, LEASE */
	char type[8];        /* READ, WRITE */
	pid_t pid;           /* owner in the reader's pid namespace; -1 for OFD locks */
	uint64_t start, end; /* end == UINT64_MAX: to the end of file */
};
struct proc_fdinfo {
	int64_t pos;
	uint32_t flags; /* as open(2), octal in the text; O_CLOEXEC included */
	int mnt_id;
	uint64_t ino; /* 0 if the kernel doesn't say */
	struct proc_lock *locks;
	size_t n_locks;
};

/* fdinfo of an eventfd */
struct proc_eventfd {
	uint64_t count;
	int semaphore; /* 0, 1; -1 if the kernel doesn't say */
};

/* fdinfo of an epoll instance: what it watches, in the kernel's order */
struct proc_epoll_item {
	int fd;          /* number when it was added */
	uint32_t events; /* EPOLL* */
	uint64_t data;
	uint64_t pos; /* of the file behind it */
	uint64_t ino;
	uint32_t kdev; /* st_dev as the kernel counts: major << 20 | minor */
};
struct proc_epoll {
	struct proc_epoll_item *item;
	size_t n;
};

/* fdinfo of a timerfd */
struct proc_timerfd {
	int clock;
	uint64_t ticks;         /* expirations that were not read */
	uint32_t settime_flags; /* TFD_TIMER_* */
	uint64_t value[2];      /* time left: s, ns */
	uint64_t interval[2];   /* s, ns */
};

/* fdinfo of an inotify instance: its watches, in no order */
#define PROC_HANDLE_MAX 128
struct proc_watch {
	int wd;
	uint32_t mask; /* IN_*, flags included */
	uint64_t ino;
	uint32_t kdev; /* as in proc_epoll_item */
	int handle_type;
	size_t handle_len; /* 0 if the file system has no handles */
	uint8_t handle[PROC_HANDLE_MAX];
};
struct proc_inotify {
	struct proc_watch *watch;
	size_t n;
};

/* /proc/PID/mountinfo, proc_pid_mountinfo(5); escapes undone; strings owned */
struct proc_mount {
	int id, parent;
	uint32_t major, minor;
	char *root, *point, *options, *fstype, *source, *super_options;
};
struct proc_mounts {
	struct proc_mount *m;
	size_t n;
};

/* /proc/PID/timers, proc_pid_timers(5) */
struct proc_timer {
	int id;
	int signo;
	uint64_t sigval;
	int notify; /* SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD; SIGEV_THREAD_ID ored in */
	pid_t notify_pid;
	bool notify_tid;
	int clock;
};
struct proc_timers {
	struct proc_timer *t;
	size_t n;
};

/* /proc/PID/limits: soft and hard by RLIMIT_* number, UINT64_MAX for unlimited */
#define PROC_NLIMITS 16
struct proc_limits {
	uint64_t cur[PROC_NLIMITS], max[PROC_NLIMITS];
};

/* Pure parsers: text need not be terminated. 0, -EINVAL, -ENOMEM. On failure *ret is empty. */
int proc_parse_stat(const char *text, size_t len, struct proc_stat *ret);
int proc_parse_status(const char *text, size_t len, struct proc_status *ret);
int proc_parse_maps(const char *text, size_t len, struct proc_maps *ret); /* maps and smaps */
int proc_parse_fdinfo(const char *text, size_t len, struct proc_fdinfo *ret);
/* -EINVAL if the text is not of such a file, or says less than the kernel should (COMPAT below). */
int proc_parse_eventfd(const char *text, size_t len, struct proc_eventfd *ret);
int proc_parse_epoll(const char *text, size_t len, struct proc_epoll *ret);
int proc_parse_inotify(const char *text, size_t len, struct proc_inotify *ret);
int proc_parse_timerfd(const char *text, size_t len, struct proc_timerfd *ret);
/* The mask as signalfd(2) was given it. */
int proc_parse_signalfd(const char *text, size_t len, uint64_t *ret_mask);
/* fdinfo of a pidfd: the process in the reader's pid namespace; -1 if it is gone, 0 if it is not in
 * there. */
int proc_parse_pidfd(const char *text, size_t len, int *ret_pid);
int proc_parse_mountinfo(const char *text, size_t len, struct proc_mounts *ret);
int proc_parse_timers(const char *text, size_t len, struct proc_timers *ret);
int proc_parse_limits(const char *text, size_t len, struct proc_limits *ret);

/* Opens /proc/PID (or /proc/PID/task/TID). Returns the descriptor, or -ESRCH, or -errno. */
int proc_open_pid(pid_t pid);
int proc_open_tid(pid_t pid, pid_t tid);

int proc_read_stat(int dirfd, struct proc_stat *ret, struct ck_err *err);
int proc_read_status(int dirfd, struct proc_status *ret, struct ck_err *err);
int proc_read_smaps(int dirfd, struct proc_maps *ret, struct ck_err *err);
int proc_read_maps(int dirfd, struct proc_maps *ret, struct ck_err *err);
/* The caller's own, which must not change while it is read. */
int proc_read_own_maps(struct proc_maps *ret, struct ck_err *err);
int proc_read_fdinfo(int dirfd, int fd, struct proc_fdinfo *ret, struct ck_err *err);
int proc_read_mountinfo(int dirfd, struct proc_mounts *ret, struct ck_err *err);
int proc_read_timers(int dirfd, struct proc_timers *ret, struct ck_err *err);
int proc_read_limits(int dirfd, struct proc_limits *ret, struct ck_err *err);
/* comm without its newline, NUL padded to 16 bytes */
int proc_read_comm(int dirfd, char comm[static 16], struct ck_err *err);
/* Children of one thread (needs CONFIG_PROC_CHILDREN) and the thread ids of a process, ascending.
 * The caller frees *ret. */
int proc_read_children(int dirfd, pid_t tid, pid_t **ret, size_t *ret_n, struct ck_err *err);
int proc_read_tids(int dirfd, pid_t **ret, size_t *ret_n, struct ck_err *err);
/* Open descriptors, ascending; the caller frees *ret. */
int proc_read_fds(int dirfd, int **ret, size_t *ret_n, struct ck_err *err);

void proc_status_done(struct proc_status *s);
void proc_maps_done(struct proc_maps *m);
void proc_fdinfo_done(struct proc_fdinfo *i);
void proc_epoll_done(struct proc_epoll *e);
void proc_inotify_done(struct proc_inotify *i);
void proc_mounts_done(struct proc_mounts *m);
void proc_timers_done(struct proc_timers *t);

static inline void ck_auto_proc_status(struct proc_status *s)
{
	proc_status_done(s);
}
static inline void ck_auto_proc_maps(struct proc_maps *m)
{
	proc_maps_done(m);
}
static inline void ck_auto_proc_epoll(struct proc_epoll *e)
{
	proc_epoll_done(e);
}
static inline void ck_auto_proc_inotify(struct proc_inotify *i)
{
	proc_inotify_done(i);
}
static inline void ck_auto_proc_fdinfo(struct proc_fdinfo *i)
{
	proc_fdinfo_done(i);
}
static inline void ck_auto_proc_mounts(struct proc_mounts *m)
{
	proc_mounts_done(m);
}
static inline void ck_auto_proc_timers(struct proc_timers *t)
{
	proc_timers_done(t);
}

/* ---- the host ---- */

/* /proc/net/tcp, tcp6, udp, udp6 */
struct proc_listener {
	bool v6;
	uint8_t address[16]; /* in network byte order; 4 bytes unless v6 */
	uint32_t port;
	uint32_t uid;
};
struct proc_listeners {
	struct proc_listener *l;
	size_t n;
	bool others; /* a socket in another state was there, too */
};
/* TCP sockets that listen and UDP sockets that are bound. The kernel lists those of TCP first. */
int proc_parse_listeners(const char *text, size_t len, struct proc_listeners *ret);
void proc_listeners_done(struct proc_listeners *l);
static inline void ck_auto_proc_listeners(struct proc_listeners *l)
{
	proc_listeners_done(l);
}

/* /proc/loadavg: threads of the host, and the newest pid. -EINVAL. */
int proc_parse_loadavg(const char *text, size_t len, uint32_t *ret_tasks, uint32_t *ret_last);

/* /proc/PID/cgroup, cgroups(7) */
struct proc_cgroup {
	char *controllers; /* "cpu,cpuacct", "name=systemd"; "" for v2 */
	char *path;        /* from the root of the hierarchy, as the reader sees it */
};
struct proc_cgroups {
	struct proc_cgroup *g;
	size_t n;
};
int proc_parse_cgroups(const char *text, size_t len, struct proc_cgroups *ret);
void proc_cgroups_done(struct proc_cgroups *g);
static inline void ck_auto_proc_cgroups(struct proc_cgroups *g)
{
	proc_cgroups_done(g);
}

/* Is a type among those in /proc/filesystems? */
bool proc_has_filesystem(const char *text, size_t len, const char *type);

#endif
