// SPDX-License-Identifier: Apache-2.0
/*
 * Unix sockets, as they are looked at and written: streams, datagrams and sequenced packets; bound
 * to a path, to an abstract name or to nothing; listening with connections that wait; connected
 * within the job, or to an end that is gone. A datagram socket may send to a named one outside of
 * the job, such as /dev/log, which is found again by its name. A stream that is standard input or
 * output (sshd makes such) is the caller's after the restore, as a pipe would be. Any other
 * connection to outside is refused, or else its end is gone after the restore, as the user wishes.
 * How sockets are made again is in unix-open.c.
 *
 * What SO_PEERCRED tells of a connection is who made it: after a restore, that is ckpt.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum { PATH_AT = offsetof(struct sockaddr_un, sun_path) };

static bool is_path(const struct sock_addr *a)
{
	return a->len > PATH_AT && a->un.sun_path[0];
}

/* ---- look ---- */

/* Its absolute name; a relative one is looked for where the task stands. */
static int path_of(const struct res_sock *s, char **ret)
{
	CK_AUTO(free) char *cwd = NULL;
	char name[sizeof(s->name.un.sun_path) + 1];
	int r;

	snprintf(name, sizeof(name), "%.*s", (int)(s->name.len - PATH_AT), s->name.un.sun_path);
	if (name[0] == '/') {
		*ret = strdup(name);
		return *ret ? 0 : -ENOMEM;
	}
	r = ck_readlink_at(s->f->task->dirfd, "cwd", &cwd);
	if (r < 0)
		return r;
	return asprintf(ret, "%s/%s", cwd, name) < 0 ? -ENOMEM : 0;
}

static int look_path(struct res_sock *s, const struct sock_diag *diag, struct ck_err *err)
{
	CK_AUTO(free) char *path = NULL;
	int r = path_of(s, &path);

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot find the path of a socket");
	/* Linux net/unix/diag.c:sk_diag_dump_vfs(): 32 bits of the inode's number */
	s->deleted = !diag->has_vfs || res_name_stat(s->f->task, path, &s->file) < 0 ||
		     !S_ISSOCK(s->file.st_mode) || (uint32_t)s->file.st_ino != diag->vfs_ino;
	return 0;
}

static bool has_error(int fd)
{
	struct pollfd p = { .fd = fd };

	/* Linux net/unix/af_unix.c:unix_poll() */
	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

int res_sock_unix_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err)
{
	const struct sock_diag *diag;
	struct res_sock *s;
	int r;

	f->type = &res_type_unix;
	r = res_sock_look(d, f, fd, err);
	if (r < 0)
		return r;
	s = f->sock;
	r = res_sock_diag_unix(d, s->ino, &diag, err);
	if (r < 0)
		return r;
	if (!diag) {
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a Unix socket of another network namespace");
		return ck_err_hint(err, r, "run ckpt in the network namespace of the job");
	}
	s->state = diag->state;
	s->peer = diag->peer;
	s->shutdown = diag->shutdown & SK_SHUTDOWN__BOTH;
	if (s->state == SOCK_LISTENING)
		s->backlog = diag->wqueue;
	s->orphan = s->state == SOCK_ESTABLISHED && !s->peer;
	s->opts.has_so_error = s->opts.so_error = s->orphan && has_error(fd);
	return is_path(&s->name) ? look_path(s, diag, err) : 0;
}

/* ---- settle: who belongs to whom ---- */

static int fail_outside(const struct res_sock *s, uint32_t other, const char *what,
			struct ck_err *err)
{
	char who[200], name[160];
	int r;

	res_sock_holder(other, who, sizeof(who));
	res_sock_addr_text(s->state == SOCK_LISTENING ? &s->name : &s->peer_name, name,
			   sizeof(name));
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump %s (%s): %s has it", what, name,
		    who);
	return ck_err_hint(err, r,
			   "dump that process too, or use --unix=close: then the job finds the "
			   "connection closed after the restore");
}

/* What a client wrote to a connection that nobody has accepted can be read by nobody. */
static int settle_client(struct engine_dump *d, struct res_sock *s, struct res_sock *listening,
			 uint32_t place, struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, s->f);
	int unread = 0, r;

	if (fd < 0 || ioctl(fd, SIOCOUTQ, &unread) < 0)
		return ck_fail(err, CK_ERR_SYS, fd < 0 ? fd : -errno,
			       "cannot look at a connection that waits to be accepted");
	if (unread) {
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump what was sent to a connection that is not accepted yet");
		r = ck_err_hint(err, r, "try again when the job has accepted it");
		return res_err_at_file(s->f, err, r);
	}
	s->orphan = false;
	s->peer = listening->ino;
	s->pending = place;
	return 0;
}

