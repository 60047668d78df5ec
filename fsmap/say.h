/* SPDX-License-Identifier: Apache-2.0 */
/* Private to fsmap/: words that several rules have in common. */
#ifndef CK_FSMAP_SAY_H
#define CK_FSMAP_SAY_H

#include "fsmap/fold.h"

enum { FSMAP_FOLD_FROM = 4 }; /* that many files of one directory become one finding */

const char *fsmap_plural(size_t n, const char *one, const char *many);
/* "a directory" */
const char *fsmap_type_name(uint32_t mode);
/* Who needs it, as evidence. */
void fsmap_say_who(struct finding *f, const CkptNeedPath *need);
/* A finding about items [from, to): its subject is the path of the only one, or their key; what is
 * needed then begins with their number and names. NULL if memory ran out, as findings_add(). */
struct finding *fsmap_say_many(const struct rule *r, enum finding_status status, const char *what,
			       const struct fsmap_items *items, size_t from, size_t to,
			       struct findings *out);
/* To bring path (a whole directory, if dir) from the host where the image was made. */
void fsmap_say_copy(const struct rule_input *in, struct finding *f, const char *path, bool dir);
/* The same for items [from, to), which are many. */
void fsmap_say_copy_many(const struct rule_input *in, struct finding *f,
			 const struct fsmap_items *items, size_t from, size_t to);

/* rules-file.c: what they say of files that are there */
typedef void (*fsmap_report_fn)(const struct rule *r, const struct rule_input *in,
				const struct fsmap_items *items, size_t from, size_t to,
				struct findings *out);
void fsmap_report_denied(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out);
void fsmap_report_changed(const struct rule *r, const struct rule_input *in,
			  const struct fsmap_items *items, size_t from, size_t to,
			  struct findings *out);
void fsmap_report_grown(const struct rule *r, const struct rule_input *in,
			const struct fsmap_items *items, size_t from, size_t to,
			struct findings *out);
void fsmap_report_appended(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out);
void fsmap_report_doubt(const struct rule *r, const struct rule_input *in,
			const struct fsmap_items *items, size_t from, size_t to,
			struct findings *out);

/* scratch.c: the map, if what is missing is a scratch directory, or above it, and there is another
 * one here. False: nothing was said. */
bool fsmap_say_scratch(const struct rule_input *in, struct finding *f, const char *missing);

/* rules-package.c: of items that packages owned, all in one */
void fsmap_report_packages(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out);

/* rules-bind.c */
void fsmap_report_hidden(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out);
void fsmap_bind_rule(const struct rule *r, const struct rule_input *in, struct findings *out);

/* rules-mount.c */
void fsmap_other_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void fsmap_revision_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void fsmap_space_rule(const struct rule *r, const struct rule_input *in, struct findings *out);

#endif
