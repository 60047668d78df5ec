// SPDX-License-Identifier: Apache-2.0
/*
 * Output files that went on growing after the dump are cut back to what the job had written then:
 * it writes the same again. What is cut off is first saved beside the file, under its name with
 * ".ckpt-tail-SIZE" behind it, and is durable before the file is touched: whoever kills ckpt at any
 * moment finds a file as it was, or the rest of it beside it. If the restore fails, everything is
 * put back.
 *
 * Nothing is cut off a file whose first bytes are not those that the job knows by their checksum,
 * nor one that somebody has open for writing. Of a log that is only appended to, which the job can
 * live with as it is, that is said and no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/changes.h"
#include "fsmap/fsmap.h"

enum { COPY_CHUNK = 1 << 18 };

struct cut {
	char *path, *tail; /* the file, and where the rest of it is */
	int fd, tail_fd;
	uint64_t size; /* what is left */
	struct stat before;
	bool done;
};

static int copy(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len,
		struct ck_err *err)
{
	CK_AUTO(free) void *buf = malloc(COPY_CHUNK);

	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot copy a file");
	while (len) {
		size_t want = len < COPY_CHUNK ? (size_t)len : COPY_CHUNK;
		ssize_t n = ck_pread_full(from, buf, want, (off_t)from_off);
		int r;

		if (n < 0 || (size_t)n < want)
			return ck_fail(err, CK_ERR_SYS, n < 0 ? (int)n : -EIO,
				       "cannot read a file");
		r = ck_pwrite_full(to, buf, want, (off_t)to_off);
		if (r < 0)
			return ck_fail(err, CK_ERR_SYS, r, "cannot write a file");
		from_off += want;
		to_off += want;
		len -= want;
	}
	return 0;
}

/* ---- may it be cut? ---- */

static bool is_output(const CkptNeedPath *p)
{
	bool open = false;

	for (size_t i = 0; i < p->n_roles; i++)
		open = open || p->roles[i] == CKPT_PATH_ROLE__CKPT_PATH_FD;
	return open && S_ISREG(p->mode) && p->has_access && p->access != O_RDONLY && p->has_size &&
	       !(p->has_carried && p->carried);
}

/* A lease for readers is only given where nobody writes. File systems without leases can't tell. */
static bool has_writer(int fd)
{
	/* Who breaks it meanwhile makes the kernel send a signal: one that is ignored. */
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return false;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
		(void)fcntl(fd, F_SETLEASE, F_UNLCK);
		return false;
	}
	return errno == EAGAIN;
}

static int check_start(const CkptNeedPath *p, const char *path, int fd, struct ck_err *err)
{
	uint64_t sum = 0;
	int r;

	if (p->has_hash)
		r = fsmap_hash(fd, p->size, &sum, err);
	else if (p->has_sample)
		r = fsmap_sample(fd, p->size, &sum, err);
	else
		return ck_fail(err, CK_ERR_HOST, -EINVAL,
			       "cannot cut back %s: the image has no checksum of what was in it",
			       path);
	if (r < 0 || sum == (p->has_hash ? p->hash : p->sample))
		return r;
	return ck_fail(err, CK_ERR_HOST, -EINVAL,
		       "cannot cut back %s: its first %llu bytes are not what they were", path,
		       (unsigned long long)p->size);
}

