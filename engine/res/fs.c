// SPDX-License-Identifier: Apache-2.0
/*
 * A task's place in the file system: current directory, root and umask. The directories are files
 * like others in files.img; a task comes back to them by fchdir() and chroot() in its own script.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

static int dump_dir(struct engine_dump *d, struct engine_task *t, const char *via,
		    CkptPathRole role, uint32_t *ret_id, struct ck_err *err)
{
	struct res_file f = { .type = &res_type_dir, .task = t, .fd = -1, .mnt_id = -1 }, *same;
	CK_AUTO(free) char *link = NULL;
	int r = ck_readlink_at(t->dirfd, via, &link);

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read a task's link");
	if (fstatat(t->dirfd, via, &f.st, 0) < 0)
		return ck_fail_errno(err, "cannot stat %s", link);
	f.via = strdup(via);
	r = f.via ? res_name_look(d, &f, link, err) : -ENOMEM;
	if (r == 0)
		r = res_path_file(d, &f, role, &same, err);
	if (r == 0)
		*ret_id = same->id;
	free(f.name);
	free(f.via);
	return r;
}

int res_dump_fs(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	FsEntry e = FS_ENTRY__INIT;
	int r = dump_dir(d, t, "cwd", CKPT_PATH_ROLE__CKPT_PATH_CWD, &e.cwd_id, err);

	if (r < 0)
		return ck_err_at(err, r, "current directory");
	r = dump_dir(d, t, "root", CKPT_PATH_ROLE__CKPT_PATH_ROOT, &e.root_id, err);
	if (r < 0)
		return ck_err_at(err, r, "root directory");
	if (t->status.umask != (uint32_t)-1) {
		e.has_umask = true;
		e.umask = t->status.umask;
	}
	return image_write_one(d->images, IMAGE_FS, (unsigned int)t->ns_pid, &e.base, err);
}

/* ---- restore ---- */

int res_load_fs(struct engine_restore *r, size_t i, struct ck_err *err)
{
	unsigned int pid = r->tasks[i].ps->pid;
	ProtobufCMessage *m;
	const FsEntry *fs;
	int ret = image_read_one(r->image, IMAGE_FS, pid, &m, err);

	if (ret == -ENOENT)
		return ck_fail(err, CK_ERR_IMAGE, ret, "the image has no fs-%u.img", pid);
	if (ret < 0)
		return ret;
	fs = r->res->task[i].fs = (FsEntry *)m;
	if (fs->has_umask && fs->umask > 0777)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "umask %o of task %u is none", fs->umask,
			       pid);
	ret = res_want(r, fs->cwd_id, RES_WANT_CWD, err);
	if (ret == 0)
		ret = res_want(r, fs->root_id, RES_WANT_ROOT, err);
	return ret < 0 ? ck_err_at(err, ret, "task %u", pid) : 0;
}

void res_fs_plan(const struct engine_restore *r, const struct engine_rtask *t, const FsEntry *fs)
{
	const struct res_rfile *root = res_rfile_find(r, fs->root_id);
	const struct res_rfile *cwd = res_rfile_find(r, fs->cwd_id);
	const int base = r->res->base;

	if (strcmp(res_rfile_name(root), "/") != 0) {
		script_syscall(t->script, SCRIPT_OK, SYS_fchdir, (uint64_t)(base + root->slot), 0,
			       0, 0, 0, 0, "change to the root %s", res_rfile_name(root));
		script_syscall(t->script, SCRIPT_OK, SYS_chroot,
			       script_data(t->script, ".", sizeof(".")), 0, 0, 0, 0, 0,
			       "chroot to %s (a privilege)", res_rfile_name(root));
	}
	script_syscall(t->script, SCRIPT_OK, SYS_fchdir, (uint64_t)(base + cwd->slot), 0, 0, 0, 0,
		       0, "change to the directory %s", res_rfile_name(cwd));
	if (fs->has_umask)
		script_syscall(t->script, SCRIPT_ANY, SYS_umask, fs->umask, 0, 0, 0, 0, 0,
			       "set the umask to %03o", fs->umask);
}
