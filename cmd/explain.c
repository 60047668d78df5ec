// SPDX-License-Identifier: Apache-2.0
/* ckpt explain: a rule's section of docs/rules.md, filled for a terminal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "policies/policies.h"

enum { WIDTH = 80 };

/* One word, without the marks of emphasis; a new line before it where it does not fit. */
static void put_word(const char *s, size_t len, size_t *column)
{
	char word[WIDTH * 2] = "";
	size_t n = 0;

	for (size_t i = 0; i < len && n < sizeof(word); i++)
		if (s[i] != '*' && s[i] != '`')
			word[n++] = s[i];
	if (*column && *column + 1 + n > WIDTH) {
		putchar('\n');
		*column = 0;
	} else if (*column) {
		putchar(' ');
		(*column)++;
	}
	fwrite(word, 1, n, stdout);
	*column += n;
}

static void fill(const char *s, size_t len)
{
	const char *end = s + len;
	size_t column = 0;

	while (s < end) {
		size_t n = strcspn(s, " \n"), gap;

		n = n < (size_t)(end - s) ? n : (size_t)(end - s);
		/* Evidence and remedy stand on lines of their own. */
		if (n > 2 && s[0] == '*' && s[n - 1] == '*' && column) {
			putchar('\n');
			column = 0;
		}
		if (n)
			put_word(s, n, &column);
		s += n;
		gap = strspn(s, " \n");
		gap = gap < (size_t)(end - s) ? gap : (size_t)(end - s);
		if (gap > 1 && memchr(s, '\n', gap) && s + gap < end) {
			fputs("\n\n", stdout);
			column = 0;
		}
		s += gap;
	}
	if (column)
		putchar('\n');
}

static int list(void)
{
	for (size_t t = 0; policy_tables[t]; t++)
		for (const struct rule *r = policy_tables[t]; r->id; r++)
			printf("%-22s%s\n", r->id, r->title);
	return CMD_EXIT_OK;
}

static int treatments(const char *id, struct ck_err *err)
{
	fputs("\npolicies:", stdout);
	for (size_t i = 0; policy_names[i]; i++) {
		CK_AUTO(policy) struct policy *p = NULL;
		int r = policy_open(policy_names[i], &p, err);

		if (r < 0)
			return r;
		printf("%s %s: %s", i ? "," : "", policy_names[i],
		       policy_treatment_name(policy_treatment(p, id)));
	}
	putchar('\n');
	return 0;
}

static int explain(const char *id)
{
	const struct rule *rule = policy_rule_find(id);
	struct ck_err err = CK_ERR_INIT;
	const char *text;
	size_t len;

	if (!rule || policy_explain(id, &text, &len) < 0)
		return cmd_usage("explain", "there is no rule named %s; ckpt explain lists them",
				 id);
	printf("%s: %s\n\n", rule->id, rule->title);
	fill(text, len);
	return treatments(id, &err) < 0 ? cmd_fail("explain", &err) : CMD_EXIT_OK;
}

int cmd_explain(const struct cmd_args *a)
{
	int status = a->n_operands ? explain(a->operands[0]) : list();

	return fflush(stdout) == 0 && !ferror(stdout) ? status : CMD_EXIT_OS;
}
