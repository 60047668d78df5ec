// SPDX-License-Identifier: Apache-2.0
/* Maps of paths: how they are read, which one counts, and that it counts once. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/pb.h"
#include "fsmap/fsmap.h"

static void add(struct fsmap_maps *maps, const char *text)
{
	struct ck_err err = CK_ERR_INIT;

	ck_assert_msg(fsmap_maps_add(maps, text, &err) == 0, "%s: %s", text, err.what);
}

/* want NULL: where it was */
static void goes(const struct fsmap_maps *maps, const char *path, const char *want)
{
	CK_AUTO(free) char *to = NULL;
	int r = fsmap_map_path(maps, path, &to);

	ck_assert_msg(r == (want != NULL), "%s: %d %s", path, r, to ? to : "");
	if (want)
		ck_assert_str_eq(to, want);
}

START_TEST(longest_first_at_boundaries)
{
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };

	add(&maps, "/a:/x");
	add(&maps, "/a/b/c:/z");
	add(&maps, "/a/b:/y/y");
	goes(&maps, "/a", "/x");
	goes(&maps, "/a/f", "/x/f");
	goes(&maps, "/a/b", "/y/y");
	goes(&maps, "/a/bc", "/x/bc");
	goes(&maps, "/a/b/c", "/z");
	goes(&maps, "/a/b/cd", "/y/y/cd");
	goes(&maps, "/a/b/c/d e", "/z/d e");
	goes(&maps, "/ab", NULL);
	goes(&maps, "/", NULL);
	goes(&maps, "/b/a/b", NULL);
	goes(NULL, "/a", NULL);
}
END_TEST

START_TEST(applied_once)
{
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };

	add(&maps, "/q/w:/q/w/e");
	goes(&maps, "/q/w/e", "/q/w/e/e");
	goes(&maps, "/q/w", "/q/w/e");
	/* Two that change places. */
	add(&maps, "/one:/two");
	add(&maps, "/two:/one");
	goes(&maps, "/one/f", "/two/f");
	goes(&maps, "/two/f", "/one/f");
	/* Into the root directory. */
	add(&maps, "/r:/");
	goes(&maps, "/r", "/");
	goes(&maps, "/r/f", "/f");
}
END_TEST

START_TEST(written_loosely)
{
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };

	add(&maps, "//a//b/://n/");
	goes(&maps, "/a/b/f", "/n/f");
	add(&maps, "/x\\:y:/p\\:\\\\q\\r");
	goes(&maps, "/x:y/f", "/p:\\q\\r/f");
	add(&maps, "/.a/..b:/...");
	goes(&maps, "/.a/..b/c", "/.../c");
}
END_TEST

START_TEST(refused)
{
	static const char *const bad[] = {
		"",           "/a",      "/a:b",   "a:/b",    "/a:/b:/c",   "/a:",
		":/a",        "/a:/b",   "/:/b",   "//:/b",   "/a/../b:/c", "/x:/a/.",
		"/proc/1:/c", "/sys:/c", "/a/:/c", "/./b:/c",
	};
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };

	add(&maps, "/a:/n");
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++) {
		struct ck_err err = CK_ERR_INIT;

		ck_assert_msg(fsmap_maps_add(&maps, bad[i], &err) < 0, "%s", bad[i]);
		ck_assert_msg(err.kind == CK_ERR_USAGE, "%s: %d", bad[i], err.kind);
		ck_assert_uint_eq(maps.n, 1);
	}
	goes(&maps, "/a/f", "/n/f");
}
END_TEST

static int read_text(struct fsmap_maps *maps, const char *text, size_t len, struct ck_err *err)
{
	char path[] = "/tmp/t-fsmap-map-XXXXXX";
	CK_AUTO(fd) int fd = mkstemp(path);
	int r;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ck_write_full(fd, text, len), 0);
	r = fsmap_maps_read(maps, path, err);
	unlink(path);
	return r;
}

START_TEST(read_from_files)
{
	static const char good[] = "# scratch\n\n/a:/x\n/b c:/y", bad[] = "/a:/x\n/b\n";
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 }, other = { 0 };
	struct ck_err err = CK_ERR_INIT;

	ck_assert_int_eq(read_text(&maps, good, sizeof(good) - 1, &err), 0);
	ck_assert_uint_eq(maps.n, 2);
	goes(&maps, "/a/f", "/x/f");
	goes(&maps, "/b c/f", "/y/f");
	ck_assert_int_lt(read_text(&other, bad, sizeof(bad) - 1, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.where, "line 2 of "));
	ck_assert_int_lt(read_text(&other, "/c:/d\0/e", 8, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_CONFIG);
	ck_assert_int_eq(fsmap_maps_read(&other, "/nowhere/at/all", &err), -ENOENT);
	ck_assert_int_eq(err.kind, CK_ERR_CONFIG);
}
END_TEST

static CkptNeedPath *need(const char *path, const char *mount)
{
	CkptNeedPath *p = calloc(1, sizeof(*p));

	ck_assert_ptr_nonnull(p);
	ckpt_need_path__init(p);
	p->path = strdup(path);
	p->mount_point = mount ? strdup(mount) : NULL;
	p->fstype = mount ? strdup("nfs4") : NULL;
	return p;
}

