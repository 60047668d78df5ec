// SPDX-License-Identifier: Apache-2.0
/*
 * The files of an image that CRIU made: which paths its tasks have mapped, open, or stand in. Ids
 * in the image are not trusted to exist; one that doesn't is a damaged image.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/pb.h"
#include "image/core.pb-c.h"
#include "image/fdinfo.pb-c.h"
#include "image/format.h"
#include "image/fs.pb-c.h"
#include "image/remap-file-path.pb-c.h"
#include "policies/foreign.h"

struct policy_file {
	const FileEntry *fe;
	CkptNeedPath *need; /* once somebody needs it */
	bool carried;
};

static inline void ck_auto_message(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot derive what the image needs");
}

void policy_files_done(struct policy_files *f)
{
	for (size_t i = 0; f->file && i < f->n; i++)
		if (f->file[i].need)
			ckpt_need_path__free_unpacked(f->file[i].need, NULL);
	free(f->file);
	image_entries_done(&f->entries);
	f->file = NULL;
	f->n = 0;
}

static int by_id(const void *a, const void *b)
{
	const struct policy_file *x = a, *y = b;

	return x->fe->id < y->fe->id ? -1 : x->fe->id > y->fe->id;
}

static struct policy_file *find(const struct policy_files *f, uint32_t id)
{
	FileEntry key = FILE_ENTRY__INIT;
	struct policy_file k = { .fe = &key };

	key.id = id;
	return bsearch(&k, f->file, f->n, sizeof(k), by_id);
}

static int read_remaps(struct policy_files *f, struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	int r = image_read_all(f->img, IMAGE_REMAP_FPATH, 0, &e, err);

	if (r == -ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && i < e.n; i++) {
		const RemapFilePathEntry *m = (const RemapFilePathEntry *)e.m[i];
		struct policy_file *file = find(f, m->orig_id);
		bool ghost =
			m->has_remap_type ? m->remap_type == REMAP_TYPE__GHOST : m->remap_id >> 31;

		if (!ghost)
			r = policy_add_unsupported(f->needs, "a file with another name of its own",
						   err);
		else if (file)
			file->carried = true;
	}
	return r;
}

int policy_files_read(struct policy_files *f, struct ck_err *err)
{
	int r = image_read_all(f->img, IMAGE_FILES, 0, &f->entries, err);

	if (r < 0)
		return r;
	f->needs->has_max_fds = f->needs->has_highest_fd = true;
	f->needs->max_fds = (uint32_t)f->entries.n;
	f->file = calloc(f->entries.n + 1, sizeof(*f->file));
	if (!f->file)
		return no_memory(err);
	for (size_t i = 0; i < f->entries.n; i++)
		f->file[f->n++].fe = (const FileEntry *)f->entries.m[i];
	qsort(f->file, f->n, sizeof(*f->file), by_id);
	return read_remaps(f, err);
}

/* "task 812 (python3), fd 5" */
static char *who(const CkptNeedTask *t, const char *what, int fd)
{
	char *s = NULL;
	int r = fd < 0 ? asprintf(&s, "task %u (%s), %s", t->pid, t->comm, what)
		       : asprintf(&s, "task %u (%s), fd %d", t->pid, t->comm, fd);

	return r < 0 ? NULL : s;
}

static int set_build_id(CkptNeedPath *p, const RegFileEntry *reg)
{
	if (!reg->n_build_id || reg->n_build_id > 16)
		return 0;
	p->build_id.data = malloc(reg->n_build_id * 4);
	if (!p->build_id.data)
		return -ENOMEM;
	memcpy(p->build_id.data, reg->build_id, reg->n_build_id * 4);
	p->build_id.len = reg->n_build_id * 4;
	p->has_build_id = true;
	return 0;
}

