// SPDX-License-Identifier: Apache-2.0
/* ckpt dump: checkpoints a running tree of tasks. */
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/watch.h"
#include "engine/engine.h"

static struct json_object *numbers(const struct engine_dump_stats *s)
{
	struct json_object *o = json_object_new_object();

	cmd_watch_add(o, "tasks", s->tasks);
	cmd_watch_add(o, "threads", s->threads);
	cmd_watch_add(o, "pages", s->pages + s->shared_pages);
	cmd_watch_add(o, "freezing_us", s->freezing_ns / 1000);
	cmd_watch_add(o, "frozen_us", s->frozen_ns / 1000);
	cmd_watch_add(o, "total_us", s->total_ns / 1000);
	return o;
}

static void say_done(struct cmd_watch *w, const struct engine_dump_stats *s, const char *dir)
{
	uint64_t pages = s->pages + s->shared_pages;
	char line[1200];

	if (s->late.kind != CK_ERR_NONE) {
		ck_err_format(&s->late, line, sizeof(line));
		cmd_watch_say(w, "the image is whole, but: %s, ignoring", line);
	}
	if (cmd_verbose || w->terminal)
		cmd_watch_say(w,
			      "%s: tasks: %llu, threads: %llu, pages: %llu (%.1f MiB); the job "
			      "stood still for %.1f ms of %.1f ms",
			      dir, (unsigned long long)s->tasks, (unsigned long long)s->threads,
			      (unsigned long long)pages, (double)pages / 256,
			      (double)s->frozen_ns / 1e6, (double)s->total_ns / 1e6);
}

/* The value of --tcp, --unix or --pipe. */
static enum engine_outside outside(const struct cmd_args *a, const char *option)
{
	const char *v = cmd_value(a, option);

	if (!v || !strcmp(v, "refuse"))
		return ENGINE_OUTSIDE_REFUSE;
	return strcmp(v, "reset") ? ENGINE_OUTSIDE_CLOSE : ENGINE_OUTSIDE_RESET;
}

int cmd_dump(const struct cmd_args *a)
{
	struct engine_dump_opts o = { .dir = cmd_value(a, "image") };
	struct engine_dump_stats stats;
	struct ck_err err = CK_ERR_INIT;
	struct cmd_watch w;
	long pid;
	int r;

	if (!cmd_number(cmd_value(a, "tree"), 2, INT_MAX, &pid))
		return cmd_usage("dump", "not a process id: %s", cmd_value(a, "tree"));
	r = cmd_watch_start(&w, a);
	if (r != CMD_EXIT_OK)
		return r;
	o.pid = (pid_t)pid;
	o.watch = cmd_watch_engine(&w);
	if (cmd_has(a, "leave-running"))
		o.flags |= ENGINE_LEAVE_RUNNING;
	if (cmd_has(a, "shell-job"))
		o.flags |= ENGINE_DUMP_SHELL_JOB;
	o.tcp = outside(a, "tcp");
	o.unix_sockets = outside(a, "unix");
	o.pipes = outside(a, "pipe");
	/* A file size limit of ours is an error of the dump, not the end of ckpt. */
	signal(SIGXFSZ, SIG_IGN);
	if (engine_dump(&o, &stats, &err) < 0)
		return cmd_watch_fail(&w, &err);
	say_done(&w, &stats, o.dir);
	return cmd_watch_end(&w, CMD_EXIT_OK, numbers(&stats));
}
