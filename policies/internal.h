/* SPDX-License-Identifier: Apache-2.0 */
/* Private to policies/: what a policy is made of. */
#ifndef CK_POLICIES_INTERNAL_H
#define CK_POLICIES_INTERNAL_H

#include "policies/policies.h"

/* What can be allowed, as --allow and "allow" name it. */
enum policy_action {
	POLICY_SHELL_JOB,
	POLICY_ROLLBACK_FILES,
	POLICY_KEEP_FILES,
	POLICY_MAKE_DIRS,
	POLICY_N_ACTIONS,
};
extern const char *const policy_actions[POLICY_N_ACTIONS];
/* -1: there is none of that name. */
int policy_action_find(const char *action);

struct policy_entry {
	char *rule;
	enum policy_treatment treatment;
};

struct policy_override {
	char *rule, *by, *at;
};

struct policy {
	char *name;
	struct policy_entry *rules; /* those that are named */
	size_t n_rules;
	struct policy_override *overrides;
	size_t n_overrides;
	bool allowed[POLICY_N_ACTIONS];
	bool undecided;
};

/* policies/NAME.json and docs/rules.md as they stand, linked in by the Makefile. */
#define POLICY_BLOB(name) extern const char policy_##name##_start[], policy_##name##_end[]
POLICY_BLOB(strict_json);
POLICY_BLOB(default_json);
POLICY_BLOB(permissive_json);
POLICY_BLOB(rules_md);

#endif
