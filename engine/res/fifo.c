// SPDX-License-Identifier: Apache-2.0
/*
 * FIFOs: pipes that are opened by a path. In the image a FIFO is two entries, one for the end and a
 * reg_file_entry for the path. What was unread is put back unless somebody else kept the FIFO open,
 * and the bytes with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* ---- dump ---- */

static bool fifo_match(const struct engine_fd *fd)
{
	return S_ISFIFO(fd->st.st_mode) && fd->link[0] == '/';
}

static int fifo_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	int r = res_name_look(d, f, f->link, err);

	if (r == 0)
		r = res_state_look(d, f, false, err);
	return r < 0 ? r : res_pipe_look(d, f, err);
}

static int fifo_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	FifoEntry e = FIFO_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int r;

	e.id = f->id;
	e.pipe_id = f->pipe->id;
	e.has_regf_id = true;
	e.regf_id = res_id_new(d);
	r = res_put_reg(d, f, e.regf_id, err);
	if (r < 0)
		return r;
	fe.type = FD_TYPES__FIFO;
	fe.id = f->id;
	fe.fifo = &e;
	r = res_put_file(d, &fe, err);
	return r < 0 ? r : res_pipe_dump_data(d, f->pipe, RES_OUT_FIFO_DATA, err);
}

static int fifo_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_need_path(d, f, CKPT_PATH_ROLE__CKPT_PATH_FD, err);
}

/* ---- restore ---- */

static bool fifo_owns(const FileEntry *fe)
{
	return fe->fifo != NULL;
}

static struct res_rfile *path_of(const struct engine_restore *r, const struct res_rfile *f)
{
	struct res_rfile *path = res_rfile_find(r, f->fe->fifo->regf_id);

	return path && path->fe->reg ? path : NULL;
}

static int fifo_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const FifoEntry *e = f->fe->fifo;
	const struct res_rfile *path = e->has_regf_id ? path_of(r, f) : NULL;
	struct res_rpipe *p;
	int ret;

	if (!path)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "FIFO %u has no path", e->id);
	ret = res_load_reg(path->fe->reg, err);
	if (ret < 0)
		return ret;
	if (path->fe->reg->has_mode && !S_ISFIFO(path->fe->reg->mode))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "%s is no FIFO", path->fe->reg->name);
	if (path->carried && !S_ISFIFO(res_carried_mode(path->carried)))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the carried copy of %s is no FIFO",
			       path->fe->reg->name);
	return res_rpipe_get(r, e->pipe_id, true, &p, err);
}

/* An end that holds the FIFO while the job's ends are opened, so that none waits for another. */
static int hold(struct engine_restore *r, struct res_rpipe *p, struct res_rfile *path,
		struct ck_err *err)
{
	RegFileEntry both = *path->fe->reg;
	int unread = 0, ret;

	if (p->end[0] >= 0)
		return 0;
	both.flags = O_RDWR;
	ret = res_open_reg(r, path, &both, &p->end[0], err);
	/* Allowed to read only: then nothing waits, but contents can't be put back. */
	if (ret == -EACCES && (path->fe->reg->flags & O_ACCMODE) == O_RDONLY &&
	    (!p->data || p->data->bytes == 0))
		return 0;
	if (ret < 0)
		return ret;
	if (ioctl(p->end[0], FIONREAD, &unread) == 0 && unread > 0)
		return 0;
	return res_rpipe_fill(r, p, p->end[0], err);
}

static int fifo_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd, struct ck_err *err)
{
	struct res_rfile *path = path_of(r, f);
	CK_AUTO(fd) int fd = -EBADF;
	struct res_rpipe *p;
	int ret;

	if (!path)
		return ck_fail(err, CK_ERR_BUG, -EINVAL, "fifo_load() let a missing path pass");
	ret = res_rpipe_get(r, f->fe->fifo->pipe_id, true, &p, err);
	if (ret == 0)
		ret = hold(r, p, path, err);
	if (ret == 0)
		ret = res_open_reg(r, path, path->fe->reg, &fd, err);
	if (ret == 0)
		ret = res_set_status(fd, path->fe->reg->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static const FownEntry *fifo_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	const struct res_rfile *path = path_of(r, f);

	/* It stands with the path. */
	return path ? path->fe->reg->fown : NULL;
}

const struct res_type res_type_fifo = {
	.name = "a FIFO",
	.fd_type = FD_TYPES__FIFO,
	.match = fifo_match,
	.look = fifo_look,
	.dump = fifo_dump,
	.needs = fifo_needs,
	.owns = fifo_owns,
	.load = fifo_load,
	.open = fifo_open,
	.fown = fifo_fown,
};
