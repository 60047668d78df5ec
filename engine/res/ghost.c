// SPDX-License-Identifier: Apache-2.0
/*
 * Dump of files that travel: of those that no name leads to any more each inode once, as CRIU's
 * ghost-file-ID.img, and remap-fpath.img says which paths stand for it; of those that have a name
 * but are part of the job's state (state.c), all in ckpt-files.img. Holes stay holes. The
 * contents are read through a descriptor of the job, its exe link or map_files; of a file that is
 * only mapped, where map_files is forbidden, what is mapped of it is read from the tasks' memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"
#include "image/ghost-file.pb-c.h"
#include "image/remap-file-path.pb-c.h"

enum { COPY_CHUNK = 1 << 18, PAGE = IMAGE_PAGE_SIZE };

struct res_ghost_src {
	uint32_t id;
	const struct res_file *f; /* one that leads to it */
	bool mapped_only, named;
};

static struct res_ghost_src *find_ghost(struct engine_dump *d, const struct res_file *f)
{
	for (size_t i = 0; i < d->res->n_ghosts; i++) {
		struct res_ghost_src *g = &d->res->ghosts[i];

		/* On some file systems (btrfs) maps and stat() disagree on the device. */
		if (g->named == f->named && g->f->st.st_ino == f->st.st_ino &&
		    (g->f->st.st_dev == f->st.st_dev || strcmp(g->f->name, f->name) == 0))
			return g;
	}
	return NULL;
}

static int add_ghost(struct engine_dump *d, struct res_file *f, bool mapped_only,
		     struct ck_err *err)
{
	struct res_dump *res = d->res;
	struct res_ghost_src *g = find_ghost(d, f);

	if (!g) {
		g = reallocarray(res->ghosts, res->n_ghosts + 1, sizeof(*g));
		if (!g)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a file");
		res->ghosts = g;
		g = &res->ghosts[res->n_ghosts++];
		*g = (struct res_ghost_src){ (uint32_t)res->n_ghosts, f, mapped_only, f->named };
	}
	f->ghost = g->id;
	return 0;
}

int res_ghost_add(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	if (!S_ISREG(f->st.st_mode) && !S_ISDIR(f->st.st_mode) && !S_ISFIFO(f->st.st_mode))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a deleted file that is no regular file (%s)", f->name);
	return add_ghost(d, f, false, err);
}

int res_ghost_add_mapped(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return add_ghost(d, f, f->via == NULL, err);
}

int res_ghost_add_named(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	f->named = true;
	return add_ghost(d, f, false, err);
}

void res_ghost_move(struct engine_dump *d, const struct res_file *from, const struct res_file *to)
{
	for (size_t i = 0; i < d->res->n_ghosts; i++)
		if (d->res->ghosts[i].f == from)
			d->res->ghosts[i].f = to;
}

int res_ghost_put_remap(struct engine_dump *d, const struct res_file *f, uint32_t id,
			struct ck_err *err)
{
	RemapFilePathEntry e = REMAP_FILE_PATH_ENTRY__INIT;

	e.orig_id = id;
	e.remap_id = f->ghost;
	e.has_remap_type = true;
	e.remap_type = REMAP_TYPE__GHOST;
	return res_put(d, RES_OUT_REMAP, &e.base, err);
}

/* Modes of the directories above a file, the nearest first; without "/". Files of one directory
 * tend to follow each other. */
static size_t dir_modes(struct engine_dump *d, const struct res_file *f,
			uint32_t modes[static RES_MAX_DIRS])
{
	CK_AUTO(free) char *dir = strndup(f->name, (size_t)(strrchr(f->name, '/') - f->name));
	const struct engine_task *t = d->res->modes_task;
	char *slash = dir ? dir + strlen(dir) : NULL;
	struct stat st;

	if (dir && t == f->task && strcmp(dir, d->res->modes_dir) == 0) {
		memcpy(modes, d->res->modes, d->res->n_modes * sizeof(*modes));
		return d->res->n_modes;
	}
	free(d->res->modes_dir);
	d->res->modes_dir = dir ? strdup(dir) : NULL;
	d->res->modes_task = d->res->modes_dir ? f->task : NULL;
	d->res->n_modes = 0;
	for (; slash && slash > dir && d->res->n_modes < RES_MAX_DIRS; slash = strrchr(dir, '/')) {
		*slash = '\0';
		if (res_name_stat(f->task, dir, &st) < 0)
			break;
		d->res->modes[d->res->n_modes++] = st.st_mode;
	}
	memcpy(modes, d->res->modes, d->res->n_modes * sizeof(*modes));
	return d->res->n_modes;
}

