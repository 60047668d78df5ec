// SPDX-License-Identifier: Apache-2.0
/*
 * Every rule, on facts. tests/rules/base.json is a job and two like hosts: everything passes there.
 * tests/rules/ID.json has the cases of rule ID, each a few changes to the base and what must come
 * of them. Whoever adds a rule adds its file, its section in docs/rules.md and its line in the
 * policy.
 */
#include <check.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <json-c/json_pointer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "image/image.h"
#include "policies/policies.h"

#define DIR_RULES "tests/rules/"

static struct json_object *load(const char *name)
{
	CK_AUTO(free) char *path = NULL;
	CK_AUTO(free) char *text = NULL;
	struct json_object *o;

	ck_assert_int_gt(asprintf(&path, DIR_RULES "%s.json", name), 0);
	ck_assert_msg(ck_read_file_at(AT_FDCWD, path, 1 << 24, &text, NULL) == 0, "no %s", path);
	o = json_tokener_parse(text);
	ck_assert_msg(o != NULL, "%s is not JSON", path);
	return o;
}

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;
}

static void unset(struct json_object *o, const char *pointer)
{
	char *parent = strdup(pointer), *slash = strrchr(parent, '/');
	struct json_object *p;

	*slash = '\0';
	if (slash == parent)
		p = o;
	else
		ck_assert_msg(json_pointer_get(o, parent, &p) == 0, "no %s", pointer);
	json_object_object_del(p, slash + 1);
	free(parent);
}

static struct json_object *changed_base(struct json_object *c)
{
	struct json_object *o = load("base"), *set, *list;

	if (json_object_object_get_ex(c, "set", &set)) {
		json_object_object_foreach(set, pointer, v)
		{
			if (!v)
				unset(o, pointer);
			else
				ck_assert_msg(json_pointer_set(&o, pointer, json_object_get(v)) ==
						      0,
					      "%s", pointer);
		}
	}
	if (json_object_object_get_ex(c, "unset", &list))
		for (size_t i = 0; i < json_object_array_length(list); i++)
			unset(o, json_object_get_string(json_object_array_get_idx(list, i)));
	return o;
}

static void *message(struct json_object *o, const char *key, const ProtobufCMessageDescriptor *d)
{
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *m = NULL;
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v))
		return NULL;
	ck_assert_msg(image_from_json(v, d, &m, &err) == 0, "%s: %s %s", key, err.what, err.where);
	return m;
}

static enum rule_image_state state_of(const char *s)
{
	return !strcmp(s, "corrupt")      ? RULE_IMAGE_CORRUPT
	       : !strcmp(s, "incomplete") ? RULE_IMAGE_INCOMPLETE
	       : !strcmp(s, "version")    ? RULE_IMAGE_VERSION
					  : RULE_IMAGE_WHOLE;
}

static bool flag(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

/* Judges the base with the changes of c. */
static void judge(struct json_object *c, struct verdict *ret)
{
	struct json_object *o = changed_base(c), *i;
	struct policy *p = NULL;
	struct rule_image image = { 0 };
	struct rule_input in = { .image = &image };
	CkptNeeds *needs = message(o, "needs", &ckpt_needs__descriptor);
	CkptFacts *source = message(o, "source", &ckpt_facts__descriptor);
	CkptFacts *target = message(o, "target", &ckpt_facts__descriptor);
	CkptIsa *isa = message(o, "isa", &ckpt_isa__descriptor);

	ck_assert(json_object_object_get_ex(o, "image", &i));
	image.state = state_of(str(i, "state"));
	image.fault = str(i, "fault");
	image.hint = str(i, "hint");
	image.foreign = flag(i, "foreign");
	image.no_sums = flag(i, "no_sums");
	in.needs = needs;
	in.source = source;
	in.target = target;
	in.isa = isa;
	in.live = flag(o, "live");
	ck_assert_int_eq(policy_open("default", &p, NULL), 0);
	if (c && str(c, "allow"))
		ck_assert_int_eq(policy_allow(p, str(c, "allow"), NULL), 0);
	ck_assert_int_eq(policy_judge(&in, p, ret, NULL), 0);
	policy_free(p);
	ckpt_needs__free_unpacked(needs, NULL);
	if (source)
		ckpt_facts__free_unpacked(source, NULL);
	if (isa)
		ckpt_isa__free_unpacked(isa, NULL);
	ckpt_facts__free_unpacked(target, NULL);
	json_object_put(o);
}

static bool matches(struct json_object *c, const char *key, const char *got)
{
	const char *want = str(c, key);

	return !want || (got && !strcmp(want, got));
}

static size_t n_trouble(const struct verdict *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->findings.n; i++)
		n += v->findings.f[i].status != FINDING_OK && v->findings.f[i].status != FINDING_NA;
	return n;
}

