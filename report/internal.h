/* SPDX-License-Identifier: Apache-2.0 */
/* Private to report/: what its forms share. */
#ifndef CK_REPORT_INTERNAL_H
#define CK_REPORT_INTERNAL_H

#include <json-c/json.h>

#include "report/report.h"

struct ck_strbuf;

/* ---- many hosts (site.c) ---- */

enum { REPORT_N_VERDICTS = VERDICT_IMAGE + 1 };

struct report_counts {
	size_t of[REPORT_N_VERDICTS]; /* by enum verdict_status */
};

const struct verdict *report_cell(const struct report_site *s, size_t host, size_t image);
/* The verdicts of one image on all hosts. */
void report_count_image(const struct report_site *s, size_t image, struct report_counts *ret);
/* What decides: the first finding, deferred ones aside. NULL: nothing is wrong. */
const struct finding *report_cause(const struct verdict *v);
/* At most max characters of text, those that could move a terminal's cursor as escapes. */
void report_put(struct ck_strbuf *b, const char *text, size_t max);
/* Does it stand in the way of a restore? */
bool report_is_trouble(const struct finding *f);

/* ---- JSON (json.c) ---- */

static inline void ck_auto_json(struct json_object **o)
{
	json_object_put(*o);
}

/* Takes v; a NULL v means that memory ran out. */
int report_json_add(struct json_object *o, const char *key, struct json_object *v);
/* The same for text of any bytes; nothing if there is none. */
int report_json_text(struct json_object *o, const char *key, const char *s);
int report_json_number(struct json_object *o, const char *key, size_t n);
int report_json_host(struct json_object *o, const char *key, const char *host, const char *cpu,
		     const char *kernel);
/* All findings of f as "findings". */
int report_json_findings(struct json_object *o, const struct findings *f);
/* {"compatible": 3, ...} */
int report_json_counts(struct json_object *o, const char *key, const struct report_counts *c);
int report_json_unread(struct json_object *o, const struct report_site *s);
int report_json_print(FILE *out, struct json_object *o, struct ck_err *err);

#endif
