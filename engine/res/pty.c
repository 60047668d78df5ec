// SPDX-License-Identifier: Apache-2.0
/*
 * Pseudo terminals of which the job has both sides: a master and what is open of its slave. (A
 * slave whose master is somebody else's is the user's terminal: tty.c, to which slaves of both
 * sorts belong.) The pair is made anew, under its number if that is free.
 *
 * What was written and not yet read can't be looked at without taking it. So it is taken when the
 * job's fate is sealed: after the commit, before the end (res_pty_drain()). If ckpt is killed
 * between the two, the image is whole and that text is lost. A job that is left running keeps its
 * text: such a dump waits for a moment when there is none, but for a line that is still being
 * typed, which can't be seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"
#include "engine/res/tty.h"

enum {
	SPARE_MASTERS = 64, /* numbers to pass over on the way to the one we want */
	N_TTY_BUF = 4096,   /* bytes that a terminal keeps for its reader, Linux N_TTY_BUF_SIZE */
};

static bool ptmx_match(const struct engine_fd *fd)
{
	return S_ISCHR(fd->st.st_mode) && fd->st.st_rdev == makedev(5, 2);
}

/* ---- dump ---- */

static int fail_unread(unsigned int index, struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_BUSY, -EBUSY, "there is unread text in terminal /dev/pts/%u",
			index);

	return ck_err_hint(err, r, "let the job read it");
}

/* What was written reaches the reader's side by a worker; poll() waits for that, Linux
 * drivers/tty/n_tty.c:n_tty_poll(). */
static bool has_unread(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int unread = 0;

	return (poll(&p, 1, 0) == 1 && (p.revents & POLLIN) && !(p.revents & POLLHUP)) ||
	       (ioctl(fd, FIONREAD, &unread) == 0 && unread);
}

static int ptmx_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	unsigned int index = 0;
	int r;

	if (fd < 0) {
		r = ck_fail(err, CK_ERR_PERM, fd, "cannot look at the master of a pseudo terminal");
		return ck_err_hint(err, r,
				   "the system call pidfd_getfd is forbidden here, and the task "
				   "can't hand it over");
	}
	if (ioctl(fd, TIOCGPTN, &index) < 0)
		return ck_fail_errno(err, "cannot look at the master of a pseudo terminal");
	if (index > PTY_INDEX_MAX)
		return ck_fail(err, CK_ERR_REFUSED, -ERANGE, "a pseudo terminal has the number %u",
			       index);
	if ((d->opts->flags & ENGINE_LEAVE_RUNNING) && has_unread(fd))
		return fail_unread(index, err);
	f->pty = (int)index;
	f->name = strdup(f->link);
	if (!f->name)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	return res_fown_look(d, f, err);
}

/* Borrows the master of a slave. By the number alone: which instance of devpts it belongs to is not
 * told, and one is the rule. -ENOENT if the job has none. */
static int borrow_master(struct engine_dump *d, const struct res_file *slave)
{
	unsigned int index = minor(slave->st.st_rdev);

	if (major(slave->st.st_rdev) != PTY_MAJOR)
		return -ENOENT;
	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_file *f = d->res->files[i];
		CK_AUTO(fd) int fd = -EBADF;
		unsigned int n = 0;

		if (f->type != &res_type_ptmx)
			continue;
		fd = res_file_borrow(d, f);
		if (fd >= 0 && ioctl(fd, TIOCGPTN, &n) == 0 && n == index)
			return ck_take_fd(&fd);
	}
	return -ENOENT;
}

/*
 * Nobody tells whether ^S or tcflow() has stopped a terminal, and the two are not the same. But one
 * that takes nothing (Linux drivers/tty/pty.c:pty_write_room()), although its reader has little to
 * read, is stopped. poll() of the master lets what is on its way arrive.
 */
