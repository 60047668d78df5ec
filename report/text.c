// SPDX-License-Identifier: Apache-2.0
/*
 * A verdict as text: what decides first and in full, then as much as a screen holds. What only
 * follows from another finding is one line below that. Names come from images and other hosts:
 * control characters are shown as escapes, so that none of them reaches a terminal.
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "report/report.h"
#include "report/utf8.h"

enum {
	SCREEN = 24, /* lines */
	LAST = 2,    /* kept for what was left out, and where to read on */
};

/* How much of the screen is used. */
struct page {
	FILE *out;
	bool all; /* no limit */
	size_t lines;
	size_t left_out;
};

static void put(FILE *out, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	while (*p) {
		size_t n = report_utf8_len(p);
		/* U+0080 to U+009F are control characters too. */
		bool plain = n > 1 ? p[0] != 0xc2 || p[1] >= 0xa0 : n && *p >= 0x20 && *p != 0x7f;

		if (plain)
			fwrite(p, 1, n, out);
		for (size_t i = 0; !plain && i < (n ? n : 1); i++)
			fprintf(out, "\\x%02x", p[i]);
		p += n ? n : 1;
	}
}

static bool has_text(const char *s)
{
	return s && s[0];
}

/* "    label    text", if there is a text */
static void field(FILE *out, const char *label, const char *text)
{
	if (!has_text(text))
		return;
	fprintf(out, "    %-9s", label);
	put(out, text);
	fputc('\n', out);
}

static const char *word(const struct finding *f)
{
	if (f->overridden)
		return "OVERRIDDEN";
	switch (f->status) {
	case FINDING_REFUSE:
		return "REFUSED";
	case FINDING_UNKNOWN:
		return "UNDECIDED";
	case FINDING_ACTION:
		return "TO ALLOW";
	case FINDING_DEFERRED:
		return "DEFERRED";
	case FINDING_DEGRADED:
		return "NOTE";
	case FINDING_OK:
		return "OK";
	case FINDING_NA:
		return "NOT NEEDED";
	}
	return "?";
}

static void first_line(FILE *out, const struct finding *f, const char *as)
{
	const struct rule *r = policy_rule_find(f->rule);

	/* A title says what is wrong; here nothing is. */
	if (f->status == FINDING_OK || f->status == FINDING_NA)
		fprintf(out, "%s  [%s]", as, f->rule);
	else
		fprintf(out, "%s  %s%s [%s]", as, f->status == FINDING_DEFERRED ? "whether " : "",
			r ? r->title : "", f->rule);
	if (f->subject) {
		fputs(": ", out);
		put(out, f->subject);
	}
	fputc('\n', out);
}

static size_t full_lines(const struct finding *f)
{
	return 1u + has_text(f->need) + has_text(f->have) + has_text(f->evidence) +
	       has_text(f->remedy) + (f->status == FINDING_ACTION) +
	       (f->status == FINDING_ACTION && f->otherwise);
}

static void full(FILE *out, const struct finding *f)
{
	fputs("  ", out);
	first_line(out, f, word(f));
	field(out, "needs", f->need);
	field(out, "has", f->have);
	field(out, "because", f->evidence);
	field(out, "remedy", f->remedy);
	if (f->status == FINDING_ACTION)
		fprintf(out, "    %-9s--allow %s\n", "or", f->action);
	if (f->status == FINDING_ACTION && f->otherwise)
		fprintf(out, "    %-9s--allow %s\n", "or", f->otherwise);
}

/* In full as long as there is room, then by its first line, then not at all. */
static void show(struct page *p, const struct finding *f)
{
	size_t room = p->lines < SCREEN - LAST ? SCREEN - LAST - p->lines : 0;

	if (!p->all && !room) {
		p->left_out++;
	} else if (f->cause) {
		fputs("    ", p->out);
		first_line(p->out, f, "hence  ");
		p->lines++;
	} else if (p->all || full_lines(f) <= room) {
		full(p->out, f);
		p->lines += full_lines(f);
	} else {
		fputs("  ", p->out);
		first_line(p->out, f, word(f));
		p->lines++;
	}
}

static const char *headline(const struct verdict *v)
{
	switch (v->status) {
	case VERDICT_COMPATIBLE:
		return "compatible: the job can be restored here";
	case VERDICT_ACTIONS:
		return "compatible once the actions below are allowed";
	case VERDICT_UNDECIDED:
		return "undecided: what would decide is below; --allow-undecided goes ahead";
	case VERDICT_TRY_LATER:
		return "not now: try again later";
	case VERDICT_INCOMPATIBLE:
		return "incompatible: the job would not run here";
	case VERDICT_HOST:
		return "this host can't restore anything";
	case VERDICT_IMAGE:
		return "the image can't be used";
	}
	return "";
}

/* The number of lines. */
static size_t host_line(FILE *out, const char *label, const char *host, const char *cpu,
			const char *kernel)
{
	if (!host && !cpu)
		return 0;
	fprintf(out, "  %-6s", label);
	put(out, host ? host : "unknown host");
	fputs(", ", out);
	put(out, cpu ? cpu : "unknown CPU");
	fputs(", Linux ", out);
	put(out, kernel ? kernel : "unknown");
	fputc('\n', out);
	return 1;
}

static bool is_shown(const struct finding *f, unsigned int flags)
{
	return (flags & REPORT_ALL) || (f->status != FINDING_OK && f->status != FINDING_NA);
}

static void overrides(struct page *p, const struct verdict *v)
{
	for (size_t i = 0; i < v->n_overrides; i++) {
		const struct verdict_override *o = &v->overrides[i];

		fprintf(p->out, "  %s overridden by ", o->rule);
		put(p->out, o->by);
		fprintf(p->out, " at %s: %zu %s\n", o->at, o->n,
			o->n == 1 ? "finding" : "findings");
		p->lines++;
	}
}

int report_verdict_text(FILE *out, const struct verdict *v, unsigned int flags, struct ck_err *err)
{
	struct page p = { .out = out, .all = flags & REPORT_ALL, .lines = 1 };

	put(out, v->image ? v->image : "image");
	fprintf(out, ": %s\n", headline(v));
	overrides(&p, v);
	if (v->status != VERDICT_COMPATIBLE || p.all) {
		p.lines += host_line(out, "from", v->source_host, v->source_cpu, v->source_kernel);
		p.lines += host_line(out, v->live ? "here" : "to", v->target_host, v->target_cpu,
				     v->target_kernel);
	}
	for (size_t i = 0; i < v->findings.n; i++)
		if (is_shown(&v->findings.f[i], flags))
			show(&p, &v->findings.f[i]);
	if (p.left_out)
		fprintf(out, "  ... and %zu more: --all shows them, and all in full\n", p.left_out);
	if (v->status != VERDICT_COMPATIBLE)
		fputs("  ckpt explain RULE tells more about [RULE].\n", out);
	if (fflush(out) != 0 || ferror(out))
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write the report");
	return 0;
}
