// SPDX-License-Identifier: Apache-2.0
/*
 * What stands in the way at a site, counted by rule: all findings that are in the way of a cell are
 * put into one array, which is sorted and run through. A consequence counts as its cause.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "report/kinds.h"

/* A finding in the way, and whose. */
struct hit {
	const struct finding *f;
	size_t rule; /* its place in policy_tables */
	size_t host, image;
	bool alone; /* no other rule stands in the way of that cell */
};

struct hits {
	struct hit *h;
	size_t n;
};

static const struct rule *rule_at(const char *id, size_t *ret_place)
{
	size_t n = 0;

	for (size_t t = 0; policy_tables[t]; t++)
		for (const struct rule *r = policy_tables[t]; r->id; r++, n++)
			if (!strcmp(r->id, id)) {
				*ret_place = n;
				return r;
			}
	*ret_place = n;
	return NULL;
}

static bool counts(const struct finding *f)
{
	return report_is_trouble(f) && !f->cause;
}

/* Does only one rule stand in the way? */
static bool is_one_rule(const struct verdict *v)
{
	const char *rule = NULL;

	for (size_t i = 0; i < v->findings.n; i++) {
		const struct finding *f = &v->findings.f[i];

		if (!counts(f))
			continue;
		if (rule && strcmp(f->rule, rule) != 0)
			return false;
		rule = f->rule;
	}
	return true;
}

static int collect(const struct report_site *s, struct hits *ret)
{
	size_t n = 0;

	for (size_t c = 0; c < s->n_hosts * s->n_images; c++)
		n += s->cells[c].findings.n;
	ret->h = calloc(n + 1, sizeof(*ret->h));
	if (!ret->h)
		return -ENOMEM;
	for (size_t c = 0; c < s->n_hosts * s->n_images; c++) {
		const struct verdict *v = &s->cells[c];
		bool alone = is_one_rule(v);

		for (size_t i = 0; i < v->findings.n; i++) {
			const struct finding *f = &v->findings.f[i];
			struct hit *h = &ret->h[ret->n];

			if (!counts(f) || !rule_at(f->rule, &h->rule))
				continue;
			h->f = f;
			h->host = c / s->n_images;
			h->image = c % s->n_images;
			h->alone = alone;
			ret->n++;
		}
	}
	return 0;
}

static int compare_size(size_t a, size_t b)
{
	return (a > b) - (a < b);
}

static int compare_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* By rule, then by what is found, then by cell. */
static int compare_hits(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;
	int r = compare_size(x->rule, y->rule);

	r = r ? r : compare_text(x->f->subject, y->f->subject);
	r = r ? r : compare_text(x->f->remedy, y->f->remedy);
	r = r ? r : compare_size(x->host, y->host);
	return r ? r : compare_size(x->image, y->image);
}

static bool same_obstacle(const struct hit *a, const struct hit *b)
{
	return !compare_text(a->f->subject, b->f->subject) &&
	       !compare_text(a->f->remedy, b->f->remedy);
}

/* Hits [0, n) are one obstacle. */
static int make_obstacle(const struct report_site *s, const struct hit *h, size_t n,
			 struct report_obstacle *o)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	CK_AUTO(free) const char **names = calloc(n, sizeof(*names));

	if (!names)
		return -ENOMEM;
	o->finding = h[0].f;
	for (size_t i = 0; i < n; i++) {
		bool new_host = !i || h[i].host != h[i - 1].host;

		o->cells += new_host || h[i].image != h[i - 1].image;
		if (new_host)
			names[o->hosts++] = s->hosts[h[i].host].name;
	}
	qsort(names, o->hosts, sizeof(*names), report_compare_names);
	report_fold_names(&b, names, o->hosts);
	o->names = ck_strbuf_take(&b);
	return o->names ? 0 : -ENOMEM;
}

static int compare_obstacles(const void *a, const void *b)
{
	const struct report_obstacle *x = a, *y = b;
	int r = compare_size(y->cells, x->cells);

	return r ? r : compare_text(x->finding->subject, y->finding->subject);
}

/* Cells, hosts and images of hits [0, n), which are one rule's. */
static int count_cells(const struct report_site *s, const struct hit *h, size_t n,
		       struct report_blocker *b)
{
	CK_AUTO(free) char *cells = calloc(s->n_hosts * s->n_images + 1, 1);
	CK_AUTO(free) char *hosts = calloc(s->n_hosts + 1, 1);
	CK_AUTO(free) char *images = calloc(s->n_images + 1, 1);

	if (!cells || !hosts || !images)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		char *cell = &cells[h[i].host * s->n_images + h[i].image];

		b->cells += !*cell;
		b->alone += !*cell && h[i].alone;
		b->hosts += !hosts[h[i].host];
		b->images += !images[h[i].image];
		*cell = hosts[h[i].host] = images[h[i].image] = 1;
	}
	return 0;
}

/* Hits [0, n) are one rule's. */
static int make_blocker(const struct report_site *s, const struct hit *h, size_t n,
			struct report_blocker *b)
{
	int r = count_cells(s, h, n, b);
	size_t ignored;

	b->rule = rule_at(h[0].f->rule, &ignored);
	b->obstacles = calloc(n, sizeof(*b->obstacles));
	if (!b->obstacles)
		return -ENOMEM;
	for (size_t from = 0, to; from < n && r == 0; from = to) {
		for (to = from + 1; to < n && same_obstacle(&h[from], &h[to]); to++)
			;
		r = make_obstacle(s, h + from, to - from, &b->obstacles[b->n_obstacles++]);
	}
	if (r == 0)
		qsort(b->obstacles, b->n_obstacles, sizeof(*b->obstacles), compare_obstacles);
	return r;
}

static int compare_blockers(const void *a, const void *b)
{
	const struct report_blocker *x = a, *y = b;
	int r = compare_size(y->cells, x->cells);

	r = r ? r : compare_size(y->alone, x->alone);
	return r ? r : strcmp(x->rule->id, y->rule->id);
}

int report_blockers_of(const struct report_site *s, struct report_blockers *ret)
{
	CK_AUTO(blockers) struct report_blockers b = { 0 };
	struct hits hits = { 0 };
	int r = collect(s, &hits);

	if (r == 0) {
		qsort(hits.h, hits.n, sizeof(*hits.h), compare_hits);
		b.b = calloc(hits.n + 1, sizeof(*b.b));
		r = b.b ? 0 : -ENOMEM;
	}
	for (size_t from = 0, to; from < hits.n && r == 0; from = to) {
		for (to = from + 1; to < hits.n && hits.h[to].rule == hits.h[from].rule; to++)
			;
		r = make_blocker(s, hits.h + from, to - from, &b.b[b.n++]);
	}
	free(hits.h);
	if (r < 0 || !b.b)
		return -ENOMEM;
	qsort(b.b, b.n, sizeof(*b.b), compare_blockers);
	*ret = b;
	memset(&b, 0, sizeof(b));
	return 0;
}

void report_blockers_done(struct report_blockers *b)
{
	for (size_t i = 0; i < b->n; i++) {
		for (size_t k = 0; k < b->b[i].n_obstacles; k++)
			free(b->b[i].obstacles[k].names);
		free(b->b[i].obstacles);
	}
	free(b->b);
	memset(b, 0, sizeof(*b));
}
