// SPDX-License-Identifier: Apache-2.0
/*
 * The rules about files, directories and mounts. Pure: needs and facts in, findings out. Which rule
 * speaks of which path is decided in fold.c; here is what it says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "fsmap/say.h"

/* The first that is not before path. */
static size_t first_dir(const CkptNeeds *n, const char *path)
{
	size_t lo = 0, hi = n->n_dirs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(n->dirs[mid]->path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Commands that make top and all that was below it, each with its own mode; false if the image does
 * not tell of that. */
static bool add_tree(struct ck_strbuf *b, const CkptNeeds *n, const char *top)
{
	size_t len = strlen(top), i = first_dir(n, top);
	bool any = false;

	for (; i < n->n_dirs && !strncmp(n->dirs[i]->path, top, len); i++) {
		if (!fsmap_below(n->dirs[i]->path, top))
			continue;
		ck_strbuf_addf(b, "%smkdir -m %04o ", any ? " && " : "", n->dirs[i]->mode & 07777);
		fsmap_quote(b, n->dirs[i]->path);
		any = true;
	}
	return any;
}

/* mkdir for directories that hold nothing the job needs. */
static void remedy_mkdir(const struct rule_input *in, struct finding *f,
			 const struct fsmap_items *items, size_t from, size_t to)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	if (fsmap_say_scratch(in, f, items->item[from].key))
		return;
	for (size_t i = from; i < to; i++)
		if (!S_ISDIR(items->item[i].need->mode)) {
			fsmap_say_copy(in, f, items->item[from].key, true);
			return;
		}
	if (!add_tree(&b, in->needs, items->item[from].key))
		for (size_t i = from; i < to; i++) {
			ck_strbuf_addf(&b, "%smkdir -p -m %04o ", i > from ? " && " : "",
				       items->item[i].need->mode & 07777);
			fsmap_quote(&b, items->item[i].need->path);
		}
	if (ck_strbuf_ok(&b))
		finding_remedy(f, "%s", ck_strbuf_str(&b));
}

/* Nothing is missing but directories, and they can be made here. Of CRIU's image their modes are
 * not known. */
static bool can_make(const struct rule_input *in, const struct fsmap_items *items, size_t from,
		     size_t to)
{
	if (in->image && in->image->foreign)
		return false;
	for (size_t i = from; i < to; i++)
		if (!S_ISDIR(items->item[i].need->mode) || !items->item[i].fact->can_make)
			return false;
	return true;
}

static void may_make(struct finding *f, bool can)
{
	if (f && can) {
		f->status = FINDING_ACTION;
		f->action = "make-dirs";
	}
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
		     fsmap_plural(to - from, "path", "paths"), ck_strbuf_str(&b));
	finding_have(f, "nothing mounted there");
	fsmap_say_who(f, need);
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

static const char *missing_dir(const struct fsmap_item *it)
{
	return it->fact->parent ? it->fact->parent : it->fact->parent_missing;
}

/* So many are missing that they are told by what is above them. */
static void many_dirs(const struct rule *r, const struct rule_input *in,
		      const struct fsmap_items *items, size_t from, size_t to, struct findings *out)
{
	struct finding *f = fsmap_say_many(r, FINDING_REFUSE, "paths in directories of their own",
					   items, from, to, out);
	size_t n = 1;

	for (size_t i = from + 1; i < to; i++)
		n += strcmp(missing_dir(&items->item[i - 1]), missing_dir(&items->item[i])) != 0;
	finding_have(f, "%zu directories are missing, %s is the first", n,
		     missing_dir(&items->item[from]));
	fsmap_say_copy_many(in, f, items, from, to);
	may_make(f, can_make(in, items, from, to));
}

static void report_dir(const struct rule *r, const struct rule_input *in,
		       const struct fsmap_items *items, size_t from, size_t to,
		       struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	struct finding *f;

	if (items->item[from].key_len < strlen(items->item[from].key)) {
		many_dirs(r, in, items, from, to, out);
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, items->item[from].key);
	if (to - from == 1 && !strcmp(items->item[from].need->path, items->item[from].key)) {
		finding_need(f, "a directory");
	} else {
		fsmap_list(&b, items, from, to);
		finding_need(f, "a directory with %zu needed %s: %s", to - from,
			     fsmap_plural(to - from, "path", "paths"), ck_strbuf_str(&b));
	}
	finding_have(f, items->item[from].fact->parent ? "no directory" : "missing");
	fsmap_say_who(f, items->item[from].need);
	if (items->item[from].fact->parent)
		finding_remedy(f, "move what stands there out of the way");
	else
		remedy_mkdir(in, f, items, from, to);
	may_make(f, can_make(in, items, from, to));
}

static void report_cwd(const struct rule *r, const struct rule_input *in,
		       const struct fsmap_items *items, size_t from, size_t to,
		       struct findings *out)
{
	struct finding *f;

	if (to - from > 1) { /* many, told by what is above them */
		f = fsmap_say_many(r, FINDING_REFUSE, "working directories", items, from, to, out);
		finding_have(f, "missing");
		fsmap_say_copy_many(in, f, items, from, to);
		may_make(f, can_make(in, items, from, to));
		return;
	}
	f = findings_add(out, r, FINDING_REFUSE, items->item[from].need->path);
	finding_need(f, "the working directory");
	finding_have(f, "missing");
	fsmap_say_who(f, items->item[from].need);
	remedy_mkdir(in, f, items, from, to);
	may_make(f, can_make(in, items, from, to));
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
		finding_need(f, "%s", fsmap_type_name(it->need->mode));
	finding_have(f, "missing");
	fsmap_say_who(f, it->need);
	if (S_ISFIFO(it->need->mode))
		finding_remedy(f, "mkfifo -m %04o %s", it->need->mode & 07777, ck_strbuf_str(&b));
	else if (S_ISREG(it->need->mode))
		fsmap_say_copy(in, f, it->need->path, false);
	else
		finding_remedy(f, "provide %s there", fsmap_type_name(it->need->mode));
}

static void report_missing(const struct rule *r, const struct rule_input *in,
			   const struct fsmap_items *items, size_t from, size_t to,
			   struct findings *out)
{
	struct finding *f;

	if (items->item[from].kind == FSMAP_MISSING_PACKAGE) {
		fsmap_report_packages(r, in, items, from, to, out);
		return;
	}
	if (to - from < FSMAP_FOLD_FROM) {
		for (size_t i = from; i < to; i++)
			missing_one(r, in, &items->item[i], out);
		return;
	}
	f = fsmap_say_many(r, FINDING_REFUSE, "files", items, from, to, out);
	finding_have(f, "missing");
	fsmap_say_copy_many(in, f, items, from, to);
}

static void report_unseen(const struct rule *r, const struct rule_input *in,
			  const struct fsmap_items *items, size_t from, size_t to,
			  struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	struct finding *f = findings_add(out, r, FINDING_DEFERRED, NULL);

	(void)in;
	fsmap_list(&b, items, from, to);
	finding_need(f, "%zu %s: %s", to - from, fsmap_plural(to - from, "path", "paths"),
		     ck_strbuf_str(&b));
	finding_evidence(f, "the host profile does not tell about paths");
	finding_remedy(f, "run the check on the host itself");
}

/* All rules of this folder go the same way: collect what has the cause, group by group. */
static void evaluate(const struct rule *r, const struct rule_input *in, enum fsmap_cause cause,
		     fsmap_report_fn report, struct findings *out)
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

#define RULE(name, cause, report)                                                  \
	static void name##_rule(const struct rule *r, const struct rule_input *in, \
				struct findings *out)                              \
	{                                                                          \
		evaluate(r, in, cause, report, out);                               \
	}

