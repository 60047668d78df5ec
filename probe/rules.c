// SPDX-License-Identifier: Apache-2.0
/*
 * The rules about kernel, privileges, pids, memory and descriptors. Pure: needs and facts in,
 * findings out. A feature that could not be probed is undecided, never missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/strbuf.h"
#include "image/needs.pb-c.h"
#include "probe/probe.h"

enum {
	CAP_SETUID_BIT = 7, /* uapi/linux/capability.h */
	CAP_SYS_RAWIO_BIT = 17,
	LIST_MAX = 4,
	/* Descriptors of our own while those of the job are being put into place. */
	SPARE_FDS = 32,
};

static bool has_cap(const struct rule_input *in, int bit)
{
	return in->target->priv->has_cap_eff && (in->target->priv->cap_eff >> bit & 1);
}

/* ---- how a job can get its pids ---- */

struct ways {
	CkptTristate in_place, namespaces;
	const char *why_not_in_place, *why_no_namespaces;
};

/* All of several features: NO beats UNKNOWN beats YES; *why is the detail of the worst. */
static CkptTristate all_of(const CkptFacts *t, const char *const *names, size_t n, const char **why)
{
	CkptTristate worst = CKPT_TRISTATE__CKPT_YES;

	*why = "";
	for (size_t i = 0; i < n; i++) {
		const char *detail;
		CkptTristate v = probe_has(t, names[i], &detail);

		if (v == CKPT_TRISTATE__CKPT_YES || worst == CKPT_TRISTATE__CKPT_NO)
			continue;
		if (v == CKPT_TRISTATE__CKPT_NO || worst == CKPT_TRISTATE__CKPT_YES) {
			worst = v;
			*why = *detail ? detail : names[i];
		}
	}
	return worst;
}

static void ways_of(const CkptFacts *t, struct ways *ret)
{
	static const char *const in_place[] = { "set_tid", "exe" };
	static const char *const namespaces[] = { "ns", "ns.set_tid", "ns.exe" };

	ret->in_place = all_of(t, in_place, CK_ARRAY_SIZE(in_place), &ret->why_not_in_place);
	ret->namespaces = all_of(t, namespaces, CK_ARRAY_SIZE(namespaces), &ret->why_no_namespaces);
}

static void restore_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	enum finding_status status;
	struct finding *f;
	struct ways w;

	ways_of(in->target, &w);
	if (w.in_place == CKPT_TRISTATE__CKPT_YES || w.namespaces == CKPT_TRISTATE__CKPT_YES) {
		f = findings_add(out, r, FINDING_OK, NULL);
		finding_have(f, "%s",
			     w.in_place == CKPT_TRISTATE__CKPT_YES ? "pids can be chosen in place"
								   : "namespaces can be made");
		return;
	}
	status = w.in_place == CKPT_TRISTATE__CKPT_NO && w.namespaces == CKPT_TRISTATE__CKPT_NO
			 ? FINDING_REFUSE
			 : FINDING_UNKNOWN;
	f = findings_add(out, r, status, NULL);
	finding_need(f, "to give tasks their pids: in this pid namespace, or in a new one");
	finding_have(f, "in place: %s; in a new one: %s", w.why_not_in_place, w.why_no_namespaces);
	finding_evidence(f, "tried as uid %u", in->target->priv->uid);
	finding_remedy(f,
		       "as root: sysctl -w user.max_user_namespaces=15000 (and, where there is "
		       "such a switch, kernel.unprivileged_userns_clone=1), or run ckpt as root");
	if (f)
		f->host = status == FINDING_REFUSE;
}

static void uid_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	uint32_t uid = in->target->priv->uid;
	const CkptNeedTask *other = NULL;
	struct finding *f;

	for (size_t i = 0; i < in->needs->n_tasks && !other; i++)
		if (in->needs->tasks[i]->has_uid && in->needs->tasks[i]->uid != uid)
			other = in->needs->tasks[i];
	if (!other || has_cap(in, CAP_SETUID_BIT)) {
		findings_add(out, r, in->needs->n_tasks ? FINDING_OK : FINDING_NA, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, NULL);
	finding_need(f, "uid %u", other->uid);
	finding_have(f, "uid %u, which may not become another", uid);
	finding_evidence(f, "task %u (%s)", other->pid, other->comm);
	finding_remedy(f, "run ckpt as uid %u, or as root", other->uid);
}

/* ---- pids ---- */

static const CkptPidFact *pid_fact(const CkptFacts *t, uint32_t pid)
{
	for (size_t i = 0; i < t->n_pids; i++)
		if (t->pids[i]->pid == pid)
			return t->pids[i];
	return NULL;
}

struct taken {
	struct ck_strbuf list;
	size_t n;
	bool itself; /* held by a program of the job's name */
};

static void look_taken(const struct rule_input *in, const CkptNeedTask *t, uint32_t pid,
		       struct taken *ret)
{
	const CkptPidFact *p = pid_fact(in->target, pid);
	size_t len = strlen(t->comm);

