// SPDX-License-Identifier: Apache-2.0
/*
 * An image being written, up to the commit (commit.c).
 *
 * 1. The marker is the first file made and the last one removed: a directory with a marker and
 *    without a manifest holds what a killed dump of ours left.
 * 2. Only files whose names are in the image table are ever removed, and only in a directory that
 *    has a marker: nothing of anybody else's.
 * 3. The directory is locked while it is written, so that a second dump into it says so instead of
 *    taking the first one's files for leftovers.
 */
#include "image/writer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"

static int fail_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot prepare the image");
}

/* Whether the directory has a file of this name, link or not. */
static bool has(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_image_file(const char *name)
{
	enum image_kind kind;
	unsigned int id;

	return !strcmp(name, IMAGE_INVENTORY_TMP) || !strcmp(name, IMAGE_MANIFEST_NEW) ||
	       !strcmp(name, IMAGE_SUMS_TMP) || !strcmp(name, IMAGE_ISA_TMP) ||
	       !strcmp(name, IMAGE_CONTENTS_TMP) || image_parse_name(name, &kind, &id);
}

/* ---- leftovers ---- */
struct leftovers {
	struct image_writer *w;
	bool ours; /* there is a marker */
	bool removing;
	bool private; /* the whole directory is ours: nothing else may be in it */
};

static int look_at_leftover(const char *name, void *arg, struct ck_err *err)
{
	struct leftovers *l = arg;
	int r;

	if (!strcmp(name, IMAGE_MARKER))
		return 0;
	if (l->private && !(l->ours && is_image_file(name))) {
		r = ck_fail(err, CK_ERR_REFUSED, -EEXIST, "%s/%s is in the way: it is not ckpt's",
			    l->w->partial, name);
		return ck_err_hint(err, r, "move it away, or give another directory with --image");
	}
	if (!is_image_file(name))
		return 0;
	if (!l->ours) {
		r = ck_fail(err, CK_ERR_REFUSED, -EEXIST, "there is an image already (%s)", name);
		return ck_err_hint(err, r, "give another directory with --image, or remove it");
	}
	if (l->removing && unlinkat(l->w->dirfd, name, 0) < 0)
		return image_fail_io(err, l->w->dir, name, "remove the leftover");
	return 0;
}

/* Makes room: refuses if there is anything of value, removes what a killed dump left. */
static int clear_leftovers(struct image_writer *w, struct ck_err *err)
{
	struct leftovers l = { .w = w, .private = w->partial };
	int r;

	l.ours = has(w->dirfd, IMAGE_MARKER);
	/* With a marker, "<dir>.partial" was about to get its name when the dump was killed. */
	if (has(w->dirfd, image_types[IMAGE_CKPT_MANIFEST].format) && !(l.private && l.ours)) {
		r = ck_fail(err, CK_ERR_REFUSED, -EEXIST, "there is a complete image already");
		return ck_err_hint(err, r, "give another directory with --image, or remove it");
	}
	r = image_dir_each(w->dirfd, w->dir, look_at_leftover, &l, err);
	if (r < 0 || !l.ours)
		return r;
	l.removing = true;
	return image_dir_each(w->dirfd, w->dir, look_at_leftover, &l, err);
}

static int make_marker(struct image_writer *w, struct ck_err *err)
{
	int fd = openat(w->dirfd, IMAGE_MARKER,
			O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return image_fail_io(err, w->dir, IMAGE_MARKER, "create");
	close(fd);
	w->marked = true;
	return 0;
}

/* ---- the directory ---- */
static int lock(struct image_writer *w, struct ck_err *err)
{
	int r;

	if (flock(w->dirfd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK) {
		r = ck_fail(err, CK_ERR_BUSY, -EBUSY, "another dump is writing this image");
		return ck_err_hint(err, r, "wait for it, or give another directory with --image");
	}
	/* Some network filesystems can't lock a directory: then we go without. */
	return 0;
}

static int check_owner(struct image_writer *w, const char *name, struct ck_err *err)
{
	struct stat st;
	int r;

	if (fstat(w->dirfd, &st) < 0)
		return image_fail_io(err, w->dir, NULL, "look at");
	if (geteuid() == 0 || st.st_uid == geteuid())
		return 0;
	r = ck_fail(err, CK_ERR_PERM, -EPERM, "%s belongs to user %u", name, st.st_uid);
	return ck_err_hint(err, r,
			   "an image holds the job's memory: give a directory of your own "
			   "with --image");
}

static int open_existing(struct image_writer *w, struct ck_err *err)
{
	int r = check_owner(w, w->base, err);

	if (r < 0)
		return r;
	r = lock(w, err);
	return r < 0 ? r : clear_leftovers(w, err);
}

static int open_partial(struct image_writer *w, struct ck_err *err)
{
	int r;

	if (has(w->parentfd, w->base)) {
		return ck_fail(err, CK_ERR_REFUSED, -EEXIST, "%s is a link to nowhere", w->base);
	}
	if (asprintf(&w->partial, "%s.partial", w->base) < 0) {
		w->partial = NULL;
		return fail_memory(err);
	}
	w->created = mkdirat(w->parentfd, w->partial, 0700) == 0;
	if (!w->created && errno != EEXIST) {
		r = image_fail_io(err, w->dir, NULL, "create");
		if (r == -ENOENT && err)
			snprintf(err->hint, sizeof(err->hint),
				 "create the directory above it first");
		return r;
	}
	/* A umask may have taken away even our own bits. */
	if (w->created)
		(void)fchmodat(w->parentfd, w->partial, 0700, 0);
	w->dirfd = openat(w->parentfd, w->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (w->dirfd < 0)
		return image_fail_io(err, w->dir, w->partial, "open");
	r = check_owner(w, w->partial, err);
	if (r < 0)
		return r;
	r = lock(w, err);
	if (r < 0)
		return r;
	r = clear_leftovers(w, err);
	if (r < 0)
		return r;
	w->created = true;
	if (fchmod(w->dirfd, 0700) < 0)
		return image_fail_io(err, w->dir, w->partial, "set the permissions of");
	return 0;
}

/* Splits dir into the directory that holds it and its last component. */
static int open_parent(struct image_writer *w, struct ck_err *err)
{
	CK_AUTO(free) char *path = strdup(w->dir);
	const char *parent = ".", *base;
	char *slash;
	size_t len;

	if (!path)
		return fail_memory(err);
	len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	slash = strrchr(path, '/');
	base = slash ? slash + 1 : path;
	if (slash) {
		*slash = '\0';
		parent = slash == path ? "/" : path;
	}
	w->base = strdup(*base ? base : ".");
	if (!w->base)
		return fail_memory(err);
	w->parentfd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->parentfd < 0)
		return image_fail_io(err, w->dir, NULL, "reach");
	return 0;
}

static int start(struct image_writer *w, struct ck_err *err)
{
	int r = open_parent(w, err);

	if (r < 0)
		return r;
	w->dirfd = openat(w->parentfd, w->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dirfd < 0 && errno != ENOENT)
		return image_fail_io(err, w->dir, NULL, "open");
	r = w->dirfd < 0 ? open_partial(w, err) : open_existing(w, err);
	return r < 0 ? r : make_marker(w, err);
}

int image_writer_open(const char *dir, struct image_writer **ret, struct ck_err *err)
{
	CK_AUTO(image_writer) struct image_writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return fail_memory(err);
	w->dirfd = w->parentfd = -EBADF;
	w->dir = strdup(dir);
	if (!w->dir)
		return fail_memory(err);
	r = start(w, err);
	if (r < 0)
		return image_err_at(err, r, dir);
	*ret = ck_take_ptr(&w);
	return 0;
}

/* ---- files ---- */
void image_written_name(const struct image_written *f,
			char name[static IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)])
{
	image_file_name(f->kind, f->id, name);
	if (f->kind == IMAGE_INVENTORY)
		memcpy(name + strlen(name), IMAGE_TMP_SUFFIX, sizeof(IMAGE_TMP_SUFFIX));
}

static int note_file(struct image_writer *w, enum image_kind kind, unsigned int id,
		     struct ck_err *err)
{
	struct image_written *files;
	size_t size;

	if (w->n == w->size) {
		size = w->size ? w->size * 2 : 32;
		files = reallocarray(w->files, size, sizeof(*files));
		if (!files)
			return fail_memory(err);
		w->files = files;
		w->size = size;
	}
	w->files[w->n] = (struct image_written){ .kind = kind, .id = id, .open = true };
	w->n++;
	return 0;
}

int image_create(struct image_writer *w, enum image_kind kind, unsigned int id,
		 struct image_file **ret, struct ck_err *err)
{
	char name[IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)];
	unsigned int flags = image_types[kind].flags;
	struct image_file *f;
	int r;

	if (w->committed != !!(flags & IMAGE_F_LATE) || (flags & IMAGE_F_SEALED))
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "%s is not for image_create()",
			       image_types[kind].name);
	r = note_file(w, kind, flags & IMAGE_F_PERID ? id : 0, err);
	if (r < 0)
		return r;
	image_written_name(&w->files[w->n - 1], name);
	r = image_file_start(w->dirfd, w->dir, name, kind, &f, err);
	if (r == -EEXIST)
		w->n--; /* somebody else's, or made before: not this one's to remove */
	else if (r < 0)
		w->files[w->n - 1].failed = true;
	if (r < 0)
		return image_err_at(err, r, w->dir);
	image_file_set_writer(f, w, w->n - 1);
	*ret = f;
	return 0;
}