static int check_stopped(struct engine_dump *d, const struct res_file *f, int master,
			 struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	struct pollfd reader = { .fd = master, .events = POLLIN };
	struct pollfd writer = { .fd = fd, .events = POLLOUT };
	int unread = 0, r;

	if (fd < 0 || poll(&writer, 1, 0) < 0 || (writer.revents & (POLLOUT | POLLHUP)))
		return 0;
	if (poll(&reader, 1, 0) < 0 || ioctl(master, FIONREAD, &unread) < 0 ||
	    unread > N_TTY_BUF / 2)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EBUSY, "the output of terminal /dev/pts/%d is stopped",
		    f->pty);
	return ck_err_hint(err, r, "let it go on, with Ctrl-Q or tcflow()");
}

int res_pty_slave_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int master = borrow_master(d, f);
	CK_AUTO(fd) int fd = -EBADF;
	int r;

	if (master < 0)
		return 0;
	f->pty = (int)minor(f->st.st_rdev);
	r = check_stopped(d, f, master, err);
	if (r < 0)
		return r;
	if (!(d->opts->flags & ENGINE_LEAVE_RUNNING))
		return 1;
	fd = res_file_peek(d, f, O_RDONLY | O_NOCTTY);
	/* The master again: what came to the slave may have been echoed. */
	if ((fd >= 0 && has_unread(fd)) || has_unread(master))
		return fail_unread((unsigned int)f->pty, err);
	return 1;
}

/* Nothing is left of it but ends of file and errors. Linux drivers/tty/tty_io.c:hung_up_tty_fops */
bool res_pty_is_hung_up(struct engine_dump *d, const struct res_file *f)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	struct winsize w;

	return major(f->st.st_rdev) == PTY_MAJOR && fd >= 0 && ioctl(fd, TIOCGWINSZ, &w) < 0 &&
	       errno == EIO;
}

/* The session and the foreground group, as the job numbers them. */
static void find_session(const struct engine_dump *d, unsigned int index, TtyInfoEntry *e)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct engine_task *t = d->tasks[i];

		if (res_tty_of(t) != makedev(PTY_MAJOR, index))
			continue;
		e->sid = (uint32_t)t->ns_sid;
		for (size_t k = 0; k < d->n_tasks; k++)
			if (d->tasks[k]->stat.pgrp == t->stat.tpgid)
				e->pgrp = (uint32_t)d->tasks[k]->ns_pgid;
		return;
	}
}

static int read_master(int fd, TtyInfoEntry *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int locked = 0, packets = 0;

	if (ioctl(fd, TIOCGPTLCK, &locked) < 0 || ioctl(fd, TIOCGPKT, &packets) < 0)
		return -errno;
	e->locked = locked != 0;
	e->packet_mode = packets != 0;
	/* The slave was open once, and is not now: reads give EIO. */
	e->has_closed = true;
	e->closed = poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
	return 0;
}

static bool is_exclusive(struct engine_dump *d, const struct res_file *f)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	int exclusive = 0;

	return fd >= 0 && ioctl(fd, TIOCGEXCL, &exclusive) == 0 && exclusive;
}

int res_pty_dump(struct engine_dump *d, const struct res_file *f, uint32_t *ret_id,
		 struct ck_err *err)
{
	bool master = f->type == &res_type_ptmx;
	CK_AUTO(fd) int fd = master ? res_file_borrow(d, f) : borrow_master(d, f);
	TtyInfoEntry e = TTY_INFO_ENTRY__INIT;
	TtyPtyEntry pty = TTY_PTY_ENTRY__INIT;
	int r;

	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot look at the master of a terminal");
	pty.index = (uint32_t)f->pty;
	e.type = TTY_TYPE__PTY;
	e.pty = &pty;
	/* CRIU has the low bit for masters. */
	e.id = *ret_id = pty.index << 1 | master;
	e.rdev = (uint32_t)f->st.st_rdev;
	find_session(d, pty.index, &e);
	e.exclusive = is_exclusive(d, f);
	r = master ? read_master(fd, &e) : 0;
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot look at the master of a terminal");
	/* Modes that are asked of the master are the slave's, Linux drivers/tty/tty_ioctl.c. */
	return res_tty_put_info(d, f, fd, &e, err);
}

/* ---- what is unread ---- */

