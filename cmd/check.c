// SPDX-License-Identifier: Apache-2.0
/* ckpt check: would this image run here, or on a host whose profile is given? */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "cmd/cmd.h"
#include "cmd/verdict.h"
#include "cpuinfo/cpuinfo.h"
#include "image/image.h"
#include "policies/policies.h"
#include "report/report.h"

enum { MAX_PROFILE = 16 << 20 }; /* bytes */

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

static inline void ck_auto_json(struct json_object **o)
{
	json_object_put(*o);
}

static inline void ck_auto_tokener(struct json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

static int read_profile(const char *path, CkptFacts **ret, struct ck_err *err)
{
	CK_AUTO(tokener) struct json_tokener *t = json_tokener_new();
	CK_AUTO(json) struct json_object *o = NULL;
	CK_AUTO(free) char *text = NULL;
	ProtobufCMessage *m;
	size_t len;
	int r = ck_read_file_at(AT_FDCWD, path, MAX_PROFILE, &text, &len);

	if (r < 0)
		return ck_fail(err, CK_ERR_CONFIG, r, "cannot read host profile %s: %s", path,
			       strerror(-r));
	if (!t)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read host profile %s", path);
	o = json_tokener_parse_ex(t, text, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success)
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "host profile %s is not JSON: %s", path,
			       json_tokener_error_desc(json_tokener_get_error(t)));
	r = image_from_json(o, &ckpt_facts__descriptor, &m, err);
	if (r < 0)
		return ck_err_at(err, r, "host profile %s", path);
	*ret = (CkptFacts *)m;
	/* A profile made by hand may have CPUID leaves only. */
	return cpuinfo_derive((*ret)->cpu) < 0
		       ? ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot use host profile %s", path)
		       : 0;
}

static int judge(const char *dir, const char *profile, const struct policy *p, struct verdict *ret,
		 struct ck_err *err)
{
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(facts) CkptFacts *host = NULL;
	int r = profile ? read_profile(profile, &host, err) : 0;

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