void image_writer_file_ended(struct image_writer *w, size_t index, bool failed, uint64_t size,
			     uint64_t hash)
{
	struct image_written *f = &w->files[index];

	f->open = false;
	f->failed = failed;
	f->size = size;
	f->hash = hash;
}

int image_write_one(struct image_writer *w, enum image_kind kind, unsigned int id,
		    const ProtobufCMessage *m, struct ck_err *err)
{
	struct image_file *f;
	int r, r2;

	r = image_create(w, kind, id, &f, err);
	if (r < 0)
		return r;
	r = image_append(f, m, err);
	/* The first error is the one to tell. */
	r2 = image_file_close(f, r < 0 ? NULL : err);
	r = r < 0 ? r : r2;
	if (r < 0 && w->committed) /* nobody else will: the image stays */
		unlinkat(w->dirfd, image_types[kind].format, 0);
	return r;
}

int image_write_file(const char *path, enum image_kind kind, const ProtobufCMessage *m,
		     struct ck_err *err)
{
	char name[IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)];
	CK_AUTO(image_file) struct image_file *f = NULL;
	CK_AUTO(free) char *dir = strdup(path);
	CK_AUTO(fd) int dirfd = -EBADF;
	uint64_t size, hash;
	struct stat st;
	char *slash;
	int r;

	if (!dir)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write %s", path);
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return ck_fail(err, CK_ERR_SYS, -EINVAL, "cannot write %s: no regular file", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	dirfd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return ck_fail_errno(err, "cannot write %s", path);
	snprintf(name, sizeof(name), "%s.%d" IMAGE_TMP_SUFFIX, image_types[kind].name,
		 (int)getpid());
	r = image_file_start(dirfd, slash ? dir : ".", name, kind, &f, err);
	if (r < 0)
		return r;
	r = image_append(f, m, err);
	if (r == 0)
		r = image_file_finish(ck_take_ptr(&f), false, &size, &hash, err);
	if (r == 0 && renameat(dirfd, name, AT_FDCWD, path) < 0)
		r = ck_fail_errno(err, "cannot write %s", path);
	if (r < 0)
		unlinkat(dirfd, name, 0);
	return r;
}

