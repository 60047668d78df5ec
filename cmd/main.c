// SPDX-License-Identifier: Apache-2.0
/* main(): finds the subcommand. The table below is the only list of them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"

int cmd_verbose;

static int cmd_help(int argc, char **argv);

static const struct cmd cmds[] = {
	{ "check",
	  "--image DIR [--host FILE] [--format text|json] [--all] [--allow ACTION] "
	  "[--allow-undecided]",
	  "tell whether an image can be restored here, or on the host of a profile", cmd_check },
	{ "probe", "[-o FILE]", "print what this host is, as JSON", cmd_probe },
	{ "show", "--image DIR [NAME] [--format text|json]", "list or decode the files of an image",
	  cmd_show },
	{ "dump", "-t PID --image DIR [--leave-running] [--shell-job]",
	  "checkpoint a running tree of tasks", cmd_dump },
	{ "restore",
	  "--image DIR [--detach] [--shell-job] [--no-inplace] [--allow ACTION] "
	  "[--allow-undecided]",
	  "restore a tree of tasks, and end as it ends", cmd_restore },
	{ "help", "", "print this text", cmd_help },
};

static const struct cmd *find(const char *name)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(cmds); i++)
		if (!strcmp(cmds[i].name, name))
			return &cmds[i];
	return NULL;
}

static void usage(FILE *f)
{
	fprintf(f, "usage: ckpt [-v] COMMAND ...\n\n");
	for (size_t i = 0; i < CK_ARRAY_SIZE(cmds); i++)
		fprintf(f, "  ckpt %-8s %s\n      %s\n", cmds[i].name, cmds[i].synopsis,
			cmds[i].summary);
}

static int cmd_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	usage(stdout);
	return CMD_EXIT_OK;
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

int cmd_usage(const char *sub, const char *fmt, ...)
{
	const struct cmd *c = find(sub);
	va_list ap;

	fprintf(stderr, "ckpt %s: ", sub);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage: ckpt %s %s\n", sub, c ? c->synopsis : "...");
	return CMD_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const struct cmd *c;
	int i = 1;

	while (i < argc && !strcmp(argv[i], "-v")) {
		cmd_verbose = 1;
		i++;
	}
	if (i < argc && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
		usage(stdout);
		return CMD_EXIT_OK;
	}
	c = i < argc ? find(argv[i]) : NULL;
	if (!c) {
		if (i < argc)
			fprintf(stderr, "ckpt: no such command: %s\n", argv[i]);
		usage(stderr);
		return CMD_EXIT_USAGE;
	}
	return c->run(argc - i, argv + i);
}
