// SPDX-License-Identifier: Apache-2.0
/*
 * Terminals. The job's terminal stays behind: on restore it gets the caller's, with the modes
 * (termios) that it had set. So it is dumped only if the user says that this is meant. The entries
 * are CRIU's for --shell-job. Pseudo terminals that the job itself has made go with it: pty.c.
 */
#include <errno.h>
#include <fcntl.h>
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

/* Which devices are terminals, and what an image calls them: Documentation/admin-guide/devices.txt.
 * The number of a terminal that is one of a kind is CRIU's. */
static const struct {
	unsigned int major, first, last;
	TtyType type;
	unsigned int index;
} ttys[] = {
	{ 4, 0, 63, TTY_TYPE__VT, 1004 },
	{ 4, 64, 255, TTY_TYPE__SERIAL, 1010 },
	{ 5, 0, 0, TTY_TYPE__CTTY, 1006 },
	{ 5, 1, 1, TTY_TYPE__CONSOLE, 1002 },
	{ 136, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 137, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 138, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 139, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 140, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 141, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 142, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 143, 0, 0xfffff, TTY_TYPE__PTY, 0 },
	{ 188, 0, 0xfffff, TTY_TYPE__SERIAL, 1010 },
	{ 204, 0, 0xfffff, TTY_TYPE__SERIAL, 1010 },
	{ 229, 0, 0xfffff, TTY_TYPE__SERIAL, 1010 },
};

static int tty_row(dev_t rdev)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(ttys); i++)
		if (major(rdev) == ttys[i].major && minor(rdev) >= ttys[i].first &&
		    minor(rdev) <= ttys[i].last)
			return (int)i;
	return -1;
}

/* ---- dump ---- */

static bool tty_match(const struct engine_fd *fd)
{
	return S_ISCHR(fd->st.st_mode) && fd->link[0] == '/' && tty_row(fd->st.st_rdev) >= 0;
}

static int tty_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	int r = res_pty_slave_look(d, f, err);

	if (r < 0)
		return r;
	if (r == 0)
		f->hung_up = res_pty_is_hung_up(d, f);
	if (r == 0 && !f->hung_up && !(d->opts->flags & ENGINE_DUMP_SHELL_JOB)) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a terminal (%s)",
			    f->link);
		return ck_err_hint(err, r, "use --shell-job, and restore it from a terminal");
	}
	f->name = strdup(f->link);
	if (!f->name)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	/* A terminal that was closed on its other side; what it was called is for the reader. */
	res_name_strip_deleted(f->name);
	if (f->pty < 0 && !f->hung_up)
		f->inherit = f->stdio >= 0 ? f->stdio : 0;
	return res_fown_look(d, f, err);
}

static int termios_entry(TermiosEntry *e, const struct kernel_termios *t, uint32_t cc[19])
{
	termios_entry__init(e);
	e->c_iflag = t->iflag;
	e->c_oflag = t->oflag;
	e->c_cflag = t->cflag;
	e->c_lflag = t->lflag;
	e->c_line = t->line;
	for (size_t i = 0; i < sizeof(t->cc); i++)
		cc[i] = t->cc[i];
	e->c_cc = cc;
	e->n_c_cc = sizeof(t->cc);
	return 0;
}

dev_t res_tty_of(const struct engine_task *t)
{
	unsigned int nr = (unsigned int)t->stat.tty_nr; /* Linux new_encode_dev() */

	return makedev(nr >> 8 & 0xfff, (nr & 0xff) | (nr >> 12 & 0xfff00));
}

/* Session and foreground group, as the job numbers them, if it is the task's controlling terminal.
 */
static void find_session(const struct engine_dump *d, const struct res_file *f, TtyInfoEntry *e)
{
	const struct engine_task *t = f->task;

	if (res_tty_of(t) != f->st.st_rdev)
		return;
	e->sid = (uint32_t)t->ns_sid;
	for (size_t i = 0; i < d->n_tasks; i++)
		if (d->tasks[i]->stat.pgrp == t->stat.tpgid)
			e->pgrp = (uint32_t)d->tasks[i]->ns_pgid;
}