enum { TEXT_MAX = 1 << 20 };

struct text {
	uint8_t data[TEXT_MAX];
	size_t n;
	uint32_t ends[N_TTY_BUF]; /* offsets of ends of file */
	size_t n_ends;
};

/* Until there is no more. Of a slave that reads by lines a read gives one, or 0 bytes for ^D. */
static void take(int fd, bool lines, struct text *t)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (t->n < sizeof(t->data) && poll(&p, 1, 0) == 1 && (p.revents & POLLIN)) {
		ssize_t n = read(fd, t->data + t->n, sizeof(t->data) - t->n);

		if (n < 0 || (n == 0 && (!lines || t->n_ends == CK_ARRAY_SIZE(t->ends))))
			break;
		if (n == 0)
			t->ends[t->n_ends++] = (uint32_t)t->n;
		t->n += (size_t)n;
	}
}

/* What the job would have read from the slave: whole lines, then one that is being typed. */
static void take_input(int master, struct text *t)
{
	CK_AUTO(fd) int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct kernel_termios k;

	if (fd < 0 || ioctl(fd, TCGETS, &k) < 0)
		return;
	if (k.lflag & ICANON)
		take(fd, true, t);
	k.lflag &= ~(uint32_t)ICANON;
	k.cc[VMIN] = 1;
	k.cc[VTIME] = 0;
	if (ioctl(fd, TCSETS, &k) == 0)
		take(fd, false, t);
}

static int put_text(struct image_file *out, uint32_t id, struct text *t, struct ck_err *err)
{
	TtyDataEntry e = TTY_DATA_ENTRY__INIT;

	if (!t->n && !t->n_ends)
		return 0;
	e.tty_id = id;
	e.data = (ProtobufCBinaryData){ .len = t->n, .data = t->data };
	e.ends = t->ends;
	e.n_ends = t->n_ends;
	return image_append(out, &e.base, err);
}

/* A slave that only one may open would not let us in. */
static void end_exclusive(struct engine_dump *d, int pty)
{
	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_file *f = d->res->files[i];
		CK_AUTO(fd)
		int fd = f->type == &res_type_tty && f->pty == pty ? res_file_borrow(d, f) : -EBADF;

		if (fd >= 0)
			(void)ioctl(fd, TIOCNXCL);
	}
}

static int drain(struct engine_dump *d, const struct res_file *f, struct image_file *out,
		 struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	CK_AUTO(free) struct text *t = malloc(sizeof(*t));
	uint32_t id = (uint32_t)f->pty << 1;
	int off = 0, r = 0;

	if (fd < 0 || !t)
		return ck_fail(err, CK_ERR_SYS, fd < 0 ? fd : -ENOMEM, "cannot read a terminal");
	t->n = t->n_ends = 0;
	end_exclusive(d, f->pty);
	(void)ioctl(fd, TIOCPKT, &off);
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return ck_fail_errno(err, "cannot read a terminal");
	take(fd, false, t);
	r = put_text(out, id | 1, t, err);
	t->n = t->n_ends = 0;
	take_input(fd, t);
	return r < 0 ? r : put_text(out, id, t, err);
}

int res_pty_drain(struct engine_dump *d, struct ck_err *err)
{
	struct image_file *out = NULL;
	int r = 0, r2;

	for (size_t i = 0; i < d->res->n_files && r == 0; i++) {
		const struct res_file *f = d->res->files[i];

		if (f->type != &res_type_ptmx)
			continue;
		if (!out)
			r = image_create(d->images, IMAGE_TTY_DATA, 0, &out, err);
		if (r == 0)
			r = drain(d, f, out, err);
	}
	if (!out)
		return r;
	r2 = image_file_close(out, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

/* ---- restore ---- */

static bool is_master(const TtyInfoEntry *e)
{
	return e->id & 1;
}

bool res_pty_is_ours(const struct engine_restore *r, const TtyInfoEntry *e)
{
	if (!e || e->type != TTY_TYPE__PTY || !e->pty || e->pty->index > PTY_INDEX_MAX)
		return false;
	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];

		if (f->fe->tty && f->want && f->fe->tty->tty_info_id == (e->pty->index << 1 | 1))
			return true;
	}
	return false;
}

