/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to engine/: the state of one restore. A restore is planned whole before anything happens:
 * each task gets a script, a flat list of operations that the restorer blob (engine/pie/restorer.c)
 * executes inside the task, from a zone of memory that no task of the job uses. Descriptions,
 * shared memory and page files are opened once, by the process that all tasks are forked from, and
 * are inherited.
 */
#ifndef CK_ENGINE_RESTORE_H
#define CK_ENGINE_RESTORE_H

#include <stdbool.h>

#include "base/err.h"
#include "engine/engine.h"
#include "engine/script.h"
#include "image/core.pb-c.h"
#include "image/image.h"
#include "image/mm.pb-c.h"
#include "image/pstree.pb-c.h"

struct engine_rtask {
	PstreeEntry *ps;
	CoreEntry **core; /* per thread, the leader first */
	TaskKobjIdsEntry *ids;
	MmEntry *mm; /* NULL for a zombie */
	struct engine_rtask *parent;
	struct script *script;
};

struct engine_restore {
	const struct engine_restore_opts *opts;
	const struct image *image;
	struct engine_rtask *tasks; /* parents before children */
	size_t n_tasks;
	struct script_zone *zone; /* its address is fixed before planning */
	struct res_restore *res;  /* engine/res/ */
};

/*
 * ---- engine/res/ ----
 * load and plan only read the image; open acts, in the process that all tasks are forked from.
 */
int res_load(struct engine_restore *r, struct ck_err *err);
/*
 * Which numbers res_open() parks at: [res_base(), res_base() + res_count()), above every descriptor
 * of every task, so that plans can name them. Known after res_load(). Whoever else parks
 * descriptors (page files, the zone) takes numbers from res_base() + res_count() on.
 */
int res_base(const struct engine_restore *r);
size_t res_count(const struct engine_restore *r);
/* The parked number that file id (of files.img) has, or -ENOENT. Known after res_load(). */
int res_parked_fd(const struct engine_restore *r, uint32_t file_id);
/* Opens every description once and parks it, close-on-exec; opens mapped files and the exes
 * likewise. Contents of pipes and carried files are put back. RLIMIT_NOFILE must allow the numbers.
 */
int res_open(struct engine_restore *r, struct ck_err *err);
/* Appends: cwd, root, umask, descriptors put at their numbers with their close-on-exec flag, all
 * others closed, POSIX locks. No parked descriptor can be named afterwards. */
int res_plan(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err);
void res_restore_done(struct engine_restore *r);

#endif
