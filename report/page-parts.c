// SPDX-License-Identifier: Apache-2.0
/*
 * The page about a site below its matrix: what is in the way, the images, each kind of host with
 * all reasons, and the profiles that were left out.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "report/page.h"

enum {
	OBSTACLES_SHOWN = 3, /* of one rule, at once */
	NAMES_SHOWN = 200,   /* bytes of folded names in a table */
};

void report_page_section(struct report_html *w, const char *id, const char *title)
{
	report_tag(w, "section");
	report_attr(w, "id", "%s", id);
	report_elem(w, "h2", NULL, "%s", title);
}

void report_page_columns(struct report_html *w, const char *const *names, size_t n, size_t from,
			 size_t to)
{
	report_tag(w, "thead");
	report_tag(w, "tr");
	for (size_t i = 0; i < n; i++) {
		report_tag(w, "th");
		report_attr(w, "scope", "col");
		if (i >= from && i < to)
			report_attr(w, "class", "n");
		report_text(w, names[i]);
		report_end(w);
	}
	report_end(w);
	report_end(w);
}

static void verdict_tag(struct report_html *w, enum verdict_status s)
{
	const struct report_look *look = report_look(s);

	report_tag(w, "span");
	report_attr(w, "class", "tag %s", look->class);
	report_textf(w, "%s %s", look->sign, look->word);
	report_end(w);
}

void report_page_short_names(struct report_html *w, const char *names)
{
	size_t len = strlen(names);

	if (len <= NAMES_SHOWN) {
		report_text(w, names);
		return;
	}
	for (len = NAMES_SHOWN; len && names[len] != ','; len--)
		;
	report_textf(w, "%.*s, …", (int)(len ? len : NAMES_SHOWN), names);
}

void report_page_some_names(struct report_html *w, const struct report_site *s, size_t n,
			    const char *names)
{
	if (n == s->n_hosts && n > 1) {
		report_textf(w, "all %zu hosts", n);
		return;
	}
	report_textf(w, "%zu host%s: ", n, n == 1 ? "" : "s");
	report_page_short_names(w, names);
}

/* ---- what is in the way ---- */

static void pair(struct report_html *w, const char *name, const char *text)
{
	if (!text || !text[0])
		return;
	report_elem(w, "dt", NULL, "%s", name);
	report_elem(w, "dd", NULL, "%s", text);
}

/* "AMD EPYC has them; Intel Xeon lacks them", from one of the hosts */
static void example(struct report_html *w, const struct report_obstacle *o)
{
	const struct finding *f = o->finding;

	if (!f->need && !f->have)
		return;
	report_tag(w, "br");
	report_end(w);
	report_tag(w, "small");
	if (o->hosts > 1)
		report_text(w, "for example ");
	if (f->need)
		report_textf(w, "needs: %s", f->need);
	if (f->have)
		report_textf(w, "%shas: %s", f->need ? "; " : "", f->have);
	report_end(w);
}

static void obstacle(struct report_html *w, const struct report_site *s,
		     const struct report_obstacle *o)
{
	const struct finding *f = o->finding;

	report_tag(w, "li");
	if (f->subject) {
		report_elem(w, "code", NULL, "%s", f->subject);
		report_text(w, " ");
	}
	if (o->cells != o->hosts)
		report_textf(w, "%zu cells, ", o->cells);
	report_page_some_names(w, s, o->hosts, o->names);
	example(w, o);
	if (f->remedy) {
		report_tag(w, "br");
		report_end(w);
		report_elem(w, "span", "out", "%s", f->remedy);
	}
	if (f->action) {
		report_text(w, f->remedy ? ", or " : " ");
		report_elem(w, "code", NULL, "--allow %s", f->action);
	}
	if (f->otherwise) {
		report_text(w, ", or ");
		report_elem(w, "code", NULL, "--allow %s", f->otherwise);
	}
	report_end(w);
}

static void obstacles(struct report_page *p, const struct report_blocker *b, size_t from, size_t to)
{
	report_tag(&p->w, "ul");
	report_attr(&p->w, "class", "why");
	for (size_t i = from; i < to; i++)
		obstacle(&p->w, p->site, &b->obstacles[i]);
	report_end(&p->w);
}

