// SPDX-License-Identifier: Apache-2.0
/*
 * The page about a site: its top and the matrix of images against kinds of hosts. One file without
 * scripts that loads nothing; each cell leads to the lines that explain it.
 */
#include "report/page.h"

#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"

const struct report_look *report_look(enum verdict_status s)
{
	static const struct report_look looks[] = {
		[VERDICT_COMPATIBLE] = { "c", "✓", "compatible" },
		[VERDICT_ACTIONS] = { "a", "!", "to be allowed" },
		[VERDICT_UNDECIDED] = { "u", "?", "undecided" },
		[VERDICT_TRY_LATER] = { "t", "…", "not now" },
		[VERDICT_INCOMPATIBLE] = { "i", "✗", "incompatible" },
		[VERDICT_HOST] = { "h", "–", "host can't restore" },
		[VERDICT_IMAGE] = { "b", "‡", "image broken" },
	};

	return &looks[s];
}

const char *report_image_name(const struct report_page *p, size_t image)
{
	return p->site->images[image] + p->image_prefix;
}

/* Images usually lie side by side: the directories that all have in common say nothing. */
static size_t common_prefix(const struct report_site *s)
{
	size_t prefix = 0;

	for (size_t i = 0; s->images[0][i]; i++) {
		for (size_t k = 1; k < s->n_images; k++)
			if (s->images[k][i] != s->images[0][i])
				return prefix;
		if (s->images[0][i] == '/' && s->images[0][i + 1])
			prefix = i + 1;
	}
	return prefix;
}

void report_bar(struct report_html *w, const struct report_counts *n, size_t all)
{
	report_tag(w, "div");
	report_attr(w, "class", "bar");
	report_attr(w, "aria-hidden", "true");
	for (int v = 0; v < REPORT_N_VERDICTS; v++) {
		if (!n->of[v])
			continue;
		report_tag(w, "i");
		report_attr(w, "class", "%s", report_look((enum verdict_status)v)->class);
		report_attr(w, "style", "width:%.1f%%", 100. * (double)n->of[v] / (double)all);
		report_text(w, NULL);
		report_end(w);
	}
	report_end(w);
}

static void tile(struct report_html *w, size_t n, size_t of, const char *text)
{
	report_tag(w, "div");
	report_attr(w, "class", "tile");
	report_elem(w, "b", NULL, "%zu of %zu", n, of);
	report_text(w, text);
	report_end(w);
}

/* ---- the top ---- */

static void count_all(const struct report_site *s, struct report_counts *ret)
{
	*ret = (struct report_counts){ 0 };
	for (size_t c = 0; c < s->n_hosts * s->n_images; c++)
		ret->of[s->cells[c].status]++;
}

static void tiles(struct report_page *p)
{
	const struct report_site *s = p->site;
	size_t placed = 0, taking = 0, dumping = 0, perhaps = 0;
	struct report_counts n;

	for (size_t i = 0; i < s->n_images; i++) {
		report_count_image(s, i, &n);
		placed += n.of[VERDICT_COMPATIBLE] > 0;
	}
	for (size_t k = 0; k < p->kinds.n; k++)
		taking += p->kinds.k[k].can ? p->kinds.k[k].n : 0;
	for (size_t h = 0; h < s->n_hosts; h++) {
		dumping += s->hosts[h].ready.able[POLICY_DUMP] == CKPT_TRISTATE__CKPT_YES;
		perhaps += s->hosts[h].ready.able[POLICY_DUMP] == CKPT_TRISTATE__CKPT_UNKNOWN;
	}
	report_tag(&p->w, "div");
	report_attr(&p->w, "class", "tiles");
	tile(&p->w, placed, s->n_images, "images have a host that takes them");
	tile(&p->w, taking, s->n_hosts, "hosts take at least one of the images");
	tile(&p->w, dumping, s->n_hosts,
	     perhaps ? "hosts are known to have what a dump needs; of others it is not known"
		     : "hosts have what a dump needs");
	count_all(s, &n);
	tile(&p->w, n.of[VERDICT_COMPATIBLE], s->n_hosts * s->n_images,
	     "pairs of image and host are compatible");
	report_end(&p->w);
	report_bar(&p->w, &n, s->n_hosts * s->n_images);
}

