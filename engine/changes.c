// SPDX-License-Identifier: Apache-2.0
/*
 * What a restore changes on the host before there is a process of the job: directories that are
 * missing are made, output files are cut back (rollback.c). All with the rights of the job's user;
 * and if the restore fails, all is undone, the last first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/changes.h"
#include "fsmap/fsmap.h"

/* ---- directories ---- */

struct made_dir {
	char *path;
	mode_t mode; /* that it gets at last: until then files can be made in it */
};

static int compare_dir(const void *path, const void *dir)
{
	return strcmp(path, (*(CkptNeedDir *const *)dir)->path);
}

/* What the image does not tell of is made as mkdir -p would. */
static mode_t mode_of(const CkptNeeds *needs, const char *path)
{
	CkptNeedDir *const *found;
	mode_t mask;

	found = needs->n_dirs ? bsearch(path, needs->dirs, needs->n_dirs, sizeof(needs->dirs[0]),
					compare_dir)
			      : NULL;
	if (found)
		return (*found)->mode & 07777;
	mask = umask(0);
	umask(mask);
	return 0777 & ~mask;
}

static int make_dir(struct engine_changes *c, const char *path, struct ck_err *err)
{
	struct made_dir *grown;
	struct stat st;

	if (stat(path, &st) == 0)
		return 0;
	if (errno != ENOENT)
		return ck_fail_errno(err, "cannot look for the directory %s", path);
	grown = reallocarray(c->dir, c->n_dirs + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make directories");
	c->dir = grown;
	grown[c->n_dirs] = (struct made_dir){ strdup(path), mode_of(c->needs, path) };
	if (!grown[c->n_dirs].path)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make directories");
	if (mkdir(path, 0700) < 0) {
		int r = ck_fail_errno(err, "cannot make the directory %s", path);

		free(grown[c->n_dirs].path);
		return ck_err_hint(err, r,
				   "directories are made with the rights of the job's user");
	}
	c->n_dirs++;
	return 0;
}

int engine_change_dirs(struct engine_changes *c, const char *path, struct ck_err *err)
{
	CK_AUTO(free) char *part = strdup(path);
	int r = 0;

	if (!part)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make directories");
	for (char *p = strchr(part + 1, '/'); p && r == 0; p = strchr(p + 1, '/')) {
		*p = '\0';
		r = make_dir(c, part, err);
		*p = '/';
	}
	return r;
}

static int make_dirs(struct engine_changes *c, struct ck_err *err)
{
	int r = 0;

	for (size_t i = 0; i < c->needs->n_paths && r == 0; i++) {
		const CkptNeedPath *p = c->needs->paths[i];

		if (!S_ISDIR(p->mode) || p->path[0] != '/' || (p->has_carried && p->carried))
			continue;
		r = engine_change_dirs(c, p->path, err);
		if (r == 0)
			r = make_dir(c, p->path, err);
	}
	return r;
}

/* The innermost first: a directory may forbid its owner to look into it. */
static int finish_dirs(struct engine_changes *c, struct ck_err *err)
{
	for (size_t i = c->n_dirs; i-- > 0;)
		if (chmod(c->dir[i].path, c->dir[i].mode) < 0)
			return ck_fail_errno(err, "cannot set the mode of %s", c->dir[i].path);
	if (c->n_dirs)
		engine_note(c->r, "directories were made: %zu, the first is %s", c->n_dirs,
			    c->dir[0].path);
	return 0;
}

/* Where somebody has put something meanwhile, it stays. */
static void undo_dirs(struct engine_changes *c)
{
	for (size_t i = 0; i < c->n_dirs; i++)
		(void)chmod(c->dir[i].path, 0700);
	for (size_t i = c->n_dirs; i-- > 0;)
		(void)rmdir(c->dir[i].path);
}

/* ---- all of it ---- */

static int change(struct engine_changes *c, struct ck_err *err)
{
	const struct engine_restore_opts *o = c->r->opts;
	int rc = 0;

	if (o->flags & ENGINE_MAKE_DIRS)
		rc = make_dirs(c, err);
	if (rc == 0)
		rc = finish_dirs(c, err);
	if (rc == 0 && o->files == ENGINE_FILES_ROLLBACK)
		rc = engine_rollback(c, err);
	return rc;
}

static int read_needs(struct engine_changes *c, struct ck_err *err)
{
	int rc = fsmap_read_needs(c->r->image, &c->needs, err);

	if (rc < 0)
		return rc;
	return fsmap_map_needs(c->r->opts->maps, c->needs) < 0
		       ? ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot map paths")
		       : 0;
}

int engine_change(struct engine_restore *r, struct engine_changes **ret, struct ck_err *err)
{
	struct engine_changes *c;
	struct engine_self self;
	int rc;

	*ret = NULL;
	if (image_origin(r->image) == IMAGE_FOREIGN) /* it has no needs */
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot change files");
	c->r = r;
	rc = read_needs(c, err);
	if (rc == 0)
		rc = engine_act_as_job(r, &self, err);
	if (rc < 0) {
		engine_changes_free(c);
		return rc;
	}
	rc = change(c, err);
	engine_act_as_self(&self);
	if (rc < 0)
		engine_changes_undo(c, err);
	else
		*ret = c;
	return rc;
}

void engine_changes_undo(struct engine_changes *c, struct ck_err *err)
{
	struct engine_self self;

	if (!c)
		return;
	(void)engine_act_as_job(c->r, &self, NULL);
	engine_rollback_undo(c, err);
	undo_dirs(c);
	engine_act_as_self(&self);
	engine_changes_free(c);
}

void engine_changes_free(struct engine_changes *c)
{
	if (!c)
		return;
	engine_rollback_done(c);
	for (size_t i = 0; i < c->n_dirs; i++)
		free(c->dir[i].path);
	free(c->dir);
	if (c->needs)
		ckpt_needs__free_unpacked(c->needs, NULL);
	free(c);
}