static int put_modes(struct engine_dump *d, int fd, TtyInfoEntry *e, struct ck_err *err)
{
	TermiosEntry termios, locked;
	WinsizeEntry winsize = WINSIZE_ENTRY__INIT;
	struct kernel_termios t = { .iflag = 0 }, l = { .iflag = 0 };
	uint32_t cc[19], lcc[19];
	struct winsize w;
	int r;

	/* One that was hung up can't be opened: the image says no more of it. */
	if (fd >= 0 && ioctl(fd, TCGETS, &t) == 0 && ioctl(fd, TIOCGLCKTRMIOS, &l) == 0 &&
	    ioctl(fd, TIOCGWINSZ, &w) == 0) {
		termios_entry(&termios, &t, cc);
		termios_entry(&locked, &l, lcc);
		winsize.ws_row = w.ws_row;
		winsize.ws_col = w.ws_col;
		winsize.ws_xpixel = w.ws_xpixel;
		winsize.ws_ypixel = w.ws_ypixel;
		e->termios = &termios;
		e->termios_locked = &locked;
		e->winsize = &winsize;
	}
	r = res_put(d, RES_OUT_TTY_INFO, &e->base, err);
	e->termios = e->termios_locked = NULL;
	e->winsize = NULL;
	return r;
}

int res_tty_put_info(struct engine_dump *d, const struct res_file *f, int fd, TtyInfoEntry *e,
		     struct ck_err *err)
{
	uint32_t *grown;

	for (size_t i = 0; i < d->res->n_ttys; i++)
		if (d->res->tty_ids[i] == e->id)
			return 0;
	grown = reallocarray(d->res->tty_ids, d->res->n_ttys + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a terminal");
	d->res->tty_ids = grown;
	grown[d->res->n_ttys++] = e->id;
	e->has_dev = true;
	e->dev = (uint32_t)f->st.st_dev;
	e->has_uid = e->has_gid = true;
	e->uid = f->st.st_uid;
	e->gid = f->st.st_gid;
	return put_modes(d, fd, e, err);
}

static int put_info(struct engine_dump *d, const struct res_file *f, uint32_t *ret_id,
		    struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_peek(d, f, (int)(f->flags & O_ACCMODE) | O_NOCTTY);
	TtyInfoEntry e = TTY_INFO_ENTRY__INIT;
	TtyPtyEntry pty = TTY_PTY_ENTRY__INIT;
	const int row = tty_row(f->st.st_rdev);

	pty.index = minor(f->st.st_rdev);
	e.type = ttys[row].type;
	/* CRIU has the low bit for masters. */
	e.id = *ret_id = (e.type == TTY_TYPE__PTY ? pty.index : ttys[row].index) << 1;
	/* Its number may be that of another terminal by now. */
	if (f->hung_up)
		e.id = *ret_id |= (PTY_INDEX_MAX + 1) << 1;
	e.rdev = (uint32_t)f->st.st_rdev;
	if (e.type == TTY_TYPE__PTY)
		e.pty = &pty;
	find_session(d, f, &e);
	return res_tty_put_info(d, f, fd, &e, err);
}

int res_tty_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	TtyFileEntry e = TTY_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int r;

	e.id = f->id;
	e.flags = f->flags;
	e.fown = &f->fown;
	e.has_regf_id = true;
	e.regf_id = res_id_new(d);
	e.has_hung_up = e.hung_up = f->hung_up;
	e.has_inherit = f->inherit >= 0;
	e.inherit = e.has_inherit ? (uint32_t)f->inherit : 0;
	r = res_put_reg(d, f, e.regf_id, err);
	if (r == 0)
		r = f->pty >= 0 ? res_pty_dump(d, f, &e.tty_info_id, err)
				: put_info(d, f, &e.tty_info_id, err);
	if (r < 0)
		return r;
	fe.type = FD_TYPES__TTY;
	fe.id = f->id;
	fe.tty = &e;
	return res_put_file(d, &fe, err);
}

