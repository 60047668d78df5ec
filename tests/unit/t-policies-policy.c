// SPDX-License-Identifier: Apache-2.0
/* Reading policies, and what treatments and allowances make of a verdict. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "policies/policies.h"

START_TEST(default_policy)
{
	struct policy *p = NULL;

	ck_assert_int_eq(policy_default(&p, NULL), 0);
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

	ck_assert_int_eq(policy_load("/no/such/policy", &p, &err), -ENOENT);
	ck_assert_int_eq((int)err.kind, CK_ERR_CONFIG);
	ck_assert_int_lt(policy_load("/dev/zero", &p, &err), 0);
	ck_assert_int_eq(policy_load("policies/default.json", &p, &err), 0);
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
static enum verdict_status judge(const char *policy, const char *need_arch)
{
	CkptNeeds needs = CKPT_NEEDS__INIT;
	CkptFacts host = CKPT_FACTS__INIT;
	CkptCpuFacts cpu = CKPT_CPU_FACTS__INIT;
	CkptKernelFacts kernel = CKPT_KERNEL_FACTS__INIT;
	CkptPrivFacts priv = CKPT_PRIV_FACTS__INIT;
	struct rule_input in = { .needs = &needs, .source = &host, .target = &host };
	char arch[] = "x86_64", release[] = "6.1", sse2[] = "sse2";
	char *features[] = { sse2 };
	CK_AUTO(verdict) struct verdict v = { 0 };
	struct policy *p = NULL;

	needs.arch = (char *)(uintptr_t)need_arch;
	cpu.arch = arch;
	cpu.features = features;
	cpu.n_features = 1;
	kernel.release = release;
	host.cpu = &cpu;
	host.kernel = &kernel;
	host.priv = &priv;
	ck_assert_int_eq(policy_parse(policy, &p, NULL), 0);
	ck_assert_int_eq(policy_judge(&in, p, &v, NULL), 0);
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
	ck_assert_int_eq((int)judge("{\"version\":1,\"allow_undecided\":true,"
				    "\"rules\":{\"cpu.arch\":\"warn\"}}",
				    "sparc"),
			 VERDICT_COMPATIBLE);
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
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
