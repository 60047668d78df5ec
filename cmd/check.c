// SPDX-License-Identifier: Apache-2.0
/* ckpt check: would this image run here, or on a host whose profile is given? */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/profile.h"
#include "cmd/verdict.h"
#include "image/image.h"
#include "policies/policies.h"
#include "report/report.h"

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

static int judge(const char *dir, const char *profile, const struct policy *p, struct verdict *ret,
		 struct ck_err *err)
{
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(facts) CkptFacts *host = NULL;
	int r = profile ? cmd_profile_read(profile, &host, err) : 0;

	if (r < 0)
		return r;
	r = image_open(dir, &img, err);
	if (r == 0)
		r = host ? policy_check_profile(img, host, p, ret, err)
			 : policy_check_live(img, p, ret, err);
	if (r < 0 && policy_check_broken(dir, err, p, ret) == 0)
		r = 0;
	return r;
}

int cmd_check(const struct cmd_args *a)
{
	CK_AUTO(policy) struct policy *policy = NULL;
	CK_AUTO(verdict) struct verdict verdict = { 0 };
	struct ck_err err = CK_ERR_INIT;
	const char *format = cmd_value(a, "format");
	int r, status = cmd_verdict_policy(a, &policy);

	if (status != CMD_EXIT_OK)
		return status;
	if (judge(cmd_value(a, "image"), cmd_value(a, "host"), policy, &verdict, &err) < 0)
		return cmd_fail("check", &err);
	status = cmd_verdict_status(&verdict);
	if (format && !strcmp(format, "json"))
		r = report_verdict_json(stdout, &verdict, status, &err);
	else
		r = report_verdict_text(stdout, &verdict, cmd_has(a, "all") ? REPORT_ALL : 0, &err);
	return r < 0 ? cmd_fail("check", &err) : status;
}
