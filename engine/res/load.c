// SPDX-License-Identifier: Apache-2.0
/*
 * Reads what an image says of files and descriptors, and believes none of it: every reference must
 * resolve, every number be in range, before anything is done. Afterwards it is known which files
 * are wanted and at which numbers they will be parked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* Linux allows up to fs.nr_open, at most 2^31: what nobody has is refused here, so that sums of
 * numbers don't overflow. */
enum {
	FD_LIMIT = 1 << 28,
	FD_OWN = 128, /* numbers that are left to ourselves */
};

int res_read_all(struct engine_restore *r, enum image_kind kind, struct image_entries *ret,
		 struct ck_err *err)
{
	int e = image_read_all(r->image, kind, 0, ret, err);

	if (e == -ENOENT) {
		memset(ret, 0, sizeof(*ret));
		return 0;
	}
	return e;
}

/* ---- files.img ---- */

static bool is_complete(const FileEntry *fe)
{
	switch (fe->type) {
	case FD_TYPES__REG:
		return fe->reg && fe->reg->id == fe->id;
	case FD_TYPES__PIPE:
		return fe->pipe && fe->pipe->id == fe->id;
	case FD_TYPES__FIFO:
		return fe->fifo && fe->fifo->id == fe->id;
	case FD_TYPES__TTY:
		return fe->tty && fe->tty->id == fe->id;
	case FD_TYPES__INETSK:
		return fe->isk && fe->isk->id == fe->id;
	case FD_TYPES__UNIXSK:
		return fe->usk && fe->usk->id == fe->id;
	case FD_TYPES__EVENTFD:
		return fe->efd && fe->efd->id == fe->id;
	default:
		return true;
	}
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct res_rfile *)a)->fe->id;
	uint32_t y = ((const struct res_rfile *)b)->fe->id;

	return (x > y) - (x < y);
}

static int load_files(struct engine_restore *r, struct ck_err *err)
{
	struct res_restore *res = r->res;
	int e = image_read_all(r->image, IMAGE_FILES, 0, &res->files, err);

	if (e == -ENOENT)
		return ck_fail(err, CK_ERR_IMAGE, e, "the image has no files.img");
	if (e == 0)
		e = res_map_files(r, err);
	if (e < 0)
		return e;
	res->file = calloc(res->files.n + 1, sizeof(*res->file));
	if (!res->file)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember %zu files", res->files.n);
	for (size_t i = 0; i < res->files.n; i++) {
		const FileEntry *fe = (const FileEntry *)res->files.m[i];

		res->file[i] = (struct res_rfile){
			.fe = fe, .slot = -1, .fd = -EBADF, .stdio = -1, .inherit = -1, .relay = -1
		};
		if (fe->id == 0 || !is_complete(fe))
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "file %u is incomplete", fe->id);
	}
	res->n_files = res->files.n;
	qsort(res->file, res->n_files, sizeof(*res->file), by_id);
	for (size_t i = 1; i < res->n_files; i++)
		if (res->file[i - 1].fe->id == res->file[i].fe->id)
			return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "file %u is there twice",
				       res->file[i].fe->id);
	return 0;
}

struct res_rfile *res_rfile_find(const struct engine_restore *r, uint32_t id)
{
	FileEntry fe = { .id = id };
	const struct res_rfile key = { .fe = &fe };

	return bsearch(&key, r->res->file, r->res->n_files, sizeof(key), by_id);
}

const char *res_rfile_name(const struct res_rfile *f)
{
	if (f->fe->reg)
		return f->fe->reg->name;
	return f->type ? f->type->name : "a file";
}

int res_want(struct engine_restore *r, uint32_t id, enum res_want want, struct ck_err *err)
{
	struct res_rfile *f = res_rfile_find(r, id);

	if (!f)
		return ck_fail(err, CK_ERR_IMAGE, -ENOENT, "file %u is not in files.img", id);
	if ((want & ~RES_WANT_FD) && !f->fe->reg)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "file %u has no path", id);
	f->want |= want;
	return 0;
}

/* ---- tasks ---- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = (*(FdinfoEntry *const *)a)->fd, y = (*(FdinfoEntry *const *)b)->fd;

	return (x > y) - (x < y);
}

static int load_fd(struct engine_restore *r, size_t i, const FdinfoEntry *e, struct ck_err *err)
{
	struct res_rfile *f = res_rfile_find(r, e->id);
	int ret;

	if (e->fd >= FD_LIMIT)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the number is out of range");
	if (!f)
		return ck_fail(err, CK_ERR_IMAGE, -ENOENT, "file %u is not in files.img", e->id);
	ret = res_want(r, e->id, RES_WANT_FD, err);
	if (ret < 0)
		return ret;
	if (f->fe->type != e->type)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "file %u is of another type", e->id);
	if (!f->holder) {
		f->holder = &r->tasks[i];
		f->holder_fd = (int)e->fd;
	}
	if (e->fd <= 2 && (f->stdio < 0 || (int)e->fd < f->stdio))
		f->stdio = (int)e->fd;
	return 0;
}

static int load_fds(struct engine_restore *r, size_t i, struct ck_err *err)
{
	const struct engine_rtask *t = &r->tasks[i];
	struct image_entries *fds = &r->res->task[i].fds;
	int ret;

	if (!t->ids)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "its ids are missing");
	/* The first of those that share a table has it all; the others keep away from it. */
	if (t->kin[ENGINE_KIN_FILES])
		return 0;
	ret = image_read_all(r->image, IMAGE_FDINFO, t->ids->files_id, fds, err);
	if (ret == -ENOENT)
		return ck_fail(err, CK_ERR_IMAGE, ret, "the image has no fdinfo-%u.img",
			       t->ids->files_id);
	if (ret < 0)
		return ret;
	if (fds->n)
		qsort(fds->m, fds->n, sizeof(fds->m[0]), by_number);
	for (size_t k = 0; k < fds->n; k++) {
		const FdinfoEntry *e = (const FdinfoEntry *)fds->m[k];

		if (k > 0 && ((const FdinfoEntry *)fds->m[k - 1])->fd == e->fd)
			ret = ck_fail(err, CK_ERR_IMAGE, -EEXIST, "the number is there twice");
		else
			ret = load_fd(r, i, e, err);
		if (ret < 0)
			return ck_err_at(err, ret, "fd %u", e->fd);
		if ((int)e->fd >= r->res->base)
			r->res->base = (int)e->fd + 1;
	}
	return 0;
}