static CkptNeedPath *new_need(const RegFileEntry *reg, bool carried, char *who_text)
{
	CkptNeedPath *p = CK_PB_NEW(CkptNeedPath, ckpt_need_path);

	if (!p) {
		free(who_text);
		return NULL;
	}
	p->who = who_text;
	p->path = strdup(reg->name);
	p->mode = reg->has_mode ? reg->mode : 0;
	p->has_access = true;
	p->access = reg->flags & O_ACCMODE;
	p->has_append = true;
	p->append = !reg->has_size && p->access == O_WRONLY && (reg->flags & O_APPEND);
	p->has_carried = true;
	p->carried = carried;
	if (S_ISREG(p->mode) && reg->has_size) {
		p->has_size = true;
		p->size = reg->size;
	}
	if (!p->path || !p->who || set_build_id(p, reg) < 0) {
		ckpt_need_path__free_unpacked(p, NULL);
		return NULL;
	}
	return p;
}

static int add_role(CkptNeedPath *p, CkptPathRole role)
{
	CkptPathRole *grown;

	for (size_t i = 0; i < p->n_roles; i++)
		if (p->roles[i] == role)
			return 0;
	grown = reallocarray(p->roles, p->n_roles + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->roles = grown;
	p->roles[p->n_roles++] = role;
	return 0;
}

static int need_reg(struct policy_file *file, const RegFileEntry *reg, CkptPathRole role,
		    const CkptNeedTask *t, const char *what, int fd, struct ck_err *err)
{
	if (!file->need)
		file->need = new_need(reg, file->carried, who(t, what, fd));
	if (!file->need || add_role(file->need, role) < 0)
		return no_memory(err);
	if (fd >= 0 && fd <= 2 && !file->need->has_stdio) {
		file->need->has_stdio = true;
		file->need->stdio = (uint32_t)fd;
	}
	return 0;
}

static int missing(uint32_t id, struct ck_err *err)
{
	return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "files.img has no file %u", id);
}

static int need_id(struct policy_files *f, uint32_t id, CkptPathRole role, const CkptNeedTask *t,
		   const char *what, struct ck_err *err)
{
	struct policy_file *file = find(f, id);

	if (!file)
		return missing(id, err);
	if (!file->fe->reg)
		return policy_add_unsupported(f->needs, "a mapping of something that is no file",
					      err);
	return need_reg(file, file->fe->reg, role, t, what, -1, err);
}

int policy_files_of_mm(struct policy_files *f, const CkptNeedTask *t, const MmEntry *mm,
		       struct ck_err *err)
{
	int r = need_id(f, mm->exe_file_id, CKPT_PATH_ROLE__CKPT_PATH_EXE, t, "its program", err);

	for (size_t i = 0; i < mm->n_vmas && r == 0; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (!(v->status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED)) ||
		    (v->status & (IMAGE_VMA_MEMFD | IMAGE_VMA_SOCKET)) || v->shmid > UINT32_MAX)
			continue;
		r = need_id(f, (uint32_t)v->shmid, CKPT_PATH_ROLE__CKPT_PATH_MAP, t, "mapped", err);
	}
	return r;
}

const char *policy_unsupported_kind(int type)
{
	switch ((FdTypes)type) {
	case FD_TYPES__REG:
	case FD_TYPES__PIPE:
	case FD_TYPES__FIFO:
	case FD_TYPES__TTY:
	case FD_TYPES__EVENTFD:
	case FD_TYPES__EVENTPOLL:
	case FD_TYPES__SIGNALFD:
	case FD_TYPES__TIMERFD:
		return NULL;
	case FD_TYPES__INETSK:
		return "internet socket";
	case FD_TYPES__UNIXSK:
		return "unix socket";
	case FD_TYPES__INOTIFY:
		return "inotify descriptor";
	case FD_TYPES__MEMFD:
		return "memfd";
	case FD_TYPES__PIDFD:
		return "pidfd";
	case FD_TYPES__NETLINKSK:
		return "netlink socket";
	default:
		return "open file of another kind";
	}
}

static int need_fd(struct policy_files *f, const CkptNeedTask *t, const FdinfoEntry *fd,
		   struct ck_err *err)
{
	const char *what = policy_unsupported_kind((int)fd->type);
	struct policy_file *file, *path;

