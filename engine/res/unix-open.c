// SPDX-License-Identifier: Apache-2.0
/*
 * Makes Unix sockets again, all of them when the first is opened, for their ends belong together:
 *
 *  1. Datagram sockets that send to a nameless one came from socketpair(2), and do so again.
 *  2. Every socket that others reach by its name is bound, and they are connected to it: first
 * those whose path leads elsewhere by now, which lose it again at once. A connection that was
 * accepted has the name of the socket that accepted it, also after that was closed: another takes
 * its place meanwhile.
 *  3. Other connections come from socketpair(2). For an end that is gone, one is made.
 *
 * When all files are open: messages are sent again by who sent them, directions are shut, ends that
 * are gone go, options are set.
 *
 * A socket file that a killed job left behind is replaced; one that somebody listens to is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum { PATH_AT = offsetof(struct sockaddr_un, sun_path) };

struct res_runix {
	struct res_rfile *f;
	const UnixSkEntry *e;
	struct res_runix *peer; /* in the job; of a pending one, who listens */
	int fd;                 /* until open() hands it over */
	int gone;               /* the end that is gone, until finish */
	bool made;
};

static void get_name(const ProtobufCBinaryData *name, struct sock_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->un.sun_family = AF_UNIX;
	memcpy(ret->un.sun_path, name->data, name->len);
	ret->len = (socklen_t)(PATH_AT + name->len);
}

static bool same_name(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && a->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool is_stream(const UnixSkEntry *e)
{
	return e->type != SOCK_DGRAM;
}

static bool is_connected(const UnixSkEntry *e)
{
	return e->state == SOCK_ESTABLISHED;
}

/* ---- load ---- */

static int check(const UnixSkEntry *e, struct ck_err *err)
{
	if (e->type != SOCK_STREAM && e->type != SOCK_DGRAM && e->type != SOCK_SEQPACKET)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a Unix socket is of type %u", e->type);
	if (e->state != SOCK_ESTABLISHED && e->state != SOCK_CLOSED &&
	    !(e->state == SOCK_LISTENING && is_stream(e)))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a Unix socket is in state %u",
			       e->state);
	if (e->name.len > sizeof(((struct sockaddr_un *)0)->sun_path) ||
	    (e->has_peer_name && e->peer_name.len > sizeof(((struct sockaddr_un *)0)->sun_path)) ||
	    (e->state == SOCK_LISTENING && e->name.len == 0) || e->backlog > INT32_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the name of a Unix socket makes no sense");
	if (e->has_inherit && e->inherit > 2)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "a Unix socket is to be inherited from descriptor %u", e->inherit);
	if (e->has_shutdown && e->shutdown > SK_SHUTDOWN__BOTH)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the shutdown of a Unix socket makes no sense");
	if (e->uflags && !(e->has_inherit && e->uflags == SOCK_EXTERN))
		return ck_fail(err, CK_ERR_IMAGE, -EOPNOTSUPP,
			       "a Unix socket was dumped as external");
	return res_sock_common_check(e->opts, err);
}

int res_sock_unix_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const UnixSkEntry *e = f->fe->usk;
	struct res_restore *res = r->res;
	struct res_runix *grown;
	int ret = check(e, err);

	if (ret < 0)
		return ret;
	if (e->has_inherit) {
		f->inherit = (int)e->inherit;
		return 0;
	}
	grown = reallocarray(res->unix_socks, res->n_unix + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a socket");
	res->unix_socks = grown;
	grown[res->n_unix++] = (struct res_runix){ .f = f, .e = e, .fd = -EBADF, .gone = -EBADF };
	return res_sock_queue_load(r, e->id, err);
}

void res_runix_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->res->n_unix; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		if (s->fd >= 0)
			close(s->fd);
		if (s->gone >= 0)
			close(s->gone);
	}
	free(r->res->unix_socks);
}

/* ---- names ---- */

/* Paths may be relative to where their socket was bound. Returns where we were, or -errno. */
static int enter(const UnixSkEntry *e)
{
	int here;

	if (!e->name_dir || e->name.len == 0 || e->name.data[0] == '/' || e->name.data[0] == '\0')
		return -ENOENT;
	here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (here >= 0 && chdir(e->name_dir) < 0) {
		int r = -errno;

		close(here);
		return r;
	}
	return here < 0 ? -errno : here;
}