	if (!p || !p->taken)
		return;
	if (ret->n < LIST_MAX)
		ck_strbuf_addf(&ret->list, "%s%u by %s", ret->n ? ", " : "", pid,
			       p->by ? p->by : "somebody");
	ret->n++;
	if (p->by && !strncmp(p->by, t->comm, len) && (!p->by[len] || p->by[len] == ' '))
		ret->itself = true;
}

static void look_all(const struct rule_input *in, struct taken *taken)
{
	for (size_t i = 0; i < in->needs->n_tasks; i++) {
		const CkptNeedTask *t = in->needs->tasks[i];

		look_taken(in, t, t->pid, taken);
		for (size_t k = 0; k < t->n_tids; k++)
			if (t->tids[k] != t->pid)
				look_taken(in, t, t->tids[k], taken);
	}
	if (taken->n > LIST_MAX)
		ck_strbuf_addf(&taken->list, " and %zu more", taken->n - LIST_MAX);
}

static void taken_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	struct taken taken = { .list = CK_STRBUF_INIT };
	struct finding *f;
	struct ways w;
	bool beside;

	ways_of(in->target, &w);
	beside = w.namespaces == CKPT_TRISTATE__CKPT_YES;
	if (!in->needs->n_tasks) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	if (!in->target->n_pids && !beside) {
		f = findings_add(out, r, FINDING_DEFERRED, NULL);
		finding_need(f, "free pids");
		finding_evidence(f, "which pids are taken is known on the host only");
		return;
	}
	look_all(in, &taken);
	if (!taken.n) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	f = findings_add(out, r, beside ? FINDING_OK : FINDING_REFUSE, NULL);
	finding_need(f, "%zu %s", taken.n, taken.n == 1 ? "pid" : "pids");
	finding_have(f, "taken: %s", ck_strbuf_str(&taken.list));
	ck_strbuf_done(&taken.list);
	if (beside) {
		finding_evidence(f, "a new pid namespace will be used");
		return;
	}
	finding_evidence(f, "no new pid namespace can be made: %s", w.why_no_namespaces);
	finding_remedy(f, taken.itself ? "end it first; it may be the job itself, still running"
				       : "wait until it ends, or end it");
	if (f)
		f->retry = true;
}

static void pid_max_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	uint32_t highest = 0, limit = in->target->kernel->pid_max;
	unsigned int major = 0, minor = 0;
	struct finding *f;
	struct ways w;

	for (size_t i = 0; i < in->needs->n_tasks; i++) {
		const CkptNeedTask *t = in->needs->tasks[i];

		highest = t->pid > highest ? t->pid : highest;
		for (size_t k = 0; k < t->n_tids; k++)
			highest = t->tids[k] > highest ? t->tids[k] : highest;
	}
	if (!in->target->kernel->has_pid_max || !highest) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	/* Since v6.14 a new pid namespace starts with the largest limit there is (kernel/
	 * pid_namespace.c:create_pid_namespace(), 7863dcc72d0f). */
	ways_of(in->target, &w);
	if (w.namespaces == CKPT_TRISTATE__CKPT_YES &&
	    sscanf(in->target->kernel->release, "%u.%u", &major, &minor) == 2 &&
	    (major > 6 || (major == 6 && minor >= 14)))
		limit = 1u << 22;
	if (highest < limit) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, NULL);
	finding_need(f, "pid %u", highest);
	finding_have(f, "pids below %u", limit);
	finding_evidence(f, "/proc/sys/kernel/pid_max");
	finding_remedy(f, "as root: sysctl -w kernel.pid_max=%u",
		       highest + 1 > 32768 ? 4194304 : 32768);
}

/* ---- kernel ---- */

static void feature_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *needs = in->needs;
	bool any = false;

	for (size_t i = 0; i < needs->n_features; i++) {
		const char *name = needs->features[i]->name, *detail;
		CkptTristate v = probe_has(in->target, name, &detail);
		int fact = probe_fact_find(name);
		struct finding *f;

		if (v == CKPT_TRISTATE__CKPT_YES)
			continue;
		any = true;
		f = findings_add(out, r,
				 v == CKPT_TRISTATE__CKPT_NO ? FINDING_REFUSE : FINDING_UNKNOWN,
				 name);
		finding_need(f, "%s", needs->features[i]->why);
		finding_have(f, "Linux %s: %s", in->target->kernel->release,
			     *detail                       ? detail
			     : v == CKPT_TRISTATE__CKPT_NO ? "missing"
							   : "not known");
		if (fact >= 0)
			finding_remedy(f, "restore it on Linux %s or later",
				       probe_fact_infos[fact].since);
		else
			finding_remedy(f, "use a ckpt that knows this feature");
	}
	if (!any)
		findings_add(out, r, needs->n_features ? FINDING_OK : FINDING_NA, NULL);
}

