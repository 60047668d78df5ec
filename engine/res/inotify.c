// SPDX-License-Identifier: Apache-2.0
/*
 * inotify(7): watches, with their numbers. The kernel tells which inodes they are on
 * (inotify-find.c finds a way there), and how many bytes of events wait to be read; but events
 * can't be looked at without taking them, nor put back. So a dump waits until the job has read
 * them.
 *
 * What is watched is an entry of files.img of its own, opened with O_PATH. Watches are set when all
 * other files are as they were, so that the job does not see them being made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

enum {
	/* Numbers are handed out one by one: reaching this one takes some seconds. */
	MAX_WD = 1 << 22,
	DRAIN = 4096, /* watches made in vain, until their end is read; fewer than fit the queue */
};

static bool inotify_match(const struct engine_fd *fd)
{
	return strcmp(fd->link, "anon_inode:inotify") == 0;
}

static int read_watches(const struct res_file *f, struct proc_inotify *ret, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len = 0;
	int r = res_fdinfo(f, &text, &len, err);

	if (r < 0)
		return r;
	r = proc_parse_inotify(text, len, ret);
	return r < 0 ? ck_fail(err, CK_ERR_REFUSED, r,
			       "the kernel does not tell what an inotify instance watches")
		     : 0;
}

/* COMPAT(v5.19): before, the flags are not told; a watch for one event would stay for all. Linux
 * fs/notify/fdinfo.c:inotify_fdinfo(), inotify_mark_user_mask() */
static int check_flags_are_told(struct ck_err *err)
{
	CK_AUTO(fd) int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	CK_AUTO(proc_inotify) struct proc_inotify own = { 0 };
	CK_AUTO(free) char *text = NULL;
	char path[40];
	size_t len = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (fd < 0 || inotify_add_watch(fd, "/", IN_DELETE_SELF | IN_ONESHOT) < 0)
		return ck_fail_errno(err, "cannot watch a file");
	if (ck_read_file_at(AT_FDCWD, path, 4096, &text, &len) < 0 ||
	    proc_parse_inotify(text, len, &own) < 0 || own.n != 1 ||
	    !(own.watch[0].mask & IN_ONESHOT))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "the kernel does not tell for how long an inotify instance watches");
	return 0;
}

static int check_queue(struct engine_dump *d, const struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	int bytes = 0, r;

	if (fd < 0 || ioctl(fd, FIONREAD, &bytes) < 0) {
		r = ck_fail(err, CK_ERR_REFUSED, fd < 0 ? fd : -errno,
			    "cannot know whether events wait in an inotify instance");
		return ck_err_hint(err, r, "pidfd_getfd(2) must be allowed to ckpt");
	}
	if (!bytes)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "%d bytes of unread events wait in an inotify instance", bytes);
	return ck_err_hint(err, r, "they can't be kept: try again when the job has read them");
}

static int check_found(const struct res_file *f, struct ck_err *err)
{
	for (size_t i = 0; i < f->n_watches; i++) {
		const struct proc_watch *w = &f->watch[i].w;
		int r;

		if (w->wd > MAX_WD)
			return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				       "cannot dump an inotify watch with the number %d", w->wd);
		if (f->watch[i].f.task)
			continue;
		r = ck_fail(err, CK_ERR_REFUSED, -ENOENT,
			    "cannot find the file of inotify watch %d (inode %llu of device %u:%u)",
			    w->wd, (unsigned long long)w->ino, w->kdev >> 20, w->kdev & 0xfffff);
		return ck_err_hint(err, r,
				   "root can find it; or let the job have the directory open");
	}
	return 0;
}

