// SPDX-License-Identifier: Apache-2.0
/*
 * The commit: from files that nobody may read yet to an image that is whole and durable.
 *
 * 1. All files and then the manifest are on the disk before the manifest has its name; the
 *    inventory, which others take for completeness, has its name before the manifest has.
 * 2. One rename is the commit point: of the directory if it was made by us, else of the manifest.
 *    What comes behind it only makes it durable; if that fails, the image goes again.
 * 3. Nothing is replaced: a name that somebody took meanwhile makes the commit fail.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "image/ckpt.pb-c.h"
#include "image/writer.h"

static int check_files(const struct image_writer *w, struct ck_err *err)
{
	char name[IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)];
	bool inventory = false;

	for (size_t i = 0; i < w->n; i++) {
		image_written_name(&w->files[i], name);
		if (w->files[i].open)
			return ck_fail(err, CK_ERR_BUG, -EBUSY, "%s is still open", name);
		if (w->files[i].failed)
			return ck_fail(err, CK_ERR_SYS, -EIO, "%s is not complete", name);
		inventory = inventory || w->files[i].kind == IMAGE_INVENTORY;
	}
	if (!inventory)
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "the image has no inventory");
	return 0;
}

static int sync_file(const struct image_writer *w, const struct image_written *f, bool wait,
		     struct ck_err *err)
{
	char name[IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)];
	CK_AUTO(fd) int fd = -EBADF;
	struct stat st;

	image_written_name(f, name);
	fd = openat(w->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_io(err, w->dir, name, "find");
	if ((uint64_t)st.st_size != f->size)
		return ck_fail(err, CK_ERR_SYS, -EIO, "%s was changed meanwhile", name);
	if (!wait) /* a hint only */
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	else if (fsync(fd) < 0)
		return image_fail_io(err, w->dir, name, "write");
	return 0;
}

/* The writing of all is started before any is waited for: that waits once, not n times. */
static int sync_files(const struct image_writer *w, struct ck_err *err)
{
	int r = 0;

	for (int wait = 0; wait < 2; wait++)
		for (size_t i = 0; i < w->n && r == 0; i++)
			r = sync_file(w, &w->files[i], wait, err);
	return r;
}

static int fill_manifest(const struct image_writer *w, CkptManifest *m, CkptManifestFile *file,
			 char (*name)[IMAGE_NAME_MAX], struct ck_err *err)
{
	if (getrandom(&m->image_id, sizeof(m->image_id), 0) < 0)
		return ck_fail_errno(err, "cannot choose an image id");
	m->format = IMAGE_CKPT_FORMAT;
	m->min_reader = 1;
	m->has_created = true;
	m->created = (uint64_t)time(NULL);
	m->writer = (char *)"ckpt";
	for (size_t i = 0; i < w->n; i++) {
		const struct image_written *f = &w->files[i];

		if (image_types[f->kind].flags & IMAGE_F_LATE)
			continue;
		ckpt_manifest_file__init(&file[i]);
		image_file_name(f->kind, f->id, name[i]);
		file[i].name = name[i];
		file[i].size = f->size;
		file[i].has_hash = !(image_types[f->kind].flags & IMAGE_F_RAW);
		file[i].hash = f->hash;
		m->files[m->n_files++] = &file[i];
	}
	return 0;
}

static int put_manifest(const struct image_writer *w, const CkptManifest *m, struct ck_err *err)
{
	CK_AUTO(image_file) struct image_file *f = NULL;
	uint64_t size, hash;
	int r;

	r = image_file_start(w->dirfd, w->dir, IMAGE_MANIFEST_NEW, IMAGE_CKPT_MANIFEST, &f, err);
	if (r < 0)
		return r;
	r = image_append(f, &m->base, err);
	return r < 0 ? r : image_file_finish(ck_take_ptr(&f), true, &size, &hash, err);
}

static int write_manifest(const struct image_writer *w, struct ck_err *err)
{
	CK_AUTO(free) CkptManifestFile *file = calloc(w->n, sizeof(*file));
	CK_AUTO(free) CkptManifestFile **files = calloc(w->n, sizeof(*files));
	CK_AUTO(free) char(*name)[IMAGE_NAME_MAX] = calloc(w->n, sizeof(*name));
	CkptManifest m = CKPT_MANIFEST__INIT;
	int r;

	if (!file || !files || !name)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write the manifest");
	m.files = files;
	r = fill_manifest(w, &m, file, name, err);
	return r < 0 ? r : put_manifest(w, &m, err);
}

/* Renames without replacing anything, where the filesystem can promise that. */
static int rename_new(int from_dirfd, const char *from, const char *to)
{
	struct stat st;

	if (renameat2(from_dirfd, from, from_dirfd, to, RENAME_NOREPLACE) == 0)
		return 0;
	/* NFS and some FUSE filesystems know no flags. */
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (fstatat(from_dirfd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return renameat(from_dirfd, from, from_dirfd, to) < 0 ? -errno : 0;
}

static int give_name(struct image_writer *w, const char *tmp, enum image_kind kind,
		     struct ck_err *err)
{
	const char *name = image_types[kind].format;
	int r = rename_new(w->dirfd, tmp, name);

	if (r == 0)
		return 0;
	errno = -r;
	return image_fail_io(err, w->dir, name, "give its name to");
}

/* Somebody may have renamed or removed the directory under our hands. */
static int check_place(const struct image_writer *w, struct ck_err *err)
{
	const char *name = w->partial ? w->partial : w->base;
	struct stat ours, there;

	if (fstat(w->dirfd, &ours) < 0)
		return image_fail_io(err, w->dir, NULL, "look at");
	if (fstatat(w->parentfd, name, &there, w->partial ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return image_fail_io(err, w->dir, NULL, "find");
	if (ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		return 0;
	errno = ENOENT;
	return image_fail_io(err, w->dir, NULL, "find");
}

static int sync_parent(const struct image_writer *w)
{
	CK_AUTO(fd) int fd = openat(w->parentfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return fsync(fd) < 0 ? -errno : 0;
	/* One that we may write to but not read: the whole filesystem, then. */
	return syncfs(w->dirfd) < 0 ? -errno : 0;
}

static int publish(struct image_writer *w, struct ck_err *err)
{
	int r = check_place(w, err);

	if (r < 0)
		return r;
	r = give_name(w, IMAGE_INVENTORY_TMP, IMAGE_INVENTORY, err);
	if (r < 0)
		return r;
	w->inventoried = true;
	r = give_name(w, IMAGE_MANIFEST_NEW, IMAGE_CKPT_MANIFEST, err);
	if (r < 0)
		return r;
	w->manifested = true;
	if (fsync(w->dirfd) < 0)
		return image_fail_io(err, w->dir, NULL, "write");
	if (!w->partial)
		return 0;
	r = rename_new(w->parentfd, w->partial, w->base);
	if (r == 0) {
		w->renamed = true;
		r = sync_parent(w);
	}
	if (r == 0)
		return 0;
	errno = -r;
	return image_fail_io(err, w->dir, NULL, "give its name to");
}

int image_commit(struct image_writer *w, struct ck_err *err)
{
	int r = check_files(w, err);

	if (r == 0)
		r = sync_files(w, err);
	if (r == 0)
		r = write_manifest(w, err);
	if (r == 0)
		r = publish(w, err);
	if (r < 0)
		return image_err_at(err, r, w->dir);
	w->committed = true;
	/* Beside a manifest it means nothing any more. */
	unlinkat(w->dirfd, IMAGE_MARKER, 0);
	return 0;
}
