/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. cmd/table.c lists every command and option once; parsing, --help, man pages and
 * completion come from there. A command is a row in it and a file with its run(). Only cmd/ prints
 * or exits.
 */
#ifndef CK_CMD_CMD_H
#define CK_CMD_CMD_H

#include <stdbool.h>
#include <stddef.h>

struct ck_err;

/* Exit statuses; sysexits.h from 64 on. Schedulers and shells own 99, 100, 125-127, 254, 255. */
enum cmd_exit {
	CMD_EXIT_OK = 0,
	CMD_EXIT_INCOMPATIBLE = 20,
	CMD_EXIT_ACTIONS = 21,
	CMD_EXIT_UNDECIDED = 22,
	CMD_EXIT_USAGE = 64,
	CMD_EXIT_DATA = 65, /* corrupt image */
	CMD_EXIT_NOIMAGE = 66,
	CMD_EXIT_HOST = 69,     /* this host can't */
	CMD_EXIT_SOFTWARE = 70, /* a bug of ours */
	CMD_EXIT_OS = 71,       /* a system call failed */
	CMD_EXIT_TRYLATER = 75,
	CMD_EXIT_NOPERM = 77,
	CMD_EXIT_CONFIG = 78,
};

/* ---- cmd/table.c: plain text only; whoever prints it wraps and escapes ---- */
/* What an option takes: completion proposes it. */
enum cmd_kind {
	CMD_FLAG, /* nothing */
	CMD_TEXT,
	CMD_DIR,
	CMD_FILE,
	CMD_PID,
	CMD_COMMAND, /* the name of one of ours */
	CMD_WORD,    /* one of the words in .value, "text|json"; anything else is a usage error */
};

enum cmd_option_flags {
	CMD_REQUIRED = 1 << 0,
	CMD_REPEAT = 1 << 1, /* every one counts, not the last: cmd_each() */
	CMD_HIDDEN = 1 << 2, /* for building and testing */
};

struct cmd_option {
	const char *name;  /* without dashes */
	char letter;       /* -x; 0: none */
	const char *value; /* what its value is called; NULL for CMD_FLAG */
	enum cmd_kind kind;
	unsigned int flags;
	const char *help; /* lower case, no full stop at the end */
};

struct cmd_args;

struct cmd {
	const char *name;
	const char *summary;  /* one line */
	const char *about;    /* paragraphs; an empty line between two */
	const char *operands; /* as in a synopsis; NULL: takes none */
	size_t min_operands, max_operands;
	enum cmd_kind operand_kind; /* for completion, as is words: "list|show" */
	const char *words;
	const struct cmd_option *options;
	size_t n_options;
	const char *examples;                 /* lines */
	int (*run)(const struct cmd_args *a); /* returns the exit status */
};

struct cmd_status {
	enum cmd_exit status;
	const char *meaning;
};

extern const struct cmd cmd_table[];
extern const size_t cmd_table_len;
extern const struct cmd_option cmd_globals[]; /* every command takes them, also before its name */
extern const size_t cmd_globals_len;
extern const struct cmd_status cmd_statuses[];
extern const size_t cmd_statuses_len;

const struct cmd *cmd_find(const char *name); /* NULL: none */

int cmd_check(const struct cmd_args *a);
int cmd_dump(const struct cmd_args *a);
int cmd_explain(const struct cmd_args *a);
int cmd_help(const struct cmd_args *a);
int cmd_match(const struct cmd_args *a);
int cmd_map(const struct cmd_args *a);
int cmd_policy(const struct cmd_args *a);
int cmd_probe(const struct cmd_args *a);
int cmd_report(const struct cmd_args *a);
int cmd_restore(const struct cmd_args *a);
int cmd_show(const struct cmd_args *a);

/*
 * ---- cmd/args.c ----
 * What run() gets. Required options are there, words are among those allowed, and the number of
 * operands fits. Names are those of the command's own rows; another one is a bug, and aborts.
 */
struct cmd_args {
	const struct cmd *cmd;
	const struct cmd_given *given; /* in their order */
	size_t n_given;
	char *const *operands;
	size_t n_operands;
};

bool cmd_has(const struct cmd_args *a, const char *name);
/* The value of an option, the last one if there are several; NULL: not given. */
const char *cmd_value(const struct cmd_args *a, const char *name);
/* One after the other: *i starts at 0; NULL after the last. */
const char *cmd_each(const struct cmd_args *a, const char *name, size_t *i);
/* A decimal number from min to max; false: it is none. */
bool cmd_number(const char *text, long min, long max, long *ret);

/* Everything from argv on: global options, the command, what is its own. Returns the exit status.
 */
int cmd_run(int argc, char **argv);

/* ---- cmd/main.c, cmd/help.c: what is said to the user ---- */
extern int cmd_verbose; /* how many -v */

/* Names of files and tasks may hold what a terminal obeys: replaces it in place; returns line. */
char *cmd_safe(char *line);
/* Prints "ckpt SUB: what: errno (where); hint" once and returns the exit status of err->kind. */
int cmd_fail(const char *sub, const struct ck_err *err);
/* Prints a usage error and returns CMD_EXIT_USAGE; sub may be NULL. */
int cmd_usage(const char *sub, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The help of a command, or of ckpt for NULL, to standard output; returns the exit status. */
int cmd_print_help(const struct cmd *c);

#endif
