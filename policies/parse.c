// SPDX-License-Identifier: Apache-2.0
/*
 * Policies as JSON: docs/schema/policy.json. Three are linked in. Whoever wrote a policy means
 * something by each word of it: a key, rule or action that we don't know is an error, and all
 * errors are found at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "policies/internal.h"

enum {
	MAX_POLICY = 1 << 20, /* bytes */
	MAX_DEPTH = 8,
	POLICY_VERSION = 1,
};

static const struct {
	const char *name, *start, *end;
} builtin[] = {
	{ "strict", policy_strict_json_start, policy_strict_json_end },
	{ "default", policy_default_json_start, policy_default_json_end },
	{ "permissive", policy_permissive_json_start, policy_permissive_json_end },
};

const char *const policy_names[] = { "strict", "default", "permissive", NULL };

static const char *const treatments[] = {
	[POLICY_APPLY] = "apply",
	[POLICY_WARN] = "warn",
	[POLICY_REFUSE] = "refuse",
	[POLICY_OFF] = "off",
};

/* Where errors go while a policy is read. */
struct reader {
	struct policy *p;
	policy_tell_fn tell; /* NULL: keep the first in err */
	void *arg;
	struct ck_err *err;
	int errors;
	bool no_memory;
};

static inline void ck_auto_json(struct json_object **o)
{
	json_object_put(*o);
}

static inline void ck_auto_tokener(struct json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

const char *policy_treatment_name(enum policy_treatment t)
{
	return (size_t)t < CK_ARRAY_SIZE(treatments) ? treatments[t] : "?";
}

static void __attribute__((format(printf, 2, 3))) wrong(struct reader *r, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (r->tell)
		r->tell(r->arg, true, text);
	else if (!r->errors)
		(void)ck_fail(r->err, CK_ERR_CONFIG, -EINVAL, "%s", text);
	r->errors++;
}

static void __attribute__((format(printf, 2, 3))) doubt(struct reader *r, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	if (!r->tell)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->tell(r->arg, false, text);
}

static void read_rule(struct reader *r, const char *rule, struct json_object *v)
{
	const char *s = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
	struct policy_entry *e = &r->p->rules[r->p->n_rules];
	size_t i = 0;

	if (!policy_rule_find(rule)) {
		wrong(r, "there is no rule named %s", rule);
		return;
	}
	while (i < CK_ARRAY_SIZE(treatments) && strcmp(treatments[i], s) != 0)
		i++;
	if (i == CK_ARRAY_SIZE(treatments)) {
		wrong(r, "%s must be \"apply\", \"warn\", \"refuse\" or \"off\"", rule);
		return;
	}
	if (policy_rule_is_final(rule) && (i == POLICY_WARN || i == POLICY_OFF)) {
		wrong(r, "%s can't be \"%s\": nothing could be restored", rule, s);
		return;
	}
	e->treatment = (enum policy_treatment)i;
	e->rule = strdup(rule);
	if (e->rule)
		r->p->n_rules++;
	else
		r->no_memory = true;
}

static void read_rules(struct reader *r, struct json_object *rules)
{
	if (!json_object_is_type(rules, json_type_object)) {
		wrong(r, "\"rules\" must be an object");
		return;
	}
	r->p->rules = calloc((size_t)json_object_object_length(rules) + 1, sizeof(*r->p->rules));
	if (!r->p->rules) {
		r->no_memory = true;
		return;
	}
	json_object_object_foreach(rules, rule, v)
	{
		read_rule(r, rule, v);
	}
}

static void read_allow(struct reader *r, struct json_object *allow)
{
	if (!json_object_is_type(allow, json_type_array)) {
		wrong(r, "\"allow\" must be an array");
		return;
	}
	for (size_t i = 0; i < json_object_array_length(allow); i++) {
		struct json_object *v = json_object_array_get_idx(allow, i);
		const char *s =
			json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
		int action = policy_action_find(s);

		if (action < 0)
			wrong(r, "there is no action named \"%s\"", s);
		else
			r->p->allowed[action] = true;
	}
}

static void read_version(struct reader *r, struct json_object *v)
{
	if (!json_object_is_type(v, json_type_int) || json_object_get_int(v) != POLICY_VERSION)
		wrong(r, "a policy must have \"version\": %d", POLICY_VERSION);
}

static void read_name(struct reader *r, struct json_object *v)
{
	if (!json_object_is_type(v, json_type_string)) {
		wrong(r, "\"name\" must be a string");
		return;
	}
	free(r->p->name);
	r->p->name = strdup(json_object_get_string(v));
	r->no_memory = r->no_memory || !r->p->name;
}

static void read_undecided(struct reader *r, struct json_object *v)
{
	if (!json_object_is_type(v, json_type_boolean))
		wrong(r, "\"allow_undecided\" must be true or false");
	r->p->undecided = json_object_get_boolean(v);
}

static const struct {
	const char *name;
	void (*read)(struct reader *r, struct json_object *v);
} keys[] = {
	{ "version", read_version },           { "name", read_name },   { "rules", read_rules },
	{ "allow_undecided", read_undecided }, { "allow", read_allow },
};

static void read_policy(struct reader *r, struct json_object *o)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object)) {
		wrong(r, "a policy must be an object");
		return;
	}
	if (!json_object_object_get_ex(o, "version", &v))
		read_version(r, NULL);
	json_object_object_foreach(o, key, value)
	{
		size_t i = 0;

		while (i < CK_ARRAY_SIZE(keys) && strcmp(keys[i].name, key) != 0)
			i++;
		if (i < CK_ARRAY_SIZE(keys))
			keys[i].read(r, value);
		else
			wrong(r, "there is no key named \"%s\"", key);
	}
	if (!json_object_object_get_ex(o, "name", &v))
		doubt(r, "it has no \"name\", which verdicts would show");
}

