// SPDX-License-Identifier: Apache-2.0
/*
 * Paths that are made to exist: in a mount namespace of the job's own, OLD of every map leads to
 * NEW, so that what the job has in its memory holds as well. Runs in the trunk, before anything is
 * opened. Nothing on the host changes but what mkdir() was allowed to make; the namespace ends with
 * the job.
 *
 * Where OLD does not exist, the nearest directory above it is covered by a tmpfs with all that
 * directory holds, each entry a mount of its own, and the missing directories. Nothing could be
 * made there anyway, for the user may not write to the real one: one that he may write to is not
 * covered, since what the job makes in it would be lost. The cover is read-only at the end.
 *
 * All NEW are taken before the first OLD is made: two can change places.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/restore.h"
#include "fsmap/fsmap.h"

struct cover {
	char *dir;
	dev_t dev;
	int fd; /* its root */
};

struct binder {
	const struct fsmap_maps *maps;
	int *tree; /* per map: a detached copy of NEW and all that is mounted below it */
	bool *is_dir;
	struct cover *cover;
	size_t n_covers;
};

static void binder_done(struct binder *b)
{
	for (size_t i = 0; b->tree && i < b->maps->n; i++)
		if (b->tree[i] >= 0)
			close(b->tree[i]);
	for (size_t i = 0; i < b->n_covers; i++) {
		close(b->cover[i].fd);
		free(b->cover[i].dir);
	}
	free(b->tree);
	free(b->is_dir);
	free(b->cover);
}
static inline void ck_auto_binder(struct binder *b)
{
	binder_done(b);
}

static int clone_tree(int dir, const char *name, unsigned int more)
{
	return (int)syscall(SYS_open_tree, dir, name,
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_NO_AUTOMOUNT |
				    more);
}

static int attach(int tree, int dir, const char *name)
{
	return (int)syscall(SYS_move_mount, tree, "", dir, name, MOVE_MOUNT_F_EMPTY_PATH);
}

/* ---- NEW ---- */

static int take_all(struct binder *b, struct ck_err *err)
{
	size_t n = b->maps->n;

	b->tree = calloc(n, sizeof(*b->tree));
	b->is_dir = calloc(n, sizeof(*b->is_dir));
	for (size_t i = 0; b->tree && i < n; i++)
		b->tree[i] = -EBADF;
	if (!b->tree || !b->is_dir)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot bind paths");
	for (size_t i = 0; i < n; i++) {
		const char *to = b->maps->map[i].to;
		struct stat st;
		int r;

		if (stat(to, &st) < 0)
			return ck_fail(err, CK_ERR_HOST, -errno, "there is no %s here", to);
		b->is_dir[i] = S_ISDIR(st.st_mode);
		b->tree[i] = clone_tree(AT_FDCWD, to, 0);
		if (b->tree[i] >= 0)
			continue;
		r = ck_fail(err, CK_ERR_HOST, -errno, "cannot bind %s", to);
		return ck_err_hint(err, r, "--map-mode rewrite needs no mounts");
	}
	return 0;
}

/* ---- covers ---- */

static int mount_tmpfs(const char *dir, struct ck_err *err)
{
	CK_AUTO(fd) int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	CK_AUTO(fd) int fd = -EBADF;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "755", 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return ck_fail_errno(err, "cannot make a tmpfs over %s", dir);
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (fd < 0 || attach(fd, AT_FDCWD, dir) < 0)
		return ck_fail_errno(err, "cannot mount a tmpfs over %s", dir);
	return ck_take_fd(&fd);
}