static int tty_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	(void)err;
	if (f->pty < 0 && !f->hung_up)
		d->needs.has_terminal = d->needs.terminal = true;
	return 0;
}

/* ---- restore ---- */

static bool tty_owns(const FileEntry *fe)
{
	return fe->tty != NULL;
}

static int tty_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const TtyFileEntry *e = f->fe->tty;
	int ret;

	if (e->hung_up || (!e->has_inherit && res_pty_is_ours(r, res_tty_info(r, e->tty_info_id))))
		return 0;
	if (!(r->opts->flags & ENGINE_RESTORE_SHELL_JOB)) {
		ret = ck_fail(err, CK_ERR_HOST, -ENOTTY, "the job had a terminal");
		return ck_err_hint(err, ret, "use --shell-job to give it the one you are in");
	}
	if (e->has_inherit && e->inherit > 2)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "a terminal is to be inherited from descriptor %u", e->inherit);
	f->inherit = e->has_inherit ? (int)e->inherit : f->stdio >= 0 ? f->stdio : 0;
	return 0;
}

static int tty_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd, struct ck_err *err)
{
	if (f->fe->tty->hung_up)
		return res_pty_open_hung_up(r, f->fe->tty, ret_fd, err);
	if (f->inherit < 0)
		return res_pty_open(r, f->fe->tty, res_tty_info(r, f->fe->tty->tty_info_id), ret_fd,
				    err);
	return res_inherit_open(f->inherit, RES_INHERIT_TTY, f->fe->tty->flags, ret_fd, err);
}

const TtyInfoEntry *res_tty_info(const struct engine_restore *r, uint32_t id)
{
	for (size_t i = 0; i < r->res->tty_infos.n; i++) {
		const TtyInfoEntry *e = (const TtyInfoEntry *)r->res->tty_infos.m[i];

		if (e->id == id)
			return e;
	}
	return NULL;
}

bool res_tty_termios(const TermiosEntry *e, struct kernel_termios *ret)
{
	if (!e || e->n_c_cc < sizeof(ret->cc))
		return false;
	*ret = (struct kernel_termios){ e->c_iflag, e->c_oflag,         e->c_cflag,
					e->c_lflag, (uint8_t)e->c_line, { 0 } };
	for (size_t c = 0; c < sizeof(ret->cc); c++)
		ret->cc[c] = (uint8_t)e->c_cc[c];
	return true;
}

/* The root task sets the modes, when nothing can fail any more but itself: the terminal is the
 * caller's until then. A terminal that refuses is no reason to fail. */
void res_tty_plan(const struct engine_restore *r, const struct engine_rtask *t)
{
	uint32_t done = UINT32_MAX;

	for (size_t i = 0; t == &r->tasks[0] && i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		const TtyFileEntry *e = f->slot >= 0 && f->inherit >= 0 ? f->fe->tty : NULL;
		const TtyInfoEntry *info =
			e && e->tty_info_id != done ? res_tty_info(r, e->tty_info_id) : NULL;
		struct kernel_termios k;

		if (!info || !res_tty_termios(info->termios, &k))
			continue;
		done = e->tty_info_id;
		script_syscall(t->script, SCRIPT_ANY, SYS_ioctl, (uint64_t)(r->res->base + f->slot),
			       TCSETS, script_data(t->script, &k, sizeof(k)), 0, 0, 0,
			       "set the modes of the terminal");
	}
}

static const FownEntry *tty_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->tty->fown;
}

const struct res_type res_type_tty = {
	.name = "a terminal",
	.fd_type = FD_TYPES__TTY,
	.match = tty_match,
	.look = tty_look,
	.dump = res_tty_dump,
	.needs = tty_needs,
	.owns = tty_owns,
	.load = tty_load,
	.open = tty_open,
	.fown = tty_fown,
	.finish = res_ptys_finish,
};