static int inotify_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(proc_inotify) struct proc_inotify p = { 0 };
	int r = check_flags_are_told(err);

	if (r == 0)
		r = check_queue(d, f, err);
	if (r == 0)
		r = read_watches(f, &p, err);
	if (r < 0)
		return r;
	f->watch = calloc(p.n + 1, sizeof(*f->watch));
	if (!f->watch)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list %zu watches", p.n);
	for (f->n_watches = 0; f->n_watches < p.n; f->n_watches++)
		f->watch[f->n_watches].w = p.watch[f->n_watches];
	r = res_watches_find(d, f->task, f->watch, f->n_watches, err);
	if (r == 0)
		r = check_found(f, err);
	return r < 0 ? r : res_fown_look(d, f, err);
}

/* ---- dump ---- */

enum { HANDLE_WORDS = 16 }; /* that CRIU wants */

struct entry {
	InotifyWdEntry wd;
	FhEntry fh;
	uint64_t handle[HANDLE_WORDS];
};

static int make_entry(struct engine_dump *d, const struct res_file *f, struct res_watch *w,
		      struct entry *e, struct ck_err *err)
{
	struct res_file *target;
	int r = res_path_file(d, &w->f, CKPT_PATH_ROLE__CKPT_PATH_FD, &target, err);

	if (r < 0)
		return r;
	inotify_wd_entry__init(&e->wd);
	fh_entry__init(&e->fh);
	e->wd.id = f->id;
	e->wd.i_ino = w->w.ino;
	e->wd.mask = w->w.mask;
	e->wd.s_dev = w->w.kdev;
	e->wd.wd = (uint32_t)w->w.wd;
	e->wd.f_handle = &e->fh;
	e->wd.has_target = true;
	e->wd.target = target->id;
	memcpy(e->handle, w->w.handle, w->w.handle_len);
	e->fh.bytes = (uint32_t)w->w.handle_len;
	e->fh.type = (uint32_t)w->w.handle_type;
	e->fh.handle = e->handle;
	e->fh.n_handle = HANDLE_WORDS;
	e->fh.path = target->name;
	return 0;
}

static int inotify_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(free) struct entry *e = calloc(f->n_watches + 1, sizeof(*e));
	CK_AUTO(free) InotifyWdEntry **list = calloc(f->n_watches + 1, sizeof(*list));
	InotifyFileEntry ify = INOTIFY_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int r = 0;

	if (!e || !list)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe an inotify instance");
	for (size_t i = 0; i < f->n_watches && r == 0; i++) {
		r = make_entry(d, f, &f->watch[i], &e[i], err);
		list[i] = &e[i].wd;
	}
	if (r < 0)
		return r;
	ify.id = f->id;
	ify.flags = f->flags;
	ify.fown = &f->fown;
	ify.wd = list;
	ify.n_wd = f->n_watches;
	fe.type = FD_TYPES__INOTIFY;
	fe.id = f->id;
	fe.ify = &ify;
	return res_put_file(d, &fe, err);
}

/* ---- restore ---- */

static bool inotify_owns(const FileEntry *fe)
{
	return fe->ify != NULL;
}

static int load_watch(struct engine_restore *r, const struct res_rfile *f, const InotifyWdEntry *e,
		      struct ck_err *err)
{
	int ret;

	if (e->wd == 0 || e->wd > MAX_WD || !(e->mask & IN_ALL_EVENTS))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "an inotify watch makes no sense");
	if (!e->has_target) {
		if (e->f_handle->path && e->f_handle->path[0] == '/')
			return 0;
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore an inotify watch without a path");
	}
	/* Entries are looked at in this order: what is behind this one is wanted in time. */
	if (e->target <= f->fe->id)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "an inotify watch is on file %u, which is not its own", e->target);
	ret = res_want(r, e->target, RES_WANT_FD, err);
	return ret < 0 ? ck_err_at(err, ret, "watch %u", e->wd) : 0;
}

static int inotify_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const InotifyFileEntry *e = f->fe->ify;
	int ret = 0;

	for (size_t i = 0; i < e->n_wd && ret == 0; i++)
		ret = load_watch(r, f, e->wd[i], err);
	return ret;
}

