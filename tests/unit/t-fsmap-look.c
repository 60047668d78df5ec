// SPDX-License-Identifier: Apache-2.0
/* Looking at paths: what is found, and that looking does nothing; mounts, and shell quoting. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/auto.h"
#include "base/pb.h"
#include "fsmap/fold.h"

static char dir[] = "/tmp/t-fsmap-look-XXXXXX";

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void remove_dir(void)
{
	CK_AUTO(free) char *cmd = NULL;

	ck_assert_int_gt(asprintf(&cmd, "chmod -R u+rwx %s && rm -rf %s", dir, dir), 0);
	ck_assert_int_eq(system(cmd), 0);
}

static char *in_dir(const char *name)
{
	char *s;

	ck_assert_int_gt(asprintf(&s, "%s/%s", dir, name), 0);
	return s;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	CK_AUTO(free) char *path = in_dir(name);
	CK_AUTO(fd) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Looks at one path that is needed as given; the caller frees *ret. */
static CkptFacts *look(CkptNeedPath *need, const char *path)
{
	CkptNeedPath *list[1] = { need };
	CkptNeeds needs = CKPT_NEEDS__INIT;
	CkptFacts *facts = CK_PB_NEW(CkptFacts, ckpt_facts);

	need->path = (char *)(uintptr_t)path;
	needs.n_paths = 1;
	needs.paths = list;
	ck_assert_ptr_nonnull(facts);
	ck_assert_int_eq(fsmap_look(&needs, facts), 0);
	ck_assert_uint_eq(facts->n_paths, 1);
	ck_assert_str_eq(facts->paths[0]->path, path);
	return facts;
}

static void drop(CkptFacts *f)
{
	ckpt_path_fact__free_unpacked(f->paths[0], NULL);
	free(f->paths);
	free(f);
}

START_TEST(missing)
{
	static const struct {
		const char *path, *missing, *parent;
	} t[] = {
		{ "gone", "gone", NULL },
		{ "no/such/thing", "no", NULL },
		{ "file/below", NULL, "file" },
		{ "dangling", "dangling", NULL },
		{ "dangling/below", "dangling", NULL },
	};
	CK_AUTO(free) char *link = in_dir("dangling");

	write_file("file", "x", 0600);
	ck_assert_int_eq(symlink("/no/such/target", link), 0);
	for (size_t i = 0; i < CK_ARRAY_SIZE(t); i++) {
		CK_AUTO(free) char *path = in_dir(t[i].path);
		CK_AUTO(free) char *want = in_dir(t[i].missing ? t[i].missing : t[i].parent);
		CkptNeedPath need = CKPT_NEED_PATH__INIT;
		CkptFacts *f = look(&need, path);
		CkptPathFact *p = f->paths[0];

		ck_assert(!p->exists);
		ck_assert_str_eq(t[i].missing ? p->parent_missing : p->parent, want);
		ck_assert_ptr_null(t[i].missing ? p->parent : p->parent_missing);
		drop(f);
	}
}
END_TEST

START_TEST(relative_paths_are_never_looked_at)
{
	CkptNeedPath need = CKPT_NEED_PATH__INIT;
	CkptFacts *f = look(&need, "docs/rules.md");

	ck_assert(!f->paths[0]->exists);
	drop(f);
	f = look(&need, "");
	ck_assert(!f->paths[0]->exists);
	drop(f);
}
END_TEST

START_TEST(contents)
{
	CK_AUTO(free) char *path = in_dir("file");
	CkptNeedPath need = CKPT_NEED_PATH__INIT;
	CkptFacts *f;

	write_file("file", "hello world", 0640);
	need.has_size = need.has_hash = true;
	need.size = 11;
	f = look(&need, path);
	ck_assert(f->paths[0]->has_hash && !f->paths[0]->has_prefix_hash);
	ck_assert_uint_eq(f->paths[0]->mode, S_IFREG | 0640);
	ck_assert_uint_eq(f->paths[0]->size, 11);
	drop(f);
	need.size = 5; /* it has grown */
	f = look(&need, path);
	ck_assert(!f->paths[0]->has_hash && f->paths[0]->has_prefix_hash);
	ck_assert_uint_eq(f->paths[0]->prefix, 5);
	drop(f);
	need.size = 20; /* it has shrunk */
	f = look(&need, path);
	ck_assert(!f->paths[0]->has_hash && !f->paths[0]->has_prefix_hash);
	drop(f);
	need.size = 5; /* written by the job: what it had written counts */
	need.has_access = true;
	need.access = O_RDWR;
	f = look(&need, path);
	ck_assert(f->paths[0]->has_prefix_hash);
	ck_assert_uint_eq(f->paths[0]->prefix_hash, XXH64("hello", 5, 0));
	drop(f);
	need.has_hash = false; /* too large for a hash */
	need.has_sample = true;
	f = look(&need, path);
	ck_assert(f->paths[0]->has_sample && !f->paths[0]->has_prefix_hash);
	ck_assert_uint_eq(f->paths[0]->prefix, 5);
	drop(f);
}
END_TEST

/* Opening a FIFO would wake whoever waits for its other end. */
START_TEST(fifo_is_not_opened)
{
	CK_AUTO(free) char *path = in_dir("fifo");
	CkptNeedPath need = CKPT_NEED_PATH__INIT;
	CK_AUTO(fd) int fd = -EBADF;
	CkptFacts *f;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	need.mode = S_IFIFO;
	alarm(5); /* a writer's end blocks until there is a reader */
	f = look(&need, path);
	ck_assert(f->paths[0]->exists && f->paths[0]->readable);
	drop(f);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_eq(errno, ENXIO);
}
END_TEST

