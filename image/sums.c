// SPDX-License-Identifier: Apache-2.0
/*
 * Checksums of the pages: computed while they are written, or else after the job was let go, from
 * what the page cache still has; and compared by whoever streams the pages in. They are added to a
 * committed image as one sealed file that names the manifest it belongs to; an image that was
 * committed but lacks them is whole.
 */
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/ckpt.pb-c.h"
#include "image/dir.h"
#include "image/open.h"

struct image_sums {
	struct image_entries e; /* ckpt_pages_sums */
};

/* ---- writing ---- */
static int sum_chunks(int fd, uint64_t size, uint64_t *sums, struct ck_err *err)
{
	CK_AUTO(free) uint8_t *buf = malloc(IMAGE_SUM_CHUNK);
	uint64_t off = 0;

	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compute checksums");
	for (size_t i = 0; off < size; i++) {
		size_t want = size - off < IMAGE_SUM_CHUNK ? (size_t)(size - off) : IMAGE_SUM_CHUNK;
		ssize_t n = ck_pread_full(fd, buf, want, (off_t)off);

		if (n < 0)
			return ck_fail(err, CK_ERR_SYS, (int)n, "cannot read");
		if ((size_t)n < want)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "became shorter");
		sums[i] = XXH64(buf, want, 0);
		off += want;
	}
	return 0;
}

struct known {
	const struct image_known_sums *file;
	size_t n;
};

/* Those of a pages file of so many chunks, or NULL. */
static uint64_t *find_known(const struct known *k, unsigned int pages_id, size_t n)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->file[i].pages_id == pages_id && k->file[i].n == n)
			return k->file[i].sums;
	return NULL;
}

static int add_sums(const struct image *img, const struct image_item *it, const struct known *known,
		    struct image_file *f, struct ck_err *err)
{
	CkptPagesSums s = CKPT_PAGES_SUMS__INIT;
	CK_AUTO(free) uint64_t *sums = NULL;
	CK_AUTO(fd) int fd = -EBADF;
	int r = 0;

	fd = image_open_file(img->dirfd, it->name, &s.size, err);
	if (fd < 0)
		return fd;
	s.n_sums = (s.size + IMAGE_SUM_CHUNK - 1) / IMAGE_SUM_CHUNK;
	s.sums = find_known(known, it->id, s.n_sums);
	if (!s.sums) {
		s.sums = sums = calloc(s.n_sums ? s.n_sums : 1, sizeof(*sums));
		if (!sums)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compute checksums");
		r = sum_chunks(fd, s.size, sums, err);
	}
	if (r < 0)
		return ck_err_at(err, r, "%s", it->name);
	s.image_id = img->image_id;
	s.pages_id = it->id;
	s.chunk = IMAGE_SUM_CHUNK;
	return image_append(f, &s.base, err);
}

static int write_sums(const struct image *img, const struct known *known, struct ck_err *err)
{
	CK_AUTO(image_file) struct image_file *f = NULL;
	int r = image_late_start(img, IMAGE_CKPT_SUMS, &f, err);

	for (size_t i = 0; r == 0 && i < img->n; i++)
		if (img->items[i].kind == IMAGE_PAGES && img->items[i].state == IMAGE_FILE_OK)
			r = add_sums(img, &img->items[i], known, f, err);
	return image_late_finish(img, IMAGE_CKPT_SUMS, ck_take_ptr(&f), r, err);
}

int image_write_sums(const char *dir, const struct image_known_sums *known, size_t n_known,
		     struct ck_err *err)
{
	const struct known k = { known, n_known };
	CK_AUTO(image) struct image *img = NULL;
	int r = image_open(dir, &img, err);

	if (r < 0)
		return r;
	if (img->origin == IMAGE_FOREIGN)
		r = ck_fail(err, CK_ERR_REFUSED, -EINVAL, "the image is not one of ckpt's");
	else
		r = write_sums(img, &k, err);
	return r < 0 ? image_err_at(err, r, dir) : 0;
}

/* ---- reading ---- */
static int check_entry(const struct image *img, const CkptPagesSums *s, uint64_t image_id,
		       struct ck_err *err)
{
	const struct image_item *it = image_find_item(img, IMAGE_PAGES, s->pages_id);

	if (s->image_id != image_id)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "belongs to another image");
	if (!it || it->size != s->size || s->chunk != IMAGE_SUM_CHUNK ||
	    s->n_sums != s->size / s->chunk + (s->size % s->chunk != 0))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "does not fit to pages-%u.img",
			       s->pages_id);
	return 0;
}

int image_sums_load(const struct image *img, int dirfd, uint64_t image_id, struct image_sums **ret,
		    struct ck_err *err)
{
	struct image_item *it = image_find_item(img, IMAGE_CKPT_SUMS, 0);
	struct image_sums *s;
	int r;

	(void)dirfd;
	if (!it)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read %s", it->name);
	it->state = IMAGE_FILE_DAMAGED;
	r = image_read_all(img, IMAGE_CKPT_SUMS, 0, &s->e, err);
	for (size_t i = 0; r == 0 && i < s->e.n; i++) {
		r = check_entry(img, (const CkptPagesSums *)s->e.m[i], image_id, err);
		if (r < 0)
			r = image_err_at(err, ck_err_at(err, r, "%s", it->name), img->dir);
	}
	if (r < 0) {
		image_sums_free(s);
		return r;
	}
	it->state = IMAGE_FILE_OK;
	*ret = s;
	return 0;
}

void image_sums_free(struct image_sums *s)
{
	if (!s)
		return;
	image_entries_done(&s->e);
	free(s);
}

int image_sums_find(const struct image_sums *s, unsigned int pages_id, const uint64_t **ret,
		    size_t *ret_n)
{
	*ret = NULL;
	*ret_n = 0;
	for (size_t i = 0; s && i < s->e.n; i++) {
		const CkptPagesSums *p = (const CkptPagesSums *)s->e.m[i];

		if (p->pages_id != pages_id)
			continue;
		*ret = p->sums;
		*ret_n = p->n_sums;
	}
	return 0;
}
