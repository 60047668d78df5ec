// SPDX-License-Identifier: Apache-2.0
/*
 * What the forms of a site's report share: its cells, counted, and what decides each. Judges
 * nothing: that is done when a site is here.
 */
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "report/internal.h"
#include "report/utf8.h"

void report_site_done(struct report_site *s)
{
	for (size_t i = 0; i < s->n_hosts * s->n_images && s->cells; i++)
		policy_verdict_done(&s->cells[i]);
	for (size_t i = 0; i < s->n_hosts; i++) {
		free(s->hosts[i].profile);
		free(s->hosts[i].name);
		free(s->hosts[i].cpu);
		free(s->hosts[i].kernel);
		free(s->hosts[i].level);
		policy_readiness_done(&s->hosts[i].ready);
	}
	for (size_t i = 0; i < s->n_unread; i++) {
		free(s->unread[i].profile);
		free(s->unread[i].error);
	}
	for (size_t i = 0; i < s->n_images; i++)
		free(s->images[i]);
	free(s->cells);
	free(s->hosts);
	free(s->unread);
	free(s->images);
	free(s->policy);
	memset(s, 0, sizeof(*s));
}

const struct verdict *report_cell(const struct report_site *s, size_t host, size_t image)
{
	return &s->cells[host * s->n_images + image];
}

void report_count_image(const struct report_site *s, size_t image, struct report_counts *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t h = 0; h < s->n_hosts; h++)
		ret->of[report_cell(s, h, image)->status]++;
}

bool report_is_trouble(const struct finding *f)
{
	return f->status == FINDING_REFUSE || f->status == FINDING_UNKNOWN ||
	       f->status == FINDING_ACTION;
}

const struct finding *report_cause(const struct verdict *v)
{
	/* The judge puts first what decides. */
	for (size_t i = 0; i < v->findings.n; i++)
		if (v->findings.f[i].status != FINDING_DEFERRED)
			return &v->findings.f[i];
	return NULL;
}

/* U+0080 to U+009F are control characters too. */
static bool is_plain(const unsigned char *p, size_t len)
{
	return len > 1 ? p[0] != 0xc2 || p[1] >= 0xa0 : len && *p >= 0x20 && *p != 0x7f;
}

void report_put(struct ck_strbuf *b, const char *text, size_t max)
{
	const unsigned char *p = (const unsigned char *)text;

	for (size_t n = 0; *p; n++) {
		size_t len = report_utf8_len(p), bytes = len ? len : 1;

		if (n == max) {
			ck_strbuf_addf(b, "...");
			return;
		}
		if (is_plain(p, len))
			ck_strbuf_add(b, p, len);
		for (size_t i = 0; !is_plain(p, len) && i < bytes; i++)
			ck_strbuf_addf(b, "\\x%02x", p[i]);
		p += bytes;
	}
}
