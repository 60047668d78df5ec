// SPDX-License-Identifier: Apache-2.0
/*
 * Files that are opened by a path and have nothing but it, an offset and flags: regular files,
 * directories, and O_PATH descriptors of anything. Their contents stay where they are, unless the
 * name is gone (ghost.c, carried.c). Restored by opening the recorded path, after looking that what
 * stands there is still what was dumped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/elf.h"
#include "base/fd.h"
#include "engine/res/res.h"

/* ---- dump ---- */

/* Such a name on a nameless file system (major 0), and no file has it. */
bool res_is_memfd(const char *name, dev_t dev)
{
	return strncmp(name, "/memfd:", 7) == 0 && major(dev) == 0;
}

static bool is_memfd(const struct engine_fd *fd)
{
	return S_ISREG(fd->st.st_mode) && fd->st.st_nlink == 0 &&
	       res_is_memfd(fd->link, fd->st.st_dev);
}

static bool path_match(const struct engine_fd *fd)
{
	return (fd->info.flags & O_PATH) && fd->link[0] == '/' && !is_memfd(fd);
}

static bool regular_match(const struct engine_fd *fd)
{
	return S_ISREG(fd->st.st_mode) && fd->link[0] == '/';
}

static bool dir_match(const struct engine_fd *fd)
{
	return S_ISDIR(fd->st.st_mode) && fd->link[0] == '/';
}

/* Nothing else gives a directory's descriptor an owner. Linux fs/notify/dnotify/dnotify.c */
static int refuse_dnotify(const struct res_file *f, struct ck_err *err)
{
	int r;

	if (!S_ISDIR(f->st.st_mode) || !f->fown.pid)
		return 0;
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
		    "cannot dump a directory that is watched by F_NOTIFY");
	return ck_err_hint(err, r, "inotify instances can be kept");
}

static int reg_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	int r = res_name_look(d, f, f->link, err);

	f->memfd = S_ISREG(f->st.st_mode) && f->st.st_nlink == 0 &&
		   res_is_memfd(f->link, f->st.st_dev);
	if (r == 0)
		r = res_state_look(d, f, false, err);
	if (r == 0)
		r = res_fown_look(d, f, err);
	return r < 0 ? r : refuse_dnotify(f, err);
}

/* A log that is only appended to may be longer when the job comes back. */
static bool size_matters(uint32_t flags)
{
	return !((flags & O_ACCMODE) == O_WRONLY && (flags & O_APPEND)) && !(flags & O_PATH);
}

static void put_build_id(const struct res_file *f, RegFileEntry *e,
			 uint32_t words[static CK_BUILD_ID_MAX / 4])
{
	CK_AUTO(fd) int fd = -EBADF;
	uint8_t id[CK_BUILD_ID_MAX];
	int n;

	fd = f->via ? res_file_reopen(f, O_RDONLY) : res_name_open(f->task, f->name, O_RDONLY);
	n = fd >= 0 ? ck_elf_build_id_fd(fd, id) : 0;
	if (n <= 0)
		return;
	/* Four bytes in each word as they lie in memory, the last one padded with zeros. */
	memset(words, 0, CK_BUILD_ID_MAX);
	memcpy(words, id, (size_t)n);
	e->build_id = words;
	e->n_build_id = ((size_t)n + 3) / 4;
}

int res_put_reg(struct engine_dump *d, const struct res_file *f, uint32_t id, struct ck_err *err)
{
	RegFileEntry e = REG_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	FownEntry fown = f->fown;
	uint32_t words[CK_BUILD_ID_MAX / 4];
	int r;

	e.id = id;
	e.flags = f->flags;
	e.pos = f->pos;
	e.fown = &fown;
	e.name = f->name;
	e.has_mode = true;
	e.mode = f->st.st_mode;
	/* Of a carried file that is only mapped the size isn't known. */
	if (S_ISREG(f->st.st_mode) && size_matters(f->flags) && !(f->ghost && !f->via)) {
		e.has_size = true;
		e.size = (uint64_t)f->st.st_size;
		/* Of what is mapped or executed; what is only read is told apart by needs.c. */
		if (!f->ghost && f->fd < 0)
			put_build_id(f, &e, words);
	}
	e.has_carried = f->named;
	e.carried = f->ghost;
	fe.type = FD_TYPES__REG;
	fe.id = id;
	fe.reg = &e;
	r = res_put_file(d, &fe, err);
	return r < 0 || !f->ghost || f->named ? r : res_ghost_put_remap(d, f, id, err);
}

