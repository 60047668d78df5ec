/* SPDX-License-Identifier: Apache-2.0 */
/* Private to policies/: what an image that CRIU made needs, read from its own files. */
#ifndef CK_POLICIES_FOREIGN_H
#define CK_POLICIES_FOREIGN_H

#include "image/facts.pb-c.h"
#include "image/image.h"
#include "image/mm.pb-c.h"
#include "image/needs.pb-c.h"

struct ck_err;

/* As policy_read_needs(). What the image does not tell stays absent: checksums, mounts, and of the
 * source all but its CPU. */
int policy_derive_needs(const struct image *img, CkptNeeds **ret_needs, CkptFacts **ret_source,
			struct ck_err *err);

/* foreign-cpu.c: the source's CPU as the job's C library recorded it; *ret is NULL if it did not.
 */
int policy_derive_cpu(const struct image *img, const CkptNeeds *n, CkptFacts **ret,
		      struct ck_err *err);

/* foreign-frames.c: signal frames on the stacks of a task's threads. */
int policy_frames_of_task(const struct image *img, CkptNeeds *n, const CkptNeedTask *t,
			  const MmEntry *mm, struct ck_err *err);

/* Something in the image that ckpt can't restore; named once. */
int policy_add_unsupported(CkptNeeds *n, const char *what, struct ck_err *err);

/* foreign-files.c: files.img by id, and the paths that tasks need of it. */
struct policy_file;
struct policy_files {
	const struct image *img;
	CkptNeeds *needs;
	struct image_entries entries; /* of files.img */
	struct policy_file *file;     /* by id */
	size_t n;
};

/* What an open file of this FdTypes is called if ckpt can't restore it; NULL: it can. */
const char *policy_unsupported_kind(int type);
int policy_files_read(struct policy_files *f, struct ck_err *err);
/* Mapped files and the program; descriptors, cwd and root. */
int policy_files_of_mm(struct policy_files *f, const CkptNeedTask *t, const MmEntry *mm,
		       struct ck_err *err);
int policy_files_of_task(struct policy_files *f, const CkptNeedTask *t, struct ck_err *err);
/* Hands the paths to needs, equal ones made one. */
int policy_files_finish(struct policy_files *f, struct ck_err *err);
void policy_files_done(struct policy_files *f);
static inline void ck_auto_policy_files(struct policy_files *f)
{
	policy_files_done(f);
}

#endif
