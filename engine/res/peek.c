// SPDX-License-Identifier: Apache-2.0
/*
 * Reads what a socket has received without consuming it: recv(MSG_PEEK) gives the first message
 * again and again, unless SO_PEEK_OFF has it move on. That option is the socket's own, and the job
 * would see it: so each task that has the socket is first told, in its blob, to set it back on its
 * way home, should ckpt be killed just then. A stream without descriptors in it is read in one go,
 * and needs none of this.
 *
 * Descriptors come with the messages as copies of ours. What they lead to is either open in the job
 * as well, or in the message alone; then it becomes a file like any other, as if we were a task.
 *
 * The kernel remembers of an empty datagram that it was peeked at, and passes over it the next
 * time: it is lost for a second dump, if it still waits behind another one then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum {
	MAX_RIGHTS = 253, /* Linux include/net/scm.h: SCM_MAX_FD */
	FIRST_BUFFER = 1 << 18,
	MAX_BUFFER = 1 << 28,
};

/* ---- what is open in messages only ---- */

struct res_flight {
	struct engine_task self; /* ourselves, as if we were of the job */
	struct engine_fd **fds;
	size_t n_fds;
};

static int flight_get(struct engine_dump *d, struct res_flight **ret, struct ck_err *err)
{
	struct res_flight *fl = d->res->flight;

	if (!fl) {
		fl = calloc(1, sizeof(*fl));
		if (!fl)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look into messages");
		fl->self.pid = getpid();
		fl->self.dirfd = proc_open_pid(fl->self.pid);
		snprintf(fl->self.stat.comm, sizeof(fl->self.stat.comm), "a message");
		d->res->flight = fl;
	}
	*ret = fl;
	return 0;
}

void res_peek_done(struct res_dump *res)
{
	struct res_flight *fl = res->flight;

	if (!fl)
		return;
	for (size_t i = 0; i < fl->n_fds; i++) {
		close(fl->fds[i]->fd);
		free(fl->fds[i]->link);
		proc_fdinfo_done(&fl->fds[i]->info);
		free(fl->fds[i]);
	}
	free(fl->fds);
	if (fl->self.dirfd >= 0)
		close(fl->self.dirfd);
	free(fl);
}

/* 1 if they are one description, 0 if not. */
static int is_same(const struct res_file *f, const struct engine_fd *fd, struct ck_err *err)
{
	long r;

	if (f->fd < 0 || f->st.st_dev != fd->st.st_dev || f->st.st_ino != fd->st.st_ino)
		return 0;
	if (f->flags != (fd->info.flags & ~(uint32_t)O_CLOEXEC) ||
	    f->pos != (uint64_t)fd->info.pos || f->mnt_id != fd->info.mnt_id)
		return 0;
	/* A socket has no second description. */
	r = S_ISSOCK(fd->st.st_mode) ? 0
				     : syscall(SYS_kcmp, getpid(), f->task->threads[0].tid,
					       KCMP_FILE, fd->fd, f->fd);
	if (r >= 0)
		return r == 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot tell whether a message carries what fd %d of task %d is (%s)", f->fd,
		    (int)f->task->pid, fd->link);
	return ck_err_hint(err, (int)r,
			   "try again when the job has received it; the system call kcmp, which "
			   "tells, is forbidden here");
}

static int adopt(struct engine_dump *d, struct engine_fd *fd, uint32_t *ret_id, struct ck_err *err)
{
	struct engine_fd **grown;
	struct res_flight *fl;
	struct res_file *f;
	char via[24];
	int r = flight_get(d, &fl, err);

	if (r < 0)
		return r;
	grown = reallocarray(fl->fds, fl->n_fds + 1, sizeof(*grown));
	if (grown)
		fl->fds = grown;
	snprintf(via, sizeof(via), "fd/%d", fd->fd);
	f = grown ? res_file_new(d, &fl->self, via) : NULL;
	if (!f)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember an open file");
	f->type = res_type_of(fd);
	f->fd = fd->fd;
	f->st = fd->st;
	f->flags = fd->info.flags & ~(uint32_t)O_CLOEXEC;
	f->pos = (uint64_t)fd->info.pos;
	f->mnt_id = fd->info.mnt_id;
	f->link = fd->link;
	fl->fds[fl->n_fds++] = fd;
	*ret_id = fd->id = f->id;
	return f->type->look(d, f, err);
}

