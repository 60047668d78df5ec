// SPDX-License-Identifier: Apache-2.0
/*
 * An image being read: what was written comes back; whatever was changed, cut off, lost or smuggled
 * in is an error and never a crash.
 */
#include <check.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/ckpt.pb-c.h"
#include "image/fdinfo.pb-c.h"
#include "image/ghost-file.pb-c.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/pagemap.pb-c.h"
#include "image/pipe-data.pb-c.h"
#include "image/pstree.pb-c.h"

static char top[64];

enum { PAGES_SIZE = 3 * IMAGE_SUM_CHUNK / 2 / 4096 * 4096 };

static void put_pipes(struct image_writer *w)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_file *f;

	ck_assert_int_eq(image_create(w, IMAGE_PIPES_DATA, 0, &f, &err), 0);
	for (uint32_t i = 0; i < 3; i++) {
		PipeDataEntry e = PIPE_DATA_ENTRY__INIT;

		e.pipe_id = i + 1;
		e.bytes = i * 5;
		ck_assert_int_eq(image_append(f, &e.base, &err), 0);
		ck_assert_int_eq(image_append_raw(f, "0123456789", e.bytes, &err), 0);
	}
	ck_assert_int_eq(image_file_close(f, &err), 0);
}

static void put_ghosts(struct image_writer *w)
{
	GhostFileEntry g = GHOST_FILE_ENTRY__INIT;
	struct ck_err err = CK_ERR_INIT;
	struct image_file *f;

	ck_assert_int_eq(image_create(w, IMAGE_GHOST_FILE, 0xa, &f, &err), 0);
	ck_assert_int_eq(image_append(f, &g.base, &err), 0);
	ck_assert_int_eq(image_append_raw(f, "whole", 5, &err), 0);
	ck_assert_int_eq(image_file_close(f, &err), 0);
	ck_assert_int_eq(image_create(w, IMAGE_GHOST_FILE, 0xb, &f, &err), 0);
	g.has_chunks = g.chunks = true;
	ck_assert_int_eq(image_append(f, &g.base, &err), 0);
	for (uint64_t i = 0; i < 2; i++) {
		GhostChunkEntry c = GHOST_CHUNK_ENTRY__INIT;

		c.off = i * 8192;
		c.len = 3;
		ck_assert_int_eq(image_append(f, &c.base, &err), 0);
		ck_assert_int_eq(image_append_raw(f, "abc", 3, &err), 0);
	}
	ck_assert_int_eq(image_file_close(f, &err), 0);
}

static void put_pages(struct image_writer *w)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	struct ck_err err = CK_ERR_INIT;
	struct image_file *f;
	uint32_t page[1024];

	ck_assert_int_eq(image_create(w, IMAGE_PAGES, 1, &f, &err), 0);
	for (uint32_t i = 0; i < PAGES_SIZE / 4096; i++) {
		for (uint32_t k = 0; k < 1024; k++)
			page[k] = i * 1024 + k;
		ck_assert_int_eq(ck_write_full(image_file_fd(f), page, sizeof(page)), 0);
	}
	ck_assert_int_eq(image_file_close(f, &err), 0);
	head.pages_id = 1;
	ck_assert_int_eq(image_create(w, IMAGE_PAGEMAP, 7, &f, &err), 0);
	ck_assert_int_eq(image_append(f, &head.base, &err), 0);
	ck_assert_int_eq(image_append_pagemap(f, 0x400000, 10, IMAGE_PE_PRESENT, &err), 0);
	ck_assert_int_eq(image_append_pagemap(f, 0x800000, 5, 0, &err), 0);
	ck_assert_int_eq(image_append_pagemap(f, 0x7f0000000000, PAGES_SIZE / 4096 - 10,
					      IMAGE_PE_PRESENT, &err),
			 0);
	ck_assert_int_eq(image_file_close(f, &err), 0);
}