/* ---- the end ---- */
/* The manifest goes first: without it there is no image, however far this gets. */
static void remove_all(struct image_writer *w)
{
	char name[IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)];

	if (w->manifested)
		unlinkat(w->dirfd, image_types[IMAGE_CKPT_MANIFEST].format, 0);
	if (w->inventoried)
		unlinkat(w->dirfd, image_types[IMAGE_INVENTORY].format, 0);
	for (size_t i = 0; i < w->n; i++) {
		image_written_name(&w->files[i], name);
		unlinkat(w->dirfd, name, 0);
	}
	if (w->marked) {
		unlinkat(w->dirfd, IMAGE_MANIFEST_NEW, 0);
		unlinkat(w->dirfd, IMAGE_MARKER, 0);
	}
	/* Only an empty directory goes. */
	if (w->created)
		unlinkat(w->parentfd, w->renamed ? w->base : w->partial, AT_REMOVEDIR);
}

void image_writer_free(struct image_writer *w)
{
	if (!w)
		return;
	if (!w->committed)
		remove_all(w);
	if (w->dirfd >= 0)
		close(w->dirfd);
	if (w->parentfd >= 0)
		close(w->parentfd);
	free(w->files);
	free(w->partial);
	free(w->base);
	free(w->dir);
	free(w);
}
