// SPDX-License-Identifier: Apache-2.0
/*
 * What a policy says of a rule or an action, and the overrides that were given beside it. Reading
 * one is parse.c's matter; applying it, the judge's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "policies/internal.h"

const char *const policy_actions[POLICY_N_ACTIONS] = {
	[POLICY_SHELL_JOB] = "shell-job",
	[POLICY_ROLLBACK_FILES] = "rollback-files",
	[POLICY_KEEP_FILES] = "keep-files",
	[POLICY_MAKE_DIRS] = "make-dirs",
};

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_rules; i++)
		free(p->rules[i].rule);
	for (size_t i = 0; i < p->n_overrides; i++) {
		free(p->overrides[i].rule);
		free(p->overrides[i].by);
		free(p->overrides[i].at);
	}
	free(p->rules);
	free(p->overrides);
	free(p->name);
	free(p);
}

const char *policy_name(const struct policy *p)
{
	return p->name;
}

int policy_action_find(const char *action)
{
	for (int i = 0; i < POLICY_N_ACTIONS; i++)
		if (!strcmp(policy_actions[i], action))
			return i;
	return -1;
}

int policy_allow(struct policy *p, const char *action, struct ck_err *err)
{
	int i = policy_action_find(action);

	if (i < 0)
		return ck_fail(err, CK_ERR_USAGE, -EINVAL, "there is no action named %s", action);
	p->allowed[i] = true;
	return 0;
}

void policy_forbid(struct policy *p, const char *action)
{
	int i = policy_action_find(action);

	if (i >= 0)
		p->allowed[i] = false;
}

bool policy_allows(const struct policy *p, const char *action)
{
	int i = action ? policy_action_find(action) : -1;

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

int policy_override(struct policy *p, const char *rule, const char *by, const char *at,
		    struct ck_err *err)
{
	struct policy_override *grown, *o;

	if (!policy_rule_find(rule))
		return ck_fail(err, CK_ERR_USAGE, -EINVAL, "there is no rule named %s", rule);
	if (policy_rule_is_final(rule))
		return ck_fail(err, CK_ERR_USAGE, -EINVAL,
			       "%s can't be overridden: nothing could be restored", rule);
	for (size_t i = 0; i < p->n_overrides; i++)
		if (!strcmp(p->overrides[i].rule, rule))
			return 0;
	grown = reallocarray(p->overrides, p->n_overrides + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot override %s", rule);
	p->overrides = grown;
	o = &grown[p->n_overrides++];
	*o = (struct policy_override){ strdup(rule), strdup(by), strdup(at) };
	if (!o->rule || !o->by || !o->at)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot override %s", rule);
	return 0;
}
