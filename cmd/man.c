// SPDX-License-Identifier: Apache-2.0
/* The manual pages, in the language of scdoc(5). `make man` makes them. */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/help.h"

/* Plain text from the table, with what scdoc would take for markup escaped. */
static void print_text(const char *s)
{
	for (; *s; s++) {
		if (strchr("\\*_#[]|+<>-.'`~", *s))
			putchar('\\');
		putchar(*s);
	}
}

static void print_head(const char *text)
{
	printf("\n# %s\n\n", text);
}

/* "*--image* _DIR_" */
static void print_option(const struct cmd_option *o, bool letter)
{
	if (letter)
		printf("*\\-%c*", o->letter);
	else
		fputs("*\\-\\-", stdout), print_text(o->name), putchar('*');
	if (!o->value)
		return;
	fputs(" _", stdout);
	print_text(o->value);
	putchar('_');
}

static void print_options(const struct cmd_option *o, size_t n)
{
	for (; n > 0; n--, o++) {
		if (o->flags & CMD_HIDDEN)
			continue;
		if (o->letter)
			printf("*\\-%c*, ", o->letter);
		print_option(o, false);
		fputs("\n\t", stdout);
		print_text(o->help);
		fputs("\n\n", stdout);
	}
}

static void print_synopsis(const struct cmd *c)
{
	printf("*ckpt %s*", c->name);
	for (size_t i = 0; i < c->n_options; i++)
		if (c->options[i].flags & CMD_REQUIRED) {
			putchar(' ');
			print_option(&c->options[i], c->options[i].letter != 0);
		}
	fputs(" \\[_OPTION_\\]...", stdout);
	if (c->operands) {
		putchar(' ');
		print_text(c->operands);
	}
	putchar('\n');
}

static void print_statuses(void)
{
	print_head("EXIT STATUS");
	for (size_t i = 0; i < cmd_statuses_len; i++) {
		printf("*%d*\n\t", cmd_statuses[i].status);
		print_text(cmd_statuses[i].meaning);
		fputs("\n\n", stdout);
	}
}

static void print_main(void)
{
	printf("ckpt(1)\n\n# NAME\n\nckpt - checkpoint, check and restore running jobs\n");
	print_head("SYNOPSIS");
	puts("*ckpt* \\[_OPTION_\\]... _COMMAND_ ...");
	print_head("DESCRIPTION");
	puts("Takes a running job, writes it to a directory, and lets it go on from there: later, "
	     "or on another host. Before a restore it tells whether the host can take the job, "
	     "and why not.");
	print_head("COMMANDS");
	for (size_t i = 0; i < cmd_table_len; i++) {
		printf("*ckpt\\-%s*(1)\n\t", cmd_table[i].name);
		print_text(cmd_table[i].summary);
		fputs("\n\n", stdout);
	}
	print_head("OPTIONS");
	puts("All commands take them, and they may stand before the command's name.\n");
	print_options(cmd_globals, cmd_globals_len);
	print_statuses();
	puts("A _restore_ in the foreground returns the job's own status once the job runs.");
}

static void print_page(const struct cmd *c)
{
	printf("ckpt-%s(1)\n\n# NAME\n\nckpt-%s - ", c->name, c->name);
	print_text(c->summary);
	putchar('\n');
	print_head("SYNOPSIS");
	print_synopsis(c);
	print_head("DESCRIPTION");
	print_text(c->about);
	putchar('\n');
	print_head("OPTIONS");
	print_options(c->options, c->n_options);
	puts("*ckpt*(1) has the options of all commands.");
	if (c->examples) {
		print_head("EXAMPLES");
		printf("```\n%s```\n", c->examples);
	}
	print_head("EXIT STATUS");
	puts("0 if all is well; *ckpt*(1) lists the others.");
	print_head("SEE ALSO");
	fputs("*ckpt*(1)", stdout);
	for (size_t i = 0; i < cmd_table_len; i++)
		if (&cmd_table[i] != c)
			printf(", *ckpt\\-%s*(1)", cmd_table[i].name);
	putchar('\n');
}

void cmd_print_scdoc(const struct cmd *c)
{
	if (c)
		print_page(c);
	else
		print_main();
}
