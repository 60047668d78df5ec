// SPDX-License-Identifier: Apache-2.0
/*
 * Names of files: from the text of a link of /proc to an absolute path that leads to the same
 * inode, as the task sees it. The kernel marks an unlinked name with " (deleted)", but a name may
 * end so by itself, may have been given to another file since, or may be hidden by a mount: what
 * decides is always the inode. A file without a name that leads to it is carried in the image.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

/* Magics of file systems, linux/magic.h has not all of them */
enum {
	MAGIC_MQUEUE = 0x19800202,
	MAGIC_PROC = 0x9fa0,
};

/*
 * Paths in /proc are relative to our root where the task sees the same mount namespace, else to its
 * namespace's (Linux fs/d_path.c:d_path()). A task whose root reads as "/" sees them just so;
 * another one was chroot()ed, and its paths are ours.
 */
static int open_root(const struct engine_task *t, const char *path)
{
	CK_AUTO(free) char *root = NULL;
	int r, fd;

	if (t->our_mounts && *path == '/')
		return AT_FDCWD; /* as it stands */
	r = ck_readlink_at(t->dirfd, "root", &root);
	if (r < 0)
		return r;
	if (strcmp(root, "/") != 0)
		fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	else
		fd = openat(t->dirfd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* What path is below that root. */
static const char *below(int root, const char *path)
{
	while (root != AT_FDCWD && *path == '/')
		path++;
	return *path ? path : ".";
}

int res_name_stat(const struct engine_task *t, const char *path, struct stat *ret)
{
	CK_AUTO(fd) int root = open_root(t, path);

	if (root < 0 && root != AT_FDCWD)
		return root;
	return fstatat(root, below(root, path), ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int res_name_open(const struct engine_task *t, const char *path, int flags)
{
	CK_AUTO(fd) int root = open_root(t, path);
	int fd;

	if (root < 0 && root != AT_FDCWD)
		return root;
	fd = openat(root, below(root, path),
		    flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

bool res_name_strip_deleted(char *name)
{
	static const char mark[] = " (deleted)";
	size_t n = strlen(name), m = sizeof(mark) - 1;

	if (n <= m || strcmp(name + n - m, mark) != 0)
		return false;
	name[n - m] = '\0';
	return true;
}

/* 1 if the name leads to the file, 0 if not, -EACCES if we may not know. */
static int leads_to(const struct res_file *f, const char *name)
{
	struct stat st;
	int r = res_name_stat(f->task, name, &st);

	if (r == -EACCES)
		return r;
	return r == 0 && st.st_ino == f->st.st_ino && st.st_dev == f->st.st_dev;
}

/* A file that was unlinked while open, and that its file system keeps under a name of its own: it
 * goes away with the last descriptor. */
static bool is_silly_renamed(const char *name)
{
	const char *base = strrchr(name, '/');

	return base && (strncmp(base, "/.nfs0", 6) == 0 || strncmp(base, "/.fuse_hidden", 13) == 0);
}

/* /proc/812/...: the number will mean somebody else, or nobody yet when files are opened. */
static bool is_of_process(const char *name)
{
	return strncmp(name, "/proc/", 6) == 0 && name[6] >= '0' && name[6] <= '9';
}

static long fs_magic(const struct res_file *f)
{
	CK_AUTO(fd) int fd = res_file_reopen(f, O_PATH);
	struct statfs fs;

	return fd >= 0 && fstatfs(fd, &fs) == 0 ? (long)fs.f_type : 0;
}

static int fail_name(const struct res_file *f, struct ck_err *err)
{
	int r;

	if (fs_magic(f) == MAGIC_MQUEUE)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a message queue (%s)",
			       f->name);
	r = ck_fail(err, CK_ERR_REFUSED, -ENOENT, "cannot reach %s by its path", f->name);
	return ck_err_hint(err, r, "a mount hides it, or another file has its name now");
}

/*
 * It has lost this name and has others: a copy would no longer be what they lead to. One in the
 * same directory is found; f->name is without " (deleted)". 1 or an error. (On overlayfs, deleted
 * files may count their names below.)
 */
static int find_other_name(struct res_file *f, struct ck_err *err)
{
	char *base = strrchr(f->name, '/') + 1;
	CK_AUTO(free) char *dir = strndup(f->name, (size_t)(base - f->name));
	int fd = dir ? res_name_open(f->task, dir, O_RDONLY | O_DIRECTORY) : -ENOMEM, r;
	DIR *dp = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	char *found = NULL;

	while (dp && !found && (e = readdir(dp)))
		if (e->d_ino == f->st.st_ino) {
			if (asprintf(&found, "%s%s", dir, e->d_name) < 0)
				found = NULL;
			if (found && leads_to(f, found) != 1) {
				free(found);
				found = NULL;
			}
		}
	if (dp)
		closedir(dp);
	else if (fd >= 0)
		close(fd);
	if (found) {
		free(f->name);
		f->name = found;
		return 1;
	}
	r = ck_fail(err, CK_ERR_REFUSED, -ENOENT,
		    "cannot dump the deleted file %s, which has %u other names", f->name,
		    (unsigned int)f->st.st_nlink);
	return ck_err_hint(err, r,
			   "a copy of it would not be theirs; remove them, or have the job "
			   "open one of them");
}

int res_name_look(struct engine_dump *d, struct res_file *f, const char *link, struct ck_err *err)
{
	f->name = strdup(link);
	if (!f->name)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	if (f->name[0] != '/')
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump %s, which has no path", f->name);
	if (is_of_process(f->name) && fs_magic(f) == MAGIC_PROC) {
		int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				"cannot dump a file of a process (%s)", f->name);

		return ck_err_hint(err, r, "let the job close it before the dump");
	}
	if (f->st.st_nlink > 0 && !is_silly_renamed(f->name)) {
		int r = leads_to(f, f->name);

		/* Opened by somebody who may go where this user may not: it can only be given
		 * again, as it was (take_callers() in reg.c). */
		if (r == -EACCES && f->stdio >= 0) {
			f->inherit = f->stdio;
			return 0;
		}
		if (r == 0 && !res_name_strip_deleted(f->name))
			return fail_name(f, err);
		if (r == 0)
			r = leads_to(f, f->name);
		if (r == 0 && !S_ISDIR(f->st.st_mode) && fs_magic(f) != OVERLAYFS_SUPER_MAGIC)
			r = find_other_name(f, err);
		if (r != 0)
			return r == -EACCES ? fail_name(f, err) : r < 0 ? r : 0;
	} else {
		res_name_strip_deleted(f->name);
	}
	return res_ghost_add(d, f, err);
}
