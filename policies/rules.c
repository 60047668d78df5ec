// SPDX-License-Identifier: Apache-2.0
/*
 * The one list of rule tables, and the rules about the image as such. Within the order causes stand
 * before what follows from them: a broken image explains everything, another architecture nearly
 * so.
 */
#include <string.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo.h"
#include "fsmap/fsmap.h"
#include "policies/policies.h"
#include "probe/probe.h"

static void state_finding(const struct rule *r, const struct rule_input *in,
			  enum rule_image_state state, const char *remedy, struct findings *out)
{
	const struct rule_image *i = in->image;
	struct finding *f;

	if (!i || i->state != state) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, NULL);
	finding_have(f, "%s", i->fault);
	finding_remedy(f, "%s", i->hint && i->hint[0] ? i->hint : remedy);
}

static void corrupt_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	state_finding(r, in, RULE_IMAGE_CORRUPT, "use another copy of the image, or another image",
		      out);
}

static void incomplete_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	state_finding(r, in, RULE_IMAGE_INCOMPLETE, "take a new dump: this one was cut short", out);
}

static void version_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	state_finding(r, in, RULE_IMAGE_VERSION, "use the ckpt that wrote it", out);
}

static void sums_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	struct finding *f;

	if (!in->image || !in->image->no_sums) {
		findings_add(out, r, FINDING_OK, NULL);
		return;
	}
	f = findings_add(out, r, FINDING_DEGRADED, NULL);
	finding_need(f, "checksums of the memory pages");
	finding_have(f, "none");
	finding_evidence(f, in->image->foreign ? "the image was made by CRIU"
					       : "ckpt-sums.img is missing: its dump was cut short "
						 "after the image was complete");
	finding_remedy(f, "none is needed; damage to the pages would go unnoticed");
}

static void unsupported_rule(const struct rule *r, const struct rule_input *in,
			     struct findings *out)
{
	if (!in->needs || !in->needs->n_unsupported)
		findings_add(out, r, FINDING_OK, NULL);
	for (size_t i = 0; in->needs && i < in->needs->n_unsupported; i++) {
		struct finding *f = findings_add(out, r, FINDING_REFUSE, in->needs->unsupported[i]);

		finding_need(f, "to be restored");
		finding_have(f, "ckpt does not know how");
		finding_remedy(f, "restore it with what made it; --override image.unsupported "
				  "judges the rest");
	}
}

static const struct rule image_rules[] = {
	{ "image.corrupt", "the image is damaged", corrupt_rule },
	{ "image.incomplete", "the image is incomplete", incomplete_rule },
	{ "image.version", "the image needs another ckpt", version_rule },
	{ "image.unsupported", "the image holds what ckpt can't restore", unsupported_rule },
	{ "image.sums", "pages can't be verified", sums_rule },
	{ NULL, NULL, NULL },
};

const struct rule *const policy_tables[] = {
	image_rules, cpuinfo_rules, probe_rules, fsmap_rules, NULL,
};

const struct rule *policy_rule_find(const char *id)
{
	for (size_t t = 0; policy_tables[t]; t++)
		for (const struct rule *r = policy_tables[t]; r->id; r++)
			if (!strcmp(r->id, id))
				return r;
	return NULL;
}

bool policy_rule_is_final(const char *id)
{
	return !strcmp(id, "image.corrupt") || !strcmp(id, "image.incomplete") ||
	       !strcmp(id, "image.version") || !strcmp(id, "cpu.arch");
}
