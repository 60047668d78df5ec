// SPDX-License-Identifier: Apache-2.0
/*
 * A dump, from the first stop to the last release.
 *
 *   open      the image's directory is prepared; nothing has happened to the job
 *   freeze    all threads stand in ptrace stops; if we die, they go on
 *   look      /proc and ptrace; what can't be kept is refused here
 *   inject    a blob waits in every thread; if we die, it goes back by itself
 *   write     everything is in the image's files; there is no image yet
 *   leave running:  eject, thaw, then commit: a job that runs on needs no durable image
 *   kill:           commit, then doom (whoever is left alone now ends itself), then kill
 *
 * Every error before the commit takes the way back: eject, thaw, and the files are removed.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/auto.h"
#include "engine/dump.h"
#include "engine/out.h"
#include "engine/watch.h"
#include "image/stats.pb-c.h"
#include "isa/isa.h"
#include "probe/probe.h"

enum {
	BUSY_PATIENCE_NS =
		2000000000,       /* for what is in the way at the moment, all tries together */
	BUSY_PAUSE_NS = 10000000, /* between two of them */
};

/* SIGCHLD is how we learn of stops: blocked and not ignored, whatever we were started with. */
struct sigchld {
	sigset_t mask;
	struct sigaction action;
};

static void sigchld_take(struct sigchld *old)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old->mask);
	sigaction(SIGCHLD, &dfl, &old->action);
}

static void ck_auto_sigchld(const struct sigchld *old)
{
	int saved = errno;

	sigaction(SIGCHLD, &old->action, NULL);
	sigprocmask(SIG_SETMASK, &old->mask, NULL);
	errno = saved;
}

/* A few descriptors for each task: the soft limit is there for programs that use select(2). */
static void nofile_take(struct rlimit *old)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, old) < 0)
		*old = (struct rlimit){ 0, 0 };
	l = *old;
	l.rlim_cur = l.rlim_max;
	if (l.rlim_max)
		(void)setrlimit(RLIMIT_NOFILE, &l);
}

static void ck_auto_nofile(const struct rlimit *old)
{
	int saved = errno;

	if (old->rlim_max)
		(void)setrlimit(RLIMIT_NOFILE, old);
	errno = saved;
}

static void dump_done(struct engine_dump *d)
{
	CkptNeeds *needs = malloc(sizeof(*needs));

	engine_inject_done(d);
	res_dump_done(d);
	engine_tasks_free(d);
	free(d->shmem);
	if (d->ipc)
		ckpt_ipc__free_unpacked(d->ipc, NULL);
	engine_out_free(d->out);
	free(d->xstate);
	for (size_t i = 0; i < d->n_sums; i++)
		free(d->sums[i].sums);
	free(d->sums);
	if (needs) { /* protobuf-c frees the message itself, too */
		*needs = d->needs;
		ckpt_needs__free_unpacked(needs, NULL);
	}
	image_writer_free(d->images);
}

static void ck_auto_dump(struct engine_dump *d)
{
	int saved = errno;

	dump_done(d);
	errno = saved;
}

/* What is tried again is told once. */
static void stage(const struct engine_dump *d, const char *name)
{
	if (!d->again)
		engine_stage(&d->opts->watch, name);
}

static int write_facts(struct engine_dump *d, const CkptFacts *facts, struct ck_err *err)
{
	return image_write_one(d->images, IMAGE_CKPT_FACTS, 0, &facts->base, err);
}

static int write_task(struct engine_dump *d, struct engine_task *t, uint32_t pages_id,
		      struct ck_err *err)
{
	uint64_t start, pages = d->pages;
	int r = engine_write_core(d, t, err);

	if (r == 0 && !t->zombie)
		r = engine_write_mm(d, t, err);
	start = engine_now_ns();
	if (r == 0 && !t->zombie)
		r = engine_write_pages(d, t, pages_id, err);
	d->stats.memory_ns += engine_now_ns() - start;
	d->stats.pages += d->pages - pages;
	if (r == 0)
		engine_detail(&d->opts->watch, ENGINE_TASK_FMT ": %llu pages", ENGINE_TASK_ARG(t),
			      (unsigned long long)(d->pages - pages));
	return r < 0 ? ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t)) : 0;
}

static int write_shared(struct engine_dump *d, struct ck_err *err)
{
	uint64_t start = engine_now_ns();
	int r;

	d->stats.scanned = d->scanned;
	r = engine_write_shmem(d, (uint32_t)d->n_tasks + 1, err);
	d->stats.memory_ns += engine_now_ns() - start;
	d->stats.shared_scanned = d->scanned - d->stats.scanned;
	d->stats.shared_pages = d->pages - d->stats.pages;
	if (r == 0 && d->n_shmem)
		engine_detail(&d->opts->watch, "shared memory: %llu pages",
			      (unsigned long long)d->stats.shared_pages);
	return r;
}