/* What is valid, but may be an oversight. */
static void doubt_policy(struct reader *r)
{
	const struct policy *p = r->p;

	for (size_t t = 0; policy_tables[t]; t++) {
		for (const struct rule *rule = policy_tables[t]; rule->id; rule++) {
			size_t i = 0;

			while (i < p->n_rules && strcmp(p->rules[i].rule, rule->id) != 0)
				i++;
			if (i == p->n_rules)
				doubt(r, "%s is not named, and counts as \"apply\"", rule->id);
		}
	}
	if (p->allowed[POLICY_SHELL_JOB] && policy_treatment(p, "term") == POLICY_OFF)
		doubt(r, "\"allow\" names shell-job, but \"term\" is off");
}

static void syntax_error(struct reader *r, struct json_tokener *t, const char *text, size_t len)
{
	size_t end = json_tokener_get_parse_end(t), line = 1;

	for (size_t i = 0; i < end && i < len; i++)
		line += text[i] == '\n';
	wrong(r, "line %zu is not JSON: %s", line,
	      json_tokener_error_desc(json_tokener_get_error(t)));
}

/* 0, or -ENOMEM; what is wrong with the text is counted in r. */
static int read_text(struct reader *r, const char *text, size_t len)
{
	CK_AUTO(tokener) struct json_tokener *t = json_tokener_new_ex(MAX_DEPTH);
	CK_AUTO(json) struct json_object *o = NULL;

	if (!t || !r->p)
		return -ENOMEM;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	r->p->name = strdup("unnamed");
	if (!r->p->name)
		return -ENOMEM;
	o = json_tokener_parse_ex(t, text, len > INT_MAX ? INT_MAX : (int)len);
	if (json_tokener_get_error(t) != json_tokener_success)
		syntax_error(r, t, text, len);
	else
		read_policy(r, o);
	if (!r->errors)
		doubt_policy(r);
	return r->no_memory ? -ENOMEM : 0;
}