/* An entry of the covered directory, at its name in the cover. */
static int uncover(int from, const char *name, int to)
{
	CK_AUTO(free) char *link = NULL;
	CK_AUTO(fd) int tree = -EBADF;
	struct stat st;
	int fd;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return errno == ENOENT ? 0 : -errno; /* it went away just now */
	if (S_ISLNK(st.st_mode)) {
		fd = ck_readlink_at(from, name, &link);
		return fd < 0 ? fd : symlinkat(link, to, name) < 0 ? -errno : 0;
	}
	if (S_ISDIR(st.st_mode)) {
		if (mkdirat(to, name, 0755) < 0)
			return -errno;
	} else {
		fd = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	tree = clone_tree(from, name, AT_SYMLINK_NOFOLLOW);
	return tree < 0 || attach(tree, to, name) < 0 ? -errno : 0;
}

static int uncover_all(const char *dir, DIR *from, int to, struct ck_err *err)
{
	const struct dirent *d;
	int r;

	while ((errno = 0, d = readdir(from))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		r = uncover(dirfd(from), d->d_name, to);
		if (r < 0)
			return ck_fail(err, CK_ERR_SYS, r, "cannot keep %s in sight",
				       dir[1] ? dir : d->d_name);
	}
	return errno ? ck_fail_errno(err, "cannot list %s", dir) : 0;
}

/* The cover of the root directory becomes the root. */
static int enter_root(int fd, struct ck_err *err)
{
	if (fchdir(fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return ck_fail_errno(err, "cannot have another root directory");
	return chdir("/") < 0 ? ck_fail_errno(err, "cannot enter the root directory") : 0;
}

static int add_cover(struct binder *b, const char *dir, struct ck_err *err)
{
	DIR *from = opendir(dir);
	struct cover *c = reallocarray(b->cover, b->n_covers + 1, sizeof(*c));
	struct stat st = { 0 };
	int r;

	if (c)
		b->cover = c;
	if (!c || !from) {
		r = from ? ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot bind paths")
			 : ck_fail_errno(err, "cannot list %s", dir);
		if (from)
			closedir(from);
		return r;
	}
	c = &b->cover[b->n_covers];
	c->dir = strdup(dir);
	c->fd = c->dir ? mount_tmpfs(dir, err) : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot bind");
	r = c->fd < 0 ? c->fd : uncover_all(dir, from, c->fd, err);
	if (c->fd < 0)
		free(c->dir);
	else
		b->n_covers++;
	closedir(from);
	if (r == 0 && !strcmp(dir, "/"))
		r = enter_root(c->fd, err);
	if (r == 0 && fstat(c->fd, &st) < 0)
		r = ck_fail_errno(err, "cannot stat a tmpfs");
	c->dev = st.st_dev;
	return r;
}

static bool is_covered(const struct binder *b, dev_t dev)
{
	for (size_t i = 0; i < b->n_covers; i++)
		if (b->cover[i].dev == dev)
			return true;
	return false;
}

static int seal_covers(struct binder *b, struct ck_err *err)
{
	const struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };

	for (size_t i = 0; i < b->n_covers; i++)
		/* COMPAT(v5.12): mount_setattr() */
		if (syscall(SYS_mount_setattr, b->cover[i].fd, "", AT_EMPTY_PATH, &ro, sizeof(ro)) <
			    0 &&
		    mount(NULL, b->cover[i].dir, NULL,
			  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
			return ck_fail_errno(err, "cannot make %s read-only", b->cover[i].dir);
	return 0;
}

/* ---- OLD ---- */

static int make_below(const char *path, size_t above, bool dir, struct ck_err *err)
{
	CK_AUTO(free) char *part = strdup(path);
	int fd;

	if (!part)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot bind paths");
	for (size_t i = above + 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		part[i] = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return ck_fail_errno(err, "cannot make %s", part);
		part[i] = '/';
	}
	if (dir)
		return mkdir(path, 0755) < 0 ? ck_fail_errno(err, "cannot make %s", path) : 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return ck_fail_errno(err, "cannot make %s", path);
	close(fd);
	return 0;
}

static int make_place(struct binder *b, const char *path, bool dir, struct ck_err *err)
{
	struct stat st = { 0 };
	size_t n = fsmap_nearest(path, &st);
	CK_AUTO(free) char *above = strndup(path, n);
	int r;

	if (!above)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot bind paths");
	if (!is_covered(b, st.st_dev)) {
		if (!S_ISDIR(st.st_mode))
			return ck_fail(err, CK_ERR_HOST, -ENOTDIR, "%s is no directory", above);
		if (fsmap_may_make(above)) {
			r = ck_fail(err, CK_ERR_HOST, -ENOENT, "there is no %s to bind to", path);
			return ck_err_hint(err, r, "make an empty %s there",
					   dir ? "directory (mkdir -p)" : "file");
		}
		r = add_cover(b, above, err);
		if (r < 0)
			return ck_err_hint(err, r, "make an empty %s there",
					   dir ? "directory" : "file");
	}
	return make_below(path, n == 1 ? 0 : n, dir, err);
}

static int bind_one(struct binder *b, size_t i, struct ck_err *err)
{
	const struct fsmap_map *m = &b->maps->map[i];
	struct stat st;
	int r = 0;

	if (stat(m->from, &st) < 0)
		r = errno == ENOENT || errno == ENOTDIR
			    ? make_place(b, m->from, b->is_dir[i], err)
			    : ck_fail_errno(err, "cannot look at %s", m->from);
	else if (S_ISDIR(st.st_mode) != b->is_dir[i])
		r = ck_fail(err, CK_ERR_HOST, -EEXIST, "cannot bind %s to %s: one is a directory",
			    m->to, m->from);
	if (r == 0 && attach(b->tree[i], AT_FDCWD, m->from) < 0)
		r = ck_fail_errno(err, "cannot bind %s to %s", m->to, m->from);
	return r;
}

int engine_bind_maps(struct engine_restore *r, struct ck_err *err)
{
	CK_AUTO(binder) struct binder b = { .maps = r->opts->maps };
	int rc;

	if (!engine_binds(r))
		return 0;
	/* Whatever is mounted from here on must not be seen outside. */
	if ((r->strategy == ENGINE_INPLACE && unshare(CLONE_NEWNS) < 0) ||
	    mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return ck_fail_errno(err, "cannot make a mount namespace");
	rc = take_all(&b, err);
	/* Outer ones first: the inner ones are then made in them. */
	for (size_t i = b.maps->n; rc == 0 && i-- > 0;)
		rc = bind_one(&b, i, err);
	return rc < 0 ? rc : seal_covers(&b, err);
}