static void put_small(struct image_writer *w)
{
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	PstreeEntry ps = PSTREE_ENTRY__INIT;
	struct ck_err err = CK_ERR_INIT;
	uint32_t tids[] = { 7, 8 };
	struct image_file *f;

	inv.img_version = IMAGE_FORMAT_V1_1;
	ck_assert_int_eq(image_write_one(w, IMAGE_INVENTORY, 0, &inv.base, &err), 0);
	ck_assert_int_eq(image_create(w, IMAGE_PSTREE, 0, &f, &err), 0);
	ps.pid = ps.pgid = ps.sid = 7;
	ps.n_threads = 2;
	ps.threads = tids;
	ck_assert_int_eq(image_append(f, &ps.base, &err), 0);
	ps.pid = 9;
	ps.ppid = 7;
	ps.n_threads = 1;
	ps.threads = tids + 1;
	ck_assert_int_eq(image_append(f, &ps.base, &err), 0);
	ck_assert_int_eq(image_file_close(f, &err), 0);
}

static void make_image(const char *dir)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;

	ck_assert_int_eq(image_writer_open(dir, &w, &err), 0);
	put_small(w);
	put_pipes(w);
	put_ghosts(w);
	put_pages(w);
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
}

static void setup(void)
{
	strcpy(top, "/tmp/t-image-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	ck_assert_int_eq(chdir(top), 0);
	make_image("img");
}

static void teardown(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

static struct image *open_ok(void)
{
	struct ck_err err = CK_ERR_INIT;
	struct image *img = NULL;
	char line[1200];
	int r = image_open("img", &img, &err);

	ck_err_format(&err, line, sizeof(line));
	ck_assert_msg(r == 0, "%s", line);
	return img;
}

/* Opening fails with an image error that names word. */
static void open_fails(const char *word)
{
	struct ck_err err = CK_ERR_INIT;
	struct image *img = NULL;
	int r = image_open("img", &img, &err);

	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(r, err.code);
	ck_assert_int_eq(err.kind, CK_ERR_IMAGE);
	ck_assert_ptr_null(img);
	ck_assert_ptr_nonnull(strstr(err.where, "image img"));
	ck_assert_msg(strstr(err.what, word) || strstr(err.where, word), "'%s' at '%s', not '%s'",
		      err.what, err.where, word);
}

/* The manifest gone, the image is read as if CRIU had written it: nothing vouches for its bytes. */
static void make_foreign(void)
{
	ck_assert_int_eq(unlink("img/ckpt-manifest.img"), 0);
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ck_write_full(fd, data, len), 0);
	close(fd);
}

static uint8_t *read_file(const char *path, size_t *ret_len)
{
	char *data;

	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, path, 1 << 24, &data, ret_len), 0);
	return (uint8_t *)data;
}

START_TEST(what_was_written_comes_back)
{
	struct image *img = open_ok();
	struct ck_err err = CK_ERR_INIT;
	struct image_entries e = { 0 };
	ProtobufCMessage *m;
	char data[16];
	int fd;

	ck_assert_int_eq(image_origin(img), IMAGE_OURS);
	ck_assert_str_eq(image_dir(img), "img");
	ck_assert_int_eq(image_read_all(img, IMAGE_PSTREE, 0, &e, &err), 0);
	ck_assert_uint_eq(e.n, 2);
	ck_assert_ptr_null(e.raw_off);
	ck_assert_uint_eq(((PstreeEntry *)e.m[0])->threads[1], 8);
	ck_assert_uint_eq(((PstreeEntry *)e.m[1])->ppid, 7);
	image_entries_done(&e);
	ck_assert_int_eq(image_read_one(img, IMAGE_PSTREE, 99, &m, &err), 0);
	ck_assert_uint_eq(((PstreeEntry *)m)->pid, 7);
	protobuf_c_message_free_unpacked(m, NULL);

	ck_assert_int_eq(image_read_all(img, IMAGE_PIPES_DATA, 0, &e, &err), 0);
	ck_assert_uint_eq(e.n, 3);
	ck_assert_uint_eq(e.raw_len[0], 0);
	ck_assert_uint_eq(e.raw_len[2], 10);
	fd = image_open_fd(img, IMAGE_PIPES_DATA, 0, &err);
	ck_assert_int_eq(ck_pread_full(fd, data, 10, (off_t)e.raw_off[2]), 10);
	ck_assert_mem_eq(data, "0123456789", 10);
	close(fd);
	image_entries_done(&e);

	ck_assert_int_eq(image_read_one(img, IMAGE_CORE, 7, &m, &err), -ENOENT);
	ck_assert_int_eq(image_open_fd(img, IMAGE_PAGES, 2, &err), -ENOENT);
	image_free(img);
}
END_TEST

