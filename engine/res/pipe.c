// SPDX-License-Identifier: Apache-2.0
/*
 * Pipes. All ends in the job: the pipe is made anew with its contents, capacity and packets. Ends
 * that nobody has any more stay closed, so that EOF and EPIPE come as before. The other end outside
 * of the job: if the pipe is standard input or output, the caller's takes its place (inherit.c).
 * Others are refused, or else their other end is closed after the restore, as the user wishes.
 *
 * Contents are copied by tee(), which leaves them where they are. Opening an end of a pipe of the
 * job and closing it again goes unnoticed as long as the job has such an end itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"
#include "image/pipe-data.pb-c.h"

enum { COPY_CHUNK = 1 << 16 };

/* ---- dump ---- */

static bool pipe_match(const struct engine_fd *fd)
{
	return S_ISFIFO(fd->st.st_mode) && strncmp(fd->link, "pipe:[", 6) == 0 &&
	       !(fd->info.flags & O_PATH);
}

static bool id_is_taken(const struct res_dump *res, uint32_t id)
{
	for (size_t i = 0; i < res->n_pipes; i++)
		if (res->pipes[i]->id == id)
			return true;
	return false;
}

static struct res_pipe *get_pipe(struct res_dump *res, const struct stat *st)
{
	struct res_pipe **grown, *p;

	for (size_t i = 0; i < res->n_pipes; i++)
		if (res->pipes[i]->dev == st->st_dev && res->pipes[i]->ino == st->st_ino)
			return res->pipes[i];
	grown = reallocarray(res->pipes, res->n_pipes + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	res->pipes = grown;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->dev = st->st_dev;
	p->ino = st->st_ino;
	p->inherit = -1;
	/* As CRIU numbers them, so that its --inherit-fd pipe:[INODE] works; but FIFOs are of any
	 * file system, and their inodes longer. */
	p->id = (uint32_t)st->st_ino;
	while (id_is_taken(res, p->id))
		p->id++;
	res->pipes[res->n_pipes++] = p;
	return p;
}

int res_pipe_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	struct res_pipe *p = get_pipe(d->res, &f->st);
	uint32_t mode = f->flags & O_ACCMODE;

	if (!p)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a pipe");
	f->pipe = p;
	if (mode != O_WRONLY && !p->reader)
		p->reader = f;
	if (mode != O_RDONLY && !p->writer)
		p->writer = f;
	return res_fown_look(d, f, err);
}

static int pipe_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_pipe_look(d, f, err);
}

/* 1 if somebody outside has the end that the job lacks, 0 if nobody has it. */
static int is_connected(struct engine_dump *d, const struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_peek(d, f, (int)(f->flags & O_ACCMODE));
	struct pollfd p = { .fd = fd };

	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot open a pipe of the job");
	if (poll(&p, 1, 0) < 0)
		return ck_fail_errno(err, "cannot poll a pipe of the job");
	/* Linux fs/pipe.c:pipe_poll(): POLLHUP without writers, POLLERR without readers */
	return !(p.revents & (POLLHUP | POLLERR));
}

/* Which pipes have an end outside: those of which the job has ends of one kind only, that are not
 * simply closed on the other side. */
static int find_outer(struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_file *f = d->res->files[i];
		struct res_pipe *p = f->pipe;
		int r;

		if (f->type != &res_type_pipe || p->settled || (p->reader && p->writer))
			continue;
		r = is_connected(d, f, err);
		if (r < 0)
			return res_err_at_file(f, err, r);
		p->outer = r > 0;
		p->settled = true;
	}
	return 0;
}

/* Standard descriptors that are such pipes, the root task's first: each number of the caller's can
 * stand for one pipe only. */
static void claim_stdio(struct engine_dump *d, struct res_pipe *claim[3])
{
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->n_fds && d->tasks[i]->fds[k].fd < 3; k++) {
			const struct engine_fd *fd = &d->tasks[i]->fds[k];
			struct res_pipe *p = res_file_by_id(d, fd->id)->pipe;

			if (!p || !p->outer || claim[fd->fd])
				continue;
			claim[fd->fd] = p;
			if (p->inherit < 0)
				p->inherit = fd->fd;
		}
}

int res_pipes_settle(struct engine_dump *d, struct ck_err *err)
{
	struct res_pipe *claim[3] = { NULL };
	int r = find_outer(d, err);

	if (r < 0)
		return r;
	claim_stdio(d, claim);
	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_file *f = d->res->files[i];

		if (f->type != &res_type_pipe || !f->pipe->outer)
			continue;
		if (f->pipe->inherit < 0 && d->opts->pipes != ENGINE_OUTSIDE_REFUSE)
			continue;
		if (f->pipe->inherit < 0) {
			r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				    "cannot dump a pipe whose other end is outside of the job (%s)",
				    f->link);
			r = ck_err_hint(
				err, r,
				"only standard input and output may lead out of the job; "
				"if whoever started it has leaked this one, use "
				"--pipe=close: then the job finds its other end closed after "
				"the restore");
			return res_err_at_file(f, err, r);
		}
		f->inherit =
			f->stdio >= 0 && claim[f->stdio] == f->pipe ? f->stdio : f->pipe->inherit;
	}
	return 0;
}