static void leave(int here)
{
	if (here >= 0) {
		if (fchdir(here) < 0)
			return; /* tasks go to their own directories anyhow */
		close(here);
	}
}

/* A file that nobody stands behind any more is in our way. */
static int remove_stale(const struct sock_addr *a, int type, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct stat st;
	char text[160];
	int r;

	if (a->un.sun_path[0] == '\0' || lstat(a->un.sun_path, &st) < 0)
		return 0;
	res_sock_addr_text(a, text, sizeof(text));
	if (!S_ISSOCK(st.st_mode)) {
		r = ck_fail(err, CK_ERR_HOST, -EEXIST, "%s is no socket here, and was one", text);
		return ck_err_hint(err, r, "move it away");
	}
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ck_fail_errno(err, "cannot make a Unix socket");
	if (connect(fd, &a->sa, a->len) == 0 || errno != ECONNREFUSED) {
		r = ck_fail(err, CK_ERR_BUSY, -EADDRINUSE, "somebody else has the socket %s", text);
		return ck_err_hint(err, r, "end the program that uses it");
	}
	if (unlink(a->un.sun_path) < 0)
		return ck_fail_errno(err, "cannot replace the socket %s", text);
	return 0;
}

static int set_perms(const UnixSkEntry *e, const struct sock_addr *a, struct ck_err *err)
{
	const FilePermsEntry *p = e->file_perms;
	struct stat st;

	if (a->un.sun_path[0] == '\0' || !p || e->deleted)
		return 0;
	if (lstat(a->un.sun_path, &st) < 0)
		return ck_fail_errno(err, "cannot stat the socket %s", a->un.sun_path);
	if ((st.st_uid != p->uid || st.st_gid != p->gid) &&
	    lchown(a->un.sun_path, p->uid, p->gid) < 0)
		return ck_fail_errno(err, "cannot give the socket %s to user %u", a->un.sun_path,
				     p->uid);
	if (chmod(a->un.sun_path, p->mode & 07777) < 0)
		return ck_fail_errno(err, "cannot set the mode of the socket %s", a->un.sun_path);
	return 0;
}

static int bind_name(const UnixSkEntry *e, int fd, struct ck_err *err)
{
	struct sock_addr a;
	char text[160];
	int here, r;

	if (e->name.len == 0)
		return 0;
	get_name(&e->name, &a);
	res_sock_addr_text(&a, text, sizeof(text));
	here = enter(e);
	if (here < 0 && here != -ENOENT)
		return ck_fail(err, CK_ERR_HOST, here, "cannot go to %s", e->name_dir);
	r = remove_stale(&a, (int)e->type, err);
	if (r == 0 && bind(fd, &a.sa, a.len) < 0) {
		r = errno == EADDRINUSE ? ck_fail(err, CK_ERR_BUSY, -EADDRINUSE,
						  "somebody else has the socket %s", text)
					: ck_fail_errno(err, "cannot bind a socket to %s", text);
		if (r == -EADDRINUSE)
			r = ck_err_hint(err, r, "end the program that uses it");
	}
	if (r == 0)
		r = set_perms(e, &a, err);
	leave(here);
	return r;
}

/* Connects to the name that e is bound to. */
static int connect_name(const UnixSkEntry *e, int fd, struct ck_err *err)
{
	struct sock_addr a;
	char text[160];
	int here = enter(e), r = 0;

	get_name(&e->name, &a);
	res_sock_addr_text(&a, text, sizeof(text));
	if (connect(fd, &a.sa, a.len) < 0)
		r = ck_fail_errno(err, "cannot connect to the socket %s", text);
	leave(here);
	return r;
}

static void drop_name(const UnixSkEntry *e)
{
	struct sock_addr a;
	int here;

	get_name(&e->name, &a);
	if (!e->deleted || a.un.sun_path[0] == '\0')
		return;
	here = enter(e);
	(void)unlink(a.un.sun_path);
	leave(here);
}

static int new_socket(const UnixSkEntry *e, struct ck_err *err)
{
	int fd = socket(AF_UNIX, (int)e->type | SOCK_CLOEXEC, 0);

	return fd < 0 ? ck_fail_errno(err, "cannot make a Unix socket") : fd;
}

