// SPDX-License-Identifier: Apache-2.0
/* Ranges of addresses, engine/span.h. All operations are one pass over sorted lists. */
#include "engine/span.h"

void engine_spans_add(struct engine_spans *to, uint64_t start, uint64_t end)
{
	struct engine_span *grown;

	if (start >= end)
		return;
	if (to->n && to->s[to->n - 1].end == start) {
		to->s[to->n - 1].end = end;
		return;
	}
	if (to->n == to->size) {
		size_t size = to->size ? to->size * 2 : 16;

		grown = reallocarray(to->s, size, sizeof(*grown));
		if (!grown) {
			to->failed = true;
			return;
		}
		to->s = grown;
		to->size = size;
	}
	to->s[to->n++] = (struct engine_span){ start, end };
}

void engine_spans_minus(const struct engine_spans *a, const struct engine_spans *b,
			struct engine_spans *ret)
{
	struct engine_spans out = { .failed = a->failed || b->failed };
	size_t k = 0;

	for (size_t i = 0; i < a->n; i++) {
		uint64_t at = a->s[i].start, end = a->s[i].end;

		while (k < b->n && b->s[k].end <= at)
			k++;
		for (size_t m = k; m < b->n && b->s[m].start < end; m++) {
			engine_spans_add(&out, at, b->s[m].start);
			at = b->s[m].end;
		}
		engine_spans_add(&out, at, end);
	}
	*ret = out;
}

void engine_spans_and(const struct engine_spans *a, const struct engine_spans *b,
		      struct engine_spans *ret)
{
	struct engine_spans out = { .failed = a->failed || b->failed };
	size_t i = 0, k = 0;

	while (i < a->n && k < b->n) {
		uint64_t start = a->s[i].start > b->s[k].start ? a->s[i].start : b->s[k].start;
		uint64_t end = a->s[i].end < b->s[k].end ? a->s[i].end : b->s[k].end;

		engine_spans_add(&out, start, end);
		if (a->s[i].end < b->s[k].end)
			i++;
		else
			k++;
	}
	*ret = out;
}
