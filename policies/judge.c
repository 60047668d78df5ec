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
#include "policies/policies.h"

void policy_verdict_done(struct verdict *v)
{
	findings_done(&v->findings);
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
		if (f->f[i].status == FINDING_ACTION && policy_allows(p, f->f[i].action))
			f->f[i].status = FINDING_OK;
		if (t == POLICY_WARN && is_trouble(f->f[i].status))
			f->f[i].status = FINDING_DEGRADED;
		if (t == POLICY_REFUSE &&
		    (is_trouble(f->f[i].status) || f->f[i].status == FINDING_DEGRADED))
			f->f[i].status = FINDING_REFUSE;
	}
}

static bool refused_since(const struct findings *f, size_t from)
{
	for (size_t i = from; i < f->n; i++)
		if (f->f[i].status == FINDING_REFUSE)
			return true;
	return false;
}

/* After these everything else would be noise. */
static bool explains_all(const char *id)
{
	return !strcmp(id, "image.corrupt") || !strcmp(id, "image.incomplete") ||
	       !strcmp(id, "image.version") || !strcmp(id, "cpu.arch");
}

static void run(const struct rule_input *in, const struct policy *p, struct findings *out)
{
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
			if (explains_all(r->id) && refused_since(out, from))
				return;
		}
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

/* Stable, unlike qsort(). */
static int sort_findings(struct findings *f)
{
	struct finding *sorted = calloc(f->n + 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted)
		return -ENOMEM;
	for (int want = 0; want <= 7; want++)
		for (size_t i = 0; i < f->n; i++)
			if (rank(f->f[i].status) == want)
				sorted[n++] = f->f[i];
	free(f->f);
	f->f = sorted;
	f->size = f->n + 1;
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
			image = image || (explains_all(x->rule) && !strncmp(x->rule, "image.", 6));
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

	run(in, p, &v.findings);
	if (v.findings.failed || sort_findings(&v.findings) < 0 || describe(in, p, &v) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot judge");
	v.status = decide(&v.findings, p);
	*ret = v;
	memset(&v, 0, sizeof(v));
	return 0;
}