static void link_to(struct report_html *w, const char *id, const char *text)
{
	report_tag(w, "li");
	report_tag(w, "a");
	report_attr(w, "href", "#%s", id);
	report_text(w, text);
	report_end(w);
	report_end(w);
}

static void top(struct report_page *p, time_t now)
{
	const struct report_site *s = p->site;
	struct report_html *w = &p->w;
	char when[40] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", &tm);
	report_tag(w, "header");
	report_elem(w, "h1", NULL, "Where can these jobs go?");
	report_tag(w, "p");
	report_attr(w, "class", "soft");
	report_textf(w, "%zu image%s judged for %zu host%s of %zu kind%s by ckpt, policy %s, %s",
		     s->n_images, s->n_images == 1 ? "" : "s", s->n_hosts,
		     s->n_hosts == 1 ? "" : "s", p->kinds.n, p->kinds.n == 1 ? "" : "s", s->policy,
		     when);
	report_end(w);
	report_tag(w, "nav");
	report_attr(w, "aria-label", "Sections");
	report_tag(w, "ul");
	link_to(w, "matrix", "Matrix");
	link_to(w, "blockers", "What is in the way");
	link_to(w, "images", "Images");
	link_to(w, "readiness", "Readiness");
	link_to(w, "hosts", "Hosts");
	if (s->n_unread)
		link_to(w, "unread", "Profiles left out");
	report_end(w);
	report_end(w);
	tiles(p);
	report_end(w);
}

/* ---- the matrix ---- */

static void legend(struct report_page *p)
{
	const struct report_site *s = p->site;
	struct report_counts all;

	count_all(s, &all);
	report_tag(&p->w, "ul");
	report_attr(&p->w, "class", "legend");
	for (int v = 0; v < REPORT_N_VERDICTS; v++) {
		const struct report_look *look = report_look((enum verdict_status)v);

		if (!all.of[v])
			continue;
		report_tag(&p->w, "li");
		report_tag(&p->w, "span");
		report_attr(&p->w, "class", "tag %s", look->class);
		report_text(&p->w, look->sign);
		report_end(&p->w);
		report_textf(&p->w, " %s: %zu", look->word, all.of[v]);
		report_end(&p->w);
	}
	report_end(&p->w);
}

static void matrix_head(struct report_page *p)
{
	struct report_html *w = &p->w;

	report_tag(w, "thead");
	report_tag(w, "tr");
	report_tag(w, "th");
	report_attr(w, "scope", "col");
	report_text(w, "Hosts");
	report_end(w);
	for (size_t i = 0; i < p->site->n_images; i++) {
		report_tag(w, "th");
		report_attr(w, "scope", "col");
		report_attr(w, "class", "v");
		report_tag(w, "span");
		report_attr(w, "title", "%s", p->site->images[i]);
		report_text(w, report_image_name(p, i));
		report_end(w);
		report_end(w);
	}
	report_tag(w, "th");
	report_attr(w, "scope", "col");
	report_attr(w, "class", "v");
	report_elem(w, "span", "soft", "takes");
	report_end(w);
	report_end(w);
	report_end(w);
}

static void cell(struct report_page *p, size_t kind, size_t image)
{
	const struct report_kind *k = &p->kinds.k[kind];
	size_t block = k->block_of[image];
	const struct verdict *v = k->blocks[block].verdict;
	const struct report_look *look = report_look(v->status);
	const struct finding *f = report_cause(v);
	const struct rule *r = f ? policy_rule_find(f->rule) : NULL;
	struct report_html *w = &p->w;

	report_tag(w, "td");
	report_tag(w, "a");
	report_attr(w, "class", "%s", look->class);
	report_attr(w, "href", "#k%zu-%zu", kind, block);
	report_attr(w, "title", "%s%s%s", look->word, r ? ": " : "", r ? r->title : "");
	/* Signs are read out as "ballot x" and the like. */
	report_attr(w, "aria-label", "%s", look->word);
	report_text(w, look->sign);
	report_end(w);
	report_end(w);
}