struct res_rpty {
	const TtyInfoEntry *info;
	int fd; /* the master */
	bool taken;
};

/* Masters get the lowest free number. Ours, if that can be had by taking those below as well. */
static int open_master(struct engine_restore *r, unsigned int want, int *ret_fd, struct ck_err *err)
{
	int spare[SPARE_MASTERS], n_spare = 0, got = -EBADF, ret = 0;
	unsigned int index = 0;

	for (;;) {
		got = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (got < 0 || ioctl(got, TIOCGPTN, &index) < 0) {
			ret = ck_fail_errno(err, "cannot make a pseudo terminal");
			break;
		}
		if (index >= want || n_spare == SPARE_MASTERS)
			break;
		spare[n_spare++] = got;
	}
	if (ret == 0 && index != want)
		engine_note(r, "terminal /dev/pts/%u is /dev/pts/%u now", want, index);
	while (n_spare)
		close(spare[--n_spare]);
	if (ret < 0 && got >= 0)
		close(got);
	if (ret == 0)
		*ret_fd = got;
	return ret;
}

static int get_pair(struct engine_restore *r, const TtyInfoEntry *e, struct res_rpty **ret,
		    struct ck_err *err)
{
	struct res_restore *res = r->res;
	struct res_rpty *grown, *p;
	int unlock = 0, rc;