/* The file behind a descriptor of ours that came with a message. Takes the descriptor over. */
static int identify(struct engine_dump *d, int number, uint32_t *ret_id, struct ck_err *err)
{
	CK_AUTO(fd) int own = number;
	struct engine_fd *fd = calloc(1, sizeof(*fd));
	struct res_flight *fl;
	int r = fd ? flight_get(d, &fl, err) : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look");
	uint32_t id = 0;

	if (r == 0)
		r = res_look_fd(&fl->self, own, fd, err);
	for (size_t i = 0; i < d->res->n_files && r == 0 && !id; i++) {
		r = is_same(d->res->files[i], fd, err);
		if (r > 0)
			id = d->res->files[i]->id;
		r = r < 0 ? r : 0;
	}
	if (r == 0 && !id) {
		ck_take_fd(&own);
		r = adopt(d, fd, &id, err);
		if (r == 0)
			*ret_id = id;
		return r;
	}
	if (fd) {
		free(fd->link);
		proc_fdinfo_done(&fd->info);
		free(fd);
	}
	if (r == 0)
		*ret_id = id;
	return r;
}

/* ---- reading ---- */

/* One recvmsg(): data, sender, and descriptors that must be closed. */
struct got {
	ssize_t n; /* or -errno */
	bool cut;
	struct sock_addr from;
	int fds[MAX_RIGHTS];
	size_t n_fds;
};

static void close_rights(struct got *g)
{
	for (size_t i = 0; i < g->n_fds; i++)
		if (g->fds[i] >= 0)
			close(g->fds[i]);
	g->n_fds = 0;
}

static int take_control(struct got *g, struct msghdr *m, struct ck_err *err)
{
	int r = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < len / sizeof(int) && g->n_fds < MAX_RIGHTS; i++)
			memcpy(&g->fds[g->n_fds++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	if (m->msg_flags & MSG_CTRUNC) {
		close_rights(g);
		r = ck_fail(err, CK_ERR_SYS, -EMFILE,
			    "cannot take the descriptors that a message carries");
		r = ck_err_hint(err, r, "raise the limit of open files (ulimit -n)");
	}
	return r;
}

/* Negative only if descriptors were lost; g->n has the rest. */
static int peek(int fd, void *buf, size_t len, struct got *g, struct ck_err *err)
{
	char control[CMSG_SPACE(MAX_RIGHTS * sizeof(int)) + 1024]
		__attribute__((aligned(__alignof__(struct cmsghdr))));
	struct iovec iov = { buf, len };
	struct msghdr m = { .msg_name = &g->from.any,
			    .msg_namelen = sizeof(g->from.any),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };

	memset(&g->from, 0, sizeof(g->from));
	g->n_fds = 0;
	g->n = recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (g->n < 0) {
		g->n = -errno;
		return 0;
	}
	g->from.len = m.msg_namelen;
	g->cut = (m.msg_flags & MSG_TRUNC) != 0;
	return take_control(g, &m, err);
}

static int add_packet(struct engine_dump *d, struct res_sock *s, const void *data, size_t len,
		      struct got *g, struct ck_err *err)
{
	struct sock_packet *grown = reallocarray(s->q, s->n_q + 1, sizeof(*grown)), *p;
	int r = 0;

	if (grown)
		s->q = grown;
	p = grown ? &s->q[s->n_q] : NULL;
	if (p)
		*p = (struct sock_packet){ .data = malloc(len + 1),
					   .len = len,
					   .rights = calloc((g ? g->n_fds : 0) + 1,
							    sizeof(uint32_t)) };
	if (!p || !p->data || !p->rights) {
		if (p) {
			free(p->data);
			free(p->rights);
		}
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot keep a message");
	}
	s->n_q++;
	memcpy(p->data, data, len);
	if (!g)
		return 0;
	p->from = g->from;
	p->n_rights = g->n_fds;
	/* s and p may move: files are added, and with them nothing here, but be quick about it. */
	for (size_t i = 0; i < g->n_fds && r == 0; i++) {
		int number = g->fds[i];

		g->fds[i] = -EBADF;
		r = identify(d, number, &p->rights[i], err);
	}
	return r;
}

/* ---- SO_PEEK_OFF, guarded ---- */

static int set_off(int fd, int off, struct ck_err *err)
{
	if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) < 0)
		return ck_fail_errno(err, "cannot read the queue of a socket message by message");
	return 0;
}

