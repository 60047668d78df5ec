// SPDX-License-Identifier: Apache-2.0
/*
 * Opens and reads a task's files of /proc and hands the text to the parsers (procfs-*.c).
 * Invariant: a task that went away is -ESRCH with CK_ERR_GONE, whichever file it was; text that
 * can't be parsed is a bug of ours or of the kernel, -EINVAL with CK_ERR_HOST.
 */
#include "base/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/procfs-text.h"

/* Largest texts that are believed: 2^20 mappings of 1 KiB each, 65536 groups, and the like. */
#define MAPS_MAX ((size_t)1 << 30)
#define TEXT_MAX ((size_t)16 << 20)
/* Ten thousand mappings of our own. */
#define OWN_MAPS_MAX (1 << 20)

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

int proc_open_pid(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return open_dir(path);
}

int proc_open_tid(pid_t pid, pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)pid, (int)tid);
	return open_dir(path);
}

int proc_fail_read(struct ck_err *err, int r, const char *name)
{
	if (r == -ENOENT || r == -ESRCH)
		return ck_fail(err, CK_ERR_GONE, -ESRCH, "task went away while reading %s", name);
	if (r == -EACCES || r == -EPERM)
		return ck_fail(err, CK_ERR_PERM, r, "not allowed to read %s", name);
	return ck_fail(err, CK_ERR_SYS, r, "cannot read %s", name);
}

int proc_fail_parse(struct ck_err *err, int r, const char *name)
{
	if (r == -EINVAL)
		return ck_fail(err, CK_ERR_HOST, r, "cannot make sense of %s", name);
	return ck_fail(err, CK_ERR_SYS, r, "cannot parse %s", name);
}

/* Reads name below dirfd and parses it with fn into ret. */
#define READ_AND_PARSE(dirfd, name, max, fn, ret, err)                     \
	({                                                                 \
		CK_AUTO(free) char *text_ = NULL;                          \
		size_t len_ = 0;                                           \
		int r_ = ck_read_file_at(dirfd, name, max, &text_, &len_); \
		if (r_ < 0) {                                              \
			r_ = proc_fail_read(err, r_, name);                \
		} else {                                                   \
			r_ = fn(text_, len_, ret);                         \
			if (r_ < 0)                                        \
				r_ = proc_fail_parse(err, r_, name);       \
		}                                                          \
		r_;                                                        \
	})

int proc_read_stat(int dirfd, struct proc_stat *ret, struct ck_err *err)
{
	return READ_AND_PARSE(dirfd, "stat", TEXT_MAX, proc_parse_stat, ret, err);
}

int proc_read_status(int dirfd, struct proc_status *ret, struct ck_err *err)
{
	return READ_AND_PARSE(dirfd, "status", TEXT_MAX, proc_parse_status, ret, err);
}

int proc_read_maps(int dirfd, struct proc_maps *ret, struct ck_err *err)
{
	return READ_AND_PARSE(dirfd, "maps", MAPS_MAX, proc_parse_maps, ret, err);
}

/*
 * Memory that is taken between two reads would change what is read: the kernel goes on behind the
 * last address, and shows a mapping that has grown since a second time (Linux fs/proc/task_mmu.c:
 * m_start()).
 */
int proc_read_own_maps(struct proc_maps *ret, struct ck_err *err)
{
	CK_AUTO(fd) int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	CK_AUTO(free) char *text = malloc(OWN_MAPS_MAX);
	ssize_t n;
	int r;

	if (!text)
		return proc_fail_parse(err, -ENOMEM, "our own maps");
	n = fd < 0 ? -errno : ck_read_full(fd, text, OWN_MAPS_MAX);
	if (n < 0)
		return proc_fail_read(err, (int)n, "our own maps");
	if (n == OWN_MAPS_MAX)
		return proc_fail_read(err, -EFBIG, "our own maps");
	r = proc_parse_maps(text, (size_t)n, ret);
	return r < 0 ? proc_fail_parse(err, r, "our own maps") : 0;
}

/* A file of one record, which one read gives whole if there is room (Linux
 * fs/seq_file.c:single_open(), seq_read_iter()): there can be thousands, and the job stands still
 * meanwhile. */
static ssize_t read_record(int dirfd, const char *name, char *buf, size_t size)
{
	CK_AUTO(fd) int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size);

	return n < 0 ? -errno : n;
}

int proc_read_fdinfo(int dirfd, int fd, struct proc_fdinfo *ret, struct ck_err *err)
{
	char name[40], text[1024];
	ssize_t n;
	int r;

	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	n = read_record(dirfd, name, text, sizeof(text));
	if (n < 0)
		return proc_fail_read(err, (int)n, name);
	if (n == sizeof(text))
		return READ_AND_PARSE(dirfd, name, TEXT_MAX, proc_parse_fdinfo, ret, err);
	r = proc_parse_fdinfo(text, (size_t)n, ret);
	return r < 0 ? proc_fail_parse(err, r, name) : 0;
}