static int reg_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_put_reg(d, f, f->id, err);
}

static int reg_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	/* Its path says nothing to this user, who can only be given it. */
	if (f->inherit >= 0)
		return res_need_inherit(d, f->inherit, err);
	return res_need_path(d, f, CKPT_PATH_ROLE__CKPT_PATH_FD, err);
}

/* ---- restore ---- */

static bool has_format(const FileEntry *fe, mode_t format)
{
	/* Images of old do not say. */
	return fe->reg && (!fe->reg->has_mode || (fe->reg->mode & S_IFMT) == format);
}

static bool path_owns(const FileEntry *fe)
{
	return fe->reg && (fe->reg->flags & O_PATH);
}

static bool regular_owns(const FileEntry *fe)
{
	return has_format(fe, S_IFREG);
}

static bool dir_owns(const FileEntry *fe)
{
	return has_format(fe, S_IFDIR);
}

int res_load_reg(const RegFileEntry *reg, struct ck_err *err)
{
	int r = 0;

	if (reg->name[0] != '/')
		r = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a file's path is not absolute: %.100s",
			    reg->name);
	else if (strlen(reg->name) >= PATH_MAX)
		r = ck_fail(err, CK_ERR_IMAGE, -ENAMETOOLONG, "a file's path is too long");
	else if (reg->pos > INT64_MAX && reg->pos != UINT64_MAX)
		r = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the offset of %.200s is out of range",
			    reg->name);
	else if (reg->n_build_id > CK_BUILD_ID_MAX / 4)
		r = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the build-id of %.200s is too long",
			    reg->name);
	else if (reg->has_ext && reg->ext)
		r = ck_fail(err, CK_ERR_IMAGE, -EOPNOTSUPP, "%.200s was dumped as external",
			    reg->name);
	return r;
}

const FownEntry *res_reg_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->reg->fown;
}

static int reg_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	(void)r;
	return res_load_reg(f->fe->reg, err);
}

static const char *format_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a regular file";
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	case S_IFIFO:
		return "a FIFO";
	case S_IFLNK:
		return "a symbolic link";
	case S_IFSOCK:
		return "a socket";
	default:
		return "something else";
	}
}

/* A file that the job only reads may have grown: what it has read is still there (fsmap/ has looked
 * at the contents). Not if it is mapped, and what is mapped may have moved. */
static bool has_grown(const struct engine_restore *r, const struct res_rfile *f,
		      const RegFileEntry *reg, const struct stat *st)
{
	if ((uint64_t)st->st_size <= reg->size)
		return false;
	if ((reg->flags & O_ACCMODE) != O_RDONLY)
		return r->opts->files == ENGINE_FILES_KEEP;
	return !(f->want & (unsigned int)(RES_WANT_MAP | RES_WANT_EXE));
}

static int check_stat(const struct engine_restore *r, const struct res_rfile *f,
		      const RegFileEntry *reg, const struct stat *st, struct ck_err *err)
{
	int ret;

	if (reg->has_mode && ((st->st_mode ^ reg->mode) & S_IFMT)) {
		ret = ck_fail(err, CK_ERR_HOST, -EINVAL, "%s is %s here, and was %s", reg->name,
			      format_name(st->st_mode), format_name(reg->mode));
		return ck_err_hint(err, ret, "put back what was there at the dump");
	}
	if (!reg->has_size || !S_ISREG(st->st_mode) || (uint64_t)st->st_size == reg->size ||
	    has_grown(r, f, reg, st))
		return 0;
	ret = ck_fail(err, CK_ERR_HOST, -EINVAL, "%s has %lld bytes here, and had %llu", reg->name,
		      (long long)st->st_size, (unsigned long long)reg->size);
	if ((reg->flags & O_ACCMODE) != O_RDONLY && (uint64_t)st->st_size > reg->size)
		return ck_err_hint(err, ret,
				   "somebody wrote to it since the dump; if that was the job, "
				   "--files rollback takes it back");
	return ck_err_hint(err, ret, "the file was changed since the dump; put back the old one");
}

