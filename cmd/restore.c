// SPDX-License-Identifier: Apache-2.0
/* ckpt restore: ends as the job ends. A fatal signal of the job becomes ours, without a core file.
 */
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/verdict.h"
#include "cmd/watch.h"
#include "engine/engine.h"
#include "fsmap/fsmap.h"
#include "image/image.h"
#include "image/stats.pb-c.h"
#include "policies/policies.h"

static void free_isa(CkptIsa *isa)
{
	ckpt_isa__free_unpacked(isa, NULL);
}

CK_DEFINE_AUTO(isa, CkptIsa *, free_isa);

struct restoring {
	struct cmd_watch watch;
	const char *stats; /* where to, or NULL */
};

static void on_note(void *arg, const char *text)
{
	struct restoring *r = arg;
	struct json_object *o = json_object_new_object();

	cmd_watch_say(&r->watch, "note: %s", text);
	json_object_object_add(o, "text", image_json_string(text));
	cmd_watch_event(&r->watch, "note", o);
}

static uint32_t usec(uint64_t ns)
{
	return ns / 1000 < UINT32_MAX ? (uint32_t)(ns / 1000) : UINT32_MAX;
}

/* The image stays as it is, so this file is elsewhere. The job runs: no failure any more. */
static void write_stats(struct restoring *r, const struct engine_restore_stats *s)
{
	RestoreStatsEntry restore = RESTORE_STATS_ENTRY__INIT;
	StatsEntry entry = STATS_ENTRY__INIT;
	struct ck_err err = CK_ERR_INIT;
	char line[1200];

	restore.pages_compared = s->compared;
	restore.pages_skipped_cow = s->kept;
	restore.forking_time = usec(s->forking_ns);
	restore.restore_time = usec(s->restore_ns);
	restore.has_pages_restored = 1;
	restore.pages_restored = s->pages;
	entry.restore = &restore;
	if (image_write_file(r->stats, IMAGE_STATS_RESTORE, &entry.base, &err) == 0)
		return;
	ck_err_format(&err, line, sizeof(line));
	cmd_watch_say(&r->watch, "the job runs, but: %s, ignoring", line);
}

static void on_running(void *arg, const struct engine_restore_stats *s)
{
	struct restoring *r = arg;
	struct json_object *o = json_object_new_object();

	if (cmd_verbose)
		cmd_watch_say(&r->watch, "task %d runs, after %.1f ms; pages: %llu (%.1f MiB)",
			      (int)s->pid, (double)s->restore_ns / 1e6,
			      (unsigned long long)s->pages, (double)s->pages / 256);
	cmd_watch_add(o, "pid", (uint64_t)s->pid);
	cmd_watch_add(o, "pages", s->pages);
	cmd_watch_add(o, "restore_us", s->restore_ns / 1000);
	cmd_watch_event(&r->watch, "running", o);
	if (r->stats)
		write_stats(r, s);
}

/* The job's end, or that it was left to itself, as the last event. */
static void tell_end(struct restoring *r, bool detached, int wait_status)
{
	struct json_object *o = json_object_new_object();
	int status = 0;

	if (!detached && WIFSIGNALED(wait_status)) {
		cmd_watch_add(o, "signal", (uint64_t)WTERMSIG(wait_status));
		status = 128 + WTERMSIG(wait_status);
	} else if (!detached) {
		status = WEXITSTATUS(wait_status);
	}
	(void)cmd_watch_end(&r->watch, status, o);
}

/* Ends this process as a wait status says. */
static int end_as(int status)
{
	int signo;
	sigset_t one;

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	signo = WTERMSIG(status);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(signo, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, signo);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	fflush(NULL);
	raise(signo);
	return 128 + signo;
}

static unsigned int flags(const struct cmd_args *a, struct policy *policy)
{
	unsigned int f = 0;
	const char *rule;

	if (cmd_has(a, "detach"))
		f |= ENGINE_DETACH;
	if (cmd_has(a, "no-inplace"))
		f |= ENGINE_NO_INPLACE;
	for (size_t i = 0; (rule = cmd_each(a, "override", &i));) {
		if (!strcmp(rule, "cpu.xsave.component"))
			f |= ENGINE_DROP_STATE;
		if (!strcmp(rule, "cpu.xsave.frame"))
			f |= ENGINE_DROP_FRAMES;
	}
	if (policy_allows(policy, "make-dirs"))
		f |= ENGINE_MAKE_DIRS;
	/* Either word gives the job the caller's terminal. */
	if (cmd_has(a, "shell-job") || policy_allows(policy, "shell-job")) {
		f |= ENGINE_RESTORE_SHELL_JOB;
		(void)policy_allow(policy, "shell-job", NULL);
	}
	return f;
}

int cmd_restore(const struct cmd_args *a)
{
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(policy) struct policy *policy = NULL;
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };
	CK_AUTO(isa) CkptIsa *isa = NULL;
	struct restoring r = { .stats = cmd_value(a, "stats") };
	struct engine_restore_opts o = { .on_note = on_note, .on_running = on_running, .arg = &r };
	struct ck_err err = CK_ERR_INIT;
	int status = cmd_verdict_policy(a, &policy), wait_status = 0;

	if (status == CMD_EXIT_OK)
		status = cmd_verdict_maps(a, &maps);
	if (status != CMD_EXIT_OK)
		return status;
	status = cmd_watch_start(&r.watch, a);
	if (status != CMD_EXIT_OK)
		return status;
	o.flags = flags(a, policy);
	o.watch = cmd_watch_engine(&r.watch);
	cmd_watch_stage(&r.watch, "verify");
	if (image_open(cmd_value(a, "image"), &img, &err) < 0)
		return cmd_watch_fail(&r.watch, &err);
	cmd_watch_stage(&r.watch, "check");
	status = cmd_verdict_refuses("restore", img, &maps, policy, &isa);
	if (status != CMD_EXIT_OK)
		return cmd_watch_end(&r.watch, status, NULL);
	o.image = img;
	o.isa = isa;
	o.maps = &maps;
	if (policy_allows(policy, "rollback-files"))
		o.files = ENGINE_FILES_ROLLBACK;
	else if (policy_allows(policy, "keep-files"))
		o.files = ENGINE_FILES_KEEP;
	o.map_mode = maps.bind ? ENGINE_MAP_BIND : ENGINE_MAP_REWRITE;
	if (engine_restore(&o, &wait_status, &err) < 0)
		return cmd_watch_fail(&r.watch, &err);
	tell_end(&r, o.flags & ENGINE_DETACH, wait_status);
	return o.flags & ENGINE_DETACH ? CMD_EXIT_OK : end_as(wait_status);
}