	for (size_t i = 0; i < res->n_ptys; i++)
		if (res->ptys[i].info->pty->index == e->pty->index) {
			*ret = &res->ptys[i];
			return 0;
		}
	grown = reallocarray(res->ptys, res->n_ptys + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a terminal");
	res->ptys = grown;
	p = &grown[res->n_ptys];
	*p = (struct res_rpty){ .info = res_tty_info(r, e->pty->index << 1 | 1), .fd = -EBADF };
	rc = open_master(r, e->pty->index, &p->fd, err);
	if (rc < 0)
		return rc;
	res->n_ptys++;
	if (ioctl(p->fd, TIOCSPTLCK, &unlock) < 0)
		return ck_fail_errno(err, "cannot unlock a pseudo terminal");
	*ret = p;
	return 0;
}

/* Linux fs/open.c:dentry_open(): O_CLOEXEC would stay in the description. */
static int open_slave(int master, uint32_t flags)
{
	int fd = ioctl(master, TIOCGPTPEER, (int)(flags & O_ACCMODE) | O_NOCTTY);

	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

int res_pty_open_hung_up(struct engine_restore *r, const TtyFileEntry *f, int *ret_fd,
			 struct ck_err *err)
{
	const TtyInfoEntry *e = res_tty_info(r, f->tty_info_id);
	CK_AUTO(fd) int master = -EBADF;
	CK_AUTO(fd) int fd = -EBADF;
	int unlock = 0, ret;

	if (!e || !e->pty || e->pty->index > PTY_INDEX_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a terminal has no number");
	ret = open_master(r, e->pty->index, &master, err);
	if (ret < 0)
		return ret;
	if (ioctl(master, TIOCSPTLCK, &unlock) == 0)
		fd = open_slave(master, f->flags);
	if (fd < 0)
		return ck_fail_errno(err, "cannot open terminal %u", e->pty->index);
	ret = res_set_status(fd, f->flags, err);
	if (ret == 0)
		*ret_fd = ck_take_fd(&fd);
	return ret;
}

int res_pty_open(struct engine_restore *r, const TtyFileEntry *f, const TtyInfoEntry *e,
		 int *ret_fd, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct res_rpty *p = NULL;
	int ret = get_pair(r, e, &p, err);

	if (ret < 0)
		return ret;
	if (!is_master(e)) {
		fd = open_slave(p->fd, f->flags);
	} else if (!p->taken) {
		p->taken = true;
		fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 3);
	} else {
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "terminal %u has two masters",
			       e->pty->index);
	}
	if (fd < 0)
		return ck_fail_errno(err, "cannot open terminal %u", e->pty->index);
	ret = res_set_status(fd, f->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static const TtyDataEntry *text_for(const struct engine_restore *r, uint32_t id)
{
	for (size_t i = 0; i < r->res->tty_data.n; i++) {
		const TtyDataEntry *e = (const TtyDataEntry *)r->res->tty_data.m[i];

		if (e->tty_id == id)
			return e;
	}
	return NULL;
}

/* A byte that does not occur in the text can stand for its ends. -1 if all do. */
static int unused_byte(const TtyDataEntry *e)
{
	bool seen[256] = { [0] = true, ['\n'] = true };

	for (size_t i = 0; i < e->data.len; i++)
		seen[e->data.data[i]] = true;
	for (int c = 1; c < 256; c++)
		if (!seen[c])
			return c;
	return -1;
}

static bool put(int fd, const void *data, size_t len)
{
	return len == 0 || write(fd, data, len) == (ssize_t)len;
}

/* Writes a text to the other side of who will read it, and waits until it has arrived. */
static int refill(int to, int reader, const TtyDataEntry *e, int end)
{
	struct pollfd p = { .fd = reader, .events = POLLIN };
	size_t done = 0;
	uint8_t c = (uint8_t)end;

	for (size_t i = 0; i < e->n_ends; i++) {
		if (e->ends[i] < done || e->ends[i] > e->data.len)
			return -EINVAL;
		if (!put(to, e->data.data + done, e->ends[i] - done) ||
		    (end > 0 && !put(to, &c, 1)))
			return -EIO;
		done = e->ends[i];
	}
	if (!put(to, e->data.data + done, e->data.len - done))
		return -EIO;
	(void)poll(&p, 1, 0); /* see has_unread() */
	return 0;
}

/* Bytes are to arrive as they are: no echo, no translation, no meaning but that of the line's end.
 */
static int set_plain(int master, const struct kernel_termios *final, int end)
{
	struct kernel_termios t = { .cflag = final->cflag, .lflag = final->lflag & ICANON };

	if (t.lflag) {
		t.cc[VEOF] = (uint8_t)(end > 0 ? end : 0);
		t.cc[VEOL] = final->cc[VEOL];
		t.cc[VEOL2] = final->cc[VEOL2];
	} else {
		t.cc[VMIN] = 1;
	}
	return ioctl(master, TCSETS, &t);
}

/* Unread text of both sides. Final modes are set afterwards. */
static int put_back(struct engine_restore *r, const struct res_rpty *p,
		    const struct kernel_termios *final, struct ck_err *err)
{
	uint32_t index = p->info->pty->index;
	const TtyDataEntry *in = text_for(r, index << 1), *out = text_for(r, index << 1 | 1);
	CK_AUTO(fd) int slave = -EBADF;
	int end = in ? unused_byte(in) : 0, ret = 0;

	if (!in && !out && !(p->info->has_closed && p->info->closed))
		return 0;
	slave = ioctl(p->fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (slave < 0 || set_plain(p->fd, final, end) < 0)
		return ck_fail_errno(err, "cannot open terminal %u", index);
	if (out)
		ret = refill(slave, p->fd, out, 0);
	if (ret == 0 && in)
		ret = refill(p->fd, slave, in, end);
	return ret < 0 ? ck_fail(err, CK_ERR_SYS, ret, "cannot put back the text in terminal %u",
				 index)
		       : 0;
}

static int set_up(struct engine_restore *r, const struct res_rpty *p, struct ck_err *err)
{
	const TtyInfoEntry *e = p->info;
	struct kernel_termios t;
	int on = 1, ret;

	if (!res_tty_termios(e->termios, &t) && ioctl(p->fd, TCGETS, &t) < 0)
		return ck_fail_errno(err, "cannot read the modes of terminal %u", e->pty->index);
	ret = put_back(r, p, &t, err);
	if (ret < 0)
		return ret;
	if (ioctl(p->fd, TCSETS, &t) < 0)
		return ck_fail_errno(err, "cannot set the modes of terminal %u", e->pty->index);
	if (e->winsize) {
		struct winsize w = { (unsigned short)e->winsize->ws_row,
				     (unsigned short)e->winsize->ws_col,
				     (unsigned short)e->winsize->ws_xpixel,
				     (unsigned short)e->winsize->ws_ypixel };

		if (ioctl(p->fd, TIOCSWINSZ, &w) < 0)
			return ck_fail_errno(err, "cannot set the size of terminal %u",
					     e->pty->index);
	}
	if ((e->packet_mode && ioctl(p->fd, TIOCPKT, &on) < 0) ||
	    (e->locked && ioctl(p->fd, TIOCSPTLCK, &on) < 0))
		return ck_fail_errno(err, "cannot set up terminal %u", e->pty->index);
	return 0;
}

/* When everything is open: from then on only a privileged process may open it once more. */
static int set_exclusive(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		const TtyInfoEntry *e = f->slot >= 0 && f->inherit < 0 && f->fe->tty
						? res_tty_info(r, f->fe->tty->tty_info_id)
						: NULL;

		if (e && e->exclusive && f->fd >= 0 && ioctl(f->fd, TIOCEXCL) < 0)
			return ck_fail_errno(err, "cannot make terminal %u exclusive",
					     e->pty->index);
	}
	return 0;
}

int res_ptys_finish(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_ptys && ret == 0; i++)
		ret = set_up(r, &r->res->ptys[i], err);
	if (ret == 0)
		ret = set_exclusive(r, err);
	res_rptys_done(r);
	return ret;
}

void res_rptys_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->res->n_ptys; i++)
		close(r->res->ptys[i].fd);
	free(r->res->ptys);
	r->res->ptys = NULL;
	r->res->n_ptys = 0;
}

