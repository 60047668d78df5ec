/* SPDX-License-Identifier: Apache-2.0 */
/* Private to report/: what its forms share. */
#ifndef CK_REPORT_INTERNAL_H
#define CK_REPORT_INTERNAL_H

#include <json-c/json.h>

#include "report/report.h"

/* ---- JSON (json.c) ---- */

static inline void ck_auto_json(struct json_object **o)
{
	json_object_put(*o);
}

/* Takes v; a NULL v means that memory ran out. */
int report_json_add(struct json_object *o, const char *key, struct json_object *v);
/* The same for text of any bytes; nothing if there is none. */
int report_json_text(struct json_object *o, const char *key, const char *s);
int report_json_host(struct json_object *o, const char *key, const char *host, const char *cpu,
		     const char *kernel);
/* All findings of f as "findings". */
int report_json_findings(struct json_object *o, const struct findings *f);
int report_json_print(FILE *out, struct json_object *o, struct ck_err *err);

#endif