static int make_alone(struct res_runix *s, struct ck_err *err)
{
	if (s->made)
		return 0;
	s->fd = new_socket(s->e, err);
	s->made = s->fd >= 0;
	return s->made ? 0 : s->fd;
}

static int make_pair(const UnixSkEntry *e, int *ret_a, int *ret_b, struct ck_err *err)
{
	int sv[2];

	if (socketpair(AF_UNIX, (int)e->type | SOCK_CLOEXEC, 0, sv) < 0)
		return ck_fail_errno(err, "cannot make a pair of Unix sockets");
	*ret_a = sv[0];
	*ret_b = sv[1];
	return 0;
}

/* ---- connections to a name ---- */

/* s was accepted under this name: its client connects to listening, and s comes out. */
static int accept_one(const struct res_runix *listening, struct res_runix *s, struct ck_err *err)
{
	struct res_runix *client = s->peer;
	CK_AUTO(fd) int tmp = -EBADF;
	int fd, r = 0;

	if (client) {
		r = make_alone(client, err);
		if (r == 0)
			r = bind_name(client->e, client->fd, err);
		fd = client->fd;
	} else {
		tmp = fd = new_socket(s->e, err);
		r = fd < 0 ? fd : 0;
	}
	if (r == 0)
		r = connect_name(listening->e, fd, err);
	if (r < 0)
		return r;
	s->fd = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC);
	if (s->fd < 0)
		return ck_fail_errno(err, "cannot accept a connection");
	s->made = true;
	if (!client)
		s->gone = ck_take_fd(&tmp);
	return 0;
}

/* s is a client whose accepted end is gone. */
static int lose_server(const struct res_runix *listening, struct res_runix *s, struct ck_err *err)
{
	int r = make_alone(s, err);

	if (r == 0)
		r = bind_name(s->e, s->fd, err);
	if (r == 0)
		r = connect_name(listening->e, s->fd, err);
	if (r < 0)
		return r;
	s->gone = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC);
	return s->gone < 0 ? ck_fail_errno(err, "cannot accept a connection") : 0;
}

/* Those that wait to be accepted, in their order. */
static int connect_pending(struct engine_restore *r, const struct res_runix *to, struct ck_err *err)
{
	for (uint32_t last = 0;;) {
		struct res_runix *next = NULL;
		int ret;

		for (size_t i = 0; i < r->res->n_unix; i++) {
			struct res_runix *s = &r->res->unix_socks[i];

			if (s->peer == to && s->e->pending > last &&
			    (!next || s->e->pending < next->e->pending))
				next = s;
		}
		if (!next)
			return 0;
		last = next->e->pending;
		ret = make_alone(next, err);
		if (ret == 0)
			ret = bind_name(next->e, next->fd, err);
		if (ret == 0)
			ret = res_set_status(next->fd, O_NONBLOCK, err);
		if (ret == 0)
			ret = connect_name(to->e, next->fd, err);
		if (ret < 0)
			return ret;
	}
}

/* to is bound and listens: everybody who came to it by its name. */
static int connect_streams(struct engine_restore *r, const struct res_runix *to, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		if (s->made || s->e->pending || s == to || s->e->type != to->e->type ||
		    !is_connected(s->e))
			continue;
		if (same_name(&s->e->name, &to->e->name))
			ret = accept_one(to, s, err);
		else if (!s->peer && s->e->has_peer_name &&
			 same_name(&s->e->peer_name, &to->e->name))
			ret = lose_server(to, s, err);
	}
	return ret;
}

static int connect_dgrams(struct engine_restore *r, const struct res_runix *to, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		if (s->peer != to || is_stream(s->e))
			continue;
		ret = make_alone(s, err);
		if (ret == 0)
			ret = connect_name(to->e, s->fd, err);
	}
	return ret;
}