	if (fd->fd > f->needs->highest_fd)
		f->needs->highest_fd = fd->fd;
	if (what)
		return policy_add_unsupported(f->needs, what, err);
	file = find(f, fd->id);
	if (!file)
		return missing(fd->id, err);
	if (fd->type == FD_TYPES__TTY) {
		f->needs->has_terminal = f->needs->terminal = true;
		return 0;
	}
	if (fd->type == FD_TYPES__REG && file->fe->reg)
		return need_reg(file, file->fe->reg, CKPT_PATH_ROLE__CKPT_PATH_FD, t, "",
				(int)fd->fd, err);
	if (fd->type != FD_TYPES__FIFO || !file->fe->fifo)
		return 0;
	path = file->fe->fifo->has_regf_id ? find(f, file->fe->fifo->regf_id) : file;
	if (!path || !path->fe->reg)
		return missing(fd->id, err);
	return need_reg(path, path->fe->reg, CKPT_PATH_ROLE__CKPT_PATH_FD, t, "", (int)fd->fd, err);
}

static int need_fds(struct policy_files *f, const CkptNeedTask *t, uint32_t files_id,
		    struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	int r = image_read_all(f->img, IMAGE_FDINFO, files_id, &e, err);

	if (r == -ENOENT)
		return 0;
	for (size_t i = 0; i < e.n && r == 0; i++)
		r = need_fd(f, t, (const FdinfoEntry *)e.m[i], err);
	return r;
}

int policy_files_of_task(struct policy_files *f, const CkptNeedTask *t, struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *fs = NULL;
	CK_AUTO(message) ProtobufCMessage *ids = NULL;
	int r = image_read_one(f->img, IMAGE_FS, t->pid, &fs, err);

	if (r == -ENOENT)
		return 0; /* a zombie */
	if (r == 0)
		r = need_id(f, ((const FsEntry *)fs)->cwd_id, CKPT_PATH_ROLE__CKPT_PATH_CWD, t,
			    "its working directory", err);
	if (r == 0)
		r = need_id(f, ((const FsEntry *)fs)->root_id, CKPT_PATH_ROLE__CKPT_PATH_ROOT, t,
			    "its root", err);
	if (r == 0)
		r = image_read_one(f->img, IMAGE_IDS, t->pid, &ids, err);
	if (r < 0)
		return r;
	return ids ? need_fds(f, t, ((const TaskKobjIdsEntry *)ids)->files_id, err) : 0;
}

/* ---- equal paths become one need ---- */

static int by_path(const void *a, const void *b)
{
	const CkptNeedPath *x = *(CkptNeedPath *const *)a, *y = *(CkptNeedPath *const *)b;
	int r = strcmp(x->path, y->path);

	return r ? r : (int)x->carried - (int)y->carried;
}

static int merge(CkptNeedPath *into, const CkptNeedPath *p)
{
	for (size_t i = 0; i < p->n_roles; i++)
		if (add_role(into, p->roles[i]) < 0)
			return -ENOMEM;
	if (into->access != p->access)
		into->access = O_RDWR;
	into->append = into->append && p->append;
	if (!into->has_size && p->has_size) {
		into->has_size = true;
		into->size = p->size;
	}
	if (!into->has_stdio && p->has_stdio) {
		into->has_stdio = true;
		into->stdio = p->stdio;
	}
	return 0;
}

int policy_files_finish(struct policy_files *f, struct ck_err *err)
{
	CkptNeeds *n = f->needs;
	bool failed = false;
	size_t kept = 0;

	for (size_t i = 0; i < f->n; i++) {
		if (!f->file[i].need)
			continue;
		if (ck_pb_append(&n->paths, &n->n_paths, f->file[i].need) < 0)
			return no_memory(err);
		f->file[i].need = NULL;
	}
	if (n->n_paths)
		qsort(n->paths, n->n_paths, sizeof(*n->paths), by_path);
	for (size_t i = 0; i < n->n_paths; i++) {
		if (kept && by_path(&n->paths[kept - 1], &n->paths[i]) == 0) {
			int r = merge(n->paths[kept - 1], n->paths[i]);

			ckpt_need_path__free_unpacked(n->paths[i], NULL);
			n->paths[i] = NULL;
			failed = failed || r < 0;
			continue;
		}
		n->paths[kept++] = n->paths[i];
	}
	n->n_paths = kept;
	return failed ? no_memory(err) : 0;
}
