// SPDX-License-Identifier: Apache-2.0
/*
 * Writes what res_look() found: one entry per file in files.img, one per descriptor in fdinfo-PID,
 * and the files of mappings, programs and directories, which are found on the way. Everything is
 * read from a job that is stopped; nothing of it is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

static const enum image_kind out_kinds[RES_N_OUT] = {
	[RES_OUT_FILES] = IMAGE_FILES,         [RES_OUT_PIPES_DATA] = IMAGE_PIPES_DATA,
	[RES_OUT_FIFO_DATA] = IMAGE_FIFO_DATA, [RES_OUT_REMAP] = IMAGE_REMAP_FPATH,
	[RES_OUT_SK_QUEUES] = IMAGE_SK_QUEUES, [RES_OUT_LOCKS] = IMAGE_FILE_LOCKS,
	[RES_OUT_TTY_INFO] = IMAGE_TTY_INFO,   [RES_OUT_CKPT_FILES] = IMAGE_CKPT_FILES,
};

static int out_open(struct engine_dump *d, enum res_out out, struct ck_err *err)
{
	if (d->res->out[out])
		return 0;
	return image_create(d->images, out_kinds[out], 0, &d->res->out[out], err);
}

int res_put(struct engine_dump *d, enum res_out out, const ProtobufCMessage *m, struct ck_err *err)
{
	int r = out_open(d, out, err);

	return r < 0 ? r : image_append(d->res->out[out], m, err);
}

int res_put_raw(struct engine_dump *d, enum res_out out, const void *data, size_t len,
		struct ck_err *err)
{
	return image_append_raw(d->res->out[out], data, len, err);
}

int res_put_file(struct engine_dump *d, const FileEntry *fe, struct ck_err *err)
{
	return res_put(d, RES_OUT_FILES, &fe->base, err);
}

/* Files whose descriptors are listed come first; the others are made while tasks are gone through.
 */
static int dump_files(struct engine_dump *d, struct ck_err *err)
{
	size_t n = d->res->n_files;

	for (size_t i = 0; i < n; i++) {
		struct res_file *f = d->res->files[i];
		int r = f->type->dump(d, f, err);

		if (r == 0 && f->type->needs)
			r = f->type->needs(d, f, err);
		if (r < 0)
			return res_err_at_file(f, err, r);
	}
	return 0;
}

static int dump_fdinfo(struct engine_dump *d, const struct engine_task *t, struct ck_err *err)
{
	struct image_file *out;
	int r = image_create(d->images, IMAGE_FDINFO, (unsigned int)t->ns_pid, &out, err);
	int r2;

	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_fds && r == 0; i++) {
		const struct engine_fd *fd = &t->fds[i];
		FdinfoEntry e = FDINFO_ENTRY__INIT;

		e.id = fd->id;
		e.fd = (uint32_t)fd->fd;
		if (e.fd > d->needs.highest_fd)
			d->needs.highest_fd = e.fd;
		e.flags = fd->info.flags & O_CLOEXEC ? FD_CLOEXEC : 0;
		e.type = res_file_by_id(d, fd->id)->type->fd_type;
		r = image_append(out, &e.base, err);
	}
	r2 = image_file_close(out, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

static int dump_task(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	/* A table that several have stands once, under the number of the first. */
	int r = t->kin[ENGINE_KIN_FILES] ? 0 : dump_fdinfo(d, t, err);

	if (r == 0)
		r = res_dump_maps(d, t, err);
	if (r == 0)
		r = res_dump_fs(d, t, err);
	return r < 0 ? ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t)) : 0;
}

static int close_outs(struct res_dump *res, struct ck_err *err)
{
	int r = 0;

	for (int i = 0; i < RES_N_OUT; i++) {
		int r2 = 0;

		if (res->out[i])
			r2 = image_file_close(ck_take_ptr(&res->out[i]), r < 0 ? NULL : err);
		if (r == 0)
			r = r2;
	}
	return r;
}

int res_dump(struct engine_dump *d, struct ck_err *err)
{
	/* There is always a files.img, even of a job with nothing open. */
	int r = out_open(d, RES_OUT_FILES, err), r2;

	if (r == 0)
		r = dump_files(d, err);
	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		if (!d->tasks[i]->zombie)
			r = dump_task(d, d->tasks[i], err);
	d->needs.has_max_fds = d->needs.has_highest_fd = true;
	d->needs.max_fds = (uint32_t)d->res->n_files;
	if (r == 0)
		r = res_ghosts_dump(d, err);
	if (r == 0)
		r = res_locks_dump(d, err);
	if (r == 0)
		r = res_needs_finish(d, err);
	/* Also after a failure: the files must be gone before the writer is. */
	r2 = close_outs(d->res, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

void res_dump_done(struct engine_dump *d)
{
	struct res_dump *res = d->res;

	if (!res)
		return;
	res_socks_done(res);
	res_peek_done(res);
	for (size_t i = 0; i < res->n_files; i++) {
		free(res->files[i]->via);
		free(res->files[i]->name);
		for (size_t k = 0; k < res->files[i]->n_watches; k++) {
			free(res->files[i]->watch[k].f.via);
			free(res->files[i]->watch[k].f.name);
		}
		free(res->files[i]->watch);
		free(res->files[i]);
	}
	free(res->files);
	res_pipes_done(res);
	res_needs_done(res);
	res_sums_done(res);
	free(res->ghosts);
	free(res->modes_dir);
	free(res->tty_ids);
	for (size_t i = 0; res->pidfds && i < d->n_tasks; i++)
		if (res->pidfds[i] >= 0)
			close(res->pidfds[i]);
	free(res->pidfds);
	free(res);
	d->res = NULL;
}
