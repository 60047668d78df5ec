// SPDX-License-Identifier: Apache-2.0
/* The policy of a command line, verdicts as exit statuses, and the check that a restore begins
 * with.
 */
#include "cmd/verdict.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "fsmap/fsmap.h"
#include "policies/policies.h"
#include "report/report.h"

/* "alice (uid 1001)" */
static void who(char *buf, size_t size)
{
	const struct passwd *pw = getpwuid(getuid());

	if (pw)
		snprintf(buf, size, "%s (uid %u)", pw->pw_name, getuid());
	else
		snprintf(buf, size, "uid %u", getuid());
}

static int overrides(const struct cmd_args *a, struct policy *p, struct ck_err *err)
{
	const time_t now = time(NULL);
	char by[120], at[40];
	const char *rule;
	struct tm tm;
	int r = 0;

	who(by, sizeof(by));
	if (!gmtime_r(&now, &tm) || !strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return ck_fail_errno(err, "cannot tell the time");
	for (size_t i = 0; r == 0 && (rule = cmd_each(a, "override", &i));)
		r = policy_override(p, rule, by, at, err);
	return r;
}

/* --files is short for one action, and against the other. */
static void files(const struct cmd_args *a, struct policy *p)
{
	const char *how = cmd_value(a, "files");

	if (!how)
		return;
	policy_forbid(p, "rollback-files");
	policy_forbid(p, "keep-files");
	if (!strcmp(how, "rollback"))
		(void)policy_allow(p, "rollback-files", NULL);
	if (!strcmp(how, "keep"))
		(void)policy_allow(p, "keep-files", NULL);
}

int cmd_verdict_policy(const struct cmd_args *a, struct policy **ret)
{
	CK_AUTO(policy) struct policy *p = NULL;
	struct ck_err err = CK_ERR_INIT;
	const char *action, *name = cmd_value(a, "policy");

	if (policy_open(name ? name : "default", &p, &err) < 0)
		return cmd_fail(a->cmd->name, &err);
	for (size_t i = 0; (action = cmd_each(a, "allow", &i));)
		if (policy_allow(p, action, &err) < 0)
			return cmd_usage(a->cmd->name, "%s", err.what);
	files(a, p);
	if (cmd_has(a, "make-dirs"))
		(void)policy_allow(p, "make-dirs", NULL);
	if (cmd_has(a, "allow-undecided"))
		policy_allow_undecided(p);
	if (overrides(a, p, &err) < 0)
		return err.kind == CK_ERR_USAGE ? cmd_usage(a->cmd->name, "%s", err.what)
						: cmd_fail(a->cmd->name, &err);
	*ret = ck_take_ptr(&p);
	return CMD_EXIT_OK;
}

int cmd_verdict_maps(const struct cmd_args *a, struct fsmap_maps *ret)
{
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };
	struct ck_err err = CK_ERR_INIT;
	const char *value, *mode = cmd_value(a, "map-mode");
	int r = 0;

	maps.bind = mode && !strcmp(mode, "bind");
	for (size_t i = 0; r == 0 && (value = cmd_each(a, "map", &i));)
		r = fsmap_maps_add(&maps, value, &err);
	for (size_t i = 0; r == 0 && (value = cmd_each(a, "maps", &i));)
		r = fsmap_maps_read(&maps, value, &err);
	if (r < 0)
		return err.kind == CK_ERR_USAGE ? cmd_usage(a->cmd->name, "%s", err.what)
						: cmd_fail(a->cmd->name, &err);
	*ret = maps;
	maps = (struct fsmap_maps){ 0 };
	return CMD_EXIT_OK;
}

int cmd_verdict_status(const struct verdict *v)
{
	switch (v->status) {
	case VERDICT_COMPATIBLE:
		return CMD_EXIT_OK;
	case VERDICT_ACTIONS:
		return CMD_EXIT_ACTIONS;
	case VERDICT_UNDECIDED:
		return CMD_EXIT_UNDECIDED;
	case VERDICT_TRY_LATER:
		return CMD_EXIT_TRYLATER;
	case VERDICT_INCOMPATIBLE:
		return CMD_EXIT_INCOMPATIBLE;
	case VERDICT_HOST:
		return CMD_EXIT_HOST;
	case VERDICT_IMAGE:
		return CMD_EXIT_DATA;
	}
	return CMD_EXIT_SOFTWARE;
}

int cmd_verdict_refuses(const char *sub, const struct image *img, const struct fsmap_maps *maps,
			const struct policy *policy, CkptIsa **ret_isa)
{
	CK_AUTO(verdict) struct verdict verdict = { 0 };
	struct ck_err err = CK_ERR_INIT;
	int status;

	if (policy_check_live(img, maps, policy, &verdict, ret_isa, &err) < 0)
		return cmd_fail(sub, &err);
	status = cmd_verdict_status(&verdict);
	/* What somebody takes upon himself is said before anything happens. */
	if ((status != CMD_EXIT_OK || verdict.n_overrides) &&
	    report_verdict_text(stderr, &verdict, 0, &err) < 0)
		return cmd_fail(sub, &err);
	return status;
}
