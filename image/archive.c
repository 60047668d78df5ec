// SPDX-License-Identifier: Apache-2.0
/*
 * Images in archives: what `podman container checkpoint --export` and CRI-O write (the image is in
 * checkpoint/, beside files of the container), or a tar of an image's directory; plain, gzip or
 * zstd.
 *
 * An archive comes from anywhere. It is read once, as a stream, in bounded memory; only files of
 * our own table are taken, under their own names, into a fresh directory of this user alone, so
 * that no path, link or device in it matters; and what is taken is bounded. Pages are not taken:
 * their files get their length and are holes, but for what the caller asks to keep.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "image/open.h"

#define MAX_STREAM (INT64_C(1) << 42) /* bytes of one file, unpacked */
enum {
	MAX_FILE = 64 << 20,   /* bytes of a file that is taken */
	MAX_TOTAL = 512 << 20, /* of all of them */
	MAX_FILES = 100000,    /* files that are taken */
	MAX_ENTRIES = 10000000,
	MAX_DIRS = 8, /* directories that hold such files */
	WINDOW = 1 << 20,
};

struct unpack {
	struct archive *a;
	image_keep_fn keep;
	uint8_t *window; /* a page that was seen before, then WINDOW bytes */
	char root[64];   /* of the temporary directories */
	int rootfd;
	char *dir[MAX_DIRS];  /* as the archive names them; ROOT/0 to ROOT/7 */
	bool whole[MAX_DIRS]; /* has an inventory */
	size_t n_dirs;
	uint64_t total;
	size_t n_files;
};

static int fail_archive(struct unpack *u, struct ck_err *err)
{
	const char *why = archive_error_string(u->a);

	return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot read the archive: %s",
		       why ? why : "it is damaged");
}

static int remove_name(const char *name, void *arg, struct ck_err *err)
{
	(void)err;
	unlinkat(*(int *)arg, name, 0);
	return 0;
}

void image_archive_remove(const char *root)
{
	int saved = errno;

	for (int i = 0; i < MAX_DIRS; i++) {
		CK_AUTO(fd) int fd = -EBADF;
		char path[80];

		snprintf(path, sizeof(path), "%s/%d", root, i);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)image_dir_each(fd, path, remove_name, &fd, NULL);
		rmdir(path);
	}
	rmdir(root);
	errno = saved;
}

/* Which of our directories stands for this one of the archive; -1: it has too many. */
static int find_dir(struct unpack *u, const char *name, size_t len, struct ck_err *err)
{
	char sub[2] = "0";

	for (size_t i = 0; i < u->n_dirs; i++)
		if (strlen(u->dir[i]) == len && !memcmp(u->dir[i], name, len))
			return (int)i;
	if (u->n_dirs == MAX_DIRS)
		return -1;
	sub[0] = (char)('0' + u->n_dirs);
	if (mkdirat(u->rootfd, sub, 0700) < 0)
		return ck_fail_errno(err, "cannot make a directory in %s", u->root);
	u->dir[u->n_dirs] = strndup(name, len);
	if (!u->dir[u->n_dirs])
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the archive");
	return (int)u->n_dirs++;
}

/* Fills buf as far as the entry goes; the number of bytes. */
static ssize_t read_some(struct unpack *u, void *buf, size_t len, struct ck_err *err)
{
	ssize_t n = archive_read_data(u->a, buf, len);

	return n < 0 ? fail_archive(u, err) : n;
}

static int take_file(struct unpack *u, int fd, const char *name, struct ck_err *err)
{
	uint64_t size = 0;
	ssize_t n;

	while ((n = read_some(u, u->window, WINDOW, err)) > 0) {
		size += (uint64_t)n;
		u->total += (uint64_t)n;
		if (size > MAX_FILE || u->total > MAX_TOTAL)
			return ck_err_hint(err,
					   ck_fail(err, CK_ERR_IMAGE, -EFBIG,
						   "%s is too large to be looked at in an archive",
						   name),
					   "unpack the archive and check the directory");
		if (write(fd, u->window, (size_t)n) != n)
			return ck_fail_errno(err, "cannot write %s/%s", u->root, name);
	}
	return (int)n;
}