START_TEST(ghosts_come_whole_or_in_chunks)
{
	struct image *img = open_ok();
	struct ck_err err = CK_ERR_INIT;
	struct image_entries e = { 0 };

	ck_assert_int_eq(image_read_all(img, IMAGE_GHOST_FILE, 0xa, &e, &err), 0);
	ck_assert_uint_eq(e.n, 1);
	ck_assert_uint_eq(e.raw_len[0], 5);
	image_entries_done(&e);
	ck_assert_int_eq(image_read_all(img, IMAGE_GHOST_FILE, 0xb, &e, &err), 0);
	ck_assert_uint_eq(e.n, 3);
	ck_assert_uint_eq(e.raw_len[0], 0);
	ck_assert_uint_eq(e.raw_len[2], 3);
	ck_assert_uint_eq(((GhostChunkEntry *)e.m[2])->off, 8192);
	image_entries_done(&e);
	image_free(img);
}
END_TEST

START_TEST(pagemaps_are_checked)
{
	struct image *img = open_ok();
	struct ck_err err = CK_ERR_INIT;
	struct image_pagemap p;

	ck_assert_int_eq(image_read_pagemap(img, IMAGE_PAGEMAP, 7, &p, &err), 0);
	ck_assert_uint_eq(p.n, 3);
	ck_assert_uint_eq(p.pages_id, 1);
	ck_assert_uint_eq(p.present, PAGES_SIZE / 4096);
	ck_assert_uint_eq(p.run[1].flags, 0);
	ck_assert_uint_eq(p.run[1].pages, 5);
	ck_assert_uint_eq(p.run[2].file_off, 10 * 4096);
	image_pagemap_done(&p);
	image_free(img);
	make_foreign();
	ck_assert_int_eq(truncate("img/pages-1.img", PAGES_SIZE - 4096), 0);
	img = open_ok();
	ck_assert_int_eq(image_origin(img), IMAGE_FOREIGN);
	ck_assert_int_eq(image_read_pagemap(img, IMAGE_PAGEMAP, 7, &p, &err), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(err.what, "more pages"));
	ck_assert_ptr_nonnull(strstr(err.where, "pagemap-7.img"));
	image_free(img);
}
END_TEST

/* A pagemap of one entry, written by hand into a foreign image. */
static int read_pagemap_of(uint64_t vaddr, uint64_t nr, uint32_t compat, bool has_nr)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	PagemapEntry e = PAGEMAP_ENTRY__INIT;
	uint32_t word[3] = { htole32(0x54564319), htole32(0x56084025) };
	uint8_t buf[128];
	struct image_pagemap p = { 0 };
	struct ck_err err = CK_ERR_INIT;
	struct image *img;
	size_t len;
	int r;

	head.pages_id = 1;
	e.vaddr = vaddr;
	e.compat_nr_pages = compat;
	e.has_nr_pages = has_nr;
	e.nr_pages = nr;
	word[2] = htole32((uint32_t)pagemap_head__pack(&head, buf + 12));
	memcpy(buf, word, 12);
	len = 12 + word[2];
	word[0] = htole32((uint32_t)pagemap_entry__pack(&e, buf + len + 4));
	memcpy(buf + len, word, 4);
	len += 4 + word[0];
	write_file("img/pagemap-7.img", buf, len);
	img = open_ok();
	r = image_read_pagemap(img, IMAGE_PAGEMAP, 7, &p, &err);
	if (r == 0)
		r = p.n == 1 && p.run[0].flags == IMAGE_PE_PRESENT ? (int)p.present : -1;
	image_pagemap_done(&p);
	image_free(img);
	return r;
}

