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
#include "probe/probe-internal.h"
#include "probe/probe.h"

enum {
	CAP_SETGID_BIT = 6, /* uapi/linux/capability.h */
	CAP_SETUID_BIT = 7,
	CAP_SYS_RAWIO_BIT = 17,
	CAP_SYS_ADMIN_BIT = 21,
	CAP_SYS_RESOURCE_BIT = 24,
	LIST_MAX = 4,
	OWN_FDS = 128, /* FD_OWN of engine/res/load.c */
};

static bool has_cap(const struct rule_input *in, int bit)
{
	return in->target->priv->has_cap_eff && (in->target->priv->cap_eff >> bit & 1);
}

/* ---- how a job can get its pids, and its users ---- */

static CkptTristate all_of2(CkptTristate a, CkptTristate b)
{
	if (a == CKPT_TRISTATE__CKPT_NO || b == CKPT_TRISTATE__CKPT_NO)
		return CKPT_TRISTATE__CKPT_NO;
	if (a == CKPT_TRISTATE__CKPT_YES && b == CKPT_TRISTATE__CKPT_YES)
		return CKPT_TRISTATE__CKPT_YES;
	return CKPT_TRISTATE__CKPT_UNKNOWN;
}

static CkptTristate any_of(CkptTristate a, CkptTristate b)
{
	if (a == CKPT_TRISTATE__CKPT_YES || b == CKPT_TRISTATE__CKPT_YES)
		return CKPT_TRISTATE__CKPT_YES;
	if (a == CKPT_TRISTATE__CKPT_NO && b == CKPT_TRISTATE__CKPT_NO)
		return CKPT_TRISTATE__CKPT_NO;
	return CKPT_TRISTATE__CKPT_UNKNOWN;
}

/* Whether a kind of namespace can be made, and pids be chosen in it; *why is why not. */
static CkptTristate place(const CkptFacts *t, const char *make, const char *set_tid,
			  const char **why)
{
	const char *first, *second;
	CkptTristate a = probe_has(t, make, &first), b = probe_has(t, set_tid, &second);

	*why = a != CKPT_TRISTATE__CKPT_YES ? first : second;
	if (!**why)
		*why = "not known";
	return all_of2(a, b);
}

/* What the kernel has, a filter may still forbid. */
/* A profile may be of a CPU alone (ckpt probe --from-cpuid). */
#define REMEDY_PROBE "make the profile on that host: ckpt probe -o FILE"
#define REMEDY_FILTER                                                                       \
	"a seccomp filter is in the way: allow it in the container's profile, or run ckpt " \
	"outside of the container"

static bool has_filter(const CkptFacts *t)
{
	return t->priv->has_seccomp && t->priv->seccomp == 2;
}

struct ways {
	CkptTristate in_place; /* pids chosen in this pid namespace */
	CkptTristate pidns;    /* a pid namespace, with our own rights */
	CkptTristate userns;   /* a user and a pid namespace, that has one user */
	const char *why_not_in_place, *why_no_userns;
};

static void ways_of(const struct rule_input *in, struct ways *ret)
{
	const CkptFacts *t = in->target;
	const char *ignored;

	ret->in_place = probe_has(t, "set_tid", &ret->why_not_in_place);
	if (in->needs->n_binds && !has_cap(in, CAP_SYS_ADMIN_BIT)) {
		ret->in_place = CKPT_TRISTATE__CKPT_NO;
		ret->why_not_in_place = "binding paths needs a mount namespace";
	}
	if (!*ret->why_not_in_place)
		ret->why_not_in_place = "not known";
	ret->pidns = place(t, "pidns", "pidns.set_tid", &ignored);
	ret->userns = place(t, "ns", "ns.set_tid", &ret->why_no_userns);
}

struct users {
	bool one;                  /* all tasks have one user and group */
	bool own;                  /* which is the caller's */
	const CkptNeedTask *other; /* a task of somebody else */
};

static void users_of(const struct rule_input *in, struct users *ret)
{
	const CkptNeeds *n = in->needs;
	const CkptNeedTask *first = NULL;

	*ret = (struct users){ .one = true, .own = true };
	for (size_t i = 0; i < n->n_tasks; i++) {
		const CkptNeedTask *t = n->tasks[i];

		if (!t->has_uid || !t->has_gid)
			continue;
		first = first ? first : t;
		if (t->uid != first->uid || t->gid != first->gid)
			ret->one = false;
		if (t->uid == in->target->priv->uid && t->gid == in->target->priv->gid)
			continue;
		ret->own = false;
		ret->other = ret->other ? ret->other : t;
	}
}

