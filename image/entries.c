// SPDX-License-Identifier: Apache-2.0
/*
 * The entries of one image file. The file may say anything: no length is believed beyond what the
 * file has and IMAGE_ENTRY_MAX, and all that is allocated for a file stays within a multiple of its
 * size.
 */
#include <endian.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/dir.h"
#include "image/ghost-file.pb-c.h"
#include "image/pipe-data.pb-c.h"
#include "image/sk-packet.pb-c.h"

enum { WINDOW = 1 << 18 };

/* A file read through a window, so that small entries cost no system call each. */
struct window {
	int fd;
	uint64_t end;   /* bytes of the file that may be read */
	uint64_t start; /* offset of buf[0] */
	size_t len;     /* valid bytes in buf */
	size_t size;
	uint8_t *buf;
};

static inline void ck_auto_window(struct window *w)
{
	free(w->buf);
}

static int damaged(struct ck_err *err, const char *what, uint64_t off)
{
	return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "%s at byte %llu", what,
		       (unsigned long long)off);
}

/* Makes len bytes at off readable at *ret, until the next call. */
static int window_get(struct window *w, uint64_t off, size_t len, const uint8_t **ret,
		      struct ck_err *err)
{
	ssize_t n;
	size_t want;

	if (off > w->end || len > w->end - off)
		return damaged(err, "is cut off", w->end);
	if (off < w->start || off + len > w->start + w->len) {
		if (len > w->size) {
			size_t size = len > WINDOW ? len : WINDOW;
			uint8_t *buf = realloc(w->buf, size);

			if (!buf)
				return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read");
			w->buf = buf;
			w->size = size;
		}
		want = w->end - off < w->size ? (size_t)(w->end - off) : w->size;
		n = ck_pread_full(w->fd, w->buf, want, (off_t)off);
		w->start = off;
		w->len = n < 0 ? 0 : (size_t)n;
		if (n < 0)
			return ck_fail(err, CK_ERR_SYS, (int)n, "cannot read");
		if ((size_t)n < len)
			return damaged(err, "became shorter", off + (size_t)n);
	}
	*ret = w->buf + (off - w->start);
	return 0;
}

static int get_u32(struct window *w, uint64_t off, uint32_t *ret, struct ck_err *err)
{
	const uint8_t *p;
	int r = window_get(w, off, sizeof(*ret), &p, err);

	if (r < 0)
		return r;
	memcpy(ret, p, sizeof(*ret));
	*ret = le32toh(*ret);
	return 0;
}

/* ---- memory that messages may take ---- */
struct budget {
	ProtobufCAllocator allocator;
	uint64_t left; /* bytes */
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *b = data;

	/* What malloc() adds to every piece counts too. */
	if (size > b->left || b->left - size < 16)
		return NULL;
	b->left -= size + 16;
	return malloc(size ? size : 1);
}

static void budget_free(void *data, void *p)
{
	(void)data;
	free(p);
}

/* ---- entries ---- */
struct reader {
	struct window *w;
	enum image_kind kind;
	struct budget budget;
	struct image_entries *out;
	size_t size; /* of the arrays in out */
	bool chunks; /* a ghost file whose data stands behind chunk entries */
};

static int grow(struct reader *rd, struct ck_err *err)
{
	struct image_entries *e = rd->out;
	bool extra = image_types[rd->kind].flags & IMAGE_F_EXTRA;
	size_t size = rd->size ? rd->size * 2 : 8;
	void *p;

	if (e->n < rd->size)
		return 0;
	p = reallocarray(e->m, size, sizeof(*e->m));
	if (!p)
		goto fail;
	e->m = p;
	if (extra) {
		p = reallocarray(e->raw_off, size, sizeof(*e->raw_off));
		if (!p)
			goto fail;
		e->raw_off = p;
		p = reallocarray(e->raw_len, size, sizeof(*e->raw_len));
		if (!p)
			goto fail;
		e->raw_len = p;
	}
	rd->size = size;
	return 0;
fail:
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read");
}

/* UINT64_MAX, more than any file has, if the sum can't be. */
static uint64_t chunks_len(const CkptFileEntry *e)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < e->n_chunks; i++)
		if (__builtin_add_overflow(sum, e->chunks[i]->len, &sum))
			return UINT64_MAX;
	return sum;
}

/* How many raw bytes stand behind the last entry, off being where they begin. */
static uint64_t raw_len(struct reader *rd, const ProtobufCMessage *m, uint64_t off)
{
	if (m->descriptor == &pipe_data_entry__descriptor)
		return ((const PipeDataEntry *)m)->bytes;
	if (m->descriptor == &sk_packet_entry__descriptor)
		return ((const SkPacketEntry *)m)->length;
	if (m->descriptor == &ghost_chunk_entry__descriptor)
		return ((const GhostChunkEntry *)m)->len;
	if (m->descriptor == &ckpt_file_entry__descriptor)
		return chunks_len((const CkptFileEntry *)m);
	rd->chunks = ((const GhostFileEntry *)m)->has_chunks && ((const GhostFileEntry *)m)->chunks;
	return rd->chunks ? 0 : rd->w->end - off;
}

