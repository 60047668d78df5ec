/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to report/: writes HTML that is well-formed as XML too. Text and attributes are escaped,
 * always: there is no way to write markup but by report_tag(). Names from images and profiles can
 * so neither become markup nor, by control or direction characters, look like something else.
 */
#ifndef CK_REPORT_HTML_H
#define CK_REPORT_HTML_H

#include <stdbool.h>
#include <stdio.h>

enum { REPORT_HTML_DEPTH = 24 };

struct report_html {
	FILE *out;
	const char *open[REPORT_HTML_DEPTH]; /* elements; all names are literals */
	unsigned int depth;
	bool in_tag; /* attributes may still come */
	bool bug;    /* ends don't match, or too deep */
	bool failed; /* memory ran out */
};

#define REPORT_HTML_INIT(stream) \
	{                        \
		.out = (stream)  \
	}

/* Opens an element, closes the innermost one. An element without contents is closed as a void one
 * may be. */
void report_tag(struct report_html *w, const char *name);
void report_end(struct report_html *w);
/* Right after report_tag(). */
void report_attr(struct report_html *w, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* NULL writes nothing. */
void report_text(struct report_html *w, const char *text);
void report_textf(struct report_html *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A whole element with text in it; class may be NULL. */
void report_elem(struct report_html *w, const char *name, const char *class, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The contents of <style>: a literal without markup. */
void report_css(struct report_html *w, const char *css);

#endif
