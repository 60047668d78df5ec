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

/* A run of data in the image */
struct run {
	uint64_t at, off, len; /* bytes: where in the image's file, where in the file, how much */
};

struct res_carried {
	enum image_kind kind; /* IMAGE_GHOST_FILE, or IMAGE_CKPT_FILES: it has a name */
	uint32_t id;
	struct image_entries e;     /* of a ghost-file */
	const GhostFileEntry *head; /* in e, or in ckpt-files.img */
	struct run *runs;
	size_t n_runs;
	int fd;     /* once made: readable and writable */
	char *temp; /* what it is called until it gets its name; NULL without one */
	const char *name;
};

mode_t res_carried_mode(const struct res_carried *c)
{
	return c->head->mode;
}

/* ---- load ---- */

static int check_head(const struct res_carried *c, struct ck_err *err)
{
	const GhostFileEntry *h = c->head;

	if (c->kind == IMAGE_CKPT_FILES && S_ISDIR(h->mode))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "holds a directory");
	if (!S_ISREG(h->mode) && !S_ISDIR(h->mode) && !S_ISFIFO(h->mode))
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "holds a kind of file that can't be made (mode %o)", h->mode);
	if (h->has_chunks && h->chunks && (!h->has_size || h->size > INT64_MAX))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "has no size");
	return 0;
}

static int add_run(struct res_carried *c, const GhostChunkEntry *k, uint64_t at, struct ck_err *err)
{
	if (k->off > c->head->size || k->len > c->head->size - k->off)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "has a chunk outside of it");
	c->runs[c->n_runs++] = (struct run){ at, k->off, k->len };
	return 0;
}

static int alloc_runs(struct res_carried *c, size_t n, struct ck_err *err)
{
	c->runs = calloc(n + 1, sizeof(*c->runs));
	return c->runs ? 0 : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember what it holds");
}

/* ghost-file-ID.img */
static int load_ghost(struct engine_restore *r, struct res_carried *c, struct ck_err *err)
{
	int e = image_read_all(r->image, c->kind, c->id, &c->e, err);

	if (e < 0)
		return e;
	if (c->e.n == 0)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "is empty");
	c->head = (const GhostFileEntry *)c->e.m[0];
	e = check_head(c, err);
	if (e == 0)
		e = alloc_runs(c, c->e.n, err);
	if (e < 0)
		return e;
	if (!c->head->has_chunks || !c->head->chunks) {
		c->runs[c->n_runs++] = (struct run){ c->e.raw_off[0], 0, c->e.raw_len[0] };
		return c->e.n == 1 ? 0 : ck_fail(err, CK_ERR_IMAGE, -EINVAL, "has odd entries");
	}
	for (size_t i = 1; i < c->e.n && e == 0; i++)
		e = add_run(c, (const GhostChunkEntry *)c->e.m[i], c->e.raw_off[i], err);
	return e;
}

static int load_entry(struct res_carried *c, const CkptFileEntry *f, uint64_t at,
		      struct ck_err *err)
{
	int e;

	c->head = f->file;
	e = check_head(c, err);
	if (e == 0)
		e = alloc_runs(c, f->n_chunks, err);
	for (size_t i = 0; i < f->n_chunks && e == 0; i++) {
		e = add_run(c, f->chunks[i], at, err);
		at += f->chunks[i]->len;
	}
	return e;
}

static struct res_carried *carried_new(struct engine_restore *r, enum image_kind kind, uint32_t id,
				       struct ck_err *err)
{
	struct res_restore *res = r->res;
	struct res_carried **grown = reallocarray(res->carried, res->n_carried + 1, sizeof(*grown));
	struct res_carried *c = calloc(1, sizeof(*c));

	if (grown)
		res->carried = grown;
	if (!grown || !c) {
		free(c);
		ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a carried file");
		return NULL;
	}
	c->kind = kind;
	c->id = id;
	c->fd = -EBADF;
	res->carried[res->n_carried++] = c;
	return c;
}

static int get_ghost(struct engine_restore *r, uint32_t id, struct res_carried **ret,
		     struct ck_err *err)
{
	struct res_carried *c;
	int e;

	for (size_t i = 0; i < r->res->n_carried; i++)
		if (r->res->carried[i]->id == id && r->res->carried[i]->kind == IMAGE_GHOST_FILE) {
			*ret = r->res->carried[i];
			return 0;
		}
	c = carried_new(r, IMAGE_GHOST_FILE, id, err);
	if (!c)
		return -ENOMEM;
	e = load_ghost(r, c, err);
	if (e < 0)
		return ck_err_at(err, e, "ghost-file-%x.img", id);
	*ret = c;
	return 0;
}

