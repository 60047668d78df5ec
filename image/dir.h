/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to image/: what writer, reader and checksums share about a directory of image files. All
 * names are relative to a descriptor of the directory and are never followed as links.
 */
#ifndef CK_IMAGE_DIR_H
#define CK_IMAGE_DIR_H

#include <xxhash.h>

#include "image/image.h"

/* In front of a file, before its own magic. */
#define IMAGE_MAGIC_COMMON 0x54564319u
#define IMAGE_MAGIC_SERVICE 0x55105940u
/* What an entry may be long, whatever its file says. */
#define IMAGE_ENTRY_MAX (64u << 20)
/* Length of a whole ckpt_seal entry: u32 length 9, tag 0x09, the hash. */
#define IMAGE_SEAL_LEN 13u
/* What our manifest says about our additions. */
#define IMAGE_CKPT_FORMAT 1u

/*
 * While an image is being written there is a marker, from before the first file on, so that what a
 * killed dump leaves can be told from anybody else's files. The inventory gets its own name at the
 * commit, since others take it for completeness.
 */
#define IMAGE_TMP_SUFFIX ".tmp"
#define IMAGE_MARKER "ckpt-manifest.img" IMAGE_TMP_SUFFIX
#define IMAGE_MANIFEST_NEW "ckpt-manifest.img.new"
#define IMAGE_INVENTORY_TMP "inventory.img" IMAGE_TMP_SUFFIX
#define IMAGE_SUMS_TMP "ckpt-sums.img" IMAGE_TMP_SUFFIX
#define IMAGE_ISA_TMP "ckpt-isa.img" IMAGE_TMP_SUFFIX
#define IMAGE_CONTENTS_TMP "ckpt-contents.img" IMAGE_TMP_SUFFIX

/* The magics in front of a file of this kind: how many words of ret are set, 0 to 2. */
unsigned int image_magics(enum image_kind kind, uint32_t ret[static 2]);

/* Calls fn with each name but "." and ".."; stops at its first negative return. */
int image_dir_each(int dirfd, const char *dir,
		   int (*fn)(const char *name, void *arg, struct ck_err *err), void *arg,
		   struct ck_err *err);
/* Opens a regular file for reading. A link, a FIFO or the like is CK_ERR_IMAGE. */
int image_open_file(int dirfd, const char *name, uint64_t *ret_size, struct ck_err *err);
/* A failed system call on DIR/name: the place, and by errno what to do about it. */
int image_fail_io(struct ck_err *err, const char *dir, const char *name, const char *verb);
/* Adds the place "image DIR" unless it is there; returns r unchanged. */
int image_err_at(struct ck_err *err, int r, const char *dir);

/* XXH64 of the first len bytes of a file. CK_ERR_IMAGE if it is shorter. */
int image_hash_fd(int fd, uint64_t len, uint64_t *ret, struct ck_err *err);

/* ---- reading entries (entries.c) ---- */
/* Reads the entries of a file of this kind from fd; size is what there is of it. */
int image_read_entries(int fd, enum image_kind kind, uint64_t size, struct image_entries *ret,
		       struct ck_err *err);
/* For a sealed file: verifies the seal. */
int image_check_seal(int fd, uint64_t size, struct ck_err *err);

/* ---- writing files outside a writer (file.c) ---- */
/*
 * Starts the file dirfd/name. dir is for messages and must outlive f; dirfd is borrowed. f knows
 * nothing of a writer: image_file_finish() tells its size and hash; image_file_close() records
 * them.
 */
int image_file_start(int dirfd, const char *dir, const char *name, enum image_kind kind,
		     struct image_file **ret, struct ck_err *err);
/* Flushes and frees f; with sync it is on the disk. */
int image_file_finish(struct image_file *f, bool sync, uint64_t *ret_size, uint64_t *ret_hash,
		      struct ck_err *err);
/* Frees f without writing anything more. */
void image_file_drop(struct image_file *f);
CK_DEFINE_AUTO(image_file, struct image_file *, image_file_drop);
void image_file_set_writer(struct image_file *f, struct image_writer *w, size_t index);

/* What a writer is told when one of its files ends; failed: it is not usable. */
void image_writer_file_ended(struct image_writer *w, size_t index, bool failed, uint64_t size,
			     uint64_t hash);

/* ---- pages sums (sums.c) ---- */
struct image_sums;
int image_sums_load(const struct image *img, int dirfd, uint64_t image_id, struct image_sums **ret,
		    struct ck_err *err);
void image_sums_free(struct image_sums *s);
int image_sums_find(const struct image_sums *s, unsigned int pages_id, const uint64_t **ret,
		    size_t *ret_n);

#endif