/* 1 if there is something to be cut; *ret_fd can be read. */
static int look(const CkptNeedPath *p, const char *path, int *ret_fd, struct stat *ret,
		struct ck_err *err)
{
	CK_AUTO(fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r;

	if (fd < 0) /* whoever opens it for the job will say so */
		return 0;
	if (fstat(fd, ret) < 0)
		return ck_fail_errno(err, "cannot stat %s", path);
	if (!S_ISREG(ret->st_mode) || (uint64_t)ret->st_size <= p->size)
		return 0;
	if (has_writer(fd)) {
		r = ck_fail(err, CK_ERR_BUSY, -EBUSY,
			    "cannot cut back %s: somebody has it open for writing", path);
		return ck_err_hint(err, r, "end whoever writes to it");
	}
	r = check_start(p, path, fd, err);
	if (r < 0)
		return r;
	*ret_fd = ck_take_fd(&fd);
	return 1;
}

/* ---- cut, and put back ---- */

static int make_tail(struct cut *c, struct ck_err *err)
{
	for (unsigned int i = 0; i < 1000; i++) {
		free(c->tail);
		if (asprintf(&c->tail, "%s.ckpt-tail-%llu%s%.0u", c->path,
			     (unsigned long long)c->size, i ? "." : "", i) < 0) {
			c->tail = NULL;
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot name a file");
		}
		c->tail_fd = open(c->tail, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				  c->before.st_mode & 0666);
		if (c->tail_fd >= 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	return ck_fail_errno(err, "cannot make %s", c->tail);
}

/* The name of a new file is durable only with its directory. */
static int sync_tail(const struct cut *c, struct ck_err *err)
{
	CK_AUTO(free) char *dir = strdup(c->path);
	CK_AUTO(fd) int fd = -EBADF;
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (!slash)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot save the end of %s", c->path);
	slash[slash == dir] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsync(c->tail_fd) < 0 || (fd >= 0 && fsync(fd) < 0 && errno != EINVAL))
		return ck_fail_errno(err, "cannot save the end of %s", c->path);
	return 0;
}

static int cut(struct engine_restore *r, struct cut *c, int reader, struct ck_err *err)
{
	uint64_t len = (uint64_t)c->before.st_size - c->size;
	struct stat st;
	int rc;

	c->fd = open(c->path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (c->fd < 0)
		return ck_fail_errno(err, "cannot cut back %s", c->path);
	rc = make_tail(c, err);
	if (rc == 0)
		rc = copy(reader, c->size, c->tail_fd, 0, len, err);
	if (rc == 0)
		rc = sync_tail(c, err);
	if (rc < 0)
		return rc;
	if (fstat(c->fd, &st) < 0 || st.st_ino != c->before.st_ino ||
	    st.st_dev != c->before.st_dev || st.st_size != c->before.st_size)
		return ck_fail(err, CK_ERR_BUSY, -EBUSY, "%s changes while it is cut back",
			       c->path);
	c->done = true;
	if (ftruncate(c->fd, (off_t)c->size) < 0)
		return ck_fail_errno(err, "cannot cut back %s", c->path);
	engine_note(r, "%s is cut back to %llu bytes; what came after is in %s", c->path,
		    (unsigned long long)c->size, c->tail);
	return 0;
}

static int put_back(const struct cut *c, struct ck_err *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, c->before.st_mtim };
	int r = copy(c->tail_fd, 0, c->fd, c->size, (uint64_t)c->before.st_size - c->size, err);

	if (r == 0)
		(void)futimens(c->fd, times);
	return r;
}

static void cut_done(struct cut *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->tail_fd >= 0)
		close(c->tail_fd);
	free(c->path);
	free(c->tail);
}

/* ---- all of them ---- */

static int add_cut(struct engine_changes *changes, const CkptNeedPath *p, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct ck_err why = CK_ERR_INIT;
	struct cut *c;
	struct stat st;
	int rc = look(p, p->path, &fd, &st, &why);

	if (rc < 0 && p->append && why.kind != CK_ERR_SYS) {
		engine_note(changes->r, "%s: it stays as it is", why.what);
		return 0;
	}
	if (rc <= 0) {
		if (rc < 0)
			*err = why;
		return rc;
	}
	c = reallocarray(changes->cut, changes->n_cuts + 1, sizeof(*c));
	if (!c)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot cut back files");
	changes->cut = c;
	c = &changes->cut[changes->n_cuts++];
	*c = (struct cut){ .path = strdup(p->path),
			   .fd = -EBADF,
			   .tail_fd = -EBADF,
			   .size = p->size,
			   .before = st };
	if (!c->path)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot cut back files");
	return cut(changes->r, c, fd, err);
}

int engine_rollback(struct engine_changes *c, struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < c->needs->n_paths && rc == 0; i++)
		if (is_output(c->needs->paths[i]))
			rc = add_cut(c, c->needs->paths[i], err);
	return rc;
}

void engine_rollback_undo(struct engine_changes *c, struct ck_err *err)
{
	struct ck_err why = CK_ERR_INIT;

	for (size_t i = 0; i < c->n_cuts; i++) {
		const struct cut *x = &c->cut[i];

		/* The descriptors are open: nobody's rights are asked again. */
		if (x->done && put_back(x, &why) < 0)
			(void)ck_err_at(err, why.code, "the end of %s is in %s", x->path, x->tail);
		else if (x->tail_fd >= 0)
			unlink(x->tail);
	}
}

void engine_rollback_done(struct engine_changes *c)
{
	for (size_t i = 0; i < c->n_cuts; i++)
		cut_done(&c->cut[i]);
	free(c->cut);
}
