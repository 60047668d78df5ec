// SPDX-License-Identifier: Apache-2.0
/* The rules about paths that shall lead elsewhere in a mount namespace of the job's own. Pure. */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "fsmap/say.h"

/* ---- what is hidden ---- */

void fsmap_report_hidden(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out)
{
	(void)in;
	for (size_t i = from; i < to; i++) {
		const struct fsmap_item *it = &items->item[i];
		struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);

		finding_need(f, "%s", fsmap_type_name(it->need->mode));
		finding_have(f, "missing once all paths are bound: a link leads to %s then",
			     it->fact->leads);
		fsmap_say_who(f, it->need);
		finding_remedy(f, "--map-mode rewrite, or bring it to %s", it->fact->leads);
	}
}

/* ---- what can't be bound ---- */

static const CkptBindFact *fact_of(const struct rule_input *in, const CkptNeedBind *b)
{
	for (size_t i = 0; i < in->target->n_binds; i++)
		if (!strcmp(in->target->binds[i]->from, b->from) &&
		    !strcmp(in->target->binds[i]->to, b->to))
			return in->target->binds[i];
	return NULL;
}

/* What is needed below a missing directory is told, with its remedy, by the rules about that. */
static bool is_told(const struct rule_input *in, const char *to)
{
	for (size_t i = 0; i < in->needs->n_paths; i++)
		if (!in->needs->paths[i]->carried && fsmap_below(in->needs->paths[i]->path, to))
			return true;
	return false;
}

/* What makes an empty thing of NEW's kind at the place. */
static void remedy_place(struct finding *f, const CkptBindFact *b, const char *as)
{
	CK_AUTO(strbuf) struct ck_strbuf q = CK_STRBUF_INIT, up = CK_STRBUF_INIT;
	const char *slash = strrchr(b->place, '/');
	CK_AUTO(free) char *dir = strndup(b->place, slash ? (size_t)(slash - b->place) : 0);

	fsmap_quote(&q, b->place);
	if (dir)
		fsmap_quote(&up, dir[0] ? dir : "/");
	if (S_ISDIR(b->to_mode))
		finding_remedy(f, "%smkdir -p %s", as, ck_strbuf_str(&q));
	else
		finding_remedy(f, "%smkdir -p %s && touch %s", as, ck_strbuf_str(&up),
			       ck_strbuf_str(&q));
}

static bool is_dir(uint32_t mode)
{
	return S_ISDIR(mode);
}

static void refuse_kinds(const struct rule *r, const CkptBindFact *b, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, b->from);

	finding_need(f, "%s, as %s is", fsmap_type_name(b->to_mode), b->to);
	finding_have(f, "%s is %s", b->place, fsmap_type_name(b->mode));
	finding_remedy(f, "map %s to %s", b->from, is_dir(b->mode) ? "a directory" : "a file");
}

static void refuse_place(const struct rule *r, const CkptBindFact *b, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, b->from);

	finding_need(f, "%s to bind %s to", is_dir(b->to_mode) ? "a directory" : "a file", b->to);
	if (!is_dir(b->above_mode)) {
		finding_have(f, "%s is no directory", b->above);
		finding_remedy(f, "move %s out of the way", b->above);
		return;
	}
	finding_have(f, "%s is missing", b->place);
	if (b->writable) {
		finding_evidence(f, "the user may write to %s, so it can't be covered", b->above);
		remedy_place(f, b, "");
		return;
	}
	finding_evidence(f, "the user may not list %s, so it can't be covered", b->above);
	remedy_place(f, b, "as root: ");
}

static void note_cover(const struct rule *r, const CkptBindFact *b, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_DEGRADED, b->from);

	finding_need(f, "%s", is_dir(b->to_mode) ? "a directory" : "a file");
	finding_have(f, "missing: the job sees %s as it is now, read-only, with %s in it", b->above,
		     b->from);
	finding_evidence(f, "the user may not write to %s", b->above);
	finding_remedy(f, "none is needed if nobody makes anything there that the job looks for");
}

/* False: all is well with it. */
static bool judge_one(const struct rule *r, const struct rule_input *in, const CkptBindFact *b,
		      struct findings *out)
{
	struct finding *f;

	if (!b->has_to_mode) {
		if (is_told(in, b->to))
			return false;
		f = findings_add(out, r, FINDING_REFUSE, b->from);
		finding_need(f, "what %s shall lead to", b->from);
		finding_have(f, "no %s", b->to);
		finding_remedy(f, "map %s to something that is there", b->from);
	} else if (b->has_mode && is_dir(b->mode) != is_dir(b->to_mode)) {
		refuse_kinds(r, b, out);
	} else if (b->has_mode) {
		return false;
	} else if (b->place && b->above &&
		   (!is_dir(b->above_mode) || b->writable || !b->listable)) {
		refuse_place(r, b, out);
	} else if (b->place && b->above) {
		note_cover(r, b, out);
	}
	return true;
}

void fsmap_bind_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	bool any = false;

	for (size_t i = 0; i < in->needs->n_binds; i++) {
		const CkptNeedBind *n = in->needs->binds[i];
		const CkptBindFact *b = fact_of(in, n);
		struct finding *f;

		if (b) {
			any = judge_one(r, in, b, out) || any;
			continue;
		}
		any = true;
		f = findings_add(out, r, FINDING_DEFERRED, n->from);
		finding_need(f, "%s to lead to %s", n->from, n->to);
		finding_evidence(f, "the host profile does not tell about paths");
		finding_remedy(f, "run the check on the host itself");
	}
	if (!any)
		findings_add(out, r, in->needs->n_binds ? FINDING_OK : FINDING_NA, NULL);
}
