// SPDX-License-Identifier: Apache-2.0
/*
 * pidfds of the job's own processes, which one of them opens when all exist (late.c). Of a process
 * that is gone, another one is made, ends as that one did, and is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

/* What pidfd_open(2) takes: PIDFD_THREAD is O_EXCL */
#define OPEN_FLAGS ((uint32_t)(O_NONBLOCK | O_EXCL))

static bool pidfd_match(const struct engine_fd *fd)
{
	return strcmp(fd->link, "anon_inode:[pidfd]") == 0 || strncmp(fd->link, "pidfd:", 6) == 0;
}

static int read_pid(const struct res_file *f, int *ret, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len = 0;
	int r = res_fdinfo(f, &text, &len, err);

	if (r < 0)
		return r;
	r = proc_parse_pidfd(text, len, ret);
	return r < 0 ? ck_fail(err, CK_ERR_REFUSED, r, "the kernel does not tell whose a pidfd is")
		     : 0;
}

/* As the job numbers it; -1 if it is gone, 0 if it is none of the job's. */
static int job_number(const struct engine_dump *d, int pid)
{
	for (size_t i = 0; pid > 0 && i < d->n_tasks; i++)
		if (d->tasks[i]->pid == pid)
			return d->tasks[i]->ns_pid;
	return pid < 0 ? -1 : 0;
}

static int pidfd_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	int pid = 0, r = read_pid(f, &pid, err);

	if (r == 0 && job_number(d, pid) == 0) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a pidfd of %s (%d)",
			    f->flags & O_EXCL ? "a thread" : "a process outside of the job", pid);
		r = ck_err_hint(err, r, "only those of the job's own processes can be kept");
	}
	return r < 0 ? r : res_fown_look(d, f, err);
}

/* COMPAT(v6.15): before, nobody can know; nor where we may not have the descriptor. */
static bool find_exit_code(struct engine_dump *d, const struct res_file *f, int32_t *ret)
{
	struct { /* linux/pidfd.h:struct pidfd_info */
		uint64_t mask, cgroupid;
		uint32_t pid, tgid, ppid, ids[8];
		int32_t exit_code;
	} info = { .mask = 1 << 3 }; /* PIDFD_INFO_EXIT */
	CK_AUTO(fd) int fd = res_file_borrow(d, f);

	if (fd < 0 || ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, sizeof(info)), &info) < 0 ||
	    !(info.mask & 1 << 3))
		return false;
	*ret = info.exit_code;
	return true;
}

static int pidfd_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	PidfdEntry e = PIDFD_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int pid = 0, r = read_pid(f, &pid, err);

	if (r < 0)
		return r;
	e.id = f->id;
	e.ino = (uint32_t)f->st.st_ino;
	e.flags = f->flags;
	e.fown = &f->fown;
	e.nspid = job_number(d, pid);
	if (e.nspid < 0)
		e.has_exit_code = find_exit_code(d, f, &e.exit_code);
	fe.type = FD_TYPES__PIDFD;
	fe.id = f->id;
	fe.pidfd = &e;
	return res_put_file(d, &fe, err);
}

/* ---- restore ---- */

static bool pidfd_owns(const FileEntry *fe)
{
	return fe->pidfd != NULL;
}

static int pidfd_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const PidfdEntry *e = f->fe->pidfd;

	if (e->nspid == -1)
		return 0;
	for (size_t i = 0; i < r->n_tasks; i++)
		if (r->tasks[i].ps->pid == (uint32_t)e->nspid) {
			f->opener = f->holder;
			return 0;
		}
	return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a pidfd is of %d, which is not of the job",
		       e->nspid);
}

__attribute__((noreturn)) static void end_as(int status)
{
	struct rlimit none = { 0, 0 };
	sigset_t all;

	if (WIFSIGNALED(status)) {
		sigfillset(&all);
		sigprocmask(SIG_UNBLOCK, &all, NULL);
		setrlimit(RLIMIT_CORE, &none);
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

/* Stays a zombie, so that all its pidfds can be opened, until pidfd_finish(). */
static pid_t dead_process(const struct engine_restore *r, const PidfdEntry *e)
{
	pid_t pid;

	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];

		if (f->dead && f->fe->pidfd && f->fe->pidfd->ino == e->ino)
			return f->dead;
	}
	pid = fork();
	if (pid == 0)
		end_as(e->exit_code);
	return pid;
}

static int pidfd_open_dead(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			   struct ck_err *err)
{
	const PidfdEntry *e = f->fe->pidfd;
	int fd;

	if (e->nspid != -1)
		return res_late_open(ret_fd, err);
	f->dead = dead_process(r, e);
	if (f->dead < 0)
		return ck_fail_errno(err, "cannot make a process");
	fd = (int)syscall(SYS_pidfd_open, f->dead, e->flags & OPEN_FLAGS);
	if (fd < 0)
		return ck_fail_errno(err, "cannot open a pidfd");
	*ret_fd = fd;
	return 0;
}

static int pidfd_finish(struct engine_restore *r, struct ck_err *err)
{
	(void)err;
	for (size_t i = 0; i < r->res->n_files; i++)
		if (r->res->file[i].dead > 0) /* again for each pidfd of it: ECHILD */
			waitpid(r->res->file[i].dead, NULL, 0);
	return 0;
}

static int pidfd_plan_open(const struct engine_restore *r, const struct res_rfile *f,
			   struct script *s, struct ck_err *err)
{
	const PidfdEntry *e = f->fe->pidfd;

	(void)r, (void)err;
	script_syscall(s, SCRIPT_OK, SYS_pidfd_open, (uint64_t)e->nspid, e->flags & OPEN_FLAGS, 0,
		       0, 0, 0, "open a pidfd of %d", e->nspid);
	return 0;
}

static const FownEntry *pidfd_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->pidfd->fown;
}

const struct res_type res_type_pidfd = {
	.name = "a pidfd",
	.fd_type = FD_TYPES__PIDFD,
	.match = pidfd_match,
	.look = pidfd_look,
	.dump = pidfd_dump,
	.owns = pidfd_owns,
	.load = pidfd_load,
	.open = pidfd_open_dead,
	.fown = pidfd_fown,
	.finish = pidfd_finish,
	.plan_open = pidfd_plan_open,
};
