// SPDX-License-Identifier: Apache-2.0
/* ckpt dump: checkpoints a running tree of tasks. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "cmd/cmd.h"
#include "engine/engine.h"

static const struct option options[] = {
	{ "tree", required_argument, NULL, 't' },
	{ "image", required_argument, NULL, 'i' },
	{ "leave-running", no_argument, NULL, 'R' },
	{ "shell-job", no_argument, NULL, 'j' },
	{ NULL, 0, NULL, 0 },
};

static int parse_pid(const char *s, pid_t *ret)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(s, &end, 10);
	if (errno || end == s || *end || v <= 1 || v > INT_MAX)
		return -EINVAL;
	*ret = (pid_t)v;
	return 0;
}

int cmd_dump(int argc, char **argv)
{
	struct engine_dump_opts o = { .pid = 0 };
	struct engine_dump_stats stats;
	struct ck_err err = CK_ERR_INIT;
	int c;

	while ((c = getopt_long(argc, argv, "t:Rj", options, NULL)) != -1) {
		switch (c) {
		case 't':
			if (parse_pid(optarg, &o.pid) < 0)
				return cmd_usage("dump", "not a process id: %s", optarg);
			break;
		case 'i':
			o.dir = optarg;
			break;
		case 'R':
			o.flags |= ENGINE_LEAVE_RUNNING;
			break;
		case 'j':
			o.flags |= ENGINE_DUMP_SHELL_JOB;
			break;
		default:
			return cmd_usage("dump", "unknown option");
		}
	}
	if (optind < argc)
		return cmd_usage("dump", "unexpected argument: %s", argv[optind]);
	if (!o.pid || !o.dir)
		return cmd_usage("dump", "-t PID and --image DIR are needed");
	/* A file size limit of ours is an error of the dump, not the end of ckpt. */
	signal(SIGXFSZ, SIG_IGN);
	if (engine_dump(&o, &stats, &err) < 0)
		return cmd_fail("dump", &err);
	if (stats.sums.kind != CK_ERR_NONE) {
		char line[1200];

		ck_err_format(&stats.sums, line, sizeof(line));
		fprintf(stderr, "ckpt dump: no page checksums: %s, ignoring\n", line);
	}
	if (cmd_verbose)
		fprintf(stderr,
			"ckpt dump: %llu tasks, %llu threads, %llu pages; frozen %.1f ms of %.1f "
			"ms\n",
			(unsigned long long)stats.tasks, (unsigned long long)stats.threads,
			(unsigned long long)stats.pages, (double)stats.frozen_ns / 1e6,
			(double)stats.total_ns / 1e6);
	return CMD_EXIT_OK;
}