static int inotify_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			struct ck_err *err)
{
	CK_AUTO(fd) int fd = inotify_init1(IN_CLOEXEC);
	int ret;

	(void)r;
	if (fd < 0) {
		ret = ck_fail_errno(err, "cannot make an inotify instance");
		return ck_err_hint(err, ret, "see the limit fs.inotify.max_user_instances");
	}
	ret = res_set_status(fd, f->fe->ify->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

/* Takes all events off the queue. */
static int drain(int fd, struct ck_err *err)
{
	char buf[8192] __attribute__((aligned(8)));
	int bytes = 0;

	for (;;) {
		if (ioctl(fd, FIONREAD, &bytes) < 0)
			return ck_fail_errno(err, "cannot look into an inotify instance");
		if (!bytes)
			return 0;
		if (read(fd, buf, sizeof(buf)) < 0)
			return ck_fail_errno(err, "cannot read from an inotify instance");
	}
}

/* last: the number of the watch before. Numbers are given out ascending (Linux
 * fs/notify/inotify/inotify_user.c:inotify_add_to_idr()), so others are made and removed. */
static int add_watch(int fd, const char *path, const InotifyWdEntry *e, uint32_t last,
		     struct ck_err *err)
{
	uint32_t mask = (e->mask & (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT));
	int r = 0;

	for (uint32_t i = 1; r == 0; i++) {
		int got = inotify_add_watch(fd, path, mask);

		if (got < 0) {
			r = ck_fail_errno(err, "cannot watch %s", e->f_handle->path);
			if (r == -ENOSPC)
				ck_err_hint(err, r, "see the limit fs.inotify.max_user_watches");
			return r;
		}
		if ((uint32_t)got == e->wd)
			return 0;
		if ((uint32_t)got <= last || (uint32_t)got > e->wd)
			return ck_fail(err, CK_ERR_HOST, -EEXIST,
				       "%s is the same file as another that is watched",
				       e->f_handle->path);
		inotify_rm_watch(fd, got);
		if (i % DRAIN == 0)
			r = drain(fd, err);
	}
	return r;
}

static int by_wd(const void *a, const void *b)
{
	uint32_t x = (*(InotifyWdEntry *const *)a)->wd, y = (*(InotifyWdEntry *const *)b)->wd;

	return (x > y) - (x < y);
}

static int fill(const struct engine_restore *r, const struct res_rfile *f, struct ck_err *err)
{
	const InotifyFileEntry *e = f->fe->ify;
	uint32_t last = 0;
	int ret = 0;

	if (e->n_wd)
		qsort(e->wd, e->n_wd, sizeof(e->wd[0]), by_wd);
	for (size_t i = 0; i < e->n_wd && ret == 0; i++) {
		const struct res_rfile *t =
			e->wd[i]->has_target ? res_rfile_find(r, e->wd[i]->target) : NULL;
		char link[40];

		snprintf(link, sizeof(link), "/proc/self/fd/%d", t ? t->fd : -1);
		ret = add_watch(f->fd, t ? link : e->wd[i]->f_handle->path, e->wd[i], last, err);
		last = e->wd[i]->wd;
	}
	return ret < 0 ? ret : drain(f->fd, err);
}

static int inotify_finish(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_files && ret == 0; i++) {
		const struct res_rfile *f = &r->res->file[i];

		if (f->slot >= 0 && f->type == &res_type_inotify)
			ret = res_err_at_rfile(f, err, fill(r, f, err));
	}
	return ret;
}

static const FownEntry *inotify_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->ify->fown;
}

const struct res_type res_type_inotify = {
	.name = "an inotify instance",
	.fd_type = FD_TYPES__INOTIFY,
	.match = inotify_match,
	.look = inotify_look,
	.dump = inotify_dump,
	.owns = inotify_owns,
	.load = inotify_load,
	.open = inotify_open,
	.fown = inotify_fown,
	.finish = inotify_finish,
};