/* Is it mapped in a way that will not be possible any more once this seal is set? */
static bool is_mapped_for_writing(const struct engine_dump *d, const struct res_file *f)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->maps.n; k++) {
			const struct proc_map *m = &d->tasks[i]->maps.m[k];

			if (m->shared && m->w && m->inode == f->st.st_ino &&
			    makedev(m->dev_major, m->dev_minor) == f->st.st_dev)
				return true;
		}
	return false;
}

/* What nobody has open can't be sealed any more, nor asked. */
static int look_at_memfd(const struct engine_dump *d, const struct res_file *f, int fd,
			 uint32_t *ret_seals, struct ck_err *err)
{
	struct statfs fs;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstatfs(fd, &fs) < 0)
		return ck_fail_errno(err, "cannot look at a memfd");
	if (fs.f_type != TMPFS_MAGIC)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a memfd of huge pages");
	if ((seals & F_SEAL_FUTURE_WRITE) && is_mapped_for_writing(d, f))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a memfd that is sealed against future writing and "
			       "mapped for writing");
	*ret_seals = (uint32_t)seals;
	return 0;
}

/* A file without its data */
struct head {
	GhostFileEntry e;
	Timeval atim, mtim;
	uint32_t modes[RES_MAX_DIRS];
};

/* seals: of a memfd */
static void fill_head(struct engine_dump *d, struct head *h, const struct res_file *f,
		      const struct stat *st, uint32_t seals)
{
	ghost_file_entry__init(&h->e);
	timeval__init(&h->atim);
	timeval__init(&h->mtim);
	h->e.uid = st->st_uid;
	h->e.gid = st->st_gid;
	h->e.mode = st->st_mode;
	h->e.has_dev = h->e.has_ino = true;
	h->e.dev = major(st->st_dev) << 20 | minor(st->st_dev);
	h->e.ino = st->st_ino;
	h->atim.tv_sec = (uint64_t)st->st_atim.tv_sec;
	h->atim.tv_usec = (uint64_t)st->st_atim.tv_nsec / 1000;
	h->mtim.tv_sec = (uint64_t)st->st_mtim.tv_sec;
	h->mtim.tv_usec = (uint64_t)st->st_mtim.tv_nsec / 1000;
	h->e.atim = &h->atim;
	h->e.mtim = &h->mtim;
	h->e.has_seals = f->memfd;
	h->e.seals = seals;
	if (f->named) {
		h->e.dir_mode = h->modes;
		h->e.n_dir_mode = dir_modes(d, f, h->modes);
	}
	if (S_ISREG(st->st_mode)) {
		h->e.has_chunks = h->e.chunks = true;
		h->e.has_size = true;
		h->e.size = (uint64_t)st->st_size;
	}
}

/* What of a file is no hole */
struct extents {
	GhostChunkEntry *e;
	size_t n;
};

static void ck_auto_extents(struct extents *x)
{
	free(x->e);
}

static int add_extent(struct extents *x, uint64_t off, uint64_t len, struct ck_err *err)
{
	GhostChunkEntry *grown = reallocarray(x->e, x->n + 1, sizeof(*grown));

	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list what a file holds");
	x->e = grown;
	ghost_chunk_entry__init(&grown[x->n]);
	grown[x->n].off = off;
	grown[x->n++].len = len;
	return 0;
}

/* The data between the holes. A file system that knows no holes says that all is data. A borrowed
 * descriptor has the job's offset, which lseek() would move: there all is data too. */
static int list_extents(int fd, uint64_t size, bool borrowed, struct extents *x, struct ck_err *err)
{
	off_t data, hole = 0;
	int r = 0;

	if (borrowed)
		return size ? add_extent(x, 0, size, err) : 0;
	while (r == 0 && (uint64_t)hole < size) {
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return ck_fail_errno(
				err, "cannot find the data of a file that is to be carried");
		if ((uint64_t)hole > size)
			hole = (off_t)size;
		if (hole <= data)
			break;
		r = add_extent(x, (uint64_t)data, (uint64_t)(hole - data), err);
	}
	return r;
}

