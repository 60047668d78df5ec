// SPDX-License-Identifier: Apache-2.0
/*
 * A site in a screen of text, and as JSON for programs. The text has what somebody would do
 * something about: images that no host takes, hosts that take nothing, what is most in the way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "report/kinds.h"

enum {
	REPORT_VERSION = 1,
	BLOCKERS_SHOWN = 5,
	KINDS_SHOWN = 8,
	NAMES_SHOWN = 60, /* characters */
};

/* ---- text ---- */

static void put_images(struct ck_strbuf *b, const struct report_site *s)
{
	struct report_counts n;
	size_t none = 0;

	for (size_t i = 0; i < s->n_images; i++) {
		report_count_image(s, i, &n);
		none += !n.of[VERDICT_COMPATIBLE];
	}
	ck_strbuf_addf(b, "%zu of %zu images have a host that takes them\n", s->n_images - none,
		       s->n_images);
	for (size_t i = 0; i < s->n_images && none; i++) {
		report_count_image(s, i, &n);
		if (n.of[VERDICT_COMPATIBLE])
			continue;
		ck_strbuf_addf(b, "  none for  ");
		report_put(b, s->images[i], NAMES_SHOWN);
		if (n.of[VERDICT_ACTIONS])
			ck_strbuf_addf(b, ", %zu once something is allowed", n.of[VERDICT_ACTIONS]);
		if (n.of[VERDICT_UNDECIDED])
			ck_strbuf_addf(b, ", %zu undecided", n.of[VERDICT_UNDECIDED]);
		ck_strbuf_addf(b, "\n");
	}
}

static void put_hosts(struct ck_strbuf *b, const struct report_site *s,
		      const struct report_kinds *kinds)
{
	size_t taking = 0, shown = 0;

	for (size_t k = 0; k < kinds->n; k++)
		taking += kinds->k[k].can ? kinds->k[k].n : 0;
	ck_strbuf_addf(b, "%zu of %zu hosts (%zu kind%s) take at least one image\n", taking,
		       s->n_hosts, kinds->n, kinds->n == 1 ? "" : "s");
	for (size_t k = 0; k < kinds->n; k++) {
		if (kinds->k[k].can)
			continue;
		if (shown++ == KINDS_SHOWN) {
			ck_strbuf_addf(b, "  ...\n");
			break;
		}
		ck_strbuf_addf(b, "  nothing on  ");
		report_put(b, kinds->k[k].names, NAMES_SHOWN);
		ck_strbuf_addf(b, "\n");
	}
}

static void put_blockers(struct ck_strbuf *b, const struct report_blockers *blockers)
{
	if (blockers->n)
		ck_strbuf_addf(b, "most in the way, in pairs of image and host:\n");
	for (size_t i = 0; i < blockers->n && i < BLOCKERS_SHOWN; i++) {
		const struct report_blocker *x = &blockers->b[i];

		ck_strbuf_addf(b, "  %6zu  %s [%s]: %zu host%s, alone in %zu\n", x->cells,
			       x->rule->title, x->rule->id, x->hosts, x->hosts == 1 ? "" : "s",
			       x->alone);
	}
}

int report_site_text(FILE *out, const struct report_site *s, struct ck_err *err)
{
	CK_AUTO(kinds) struct report_kinds kinds = { 0 };
	CK_AUTO(blockers) struct report_blockers blockers = { 0 };
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	if (report_kinds_of(s, &kinds) < 0 || report_blockers_of(s, &blockers) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write the report");
	put_images(&b, s);
	put_hosts(&b, s, &kinds);
	put_blockers(&b, &blockers);
	if (!ck_strbuf_ok(&b))
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write the report");
	if (fputs(ck_strbuf_str(&b), out) < 0 || fflush(out) != 0)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write the report");
	return 0;
}

/* ---- JSON ---- */

typedef int (*fill_fn)(struct json_object *o, const void *arg, size_t i);

/* An array of n objects under key. */
static int add_array(struct json_object *o, const char *key, size_t n, fill_fn fill,
		     const void *arg)
{
	CK_AUTO(json) struct json_object *list = json_object_new_array();

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct json_object *one = json_object_new_object();

		if (!one || fill(one, arg, i) < 0 || json_object_array_add(list, one) < 0) {
			json_object_put(one);
			return -ENOMEM;
		}
	}
	return report_json_add(o, key, json_object_get(list));
}

static int image_json(struct json_object *o, const void *arg, size_t i)
{
	const struct report_site *s = arg;
	const struct verdict *v = report_cell(s, 0, i);
	struct report_counts n;
	int r = report_json_text(o, "image", s->images[i]);

	report_count_image(s, i, &n);
	r = r ? r : report_json_host(o, "source", v->source_host, v->source_cpu, v->source_kernel);
	return r ? r : report_json_counts(o, "counts", &n);
}

