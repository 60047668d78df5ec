// SPDX-License-Identifier: Apache-2.0
/*
 * Makes the files: each is opened once, in the process that all tasks will be forked from, and
 * parked at its number. Then what a task's script has to do to have them where it had them. Order
 * within the script: owners of signals need the parked descriptors; directories too; then the
 * descriptors are put in place and all others closed; POSIX locks come last, for every close drops
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

int res_set_status(int fd, uint32_t flags, struct ck_err *err)
{
	int now = fcntl(fd, F_GETFL);
	uint32_t want = ((uint32_t)now & ~RES_O_STATUS) | (flags & RES_O_STATUS);

	if (now < 0)
		return ck_fail_errno(err, "cannot read the flags of a file");
	if (want != (uint32_t)now && fcntl(fd, F_SETFL, (int)want) < 0)
		return ck_fail_errno(err, "cannot set the flags of a file to %o", flags);
	return 0;
}

/* F_DUPFD gives the first free number from there on: any other answer means that it is taken. */
static int park(struct engine_restore *r, struct res_rfile *f, int fd, struct ck_err *err)
{
	int want = r->res->base + f->slot;
	int got = fcntl(fd, F_DUPFD_CLOEXEC, want), e;

	if (got == want) {
		f->fd = got;
		return 0;
	}
	if (got >= 0) {
		close(got);
		return ck_fail(err, CK_ERR_BUG, -EBUSY, "descriptor %d is taken", want);
	}
	e = ck_fail_errno(err, "cannot have a descriptor %d", want);
	return ck_err_hint(err, e, "raise the limit of open files (ulimit -n)");
}

static int open_file(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	int ret = f->type->open(r, f, &fd, err);

	if (ret == 0 && !(fcntl(fd, F_GETFL) & O_PATH))
		ret = res_fown_open(r, f, fd, err);
	return ret < 0 ? ret : park(r, f, fd, err);
}

int res_open(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_files; i++) {
		struct res_rfile *f = &r->res->file[i];

		if (f->slot < 0)
			continue;
		ret = open_file(r, f, err);
		if (ret < 0)
			return res_err_at_rfile(f, err, ret);
	}
	for (size_t i = 0; i < res_n_types && ret == 0; i++)
		if (res_types[i]->finish)
			ret = res_types[i]->finish(r, err);
	if (ret == 0)
		ret = res_late_finish(r, err);
	return ret < 0 ? ret : res_locks_open(r, err);
}

/* ---- scripts ---- */

static void plan_close(struct script *s, unsigned int first, unsigned int last)
{
	if (first <= last)
		script_syscall(s, SCRIPT_OK, SYS_close_range, first, last, 0, 0, 0, 0,
			       "close the descriptors from %u on", first);
}

/* Ascending, and all parked numbers are higher: none is overwritten before it was used. */
static void plan_fds(const struct engine_restore *r, struct script *s,
		     const struct image_entries *fds)
{
	unsigned int next = 0;

	for (size_t i = 0; i < fds->n; i++) {
		const FdinfoEntry *e = (const FdinfoEntry *)fds->m[i];
		const struct res_rfile *f = res_rfile_find(r, e->id);

		script_syscall(s, SCRIPT_OK, SYS_dup3, (uint64_t)(r->res->base + f->slot), e->fd,
			       e->flags & FD_CLOEXEC ? O_CLOEXEC : 0, 0, 0, 0,
			       "put fd %u (%s) in place", e->fd, res_rfile_name(f));
	}
	for (size_t i = 0; i < fds->n; i++) {
		unsigned int fd = ((const FdinfoEntry *)fds->m[i])->fd;

		if (fd > 0)
			plan_close(s, next, fd - 1);
		next = fd + 1;
	}
	plan_close(s, next, ~0u);
}

int res_plan(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	const struct res_rtask *rt = &r->res->task[t - r->tasks];
	int ret;

	if (!t->mm)
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "a zombie has no descriptors");
	engine_plan_meeting(r, t, ENGINE_MEET_QUIET);
	ret = res_late_plan(r, t, err);
	if (ret < 0)
		return ret;
	res_fown_plan(r, t);
	res_tty_plan(r, t);
	res_foreground_plan(r, t);
	engine_plan_meeting(r, t, ENGINE_MEET_DIRS);
	if (!t->kin[ENGINE_KIN_FS])
		res_fs_plan(r, t, rt->fs);
	res_epoll_plan(r, t);
	engine_plan_meeting(r, t, ENGINE_MEET_PARKED);
	if (!t->kin[ENGINE_KIN_FILES])
		plan_fds(r, t->script, &rt->fds);
	engine_plan_meeting(r, t, ENGINE_MEET_FDS);
	res_locks_plan(r, t);
	return 0;
}

void res_restore_done(struct engine_restore *r)
{
	struct res_restore *res = r->res;

	if (!res)
		return;
	for (size_t i = 0; i < res->n_files; i++)
		if (res->file[i].fd >= 0)
			close(res->file[i].fd);
	for (size_t i = 0; res->task && i < r->n_tasks; i++) {
		image_entries_done(&res->task[i].fds);
		if (res->task[i].fs)
			fs_entry__free_unpacked(res->task[i].fs, NULL);
	}
	free(res->task);
	free(res->file);
	res_carried_done(r);
	res_rpipes_done(r);
	res_rptys_done(r);
	res_runix_done(r);
	res_rinet_done(r);
	image_entries_done(&res->files);
	image_entries_done(&res->remaps);
	image_entries_done(&res->ckpt_files);
	image_entries_done(&res->locks);
	image_entries_done(&res->tty_infos);
	image_entries_done(&res->tty_data);
	image_entries_done(&res->pipes_data);
	image_entries_done(&res->fifo_data);
	image_entries_done(&res->sk_queues);
	free(res);
	r->res = NULL;
}
