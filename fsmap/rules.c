// SPDX-License-Identifier: Apache-2.0
/*
 * The rules about files, directories and mounts. Pure: needs and facts in, findings out. Which rule
 * speaks of which path is decided in fold.c; here is what it says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "fsmap/fold.h"

enum { FOLD_FROM = 4 }; /* that many changed or missing files of one directory become one line */

typedef void (*report_fn)(const struct rule *r, const struct rule_input *in,
			  const struct fsmap_items *items, size_t from, size_t to,
			  struct findings *out);

static const char *source_host(const struct rule_input *in)
{
	return in->source && in->source->hostname ? in->source->hostname : NULL;
}

/* "3 files", "1 directory" */
static const char *plural(size_t n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}

static const char *type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "something else";
	}
}

static void add_who(struct finding *f, const CkptNeedPath *need)
{
	if (need->who && need->who[0])
		finding_evidence(f, "%s", need->who);
}

/* "rsync -a HOST:PATH PATH", or words where the host isn't known, or is this one. */
static void remedy_copy(const struct rule_input *in, struct finding *f, const char *path, bool dir)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	const char *host = source_host(in), *here = in->target->hostname;

	fsmap_quote(&b, path);
	if (!ck_strbuf_ok(&b))
		return;
	if (host && here && !strcmp(host, here))
		finding_remedy(f, "put %s back as it was when the image was made",
			       ck_strbuf_str(&b));
	else if (host && dir)
		finding_remedy(f, "mkdir -p %s && rsync -a %s:%s/ %s/", ck_strbuf_str(&b), host,
			       ck_strbuf_str(&b), ck_strbuf_str(&b));
	else if (host)
		finding_remedy(f, "rsync -a %s:%s %s", host, ck_strbuf_str(&b), ck_strbuf_str(&b));
	else
		finding_remedy(f, "copy %s here from the host where the image was made",
			       ck_strbuf_str(&b));
}

/* mkdir for directories that hold nothing the job needs; the mode is that of each. */
static void remedy_mkdir(const struct rule_input *in, struct finding *f,
			 const struct fsmap_items *items, size_t from, size_t to)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	for (size_t i = from; i < to; i++)
		if (!S_ISDIR(items->item[i].need->mode)) {
			remedy_copy(in, f, items->item[from].key, true);
			return;
		}
	for (size_t i = from; i < to; i++) {
		ck_strbuf_addf(&b, "%smkdir -p -m %04o ", i > from ? " && " : "",
			       items->item[i].need->mode & 07777);
		fsmap_quote(&b, items->item[i].need->path);
	}
	if (ck_strbuf_ok(&b))
		finding_remedy(f, "%s", ck_strbuf_str(&b));
}

static const CkptMount *source_mount(const struct rule_input *in, const char *point)
{
	const CkptMount *m = in->source ? fsmap_mount_of(in->source, point) : NULL;

	return m && !strcmp(m->point, point) ? m : NULL;
}

static void report_mount(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out)
{
	const CkptNeedPath *need = items->item[from].need;
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	const CkptMount *m = source_mount(in, need->mount_point);
	struct finding *f = findings_add(out, r, FINDING_REFUSE, need->mount_point);

	fsmap_list(&b, items, from, to);
	finding_need(f, "a mount of type %s with %zu %s below: %s", need->fstype, to - from,
		     plural(to - from, "path", "paths"), ck_strbuf_str(&b));
	finding_have(f, "nothing mounted there");
	add_who(f, need);
	if (m && m->source) {
		CK_AUTO(strbuf) struct ck_strbuf s = CK_STRBUF_INIT;

		fsmap_quote(&s, m->source);
		ck_strbuf_addf(&s, " ");
		fsmap_quote(&s, need->mount_point);
		finding_remedy(f, "mount -t %s %s", need->fstype, ck_strbuf_str(&s));
	} else {
		finding_remedy(f, "mount it here as on the host where the image was made");
	}
}

static void report_dir(const struct rule *r, const struct rule_input *in,
		       const struct fsmap_items *items, size_t from, size_t to,
		       struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, items->item[from].key);
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	if (to - from == 1 && !strcmp(items->item[from].need->path, items->item[from].key)) {
		finding_need(f, "a directory");
	} else {
		fsmap_list(&b, items, from, to);
		finding_need(f, "a directory with %zu needed %s: %s", to - from,
			     plural(to - from, "path", "paths"), ck_strbuf_str(&b));
	}
	finding_have(f, items->item[from].fact->parent ? "no directory" : "missing");
	add_who(f, items->item[from].need);
	if (items->item[from].fact->parent)
		finding_remedy(f, "move what stands there out of the way");
	else
		remedy_mkdir(in, f, items, from, to);
}