static const char *tristate(CkptTristate t)
{
	return t == CKPT_TRISTATE__CKPT_YES  ? "yes"
	       : t == CKPT_TRISTATE__CKPT_NO ? "no"
					     : "unknown";
}

static int lack_json(struct json_object *o, const void *arg, size_t i)
{
	const struct policy_lack *l = &((const struct policy_readiness *)arg)->lacks[i];
	int r = report_json_text(o, "fact", l->fact);

	r = r ? r : report_json_text(o, "value", tristate(l->value));
	r = r ? r : report_json_text(o, "meaning", l->meaning);
	r = r ? r : report_json_text(o, "for", l->who);
	r = r ? r : report_json_text(o, "since", l->since);
	return r ? r : report_json_text(o, "detail", l->detail);
}

static int host_json(struct json_object *o, const void *arg, size_t i)
{
	const struct report_site *s = arg;
	const struct report_host *h = &s->hosts[i];
	CK_AUTO(json) struct json_object *verdicts = json_object_new_array();
	int r = verdicts ? report_json_text(o, "profile", h->profile) : -ENOMEM;

	r = r ? r : report_json_text(o, "host", h->name);
	r = r ? r : report_json_text(o, "cpu", h->cpu);
	r = r ? r : report_json_text(o, "kernel", h->kernel);
	r = r ? r : report_json_text(o, "dump", tristate(h->ready.able[POLICY_DUMP]));
	r = r ? r
	      : report_json_text(o, "restore_in_place",
				 tristate(h->ready.able[POLICY_RESTORE_IN_PLACE]));
	r = r ? r
	      : report_json_text(o, "restore_in_namespaces",
				 tristate(h->ready.able[POLICY_RESTORE_BESIDE]));
	r = r ? r : add_array(o, "lacks", h->ready.n_lacks, lack_json, &h->ready);
	for (size_t k = 0; k < s->n_images && r == 0; k++) {
		const char *name = policy_verdict_name(report_cell(s, i, k)->status);

		r = json_object_array_add(verdicts, json_object_new_string(name)) < 0 ? -ENOMEM : 0;
	}
	return r ? r : report_json_add(o, "verdicts", json_object_get(verdicts));
}

static int obstacle_json(struct json_object *o, const void *arg, size_t i)
{
	const struct report_obstacle *x = &((const struct report_blocker *)arg)->obstacles[i];
	int r = report_json_text(o, "subject", x->finding->subject);

	r = r ? r : report_json_text(o, "need", x->finding->need);
	r = r ? r : report_json_text(o, "have", x->finding->have);
	r = r ? r : report_json_text(o, "remedy", x->finding->remedy);
	r = r ? r : report_json_text(o, "action", x->finding->action);
	r = r ? r : report_json_text(o, "otherwise", x->finding->otherwise);
	r = r ? r : report_json_number(o, "cells", x->cells);
	r = r ? r : report_json_number(o, "host_count", x->hosts);
	return r ? r : report_json_text(o, "hosts", x->names);
}

static int blocker_json(struct json_object *o, const void *arg, size_t i)
{
	const struct report_blocker *b = &((const struct report_blockers *)arg)->b[i];
	int r = report_json_text(o, "rule", b->rule->id);

	r = r ? r : report_json_text(o, "title", b->rule->title);
	r = r ? r : report_json_number(o, "cells", b->cells);
	r = r ? r : report_json_number(o, "alone", b->alone);
	r = r ? r : report_json_number(o, "hosts", b->hosts);
	r = r ? r : report_json_number(o, "images", b->images);
	return r ? r : add_array(o, "obstacles", b->n_obstacles, obstacle_json, b);
}

int report_site_json(FILE *out, const struct report_site *s, struct ck_err *err)
{
	CK_AUTO(blockers) struct report_blockers blockers = { 0 };
	CK_AUTO(json) struct json_object *o = json_object_new_object();
	int r = o ? report_blockers_of(s, &blockers) : -ENOMEM;

	r = r ? r : report_json_number(o, "version", REPORT_VERSION);
	r = r ? r : report_json_text(o, "policy", s->policy);
	r = r ? r : add_array(o, "images", s->n_images, image_json, s);
	r = r ? r : add_array(o, "hosts", s->n_hosts, host_json, s);
	r = r ? r : add_array(o, "blockers", blockers.n, blocker_json, &blockers);
	r = r ? r : report_json_unread(o, s);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make JSON");
	return report_json_print(out, o, err);
}
