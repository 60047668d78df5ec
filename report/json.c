// SPDX-License-Identifier: Apache-2.0
/* Verdicts and facts as JSON; the schemas are docs/schema/verdict.json and docs/schema/facts.json.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "image/image.h"
#include "report/internal.h"
#include "report/utf8.h"

enum { VERDICT_VERSION = 1 };

/* What is no printable ASCII and no whole UTF-8 sequence becomes U+FFFD. */
static struct json_object *text(const char *s)
{
	static const char replacement[] = { '\xef', '\xbf', '\xbd' }; /* U+FFFD */
	CK_AUTO(free) char *clean = malloc(3 * strlen(s) + 1);
	size_t n = 0;

	if (!clean)
		return NULL;
	for (const unsigned char *p = (const unsigned char *)s; *p;) {
		size_t len = report_utf8_len(p);

		if (len) {
			memcpy(clean + n, p, len);
			n += len;
			p += len;
		} else {
			memcpy(clean + n, replacement, sizeof(replacement));
			n += sizeof(replacement);
			p++;
		}
	}
	return json_object_new_string_len(clean, (int)n);
}

int report_json_add(struct json_object *o, const char *key, struct json_object *v)
{
	if (!v || json_object_object_add(o, key, v) < 0) {
		json_object_put(v);
		return -ENOMEM;
	}
	return 0;
}

int report_json_text(struct json_object *o, const char *key, const char *s)
{
	return s && s[0] ? report_json_add(o, key, text(s)) : 0;
}

int report_json_number(struct json_object *o, const char *key, size_t n)
{
	return report_json_add(o, key, json_object_new_uint64(n));
}

static struct json_object *finding_json(const struct finding *f)
{
	struct json_object *o = json_object_new_object();
	const struct rule *rule = policy_rule_find(f->rule);
	int r = o ? 0 : -ENOMEM;

	r = r ? r : report_json_text(o, "rule", f->rule);
	r = r ? r : report_json_text(o, "title", rule ? rule->title : NULL);
	r = r ? r : report_json_text(o, "status", policy_finding_name(f->status));
	r = r ? r : report_json_text(o, "subject", f->subject);
	r = r ? r : report_json_text(o, "need", f->need);
	r = r ? r : report_json_text(o, "have", f->have);
	r = r ? r : report_json_text(o, "evidence", f->evidence);
	r = r ? r : report_json_text(o, "remedy", f->remedy);
	r = r ? r : report_json_text(o, "action", f->action);
	r = r ? r : report_json_text(o, "otherwise", f->otherwise);
	r = r ? r : report_json_text(o, "cause", f->cause);
	if (r == 0 && f->retry)
		r = report_json_add(o, "retry", json_object_new_boolean(1));
	if (r == 0 && f->overridden)
		r = report_json_add(o, "overridden", json_object_new_boolean(1));
	if (r < 0) {
		json_object_put(o);
		return NULL;
	}
	return o;
}

int report_json_host(struct json_object *o, const char *key, const char *host, const char *cpu,
		     const char *kernel)
{
	struct json_object *h;
	int r;

	if (!host && !cpu && !kernel)
		return 0;
	h = json_object_new_object();
	r = h ? report_json_text(h, "hostname", host) : -ENOMEM;
	r = r ? r : report_json_text(h, "cpu", cpu);
	r = r ? r : report_json_text(h, "kernel", kernel);
	if (r < 0) {
		json_object_put(h);
		return r;
	}
	return report_json_add(o, key, h);
}

int report_json_findings(struct json_object *o, const struct findings *f)
{
	struct json_object *list = json_object_new_array();

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < f->n; i++) {
		struct json_object *one = finding_json(&f->f[i]);

		if (!one || json_object_array_add(list, one) < 0) {
			json_object_put(one);
			json_object_put(list);
			return -ENOMEM;
		}
	}
	return report_json_add(o, "findings", list);
}

static struct json_object *override_json(const struct verdict_override *v)
{
	struct json_object *o = json_object_new_object();
	int r = o ? report_json_text(o, "rule", v->rule) : -ENOMEM;

	r = r ? r : report_json_text(o, "by", v->by);
	r = r ? r : report_json_text(o, "at", v->at);
	r = r ? r : report_json_add(o, "findings", json_object_new_int64((int64_t)v->n));
	if (r < 0) {
		json_object_put(o);
		return NULL;
	}
	return o;
}

static int add_overrides(struct json_object *o, const struct verdict *v)
{
	struct json_object *list = json_object_new_array();

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < v->n_overrides; i++) {
		struct json_object *one = override_json(&v->overrides[i]);

		if (!one || json_object_array_add(list, one) < 0) {
			json_object_put(one);
			json_object_put(list);
			return -ENOMEM;
		}
	}
	return report_json_add(o, "overrides", list);
}

static int verdict_json(struct json_object *o, const struct verdict *v, int exit_status)
{
	int r = report_json_add(o, "version", json_object_new_int(VERDICT_VERSION));

	r = r ? r : report_json_text(o, "verdict", policy_verdict_name(v->status));
	r = r ? r : report_json_add(o, "exit_status", json_object_new_int(exit_status));
	r = r ? r : report_json_text(o, "image", v->image);
	r = r ? r : report_json_text(o, "policy", v->policy);
	r = r ? r : report_json_add(o, "live", json_object_new_boolean(v->live));
	r = r ? r : report_json_host(o, "source", v->source_host, v->source_cpu, v->source_kernel);
	r = r ? r : report_json_host(o, "target", v->target_host, v->target_cpu, v->target_kernel);
	r = r ? r : add_overrides(o, v);
	return r ? r : report_json_findings(o, &v->findings);
}

int report_json_counts(struct json_object *o, const char *key, const struct report_counts *c)
{
	struct json_object *counts = json_object_new_object();
	int r = counts ? 0 : -ENOMEM;

	for (int i = 0; i < REPORT_N_VERDICTS && r == 0; i++)
		r = report_json_number(counts, policy_verdict_name((enum verdict_status)i),
				       c->of[i]);
	if (r < 0) {
		json_object_put(counts);
		return r;
	}
	return report_json_add(o, key, counts);
}

int report_json_unread(struct json_object *o, const struct report_site *s)
{
	CK_AUTO(json) struct json_object *list = json_object_new_array();

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_unread; i++) {
		struct json_object *one = json_object_new_object();

		if (!one || report_json_text(one, "profile", s->unread[i].profile) < 0 ||
		    report_json_text(one, "error", s->unread[i].error) < 0 ||
		    json_object_array_add(list, one) < 0) {
			json_object_put(one);
			return -ENOMEM;
		}
	}
	return report_json_add(o, "unread", json_object_get(list));
}

int report_json_print(FILE *out, struct json_object *o, struct ck_err *err)
{
	const char *s = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_NOSLASHESCAPE);

	if (!s)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make JSON");
	if (fprintf(out, "%s\n", s) < 0 || fflush(out) != 0)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write JSON");
	return 0;
}

int report_verdict_json(FILE *out, const struct verdict *v, int exit_status, struct ck_err *err)
{
	CK_AUTO(json) struct json_object *o = json_object_new_object();

	if (!o || verdict_json(o, v, exit_status) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make JSON");
	return report_json_print(out, o, err);
}

int report_facts_json(FILE *out, const CkptFacts *facts, struct ck_err *err)
{
	CK_AUTO(json) struct json_object *o = image_to_json(&facts->base);

	if (!o)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make JSON");
	return report_json_print(out, o, err);
}