static int settle_listening(struct engine_dump *d, struct res_sock *s, struct ck_err *err)
{
	const struct sock_diag *diag;
	int r = res_sock_diag_unix(d, s->ino, &diag, err);

	for (size_t i = 0; diag && i < diag->n_icons && r == 0; i++) {
		struct res_sock *client = res_sock_by_ino(d, AF_UNIX, diag->icons[i]);

		if (client)
			r = settle_client(d, client, s, (uint32_t)i + 1, err);
		else if (d->opts->unix_sockets == ENGINE_OUTSIDE_REFUSE)
			r = fail_outside(s, diag->icons[i],
					 "a listening socket to which a client outside of the job "
					 "waits to be connected",
					 err);
	}
	return r;
}

/* The caller's takes its place, with what it has to say. */
static int settle_stdio(struct res_sock *s, struct ck_err *err)
{
	int r;

	s->f->inherit = s->f->stdio;
	s->peer = 0;
	if (!s->n_q)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump what was sent to the job by the socket that is its standard "
		    "input, and that it has not read");
	return ck_err_hint(err, r, "try again when the job has read it");
}

static int settle_peer(struct engine_dump *d, struct res_sock *s, struct ck_err *err)
{
	if (!s->peer || s->pending || res_sock_by_ino(d, AF_UNIX, s->peer))
		return 0;
	if (s->type == SOCK_DGRAM && is_path(&s->peer_name)) {
		s->peer = 0; /* to be found by its name */
		return 0;
	}
	if (s->f->stdio >= 0 && s->type == SOCK_STREAM)
		return settle_stdio(s, err);
	if (d->opts->unix_sockets == ENGINE_OUTSIDE_REFUSE)
		return fail_outside(s, s->peer,
				    "a Unix socket that is connected to outside of the job", err);
	s->peer = 0;
	s->orphan = true;
	return 0;
}

int res_unix_settle(struct engine_dump *d, struct ck_err *err)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < d->res->n_files; i++) {
			struct res_sock *s = d->res->files[i]->sock;
			int r = 0;

			if (!s || s->family != AF_UNIX)
				continue;
			if (pass == 0 && s->state == SOCK_LISTENING)
				r = settle_listening(d, s, err);
			else if (pass == 1)
				r = settle_peer(d, s, err);
			if (r < 0)
				return res_err_at_file(s->f, err, r);
		}
	return 0;
}

/* ---- dump ---- */

static void put_name(const struct sock_addr *a, ProtobufCBinaryData *ret)
{
	if (a->len <= PATH_AT)
		return;
	ret->data = (uint8_t *)(uintptr_t)a->un.sun_path;
	ret->len = a->len - PATH_AT;
}

static int unix_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	FilePermsEntry perms = FILE_PERMS_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	CK_AUTO(free) char *cwd = NULL;
	const struct res_sock *s = f->sock;
	int r;

	e.id = f->id;
	e.ino = s->ino;
	e.type = (uint32_t)s->type;
	e.state = s->state;
	e.flags = f->flags;
	e.backlog = s->backlog;
	e.peer = s->peer;
	e.fown = &f->fown;
	e.opts = (SkOptsEntry *)(uintptr_t)&s->opts;
	put_name(&s->name, &e.name);
	e.has_shutdown = s->shutdown != 0;
	e.shutdown = (SkShutdown)s->shutdown;
	e.has_orphan = e.orphan = s->orphan;
	e.has_pending = s->pending != 0;
	e.pending = s->pending;
	e.has_inherit = f->inherit >= 0;
	e.inherit = e.has_inherit ? (uint32_t)f->inherit : 0;
	e.uflags = e.has_inherit ? SOCK_EXTERN : 0;
	if (is_path(&s->name)) {
		e.has_deleted = true;
		e.deleted = s->deleted;
		if (!s->deleted) {
			perms.mode = s->file.st_mode;
			perms.uid = s->file.st_uid;
			perms.gid = s->file.st_gid;
			e.file_perms = &perms;
		}
		if (s->name.un.sun_path[0] != '/') {
			r = ck_readlink_at(f->task->dirfd, "cwd", &cwd);
			if (r < 0)
				return ck_fail(err, CK_ERR_SYS, r, "cannot read where a task is");
			e.name_dir = cwd;
		}
	}
	if (s->state == SOCK_ESTABLISHED && !s->peer && s->peer_name.len > PATH_AT) {
		e.has_peer_name = true;
		put_name(&s->peer_name, &e.peer_name);
	}
	fe.type = FD_TYPES__UNIXSK;
	fe.id = f->id;
	fe.usk = &e;
	r = res_put_file(d, &fe, err);
	return r < 0 ? r : res_sock_queue_dump(d, s, err);
}

static int unix_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return f->inherit < 0 ? 0 : res_need_inherit(d, f->inherit, err);
}

/* ---- restore: see unix-open.c ---- */

static bool unix_owns(const FileEntry *fe)
{
	return fe->usk != NULL;
}

static const FownEntry *unix_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->usk->fown;
}

const struct res_type res_type_unix = {
	.name = "a Unix socket",
	.fd_type = FD_TYPES__UNIXSK,
	.dump = unix_dump,
	.needs = unix_needs,
	.owns = unix_owns,
	.load = res_sock_unix_load,
	.open = res_sock_unix_open,
	.fown = unix_fown,
	.finish = res_sock_unix_finish,
};
