// SPDX-License-Identifier: Apache-2.0
/*
 * Folding of very many paths: whatever is wrong with thousands of them, what is said of it can be
 * read.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/pb.h"
#include "fsmap/fold.h"

enum { N = 20000, PER_DIR = 20 };

static CkptNeeds *needs;
static CkptFacts *facts;

static char *path_of(size_t i)
{
	char *s;

	ck_assert_int_gt(asprintf(&s, "/data/set/%02zu/d%04zu/f%02zu", i / 2000, i / PER_DIR,
				  i % PER_DIR),
			 0);
	return s;
}

/* N files that the job reads, and that are as they were. */
static void setup(void)
{
	needs = CK_PB_NEW(CkptNeeds, ckpt_needs);
	facts = CK_PB_NEW(CkptFacts, ckpt_facts);
	ck_assert(needs && facts);
	facts->priv = CK_PB_NEW(CkptPrivFacts, ckpt_priv_facts);
	ck_assert_ptr_nonnull(facts->priv);
	for (size_t i = 0; i < N; i++) {
		CkptNeedPath *p = CK_PB_NEW(CkptNeedPath, ckpt_need_path);
		CkptPathFact *f = CK_PB_NEW(CkptPathFact, ckpt_path_fact);

		ck_assert(p && f);
		p->path = path_of(i);
		f->path = path_of(i);
		p->mode = f->mode = S_IFREG | 0644;
		p->has_size = p->has_hash = true;
		f->exists = f->has_mode = f->has_size = f->has_hash = f->has_readable = true;
		f->readable = true;
		p->size = f->size = 10;
		p->hash = f->hash = 7;
		ck_assert_int_eq(ck_pb_append(&needs->paths, &needs->n_paths, p), 0);
		ck_assert_int_eq(ck_pb_append(&facts->paths, &facts->n_paths, f), 0);
	}
}

static void teardown(void)
{
	ckpt_needs__free_unpacked(needs, NULL);
	/* Without cpu and kernel it can't be packed, but it can be freed. */
	ckpt_facts__free_unpacked(facts, NULL);
}

/* Runs all rules about files; *ret_bad is how many of the findings are not in order. */
static void run(struct findings *out, size_t *ret_bad)
{
	struct rule_input in = { .needs = needs, .target = facts, .live = true };

	*out = (struct findings){ 0 };
	for (const struct rule *r = fsmap_rules; r->id; r++)
		r->evaluate(r, &in, out);
	ck_assert(!out->failed);
	*ret_bad = 0;
	for (size_t i = 0; i < out->n; i++)
		*ret_bad += out->f[i].status != FINDING_OK && out->f[i].status != FINDING_NA;
}

static const struct finding *find(const struct findings *out, const char *rule)
{
	for (size_t i = 0; i < out->n; i++)
		if (!strcmp(out->f[i].rule, rule) && out->f[i].status != FINDING_OK)
			return &out->f[i];
	ck_abort_msg("no finding of %s", rule);
}

static void make_missing(CkptPathFact *f, const char *at)
{
	f->exists = f->has_mode = f->has_size = f->has_hash = f->has_readable = false;
	f->parent_missing = strdup(at);
}

START_TEST(nothing)
{
	struct findings out;
	size_t bad;

	run(&out, &bad);
	ck_assert_uint_eq(bad, 0);
	findings_done(&out);
}
END_TEST

/* A profile has its facts in any order. */
START_TEST(other_order)
{
	struct findings out;
	size_t bad;

	for (size_t i = 0; i < N / 2; i++) {
		CkptPathFact *f = facts->paths[i];

		facts->paths[i] = facts->paths[N - 1 - i];
		facts->paths[N - 1 - i] = f;
	}
	facts->paths[5]->hash = 8;
	run(&out, &bad);
	ck_assert_uint_eq(bad, 1);
	ck_assert_str_eq(find(&out, "fs.file.changed")->subject, facts->paths[5]->path);
	findings_done(&out);
}
END_TEST