START_TEST(permissions)
{
	CkptPathRole exe = CKPT_PATH_ROLE__CKPT_PATH_EXE;
	CK_AUTO(free) char *path = in_dir("file");
	CkptNeedPath need = CKPT_NEED_PATH__INIT;
	CkptFacts *f;

	write_file("file", "x", 0600);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(dir, 65534, 65534), 0);
		ck_assert_int_eq(chown(path, 65534, 65534), 0);
		ck_assert_int_eq(setegid(65534), 0);
		ck_assert_int_eq(seteuid(65534), 0);
	}
	ck_assert_int_eq(chmod(path, 0200), 0);
	need.has_access = true;
	need.access = O_RDWR;
	f = look(&need, path);
	ck_assert(!f->paths[0]->readable && f->paths[0]->writable);
	ck_assert_int_eq(f->paths[0]->error, EACCES);
	drop(f);
	ck_assert_int_eq(chmod(path, 0500), 0);
	need.n_roles = 1;
	need.roles = &exe;
	f = look(&need, path);
	ck_assert(f->paths[0]->readable && !f->paths[0]->writable && f->paths[0]->executable);
	drop(f);
	ck_assert_int_eq(chmod(dir, 0600), 0);
	f = look(&need, path);
	ck_assert(!f->paths[0]->exists);
	ck_assert_int_eq(f->paths[0]->error, EACCES);
	ck_assert_ptr_null(f->paths[0]->parent_missing);
	drop(f);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	if (geteuid() != getuid()) {
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(setegid(0), 0);
	}
}
END_TEST

START_TEST(own_standard_descriptor)
{
	CK_AUTO(free) char *path = in_dir("log");
	CkptNeedPath need = CKPT_NEED_PATH__INIT;
	CkptFacts *f;
	int fd;

	write_file("log", "x", 0600);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(dup2(fd, 1), 1);
	need.has_stdio = need.has_access = true;
	need.stdio = 1;
	need.access = O_WRONLY;
	f = look(&need, path);
	ck_assert(f->paths[0]->callers);
	drop(f);
	need.access = O_RDWR;
	f = look(&need, path);
	ck_assert(!f->paths[0]->callers);
	drop(f);
	need.access = O_WRONLY;
	need.stdio = 2;
	f = look(&need, path);
	ck_assert(!f->paths[0]->callers);
	drop(f);
	need.stdio = (uint32_t)fd;
	f = look(&need, path);
	ck_assert(!f->paths[0]->callers);
	drop(f);
}
END_TEST

START_TEST(below)
{
	ck_assert(fsmap_below("/a/b", "/a"));
	ck_assert(fsmap_below("/a/b", "/a/"));
	ck_assert(fsmap_below("/a", "/a"));
	ck_assert(fsmap_below("/a", "/"));
	ck_assert(!fsmap_below("/ab", "/a"));
	ck_assert(!fsmap_below("/a", "/a/b"));
	ck_assert(!fsmap_below("a", "/"));
	ck_assert(!fsmap_below("", "/"));
}
END_TEST

START_TEST(mount_of)
{
	CkptMount root = CKPT_MOUNT__INIT, data = CKPT_MOUNT__INIT, over = CKPT_MOUNT__INIT;
	CkptMount *list[] = { &root, &data, &over };
	CkptFacts f = CKPT_FACTS__INIT;
	char slash[] = "/", point[] = "/data";

	root.point = slash;
	data.point = over.point = point;
	f.mounts = list;
	ck_assert_ptr_null(fsmap_mount_of(&f, "/x"));
	f.n_mounts = 3;
	ck_assert_ptr_eq(fsmap_mount_of(&f, "/x"), &root);
	ck_assert_ptr_eq(fsmap_mount_of(&f, "/database"), &root);
	ck_assert_ptr_eq(fsmap_mount_of(&f, "/data/x"), &over);
}
END_TEST

/* What a shell makes of a quoted path is the path. */
START_TEST(quote)
{
	static const char *const paths[] = {
		"/plain/path-1.2_3", "/with space", "/it's",     "/$HOME", "/`id`", "-n",
		"/a;b&c|d",          "/new\nline",  "/\xff\xfe", "/*?[x]", "",
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(paths); i++) {
		CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
		CK_AUTO(free) char *cmd = NULL;
		char got[64];
		size_t n;
		FILE *f;

		fsmap_quote(&b, paths[i]);
		ck_assert_int_gt(asprintf(&cmd, "printf %%s %s", ck_strbuf_str(&b)), 0);
		if (paths[i][0] == '-')
			continue; /* printf would take it; quoted it is all the same */
		f = popen(cmd, "re");
		ck_assert_ptr_nonnull(f);
		n = fread(got, 1, sizeof(got), f);
		ck_assert_int_eq(pclose(f), 0);
		ck_assert_uint_eq(n, strlen(paths[i]));
		ck_assert_mem_eq(got, paths[i], n);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fsmap-look");
	TCase *tc = tcase_create("files"), *pure = tcase_create("pure");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, missing);
	tcase_add_test(tc, contents);
	tcase_add_test(tc, fifo_is_not_opened);
	tcase_add_test(tc, permissions);
	tcase_add_test(tc, own_standard_descriptor);
	tcase_add_test(pure, relative_paths_are_never_looked_at);
	tcase_add_test(pure, below);
	tcase_add_test(pure, mount_of);
	tcase_add_test(pure, quote);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, pure);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
