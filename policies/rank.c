// SPDX-License-Identifier: Apache-2.0
/*
 * Which of several hosts an image had better go to: verdicts in an order. Pure. What can take the
 * image stands first; among equals the one with the fewest findings in the way, then with the
 * fewest worse than before, then with the least left to be decided there, then the one most like
 * the source. The caller's own order decides what is still equal.
 */
#include <stdlib.h>
#include <string.h>

#include "policies/policies.h"

static bool differs(const char *a, const char *b)
{
	return !a || !b || strcmp(a, b) != 0;
}

void policy_rank(const struct verdict *v, struct policy_rank *ret)
{
	*ret = (struct policy_rank){ .status = v->status };
	for (size_t i = 0; i < v->findings.n; i++) {
		switch (v->findings.f[i].status) {
		case FINDING_REFUSE:
			ret->refused++;
			break;
		case FINDING_UNKNOWN:
			ret->undecided++;
			break;
		case FINDING_ACTION:
			ret->actions++;
			break;
		case FINDING_DEGRADED:
			ret->degraded++;
			break;
		case FINDING_DEFERRED:
			ret->deferred++;
			break;
		default:
			break;
		}
	}
	ret->strange = (size_t)differs(v->source_cpu, v->target_cpu) +
		       (size_t)differs(v->source_kernel, v->target_kernel);
}

static int compare(size_t a, size_t b)
{
	return (a > b) - (a < b);
}

int policy_rank_compare(const struct policy_rank *a, const struct policy_rank *b)
{
	int r = compare((size_t)a->status, (size_t)b->status);

	r = r ? r : compare(a->refused, b->refused);
	r = r ? r : compare(a->undecided, b->undecided);
	r = r ? r : compare(a->actions, b->actions);
	r = r ? r : compare(a->degraded, b->degraded);
	r = r ? r : compare(a->deferred, b->deferred);
	return r ? r : compare(a->strange, b->strange);
}

void policy_verdict_trim(struct verdict *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->findings.n; i++) {
		struct finding *f = &v->findings.f[i];

		if (f->status == FINDING_OK || f->status == FINDING_NA)
			finding_done(f);
		else
			v->findings.f[n++] = *f;
	}
	v->findings.n = n;
}