/* Entries are asked for in the order in which they stand, nearly. */
static int get_named(struct engine_restore *r, uint32_t id, struct res_carried **ret,
		     struct ck_err *err)
{
	struct res_restore *res = r->res;
	const struct image_entries *all = &res->ckpt_files;
	struct res_carried *c;
	size_t at = 0, n;
	int e;

	for (n = 0; n < all->n; n++) {
		at = (res->last_named + n) % all->n;
		if (((const CkptFileEntry *)all->m[at])->id == id)
			break;
	}
	if (n == all->n)
		return ck_fail(err, CK_ERR_IMAGE, -ENOENT, "ckpt-files.img has no file %u", id);
	res->last_named = at;
	c = res->named[at];
	if (!c) {
		c = carried_new(r, IMAGE_CKPT_FILES, id, err);
		if (!c)
			return -ENOMEM;
		e = load_entry(c, (const CkptFileEntry *)all->m[at], all->raw_off[at], err);
		if (e < 0) {
			ck_err_at(err, e, "file %u of ckpt-files.img", id);
			return e;
		}
		res->named[at] = c;
	}
	*ret = c;
	return 0;
}

/* Where it had several names, the first is made, and the others are given to it. */
static int load_named(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const RegFileEntry *reg = f->fe->reg;
	struct res_carried *c = NULL;
	int e;

	if (!reg->has_carried)
		return 0;
	if (f->carried)
		return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "file %u is carried twice", f->fe->id);
	e = get_named(r, reg->carried, &c, err);
	if (e < 0)
		return e;
	if (!c->name)
		c->name = reg->name;
	f->carried = c;
	return 0;
}

static int load_remap(struct engine_restore *r, const RemapFilePathEntry *m, struct ck_err *err)
{
	struct res_rfile *f = res_rfile_find(r, m->orig_id);
	bool ghost = m->has_remap_type ? m->remap_type == REMAP_TYPE__GHOST
				       : (m->remap_id & 1u << 31) != 0;

	if (!f || !f->fe->reg)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "file %u of remap-fpath.img is no file",
			       m->orig_id);
	if (m->has_remap_type && m->remap_type == REMAP_TYPE__PROCFS) {
		f->gone = true;
		return 0;
	}
	if (!ghost)
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore %s, which was dumped as a link of another file",
			       f->fe->reg->name);
	if (f->carried)
		return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "file %u is carried twice", m->orig_id);
	return get_ghost(r, m->has_remap_type ? m->remap_id : m->remap_id & ~(1u << 31),
			 &f->carried, err);
}

int res_carried_load(struct engine_restore *r, struct ck_err *err)
{
	int ret = res_read_all(r, IMAGE_REMAP_FPATH, &r->res->remaps, err);

	if (ret == 0)
		ret = res_read_all(r, IMAGE_CKPT_FILES, &r->res->ckpt_files, err);
	if (ret < 0)
		return ret;
	r->res->named = calloc(r->res->ckpt_files.n + 1, sizeof(struct res_carried *));
	if (!r->res->named)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember carried files");
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
	const GhostFileEntry *h = c->head;
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
	if (fd >= 0 && S_ISFIFO(c->head->mode)) {
		close(fd);
		/* The number is ours now; between the two calls it can only be lost. */
		fd = unlink(c->temp) == 0 && mkfifo(c->temp, 0600) == 0
			     ? open(c->temp, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)
			     : -1;
	}
	return fd >= 0 ? fd : ck_fail_errno(err, "cannot make %s again", c->name);
}

/* With its name for a moment, if that is free, so that /proc tells the same of it as before. */
static int make_regular(const char *dir, const char *path)
{
	CK_AUTO(free) char *name = NULL;
	int fd = path ? open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600) : -1;

	if (fd >= 0) {
		unlink(path);
		return fd;
	}
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
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

static int make_in(const char *dir, const char *path, mode_t mode)
{
	return S_ISREG(mode) ? make_regular(dir, path) : make_other(dir, mode);
}

/* Near its old place, else where temporary files go. */
static int make(const struct res_carried *c, const char *path, struct ck_err *err)
{
	const mode_t mode = c->head->mode;
	const char *const others[] = { secure_getenv("TMPDIR"), "/tmp", "/var/tmp" };
	const char *slash = strrchr(path, '/');
	CK_AUTO(free) char *dir = strndup(path, slash > path ? (size_t)(slash - path) : 1);
	int fd = dir ? make_in(dir, path, mode) : -1, r;

	for (size_t i = 0; fd < 0 && i < CK_ARRAY_SIZE(others); i++)
		if (others[i] && others[i][0] == '/')
			fd = make_in(others[i], NULL, mode);
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
	const GhostFileEntry *h = c->head;
	CK_AUTO(free) void *buf = malloc(COPY_CHUNK);
	CK_AUTO(fd) int in = image_open_fd(r->image, c->kind, c->id, err);
	int ret = 0;

	if (in < 0)
		return in;
	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write a carried file");
	if (h->has_chunks && h->chunks && ftruncate(fd, (off_t)h->size) < 0)
		return ck_fail_errno(err, "cannot make a carried file of %llu bytes",
				     (unsigned long long)h->size);
	for (size_t i = 0; i < c->n_runs && ret == 0; i++)
		ret = copy(in, c->runs[i].at, fd, c->runs[i].off, c->runs[i].len, buf, err);
	return ret;
}

