// SPDX-License-Identifier: Apache-2.0
/*
 * What the job holds open: lists the descriptors of every task, finds the files behind them and
 * lets each kind look at its own. Only reads: the job may run on as if nothing had been.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

struct res_file *res_file_new(struct engine_dump *d, const struct engine_task *t, const char *via)
{
	struct res_dump *res = d->res;
	struct res_file **grown = reallocarray(res->files, res->n_files + 1, sizeof(*grown));
	struct res_file *f = calloc(1, sizeof(*f));
	char *copy = via ? strdup(via) : NULL;

	if (grown)
		res->files = grown;
	if (!grown || !f || (via && !copy)) {
		free(f);
		free(copy);
		return NULL;
	}
	f->id = res_id_new(d);
	f->task = t;
	f->via = copy;
	f->fd = f->inherit = f->stdio = f->pty = -1;
	f->mnt_id = -1;
	fown_entry__init(&f->fown);
	res->files[res->n_files++] = f;
	return f;
}

uint32_t res_id_new(struct engine_dump *d)
{
	return ++d->res->last_id;
}

struct res_file *res_file_by_id(const struct engine_dump *d, uint32_t id)
{
	size_t lo = 0, hi = d->res->n_files;

	/* Ids ascend with the index. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (d->res->files[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->res->n_files && d->res->files[lo]->id == id ? d->res->files[lo] : NULL;
}

int res_err_at_file(const struct res_file *f, struct ck_err *err, int r)
{
	if (f->fd >= 0)
		r = ck_err_at(err, r, "fd %d", f->fd);
	else if (f->via)
		r = ck_err_at(err, r, "%s", f->via);
	return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(f->task));
}

int res_file_reopen(const struct res_file *f, int flags)
{
	int fd;

	if (!f->via)
		return -ENOENT;
	fd = openat(f->task->dirfd, f->via, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int take(struct engine_dump *d, size_t i, const struct res_file *f)
{
	int *pidfd = &d->res->pidfds[i], fd;

	if (*pidfd == -EBADF) {
		*pidfd = (int)syscall(SYS_pidfd_open, d->tasks[i]->pid, 0);
		if (*pidfd < 0)
			*pidfd = errno == EBADF ? -ENOSYS : -errno;
	}
	if (*pidfd < 0)
		return *pidfd;
	fd = (int)syscall(SYS_pidfd_getfd, *pidfd, f->fd, 0);
	return fd < 0 ? -errno : fd;
}

int res_file_borrow(struct engine_dump *d, const struct res_file *f)
{
	int fd;

	if (f->fd < 0)
		return -ENOENT;
	if (f->task->pid == getpid()) {
		fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 3); /* open only in a message: peek.c */
		return fd < 0 ? -errno : fd;
	}
	for (size_t i = 0; i < d->n_tasks; i++) {
		if (d->tasks[i] != f->task)
			continue;
		fd = take(d, i, f);
		/* Containers forbid it; then the task itself hands it over. */
		return fd == -EPERM || fd == -ENOSYS ? engine_pass(d->tasks[i], f->fd, &f->st) : fd;
	}
	return -ESRCH;
}

enum { FDINFO_MAX = 64 << 20 }; /* bytes: an epoll instance has a line per file it watches */

const struct engine_fd *res_fd_of(const struct engine_task *t, int fd)
{
	size_t lo = 0, hi = t->n_fds;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (t->fds[mid].fd < fd)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->n_fds && t->fds[lo].fd == fd ? &t->fds[lo] : NULL;
}

int res_fdinfo(const struct res_file *f, char **ret, size_t *ret_len, struct ck_err *err)
{
	char path[32];
	int r;

	snprintf(path, sizeof(path), "fdinfo/%d", f->fd);
	r = ck_read_file_at(f->task->dirfd, path, FDINFO_MAX, ret, ret_len);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot read %s", path) : 0;
}

int res_file_peek(struct engine_dump *d, const struct res_file *f, int flags)
{
	int fd = res_file_reopen(f, flags);

	/* A pipe or terminal that came with the job can be another user's. */
	return fd == -EACCES || fd == -EPERM ? res_file_borrow(d, f) : fd;
}

