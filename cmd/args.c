// SPDX-License-Identifier: Apache-2.0
/*
 * Command lines, by the table: what is wrong in them is said here, with what was probably meant.
 * getopt_long() does the reading, so --opt=VALUE, --opt VALUE, -oVALUE, bundles and -- are as
 * everywhere. Global options may stand before the command and behind it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "cmd/cmd.h"

struct cmd_given {
	const struct cmd_option *option;
	const char *value; /* "" for a flag */
};

/* getopt_long() answers LONG + index for a long option; one without a command has only globals. */
enum { LONG = 256, GO_ON = -1 };

static const struct cmd_option *option_at(const struct cmd *c, size_t i)
{
	size_t own = c ? c->n_options : 0;

	if (i < own)
		return &c->options[i];
	return i - own < cmd_globals_len ? &cmd_globals[i - own] : NULL;
}

static const struct cmd_option *by_letter(const struct cmd *c, int letter)
{
	const struct cmd_option *o;

	for (size_t i = 0; (o = option_at(c, i)); i++)
		if (o->letter == letter)
			return o;
	return NULL;
}

const struct cmd *cmd_find(const char *name)
{
	for (size_t i = 0; i < cmd_table_len; i++)
		if (!strcmp(cmd_table[i].name, name))
			return &cmd_table[i];
	return NULL;
}

/* ---- what was probably meant ---- */
static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be changed, added, removed, or swapped with their neighbour. */
static size_t distance(const char *a, const char *b)
{
	enum { MAX = 32 };
	size_t la = strlen(a), lb = strlen(b), d[MAX + 1][MAX + 1] = { { 0 } };

	if (la > MAX || lb > MAX)
		return MAX;
	for (size_t i = 0; i <= la; i++)
		for (size_t j = 0; j <= lb; j++) {
			if (i == 0 || j == 0) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	return d[la][lb];
}

/* Keeps in *best the name that is nearest to text, if it is near at all. */
static void nearer(const char *text, const char *name, const char **best, size_t *best_distance)
{
	size_t d = distance(text, name), len = strlen(text);

	/* A third of the letters may be wrong. */
	if (d < *best_distance && 3 * d <= (len < 3 ? 3 : len + 1)) {
		*best = name;
		*best_distance = d;
	}
}

static int no_such_command(const char *text)
{
	const char *best = NULL;
	size_t d = SIZE_MAX;

	for (size_t i = 0; i < cmd_table_len; i++)
		nearer(text, cmd_table[i].name, &best, &d);
	if (best)
		return cmd_usage(NULL, "no such command: %s; did you mean %s?", text, best);
	return cmd_usage(NULL, "no such command: %s", text);
}

/* A long option, as written, that none is, or more than one. */
static int no_such_option(const struct cmd *c, const char *text)
{
	const char *name = text + strspn(text, "-"), *best = NULL, *first = NULL;
	const char *sub = c ? c->name : NULL;
	char word[40];
	size_t d = SIZE_MAX;
	const struct cmd_option *o;

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(name, "="), name);
	for (size_t i = 0; (o = option_at(c, i)); i++) {
		if (o->flags & CMD_HIDDEN)
			continue;
		if (!strncmp(o->name, word, strlen(word)) && *word) {
			if (first)
				return cmd_usage(sub, "--%s may be --%s or --%s", word, first,
						 o->name);
			first = o->name;
		}
		nearer(word, o->name, &best, &d);
	}
	if (best)
		return cmd_usage(sub, "no such option: --%s; did you mean --%s?", word, best);
	return cmd_usage(sub, "no such option: --%s", word);
}

/* What getopt_long() complains of; word is the argument that it has just read. */
static int complain(const struct cmd *c, int answer, const char *word)
{
	const struct cmd_option *o = NULL;
	const char *sub = c ? c->name : NULL;

	if (optopt >= LONG)
		o = option_at(c, (size_t)optopt - LONG);
	else if (optopt)
		o = by_letter(c, optopt);
	if (answer == ':' && o)
		return cmd_usage(sub, "--%s needs a value: --%s %s", o->name, o->name, o->value);
	if (o)
		return cmd_usage(sub, "--%s takes no value", o->name);
	if (optopt)
		return cmd_usage(sub, "no such option: -%c", optopt);
	return no_such_option(c, word);
}

/* ---- reading ---- */
static bool is_word(const char *words, const char *text)
{
	size_t len = strlen(text);

	for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|')
		if (len && strcspn(w, "|") == len && !strncmp(w, text, len))
			return true;
	return false;
}

