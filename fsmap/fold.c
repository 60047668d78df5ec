// SPDX-License-Identifier: Apache-2.0
/*
 * Decides for each needed path the one reason why it can't serve, and folds paths that share it.
 * The root cause comes first: a missing mount explains the directories below it, a missing
 * directory the files in it. Pure.
 */
#include "fsmap/fold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

enum {
	LIST_MAX = 3,
	GROUPS_MAX = 20, /* of one cause; more would not be read */
};

bool fsmap_is_path_only(const CkptNeedPath *need)
{
	return need->has_access && need->access == O_ACCMODE;
}

bool fsmap_is_written(const CkptNeedPath *need)
{
	return need->has_access && (need->access == O_WRONLY || need->access == O_RDWR);
}

bool fsmap_has_role(const CkptNeedPath *need, CkptPathRole role)
{
	for (size_t i = 0; i < need->n_roles; i++)
		if (need->roles[i] == role)
			return true;
	return false;
}

/* ---- facts by path ---- */

/* A live look gives facts in the order of the needs; a profile in any order. */
struct facts_index {
	const CkptFacts *facts;
	const CkptPathFact **sorted; /* NULL until one was not where its need is */
};

static void ck_auto_facts_index(struct facts_index *x)
{
	free(x->sorted);
}

static int compare_facts(const void *a, const void *b)
{
	return strcmp((*(const CkptPathFact *const *)a)->path,
		      (*(const CkptPathFact *const *)b)->path);
}

static int compare_path(const void *path, const void *fact)
{
	return strcmp(path, (*(const CkptPathFact *const *)fact)->path);
}

/* *ret is NULL if nothing is known of that path. -ENOMEM. */
static int fact_of(struct facts_index *x, size_t i, const char *path, const CkptPathFact **ret)
{
	const CkptPathFact *const *hit;
	size_t n = x->facts->n_paths;

	if (i < n && !strcmp(x->facts->paths[i]->path, path)) {
		*ret = x->facts->paths[i];
		return 0;
	}
	if (!x->sorted) {
		x->sorted = malloc((n + 1) * sizeof(CkptPathFact *));
		if (!x->sorted)
			return -ENOMEM;
		for (size_t k = 0; k < n; k++)
			x->sorted[k] = x->facts->paths[k];
		qsort(x->sorted, n, sizeof(CkptPathFact *), compare_facts);
	}
	hit = bsearch(path, x->sorted, n, sizeof(CkptPathFact *), compare_path);
	*ret = hit ? *hit : NULL;
	return 0;
}

/* ---- causes ---- */

static bool mount_is_missing(const struct rule_input *in, const CkptNeedPath *need)
{
	if (!need->mount_point || !need->fstype || !strcmp(need->mount_point, "/") ||
	    !fsmap_below(need->path, need->mount_point) || !in->target->n_mounts)
		return false;
	for (size_t i = 0; i < in->target->n_mounts; i++) {
		const CkptMount *m = in->target->mounts[i];

		if (!strcmp(m->point, need->mount_point) && !strcmp(m->fstype, need->fstype))
			return false;
	}
	return true;
}

static enum fsmap_same by_sum(uint64_t a, uint64_t b, enum fsmap_same same)
{
	return a == b ? same : FSMAP_DIFFERENT;
}

enum fsmap_same fsmap_compare_bytes(const CkptNeedPath *need, const CkptPathFact *f)
{
	bool prefix = need->has_size && f->has_prefix && f->prefix == need->size;
	bool same_time = need->has_mtime_ns && f->has_mtime_ns && need->mtime_ns == f->mtime_ns &&
			 need->has_size && f->has_size && need->size == f->size;

	if (need->has_size && f->has_size && f->size < need->size)
		return FSMAP_DIFFERENT;
	if (need->has_hash && f->has_hash)
		return by_sum(need->hash, f->hash, FSMAP_SAME);
	if (need->has_hash && f->has_prefix_hash && prefix)
		return by_sum(need->hash, f->prefix_hash, FSMAP_SAME);
	if (need->has_sample && f->has_sample && prefix)
		return by_sum(need->sample, f->sample, same_time ? FSMAP_SAME : FSMAP_SAMPLED);
	return same_time ? FSMAP_SAME : FSMAP_UNTOLD;
}

static enum fsmap_cause compare_written(const CkptNeedPath *need, const CkptPathFact *f)
{
	enum fsmap_same same = fsmap_compare_bytes(need, f);

