// SPDX-License-Identifier: Apache-2.0
/*
 * The judge: runs the rules and makes one verdict of their findings. Pure. What decides stands
 * first in the verdict; within a status the order of the rule tables holds, causes before
 * consequences.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "policies/internal.h"

void policy_verdict_done(struct verdict *v)
{
	findings_done(&v->findings);
	for (size_t i = 0; i < v->n_overrides; i++) {
		free(v->overrides[i].rule);
		free(v->overrides[i].by);
		free(v->overrides[i].at);
	}
	free(v->overrides);
	free(v->image);
	free(v->policy);
	free(v->source_host);
	free(v->source_cpu);
	free(v->source_kernel);
	free(v->target_host);
	free(v->target_cpu);
	free(v->target_kernel);
	memset(v, 0, sizeof(*v));
}

const char *policy_verdict_name(enum verdict_status s)
{
	static const char *const names[] = {
		[VERDICT_COMPATIBLE] = "compatible",     [VERDICT_ACTIONS] = "actions",
		[VERDICT_UNDECIDED] = "undecided",       [VERDICT_TRY_LATER] = "try-later",
		[VERDICT_INCOMPATIBLE] = "incompatible", [VERDICT_HOST] = "host-unable",
		[VERDICT_IMAGE] = "image-broken",
	};

	return (size_t)s < CK_ARRAY_SIZE(names) ? names[s] : "?";
}

const char *policy_finding_name(enum finding_status s)
{
	static const char *const names[] = {
		[FINDING_OK] = "ok",
		[FINDING_NA] = "not-applicable",
		[FINDING_DEGRADED] = "degraded",
		[FINDING_ACTION] = "action",
		[FINDING_UNKNOWN] = "unknown",
		[FINDING_DEFERRED] = "deferred",
		[FINDING_REFUSE] = "refuse",
	};

	return (size_t)s < CK_ARRAY_SIZE(names) ? names[s] : "?";
}

static bool is_trouble(enum finding_status s)
{
	return s == FINDING_REFUSE || s == FINDING_UNKNOWN || s == FINDING_ACTION;
}

/* Applies the policy to the findings that a rule has just added. */
static void treat(struct findings *f, size_t from, enum policy_treatment t, const struct policy *p)
{
	for (size_t i = from; i < f->n; i++) {
		if (f->f[i].status == FINDING_ACTION &&
		    (policy_allows(p, f->f[i].action) || policy_allows(p, f->f[i].otherwise)))
			f->f[i].status = FINDING_OK;
		if (t == POLICY_WARN && is_trouble(f->f[i].status))
			f->f[i].status = FINDING_DEGRADED;
		if (t == POLICY_REFUSE &&
		    (is_trouble(f->f[i].status) || f->f[i].status == FINDING_DEGRADED))
			f->f[i].status = FINDING_REFUSE;
	}
}

static struct verdict_override *find_override(struct verdict *v, const char *rule)
{
	for (size_t i = 0; i < v->n_overrides; i++)
		if (!strcmp(v->overrides[i].rule, rule))
			return &v->overrides[i];
	return NULL;
}

/* What somebody takes upon himself is said and doesn't stand in the way. */
static void override(struct verdict *v, size_t from, const char *rule)
{
	struct verdict_override *o = find_override(v, rule);

	for (size_t i = from; o && i < v->findings.n; i++) {
		if (!is_trouble(v->findings.f[i].status))
			continue;
		v->findings.f[i].status = FINDING_DEGRADED;
		v->findings.f[i].overridden = true;
		o->n++;
	}
}

static bool refused_since(const struct findings *f, size_t from)
{
	for (size_t i = from; i < f->n; i++)
		if (f->f[i].status == FINDING_REFUSE)
			return true;
	return false;
}

static void run(const struct rule_input *in, const struct policy *p, struct verdict *v)
{
	struct findings *out = &v->findings;

	for (size_t t = 0; policy_tables[t]; t++) {
		/* A broken image has no needs: only the first table, about images, can speak. */
		if (t && (!in->needs || !in->target))
			return;
		for (const struct rule *r = policy_tables[t]; r->id; r++) {
			enum policy_treatment how = policy_treatment(p, r->id);
			size_t from = out->n;

			if (how == POLICY_OFF)
				continue;
			r->evaluate(r, in, out);
			treat(out, from, how, p);
			override(v, from, r->id);
			/* After these everything else would be noise. */
			if (policy_rule_is_final(r->id) && refused_since(out, from))
				return;
		}
	}
}

/*
 * What follows from what, across rules: where the cause refuses, its consequences need no remedy of
 * their own. A consequence is no cause: there are no chains.
 */
static const struct {
	const char *consequence, *cause;
} follows[] = {
	/* A CPU without the state hasn't got the instructions either. */
	{ "cpu.isa", "cpu.xsave.component" },
	{ "cpu.xsave.size", "cpu.xsave.component" },
	{ "cpu.xsave.frame", "cpu.xsave.component" },
	/* Without a way to choose pids nothing else about pids and users matters. */
	{ "priv.uid", "priv.restore" },
	{ "priv.place", "priv.restore" },
	{ "proc.pid.max", "priv.restore" },
	{ "proc.pid.taken", "priv.restore" },
};

static bool is_cause(const char *rule)
{
	for (size_t k = 0; k < CK_ARRAY_SIZE(follows); k++)
		if (!strcmp(follows[k].cause, rule))
			return true;
	return false;
}