static void task_size_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptKernelFacts *k = in->target->kernel;
	const CkptNeeds *n = in->needs;
	bool low = n->has_lowest_address && k->has_mmap_min_addr &&
		   n->lowest_address < k->mmap_min_addr && !has_cap(in, CAP_SYS_RAWIO_BIT);
	bool high = n->has_highest_address && k->has_task_size && n->highest_address > k->task_size;
	struct finding *f;

	if (!low && !high) {
		findings_add(out, r, n->has_highest_address ? FINDING_OK : FINDING_NA, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, NULL);
	if (high) {
		finding_need(f, "memory up to %#llx", (unsigned long long)n->highest_address);
		finding_have(f, "addresses below %#llx", (unsigned long long)k->task_size);
		finding_remedy(f, "restore it on a host with five-level page tables (la57)");
	} else {
		finding_need(f, "memory at %#llx", (unsigned long long)n->lowest_address);
		finding_have(f, "nothing below %#llx may be mapped",
			     (unsigned long long)k->mmap_min_addr);
		finding_evidence(f, "/proc/sys/vm/mmap_min_addr");
		finding_remedy(f, "as root: sysctl -w vm.mmap_min_addr=%llu",
			       (unsigned long long)n->lowest_address);
	}
}

static void page_size_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptKernelFacts *t = in->target->kernel;
	const CkptKernelFacts *s = in->source ? in->source->kernel : NULL;
	struct finding *f;

	if (!s || !s->has_page_size || !t->has_page_size) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	f = findings_add(out, r, s->page_size == t->page_size ? FINDING_OK : FINDING_REFUSE, NULL);
	if (s->page_size == t->page_size)
		return;
	finding_need(f, "pages of %u bytes", s->page_size);
	finding_have(f, "pages of %u bytes", t->page_size);
	finding_remedy(f, "boot a kernel with pages of %u bytes", s->page_size);
}

/* ---- memory, descriptors, terminal ---- */

static unsigned long long mib(uint64_t bytes)
{
	return (unsigned long long)((bytes + (1 << 20) - 1) >> 20);
}

static void memory_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptMemoryFacts *m = in->target->memory;
	uint64_t need = in->needs->memory, have;
	struct finding *f;
	bool group;

	if (m && m->has_total && need > m->total + m->swap_free) {
		f = findings_add(out, r, FINDING_REFUSE, NULL);
		finding_need(f, "%llu MiB", mib(need));
		finding_have(f, "%llu MiB of memory in all", mib(m->total));
		finding_remedy(f, "restore it on a larger host");
		return;
	}
	if (!m || !m->has_available || !in->live) {
		f = findings_add(out, r, FINDING_DEFERRED, NULL);
		finding_need(f, "%llu MiB of free memory", mib(need));
		finding_evidence(f, "free memory is known on the host only");
		return;
	}
	have = m->available + m->swap_free;
	group = m->has_cgroup_free && m->cgroup_free < have;
	if (group)
		have = m->cgroup_free;
	f = findings_add(out, r, need <= have ? FINDING_OK : FINDING_REFUSE, NULL);
	finding_need(f, "%llu MiB", mib(need));
	finding_have(f, "%llu MiB free", mib(have));
	if (need <= have)
		return;
	if (group)
		finding_evidence(f, "the limit of cgroup %s", m->cgroup ? m->cgroup : "");
	else
		finding_evidence(f, "MemAvailable and SwapFree of /proc/meminfo");
	finding_remedy(f, group ? "raise the limit, or end something in that cgroup"
				: "wait for memory to become free");
	if (f)
		f->retry = true;
}

static void nofile_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptPrivFacts *p = in->target->priv;
	uint64_t need = (uint64_t)in->needs->max_fds + SPARE_FDS;
	struct finding *f;

	if (!in->needs->has_max_fds || !p->has_nofile_hard) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	f = findings_add(out, r, need <= p->nofile_hard ? FINDING_OK : FINDING_REFUSE, NULL);
	if (need <= p->nofile_hard)
		return;
	finding_need(f, "%llu open files", (unsigned long long)need);
	finding_have(f, "at most %llu", (unsigned long long)p->nofile_hard);
	finding_evidence(f, "RLIMIT_NOFILE, hard");
	finding_remedy(f, "as root: prlimit --nofile=%llu --pid $$", (unsigned long long)need);
}

static void terminal_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	struct finding *f;

	if (!in->needs->has_terminal || !in->needs->terminal) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_ACTION, NULL);
	finding_need(f, "the terminal of the shell that restores it");
	finding_have(f, "leave to use it is not given");
	finding_remedy(f, "ckpt restore --shell-job, from a terminal");
	if (f)
		f->action = "shell-job";
}

const struct rule probe_rules[] = {
	{ "priv.restore", "tasks can't get their pids", restore_rule },
	{ "priv.uid", "the job belongs to somebody else", uid_rule },
	{ "kernel.page-size", "memory pages have another size", page_size_rule },
	{ "kernel.task-size", "addresses don't exist here", task_size_rule },
	{ "kernel.feature", "the kernel lacks something", feature_rule },
	{ "proc.pid.max", "a pid is too large", pid_max_rule },
	{ "proc.pid.taken", "a pid is taken", taken_rule },
	{ "mem.available", "there is too little memory", memory_rule },
	{ "limit.nofile", "too few open files are allowed", nofile_rule },
	{ "term", "the job has a terminal", terminal_rule },
	{ NULL, NULL, NULL },
};
