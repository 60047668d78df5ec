// SPDX-License-Identifier: Apache-2.0
/*
 * A directory of image files: listing it, opening a file in it, saying what went wrong. Nothing
 * here follows a link, blocks on a FIFO or trusts a file to keep its length.
 */
#include "image/dir.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"

unsigned int image_magics(enum image_kind kind, uint32_t ret[static 2])
{
	const struct image_type *t = &image_types[kind];
	unsigned int n = 0;

	if (t->flags & IMAGE_F_RAW)
		return 0;
	if (t->flags & IMAGE_F_SERVICE)
		ret[n++] = IMAGE_MAGIC_SERVICE;
	else if (!(t->flags & IMAGE_F_NOCOMMON))
		ret[n++] = IMAGE_MAGIC_COMMON;
	ret[n++] = t->magic;
	return n;
}

static const char *way_out(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return "free some space there, or give another directory with --image";
	case EFBIG:
		return "raise the file size limit (ulimit -f)";
	case EMFILE:
		return "raise the limit of open files (ulimit -n)";
	case EROFS:
	case EACCES:
	case EPERM:
		return "give a directory that you may write to with --image";
	case ENOENT:
	case ESTALE:
		return "the directory was removed or renamed meanwhile: give another one with "
		       "--image";
	default:
		return NULL;
	}
}

int image_fail_io(struct ck_err *err, const char *dir, const char *name, const char *verb)
{
	int error = errno, r;
	const char *hint;

	r = name ? ck_fail_errno(err, "cannot %s %s", verb, name)
		 : ck_fail_errno(err, "cannot %s the image directory", verb);
	r = image_err_at(err, r, dir);
	hint = way_out(error);
	if (err && (error == EACCES || error == EPERM || error == EROFS))
		err->kind = CK_ERR_PERM;
	return hint ? ck_err_hint(err, r, "%s", hint) : r;
}

int image_err_at(struct ck_err *err, int r, const char *dir)
{
	static const char place[] = "image ";

	if (err && !strncmp(err->where, place, sizeof(place) - 1))
		return r;
	return ck_err_at(err, r, "%s%s", place, dir);
}

int image_dir_each(int dirfd, const char *dir,
		   int (*fn)(const char *name, void *arg, struct ck_err *err), void *arg,
		   struct ck_err *err)
{
	CK_AUTO(fd) int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(dir) DIR *d = NULL;
	struct dirent *e;
	int r;

	if (fd < 0)
		return image_fail_io(err, dir, NULL, "list");
	d = fdopendir(fd);
	if (!d)
		return image_fail_io(err, dir, NULL, "list");
	(void)ck_take_fd(&fd);
	while (errno = 0, (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		r = fn(e->d_name, arg, err);
		if (r < 0)
			return r;
	}
	return errno ? image_fail_io(err, dir, NULL, "list") : 0;
}

int image_open_file(int dirfd, const char *name, uint64_t *ret_size, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct stat st;

	/* O_NONBLOCK: a FIFO of that name must not hold us up. */
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == ELOOP)
		return ck_fail(err, CK_ERR_IMAGE, -ELOOP, "%s is a symbolic link", name);
	if (fd < 0)
		return ck_fail_errno(err, "cannot open %s", name);
	if (fstat(fd, &st) < 0)
		return ck_fail_errno(err, "cannot look at %s", name);
	if (!S_ISREG(st.st_mode))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "%s is not a regular file", name);
	*ret_size = (uint64_t)st.st_size;
	return ck_take_fd(&fd);
}

static void free_state(XXH64_state_t *s)
{
	XXH64_freeState(s);
}
CK_DEFINE_AUTO(xxh64, XXH64_state_t *, free_state);

int image_hash_fd(int fd, uint64_t len, uint64_t *ret, struct ck_err *err)
{
	enum { CHUNK = 1 << 18 };
	CK_AUTO(free) uint8_t *buf = malloc(CHUNK);
	CK_AUTO(xxh64) XXH64_state_t *state = XXH64_createState();
	uint64_t off = 0;

	if (!buf || !state)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compute a checksum");
	XXH64_reset(state, 0);
	while (off < len) {
		size_t want = len - off < CHUNK ? (size_t)(len - off) : CHUNK;
		ssize_t n = ck_pread_full(fd, buf, want, (off_t)off);

		if (n < 0)
			return ck_fail(err, CK_ERR_SYS, (int)n, "cannot read");
		if ((size_t)n < want)
			return ck_fail(err, CK_ERR_IMAGE, -EIO, "is shorter than it was");
		XXH64_update(state, buf, want);
		off += want;
	}
	*ret = XXH64_digest(state);
	return 0;
}
