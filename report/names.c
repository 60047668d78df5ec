// SPDX-License-Identifier: Apache-2.0
/*
 * Names of hosts in few words: what differs only in a number of fixed width, or of any width
 * without leading zeros, is written as clusters do, "node[001-048].site".
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "report/kinds.h"

enum { MAX_DIGITS = 9 };

/* A name as prefix, number, suffix; the number is the last one before the first dot. */
struct parts {
	const char *name, *suffix;
	size_t prefix, digits; /* lengths; no digits: there is no number */
	unsigned long number;
};

static void split(const char *name, struct parts *ret)
{
	size_t end = strcspn(name, "."), from;

	*ret = (struct parts){ .name = name, .suffix = name + strlen(name) };
	while (end && !isdigit((unsigned char)name[end - 1]))
		end--;
	from = end;
	while (from && isdigit((unsigned char)name[from - 1]))
		from--;
	if (from == end || end - from > MAX_DIGITS)
		return;
	ret->prefix = from;
	ret->digits = end - from;
	ret->suffix = name + end;
	ret->number = strtoul(name + from, NULL, 10);
}

/* May both stand in one bracket? */
static bool alike(const struct parts *a, const struct parts *b)
{
	bool padded = a->name[a->prefix] == '0' || b->name[b->prefix] == '0';

	return a->digits && b->digits && a->prefix == b->prefix &&
	       (a->digits == b->digits || !padded) && !strncmp(a->name, b->name, a->prefix) &&
	       !strcmp(a->suffix, b->suffix);
}

int report_compare_names(const void *a, const void *b)
{
	return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_range(struct ck_strbuf *b, const struct parts *from, const struct parts *to)
{
	ck_strbuf_add(b, from->name + from->prefix, from->digits);
	if (to->number == from->number)
		return;
	ck_strbuf_addf(b, "%s", to->number == from->number + 1 ? "," : "-");
	ck_strbuf_add(b, to->name + to->prefix, to->digits);
}

/* Names [from, to) are alike, and more than one. */
static void put_bracket(struct ck_strbuf *b, const char *const *names, size_t from, size_t to)
{
	struct parts first, last, next;

	split(names[from], &first);
	last = first;
	ck_strbuf_add(b, first.name, first.prefix);
	ck_strbuf_addf(b, "[");
	for (size_t i = from + 1; i < to; i++) {
		split(names[i], &next);
		if (next.number > last.number + 1) {
			put_range(b, &first, &last);
			ck_strbuf_addf(b, ",");
			first = next;
		}
		last = next;
	}
	put_range(b, &first, &last);
	ck_strbuf_addf(b, "]%s", first.suffix);
}

void report_fold_names(struct ck_strbuf *b, const char *const *names, size_t n)
{
	for (size_t from = 0, to; from < n; from = to) {
		struct parts first, next;

		split(names[from], &first);
		for (to = from + 1; to < n; to++) {
			split(names[to], &next);
			if (!alike(&first, &next))
				break;
		}
		ck_strbuf_addf(b, "%s", from ? ", " : "");
		if (to > from + 1)
			put_bracket(b, names, from, to);
		else
			ck_strbuf_addf(b, "%s", names[from]);
	}
}