/* "INSIDE OUTSIDE COUNT" lines of a user namespace; no lines: not known, and all are there. */
static bool is_mapped(char *const *map, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++) {
		unsigned long first, count;
		char *end;

		first = strtoul(map[i], &end, 10);
		(void)strtoul(end, &end, 10);
		count = strtoul(end, NULL, 10);
		if (id >= first && id - first < count)
			return true;
	}
	return !n;
}

/* May the caller become every user of the job? In a user namespace only those that it has. */
static bool may_be_anybody(const struct rule_input *in)
{
	const CkptPrivFacts *p = in->target->priv;

	if (!has_cap(in, CAP_SETUID_BIT) || !has_cap(in, CAP_SETGID_BIT))
		return false;
	for (size_t i = 0; i < in->needs->n_tasks; i++) {
		const CkptNeedTask *t = in->needs->tasks[i];

		if ((t->has_uid && !is_mapped(p->uid_map, p->n_uid_map, t->uid)) ||
		    (t->has_gid && !is_mapped(p->gid_map, p->n_gid_map, t->gid)))
			return false;
	}
	return true;
}

/* Can this job, with its users, be restored in namespaces, where no pid is taken? */
static CkptTristate beside(const struct rule_input *in, const struct ways *w)
{
	const CkptTristate no = CKPT_TRISTATE__CKPT_NO;
	struct users u;

	users_of(in, &u);
	return any_of(u.own || may_be_anybody(in) ? w->pidns : no, u.one ? w->userns : no);
}

static void restore_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	struct finding *f;
	CkptTristate v;
	struct ways w;

	ways_of(in, &w);
	v = any_of(w.in_place, any_of(w.pidns, w.userns));
	if (v == CKPT_TRISTATE__CKPT_YES) {
		f = findings_add(out, r, FINDING_OK, NULL);
		finding_have(f, "%s",
			     w.in_place == v ? "pids can be chosen in place"
					     : "namespaces can be made");
		return;
	}
	f = findings_add(out, r, v == CKPT_TRISTATE__CKPT_NO ? FINDING_REFUSE : FINDING_UNKNOWN,
			 NULL);
	finding_need(f, "to give tasks their pids: in this pid namespace, or in a new one");
	if (!in->target->priv->n_features) {
		finding_have(f, "the profile tells nothing of privileges");
		finding_remedy(f, REMEDY_PROBE);
		return;
	}
	finding_have(f, "in place: %s; in a new one: %s", w.why_not_in_place, w.why_no_userns);
	if (in->target->priv->has_uid)
		finding_evidence(f, "tried as uid %u", in->target->priv->uid);
	if (has_filter(in->target))
		finding_remedy(f, REMEDY_FILTER);
	else
		finding_remedy(
			f, "as root: sysctl -w user.max_user_namespaces=15000 (and, where there "
			   "is such a switch, kernel.unprivileged_userns_clone=1), or run ckpt "
			   "as root");
	if (f)
		f->host = v == CKPT_TRISTATE__CKPT_NO;
}

static void uid_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	struct finding *f;
	struct users u;
	struct ways w;

	ways_of(in, &w);
	users_of(in, &u);
	if (u.own || may_be_anybody(in)) {
		findings_add(out, r, in->needs->n_tasks ? FINDING_OK : FINDING_NA, NULL);
		return;
	}
	if (!in->target->priv->has_uid) {
		f = findings_add(out, r, FINDING_UNKNOWN, NULL);
		finding_need(f, "uid %u, gid %u", u.other->uid, u.other->gid);
		finding_have(f, "a user who is not known");
		finding_evidence(f, "the host profile does not tell who asked");
		finding_remedy(f, REMEDY_PROBE ", as the user who will restore");
		return;
	}
	if (u.one && w.userns != CKPT_TRISTATE__CKPT_NO) {
		f = findings_add(out, r,
				 w.userns == CKPT_TRISTATE__CKPT_YES ? FINDING_OK : FINDING_UNKNOWN,
				 NULL);
		finding_evidence(f, "a user namespace shows uid %u to the job", u.other->uid);
	} else {
		f = findings_add(out, r, FINDING_REFUSE, NULL);
		finding_evidence(f, "task %u (%s)%s", u.other->pid, u.other->comm,
				 u.one ? "" : "; the tasks have several users");
	}
	finding_need(f, "uid %u, gid %u", u.other->uid, u.other->gid);
	finding_have(f, "uid %u, gid %u", in->target->priv->uid, in->target->priv->gid);
	if (u.one)
		finding_remedy(f, "run ckpt as uid %u, or as root", u.other->uid);
	else
		finding_remedy(f, "run ckpt as root");
}

