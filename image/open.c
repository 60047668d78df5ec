// SPDX-License-Identifier: Apache-2.0
/*
 * An image that is open: the list of its files, and reading them. Whether they are what was written
 * is verify.c's question; what an entry may look like, entries.c's.
 */
#include "image/open.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* More names than this in one directory are no image. */
enum { MAX_NAMES = 1 << 20 };

static int fail_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot open the image");
}

int image_add_item(struct image *img, const char *name, struct image_item **ret, struct ck_err *err)
{
	struct image_item *it;

	if (img->n >= MAX_NAMES)
		return ck_fail(err, CK_ERR_IMAGE, -E2BIG, "the directory has too many files");
	if (img->n == img->size) {
		size_t size = img->size ? img->size * 2 : 64;
		struct image_item *items = reallocarray(img->items, size, sizeof(*items));

		if (!items)
			return fail_memory(err);
		img->items = items;
		img->size = size;
	}
	it = &img->items[img->n];
	*it = (struct image_item){ .name = strdup(name) };
	if (!it->name)
		return fail_memory(err);
	if (!image_parse_name(name, &it->kind, &it->id))
		it->kind = IMAGE_N_KINDS;
	img->n++;
	*ret = it;
	return 0;
}

static int compare_items(const void *a, const void *b)
{
	const struct image_item *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return strcmp(x->name, y->name);
}

void image_sort_items(struct image *img)
{
	if (img->n)
		qsort(img->items, img->n, sizeof(*img->items), compare_items);
	img->n_sorted = img->n;
}

struct image_item *image_find_item(const struct image *img, enum image_kind kind, unsigned int id)
{
	size_t low = 0, high = img->n_sorted;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		struct image_item *it = &img->items[mid];

