// SPDX-License-Identifier: Apache-2.0
/* --help, ckpt help, and what is said of a wrong command line. */
#include "cmd/help.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cmd/cmd.h"

enum { WIDTH = 80, OPTION_INDENT = 26, COMMAND_INDENT = 12 };

/* Paragraphs, each line behind indent blanks; the first one stands where the caller is. */
static void print_wrapped(const char *text, int indent)
{
	int column = indent, len;

	while (*text) {
		if (*text == '\n') {
			printf("\n\n%*s", indent, "");
			column = indent;
			text += strspn(text, "\n");
		}
		len = (int)strcspn(text, " \n");
		if (column > indent && column + 1 + len > WIDTH) {
			printf("\n%*s", indent, "");
			column = indent;
		}
		column += printf("%s%.*s", column > indent ? " " : "", len, text);
		text += len;
		text += strspn(text, " ");
	}
	putchar('\n');
}

/* What can't be left out, then "[OPTION]..." and the operands. */
static void print_synopsis(FILE *f, const struct cmd *c)
{
	const struct cmd_option *o;

	fprintf(f, "usage: ckpt %s", c ? c->name : "[OPTION]... COMMAND ...");
	for (size_t i = 0; c && i < c->n_options; i++) {
		o = &c->options[i];
		if (!(o->flags & CMD_REQUIRED))
			continue;
		if (o->letter)
			fprintf(f, " -%c %s", o->letter, o->value);
		else
			fprintf(f, " --%s %s", o->name, o->value);
	}
	if (c)
		fprintf(f, " [OPTION]...%s%s", c->operands ? " " : "",
			c->operands ? c->operands : "");
	fputc('\n', f);
}

static void print_options(const struct cmd_option *o, size_t n)
{
	for (; n > 0; n--, o++) {
		int column = 6;

		if (o->flags & CMD_HIDDEN)
			continue;
		if (o->letter)
			printf("  -%c, ", o->letter);
		else
			fputs("      ", stdout);
		column += printf("--%s", o->name);
		if (o->value)
			column += printf(" %s", o->value);
		if (column >= OPTION_INDENT) {
			putchar('\n');
			column = 0;
		}
		printf("%*s", OPTION_INDENT - column, "");
		print_wrapped(o->help, OPTION_INDENT);
	}
}

static void print_commands(void)
{
	puts("\nCheckpoints a running job, tells whether a host can take it, and restores it.\n");
	for (size_t i = 0; i < cmd_table_len; i++) {
		printf("  %-*s", COMMAND_INDENT - 2, cmd_table[i].name);
		print_wrapped(cmd_table[i].summary, COMMAND_INDENT);
	}
	puts("\nOptions of all commands:");
	print_options(cmd_globals, cmd_globals_len);
	puts("\nckpt COMMAND --help and ckpt-COMMAND(1) say more.");
}

static int written(void)
{
	struct ck_err err = CK_ERR_INIT;

	if (fflush(stdout) == 0)
		return CMD_EXIT_OK;
	(void)ck_fail_errno(&err, "cannot write the output");
	return cmd_fail("help", &err);
}

int cmd_print_help(const struct cmd *c)
{
	print_synopsis(stdout, c);
	if (!c) {
		print_commands();
		return written();
	}
	putchar('\n');
	print_wrapped(c->about, 0);
	putchar('\n');
	print_options(c->options, c->n_options);
	print_options(cmd_globals, cmd_globals_len);
	return written();
}

int cmd_usage(const char *sub, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "ckpt%s%s: ", sub ? " " : "", sub ? sub : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	print_synopsis(stderr, sub ? cmd_find(sub) : NULL);
	fprintf(stderr, "       ckpt%s%s --help tells more\n", sub ? " " : "", sub ? sub : "");
	return CMD_EXIT_USAGE;
}

/* "COMMAND" and "COMMAND --OPTION" lines, for tests and the Makefile. */
static void print_list(void)
{
	for (size_t i = 0; i < cmd_table_len; i++) {
		const struct cmd *c = &cmd_table[i];

		puts(c->name);
		for (size_t j = 0; j < c->n_options; j++)
			if (!(c->options[j].flags & CMD_HIDDEN))
				printf("%s --%s\n", c->name, c->options[j].name);
	}
}

int cmd_help(const struct cmd_args *a)
{
	const char *format = cmd_value(a, "format");
	const struct cmd *c = NULL;

	if (a->n_operands) {
		c = cmd_find(a->operands[0]);
		if (!c)
			return cmd_usage("help", "no such command: %s", a->operands[0]);
	}
	if (!format || !strcmp(format, "text"))
		return cmd_print_help(c);
	if (!strcmp(format, "scdoc"))
		cmd_print_scdoc(c);
	else if (!strcmp(format, "bash"))
		cmd_print_bash();
	else
		print_list();
	return written();
}