/* A socket that others reach by its name. */
static int make_named(struct engine_restore *r, struct res_runix *s, struct ck_err *err)
{
	int ret = make_alone(s, err);

	if (ret == 0)
		ret = bind_name(s->e, s->fd, err);
	if (ret == 0 && s->e->state == SOCK_LISTENING && listen(s->fd, (int)s->e->backlog) < 0)
		ret = ck_fail_errno(err, "cannot listen on a Unix socket");
	if (ret == 0 && s->e->state == SOCK_LISTENING)
		ret = connect_streams(r, s, err);
	if (ret == 0 && s->e->state == SOCK_LISTENING)
		ret = connect_pending(r, s, err);
	if (ret == 0 && !is_stream(s->e))
		ret = connect_dgrams(r, s, err);
	if (ret == 0)
		drop_name(s->e);
	return ret;
}

/* s was accepted, and who listened is gone: the name is taken for the time being. */
static int make_accepted(struct engine_restore *r, struct res_runix *s, struct ck_err *err)
{
	UnixSkEntry e = *s->e;
	struct res_runix stand_in = { .e = &e, .fd = -EBADF };
	CK_AUTO(fd) int fd = new_socket(s->e, err);
	int ret = fd < 0 ? fd : bind_name(&e, fd, err);

	stand_in.fd = fd;
	if (ret == 0 && listen(fd, 1) < 0)
		ret = ck_fail_errno(err, "cannot listen on a Unix socket");
	if (ret == 0)
		ret = connect_streams(r, &stand_in, err);
	if (ret == 0)
		drop_name(&e);
	return ret;
}

/* ---- all of them ---- */

static int by_ino(const void *a, const void *b)
{
	uint32_t x = ((const struct res_runix *)a)->e->ino;
	uint32_t y = ((const struct res_runix *)b)->e->ino;

	return (x > y) - (x < y);
}

static int find_peers(struct engine_restore *r, struct ck_err *err)
{
	struct res_restore *res = r->res;

	qsort(res->unix_socks, res->n_unix, sizeof(*res->unix_socks), by_ino);
	for (size_t i = 0; i < res->n_unix; i++) {
		struct res_runix *s = &res->unix_socks[i];
		UnixSkEntry key = { .ino = s->e->peer };
		const struct res_runix k = { .e = &key };

		if (i > 0 && s[-1].e->ino == s->e->ino)
			return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "Unix socket %u is there twice",
				       s->e->ino);
		if (!s->e->peer)
			continue;
		s->peer = bsearch(&k, res->unix_socks, res->n_unix, sizeof(k), by_ino);
		if (!s->peer || s->peer->e->type != s->e->type || s->peer == s)
			return ck_fail(err, CK_ERR_IMAGE, -ENOENT, "Unix socket %u has no peer",
				       s->e->ino);
		if (s->e->pending && s->peer->e->state != SOCK_LISTENING)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "Unix socket %u waits for one that does not listen",
				       s->e->ino);
	}
	return 0;
}

static int check_pairs(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->res->n_unix; i++) {
		const struct res_runix *s = &r->res->unix_socks[i];

		if (s->peer && is_stream(s->e) && !s->e->pending &&
		    (s->peer->peer != s || s->peer->e->pending || !is_connected(s->e) ||
		     !is_connected(s->peer->e)))
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "Unix socket %u is connected one way", s->e->ino);
	}
	return 0;
}

/* Step 1: nothing but socketpair() connects a datagram socket to one without a name. */
static int make_dgram_pairs(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->res->n_unix; i++) {
		struct res_runix *s = &r->res->unix_socks[i];
		const struct sockaddr none = { .sa_family = AF_UNSPEC };
		int ret;

		if (is_stream(s->e) || s->made || !s->peer || s->peer->e->name.len)
			continue;
		if (s->peer->made)
			return ck_fail(err, CK_ERR_IMAGE, -EOPNOTSUPP,
				       "two Unix sockets send to one without a name");
		ret = make_pair(s->e, &s->fd, &s->peer->fd, err);
		if (ret < 0)
			return ret;
		s->made = s->peer->made = true;
		if (s->peer->peer != s && connect(s->peer->fd, &none, sizeof(none)) < 0)
			return ck_fail_errno(err, "cannot disconnect a Unix socket");
	}
	return 0;
}

static int make_gone(struct res_runix *s, struct ck_err *err)
{
	int ret = s->made ? 0 : make_pair(s->e, &s->fd, &s->gone, err);

	if (ret == 0 && !s->made)
		ret = bind_name(s->e, s->fd, err);
	s->made = true;
	return ret;
}

