// SPDX-License-Identifier: Apache-2.0
/* The order of hosts for an image, and what ckpt itself can do on a host. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "policies/policies.h"
#include "probe/probe.h"

static const struct rule rule = { .id = "fs.cwd", .title = "t" };

static void add(struct verdict *v, enum finding_status status, size_t n)
{
	while (n--)
		findings_add(&v->findings, &rule, status, "x");
}

/* Is a better than b? Frees both. */
static int order(struct verdict *a, struct verdict *b)
{
	struct policy_rank x, y;
	int r;

	policy_rank(a, &x);
	policy_rank(b, &y);
	r = policy_rank_compare(&x, &y);
	ck_assert_int_eq(policy_rank_compare(&y, &x), -r);
	ck_assert_int_eq(policy_rank_compare(&x, &x), 0);
	policy_verdict_done(a);
	policy_verdict_done(b);
	return r;
}

START_TEST(verdict_comes_first)
{
	for (int s = VERDICT_COMPATIBLE; s < VERDICT_IMAGE; s++) {
		struct verdict a = { .status = (enum verdict_status)s };
		struct verdict b = { .status = (enum verdict_status)(s + 1) };

		add(&a, FINDING_REFUSE, 5);
		ck_assert_int_eq(order(&a, &b), -1);
	}
}
END_TEST

/* Each decides whatever the later ones say. */
START_TEST(then_fewest_findings)
{
	static const enum finding_status by_weight[] = {
		FINDING_REFUSE, FINDING_UNKNOWN, FINDING_ACTION, FINDING_DEGRADED, FINDING_DEFERRED,
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(by_weight); i++) {
		struct verdict a = { .source_cpu = strdup("c") }, b = { 0 };

		for (size_t k = i + 1; k < CK_ARRAY_SIZE(by_weight); k++)
			add(&a, by_weight[k], 3);
		add(&a, by_weight[i], 1);
		add(&b, by_weight[i], 2);
		ck_assert_int_eq(order(&a, &b), -1);
	}
}
END_TEST

START_TEST(then_likeness)
{
	struct verdict same = {
		.source_cpu = strdup("c"),
		.target_cpu = strdup("c"),
		.source_kernel = strdup("6.1"),
		.target_kernel = strdup("6.1"),
	};
	struct verdict kernel = {
		.source_cpu = strdup("c"),
		.target_cpu = strdup("c"),
		.source_kernel = strdup("6.1"),
		.target_kernel = strdup("6.2"),
	};
	struct verdict none = { 0 }, other = { .target_cpu = strdup("d") };
	struct policy_rank r;

	policy_rank(&same, &r);
	ck_assert_uint_eq(r.strange, 0);
	policy_rank(&kernel, &r);
	ck_assert_uint_eq(r.strange, 1);
	ck_assert_int_eq(order(&same, &kernel), -1);
	ck_assert_int_eq(order(&none, &other), 0);
}
END_TEST

START_TEST(trim_keeps_what_counts)
{
	CK_AUTO(verdict) struct verdict v = { 0 };

	add(&v, FINDING_OK, 2);
	add(&v, FINDING_REFUSE, 1);
	add(&v, FINDING_NA, 1);
	add(&v, FINDING_DEGRADED, 1);
	add(&v, FINDING_OK, 1);
	policy_verdict_trim(&v);
	ck_assert_uint_eq(v.findings.n, 2);
	ck_assert_int_eq((int)v.findings.f[0].status, FINDING_REFUSE);
	ck_assert_int_eq((int)v.findings.f[1].status, FINDING_DEGRADED);
}
END_TEST

/* A host whose every fact has one value, but one; scope is Yama's. */
static void readiness_with(CkptTristate all, const char *but, CkptTristate value, char *scope,
			   uint64_t caps, struct policy_readiness *ret)
{
	CkptSysctl yama = CKPT_SYSCTL__INIT, *sysctls[] = { &yama };
	CkptFeature features[PROBE_N_FACTS], *list[PROBE_N_FACTS];
	CkptKernelFacts kernel = CKPT_KERNEL_FACTS__INIT;
	CkptPrivFacts priv = CKPT_PRIV_FACTS__INIT;
	CkptFacts facts = CKPT_FACTS__INIT;

	for (size_t i = 0; i < PROBE_N_FACTS; i++) {
		ckpt_feature__init(&features[i]);
		features[i].name = (char *)probe_fact_infos[i].name;
		features[i].value = strcmp(features[i].name, but) != 0 ? all : value;
		list[i] = &features[i];
	}
	kernel.features = list;
	kernel.n_features = PROBE_N_FACTS;
	yama.name = (char *)"kernel.yama.ptrace_scope";
	yama.value = scope;
	kernel.sysctls = sysctls;
	kernel.n_sysctls = scope ? 1 : 0;
	priv.has_cap_eff = true;
	priv.cap_eff = caps;
	facts.kernel = &kernel;
	facts.priv = &priv;
	ck_assert_int_eq(policy_readiness(&facts, ret), 0);
}

