// SPDX-License-Identifier: Apache-2.0
/*
 * Files of /proc that are a process's: /proc/812/status. What they show is the kernel's, and the
 * kernel binds them to a process when they are opened: so the process itself opens its own anew, as
 * the first thing in its script, before it has children. They inherit it like all that is shared.
 * Hence only files of a process that nobody holds but the process and its descendants can be kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

enum { MAGIC_PROC = 0x9fa0, MAX_PID = 1 << 22, OPEN_AT = 0 };

/* "/proc/812/status" into 812 and "status"; "/proc/812" into 812 and "". False for anything else.
 */
static bool parse(const char *name, long *ret_pid, const char **ret_rest)
{
	char *end;
	long pid;

	if (strncmp(name, "/proc/", 6) != 0 || name[6] < '1' || name[6] > '9')
		return false;
	pid = strtol(name + 6, &end, 10);
	if (pid > MAX_PID || (*end && *end != '/'))
		return false;
	*ret_pid = pid;
	*ret_rest = *end ? end + 1 : end;
	return true;
}

/* ---- dump ---- */

static bool procfile_match(const struct engine_fd *fd)
{
	CK_AUTO(fd) int reopened = -EBADF;
	struct statfs fs;
	const char *rest;
	char via[24];
	long pid;

	if (!parse(fd->link, &pid, &rest))
		return false;
	snprintf(via, sizeof(via), "fd/%d", fd->fd);
	reopened = openat(fd->task->dirfd, via, O_PATH | O_CLOEXEC);
	return reopened >= 0 && fstatfs(reopened, &fs) == 0 && fs.f_type == MAGIC_PROC;
}

static int refuse(const struct res_file *f, const char *hint, struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a file of a process (%s)",
			f->link);

	return ck_err_hint(err, r, "%s", hint);
}

/*
 * The task that the file belongs to. Its number is that of the pid namespace that the job's /proc
 * was mounted in, which need not be ours nor the job's: so it is asked there who that is.
 */
static const struct engine_task *find_target(const struct engine_dump *d, const struct res_file *f,
					     long pid)
{
	CK_AUTO(proc_status) struct proc_status status = { 0 };
	CK_AUTO(fd) int dir = -EBADF;
	struct proc_stat stat;
	char name[32];
	struct stat st;

	if (res_name_stat(f->task, f->link, &st) < 0 || st.st_ino != f->st.st_ino ||
	    st.st_dev != f->st.st_dev)
		return NULL;
	snprintf(name, sizeof(name), "/proc/%ld", pid);
	dir = res_name_open(f->task, name, O_PATH | O_DIRECTORY);
	if (dir < 0 || proc_read_status(dir, &status, NULL) < 0 ||
	    proc_read_stat(dir, &stat, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct engine_task *t = d->tasks[i];

		if (!t->zombie && t->ns_pid == status.ns_pid &&
		    t->stat.start_time == stat.start_time)
			return t;
	}
	return NULL;
}

static bool descends(const struct engine_task *t, const struct engine_task *from)
{
	while (t && t != from)
		t = t->parent;
	return t == from;
}

static bool all_descend(const struct engine_dump *d, const struct res_file *f,
			const struct engine_task *from)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->n_fds; k++)
			if (d->tasks[i]->fds[k].id == f->id && !descends(d->tasks[i], from))
				return false;
	return true;
}

static int procfile_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct engine_task *t;
	const char *rest = "";
	long pid = 0;

	(void)parse(f->link, &pid, &rest);
	t = find_target(d, f, pid);
	if (!t)
		return refuse(f, "only those of the job's own processes can be kept", err);
	if (strchr(rest, '/'))
		return refuse(f, "what lies deeper than /proc/PID/NAME can't be kept", err);
	if (!all_descend(d, f, t))
		return refuse(f, "it can be kept by the process itself and its children only", err);
	if (asprintf(&f->name, "/proc/%d%s%s", (int)t->ns_pid, *rest ? "/" : "", rest) < 0) {
		f->name = NULL;
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	}
	return res_fown_look(d, f, err);
}

static int procfile_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	RegFileEntry e = REG_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;

	e.id = f->id;
	e.flags = f->flags;
	e.pos = f->pos;
	e.fown = &f->fown;
	e.name = f->name;
	e.has_mode = true;
	e.mode = f->st.st_mode;
	fe.type = FD_TYPES__REG;
	fe.id = f->id;
	fe.reg = &e;
	return res_put_file(d, &fe, err);
}

