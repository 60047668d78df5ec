// SPDX-License-Identifier: Apache-2.0
/*
 * What ckpt itself can do on a host, whatever the job: from the host's facts alone, and pure. What
 * a fact is needed for is what probe/facts.def says about it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "policies/policies.h"
#include "probe/probe.h"

enum { CAP_SYS_PTRACE_BIT = 19 }; /* uapi/linux/capability.h */

#define NO CKPT_TRISTATE__CKPT_NO
#define YES CKPT_TRISTATE__CKPT_YES
#define UNKNOWN CKPT_TRISTATE__CKPT_UNKNOWN

static CkptTristate both(CkptTristate a, CkptTristate b)
{
	return a == NO || b == NO ? NO : a == YES && b == YES ? YES : UNKNOWN;
}

static CkptTristate either(CkptTristate a, CkptTristate b)
{
	return a == YES || b == YES ? YES : a == NO && b == NO ? NO : UNKNOWN;
}

static CkptTristate both_of(const CkptFacts *host, const char *a, const char *b)
{
	return both(probe_has(host, a, NULL), probe_has(host, b, NULL));
}

/* Is what among the comma-separated words of who? "dump, faster" needs nothing. */
static bool needs(const char *who, const char *what)
{
	size_t len = strlen(what);

	if (strstr(who, "faster"))
		return false;
	for (const char *p = who; p; p = strchr(p, ',') ? strchr(p, ',') + 2 : NULL)
		if (!strncmp(p, what, len) && (!p[len] || p[len] == ','))
			return true;
	return false;
}

/* Which abilities want a fact: as a bit each. */
static unsigned int wanted_by(const struct probe_fact_info *f)
{
	static const char *const beside[] = { "ns", "ns.set_tid", "pidns", "pidns.set_tid" };
	unsigned int r = 0;

	if (needs(f->who, "dump"))
		r |= 1u << POLICY_DUMP;
	if (needs(f->who, "restore"))
		r |= 1u << POLICY_RESTORE_IN_PLACE | 1u << POLICY_RESTORE_BESIDE;
	if (!strcmp(f->name, "set_tid"))
		r |= 1u << POLICY_RESTORE_IN_PLACE;
	for (size_t i = 0; i < CK_ARRAY_SIZE(beside); i++)
		if (!strcmp(f->name, beside[i]))
			r |= 1u << POLICY_RESTORE_BESIDE;
	return r;
}

static int add(const CkptFacts *host, const struct probe_fact_info *f, struct policy_readiness *r)
{
	const char *detail;
	CkptTristate v = probe_has(host, f->name, &detail);
	struct policy_lack *lack = &r->lacks[r->n_lacks];

	if (needs(f->who, "dump"))
		r->able[POLICY_DUMP] = both(r->able[POLICY_DUMP], v);
	if (needs(f->who, "restore")) {
		r->able[POLICY_RESTORE_IN_PLACE] = both(r->able[POLICY_RESTORE_IN_PLACE], v);
		r->able[POLICY_RESTORE_BESIDE] = both(r->able[POLICY_RESTORE_BESIDE], v);
	}
	if (v == YES)
		return 0;
	*lack = (struct policy_lack){
		f->name, f->meaning, f->who, f->since, v, strdup(detail), wanted_by(f),
	};
	if (!lack->detail)
		return -ENOMEM;
	r->n_lacks++;
	return 0;
}

static const char *sysctl(const CkptFacts *host, const char *name)
{
	for (size_t i = 0; i < host->kernel->n_sysctls; i++)
		if (!strcmp(host->kernel->sysctls[i]->name, name))
			return host->kernel->sysctls[i]->value;
	return "";
}

/* The Yama module keeps users from tracing what is no child of theirs; whether that holds can't be
 * tried on a child. Linux security/yama/yama_lsm.c:yama_ptrace_access_check() */
static int add_yama(const CkptFacts *host, struct policy_readiness *r)
{
	static const char name[] = "kernel.yama.ptrace_scope";
	long scope = strtol(sysctl(host, name), NULL, 10);
	bool may = host->priv->has_cap_eff && (host->priv->cap_eff >> CAP_SYS_PTRACE_BIT & 1);
	struct policy_lack *lack = &r->lacks[r->n_lacks];

	if (scope < 1 || (scope < 3 && may))
		return 0;
	*lack = (struct policy_lack){
		.fact = name,
		.meaning = "attach to tasks that are not one's own children",
		.who = "dump",
		.since = "",
		.value = NO,
		.blocks = 1u << POLICY_DUMP,
	};
	if (asprintf(&lack->detail, "it is %ld; as root: sysctl -w %s=0%s", scope, name,
		     scope < 3 ? ", or dump as root" : ", after a reboot") < 0) {
		lack->detail = NULL;
		return -ENOMEM;
	}
	r->able[POLICY_DUMP] = NO;
	r->n_lacks++;
	return 0;
}

/* What there are several ways for is blocked by the lack of one only where none is left. */
static void find_blocks(struct policy_readiness *r)
{
	unsigned int failing = 0;

	for (int i = 0; i < POLICY_N_ABILITIES; i++)
		if (r->able[i] != YES)
			failing |= 1u << i;
	for (size_t i = 0; i < r->n_lacks; i++)
		r->lacks[i].blocks &= failing;
}

int policy_readiness(const CkptFacts *host, struct policy_readiness *ret)
{
	struct policy_readiness r = {
		.able = {
			[POLICY_DUMP] = YES,
			[POLICY_RESTORE_IN_PLACE] = probe_has(host, "set_tid", NULL),
			[POLICY_RESTORE_BESIDE] = either(both_of(host, "pidns", "pidns.set_tid"),
							 both_of(host, "ns", "ns.set_tid")),
		},
		.lacks = calloc(PROBE_N_FACTS + 1, sizeof(*r.lacks)),
	};
	int e = 0;

	if (!r.lacks)
		return -ENOMEM;
	for (size_t i = 0; i < PROBE_N_FACTS && e == 0; i++)
		e = add(host, &probe_fact_infos[i], &r);
	if (e == 0)
		e = add_yama(host, &r);
	if (e < 0) {
		policy_readiness_done(&r);
		return e;
	}
	find_blocks(&r);
	*ret = r;
	return 0;
}

void policy_readiness_done(struct policy_readiness *r)
{
	for (size_t i = 0; i < r->n_lacks; i++)
		free(r->lacks[i].detail);
	free(r->lacks);
	memset(r, 0, sizeof(*r));
}