/* A copy of the contents: the read end of a pipe of ours, none if it is empty. *ret_bytes is what
 * is in it. */
static int copy_contents(int fd, int size, int *ret_copy, size_t *ret_bytes, struct ck_err *err)
{
	CK_AUTO(fd) int rd = -EBADF;
	CK_AUTO(fd) int wr = -EBADF;
	int ends[2], unread = 0, r;
	ssize_t n;

	if (ioctl(fd, FIONREAD, &unread) < 0)
		return ck_fail_errno(err, "cannot ask for the contents of a pipe");
	*ret_bytes = 0;
	if (unread == 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return ck_fail_errno(err, "cannot make a pipe");
	rd = ends[0];
	wr = ends[1];
	/* As many slots as the original, for tee() copies slot by slot. */
	if (fcntl(wr, F_GETPIPE_SZ) < size && fcntl(wr, F_SETPIPE_SZ, size) < 0) {
		r = ck_fail_errno(err, "cannot make a pipe of %d bytes", size);
		return ck_err_hint(err, r, "see /proc/sys/fs/pipe-user-pages-soft");
	}
	n = tee(fd, wr, (size_t)size, SPLICE_F_NONBLOCK);
	if (n < 0)
		return ck_fail_errno(err, "cannot copy the contents of a pipe");
	if (n != unread)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot copy all of a pipe: %zd bytes of %d",
			       n, unread);
	*ret_bytes = (size_t)n;
	*ret_copy = ck_take_fd(&rd);
	return 0;
}

/* Reads the copy. Each read() ends at a packet, if there are packets. */
static int read_copy(int fd, char *buf, size_t len, uint32_t *packets, size_t *ret_n)
{
	size_t done = 0, n = 0;

	while (done < len) {
		ssize_t got = read(fd, buf + done, len - done);

		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		packets[n++] = (uint32_t)got;
		done += (size_t)got;
	}
	*ret_n = n;
	return 0;
}

static bool has_packets(const struct engine_dump *d, const struct res_pipe *p)
{
	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_file *f = d->res->files[i];

		if (f->pipe == p && (f->flags & O_DIRECT) && (f->flags & O_ACCMODE) != O_RDONLY)
			return true;
	}
	return false;
}

int res_pipe_dump_data(struct engine_dump *d, struct res_pipe *p, enum res_out out,
		       struct ck_err *err)
{
	PipeDataEntry e = PIPE_DATA_ENTRY__INIT;
	CK_AUTO(free) char *buf = NULL;
	CK_AUTO(free) uint32_t *packets = NULL;
	CK_AUTO(fd) int fd = -EBADF;
	CK_AUTO(fd) int copy = -EBADF;
	size_t len = 0, n = 0;
	int size, r;

	/* What nobody of the job can read needs not be kept. */
	if (p->dumped || !p->reader || p->inherit >= 0)
		return 0;
	fd = res_file_peek(d, p->reader, O_RDONLY);
	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot open a pipe of the job");
	size = fcntl(fd, F_GETPIPE_SZ);
	if (size < 0)
		return ck_fail_errno(err, "cannot ask for the size of a pipe");
	r = copy_contents(fd, size, &copy, &len, err);
	if (r < 0)
		return r;
	buf = malloc(len + 1);
	packets = calloc(len + 1, sizeof(*packets));
	r = buf && packets ? read_copy(copy, buf, len, packets, &n) : -ENOMEM;
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read the contents of a pipe");
	e.pipe_id = p->id;
	e.bytes = (uint32_t)len;
	e.has_size = true;
	e.size = (uint32_t)size;
	if (has_packets(d, p) && n > 0) {
		/* CRIU would join the packets: this size makes it refuse. */
		e.size = UINT32_MAX;
		e.has_packets_size = true;
		e.packets_size = (uint32_t)size;
		e.packets = packets;
		e.n_packets = n;
	}
	p->dumped = true;
	r = res_put(d, out, &e.base, err);
	return r < 0 || len == 0 ? r : res_put_raw(d, out, buf, len, err);
}