static void check_case(const char *id, struct json_object *c)
{
	const struct finding *hit = NULL;
	const char *name = str(c, "name");
	struct verdict v = { 0 };
	struct json_object *n;

	judge(c, &v);
	ck_assert_msg(!strcmp(policy_verdict_name(v.status), str(c, "verdict")),
		      "%s, %s: verdict %s", id, name, policy_verdict_name(v.status));
	for (size_t i = 0; i < v.findings.n; i++) {
		const struct finding *f = &v.findings.f[i];

		if (!strcmp(f->rule, id) && matches(c, "status", policy_finding_name(f->status)) &&
		    matches(c, "subject", f->subject))
			hit = hit ? hit : f;
	}
	ck_assert_msg(hit != NULL, "%s, %s: no such finding", id, name);
#define SAME(key) \
	ck_assert_msg(matches(c, #key, hit->key), "%s, %s: " #key " is %s", id, name, hit->key)
	SAME(need);
	SAME(have);
	SAME(evidence);
	SAME(remedy);
	SAME(action);
	if (json_object_object_get_ex(c, "findings", &n))
		ck_assert_msg((int)n_trouble(&v) == json_object_get_int(n), "%s, %s: %zu findings",
			      id, name, n_trouble(&v));
	policy_verdict_done(&v);
}

/* Every rule has cases; at least one of them fires it. */
START_TEST(cases)
{
	for (size_t t = 0; policy_tables[t]; t++) {
		for (const struct rule *r = policy_tables[t]; r->id; r++) {
			struct json_object *list = load(r->id);
			bool fires = false;

			for (size_t i = 0; i < json_object_array_length(list); i++) {
				struct json_object *c = json_object_array_get_idx(list, i);

				fires = fires || strcmp(str(c, "status"), "ok") != 0;
				check_case(r->id, c);
			}
			ck_assert_msg(fires, "%s never fires", r->id);
			json_object_put(list);
		}
	}
}
END_TEST

/* On two like hosts nothing is wrong, and each rule has looked. */
START_TEST(base_passes)
{
	struct verdict v = { 0 };

	judge(NULL, &v);
	ck_assert_str_eq(policy_verdict_name(v.status), "compatible");
	ck_assert_uint_eq(n_trouble(&v), 0);
	for (size_t t = 0; policy_tables[t]; t++) {
		for (const struct rule *r = policy_tables[t]; r->id; r++) {
			bool seen = false;

			for (size_t i = 0; i < v.findings.n; i++)
				seen = seen || !strcmp(v.findings.f[i].rule, r->id);
			ck_assert_msg(seen, "%s says nothing", r->id);
		}
	}
	policy_verdict_done(&v);
}
END_TEST

START_TEST(registry)
{
	CK_AUTO(free) char *doc = NULL;
	const char *section;
	size_t len;

	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, "docs/rules.md", 1 << 20, &doc, NULL), 0);
	for (size_t t = 0; policy_tables[t]; t++) {
		for (const struct rule *r = policy_tables[t]; r->id; r++) {
			CK_AUTO(free) char *text = NULL;

			ck_assert_msg(policy_rule_find(r->id) == r, "%s is there twice", r->id);
			ck_assert_int_gt((int)strlen(r->title), 5);
			ck_assert_msg(policy_explain(r->id, &section, &len) == 0,
				      "docs/rules.md has no %s", r->id);
			text = strndup(section, len);
			ck_assert_msg(len > 80, "%s is hardly explained", r->id);
			/* What it says, how that is known, and what to do. */
			ck_assert_msg(strstr(text, "*Evidence:*") != NULL, "%s: no evidence",
				      r->id);
			ck_assert_msg(strstr(text, "*Remedy:*") != NULL, "%s: no remedy", r->id);
		}
	}
	ck_assert_int_lt(policy_explain("no.rule", &section, &len), 0);
	ck_assert_int_lt(policy_explain("image", &section, &len), 0);
	for (const char *p = doc; (p = strstr(p, "\n## ")) != NULL; p++) {
		char id[80];

		if (sscanf(p, "\n## %79[a-z.-]\n", id) == 1 && strchr(id, '.'))
			ck_assert_msg(policy_rule_find(id) != NULL, "no rule %s", id);
	}
}
END_TEST

static void check_whole(struct json_object *c)
{
	struct verdict v = { 0 };

	judge(c, &v);
	for (size_t k = 0; k < v.findings.n; k++) {
		const struct finding *f = &v.findings.f[k];

		if (f->status == FINDING_OK || f->status == FINDING_NA ||
		    f->status == FINDING_DEFERRED)
			continue;
		ck_assert_msg(f->remedy && f->remedy[0], "%s", f->rule);
		ck_assert_msg(f->have && f->have[0], "%s", f->rule);
	}
	policy_verdict_done(&v);
}

/* Whatever stands in the way comes with a way out, and says what it compared. */
START_TEST(findings_are_whole)
{
	for (size_t t = 0; policy_tables[t]; t++) {
		for (const struct rule *r = policy_tables[t]; r->id; r++) {
			struct json_object *list = load(r->id);

			for (size_t i = 0; i < json_object_array_length(list); i++)
				check_whole(json_object_array_get_idx(list, i));
			json_object_put(list);
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policies-rules");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, base_passes);
	tcase_add_test(tc, cases);
	tcase_add_test(tc, registry);
	tcase_add_test(tc, findings_are_whole);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