static void blocker(struct report_page *p, const struct report_blocker *b)
{
	struct report_html *w = &p->w;
	size_t n = b->n_obstacles, first = n < OBSTACLES_SHOWN ? n : OBSTACLES_SHOWN;

	report_tag(w, "tr");
	report_attr(w, "id", "rule-%s", b->rule->id);
	report_tag(w, "td");
	report_elem(w, "strong", NULL, "%s", b->rule->title);
	report_tag(w, "br");
	report_end(w);
	report_elem(w, "code", NULL, "%s", b->rule->id);
	report_end(w);
	report_elem(w, "td", "n", "%zu", b->cells);
	report_elem(w, "td", "n", "%zu", b->alone);
	report_elem(w, "td", "n", "%zu", b->hosts);
	report_elem(w, "td", "n", "%zu", b->images);
	report_tag(w, "td");
	obstacles(p, b, 0, first);
	if (n > first) {
		report_tag(w, "details");
		report_elem(w, "summary", NULL, "%zu more", n - first);
		obstacles(p, b, first, n);
		report_end(w);
	}
	report_end(w);
	report_end(w);
}

void report_page_blockers(struct report_page *p)
{
	static const char *const names[] = { "Rule",  "Cells",  "Alone",
					     "Hosts", "Images", "What, and the way out" };
	struct report_html *w = &p->w;

	report_page_section(w, "blockers", "What is in the way");
	if (!p->blockers.n) {
		report_elem(w, "p", NULL, "Nothing: every host takes every image.");
		report_end(w);
		return;
	}
	report_elem(w, "p", "soft",
		    "Cells are pairs of an image and a host. Where a rule is alone, nothing else "
		    "stands in the way.");
	report_tag(w, "div");
	report_attr(w, "class", "wide");
	report_tag(w, "table");
	report_attr(w, "class", "list");
	report_page_columns(w, names, CK_ARRAY_SIZE(names), 1, 5);
	report_tag(w, "tbody");
	for (size_t i = 0; i < p->blockers.n; i++)
		blocker(p, &p->blockers.b[i]);
	report_end(w);
	report_end(w);
	report_end(w);
	report_end(w);
}

/* ---- images ---- */

static void counts(struct report_html *w, const struct report_counts *n)
{
	bool any = false;

	report_tag(w, "small");
	for (int v = 0; v < REPORT_N_VERDICTS; v++)
		if (n->of[v]) {
			report_textf(w, "%s%zu %s", any ? ", " : "", n->of[v],
				     report_look((enum verdict_status)v)->word);
			any = true;
		}
	report_end(w);
}

void report_page_images(struct report_page *p)
{
	static const char *const names[] = { "Image", "Made on", "Hosts" };
	const struct report_site *s = p->site;
	struct report_html *w = &p->w;

	report_page_section(w, "images", "Images");
	report_tag(w, "div");
	report_attr(w, "class", "wide");
	report_tag(w, "table");
	report_attr(w, "class", "list");
	report_page_columns(w, names, CK_ARRAY_SIZE(names), 0, 0);
	report_tag(w, "tbody");
	for (size_t i = 0; i < s->n_images; i++) {
		const struct verdict *v = report_cell(s, 0, i);
		struct report_counts n;

		report_count_image(s, i, &n);
		report_tag(w, "tr");
		report_tag(w, "td");
		report_elem(w, "code", NULL, "%s", s->images[i]);
		report_end(w);
		report_tag(w, "td");
		report_textf(w, "%s", v->source_host ? v->source_host : "not known");
		if (v->source_cpu) {
			report_tag(w, "br");
			report_end(w);
			report_elem(w, "small", NULL, "%s, Linux %s", v->source_cpu,
				    v->source_kernel ? v->source_kernel : "unknown");
		}
		report_end(w);
		report_tag(w, "td");
		report_bar(w, &n, s->n_hosts);
		counts(w, &n);
		report_end(w);
		report_end(w);
	}
	report_end(w);
	report_end(w);
	report_end(w);
	report_end(w);
}

/* ---- kinds of hosts ---- */

