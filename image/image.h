/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image: a directory in CRIU's format 1.1 plus our ckpt-*.img. This folder knows the files,
 * their magics and messages, and how an image becomes whole: it is written beside the place and
 * committed by its manifest; it is verified when opened. What the messages mean to a task, it does
 * not know.
 *
 * Layout of a file (format 1.1): u32 common magic, u32 file magic, then entries, each u32 length
 * and a protobuf message; pages-*.img is raw; pipes-data.img has raw bytes behind each entry.
 */
#ifndef CK_IMAGE_IMAGE_H
#define CK_IMAGE_IMAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/auto.h"
#include "image/format.h"

struct ck_err;

/* One row each in image/table.c, in this order. */
enum image_kind {
	IMAGE_INVENTORY,
	IMAGE_PSTREE,
	IMAGE_CORE,          /* core-%u, by tid */
	IMAGE_IDS,           /* ids-%u, by pid */
	IMAGE_MM,            /* mm-%u, by pid */
	IMAGE_PAGEMAP,       /* pagemap-%u, by pid */
	IMAGE_PAGEMAP_SHMEM, /* pagemap-shmem-%u, by shmid */
	IMAGE_PAGES,         /* pages-%u, by pages_id; raw */
	IMAGE_FDINFO,        /* fdinfo-%u, by files_id */
	IMAGE_FILES,
	IMAGE_FS, /* fs-%u, by pid */
	IMAGE_PIPES_DATA,
	IMAGE_FIFO_DATA,
	IMAGE_SK_QUEUES,
	IMAGE_REMAP_FPATH,
	IMAGE_GHOST_FILE, /* ghost-file-%x, by ghost id */
	IMAGE_FILE_LOCKS, /* filelocks.img */
	IMAGE_TTY_FILES,
	IMAGE_TTY_INFO,
	IMAGE_TTY_DATA,
	IMAGE_TIMENS, /* timens-%u */
	IMAGE_SECCOMP,
	IMAGE_CPUINFO,
	IMAGE_STATS_DUMP,
	IMAGE_STATS_RESTORE,
	IMAGE_CKPT_FACTS,
	IMAGE_CKPT_NEEDS,
	IMAGE_CKPT_IPC,      /* System V IPC */
	IMAGE_CKPT_FILES,    /* files that have names, and travel all the same */
	IMAGE_CKPT_SUMS,     /* page checksums, written after the job was let go */
	IMAGE_CKPT_ISA,      /* which instructions its code can execute, likewise */
	IMAGE_CKPT_CONTENTS, /* checksums of files that it needs, likewise */
	IMAGE_CKPT_MANIFEST,
	IMAGE_N_KINDS,
};

enum image_flags {
	IMAGE_F_ARRAY = 1 << 0,    /* any number of entries of one type */
	IMAGE_F_PERID = 1 << 1,    /* the name carries an id */
	IMAGE_F_RAW = 1 << 2,      /* no framing at all */
	IMAGE_F_OURS = 1 << 3,     /* unknown to CRIU */
	IMAGE_F_EXTRA = 1 << 4,    /* raw bytes stand behind each entry */
	IMAGE_F_LATE = 1 << 5,     /* written after the commit: the manifest does not know it */
	IMAGE_F_SEALED = 1 << 6,   /* the last entry is a checksum of all before it */
	IMAGE_F_SERVICE = 1 << 7,  /* starts with the service magic instead of the common one */
	IMAGE_F_NOCOMMON = 1 << 8, /* has its own magic only */
};

struct image_type {
	const char *name;   /* as `ckpt show` takes it: "core" */
	const char *format; /* file name; one %u or %x if PERID */
	uint32_t magic;
	unsigned int flags;
	const ProtobufCMessageDescriptor *head;  /* first entry if it differs (pagemap), or NULL */
	const ProtobufCMessageDescriptor *entry; /* NULL if raw */
};

extern const struct image_type image_types[IMAGE_N_KINDS];

/* The longest file name, terminated. */
#define IMAGE_NAME_MAX 48
/* The file's name; id is ignored unless PERID. */
void image_file_name(enum image_kind kind, unsigned int id, char name[static IMAGE_NAME_MAX]);
/* The reverse: false if no kind of ours has this name. */
bool image_parse_name(const char *name, enum image_kind *ret_kind, unsigned int *ret_id);

/* ---- an image being written: one thread at a time, but for image_append_raw() on pages ---- */
struct image_writer;
struct image_file;

/*
 * Prepares dir. If it does not exist, everything is written into "<dir>.partial" (a stale one of a
 * killed dump is emptied and used) and renamed by image_commit(); if it exists it must be a
 * directory of this user that holds no image, or only what a killed dump left, which is removed;
 * then the manifest alone commits. Files in it that are no image files are left alone. Files are
 * 0600, a directory that is made is 0700. -EEXIST with a hint if an image is there, CK_ERR_BUSY if
 * another dump is writing one.
 */
int image_writer_open(const char *dir, struct image_writer **ret, struct ck_err *err);
/* Creates a file and writes its magics. id is ignored unless PERID. Files that are LATE are made
 * after image_commit(), all others before it. */
