// SPDX-License-Identifier: Apache-2.0
/*
 * The list that rules append their findings to. Running out of memory is remembered in the list
 * (findings.failed) and makes findings_add() return NULL, which every other function accepts, so
 * that rules need no error handling of their own.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/rule.h"

struct finding *findings_add(struct findings *out, const struct rule *r, enum finding_status status,
			     const char *subject)
{
	struct finding *f;
	size_t size;

	if (out->n == out->size) {
		size = out->size ? out->size * 2 : 16;
		f = reallocarray(out->f, size, sizeof(*f));
		if (!f)
			goto fail;
		out->f = f;
		out->size = size;
	}
	f = &out->f[out->n];
	memset(f, 0, sizeof(*f));
	f->rule = r->id;
	f->status = status;
	if (subject) {
		f->subject = strdup(subject);
		if (!f->subject)
			goto fail;
	}
	out->n++;
	return f;
fail:
	out->failed = true;
	return NULL;
}

/* A text that memory didn't suffice for stays empty: the finding's status still stands. */
static void __attribute__((format(printf, 2, 0))) set_text(char **text, const char *fmt, va_list ap)
{
	char *s = NULL;

	if (fmt && vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	free(*text);
	*text = s;
}

#define SETTER(name)                                                 \
	void finding_##name(struct finding *f, const char *fmt, ...) \
	{                                                            \
		va_list ap;                                          \
                                                                     \
		if (!f)                                              \
			return;                                      \
		va_start(ap, fmt);                                   \
		set_text(&f->name, fmt, ap);                         \
		va_end(ap);                                          \
	}                                                            \
	struct finding

SETTER(need);
SETTER(have);
SETTER(evidence);
SETTER(remedy);

void finding_done(struct finding *f)
{
	free(f->subject);
	free(f->need);
	free(f->have);
	free(f->evidence);
	free(f->remedy);
	memset(f, 0, sizeof(*f));
}

void findings_done(struct findings *f)
{
	for (size_t i = 0; i < f->n; i++)
		finding_done(&f->f[i]);
	free(f->f);
	memset(f, 0, sizeof(*f));
}