START_TEST(all_changed)
{
	const struct finding *f;
	struct findings out;
	size_t bad;

	for (size_t i = 0; i < N; i++)
		facts->paths[i]->hash = 8;
	run(&out, &bad);
	/* A thousand directories are too many to be told of, ten above them are not. */
	ck_assert_uint_eq(bad, 10);
	f = find(&out, "fs.file.changed");
	ck_assert_str_eq(f->subject, "/data/set/00");
	ck_assert_str_eq(f->need, "2000 files: d0000/f00, d0000/f01, d0000/f02 and 1997 more");
	findings_done(&out);
}
END_TEST

START_TEST(different_things)
{
	struct findings out;
	size_t bad;

	for (size_t i = 0; i < N; i++) {
		CkptNeedPath *p = needs->paths[i];
		CkptPathFact *f = facts->paths[i];

		switch (i % 5) {
		case 0:
			f->hash = 8;
			break;
		case 1:
			make_missing(f, f->path);
			break;
		case 2:
			f->readable = false;
			break;
		case 3:
			p->has_access = true;
			p->access = O_RDWR;
			f->size = 20;
			break;
		default:
			p->has_hash = false;
			p->has_mtime_ns = true;
			break;
		}
	}
	run(&out, &bad);
	ck_assert_uint_le(bad, 5 * 20);
	find(&out, "fs.file.changed");
	find(&out, "fs.file.missing");
	find(&out, "fs.file.permission");
	find(&out, "fs.file.grown");
	find(&out, "fs.file.doubt");
	findings_done(&out);
}
END_TEST

START_TEST(one_missing_directory)
{
	const struct finding *f;
	struct findings out;
	size_t bad;

	for (size_t i = 0; i < N; i++)
		make_missing(facts->paths[i], "/data/set");
	run(&out, &bad);
	ck_assert_uint_eq(bad, 1);
	f = find(&out, "fs.dir.missing");
	ck_assert_str_eq(f->subject, "/data/set");
	findings_done(&out);
}
END_TEST

START_TEST(many_missing_directories)
{
	const struct finding *f;
	struct findings out;
	size_t bad;

	for (size_t i = 0; i < N; i++) {
		CK_AUTO(free) char *dir = strdup(facts->paths[i]->path);

		*strrchr(dir, '/') = '\0';
		make_missing(facts->paths[i], dir);
	}
	run(&out, &bad);
	ck_assert_uint_eq(bad, 10);
	f = find(&out, "fs.dir.missing");
	ck_assert_str_eq(f->subject, "/data/set/00");
	ck_assert_str_eq(f->have, "100 directories are missing, /data/set/00/d0000 is the first");
	findings_done(&out);
}
END_TEST

START_TEST(many_working_directories)
{
	static CkptPathRole cwd = CKPT_PATH_ROLE__CKPT_PATH_CWD;
	struct findings out;
	size_t bad;

	for (size_t i = 0; i < N; i++) {
		CkptNeedPath *p = needs->paths[i];

		p->mode = S_IFDIR | 0755;
		p->roles = malloc(sizeof(cwd));
		ck_assert_ptr_nonnull(p->roles);
		p->roles[0] = cwd;
		p->n_roles = 1;
		make_missing(facts->paths[i], p->path);
	}
	run(&out, &bad);
	ck_assert_uint_eq(bad, 10);
	ck_assert_str_eq(find(&out, "fs.cwd")->subject, "/data/set/00");
	findings_done(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fsmap-fold");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, nothing);
	tcase_add_test(tc, other_order);
	tcase_add_test(tc, all_changed);
	tcase_add_test(tc, different_things);
	tcase_add_test(tc, one_missing_directory);
	tcase_add_test(tc, many_missing_directories);
	tcase_add_test(tc, many_working_directories);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
