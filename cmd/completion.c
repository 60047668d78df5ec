// SPDX-License-Identifier: Apache-2.0
/*
 * Completion for bash, as one function that needs nothing but bash itself. What it proposes depends
 * on the command and on the word before: the values of an option, the operands, the options.
 */
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/help.h"

static const char head[] =
	"# SPDX-License-Identifier: Apache-2.0\n"
	"# Completion for ckpt, made by ckpt itself from its table of options.\n"
	"_ckpt() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
	"\tlocal cmd='' words='' i\n"
	"\n"
	"\tCOMPREPLY=()\n"
	"\t# bash takes --opt=value for three words\n"
	"\tif [[ $cur == = ]]; then\n"
	"\t\tcur=\n"
	"\telif [[ $prev == = ]]; then\n"
	"\t\tprev=${COMP_WORDS[COMP_CWORD - 2]}\n"
	"\tfi\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\t[[ ${COMP_WORDS[i]} == -* ]] || {\n"
	"\t\t\tcmd=${COMP_WORDS[i]}\n"
	"\t\t\tbreak\n"
	"\t\t}\n"
	"\tdone\n";

static const char tail[] = "}\n"
			   "complete -F _ckpt ckpt\n";

#define MATCH "\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")"

static void print_words(const char *words)
{
	for (; *words; words++)
		putchar(*words == '|' ? ' ' : *words);
}

static void print_commands(void)
{
	for (size_t i = 0; i < cmd_table_len; i++)
		printf("%s%s", i ? " " : "", cmd_table[i].name);
}

static void print_options(const struct cmd_option *o, size_t n)
{
	for (; n > 0; n--, o++)
		if (!(o->flags & CMD_HIDDEN))
			printf(" --%s", o->name);
}

/* What may stand for an option's value or an operand: a branch of a case. */
static void print_values(enum cmd_kind kind, const char *words)
{
	fputs(")\n", stdout);
	switch (kind) {
	case CMD_DIR:
	case CMD_FILE:
		printf("\t\tcompopt -o filenames 2>/dev/null\n"
		       "\t\tmapfile -t COMPREPLY < <(compgen -%c -- \"$cur\")\n",
		       kind == CMD_DIR ? 'd' : 'f');
		break;
	case CMD_PID:
		puts("\t\twords=$(cd /proc && echo [0-9]*)\n" MATCH);
		break;
	case CMD_COMMAND:
		fputs("\t\twords='", stdout);
		print_commands();
		puts("'\n" MATCH);
		break;
	default:
		if (!words)
			break;
		fputs("\t\twords='", stdout);
		print_words(words);
		puts("'\n" MATCH);
	}
	puts("\t\treturn\n\t\t;;");
}

void cmd_print_bash(void)
{
	fputs(head, stdout);
	puts("\tcase $cmd:$prev in");
	for (size_t i = 0; i < cmd_table_len; i++) {
		const struct cmd *c = &cmd_table[i];

		for (size_t j = 0; j < c->n_options; j++) {
			const struct cmd_option *o = &c->options[j];

			if (o->kind == CMD_FLAG || o->flags & CMD_HIDDEN)
				continue;
			printf("\t%s:--%s", c->name, o->name);
			if (o->letter)
				printf(" | %s:-%c", c->name, o->letter);
			print_values(o->kind, o->kind == CMD_WORD ? o->value : NULL);
		}
	}
	puts("\tesac\n"
	     "\tcase $cmd:$cur in");
	for (size_t i = 0; i < cmd_table_len; i++) {
		const struct cmd *c = &cmd_table[i];

		printf("\t%s:-*) words='", c->name);
		print_options(c->options, c->n_options);
		puts("' ;;");
		if (!c->max_operands)
			continue;
		printf("\t%s:*", c->name);
		print_values(c->operand_kind, c->words);
	}
	fputs("\t:-*) ;;\n\t:*) words='", stdout);
	print_commands();
	puts("' ;;\n\tesac");
	fputs("\t[[ $cur != -* ]] || words+='", stdout);
	print_options(cmd_globals, cmd_globals_len);
	puts("'\n"
	     "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")");
	fputs(tail, stdout);
}