static int parse(const char *text, size_t len, struct policy **ret, struct ck_err *err)
{
	CK_AUTO(policy) struct policy *p = calloc(1, sizeof(*p));
	struct reader r = { .p = p, .err = err };
	int rc = read_text(&r, text, len);

	if (rc < 0)
		return ck_fail(err, CK_ERR_SYS, rc, "cannot read a policy");
	if (r.errors > 1)
		return ck_err_hint(err, -EINVAL, "ckpt policy lint shows all %d errors", r.errors);
	if (r.errors)
		return -EINVAL;
	*ret = ck_take_ptr(&p);
	return 0;
}

int policy_parse(const char *text, struct policy **ret, struct ck_err *err)
{
	return parse(text, strlen(text), ret, err);
}

/* The text of a built-in policy, or of a file. The caller frees it. */
static int text_of(const char *name, char **ret, size_t *ret_len, struct ck_err *err)
{
	int r;

	for (size_t i = 0; i < CK_ARRAY_SIZE(builtin); i++) {
		if (strcmp(builtin[i].name, name) != 0)
			continue;
		*ret_len = (size_t)(builtin[i].end - builtin[i].start);
		*ret = strndup(builtin[i].start, *ret_len);
		return *ret ? 0 : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read a policy");
	}
	r = ck_read_file_at(AT_FDCWD, name, MAX_POLICY, ret, ret_len);
	if (r >= 0)
		return 0;
	r = ck_fail(err, CK_ERR_CONFIG, r, "cannot read policy %s: %s", name, strerror(-r));
	return strchr(name, '/')
		       ? r
		       : ck_err_hint(err, r, "ckpt policy list names those that are built in");
}

int policy_open(const char *name_or_file, struct policy **ret, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len;
	int r = text_of(name_or_file, &text, &len, err);

	if (r < 0)
		return r;
	r = parse(text, len, ret, err);
	return r < 0 ? ck_err_at(err, r, "policy %s", name_or_file) : 0;
}

int policy_lint(const char *name_or_file, policy_tell_fn tell, void *arg, struct ck_err *err)
{
	CK_AUTO(policy) struct policy *p = calloc(1, sizeof(*p));
	struct reader r = { .p = p, .tell = tell, .arg = arg };
	CK_AUTO(free) char *text = NULL;
	size_t len;
	int rc = text_of(name_or_file, &text, &len, err);

	if (rc < 0)
		return rc;
	rc = read_text(&r, text, len);
	return rc < 0 ? ck_fail(err, CK_ERR_SYS, rc, "cannot read a policy") : r.errors;
}

static int add(struct json_object *o, const char *key, struct json_object *v)
{
	if (!v || json_object_object_add(o, key, v) < 0) {
		json_object_put(v);
		return -ENOMEM;
	}
	return 0;
}

static int add_rules(const struct policy *p, struct json_object *o)
{
	struct json_object *rules = json_object_new_object();
	int r = 0;

	if (!rules)
		return -ENOMEM;
	for (size_t t = 0; policy_tables[t] && r == 0; t++)
		for (const struct rule *rule = policy_tables[t]; rule->id && r == 0; rule++)
			r = add(rules, rule->id,
				json_object_new_string(
					policy_treatment_name(policy_treatment(p, rule->id))));
	if (r < 0) {
		json_object_put(rules);
		return r;
	}
	return add(o, "rules", rules);
}

static int add_allow(const struct policy *p, struct json_object *o)
{
	struct json_object *allow = json_object_new_array();

	for (int i = 0; allow && i < POLICY_N_ACTIONS; i++)
		if (p->allowed[i])
			json_object_array_add(allow, json_object_new_string(policy_actions[i]));
	return add(o, "allow", allow);
}

char *policy_to_json(const struct policy *p)
{
	CK_AUTO(json) struct json_object *o = json_object_new_object();
	const char *s;
	int r = o ? add(o, "version", json_object_new_int(POLICY_VERSION)) : -ENOMEM;

	r = r ? r : add(o, "name", json_object_new_string(p->name));
	r = r ? r : add_rules(p, o);
	r = r ? r : add_allow(p, o);
	r = r ? r : add(o, "allow_undecided", json_object_new_boolean(p->undecided));
	s = r ? NULL : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY);
	return s ? strdup(s) : NULL;
}