static int read_entry(struct reader *rd, uint64_t *off, struct ck_err *err)
{
	const struct image_type *t = &image_types[rd->kind];
	const ProtobufCMessageDescriptor *d = rd->out->n == 0 && t->head ? t->head : t->entry;
	const uint8_t *p;
	ProtobufCMessage *m;
	uint64_t raw = 0;
	uint32_t len;
	int r;

	r = get_u32(rd->w, *off, &len, err);
	if (r < 0)
		return r;
	if (len > IMAGE_ENTRY_MAX)
		return damaged(err, "has an impossibly long entry", *off);
	r = window_get(rd->w, *off + 4, len, &p, err);
	if (r < 0)
		return r;
	r = grow(rd, err);
	if (r < 0)
		return r;
	m = protobuf_c_message_unpack(d, &rd->budget.allocator, len, p);
	if (!m)
		return damaged(err, "has an entry that can't be decoded", *off);
	rd->out->m[rd->out->n++] = m;
	*off += 4 + (uint64_t)len;
	if (!(t->flags & IMAGE_F_EXTRA))
		return 0;
	raw = raw_len(rd, m, *off);
	if (raw > rd->w->end - *off)
		return damaged(err, "lacks the data of its last entry", rd->w->end);
	rd->out->raw_off[rd->out->n - 1] = *off;
	rd->out->raw_len[rd->out->n - 1] = raw;
	*off += raw;
	return 0;
}

static int read_magics(struct reader *rd, uint64_t *ret_off, struct ck_err *err)
{
	uint32_t want[2], got;
	unsigned int n = image_magics(rd->kind, want);

	for (unsigned int i = 0; i < n; i++) {
		int r = get_u32(rd->w, i * sizeof(got), &got, err);

		if (r < 0)
			return r;
		if (got != want[i])
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "is not a file of this kind (magic 0x%08x, not 0x%08x)", got,
				       want[i]);
	}
	*ret_off = n * sizeof(got);
	return 0;
}

static int read_all(struct reader *rd, struct ck_err *err)
{
	uint64_t off = 0;
	int r;

	if (image_types[rd->kind].flags & IMAGE_F_SEALED) {
		r = image_check_seal(rd->w->fd, rd->w->end, err);
		if (r < 0)
			return r;
		rd->w->end -= IMAGE_SEAL_LEN;
	}
	r = read_magics(rd, &off, err);
	while (r == 0 && off < rd->w->end)
		r = read_entry(rd, &off, err);
	return r;
}

int image_read_entries(int fd, enum image_kind kind, uint64_t size, struct image_entries *ret,
		       struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries out = { 0 };
	CK_AUTO(window) struct window w = { .fd = fd, .end = size };
	struct reader rd = {
		.w = &w,
		.kind = kind,
		.out = &out,
		/* More than an honest file needs: a byte on disk can become a pointer. */
		.budget = { { budget_alloc, budget_free, NULL }, (64u << 20) + 64 * size },
	};
	int r;

	if (image_types[kind].flags & IMAGE_F_RAW)
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "raw files have no entries");
	rd.budget.allocator.allocator_data = &rd.budget;
	r = read_all(&rd, err);
	if (r < 0)
		return r;
	*ret = out;
	out = (struct image_entries){ 0 };
	return 0;
}

void image_entries_done(struct image_entries *e)
{
	for (size_t i = 0; i < e->n; i++)
		protobuf_c_message_free_unpacked(e->m[i], NULL);
	free(e->m);
	free(e->raw_off);
	free(e->raw_len);
	*e = (struct image_entries){ 0 };
}

int image_check_seal(int fd, uint64_t size, struct ck_err *err)
{
	static const uint8_t head[] = { 9, 0, 0, 0, 0x09 }; /* length; field 1, fixed64 */
	uint8_t seal[IMAGE_SEAL_LEN];
	uint64_t hash, stored;
	ssize_t n;
	int r;

	if (size < sizeof(seal))
		return damaged(err, "is cut off", size);
	n = ck_pread_full(fd, seal, sizeof(seal), (off_t)(size - sizeof(seal)));
	if (n < 0)
		return ck_fail(err, CK_ERR_SYS, (int)n, "cannot read");
	if ((size_t)n < sizeof(seal) || memcmp(seal, head, sizeof(head)) != 0)
		return damaged(err, "has no checksum at its end", size);
	r = image_hash_fd(fd, size - sizeof(seal), &hash, err);
	if (r < 0)
		return r;
	memcpy(&stored, seal + sizeof(head), sizeof(stored));
	if (hash != le64toh(stored))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "is damaged: its checksum is wrong");
	return 0;
}