static int guard(struct engine_dump *d, const struct res_sock *s, bool on, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i];

		for (size_t k = 0; k < t->n_fds; k++) {
			int r;

			if (t->fds[k].id != s->f->id)
				continue;
			r = engine_guard_peek(t, on ? t->fds[k].fd : -1,
					      s->opts.has_so_peek_off ? s->opts.so_peek_off : -1);
			if (r < 0)
				return ck_fail(err, CK_ERR_SYS, r, "cannot write to the blob");
			break;
		}
	}
	return 0;
}

/* Bytes of memory that what was sent and not read takes, or -errno. */
static int outstanding(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCOUTQ, &n) < 0 ? -errno : n;
}

/* Sends the packets of s to nobody, and tells what they take. */
static int replay(const struct res_sock *s, int *ret)
{
	CK_AUTO(fd) int a = -EBADF;
	CK_AUTO(fd) int b = -EBADF;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	a = sv[0];
	b = sv[1];
	res_sock_widen(a);
	for (size_t i = 0; i < s->n_q; i++)
		if (send(a, s->q[i].data, s->q[i].len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return -errno;
	*ret = outstanding(a);
	return *ret < 0 ? *ret : 0;
}

/*
 * Where do descriptors begin? Linux net/unix/af_unix.c:unix_stream_read_generic() glues what was
 * sent before them to what came with them, and shows where that ends only. If all that was sent
 * takes as much memory as it does in the pieces that were found, these are the pieces.
 */
static int check_pieces(struct engine_dump *d, const struct res_sock *s, struct ck_err *err)
{
	const struct res_sock *peer = res_sock_by_ino(d, AF_UNIX, s->peer);
	bool clear = true;
	int want = 0, r;

	for (size_t i = 0; i < s->n_q; i++)
		clear = clear && (!s->q[i].n_rights || s->q[i].len == 1);
	if (!clear && peer && replay(s, &want) == 0) {
		CK_AUTO(fd) int fd = res_file_borrow(d, peer->f);

		clear = fd >= 0 && outstanding(fd) == want;
	}
	if (clear)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot tell which part of a stream carries descriptors");
	return ck_err_hint(err, r, "try again when the job has received them");
}

static int walk_stream(struct engine_dump *d, struct res_sock *s, int fd, char *buf, int total,
		       struct ck_err *err)
{
	for (int off = 0; off < total;) {
		struct got g;
		int r = peek(fd, buf, (size_t)(total - off), &g, err);

		if (r < 0)
			return r;
		if (g.n <= 0)
			return ck_fail(err, CK_ERR_SYS, g.n < 0 ? (int)g.n : -EIO,
				       "cannot read all of a socket's queue");
		r = add_packet(d, s, buf, (size_t)g.n, &g, err);
		close_rights(&g);
		if (r < 0)
			return r;
		off += (int)g.n;
	}
	return check_pieces(d, s, err);
}

static int walk_messages(struct engine_dump *d, struct res_sock *s, int fd, struct ck_err *err)
{
	size_t size = FIRST_BUFFER;
	CK_AUTO(free) char *buf = malloc(size);
	int off = 0;

	while (buf) {
		struct got g;
		int r = peek(fd, buf, size, &g, err);

		if (r < 0)
			return r;
		if (g.n == -EAGAIN)
			return 0;
		if (g.n < 0)
			return ck_fail(err, CK_ERR_SYS, (int)g.n, "cannot read a socket's queue");
		/* Linux net/unix/af_unix.c:__unix_dgram_recvmsg(): the end reads as nothing */
		if (g.n == 0 && s->type == SOCK_SEQPACKET && (s->shutdown & SK_SHUTDOWN__READ))
			return 0;
		if (g.cut && size < MAX_BUFFER) {
			close_rights(&g);
			free(buf);
			buf = malloc(size *= 4);
			r = set_off(fd, off, err);
		} else {
			r = add_packet(d, s, buf, (size_t)g.n, &g, err);
			close_rights(&g);
			off += (int)g.n;
		}
		if (r < 0)
			return r;
	}
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read a socket's queue");
}

static int walk(struct engine_dump *d, struct res_sock *s, int fd, char *buf, int total,
		struct ck_err *err)
{
	int before = s->opts.has_so_peek_off ? s->opts.so_peek_off : -1, r, r2;

	r = guard(d, s, true, err);
	if (r < 0)
		return r;
	r = set_off(fd, 0, err);
	if (r == 0)
		r = s->type == SOCK_STREAM ? walk_stream(d, s, fd, buf, total, err)
					   : walk_messages(d, s, fd, err);
	r2 = set_off(fd, before, r < 0 ? NULL : err);
	if (r2 == 0)
		r2 = guard(d, s, false, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

static int peek_stream(struct engine_dump *d, struct res_sock *s, int fd, struct ck_err *err)
{
	CK_AUTO(free) char *buf = NULL;
	struct got g;
	int total = 0, r;

	if (ioctl(fd, FIONREAD, &total) < 0)
		return ck_fail_errno(err, "cannot ask what a socket has received");
	if (total <= 0)
		return 0;
	buf = malloc((size_t)total);
	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot keep %d bytes", total);
	if (s->opts.has_so_peek_off && s->opts.so_peek_off >= 0)
		return walk(d, s, fd, buf, total, err);
	r = peek(fd, buf, (size_t)total, &g, err);
	if (r < 0)
		return r;
	if (g.n == total && g.n_fds == 0)
		return add_packet(d, s, buf, (size_t)total, NULL, err);
	close_rights(&g);
	return walk(d, s, fd, buf, total, err);
}

/* They would come from ckpt when they are sent again. */
static int refuse_credentials(const struct res_sock *s, struct ck_err *err)
{
	int r;

	if (!s->n_q || !s->opts.so_passcred)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump messages with credentials (SO_PASSCRED)");
	return ck_err_hint(err, r, "try again when the job has read them");
}

/* Urgent data (MSG_OOB) stands beside the stream, or marks a place in it. */
static int refuse_urgent(int fd, struct ck_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	int r;

	if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLPRI) || (p.revents & POLLERR))
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump a socket in which urgent data (MSG_OOB) waits");
	return ck_err_hint(err, r, "try again when the job has read it");
}

int res_sock_peek(struct engine_dump *d, struct res_sock *s, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct pollfd p = { .events = POLLIN };
	int r;

	/* Of netlink sockets with answers, netlink.c has refused all. */
	if (s->state == SOCK_LISTENING || s->family == AF_NETLINK)
		return 0;
	p.fd = fd = res_file_borrow(d, s->f);
	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot borrow a socket");
	if (s->type == SOCK_STREAM) {
		r = refuse_urgent(fd, err);
		if (r == 0)
			r = peek_stream(d, s, fd, err);
		return r < 0 ? r : refuse_credentials(s, err);
	}
	/* Reading would take it away. */
	if (s->family != AF_UNIX && poll(&p, 1, 0) > 0 && (p.revents & POLLERR))
		return ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			       "cannot dump a socket for which an error waits");
	if (poll(&p, 1, 0) < 0 || !(p.revents & POLLIN) ||
	    (s->type == SOCK_SEQPACKET && s->state != SOCK_ESTABLISHED))
		return 0;
	r = walk(d, s, fd, NULL, 0, err);
	return r < 0 ? r : refuse_credentials(s, err);
}

int res_peek(struct engine_dump *d, struct ck_err *err)
{
	/* Looking into messages makes more files, which may be sockets with messages. */
	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_file *f = d->res->files[i];
		int r = f->sock ? res_sock_peek(d, f->sock, err) : 0;

		if (r < 0)
			return res_err_at_file(f, err, r);
	}
	return 0;
}