static void matrix_row(struct report_page *p, size_t kind)
{
	const struct report_kind *k = &p->kinds.k[kind];
	const struct report_host *h = &p->site->hosts[k->hosts[0]];
	struct report_html *w = &p->w;

	report_tag(w, "tr");
	report_tag(w, "th");
	report_attr(w, "scope", "row");
	report_tag(w, "a");
	report_attr(w, "href", "#k%zu", kind);
	report_text(w, k->names);
	report_end(w);
	report_tag(w, "small");
	if (k->n > 1)
		report_textf(w, "%zu hosts: ", k->n);
	report_textf(w, "%s, Linux %s", h->cpu, h->kernel ? h->kernel : "unknown");
	report_end(w);
	report_end(w);
	for (size_t i = 0; i < p->site->n_images; i++)
		cell(p, kind, i);
	report_elem(w, "td", "n", "%zu", k->can);
	report_end(w);
}

static void matrix(struct report_page *p)
{
	struct report_html *w = &p->w;
	struct report_counts n;

	report_tag(w, "section");
	report_attr(w, "id", "matrix");
	report_elem(w, "h2", NULL, "Images against hosts");
	legend(p);
	report_tag(w, "div");
	report_attr(w, "class", "wide");
	report_tag(w, "table");
	report_attr(w, "class", "m");
	matrix_head(p);
	report_tag(w, "tbody");
	for (size_t k = 0; k < p->kinds.n; k++)
		matrix_row(p, k);
	report_end(w);
	report_tag(w, "tfoot");
	report_tag(w, "tr");
	report_tag(w, "th");
	report_attr(w, "scope", "row");
	report_text(w, "hosts that take it");
	report_end(w);
	for (size_t i = 0; i < p->site->n_images; i++) {
		report_count_image(p->site, i, &n);
		report_elem(w, "td", NULL, "%zu", n.of[VERDICT_COMPATIBLE]);
	}
	report_elem(w, "td", NULL, " ");
	report_end(w);
	report_end(w);
	report_end(w);
	report_end(w);
	report_end(w);
}

/* ---- the whole ---- */

static void head(struct report_html *w)
{
	fputs("<!DOCTYPE html>\n", w->out);
	report_tag(w, "html");
	report_attr(w, "lang", "en");
	report_tag(w, "head");
	report_tag(w, "meta");
	report_attr(w, "charset", "utf-8");
	report_end(w);
	report_elem(w, "title", NULL, "ckpt: images against hosts");
	report_tag(w, "meta");
	report_attr(w, "name", "viewport");
	report_attr(w, "content", "width=device-width, initial-scale=1");
	report_end(w);
	report_css(w, report_page_css);
	report_end(w);
}

static void page(struct report_page *p, time_t now)
{
	head(&p->w);
	report_tag(&p->w, "body");
	top(p, now);
	report_tag(&p->w, "main");
	matrix(p);
	report_page_blockers(p);
	report_page_images(p);
	report_page_readiness(p);
	report_page_kinds(p);
	report_page_unread(p);
	report_end(&p->w);
	report_end(&p->w);
	report_end(&p->w);
}

int report_site_html(FILE *out, const struct report_site *s, time_t now, struct ck_err *err)
{
	struct report_page p = {
		.w = REPORT_HTML_INIT(out),
		.site = s,
		.image_prefix = common_prefix(s),
	};
	int r = report_kinds_of(s, &p.kinds);

	r = r ? r : report_blockers_of(s, &p.blockers);
	if (r == 0)
		page(&p, now);
	report_kinds_done(&p.kinds);
	report_blockers_done(&p.blockers);
	if (r < 0 || p.w.failed)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make the page");
	if (p.w.bug || p.w.depth)
		return ck_fail(err, CK_ERR_BUG, -EPROTO, "the page's elements are not nested");
	if (fflush(out) != 0 || ferror(out))
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write the page");
	return 0;
}