/* What works less well in the place that the job will be restored in. */
static void place_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	static const struct {
		const char *in_place, *userns, *subject, *effect;
	} aspects[] = {
		{ "exe", "ns.exe", "/proc/PID/exe", "it will show ckpt instead of the program" },
		{ "time", "ns.time", "monotonic clocks", "they will jump" },
		{ NULL, "ns.proc", "/proc", "it will not show the job under its own pids" },
	};
	struct users u;
	struct ways w;
	bool here, any = false;

	ways_of(in, &w);
	users_of(in, &u);
	here = w.in_place == CKPT_TRISTATE__CKPT_YES && (u.own || may_be_anybody(in));
	if (!here && w.userns != CKPT_TRISTATE__CKPT_YES) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	for (size_t i = 0; i < CK_ARRAY_SIZE(aspects); i++) {
		const char *name = here ? aspects[i].in_place : aspects[i].userns, *why;
		struct finding *f;

		if (!name || probe_has(in->target, name, &why) != CKPT_TRISTATE__CKPT_NO)
			continue;
		any = true;
		f = findings_add(out, r, FINDING_DEGRADED, aspects[i].subject);
		finding_need(f, "as it was");
		finding_have(f, "%s", aspects[i].effect);
		finding_evidence(f, "%s", why);
		finding_remedy(f, "none is needed if the job does not look at it");
	}
	if (!any)
		findings_add(out, r, FINDING_OK, NULL);
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
	enum finding_status status;
	struct finding *f;
	struct ways w;
	bool free_elsewhere;

	ways_of(in, &w);
	free_elsewhere = beside(in, &w) == CKPT_TRISTATE__CKPT_YES;
	if (!in->needs->n_tasks) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	if (!in->target->n_pids && !free_elsewhere) {
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
	status = !free_elsewhere ? FINDING_REFUSE : taken.itself ? FINDING_DEGRADED : FINDING_OK;
	f = findings_add(out, r, status, NULL);
	finding_need(f, "%zu %s", taken.n, taken.n == 1 ? "pid" : "pids");
	finding_have(f, "taken: %s", ck_strbuf_str(&taken.list));
	ck_strbuf_done(&taken.list);
	if (free_elsewhere) {
		finding_evidence(f, "a new pid namespace will be used");
		if (taken.itself)
			finding_remedy(f, "end it first if it is the job itself, still running: "
					  "both would write to the same files");
		return;
	}
	finding_evidence(f, "no new pid namespace can be made: %s", w.why_no_userns);
	finding_remedy(f, taken.itself ? "end it first; it may be the job itself, still running"
				       : "wait until it ends, or end it");
	if (f)
		f->retry = true;
}

/* Is a host's kernel ("6.1.0-50") of this release ("5.9") or later? */
static bool is_release(const CkptFacts *t, const char *since)
{
	unsigned int major = 0, minor = 0, want_major = 0, want_minor = 0;

	/* NOLINTBEGIN(cert-err34-c): what is no number is 0 */
	sscanf(t->kernel->release, "%9u.%9u", &major, &minor);
	sscanf(since, "%9u.%9u", &want_major, &want_minor);
	/* NOLINTEND(cert-err34-c) */
	return major > want_major || (major == want_major && minor >= want_minor);
}

static void pid_max_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	uint32_t highest = 0, limit = in->target->kernel->pid_max;
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
	ways_of(in, &w);
	if (beside(in, &w) == CKPT_TRISTATE__CKPT_YES && is_release(in->target, "6.14"))
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

/* Without these nothing can be restored; the engine asks for them at every restore. */
static const struct {
	const char *name, *why;
} always_needed[] = {
	{ "prctl.mm_map", "every restore sets the addresses of brk, stack and arguments" },
	{ "mremap.vdso", "every restore moves the vDSO" },
	{ "close_range", "every restore closes descriptors" },
};

