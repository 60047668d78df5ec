// SPDX-License-Identifier: Apache-2.0
/* ckpt report: a site's images against its hosts. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/output.h"
#include "cmd/site.h"
#include "report/report.h"

static int write_page(FILE *out, const void *site, struct ck_err *err)
{
	return report_site_html(out, site, time(NULL), err);
}

int cmd_report(const struct cmd_args *a)
{
	CK_AUTO(site) struct report_site site = { 0 };
	struct ck_err err = CK_ERR_INIT;
	const char *format = cmd_value(a, "format"), *path = cmd_value(a, "output");
	bool to_stdout = path && !strcmp(path, "-");
	int r = 0, status;

	if (to_stdout && format)
		return cmd_usage("report", "--output - and --format both want standard output");
	status = cmd_site_judge(a, &site);
	if (status != CMD_EXIT_OK)
		return status;
	if (to_stdout)
		r = write_page(stdout, &site, &err);
	else if (path)
		r = cmd_write_file(path, write_page, &site, &err);
	if (r == 0 && format && !strcmp(format, "json"))
		r = report_site_json(stdout, &site, &err);
	else if (r == 0 && !to_stdout)
		r = report_site_text(stdout, &site, &err);
	return r < 0 ? cmd_fail("report", &err) : CMD_EXIT_OK;
}
