/* SPDX-License-Identifier: Apache-2.0 */
/* Private to image/: an image that is open, shared by open.c and verify.c. */
#ifndef CK_IMAGE_OPEN_H
#define CK_IMAGE_OPEN_H

#include "base/err.h"
#include "image/dir.h"

/* A name in the directory, or one that only the manifest has. */
struct image_item {
	char *name;
	enum image_kind kind; /* IMAGE_N_KINDS: unknown */
	unsigned int id;
	enum image_file_state state;
	uint64_t size;
	bool is_regular;
	bool has_hash;
	uint64_t hash;
};

struct image {
	char *dir;
	int dirfd;
	enum image_origin origin;
	uint64_t image_id;        /* of the manifest, 0 without one */
	struct image_item *items; /* by kind, id, name */
	size_t n, size;
	size_t n_sorted;         /* what image_find_item() looks at */
	struct image_sums *sums; /* NULL if there are none */
	struct ck_err sums_err;  /* why, if there should be */
	char *unpacked;          /* the temporary directory of an archive, or NULL */
};

/* The item of this kind and id, or NULL. */
struct image_item *image_find_item(const struct image *img, enum image_kind kind, unsigned int id);
/* Appends; it is found only after image_sort_items(). */
int image_add_item(struct image *img, const char *name, struct image_item **ret,
		   struct ck_err *err);
void image_sort_items(struct image *img);

/* late.c: a file that is being added; the end, with what became of it (r) so far. f may be NULL. */
int image_late_start(const struct image *img, enum image_kind kind, struct image_file **ret,
		     struct ck_err *err);
int image_late_finish(const struct image *img, enum image_kind kind, struct image_file *f, int r,
		      struct ck_err *err);

/* image_open(), for an image that messages call name. */
int image_open_at(const char *dir, const char *name, struct image **ret, struct ck_err *err);
/* archive.c: removes what was unpacked. */
void image_archive_remove(const char *root);

/*
 * Compares the listed directory with its manifest and sets origin and the items' states. Returns
 * the first fault; all items are looked at nevertheless.
 */
int image_verify(struct image *img, struct ck_err *err);

#endif