int proc_read_mountinfo(int dirfd, struct proc_mounts *ret, struct ck_err *err)
{
	return READ_AND_PARSE(dirfd, "mountinfo", MAPS_MAX, proc_parse_mountinfo, ret, err);
}

int proc_read_timers(int dirfd, struct proc_timers *ret, struct ck_err *err)
{
	return READ_AND_PARSE(dirfd, "timers", TEXT_MAX, proc_parse_timers, ret, err);
}

int proc_read_limits(int dirfd, struct proc_limits *ret, struct ck_err *err)
{
	return READ_AND_PARSE(dirfd, "limits", TEXT_MAX, proc_parse_limits, ret, err);
}

int proc_read_comm(int dirfd, char comm[static 16], struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len;
	int r = ck_read_file_at(dirfd, "comm", TEXT_MAX, &text, &len);

	if (r < 0)
		return proc_fail_read(err, r, "comm");
	/* A comm may itself end in a newline: only the kernel's own is taken off. */
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len > 15)
		len = 15;
	memset(comm, 0, 16);
	memcpy(comm, text, len);
	return 0;
}

/* ---- lists of numbers ---- */

static int compare_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int parse_numbers(const char *text, size_t len, int **ret, size_t *ret_n)
{
	struct ck_text t = ck_text_of(text, len);
	CK_AUTO(free) int *v = NULL;
	size_t n = 0;

	for (;;) {
		ck_text_blanks(&t);
		if (t.p == t.end || *t.p == '\n')
			break;
		if (!ck_text_grow(&v, n, sizeof(*v)))
			return -ENOMEM;
		if (!ck_text_int(&t, &v[n]) || v[n] < 0)
			return -EINVAL;
		n++;
	}
	*ret = ck_take_ptr(&v);
	*ret_n = n;
	return 0;
}

int proc_read_children(int dirfd, pid_t tid, pid_t **ret, size_t *ret_n, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	char name[64], dir[40];
	size_t len;
	int r;

	snprintf(name, sizeof(name), "task/%d/children", (int)tid);
	snprintf(dir, sizeof(dir), "task/%d", (int)tid);
	r = ck_read_file_at(dirfd, name, TEXT_MAX, &text, &len);
	if (r == -ENOENT && faccessat(dirfd, dir, F_OK, 0) == 0) {
		r = ck_fail(err, CK_ERR_HOST, -ENOSYS, "the kernel has no %s", name);
		return ck_err_hint(err, r, "it needs CONFIG_PROC_CHILDREN");
	}
	if (r < 0)
		return proc_fail_read(err, r, name);
	r = parse_numbers(text, len, ret, ret_n);
	return r < 0 ? proc_fail_parse(err, r, name) : 0;
}

/* The names of a directory that are numbers, ascending. */
static int read_number_dir(int dirfd, const char *name, int **ret, size_t *ret_n,
			   struct ck_err *err)
{
	CK_AUTO(fd) int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(dir) DIR *dir = NULL;
	CK_AUTO(free) int *v = NULL;
	struct dirent *e;
	size_t n = 0;

	if (fd < 0)
		return proc_fail_read(err, -errno, name);
	dir = fdopendir(fd);
	if (!dir)
		return proc_fail_read(err, -errno, name);
	ck_take_fd(&fd);
	for (;;) {
		struct ck_text t;

		errno = 0;
		e = readdir(dir);
		if (!e)
			break;
		t = ck_text_of(e->d_name, strlen(e->d_name));
		if (e->d_name[0] == '.')
			continue;
		if (!ck_text_grow(&v, n, sizeof(*v)))
			return proc_fail_parse(err, -ENOMEM, name);
		if (!ck_text_int(&t, &v[n]) || t.p != t.end || v[n] < 0)
			return proc_fail_parse(err, -EINVAL, name);
		n++;
	}
	if (errno)
		return proc_fail_read(err, -errno, name);
	if (n)
		qsort(v, n, sizeof(*v), compare_int);
	*ret = ck_take_ptr(&v);
	*ret_n = n;
	return 0;
}

int proc_read_tids(int dirfd, pid_t **ret, size_t *ret_n, struct ck_err *err)
{
	return read_number_dir(dirfd, "task", ret, ret_n, err);
}

int proc_read_fds(int dirfd, int **ret, size_t *ret_n, struct ck_err *err)
{
	return read_number_dir(dirfd, "fd", ret, ret_n, err);
}