/* All files of the image but the manifest. */
static int write_all(struct engine_dump *d, const CkptFacts *facts, struct ck_err *err)
{
	int r;

	stage(d, "write");
	r = engine_find_shmem(d, err);
	d->to_scan = engine_pages_to_scan(d);
	if (r == 0)
		r = engine_find_frames(d, err);
	if (r == 0)
		r = res_dump(d, err);
	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		r = write_task(d, d->tasks[i], (uint32_t)i + 1, err);
	if (r == 0)
		r = write_shared(d, err);
	if (r == 0)
		r = engine_write_ipc(d, err);
	if (r == 0)
		r = engine_fill_needs(d, err);
	if (r == 0)
		r = image_write_one(d->images, IMAGE_CKPT_NEEDS, 0, &d->needs.base, err);
	if (r == 0)
		r = write_facts(d, facts, err);
	return r == 0 ? engine_write_tree(d, err) : r;
}

static int release(struct engine_dump *d, struct ck_err *err)
{
	int r;

	stage(d, "eject");
	r = engine_eject(d, err);
	stage(d, "thaw");
	engine_thaw(d);
	return r;
}

static int commit(struct engine_dump *d, struct ck_err *err)
{
	uint64_t start = engine_now_ns();
	int r;

	stage(d, "commit");
	r = image_commit(d->images, err);
	d->stats.commit_ns = engine_now_ns() - start;
	return r;
}

static int freeze(struct engine_dump *d, struct ck_err *err)
{
	uint64_t start = engine_now_ns();
	int r;

	stage(d, "freeze");
	r = engine_freeze(d, err);
	d->stats.freezing_ns = engine_now_ns() - start;
	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		engine_detail(&d->opts->watch, ENGINE_TASK_FMT ": %zu thread%s%s",
			      ENGINE_TASK_ARG(d->tasks[i]), d->tasks[i]->n_threads,
			      d->tasks[i]->n_threads == 1 ? "" : "s",
			      d->tasks[i]->zombie ? ", a zombie" : "");
	return r;
}

static int look(struct engine_dump *d, struct ck_err *err)
{
	int r;

	stage(d, "look");
	r = engine_look(d, err);
	if (r == 0)
		r = engine_look_ipc(d, err);
	return r < 0 ? r : res_list(d, err);
}

static int inject(struct engine_dump *d, struct ck_err *err)
{
	stage(d, "inject");
	return engine_inject(d, err);
}

static int ask(struct engine_dump *d, struct ck_err *err)
{
	int r = 0;

	stage(d, "ask");
	for (size_t i = 0; i < d->n_tasks && r == 0; i++) {
		if (d->tasks[i]->zombie)
			continue;
		r = engine_ask_children(d->tasks[i], err);
		if (r == 0)
			r = engine_check_views(d->tasks[i], err);
		if (r < 0)
			ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(d->tasks[i]));
	}
	if (r == 0)
		r = engine_find_kin(d, err);
	return r < 0 ? r : res_look(d, err);
}

/* What the terminals still hold is asked for between the two; without it the image is whole. */
static void let_go(struct engine_dump *d)
{
	stage(d, "let-go");
	engine_doom(d);
	(void)res_pty_drain(d, NULL);
	res_abort(d);
	engine_kill(d);
}

/* All that is known before anything is written. */
static int stop_and_look(struct engine_dump *d, struct ck_err *err)
{
	int r = freeze(d, err);

	if (r < 0)
		return r;
	r = look(d, err);
	if (r == 0)
		r = inject(d, err);
	if (r == 0)
		r = ask(d, err);
	if (r < 0)
		release(d, NULL);
	return r;
}

/* What is in the way just now may be gone the next moment: unread text in a terminal. */
static int stop_when_ready(struct engine_dump *d, uint64_t *ret_start, struct ck_err *err)
{
	uint64_t deadline = engine_now_ns() + BUSY_PATIENCE_NS;
	struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };

	for (;;) {
		struct ck_err e = CK_ERR_INIT;
		int r;

		*ret_start = engine_now_ns();
		r = stop_and_look(d, &e);
		if (r == 0)
			return 0;
		if (e.kind != CK_ERR_BUSY || !d->n_tasks || engine_now_ns() > deadline) {
			if (err)
				*err = e;
			return r;
		}
		stage(d, "wait");
		d->again = true;
		engine_inject_done(d);
		res_dump_done(d);
		engine_tasks_free(d);
		nanosleep(&pause, NULL);
	}
}