static void finding(struct report_page *p, const struct finding *f)
{
	const struct rule *r = policy_rule_find(f->rule);
	struct report_html *w = &p->w;

	report_tag(w, "li");
	report_elem(w, "strong", NULL, "%s", r ? r->title : "");
	report_text(w, " ");
	if (report_is_trouble(f) && !f->cause) {
		report_tag(w, "a");
		report_attr(w, "href", "#rule-%s", f->rule);
		report_elem(w, "code", NULL, "%s", f->rule);
		report_end(w);
	} else {
		report_elem(w, "code", NULL, "%s", f->rule);
	}
	report_textf(w, " %s",
		     f->overridden                   ? "overridden"
		     : f->status == FINDING_DEGRADED ? "the job may notice"
						     : "");
	if (f->cause)
		report_textf(w, " follows from %s", f->cause);
	report_tag(w, "dl");
	pair(w, "what", f->subject);
	pair(w, "needs", f->need);
	pair(w, "has", f->have);
	pair(w, "because", f->evidence);
	pair(w, "remedy", f->cause ? NULL : f->remedy);
	pair(w, "--allow", f->action);
	pair(w, "or --allow", f->otherwise);
	report_end(w);
	report_end(w);
}

static void deferred(struct report_html *w, const struct verdict *v)
{
	bool any = false;

	for (size_t i = 0; i < v->findings.n; i++) {
		if (v->findings.f[i].status != FINDING_DEFERRED)
			continue;
		if (!any) {
			report_tag(w, "p");
			report_attr(w, "class", "soft");
			report_text(w, "Left for ckpt check on the host: ");
		}
		report_textf(w, "%s%s", any ? ", " : "", v->findings.f[i].rule);
		any = true;
	}
	if (any)
		report_end(w);
}

static void block(struct report_page *p, size_t kind, size_t n)
{
	const struct report_block *b = &p->kinds.k[kind].blocks[n];
	const struct verdict *v = b->verdict;
	struct report_html *w = &p->w;

	report_tag(w, "div");
	report_attr(w, "class", "block");
	report_attr(w, "id", "k%zu-%zu", kind, n);
	verdict_tag(w, v->status);
	if (b->n == p->site->n_images) {
		report_text(w, p->site->n_images == 1 ? " " : " all images");
	} else {
		report_text(w, " ");
		for (size_t i = 0; i < b->n; i++)
			report_textf(w, "%s%s", i ? ", " : "", report_image_name(p, b->images[i]));
	}
	if (report_cause(v)) {
		report_tag(w, "ul");
		report_attr(w, "class", "why");
		for (size_t i = 0; i < v->findings.n; i++)
			if (v->findings.f[i].status != FINDING_DEFERRED)
				finding(p, &v->findings.f[i]);
		report_end(w);
	}
	deferred(w, v);
	report_end(w);
}

static void description(struct report_html *w, const struct report_host *h)
{
	struct tm tm;
	time_t at = (time_t)h->at;
	char when[40];

	report_tag(w, "p");
	report_attr(w, "class", "soft");
	report_textf(w, "%s%s%s%s, Linux %s", h->cpu, h->level ? " (" : "",
		     h->level ? h->level : "", h->level ? ")" : "",
		     h->kernel ? h->kernel : "unknown");
	if (h->memory)
		report_textf(w, ", %.0f GiB", (double)h->memory / (1 << 30));
	if (h->at && gmtime_r(&at, &tm) && strftime(when, sizeof(when), "%Y-%m-%d", &tm))
		report_textf(w, "; described %s", when);
	report_end(w);
}

void report_page_kinds(struct report_page *p)
{
	struct report_html *w = &p->w;

	report_page_section(w, "hosts", "Hosts, and why");
	for (size_t k = 0; k < p->kinds.n; k++) {
		const struct report_kind *kind = &p->kinds.k[k];

		report_tag(w, "div");
		report_attr(w, "class", "kind");
		report_attr(w, "id", "k%zu", k);
		report_tag(w, "h3");
		report_text(w, kind->names);
		if (kind->n > 1)
			report_elem(w, "small", NULL, " %zu hosts", kind->n);
		report_end(w);
		description(w, &p->site->hosts[kind->hosts[0]]);
		for (size_t i = 0; i < kind->n_blocks; i++)
			block(p, k, i);
		report_end(w);
	}
	report_end(w);
}

void report_page_unread(struct report_page *p)
{
	const struct report_site *s = p->site;
	struct report_html *w = &p->w;

	if (!s->n_unread)
		return;
	report_page_section(w, "unread", "Profiles left out");
	report_tag(w, "ul");
	for (size_t i = 0; i < s->n_unread; i++) {
		report_tag(w, "li");
		report_elem(w, "code", NULL, "%s", s->unread[i].profile);
		report_textf(w, ": %s", s->unread[i].error);
		report_end(w);
	}
	report_end(w);
	report_end(w);
}
