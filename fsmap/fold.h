/* SPDX-License-Identifier: Apache-2.0 */
/* Private to fsmap/: needed paths, what was found, why one is not usable, and folding of the many.
 */
#ifndef CK_FSMAP_FOLD_H
#define CK_FSMAP_FOLD_H

#include "base/strbuf.h"
#include "fsmap/fsmap.h"

/* Why a path can't serve as it is. Each has one rule that reports it, so that nothing is said
 * twice. */
enum fsmap_cause {
	FSMAP_FINE,
	FSMAP_UNSEEN,   /* the facts don't tell about this path */
	FSMAP_MOUNT,    /* missing, and so is the mount that it lived on */
	FSMAP_DIR,      /* a directory on the way is missing, or is no directory */
	FSMAP_CWD,      /* a working directory, and nothing else, is missing */
	FSMAP_FILE,     /* the file itself is missing */
	FSMAP_CHANGED,  /* there, but with other contents, of another size or type */
	FSMAP_APPENDED, /* a log, longer or shorter than it was */
	FSMAP_GROWN,    /* open for writing: what was there is there, and more */
	FSMAP_DENIED,   /* there, but may not be used as the job did */
	FSMAP_DOUBT,    /* there, but whether it is the same can't be told */
};

struct fsmap_item {
	const char *key; /* what it is folded by */
	char *own_key;   /* key, if it had to be made */
	const CkptNeedPath *need;
	const CkptPathFact *fact; /* NULL if unseen */
	enum fsmap_cause cause;
};

struct fsmap_items {
	struct fsmap_item *item; /* by key, then by path */
	size_t n;
};

/* All needed paths with the given cause, sorted. -ENOMEM. */
int fsmap_collect(const struct rule_input *in, enum fsmap_cause cause, struct fsmap_items *ret);
void fsmap_items_done(struct fsmap_items *items);
static inline void ck_auto_fsmap_items(struct fsmap_items *items)
{
	fsmap_items_done(items);
}

/* Items [from, result) share a key. */
size_t fsmap_group_end(const struct fsmap_items *items, size_t from);
/* "a, b, c and 37 more": the names below the key, of items [from, to). */
void fsmap_list(struct ck_strbuf *b, const struct fsmap_items *items, size_t from, size_t to);
/* A path as a shell takes it. */
void fsmap_quote(struct ck_strbuf *b, const char *path);
/* Do the bytes that the file had when the image was made stand there, whatever follows them? */
enum fsmap_same {
	FSMAP_SAME,    /* by checksum, or by size and time */
	FSMAP_SAMPLED, /* what was compared of them does */
	FSMAP_UNTOLD,  /* nothing was compared */
	FSMAP_DIFFERENT,
};
enum fsmap_same fsmap_compare_bytes(const CkptNeedPath *need, const CkptPathFact *f);
/* Writable by the job through a descriptor or a shared mapping? Its contents are then its own. */
bool fsmap_is_written(const CkptNeedPath *need);

#endif
