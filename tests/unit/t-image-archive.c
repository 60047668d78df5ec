// SPDX-License-Identifier: Apache-2.0
/*
 * Images in archives: the layouts of runtimes are found, pages become holes but for what is kept,
 * and nothing in an archive reaches beyond the temporary directory, which goes away.
 */
#include <archive.h>
#include <archive_entry.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "image/format.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/open.h"

static char base[] = "/tmp/t-image-archive-XXXXXX";
static char file[80];
static uint8_t inventory[64];
static size_t inventory_len;

/* The file as a writer makes it. */
static void make_inventory(void)
{
	InventoryEntry e = INVENTORY_ENTRY__INIT;
	uint32_t magic = 0x58313116, len;

	e.img_version = IMAGE_FORMAT_V1_1;
	e.has_fdinfo_per_id = e.fdinfo_per_id = true;
	e.has_ns_per_id = e.ns_per_id = true;
	len = (uint32_t)inventory_entry__get_packed_size(&e);
	ck_assert_uint_lt(8 + len, sizeof(inventory));
	memcpy(inventory, &magic, 4);
	memcpy(inventory + 4, &len, 4);
	inventory_entry__pack(&e, inventory + 8);
	inventory_len = 8 + len;
}

static void setup(void)
{
	strcpy(base, "/tmp/t-image-archive-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
	snprintf(file, sizeof(file), "%s/a.tar", base);
	ck_assert_int_eq(setenv("TMPDIR", base, 1), 0);
	make_inventory();
}

/* Besides the archive nothing is left. */
static void teardown(void)
{
	unlink(file);
	ck_assert_msg(rmdir(base) == 0, "something is left in %s", base);
}

static struct archive *start(int filter)
{
	struct archive *a = archive_write_new();

	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(archive_write_add_filter(a, filter), ARCHIVE_OK);
	ck_assert_int_eq(archive_write_set_format_pax_restricted(a), ARCHIVE_OK);
	ck_assert_int_eq(archive_write_open_filename(a, file), ARCHIVE_OK);
	return a;
}

static void put(struct archive *a, const char *name, mode_t type, const void *data, size_t len)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, type);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_size(e, (la_int64_t)len);
	if (type == AE_IFLNK)
		archive_entry_set_symlink(e, data);
	ck_assert_int_eq(archive_write_header(a, e), ARCHIVE_OK);
	if (type == AE_IFREG)
		ck_assert_int_eq((int)archive_write_data(a, data, len), (int)len);
	archive_entry_free(e);
}

static void put_inventory(struct archive *a, const char *name)
{
	put(a, name, AE_IFREG, inventory, inventory_len);
}

static int open_it(struct image **ret, struct ck_err *err)
{
	*err = (struct ck_err)CK_ERR_INIT;
	return image_open_archive(file, NULL, ret, err);
}

/* Each compression; names as tar writes them; what else a runtime puts beside the image. */
START_TEST(layouts)
{
	static const struct {
		int filter;
		const char *dir;
	} t[] = {
		{ ARCHIVE_FILTER_NONE, "checkpoint/" },   { ARCHIVE_FILTER_GZIP, "./" },
		{ ARCHIVE_FILTER_ZSTD, "./checkpoint/" }, { ARCHIVE_FILTER_ZSTD, "" },
		{ ARCHIVE_FILTER_NONE, "/var/lib/job/" },
	};
	struct archive *a = start(t[_i].filter);
	struct image *img = NULL;
	struct ck_err err;
	char name[80];

	put(a, "config.dump", AE_IFREG, "{}", 2);
	snprintf(name, sizeof(name), "%spstree.img", t[_i].dir);
	put(a, name, AE_IFREG, "x", 1);
	snprintf(name, sizeof(name), "%sinventory.img", t[_i].dir);
	put_inventory(a, name);
	snprintf(name, sizeof(name), "%sunknown.img", t[_i].dir);
	put(a, name, AE_IFREG, "x", 1);
	put(a, "rootfs-diff.tar", AE_IFREG, "x", 1);
	archive_write_free(a);
	ck_assert_msg(open_it(&img, &err) == 0, "%s %s", err.what, err.where);
	ck_assert_str_eq(image_dir(img), file);
	ck_assert_int_eq((int)image_origin(img), IMAGE_FOREIGN);
	ck_assert_uint_eq(image_n_files(img), 2);
	image_free(img);
}
END_TEST