int res_look_fd(struct engine_task *t, int number, struct engine_fd *fd, struct ck_err *err)
{
	char link[24];
	int r;

	fd->task = t;
	fd->fd = number;
	snprintf(link, sizeof(link), "fd/%d", number);
	r = ck_readlink_at(t->dirfd, link, &fd->link);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read the link of a descriptor");
	if (fstatat(t->dirfd, link, &fd->st, 0) < 0)
		return ck_fail_errno(err, "cannot stat %s", fd->link);
	return proc_read_fdinfo(t->dirfd, number, &fd->info, err);
}

/* Some of a task's descriptors. */
struct slice {
	struct engine_task *t;
	const int *numbers;
	size_t from, to;
	int r;
	struct ck_err err;
};

static void *look_slice(void *arg)
{
	struct slice *s = arg;

	for (size_t i = s->from; i < s->to && s->r == 0; i++) {
		s->r = res_look_fd(s->t, s->numbers[i], &s->t->fds[i], &s->err);
		if (s->r < 0)
			ck_err_at(&s->err, s->r, "fd %d", s->numbers[i]);
	}
	return NULL;
}

enum { MANY_FDS = 256 }; /* the job stands still meanwhile: its CPU can as well help */

static int look_task(struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(free) int *numbers = NULL;
	struct slice low = { .t = t, .err = CK_ERR_INIT }, high;
	pthread_t helper;
	bool helped;
	size_t n;
	int r = proc_read_fds(t->dirfd, &numbers, &n, err);

	if (r < 0)
		return r;
	t->fds = calloc(n ? n : 1, sizeof(*t->fds));
	if (!t->fds)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember %zu descriptors", n);
	t->n_fds = n;
	low.numbers = numbers;
	high = low;
	low.to = high.from = n < MANY_FDS ? n : n / 2;
	high.to = n;
	helped = n >= MANY_FDS && pthread_create(&helper, NULL, look_slice, &high) == 0;
	look_slice(&low);
	if (helped)
		pthread_join(helper, NULL);
	else
		look_slice(&high);
	if (low.r == 0)
		low = high;
	if (low.r < 0 && err)
		*err = low.err;
	return low.r;
}

static int res_new(struct engine_dump *d, struct ck_err *err)
{
	d->res = calloc(1, sizeof(*d->res));
	if (d->res)
		d->res->pidfds = calloc(d->n_tasks + 1, sizeof(*d->res->pidfds));
	if (!d->res || !d->res->pidfds)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at descriptors");
	for (size_t i = 0; i < d->n_tasks; i++)
		d->res->pidfds[i] = -EBADF;
	return 0;
}

/* What no kind takes: refused before anything is put into the job. */
static int refuse_other(struct engine_dump *d, const struct engine_fd *fd, struct ck_err *err)
{
	struct res_file f = { .task = fd->task, .fd = fd->fd, .st = fd->st, .link = fd->link };
	int r;

	if (res_type_of(fd) != &res_type_other)
		return 0;
	r = res_type_other.look(d, &f, err);
	return res_err_at_file(&f, err, r);
}

int res_list(struct engine_dump *d, struct ck_err *err)
{
	int r = res_new(d, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i];

		r = t->zombie ? 0 : look_task(t, err);
		if (r < 0)
			return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
		for (size_t k = 0; k < t->n_fds; k++) {
			r = refuse_other(d, &t->fds[k], err);
			if (r < 0)
				return r;
		}
	}
	return res_share_list(d, err);
}

int res_look(struct engine_dump *d, struct ck_err *err)
{
	int r = res_share(d, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_file *f = d->res->files[i];

		r = f->type->look(d, f, err);
		if (r < 0)
			return res_err_at_file(f, err, r);
	}
	r = res_peek(d, err);
	if (r == 0)
		r = res_pipes_settle(d, err);
	if (r == 0)
		r = res_unix_settle(d, err);
	if (r == 0)
		r = res_inet_settle(d, err);
	return r < 0 ? r : res_locks_look(d, err);
}
