// SPDX-License-Identifier: Apache-2.0
/* ckpt check: would this image run here, or on a host whose profile is given? */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/caller.h"
#include "cmd/cmd.h"
#include "cmd/profile.h"
#include "cmd/verdict.h"
#include "fsmap/fsmap.h"
#include "image/image.h"
#include "policies/policies.h"
#include "report/report.h"

static int judge(const struct cmd_args *a, const struct fsmap_maps *maps, const struct policy *p,
		 struct verdict *ret, struct ck_err *err)
{
	const char *dir = cmd_value(a, "image"), *profile = cmd_value(a, "host");
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(facts) CkptFacts *host = NULL;
	int r = profile ? cmd_profile_read(profile, &host, err) : 0;

	if (r < 0)
		return r;
	r = policy_image_open(dir, &img, err);
	if (r == 0)
		r = host ? policy_check_profile(img, maps, host, p, ret, err)
			 : policy_check_live(img, maps, p, ret, NULL, err);
	if (r < 0 && policy_check_broken(dir, err, p, ret) == 0)
		r = 0;
	return r;
}

/* One line: what decided. */
static void summarize(const struct verdict *v, char *buf, size_t size)
{
	const struct finding *f = v->findings.n ? &v->findings.f[0] : NULL;
	const struct rule *r = f ? policy_rule_find(f->rule) : NULL;

	if (r && f->status != FINDING_OK && f->status != FINDING_NA)
		snprintf(buf, size, "%s: %s [%s]%s%s", policy_verdict_name(v->status), r->title,
			 r->id, f->subject ? ": " : "", f->subject ? f->subject : "");
	else
		snprintf(buf, size, "%s", policy_verdict_name(v->status));
}

static int fail(const struct ck_err *err, char *why, size_t size)
{
	ck_err_format(err, why, (unsigned int)size);
	return cmd_fail("check", err);
}

/* Returns the exit status, and why in one line. */
static int check(const struct cmd_args *a, FILE *out, char *why, size_t size)
{
	CK_AUTO(policy) struct policy *policy = NULL;
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };
	CK_AUTO(verdict) struct verdict verdict = { 0 };
	struct ck_err err = CK_ERR_INIT;
	const char *format = cmd_value(a, "format");
	int r, status = cmd_verdict_policy(a, &policy);

	snprintf(why, size, "the policy can't be used");
	if (status != CMD_EXIT_OK)
		return status;
	snprintf(why, size, "the maps can't be used");
	status = cmd_verdict_maps(a, &maps);
	if (status != CMD_EXIT_OK)
		return status;
	if (judge(a, &maps, policy, &verdict, &err) < 0)
		return fail(&err, why, size);
	summarize(&verdict, why, size);
	status = cmd_verdict_status(&verdict);
	if (format && !strcmp(format, "json"))
		r = report_verdict_json(out, &verdict, status, &err);
	else
		r = report_verdict_text(out, &verdict, cmd_has(a, "all") ? REPORT_ALL : 0, &err);
	return r < 0 ? fail(&err, why, size) : status;
}

int cmd_check(const struct cmd_args *a)
{
	const char *caller = cmd_value(a, "for");
	char why[200];
	int status = check(a, caller ? stderr : stdout, why, sizeof(why));

	return caller ? cmd_caller_end(caller, (enum cmd_exit)status, why) : status;
}
