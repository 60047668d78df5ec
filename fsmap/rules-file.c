// SPDX-License-Identifier: Apache-2.0
/* What the rules say of files that are there, and are not as the job left them. Pure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "fsmap/say.h"

enum { COMMANDS_MAX = 16 }; /* in one remedy */

/* ---- changed ---- */

static void print_id(struct ck_strbuf *b, const ProtobufCBinaryData *id)
{
	ck_strbuf_addf(b, "build-id ");
	for (size_t i = 0; i < id->len && i < 8; i++)
		ck_strbuf_addf(b, "%02x", id->data[i]);
	if (id->len > 8)
		ck_strbuf_addf(b, "...");
}

/* The contents differ, at least those that the file had when the image was made. */
static void differing_sums(const CkptNeedPath *n, const CkptPathFact *h, struct ck_strbuf *need,
			   struct ck_strbuf *have)
{
	bool sampled = h->has_sample;
	uint64_t sum = sampled ? h->sample : h->has_prefix_hash ? h->prefix_hash : h->hash;

	if (n->size != h->size) {
		ck_strbuf_addf(need, "%llu bytes, ", (unsigned long long)n->size);
		ck_strbuf_addf(have, "%llu bytes, the first of them ", (unsigned long long)h->size);
	}
	if (sampled) {
		ck_strbuf_addf(need, "%d samples of the contents ", FSMAP_SAMPLES);
		ck_strbuf_addf(have, "samples ");
	} else {
		ck_strbuf_addf(need, "contents ");
	}
	ck_strbuf_addf(need, "with XXH64 %016llx",
		       (unsigned long long)(sampled ? n->sample : n->hash));
	ck_strbuf_addf(have, "%sXXH64 %016llx", n->size != h->size || sampled ? "with " : "",
		       (unsigned long long)sum);
}

/* Both values in the terms in which they differ. */
static void differing(struct finding *f, const struct fsmap_item *it)
{
	CK_AUTO(strbuf) struct ck_strbuf need = CK_STRBUF_INIT, have = CK_STRBUF_INIT;
	const CkptNeedPath *n = it->need;
	const CkptPathFact *h = it->fact;

	if ((n->mode & S_IFMT) != (h->mode & S_IFMT)) {
		ck_strbuf_addf(&need, "%s", fsmap_type_name(n->mode));
		ck_strbuf_addf(&have, "%s", fsmap_type_name(h->mode));
	} else if (n->has_build_id && !fsmap_is_written(n)) {
		print_id(&need, &n->build_id);
		if (h->has_build_id)
			print_id(&have, &h->build_id);
		else
			ck_strbuf_addf(&have, "no build-id");
	} else if (n->size != h->size && (h->size < n->size || !h->has_prefix)) {
		ck_strbuf_addf(&need, "%llu bytes", (unsigned long long)n->size);
		ck_strbuf_addf(&have, "%llu bytes", (unsigned long long)h->size);
	} else {
		differing_sums(n, h, &need, &have);
	}
	finding_need(f, "%s", ck_strbuf_str(&need));
	finding_have(f, "%s", ck_strbuf_str(&have));
}

static void changed_one(const struct rule *r, const struct rule_input *in,
			const struct fsmap_item *it, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);

	differing(f, it);
	fsmap_say_who(f, it->need);
	switch (it->kind) {
	case FSMAP_CHANGED_TYPE:
		finding_remedy(f, "move it out of the way and provide %s",
			       fsmap_type_name(it->need->mode));
		break;
	case FSMAP_CHANGED_BUILD:
		finding_remedy(f, "install the version that the image was made with");
		break;
	case FSMAP_CHANGED_OUTPUT:
		finding_remedy(f, "put back the %llu bytes it had when the image was made",
			       (unsigned long long)it->need->size);
		break;
	default:
		fsmap_say_copy(in, f, it->need->path, false);
	}
}

void fsmap_report_changed(const struct rule *r, const struct rule_input *in,
			  const struct fsmap_items *items, size_t from, size_t to,
			  struct findings *out)
{
	static const struct {
		const char *what, *have;
	} texts[] = {
		[FSMAP_CHANGED_TYPE] = { "paths", "other types of files at their places" },
		[FSMAP_CHANGED_PACKAGE] = { NULL, NULL },
		[FSMAP_CHANGED_BUILD] = { "libraries and programs", "other versions of them" },
		[FSMAP_CHANGED_INPUT] = { "files", "other contents" },
		[FSMAP_CHANGED_OUTPUT] = { "output files", "not what the job had written" },
	};
	int kind = items->item[from].kind;
	struct finding *f;

