// SPDX-License-Identifier: Apache-2.0
/*
 * Whether an image is what was written: manifest, lengths, checksums. Pages are only checked for
 * their length here; their checksums are compared while they stream in (sums.c).
 *
 * ours       a manifest: everything that it lists must be there and unchanged
 * foreign    an inventory, and no file of ours: CRIU's, with nothing to verify it by
 * incomplete files of ours but no manifest: a dump was killed
 */
#include <string.h>

#include "image/ckpt.pb-c.h"
#include "image/inventory.pb-c.h"
#include "image/open.h"

/* Keeps the first of several faults. */
static int note(int first, struct ck_err *err, const struct ck_err *fault)
{
	if (first < 0)
		return first;
	if (err)
		*err = *fault;
	return fault->code;
}

static int check_item(const struct image *img, struct image_item *it, uint64_t size,
		      struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	uint64_t now, hash;
	int r;

	it->state = IMAGE_FILE_DAMAGED;
	fd = image_open_file(img->dirfd, it->name, &now, err);
	if (fd < 0)
		return fd;
	if (now != size)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "%s is damaged: it has %llu bytes instead of %llu", it->name,
			       (unsigned long long)now, (unsigned long long)size);
	if (it->has_hash) {
		r = image_hash_fd(fd, size, &hash, err);
		if (r < 0)
			return ck_err_at(err, r, "%s", it->name);
		if (hash != it->hash)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "%s is damaged: its checksum is wrong", it->name);
	}
	it->state = IMAGE_FILE_OK;
	return 0;
}

/* One row of the manifest. Names are looked up, never opened as they are. */
static int check_row(struct image *img, const CkptManifestFile *row, struct ck_err *err)
{
	struct image_item *it = NULL;
	enum image_kind kind;
	unsigned int id;
	int r;

	if (!image_parse_name(row->name, &kind, &id) || (image_types[kind].flags & IMAGE_F_SEALED))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "the manifest lists a file that can't be one of an image");
	it = image_find_item(img, kind, id);
	if (!it) {
		r = image_add_item(img, row->name, &it, err);
		if (r < 0)
			return r;
		it->state = IMAGE_FILE_MISSING;
		it->size = row->size;
		return ck_fail(err, CK_ERR_IMAGE, -ENOENT, "%s is missing", row->name);
	}
	/* A manifest made to keep us hashing one file for ever. */
	if (it->state != IMAGE_FILE_STRAY)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "the manifest lists %s twice",
			       row->name);
	it->has_hash = row->has_hash;
	it->hash = row->hash;
	return check_item(img, it, row->size, err);
}

static int check_version(const CkptManifest *m, struct ck_err *err)
{
	int r;

	if (m->min_reader <= IMAGE_CKPT_FORMAT)
		return 0;
	r = ck_fail(err, CK_ERR_IMAGE, -EPROTONOSUPPORT,
		    "the image needs a newer ckpt: format %u, this one reads %u", m->min_reader,
		    IMAGE_CKPT_FORMAT);
	return ck_err_hint(err, r, "use the ckpt that wrote it");
}

static int verify_ours(struct image *img, struct ck_err *err)
{
	CkptManifest *m = NULL;
	struct ck_err fault = CK_ERR_INIT;
	struct image_item *it;
	int r, first;

	img->origin = IMAGE_OURS;
	for (size_t i = 0; i < img->n; i++)
		img->items[i].state = IMAGE_FILE_STRAY;
	it = image_find_item(img, IMAGE_CKPT_MANIFEST, 0);
	it->state = IMAGE_FILE_DAMAGED;
	first = image_read_one(img, IMAGE_CKPT_MANIFEST, 0, (ProtobufCMessage **)&m, err);
	if (first < 0)
		return first;
	it->state = IMAGE_FILE_OK;
	img->image_id = m->image_id;
	first = check_version(m, err);
	for (size_t i = 0; i < m->n_files; i++) {
		r = check_row(img, m->files[i], &fault);
		if (r < 0)
			first = note(first, err, &fault);
	}
	ckpt_manifest__free_unpacked(m, NULL);
	for (size_t i = 0; i < img->n; i++) {
		it = &img->items[i];
		if (it->state == IMAGE_FILE_STRAY && it->kind < IMAGE_N_KINDS &&
		    image_types[it->kind].flags & IMAGE_F_LATE)
			it->state = IMAGE_FILE_FOREIGN;
	}
	image_sort_items(img);
	if (first == -ENOENT || first == -EBADMSG)
		ck_err_hint(err, first, "restore from another image, or from a copy of this one");
	return first;
}

static int verify_inventory(const struct image *img, struct ck_err *err)
{
	InventoryEntry *inv = NULL;
	uint32_t version;
	int r = image_read_one(img, IMAGE_INVENTORY, 0, (ProtobufCMessage **)&inv, err);

	if (r < 0)
		return r;
	version = inv->img_version;
	inventory_entry__free_unpacked(inv, NULL);
	if (version == IMAGE_FORMAT_V1_1 ||
	    (version == IMAGE_FORMAT_CKPT && img->origin == IMAGE_OURS))
		return 0;
	return ck_fail(err, CK_ERR_IMAGE, -EPROTONOSUPPORT,
		       "the image's format %u is not one that ckpt knows", version);
}

static int incomplete(struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_IMAGE, -ENODATA,
			"the image is incomplete: its dump did not finish");

	return ck_err_hint(err, r, "the job was not harmed by that dump: take a new one");
}

/* An image without a manifest. */
static int verify_bare(struct image *img, struct ck_err *err)
{
	bool ours = false, any = false;
	int r;

	img->origin = IMAGE_FOREIGN;
	for (size_t i = 0; i < img->n; i++) {
		struct image_item *it = &img->items[i];

		it->state = it->kind < IMAGE_N_KINDS ? IMAGE_FILE_FOREIGN : IMAGE_FILE_STRAY;
		any = any || it->kind < IMAGE_N_KINDS;
		ours = ours || !strcmp(it->name, IMAGE_MARKER) ||
		       !strcmp(it->name, IMAGE_INVENTORY_TMP) ||
		       (it->kind < IMAGE_N_KINDS && (image_types[it->kind].flags & IMAGE_F_OURS));
	}
	if (ours)
		return incomplete(err);
	if (image_find_item(img, IMAGE_INVENTORY, 0))
		return 0;
	if (!any)
		return ck_fail(err, CK_ERR_NOIMAGE, -ENOENT, "there is no image in this directory");
	r = ck_fail(err, CK_ERR_IMAGE, -ENODATA,
		    "the image is incomplete: it has no inventory.img");
	return ck_err_hint(err, r, "its dump did not finish, or files were lost on a copy");
}

/* A link or a directory with a name of ours is never looked through. */
static int check_types(const struct image *img, struct ck_err *err)
{
	for (size_t i = 0; i < img->n; i++) {
		const struct image_item *it = &img->items[i];

		if (it->kind < IMAGE_N_KINDS && !it->is_regular)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "%s is not a regular file",
				       it->name);
	}
	return 0;
}

int image_verify(struct image *img, struct ck_err *err)
{
	bool ours = image_find_item(img, IMAGE_CKPT_MANIFEST, 0);
	struct ck_err fault = CK_ERR_INIT;
	int r;

	r = ours ? verify_ours(img, err) : verify_bare(img, err);
	if (r == 0) {
		r = check_types(img, &fault);
		if (r == 0)
			r = verify_inventory(img, &fault);
		if (r < 0)
			note(0, err, &fault);
	}
	return r;
}
