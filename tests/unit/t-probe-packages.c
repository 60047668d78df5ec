// SPDX-License-Identifier: Apache-2.0
/* dpkg's files, made up: which packages are told of, and which own a path. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/pb.h"
#include "probe/probe-internal.h"

static char admin[] = "/tmp/t-probe-packages-XXXXXX";

static void put(const char *name, const char *text)
{
	CK_AUTO(free) char *path = NULL;
	FILE *f;

	ck_assert_int_gt(asprintf(&path, "%s/%s", admin, name), 0);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void make_admin(void)
{
	CK_AUTO(free) char *info = NULL;

	ck_assert_ptr_nonnull(mkdtemp(admin));
	ck_assert_int_gt(asprintf(&info, "%s/info", admin), 0);
	ck_assert_int_eq(mkdir(info, 0700), 0);
}

static void remove_admin(void)
{
	static const char *const files[] = { "status",         "info/libc6:amd64.list",
					     "info/frob.list", "info/frob.conffiles",
					     "info",           "" };

	for (size_t i = 0; i < CK_ARRAY_SIZE(files); i++) {
		CK_AUTO(free) char *path = NULL;

		ck_assert_int_gt(asprintf(&path, "%s/%s", admin, files[i]), 0);
		(void)remove(path);
	}
	strcpy(strrchr(admin, '-') + 1, "XXXXXX");
}

static void free_facts(CkptFacts *f)
{
	for (size_t i = 0; i < f->n_paths; i++)
		ckpt_path_fact__free_unpacked(f->paths[i], NULL);
	for (size_t i = 0; i < f->n_packages; i++)
		ckpt_package__free_unpacked(f->packages[i], NULL);
	free(f->paths);
	free(f->packages);
	free(f->packages_from);
	free(f);
}

static void add_path(CkptFacts *f, const char *path, mode_t mode)
{
	CkptPathFact *p = CK_PB_NEW(CkptPathFact, ckpt_path_fact);

	ck_assert_ptr_nonnull(p);
	p->path = strdup(path);
	p->exists = mode != 0;
	p->has_mode = p->exists;
	p->mode = mode;
	ck_assert_int_eq(ck_pb_append(&f->paths, &f->n_paths, p), 0);
}

#define LIBC6                                                                \
	"Package: libc6\nStatus: install ok installed\nPriority: optional\n" \
	"Description: library\n Package: not a field\n .\n"                  \
	"Architecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+b1\n"

START_TEST(status)
{
	CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);

	make_admin();
	put("status",
	    "\n" LIBC6 "\nPackage: openmpi-bin\nStatus: install ok installed\n"
	    "Source: openmpi\nVersion: 4\n\n\n"
	    "Package: libopenmpi3\nStatus: deinstall ok config-files\n"
	    "Source: openmpi\nVersion: 4.1\n\n"
	    "Package: libgomp1\nStatus: hold ok installed\nSource: gcc-12\nVersion: 12.2\n\n"
	    "Package: libfrob\nStatus: install ok installed\nVersion: 1\n\n"
	    "Package: libgcc-12-dev\nStatus: install ok installed\nSource: gcc-12\n"
	    "Version: 12.2\n\n"
	    "Package: libssl3\nStatus: install ok installed\nSource: openssl");
	ck_assert_int_eq(probe_packages_in(f, admin), 0);
	ck_assert_str_eq(f->packages_from, "dpkg");
	ck_assert_uint_eq(f->n_packages, 2);
	ck_assert_str_eq(f->packages[0]->name, "libc6");
	ck_assert_str_eq(f->packages[0]->version, "2.36-9+b1");
	ck_assert_str_eq(f->packages[0]->source, "glibc");
	ck_assert_str_eq(f->packages[0]->arch, "amd64");
	ck_assert_str_eq(f->packages[1]->name, "libgomp1");
	ck_assert_str_eq(f->packages[1]->source, "gcc-12");
	ck_assert_ptr_null(f->packages[1]->arch);
	free_facts(f);
	remove_admin();
}
END_TEST

/* No database, no answer: not "no packages". */
START_TEST(no_dpkg)
{
	CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);

	ck_assert_int_eq(probe_packages_in(f, "/no/such/directory"), 0);
	ck_assert_ptr_null(f->packages_from);
	add_path(f, "/bin/sh", S_IFREG);
	ck_assert_int_eq(probe_path_packages_in(f, NULL, "/no/such/directory"), 0);
	ck_assert_ptr_null(f->paths[0]->package);
	ck_assert_ptr_null(f->packages_from);
	free_facts(f);
}
END_TEST