static void readiness(CkptTristate all, const char *but, CkptTristate value,
		      struct policy_readiness *ret)
{
	readiness_with(all, but, value, NULL, 0, ret);
}

#define YES CKPT_TRISTATE__CKPT_YES
#define NO CKPT_TRISTATE__CKPT_NO
#define UNKNOWN CKPT_TRISTATE__CKPT_UNKNOWN

static const struct {
	const char *without;
	CkptTristate value, dump, in_place, beside;
} ready[] = {
	{ "", YES, YES, YES, YES },
	{ "ptrace.seize", NO, NO, NO, NO },
	{ "ptrace.sigmask", NO, NO, YES, YES },
	{ "ptrace.rseq", UNKNOWN, UNKNOWN, YES, YES },
	{ "pagemap.scan", NO, YES, YES, YES }, /* only faster */
	{ "close_range", NO, YES, YES, YES },
	{ "prctl.mm_map", NO, YES, NO, NO },
	{ "set_tid", NO, YES, NO, YES },
	{ "set_tid", UNKNOWN, YES, UNKNOWN, YES },
	{ "ns", NO, YES, YES, YES }, /* there is the other way */
	{ "ns.time", NO, YES, YES, YES },
};

START_TEST(readiness_by_fact)
{
	struct policy_readiness r;

	readiness(YES, ready[_i].without, ready[_i].value, &r);
	ck_assert_int_eq((int)r.able[POLICY_DUMP], (int)ready[_i].dump);
	ck_assert_int_eq((int)r.able[POLICY_RESTORE_IN_PLACE], (int)ready[_i].in_place);
	ck_assert_int_eq((int)r.able[POLICY_RESTORE_BESIDE], (int)ready[_i].beside);
	ck_assert_uint_eq(r.n_lacks, ready[_i].without[0] ? 1 : 0);
	if (r.n_lacks) {
		ck_assert_str_eq(r.lacks[0].fact, ready[_i].without);
		ck_assert_int_eq((int)r.lacks[0].value, (int)ready[_i].value);
		ck_assert_str_ne(r.lacks[0].meaning, "");
		for (int i = 0; i < POLICY_N_ABILITIES; i++)
			ck_assert_int_eq(r.lacks[0].blocks >> i & 1, r.able[i] != YES);
	}
	policy_readiness_done(&r);
}
END_TEST

START_TEST(readiness_of_nothing)
{
	struct policy_readiness r;

	readiness(NO, "", NO, &r);
	for (int i = 0; i < POLICY_N_ABILITIES; i++)
		ck_assert_int_eq((int)r.able[i], (int)NO);
	ck_assert_uint_eq(r.n_lacks, PROBE_N_FACTS);
	policy_readiness_done(&r);
	readiness(UNKNOWN, "", UNKNOWN, &r);
	for (int i = 0; i < POLICY_N_ABILITIES; i++)
		ck_assert_int_eq((int)r.able[i], (int)UNKNOWN);
	policy_readiness_done(&r);
}
END_TEST

static const struct {
	uint64_t caps;
	CkptTristate dump;
	char scope[2];
} yama[] = {
	{ 0, YES, "0" },        { 0, NO, "1" },         { 0, NO, "2" },        { 1, NO, "1" },
	{ 1u << 19, YES, "1" }, { 1u << 19, YES, "2" }, { 1u << 19, NO, "3" },
};

START_TEST(readiness_under_yama)
{
	struct policy_readiness r;
	char scope[2];

	memcpy(scope, yama[_i].scope, sizeof(scope));
	readiness_with(YES, "", YES, scope, yama[_i].caps, &r);
	ck_assert_int_eq((int)r.able[POLICY_DUMP], (int)yama[_i].dump);
	ck_assert_int_eq((int)r.able[POLICY_RESTORE_BESIDE], (int)YES);
	ck_assert_uint_eq(r.n_lacks, yama[_i].dump == NO);
	if (r.n_lacks)
		ck_assert_uint_eq(r.lacks[0].blocks, 1u << POLICY_DUMP);
	policy_readiness_done(&r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policies-rank");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, verdict_comes_first);
	tcase_add_test(tc, then_fewest_findings);
	tcase_add_test(tc, then_likeness);
	tcase_add_test(tc, trim_keeps_what_counts);
	tcase_add_loop_test(tc, readiness_by_fact, 0, CK_ARRAY_SIZE(ready));
	tcase_add_test(tc, readiness_of_nothing);
	tcase_add_loop_test(tc, readiness_under_yama, 0, CK_ARRAY_SIZE(yama));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