/* len bytes of fd, from at on */
static int put_data(struct image_file *out, int fd, uint64_t at, uint64_t len, void *buf,
		    struct ck_err *err)
{
	int r = 0;

	while (r == 0 && len > 0) {
		size_t want = len < COPY_CHUNK ? (size_t)len : COPY_CHUNK;
		ssize_t n = ck_pread_full(fd, buf, want, (off_t)at);

		if (n < 0 || (size_t)n < want)
			return ck_fail(err, CK_ERR_SYS, n < 0 ? (int)n : -EIO,
				       "cannot read a file that is to be carried");
		r = image_append_raw(out, buf, want, err);
		at += want;
		len -= want;
	}
	return r;
}

/* ghost-file: each piece of data behind an entry of its own */
static int put_ghost(struct image_file *out, const struct head *h, const struct extents *x, int fd,
		     void *buf, struct ck_err *err)
{
	int r = image_append(out, &h->e.base, err);

	for (size_t i = 0; i < x->n && r == 0; i++) {
		r = image_append(out, &x->e[i].base, err);
		if (r == 0)
			r = put_data(out, fd, x->e[i].off, x->e[i].len, buf, err);
	}
	return r;
}

/* ckpt-files: all of a file is one entry, with the data behind it */
static int put_named(struct engine_dump *d, const struct res_file *f, struct head *h,
		     const struct extents *x, int fd, void *buf, struct ck_err *err)
{
	CkptFileEntry e = CKPT_FILE_ENTRY__INIT;
	CK_AUTO(free) GhostChunkEntry **chunks = calloc(x->n + 1, sizeof(*chunks));
	int r;

	if (!chunks)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list what a file holds");
	for (size_t i = 0; i < x->n; i++)
		chunks[i] = &x->e[i];
	e.id = f->ghost;
	e.file = &h->e;
	e.chunks = chunks;
	e.n_chunks = x->n;
	r = res_put(d, RES_OUT_CKPT_FILES, &e.base, err);
	for (size_t i = 0; i < x->n && r == 0; i++)
		r = put_data(d->res->out[RES_OUT_CKPT_FILES], fd, x->e[i].off, x->e[i].len, buf,
			     err);
	return r;
}

static int open_source(struct engine_dump *d, const struct res_file *f, bool *ret_borrowed,
		       struct ck_err *err)
{
	int fd = f->via ? res_file_reopen(f, O_RDONLY) : res_name_open(f->task, f->name, O_RDONLY);
	int r;

	*ret_borrowed = fd == -EACCES && f->fd >= 0 && (f->flags & O_ACCMODE) != O_WRONLY;
	if (*ret_borrowed)
		fd = res_file_borrow(d, f);
	if (fd >= 0)
		return fd;
	r = ck_fail(err, CK_ERR_PERM, fd, "cannot read the %sfile %s", f->named ? "" : "deleted ",
		    f->name);
	return ck_err_hint(err, r, "its mode forbids it: root may dump it");
}

/* out: NULL for a file that has a name */
static int dump_open(struct engine_dump *d, const struct res_file *f, struct image_file *out,
		     void *buf, struct ck_err *err)
{
	CK_AUTO(extents) struct extents x = { 0 };
	CK_AUTO(fd) int fd = -EBADF;
	struct stat st = f->st;
	bool borrowed = false;
	uint32_t seals = 0;
	struct head h;
	int r = 0;

	if (S_ISREG(f->st.st_mode)) {
		fd = open_source(d, f, &borrowed, err);
		if (fd < 0)
			return fd;
		if (fstat(fd, &st) < 0)
			return ck_fail_errno(err, "cannot stat the file %s", f->name);
		r = f->memfd ? look_at_memfd(d, f, fd, &seals, err) : 0;
		if (r == 0)
			r = list_extents(fd, (uint64_t)st.st_size, borrowed, &x, err);
	}
	if (r < 0)
		return r;
	fill_head(d, &h, f, &st, seals);
	return out ? put_ghost(out, &h, &x, fd, buf, err) : put_named(d, f, &h, &x, fd, buf, err);
}

/* ---- files that are only mapped ---- */

