// SPDX-License-Identifier: Apache-2.0
/*
 * Restore of files that travelled in the image (ghost.c): each is made once, and all descriptions
 * and mappings of it are opened through /proc. One that had no name any more gets none; it is made
 * where it was, so that it has the same file system, or else in a directory for temporary files.
 * One that had its name gets it when all files are open; whatever has that name now loses it, but
 * stays with those who have it open. Modes are set last: until then it must be possible to open the
 * file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"
#include "image/ghost-file.pb-c.h"
#include "image/remap-file-path.pb-c.h"

enum { COPY_CHUNK = 1 << 18 };

struct res_carried {
	enum image_kind kind; /* IMAGE_GHOST_FILE, or IMAGE_CKPT_FILE: it has a name */
	uint32_t id;
	struct image_entries e; /* e.m[0] is the ghost_file_entry */
	int fd;                 /* once made: readable and writable */
	char *temp;             /* what it is called until it gets its name; NULL without one */
	const char *name;
};

static const GhostFileEntry *head_of(const struct res_carried *c)
{
	return (const GhostFileEntry *)c->e.m[0];
}

mode_t res_carried_mode(const struct res_carried *c)
{
	return head_of(c)->mode;
}

/* ---- load ---- */

static int check_carried(const struct res_carried *c, struct ck_err *err)
{
	const GhostFileEntry *h;

	if (c->e.n == 0)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "is empty");
	h = head_of(c);
	if (c->kind == IMAGE_CKPT_FILE && S_ISDIR(h->mode))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "holds a directory");
	if (!S_ISREG(h->mode) && !S_ISDIR(h->mode) && !S_ISFIFO(h->mode))
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "holds a kind of file that can't be made (mode %o)", h->mode);
	if (!h->has_chunks || !h->chunks)
		return c->e.n == 1 ? 0 : ck_fail(err, CK_ERR_IMAGE, -EINVAL, "has odd entries");
	if (!h->has_size || h->size > INT64_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "has no size");
	for (size_t i = 1; i < c->e.n; i++) {
		const GhostChunkEntry *k = (const GhostChunkEntry *)c->e.m[i];

		if (k->len != c->e.raw_len[i] || k->off > h->size || k->len > h->size - k->off)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "has a chunk outside of it");
	}
	return 0;
}

static int get_carried(struct engine_restore *r, enum image_kind kind, uint32_t id,
		       struct res_carried **ret, struct ck_err *err)
{
	struct res_restore *res = r->res;
	struct res_carried **grown, *c;
	char name[IMAGE_NAME_MAX];
	int e;

	for (size_t i = 0; i < res->n_carried; i++)
		if (res->carried[i]->id == id && res->carried[i]->kind == kind) {
			*ret = res->carried[i];
			return 0;
		}
	grown = reallocarray(res->carried, res->n_carried + 1, sizeof(*grown));
	if (grown)
		res->carried = grown;
	c = grown ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a carried file");
	c->kind = kind;
	c->id = id;
	c->fd = -EBADF;
	res->carried[res->n_carried++] = c;
	e = image_read_all(r->image, kind, id, &c->e, err);
	if (e == 0)
		e = check_carried(c, err);
	*ret = c;
	image_file_name(kind, id, name);
	return e < 0 ? ck_err_at(err, e, "%s", name) : 0;
}

/* Where it had two names, one of them is enough: nothing tells them apart. */
static int load_named(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const RegFileEntry *reg = f->fe->reg;
	int e;

	if (!reg->has_carried)
		return 0;
	if (f->carried)
		return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "file %u is carried twice", f->fe->id);
	e = get_carried(r, IMAGE_CKPT_FILE, reg->carried, &f->carried, err);
	if (e == 0 && !f->carried->name)
		f->carried->name = reg->name;
	return e;
}

static int load_remap(struct engine_restore *r, const RemapFilePathEntry *m, struct ck_err *err)
{
	struct res_rfile *f = res_rfile_find(r, m->orig_id);
	bool ghost = m->has_remap_type ? m->remap_type == REMAP_TYPE__GHOST
				       : (m->remap_id & 1u << 31) != 0;

	if (!f || !f->fe->reg)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "file %u of remap-fpath.img is no file",
			       m->orig_id);
	if (!ghost)
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore %s, which was dumped as a link of another file",
			       f->fe->reg->name);
	if (f->carried)
		return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "file %u is carried twice", m->orig_id);
	return get_carried(r, IMAGE_GHOST_FILE,
			   m->has_remap_type ? m->remap_id : m->remap_id & ~(1u << 31), &f->carried,
			   err);
}