START_TEST(odd_pagemaps_are_errors)
{
	make_foreign();
	ck_assert_int_eq(read_pagemap_of(0x1000, 0, 3, false), 3);
	ck_assert_int_eq(read_pagemap_of(0x1000, 4, 0, true), 4);
	ck_assert_int_eq(read_pagemap_of(0x1001, 4, 4, true), -EBADMSG);
	ck_assert_int_eq(read_pagemap_of(0x1000, UINT64_MAX, 4, true), -EBADMSG);
	ck_assert_int_eq(read_pagemap_of(0x1000, UINT64_MAX / 4096, 4, true), -EBADMSG);
	ck_assert_int_eq(read_pagemap_of(UINT64_MAX - 4095, 1, 1, true), -EBADMSG);
	ck_assert_int_eq(read_pagemap_of(0x1000, PAGES_SIZE / 4096 + 1, 1, true), -EBADMSG);
}
END_TEST

START_TEST(long_ranges_fill_both_fields)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	struct ck_err err = CK_ERR_INIT;
	struct image_entries e = { 0 };
	struct image_writer *w;
	struct image_file *f;
	struct image *img;
	const PagemapEntry *p;

	ck_assert_int_eq(image_writer_open("img2", &w, &err), 0);
	put_small(w);
	ck_assert_int_eq(image_create(w, IMAGE_PAGEMAP, 7, &f, &err), 0);
	ck_assert_int_eq(image_append(f, &head.base, &err), 0);
	ck_assert_int_eq(image_append_pagemap(f, 4096, 0x100000005, 0, &err), 0);
	ck_assert_int_eq(image_file_close(f, &err), 0);
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
	ck_assert_int_eq(image_open("img2", &img, &err), 0);
	ck_assert_int_eq(image_read_all(img, IMAGE_PAGEMAP, 7, &e, &err), 0);
	ck_assert_uint_eq(e.n, 3);
	p = (const PagemapEntry *)e.m[1];
	ck_assert_uint_eq(p->compat_nr_pages, UINT32_MAX);
	ck_assert_uint_eq(p->nr_pages, UINT32_MAX);
	p = (const PagemapEntry *)e.m[2];
	ck_assert_uint_eq(p->vaddr, 4096 + 4096ull * UINT32_MAX);
	ck_assert_uint_eq(p->compat_nr_pages, 6);
	ck_assert_uint_eq(p->nr_pages, 6);
	image_entries_done(&e);
	image_free(img);
}
END_TEST

/* Reads everything of whatever can be opened; only the absence of crashes and hangs is checked. */
static int read_one_file(enum image_kind kind, unsigned int id, uint64_t size, void *arg)
{
	struct image *img = arg;
	struct image_entries e = { 0 };
	struct image_pagemap p = { 0 };
	struct ck_err err = CK_ERR_INIT;

	ck_assert_uint_le(size, 1 << 24);
	if (image_types[kind].entry && image_read_all(img, kind, id, &e, &err) == 0) {
		for (size_t i = 0; i < e.n && e.raw_off; i++)
			ck_assert_uint_le(e.raw_off[i] + e.raw_len[i], size);
		image_entries_done(&e);
	}
	if (kind == IMAGE_PAGEMAP && image_read_pagemap(img, kind, id, &p, &err) == 0)
		image_pagemap_done(&p);
	return 0;
}

static void read_everything(void)
{
	struct ck_err err = CK_ERR_INIT, fault;
	struct image *img = NULL;
	const uint64_t *sums;
	size_t n;

	if (image_open_any("img", &img, &fault, &err) < 0) {
		ck_assert_int_ne(err.kind, CK_ERR_NONE);
		return;
	}
	ck_assert_int_eq(image_each(img, read_one_file, img, &err), 0);
	image_pages_sums(img, 1, &sums, &n, &err);
	image_free(img);
}