static int make_any(const struct engine_restore *r, struct res_carried *c, const char *path,
		    struct ck_err *err)
{
	(void)r;
	free(c->temp); /* of a first attempt */
	c->temp = NULL;
	return c->name ? make_named(c, err) : make(c, path, err);
}

/* Makes or moves a carried file with the rights of the job's user, whose it was, or of root where
 * only he can have done so. */
static int as_job(const struct engine_restore *r, struct res_carried *c, const char *path,
		  int (*fn)(const struct engine_restore *r, struct res_carried *c, const char *path,
			    struct ck_err *err),
		  struct ck_err *err)
{
	struct engine_self self;
	int ret = engine_act_as_job(r, &self, err);
	bool other = self.changed;

	if (ret == 0)
		ret = fn(r, c, path, err);
	engine_act_as_self(&self);
	if (!other || (ret != -EACCES && ret != -EPERM))
		return ret;
	if (engine_is_given(r, path))
		return fn(r, c, path, err);
	return ck_err_hint(err, ret, "files are made with the rights of the job's user, %u",
			   r->uid);
}

int res_carried_open(struct engine_restore *r, struct res_carried *c, const char *path, int flags,
		     int *ret_fd, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	char link[40];
	int ret;

	if (c->fd < 0) {
		fd = c->head->has_seals ? make_memfd(path, err)
					: as_job(r, c, c->name ? c->name : path, make_any, err);
		if (fd < 0)
			return fd;
		ret = S_ISREG(c->head->mode) ? fill(r, c, fd, err) : 0;
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

/* The owner may be somebody who doesn't exist in our user namespace: then the file is ours. Only an
 * image of our own makes files of others: programs of root's among them. */
static void give_away(const struct engine_restore *r, const struct res_carried *c)
{
	const GhostFileEntry *h = c->head;
	struct timespec times[2] = { { 0 }, { 0 } };
	bool others = !r->one_uid || h->uid != r->uid;

	if (geteuid() == 0 && (!others || engine_trusts_image(r)) &&
	    fchown(c->fd, h->uid, h->gid) < 0)
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

/* One that the job had open by several names is to be found by all of them. */
static int give_other_names(const struct engine_restore *r, const struct res_carried *c,
			    struct ck_err *err)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		const char *name = f->carried == c ? f->fe->reg->name : c->name;
		CK_AUTO(free) char *temp = NULL;
		int ret = 0;

		if (strcmp(name, c->name) == 0)
			continue;
		if (asprintf(&temp, "%s.ckpt-%d", name, (int)getpid()) < 0) {
			temp = NULL;
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make %s again", name);
		}
		if (link(c->name, temp) < 0 || rename(temp, name) < 0)
			ret = ck_fail_errno(err, "cannot give %s its other name %s", c->name, name);
		/* Where the two were the same file already, it is still there. */
		(void)unlink(temp);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int put_in_place(const struct engine_restore *r, struct res_carried *c, const char *path,
			struct ck_err *err)
{
	/* A second attempt finds the first half done. */
	if (c->temp && rename(c->temp, path) < 0)
		return ck_fail_errno(err, "cannot put %s in place", path);
	free(c->temp);
	c->temp = NULL;
	return give_other_names(r, c, err);
}

/* An open writer would keep the file from being executed. It may only be given away when it has its
 * name: in a directory such as /tmp nobody else can rename it. */
int res_carried_finish(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_carried && ret == 0; i++) {
		struct res_carried *c = r->res->carried[i];

		if (c->fd < 0)
			continue;
		if (c->temp)
			ret = as_job(r, c, c->name, put_in_place, err);
		give_away(r, c);
		if (c->head->has_seals && fcntl(c->fd, F_ADD_SEALS, c->head->seals) < 0)
			return ck_fail_errno(err, "cannot seal a memfd");
		close(c->fd);
		c->fd = -EBADF;
	}
	return ret;
}

void res_carried_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->res->n_carried; i++) {
		if (r->res->carried[i]->fd >= 0)
			close(r->res->carried[i]->fd);
		if (r->res->carried[i]->temp)
			unlink(r->res->carried[i]->temp);
		free(r->res->carried[i]->temp);
		free(r->res->carried[i]->runs);
		image_entries_done(&r->res->carried[i]->e);
		free(r->res->carried[i]);
	}
	free(r->res->named);
	free(r->res->carried);
}
