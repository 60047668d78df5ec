// SPDX-License-Identifier: Apache-2.0
/*
 * Who gets signals from a file (F_SETOWN, F_SETSIG). It can't be seen from outside, only by a
 * descriptor of the very description: the blob asks in the task itself. On restore F_SETSIG is set
 * when the file is opened; the owner must exist to be set, so that each owner does it in its own
 * script.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* linux/fcntl.h, which can't be included beside fcntl.h */
#define GETOWNER_UIDS 17

enum { MAX_SIGNAL = 64 };

/* Is it a process of the job that can be named early? Other threads than the leader come to life
 * only after files are in place. */
static bool is_of_job(const struct engine_dump *d, const struct f_owner_ex *o)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct engine_task *t = d->tasks[i];

		if (o->type == F_OWNER_PGRP ? !t->zombie && t->ns_pgid == o->pid
					    : t->ns_pid == o->pid)
			return true;
	}
	return false;
}

/* The blob has asked, before descriptors were tagged. */
int res_fown_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct engine_fd *fd = res_fd_of(f->task, f->fd);
	int r;

	if (!fd || (f->flags & O_PATH))
		return 0;
	if (fd->sig < 0)
		return ck_fail(err, CK_ERR_SYS, fd->sig, "cannot read who gets signals from it");
	f->fown.signum = (uint32_t)fd->sig;
	if (fd->owner.pid == 0)
		return 0;
	if (!is_of_job(d, &fd->owner)) {
		if (!(f->flags & O_ASYNC))
			return 0;
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a descriptor whose signals go to %d",
			    fd->owner.type == F_OWNER_PGRP ? -fd->owner.pid : fd->owner.pid);
		return ck_err_hint(err, r, "only processes of the job can be kept as its owner");
	}
	f->fown.uid = fd->owner_uids[0];
	f->fown.euid = fd->owner_uids[1];
	f->fown.pid_type = (uint32_t)fd->owner.type;
	f->fown.pid = (uint32_t)fd->owner.pid;
	return 0;
}

/* ---- restore ---- */

static const FownEntry *fown_of(const struct engine_restore *r, const struct res_rfile *f)
{
	return f->slot >= 0 && f->type->fown ? f->type->fown(r, f) : NULL;
}

/* The task whose script sets the owner; NULL if none can. */
static const struct engine_rtask *owner_task(const struct engine_restore *r, const FownEntry *o)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		const struct engine_rtask *t = &r->tasks[i];

		if (!t->mm)
			continue;
		if (o->pid_type == F_OWNER_PGRP ? t->ps->pgid == o->pid : t->ps->pid == o->pid)
			return t;
	}
	return NULL;
}

int res_fown_load(const struct engine_restore *r, const struct res_rfile *f, struct ck_err *err)
{
	const FownEntry *o = fown_of(r, f);

	if (!o)
		return 0;
	if (o->signum > MAX_SIGNAL || o->pid_type > F_OWNER_PGRP)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the owner of a file makes no sense");
	if (o->pid && !owner_task(r, o))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "signals of a file go to %u, which is not of the job", o->pid);
	return 0;
}

int res_fown_open(const struct engine_restore *r, const struct res_rfile *f, int fd,
		  struct ck_err *err)
{
	const FownEntry *o = fown_of(r, f);

	if (o && o->signum && !f->opener && fcntl(fd, F_SETSIG, (int)o->signum) < 0)
		return ck_fail_errno(err, "cannot set the signal of a file");
	return 0;
}

void res_fown_plan(const struct engine_restore *r, const struct engine_rtask *t)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		const FownEntry *o = fown_of(r, f);
		const struct engine_rtask *who = o && o->pid ? owner_task(r, o) : NULL;
		struct f_owner_ex owner;

		if (!who || who != t || f->opener)
			continue;
		owner = (struct f_owner_ex){ .type = (enum __pid_type)o->pid_type,
					     .pid = (pid_t)o->pid };
		script_syscall(t->script, SCRIPT_OK, SYS_fcntl, (uint64_t)(r->res->base + f->slot),
			       F_SETOWN_EX, script_data(t->script, &owner, sizeof(owner)), 0, 0, 0,
			       "have signals of %s sent to %d", res_rfile_name(f), owner.pid);
	}
}
