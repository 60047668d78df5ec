// SPDX-License-Identifier: Apache-2.0
/*
 * Who makes whom. A process has two things from the moment it is made: the session of its maker,
 * and its maker's parent (with CLONE_PARENT) or its maker as parent. So a task of session S must be
 * made by somebody who is in S at that time:
 *
 *   by its parent, before or after the parent became a leader of its own;
 *   or by a helper with the number S, which makes itself the leader and then a sibling of itself.
 *
 * Process groups are joined later, when all leaders exist; a group whose leader is gone gets a
 * helper too. Helpers stay until everybody has joined.
 *
 * The number 0 stands for the caller's session and process group.
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/auto.h"
#include "engine/restore.h"
#include "image/format.h"

void engine_tree_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->n_procs; i++)
		free(r->procs[i]);
	free(r->procs);
	r->procs = NULL;
	r->n_procs = 0;
	for (size_t i = 0; i < r->n_tasks; i++)
		r->tasks[i].proc = NULL;
}

static struct engine_rproc *find_proc(const struct engine_restore *r, pid_t pid)
{
	for (size_t i = 0; i < r->n_procs; i++)
		if (r->procs[i]->pid == pid)
			return r->procs[i];
	return NULL;
}

static struct engine_rproc *add_proc(struct engine_restore *r, pid_t pid)
{
	struct engine_rproc **grown = reallocarray(r->procs, r->n_procs + 1, sizeof(*grown));
	struct engine_rproc *p = calloc(1, sizeof(*p));

	if (grown)
		r->procs = grown;
	if (!grown || !p) {
		free(p);
		return NULL;
	}
	p->pid = pid;
	return r->procs[r->n_procs++] = p;
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot plan the tree");
}

/* ---- numbers that mean the caller's ---- */

struct outside {
	pid_t sid, pgid;
};

/*
 * With --shell-job the root's session is the caller's, and so is its process group even where the
 * root led it: the terminal's foreground group is the one that the shell gave to us.
 */
static struct outside find_outside(const struct engine_restore *r)
{
	const PstreeEntry *root = r->tasks[0].ps;
	struct outside o = { 0, 0 };

	if (root->sid == root->pid)
		return o;
	if (r->opts->flags & ENGINE_RESTORE_SHELL_JOB) {
		o.sid = (pid_t)root->sid;
		o.pgid = (pid_t)root->pgid;
	} else if (r->strategy == ENGINE_INPLACE && (pid_t)root->sid == getsid(0)) {
		o.sid = (pid_t)root->sid;
		o.pgid = getpgrp();
	}
	return o;
}

static int add_tasks(struct engine_restore *r, struct ck_err *err)
{
	struct outside o = find_outside(r);

	for (size_t i = 0; i < r->n_tasks; i++) {
		struct engine_rtask *t = &r->tasks[i];
		struct engine_rproc *p = add_proc(r, (pid_t)t->ps->pid);

		if (!p)
			return no_memory(err);
		p->task = t;
		t->proc = p;
		p->parent = t->parent ? t->parent->proc : NULL;
		p->sid = (pid_t)t->ps->sid == o.sid ? 0 : (pid_t)t->ps->sid;
		p->pgid = (pid_t)t->ps->pgid == o.pgid && p->sid == 0 ? 0 : (pid_t)t->ps->pgid;
	}
	return 0;
}

/* ---- sessions ---- */

static bool leads_session(const struct engine_rproc *p)
{
	return p->sid == p->pid;
}

/*
 * The session that p must be born in, or -1 if it does not matter. A leader's own does not: it
 * makes itself one. But its children may be members of the one it was born in. Tasks come after
 * their parents, so going backwards sees children first; born holds what was found.
 */
static void find_births(struct engine_restore *r)
{
	for (size_t i = 0; i < r->n_procs; i++)
		r->procs[i]->born = leads_session(r->procs[i]) ? -1 : r->procs[i]->sid;
	for (size_t i = r->n_procs; i-- > 0;) {
		const struct engine_rproc *p = r->procs[i];

		if (p->parent && p->born != -1 && leads_session(p->parent) &&
		    p->born != p->parent->sid && p->parent->born == -1)
			p->parent->born = p->born;
	}
}

/* A helper with the number sid, child of the same parent as the one who needs it. */
static struct engine_rproc *session_helper(struct engine_restore *r, struct engine_rproc *parent,
					   pid_t sid)
{
	struct engine_rproc *h = add_proc(r, sid);

	if (!h)
		return NULL;
	h->sid = h->pgid = sid;
	h->parent = h->maker = parent;
	h->born = parent ? parent->sid : 0;
	return h;
}

/* The first of those that share something with p, if that is a child of the same parent. */
static struct engine_rproc *find_sibling(const struct engine_rproc *p)
{
	for (int kin = 0; kin < ENGINE_NKIN; kin++) {
		struct engine_rtask *first = p->task->kin[kin];

		if (first && first->proc->parent == p->parent && engine_can_make(first, p->task) &&
		    (first->proc->sid == p->born || first->proc->born == p->born))
			return first->proc;
	}
	return NULL;
}