	if (!need->has_size || !f->has_size)
		return FSMAP_FINE;
	if (need->append)
		return need->size == f->size && same != FSMAP_DIFFERENT ? FSMAP_FINE
									: FSMAP_APPENDED;
	if (same == FSMAP_DIFFERENT)
		return FSMAP_CHANGED;
	return need->size == f->size ? FSMAP_FINE : FSMAP_GROWN;
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

/* A regular file that the job only reads, or maps. */
static enum fsmap_cause compare_read(const CkptNeedPath *need, const CkptPathFact *f)
{
	bool mapped = fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_MAP) ||
		      fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_EXE);

	if (need->has_build_id)
		return f->has_build_id && same_bytes(&need->build_id, &f->build_id) ? FSMAP_FINE
										    : FSMAP_CHANGED;
	if (mapped && need->has_size && f->has_size && need->size != f->size)
		return FSMAP_CHANGED;
	/* One that is being appended to may grow: what the job has read is still there. */
	switch (fsmap_compare_bytes(need, f)) {
	case FSMAP_SAME:
		return FSMAP_FINE;
	case FSMAP_DIFFERENT:
		return FSMAP_CHANGED;
	default:
		break;
	}
	/* Of a foreign image's file the size is all that is known; what a kernel makes up as it is
	 * read, or is open as a path only, may have any. */
	if (!need->has_hash && !need->has_mtime_ns && (!need->has_size || need->size == f->size))
		return FSMAP_FINE;
	return FSMAP_DOUBT;
}

/* To stand in a directory one has to be allowed to search it, to have it open to read it. */
static bool dir_is_denied(const CkptNeedPath *need, const CkptPathFact *f)
{
	bool stand = fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_CWD) ||
		     fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_ROOT);
	bool open = fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_FD) && !fsmap_is_path_only(need);

	return (stand && f->has_executable && !f->executable) ||
	       (open && f->has_readable && !f->readable);
}

static bool is_denied(const CkptNeedPath *need, const CkptPathFact *f)
{
	bool read = !need->has_access || need->access == O_RDONLY || need->access == O_RDWR;

	if (f->callers)
		return false;
	if (S_ISDIR(need->mode))
		return dir_is_denied(need, f);
	if (S_ISREG(need->mode) && fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_EXE) &&
	    f->has_executable && !f->executable)
		return true;
	return (read && f->has_readable && !f->readable) ||
	       (fsmap_is_written(need) && f->has_writable && !f->writable);
}

static enum fsmap_cause cause_of_present(const CkptNeedPath *need, const CkptPathFact *f)
{
	if (f->has_mode && (need->mode & S_IFMT) && (f->mode & S_IFMT) != (need->mode & S_IFMT))
		return FSMAP_CHANGED;
	if (is_denied(need, f))
		return FSMAP_DENIED;
	if (!S_ISREG(need->mode))
		return FSMAP_FINE;
	return fsmap_is_written(need) ? compare_written(need, f) : compare_read(need, f);
}

/* A profile tells of no paths, but of mounts: what is on a shared filesystem is the same on every
 * host that has it at the same place. */
static bool is_shared_there(const struct rule_input *in, const CkptNeedPath *need)
{
	const CkptNeedMount *m = fsmap_need_mount(in->needs, need);

	return m && fsmap_is_shared(m->fstype) &&
	       fsmap_compare_shared(m, in->target, need->path) == FSMAP_SHARED_SAME;
}

static enum fsmap_cause cause_of(const struct rule_input *in, const CkptNeedPath *need,
				 const CkptPathFact *f)
{
	if (need->has_carried && need->carried)
		return FSMAP_FINE;
	if (!f)
		return is_shared_there(in, need) ? FSMAP_FINE : FSMAP_UNSEEN;
	if (f->exists)
		return cause_of_present(need, f);
	if (f->leads)
		return FSMAP_HIDDEN;
	if (!f->parent_missing && !f->parent)
		return FSMAP_DENIED;
	if (mount_is_missing(in, need))
		return FSMAP_MOUNT;
	if (f->parent || strcmp(f->parent_missing, need->path))
		return FSMAP_DIR;
	if (!S_ISDIR(need->mode))
		return FSMAP_FILE;
	return fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_CWD) ? FSMAP_CWD : FSMAP_DIR;
}

/* ---- groups ---- */

static int denial_of(const struct fsmap_item *it)
{
	const CkptPathFact *h = it->fact;

	if (!h->exists)
		return FSMAP_DENIED_REACH;
	if (S_ISDIR(it->need->mode))
		return h->executable ? FSMAP_DENIED_READ : FSMAP_DENIED_SEARCH;
	if (fsmap_is_written(it->need) && !h->writable)
		return FSMAP_DENIED_WRITE;
	return h->readable ? FSMAP_DENIED_EXECUTE : FSMAP_DENIED_READ;
}