START_TEST(needs)
{
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };
	CkptNeeds n = CKPT_NEEDS__INIT;
	CkptNeedPath *p[4] = { need("/data/in/f", "/data"), need("/data/in/sub/g", "/data/in/sub"),
			       need("/other", "/"), need("/data/in", "/data/in") };

	n.paths = p;
	n.n_paths = 4;
	add(&maps, "/data/in:/mnt/7");
	ck_assert_int_eq(fsmap_map_needs(&maps, &n), 0);
	ck_assert_str_eq(p[0]->path, "/mnt/7/f");
	ck_assert_ptr_null(p[0]->mount_point); /* it left /data */
	ck_assert_ptr_null(p[0]->fstype);
	ck_assert_str_eq(p[1]->path, "/mnt/7/sub/g");
	ck_assert_str_eq(p[1]->mount_point, "/mnt/7/sub");
	ck_assert_str_eq(p[1]->fstype, "nfs4");
	ck_assert_str_eq(p[2]->path, "/other");
	ck_assert_str_eq(p[2]->mount_point, "/");
	ck_assert_str_eq(p[3]->path, "/mnt/7");
	ck_assert_ptr_null(p[3]->mount_point); /* NEW need be no mount */
	for (size_t i = 0; i < 4; i++)
		ckpt_need_path__free_unpacked(p[i], NULL);
}
END_TEST

static CkptNeedMount *mount_new(const char *point, const char *root)
{
	CkptNeedMount *m = calloc(1, sizeof(*m));

	ck_assert_ptr_nonnull(m);
	ckpt_need_mount__init(m);
	m->point = strdup(point);
	m->fstype = strdup("nfs4");
	m->source = strdup("fs1:/export");
	m->root = strdup(root);
	return m;
}

static const CkptNeedMount *mount_at(const CkptNeeds *n, const char *point)
{
	for (size_t i = 0; i < n->n_mounts; i++)
		if (!strcmp(n->mounts[i]->point, point))
			return n->mounts[i];
	return NULL;
}

/* Mounts go with the paths on them; of one that a path leaves, the part that it was on. */
START_TEST(mounts)
{
	static const struct {
		const char *path, *mount, *now;
	} rows[] = {
		{ "/data/in/f", "/data", "/mnt/7" },
		{ "/data/in/g", "/data", "/mnt/7" },
		{ "/data/in/sub/g", "/data/in/sub", "/mnt/7/sub" },
		{ "/data/out", "/data", "/data" },
		{ "/net/f", "/net", "/n" },
		{ "/x/f", "/x", "/x" },
	};
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { .bind = true };
	CkptNeeds *n = calloc(1, sizeof(*n));
	const CkptNeedMount *m;

	ckpt_needs__init(n);
	for (size_t i = 0; i < CK_ARRAY_SIZE(rows); i++)
		ck_assert_int_eq(ck_pb_append(&n->paths, &n->n_paths,
					      need(rows[i].path, rows[i].mount)),
				 0);
	ck_pb_append(&n->mounts, &n->n_mounts, mount_new("/data", "/"));
	ck_pb_append(&n->mounts, &n->n_mounts, mount_new("/data/in/sub", "/"));
	ck_pb_append(&n->mounts, &n->n_mounts, mount_new("/net", "/part"));
	/* As after unpacking: no room for more. */
	n->mounts = reallocarray(n->mounts, n->n_mounts, sizeof(*n->mounts));
	ck_assert_ptr_nonnull(n->mounts);
	add(&maps, "/data/in:/mnt/7");
	add(&maps, "/net:/n");
	ck_assert_int_eq(fsmap_map_needs(&maps, n), 0);
	for (size_t i = 0; i < CK_ARRAY_SIZE(rows); i++)
		if (rows[i].mount[1] != 'x')
			ck_assert_str_eq(n->paths[i]->mount_point, rows[i].now);
	ck_assert_str_eq(n->paths[0]->recorded, "/data/in/f");
	ck_assert_ptr_null(n->paths[3]->recorded);
	ck_assert_ptr_null(n->paths[0]->fstype); /* /mnt/7 may be of any type */
	ck_assert_str_eq(n->paths[2]->fstype, "nfs4");
	ck_assert_uint_eq(n->n_mounts, 4);
	m = mount_at(n, "/mnt/7");
	ck_assert(m && m->moved);
	ck_assert_str_eq(m->root, "/in");
	m = mount_at(n, "/mnt/7/sub");
	ck_assert(m && !m->moved);
	m = mount_at(n, "/n");
	ck_assert(m && m->moved);
	ck_assert_str_eq(m->root, "/part");
	ck_assert_ptr_nonnull(mount_at(n, "/data"));
	ck_assert_uint_eq(n->n_binds, 2);
	ck_assert_str_eq(n->binds[0]->from, "/net"); /* the shorter first */
	ckpt_needs__free_unpacked(n, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fsmap-map");
	TCase *t = tcase_create("maps");
	SRunner *sr;
	int failed;

	tcase_add_test(t, longest_first_at_boundaries);
	tcase_add_test(t, applied_once);
	tcase_add_test(t, written_loosely);
	tcase_add_test(t, refused);
	tcase_add_test(t, read_from_files);
	tcase_add_test(t, needs);
	tcase_add_test(t, mounts);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
