// SPDX-License-Identifier: Apache-2.0
/*
 * A writer of HTML that can't but escape. What is no UTF-8, a control character, or a character
 * that changes the direction of text becomes U+FFFD: it would let a name look like another, or
 * hide a part of it.
 */
#include "report/html.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "report/utf8.h"

static bool is_void(const char *name)
{
	static const char *const names[] = { "meta", "br", "col", "hr" };

	for (size_t i = 0; i < CK_ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static uint32_t decode(const unsigned char *p, size_t len)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t c = p[0] & first[len];

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (p[i] & 0x3f);
	return c;
}

/* Controls (Unicode's Cc), directions and other marks without a shape, and what XML excludes. */
static bool is_hidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || c == 0x180e ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) ||
	       (c & 0xfffe) == 0xfffe || (c >= 0xe0000 && c <= 0xe0fff);
}

static void put(FILE *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p;) {
		size_t len = report_utf8_len(p);

		switch (*p) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
			break;
		default:
			if (len && !is_hidden(decode(p, len)))
				fwrite(p, 1, len, out);
			else
				fputs("\xef\xbf\xbd", out);
		}
		p += len ? len : 1;
	}
}

static void __attribute__((format(printf, 2, 0)))
put_va(struct report_html *w, const char *fmt, va_list ap)
{
	CK_AUTO(free) char *s = NULL;

	if (vasprintf(&s, fmt, ap) < 0) {
		s = NULL;
		w->failed = true;
		return;
	}
	put(w->out, s);
}

static void end_tag(struct report_html *w)
{
	if (w->in_tag)
		fputc('>', w->out);
	w->in_tag = false;
}

void report_tag(struct report_html *w, const char *name)
{
	end_tag(w);
	fprintf(w->out, "<%s", name);
	w->in_tag = true;
	if (w->depth < REPORT_HTML_DEPTH)
		w->open[w->depth] = name;
	else
		w->bug = true;
	w->depth++;
}

void report_end(struct report_html *w)
{
	const char *name;

	if (!w->depth || w->depth > REPORT_HTML_DEPTH) {
		w->bug = true;
		w->depth -= w->depth > 0;
		return;
	}
	name = w->open[--w->depth];
	if (is_void(name))
		fputs("/>", w->out);
	else
		fprintf(w->out, "%s</%s>", w->in_tag ? ">" : "", name);
	w->in_tag = false;
	/* Lines keep the page fit for diff and editors. */
	if (strlen(name) > 1 && strcmp(name, "td") != 0 && strcmp(name, "span") != 0 &&
	    strcmp(name, "code") != 0)
		fputc('\n', w->out);
}

void report_attr(struct report_html *w, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (!w->in_tag) {
		w->bug = true;
		return;
	}
	fprintf(w->out, " %s=\"", name);
	va_start(ap, fmt);
	put_va(w, fmt, ap);
	va_end(ap);
	fputc('"', w->out);
}

void report_text(struct report_html *w, const char *text)
{
	end_tag(w);
	if (text)
		put(w->out, text);
}

void report_textf(struct report_html *w, const char *fmt, ...)
{
	va_list ap;

	end_tag(w);
	va_start(ap, fmt);
	put_va(w, fmt, ap);
	va_end(ap);
}

void report_elem(struct report_html *w, const char *name, const char *class, const char *fmt, ...)
{
	va_list ap;

	report_tag(w, name);
	if (class)
		report_attr(w, "class", "%s", class);
	end_tag(w);
	va_start(ap, fmt);
	put_va(w, fmt, ap);
	va_end(ap);
	report_end(w);
}

void report_css(struct report_html *w, const char *css)
{
	report_tag(w, "style");
	end_tag(w);
	fputs(css, w->out);
	report_end(w);
}
