// SPDX-License-Identifier: Apache-2.0
/*
 * One image file being written: buffered, framed, and hashed on its way, so that the manifest needs
 * no second pass. A pages file is not buffered or hashed: others write it through its descriptor.
 *
 * Once anything failed for a file it stays failed; the writer that it belongs to is told at last.
 */
#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/ckpt.pb-c.h"
#include "image/dir.h"

enum { BUF_SIZE = 1 << 16 };

struct image_file {
	struct image_writer *writer; /* NULL if nobody wants to know */
	size_t index;                /* in the writer's list */
	const char *dir;             /* for messages; the writer's */
	char name[IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)];
	enum image_kind kind;
	int fd;
	bool failed;
	uint64_t size;       /* bytes appended, buffered ones too; not kept for RAW */
	size_t len;          /* bytes in buf */
	uint8_t *buf;        /* BUF_SIZE; NULL for RAW */
	XXH64_state_t *hash; /* of what was flushed; NULL for RAW */
};

static bool is_raw(const struct image_file *f)
{
	return image_types[f->kind].flags & IMAGE_F_RAW;
}

static int flush(struct image_file *f, struct ck_err *err)
{
	int r = ck_write_full(f->fd, f->buf, f->len);

	if (r < 0) {
		f->failed = true;
		errno = -r;
		return image_fail_io(err, f->dir, f->name, "write");
	}
	XXH64_update(f->hash, f->buf, f->len);
	f->len = 0;
	return 0;
}

static int put(struct image_file *f, const void *data, size_t len, struct ck_err *err)
{
	const uint8_t *p = data;

	while (len) {
		size_t n = BUF_SIZE - f->len < len ? BUF_SIZE - f->len : len;
		int r;

		memcpy(f->buf + f->len, p, n);
		f->len += n;
		f->size += n;
		p += n;
		len -= n;
		if (f->len < BUF_SIZE)
			continue;
		r = flush(f, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_u32(struct image_file *f, uint32_t v, struct ck_err *err)
{
	v = htole32(v);
	return put(f, &v, sizeof(v), err);
}

int image_file_start(int dirfd, const char *dir, const char *name, enum image_kind kind,
		     struct image_file **ret, struct ck_err *err)
{
	CK_AUTO(image_file) struct image_file *f = calloc(1, sizeof(*f));
	uint32_t magic[2];
	int r;

	if (!f)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot create %s", name);
	f->fd = -EBADF;
	f->dir = dir;
	f->kind = kind;
	stpncpy(f->name, name, sizeof(f->name) - 1);
	if (!is_raw(f)) {
		f->buf = malloc(BUF_SIZE);
		f->hash = XXH64_createState();
		if (!f->buf || !f->hash)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot create %s", name);
		XXH64_reset(f->hash, 0);
	}
	f->fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (f->fd < 0)
		return image_fail_io(err, dir, name, "create");
	/* The umask may have taken away even our own bits. */
	if (fchmod(f->fd, 0600) < 0)
		return image_fail_io(err, dir, name, "create");
	for (unsigned int i = 0, n = image_magics(kind, magic); i < n; i++) {
		r = put_u32(f, magic[i], err);
		if (r < 0)
			return r;
	}
	*ret = ck_take_ptr(&f);
	return 0;
}

void image_file_set_writer(struct image_file *f, struct image_writer *w, size_t index)
{
	f->writer = w;
	f->index = index;
}

static int append(struct image_file *f, const ProtobufCMessage *m, struct ck_err *err)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	CK_AUTO(free) uint8_t *packed = NULL;
	int r;

	if (is_raw(f))
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "%s takes no messages", f->name);
	if (len > IMAGE_ENTRY_MAX)
		return ck_fail(err, CK_ERR_SYS, -EFBIG, "an entry of %s is longer than %u bytes",
			       f->name, IMAGE_ENTRY_MAX);
	packed = malloc(len ? len : 1);
	if (!packed)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write %s", f->name);
	protobuf_c_message_pack(m, packed);
	r = put_u32(f, (uint32_t)len, err);
	return r < 0 ? r : put(f, packed, len, err);
}

int image_append(struct image_file *f, const ProtobufCMessage *m, struct ck_err *err)
{
	int r = append(f, m, err);

	if (r < 0)
		f->failed = true;
	return r;
}

int image_append_raw(struct image_file *f, const void *data, size_t len, struct ck_err *err)
{
	int r;

	if (!(image_types[f->kind].flags & (IMAGE_F_RAW | IMAGE_F_EXTRA))) {
		f->failed = true;
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "%s takes no raw bytes", f->name);
	}
	if (!is_raw(f))
		return put(f, data, len, err);
	r = ck_write_full(f->fd, data, len);
	if (r < 0) {
		f->failed = true;
		errno = -r;
		return image_fail_io(err, f->dir, f->name, "write");
	}
	return 0;
}

uint64_t image_file_size(const struct image_file *f)
{
	struct stat st;

	if (!is_raw(f))
		return f->size;
	return fstat(f->fd, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

int image_file_fd(const struct image_file *f)
{
	return is_raw(f) ? f->fd : -EBADF;
}

static int add_seal(struct image_file *f, struct ck_err *err)
{
	CkptSeal seal = CKPT_SEAL__INIT;
	int r = flush(f, err);

	if (r < 0)
		return r;
	seal.hash = XXH64_digest(f->hash);
	return append(f, &seal.base, err);
}

static int finish(struct image_file *f, bool sync, struct ck_err *err)
{
	int fd, r = 0;

	if (f->failed)
		return ck_fail(err, CK_ERR_SYS, -EIO, "%s is not complete", f->name);
	if (image_types[f->kind].flags & IMAGE_F_SEALED)
		r = add_seal(f, err);
	if (r == 0 && !is_raw(f))
		r = flush(f, err);
	if (r < 0)
		return r;
	f->size = image_file_size(f);
	if (sync && fsync(f->fd) < 0)
		return image_fail_io(err, f->dir, f->name, "write");
	fd = ck_take_fd(&f->fd);
	/* NFS tells of a full disk here. */
	if (close(fd) < 0 && errno != EINTR)
		return image_fail_io(err, f->dir, f->name, "write");
	return 0;
}

int image_file_finish(struct image_file *f, bool sync, uint64_t *ret_size, uint64_t *ret_hash,
		      struct ck_err *err)
{
	int r = finish(f, sync, err);

	if (r == 0) {
		*ret_size = f->size;
		*ret_hash = f->hash ? XXH64_digest(f->hash) : 0;
	}
	image_file_drop(f);
	return r;
}

void image_file_drop(struct image_file *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		close(f->fd);
	XXH64_freeState(f->hash);
	free(f->buf);
	free(f);
}

int image_file_close(struct image_file *f, struct ck_err *err)
{
	struct image_writer *w = f->writer;
	uint64_t size = 0, hash = 0;
	size_t index = f->index;
	int r = image_file_finish(f, false, &size, &hash, err);

	image_writer_file_ended(w, index, r < 0, size, hash);
	return r;
}
