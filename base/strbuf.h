/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string. Running out of memory is remembered and reported once, by ck_strbuf_ok(). */
#ifndef CK_BASE_STRBUF_H
#define CK_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

struct ck_strbuf {
	char *s;    /* NULL or terminated */
	size_t len; /* without the terminator */
	size_t size;
	bool failed;
};

#define CK_STRBUF_INIT    \
	{                 \
		.s = NULL \
	}

void ck_strbuf_done(struct ck_strbuf *b);
void ck_strbuf_add(struct ck_strbuf *b, const void *data, size_t len);
void ck_strbuf_addf(struct ck_strbuf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void ck_strbuf_reset(struct ck_strbuf *b);
static inline bool ck_strbuf_ok(const struct ck_strbuf *b)
{
	return !b->failed;
}
/* The contents, never NULL; still owned by b. */
static inline const char *ck_strbuf_str(const struct ck_strbuf *b)
{
	return b->s ? b->s : "";
}
/* Hands the contents over (caller frees); NULL if memory ran out. b is empty afterwards. */
char *ck_strbuf_take(struct ck_strbuf *b);

static inline void ck_auto_strbuf(struct ck_strbuf *b)
{
	ck_strbuf_done(b);
}

#endif
