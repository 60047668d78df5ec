// SPDX-License-Identifier: Apache-2.0
/*
 * Whose files are opened. A restore by root of an ordinary user's job opens files as that user:
 * whatever an image names, it can't lead to what its job could not reach. Only what the job was
 * given, such as a log that a daemon of root's opened, is opened with root's rights, and only if
 * the image is root's own (open_given() in engine/res/reg.c); so are files and sockets made that
 * only root can have made. Jobs of several users are restored with root's rights.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/restore.h"

bool engine_trusts_image(const struct engine_restore *r)
{
	struct stat st;

	return stat(image_dir(r->image), &st) == 0 && st.st_uid == r->rights.uid &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

bool engine_is_given(const struct engine_restore *r, const char *path)
{
	CK_AUTO(free) char *part = strdup(path);
	struct stat st;
	char *p = part;

	if (!part || path[0] != '/' || !engine_trusts_image(r))
		return false;
	while ((p = strrchr(part, '/'))) {
		p[p == part] = '\0';
		/* What is to be made itself is not there yet. */
		if (lstat(part, &st) < 0)
			return false;
		if (!S_ISDIR(st.st_mode) || st.st_uid != r->rights.uid ||
		    (st.st_mode & (S_IWGRP | S_IWOTH)))
			return false;
		if (p == part)
			return true;
	}
	return false;
}

static const CredsEntry *creds_of(const struct engine_restore *r)
{
	const CoreEntry *c = r->tasks[0].core[0];

	return c->thread_core ? c->thread_core->creds : NULL;
}

static int set_groups(const CredsEntry *c, struct ck_err *err)
{
	CK_AUTO(free) gid_t *groups = NULL;

	if (!c->n_groups)
		return setgroups(0, NULL) < 0 ? ck_fail_errno(err, "cannot drop groups") : 0;
	groups = calloc(c->n_groups, sizeof(*groups));
	if (!groups)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot set groups");
	for (size_t i = 0; i < c->n_groups; i++)
		groups[i] = c->groups[i];
	return setgroups(c->n_groups, groups) < 0
		       ? ck_fail_errno(err, "cannot have the job's groups")
		       : 0;
}

static int remember_groups(struct engine_self *self, struct ck_err *err)
{
	int n = getgroups(0, NULL);

	self->groups = n >= 0 ? calloc((size_t)n + 1, sizeof(*self->groups)) : NULL;
	if (!self->groups)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember groups");
	self->n_groups = getgroups(n, self->groups);
	return self->n_groups < 0 ? ck_fail_errno(err, "cannot ask for groups") : 0;
}

int engine_act_as_job(const struct engine_restore *r, struct engine_self *self, struct ck_err *err)
{
	const uint64_t need = 1ull << CAP_SETUID | 1ull << CAP_SETGID;
	const CredsEntry *c;
	int rc;

	*self = (struct engine_self){ .uid = geteuid(), .gid = getegid() };
	if (!r->one_uid || r->rights.userns || r->uid == self->uid ||
	    (r->rights.permitted & need) != need)
		return 0;
	c = creds_of(r);
	if (!c)
		return 0;
	rc = remember_groups(self, err);
	if (rc == 0)
		rc = set_groups(c, err);
	if (rc < 0) {
		free(self->groups);
		return rc;
	}
	/* The kernel forgets both with every change of ids: kernel/cred.c:commit_creds() */
	(void)prctl(PR_GET_PDEATHSIG, &self->parent_signal);
	self->dumpable = prctl(PR_GET_DUMPABLE);
	self->changed = true;
	setfsgid(r->gid);
	setfsuid(r->uid);
	/* Neither tells whether it worked but by the answer to the next question. */
	if (setfsuid((uid_t)-1) == (int)r->uid && setfsgid((gid_t)-1) == (int)r->gid)
		return 0;
	engine_act_as_self(self);
	return ck_fail(err, CK_ERR_PERM, -EPERM, "cannot open files as user %u", r->uid);
}

void engine_act_as_self(struct engine_self *self)
{
	if (!self->changed)
		return;
	self->changed = false;
	setfsuid(self->uid);
	setfsgid(self->gid);
	(void)!setgroups((size_t)self->n_groups, self->groups);
	free(self->groups);
	(void)prctl(PR_SET_PDEATHSIG, self->parent_signal, 0, 0, 0);
	if (self->dumpable == 1)
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
