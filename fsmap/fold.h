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
	FSMAP_HIDDEN,   /* there, but what is mounted or bound over it hides it */
};

/* Of one cause, what has different remedies. */
enum fsmap_denial {
	FSMAP_DENIED_REACH,
	FSMAP_DENIED_SEARCH,
	FSMAP_DENIED_WRITE,
	FSMAP_DENIED_READ,
	FSMAP_DENIED_EXECUTE,
};
enum fsmap_change {
	FSMAP_CHANGED_TYPE,
	FSMAP_CHANGED_PACKAGE, /* owned by a package, which can bring what was there */
	FSMAP_CHANGED_BUILD,   /* of a program or library */
	FSMAP_CHANGED_INPUT,   /* that is only read */
	FSMAP_CHANGED_OUTPUT,  /* that the job writes */
};

enum fsmap_missing {
	FSMAP_MISSING_FILE,
	FSMAP_MISSING_PACKAGE, /* likewise */
};

struct fsmap_item {
	const CkptNeedPath *need;
	const CkptPathFact *fact; /* NULL if unseen */
	enum fsmap_cause cause;
	int kind; /* enum fsmap_denial, enum fsmap_change, or 0 */
	/* What it is folded by, with the kind: a mount, a missing directory, the directory that it
	 * is in, or one above that. Not terminated. */
	const char *key;
	size_t key_len;
};

struct fsmap_items {
	struct fsmap_item *item; /* by kind, key, path */
	size_t n;
};

/* All needed paths with the given cause, sorted. -ENOMEM. */
int fsmap_collect(const struct rule_input *in, enum fsmap_cause cause, struct fsmap_items *ret);
void fsmap_items_done(struct fsmap_items *items);
static inline void ck_auto_fsmap_items(struct fsmap_items *items)
{
	fsmap_items_done(items);
}

/* The key as a string, which the caller frees; NULL if memory ran out. */
char *fsmap_key(const struct fsmap_item *it);
/* The key is not the directory that it is in, but one further up. */
bool fsmap_is_coarse(const struct fsmap_item *it);
/* Items [from, result) share kind and key. */
size_t fsmap_group_end(const struct fsmap_items *items, size_t from);
/* "a, b, c and 37 more": the names below the key, of items [from, to). */
void fsmap_list(struct ck_strbuf *b, const struct fsmap_items *items, size_t from, size_t to);
/* bind.c: adds to facts->binds what each of needs->binds meets. 0 or -ENOMEM. */
int fsmap_look_binds(const CkptNeeds *needs, CkptFacts *facts);
/* Where a recorded path leads on this host once needs->binds are bound, links followed. *ret is
 * NULL where nothing is bound, or where that can't be told. 0 or -ENOMEM. */
int fsmap_leads(const CkptNeeds *needs, const char *path, char **ret);

/* scratch.c: adds to facts->scratch where our own environment has what needs->scratch name. */
int fsmap_look_scratch(const CkptNeeds *needs, CkptFacts *facts);

/* A path as a shell takes it. */
void fsmap_quote(struct ck_strbuf *b, const char *path);
/* Is a filesystem of this type the same on every host that mounts it? */
bool fsmap_is_shared(const char *fstype);
enum fsmap_shared {
	FSMAP_SHARED_SAME,
	FSMAP_SHARED_SERVER,  /* the same path of the same export, of a server of another name */
	FSMAP_SHARED_OTHER,   /* something else stands there */
	FSMAP_SHARED_UNKNOWN, /* the facts don't tell */
};
/* Is what the target has at path what the image had there, on this shared mount? */
enum fsmap_shared fsmap_compare_shared(const CkptNeedMount *need, const CkptFacts *target,
				       const char *path);
/* A path within an export, without the server. */
void fsmap_shared_name(struct ck_strbuf *b, const char *source, const char *root, const char *point,
		       const char *path);
/* NULL if the image does not tell. */
const CkptNeedMount *fsmap_need_mount(const CkptNeeds *needs, const CkptNeedPath *path);

/* Do the bytes that the file had when the image was made stand there, whatever follows them? */
enum fsmap_same {
	FSMAP_SAME,    /* by checksum, or by size and time */
	FSMAP_SAMPLED, /* what was compared of them does */
	FSMAP_UNTOLD,  /* nothing was compared */
	FSMAP_DIFFERENT,
};
enum fsmap_same fsmap_compare_bytes(const CkptNeedPath *need, const CkptPathFact *f);
bool fsmap_has_role(const CkptNeedPath *need, CkptPathRole role);
/* Writable by the job through a descriptor or a shared mapping? Its contents are then its own. */
bool fsmap_is_written(const CkptNeedPath *need);
/* Open with O_PATH: nothing but its being there is asked. */
bool fsmap_is_path_only(const CkptNeedPath *need);

#endif
