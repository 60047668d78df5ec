// SPDX-License-Identifier: Apache-2.0
/*
 * Pseudo terminals of which the job has both sides: a master and what is open of its slave. (A
 * slave whose master is somebody else's is the user's terminal: tty.c, to which slaves of both
 * sorts belong.) The pair is made anew, under its number if that is free.
 *
 * What was written and not yet read can't be looked at without taking it: a terminal with unread
 * text is not dumped, but tried again. A line that is being typed is not seen by anybody before its
 * end, and is lost.
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
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"
#include "engine/res/tty.h"

enum { SPARE_MASTERS = 64 }; /* numbers to pass over on the way to the one we want */

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
		return ck_err_hint(err, r, "the system call pidfd_getfd is needed for it");
	}
	if (ioctl(fd, TIOCGPTN, &index) < 0)
		return ck_fail_errno(err, "cannot look at the master of a pseudo terminal");
	if (index > PTY_INDEX_MAX)
		return ck_fail(err, CK_ERR_REFUSED, -ERANGE, "a pseudo terminal has the number %u",
			       index);
	if (has_unread(fd))
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

int res_pty_slave_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int master = borrow_master(d, f);
	CK_AUTO(fd) int fd = -EBADF;

	if (master < 0)
		return 0;
	f->pty = (int)minor(f->st.st_rdev);
	fd = res_file_peek(d, f, O_RDONLY | O_NOCTTY);
	/* The master again: what came to the slave may have been echoed. */
	if ((fd >= 0 && has_unread(fd)) || has_unread(master))
		return fail_unread((unsigned int)f->pty, err);
	return 1;
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
	r = master ? read_master(fd, &e) : 0;
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot look at the master of a terminal");
	/* What is asked of the master is answered for the slave, Linux drivers/tty/tty_ioctl.c. */
	return res_tty_put_info(d, f, fd, &e, err);
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

int res_pty_open(struct engine_restore *r, const TtyFileEntry *f, const TtyInfoEntry *e,
		 int *ret_fd, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct res_rpty *p = NULL;
	int ret = get_pair(r, e, &p, err);

	if (ret < 0)
		return ret;
	if (!is_master(e)) {
		fd = ioctl(p->fd, TIOCGPTPEER, (int)(f->flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC);
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

static int set_up(const struct res_rpty *p, struct ck_err *err)
{
	const TtyInfoEntry *e = p->info;
	struct kernel_termios t;
	int on = 1;

	if (e->has_closed && e->closed) {
		/* Only who opens it can close it. */
		int slave = ioctl(p->fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

		if (slave < 0)
			return ck_fail_errno(err, "cannot open terminal %u", e->pty->index);
		close(slave);
	}
	if (res_tty_termios(e->termios, &t) && ioctl(p->fd, TCSETS, &t) < 0)
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

int res_ptys_finish(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_ptys && ret == 0; i++)
		ret = set_up(&r->res->ptys[i], err);
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