static const char *const covered[] = { "img/inventory.img",    "img/pstree.img",
				       "img/pagemap-7.img",    "img/pipes-data.img",
				       "img/ghost-file-b.img", "img/ckpt-manifest.img" };

START_TEST(every_truncation_is_noticed)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(covered); i++) {
		size_t len;
		uint8_t *data = read_file(covered[i], &len);

		for (size_t n = 0; n < len; n++) {
			write_file(covered[i], data, n);
			open_fails(strchr(covered[i], '/') + 1);
			read_everything();
		}
		write_file(covered[i], data, len);
		image_free(open_ok());
		free(data);
	}
}
END_TEST

START_TEST(every_flipped_bit_is_noticed)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(covered); i++) {
		size_t len;
		uint8_t *data = read_file(covered[i], &len);

		for (size_t n = 0; n < len * 8; n++) {
			data[n / 8] ^= (uint8_t)(1 << n % 8);
			write_file(covered[i], data, len);
			open_fails(strchr(covered[i], '/') + 1);
			read_everything();
			data[n / 8] ^= (uint8_t)(1 << n % 8);
		}
		write_file(covered[i], data, len);
		free(data);
	}
	image_free(open_ok());
}
END_TEST

START_TEST(foreign_files_may_be_cut_or_changed)
{
	make_foreign();
	for (size_t i = 0; i + 1 < CK_ARRAY_SIZE(covered); i++) {
		size_t len;
		uint8_t *data = read_file(covered[i], &len);

		for (size_t n = 0; n < len; n++) {
			write_file(covered[i], data, n);
			read_everything();
		}
		for (size_t n = 0; n < len * 8; n++) {
			data[n / 8] ^= (uint8_t)(1 << n % 8);
			write_file(covered[i], data, len);
			read_everything();
			data[n / 8] ^= (uint8_t)(1 << n % 8);
		}
		write_file(covered[i], data, len);
		free(data);
	}
}
END_TEST

START_TEST(long_entries_are_not_believed)
{
	static const uint32_t lengths[] = { 0xffffffff, 0x7fffffff, (64u << 20) + 1, 64u << 20 };
	uint32_t word[4] = { htole32(0x54564319), htole32(0x50273030), 0, 0 };
	struct ck_err err = CK_ERR_INIT;
	struct image_entries e = { 0 };
	struct image *img;

	make_foreign();
	for (size_t i = 0; i < CK_ARRAY_SIZE(lengths); i++) {
		word[2] = htole32(lengths[i]);
		write_file("img/pstree.img", word, sizeof(word));
		img = open_ok();
		ck_assert_int_eq(image_read_all(img, IMAGE_PSTREE, 0, &e, &err), -EBADMSG);
		ck_assert_ptr_nonnull(strstr(err.where, "pstree.img"));
		image_free(img);
	}
}
END_TEST

START_TEST(memory_is_bounded_by_the_file)
{
	/* stats have no required field: each empty entry of 4 bytes costs a struct. */
	size_t n = 1 << 21;
	uint32_t *word = calloc(n + 2, 4);
	struct image_entries e = { 0 };
	struct ck_err err = CK_ERR_INIT;
	struct image *img;

	make_foreign();
	word[0] = htole32(0x55105940);
	word[1] = htole32(0x57093306);
	write_file("img/stats-dump", word, 4 * (n + 2));
	free(word);
	img = open_ok();
	if (image_read_all(img, IMAGE_STATS_DUMP, 0, &e, &err) == 0)
		ck_assert_uint_eq(e.n, n);
	image_entries_done(&e);
	image_free(img);
}
END_TEST

