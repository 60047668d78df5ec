/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about files, directory trees and mounts: what identifies a file's contents, and what stands
 * at a path on this host. Gathers and compares; changes nothing on the host.
 */
#ifndef CK_FSMAP_FSMAP_H
#define CK_FSMAP_FSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/elf.h"
#include "image/facts.pb-c.h"
#include "image/needs.pb-c.h"
#include "image/rule.h"

struct ck_err;
struct ck_strbuf;
struct image;

/* What makes a file the same file on another host. */
struct fsmap_identity {
	struct stat st;
	uint8_t build_id[CK_BUILD_ID_MAX]; /* GNU build-id of an ELF file */
	size_t build_id_len;               /* bytes; 0 if there is none */
	uint64_t hash;                     /* XXH64, seed 0, of the whole file */
	bool has_hash;
};

enum fsmap_identify_flags {
	FSMAP_BUILD_ID = 0,  /* stat and build-id only: three small reads */
	FSMAP_HASH = 1 << 0, /* and the hash, if it is a regular file without a build-id */
};

/*
 * Identifies an open file; its offset is left alone. A descriptor that can't be read from (O_PATH,
 * O_WRONLY, not a regular file) gives the stat alone. Hashing reads the whole file.
 */
int fsmap_identify(int fd, unsigned int flags, struct fsmap_identity *ret, struct ck_err *err);

/* XXH64 (seed 0) of the first limit bytes of a readable file, or of all of a shorter one. */
int fsmap_hash(int fd, uint64_t limit, uint64_t *ret, struct ck_err *err);

/*
 * Of a file that is too big to be hashed while the job stands still: XXH64 of size itself and of 64
 * blocks of 64 KiB, spread evenly over the first size bytes, the first and the last among them. A
 * difference proves a change; that there is none only makes it unlikely.
 */
enum { FSMAP_SAMPLES = 64 };
int fsmap_sample(int fd, uint64_t size, uint64_t *ret, struct ck_err *err);

/* needs.c: what an image of ours needs; -ENOENT for one of CRIU's. */
int fsmap_read_needs(const struct image *img, CkptNeeds **ret, struct ck_err *err);

/*
 * Looks at every path that an image needs, as the calling user, and adds what it finds to
 * facts->paths, in the order of needs->paths. Opens regular files for reading only; whether they
 * can be written is asked, not tried, since a writer's close wakes up watchers. Hashes what can't
 * be told to be the same otherwise. 0 or -ENOMEM.
 */
int fsmap_look(const CkptNeeds *needs, CkptFacts *facts);

/* Is something that a package owned changed or missing, so that the packages here matter? */
bool fsmap_asks_packages(const CkptNeeds *needs, const CkptFacts *facts);

/* Variables by which batch systems tell a job its scratch directory, ended by NULL; those that are
 * the batch system's own come first. */
extern const char *const fsmap_scratch_names[];
/* Adds to n->scratch what an environment (NAME=VALUE, each ended by a 0) says, as far as a needed
 * path is there or below. 0 or -ENOMEM. */
int fsmap_need_scratch(CkptNeeds *n, const char *environment, size_t len);

/* What CVMFS says of a repository by extended attributes of its root. */
struct fsmap_cvmfs {
	char fqrn[256];
	uint64_t revision;
	char root_hash[192]; /* "" if unknown */
};
/* path: anything on it. False if it is no CVMFS. Asks the filesystem, which may take its time. */
bool fsmap_cvmfs(const char *path, struct fsmap_cvmfs *ret);

/* Whose mount a path lies on: the longest mount point that is a prefix; the last of equals covers
 * the others. NULL if facts carry no mounts. */
const CkptMount *fsmap_mount_of(const CkptFacts *facts, const char *path);
/* Is path dir itself, or below it, at a component boundary? */
bool fsmap_below(const char *path, const char *dir);

/* ---- map.c: paths that are elsewhere on the target ---- */

struct fsmap_map {
	char *from, *to; /* absolute, no slash at the end, no "//", no dots */
};

/* Zeroed: none. */
struct fsmap_maps {
	struct fsmap_map *map; /* the longest from first */
	size_t n;
	bool bind; /* in a mount namespace of the job's own: every from is made to lead to its to */
};

/* "OLD:NEW"; a backslash takes a ':' or a backslash in a path. CK_ERR_USAGE if it is none, or says
 * twice where OLD is. */
int fsmap_maps_add(struct fsmap_maps *maps, const char *text, struct ck_err *err);
/* A line each; empty ones and those that begin with # don't count. CK_ERR_CONFIG. */
int fsmap_maps_read(struct fsmap_maps *maps, const char *file, struct ck_err *err);
void fsmap_maps_done(struct fsmap_maps *maps);
static inline void ck_auto_fsmap_maps(struct fsmap_maps *maps)
{
	fsmap_maps_done(maps);
}
/* The map that a recorded path falls under: the longest, at a component boundary. NULL: none.
 * maps may be NULL, as below. */
const struct fsmap_map *fsmap_map_find(const struct fsmap_maps *maps, const char *path);
/*
 * Where a recorded path is on the target. 1: *ret, which the caller frees; 0: where it was; or
 * -ENOMEM. The result is not to be mapped again.
 */
int fsmap_map_path(const struct fsmap_maps *maps, const char *path, char **ret);
/* Applies the maps to all paths and mounts that an image needs, in place; once. 0 or -ENOMEM. */
int fsmap_map_needs(const struct fsmap_maps *maps, CkptNeeds *needs);

/* A path as a map has it: a backslash before each ':' and backslash. */
void fsmap_map_side(struct ck_strbuf *b, const char *path);

/* ---- suggest.c: maps that would do ---- */

struct fsmap_suggestion {
	char *from, *to, *why;
};

/* Zeroed: none. */
struct fsmap_suggestions {
	struct fsmap_suggestion *s;
	size_t n;
	char **missing; /* what is not there, and none of them brings */
	size_t n_missing;
};

/*
 * What could be mapped where, so that a host has what an image needs. needs are those before maps;
 * host answers them, in their order, or says nothing of paths. live: it is this one, and what is
 * proposed has been looked at. Adds to *ret; 0 or -ENOMEM.
 */
int fsmap_suggest(const CkptNeeds *needs, const CkptFacts *host, bool live,
		  struct fsmap_suggestions *ret);
void fsmap_suggestions_done(struct fsmap_suggestions *x);
static inline void ck_auto_fsmap_suggestions(struct fsmap_suggestions *x)
{
	fsmap_suggestions_done(x);
}

/* ---- bind.c: paths that are made to exist ---- */

/* The length of the nearest that exists above path, without a slash at its end; *ret is what it is.
 */
size_t fsmap_nearest(const char *path, struct stat *ret);
/* May the job make something in this directory, with its own rights? If so it must not be covered
 * by a view of it: what is made there would be lost. */
bool fsmap_may_make(const char *dir);
/* Whether dir can be listed, as a view of it needs: by the rights that its owner can have. */
bool fsmap_may_list(const char *dir, const struct stat *st);

/* The rules of this folder, ended by a row without an id. */
extern const struct rule fsmap_rules[];

#endif