static void report_cwd(const struct rule *r, const struct rule_input *in,
		       const struct fsmap_items *items, size_t from, size_t to,
		       struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, items->item[from].need->path);

	finding_need(f, "the working directory");
	finding_have(f, "missing");
	add_who(f, items->item[from].need);
	remedy_mkdir(in, f, items, from, to);
}

static void missing_one(const struct rule *r, const struct rule_input *in,
			const struct fsmap_item *it, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	fsmap_quote(&b, it->need->path);
	if (it->need->has_size && S_ISREG(it->need->mode))
		finding_need(f, "a file of %llu bytes", (unsigned long long)it->need->size);
	else
		finding_need(f, "%s", type_name(it->need->mode));
	finding_have(f, "missing");
	add_who(f, it->need);
	if (S_ISFIFO(it->need->mode))
		finding_remedy(f, "mkfifo -m %04o %s", it->need->mode & 07777, ck_strbuf_str(&b));
	else if (S_ISREG(it->need->mode))
		remedy_copy(in, f, it->need->path, false);
	else
		finding_remedy(f, "provide %s there", type_name(it->need->mode));
}

static void report_missing(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf names = CK_STRBUF_INIT;
	struct finding *f;

	if (to - from < FOLD_FROM) {
		for (size_t i = from; i < to; i++)
			missing_one(r, in, &items->item[i], out);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, items->item[from].key);
	fsmap_list(&names, items, from, to);
	finding_need(f, "%zu files: %s", to - from, ck_strbuf_str(&names));
	finding_have(f, "missing");
	add_who(f, items->item[from].need);
	remedy_copy(in, f, items->item[from].key, true);
}

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
		ck_strbuf_addf(&need, "%s", type_name(n->mode));
		ck_strbuf_addf(&have, "%s", type_name(h->mode));
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

static void remedy_changed(const struct rule_input *in, struct finding *f,
			   const struct fsmap_item *it)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	const CkptNeedPath *n = it->need;

	fsmap_quote(&b, n->path);
	if ((n->mode & S_IFMT) != (it->fact->mode & S_IFMT))
		finding_remedy(f, "move it out of the way and provide %s", type_name(n->mode));
	else if (!fsmap_is_written(n) && n->has_build_id)
		finding_remedy(f, "install the version that the image was made with");
	else if (fsmap_is_written(n))
		finding_remedy(f, "put back the %llu bytes it had when the image was made",
			       (unsigned long long)n->size);
	else
		remedy_copy(in, f, n->path, false);
}

static void changed_one(const struct rule *r, const struct rule_input *in,
			const struct fsmap_item *it, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);

	differing(f, it);
	add_who(f, it->need);
	remedy_changed(in, f, it);
}

static void report_changed(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	bool libraries = to - from >= FOLD_FROM;
	struct finding *f;

	for (size_t i = from; i < to; i++)
		libraries = libraries && items->item[i].need->has_build_id;
	if (!libraries) {
		for (size_t i = from; i < to; i++)
			changed_one(r, in, &items->item[i], out);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, items->item[from].key);
	fsmap_list(&b, items, from, to);
	finding_need(f, "%zu libraries and programs: %s", to - from, ck_strbuf_str(&b));
	finding_have(f, "other versions of them");
	finding_evidence(f, "their build-ids differ");
	finding_remedy(f, "install the versions that the image was made with");
}

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

static void report_grown(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out)
{
	(void)in;
	for (size_t i = from; i < to; i++) {
		const struct fsmap_item *it = &items->item[i];
		struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);
		CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

		fsmap_quote(&b, it->need->path);
		finding_need(f, "%llu bytes", (unsigned long long)it->need->size);
		finding_have(f, "%llu bytes", (unsigned long long)it->fact->size);
		evidence_same(f, it);
		finding_remedy(f, "truncate -s %llu %s", (unsigned long long)it->need->size,
			       ck_strbuf_str(&b));
	}
}

static void report_appended(const struct rule *r, const struct rule_input *in,
			    const struct fsmap_items *items, size_t from, size_t to,
			    struct findings *out)
{
	(void)in;
	for (size_t i = from; i < to; i++) {
		const struct fsmap_item *it = &items->item[i];
		struct finding *f = findings_add(out, r, FINDING_DEGRADED, it->need->path);

		finding_need(f, "%llu bytes, as it was", (unsigned long long)it->need->size);
		finding_have(f, "%llu bytes%s", (unsigned long long)it->fact->size,
			     it->fact->size >= it->need->size &&
					     fsmap_compare_bytes(it->need, it->fact) ==
						     FSMAP_DIFFERENT
				     ? ", others than those"
				     : "");
		finding_evidence(f, "the job only appends to it, and goes on at its end");
		finding_remedy(f, "none is needed; what was written since stays in it");
	}
}

static bool read_only_mount(const struct rule_input *in, const char *path)
{
	const CkptMount *m = fsmap_mount_of(in->target, path);

	return m && m->options && (!strncmp(m->options, "ro,", 3) || !strcmp(m->options, "ro"));
}

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