static bool refuses(const struct findings *f, const char *rule)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->f[i].status == FINDING_REFUSE && !strcmp(f->f[i].rule, rule))
			return true;
	return false;
}

static void find_causes(struct findings *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct finding *x = &f->f[i];

		for (size_t k = 0; k < CK_ARRAY_SIZE(follows) && !x->cause; k++)
			if ((is_trouble(x->status) || x->status == FINDING_DEGRADED) &&
			    !strcmp(follows[k].consequence, x->rule) &&
			    refuses(f, follows[k].cause))
				x->cause = follows[k].cause;
	}
}

static int rank(enum finding_status s)
{
	static const int order[] = {
		[FINDING_REFUSE] = 0,   [FINDING_UNKNOWN] = 1,  [FINDING_ACTION] = 2,
		[FINDING_DEFERRED] = 3, [FINDING_DEGRADED] = 4, [FINDING_OK] = 5,
		[FINDING_NA] = 6,
	};

	return (size_t)s < CK_ARRAY_SIZE(order) ? order[s] : 7;
}

static const struct finding *last_of(const struct findings *f, const char *rule)
{
	const struct finding *last = NULL;

	for (size_t i = 0; i < f->n; i++)
		if (f->f[i].status == FINDING_REFUSE && !strcmp(f->f[i].rule, rule))
			last = &f->f[i];
	return last;
}

/* Consequences stand behind the last finding of their cause. */
static void take(const struct findings *f, size_t i, struct finding *to, size_t *n)
{
	const struct finding *x = &f->f[i];

	to[(*n)++] = *x;
	if (x->status != FINDING_REFUSE || !is_cause(x->rule) || last_of(f, x->rule) != x)
		return;
	for (size_t k = 0; k < f->n; k++)
		if (f->f[k].cause && !strcmp(f->f[k].cause, x->rule))
			to[(*n)++] = f->f[k];
}

/* Stable, unlike qsort(). */
static int sort_findings(struct findings *f)
{
	struct finding *sorted = calloc(f->n + 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted)
		return -ENOMEM;
	for (int want = 0; want <= 7; want++)
		for (size_t i = 0; i < f->n; i++)
			if (rank(f->f[i].status) == want && !f->f[i].cause)
				take(f, i, sorted, &n);
	free(f->f);
	f->f = sorted;
	f->n = n;
	f->size = n + 1;
	return 0;
}

static enum verdict_status decide(const struct findings *f, const struct policy *p)
{
	bool refused = false, lasting = false, host = false, image = false;
	bool unknown = false, action = false;

	for (size_t i = 0; i < f->n; i++) {
		const struct finding *x = &f->f[i];

		switch (x->status) {
		case FINDING_REFUSE:
			refused = true;
			lasting = lasting || !x->retry;
			host = host || x->host;
			image = image ||
				(policy_rule_is_final(x->rule) && !strncmp(x->rule, "image.", 6));
			break;
		case FINDING_UNKNOWN:
			unknown = true;
			break;
		case FINDING_ACTION:
			action = true;
			break;
		default:
			break;
		}
	}
	if (image)
		return VERDICT_IMAGE;
	if (host)
		return VERDICT_HOST;
	if (refused)
		return lasting ? VERDICT_INCOMPATIBLE : VERDICT_TRY_LATER;
	if (unknown && !policy_allows_undecided(p))
		return VERDICT_UNDECIDED;
	return action ? VERDICT_ACTIONS : VERDICT_COMPATIBLE;
}

static int copy(char **ret, const char *s)
{
	if (!s || !s[0])
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

static int copy_overrides(const struct policy *p, struct verdict *v)
{
	if (!p->n_overrides)
		return 0;
	v->overrides = calloc(p->n_overrides, sizeof(*v->overrides));
	if (!v->overrides)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_overrides; i++) {
		struct verdict_override *o = &v->overrides[v->n_overrides++];

		if (copy(&o->rule, p->overrides[i].rule) < 0 ||
		    copy(&o->by, p->overrides[i].by) < 0 || copy(&o->at, p->overrides[i].at) < 0)
			return -ENOMEM;
	}
	return 0;
}

static const char *cpu_name(const CkptCpuFacts *c)
{
	return c->brand && c->brand[0] ? c->brand : c->arch;
}

static int describe(const struct rule_input *in, const struct policy *p, struct verdict *v)
{
	int r = copy(&v->policy, policy_name(p));

	v->live = in->live;
	if (r == 0 && in->source) {
		r = copy(&v->source_host, in->source->hostname);
		r = r ? r : copy(&v->source_cpu, cpu_name(in->source->cpu));
		r = r ? r : copy(&v->source_kernel, in->source->kernel->release);
	}
	if (r == 0 && in->target) {
		r = copy(&v->target_host, in->target->hostname);
		r = r ? r : copy(&v->target_cpu, cpu_name(in->target->cpu));
		r = r ? r : copy(&v->target_kernel, in->target->kernel->release);
	}
	return r;
}

int policy_judge(const struct rule_input *in, const struct policy *p, struct verdict *ret,
		 struct ck_err *err)
{
	CK_AUTO(verdict) struct verdict v = { 0 };

	if (copy_overrides(p, &v) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot judge");
	run(in, p, &v);
	find_causes(&v.findings);
	if (v.findings.failed || sort_findings(&v.findings) < 0 || describe(in, p, &v) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot judge");
	v.status = decide(&v.findings, p);
	*ret = v;
	memset(&v, 0, sizeof(v));
	return 0;
}
