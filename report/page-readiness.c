// SPDX-License-Identifier: Apache-2.0
/*
 * The page about a site: what ckpt itself can do on each host, and for lack of what it can't.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "report/page.h"

static const char *yes_no(CkptTristate t)
{
	return t == CKPT_TRISTATE__CKPT_YES  ? "yes"
	       : t == CKPT_TRISTATE__CKPT_NO ? "no"
					     : "not known";
}

static void ability(struct report_html *w, CkptTristate t, const char *how)
{
	report_tag(w, "td");
	report_tag(w, "span");
	report_attr(w, "class", "tag %s",
		    t == CKPT_TRISTATE__CKPT_YES  ? "c"
		    : t == CKPT_TRISTATE__CKPT_NO ? "i"
						  : "u");
	report_text(w, yes_no(t));
	report_end(w);
	report_text(w, how);
	report_end(w);
}

/* One way to restore is enough. */
static void restore_ability(struct report_html *w, const struct policy_readiness *r)
{
	CkptTristate in_place = r->able[POLICY_RESTORE_IN_PLACE];
	CkptTristate beside = r->able[POLICY_RESTORE_BESIDE];
	const CkptTristate yes = CKPT_TRISTATE__CKPT_YES, no = CKPT_TRISTATE__CKPT_NO;

	if (in_place == yes)
		ability(w, yes, beside == yes ? " in place and in namespaces" : " in place");
	else if (beside == yes)
		ability(w, yes, " in namespaces");
	else
		ability(w, in_place == no && beside == no ? no : CKPT_TRISTATE__CKPT_UNKNOWN, NULL);
}

static bool is_follow_up(const struct policy_lack *l)
{
	/* "not tried, without the namespace": what is lacking there stands on a line of its own. */
	return l->value != CKPT_TRISTATE__CKPT_NO && strstr(l->detail, "not tried");
}

/* The facts for which a host can't dump, or can't restore in any way. */
static void blocking(struct report_html *w, const struct policy_readiness *r)
{
	const unsigned int restore = 1u << POLICY_RESTORE_IN_PLACE | 1u << POLICY_RESTORE_BESIDE;
	bool can = r->able[POLICY_RESTORE_IN_PLACE] == CKPT_TRISTATE__CKPT_YES ||
		   r->able[POLICY_RESTORE_BESIDE] == CKPT_TRISTATE__CKPT_YES;
	bool any = false;

	report_tag(w, "td");
	for (size_t i = 0; i < r->n_lacks; i++) {
		const struct policy_lack *l = &r->lacks[i];

		if (!(l->blocks & ~(can ? restore : 0)) || is_follow_up(l))
			continue;
		report_text(w, any ? ", " : NULL);
		any = true;
		if (l->value != CKPT_TRISTATE__CKPT_NO) {
			report_elem(w, "code", NULL, "%s", l->fact);
			report_text(w, "?");
			continue;
		}
		report_tag(w, "a");
		report_attr(w, "href", "#fact-%s", l->fact);
		report_elem(w, "code", NULL, "%s", l->fact);
		report_end(w);
	}
	report_end(w);
}

static void abilities(struct report_page *p)
{
	static const char *const names[] = { "Hosts", "Dump", "Restore", "For lack of" };
	struct report_html *w = &p->w;

	report_tag(w, "table");
	report_attr(w, "class", "list");
	report_page_columns(w, names, CK_ARRAY_SIZE(names), 0, 0);
	report_tag(w, "tbody");
	for (size_t k = 0; k < p->kinds.n; k++) {
		const struct report_kind *kind = &p->kinds.k[k];
		const struct policy_readiness *r = &p->site->hosts[kind->hosts[0]].ready;

		report_tag(w, "tr");
		report_tag(w, "td");
		report_tag(w, "a");
		report_attr(w, "href", "#k%zu", k);
		report_page_short_names(w, kind->names);
		report_end(w);
		report_end(w);
		ability(w, r->able[POLICY_DUMP], NULL);
		restore_ability(w, r);
		blocking(w, r);
		report_end(w);
	}
	report_end(w);
	report_end(w);
}

static const struct policy_lack *find_lack(const struct report_host *h, const char *fact,
					   CkptTristate value)
{
	for (size_t i = 0; i < h->ready.n_lacks; i++) {
		const struct policy_lack *l = &h->ready.lacks[i];

		if (!strcmp(l->fact, fact) && l->value == value && !is_follow_up(l))
			return l;
	}
	return NULL;
}

