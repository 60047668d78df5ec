// SPDX-License-Identifier: Apache-2.0
/* The section of docs/rules.md about a rule; the document is linked in. */
#include <errno.h>
#include <string.h>

#include "policies/internal.h"

/* The next "\n## " at or after p, or the end. */
static const char *next_heading(const char *p, const char *end)
{
	const char *h = memmem(p, (size_t)(end - p), "\n## ", 4);

	return h ? h : end;
}

int policy_explain(const char *rule, const char **ret, size_t *ret_len)
{
	const char *end = policy_rules_md_end, *p = next_heading(policy_rules_md_start, end);
	size_t n = strlen(rule);

	while (p < end) {
		const char *id = p + 4, *to = next_heading(id, end);

		if ((size_t)(to - id) > n && !memcmp(id, rule, n) && id[n] == '\n') {
			for (id += n; id < to && *id == '\n'; id++)
				;
			*ret = id;
			*ret_len = (size_t)(to - id);
			return 0;
		}
		p = to;
	}
	return -ENOENT;
}