int image_create(struct image_writer *w, enum image_kind kind, unsigned int id,
		 struct image_file **ret, struct ck_err *err);
int image_append(struct image_file *f, const ProtobufCMessage *m, struct ck_err *err);
/* Raw bytes, for PAGES and EXTRA files. */
int image_append_raw(struct image_file *f, const void *data, size_t len, struct ck_err *err);
/* Bytes in the file so far; of a PAGES file, as the kernel has it. */
uint64_t image_file_size(const struct image_file *f);
/* Flushes; the file now counts for the manifest. f is gone afterwards, whatever is returned. A file
 * that any of these failed for can't be committed any more. */
int image_file_close(struct image_file *f, struct ck_err *err);
/* create, append, close; a LATE file that could not be written is removed */
int image_write_one(struct image_writer *w, enum image_kind kind, unsigned int id,
		    const ProtobufCMessage *m, struct ck_err *err);
/*
 * The descriptor of a PAGES file (readable and writable, empty at first), for whoever writes it by
 * other means: mapped, preallocated, in parallel. Its length when it is closed is what counts.
 * Still owned by f; -EBADF for other kinds.
 */
int image_file_fd(const struct image_file *f);
/*
 * The commit point. Syncs all files and the directory, writes the manifest, renames. After 0 the
 * image is whole and durable; before, there is none. The inventory must be among the files; it gets
 * its name just before the manifest, whenever it was written. After a failure only
 * image_writer_free() is left to call.
 */
int image_commit(struct image_writer *w, struct ck_err *err);
/* Without a commit before it, removes what was written and nothing else. */
void image_writer_free(struct image_writer *w);
CK_DEFINE_AUTO(image_writer, struct image_writer *, image_writer_free);
/* One message in a file of this kind outside of any image, with the magics in front. Replaces what
 * is there, as a whole. */
int image_write_file(const char *path, enum image_kind kind, const ProtobufCMessage *m,
		     struct ck_err *err);
/*
 * After image_commit(): checksums of pages-*.img in IMAGE_CKPT_SUMS. known: what was computed while
 * they were written, one per chunk as in image_pages_sums(); the others are read, which may take
 * seconds.
 */
struct image_known_sums {
	unsigned int pages_id;
	uint64_t *sums;
	size_t n;
};
int image_write_sums(const char *dir, const struct image_known_sums *known, size_t n_known,
		     struct ck_err *err);

/* ---- an image being read ---- */
struct image;

/* Adds a sealed file to a committed image of ours, or replaces it. */
int image_write_late(const struct image *img, enum image_kind kind, const ProtobufCMessage *m,
		     struct ck_err *err);

enum image_origin {
	IMAGE_OURS,    /* manifest found and verified */
	IMAGE_FOREIGN, /* CRIU's: inventory found, no file of ours */
};

/*
 * Opens and verifies: manifest, lengths, checksums of all files but pages (see image_pages_sums).
 * Never follows a symbolic link below dir. CK_ERR_NOIMAGE if there is none; CK_ERR_IMAGE if it is
 * incomplete (a dump was killed), damaged, or needs a newer ckpt.
 */
int image_open(const char *dir, struct image **ret, struct ck_err *err);
/*
 * Finds the first bytes at or after *off of data that are worth keeping, less than a page of them,
 * and sets where they are and how many; false: there are none.
 */
typedef bool (*image_keep_fn)(const void *data, size_t len, size_t *off, size_t *n);
/*
 * As image_open(), for a tar (plain, gzip or zstd) with an image in it: what Podman or CRI-O
 * exported, or a directory. It is for judging: pages files have their length and are empty but for
 * the pages that keep (which may be NULL) finds something in. Unpacks the rest into a temporary
 * directory, which image_free() removes.
 */
int image_open_archive(const char *file, image_keep_fn keep, struct image **ret,
		       struct ck_err *err);
/*
 * For looking only: opens an incomplete or damaged one too; what image_open() would have said is in
 * *ret_fault, whose kind is CK_ERR_NONE for a whole image.
 */
int image_open_any(const char *dir, struct image **ret, struct ck_err *ret_fault,
		   struct ck_err *err);
enum image_origin image_origin(const struct image *img);
const char *image_dir(const struct image *img);
/* What its manifest is called by files that were added later; 0 for a foreign one. */
uint64_t image_id(const struct image *img);
/* False for an archive: only what judging needs was unpacked. */
bool image_has_pages(const struct image *img);
void image_free(struct image *img);
CK_DEFINE_AUTO(image, struct image *, image_free);
/*
 * Reads the single entry of a file, or the first of an array. -ENOENT if the image has no such
 * file. The caller frees *ret with protobuf_c_message_free_unpacked(m, NULL).
 */
int image_read_one(const struct image *img, enum image_kind kind, unsigned int id,
		   ProtobufCMessage **ret, struct ck_err *err);
/*
 * All entries, the head (if the kind has one) first. Raw bytes behind an entry (EXTRA) are skipped
 * here and found through offsets; they lie within the file. Memory is bounded by a multiple of the
 * file's size. -ENOENT if the image has no such file.
 */
