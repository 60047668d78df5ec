// SPDX-License-Identifier: Apache-2.0
/*
 * Where what is watched can be reached. The kernel tells of a watch the inode only; a path that led
 * to it once is known to nobody but the program. Whatever is tried, the inode decides: it can't
 * have been given to another file while it is watched. Tried in this order, until all is found:
 *
 *   descriptors of the job; the file's handle, for root; paths that the job has in /proc, and the
 *   directories above; what lies below its working directory; strings in its memory that look
 *   like absolute paths.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

enum {
	MAX_ENTRIES = 100000, /* of directories, in all */
	MAX_DEPTH = 32,       /* of directories in directories */
	MAX_STRINGS = 200000, /* that look like paths */
	CHUNK = 1 << 20,      /* of memory */
	MAX_CHUNKS = 1024,
};

struct find {
	struct engine_dump *d;
	const struct engine_task *t;
	struct res_watch *w; /* ascending by inode */
	size_t n, left;      /* left: that are not found yet */
	size_t entries, strings;
};

static int by_inode(const void *a, const void *b)
{
	uint64_t x = ((const struct res_watch *)a)->w.ino, y = ((const struct res_watch *)b)->w.ino;

	return (x > y) - (x < y);
}

/* The first with this inode number, or NULL. */
static struct res_watch *first_of(const struct find *s, uint64_t ino)
{
	struct res_watch key = { .w = { .ino = ino } };
	struct res_watch *w = bsearch(&key, s->w, s->n, sizeof(key), by_inode);

	while (w && w > s->w && w[-1].w.ino == ino)
		w--;
	return w;
}

/* On btrfs the device is another than stat() tells; there the handle says. */
static bool same_handle(const struct find *s, const char *path, const struct proc_watch *w)
{
	struct {
		struct file_handle h;
		unsigned char room[PROC_HANDLE_MAX];
	} u = { .h = { .handle_bytes = PROC_HANDLE_MAX } };
	CK_AUTO(fd) int fd = path ? res_name_open(s->t, path, O_PATH) : -EBADF;
	int mnt;

	return fd >= 0 && w->handle_len &&
	       name_to_handle_at(fd, "", &u.h, &mnt, AT_EMPTY_PATH) == 0 &&
	       u.h.handle_bytes == w->handle_len && u.h.handle_type == w->handle_type &&
	       memcmp(u.h.f_handle, w->handle, w->handle_len) == 0;
}

/* The watch whose file has this stat, among those still to be found; path is for same_handle(). */
static struct res_watch *match(const struct find *s, const struct stat *st, const char *path)
{
	struct res_watch *w = first_of(s, st->st_ino);

	for (; w && w < s->w + s->n && w->w.ino == st->st_ino; w++)
		if (!w->f.task && (st->st_dev == makedev(w->w.kdev >> 20, w->w.kdev & 0xfffff) ||
				   same_handle(s, path, &w->w)))
			return w;
	return NULL;
}

static int found(struct find *s, struct res_watch *w, const struct stat *st, const char *via,
		 const char *link, struct ck_err *err)
{
	w->f.task = s->t;
	w->f.type = &res_type_path;
	w->f.st = *st;
	w->f.flags = O_PATH | (S_ISLNK(st->st_mode) ? O_NOFOLLOW : 0);
	w->f.fd = w->f.inherit = w->f.stdio = w->f.pty = w->f.mnt_id = -1;
	s->left--;
	w->f.via = via ? strdup(via) : NULL;
	if (via && !w->f.via)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	return res_name_look(s->d, &w->f, link, err);
}

/* A path as the task sees it, which may be anything. */
static int offer(struct find *s, const char *path, struct ck_err *err)
{
	struct res_watch *w;
	struct stat st;

	if (res_name_stat(s->t, path, &st) < 0)
		return 0;
	w = match(s, &st, path);
	return w ? found(s, w, &st, NULL, path, err) : 0;
}

