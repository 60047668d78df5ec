// SPDX-License-Identifier: Apache-2.0
/*
 * Files of /proc that are a process's: /proc/812/status. What they show is the kernel's, and the
 * kernel binds them to a process when they are opened: so the process itself opens its own anew,
 * and hands them on to whoever has them (late.c). Those of a process that is gone show nothing; a
 * process is made for them, and ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"
#include "image/remap-file-path.pb-c.h"

enum { MAGIC_PROC = 0x9fa0, MAX_PID = 1 << 22 };

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

/* Nobody has the number, or another process: then the name leads to another inode. */
static bool is_gone(const struct res_file *f, long pid)
{
	char name[32];
	struct stat st;
	int r = res_name_stat(f->task, f->link, &st);

	if (r == 0)
		return st.st_ino != f->st.st_ino && st.st_dev == f->st.st_dev;
	snprintf(name, sizeof(name), "/proc/%ld", pid);
	return r == -ENOENT && res_name_stat(f->task, "/proc/self", &st) == 0 &&
	       st.st_dev == f->st.st_dev && res_name_stat(f->task, name, &st) == -ENOENT;
}

static int procfile_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct engine_task *t;
	const char *rest = "";
	long pid = 0;

	(void)parse(f->link, &pid, &rest);
	t = find_target(d, f, pid);
	if (!t && !is_gone(f, pid))
		return refuse(f, "only those of the job's own processes can be kept", err);
	if (strchr(rest, '/'))
		return refuse(f, "what lies deeper than /proc/PID/NAME can't be kept", err);
	if (t && t->kin[ENGINE_KIN_FILES]) /* it is opened in that process: late.c */
		return refuse(f, "that process shares its descriptors with another one", err);
	if (asprintf(&f->name, "/proc/%ld%s%s", t ? (long)t->ns_pid : pid, *rest ? "/" : "", rest) <
	    0) {
		f->name = NULL;
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	}
	return res_fown_look(d, f, err);
}

/* As CRIU says it. */
static int put_gone(struct engine_dump *d, const struct res_file *f, long pid, struct ck_err *err)
{
	RemapFilePathEntry e = REMAP_FILE_PATH_ENTRY__INIT;

	e.orig_id = f->id;
	e.remap_id = (uint32_t)pid;
	e.has_remap_type = true;
	e.remap_type = REMAP_TYPE__PROCFS;
	return res_put(d, RES_OUT_REMAP, &e.base, err);
}

static int procfile_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	RegFileEntry e = REG_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	const char *rest;
	long pid = 0;
	int r;

	(void)parse(f->link, &pid, &rest);
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
	r = res_put_file(d, &fe, err);
	return r < 0 || find_target(d, f, pid) ? r : put_gone(d, f, pid, err);
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
	f->opener = f->gone ? NULL : target(r, f, &rest);
	if ((!f->gone && (!f->opener || f->opener->kin[ENGINE_KIN_FILES])) || strchr(rest, '/'))
		return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
			       "cannot restore %.200s, which is of no process of the job", name);
	return 0;
}

static bool has_offset(const RegFileEntry *reg)
{
	return reg->pos && reg->pos != UINT64_MAX && !(reg->flags & O_PATH);
}

static int flags_of(const RegFileEntry *reg)
{
	return ((int)reg->flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_NOFOLLOW |
				   O_NOATIME | O_PATH)) |
	       O_CLOEXEC;
}

/* A child with our descriptors opens its own, and ends. */
static int open_gone(const RegFileEntry *reg, const char *rest)
{
	char path[PATH_MAX + 16];
	int p[2], fd = -EIO;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/%s", rest);
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		fd = open(path, flags_of(reg));
		fd = fd < 0 ? -errno : fd;
		(void)!write(p[1], &fd, sizeof(fd));
		_exit(0);
	}
	if (pid < 0)
		fd = -errno;
	else if (waitpid(pid, NULL, 0) != pid || read(p[0], &fd, sizeof(fd)) != sizeof(fd))
		fd = -EIO;
	close(p[0]);
	close(p[1]);
	return fd;
}

static int procfile_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			 struct ck_err *err)
{
	const RegFileEntry *reg = f->fe->reg;
	CK_AUTO(fd) int fd = -EBADF;
	const char *rest = "";

	if (f->opener)
		return res_late_open(ret_fd, err);
	(void)target(r, f, &rest);
	fd = open_gone(reg, rest);
	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot open /proc/PID/%s", rest);
	if (has_offset(reg) && lseek(fd, (off_t)reg->pos, SEEK_SET) < 0)
		return ck_fail_errno(err, "cannot set the offset of %s", reg->name);
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static int procfile_plan_open(const struct engine_restore *r, const struct res_rfile *f,
			      struct script *s, struct ck_err *err)
{
	const RegFileEntry *reg = f->fe->reg;
	const char *rest = "";
	char path[PATH_MAX + 16];

	(void)err;
	(void)target(r, f, &rest);
	snprintf(path, sizeof(path), "/proc/self/%s", rest);
	script_syscall(s, SCRIPT_OK, SYS_openat, (uint64_t)AT_FDCWD,
		       script_data(s, path, strlen(path) + 1), (uint64_t)flags_of(reg), 0, 0, 0,
		       "open %s", reg->name);
	if (has_offset(reg))
		script_syscall(s, SCRIPT_OK, SYS_lseek, 0, reg->pos, SEEK_SET, 0, 0, 0,
			       "set the offset of %s", reg->name);
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
	.fown = res_reg_fown,
	.plan_open = procfile_plan_open,
};