/* ---- restore ---- */

static bool procfile_owns(const FileEntry *fe)
{
	const char *rest;
	long pid;

	return fe->reg && parse(fe->reg->name, &pid, &rest);
}

static const struct engine_rtask *target(const struct engine_restore *r, const struct res_rfile *f,
					 const char **ret_rest)
{
	long pid = 0;

	(void)parse(f->fe->reg->name, &pid, ret_rest);
	for (size_t i = 0; i < r->n_tasks; i++)
		if (r->tasks[i].mm && r->tasks[i].ps->pid == (uint32_t)pid)
			return &r->tasks[i];
	return NULL;
}

static int procfile_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const char *name = f->fe->reg->name, *rest = "";
	int ret = res_load_reg(f->fe->reg, err);

	if (ret < 0)
		return ret;
	if (f->want & ~(unsigned int)RES_WANT_FD)
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore a program, mapping or directory in %.200s", name);
	if (!target(r, f, &rest) || strchr(rest, '/'))
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore %.200s, which is of no process of the job", name);
	return 0;
}

/* Only its number is taken for now: res_plan_first(). */
static int procfile_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			 struct ck_err *err)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	(void)r;
	(void)f;
	if (fd < 0)
		return ck_fail_errno(err, "cannot open /");
	*ret_fd = fd;
	return 0;
}

static bool is_made_by(const struct engine_rtask *t, const struct engine_rtask *from)
{
	const struct engine_rproc *p = t->proc;

	while (p && p != from->proc)
		p = p->maker;
	return t == from || (p && p == from->proc);
}

static int check_holders(const struct engine_restore *r, const struct res_rfile *f,
			 const struct engine_rtask *t, struct ck_err *err)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		const struct image_entries *fds = &r->res->task[i].fds;

		for (size_t k = 0; k < fds->n; k++)
			if (((const FdinfoEntry *)fds->m[k])->id == f->fe->id &&
			    !is_made_by(&r->tasks[i], t))
				return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
					       "cannot restore %s in task %u, which is not made by "
					       "the process that it is of",
					       f->fe->reg->name, r->tasks[i].ps->pid);
	}
	return 0;
}

int res_plan_first(const struct engine_restore *r, const struct engine_rtask *t, struct ck_err *err)
{
	const int keep =
		O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_PATH;
	struct script *s = t->script;

	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		const RegFileEntry *reg = f->fe->reg;
		const char *rest = "";
		char path[PATH_MAX + 16];
		int ret;

		if (f->slot < 0 || f->type != &res_type_procfile || target(r, f, &rest) != t)
			continue;
		ret = check_holders(r, f, t, err);
		if (ret < 0)
			return ret;
		/* Nothing below the parked numbers is needed any more: the lowest is then free. */
		script_syscall(s, SCRIPT_OK, SYS_close_range, OPEN_AT, (uint64_t)r->res->base - 1,
			       0, 0, 0, 0, "close the caller's descriptors");
		snprintf(path, sizeof(path), "/proc/self/%s", rest);
		script_syscall(s, SCRIPT_OK, SYS_openat, (uint64_t)AT_FDCWD,
			       script_data(s, path, strlen(path) + 1),
			       (reg->flags & (uint32_t)keep) | O_CLOEXEC, 0, 0, 0, "open %s",
			       reg->name);
		if (reg->pos && reg->pos != UINT64_MAX && !(reg->flags & O_PATH))
			script_syscall(s, SCRIPT_OK, SYS_lseek, OPEN_AT, reg->pos, SEEK_SET, 0, 0,
				       0, "set the offset of %s", reg->name);
		script_syscall(s, SCRIPT_OK, SYS_dup3, OPEN_AT, (uint64_t)(r->res->base + f->slot),
			       O_CLOEXEC, 0, 0, 0, "keep %s", reg->name);
		script_syscall(s, SCRIPT_OK, SYS_close, OPEN_AT, 0, 0, 0, 0, 0, "close %s",
			       reg->name);
	}
	return 0;
}

const struct res_type res_type_procfile = {
	.name = "a file of a process",
	.fd_type = FD_TYPES__REG,
	.match = procfile_match,
	.look = procfile_look,
	.dump = procfile_dump,
	.owns = procfile_owns,
	.load = procfile_load,
	.open = procfile_open,
};