/* ---- descriptors ---- */

static int try_descriptors(struct find *s, struct ck_err *err)
{
	int r = 0;

	for (size_t i = 0; i < s->t->n_fds && s->left && r == 0; i++) {
		const struct engine_fd *fd = &s->t->fds[i];
		struct res_watch *w = fd->link[0] == '/' ? match(s, &fd->st, NULL) : NULL;
		char via[24];

		if (!w)
			continue;
		snprintf(via, sizeof(via), "fd/%d", fd->fd);
		r = found(s, w, &fd->st, via, fd->link, err);
	}
	return r;
}

/* ---- handles ---- */

/* Needs CAP_DAC_READ_SEARCH. The path is ours, so the task must see the same. */
static int try_handle(struct find *s, const struct proc_mount *m, struct res_watch *w,
		      struct ck_err *err)
{
	struct {
		struct file_handle h;
		unsigned char room[PROC_HANDLE_MAX];
	} u = { .h = { .handle_bytes = (unsigned int)w->w.handle_len,
		       .handle_type = w->w.handle_type } };
	CK_AUTO(fd) int mount = open(m->point, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CK_AUTO(fd) int fd = -EBADF;
	CK_AUTO(free) char *path = NULL;
	char link[40];

	memcpy(u.room, w->w.handle, w->w.handle_len);
	fd = mount >= 0 ? open_by_handle_at(mount, &u.h, O_PATH | O_CLOEXEC) : -EBADF;
	if (fd < 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return ck_readlink_at(AT_FDCWD, link, &path) == 0 ? offer(s, path, err) : 0;
}

static int try_handles(struct find *s, struct ck_err *err)
{
	CK_AUTO(proc_mounts) struct proc_mounts mounts = { 0 };
	int r = 0;

	if (!s->t->our_mounts || proc_read_mountinfo(s->t->dirfd, &mounts, NULL) < 0)
		return 0;
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < mounts.n && !s->w[i].f.task && r == 0; k++)
			if (mounts.m[k].major == s->w[i].w.kdev >> 20 &&
			    mounts.m[k].minor == (s->w[i].w.kdev & 0xfffff) && s->w[i].w.handle_len)
				r = try_handle(s, &mounts.m[k], &s->w[i], err);
	return r;
}

/* ---- paths in /proc ---- */

/* The path and all directories above it. Names of " (deleted)" files have directories, too. */
static int offer_upwards(struct find *s, const char *path, struct ck_err *err)
{
	CK_AUTO(free) char *p = strdup(path);
	char *slash;
	int r = 0;

	if (!p)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	while (p[0] == '/' && s->left && r == 0) {
		r = offer(s, p, err);
		slash = strrchr(p, '/');
		if (!slash[1])
			break;
		slash[slash == p] = '\0';
	}
	return r;
}

static int try_known(struct find *s, struct ck_err *err)
{
	static const char *const links[] = { "cwd", "root", "exe" };
	const struct engine_task *t = s->t;
	int r = 0;

	for (size_t i = 0; i < CK_ARRAY_SIZE(links) && s->left && r == 0; i++) {
		CK_AUTO(free) char *path = NULL;

		if (ck_readlink_at(t->dirfd, links[i], &path) == 0)
			r = offer_upwards(s, path, err);
	}
	for (size_t i = 0; i < t->n_fds && s->left && r == 0; i++)
		if (t->fds[i].link[0] == '/')
			r = offer_upwards(s, t->fds[i].link, err);
	for (size_t i = 0; i < t->maps.n && s->left && r == 0; i++)
		if (t->maps.m[i].name[0] == '/' &&
		    (i == 0 || strcmp(t->maps.m[i].name, t->maps.m[i - 1].name) != 0))
			r = offer_upwards(s, t->maps.m[i].name, err);
	return r;
}

/* ---- below a directory ---- */

/* dir is read and closed. Inode numbers stand in directories: nothing else has to be asked. */
static int walk(struct find *s, int dir, const char *path, int depth, struct ck_err *err)
{
	DIR *dp = fdopendir(dir);
	const struct dirent *e;
	int r = 0;

	if (!dp) {
		close(dir);
		return 0;
	}
	while (s->left && r == 0 && s->entries < MAX_ENTRIES && (e = readdir(dp))) {
		CK_AUTO(free) char *name = NULL;
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		s->entries++;
		if (!first_of(s, e->d_ino) && e->d_type != DT_DIR)
			continue;
		if (asprintf(&name, "%s/%s", path, e->d_name) < 0) {
			name = NULL;
			r = ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
			break;
		}
		r = offer(s, name, err);
		if (r < 0 || e->d_type != DT_DIR || depth >= MAX_DEPTH)
			continue;
		sub = openat(dirfd(dp), e->d_name,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (sub >= 0)
			r = walk(s, sub, name, depth + 1, err);
	}
	closedir(dp);
	return r;
}

static int try_below(struct find *s, struct ck_err *err)
{
	CK_AUTO(free) char *path = NULL;
	int dir;

	if (ck_readlink_at(s->t->dirfd, "cwd", &path) < 0 || path[0] != '/' || !path[1])
		return 0;
	dir = res_name_open(s->t, path, O_RDONLY | O_DIRECTORY);
	return dir >= 0 ? walk(s, dir, path, 0, err) : 0;
}

/* ---- strings in memory ---- */

/* Text that ends in this piece of memory; one that lies across two pieces is not seen. */
static int offer_strings(struct find *s, const char *buf, size_t len, struct ck_err *err)
{
	const char *p = buf, *end = buf + len;
	int r = 0;

	while (s->left && r == 0 && p < end && (p = memchr(p, '/', (size_t)(end - p)))) {
		size_t room = end - p < PATH_MAX ? (size_t)(end - p) : PATH_MAX;
		bool begins = p == buf || (unsigned char)p[-1] <= ' ' || p[-1] == '=';
		const char *nul = begins ? memchr(p, '\0', room) : NULL;

		if (nul && s->strings++ < MAX_STRINGS)
			r = offer(s, p, err);
		p = nul ? nul + 1 : p + 1;
	}
	return r;
}

static int try_memory(struct find *s, struct ck_err *err)
{
	CK_AUTO(free) char *buf = malloc(CHUNK);
	size_t chunks = 0;
	int r = 0;

	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read memory");
	for (size_t i = 0; i < s->t->maps.n; i++) {
		const struct proc_map *m = &s->t->maps.m[i];

		if (m->shared || !m->w || !m->rss_kib ||
		    !(engine_map_status(m) & (IMAGE_VMA_ANON_PRIVATE | IMAGE_VMA_FILE_PRIVATE)))
			continue;
		for (uint64_t at = m->start; at < m->end && s->left && r == 0; at += CHUNK) {
			size_t want = m->end - at < CHUNK ? (size_t)(m->end - at) : CHUNK;
			ssize_t n = pread(s->t->memfd, buf, want, (off_t)at);

			if (n <= 0 || ++chunks > MAX_CHUNKS)
				break;
			r = offer_strings(s, buf, (size_t)n, err);
		}
	}
	return r;
}

int res_watches_find(struct engine_dump *d, const struct engine_task *t, struct res_watch *w,
		     size_t n, struct ck_err *err)
{
	static int (*const ways[])(struct find * s, struct ck_err * err) = {
		try_descriptors, try_handles, try_known, try_below, try_memory,
	};
	struct find s = { .d = d, .t = t, .w = w, .n = n, .left = n };
	int r = 0;

	if (n)
		qsort(w, n, sizeof(*w), by_inode);
	for (size_t i = 0; i < CK_ARRAY_SIZE(ways) && s.left && r == 0; i++)
		r = ways[i](&s, err);
	return r;
}
