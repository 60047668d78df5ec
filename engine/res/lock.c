// SPDX-License-Identifier: Apache-2.0
/*
 * File locks: what fdinfo shows of a descriptor. flock() and OFD locks belong to a description and
 * are taken again on the parked one; POSIX locks belong to a process, which takes its own in its
 * script, after the last descriptor of the file that it doesn't keep was closed: any close drops
 * them (Linux fs/locks.c:locks_remove_posix()). Leases are refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

static const struct {
	const char *name;
	enum image_lock_kind kind;
} lock_kinds[] = {
	{ "POSIX", IMAGE_LOCK_POSIX },
	{ "FLOCK", IMAGE_LOCK_FLOCK },
	{ "OFDLCK", IMAGE_LOCK_OFD },
};

static int lock_kind(const struct proc_lock *l)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(lock_kinds); i++)
		if (strcmp(l->kind, lock_kinds[i].name) == 0)
			return (int)lock_kinds[i].kind;
	return -1;
}

static int lock_type(const struct proc_lock *l)
{
	if (strcmp(l->type, "READ") == 0)
		return F_RDLCK;
	return strcmp(l->type, "WRITE") == 0 ? F_WRLCK : -1;
}

static int look_lock(const struct proc_lock *l, struct ck_err *err)
{
	int r;

	if (lock_kind(l) >= 0 && lock_type(l) >= 0)
		return 0;
	if (strcmp(l->kind, "LEASE") != 0 && strcmp(l->kind, "DELEG") != 0)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a lock of kind %s",
			       l->kind);
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a lease on a file");
	return ck_err_hint(err, r, "let the job give it up (F_SETLEASE) before the dump");
}

int res_locks_look(struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct engine_task *t = d->tasks[i];

		for (size_t j = 0; j < t->n_fds; j++)
			for (size_t k = 0; k < t->fds[j].info.n_locks; k++) {
				int r = look_lock(&t->fds[j].info.locks[k], err);

				if (r == 0)
					continue;
				r = ck_err_at(err, r, "fd %d", t->fds[j].fd);
				return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
			}
	}
	return 0;
}

/*
 * A lock is shown at every descriptor of its description: of a process's own lock by each that the
 * process has, of a description's by each in any process. Only the first one counts.
 */
static bool is_first(const struct engine_dump *d, const struct engine_task *t, size_t j, int kind)
{
	const struct res_file *f = res_file_by_id(d, t->fds[j].id);

	if (kind != IMAGE_LOCK_POSIX)
		return f->task == t && f->fd == t->fds[j].fd;
	for (size_t i = 0; i < j; i++)
		if (t->fds[i].id == t->fds[j].id)
			return false;
	return true;
}

static int dump_lock(struct engine_dump *d, const struct engine_task *t, const struct engine_fd *fd,
		     const struct proc_lock *l, struct ck_err *err)
{
	FileLockEntry e = FILE_LOCK_ENTRY__INIT;

	e.flag = (uint32_t)lock_kind(l);
	e.type = (uint32_t)lock_type(l);
	e.pid = t->ns_pid;
	e.fd = fd->fd;
	e.start = (int64_t)l->start;
	/* A lock up to the last offset there is, is one to the end. */
	e.len = l->end >= INT64_MAX ? 0 : (int64_t)(l->end - l->start) + 1;
	return res_put(d, RES_OUT_LOCKS, &e.base, err);
}

int res_locks_dump(struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct engine_task *t = d->tasks[i];

		/* The locks of a process are its table's. */
		if (t->kin[ENGINE_KIN_FILES])
			continue;
		for (size_t j = 0; j < t->n_fds; j++)
			for (size_t k = 0; k < t->fds[j].info.n_locks; k++) {
				const struct proc_lock *l = &t->fds[j].info.locks[k];
				int r = 0;

				if (is_first(d, t, j, lock_kind(l)))
					r = dump_lock(d, t, &t->fds[j], l, err);
				if (r < 0)
					return r;
			}
	}
	return 0;
}

/* ---- restore ---- */

static const FileLockEntry *entry_at(const struct engine_restore *r, size_t i)
{
	return (const FileLockEntry *)r->res->locks.m[i];
}

static bool kind_is_known(uint32_t flag)
{
	return flag == IMAGE_LOCK_POSIX || flag == IMAGE_LOCK_FLOCK || flag == IMAGE_LOCK_OFD;
}

int res_locks_load(struct engine_restore *r, struct ck_err *err)
{
	int ret = res_read_all(r, IMAGE_FILE_LOCKS, &r->res->locks, err);

	for (size_t i = 0; ret == 0 && i < r->res->locks.n; i++) {
		const FileLockEntry *e = entry_at(r, i);

		if (!kind_is_known(e->flag))
			ret = ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
				      "cannot restore a lock of kind %u", e->flag);
		else if ((e->type != F_RDLCK && e->type != F_WRLCK) || e->start < 0 || e->len < 0)
			ret = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a lock makes no sense");
		else if (!res_rfile_at(r, e->pid, e->fd))
			ret = ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				      "a lock is on fd %d of task %d, which is not open", e->fd,
				      e->pid);
	}
	return ret;
}

static int lock_failed(const struct res_rfile *f, struct ck_err *err)
{
	int r;

	if (errno != EAGAIN && errno != EACCES)
		return ck_fail_errno(err, "cannot lock %s again", res_rfile_name(f));
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN, "%s is locked by somebody else", res_rfile_name(f));
	return ck_err_hint(err, r, "lslocks shows by whom");
}

int res_locks_open(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->res->locks.n; i++) {
		const FileLockEntry *e = entry_at(r, i);
		const struct res_rfile *f = res_rfile_at(r, e->pid, e->fd);
		struct flock fl = { .l_type = (short)e->type,
				    .l_whence = SEEK_SET,
				    .l_start = e->start,
				    .l_len = e->len };
		int ret = 0;

		if (e->flag == IMAGE_LOCK_FLOCK)
			ret = flock(f->fd, LOCK_NB | (e->type == F_WRLCK ? LOCK_EX : LOCK_SH));
		else if (e->flag == IMAGE_LOCK_OFD)
			ret = fcntl(f->fd, F_OFD_SETLK, &fl);
		if (ret < 0)
			return lock_failed(f, err);
	}
	return 0;
}

void res_locks_plan(const struct engine_restore *r, const struct engine_rtask *t)
{
	for (size_t i = 0; i < r->res->locks.n; i++) {
		const FileLockEntry *e = entry_at(r, i);
		struct flock fl = { .l_whence = SEEK_SET, .l_start = e->start, .l_len = e->len };

		if (e->flag != IMAGE_LOCK_POSIX || (uint32_t)e->pid != t->ps->pid)
			continue;
		fl.l_type = (short)e->type;
		script_syscall(t->script, SCRIPT_OK, SYS_fcntl, (uint64_t)e->fd, F_SETLK,
			       script_data(t->script, &fl, sizeof(fl)), 0, 0, 0,
			       "lock %s again (fd %d; is it locked by somebody else?)",
			       res_rfile_name(res_rfile_at(r, e->pid, e->fd)), e->fd);
	}
}
