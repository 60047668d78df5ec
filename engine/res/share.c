// SPDX-License-Identifier: Apache-2.0
/*
 * Which descriptors share one open file description. Candidates agree in everything that /proc
 * shows of a description; among them kcmp() decides, whose answer is an order, so that sorting
 * finds the equal ones. Where kcmp() is forbidden (seccomp profiles of containers) candidates count
 * as shared if that makes no difference to the job, and are refused otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

struct sharer {
	struct engine_fd *fd;
	size_t order; /* among all descriptors of the job */
	size_t group; /* the lowest order in its description */
};

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static uint32_t own_flags(const struct engine_fd *fd)
{
	return fd->info.flags & ~(uint32_t)O_CLOEXEC;
}

/* What /proc shows of a description. */
static int compare_looks(const struct engine_fd *a, const struct engine_fd *b)
{
	int c = compare_u64(a->st.st_dev, b->st.st_dev);

	c = c ? c : compare_u64(a->st.st_ino, b->st.st_ino);
	c = c ? c : compare_u64((uint64_t)a->info.mnt_id, (uint64_t)b->info.mnt_id);
	c = c ? c : compare_u64(own_flags(a), own_flags(b));
	return c ? c : compare_u64((uint64_t)a->info.pos, (uint64_t)b->info.pos);
}

static int by_looks(const void *a, const void *b)
{
	const struct sharer *x = a, *y = b;
	int c = compare_looks(x->fd, y->fd);

	return c ? c : compare_u64(x->order, y->order);
}

static int by_order(const void *a, const void *b)
{
	return compare_u64(((const struct sharer *)a)->order, ((const struct sharer *)b)->order);
}

/* -1, 0, 1, or 2 with errno: the two can't be compared. */
static int compare_kernel(pid_t a, pid_t b, int type, unsigned long x, unsigned long y)
{
	static const int order[] = { 0, -1, 1 };
	long r = syscall(SYS_kcmp, a, b, type, x, y);

	if (r >= 0 && r <= 2)
		return order[r];
	if (r > 0)
		errno = EOPNOTSUPP;
	return 2;
}

/* For qsort_r: *error is the first failure, and the order is then meaningless. */
static int by_file(const void *a, const void *b, void *error)
{
	const struct sharer *x = a, *y = b;
	int c = compare_kernel(x->fd->task->pid, y->fd->task->pid, KCMP_FILE,
			       (unsigned long)x->fd->fd, (unsigned long)y->fd->fd);

	if (c == 2) {
		if (*(int *)error == 0)
			*(int *)error = errno;
		return 0;
	}
	return c;
}

/* Would the job notice if two descriptors shared what it had apart, or the reverse? Offsets matter
 * to regular files and directories, unless all writes go to the end; so do locks of a description.
 */
static bool sharing_matters(const struct engine_fd *fd)
{
	uint32_t flags = own_flags(fd);

	for (size_t i = 0; i < fd->info.n_locks; i++)
		if (strcmp(fd->info.locks[i].kind, "POSIX") != 0)
			return true;
	if (flags & O_PATH)
		return false;
	if (S_ISREG(fd->st.st_mode))
		return !((flags & O_ACCMODE) == O_WRONLY && (flags & O_APPEND));
	return S_ISDIR(fd->st.st_mode);
}

static int fail_ambiguous(const struct sharer *s, int error, struct ck_err *err)
{
	int r;

	if (error == ESRCH)
		return ck_fail(err, CK_ERR_GONE, -ESRCH, "task went away while it was looked at");
	r = ck_fail(err, CK_ERR_PERM, -error,
		    "cannot tell whether two descriptors of %s share their offset", s[0].fd->link);
	if (s[0].fd->task == s[1].fd->task)
		r = ck_err_at(err, r, "fd %d and fd %d", s[0].fd->fd, s[1].fd->fd);
	else
		r = ck_err_at(err, r, "fd %d, and fd %d of task %d", s[0].fd->fd, s[1].fd->fd,
			      (int)s[1].fd->task->pid);
	r = ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(s[0].fd->task));
	return ck_err_hint(err, r,
			   "the system call kcmp is forbidden here: allow it in the container's "
			   "seccomp profile, or run ckpt outside of the container");
}

/* s[0..n): equal looks. Sets their groups. */
static int settle_candidates(struct sharer *s, size_t n, struct ck_err *err)
{
	int error = 0;

	if (n > 1)
		qsort_r(s, n, sizeof(*s), by_file, &error);
	if (error && (error == ESRCH || sharing_matters(s[0].fd)))
		return fail_ambiguous(s, error, err);
	for (size_t i = 0, end; i < n; i = end) {
		size_t lowest = s[i].order;

		for (end = i + 1; end < n && (error || by_file(&s[i], &s[end], &error) == 0); end++)
			if (s[end].order < lowest)
				lowest = s[end].order;
		for (size_t k = i; k < end; k++)
			s[k].group = lowest;
	}
	return 0;
}

/* One file per group, in the order in which the job's descriptors come. */
static int make_files(struct engine_dump *d, struct sharer *s, size_t n, struct ck_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct engine_fd *fd = s[i].fd;
		struct res_file *f;
		char via[24];

		if (s[i].group != s[i].order) {
			fd->id = s[s[i].group].fd->id;
			f = res_file_by_id(d, fd->id);
		} else {
			snprintf(via, sizeof(via), "fd/%d", fd->fd);
			f = res_file_new(d, fd->task, via);
			if (!f)
				return ck_fail(err, CK_ERR_SYS, -ENOMEM,
					       "cannot remember an open file");
			fd->id = f->id;
			f->type = res_type_of(fd);
			f->fd = fd->fd;
			f->st = fd->st;
			f->flags = own_flags(fd);
			f->pos = (uint64_t)fd->info.pos;
			f->mnt_id = fd->info.mnt_id;
			f->link = fd->link;
		}
		if (fd->fd <= 2 && (f->stdio < 0 || fd->fd < f->stdio))
			f->stdio = fd->fd;
	}
	return 0;
}

int res_share(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct sharer *s = NULL;
	size_t n = 0, k = 0;
	int r;

	for (size_t i = 0; i < d->n_tasks; i++)
		n += d->tasks[i]->n_fds;
	s = calloc(n ? n : 1, sizeof(*s));
	if (!s)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot sort %zu descriptors", n);
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t j = 0; j < d->tasks[i]->n_fds; j++, k++)
			s[k] = (struct sharer){ .fd = &d->tasks[i]->fds[j], .order = k };
	qsort(s, n, sizeof(*s), by_looks);
	for (size_t i = 0; i < n; i = k) {
		k = i + 1;
		while (k < n && compare_looks(s[i].fd, s[k].fd) == 0)
			k++;
		r = settle_candidates(&s[i], k - i, err);
		if (r < 0)
			return r;
	}
	qsort(s, n, sizeof(*s), by_order);
	return make_files(d, s, n, err);
}
