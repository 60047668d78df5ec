/* SPDX-License-Identifier: Apache-2.0 */
/* Sorted, disjoint ranges of addresses, and the few operations on them that memory plans need. */
#ifndef CK_ENGINE_SPAN_H
#define CK_ENGINE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct engine_span {
	uint64_t start, end;
};

struct engine_spans {
	struct engine_span *s;
	size_t n, size;
	bool failed; /* memory ran out: what is here is not all */
};

/* Appends; ranges come in ascending order, and touching ones are joined. Empty ones are ignored. */
void engine_spans_add(struct engine_spans *to, uint64_t start, uint64_t end);
/* a without b, and what a and b have in common, into fresh spans. */
void engine_spans_minus(const struct engine_spans *a, const struct engine_spans *b,
			struct engine_spans *ret);
void engine_spans_and(const struct engine_spans *a, const struct engine_spans *b,
		      struct engine_spans *ret);

static inline void engine_spans_done(struct engine_spans *s)
{
	free(s->s);
	*s = (struct engine_spans){ 0 };
}
static inline void ck_auto_engine_spans(struct engine_spans *s)
{
	engine_spans_done(s);
}

#endif
