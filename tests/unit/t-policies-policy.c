// SPDX-License-Identifier: Apache-2.0
/* Reading policies, and what treatments and allowances make of a verdict. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "policies/policies.h"

START_TEST(default_policy)
{
	struct policy *p = NULL;

	ck_assert_int_eq(policy_open("default", &p, NULL), 0);
	ck_assert_str_eq(policy_name(p), "default");
	ck_assert(!policy_allows(p, "shell-job"));
	ck_assert(!policy_allows_undecided(p));
	ck_assert_int_eq((int)policy_treatment(p, "cpu.isa"), POLICY_APPLY);
	policy_free(p);
	policy_free(NULL);
}
END_TEST

START_TEST(wrong_policies)
{
	static const struct {
		const char *text, *says;
	} t[] = {
		{ "", "JSON" },
		{ "{", "JSON" },
		{ "[]", "object" },
		{ "{}", "version" },
		{ "{\"version\": 2}", "version" },
		{ "{\"version\": \"x\"}", "version" },
		{ "{\"version\": 1} x", "JSON" },
		{ "{\"version\": 1,\n\"rules\": {]}", "line 2" },
		{ "{\"version\": 1, \"rule\": {}}", "\"rule\"" },
		{ "{\"version\": 1, \"name\": 7}", "name" },
		{ "{\"version\": 1, \"allow_undecided\": \"yes\"}", "allow_undecided" },
		{ "{\"version\": 1, \"rules\": {\"image.corrupt\": \"warn\"}}", "image.corrupt" },
		{ "{\"version\": 1, \"rules\": []}", "rules" },
		{ "{\"version\": 1, \"rules\": {\"cpu.nonsense\": \"off\"}}", "cpu.nonsense" },
		{ "{\"version\": 1, \"rules\": {\"cpu.isa\": \"maybe\"}}", "cpu.isa" },
		{ "{\"version\": 1, \"rules\": {\"cpu.isa\": 7}}", "cpu.isa" },
		{ "{\"version\": 1, \"allow\": \"shell-job\"}", "allow" },
		{ "{\"version\": 1, \"allow\": [\"x\"]}", "x" },
		{ "{\"version\": 1, \"allow\": [null]}", "action" },
		{ "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}",
		  "JSON" },
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(t); i++) {
		struct ck_err err = CK_ERR_INIT;
		struct policy *p = NULL;

		ck_assert_msg(policy_parse(t[i].text, &p, &err) < 0, "%s", t[i].text);
		ck_assert_ptr_null(p);
		ck_assert_int_eq((int)err.kind, CK_ERR_CONFIG);
		ck_assert_msg(strstr(err.what, t[i].says) != NULL, "%s: %s", t[i].text, err.what);
	}
}
END_TEST

START_TEST(missing_file)
{
	struct ck_err err = CK_ERR_INIT;
	struct policy *p = NULL;

	ck_assert_int_eq(policy_open("/no/such/policy", &p, &err), -ENOENT);
	ck_assert_int_eq((int)err.kind, CK_ERR_CONFIG);
	ck_assert_int_lt(policy_open("/dev/zero", &p, &err), 0);
	ck_assert_int_eq(policy_open("policies/default.json", &p, &err), 0);
	policy_free(p);
}
END_TEST

START_TEST(actions)
{
	struct ck_err err = CK_ERR_INIT;
	struct policy *p = NULL;

	ck_assert_int_eq(policy_parse("{\"version\": 1, \"allow\": [\"shell-job\"]}", &p, &err), 0);
	ck_assert(policy_allows(p, "shell-job"));
	ck_assert(!policy_allows(p, "x"));
	ck_assert(!policy_allows(p, NULL));
	ck_assert_int_lt(policy_allow(p, "x", &err), 0);
	ck_assert_int_eq((int)err.kind, CK_ERR_USAGE);
	policy_free(p);
}
END_TEST

/* A job for another machine on a host that is otherwise in order. */
static void judge_with(const struct policy *p, const char *need_arch, struct verdict *ret)
{
	CkptNeeds needs = CKPT_NEEDS__INIT;
	CkptFacts host = CKPT_FACTS__INIT;
	CkptCpuFacts cpu = CKPT_CPU_FACTS__INIT;
	CkptKernelFacts kernel = CKPT_KERNEL_FACTS__INIT;
	CkptPrivFacts priv = CKPT_PRIV_FACTS__INIT;
	struct rule_input in = { .needs = &needs, .source = &host, .target = &host };
	char arch[] = "x86_64", release[] = "6.1", sse2[] = "sse2";
	char *features[] = { sse2 };

	needs.arch = (char *)(uintptr_t)need_arch;
	cpu.arch = arch;
	cpu.features = features;
	cpu.n_features = 1;
	kernel.release = release;
	host.cpu = &cpu;
	host.kernel = &kernel;
	host.priv = &priv;
	ck_assert_int_eq(policy_judge(&in, p, ret, NULL), 0);
}

