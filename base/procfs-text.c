// SPDX-License-Identifier: Apache-2.0
/*
 * The cursor under the /proc parsers: see procfs-text.h. Knows characters and numbers, no file of
 * /proc.
 */
#include "base/procfs-text.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int ck_text_line(struct ck_text *t, struct ck_text *ret_line)
{
	const char *nl;

	if (t->p == t->end)
		return 0;
	nl = memchr(t->p, '\n', ck_text_len(t));
	if (!nl)
		return -EINVAL;
	ret_line->p = t->p;
	ret_line->end = nl;
	t->p = nl + 1;
	return 1;
}

bool ck_text_skip(struct ck_text *t, const char *s)
{
	size_t n = strlen(s);

	if (ck_text_len(t) < n || memcmp(t->p, s, n) != 0)
		return false;
	t->p += n;
	return true;
}

void ck_text_blanks(struct ck_text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\t'))
		t->p++;
}

bool ck_text_word(struct ck_text *t, struct ck_text *ret)
{
	const char *start;

	ck_text_blanks(t);
	start = t->p;
	while (t->p < t->end && *t->p != ' ' && *t->p != '\t')
		t->p++;
	if (t->p == start)
		return false;
	ret->p = start;
	ret->end = t->p;
	return true;
}

bool ck_text_until(struct ck_text *t, char c, struct ck_text *ret)
{
	const char *at = t->p == t->end ? NULL : memchr(t->p, c, ck_text_len(t));

	if (!at)
		return false;
	ret->p = t->p;
	ret->end = at;
	t->p = at + 1;
	return true;
}

bool ck_text_is(const struct ck_text *t, const char *s)
{
	return ck_text_len(t) == strlen(s) && memcmp(t->p, s, ck_text_len(t)) == 0;
}

static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned int)(c - 'A') + 10;
	return UINT_MAX;
}

bool ck_text_u64(struct ck_text *t, unsigned int base, uint64_t *ret)
{
	uint64_t v = 0;
	const char *p;

	ck_text_blanks(t);
	for (p = t->p; p < t->end; p++) {
		unsigned int d = digit_of(*p);

		if (d >= base)
			break;
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)d, &v))
			return false;
	}
	if (p == t->p)
		return false;
	t->p = p;
	*ret = v;
	return true;
}

bool ck_text_u32(struct ck_text *t, unsigned int base, uint32_t *ret)
{
	uint64_t v;

	if (!ck_text_u64(t, base, &v) || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

bool ck_text_i64(struct ck_text *t, int64_t *ret)
{
	bool minus;
	uint64_t v;

	ck_text_blanks(t);
	minus = ck_text_skip(t, "-");
	/* A blank between the sign and the digits is no number. */
	if (t->p == t->end || digit_of(*t->p) >= 10 || !ck_text_u64(t, 10, &v))
		return false;
	if (v > (uint64_t)INT64_MAX + (minus ? 1 : 0))
		return false;
	*ret = minus ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

bool ck_text_int(struct ck_text *t, int *ret)
{
	int64_t v;

	if (!ck_text_i64(t, &v) || v < INT_MIN || v > INT_MAX)
		return false;
	*ret = (int)v;
	return true;
}

/* The character that "\ooo" at p stands for, or -1. */
static int escaped_char(const char *p, const char *end)
{
	unsigned int v;

	if (end - p < 4 || p[0] != '\\')
		return -1;
	for (int i = 1; i < 4; i++)
		if (p[i] < '0' || p[i] > '7')
			return -1;
	v = (unsigned int)(p[1] - '0') << 6 | (unsigned int)(p[2] - '0') << 3 |
	    (unsigned int)(p[3] - '0');
	return v > 0 && v < 256 ? (int)v : -1;
}

char *ck_text_dup(const struct ck_text *t, enum ck_unescape how)
{
	char *s = malloc(ck_text_len(t) + 1), *o = s;

	if (!s)
		return NULL;
	for (const char *p = t->p; p < t->end;) {
		int c = escaped_char(p, t->end);

		if (c > 0 && (how == CK_UNESCAPE_ALL || c == '\n')) {
			*o++ = (char)c;
			p += 4;
		} else {
			*o++ = *p++;
		}
	}
	*o = '\0';
	return s;
}

bool ck_text_grow(void *array, size_t n, size_t size)
{
	void **a = array, *bigger;

	/* Room is made at 0, 8, 16, 32, ... elements. */
	if (n != 0 && (n < 8 || (n & (n - 1)) != 0))
		return true;
	bigger = reallocarray(*a, n ? 2 * n : 8, size);
	if (!bigger)
		return false;
	*a = bigger;
	return true;
}
