// SPDX-License-Identifier: Apache-2.0
/*
 * The hosts of a site for one image, best first: a line each, or JSON. The order is the judge's
 * (policies/rank.c). Names and texts come from profiles and images: what could move a terminal's
 * cursor is shown as an escape, and a line has its limits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "report/internal.h"

enum {
	MATCH_VERSION = 1,
	NAME_MAX_SHOWN = 40, /* characters of a host's name, */
	TEXT_MAX_SHOWN = 60, /* of a subject, a need */
};

struct ranked {
	size_t host; /* in the site */
	struct policy_rank rank;
};

static int compare(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	int r = policy_rank_compare(&x->rank, &y->rank);

	return r ? r : (x->host > y->host) - (x->host < y->host);
}

/* All hosts, best first; the caller frees the list. */
static struct ranked *rank_hosts(const struct report_site *s)
{
	struct ranked *list = calloc(s->n_hosts + 1, sizeof(*list));

	if (!list)
		return NULL;
	for (size_t h = 0; h < s->n_hosts; h++) {
		list[h].host = h;
		policy_rank(report_cell(s, h, 0), &list[h].rank);
	}
	qsort(list, s->n_hosts, sizeof(*list), compare);
	return list;
}

/* ---- text ---- */

static void put_finding(struct ck_strbuf *b, const struct finding *f)
{
	const struct rule *r = policy_rule_find(f->rule);

	ck_strbuf_addf(b, "%s", r ? r->title : "");
	if (f->subject) {
		ck_strbuf_addf(b, ": ");
		report_put(b, f->subject, TEXT_MAX_SHOWN);
	} else if (f->have) {
		ck_strbuf_addf(b, ": has ");
		report_put(b, f->have, TEXT_MAX_SHOWN);
	}
	ck_strbuf_addf(b, " [%s]", f->rule);
}

/* What the order among the good ones comes from. */
static void put_likeness(struct ck_strbuf *b, const struct verdict *v, const struct policy_rank *r)
{
	if (!r->strange) {
		ck_strbuf_addf(b, "CPU and kernel as where the image was made");
		return;
	}
	report_put(b, v->target_cpu ? v->target_cpu : "unknown CPU", TEXT_MAX_SHOWN);
	ck_strbuf_addf(b, ", Linux ");
	report_put(b, v->target_kernel ? v->target_kernel : "unknown", TEXT_MAX_SHOWN);
}

static void put_why(struct ck_strbuf *b, const struct verdict *v, const struct policy_rank *r)
{
	const struct finding *f = report_cause(v);
	size_t more = 0;

	if (!f) {
		put_likeness(b, v, r);
		return;
	}
	put_finding(b, f);
	for (size_t i = 0; i < v->findings.n; i++)
		more += &v->findings.f[i] != f && v->findings.f[i].status == f->status;
	if (f->status == FINDING_ACTION)
		ck_strbuf_addf(b, ", --allow %s", f->action);
	if (more)
		ck_strbuf_addf(b, ", and %zu more", more);
}

