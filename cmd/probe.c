// SPDX-License-Identifier: Apache-2.0
/* ckpt probe: what this host is, as JSON; a stored one serves `ckpt check --host`. */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/output.h"
#include "probe/probe.h"
#include "report/report.h"

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

static int write_facts(FILE *out, const void *facts, struct ck_err *err)
{
	return report_facts_json(out, facts, err);
}

int cmd_probe(const struct cmd_args *a)
{
	CK_AUTO(facts) CkptFacts *facts = NULL;
	struct ck_err err = CK_ERR_INIT;
	const char *path = cmd_value(a, "output");
	int r = probe_facts(&facts, &err);

	if (r == 0 && path && strcmp(path, "-") != 0)
		r = cmd_write_file(path, write_facts, facts, &err);
	else if (r == 0)
		r = report_facts_json(stdout, facts, &err);
	return r < 0 ? cmd_fail("probe", &err) : CMD_EXIT_OK;
}