		if (it->kind == kind && it->id == id)
			return it;
		if (it->kind < kind || (it->kind == kind && it->id < id))
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static int list_name(const char *name, void *arg, struct ck_err *err)
{
	struct image *img = arg;
	struct image_item *it;
	struct stat st;
	int r;

	if (fstatat(img->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : ck_fail_errno(err, "cannot look at %s", name);
	r = image_add_item(img, name, &it, err);
	if (r < 0)
		return r;
	it->size = (uint64_t)st.st_size;
	it->is_regular = S_ISREG(st.st_mode);
	return 0;
}

static int open_dir(struct image *img, const char *dir, struct ck_err *err)
{
	CK_AUTO(free) char *partial = NULL;
	int r;

	img->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (img->dirfd >= 0)
		return 0;
	if (errno == EACCES)
		return ck_fail(err, CK_ERR_PERM, -EACCES, "not permitted to read it");
	if (errno == ENOTDIR)
		return ck_err_hint(err,
				   ck_fail(err, CK_ERR_NOIMAGE, -ENOTDIR, "is not a directory"),
				   "an archive can be checked; to restore from it, unpack it");
	if (errno != ENOENT)
		return ck_fail_errno(err, "cannot open it");
	r = ck_fail(err, CK_ERR_NOIMAGE, -ENOENT, "there is no such image");
	if (asprintf(&partial, "%s.partial", img->dir) < 0)
		partial = NULL;
	if (partial && access(partial, F_OK) == 0)
		r = ck_err_hint(err, r, "%s is what a dump left that did not finish", partial);
	return r;
}

static int open_any(struct image *img, const char *dir, struct ck_err *ret_fault,
		    struct ck_err *err)
{
	int r = open_dir(img, dir, err);

	if (r < 0)
		return r;
	r = image_dir_each(img->dirfd, img->dir, list_name, img, err);
	if (r < 0)
		return r;
	image_sort_items(img);
	r = image_verify(img, ret_fault);
	/* What does not depend on the image's contents is no fault of the image. */
	if (r < 0 && ret_fault->kind != CK_ERR_IMAGE) {
		*err = *ret_fault;
		return r;
	}
	if (img->origin == IMAGE_OURS)
		(void)image_sums_load(img, img->dirfd, img->image_id, &img->sums, &img->sums_err);
	return 0;
}

/* name is what the image is called in messages. */
static int open_as(const char *dir, const char *name, struct image **ret, struct ck_err *ret_fault,
		   struct ck_err *err)
{
	CK_AUTO(image) struct image *img = calloc(1, sizeof(*img));
	struct ck_err fault = CK_ERR_INIT, own = CK_ERR_INIT;
	int r;

	if (!img)
		return fail_memory(err);
	img->dirfd = -EBADF;
	img->dir = strdup(name);
	if (!img->dir)
		return fail_memory(err);
	r = open_any(img, dir, &fault, &own);
	if (r < 0) {
		image_err_at(&own, r, name);
		if (err)
			*err = own;
		return r;
	}
	if (fault.kind != CK_ERR_NONE)
		image_err_at(&fault, fault.code, name);
	if (ret_fault)
		*ret_fault = fault;
	*ret = ck_take_ptr(&img);
	return 0;
}

int image_open_any(const char *dir, struct image **ret, struct ck_err *ret_fault,
		   struct ck_err *err)
{
	return open_as(dir, dir, ret, ret_fault, err);
}

int image_open_at(const char *dir, const char *name, struct image **ret, struct ck_err *err)
{
	CK_AUTO(image) struct image *img = NULL;
	struct ck_err fault;
	int r = open_as(dir, name, &img, &fault, err);

	if (r < 0)
		return r;
	if (fault.kind != CK_ERR_NONE) {
		if (err)
			*err = fault;
		return fault.code;
	}
	*ret = ck_take_ptr(&img);
	return 0;
}

int image_open(const char *dir, struct image **ret, struct ck_err *err)
{
	return image_open_at(dir, dir, ret, err);
}

void image_free(struct image *img)
{
	if (!img)
		return;
	for (size_t i = 0; i < img->n; i++)
		free(img->items[i].name);
	free(img->items);
	image_sums_free(img->sums);
	if (img->dirfd >= 0)
		close(img->dirfd);
	if (img->unpacked)
		image_archive_remove(img->unpacked);
	free(img->unpacked);
	free(img->dir);
	free(img);
}

enum image_origin image_origin(const struct image *img)
{
	return img->origin;
}

uint64_t image_id(const struct image *img)
{
	return img->image_id;
}

bool image_has_pages(const struct image *img)
{
	return !img->unpacked;
}

const char *image_dir(const struct image *img)
{
	return img->dir;
}

/* ---- reading ---- */
static bool is_part(const struct image_item *it)
{
	return it->kind < IMAGE_N_KINDS && it->is_regular && it->state != IMAGE_FILE_STRAY &&
	       it->state != IMAGE_FILE_MISSING;
}

static int place(const struct image *img, const char *name, int r, struct ck_err *err)
{
	return image_err_at(err, ck_err_at(err, r, "%s", name), img->dir);
}

static int open_item(const struct image *img, enum image_kind kind, unsigned int id,
		     char name[static IMAGE_NAME_MAX], uint64_t *ret_size, struct ck_err *err)
{
	const struct image_item *it =
		image_find_item(img, kind, image_types[kind].flags & IMAGE_F_PERID ? id : 0);
	int fd;

	image_file_name(kind, id, name);
	if (!it || !is_part(it)) {
		int r = ck_fail(err, CK_ERR_IMAGE, -ENOENT, "the image has no %s", name);

		return image_err_at(err, r, img->dir);
	}
	fd = image_open_file(img->dirfd, name, ret_size, err);
	return fd < 0 ? image_err_at(err, fd, img->dir) : fd;
}

int image_open_fd(const struct image *img, enum image_kind kind, unsigned int id,
		  struct ck_err *err)
{
	char name[IMAGE_NAME_MAX];
	uint64_t size;

	return open_item(img, kind, id, name, &size, err);
}

int image_read_all(const struct image *img, enum image_kind kind, unsigned int id,
		   struct image_entries *ret, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	char name[IMAGE_NAME_MAX];
	uint64_t size;
	int r;

	fd = open_item(img, kind, id, name, &size, err);
	if (fd < 0)
		return fd;
	r = image_read_entries(fd, kind, size, ret, err);
	return r < 0 ? place(img, name, r, err) : 0;
}

int image_read_one(const struct image *img, enum image_kind kind, unsigned int id,
		   ProtobufCMessage **ret, struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	char name[IMAGE_NAME_MAX];
	int r = image_read_all(img, kind, id, &e, err);

	if (r < 0)
		return r;
	image_file_name(kind, id, name);
	if (e.n == 0)
		return place(img, name, ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "has no entry"), err);
	*ret = ck_take_ptr(&e.m[0]);
	return 0;
}

int image_each(const struct image *img,
	       int (*fn)(enum image_kind kind, unsigned int id, uint64_t size, void *arg),
	       void *arg, struct ck_err *err)
{
	for (size_t i = 0; i < img->n; i++) {
		const struct image_item *it = &img->items[i];
		int r;

		if (!is_part(it))
			continue;
		r = fn(it->kind, it->id, it->size, arg);
		if (r < 0)
			return ck_fail(err, CK_ERR_SYS, r, "stopped at %s", it->name);
	}
	return 0;
}

size_t image_n_files(const struct image *img)
{
	return img->n;
}

void image_file_info(const struct image *img, size_t i, struct image_file_info *ret)
{
	const struct image_item *it = &img->items[i];

	*ret = (struct image_file_info){
		.name = it->name,
		.kind = it->kind,
		.id = it->id,
		.size = it->size,
		.state = it->state,
		.covered = it->has_hash,
	};
}

int image_pages_sums(const struct image *img, unsigned int pages_id, const uint64_t **ret,
		     size_t *ret_n, struct ck_err *err)
{
	if (img->sums_err.kind != CK_ERR_NONE) {
		if (err)
			*err = img->sums_err;
		return img->sums_err.code;
	}
	return image_sums_find(img->sums, pages_id, ret, ret_n);
}
