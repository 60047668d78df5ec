/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts and facts for people and for programs. Writes to the stream it is given and nowhere
 * else; decides nothing. Text from images and /proc is made harmless for terminals.
 */
#ifndef CK_REPORT_REPORT_H
#define CK_REPORT_REPORT_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

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

/* ---- many hosts ---- */

struct report_host {
	char *profile;      /* the file that describes it */
	char *name;         /* hostname, or the file's name where there is none */
	char *cpu, *kernel; /* for people; kernel may be NULL */
	char *level;        /* x86-64-v3; NULL: not known */
	uint64_t memory;    /* bytes; 0: not known */
	uint64_t at; /* when its facts were gathered, seconds since the Epoch; 0: not known */
	struct policy_readiness ready;
};

/* A profile that could not be read. */
struct report_unread {
	char *profile, *error;
};

/* Images judged for the hosts of a site. */
struct report_site {
	struct report_host *hosts;
	size_t n_hosts;
	struct report_unread *unread;
	size_t n_unread;
	char **images;
	size_t n_images;
	struct verdict
		*cells; /* of image i on host h: [h * n_images + i], without what is in order */
	char *policy;
};

void report_site_done(struct report_site *s);
static inline void ck_auto_site(struct report_site *s)
{
	report_site_done(s);
}

/*
 * The hosts of a site for its one image, best first, a line each. Hosts that are equally good stay
 * in their order.
 */
int report_match_text(FILE *out, const struct report_site *s, struct ck_err *err);
/* docs/schema/match.json */
int report_match_json(FILE *out, const struct report_site *s, int exit_status, struct ck_err *err);

/* One page of HTML that needs nothing else: the images against the hosts, and what is in the way.
 * now is when, in seconds since the Epoch. */
int report_site_html(FILE *out, const struct report_site *s, time_t now, struct ck_err *err);
/* What stands at its top, in a screen of text; and as docs/schema/report.json. */
int report_site_text(FILE *out, const struct report_site *s, struct ck_err *err);
int report_site_json(FILE *out, const struct report_site *s, struct ck_err *err);

#endif