static void feature_finding(const struct rule *r, const struct rule_input *in, const char *name,
			    const char *why, bool every, struct findings *out)
{
	const char *detail;
	CkptTristate v = probe_has(in->target, name, &detail);
	int fact = probe_fact_find(name);
	struct finding *f;

	if (v == CKPT_TRISTATE__CKPT_YES)
		return;
	f = findings_add(out, r, v == CKPT_TRISTATE__CKPT_NO ? FINDING_REFUSE : FINDING_UNKNOWN,
			 name);
	finding_need(f, "%s", why);
	finding_have(f, "Linux %s: %s", in->target->kernel->release,
		     *detail                       ? detail
		     : v == CKPT_TRISTATE__CKPT_NO ? "missing"
						   : "not known");
	if (fact >= 0 && has_filter(in->target) &&
	    is_release(in->target, probe_fact_infos[fact].since))
		finding_remedy(f, REMEDY_FILTER);
	else if (fact >= 0)
		finding_remedy(f, "restore it on Linux %s or later", probe_fact_infos[fact].since);
	else
		finding_remedy(f, "use a ckpt that knows this feature");
	if (f)
		f->host = every && v == CKPT_TRISTATE__CKPT_NO;
}

static void feature_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *needs = in->needs;
	size_t before = out->n;

	if (!in->target->kernel->n_features) {
		struct finding *f = findings_add(out, r, FINDING_UNKNOWN, NULL);

		finding_need(f, "what every restore needs of a kernel, and this job");
		finding_have(f, "the profile tells nothing of the kernel");
		finding_remedy(f, REMEDY_PROBE);
		return;
	}
	for (size_t i = 0; i < CK_ARRAY_SIZE(always_needed); i++)
		feature_finding(r, in, always_needed[i].name, always_needed[i].why, true, out);
	for (size_t i = 0; i < needs->n_features; i++)
		feature_finding(r, in, needs->features[i]->name, needs->features[i]->why, false,
				out);
	if (out->n == before)
		findings_add(out, r, FINDING_OK, NULL);
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

/*
 * A restore has every file of the job open at once, in one process, at numbers above all that the
 * job uses and the first OWN_FDS; then one file of pages per task (engine/res/load.c).
 */
static void nofile_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *n = in->needs;
	const CkptPrivFacts *p = in->target->priv;
	uint64_t job = n->has_highest_fd ? (uint64_t)n->highest_fd + 1 : 0;
	uint64_t need = (job > OWN_FDS ? job : OWN_FDS) + n->max_fds + n->n_tasks;
	struct finding *f;

	if (!n->has_max_fds || !p->has_nofile_hard) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	if (need <= p->nofile_hard || has_cap(in, CAP_SYS_RESOURCE_BIT)) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, NULL);
	finding_need(f, "%llu open files: %u of the job beside its own numbers",
		     (unsigned long long)need, n->max_fds);
	finding_have(f, "at most %llu", (unsigned long long)p->nofile_hard);
	finding_evidence(f, "RLIMIT_NOFILE, hard (ulimit -Hn)");
	finding_remedy(
		f,
		"as root: prlimit --nofile=%llu --pid PID, where PID is the shell that runs ckpt",
		(unsigned long long)need);
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
	{ "priv.place", "the job will notice where it is", place_rule },
	{ "kernel.page-size", "memory pages have another size", page_size_rule },
	{ "kernel.task-size", "addresses don't exist here", task_size_rule },
	{ "kernel.feature", "the kernel lacks something", feature_rule },
	{ "proc.pid.max", "a pid is too large", pid_max_rule },
	{ "proc.pid.taken", "a pid is taken", taken_rule },
	{ "mem.available", "there is too little memory", memory_rule },
	{ "net.port.taken", "a port is taken", probe_port_rule },
	{ "net.address.missing", "an address is missing", probe_address_rule },
	{ "net.interface.missing", "a network interface is missing", probe_interface_rule },
	{ "limit.nofile", "too few open files are allowed", nofile_rule },
	{ "limit.as", "a task is larger than tasks may be", probe_as_rule },
	{ "limit.nproc", "the user may not have so many tasks", probe_nproc_rule },
	{ "limit.lowered", "resource limits are lower than the job's", probe_lowered_rule },
	{ "term", "the job has a terminal", terminal_rule },
	{ NULL, NULL, NULL },
};