	if (kind == FSMAP_CHANGED_PACKAGE) {
		fsmap_report_packages(r, in, items, from, to, out);
		return;
	}
	if (to - from < FSMAP_FOLD_FROM) {
		for (size_t i = from; i < to; i++)
			changed_one(r, in, &items->item[i], out);
		return;
	}
	f = fsmap_say_many(r, FINDING_REFUSE, texts[kind].what, items, from, to, out);
	finding_have(f, "%s", texts[kind].have);
	if (kind == FSMAP_CHANGED_BUILD) {
		finding_evidence(f, "their build-ids differ");
		finding_remedy(f, "install the versions that the image was made with");
	} else if (kind == FSMAP_CHANGED_TYPE) {
		finding_remedy(f, "move them out of the way and provide what was there");
	} else {
		fsmap_say_copy_many(in, f, items, from, to);
	}
}

/* ---- output and logs that went on ---- */

/* On what it rests that the first bytes are the same. */
static void evidence_same(struct finding *f, const struct fsmap_item *it)
{
	switch (fsmap_compare_bytes(it->need, it->fact)) {
	case FSMAP_SAME:
		finding_evidence(f, "the first %llu bytes are as they were",
				 (unsigned long long)it->need->size);
		break;
	case FSMAP_SAMPLED:
		finding_evidence(f, "%d samples of the first %llu bytes are as they were",
				 FSMAP_SAMPLES, (unsigned long long)it->need->size);
		break;
	default:
		finding_evidence(f, "the image has no checksum of what was there");
	}
}

static void remedy_truncate(struct finding *f, const struct fsmap_items *items, size_t from,
			    size_t to)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	if (to - from > COMMANDS_MAX) {
		finding_remedy(f, "cut each back to its size; ckpt show --image DIR ckpt-needs "
				  "lists them");
		return;
	}
	for (size_t i = from; i < to; i++) {
		ck_strbuf_addf(&b, "%struncate -s %llu ", i > from ? " && " : "",
			       (unsigned long long)items->item[i].need->size);
		fsmap_quote(&b, items->item[i].need->path);
	}
	if (ck_strbuf_ok(&b))
		finding_remedy(f, "%s", ck_strbuf_str(&b));
}

/* Nothing is cut off what is not known to be what it was. */
static void actions(struct finding *f, const struct fsmap_items *items, size_t from, size_t to)
{
	bool known = true;

	for (size_t i = from; i < to; i++) {
		enum fsmap_same same =
			fsmap_compare_bytes(items->item[i].need, items->item[i].fact);

		known = known && (same == FSMAP_SAME || same == FSMAP_SAMPLED);
	}
	if (!f)
		return;
	f->action = known ? "rollback-files" : "keep-files";
	f->otherwise = known ? "keep-files" : NULL;
}

void fsmap_report_grown(const struct rule *r, const struct rule_input *in,
			const struct fsmap_items *items, size_t from, size_t to,
			struct findings *out)
{
	struct finding *f;

	(void)in;
	if (to - from < FSMAP_FOLD_FROM) {
		for (size_t i = from; i < to; i++) {
			const struct fsmap_item *it = &items->item[i];

			f = findings_add(out, r, FINDING_ACTION, it->need->path);
			actions(f, items, i, i + 1);
			finding_need(f, "%llu bytes", (unsigned long long)it->need->size);
			finding_have(f, "%llu bytes", (unsigned long long)it->fact->size);
			evidence_same(f, it);
			remedy_truncate(f, items, i, i + 1);
		}
		return;
	}
	f = fsmap_say_many(r, FINDING_ACTION, "output files", items, from, to, out);
	actions(f, items, from, to);
	finding_have(f, "more in each of them");
	remedy_truncate(f, items, from, to);
}

static bool is_begun_anew(const struct fsmap_item *it)
{
	return it->fact->size >= it->need->size &&
	       fsmap_compare_bytes(it->need, it->fact) == FSMAP_DIFFERENT;
}

void fsmap_report_appended(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out)
{
	struct finding *f;

	(void)in;
	if (to - from >= FSMAP_FOLD_FROM) {
		f = fsmap_say_many(r, FINDING_DEGRADED, "logs, as they were", items, from, to, out);
		finding_have(f, "other sizes, or begun anew");
		finding_evidence(f, "the job only appends to them, and goes on at their ends");
		finding_remedy(f, "none is needed; what was written since stays in them");
		return;
	}
	for (size_t i = from; i < to; i++) {
		const struct fsmap_item *it = &items->item[i];

		f = findings_add(out, r, FINDING_DEGRADED, it->need->path);
		finding_need(f, "%llu bytes, as it was", (unsigned long long)it->need->size);
		finding_have(f, "%llu bytes%s", (unsigned long long)it->fact->size,
			     is_begun_anew(it) ? ", others than those" : "");
		finding_evidence(f, "the job only appends to it, and goes on at its end");
		finding_remedy(f, "none is needed; what was written since stays in it");
	}
}

/* ---- permissions ---- */