struct denial {
	const char *what, *bits; /* for chmod and setfacl */
};

static const struct denial *denial_of(const struct fsmap_item *it)
{
	/* What is said, and the bits for chmod or setfacl. */
	static const struct denial reach = { "reached", "x" }, search = { "searched", "rx" },
				   write = { "written", "rw" }, read = { "read", "r" },
				   execute = { "executed", "x" };
	const CkptPathFact *h = it->fact;

	if (!h->exists)
		return &reach;
	if (S_ISDIR(it->need->mode))
		return h->executable ? &read : &search;
	if (fsmap_is_written(it->need) && !h->writable)
		return &write;
	return h->readable ? &execute : &read;
}

static void report_denied(const struct rule *r, const struct rule_input *in,
			  const struct fsmap_items *items, size_t from, size_t to,
			  struct findings *out)
{
	for (size_t i = from; i < to; i++) {
		const struct fsmap_item *it = &items->item[i];
		const CkptPathFact *h = it->fact;
		const struct denial *d = denial_of(it);
		struct finding *f = findings_add(out, r, FINDING_REFUSE, it->need->path);

		finding_need(f, "to be %s by uid %u", d->what, in->target->priv->uid);
		if (h->exists)
			finding_have(f, "permission denied, mode %04o of uid %u", h->mode & 07777,
				     h->owner);
		else
			finding_have(f, "%s", h->has_error ? strerror(h->error) : "not reachable");
		add_who(f, it->need);
		remedy_denied(in, f, it, d->bits);
	}
}

static void report_doubt(const struct rule *r, const struct rule_input *in,
			 const struct fsmap_items *items, size_t from, size_t to,
			 struct findings *out)
{
	(void)in;
	for (size_t i = from; i < to; i++) {
		const struct fsmap_item *it = &items->item[i];
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
					 "the image has no checksum of all of it; %d samples "
					 "are as they were",
					 FSMAP_SAMPLES);
		else
			finding_evidence(f, "the image has no checksum of it");
		finding_remedy(f, "compare it with the original; if it is the same: --override "
				  "fs.file.doubt");
	}
}

static void report_unseen(const struct rule *r, const struct rule_input *in,
			  const struct fsmap_items *items, size_t from, size_t to,
			  struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	struct finding *f = findings_add(out, r, FINDING_DEFERRED, NULL);

	(void)in;
	fsmap_list(&b, items, from, to);
	finding_need(f, "%zu %s: %s", to - from, plural(to - from, "path", "paths"),
		     ck_strbuf_str(&b));
	finding_evidence(f, "the host profile does not tell about paths");
	finding_remedy(f, "run the check on the host itself");
}

/* All rules of this folder go the same way: collect what has the cause, group by group. */
static void evaluate(const struct rule *r, const struct rule_input *in, enum fsmap_cause cause,
		     report_fn report, struct findings *out)
{
	CK_AUTO(fsmap_items) struct fsmap_items items = { 0 };
	size_t to;

	if (fsmap_collect(in, cause, &items) < 0) {
		out->failed = true;
		return;
	}
	for (size_t from = 0; from < items.n; from = to) {
		to = fsmap_group_end(&items, from);
		report(r, in, &items, from, to, out);
	}
	if (!items.n)
		findings_add(out, r, in->needs->n_paths ? FINDING_OK : FINDING_NA, NULL);
}

#define RULE(name, cause)                                                          \
	static void name##_rule(const struct rule *r, const struct rule_input *in, \
				struct findings *out)                              \
	{                                                                          \
		evaluate(r, in, cause, report_##name, out);                        \
	}

RULE(mount, FSMAP_MOUNT)
RULE(dir, FSMAP_DIR)
RULE(cwd, FSMAP_CWD)
RULE(missing, FSMAP_FILE)
RULE(denied, FSMAP_DENIED)
RULE(changed, FSMAP_CHANGED)
RULE(grown, FSMAP_GROWN)
RULE(appended, FSMAP_APPENDED)
RULE(doubt, FSMAP_DOUBT)
RULE(unseen, FSMAP_UNSEEN)

const struct rule fsmap_rules[] = {
	{ "fs.mount.missing", "a mount is missing", mount_rule },
	{ "fs.dir.missing", "a directory is missing", dir_rule },
	{ "fs.cwd", "the working directory is missing", cwd_rule },
	{ "fs.file.missing", "a file is missing", missing_rule },
	{ "fs.file.permission", "a file may not be used", denied_rule },
	{ "fs.file.changed", "a file has changed", changed_rule },
	{ "fs.file.grown", "an output file has grown since", grown_rule },
	{ "fs.file.appended", "a log has changed since", appended_rule },
	{ "fs.file.doubt", "a file may have changed", doubt_rule },
	{ "fs.unseen", "the job's paths are as they were", unseen_rule },
	{ NULL, NULL, NULL },
};
