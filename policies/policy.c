// SPDX-License-Identifier: Apache-2.0
/*
 * Reading policies. The default one is linked in (policies/default.json). A policy that names a
 * rule or an action that we don't know is refused: whoever wrote it means something.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "policies/policies.h"

enum {
	MAX_POLICY = 1 << 20, /* bytes */
	MAX_DEPTH = 8,
};

/* What can be allowed, as --allow and "allow" name it. */
static const char *const actions[] = { "shell-job" };

struct entry {
	char *rule;
	enum policy_treatment treatment;
};

struct policy {
	char *name;
	struct entry *rules;
	size_t n_rules;
	bool allowed[CK_ARRAY_SIZE(actions)];
	bool undecided;
};

/* policies/default.json, by the Makefile */
extern const char policy_default_json_start[], policy_default_json_end[];

static inline void ck_auto_json(struct json_object **o)
{
	json_object_put(*o);
}

static inline void ck_auto_tokener(struct json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_rules; i++)
		free(p->rules[i].rule);
	free(p->rules);
	free(p->name);
	free(p);
}

const char *policy_name(const struct policy *p)
{
	return p->name;
}

static int find_action(const char *action)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(actions); i++)
		if (!strcmp(actions[i], action))
			return (int)i;
	return -1;
}

int policy_allow(struct policy *p, const char *action, struct ck_err *err)
{
	int i = find_action(action);

	if (i < 0)
		return ck_fail(err, CK_ERR_USAGE, -EINVAL, "there is no action named %s", action);
	p->allowed[i] = true;
	return 0;
}

bool policy_allows(const struct policy *p, const char *action)
{
	int i = action ? find_action(action) : -1;

	return i >= 0 && p->allowed[i];
}

void policy_allow_undecided(struct policy *p)
{
	p->undecided = true;
}

bool policy_allows_undecided(const struct policy *p)
{
	return p->undecided;
}

enum policy_treatment policy_treatment(const struct policy *p, const char *rule)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (!strcmp(p->rules[i].rule, rule))
			return p->rules[i].treatment;
	return POLICY_APPLY;
}

static int parse_treatment(const char *rule, struct json_object *v, enum policy_treatment *ret,
			   struct ck_err *err)
{
	static const struct {
		const char *name;
		enum policy_treatment treatment;
	} names[] = {
		{ "apply", POLICY_APPLY },
		{ "warn", POLICY_WARN },
		{ "refuse", POLICY_REFUSE },
		{ "off", POLICY_OFF },
	};
	const char *s = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";

	if (!policy_rule_find(rule))
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "there is no rule named %s", rule);
	for (size_t i = 0; i < CK_ARRAY_SIZE(names); i++)
		if (!strcmp(names[i].name, s)) {
			*ret = names[i].treatment;
			return 0;
		}
	return ck_fail(err, CK_ERR_CONFIG, -EINVAL,
		       "%s must be \"apply\", \"warn\", \"refuse\" or \"off\"", rule);
}

static int parse_rules(struct policy *p, struct json_object *rules, struct ck_err *err)
{
	int r;

	if (!json_object_is_type(rules, json_type_object))
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "\"rules\" must be an object");
	p->rules = calloc((size_t)json_object_object_length(rules) + 1, sizeof(*p->rules));
	if (!p->rules)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read a policy");
	json_object_object_foreach(rules, rule, v)
	{
		struct entry *e = &p->rules[p->n_rules];

		r = parse_treatment(rule, v, &e->treatment, err);
		if (r < 0)
			return r;
		e->rule = strdup(rule);
		if (!e->rule)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read a policy");
		p->n_rules++;
	}
	return 0;
}

static int parse_allow(struct policy *p, struct json_object *allow, struct ck_err *err)
{
	if (!json_object_is_type(allow, json_type_array))
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "\"allow\" must be an array");
	for (size_t i = 0; i < json_object_array_length(allow); i++) {
		struct json_object *v = json_object_array_get_idx(allow, i);
		int r = policy_allow(p, json_object_get_string(v) ?: "", err);

		if (r < 0) {
			if (err)
				err->kind = CK_ERR_CONFIG;
			return r;
		}
	}
	return 0;
}

static int parse_object(struct policy *p, struct json_object *o, struct ck_err *err)
{
	struct json_object *v;
	int r = 0;

	if (!json_object_is_type(o, json_type_object))
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "a policy must be an object");
	if (!json_object_object_get_ex(o, "version", &v) || json_object_get_int(v) != 1)
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "a policy must have \"version\": 1");
	p->name = strdup(json_object_object_get_ex(o, "name", &v) ? json_object_get_string(v)
								  : "unnamed");
	if (!p->name)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read a policy");
	if (json_object_object_get_ex(o, "rules", &v))
		r = parse_rules(p, v, err);
	if (r == 0 && json_object_object_get_ex(o, "allow", &v))
		r = parse_allow(p, v, err);
	if (r == 0 && json_object_object_get_ex(o, "allow_undecided", &v))
		p->undecided = json_object_get_boolean(v);
	return r;
}

static int parse(const char *text, size_t len, struct policy **ret, struct ck_err *err)
{
	CK_AUTO(tokener) struct json_tokener *t = json_tokener_new_ex(MAX_DEPTH);
	CK_AUTO(json) struct json_object *o = NULL;
	CK_AUTO(policy) struct policy *p = calloc(1, sizeof(*p));
	int r;

	if (!t || !p)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read a policy");
	o = json_tokener_parse_ex(t, text, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success)
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "is not JSON: %s",
			       json_tokener_error_desc(json_tokener_get_error(t)));
	r = parse_object(p, o, err);
	if (r < 0)
		return r;
	*ret = ck_take_ptr(&p);
	return 0;
}

int policy_parse(const char *text, struct policy **ret, struct ck_err *err)
{
	return parse(text, strlen(text), ret, err);
}

int policy_default(struct policy **ret, struct ck_err *err)
{
	return parse(policy_default_json_start,
		     (size_t)(policy_default_json_end - policy_default_json_start), ret, err);
}

int policy_load(const char *path, struct policy **ret, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len;
	int r = ck_read_file_at(AT_FDCWD, path, MAX_POLICY, &text, &len);

	if (r < 0)
		return ck_fail(err, CK_ERR_CONFIG, r, "cannot read policy %s: %s", path,
			       strerror(-r));
	r = parse(text, len, ret, err);
	return r < 0 ? ck_err_at(err, r, "policy %s", path) : 0;
}
