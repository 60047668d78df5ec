// SPDX-License-Identifier: Apache-2.0
/*
 * sock_diag(7): what only the kernel's own list of sockets tells, such as who the peer of a socket
 * is, and which connections wait to be accepted. Open to every user; it sees the sockets of
 * our own network namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/sock.h"

enum { BUFFER = 1 << 16 };

struct res_diag {
	struct sock_diag *s;
	size_t n;
};

typedef int (*answer_fn)(const struct nlmsghdr *h, void *arg);

/* Sends a request and calls fn for each answer. 0 or -errno, which may be the kernel's. */
static int ask(const void *req, size_t len, bool dump, answer_fn fn, void *arg)
{
	CK_AUTO(fd) int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	CK_AUTO(free) char *buf = malloc(BUFFER);

	if (fd < 0 || !buf)
		return fd < 0 ? -errno : -ENOMEM;
	if (send(fd, req, len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(fd, buf, BUFFER, 0);
		const struct nlmsghdr *h = (const struct nlmsghdr *)(void *)buf;

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			int r;

			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (h->nlmsg_flags & NLM_F_DUMP_INTR)
				return -EAGAIN;
			r = fn(h, arg);
			if (r < 0 || !dump)
				return r;
		}
	}
}

static uint32_t u32_of(const struct rtattr *a)
{
	uint32_t v = 0;

	memcpy(&v, RTA_DATA(a), RTA_PAYLOAD(a) < sizeof(v) ? RTA_PAYLOAD(a) : sizeof(v));
	return v;
}

static int take_icons(struct sock_diag *s, const struct rtattr *a)
{
	size_t len = RTA_PAYLOAD(a);

	if (len < sizeof(uint32_t))
		return 0;
	s->icons = malloc(len);
	if (!s->icons)
		return -ENOMEM;
	memcpy(s->icons, RTA_DATA(a), len);
	s->n_icons = len / sizeof(uint32_t);
	return 0;
}

static int take_unix_attr(struct sock_diag *s, const struct rtattr *a)
{
	struct unix_diag_rqlen rq = { 0 };
	struct unix_diag_vfs vfs;

	switch (a->rta_type) {
	case UNIX_DIAG_PEER:
		s->peer = u32_of(a);
		break;
	case UNIX_DIAG_SHUTDOWN:
		s->shutdown = *(const uint8_t *)RTA_DATA(a);
		break;
	case UNIX_DIAG_RQLEN:
		if (RTA_PAYLOAD(a) >= sizeof(rq))
			memcpy(&rq, RTA_DATA(a), sizeof(rq));
		s->rqueue = rq.udiag_rqueue;
		s->wqueue = rq.udiag_wqueue;
		break;
	case UNIX_DIAG_VFS:
		if (RTA_PAYLOAD(a) < sizeof(vfs))
			break;
		memcpy(&vfs, RTA_DATA(a), sizeof(vfs));
		s->has_vfs = true;
		s->vfs_ino = vfs.udiag_vfs_ino;
		s->vfs_dev = vfs.udiag_vfs_dev;
		break;
	case UNIX_DIAG_ICONS:
		return take_icons(s, a);
	default:
		break;
	}
	return 0;
}

static int take_unix(const struct nlmsghdr *h, void *arg)
{
	struct res_diag *all = arg;
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	struct sock_diag *grown, *s;
	const struct rtattr *a = (const struct rtattr *)(const void *)(m + 1);
	int len = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m)), r = 0;

	if (len < 0)
		return -EIO;
	if (all->n % 64 == 0) {
		grown = reallocarray(all->s, all->n + 64, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		all->s = grown;
	}
	s = &all->s[all->n++];
	*s = (struct sock_diag){ .ino = m->udiag_ino,
				 .type = m->udiag_type,
				 .state = m->udiag_state };
	for (; RTA_OK(a, len) && r == 0; a = RTA_NEXT(a, len))
		r = take_unix_attr(s, a);
	return r;
}

static int by_ino(const void *a, const void *b)
{
	uint32_t x = ((const struct sock_diag *)a)->ino, y = ((const struct sock_diag *)b)->ino;

	return (x > y) - (x < y);
}

static int read_unix(struct res_diag *all, struct ck_err *err)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} req = {
		.h = { .nlmsg_len = sizeof(req),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = AF_UNIX,
		       .udiag_states = ~0u,
		       .udiag_show = UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS |
				     UDIAG_SHOW_RQLEN },
	};
	int r = ask(&req, sizeof(req), true, take_unix, all);

	if (r < 0) {
		r = ck_fail(err, CK_ERR_SYS, r, "cannot list Unix sockets");
		return ck_err_hint(err, r, "the kernel needs CONFIG_UNIX_DIAG (module unix_diag)");
	}
	if (all->n)
		qsort(all->s, all->n, sizeof(*all->s), by_ino);
	return 0;
}

int res_sock_diag_unix(struct engine_dump *d, uint32_t ino, const struct sock_diag **ret,
		       struct ck_err *err)
{
	const struct sock_diag key = { .ino = ino };
	struct res_diag *all = d->res->diag;
	int r;

	if (!all) {
		d->res->diag = all = calloc(1, sizeof(*all));
		if (!all)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list Unix sockets");
		r = read_unix(all, err);
		if (r < 0)
			return r;
	}
	*ret = all->n ? bsearch(&key, all->s, all->n, sizeof(key), by_ino) : NULL;
	return 0;
}

/* ---- TCP ---- */

struct tcp_answer {
	uint32_t ino, state;
};

static int take_tcp(const struct nlmsghdr *h, void *arg)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	struct tcp_answer *a = arg;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return -EIO;
	a->ino = m->idiag_inode;
	a->state = m->idiag_state;
	return 0;
}

static bool put_end(const struct sock_addr *a, __be32 words[4], __be16 *ret_port)
{
	*ret_port = res_sock_port(a);
	if (a->sa.sa_family == AF_INET) {
		words[0] = a->in.sin_addr.s_addr;
		return true;
	}
	memcpy(words, &a->in6.sin6_addr, 4 * sizeof(*words));
	return false;
}

int res_sock_diag_tcp(const struct sock_addr *from, const struct sock_addr *to, uint32_t *ret_ino,
		      uint32_t *ret_state)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} req = {
		.h = { .nlmsg_len = sizeof(req),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST },
		.r = { .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u },
	};
	struct tcp_answer a = { 0, 0 };
	bool v4 = put_end(from, req.r.id.idiag_src, &req.r.id.idiag_sport);
	int r;

	if (v4 != put_end(to, req.r.id.idiag_dst, &req.r.id.idiag_dport))
		return -EINVAL;
	req.r.sdiag_family = v4 ? AF_INET : AF_INET6;
	memset(req.r.id.idiag_cookie, 0xff, sizeof(req.r.id.idiag_cookie)); /* any */
	r = ask(&req, sizeof(req), false, take_tcp, &a);
	if (r == 0 && a.state == SOCK_LISTENING)
		r = -ENOENT;
	if (r < 0)
		return r;
	*ret_ino = a.ino;
	*ret_state = a.state;
	return 0;
}

void res_sock_diag_done(struct res_dump *res)
{
	struct res_diag *all = res->diag;

	for (size_t i = 0; all && i < all->n; i++)
		free(all->s[i].icons);
	if (all)
		free(all->s);
	free(all);
}
