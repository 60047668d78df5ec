// SPDX-License-Identifier: Apache-2.0
/*
 * Rules about resource limits, setrlimit(2). A restore raises its own soft limits to the hard ones,
 * and each task gets back those that it had; what decides is the hard limit of whoever restores.
 */
#include <string.h>

#include "base/auto.h"
#include "base/strbuf.h"
#include "image/facts.pb-c.h"
#include "image/needs.pb-c.h"
#include "probe/probe-internal.h"

enum { CAP_SYS_ADMIN_BIT = 21, CAP_SYS_RESOURCE_BIT = 24 };

/* Processes of a restore beside the job's: ckpt, and the one that becomes init. */
enum { OWN_TASKS = 2 };

static bool has_cap(const CkptPrivFacts *p, int bit)
{
	return p->has_cap_eff && (p->cap_eff >> bit & 1);
}

/* The hard limit; false if it isn't known or there is none. */
static bool hard_limit(const CkptPrivFacts *p, const char *name, uint64_t *ret)
{
	for (size_t i = 0; i < p->n_limits; i++)
		if (!strcmp(p->limits[i]->name, name)) {
			*ret = p->limits[i]->hard;
			return *ret != UINT64_MAX;
		}
	return false;
}

static unsigned long long mib(uint64_t bytes)
{
	return (unsigned long long)(bytes >> 20) + ((bytes & ((1 << 20) - 1)) != 0);
}

void probe_as_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptPrivFacts *p = in->target->priv;
	uint64_t need = in->needs->largest_size, have = 0;
	struct finding *f;

	if (!in->needs->has_largest_size) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	if (!hard_limit(p, "as", &have) || need <= have || has_cap(p, CAP_SYS_RESOURCE_BIT)) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, NULL);
	finding_need(f, "%llu MiB of addresses in one task", mib(need));
	finding_have(f, "at most %llu MiB", mib(have));
	finding_evidence(f, "RLIMIT_AS, hard (ulimit -Hv)");
	finding_remedy(f,
		       "ask for more virtual memory for the job that restores it, or as root: "
		       "prlimit --as=unlimited --pid PID, where PID is the shell that runs ckpt");
}

/* Linux kernel/fork.c:copy_process(): root and two capabilities are not held up. */
void probe_nproc_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptPrivFacts *p = in->target->priv;
	uint64_t need = OWN_TASKS, have = 0;
	struct finding *f;

	for (size_t i = 0; i < in->needs->n_tasks; i++)
		need += in->needs->tasks[i]->n_tids ? in->needs->tasks[i]->n_tids : 1;
	if (!hard_limit(p, "nproc", &have) || (p->has_uid && p->uid == 0) ||
	    has_cap(p, CAP_SYS_RESOURCE_BIT) || has_cap(p, CAP_SYS_ADMIN_BIT)) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	if (need <= have && (!in->live || !p->has_user_tasks)) {
		f = findings_add(out, r, FINDING_DEFERRED, NULL);
		finding_need(f, "%llu more tasks of this user", (unsigned long long)need);
		finding_evidence(f, "how many there are is known on the host only");
		return;
	}
	f = findings_add(out, r, need + p->user_tasks <= have ? FINDING_OK : FINDING_REFUSE, NULL);
	finding_need(f, "%llu more tasks of this user", (unsigned long long)need);
	finding_have(f, "%u of at most %llu", p->user_tasks, (unsigned long long)have);
	if (need + p->user_tasks <= have)
		return;
	finding_evidence(f, "RLIMIT_NPROC, hard (ulimit -Hu), and /proc");
	finding_remedy(f, need <= have ? "end other processes of this user, or raise the limit"
				       : "raise the limit (nproc in limits.conf(5))");
	if (f)
		f->retry = need <= have;
}

void probe_lowered_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptPrivFacts *p = in->target->priv;
	CK_AUTO(strbuf) struct ck_strbuf need = CK_STRBUF_INIT;
	CK_AUTO(strbuf) struct ck_strbuf have = CK_STRBUF_INIT;
	bool may = has_cap(p, CAP_SYS_RESOURCE_BIT), any = false;
	struct finding *f;

	for (size_t i = 0; i < in->needs->n_limits && !may; i++) {
		const CkptNeedLimit *l = in->needs->limits[i];
		uint64_t hard;

		if (!hard_limit(p, l->name, &hard) || l->hard <= hard)
			continue;
		if (l->hard == UINT64_MAX)
			ck_strbuf_addf(&need, "%s%s unlimited", any ? ", " : "", l->name);
		else
			ck_strbuf_addf(&need, "%s%s %llu", any ? ", " : "", l->name,
				       (unsigned long long)l->hard);
		ck_strbuf_addf(&have, "%s%llu", any ? ", " : "", (unsigned long long)hard);
		any = true;
	}
	f = findings_add(out, r, any ? FINDING_DEGRADED : FINDING_OK, NULL);
	if (!any)
		return;
	finding_need(f, "%s", ck_strbuf_str(&need));
	finding_have(f, "%s", ck_strbuf_str(&have));
	finding_evidence(f, "hard resource limits of the job, and of whoever restores it");
	finding_remedy(f, "restore it from where the limits are as they were for the job, if it "
			  "relies on them");
}