/* Names that lead out, links, devices: none of them is followed or made. */
START_TEST(hostile_names)
{
	char out[100], link_name[100];
	struct archive *a = start(ARCHIVE_FILTER_NONE);
	struct image *img = NULL;
	struct ck_err err;

	snprintf(out, sizeof(out), "../../../../../../..%s/inventory.img", base);
	put_inventory(a, out);
	snprintf(link_name, sizeof(link_name), "%s/core-1.img", base);
	put(a, "x/pstree.img", AE_IFLNK, link_name, 0);
	put(a, "x/files.img", AE_IFIFO, NULL, 0);
	put(a, "x/core-1.img", AE_IFDIR, NULL, 0);
	put(a, "x/core-1.img/inventory.img/../../../mm-1.img", AE_IFREG, "x", 1);
	archive_write_free(a);
	/* The first is the only inventory, and lies in a directory of ours. */
	ck_assert_int_eq(open_it(&img, &err), 0);
	ck_assert_uint_eq(image_n_files(img), 1);
	snprintf(out, sizeof(out), "%s/inventory.img", base);
	ck_assert_int_lt(access(out, F_OK), 0);
	image_free(img);
}
END_TEST

START_TEST(wrong_archives)
{
	struct archive *a = start(ARCHIVE_FILTER_NONE);
	struct image *img = NULL;
	struct ck_err err;

	put_inventory(a, "inventory.img");
	put_inventory(a, "./inventory.img");
	archive_write_free(a);
	ck_assert_int_lt(open_it(&img, &err), 0);
	ck_assert_int_eq((int)err.kind, CK_ERR_IMAGE);
	ck_assert_ptr_nonnull(strstr(err.what, "twice"));

	a = start(ARCHIVE_FILTER_NONE);
	put_inventory(a, "a/inventory.img");
	put_inventory(a, "b/inventory.img");
	archive_write_free(a);
	ck_assert_int_lt(open_it(&img, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.what, "several"));

	a = start(ARCHIVE_FILTER_NONE);
	put(a, "a/pstree.img", AE_IFREG, "x", 1);
	archive_write_free(a);
	ck_assert_int_eq(open_it(&img, &err), -ENODATA);

	a = start(ARCHIVE_FILTER_NONE);
	put(a, "etc/passwd", AE_IFREG, "x", 1);
	archive_write_free(a);
	ck_assert_int_lt(open_it(&img, &err), 0);
	ck_assert_int_eq((int)err.kind, CK_ERR_NOIMAGE);

	unlink(file);
	ck_assert_int_lt(open_it(&img, &err), 0);
	ck_assert_int_eq((int)err.kind, CK_ERR_NOIMAGE);
}
END_TEST

/* Cut off anywhere, it is damaged; and with every byte changed in turn nothing worse happens. */
START_TEST(damaged)
{
	struct archive *a = start(ARCHIVE_FILTER_GZIP);
	CK_AUTO(free) uint8_t *whole = NULL;
	struct stat st;
	FILE *f;

	put_inventory(a, "checkpoint/inventory.img");
	put(a, "checkpoint/pstree.img", AE_IFREG, "x", 1);
	archive_write_free(a);
	ck_assert_int_eq(stat(file, &st), 0);
	whole = malloc((size_t)st.st_size);
	f = fopen(file, "r");
	ck_assert_uint_eq(fread(whole, 1, (size_t)st.st_size, f), (size_t)st.st_size);
	fclose(f);
	for (off_t i = 0; i < st.st_size; i++) {
		struct image *img = NULL;
		struct ck_err err;

		whole[i] ^= 0x55;
		f = fopen(file, "w");
		fwrite(whole, 1, (size_t)st.st_size, f);
		fclose(f);
		if (open_it(&img, &err) == 0)
			image_free(img);
		whole[i] ^= 0x55;
		if (i < 20) /* the header of gzip */
			continue;
		f = fopen(file, "w");
		fwrite(whole, 1, (size_t)i, f);
		fclose(f);
		ck_assert_int_lt(open_it(&img, &err), 0);
		ck_assert_int_eq((int)err.kind, CK_ERR_IMAGE);
	}
}
END_TEST