struct image_entries {
	ProtobufCMessage **m;
	uint64_t *raw_off; /* EXTRA, else NULL: file offset of the raw bytes of entry i */
	uint64_t *raw_len; /* likewise: bytes */
	size_t n;
};
int image_read_all(const struct image *img, enum image_kind kind, unsigned int id,
		   struct image_entries *ret, struct ck_err *err);
void image_entries_done(struct image_entries *e);
static inline void ck_auto_image_entries(struct image_entries *e)
{
	image_entries_done(e);
}
/* Opens a file read-only, O_NOFOLLOW; -ENOENT if it is not there. For pages and raw bytes. */
int image_open_fd(const struct image *img, enum image_kind kind, unsigned int id,
		  struct ck_err *err);
/* Which files the image has, by kind and id: calls fn() for each; stops at a negative return. */
int image_each(const struct image *img,
	       int (*fn)(enum image_kind kind, unsigned int id, uint64_t size, void *arg),
	       void *arg, struct ck_err *err);
/* Every file of the directory, for people; image_each() leaves out what is STRAY or MISSING. */
enum image_file_state {
	IMAGE_FILE_OK,      /* as the manifest or its own checksum says */
	IMAGE_FILE_FOREIGN, /* nothing vouches for it: CRIU's, LATE, or of an incomplete image */
	IMAGE_FILE_STRAY,   /* not part of this image */
	IMAGE_FILE_MISSING, /* in the manifest only */
	IMAGE_FILE_DAMAGED,
};
struct image_file_info {
	const char *name;     /* owned by img */
	enum image_kind kind; /* IMAGE_N_KINDS: of no kind that we know */
	unsigned int id;
	uint64_t size; /* bytes */
	enum image_file_state state;
	bool covered; /* the manifest has a checksum of it */
};
size_t image_n_files(const struct image *img);
void image_file_info(const struct image *img, size_t i, struct image_file_info *ret);

/*
 * Checksums of pages file pages_id: XXH64 (seed 0) of each chunk of IMAGE_SUM_CHUNK bytes, the last
 * one shorter. *ret_n is 0 where the image carries none (foreign, or killed before the sums). Owned
 * by img.
 */
#define IMAGE_SUM_CHUNK (1u << 20)
int image_pages_sums(const struct image *img, unsigned int pages_id, const uint64_t **ret,
		     size_t *ret_n, struct ck_err *err);

/* ---- pagemaps ---- */
/* Appends entries for a range; both length fields are written, long ranges are split. flags are
 * IMAGE_PE_*. */
int image_append_pagemap(struct image_file *f, uint64_t vaddr, uint64_t pages, unsigned int flags,
			 struct ck_err *err);
/*
 * A pagemap as read: runs ascending, page-aligned, not overlapping and none empty, their pages
 * within the pages file. Pages are of IMAGE_PAGE_SIZE bytes.
 */
#define IMAGE_PAGE_SIZE 4096u
struct image_pages_run {
	uint64_t vaddr; /* address, or bytes into shared memory */
	uint64_t pages;
	uint64_t file_off;  /* bytes into the pages file; meaningless without IMAGE_PE_PRESENT */
	unsigned int flags; /* IMAGE_PE_*; 0: zero pages */
};
struct image_pagemap {
	unsigned int pages_id;
	struct image_pages_run *run;
	size_t n;
	uint64_t present; /* pages in the pages file */
};
/* kind is IMAGE_PAGEMAP or IMAGE_PAGEMAP_SHMEM. -ENOENT if the image has no such file. */
int image_read_pagemap(const struct image *img, enum image_kind kind, unsigned int id,
		       struct image_pagemap *ret, struct ck_err *err);
/* len bytes at an address, from the pages file fd; zeros where it has no page. 0 or -errno. */
int image_pages_read(const struct image_pagemap *p, int fd, uint64_t addr, void *buf, size_t len);
void image_pagemap_done(struct image_pagemap *p);
static inline void ck_auto_image_pagemap(struct image_pagemap *p)
{
	image_pagemap_done(p);
}

/* ---- messages as JSON, by reflection: one converter for show, probe, check and profiles ---- */
/*
 * Keys are field names; absent optional fields are left out. Enum values are their names, bytes are
 * hex digits. Fixed 64-bit numbers (checksums, ids) and what a double can't hold are strings
 * "0x...". A string that is no UTF-8 is { "hex": "..." }. Fields that we don't know are in
 * "unknown_fields". NULL if memory ran out.
 */
struct json_object;
struct json_object *image_to_json(const ProtobufCMessage *m);
/* A string by the same rule. */
struct json_object *image_json_string(const char *s);
/*
 * The reverse; numbers may also be strings, decimal or 0x. Unknown keys are ignored, wrong types
 * are CK_ERR_CONFIG with the key in err->where. The caller frees *ret with
 * protobuf_c_message_free_unpacked(m, NULL).
 */
int image_from_json(struct json_object *o, const ProtobufCMessageDescriptor *d,
		    ProtobufCMessage **ret, struct ck_err *err);

#endif