static enum verdict_status judge(const char *policy, const char *need_arch)
{
	CK_AUTO(verdict) struct verdict v = { 0 };
	struct policy *p = NULL;

	ck_assert_int_eq(policy_parse(policy, &p, NULL), 0);
	judge_with(p, need_arch, &v);
	policy_free(p);
	return v.status;
}

START_TEST(treatments)
{
	/* This host was never probed: whether it can restore anything is not known. */
	ck_assert_int_eq((int)judge("{\"version\":1}", "x86_64"), VERDICT_UNDECIDED);
	ck_assert_int_eq((int)judge("{\"version\":1,\"allow_undecided\":true}", "x86_64"),
			 VERDICT_COMPATIBLE);
	ck_assert_int_eq((int)judge("{\"version\":1,\"rules\":{\"priv.restore\":\"off\","
				    "\"kernel.feature\":\"warn\"}}",
				    "x86_64"),
			 VERDICT_COMPATIBLE);
	ck_assert_int_eq((int)judge("{\"version\":1,\"rules\":{\"priv.restore\":\"refuse\"}}",
				    "x86_64"),
			 VERDICT_INCOMPATIBLE);
	ck_assert_int_eq((int)judge("{\"version\":1,\"allow_undecided\":true}", "sparc"),
			 VERDICT_INCOMPATIBLE);
}
END_TEST

struct said {
	size_t errors, doubts;
	char last[320];
};

