// SPDX-License-Identifier: Apache-2.0
/* ckpt match: which of these hosts had the image better go to? */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/site.h"
#include "cmd/verdict.h"
#include "report/report.h"

/* What check would say on the best host. */
static int best_status(const struct report_site *s)
{
	const struct verdict *best = &s->cells[0];
	struct policy_rank rank, other;

	policy_rank(best, &rank);
	for (size_t i = 1; i < s->n_hosts; i++) {
		policy_rank(&s->cells[i], &other);
		if (policy_rank_compare(&other, &rank) < 0) {
			best = &s->cells[i];
			rank = other;
		}
	}
	return cmd_verdict_status(best);
}

int cmd_match(const struct cmd_args *a)
{
	CK_AUTO(site) struct report_site site = { 0 };
	struct ck_err err = CK_ERR_INIT;
	const char *format = cmd_value(a, "format");
	size_t images = 0;
	int r, status;

	for (size_t i = 0; cmd_each(a, "image", &i);)
		images++;
	if (images > 1)
		return cmd_usage("match", "one --image at a time; ckpt report takes several");
	status = cmd_site_judge(a, &site);
	if (status != CMD_EXIT_OK)
		return status;
	status = best_status(&site);
	if (format && !strcmp(format, "json"))
		r = report_match_json(stdout, &site, status, &err);
	else
		r = report_match_text(stdout, &site, &err);
	return r < 0 ? cmd_fail("match", &err) : status;
}