/* Writes the pages of window, whose first byte is at off of the file, that hold what is kept. */
static int keep_pages(struct unpack *u, int fd, const uint8_t *from, size_t len, int64_t off,
		      struct ck_err *err)
{
	size_t at = 0, n = 0;

	while (u->keep && u->keep(from, len, &at, &n)) {
		size_t start = at / IMAGE_PAGE_SIZE * IMAGE_PAGE_SIZE;
		size_t end = (at + n + IMAGE_PAGE_SIZE - 1) / IMAGE_PAGE_SIZE * IMAGE_PAGE_SIZE;

		end = end < len ? end : len;
		u->total += end - start;
		if (u->total > MAX_TOTAL)
			return 0;
		if (pwrite(fd, from + start, end - start, off + (int64_t)start) !=
		    (ssize_t)(end - start))
			return ck_fail_errno(err, "cannot write to %s", u->root);
		at = end;
	}
	return 0;
}

/* What is kept may lie across two windows: the last page of one is looked at again. */
static int take_pages(struct unpack *u, int fd, struct ck_err *err)
{
	size_t seen = 0;
	int64_t size = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read_some(u, u->window + IMAGE_PAGE_SIZE, WINDOW, err)) > 0) {
		r = keep_pages(u, fd, u->window + IMAGE_PAGE_SIZE - seen, seen + (size_t)n,
			       size - (int64_t)seen, err);
		size += n;
		seen = n == WINDOW ? IMAGE_PAGE_SIZE : 0;
		memcpy(u->window, u->window + WINDOW, seen);
		if (size > MAX_STREAM)
			r = ck_fail(err, CK_ERR_IMAGE, -EFBIG, "the archive is endless");
	}
	if (r == 0 && n < 0)
		return (int)n;
	if (r == 0 && ftruncate(fd, size) < 0)
		return ck_fail_errno(err, "cannot write to %s", u->root);
	return r;
}

/* Bytes that travel with the image, and that nobody judges. */
static bool is_cargo(enum image_kind kind, int64_t size)
{
	return (image_types[kind].flags & IMAGE_F_EXTRA) && size > MAX_FILE;
}

static int take_entry(struct unpack *u, struct archive_entry *e, struct ck_err *err)
{
	const char *path = archive_entry_pathname(e), *name, *slash;
	CK_AUTO(fd) int fd = -EBADF;
	char to[IMAGE_NAME_MAX + 4];
	enum image_kind kind;
	unsigned int id;
	int dir;

	if (!path || archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e))
		return 0;
	while (*path == '/' || (path[0] == '.' && path[1] == '/'))
		path++;
	slash = strrchr(path, '/');
	name = slash ? slash + 1 : path;
	if (!image_parse_name(name, &kind, &id) || is_cargo(kind, archive_entry_size(e)))
		return 0;
	dir = find_dir(u, path, slash ? (size_t)(slash - path) : 0, err);
	if (dir < 0)
		return dir == -1 ? 0 : dir;
	if (++u->n_files > MAX_FILES)
		return ck_fail(err, CK_ERR_IMAGE, -E2BIG, "the archive has too many files");
	u->whole[dir] = u->whole[dir] || kind == IMAGE_INVENTORY;
	snprintf(to, sizeof(to), "%d/%s", dir, name);
	fd = openat(u->rootfd, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "the archive has %s twice", name);
	if (fd < 0)
		return ck_fail_errno(err, "cannot write %s/%s", u->root, to);
	return kind == IMAGE_PAGES ? take_pages(u, fd, err) : take_file(u, fd, name, err);
}