static int kind_of(const struct fsmap_item *it)
{
	if (!it->fact)
		return 0;
	switch (it->cause) {
	case FSMAP_DENIED:
		return denial_of(it);
	case FSMAP_CHANGED:
		if ((it->need->mode & S_IFMT) != (it->fact->mode & S_IFMT))
			return FSMAP_CHANGED_TYPE;
		if (fsmap_is_written(it->need))
			return FSMAP_CHANGED_OUTPUT;
		if (it->need->package)
			return FSMAP_CHANGED_PACKAGE;
		return it->need->has_build_id ? FSMAP_CHANGED_BUILD : FSMAP_CHANGED_INPUT;
	case FSMAP_FILE:
		return it->need->package ? FSMAP_MISSING_PACKAGE : FSMAP_MISSING_FILE;
	default:
		return 0;
	}
}

static bool is_of_package(const struct fsmap_item *it)
{
	return (it->cause == FSMAP_CHANGED && it->kind == FSMAP_CHANGED_PACKAGE) ||
	       (it->cause == FSMAP_FILE && it->kind == FSMAP_MISSING_PACKAGE);
}

static void set_key(struct fsmap_item *it)
{
	const char *slash = strrchr(it->need->path, '/');

	if (!it->fact || is_of_package(it)) {
		it->key = ""; /* all of them are one group */
		it->key_len = 0;
		return;
	}
	switch (it->cause) {
	case FSMAP_MOUNT:
		it->key = it->need->mount_point;
		it->key_len = strlen(it->key);
		break;
	case FSMAP_DIR:
	case FSMAP_CWD:
		it->key = it->fact->parent ? it->fact->parent : it->fact->parent_missing;
		it->key_len = strlen(it->key);
		break;
	default:
		it->key = it->need->path;
		it->key_len = slash && slash != it->key ? (size_t)(slash - it->key) : 1;
	}
}

