// SPDX-License-Identifier: Apache-2.0
/* What the rules say of files that packages brought: versions, rather than paths. Pure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "fsmap/say.h"

enum { PACKAGES_MAX = 8 }; /* that are named; all are in the remedy */

struct owner {
	const char *name, *want;
	const char *have; /* NULL: not installed, as far as is known */
};

struct owners {
	struct owner *o;
	size_t n;
};

static void ck_auto_owners(struct owners *x)
{
	free(x->o);
}

static const char *installed(const struct rule_input *in, const char *name)
{
	for (size_t i = 0; i < in->target->n_packages; i++)
		if (!strcmp(in->target->packages[i]->name, name))
			return in->target->packages[i]->version;
	return NULL;
}

static int add_owner(const struct rule_input *in, struct owners *x, const CkptNeedPath *p)
{
	struct owner *grown;

	for (size_t k = 0; k < x->n; k++)
		if (!strcmp(x->o[k].name, p->package))
			return 0;
	grown = reallocarray(x->o, x->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	x->o = grown;
	x->o[x->n++] = (struct owner){ p->package, p->package_version ? p->package_version : "?",
				       installed(in, p->package) };
	return 0;
}

static const char *separator(size_t i)
{
	return i ? ", " : "";
}

static void add_rest(struct ck_strbuf *b, size_t n)
{
	if (n > PACKAGES_MAX)
		ck_strbuf_addf(b, " and %zu more", n - PACKAGES_MAX);
}

static void say_need(struct finding *f, const struct fsmap_items *items, size_t from, size_t to,
		     const struct owners *x)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT, names = CK_STRBUF_INIT;

	for (size_t i = 0; i < x->n && i < PACKAGES_MAX; i++)
		ck_strbuf_addf(&b, "%s%s %s", separator(i), x->o[i].name, x->o[i].want);
	add_rest(&b, x->n);
	fsmap_list(&names, items, from, to);
	finding_need(f, "%zu %s of %s: %s", to - from, fsmap_plural(to - from, "file", "files"),
		     ck_strbuf_str(&b), ck_strbuf_str(&names));
}

static void say_have(const struct rule_input *in, struct finding *f, const struct owners *x)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	if (!in->target->packages_from) {
		finding_have(f, "other versions; there is no dpkg here");
		return;
	}
	for (size_t i = 0; i < x->n && i < PACKAGES_MAX; i++) {
		const struct owner *o = &x->o[i];

		if (!o->have)
			ck_strbuf_addf(&b, "%sno %s", separator(i), o->name);
		else
			ck_strbuf_addf(&b, "%s%s %s%s", separator(i), o->name, o->have,
				       strcmp(o->have, o->want) ? "" : ", but not its files");
	}
	add_rest(&b, x->n);
	finding_have(f, "%s", ck_strbuf_str(&b));
}

/* One command for all of them. --reinstall is for those of which nothing but the files differs. */
static void say_remedy(const struct rule_input *in, struct finding *f, const struct owners *x)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	bool again = false;

	for (size_t i = 0; i < x->n; i++)
		again = again || (x->o[i].have && !strcmp(x->o[i].have, x->o[i].want));
	ck_strbuf_addf(&b, "apt-get install %s--allow-downgrades", again ? "--reinstall " : "");
	for (size_t i = 0; i < x->n; i++) {
		CK_AUTO(strbuf) struct ck_strbuf q = CK_STRBUF_INIT;

		ck_strbuf_addf(&q, "%s=%s", x->o[i].name, x->o[i].want);
		ck_strbuf_addf(&b, " ");
		fsmap_quote(&b, ck_strbuf_str(&q));
	}
	if (!ck_strbuf_ok(&b))
		return;
	if (in->target->packages_from)
		finding_remedy(f, "as root: %s", ck_strbuf_str(&b));
	else
		finding_remedy(f, "install these versions (Debian: %s)", ck_strbuf_str(&b));
}

static struct finding *add_finding(const struct rule *r, const struct owners *x,
				   struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	ck_strbuf_addf(&b, "%s", x->o[0].name);
	if (x->n > 1)
		ck_strbuf_addf(&b, " and %zu other %s", x->n - 1,
			       fsmap_plural(x->n - 1, "package", "packages"));
	return findings_add(out, r, FINDING_REFUSE, ck_strbuf_str(&b));
}

void fsmap_report_packages(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out)
{
	CK_AUTO(owners) struct owners x = { 0 };
	struct finding *f;

	for (size_t i = from; i < to; i++)
		if (add_owner(in, &x, items->item[i].need) < 0) {
			out->failed = true;
			return;
		}
	if (!x.n)
		return;
	f = add_finding(r, &x, out);
	say_need(f, items, from, to, &x);
	say_have(in, f, &x);
	if (items->item[from].cause == FSMAP_FILE)
		finding_evidence(f, "they are missing; dpkg's list of packages");
	else
		finding_evidence(f, "their build-ids or contents differ; dpkg's list of packages");
	say_remedy(in, f, &x);
}