/* Datagrams to a name outside of the job; who is not there now is missed when something is sent. */
static int connect_outside(struct engine_restore *r, struct res_runix *s, struct ck_err *err)
{
	struct sock_addr a;
	char text[160];
	int ret = make_alone(s, err);

	if (ret < 0)
		return ret;
	get_name(&s->e->peer_name, &a);
	res_sock_addr_text(&a, text, sizeof(text));
	if (connect(s->fd, &a.sa, a.len) < 0)
		engine_note(r, "cannot connect a socket to %s: %s, going on", text,
			    strerror(errno));
	return 0;
}

/* Steps 2 and 3 */
static int make_rest(struct engine_restore *r, bool deleted, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];
		bool reached = s->e->state == SOCK_LISTENING || !is_stream(s->e) ||
			       s->e->state == SOCK_CLOSED;

		if (reached && s->e->name.len && !!s->e->deleted == deleted)
			ret = make_named(r, s, err);
	}
	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		if (is_stream(s->e) && is_connected(s->e) && !s->made && !s->e->pending &&
		    s->e->name.len && s->peer && !!s->e->deleted == deleted)
			ret = make_accepted(r, s, err);
	}
	return ret;
}

static int make_nameless(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		if (s->made && s->gone < 0 && is_stream(s->e))
			continue;
		if (is_stream(s->e) && is_connected(s->e) && s->peer && !s->e->pending) {
			ret = make_pair(s->e, &s->fd, &s->peer->fd, err);
			s->made = s->peer->made = true;
		} else if (is_connected(s->e) && !s->peer && s->e->orphan) {
			if (!is_stream(s->e) && s->e->has_peer_name)
				ret = connect_outside(r, s, err);
			else
				ret = make_gone(s, err);
		} else if (!is_stream(s->e) && s->e->has_peer_name) {
			ret = connect_outside(r, s, err);
		} else {
			ret = make_alone(s, err);
		}
	}
	return ret;
}

static int make_all(struct engine_restore *r, struct ck_err *err)
{
	int ret = find_peers(r, err);

	if (ret == 0)
		ret = check_pairs(r, err);
	if (ret == 0)
		ret = make_dgram_pairs(r, err);
	if (ret == 0)
		ret = make_rest(r, true, err);
	if (ret == 0)
		ret = make_rest(r, false, err);
	return ret == 0 ? make_nameless(r, err) : ret;
}

int res_sock_unix_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
		       struct ck_err *err)
{
	struct res_restore *res = r->res;
	bool any = false;
	int ret;

	if (f->inherit >= 0)
		return res_inherit_open(f->inherit, RES_INHERIT_SOCKET, f->fe->usk->flags, ret_fd,
					err);
	for (size_t i = 0; i < res->n_unix; i++)
		any = any || res->unix_socks[i].made;
	ret = any ? 0 : make_all(r, err);
	for (size_t i = 0; i < res->n_unix && ret == 0; i++) {
		struct res_runix *s = &res->unix_socks[i];

		if (s->f != f)
			continue;
		ret = res_set_status(s->fd, f->fe->usk->flags, err);
		if (ret == 0)
			*ret_fd = ck_take_fd(&s->fd);
		return ret;
	}
	return ret < 0 ? ret : ck_fail(err, CK_ERR_BUG, -ENOENT, "a socket was not made");
}

/* ---- finish ---- */

struct sending {
	struct engine_restore *r;
	struct res_runix *to;
};

/* Whoever is bound to this name, or else NULL. */
static struct res_runix *bound_to(struct engine_restore *r, const struct sock_addr *name)
{
	for (size_t i = 0; i < r->res->n_unix; i++) {
		struct res_runix *s = &r->res->unix_socks[i];
		struct sock_addr a;

		if (s->e->name.len == 0 || is_stream(s->e))
			continue;
		get_name(&s->e->name, &a);
		if (res_sock_addr_equal(&a, name))
			return s;
	}
	return NULL;
}

