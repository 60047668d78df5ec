/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to report/: a site, made small enough to be looked at. Hosts about which all the same is
 * to be said are one kind; what is in the way is counted by rule.
 */
#ifndef CK_REPORT_KINDS_H
#define CK_REPORT_KINDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "report/internal.h"

/* Images of a kind that have the same verdict for the same reasons. */
struct report_block {
	const struct verdict *verdict;
	size_t *images;
	size_t n;
};

struct report_kind {
	size_t *hosts; /* by name */
	size_t n;
	char *names; /* folded: "node[001-048]" */
	size_t can;  /* how many images it takes */
	size_t away; /* from taking all: the sum of its verdicts */
	struct report_block *blocks;
	size_t n_blocks;
	size_t *block_of; /* by image */
};

struct report_kinds {
	struct report_kind *k; /* those that take most images first */
	size_t n;
};

/* -ENOMEM */
int report_kinds_of(const struct report_site *s, struct report_kinds *ret);
void report_kinds_done(struct report_kinds *k);
static inline void ck_auto_kinds(struct report_kinds *k)
{
	report_kinds_done(k);
}

/* Names as "a[01-03,07].x, b": runs of numbers of the same width. The names must be sorted with
 * report_compare_names(). */
void report_fold_names(struct ck_strbuf *b, const char *const *names, size_t n);
/* strverscmp(), in a form for qsort() of char pointers. */
int report_compare_names(const void *a, const void *b);

/* One thing that is in the way. */
struct report_obstacle {
	const struct finding *finding; /* the first of its kind */
	size_t cells, hosts;
	char *names; /* of the hosts, folded */
};

/* All that one rule has found in the way. */
struct report_blocker {
	const struct rule *rule;
	size_t cells; /* pairs of image and host that it stands in the way of */
	size_t alone; /* where nothing else does */
	size_t hosts, images;
	struct report_obstacle *obstacles; /* what concerns most cells first */
	size_t n_obstacles;
};

struct report_blockers {
	struct report_blocker *b; /* the worst first */
	size_t n;
};

/* -ENOMEM */
int report_blockers_of(const struct report_site *s, struct report_blockers *ret);
void report_blockers_done(struct report_blockers *b);
static inline void ck_auto_blockers(struct report_blockers *b)
{
	report_blockers_done(b);
}

#endif