START_TEST(lost_and_added_files)
{
	struct image_file_info info;
	struct ck_err err = CK_ERR_INIT, fault = CK_ERR_INIT;
	struct image *img;
	bool missing = false, stray = false;
	ProtobufCMessage *m;

	/* Not the image's: neither read nor in the way. */
	write_file("img/core-99.img", "x", 1);
	write_file("img/dump.log", "x", 1);
	img = open_ok();
	ck_assert_int_eq(image_read_one(img, IMAGE_CORE, 99, &m, &err), -ENOENT);
	image_free(img);
	ck_assert_int_eq(unlink("img/ghost-file-a.img"), 0);
	open_fails("ghost-file-a.img is missing");
	ck_assert_int_eq(image_open_any("img", &img, &fault, &err), 0);
	ck_assert_int_eq(fault.kind, CK_ERR_IMAGE);
	for (size_t i = 0; i < image_n_files(img); i++) {
		image_file_info(img, i, &info);
		missing = missing || (!strcmp(info.name, "ghost-file-a.img") &&
				      info.state == IMAGE_FILE_MISSING);
		stray = stray ||
			(!strcmp(info.name, "core-99.img") && info.state == IMAGE_FILE_STRAY);
	}
	ck_assert(missing && stray);
	image_free(img);
	make_foreign();
	ck_assert_int_eq(unlink("img/inventory.img"), 0);
	open_fails("incomplete");
	ck_assert_int_eq(system("rm img/*"), 0);
	ck_assert_int_eq(image_open("img", &img, &err), -ENOENT);
	ck_assert_int_eq(err.kind, CK_ERR_NOIMAGE);
	ck_assert_int_eq(image_open("nowhere", &img, &err), -ENOENT);
	ck_assert_int_eq(err.kind, CK_ERR_NOIMAGE);
}
END_TEST

START_TEST(links_and_pipes_are_not_read)
{
	ck_assert_int_eq(rename("img/pstree.img", "elsewhere"), 0);
	ck_assert_int_eq(symlink("../elsewhere", "img/pstree.img"), 0);
	open_fails("pstree.img is a symbolic link");
	read_everything();
	make_foreign();
	open_fails("pstree.img is not a regular file");
	ck_assert_int_eq(unlink("img/pstree.img"), 0);
	ck_assert_int_eq(mkfifo("img/pstree.img", 0600), 0);
	open_fails("pstree.img is not a regular file");
	read_everything();
	ck_assert_int_eq(unlink("img/pstree.img"), 0);
	ck_assert_int_eq(mkdir("img/pstree.img", 0700), 0);
	open_fails("pstree.img is not a regular file");
}
END_TEST