static int load_mm(struct engine_restore *r, const MmEntry *mm, struct ck_err *err)
{
	int ret = res_want(r, mm->exe_file_id, RES_WANT_EXE, err);

	if (ret < 0)
		return ck_err_at(err, ret, "the program");
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (!(v->status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED)))
			continue;
		if (v->shmid > UINT32_MAX)
			ret = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "file %llu is out of range",
				      (unsigned long long)v->shmid);
		else
			ret = res_want(r, (uint32_t)v->shmid, RES_WANT_MAP, err);
		if (ret < 0)
			return ck_err_at(err, ret, "mapping %llx", (unsigned long long)v->start);
	}
	return 0;
}

static int load_tasks(struct engine_restore *r, struct ck_err *err)
{
	r->res->task = calloc(r->n_tasks + 1, sizeof(*r->res->task));
	if (!r->res->task)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember %zu tasks", r->n_tasks);
	for (size_t i = 0; i < r->n_tasks; i++) {
		int ret;

		if (!r->tasks[i].mm)
			continue;
		ret = load_fds(r, i, err);
		if (ret == 0)
			ret = load_mm(r, r->tasks[i].mm, err);
		if (ret < 0)
			return ck_err_at(err, ret, "task %u", r->tasks[i].ps->pid);
		ret = res_load_fs(r, i, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

struct res_rfile *res_rfile_at(const struct engine_restore *r, int64_t pid, int64_t fd)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		const struct image_entries *fds = &r->res->task[i].fds;

		if (r->tasks[i].ps->pid != pid || !r->tasks[i].mm)
			continue;
		for (size_t k = 0; k < fds->n; k++) {
			const FdinfoEntry *e = (const FdinfoEntry *)fds->m[k];

			if (e->fd == fd)
				return res_rfile_find(r, e->id);
		}
	}
	return NULL;
}

int res_err_at_rfile(const struct res_rfile *f, struct ck_err *err, int r)
{
	if (!f->holder)
		return f->fe->reg ? ck_err_at(err, r, "file %s", f->fe->reg->name) : r;
	r = ck_err_at(err, r, "fd %d", f->holder_fd);
	return ck_err_at(err, r, "task %u", f->holder->ps->pid);
}

/* ---- all of it ---- */

static int load_kinds(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		struct res_rfile *f = &r->res->file[i];
		int ret;

		if (!f->want)
			continue;
		f->type = res_type_owning(f->fe);
		f->slot = (int)r->res->n_slots++;
		ret = f->type->load(r, f, err);
		if (ret == 0)
			ret = res_fown_load(r, f, err);
		if (ret < 0)
			return res_err_at_rfile(f, err, ret);
	}
	return 0;
}

/* Numbers that are free here and now, beyond those of the job. The lowest stay for whatever is
 * opened meanwhile. */
static int choose_base(struct engine_restore *r, struct ck_err *err)
{
	CK_AUTO(fd) int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(free) int *fds = NULL;
	struct res_restore *res = r->res;
	size_t n = 0;
	int ret;

	if (self < 0)
		return ck_fail_errno(err, "cannot look at /proc/self");
	ret = proc_read_fds(self, &fds, &n, err);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= res->base &&
		    (size_t)(fds[i] - res->base) < res->n_slots + r->n_tasks) /* page files too */
			res->base = fds[i] + 1;
	return 0;
}

int res_load(struct engine_restore *r, struct ck_err *err)
{
	int ret;

	r->res = calloc(1, sizeof(*r->res));
	if (!r->res)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot load files");
	r->res->base = FD_OWN;
	ret = load_files(r, err);
	if (ret == 0)
		ret = load_tasks(r, err);
	if (ret == 0)
		ret = res_carried_load(r, err);
	if (ret == 0)
		ret = res_read_all(r, IMAGE_PIPES_DATA, &r->res->pipes_data, err);
	if (ret == 0)
		ret = res_read_all(r, IMAGE_FIFO_DATA, &r->res->fifo_data, err);
	if (ret == 0)
		ret = res_read_all(r, IMAGE_SK_QUEUES, &r->res->sk_queues, err);
	if (ret == 0)
		ret = res_read_all(r, IMAGE_TTY_INFO, &r->res->tty_infos, err);
	if (ret == 0)
		ret = res_read_all(r, IMAGE_TTY_DATA, &r->res->tty_data, err);
	if (ret == 0)
		ret = load_kinds(r, err);
	if (ret == 0) {
		res_late_load(r);
		ret = choose_base(r, err);
	}
	return ret < 0 ? ret : res_locks_load(r, err);
}

int res_base(const struct engine_restore *r)
{
	return r->res->base;
}

size_t res_count(const struct engine_restore *r)
{
	return r->res->n_slots;
}

int res_parked_fd(const struct engine_restore *r, uint32_t file_id)
{
	const struct res_rfile *f = res_rfile_find(r, file_id);

	return f && f->slot >= 0 ? r->res->base + f->slot : -ENOENT;
}
