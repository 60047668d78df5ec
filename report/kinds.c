// SPDX-License-Identifier: Apache-2.0
/*
 * Hosts about which all the same is to be said are one kind. What is to be said of a host is put
 * into a string, and equal strings make a kind.
 */
#include "report/kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

struct said {
	char *text; /* of one host */
	size_t host;
};

static void free_said(struct said *list, size_t n)
{
	for (size_t i = 0; i < n && list; i++)
		free(list[i].text);
	free(list);
}

/* A terminator that no text has keeps "a" "bc" and "ab" "c" apart. */
static void say(struct ck_strbuf *b, const char *text)
{
	ck_strbuf_addf(b, "%s\x01", text ? text : "");
}

static void say_verdict(struct ck_strbuf *b, const struct verdict *v)
{
	ck_strbuf_addf(b, "%d\x01", (int)v->status);
	for (size_t i = 0; i < v->findings.n; i++) {
		const struct finding *f = &v->findings.f[i];

		ck_strbuf_addf(b, "%d\x01", (int)f->status);
		say(b, f->rule);
		/* Of these only the rule is told. */
		if (f->status == FINDING_DEFERRED)
			continue;
		say(b, f->subject);
		say(b, f->need);
		say(b, f->have);
		say(b, f->evidence);
		say(b, f->remedy);
	}
}

static void say_host(struct ck_strbuf *b, const struct report_site *s, size_t host)
{
	const struct report_host *h = &s->hosts[host];

	say(b, h->cpu);
	say(b, h->level);
	say(b, h->kernel);
	/* What firmware keeps for itself differs between like hosts. */
	ck_strbuf_addf(b, "%llu\x01", (unsigned long long)(h->memory + (1 << 29)) >> 30);
	for (int i = 0; i < POLICY_N_ABILITIES; i++)
		ck_strbuf_addf(b, "%d\x01", (int)h->ready.able[i]);
	for (size_t i = 0; i < h->ready.n_lacks; i++) {
		say(b, h->ready.lacks[i].fact);
		say(b, h->ready.lacks[i].detail);
	}
	for (size_t i = 0; i < s->n_images; i++)
		say_verdict(b, report_cell(s, host, i));
}

static int compare_said(const void *a, const void *b)
{
	const struct said *x = a, *y = b;
	int r = strcmp(x->text, y->text);

	return r ? r : (x->host > y->host) - (x->host < y->host);
}

static struct said *say_all(const struct report_site *s)
{
	struct said *list = calloc(s->n_hosts + 1, sizeof(*list));

	for (size_t h = 0; h < s->n_hosts && list; h++) {
		struct ck_strbuf b = CK_STRBUF_INIT;

		say_host(&b, s, h);
		list[h].host = h;
		list[h].text = ck_strbuf_take(&b);
		if (!list[h].text) {
			free_said(list, h);
			return NULL;
		}
	}
	if (list)
		qsort(list, s->n_hosts, sizeof(*list), compare_said);
	return list;
}

/* ---- blocks ---- */

static int add_to_block(struct report_kind *k, size_t block, const struct verdict *v, size_t image,
			size_t n_images)
{
	struct report_block *b = &k->blocks[block];

	if (block == k->n_blocks) {
		b->verdict = v;
		b->images = calloc(n_images, sizeof(*b->images));
		if (!b->images)
			return -ENOMEM;
		k->n_blocks++;
	}
	b->images[b->n++] = image;
	k->block_of[image] = block;
	return 0;
}

static int make_blocks(const struct report_site *s, struct report_kind *k)
{
	size_t host = k->hosts[0];
	CK_AUTO(free) struct said *texts = calloc(s->n_images + 1, sizeof(*texts));
	int r = 0;

	k->blocks = calloc(s->n_images + 1, sizeof(*k->blocks));
	k->block_of = calloc(s->n_images + 1, sizeof(*k->block_of));
	if (!texts || !k->blocks || !k->block_of)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_images && r == 0; i++) {
		const struct verdict *v = report_cell(s, host, i);
		struct ck_strbuf b = CK_STRBUF_INIT;
		size_t at = 0;

		k->can += v->status == VERDICT_COMPATIBLE;
		k->away += (size_t)v->status;
		say_verdict(&b, v);
		while (at < k->n_blocks && ck_strbuf_ok(&b) &&
		       strcmp(texts[at].text, ck_strbuf_str(&b)) != 0)
			at++;
		if (at == k->n_blocks)
			texts[at].text = ck_strbuf_take(&b);
		ck_strbuf_done(&b);
		r = texts[at].text ? add_to_block(k, at, v, i, s->n_images) : -ENOMEM;
	}
	for (size_t i = 0; i < s->n_images; i++)
		free(texts[i].text);
	return r;
}

/* ---- kinds ---- */

static int name_kind(const struct report_site *s, struct report_kind *k)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	CK_AUTO(free) const char **names = calloc(k->n, sizeof(*names));

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < k->n; i++)
		names[i] = s->hosts[k->hosts[i]].name;
	qsort(names, k->n, sizeof(*names), report_compare_names);
	report_fold_names(&b, names, k->n);
	k->names = ck_strbuf_take(&b);
	return k->names ? 0 : -ENOMEM;
}

static int make_kind(const struct report_site *s, const struct said *said, size_t n,
		     struct report_kind *k)
{
	int r;

	k->hosts = calloc(n, sizeof(*k->hosts));
	if (!k->hosts)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		k->hosts[i] = said[i].host;
	k->n = n;
	r = name_kind(s, k);
	return r ? r : make_blocks(s, k);
}

static int compare_kinds(const void *a, const void *b)
{
	const struct report_kind *x = a, *y = b;

	if (x->can != y->can)
		return x->can < y->can ? 1 : -1;
	if (x->away != y->away)
		return x->away > y->away ? 1 : -1;
	return strverscmp(x->names, y->names);
}

int report_kinds_of(const struct report_site *s, struct report_kinds *ret)
{
	CK_AUTO(kinds) struct report_kinds k = { 0 };
	struct said *list = say_all(s);
	int r = 0;

	if (!list)
		return -ENOMEM;
	k.k = calloc(s->n_hosts + 1, sizeof(*k.k));
	if (!k.k)
		r = -ENOMEM;
	for (size_t from = 0, to; from < s->n_hosts && r == 0; from = to) {
		for (to = from + 1; to < s->n_hosts; to++)
			if (strcmp(list[from].text, list[to].text) != 0)
				break;
		r = make_kind(s, list + from, to - from, &k.k[k.n++]);
	}
	free_said(list, s->n_hosts);
	if (r < 0)
		return r;
	qsort(k.k, k.n, sizeof(*k.k), compare_kinds);
	*ret = k;
	memset(&k, 0, sizeof(k));
	return 0;
}

void report_kinds_done(struct report_kinds *k)
{
	for (size_t i = 0; i < k->n; i++) {
		for (size_t j = 0; j < k->k[i].n_blocks; j++)
			free(k->k[i].blocks[j].images);
		free(k->k[i].blocks);
		free(k->k[i].block_of);
		free(k->k[i].hosts);
		free(k->k[i].names);
	}
	free(k->k);
	memset(k, 0, sizeof(*k));
}