static int pipe_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	PipeEntry e = PIPE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int r;

	e.id = f->id;
	e.pipe_id = f->pipe->id;
	e.flags = f->flags;
	e.fown = &f->fown;
	if (f->inherit >= 0) {
		e.has_inherit = true;
		e.inherit = (uint32_t)f->inherit;
	}
	fe.type = FD_TYPES__PIPE;
	fe.id = f->id;
	fe.pipe = &e;
	r = res_put_file(d, &fe, err);
	return r < 0 ? r : res_pipe_dump_data(d, f->pipe, RES_OUT_PIPES_DATA, err);
}

static int pipe_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return f->inherit < 0 ? 0 : res_need_inherit(d, f->inherit, err);
}

void res_pipes_done(struct res_dump *res)
{
	for (size_t i = 0; i < res->n_pipes; i++)
		free(res->pipes[i]);
	free(res->pipes);
}

/* ---- restore ---- */

static bool pipe_owns(const FileEntry *fe)
{
	return fe->pipe != NULL;
}

/* Its contents: an entry of pipes-data or fifo-data. */
static int find_data(struct engine_restore *r, struct res_rpipe *p, struct ck_err *err)
{
	const struct image_entries *e = p->fifo ? &r->res->fifo_data : &r->res->pipes_data;
	uint64_t sum = 0;

	for (size_t i = 0; i < e->n; i++) {
		const PipeDataEntry *pd = (const PipeDataEntry *)e->m[i];

		if (pd->pipe_id != p->id)
			continue;
		if (p->data)
			return ck_fail(err, CK_ERR_IMAGE, -EEXIST,
				       "the image has the contents of pipe %u twice", p->id);
		if (e->raw_len[i] != pd->bytes)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "the contents of pipe %u are cut short", p->id);
		for (size_t k = 0; k < pd->n_packets; k++)
			sum += pd->packets[k];
		if (pd->n_packets && (sum != pd->bytes || !pd->has_packets_size))
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "the packets of pipe %u don't add up", p->id);
		p->data = pd;
		p->raw_off = e->raw_off[i];
	}
	return 0;
}

int res_rpipe_get(struct engine_restore *r, uint32_t id, bool fifo, struct res_rpipe **ret,
		  struct ck_err *err)
{
	struct res_restore *res = r->res;
	struct res_rpipe **grown, *p;

	for (size_t i = 0; i < res->n_pipes; i++)
		if (res->pipes[i]->id == id && res->pipes[i]->fifo == fifo) {
			*ret = res->pipes[i];
			return 0;
		}
	grown = reallocarray(res->pipes, res->n_pipes + 1, sizeof(*grown));
	if (grown)
		res->pipes = grown;
	p = grown ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a pipe");
	*p = (struct res_rpipe){ .id = id, .fifo = fifo, .end = { -EBADF, -EBADF } };
	res->pipes[res->n_pipes++] = p;
	*ret = p;
	return find_data(r, p, err);
}

/* In an image of CRIU's nothing says that a pipe led out of the job, except that one end is missing
 * and the other is standard input or output. */
static int foreign_inherit(const struct engine_restore *r, const struct res_rfile *f)
{
	uint32_t id = f->fe->pipe->pipe_id, mode = f->fe->pipe->flags & O_ACCMODE;

	if (image_origin(r->image) == IMAGE_OURS || f->stdio < 0)
		return -1;
	for (size_t i = 0; i < r->res->n_files; i++) {
		const PipeEntry *o = r->res->file[i].fe->pipe;

		if (o && o->pipe_id == id && (o->flags & O_ACCMODE) != mode)
			return -1;
	}
	return f->stdio;
}

static int pipe_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const PipeEntry *e = f->fe->pipe;
	struct res_rpipe *p;

	if ((e->flags & O_ACCMODE) == O_ACCMODE)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the end of pipe %u makes no sense",
			       e->pipe_id);
	if (e->has_inherit && e->inherit > 2)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "pipe %u is to be inherited from descriptor %u", e->pipe_id,
			       e->inherit);
	f->inherit = e->has_inherit ? (int)e->inherit : foreign_inherit(r, f);
	return f->inherit >= 0 ? 0 : res_rpipe_get(r, e->pipe_id, false, &p, err);
}

static int fill_packet(int in, uint64_t off, int fd, size_t len, char *buf, struct ck_err *err)
{
	ssize_t n;

	for (; len > 0; off += (uint64_t)n, len -= (size_t)n) {
		size_t want = len < COPY_CHUNK ? len : COPY_CHUNK;

		n = ck_pread_full(in, buf, want, (off_t)off);
		if (n < 0 || (size_t)n < want)
			return ck_fail(err, CK_ERR_IMAGE, n < 0 ? (int)n : -EIO,
				       "the contents of a pipe can't be read");
		n = write(fd, buf, want);
		if (n < 0 && errno == EAGAIN)
			return ck_fail(err, CK_ERR_IMAGE, -ENOSPC,
				       "the contents of a pipe don't fit into it");
		if (n <= 0)
			return ck_fail_errno(err, "cannot fill a pipe");
	}
	return 0;
}

