// SPDX-License-Identifier: Apache-2.0
/*
 * A verdict as text: what decides first, at most a screen of it. Names come from images and other
 * hosts: control characters are shown as escapes, so that none of them reaches a terminal.
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "report/report.h"

enum { MAX_LINES = 12 }; /* findings of one status that are shown */

static void put(FILE *out, const char *s)
{
	for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\x%02x", *p);
		else
			fputc(*p, out);
	}
}

/* "\tlabel: text", if there is a text */
static void field(FILE *out, const char *label, const char *text)
{
	if (!text || !text[0])
		return;
	fprintf(out, "    %-9s", label);
	put(out, text);
	fputc('\n', out);
}

static const char *word(enum finding_status s)
{
	switch (s) {
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

static void finding_text(FILE *out, const struct finding *f)
{
	const struct rule *r = policy_rule_find(f->rule);

	/* A title says what is wrong; here nothing is. */
	if (f->status == FINDING_OK || f->status == FINDING_NA)
		fprintf(out, "  %s  [%s]", word(f->status), f->rule);
	else
		fprintf(out, "  %s  %s [%s]", word(f->status), r ? r->title : "", f->rule);
	if (f->subject) {
		fputs(": ", out);
		put(out, f->subject);
	}
	fputc('\n', out);
	field(out, "needs", f->need);
	field(out, "has", f->have);
	field(out, "because", f->evidence);
	field(out, "remedy", f->remedy);
	if (f->status == FINDING_ACTION)
		fprintf(out, "    %-9s--allow %s\n", "or", f->action);
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

static void host_line(FILE *out, const char *label, const char *host, const char *cpu,
		      const char *kernel)
{
	if (!host && !cpu)
		return;
	fprintf(out, "  %-6s", label);
	put(out, host ? host : "unknown host");
	fputs(", ", out);
	put(out, cpu ? cpu : "unknown CPU");
	fputs(", Linux ", out);
	put(out, kernel ? kernel : "unknown");
	fputc('\n', out);
}

static bool is_shown(const struct finding *f, unsigned int flags)
{
	return (flags & REPORT_ALL) || (f->status != FINDING_OK && f->status != FINDING_NA);
}

int report_verdict_text(FILE *out, const struct verdict *v, unsigned int flags, struct ck_err *err)
{
	size_t of_status = 0, left_out = 0;

	put(out, v->image ? v->image : "image");
	fprintf(out, ": %s\n", headline(v));
	if (v->status != VERDICT_COMPATIBLE || (flags & REPORT_ALL)) {
		host_line(out, "from", v->source_host, v->source_cpu, v->source_kernel);
		host_line(out, v->live ? "here" : "to", v->target_host, v->target_cpu,
			  v->target_kernel);
	}
	for (size_t i = 0; i < v->findings.n; i++) {
		const struct finding *f = &v->findings.f[i];

		if (!is_shown(f, flags))
			continue;
		if (i && v->findings.f[i - 1].status != f->status)
			of_status = 0;
		if (++of_status > MAX_LINES && !(flags & REPORT_ALL))
			left_out++;
		else
			finding_text(out, f);
	}
	if (left_out)
		fprintf(out, "  ... and %zu more; --format json has them all\n", left_out);
	if (fflush(out) != 0 || ferror(out))
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write the report");
	return 0;
}