/* From the stop of the tree to its release or end. */
static int dump_tree(struct engine_dump *d, const CkptFacts *facts, struct ck_err *err)
{
	bool kill = !(d->opts->flags & ENGINE_LEAVE_RUNNING);
	uint64_t start = 0;
	int r = stop_when_ready(d, &start, err);

	if (r < 0)
		return r;
	d->again = false;
	r = write_all(d, facts, err);
	if (r == 0 && kill)
		r = commit(d, err);
	if (r < 0) {
		release(d, NULL);
		return r;
	}
	if (kill)
		let_go(d);
	else
		r = release(d, err);
	d->stats.frozen_ns = engine_now_ns() - start;
	return r < 0 || kill ? r : commit(d, err);
}

static uint32_t usec(uint64_t ns)
{
	return ns / 1000 < UINT32_MAX ? (uint32_t)(ns / 1000) : UINT32_MAX;
}

/* In CRIU's form: what others show of a checkpoint they take from here. */
static int write_stats(const struct engine_dump *d, struct ck_err *err)
{
	const struct engine_dump_stats *s = &d->stats;
	DumpStatsEntry dump = DUMP_STATS_ENTRY__INIT;
	StatsEntry entry = STATS_ENTRY__INIT;

	dump.freezing_time = usec(s->freezing_ns);
	dump.frozen_time = usec(s->frozen_ns);
	dump.memdump_time = usec(s->memory_ns);
	dump.memwrite_time = usec(s->commit_ns);
	dump.pages_scanned = s->scanned;
	dump.pages_written = s->pages;
	dump.has_shpages_scanned = 1;
	dump.shpages_scanned = s->shared_scanned;
	dump.has_shpages_written = 1;
	dump.shpages_written = s->shared_pages;
	entry.dump = &dump;
	return image_write_one(d->images, IMAGE_STATS_DUMP, 0, &entry.base, err);
}

/* Which instructions the job's code can execute: read from the image, and from files that are
 * still those that it had mapped. */
static int write_isa(struct engine_dump *d, const struct image *img, struct ck_err *err)
{
	CkptIsa *isa = NULL;
	int r = isa_gather(img, &d->needs, &isa, err);

	if (r == 0)
		r = image_write_late(img, IMAGE_CKPT_ISA, &isa->base, err);
	if (isa)
		ckpt_isa__free_unpacked(isa, NULL);
	return r;
}

/* The image is complete and the job was let go: nothing here can be a failure any more. */
static void write_late(struct engine_dump *d)
{
	CK_AUTO(image) struct image *img = NULL;
	struct ck_err err = CK_ERR_INIT;

	if (write_stats(d, &err) < 0)
		d->stats.late = err;
	stage(d, "sums");
	if (image_write_sums(d->opts->dir, d->sums, d->n_sums, &err) < 0)
		d->stats.late = err;
	if (image_open(d->opts->dir, &img, &err) < 0) {
		d->stats.late = err;
		return;
	}
	if (res_write_sums(d, img, &err) < 0)
		d->stats.late = err;
	stage(d, "code"); /* takes longest */
	if (write_isa(d, img, &err) < 0)
		d->stats.late = err;
}

int engine_dump(const struct engine_dump_opts *o, struct engine_dump_stats *ret_stats,
		struct ck_err *err)
{
	CK_AUTO(dump) struct engine_dump d = { .opts = o };
	CK_AUTO(sigchld) struct sigchld old;
	CK_AUTO(nofile) struct rlimit nofile = { 0, 0 };
	CkptFacts *facts = NULL;
	uint64_t start = engine_now_ns();
	int r;

	ckpt_needs__init(&d.needs);
	sigchld_take(&old);
	engine_stage(&o->watch, "open");
	r = image_writer_open(o->dir, &d.images, err);
	if (r == 0)
		r = probe_facts(&facts, err);
	nofile_take(&nofile);
	if (r == 0)
		r = dump_tree(&d, facts, err);
	if (facts)
		ckpt_facts__free_unpacked(facts, NULL);
	if (r < 0)
		return r;
	write_late(&d);
	d.stats.total_ns = engine_now_ns() - start;
	d.stats.tasks = d.n_tasks;
	for (size_t i = 0; i < d.n_tasks; i++)
		d.stats.threads += d.tasks[i]->n_threads;
	*ret_stats = d.stats;
	return 0;
}