/* Who shares something with others is made by one of them. */
static int find_kin(struct engine_rproc *p, struct ck_err *err)
{
	struct engine_rproc *sibling;

	if (!p->task || p->task->zombie ||
	    engine_can_make(p->maker ? p->maker->task : NULL, p->task))
		return 0;
	sibling = find_sibling(p);
	if (!sibling)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore task %d, which shares memory, descriptors or the "
			       "like with a process that can't make it",
			       (int)p->pid);
	p->maker = sibling;
	p->early = p->born != sibling->sid;
	return 0;
}

/* Who is in session p->born, and will make p. */
static int find_maker(struct engine_restore *r, struct engine_rproc *p, struct ck_err *err)
{
	struct engine_rproc *parent = p->parent, *leader;
	pid_t at_first = parent ? parent->born : 0, later = parent ? parent->sid : 0;

	p->maker = parent;
	if (p->born == -1)
		p->born = later;
	if (p->born == later)
		return 0;
	if (p->born == at_first) {
		p->early = true;
		return 0;
	}
	leader = find_proc(r, p->born);
	if (!leader)
		leader = session_helper(r, parent, p->born);
	if (!leader)
		return no_memory(err);
	if (leader->parent != parent || !leads_session(leader))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore session %d of task %d: its leader is elsewhere in "
			       "the tree",
			       (int)p->born, (int)p->pid);
	p->maker = leader;
	return 0;
}

/* ---- process groups ---- */

static int group_helper(struct engine_restore *r, const struct engine_rproc *p, struct ck_err *err)
{
	struct engine_rproc *h, *leader = p->sid ? find_proc(r, p->sid) : NULL;

	if (p->sid && !leader)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore process group %d: its session has no leader",
			       (int)p->pgid);
	h = add_proc(r, p->pgid);
	if (!h)
		return no_memory(err);
	h->pgid = p->pgid;
	h->sid = p->sid;
	h->born = p->sid;
	h->parent = h->maker = leader;
	return 0;
}

static int find_groups(struct engine_restore *r, struct ck_err *err)
{
	size_t n = r->n_procs;

	for (size_t i = 0; i < n; i++) {
		const struct engine_rproc *p = r->procs[i], *leader;
		int rc;

		if (p->pgid == 0)
			continue;
		leader = find_proc(r, p->pgid);
		if (leader && leader->pgid == p->pgid && leader->sid == p->sid)
			continue;
		if (leader)
			return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				       "cannot restore process group %d of task %d: its leader has "
				       "left it",
				       (int)p->pgid, (int)p->pid);
		rc = group_helper(r, p, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- order ---- */

/* Puts makers before what they make, so that plans can be written front to back. */
static int sort_procs(struct engine_restore *r, struct ck_err *err)
{
	struct engine_rproc **out = calloc(r->n_procs + 1, sizeof(*out));
	size_t n = 0;
	bool found = true, stuck;

	if (!out)
		return no_memory(err);
	while (found && n < r->n_procs) {
		found = false;
		for (size_t i = 0; i < r->n_procs; i++) {
			struct engine_rproc *p = r->procs[i];
			bool ready = p && !p->maker;

			for (size_t k = 0; p && k < n && !ready; k++)
				ready = out[k] == p->maker;
			if (!ready)
				continue;
			out[n++] = p;
			r->procs[i] = NULL;
			found = true;
		}
	}
	stuck = n < r->n_procs;
	for (size_t i = 0; i < r->n_procs; i++)
		if (r->procs[i])
			out[n++] = r->procs[i]; /* only to be freed */
	free(r->procs);
	r->procs = out;
	return stuck ? ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore sessions that need each other")
		     : 0;
}

/* A number may be that of one process or thread only. */
static int check_numbers(const struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		const PstreeEntry *ps = r->tasks[i].ps;

		if (r->strategy == ENGINE_NAMESPACES && ps->pid == 1)
			return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				       "cannot restore task 1, the init of its pid namespace");
		for (size_t k = 1; k < ps->n_threads; k++)
			if (find_proc(r, (pid_t)ps->threads[k]))
				return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
					       "cannot use the tree: %u is a thread and a process",
					       ps->threads[k]);
	}
	return 0;
}