START_TEST(pages_have_sums)
{
	struct ck_err err = CK_ERR_INIT;
	const uint64_t *sums;
	struct image *img = open_ok();
	uint8_t *data;
	size_t n, len;

	ck_assert_int_eq(image_pages_sums(img, 1, &sums, &n, &err), 0);
	ck_assert_uint_eq(n, 0);
	image_free(img);
	ck_assert_int_eq(image_write_sums("img", NULL, 0, &err), 0);
	ck_assert_int_eq(image_write_sums("img", NULL, 0, &err), 0); /* again is no harm */
	img = open_ok();
	ck_assert_int_eq(image_pages_sums(img, 1, &sums, &n, &err), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_ne(sums[0], sums[1]);
	ck_assert_int_eq(image_pages_sums(img, 2, &sums, &n, &err), 0);
	ck_assert_uint_eq(n, 0);
	image_free(img);
	/* Damaged sums are an error of theirs, not of the image. */
	data = read_file("img/ckpt-sums.img", &len);
	data[len / 2] ^= 1;
	write_file("img/ckpt-sums.img", data, len);
	free(data);
	img = open_ok();
	ck_assert_int_eq(image_pages_sums(img, 1, &sums, &n, &err), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(err.where, "ckpt-sums.img"));
	image_free(img);
	/* Pages are checked for their length on opening, no further. */
	data = read_file("img/pages-1.img", &len);
	data[5] ^= 1;
	write_file("img/pages-1.img", data, len);
	image_free(open_ok());
	write_file("img/pages-1.img", data, len - 1);
	open_fails("pages-1.img is damaged");
	free(data);
}
END_TEST

START_TEST(sums_of_another_image_are_refused)
{
	struct ck_err err = CK_ERR_INIT;
	const uint64_t *sums;
	struct image *img;
	size_t n;

	make_image("img2");
	ck_assert_int_eq(image_write_sums("img2", NULL, 0, &err), 0);
	ck_assert_int_eq(system("cp img2/ckpt-sums.img img/"), 0);
	img = open_ok();
	ck_assert_int_eq(image_pages_sums(img, 1, &sums, &n, &err), -EBADMSG);
	image_free(img);
}
END_TEST

START_TEST(kinds_of_files_that_are_unknown_survive)
{
	/* A file_entry of CRIU's with an eventfd (field 6) that we know nothing of. */
	static const uint8_t entry[] = { 0x08, 6, 0x10, 3, 0x32, 2, 0x08, 3 };
	struct ck_err err = CK_ERR_INIT;
	uint8_t file[12 + sizeof(entry)], packed[sizeof(entry)];
	uint32_t word[3] = { htole32(0x54564319), htole32(0x56303138), htole32(sizeof(entry)) };
	ProtobufCMessage *m;
	struct image *img;

	memcpy(file, word, 12);
	memcpy(file + 12, entry, sizeof(entry));
	make_foreign();
	write_file("img/files.img", file, sizeof(file));
	img = open_ok();
	ck_assert_int_eq(image_read_one(img, IMAGE_FILES, 0, &m, &err), 0);
	ck_assert_int_eq(((FileEntry *)m)->type, FD_TYPES__EVENTFD);
	ck_assert_uint_eq(m->n_unknown_fields, 1);
	ck_assert_uint_eq(m->unknown_fields[0].tag, 6);
	ck_assert_uint_eq(protobuf_c_message_pack(m, packed), sizeof(entry));
	ck_assert_mem_eq(packed, entry, sizeof(entry));
	protobuf_c_message_free_unpacked(m, NULL);
	image_free(img);
}
END_TEST

START_TEST(newer_images_are_not_guessed_at)
{
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	uint8_t buf[64];
	uint32_t word[2] = { htole32(0x58313116), 0 };
	size_t len;

	inv.img_version = 3;
	len = inventory_entry__pack(&inv, buf + 8);
	word[1] = htole32((uint32_t)len);
	memcpy(buf, word, 8);
	make_foreign();
	write_file("img/inventory.img", buf, 8 + len);
	open_fails("format 3");
	inv.img_version = IMAGE_FORMAT_CKPT; /* ours only */
	len = inventory_entry__pack(&inv, buf + 8);
	word[1] = htole32((uint32_t)len);
	memcpy(buf, word, 8);
	write_file("img/inventory.img", buf, 8 + len);
	open_fails("format");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image-read");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_was_written_comes_back);
	tcase_add_test(t, ghosts_come_whole_or_in_chunks);
	tcase_add_test(t, pagemaps_are_checked);
	tcase_add_test(t, odd_pagemaps_are_errors);
	tcase_add_test(t, long_ranges_fill_both_fields);
	tcase_add_test(t, every_truncation_is_noticed);
	tcase_add_test(t, every_flipped_bit_is_noticed);
	tcase_add_test(t, foreign_files_may_be_cut_or_changed);
	tcase_add_test(t, long_entries_are_not_believed);
	tcase_add_test(t, memory_is_bounded_by_the_file);
	tcase_add_test(t, lost_and_added_files);
	tcase_add_test(t, links_and_pipes_are_not_read);
	tcase_add_test(t, pages_have_sums);
	tcase_add_test(t, sums_of_another_image_are_refused);
	tcase_add_test(t, kinds_of_files_that_are_unknown_survive);
	tcase_add_test(t, newer_images_are_not_guessed_at);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
