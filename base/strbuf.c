// SPDX-License-Identifier: Apache-2.0
/* A growing string: see strbuf.h. */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ck_strbuf_done(struct ck_strbuf *b)
{
	free(b->s);
	*b = (struct ck_strbuf)CK_STRBUF_INIT;
}

static bool reserve(struct ck_strbuf *b, size_t more)
{
	size_t want;
	char *s;

	if (b->failed || more > SIZE_MAX / 4 - b->len) {
		b->failed = true;
		return false;
	}
	if (b->len + more + 1 <= b->size)
		return true;
	want = (b->len + more + 1) * 2;
	s = realloc(b->s, want);
	if (!s) {
		b->failed = true;
		return false;
	}
	b->s = s;
	b->size = want;
	return true;
}

void ck_strbuf_add(struct ck_strbuf *b, const void *data, size_t len)
{
	if (!reserve(b, len))
		return;
	memcpy(b->s + b->len, data, len);
	b->len += len;
	b->s[b->len] = '\0';
}

void ck_strbuf_addf(struct ck_strbuf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !reserve(b, (size_t)n)) {
		b->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void ck_strbuf_reset(struct ck_strbuf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->s)
		b->s[0] = '\0';
}

char *ck_strbuf_take(struct ck_strbuf *b)
{
	char *s = NULL;

	if (!b->failed)
		s = b->s ? b->s : strdup("");
	else
		free(b->s);
	*b = (struct ck_strbuf)CK_STRBUF_INIT;
	return s;
}