/* A datagram from somebody who is gone, or who has no name. */
static int send_as(struct sending *x, const SkPacketEntry *p, const uint8_t *data,
		   const struct sock_addr *from, const struct sock_addr *to, struct ck_err *err)
{
	CK_AUTO(fd) int fd = new_socket(x->to->e, err);
	char text[160];
	int ret;

	if (fd < 0)
		return fd;
	res_sock_addr_text(from, text, sizeof(text));
	if (from->len) {
		ret = remove_stale(from, SOCK_DGRAM, err);
		if (ret < 0)
			return ret;
		if (bind(fd, &from->sa, from->len) < 0)
			return ck_fail_errno(err, "cannot bind a socket to %s", text);
	}
	res_sock_widen(fd);
	ret = res_sock_queue_send(x->r, fd, p, data, to, err);
	if (from->len && from->un.sun_path[0])
		(void)unlink(from->un.sun_path);
	return ret;
}

static int send_dgram(struct sending *x, const SkPacketEntry *p, const uint8_t *data,
		      struct ck_err *err)
{
	struct res_runix *to = x->to, *s = NULL;
	struct sock_addr from = { .len = 0 }, name = { .len = 0 };

	if (p->has_from) {
		from.len = (socklen_t)p->from.len;
		memcpy(&from.any, p->from.data, p->from.len);
		if (from.sa.sa_family != AF_UNIX)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "the sender of a message makes no sense");
		s = bound_to(x->r, &from);
	}
	if (to->gone >= 0 && !s)
		return res_sock_queue_send(x->r, to->gone, p, data, NULL, err);
	for (size_t i = 0; i < x->r->res->n_unix && !s; i++) {
		struct res_runix *c = &x->r->res->unix_socks[i];

		if (!from.len && c->peer == to && c->e->name.len == 0)
			s = c;
	}
	if (to->e->name.len)
		get_name(&to->e->name, &name);
	if (s && s->peer == to)
		return res_sock_queue_send(x->r, s->f->fd, p, data, NULL, err);
	if (!name.len)
		return ck_fail(err, CK_ERR_IMAGE, -ENOTCONN,
			       "nobody can send a message to a Unix socket without a name");
	if (s)
		return res_sock_queue_send(x->r, s->f->fd, p, data, &name, err);
	return send_as(x, p, data, &from, &name, err);
}

static int send_packet(const SkPacketEntry *p, const uint8_t *data, void *arg, struct ck_err *err)
{
	struct sending *x = arg;
	struct res_runix *to = x->to;
	int fd = to->gone;

	if (!is_stream(to->e))
		return send_dgram(x, p, data, err);
	if (to->peer && !to->e->pending)
		fd = to->peer->f->fd;
	if (fd < 0)
		return ck_fail(err, CK_ERR_IMAGE, -ENOTCONN,
			       "a Unix socket has received something from nobody");
	return res_sock_queue_send(x->r, fd, p, data, NULL, err);
}

static int refill(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_unix; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		res_sock_widen(s->f->fd);
		if (s->gone >= 0)
			res_sock_widen(s->gone);
	}
	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];
		int here = enter(s->e);

		ret = res_sock_queue_each(r, s->e->id, send_packet,
					  &(struct sending){ .r = r, .to = s }, err);
		leave(here);
		if (ret < 0)
			ret = res_err_at_rfile(s->f, err, ret);
	}
	return ret;
}

static int finish_one(struct res_runix *s, struct ck_err *err)
{
	static const int how[] = { 0, SHUT_RD, SHUT_WR, SHUT_RDWR };
	int fd = s->f->fd;

	if (s->e->opts->so_error && s->gone >= 0) {
		/* Linux net/unix/af_unix.c:unix_release_sock(): unread data makes ECONNRESET */
		(void)send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (s->gone >= 0) {
		close(s->gone);
		s->gone = -EBADF;
	}
	if (s->e->shutdown && shutdown(fd, how[s->e->shutdown]) < 0 && errno != ENOTCONN)
		return ck_fail_errno(err, "cannot shut down a Unix socket");
	return res_sock_common_set(fd, s->e->opts, false, err);
}

int res_sock_unix_finish(struct engine_restore *r, struct ck_err *err)
{
	int ret = refill(r, err);

	for (size_t i = 0; i < r->res->n_unix && ret == 0; i++) {
		struct res_runix *s = &r->res->unix_socks[i];

		ret = finish_one(s, err);
		if (ret < 0)
			ret = res_err_at_rfile(s->f, err, ret);
	}
	return ret;
}