int res_carried_load(struct engine_restore *r, struct ck_err *err)
{
	int ret = res_read_all(r, IMAGE_REMAP_FPATH, &r->res->remaps, err);

	for (size_t i = 0; ret == 0 && i < r->res->remaps.n; i++)
		ret = load_remap(r, (const RemapFilePathEntry *)r->res->remaps.m[i], err);
	for (size_t i = 0; ret == 0 && i < r->res->n_files; i++)
		if (r->res->file[i].fe->reg)
			ret = load_named(r, &r->res->file[i], err);
	return ret;
}

/* ---- open ---- */

/* The directories above path; those that are missing are made with the modes they had. */
static int make_dirs(const struct res_carried *c, struct ck_err *err)
{
	CK_AUTO(free) char *path = strdup(c->name);
	const GhostFileEntry *h = head_of(c);
	size_t depth = 0;
	char *slash;

	if (!path)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make a directory");
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/'))
		depth++;
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		mode_t mode = depth-- <= h->n_dir_mode ? h->dir_mode[depth] & 07777 : 0700;

		*slash = '\0';
		if (mkdir(path, 0700) == 0) {
			if (chmod(path, mode) < 0)
				return ck_fail_errno(err, "cannot set the mode of %s", path);
		} else if (errno != EEXIST) {
			return ck_fail_errno(err, "cannot make the directory %s", path);
		}
		*slash = '/';
	}
	return 0;
}

/* Beside its place, from where it can be renamed. */
static int make_named(struct res_carried *c, struct ck_err *err)
{
	const char *slash = strrchr(c->name, '/');
	int fd, r = make_dirs(c, err);

	if (r < 0)
		return r;
	if (asprintf(&c->temp, "%.*s/.ckpt-XXXXXX", (int)(slash - c->name), c->name) < 0) {
		c->temp = NULL;
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make %s again", c->name);
	}
	fd = mkostemp(c->temp, O_CLOEXEC);
	if (fd >= 0 && S_ISFIFO(head_of(c)->mode)) {
		close(fd);
		/* The number is ours now; between the two calls it can only be lost. */
		fd = unlink(c->temp) == 0 && mkfifo(c->temp, 0600) == 0
			     ? open(c->temp, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)
			     : -1;
	}
	return fd >= 0 ? fd : ck_fail_errno(err, "cannot make %s again", c->name);
}

