/* SPDX-License-Identifier: Apache-2.0 */
/* Private to report/: the parts of the page about a site. */
#ifndef CK_REPORT_PAGE_H
#define CK_REPORT_PAGE_H

#include "report/html.h"
#include "report/kinds.h"

struct report_page {
	struct report_html w;
	const struct report_site *site;
	struct report_kinds kinds;
	struct report_blockers blockers;
	size_t image_prefix; /* bytes that the names of all images begin with */
};

extern const char report_page_css[];

/* How a verdict looks: a class in the CSS, a sign, a word. */
struct report_look {
	const char *class, *sign, *word;
};
const struct report_look *report_look(enum verdict_status s);
/* What an image is called on the page. */
const char *report_image_name(const struct report_page *p, size_t image);

/* A bar of coloured shares of all; what they are stands beside it in words. */
void report_bar(struct report_html *w, const struct report_counts *n, size_t all);

/* ---- what sections are made of (page-parts.c) ---- */
/* Opens a section with its heading. */
void report_page_section(struct report_html *w, const char *id, const char *title);
/* A table's head; columns [from, to) are numbers. */
void report_page_columns(struct report_html *w, const char *const *names, size_t n, size_t from,
			 size_t to);
/* "a[01-40].site", cut where it would fill the table. */
void report_page_short_names(struct report_html *w, const char *names);
/* n hosts of a site by their folded names, or "all 200 hosts". */
void report_page_some_names(struct report_html *w, const struct report_site *s, size_t n,
			    const char *names);

/* ---- a section each (page-parts.c, page-readiness.c) ---- */
void report_page_blockers(struct report_page *p);
void report_page_readiness(struct report_page *p);
void report_page_images(struct report_page *p);
void report_page_kinds(struct report_page *p);
void report_page_unread(struct report_page *p);

#endif