/* A fact that hosts lack: what it is for, and which hosts. */
static void lack(struct report_page *p, const struct policy_lack *l)
{
	const struct report_site *s = p->site;
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	CK_AUTO(free) const char **names = calloc(s->n_hosts + 1, sizeof(*names));
	struct report_html *w = &p->w;
	size_t n = 0;

	for (size_t h = 0; h < s->n_hosts && names; h++)
		if (find_lack(&s->hosts[h], l->fact, l->value))
			names[n++] = s->hosts[h].name;
	if (names) {
		qsort(names, n, sizeof(*names), report_compare_names);
		report_fold_names(&b, names, n);
	}
	w->failed = w->failed || !names || !ck_strbuf_ok(&b);
	report_tag(w, "tr");
	report_attr(w, "id", "fact-%s", l->fact);
	report_tag(w, "td");
	report_textf(w, "%s ", l->meaning);
	report_elem(w, "code", NULL, "%s", l->fact);
	report_end(w);
	report_elem(w, "td", NULL, "%s", l->who);
	report_elem(w, "td", NULL, "%s", l->since);
	report_tag(w, "td");
	report_page_some_names(w, s, n, ck_strbuf_str(&b));
	if (l->detail[0]) {
		report_tag(w, "br");
		report_end(w);
		report_elem(w, "small", NULL, "%s%s", n > 1 ? "for example " : "", l->detail);
	}
	report_end(w);
	report_end(w);
}

typedef void (*lack_fn)(struct report_page *p, const struct policy_lack *l);

/* Every fact that has this value on any host, once; how many there are. */
static size_t each_lack(struct report_page *p, CkptTristate value, lack_fn fn)
{
	const struct report_site *s = p->site;
	size_t n = 0;

	for (size_t k = 0; k < p->kinds.n; k++) {
		const struct report_host *h = &s->hosts[p->kinds.k[k].hosts[0]];

		for (size_t i = 0; i < h->ready.n_lacks; i++) {
			const struct policy_lack *l = &h->ready.lacks[i];
			bool seen = l->value != value || is_follow_up(l);

			for (size_t b = 0; b < k && !seen; b++)
				seen = find_lack(&s->hosts[p->kinds.k[b].hosts[0]], l->fact, value);
			if (!seen)
				fn(p, l);
			n += !seen;
		}
	}
	return n;
}

static void lacks(struct report_page *p)
{
	static const char *const names[] = { "What is lacking", "Who needs it", "Since Linux",
					     "Hosts without" };
	struct report_html *w = &p->w;

	report_tag(w, "table");
	report_attr(w, "class", "list");
	report_page_columns(w, names, CK_ARRAY_SIZE(names), 0, 0);
	report_tag(w, "tbody");
	each_lack(p, CKPT_TRISTATE__CKPT_NO, lack);
	report_end(w);
	report_end(w);
}

static void ignore(struct report_page *p, const struct policy_lack *l)
{
	(void)p;
	(void)l;
}

static void unknown(struct report_page *p, const struct policy_lack *l)
{
	const struct report_site *s = p->site;
	size_t n = 0;

	for (size_t h = 0; h < s->n_hosts; h++)
		n += find_lack(&s->hosts[h], l->fact, l->value) != NULL;
	report_text(&p->w, " ");
	report_elem(&p->w, "code", NULL, "%s", l->fact);
	report_textf(&p->w, " (%zu)", n);
}

static void unknowns(struct report_page *p)
{
	struct report_html *w = &p->w;

	if (!each_lack(p, CKPT_TRISTATE__CKPT_UNKNOWN, ignore))
		return;
	report_tag(w, "p");
	report_attr(w, "class", "soft");
	report_text(w, "Not known, and on how many hosts; a new ckpt probe may tell:");
	each_lack(p, CKPT_TRISTATE__CKPT_UNKNOWN, unknown);
	report_end(w);
}

void report_page_readiness(struct report_page *p)
{
	struct report_html *w = &p->w;

	report_page_section(w, "readiness", "What ckpt can do on each host");
	report_elem(w, "p", "soft",
		    "For the user who made the profile. In place: the job gets its pids in the "
		    "host's own pid namespace. In namespaces: beside others that have these pids.");
	report_tag(w, "div");
	report_attr(w, "class", "wide");
	abilities(p);
	report_end(w);
	report_elem(w, "h3", "sub", "What hosts lack");
	report_tag(w, "div");
	report_attr(w, "class", "wide");
	lacks(p);
	report_end(w);
	unknowns(p);
	report_end(w);
}
