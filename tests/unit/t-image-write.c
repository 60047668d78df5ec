// SPDX-License-Identifier: Apache-2.0
/*
 * An image being written: it is there whole after the commit and not at all before it; nothing of
 * anybody else's is touched; what a killed dump leaves is told from an image and removed.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/err.h"
#include "image/core.pb-c.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/pstree.pb-c.h"
#include "image/stats.pb-c.h"
#include "tests/unit/skip.h"

static char top[64];

static void setup(void)
{
	strcpy(top, "/tmp/t-image-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	ck_assert_int_eq(chdir(top), 0);
}

static void teardown(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

static void write_inventory(struct image_writer *w)
{
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	struct ck_err err = CK_ERR_INIT;

	inv.img_version = IMAGE_FORMAT_V1_1;
	inv.has_fdinfo_per_id = inv.fdinfo_per_id = true;
	ck_assert_int_eq(image_write_one(w, IMAGE_INVENTORY, 0, &inv.base, &err), 0);
}

static void write_files(struct image_writer *w)
{
	PstreeEntry ps = PSTREE_ENTRY__INIT;
	struct ck_err err = CK_ERR_INIT;
	struct image_file *f;
	uint32_t tids[] = { 7, 8 };
	char page[4096];

	/* The inventory is written first here: it must still get its name last. */
	write_inventory(w);
	ps.pid = ps.pgid = ps.sid = 7;
	ps.n_threads = 2;
	ps.threads = tids;
	ck_assert_int_eq(image_write_one(w, IMAGE_PSTREE, 0, &ps.base, &err), 0);
	ck_assert_int_eq(image_create(w, IMAGE_PAGEMAP, 7, &f, &err), 0);
	ck_assert_int_eq(image_file_close(f, &err), 0);
	ck_assert_int_eq(image_create(w, IMAGE_PAGES, 1, &f, &err), 0);
	memset(page, 'x', sizeof(page));
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(image_append_raw(f, page, sizeof(page), &err), 0);
	ck_assert_uint_eq(image_file_size(f), 3 * 4096);
	ck_assert_int_ge(image_file_fd(f), 0);
	ck_assert_int_eq(image_file_close(f, &err), 0);
}

static void make_image(const char *dir)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;

	ck_assert_int_eq(image_writer_open(dir, &w, &err), 0);
	write_files(w);
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static unsigned int mode_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static int count(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

START_TEST(commits_into_a_new_directory)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image *img;

	umask(0777); /* must not matter */
	ck_assert_int_eq(image_writer_open("img///", &w, &err), 0);
	write_files(w);
	ck_assert(!exists("img"));
	ck_assert(exists("img.partial"));
	ck_assert(!exists("img.partial/inventory.img"));
	ck_assert_int_eq(image_open("img", &img, &err), -ENOENT);
	ck_assert_int_eq(err.kind, CK_ERR_NOIMAGE);
	ck_assert_ptr_nonnull(strstr(err.hint, "img.partial"));
	ck_assert_int_eq(image_open("img.partial", &img, &err), -ENODATA);
	ck_assert_int_eq(err.kind, CK_ERR_IMAGE);
	ck_assert_ptr_nonnull(strstr(err.what, "incomplete"));
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
	umask(022);
	ck_assert(!exists("img.partial"));
	ck_assert_uint_eq(mode_of("img"), 0700);
	ck_assert_uint_eq(mode_of("img/pstree.img"), 0600);
	ck_assert_uint_eq(mode_of("img/pages-1.img"), 0600);
	ck_assert_uint_eq(mode_of("img/ckpt-manifest.img"), 0600);
	ck_assert_int_eq(count("img"), 5);
	ck_assert_int_eq(image_open("img", &img, &err), 0);
	ck_assert_int_eq(image_origin(img), IMAGE_OURS);
	image_free(img);
}
END_TEST

START_TEST(commits_into_an_existing_directory)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image *img;

	ck_assert_int_eq(mkdir("img", 0755), 0);
	touch("img/dump.log");
	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	ck_assert(!exists("img.partial"));
	ck_assert(!exists("img/inventory.img"));
	ck_assert_int_eq(image_open("img", &img, &err), -ENODATA);
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
	ck_assert_int_eq(count("img"), 6);
	ck_assert(exists("img/dump.log"));
	ck_assert_int_eq(image_open("img", &img, &err), 0);
	image_free(img);
}
END_TEST