static int compare_keys(const struct fsmap_item *x, const struct fsmap_item *y)
{
	size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
	int r = (x->kind > y->kind) - (x->kind < y->kind);

	r = r ? r : memcmp(x->key, y->key, n);
	return r ? r : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

static int compare_items(const void *a, const void *b)
{
	const struct fsmap_item *x = a, *y = b;
	int r = compare_keys(x, y);

	return r ? r : strcmp(x->need->path, y->need->path);
}

size_t fsmap_group_end(const struct fsmap_items *items, size_t from)
{
	size_t to = from + 1;

	while (to < items->n && compare_keys(&items->item[from], &items->item[to]) == 0)
		to++;
	return to;
}

/* The length of the first depth components of a key: "/a/b" for 2. */
static size_t cut(const struct fsmap_item *it, size_t depth)
{
	if (!depth && it->key_len)
		return 1;
	for (size_t i = 1; i < it->key_len; i++)
		if (it->key[i] == '/' && --depth == 0)
			return i;
	return it->key_len;
}

static size_t depth_of(const struct fsmap_item *it)
{
	size_t n = it->key_len > 1;

	for (size_t i = 1; i < it->key_len; i++)
		n += it->key[i] == '/';
	return n;
}

/* How many groups there would be if keys were cut to this depth; as many as matter. */
static size_t count_groups(const struct fsmap_items *items, size_t depth)
{
	size_t n = 0;

	for (size_t i = 0; i < items->n && n <= GROUPS_MAX; i++) {
		const struct fsmap_item *x = &items->item[i], *last = i ? x - 1 : NULL;
		size_t len = cut(x, depth);

		n += !last || last->kind != x->kind || cut(last, depth) != len ||
		     memcmp(last->key, x->key, len) != 0;
	}
	return n;
}

/* Changes in a thousand directories are told by what is above them. */
static void coarsen(struct fsmap_items *items)
{
	size_t depth = 0;

	for (size_t i = 0; i < items->n; i++)
		if (depth_of(&items->item[i]) > depth)
			depth = depth_of(&items->item[i]);
	if (count_groups(items, depth) <= GROUPS_MAX)
		return;
	do {
		depth--;
	} while (depth && count_groups(items, depth) > GROUPS_MAX);
	for (size_t i = 0; i < items->n; i++)
		items->item[i].key_len = cut(&items->item[i], depth);
	qsort(items->item, items->n, sizeof(*items->item), compare_items);
}

/* Of missing directories: those groups that are of the wanted cause. A working directory is one of
 * its own while nothing else is missing with it. */
static void split_dirs(struct fsmap_items *items, enum fsmap_cause wanted)
{
	size_t n = 0, to;

	for (size_t from = 0; from < items->n; from = to) {
		const struct fsmap_item *first = &items->item[from];
		bool cwd;

		to = fsmap_group_end(items, from);
		cwd = to - from == 1 && !first->fact->parent &&
		      fsmap_has_role(first->need, CKPT_PATH_ROLE__CKPT_PATH_CWD);
		if (cwd != (wanted == FSMAP_CWD))
			continue;
		memmove(&items->item[n], first, (to - from) * sizeof(*first));
		n += to - from;
	}
	items->n = n;
}

static bool is_dir_cause(enum fsmap_cause c)
{
	return c == FSMAP_DIR || c == FSMAP_CWD;
}

bool fsmap_asks_packages(const CkptNeeds *needs, const CkptFacts *facts)
{
	const struct rule_input in = { .needs = needs, .target = facts, .live = true };
	CK_AUTO(facts_index) struct facts_index index = { .facts = facts };

	for (size_t i = 0; i < needs->n_paths; i++) {
		const CkptNeedPath *p = needs->paths[i];
		const CkptPathFact *f;
		enum fsmap_cause c;

		if (!p->package || fact_of(&index, i, p->path, &f) < 0 || !f)
			continue;
		c = cause_of(&in, p, f);
		if (c == FSMAP_CHANGED || c == FSMAP_FILE)
			return true;
	}
	return false;
}

int fsmap_collect(const struct rule_input *in, enum fsmap_cause cause, struct fsmap_items *ret)
{
	CK_AUTO(facts_index) struct facts_index index = { .facts = in->target };
	CK_AUTO(fsmap_items) struct fsmap_items items = { 0 };
	size_t room = 0;

	for (size_t i = 0; i < in->needs->n_paths; i++) {
		struct fsmap_item it = { .need = in->needs->paths[i] }, *grown;

		if (fact_of(&index, i, it.need->path, &it.fact) < 0)
			return -ENOMEM;
		it.cause = cause_of(in, it.need, it.fact);
		if (is_dir_cause(cause) ? !is_dir_cause(it.cause) : it.cause != cause)
			continue;
		it.kind = kind_of(&it);
		set_key(&it);
		if (items.n == room) {
			room = room ? 2 * room : 16;
			grown = reallocarray(items.item, room, sizeof(*grown));
			if (!grown)
				return -ENOMEM;
			items.item = grown;
		}
		items.item[items.n++] = it;
	}
	if (items.n)
		qsort(items.item, items.n, sizeof(*items.item), compare_items);
	if (is_dir_cause(cause))
		split_dirs(&items, cause);
	if (cause != FSMAP_MOUNT && cause != FSMAP_UNSEEN && items.n)
		coarsen(&items);
	*ret = items;
	items = (struct fsmap_items){ 0 };
	return 0;
}

void fsmap_items_done(struct fsmap_items *items)
{
	free(items->item);
	items->item = NULL;
	items->n = 0;
}

char *fsmap_key(const struct fsmap_item *it)
{
	return strndup(it->key, it->key_len);
}

bool fsmap_is_coarse(const struct fsmap_item *it)
{
	const char *slash = strrchr(it->need->path, '/');

	return slash && (size_t)(slash - it->need->path) > (it->key_len > 1 ? it->key_len : 0);
}

void fsmap_list(struct ck_strbuf *b, const struct fsmap_items *items, size_t from, size_t to)
{
	const struct fsmap_item *first = &items->item[from];

	for (size_t i = from; i < to && i < from + LIST_MAX; i++) {
		const char *name = items->item[i].need->path;

		if (first->key_len > 1 && !strncmp(name, first->key, first->key_len) &&
		    name[first->key_len] == '/')
			name += first->key_len + 1;
		ck_strbuf_addf(b, "%s%s", i > from ? ", " : "", name);
	}
	if (to - from > LIST_MAX)
		ck_strbuf_addf(b, " and %zu more", to - from - LIST_MAX);
}

void fsmap_quote(struct ck_strbuf *b, const char *path)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789/._-+,:@%=";

	if (path[0] && path[0] != '-' && strspn(path, safe) == strlen(path)) {
		ck_strbuf_addf(b, "%s", path);
		return;
	}
	ck_strbuf_addf(b, "'");
	for (const char *p = path; *p; p++) {
		if (*p == '\'')
			ck_strbuf_addf(b, "'\\''");
		else
			ck_strbuf_add(b, p, 1);
	}
	ck_strbuf_addf(b, "'");
}
