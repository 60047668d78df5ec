/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts and facts for people and for programs. Writes to the stream it is given and nowhere
 * else; decides nothing. Text from images and /proc is made harmless for terminals.
 */
#ifndef CK_REPORT_REPORT_H
#define CK_REPORT_REPORT_H

#include <stdio.h>

#include "image/facts.pb-c.h"
#include "policies/policies.h"

struct ck_err;

enum report_text_flags {
	REPORT_ALL = 1 << 0, /* also what is in order */
};

/* One screen: the verdict, then each finding with both values, the evidence and the remedy. */
int report_verdict_text(FILE *out, const struct verdict *v, unsigned int flags, struct ck_err *err);
/* docs/schema/verdict.json; exit_status is what the command ends with. */
int report_verdict_json(FILE *out, const struct verdict *v, int exit_status, struct ck_err *err);
/* docs/schema/facts.json */
int report_facts_json(FILE *out, const CkptFacts *facts, struct ck_err *err);

#endif