static int take_all(struct unpack *u, struct ck_err *err)
{
	struct archive_entry *e;
	int r = ARCHIVE_OK, rc = 0;

	for (size_t n = 0; rc == 0; n++) {
		r = archive_read_next_header(u->a, &e);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			return fail_archive(u, err);
		if (n == MAX_ENTRIES)
			return ck_fail(err, CK_ERR_IMAGE, -E2BIG, "the archive is endless");
		rc = take_entry(u, e, err);
	}
	return rc;
}

/* "checkpoint", as runtimes have it, else the only one with an inventory. */
static int choose(const struct unpack *u, struct ck_err *err)
{
	int best = -1;
	size_t n = 0;

	for (size_t i = 0; i < u->n_dirs; i++) {
		if (u->whole[i] && !strcmp(u->dir[i], "checkpoint"))
			return (int)i;
		if (u->whole[i]) {
			best = (int)i;
			n++;
		}
	}
	if (n == 1)
		return best;
	if (n > 1)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the archive has several images");
	if (u->n_dirs)
		return ck_fail(err, CK_ERR_IMAGE, -ENODATA,
			       "the archive has files of an image, but no inventory");
	return ck_fail(err, CK_ERR_NOIMAGE, -ENOENT, "there is no image in the archive");
}

static int open_stream(struct unpack *u, const char *file, struct ck_err *err)
{
	u->a = archive_read_new();
	u->window = malloc(IMAGE_PAGE_SIZE + WINDOW);
	if (!u->a || !u->window)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the archive");
	if (archive_read_support_format_tar(u->a) < ARCHIVE_WARN ||
	    archive_read_support_filter_gzip(u->a) < ARCHIVE_WARN ||
	    archive_read_support_filter_zstd(u->a) < ARCHIVE_WARN)
		return fail_archive(u, err);
	if (archive_read_open_filename(u->a, file, WINDOW) == ARCHIVE_OK)
		return 0;
	if (archive_errno(u->a) == ENOENT)
		return ck_fail(err, CK_ERR_NOIMAGE, -ENOENT, "there is no such image");
	if (archive_errno(u->a) == EACCES)
		return ck_fail(err, CK_ERR_PERM, -EACCES, "not permitted to read it");
	return fail_archive(u, err);
}

static int make_root(struct unpack *u, struct ck_err *err)
{
	const char *tmp = getenv("TMPDIR");

	if (!tmp || tmp[0] != '/' || strlen(tmp) > 40)
		tmp = "/tmp";
	snprintf(u->root, sizeof(u->root), "%s/ckpt-XXXXXX", tmp);
	if (!mkdtemp(u->root)) {
		int r = ck_fail_errno(err, "cannot make a directory in %s", tmp);

		u->root[0] = '\0';
		return r;
	}
	u->rootfd = open(u->root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return u->rootfd < 0 ? ck_fail_errno(err, "cannot open %s", u->root) : 0;
}

static void unpack_done(struct unpack *u)
{
	for (size_t i = 0; i < u->n_dirs; i++)
		free(u->dir[i]);
	free(u->window);
	if (u->rootfd >= 0)
		close(u->rootfd);
	if (u->root[0])
		image_archive_remove(u->root);
	if (u->a)
		archive_read_free(u->a);
}

int image_open_archive(const char *file, image_keep_fn keep, struct image **ret, struct ck_err *err)
{
	struct unpack u = { .rootfd = -EBADF, .keep = keep };
	char *root = NULL;
	char path[80];
	int r = open_stream(&u, file, err);

	if (r == 0)
		r = make_root(&u, err);
	if (r == 0)
		r = take_all(&u, err);
	if (r == 0)
		r = choose(&u, err);
	if (r >= 0) {
		snprintf(path, sizeof(path), "%s/%d", u.root, r);
		root = strdup(u.root);
		r = root ? image_open_at(path, file, ret, err)
			 : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the archive");
	} else {
		image_err_at(err, r, file);
	}
	if (r == 0) {
		(*ret)->unpacked = ck_take_ptr(&root);
		u.root[0] = '\0';
	}
	free(root);
	unpack_done(&u);
	return r;
}