static size_t columns(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static char *shown_name(const struct report_host *h)
{
	struct ck_strbuf b = CK_STRBUF_INIT;

	report_put(&b, h->name, NAME_MAX_SHOWN);
	return ck_strbuf_take(&b);
}

static int put_rows(FILE *out, const struct report_site *s, const struct ranked *list)
{
	size_t width = strlen("HOST");
	int r = 0;

	for (size_t i = 0; i < s->n_hosts; i++) {
		CK_AUTO(free) char *name = shown_name(&s->hosts[i]);

		if (!name)
			return -ENOMEM;
		if (columns(name) > width)
			width = columns(name);
	}
	fprintf(out, "%-13s %-*s WHY\n", "VERDICT", (int)width, "HOST");
	for (size_t i = 0; i < s->n_hosts && r == 0; i++) {
		const struct verdict *v = report_cell(s, list[i].host, 0);
		CK_AUTO(free) char *name = shown_name(&s->hosts[list[i].host]);
		CK_AUTO(strbuf) struct ck_strbuf why = CK_STRBUF_INIT;

		put_why(&why, v, &list[i].rank);
		if (!name || !ck_strbuf_ok(&why))
			return -ENOMEM;
		fprintf(out, "%-13s %s%*s %s\n", policy_verdict_name(v->status), name,
			(int)(width - columns(name)), "", ck_strbuf_str(&why));
	}
	return r;
}

/* "2 of 3 hosts can take snap, 1 undecided" */
static int put_summary(FILE *out, const struct report_site *s)
{
	static const struct {
		enum verdict_status status;
		const char *text;
	} parts[] = {
		{ VERDICT_ACTIONS, "once something is allowed" },
		{ VERDICT_UNDECIDED, "undecided" },
		{ VERDICT_TRY_LATER, "perhaps later" },
	};
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	struct report_counts n;

	report_count_image(s, 0, &n);
	ck_strbuf_addf(&b, "%zu of %zu host%s can take ", n.of[VERDICT_COMPATIBLE], s->n_hosts,
		       s->n_hosts == 1 ? "" : "s");
	report_put(&b, s->images[0], SIZE_MAX);
	for (size_t i = 0; i < CK_ARRAY_SIZE(parts); i++)
		if (n.of[parts[i].status])
			ck_strbuf_addf(&b, ", %zu %s", n.of[parts[i].status], parts[i].text);
	if (!ck_strbuf_ok(&b))
		return -ENOMEM;
	fprintf(out, "%s\n", ck_strbuf_str(&b));
	return 0;
}

/* Which rules only the host itself can decide, each once. */
static void put_deferred(FILE *out, const struct report_site *s)
{
	bool any = false;

	for (size_t t = 0; policy_tables[t]; t++) {
		for (const struct rule *r = policy_tables[t]; r->id; r++) {
			bool found = false;

			for (size_t h = 0; h < s->n_hosts && !found; h++) {
				const struct findings *f = &report_cell(s, h, 0)->findings;

				for (size_t i = 0; i < f->n && !found; i++)
					found = f->f[i].status == FINDING_DEFERRED &&
						!strcmp(f->f[i].rule, r->id);
			}
			if (found)
				fprintf(out, "%s%s",
					any ? ", " : "left for ckpt check on the host: ", r->id);
			any = any || found;
		}
	}
	if (any)
		fputc('\n', out);
}

int report_match_text(FILE *out, const struct report_site *s, struct ck_err *err)
{
	CK_AUTO(free) struct ranked *list = rank_hosts(s);

	if (!list || put_summary(out, s) < 0 || (s->n_hosts && put_rows(out, s, list) < 0))
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write the report");
	put_deferred(out, s);
	if (fflush(out) != 0 || ferror(out))
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write the report");
	return 0;
}

/* ---- JSON ---- */

static int host_json(struct json_object *o, const struct report_host *h, const struct verdict *v,
		     const struct policy_rank *k)
{
	const struct {
		const char *key;
		size_t n;
	} numbers[] = {
		{ "refused", k->refused },   { "undecided", k->undecided },
		{ "actions", k->actions },   { "degraded", k->degraded },
		{ "deferred", k->deferred },
	};
	int r = report_json_text(o, "profile", h->profile);

	r = r ? r : report_json_text(o, "hostname", v->target_host);
	r = r ? r : report_json_text(o, "cpu", v->target_cpu);
	r = r ? r : report_json_text(o, "kernel", v->target_kernel);
	r = r ? r : report_json_text(o, "verdict", policy_verdict_name(v->status));
	for (size_t i = 0; i < CK_ARRAY_SIZE(numbers) && r == 0; i++)
		r = report_json_number(o, numbers[i].key, numbers[i].n);
	return r ? r : report_json_findings(o, &v->findings);
}

static int add_hosts(struct json_object *o, const struct report_site *s, const struct ranked *list)
{
	CK_AUTO(json) struct json_object *hosts = json_object_new_array();

	if (!hosts)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_hosts; i++) {
		struct json_object *one = json_object_new_object();

		if (!one ||
		    host_json(one, &s->hosts[list[i].host], report_cell(s, list[i].host, 0),
			      &list[i].rank) < 0 ||
		    json_object_array_add(hosts, one) < 0) {
			json_object_put(one);
			return -ENOMEM;
		}
	}
	return report_json_add(o, "hosts", json_object_get(hosts));
}

static int match_json(struct json_object *o, const struct report_site *s, int exit_status)
{
	CK_AUTO(free) struct ranked *list = rank_hosts(s);
	const struct verdict *v = s->n_hosts ? report_cell(s, 0, 0) : NULL;
	struct report_counts n;
	int r = list ? report_json_number(o, "version", MATCH_VERSION) : -ENOMEM;

	report_count_image(s, 0, &n);
	r = r ? r : report_json_number(o, "exit_status", (size_t)exit_status);
	r = r ? r : report_json_text(o, "image", s->images[0]);
	r = r ? r : report_json_text(o, "policy", s->policy);
	if (v && r == 0)
		r = report_json_host(o, "source", v->source_host, v->source_cpu, v->source_kernel);
	r = r ? r : report_json_counts(o, "counts", &n);
	r = r ? r : add_hosts(o, s, list);
	return r ? r : report_json_unread(o, s);
}

int report_match_json(FILE *out, const struct report_site *s, int exit_status, struct ck_err *err)
{
	CK_AUTO(json) struct json_object *o = json_object_new_object();

	if (!o || match_json(o, s, exit_status) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make JSON");
	return report_json_print(out, o, err);
}