/* A package knows its files by the names from before /lib became a link. */
START_TEST(owners)
{
	CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);
	CkptNeeds n = CKPT_NEEDS__INIT;
	CkptNeedPath path = CKPT_NEED_PATH__INIT, *p = &path;

	make_admin();
	put("status", LIBC6 "\nPackage: frob\nStatus: install ok installed\nVersion: 1\n\n"
			    "Package: other\nStatus: install ok installed\nVersion: 1\n");
	put("info/libc6:amd64.list", "/.\n/lib\n/lib/x86_64-linux-gnu/libc.so.6\n/usr/share/x\n");
	put("info/frob.list", "/.\n/usr\n/usr/bin\n/usr/bin/frob\n/data\n");
	put("info/frob.conffiles", "/etc/passwd\n");
	add_path(f, "/usr/lib/x86_64-linux-gnu/libc.so.6", S_IFREG);
	add_path(f, "/usr/bin/frob", S_IFREG);
	add_path(f, "/bin/frob", S_IFREG);
	add_path(f, "/etc/passwd", S_IFREG);
	add_path(f, "/data", S_IFDIR);
	add_path(f, "/usr/share/x", 0);
	ck_assert_int_eq(probe_path_packages_in(f, NULL, admin), 0);
	ck_assert_str_eq(f->paths[0]->package, "libc6");
	ck_assert_str_eq(f->paths[1]->package, "frob");
	ck_assert_str_eq(f->paths[2]->package, "frob");
	ck_assert_ptr_null(f->paths[3]->package);
	ck_assert_ptr_null(f->paths[4]->package);
	ck_assert_ptr_null(f->paths[5]->package);
	ck_assert_uint_eq(f->n_packages, 2);
	ck_assert_str_eq(f->packages[1]->name, "frob");
	ck_assert_str_eq(f->packages[1]->source, "frob");
	/* What owned a path elsewhere is told of as well. */
	n.paths = &p;
	n.n_paths = 1;
	path.package = (char *)(uintptr_t) "other";
	ck_assert_int_eq(probe_path_packages_in(f, &n, admin), 0);
	ck_assert_uint_eq(f->n_packages, 3);
	ck_assert_str_eq(f->packages[2]->name, "other");
	free_facts(f);
	remove_admin();
}
END_TEST

/* Whatever stands in the file, it is read to its end and not beyond. */
START_TEST(damaged)
{
	static const char base[] = LIBC6 "\n" LIBC6 "\nPackage: x\nStatus: a installed\nVersion:";
	unsigned int seed = 4711;

	make_admin();
	for (int round = 0; round < 300; round++) {
		CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);
		char text[sizeof(base)];

		memcpy(text, base, sizeof(base));
		for (int k = rand_r(&seed) % 20; k >= 0; k--)
			text[(size_t)rand_r(&seed) % (sizeof(base) - 1)] =
				"\n: \t\1PSV"[rand_r(&seed) % 8];
		text[(size_t)rand_r(&seed) % sizeof(base)] = '\0';
		put("status", text);
		ck_assert_int_eq(probe_packages_in(f, admin), 0);
		for (size_t i = 0; i < f->n_packages; i++)
			ck_assert_uint_gt(strlen(f->packages[i]->name), 0);
		free_facts(f);
	}
	remove_admin();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("probe-packages");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, status);
	tcase_add_test(tc, no_dpkg);
	tcase_add_test(tc, owners);
	tcase_add_test(tc, damaged);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