static int make_regular(const char *dir)
{
	CK_AUTO(free) char *name = NULL;
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* NFS and FUSE have no O_TMPFILE. */
	if (asprintf(&name, "%s/.ckpt-XXXXXX", dir) < 0)
		return -1;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

/* What has no O_TMPFILE gets a name for a moment, inside a directory that nobody else looks into.
 */
static int make_other(const char *dir, mode_t mode)
{
	CK_AUTO(free) char *name = NULL;
	CK_AUTO(free) char *inner = NULL;
	int fd = -1;

	if (asprintf(&name, "%s/.ckpt-XXXXXX", dir) < 0) {
		name = NULL;
		return -1;
	}
	if (!mkdtemp(name))
		return -1;
	if (S_ISDIR(mode)) {
		fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else if (asprintf(&inner, "%s/fifo", name) < 0) {
		inner = NULL;
	} else if (mkfifo(inner, 0600) == 0) {
		fd = open(inner, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		unlink(inner);
	}
	rmdir(name);
	return fd;
}

static int make_in(const char *dir, mode_t mode)
{
	return S_ISREG(mode) ? make_regular(dir) : make_other(dir, mode);
}

/* Near its old place, else where temporary files go. */
static int make(const struct res_carried *c, const char *path, struct ck_err *err)
{
	const mode_t mode = head_of(c)->mode;
	const char *const others[] = { secure_getenv("TMPDIR"), "/tmp", "/var/tmp" };
	const char *slash = strrchr(path, '/');
	CK_AUTO(free) char *dir = strndup(path, slash > path ? (size_t)(slash - path) : 1);
	int fd = dir ? make_in(dir, mode) : -1, r;

	for (size_t i = 0; fd < 0 && i < CK_ARRAY_SIZE(others); i++)
		if (others[i] && others[i][0] == '/')
			fd = make_in(others[i], mode);
	if (fd >= 0)
		return fd;
	r = ck_fail_errno(err, "cannot make the deleted file %s again", path);
	return ck_err_hint(err, r, "set TMPDIR to a directory that can be written to");
}

static int make_memfd(const char *path, struct ck_err *err)
{
	const char *name = strncmp(path, "/memfd:", 7) ? path : path + 7;
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd >= 0 ? fd : ck_fail_errno(err, "cannot make a memfd");
}

static int copy(int in, uint64_t in_off, int out, uint64_t off, uint64_t len, void *buf,
		struct ck_err *err)
{
	while (len > 0) {
		size_t want = len < COPY_CHUNK ? (size_t)len : COPY_CHUNK;
		ssize_t n = ck_pread_full(in, buf, want, (off_t)in_off);
		int r;

		if (n < 0 || (size_t)n < want)
			return ck_fail(err, CK_ERR_IMAGE, n < 0 ? (int)n : -EIO,
				       "a carried file can't be read");
		r = ck_pwrite_full(out, buf, want, (off_t)off);
		if (r < 0)
			return ck_fail(err, CK_ERR_SYS, r, "cannot write a carried file");
		in_off += want;
		off += want;
		len -= want;
	}
	return 0;
}

static int fill(struct engine_restore *r, const struct res_carried *c, int fd, struct ck_err *err)
{
	const GhostFileEntry *h = head_of(c);
	CK_AUTO(free) void *buf = malloc(COPY_CHUNK);
	CK_AUTO(fd) int in = image_open_fd(r->image, c->kind, c->id, err);
	int ret = 0;

	if (in < 0)
		return in;
	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write a carried file");
	if (!h->has_chunks || !h->chunks)
		return copy(in, c->e.raw_off[0], fd, 0, c->e.raw_len[0], buf, err);
	if (ftruncate(fd, (off_t)h->size) < 0)
		return ck_fail_errno(err, "cannot make a carried file of %llu bytes",
				     (unsigned long long)h->size);
	for (size_t i = 1; i < c->e.n && ret == 0; i++) {
		const GhostChunkEntry *k = (const GhostChunkEntry *)c->e.m[i];

		ret = copy(in, c->e.raw_off[i], fd, k->off, k->len, buf, err);
	}
	return ret;
}

int res_carried_open(struct engine_restore *r, struct res_carried *c, const char *path, int flags,
		     int *ret_fd, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	char link[40];
	int ret;

	if (c->fd < 0) {
		fd = head_of(c)->has_seals ? make_memfd(path, err)
		     : c->name             ? make_named(c, err)
					   : make(c, path, err);
		if (fd < 0)
			return fd;
		ret = S_ISREG(head_of(c)->mode) ? fill(r, c, fd, err) : 0;
		if (ret < 0)
			return ret;
		c->fd = ck_take_fd(&fd);
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", c->fd);
	/* The link of /proc has to be followed. */
	flags &= ~O_NOFOLLOW;
	fd = open(link, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return ck_fail_errno(err, "cannot open the carried file %s again", path);
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

/* The owner may be somebody who doesn't exist in our user namespace: then the file is ours. */
static void give_away(const struct res_carried *c)
{
	const GhostFileEntry *h = head_of(c);
	struct timespec times[2] = { { 0 }, { 0 } };

	if (geteuid() == 0 && fchown(c->fd, h->uid, h->gid) < 0)
		errno = 0;
	(void)!fchmod(c->fd, h->mode & 07777);
	if (!h->atim || !h->mtim)
		return;
	times[0].tv_sec = (time_t)h->atim->tv_sec;
	times[0].tv_nsec = (long)(h->atim->tv_usec % 1000000) * 1000;
	times[1].tv_sec = (time_t)h->mtim->tv_sec;
	times[1].tv_nsec = (long)(h->mtim->tv_usec % 1000000) * 1000;
	(void)!futimens(c->fd, times);
}

/* An open writer would keep the file from being executed. */
int res_carried_finish(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->res->n_carried; i++) {
		struct res_carried *c = r->res->carried[i];

		if (c->fd < 0)
			continue;
		give_away(c);
		if (head_of(c)->has_seals && fcntl(c->fd, F_ADD_SEALS, head_of(c)->seals) < 0)
			return ck_fail_errno(err, "cannot seal a memfd");
		close(c->fd);
		c->fd = -EBADF;
		if (!c->temp)
			continue;
		if (rename(c->temp, c->name) < 0)
			return ck_fail_errno(err, "cannot put %s in place", c->name);
		free(c->temp);
		c->temp = NULL;
	}
	return 0;
}

void res_carried_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->res->n_carried; i++) {
		if (r->res->carried[i]->fd >= 0)
			close(r->res->carried[i]->fd);
		if (r->res->carried[i]->temp)
			unlink(r->res->carried[i]->temp);
		free(r->res->carried[i]->temp);
		image_entries_done(&r->res->carried[i]->e);
		free(r->res->carried[i]);
	}
	free(r->res->carried);
}
