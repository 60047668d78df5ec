/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: a file per subcommand, a row each in cmd/main.c. Only cmd/ prints or exits. */
#ifndef CK_CMD_CMD_H
#define CK_CMD_CMD_H

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

struct cmd {
	const char *name;
	const char *synopsis;
	const char *summary;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand; returns the exit status */
};

int cmd_dump(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_show(int argc, char **argv);

/* Prints "ckpt SUB: what: errno (where); hint" once and returns the exit status of err->kind. */
int cmd_fail(const char *sub, const struct ck_err *err);
/* Prints a usage error for the subcommand and returns CMD_EXIT_USAGE. */
int cmd_usage(const char *sub, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

extern int cmd_verbose; /* -v before the subcommand */

#endif