START_TEST(without_a_commit_nothing_stays)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	image_writer_free(w);
	ck_assert_int_eq(count("."), 0);
	ck_assert_int_eq(mkdir("img", 0755), 0);
	touch("img/dump.log");
	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	image_writer_free(w);
	ck_assert_int_eq(count("img"), 1);
	/* Not even begun. */
	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	image_writer_free(w);
	ck_assert_int_eq(count("img"), 1);
	ck_assert_int_eq(image_writer_open("other", &w, &err), 0);
	image_writer_free(w);
	ck_assert(!exists("other.partial"));
}
END_TEST

START_TEST(refuses_to_replace_an_image)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image *img;

	make_image("img");
	ck_assert_int_eq(image_writer_open("img", &w, &err), -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.where, "img"));
	ck_assert_str_ne(err.hint, "");
	ck_assert_int_eq(image_open("img", &img, &err), 0);
	image_free(img);
	/* CRIU's: no marker, no manifest. */
	ck_assert_int_eq(mkdir("criu", 0755), 0);
	touch("criu/core-1.img");
	ck_assert_int_eq(image_writer_open("criu", &w, &err), -EEXIST);
	ck_assert(exists("criu/core-1.img"));
	ck_assert_int_eq(count("criu"), 1);
}
END_TEST

START_TEST(a_name_taken_meanwhile_is_not_replaced)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	ck_assert_int_eq(mkdir("img", 0755), 0);
	touch("img/mine");
	ck_assert_int_eq(image_commit(w, &err), -EEXIST);
	image_writer_free(w);
	ck_assert(exists("img/mine"));
	ck_assert_int_eq(count("img"), 1);
	ck_assert(!exists("img.partial"));
}
END_TEST

START_TEST(two_files_of_one_name_are_a_mistake)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image_file *f;

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	ck_assert_int_eq(image_create(w, IMAGE_PSTREE, 0, &f, &err), -EEXIST);
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
}
END_TEST

START_TEST(incomplete_files_are_not_committed)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image_file *f;

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	ck_assert_int_lt(image_commit(w, &err), 0); /* no inventory */
	write_inventory(w);
	ck_assert_int_eq(image_create(w, IMAGE_PSTREE, 0, &f, &err), 0);
	ck_assert_int_lt(image_commit(w, &err), 0); /* still open */
	ck_assert_int_lt(image_append_raw(f, "x", 1, &err), 0);
	ck_assert_int_lt(image_file_close(f, &err), 0);
	ck_assert_int_lt(image_commit(w, &err), 0); /* failed */
	image_writer_free(w);
	ck_assert_int_eq(count("."), 0);
}
END_TEST

/* Leaves what a dump leaves that is killed by SIGKILL before (or, with late, within) its commit. */
static void leave_behind(const char *dir, bool late)
{
	struct image_writer *w;
	struct ck_err err;
	char path[64];
	pid_t pid;
	int status;

	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (image_writer_open(dir, &w, &err) < 0)
			_exit(1);
		write_files(w);
		if (late) {
			snprintf(path, sizeof(path), "%s.partial/ckpt-manifest.img", dir);
			touch(path);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(removes_what_a_killed_dump_left)
{
	for (int late = 0; late < 2; late++) {
		leave_behind("img", late);
		ck_assert(exists("img.partial/pstree.img"));
		make_image("img");
		ck_assert(!exists("img.partial"));
		ck_assert_int_eq(count("img"), 5);
		ck_assert_int_eq(system("rm -r img"), 0);
	}
	ck_assert_int_eq(mkdir("img", 0755), 0);
	touch("img/dump.log");
	leave_behind("img", false);
	ck_assert(exists("img/pstree.img"));
	make_image("img");
	ck_assert_int_eq(count("img"), 6);
}
END_TEST

START_TEST(removes_nothing_else_of_a_stale_directory)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;

	leave_behind("img", false);
	touch("img.partial/thesis.tex");
	ck_assert_int_eq(image_writer_open("img", &w, &err), -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.what, "thesis.tex"));
	ck_assert(exists("img.partial/thesis.tex"));
	ck_assert(exists("img.partial/pstree.img"));
	/* Without our marker even image files are not ours. */
	ck_assert_int_eq(system("rm img.partial/thesis.tex img.partial/*.tmp"), 0);
	ck_assert_int_eq(image_writer_open("img", &w, &err), -EEXIST);
	ck_assert(exists("img.partial/pstree.img"));
	/* Nor is a link. */
	ck_assert_int_eq(system("rm -r img.partial; mkdir victim; touch victim/core-1.img;"
				"ln -s victim img.partial"),
			 0);
	ck_assert_int_lt(image_writer_open("img", &w, &err), 0);
	ck_assert(exists("victim/core-1.img"));
}
END_TEST