static bool read_only_mount(const struct rule_input *in, const char *path)
{
	const CkptMount *m = fsmap_mount_of(in->target, path);

	return m && m->options && (!strncmp(m->options, "ro,", 3) || !strcmp(m->options, "ro"));
}

struct denial {
	const char *what, *bits; /* for chmod and setfacl */
};

static const struct denial denials[] = {
	[FSMAP_DENIED_REACH] = { "reached", "x" },    [FSMAP_DENIED_SEARCH] = { "searched", "rx" },
	[FSMAP_DENIED_WRITE] = { "written", "rw" },   [FSMAP_DENIED_READ] = { "read", "r" },
	[FSMAP_DENIED_EXECUTE] = { "executed", "x" },
};

static void remedy_denied(const struct rule_input *in, struct finding *f,
			  const struct fsmap_item *it, const char *bits)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	uint32_t uid = in->target->priv->uid;

	if (fsmap_is_written(it->need) && it->fact->exists && read_only_mount(in, it->need->path)) {
		fsmap_quote(&b, fsmap_mount_of(in->target, it->need->path)->point);
		finding_remedy(f, "mount -o remount,rw %s", ck_strbuf_str(&b));
		return;
	}
	fsmap_quote(&b, it->need->path);
	if (!it->fact->exists)
		finding_remedy(f, "let uid %u search the directories above it", uid);
	else if (it->fact->has_owner && it->fact->owner == uid)
		finding_remedy(f, "chmod u+%s %s", bits, ck_strbuf_str(&b));
	else
		finding_remedy(f, "as root or as uid %u: setfacl -m u:%u:%s %s", it->fact->owner,
			       uid, bits, ck_strbuf_str(&b));
}

static void denied_one(const struct rule *r, const struct rule_input *in,
		       const struct fsmap_item *it, struct findings *out)
{
	const CkptPathFact *h = it->fact;
	const struct denial *d = &denials[it->kind];
	struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);

	finding_need(f, "to be %s by uid %u", d->what, in->target->priv->uid);
	if (h->exists)
		finding_have(f, "permission denied, mode %04o of uid %u", h->mode & 07777,
			     h->owner);
	else
		finding_have(f, "%s", h->has_error ? strerror(h->error) : "not reachable");
	fsmap_say_who(f, it->need);
	remedy_denied(in, f, it, d->bits);
}

void fsmap_report_denied(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out)
{
	const struct fsmap_item *first = &items->item[from];
	const struct denial *d = &denials[first->kind];
	uint32_t uid = in->target->priv->uid;
	struct finding *f;

	/* Few are told one by one, each with its own command. */
	if (to - from <= COMMANDS_MAX) {
		for (size_t i = from; i < to; i++)
			denied_one(r, in, &items->item[i], out);
		return;
	}
	f = fsmap_say_many(r, FINDING_REFUSE, "paths", items, from, to, out);
	if (first->fact->exists)
		finding_have(f, "they may not be %s by uid %u", d->what, uid);
	else
		finding_have(f, "%s",
			     first->fact->has_error ? strerror(first->fact->error)
						    : "not reachable");
	if (first->fact->exists && fsmap_is_written(first->need) &&
	    read_only_mount(in, first->need->path))
		remedy_denied(in, f, first, d->bits);
	else
		finding_remedy(f,
			       "let uid %u use them (%s); ckpt show --image DIR ckpt-needs "
			       "lists them",
			       uid, d->bits);
}

/* ---- doubt ---- */

static void doubt_one(const struct rule *r, const struct fsmap_item *it, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_UNKNOWN, it->need->path);

	finding_need(f, "the %llu bytes it had when the image was made",
		     (unsigned long long)it->need->size);
	if (it->need->size == it->fact->size)
		finding_have(f, "the same size, another modification time");
	else
		finding_have(f, "%llu bytes; the first of them may be the same",
			     (unsigned long long)it->fact->size);
	if (it->fact->has_sample)
		finding_evidence(f,
				 "the image has no checksum of all of it; %d samples are as they "
				 "were",
				 FSMAP_SAMPLES);
	else
		finding_evidence(f, "the image has no checksum of it");
	finding_remedy(f, "compare it with the original; if it is the same: --override "
			  "fs.file.doubt");
}

void fsmap_report_doubt(const struct rule *r, const struct rule_input *in,
			const struct fsmap_items *items, size_t from, size_t to,
			struct findings *out)
{
	struct finding *f;

	(void)in;
	if (to - from < FSMAP_FOLD_FROM) {
		for (size_t i = from; i < to; i++)
			doubt_one(r, &items->item[i], out);
		return;
	}
	f = fsmap_say_many(r, FINDING_UNKNOWN, "files", items, from, to, out);
	finding_have(f, "other sizes or modification times");
	finding_evidence(f, "the image has no checksums of all of their contents");
	finding_remedy(f, "compare them with the originals; if they are the same: --override "
			  "fs.file.doubt");
}