/* The slave that belongs to a session of the job, and is open. */
static const struct res_rfile *terminal_of(const struct engine_restore *r, uint32_t sid,
					   const TtyInfoEntry **ret)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		const TtyInfoEntry *e = f->slot >= 0 && f->fe->tty
						? res_tty_info(r, f->fe->tty->tty_info_id)
						: NULL;

		if (e && e->sid == sid && !is_master(e) && res_pty_is_ours(r, e)) {
			*ret = e;
			return f;
		}
	}
	return NULL;
}

/* Children inherit it, so it is taken before they are made. */
void res_ctty_plan(const struct engine_restore *r, const struct engine_rtask *t)
{
	const TtyInfoEntry *e;
	const struct res_rfile *f = terminal_of(r, t->ps->sid, &e);

	if (f && t->ps->sid == t->ps->pid)
		script_syscall(t->script, SCRIPT_OK, SYS_ioctl, (uint64_t)(r->res->base + f->slot),
			       TIOCSCTTY, 0, 0, 0, 0, "take terminal %u for the session",
			       e->pty->index);
}

/* When all groups exist. Signals are blocked, so that a background task may do it. */
void res_foreground_plan(const struct engine_restore *r, const struct engine_rtask *t)
{
	const TtyInfoEntry *e;
	const struct res_rfile *f = terminal_of(r, t->ps->sid, &e);
	int32_t group;

	if (!f || t->ps->sid != t->ps->pid || !e->pgrp)
		return;
	group = (int32_t)e->pgrp;
	script_syscall(t->script, SCRIPT_OK, SYS_ioctl, (uint64_t)(r->res->base + f->slot),
		       TIOCSPGRP, script_data(t->script, &group, sizeof(group)), 0, 0, 0,
		       "put process group %u into the foreground", e->pgrp);
}

static bool never_owns(const FileEntry *fe)
{
	(void)fe;
	return false; /* entries of masters are tty.c's, as those of all terminals */
}

const struct res_type res_type_ptmx = {
	.name = "the master of a pseudo terminal",
	.fd_type = FD_TYPES__TTY,
	.match = ptmx_match,
	.look = ptmx_look,
	.dump = res_tty_dump,
	.owns = never_owns,
};