static int set_capacity(int fd, const PipeDataEntry *pd, struct ck_err *err)
{
	uint32_t size = pd->has_packets_size ? pd->packets_size : pd->size;
	int r;

	if ((!pd->has_size && !pd->has_packets_size) || fcntl(fd, F_GETPIPE_SZ) == (int)size)
		return 0;
	if (size > INT32_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the size of a pipe makes no sense");
	if (fcntl(fd, F_SETPIPE_SZ, (int)size) >= 0)
		return 0;
	r = ck_fail_errno(err, "cannot make a pipe hold %u bytes", size);
	return ck_err_hint(err, r, "see /proc/sys/fs/pipe-max-size and pipe-user-pages-soft");
}

int res_rpipe_fill(struct engine_restore *r, struct res_rpipe *p, int fd, struct ck_err *err)
{
	const enum image_kind kind = p->fifo ? IMAGE_FIFO_DATA : IMAGE_PIPES_DATA;
	const PipeDataEntry *pd = p->data;
	CK_AUTO(free) char *buf = NULL;
	CK_AUTO(fd) int in = -EBADF;
	uint64_t off = p->raw_off;
	int ret;

	if (p->filled || !pd)
		return 0;
	p->filled = true;
	ret = set_capacity(fd, pd, err);
	if (ret < 0 || pd->bytes == 0)
		return ret;
	in = image_open_fd(r->image, kind, 0, err);
	if (in < 0)
		return in;
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot fill a pipe");
	if (pd->n_packets == 0) {
		ret = res_set_status(fd, O_NONBLOCK, err);
		return ret < 0 ? ret : fill_packet(in, off, fd, pd->bytes, buf, err);
	}
	ret = res_set_status(fd, O_NONBLOCK | O_DIRECT, err);
	for (size_t i = 0; i < pd->n_packets && ret == 0; i++) {
		ret = fill_packet(in, off, fd, pd->packets[i], buf, err);
		off += pd->packets[i];
	}
	return ret;
}

static int make_pipe(struct engine_restore *r, struct res_rpipe *p, struct ck_err *err)
{
	int ends[2];

	if (p->end[0] >= 0 || p->end[1] >= 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return ck_fail_errno(err, "cannot make a pipe");
	p->end[0] = ends[0];
	p->end[1] = ends[1];
	return res_rpipe_fill(r, p, p->end[1], err);
}

static int pipe_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd, struct ck_err *err)
{
	const PipeEntry *e = f->fe->pipe;
	const uint32_t mode = e->flags & O_ACCMODE;
	const int side = mode == O_WRONLY;
	CK_AUTO(fd) int fd = -EBADF;
	struct res_rpipe *p;
	char path[40];
	int ret;

	if (f->inherit >= 0)
		return res_inherit_open(f->inherit, RES_INHERIT_PIPE, e->flags, ret_fd, err);
	ret = res_rpipe_get(r, e->pipe_id, false, &p, err);
	if (ret == 0)
		ret = make_pipe(r, p, err);
	if (ret < 0)
		return ret;
	if (mode != O_RDWR && !p->taken[side] && !(e->flags & RES_O_LARGEFILE)) {
		p->taken[side] = true;
		fd = fcntl(p->end[side], F_DUPFD_CLOEXEC, 3);
	} else {
		/* A second description of the same end, as opening /proc/PID/fd/N made it. */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", p->end[side]);
		fd = open(path, (int)mode | O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0)
		return ck_fail_errno(err, "cannot open an end of a pipe");
	ret = res_set_status(fd, e->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

/* Only the job's own ends stay. */
static int pipes_finish(struct engine_restore *r, struct ck_err *err)
{
	(void)err;
	for (size_t i = 0; i < r->res->n_pipes; i++)
		for (int k = 0; k < 2; k++)
			if (r->res->pipes[i]->end[k] >= 0) {
				close(r->res->pipes[i]->end[k]);
				r->res->pipes[i]->end[k] = -EBADF;
			}
	return 0;
}

void res_rpipes_done(struct engine_restore *r)
{
	(void)pipes_finish(r, NULL);
	for (size_t i = 0; i < r->res->n_pipes; i++)
		free(r->res->pipes[i]);
	free(r->res->pipes);
}

static const FownEntry *pipe_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->pipe->fown;
}

const struct res_type res_type_pipe = {
	.name = "a pipe",
	.fd_type = FD_TYPES__PIPE,
	.match = pipe_match,
	.look = pipe_look,
	.dump = pipe_dump,
	.needs = pipe_needs,
	.owns = pipe_owns,
	.load = pipe_load,
	.open = pipe_open,
	.fown = pipe_fown,
	.finish = pipes_finish,
};