static void listen(void *arg, bool error, const char *text)
{
	struct said *s = arg;

	s->errors += error;
	s->doubts += !error;
	snprintf(s->last, sizeof(s->last), "%s", text);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* All that is wrong at once; what is right is right, and a rule that is not named is mentioned. */
START_TEST(lint)
{
	char path[] = "/tmp/t-policies-policy-XXXXXX";
	struct ck_err err = CK_ERR_INIT;
	struct said s = { 0 };
	struct policy *p = NULL;
	size_t n_rules = 0;

	for (size_t t = 0; policy_tables[t]; t++)
		for (const struct rule *r = policy_tables[t]; r->id; r++)
			n_rules++;
	close(mkstemp(path));
	write_file(path,
		   "{\"version\": 2, \"rules\": {\"a.b\": \"off\", \"cpu.isa\": 1}, \"x\": 1}");
	ck_assert_int_eq(policy_lint(path, listen, &s, &err), 4);
	ck_assert_uint_eq(s.errors, 4);
	ck_assert_int_lt(policy_open(path, &p, &err), 0);
	ck_assert_msg(strstr(err.hint, "all 4") != NULL, "%s", err.hint);

	s = (struct said){ 0 };
	write_file(path, "{\"version\": 1, \"rules\": {\"cpu.isa\": \"warn\"}}");
	ck_assert_int_eq(policy_lint(path, listen, &s, &err), 0);
	ck_assert_uint_eq(s.doubts, n_rules); /* all but one, and the name */
	ck_assert_int_lt(policy_lint("/no/such/file", listen, &s, &err), 0);
	unlink(path);
}
END_TEST

/* The three that are built in are complete, differ, and come back as they were printed. */
START_TEST(built_in)
{
	size_t n = 0;

	for (; policy_names[n]; n++) {
		struct said s = { 0 };
		struct policy *p = NULL, *again = NULL;
		char *text;

		ck_assert_int_eq(policy_open(policy_names[n], &p, NULL), 0);
		ck_assert_str_eq(policy_name(p), policy_names[n]);
		ck_assert_int_eq(policy_lint(policy_names[n], listen, &s, NULL), 0);
		ck_assert_msg(!s.doubts, "%s: %s", policy_names[n], s.last);
		text = policy_to_json(p);
		ck_assert_int_eq(policy_parse(text, &again, NULL), 0);
		for (size_t t = 0; policy_tables[t]; t++)
			for (const struct rule *r = policy_tables[t]; r->id; r++)
				ck_assert_int_eq((int)policy_treatment(p, r->id),
						 (int)policy_treatment(again, r->id));
		ck_assert(policy_allows(p, "shell-job") == policy_allows(again, "shell-job"));
		ck_assert(policy_allows_undecided(p) == policy_allows_undecided(again));
		ck_assert(policy_allows_undecided(p) == !strcmp(policy_names[n], "permissive"));
		free(text);
		policy_free(p);
		policy_free(again);
	}
	ck_assert_uint_eq(n, 3);
}
END_TEST

/* Somebody takes the risk of one rule; nothing else changes, and the verdict names him. */
START_TEST(overrides)
{
	struct ck_err err = CK_ERR_INIT;
	struct policy *p = NULL;
	const struct finding *hit = NULL;
	CK_AUTO(verdict) struct verdict v = { 0 };

	ck_assert_int_eq(policy_parse("{\"version\":1,\"rules\":{\"kernel.feature\":\"off\","
				      "\"priv.restore\":\"refuse\"}}",
				      &p, NULL),
			 0);
	ck_assert_int_lt(policy_override(p, "no.rule", "me", "now", &err), 0);
	ck_assert_int_eq((int)err.kind, CK_ERR_USAGE);
	ck_assert_int_lt(policy_override(p, "image.corrupt", "me", "now", &err), 0);
	ck_assert_int_lt(policy_override(p, "cpu.arch", "me", "now", &err), 0);
	ck_assert_int_eq(policy_override(p, "cpu.isa", "me", "now", &err), 0);
	judge_with(p, "x86_64", &v);
	ck_assert_int_eq((int)v.status, VERDICT_INCOMPATIBLE);
	ck_assert_uint_eq(v.n_overrides, 1);
	ck_assert_uint_eq(v.overrides[0].n, 0); /* it was in order anyway */
	policy_verdict_done(&v);
	ck_assert_int_eq(policy_override(p, "priv.restore", "me", "now", &err), 0);
	ck_assert_int_eq(policy_override(p, "priv.restore", "me", "now", &err), 0);
	judge_with(p, "x86_64", &v);
	ck_assert_int_eq((int)v.status, VERDICT_COMPATIBLE);
	ck_assert_uint_eq(v.n_overrides, 2);
	ck_assert_str_eq(v.overrides[1].rule, "priv.restore");
	ck_assert_str_eq(v.overrides[1].by, "me");
	ck_assert_str_eq(v.overrides[1].at, "now");
	ck_assert_uint_eq(v.overrides[1].n, 1);
	for (size_t i = 0; i < v.findings.n; i++)
		if (v.findings.f[i].overridden)
			hit = &v.findings.f[i];
	ck_assert_ptr_nonnull(hit);
	ck_assert_str_eq(hit->rule, "priv.restore");
	ck_assert_int_eq((int)hit->status, FINDING_DEGRADED);
	policy_free(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policies-policy");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, default_policy);
	tcase_add_test(tc, wrong_policies);
	tcase_add_test(tc, missing_file);
	tcase_add_test(tc, actions);
	tcase_add_test(tc, treatments);
	tcase_add_test(tc, lint);
	tcase_add_test(tc, built_in);
	tcase_add_test(tc, overrides);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