struct segment {
	const struct engine_task *t;
	uint64_t addr, off, len; /* bytes; len: what can be read, from the start */
	int rank;                /* how well the memory stands for the file */
};

/* Reading past the end of the file fails with EIO; whole pages can be read or not. */
static uint64_t readable_len(const struct engine_task *t, uint64_t addr, uint64_t len)
{
	uint64_t lo = 0, hi = len / PAGE;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo + 1) / 2;
		char c;

		if (pread(t->memfd, &c, 1, (off_t)(addr + (mid - 1) * PAGE)) == 1)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo * PAGE;
}

static bool is_covered(const struct segment *s, size_t n, const struct segment *by)
{
	for (size_t i = 0; i < n; i++)
		if (by->rank <= s[i].rank && by->off >= s[i].off &&
		    by->off + by->len <= s[i].off + s[i].len)
			return true;
	return false;
}

static int add_segments(const struct engine_task *t, const struct res_file *f, struct segment **s,
			size_t *n)
{
	for (size_t i = 0; i < t->maps.n; i++) {
		const struct proc_map *m = &t->maps.m[i];
		struct segment g = { .t = t, .addr = m->start, .off = m->pgoff };
		struct segment *grown;

		if (!m->deleted || m->inode != f->st.st_ino ||
		    makedev(m->dev_major, m->dev_minor) != f->st.st_dev)
			continue;
		g.len = readable_len(t, m->start, m->end - m->start);
		g.rank = m->shared ? 2 : m->w ? 0 : 1;
		if (g.len == 0 || is_covered(*s, *n, &g))
			continue;
		grown = reallocarray(*s, *n + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		*s = grown;
		grown[(*n)++] = g;
	}
	return 0;
}

static int by_rank(const void *a, const void *b)
{
	return ((const struct segment *)a)->rank - ((const struct segment *)b)->rank;
}

/* What private pages were changed to goes into the image as memory anyway, and the file's own bytes
 * under them can't be seen by the job: it matters not that they stand here. */
static int dump_mapped(struct engine_dump *d, const struct res_file *f, struct image_file *out,
		       void *buf, struct ck_err *err)
{
	CK_AUTO(free) struct segment *s = NULL;
	struct stat st = f->st;
	struct head h;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		r = d->tasks[i]->zombie ? 0 : add_segments(d->tasks[i], f, &s, &n);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list what is mapped of %s",
			       f->name);
	st.st_size = 0;
	for (size_t i = 0; i < n; i++)
		if (s[i].off + s[i].len > (uint64_t)st.st_size)
			st.st_size = (off_t)(s[i].off + s[i].len);
	fill_head(d, &h, f, &st, F_SEAL_SEAL);
	r = image_append(out, &h.e.base, err);
	if (n)
		qsort(s, n, sizeof(*s), by_rank); /* what comes later counts */
	for (size_t i = 0; i < n && r == 0; i++) {
		GhostChunkEntry e = GHOST_CHUNK_ENTRY__INIT;

		e.off = s[i].off;
		e.len = s[i].len;
		r = image_append(out, &e.base, err);
		if (r == 0)
			r = put_data(out, s[i].t->memfd, s[i].addr, s[i].len, buf, err);
	}
	return r;
}

static int dump_nameless(struct engine_dump *d, const struct res_ghost_src *g, void *buf,
			 struct ck_err *err)
{
	struct image_file *out;
	int r = image_create(d->images, IMAGE_GHOST_FILE, g->id, &out, err);
	int r2;

	if (r < 0)
		return r;
	r = g->mapped_only ? dump_mapped(d, g->f, out, buf, err)
			   : dump_open(d, g->f, out, buf, err);
	r2 = image_file_close(out, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

int res_ghosts_dump(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) void *buf = d->res->n_ghosts ? malloc(COPY_CHUNK) : NULL;

	if (d->res->n_ghosts && !buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read files to be carried");
	for (size_t i = 0; i < d->res->n_ghosts; i++) {
		const struct res_ghost_src *g = &d->res->ghosts[i];
		int r = g->named ? dump_open(d, g->f, NULL, buf, err)
				 : dump_nameless(d, g, buf, err);

		if (r < 0)
			return res_err_at_file(g->f, err, r);
	}
	return 0;
}