int engine_plan_tree(struct engine_restore *r, struct ck_err *err)
{
	size_t n;
	int rc;

	engine_tree_done(r);
	rc = add_tasks(r, err);
	if (rc == 0)
		find_births(r);
	n = r->n_procs;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = find_maker(r, r->procs[i], err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = find_kin(r->procs[i], err);
	if (rc == 0)
		rc = find_groups(r, err);
	if (rc == 0)
		rc = sort_procs(r, err);
	return rc < 0 ? rc : check_numbers(r, err);
}

struct engine_rtask *engine_memory_base(const struct engine_rproc *p)
{
	for (p = p->maker; p; p = p->maker)
		if (p->task && !p->task->zombie)
			return engine_rkin_of(p->task, ENGINE_KIN_VM);
	return NULL;
}

/* ---- what it means for the scripts ---- */

/* That its parent gets when it ends. A sibling that makes it gives it its own, whatever is asked.
 */
static uint32_t exit_signal(const struct engine_rproc *p)
{
	const TaskCoreEntry *tc = p->task ? p->task->core[0]->tc : NULL;

	return tc && tc->has_exit_signal ? tc->exit_signal : SIGCHLD;
}

static int plan_clone(const struct engine_rproc *maker, const struct engine_rproc *p,
		      struct ck_err *err)
{
	bool sibling = p->parent != maker;
	uint64_t a[6] = { script_slot(p->script), sibling ? CLONE_PARENT : 0, exit_signal(p) };

	if (a[2] > 64)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "task %d has exit signal %u",
			       (int)p->pid, exit_signal(p));
	if (sibling && a[2] != exit_signal(maker))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore exit signal %u of task %d, which a sibling makes",
			       exit_signal(p), (int)p->pid);
	if (maker->task && p->task)
		a[1] |= engine_clone_flags(maker->task, p->task);
	script_op(maker->script, PIE_CLONE, SCRIPT_OK, 0, a, "make task %d%s", (int)p->pid,
		  p->task ? "" : " (a helper)");
	return 0;
}

static int plan_clones(const struct engine_restore *r, const struct engine_rproc *maker, bool early,
		       struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < r->n_procs && rc == 0; i++)
		if (r->procs[i]->maker == maker && r->procs[i]->early == early)
			rc = plan_clone(maker, r->procs[i], err);
	return rc;
}

int engine_plan_forks(struct engine_restore *r, const struct engine_rproc *p, struct ck_err *err)
{
	int rc = plan_clones(r, p, true, err);

	if (rc < 0)
		return rc;
	if (leads_session(p))
		script_syscall(p->script, SCRIPT_OK, SYS_setsid, 0, 0, 0, 0, 0, 0,
			       "become the leader of session %d", (int)p->sid);
	if (p->task && !p->task->zombie)
		res_ctty_plan(r, p->task);
	return plan_clones(r, p, false, err);
}

void engine_plan_groups(struct engine_restore *r, const struct engine_rproc *p, uint64_t led,
			uint64_t joined)
{
	uint64_t a[6] = { led }, b[6] = { joined };

	(void)r;
	if (p->pgid == p->pid && !leads_session(p))
		script_syscall(p->script, SCRIPT_OK, SYS_setpgid, 0, 0, 0, 0, 0, 0,
			       "become the leader of process group %d", (int)p->pgid);
	script_op(p->script, PIE_BARRIER, SCRIPT_OK, 0, a, "wait for the process groups");
	if (p->pgid && p->pgid != p->pid)
		script_syscall(p->script, SCRIPT_OK, SYS_setpgid, 0, (uint64_t)p->pgid, 0, 0, 0, 0,
			       "join process group %d", (int)p->pgid);
	script_op(p->script, PIE_BARRIER, SCRIPT_OK, 0, b,
		  "wait until everybody has joined a group");
}

void engine_plan_stops(struct engine_restore *r, const struct engine_rproc *p, uint64_t stopped)
{
	uint64_t a[6] = { stopped };

	(void)r;
	if (p->task && (p->task->stop_signo || p->task->unwaited == IMAGE_UNWAITED_CONT)) {
		uint64_t b[6] = { (uint64_t)p->task->stop_signo, !p->task->stop_signo };

		b[0] = b[0] ? b[0] : SIGSTOP;
		script_op(p->script, PIE_STOP, SCRIPT_OK, 0, b, "stop");
	}
	script_op(p->script, PIE_BARRIER, SCRIPT_OK, 0, a, "wait until everybody has stopped");
}

void engine_plan_reap(struct engine_restore *r, const struct engine_rproc *p)
{
	for (size_t i = 0; i < r->n_procs; i++) {
		const struct engine_rproc *c = r->procs[i];

		if (c->parent != p)
			continue;
		if (!c->task)
			script_syscall(p->script, SCRIPT_OK, SYS_wait4, (uint64_t)c->pid, 0, __WALL,
				       0, 0, 0, "wait for helper %d", (int)c->pid);
		else if (c->task->zombie)
			script_syscall(p->script, SCRIPT_OK, SYS_waitid, P_PID, (uint64_t)c->pid, 0,
				       WEXITED | WNOWAIT, 0, 0, "wait for zombie %d", (int)c->pid);
		else if (c->task->stop_signo && c->task->unwaited != IMAGE_UNWAITED_STOP)
			script_syscall(p->script, SCRIPT_OK, SYS_waitid, P_PID, (uint64_t)c->pid, 0,
				       WSTOPPED | __WALL, 0, 0, "wait for the stop of %d",
				       (int)c->pid);
	}
}
