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

struct ck_err;

/* One row each in image/table.c, in this order. */
enum image_kind {
	IMAGE_INVENTORY,
	IMAGE_PSTREE,
	IMAGE_CORE,      /* core-%u, by tid */
	IMAGE_IDS,       /* ids-%u, by pid */
	IMAGE_MM,        /* mm-%u, by pid */
	IMAGE_PAGEMAP,   /* pagemap-%u, by pid */
	IMAGE_PAGEMAP_SHMEM, /* pagemap-shmem-%u, by shmid */
	IMAGE_PAGES,     /* pages-%u, by pages_id; raw */
	IMAGE_FDINFO,    /* fdinfo-%u, by files_id */
	IMAGE_FILES,
	IMAGE_FS,        /* fs-%u, by pid */
	IMAGE_PIPES_DATA,
	IMAGE_FIFO_DATA,
	IMAGE_REMAP_FPATH,
	IMAGE_GHOST_FILE, /* ghost-file-%x, by ghost id */
	IMAGE_FILE_LOCKS, /* filelocks.img */
	IMAGE_TTY_FILES,
	IMAGE_TTY_INFO,
	IMAGE_TIMENS,    /* timens-%u */
	IMAGE_SECCOMP,
	IMAGE_CPUINFO,
	IMAGE_STATS_DUMP,
	IMAGE_STATS_RESTORE,
	IMAGE_CKPT_FACTS,
	IMAGE_CKPT_NEEDS,
	IMAGE_CKPT_SUMS,  /* page checksums, written after the job was let go */
	IMAGE_CKPT_MANIFEST,
	IMAGE_N_KINDS,
};

enum image_flags {
	IMAGE_F_ARRAY = 1 << 0,  /* any number of entries of one type */
	IMAGE_F_PERID = 1 << 1,  /* the name carries an id */
	IMAGE_F_RAW = 1 << 2,    /* no framing at all */
	IMAGE_F_OURS = 1 << 3,   /* unknown to CRIU */
	IMAGE_F_EXTRA = 1 << 4,  /* raw bytes stand behind each entry */
	IMAGE_F_LATE = 1 << 5,   /* not covered by the manifest; has a checksum of its own */
};

struct image_type {
	const char *name;  /* as `ckpt show` takes it: "core" */
	const char *format; /* file name, printf with one unsigned int if PERID */
	uint32_t magic;
	unsigned int flags;
	const ProtobufCMessageDescriptor *head;  /* first entry if it differs (pagemap), or NULL */
	const ProtobufCMessageDescriptor *entry; /* NULL if raw */
};

extern const struct image_type image_types[IMAGE_N_KINDS];

/* ---- an image being written ---- */
struct image_writer;
struct image_file;

/*
 * Prepares dir. If it does not exist, everything is written into "<dir>.partial" (a stale one of a
 * killed dump is removed) and renamed by image_commit(); if it exists it must be a directory of
 * ours without a manifest, and the manifest alone commits. Files are 0600, the directory 0700.
 * -EEXIST with a hint if a complete image is there.
 */
int image_writer_open(const char *dir, struct image_writer **ret, struct ck_err *err);
/* Creates a file and writes its magics. id is ignored unless PERID. */
int image_create(struct image_writer *w, enum image_kind kind, unsigned int id,
		 struct image_file **ret, struct ck_err *err);
int image_append(struct image_file *f, const ProtobufCMessage *m, struct ck_err *err);
/* Raw bytes, for PAGES and EXTRA files. */
int image_append_raw(struct image_file *f, const void *data, size_t len, struct ck_err *err);
/* Bytes in the file so far. */
uint64_t image_file_size(const struct image_file *f);
/* Flushes; the file now counts for the manifest. f is gone afterwards, whatever is returned. */
int image_file_close(struct image_file *f, struct ck_err *err);
/* create, append, close */
int image_write_one(struct image_writer *w, enum image_kind kind, unsigned int id,
		    const ProtobufCMessage *m, struct ck_err *err);
/* Where the caller may put a pages file's descriptor to use; still owned by f. */
int image_file_fd(const struct image_file *f);
/*
 * The commit point. fsyncs all files and the directory, writes the manifest, renames. After 0 the
 * image is whole and durable; before, there is none.
 */
int image_commit(struct image_writer *w, struct ck_err *err);
/* Without a commit before it, removes what was written. */
void image_writer_free(struct image_writer *w);
/* After image_commit(): checksums of pages-*.img in IMAGE_CKPT_SUMS. May take seconds. */
int image_write_sums(const char *dir, struct ck_err *err);

/* ---- an image being read ---- */
struct image;

enum image_origin {
	IMAGE_OURS,    /* manifest found and verified */
	IMAGE_FOREIGN, /* CRIU's: inventory found, no file of ours */
};

/*
 * Opens and verifies: manifest, lengths, checksums of all files but pages (see image_pages_sum).
 * Never follows a symbolic link below dir. Errors: CK_ERR_NOIMAGE, CK_ERR_IMAGE.
 */
int image_open(const char *dir, struct image **ret, struct ck_err *err);
enum image_origin image_origin(const struct image *img);
const char *image_dir(const struct image *img);
void image_free(struct image *img);
/* Reads the single entry of a file, or the first of an array. -ENOENT if there is no such file. The
 * caller frees *ret with protobuf_c_message_free_unpacked(). */
int image_read_one(const struct image *img, enum image_kind kind, unsigned int id,
		   ProtobufCMessage **ret, struct ck_err *err);
/* All entries, the head (if the kind has one) first. Raw bytes behind an entry (EXTRA) are skipped
 * here and found through offsets. */
struct image_entries {
	ProtobufCMessage **m;
	uint64_t *raw_off; /* EXTRA: file offset of the raw bytes of entry i */
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
/* Which files there are: calls fn(kind, id, size) for each; stops at a negative return. */
int image_each(const struct image *img,
	       int (*fn)(enum image_kind kind, unsigned int id, uint64_t size, void *arg),
	       void *arg, struct ck_err *err);
/*
 * Checksums of pages file pages_id: XXH64 (seed 0) of each chunk of IMAGE_SUM_CHUNK bytes, the last
 * one shorter. *ret_n is 0 where the image carries none (foreign, or killed before the sums). Owned
 * by img.
 */
#define IMAGE_SUM_CHUNK (1u << 20)
int image_pages_sums(const struct image *img, unsigned int pages_id, const uint64_t **ret,
		     size_t *ret_n, struct ck_err *err);

/* ---- messages as JSON, by reflection: one converter for show, probe, check and profiles ---- */
struct json_object;
struct json_object *image_to_json(const ProtobufCMessage *m);
/* Unknown keys are ignored, wrong types are CK_ERR_CONFIG with the key in err->where. */
int image_from_json(struct json_object *o, const ProtobufCMessageDescriptor *d,
		    ProtobufCMessage **ret, struct ck_err *err);

#endif