START_TEST(a_second_dump_waits_its_turn)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w, *w2;

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	ck_assert_int_eq(image_writer_open("img", &w2, &err), -EBUSY);
	ck_assert_int_eq(err.kind, CK_ERR_BUSY);
	write_files(w);
	ck_assert_int_eq(image_commit(w, &err), 0);
	image_writer_free(w);
}
END_TEST

START_TEST(never_follows_a_link)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image_file *f;

	ck_assert_int_eq(mkdir("img", 0755), 0);
	touch("victim");
	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	ck_assert_int_eq(symlink("../victim", "img/pstree.img"), 0);
	ck_assert_int_eq(image_create(w, IMAGE_PSTREE, 0, &f, &err), -EEXIST);
	ck_assert_int_eq(symlink("../nowhere", "img/files.img"), 0);
	ck_assert_int_eq(image_create(w, IMAGE_FILES, 0, &f, &err), -EEXIST);
	image_writer_free(w);
	ck_assert(exists("img/pstree.img"));
	ck_assert(exists("victim"));
	ck_assert(!exists("nowhere"));
	ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
	ck_assert_int_eq(image_writer_open("dangling", &w, &err), -EEXIST);
	ck_assert_int_eq(image_writer_open("no/such/place", &w, &err), -ENOENT);
	ck_assert_str_ne(err.hint, "");
	ck_assert_int_eq(image_writer_open("victim", &w, &err), -ENOTDIR);
}
END_TEST

START_TEST(a_vanished_directory_is_said)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image_file *f;

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	ck_assert_int_eq(rename("img.partial", "elsewhere"), 0);
	ck_assert_int_eq(image_commit(w, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.hint, "removed or renamed"));
	image_writer_free(w);
	ck_assert_int_eq(count("elsewhere"), 0);

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	ck_assert_int_eq(system("rm -r img.partial"), 0);
	ck_assert_int_eq(image_create(w, IMAGE_PSTREE, 0, &f, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.where, "img"));
	ck_assert_ptr_nonnull(strstr(err.hint, "removed or renamed"));
	image_writer_free(w);
}
END_TEST

START_TEST(a_full_disk_is_said)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	struct image_file *f;
	char block[65536];
	int r = 0;

	ck_assert_int_eq(mkdir("small", 0755), 0);
	if (mount("none", "small", "tmpfs", 0, "size=128k") < 0)
		SKIP("needs the right to mount");
	memset(block, 'x', sizeof(block));
	ck_assert_int_eq(image_writer_open("small/img", &w, &err), 0);
	write_files(w);
	ck_assert_int_eq(image_create(w, IMAGE_PIPES_DATA, 0, &f, &err), 0);
	for (int i = 0; i < 8 && r == 0; i++)
		r = image_append_raw(f, block, sizeof(block), &err);
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err.where, "small/img"));
	ck_assert_ptr_nonnull(strstr(err.hint, "free some space"));
	ck_assert_int_lt(image_file_close(f, &err), 0);
	ck_assert_int_lt(image_commit(w, &err), 0);
	image_writer_free(w);
	ck_assert_int_eq(count("small"), 0);
	umount("small");
}
END_TEST

START_TEST(a_foreign_directory_is_refused)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;

	if (geteuid() != 0)
		SKIP("needs root");
	ck_assert_int_eq(mkdir("theirs", 0777), 0);
	ck_assert_int_eq(chmod("theirs", 0777), 0);
	ck_assert_int_eq(chmod(top, 0777), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(image_writer_open("theirs", &w, &err), -EPERM);
	ck_assert_int_eq(err.kind, CK_ERR_PERM);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(count("theirs"), 0);
}
END_TEST

static void fill_stats(StatsEntry *stats, DumpStatsEntry *dump)
{
	stats_entry__init(stats);
	dump_stats_entry__init(dump);
	dump->pages_written = 99;
	stats->dump = dump;
}

START_TEST(statistics_come_after_the_commit)
{
	struct ck_err err = CK_ERR_INIT;
	struct image_file_info info;
	struct image_writer *w;
	struct image *img;
	DumpStatsEntry dump;
	StatsEntry stats;
	bool seen = false;

	fill_stats(&stats, &dump);
	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	write_files(w);
	ck_assert_int_lt(image_write_one(w, IMAGE_STATS_DUMP, 0, &stats.base, &err), 0);
	ck_assert_int_eq(image_commit(w, &err), 0);
	ck_assert_int_lt(image_write_one(w, IMAGE_CORE, 7, &stats.base, &err), 0);
	ck_assert(!exists("img/core-7.img"));
	ck_assert_int_eq(image_write_one(w, IMAGE_STATS_DUMP, 0, &stats.base, &err), 0);
	image_writer_free(w);
	ck_assert_int_eq(image_open("img", &img, &err), 0);
	for (size_t i = 0; i < image_n_files(img); i++) {
		image_file_info(img, i, &info);
		if (info.kind != IMAGE_STATS_DUMP)
			continue;
		seen = true;
		ck_assert_int_eq(info.state, IMAGE_FILE_FOREIGN);
	}
	ck_assert(seen);
	image_free(img);
	/* Nobody vouches for it, so nothing depends on it. */
	ck_assert_int_eq(truncate("img/stats-dump", 3), 0);
	ck_assert_int_eq(image_open("img", &img, &err), 0);
	image_free(img);
}
END_TEST