RULE(mount, FSMAP_MOUNT, report_mount)
RULE(hidden, FSMAP_HIDDEN, fsmap_report_hidden)
RULE(dir, FSMAP_DIR, report_dir)
RULE(cwd, FSMAP_CWD, report_cwd)
RULE(missing, FSMAP_FILE, report_missing)
RULE(denied, FSMAP_DENIED, fsmap_report_denied)
RULE(changed, FSMAP_CHANGED, fsmap_report_changed)
RULE(grown, FSMAP_GROWN, fsmap_report_grown)
RULE(appended, FSMAP_APPENDED, fsmap_report_appended)
RULE(doubt, FSMAP_DOUBT, fsmap_report_doubt)
RULE(unseen, FSMAP_UNSEEN, report_unseen)

const struct rule fsmap_rules[] = {
	{ "fs.mount.missing", "a mount is missing", mount_rule },
	{ "fs.mount.other", "another filesystem is mounted", fsmap_other_rule },
	{ "fs.mount.hides", "what is mounted hides a path", hidden_rule },
	{ "fs.bind", "a path can't be bound", fsmap_bind_rule },
	{ "fs.cvmfs.revision", "a CVMFS repository has another revision", fsmap_revision_rule },
	{ "fs.dir.missing", "a directory is missing", dir_rule },
	{ "fs.cwd", "the working directory is missing", cwd_rule },
	{ "fs.file.missing", "a file is missing", missing_rule },
	{ "fs.file.permission", "a file may not be used", denied_rule },
	{ "fs.file.changed", "a file has changed", changed_rule },
	{ "fs.file.grown", "an output file has grown since", grown_rule },
	{ "fs.file.appended", "a log has changed since", appended_rule },
	{ "fs.file.doubt", "a file may have changed", doubt_rule },
	{ "fs.space", "there is no room for files that are carried", fsmap_space_rule },
	{ "fs.unseen", "the job's paths are as they were", unseen_rule },
	{ NULL, NULL, NULL },
};
