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

enum { LIST_MAX = 3 };

bool fsmap_is_written(const CkptNeedPath *need)
{
	return need->has_access && (need->access == O_WRONLY || need->access == O_RDWR);
}

static bool has_role(const CkptNeedPath *need, CkptPathRole role)
{
	for (size_t i = 0; i < need->n_roles; i++)
		if (need->roles[i] == role)
			return true;
	return false;
}

/* A live look gives facts in the order of the needs; a profile in any order. */
static const CkptPathFact *fact_of(const struct rule_input *in, size_t i)
{
	const CkptFacts *t = in->target;
	const char *path = in->needs->paths[i]->path;

	if (i < t->n_paths && !strcmp(t->paths[i]->path, path))
		return t->paths[i];
	for (size_t k = 0; k < t->n_paths; k++)
		if (!strcmp(t->paths[k]->path, path))
			return t->paths[k];
	return NULL;
}

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

	if (need->has_size && f->has_size && f->size < need->size)
		return FSMAP_DIFFERENT;
	if (need->has_hash && f->has_hash)
		return by_sum(need->hash, f->hash, FSMAP_SAME);
	if (need->has_hash && f->has_prefix_hash && prefix)
		return by_sum(need->hash, f->prefix_hash, FSMAP_SAME);
	if (need->has_sample && f->has_sample && prefix)
		return by_sum(need->sample, f->sample, FSMAP_SAMPLED);
	return need->has_mtime_ns && f->has_mtime_ns && need->mtime_ns == f->mtime_ns &&
			       need->has_size && f->has_size && need->size == f->size
		       ? FSMAP_SAME
		       : FSMAP_UNTOLD;
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
	bool mapped = has_role(need, CKPT_PATH_ROLE__CKPT_PATH_MAP) ||
		      has_role(need, CKPT_PATH_ROLE__CKPT_PATH_EXE);

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
	/* Of a foreign image's file the size is all that is known. */
	if (!need->has_hash && !need->has_mtime_ns && need->size == f->size)
		return FSMAP_FINE;
	return FSMAP_DOUBT;
}

/* To stand in a directory one has to be allowed to search it, to have it open to read it. */
static bool dir_is_denied(const CkptNeedPath *need, const CkptPathFact *f)
{
	bool stand = has_role(need, CKPT_PATH_ROLE__CKPT_PATH_CWD) ||
		     has_role(need, CKPT_PATH_ROLE__CKPT_PATH_ROOT);
	bool open = has_role(need, CKPT_PATH_ROLE__CKPT_PATH_FD);

	return (stand && f->has_executable && !f->executable) ||
	       (open && f->has_readable && !f->readable);
}

static bool is_denied(const CkptNeedPath *need, const CkptPathFact *f)
{
	bool read = !need->has_access || need->access != O_WRONLY;

	if (f->callers)
		return false;
	if (S_ISDIR(need->mode))
		return dir_is_denied(need, f);
	if (S_ISREG(need->mode) && has_role(need, CKPT_PATH_ROLE__CKPT_PATH_EXE) &&
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

static enum fsmap_cause cause_of(const struct rule_input *in, const CkptNeedPath *need,
				 const CkptPathFact *f)
{
	if (need->has_carried && need->carried)
		return FSMAP_FINE;
	if (!f)
		return FSMAP_UNSEEN;
	if (f->exists)
		return cause_of_present(need, f);
	if (!f->parent_missing && !f->parent)
		return FSMAP_DENIED;
	if (mount_is_missing(in, need))
		return FSMAP_MOUNT;
	if (f->parent || strcmp(f->parent_missing, need->path))
		return FSMAP_DIR;
	if (!S_ISDIR(need->mode))
		return FSMAP_FILE;
	return has_role(need, CKPT_PATH_ROLE__CKPT_PATH_CWD) ? FSMAP_CWD : FSMAP_DIR;
}

static const char *dir_key(struct fsmap_item *it)
{
	const char *slash = strrchr(it->need->path, '/');
	size_t n = slash && slash != it->need->path ? (size_t)(slash - it->need->path) : 1;

	it->own_key = strndup(it->need->path, n);
	return it->own_key;
}

static const char *key_of(struct fsmap_item *it)
{
	switch (it->cause) {
	case FSMAP_MOUNT:
		return it->need->mount_point;
	case FSMAP_DIR:
	case FSMAP_CWD:
		return it->fact->parent ? it->fact->parent : it->fact->parent_missing;
	case FSMAP_UNSEEN:
		return "";
	default:
		return dir_key(it);
	}
}

static int compare_items(const void *a, const void *b)
{
	const struct fsmap_item *x = a, *y = b;
	int r = strcmp(x->key, y->key);

	return r ? r : strcmp(x->need->path, y->need->path);
}

/*
 * A missing working directory is a cause of its own only while nothing else is missing below it;
 * otherwise all that goes by the directory, first pass, so that both rules agree.
 */
static bool belongs(const struct rule_input *in, const struct fsmap_item *it,
		    enum fsmap_cause wanted)
{
	bool alone = true;

	if (it->cause != FSMAP_CWD && it->cause != FSMAP_DIR)
		return it->cause == wanted;
	if (wanted != FSMAP_CWD && wanted != FSMAP_DIR)
		return false;
	if (it->fact->parent || !has_role(it->need, CKPT_PATH_ROLE__CKPT_PATH_CWD))
		alone = false;
	for (size_t i = 0; alone && i < in->needs->n_paths; i++) {
		const CkptNeedPath *other = in->needs->paths[i];

		if (other != it->need && !other->carried &&
		    fsmap_below(other->path, it->fact->parent_missing))
			alone = false;
	}
	return wanted == (alone ? FSMAP_CWD : FSMAP_DIR);
}

int fsmap_collect(const struct rule_input *in, enum fsmap_cause cause, struct fsmap_items *ret)
{
	struct fsmap_items items = { calloc(in->needs->n_paths + 1, sizeof(*items.item)), 0 };

	if (!items.item)
		return -ENOMEM;
	for (size_t i = 0; i < in->needs->n_paths; i++) {
		struct fsmap_item *it = &items.item[items.n];

		*it = (struct fsmap_item){ .need = in->needs->paths[i], .fact = fact_of(in, i) };
		it->cause = cause_of(in, it->need, it->fact);
		if (!belongs(in, it, cause))
			continue;
		items.n++;
		it->key = key_of(it);
		if (!it->key) {
			fsmap_items_done(&items);
			return -ENOMEM;
		}
	}
	qsort(items.item, items.n, sizeof(*items.item), compare_items);
	*ret = items;
	return 0;
}

void fsmap_items_done(struct fsmap_items *items)
{
	for (size_t i = 0; i < items->n; i++)
		free(items->item[i].own_key);
	free(items->item);
	items->item = NULL;
	items->n = 0;
}

size_t fsmap_group_end(const struct fsmap_items *items, size_t from)
{
	size_t to = from + 1;

	while (to < items->n && !strcmp(items->item[to].key, items->item[from].key))
		to++;
	return to;
}

void fsmap_list(struct ck_strbuf *b, const struct fsmap_items *items, size_t from, size_t to)
{
	size_t key = strlen(items->item[from].key);

	for (size_t i = from; i < to && i < from + LIST_MAX; i++) {
		const char *name = items->item[i].need->path;

		if (key > 1 && fsmap_below(name, items->item[from].key) && name[key])
			name += key + (name[key] == '/');
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