START_TEST(a_file_of_its_own_is_written_as_a_whole)
{
	static const uint8_t head[] = { 0x40, 0x59, 0x10, 0x55, 0x06, 0x33, 0x09, 0x57 };
	struct ck_err err = CK_ERR_INIT;
	uint8_t buf[sizeof(head)];
	DumpStatsEntry dump;
	StatsEntry stats;
	int fd;

	fill_stats(&stats, &dump);
	touch("out");
	ck_assert_int_eq(image_write_file("out", IMAGE_STATS_RESTORE, &stats.base, &err), 0);
	fd = open("out", O_RDONLY);
	ck_assert_int_eq(read(fd, buf, sizeof(buf)), (ssize_t)sizeof(buf));
	close(fd);
	ck_assert_mem_eq(buf, head, sizeof(head));
	ck_assert_int_lt(image_write_file("no/such/dir", IMAGE_STATS_RESTORE, &stats.base, &err),
			 0);
	ck_assert_int_lt(image_write_file("/dev/null", IMAGE_STATS_RESTORE, &stats.base, &err), 0);
	ck_assert_int_eq(mkdir("dir", 0700), 0);
	ck_assert_int_lt(image_write_file("dir", IMAGE_STATS_RESTORE, &stats.base, &err), 0);
	ck_assert_int_eq(count("."), 2); /* nothing was left behind */
}
END_TEST

START_TEST(names_are_canonical)
{
	enum image_kind kind;
	unsigned int id;
	char name[IMAGE_NAME_MAX];

	for (enum image_kind k = 0; k < IMAGE_N_KINDS; k++) {
		image_file_name(k, 4294967295u, name);
		ck_assert(image_parse_name(name, &kind, &id));
		ck_assert_int_eq(kind, k);
		ck_assert_uint_eq(id, image_types[k].flags & IMAGE_F_PERID ? 4294967295u : 0);
		for (enum image_kind k2 = 0; k2 < k; k2++)
			ck_assert_str_ne(image_types[k].name, image_types[k2].name);
		ck_assert((image_types[k].flags & IMAGE_F_RAW) || image_types[k].entry);
	}
	ck_assert(image_parse_name("ghost-file-1f.img", &kind, &id));
	ck_assert_uint_eq(id, 0x1f);
	ck_assert(!image_parse_name("core-01.img", &kind, &id));
	ck_assert(!image_parse_name("core- 1.img", &kind, &id));
	ck_assert(!image_parse_name("core--1.img", &kind, &id));
	ck_assert(!image_parse_name("core-.img", &kind, &id));
	ck_assert(!image_parse_name("core-4294967296.img", &kind, &id));
	ck_assert(!image_parse_name("core-1.img.tmp", &kind, &id));
	ck_assert(!image_parse_name("ghost-file-1F.img", &kind, &id));
	ck_assert(!image_parse_name("pages-shmem-1.img", &kind, &id));
	ck_assert(!image_parse_name("", &kind, &id));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image-write");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, commits_into_a_new_directory);
	tcase_add_test(t, commits_into_an_existing_directory);
	tcase_add_test(t, without_a_commit_nothing_stays);
	tcase_add_test(t, refuses_to_replace_an_image);
	tcase_add_test(t, a_name_taken_meanwhile_is_not_replaced);
	tcase_add_test(t, two_files_of_one_name_are_a_mistake);
	tcase_add_test(t, incomplete_files_are_not_committed);
	tcase_add_test(t, removes_what_a_killed_dump_left);
	tcase_add_test(t, removes_nothing_else_of_a_stale_directory);
	tcase_add_test(t, a_second_dump_waits_its_turn);
	tcase_add_test(t, never_follows_a_link);
	tcase_add_test(t, a_vanished_directory_is_said);
	tcase_add_test(t, a_full_disk_is_said);
	tcase_add_test(t, a_foreign_directory_is_refused);
	tcase_add_test(t, statistics_come_after_the_commit);
	tcase_add_test(t, a_file_of_its_own_is_written_as_a_whole);
	tcase_add_test(t, names_are_canonical);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
