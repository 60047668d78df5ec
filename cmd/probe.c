// SPDX-License-Identifier: Apache-2.0
/* ckpt probe: what this host is, as JSON; a stored one serves `ckpt check --host`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "probe/probe.h"
#include "report/report.h"

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

static int write_to(FILE *f, const char *path, const CkptFacts *facts, struct ck_err *err)
{
	int r = report_facts_json(f, facts, err);

	if (fclose(f) != 0 && r == 0)
		r = ck_fail_errno(err, "cannot write %s", path);
	return r;
}

/* A profile is there as a whole or not at all; what is no regular file is simply written to. */
static int write_file(const char *path, const CkptFacts *facts, struct ck_err *err)
{
	CK_AUTO(free) char *temp = NULL;
	struct stat st;
	FILE *f;
	int r;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		f = fopen(path, "we");
		return f ? write_to(f, path, facts, err)
			 : ck_fail_errno(err, "cannot write %s", path);
	}
	if (asprintf(&temp, "%s.%d.partial", path, (int)getpid()) < 0) {
		temp = NULL;
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write %s", path);
	}
	f = fopen(temp, "wxe");
	if (!f)
		return ck_fail_errno(err, "cannot write %s", path);
	r = write_to(f, path, facts, err);
	if (r == 0 && rename(temp, path) < 0)
		r = ck_fail_errno(err, "cannot write %s", path);
	if (r < 0)
		unlink(temp);
	return r;
}

int cmd_probe(const struct cmd_args *a)
{
	CK_AUTO(facts) CkptFacts *facts = NULL;
	struct ck_err err = CK_ERR_INIT;
	const char *path = cmd_value(a, "output");
	int r = probe_facts(&facts, &err);

	if (r == 0 && path && strcmp(path, "-") != 0)
		r = write_file(path, facts, &err);
	else if (r == 0)
		r = report_facts_json(stdout, facts, &err);
	return r < 0 ? cmd_fail("probe", &err) : CMD_EXIT_OK;
}
