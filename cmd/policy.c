// SPDX-License-Identifier: Apache-2.0
/* ckpt policy: the policies that there are, one of them as JSON, and what is wrong with one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "policies/policies.h"

static int list(void)
{
	static const char *const about[] = {
		"whatever is not known to be in order refuses",
		"what would fail refuses, what can't be known is undecided",
		"what can't be known, and what probably goes well, is said only",
	};

	for (size_t i = 0; policy_names[i]; i++)
		printf("%-12s%s\n", policy_names[i], i < CK_ARRAY_SIZE(about) ? about[i] : "");
	return CMD_EXIT_OK;
}

static int show(const char *name)
{
	CK_AUTO(policy) struct policy *p = NULL;
	CK_AUTO(free) char *text = NULL;
	struct ck_err err = CK_ERR_INIT;

	if (policy_open(name, &p, &err) < 0)
		return cmd_fail("policy", &err);
	text = policy_to_json(p);
	if (!text) {
		(void)ck_fail(&err, CK_ERR_SYS, -ENOMEM, "cannot make JSON");
		return cmd_fail("policy", &err);
	}
	printf("%s\n", text);
	return CMD_EXIT_OK;
}

static void tell(void *arg, bool error, const char *text)
{
	printf("%s: %s: %s\n", (const char *)arg, error ? "wrong" : "note", text);
}

static int lint(const char *name)
{
	struct ck_err err = CK_ERR_INIT;
	char *arg = strdup(name);
	int n = policy_lint(name, tell, arg, &err);

	free(arg);
	if (n < 0)
		return cmd_fail("policy", &err);
	return n ? CMD_EXIT_CONFIG : CMD_EXIT_OK;
}

int cmd_policy(const struct cmd_args *a)
{
	const char *what = a->operands[0];
	const char *name = a->n_operands > 1 ? a->operands[1] : NULL;
	int status;

	if (!strcmp(what, "list") && !name)
		status = list();
	else if (!strcmp(what, "show") && name)
		status = show(name);
	else if (!strcmp(what, "lint") && name)
		status = lint(name);
	else
		return cmd_usage("policy", "what is meant: list, show NAME or lint NAME?");
	return fflush(stdout) == 0 && !ferror(stdout) ? status : CMD_EXIT_OS;
}
