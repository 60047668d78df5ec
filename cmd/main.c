// SPDX-License-Identifier: Apache-2.0
/* main(), and how an error is told. The commands are in cmd/table.c. */
#include <stdio.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"

int cmd_verbose;

char *cmd_safe(char *line)
{
	for (unsigned char *p = (unsigned char *)line; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			*p = '?';
	return line;
}

int cmd_fail(const char *sub, const struct ck_err *err)
{
	static const int status[] = {
		[CK_ERR_SYS] = CMD_EXIT_OS,          [CK_ERR_REFUSED] = CMD_EXIT_HOST,
		[CK_ERR_GONE] = CMD_EXIT_NOIMAGE,    [CK_ERR_IMAGE] = CMD_EXIT_DATA,
		[CK_ERR_NOIMAGE] = CMD_EXIT_NOIMAGE, [CK_ERR_PERM] = CMD_EXIT_NOPERM,
		[CK_ERR_HOST] = CMD_EXIT_HOST,       [CK_ERR_BUSY] = CMD_EXIT_TRYLATER,
		[CK_ERR_CONFIG] = CMD_EXIT_CONFIG,   [CK_ERR_USAGE] = CMD_EXIT_USAGE,
		[CK_ERR_BUG] = CMD_EXIT_SOFTWARE,
	};
	char line[1200];

	ck_err_format(err, line, sizeof(line));
	cmd_safe(line);
	if (cmd_verbose)
		fprintf(stderr, "ckpt %s: %s [%s:%d]\n", sub, line, err->file, err->line);
	else
		fprintf(stderr, "ckpt %s: %s\n", sub, line);
	if (err->kind == CK_ERR_VERDICT)
		return err->code < 0 ? CMD_EXIT_SOFTWARE : err->code;
	if ((size_t)err->kind < CK_ARRAY_SIZE(status) && status[err->kind])
		return status[err->kind];
	return CMD_EXIT_SOFTWARE;
}

int main(int argc, char **argv)
{
	return cmd_run(argc, argv);
}
