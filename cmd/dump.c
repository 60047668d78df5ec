// SPDX-License-Identifier: Apache-2.0
/* ckpt dump: checkpoints a running tree of tasks. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "base/err.h"
#include "cmd/cmd.h"
#include "engine/engine.h"

int cmd_dump(const struct cmd_args *a)
{
	struct engine_dump_opts o = { .dir = cmd_value(a, "image") };
	struct engine_dump_stats stats;
	struct ck_err err = CK_ERR_INIT;
	long pid;

	if (!cmd_number(cmd_value(a, "tree"), 2, INT_MAX, &pid))
		return cmd_usage("dump", "not a process id: %s", cmd_value(a, "tree"));
	o.pid = (pid_t)pid;
	if (cmd_has(a, "leave-running"))
		o.flags |= ENGINE_LEAVE_RUNNING;
	if (cmd_has(a, "shell-job"))
		o.flags |= ENGINE_DUMP_SHELL_JOB;
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