static int check_build_id(const RegFileEntry *reg, int fd, struct ck_err *err)
{
	uint8_t id[CK_BUILD_ID_MAX + 4] = { 0 };
	size_t n = reg->n_build_id * 4;
	int len, r;

	if (!n || (fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)) == O_WRONLY)
		return 0;
	len = ck_elf_build_id_fd(fd, id);
	if (len == -EBADF)
		return 0; /* O_PATH */
	if (len < 0)
		return ck_fail(err, CK_ERR_SYS, len, "cannot read %s", reg->name);
	memset(id + len, 0, sizeof(id) - (size_t)len);
	if (((size_t)len + 3) / 4 * 4 == n && memcmp(id, reg->build_id, n) == 0)
		return 0;
	r = ck_fail(err, CK_ERR_HOST, -EINVAL, "%s is another build than the one that was dumped",
		    reg->name);
	return ck_err_hint(err, r, "install the package version of the source host");
}

/* The mode of access decides what a device or FIFO does when it is opened: look first. */
static int open_checked(const struct engine_restore *r, const struct res_rfile *f,
			const RegFileEntry *reg, int flags, int *ret_fd, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct stat before, st;
	int follow = (flags & O_PATH) && (flags & O_NOFOLLOW) ? AT_SYMLINK_NOFOLLOW : 0;
	int ret;

	if (fstatat(AT_FDCWD, reg->name, &before, follow) < 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return ck_fail_errno(err, "cannot find %s", reg->name);
		ret = ck_fail(err, CK_ERR_HOST, -ENOENT, "there is no %s here", reg->name);
		return ck_err_hint(err, ret, "put back what was there at the dump");
	}
	ret = check_stat(r, f, reg, &before, err);
	if (ret < 0)
		return ret;
	fd = open(reg->name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return ck_fail_errno(err, "cannot open %s", reg->name);
	if (fstat(fd, &st) < 0)
		return ck_fail_errno(err, "cannot stat %s", reg->name);
	if (st.st_ino != before.st_ino || st.st_dev != before.st_dev)
		return ck_fail(err, CK_ERR_HOST, -ESTALE, "%s was replaced while it was opened",
			       reg->name);
	ret = check_build_id(reg, fd, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

/* What open(2) is given: never anything that makes, truncates or locks a file. */
static int open_flags(const struct res_rfile *f, uint32_t flags)
{
	const int keep = O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC | O_DIRECT | O_DIRECTORY |
			 O_NOFOLLOW | O_NOATIME | O_PATH;

	/* To stand in a directory one need not be allowed to read it. */
	if (f->want && !(f->want & ~(unsigned int)(RES_WANT_CWD | RES_WANT_ROOT)))
		return O_PATH | O_DIRECTORY;
	/* O_TMPFILE has O_DIRECTORY's bit and one of its own: such a file is always carried. */
	if ((flags & O_TMPFILE) == O_TMPFILE)
		flags &= ~(uint32_t)O_TMPFILE;
	if (flags & O_PATH)
		return (int)flags & (O_PATH | O_NOFOLLOW | O_DIRECTORY);
	return (int)flags & keep;
}

static bool is_callers(const RegFileEntry *reg, int n)
{
	CK_AUTO(free) char *link = NULL;
	struct stat st, own;
	char path[40];

	if (stat(reg->name, &st) == 0)
		return fstat(n, &own) == 0 && st.st_dev == own.st_dev && st.st_ino == own.st_ino;
	/* Where it can't even be looked at, its name has to do. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", n);
	return ck_readlink_at(AT_FDCWD, path, &link) == 0 && strcmp(link, reg->name) == 0;
}

/* A file that the user may not open again, such as a log of root's: if the caller has it as the
 * same standard descriptor, that one is meant. */
static int take_callers(const struct res_rfile *f, const RegFileEntry *reg, int *ret_fd)
{
	int fd;

	if (f->stdio < 0 || !is_callers(reg, f->stdio))
		return -ENOENT;
	if (((uint32_t)fcntl(f->stdio, F_GETFL) & O_ACCMODE) != (reg->flags & O_ACCMODE))
		return -ENOENT;
	fd = fcntl(f->stdio, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/*
 * What the job's user may not open, and the job was given. The path was recorded without links, and
 * none is followed now: nobody but who may write to its directories leads it elsewhere.
 */
static int open_given(struct engine_restore *r, const struct res_rfile *f, const RegFileEntry *reg,
		      int flags, int *ret_fd)
{
	const struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	CK_AUTO(fd) int fd = -EBADF;
	RegFileEntry via = *reg;
	char link[40];

	if (!engine_trusts_image(r))
		return -EACCES;
	fd = (int)syscall(SYS_openat2, AT_FDCWD, reg->name, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	via.name = link;
	return open_checked(r, f, &via, flags & ~O_NOFOLLOW, ret_fd, NULL);
}

static int open_as_job(struct engine_restore *r, const struct res_rfile *f, const RegFileEntry *reg,
		       int flags, int *ret_fd, struct ck_err *err)
{
	struct engine_self self;
	int ret = engine_act_as_job(r, &self, err);
	bool other = self.changed;

	if (ret == 0)
		ret = open_checked(r, f, reg, flags, ret_fd, err);
	engine_act_as_self(&self);
	if (!other || (ret != -EACCES && ret != -EPERM))
		return ret;
	if (open_given(r, f, reg, flags, ret_fd) == 0)
		return 0;
	return ck_err_hint(err, ret, "files are opened with the rights of the job's user, %u",
			   r->uid);
}

int res_open_reg(struct engine_restore *r, struct res_rfile *f, const RegFileEntry *reg,
		 int *ret_fd, struct ck_err *err)
{
	int flags = open_flags(f, reg->flags), ret;

	if (f->carried)
		return res_carried_open(r, f->carried, reg->name, flags, ret_fd, err);
	ret = open_as_job(r, f, reg, flags, ret_fd, err);
	if ((ret == -EACCES || ret == -EPERM) && take_callers(f, reg, ret_fd) == 0)
		ret = 0;
	return ret;
}

static int reg_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd, struct ck_err *err)
{
	const RegFileEntry *reg = f->fe->reg;
	CK_AUTO(fd) int fd = -EBADF;
	int ret = res_open_reg(r, f, reg, &fd, err);

	if (ret < 0)
		return ret;
	if (!(open_flags(f, reg->flags) & O_PATH)) {
		if (reg->pos != UINT64_MAX && lseek(fd, (off_t)reg->pos, SEEK_SET) < 0)
			return ck_fail_errno(err, "cannot set the offset of %s to %llu", reg->name,
					     (unsigned long long)reg->pos);
		ret = res_set_status(fd, reg->flags, err);
		if (ret < 0)
			return ret;
	}
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

const struct res_type res_type_path = {
	.name = "a path",
	.fd_type = FD_TYPES__REG,
	.match = path_match,
	.look = reg_look,
	.dump = reg_dump,
	.needs = reg_needs,
	.owns = path_owns,
	.load = reg_load,
	.open = reg_open,
	.fown = res_reg_fown,
};

const struct res_type res_type_regular = {
	.name = "a file",
	.fd_type = FD_TYPES__REG,
	.match = regular_match,
	.look = reg_look,
	.dump = reg_dump,
	.needs = reg_needs,
	.owns = regular_owns,
	.load = reg_load,
	.open = reg_open,
	.fown = res_reg_fown,
	.finish = res_carried_finish,
};

const struct res_type res_type_dir = {
	.name = "a directory",
	.fd_type = FD_TYPES__REG,
	.match = dir_match,
	.look = reg_look,
	.dump = reg_dump,
	.needs = reg_needs,
	.owns = dir_owns,
	.load = reg_load,
	.open = reg_open,
	.fown = res_reg_fown,
};