static int take(struct cmd_args *a, struct cmd_given *given, const struct cmd_option *o)
{
	const char *sub = a->cmd ? a->cmd->name : NULL;

	if (o >= cmd_globals && o < cmd_globals + cmd_globals_len) {
		if (o->letter == 'v')
			cmd_verbose++;
		return o->letter == 'h' ? cmd_print_help(a->cmd) : GO_ON;
	}
	if (o->kind != CMD_FLAG && !*optarg)
		return cmd_usage(sub, "--%s needs a value: --%s %s", o->name, o->name, o->value);
	if (o->kind == CMD_WORD && !is_word(o->value, optarg))
		return cmd_usage(sub, "--%s %s: it takes %s", o->name, optarg, o->value);
	given[a->n_given].option = o;
	given[a->n_given++].value = o->kind == CMD_FLAG ? "" : optarg;
	return GO_ON;
}

/* Reads options until none is left, or, without a command, until there is one. */
static int read_options(struct cmd_args *a, struct cmd_given *given, int argc, char **argv)
{
	struct option options[40] = { 0 };
	char letters[2 * CK_ARRAY_SIZE(options) + 3], *l = letters;
	const struct cmd_option *o;
	int answer, r = GO_ON;

	if (!a->cmd)
		*l++ = '+';
	*l++ = ':';
	for (size_t i = 0; (o = option_at(a->cmd, i)); i++) {
		if (i + 1 >= CK_ARRAY_SIZE(options))
			abort();
		options[i].name = o->name;
		options[i].has_arg = o->kind == CMD_FLAG ? no_argument : required_argument;
		options[i].val = LONG + (int)i;
		if (o->letter)
			*l++ = o->letter;
		if (o->letter && o->kind != CMD_FLAG)
			*l++ = ':';
	}
	*l = '\0';
	optind = 0; /* the GNU way to start afresh */
	opterr = 0;
	while (r == GO_ON && (answer = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (answer == '?' || answer == ':')
			return complain(a->cmd, answer, argv[optind - 1]);
		o = answer >= LONG ? option_at(a->cmd, (size_t)(answer - LONG))
				   : by_letter(a->cmd, answer);
		if (!o)
			abort();
		r = take(a, given, o);
	}
	return r;
}

/* What the command can't do without. */
static int check_args(const struct cmd_args *a)
{
	const struct cmd *c = a->cmd;
	const struct cmd_option *o;

	for (size_t i = 0; i < c->n_options; i++) {
		o = &c->options[i];
		if (o->flags & CMD_REQUIRED && !cmd_has(a, o->name))
			return cmd_usage(c->name, "--%s %s is missing", o->name, o->value);
	}
	if (a->n_operands > c->max_operands)
		return cmd_usage(c->name, "unexpected argument: %s", a->operands[c->max_operands]);
	if (a->n_operands < c->min_operands)
		return cmd_usage(c->name, "%s is missing", c->operands);
	return GO_ON;
}

int cmd_run(int argc, char **argv)
{
	struct cmd_args a = { .cmd = NULL };
	CK_AUTO(free) struct cmd_given *given = calloc((size_t)argc + 1, sizeof(*given));
	int r;

	if (!given) {
		fprintf(stderr, "ckpt: %s\n", strerror(ENOMEM));
		return CMD_EXIT_OS;
	}
	r = read_options(&a, given, argc, argv);
	if (r != GO_ON)
		return r;
	if (optind >= argc)
		return cmd_usage(NULL, "which command?");
	argc -= optind;
	argv += optind;
	a.cmd = cmd_find(argv[0]);
	if (!a.cmd)
		return no_such_command(argv[0]);
	a.given = given;
	r = read_options(&a, given, argc, argv);
	if (r != GO_ON)
		return r;
	a.operands = argv + optind;
	a.n_operands = (size_t)(argc - optind);
	r = check_args(&a);
	return r == GO_ON ? a.cmd->run(&a) : r;
}

/* ---- asking ---- */
static bool has_row(const struct cmd *c, const char *name)
{
	for (size_t i = 0; i < c->n_options; i++)
		if (!strcmp(c->options[i].name, name))
			return true;
	return false;
}

const char *cmd_each(const struct cmd_args *a, const char *name, size_t *i)
{
	if (!has_row(a->cmd, name))
		abort();
	while (*i < a->n_given) {
		const struct cmd_given *g = &a->given[(*i)++];

		if (!strcmp(g->option->name, name))
			return g->value;
	}
	return NULL;
}

const char *cmd_value(const struct cmd_args *a, const char *name)
{
	const char *v, *last = NULL;
	size_t i = 0;

	while ((v = cmd_each(a, name, &i)))
		last = v;
	return last;
}

bool cmd_has(const struct cmd_args *a, const char *name)
{
	return cmd_value(a, name) != NULL;
}

bool cmd_number(const char *text, long min, long max, long *ret)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < min || v > max)
		return false;
	*ret = v;
	return true;
}