/* The word, wherever it lies. */
static bool keep(const void *data, size_t len, size_t *off, size_t *n)
{
	static const char word[] = "keep this";
	const char *p = *off < len ? memmem((const char *)data + *off, len - *off, word, 9) : NULL;

	if (!p)
		return false;
	*off = (size_t)(p - (const char *)data);
	*n = 9;
	return true;
}

/* Pages keep their length, and the pages around what is kept; also across two windows of a stream.
 */
START_TEST(pages)
{
	static const size_t at[] = { 100, 2 * 4096 - 4, (1 << 20) - 3, (1 << 20) + 5 * 4096 };
	size_t len = (3 << 20) + 4096;
	CK_AUTO(free) char *data = malloc(len);
	CK_AUTO(free) char *got = malloc(len);
	struct archive *a = start(ARCHIVE_FILTER_ZSTD);
	struct image *img = NULL;
	struct ck_err err = CK_ERR_INIT;
	struct stat st;
	size_t n_pages = 0;
	int fd;

	memset(data, 'x', len);
	for (size_t i = 0; i < CK_ARRAY_SIZE(at); i++)
		memcpy(data + at[i], "keep this", 9);
	put_inventory(a, "inventory.img");
	put(a, "pages-1.img", AE_IFREG, data, len);
	archive_write_free(a);
	ck_assert_int_eq(image_open_archive(file, keep, &img, &err), 0);
	fd = image_open_fd(img, IMAGE_PAGES, 1, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, (off_t)len);
	ck_assert_int_eq(pread(fd, got, len, 0), (ssize_t)len);
	for (size_t i = 0; i < CK_ARRAY_SIZE(at); i++)
		ck_assert_mem_eq(got + at[i], "keep this", 9);
	for (size_t i = 0; i < len; i += 4096)
		n_pages += got[i + 50] != 0;
	ck_assert_uint_eq(n_pages, 6); /* 0, 1, 2, 255, 256, 261 */
	close(fd);
	image_free(img);
}
END_TEST

/* A file that claims to be metadata and has no end. */
START_TEST(too_large)
{
	size_t len = 65 << 20;
	CK_AUTO(free) char *data = calloc(1, len);
	struct archive *a = start(ARCHIVE_FILTER_ZSTD);
	struct image *img = NULL;
	struct ck_err err;

	put_inventory(a, "inventory.img");
	put(a, "pipes-data.img", AE_IFREG, data, len); /* nobody judges it */
	archive_write_free(a);
	ck_assert_int_eq(open_it(&img, &err), 0);
	ck_assert_uint_eq(image_n_files(img), 1);
	image_free(img);
	a = start(ARCHIVE_FILTER_ZSTD);
	put_inventory(a, "inventory.img");
	put(a, "files.img", AE_IFREG, data, len);
	archive_write_free(a);
	ck_assert_int_eq(open_it(&img, &err), -EFBIG);
	ck_assert_ptr_nonnull(strstr(err.what, "files.img"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image-archive");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, layouts, 0, 5);
	tcase_add_test(tc, hostile_names);
	tcase_add_test(tc, wrong_archives);
	tcase_add_test(tc, damaged);
	tcase_add_test(tc, pages);
	tcase_add_test(tc, too_large);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
