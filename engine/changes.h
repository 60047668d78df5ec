/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/: what a restore changes on the host, so that it can be undone. */
#ifndef CK_ENGINE_CHANGES_H
#define CK_ENGINE_CHANGES_H

#include "engine/restore.h"
#include "image/needs.pb-c.h"

struct made_dir;
struct cut;

struct engine_changes {
	struct engine_restore *r;
	CkptNeeds *needs;     /* paths are those of this host */
	struct made_dir *dir; /* parents before children */
	size_t n_dirs;
	struct cut *cut; /* rollback.c */
	size_t n_cuts;
};

/* ---- changes.c ---- */
/* Makes what is missing of the directories above path. As the job's user, like all below. */
int engine_change_dirs(struct engine_changes *c, const char *path, struct ck_err *err);

/* ---- rollback.c ---- */
/* Output files become what they were. */
int engine_rollback(struct engine_changes *c, struct ck_err *err);
/* What can't be put back goes into err. */
void engine_rollback_undo(struct engine_changes *c, struct ck_err *err);
void engine_rollback_done(struct engine_changes *c);

#endif
