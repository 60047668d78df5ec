// SPDX-License-Identifier: Apache-2.0
/*
 * Makes TCP and UDP sockets again, all of them when the first is opened. A TCP connection within
 * the job is a new one between the old addresses: one end binds to its port and connects to the
 * other's, where the socket listens that it once came from, or one that stands in for it. What had
 * been received is sent again when all files are open; then directions are shut, and options set.
 * One that can't be made again leads to ourselves for the time being, by way of the loopback
 * interface, and is then ended at the other side.
 *
 * Addresses are freed by the kernel a moment after the job that had them was killed, and a
 * connection between the same two up to a second later: that is waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

enum {
	TRIES = 60, /* of TRY_NS */
	TRY_NS = 50000000,
	ACCEPT_MS = 3000,
};

struct res_rinet {
	struct res_rfile *f;
	const InetSkEntry *e;
	struct res_rinet *peer; /* in the job; of a pending one, who listens */
	struct sock_addr src, dst;
	int fd;    /* until open() hands it over */
	int other; /* the other side of one that is to be ended, until finish; or -EBADF */
	bool made;
};

static bool is_tcp(const InetSkEntry *e)
{
	return e->type == SOCK_STREAM;
}

/* ---- load ---- */

static bool get_addr(const InetSkEntry *e, const uint32_t *words, size_t n, uint32_t port,
		     struct sock_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (n == 0)
		return true;
	if (port > UINT16_MAX || n != (e->family == AF_INET ? 1u : 4u))
		return false;
	if (e->family == AF_INET) {
		ret->len = sizeof(ret->in);
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons((uint16_t)port);
		ret->in.sin_addr.s_addr = words[0];
	} else {
		ret->len = sizeof(ret->in6);
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons((uint16_t)port);
		memcpy(&ret->in6.sin6_addr, words, sizeof(ret->in6.sin6_addr));
	}
	return true;
}

static int check(const InetSkEntry *e, struct ck_err *err)
{
	if ((e->family != AF_INET && e->family != AF_INET6) ||
	    !((e->type == SOCK_STREAM && e->proto == IPPROTO_TCP) ||
	      (e->type == SOCK_DGRAM && e->proto == IPPROTO_UDP)))
		return ck_fail(err, CK_ERR_IMAGE, -EOPNOTSUPP,
			       "an IP socket is of type %u, protocol %u", e->type, e->proto);
	if (e->backlog > INT32_MAX || (e->has_shutdown && e->shutdown > SK_SHUTDOWN__BOTH) ||
	    e->state == 0 || e->state > 12)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the state of an IP socket makes no sense");
	if (e->ended > SOCK_ENDED_OVER ||
	    (e->ended && (!is_tcp(e) || e->has_peer || e->pending || e->state == SOCK_LISTENING)))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the end of a TCP connection makes no sense");
	if (is_tcp(e) && e->state != SOCK_LISTENING && e->state != SOCK_CLOSED && !e->ended &&
	    (!e->has_peer || !e->n_src_addr || !e->n_dst_addr))
		return ck_fail(err, CK_ERR_IMAGE, -EOPNOTSUPP,
			       "a TCP connection leads out of the job");
	return res_sock_common_check(e->opts, err);
}

int res_sock_inet_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const InetSkEntry *e = f->fe->isk;
	struct res_restore *res = r->res;
	struct res_rinet *grown, *s;
	int ret = check(e, err);

	if (ret < 0)
		return ret;
	grown = reallocarray(res->inet_socks, res->n_inet + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a socket");
	res->inet_socks = grown;
	s = &grown[res->n_inet++];
	*s = (struct res_rinet){ .f = f, .e = e, .fd = -EBADF, .other = -EBADF };
	if (!get_addr(e, e->src_addr, e->n_src_addr, e->src_port, &s->src) ||
	    !get_addr(e, e->dst_addr, e->n_dst_addr, e->dst_port, &s->dst))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the address of an IP socket makes no sense");
	return res_sock_queue_load(r, e->id, err);
}

void res_rinet_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->res->n_inet; i++) {
		if (r->res->inet_socks[i].fd >= 0)
			close(r->res->inet_socks[i].fd);
		if (r->res->inet_socks[i].other >= 0)
			close(r->res->inet_socks[i].other);
	}
	free(r->res->inet_socks);
}

/* ---- making ---- */

static int new_socket(const InetSkEntry *e, struct ck_err *err)
{
	CK_AUTO(fd)
	int fd = socket((int)e->family, (int)e->type | SOCK_CLOEXEC, (int)e->proto);
	int on = 1, v6only = e->v6only, r;

	if (fd < 0)
		return ck_fail_errno(err, "cannot make an IP socket");
	if (e->has_v6only && !(e->state == SOCK_ESTABLISHED && is_tcp(e)) &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) < 0)
		return ck_fail_errno(err, "cannot set IPV6_V6ONLY of a socket");
	/* The rest of them are set in the end. */
	if (is_tcp(e) || e->opts->reuseaddr)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (e->opts->so_reuseport)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	r = e->ip_opts
		    ? res_sock_opts_set(fd, res_sock_ip_opts, res_sock_n_ip_opts, e->ip_opts, err)
		    : 0;
	if (r == 0 && e->ip_opts && e->family == AF_INET6)
		r = res_sock_opts_set(fd, res_sock_ip6_opts, res_sock_n_ip6_opts, e->ip_opts, err);
	return r < 0 ? r : ck_take_fd(&fd);
}

static void wait_a_bit(void)
{
	struct timespec ts = { .tv_nsec = TRY_NS };

	nanosleep(&ts, NULL);
}

static int bind_to(int fd, const struct sock_addr *a, struct ck_err *err)
{
	char text[80];
	int r;

	for (int i = 0; i < TRIES; i++) {
		if (bind(fd, &a->sa, a->len) == 0)
			return 0;
		if (errno != EADDRINUSE)
			break;
		wait_a_bit();
	}
	res_sock_addr_text(a, text, sizeof(text));
	if (errno == EADDRINUSE) {
		r = ck_fail(err, CK_ERR_BUSY, -EADDRINUSE, "somebody else has the address %s",
			    text);
		return ck_err_hint(
			err, r,
			"end the program that uses it, or wait a minute if it was the job itself");
	}
	r = ck_fail_errno(err, "cannot bind a socket to %s", text);
	return r == -EADDRNOTAVAIL ? ck_err_hint(err, r, "this host doesn't have that address") : r;
}

/* Was bound if it has a port: an address alone is what connect() gave it. */
static int make_alone(struct res_rinet *s, struct ck_err *err)
{
	int r;

	if (s->made)
		return 0;
	r = s->fd = new_socket(s->e, err);
	if (r < 0)
		return r;
	s->made = true;
	return s->src.len && s->e->src_port ? bind_to(s->fd, &s->src, err) : 0;
}

/* Linux net/ipv4/inet_hashtables.c:__inet_check_established(): EADDRNOTAVAIL while the old one ends
 */
static int connect_to(int fd, const struct sock_addr *to, struct ck_err *err)
{
	char text[80];

	for (int i = 0; i < TRIES; i++) {
		if (connect(fd, &to->sa, to->len) == 0)
			return 0;
		if (errno != EADDRNOTAVAIL && errno != EADDRINUSE)
			break;
		wait_a_bit();
	}
	res_sock_addr_text(to, text, sizeof(text));
	return ck_fail_errno(err, "cannot connect to %s again", text);
}

/* The connection from this address; strangers are turned away. */
static int accept_from(int listening, const struct sock_addr *from, struct ck_err *err)
{
	struct pollfd p = { .fd = listening, .events = POLLIN };

	while (poll(&p, 1, ACCEPT_MS) > 0) {
		CK_AUTO(fd) int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		struct sock_addr who;

		if (fd < 0)
			return ck_fail_errno(err, "cannot accept a connection");
		if (res_sock_peer_name(fd, &who) == 0 && res_sock_same_end(&who, from))
			return ck_take_fd(&fd);
	}
	return ck_fail(err, CK_ERR_SYS, -ETIMEDOUT, "a connection does not arrive");
}

/* Does the kernel give this port out by itself? */
static bool is_given_out(uint32_t port)
{
	CK_AUTO(free) char *text = NULL;
	unsigned long low, high;
	char *end;

	if (ck_read_file_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_local_port_range", 64, &text, NULL) <
	    0)
		return false;
	low = strtoul(text, &end, 10);
	high = strtoul(end, NULL, 10);
	return port >= low && port <= high && port > 0;
}

/*
 * Connects from the old port without bind(), which refuses it for a minute if the job was killed
 * while it was let run. COMPAT(v6.3): IP_LOCAL_PORT_RANGE; and the port must be of the range that
 * the kernel gives out. False: to be done by bind().
 */
static bool connect_unbound(struct res_rinet *s)
{
	CK_AUTO(fd) int fd = new_socket(s->e, NULL);
	uint32_t range = s->e->src_port << 16 | s->e->src_port, none = 0;
	struct sock_addr a = s->src;
	int on = 1, off = 0;

	a.in.sin_port = 0;
	if (fd < 0 || !is_given_out(s->e->src_port) ||
	    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) < 0 ||
	    bind(fd, &a.sa, a.len) < 0 || connect_to(fd, &s->dst, NULL) < 0 ||
	    res_sock_name(fd, &a) < 0 || !res_sock_same_end(&a, &s->src) ||
	    setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &none, sizeof(none)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof(off)) < 0)
		return false;
	s->fd = ck_take_fd(&fd);
	s->made = true;
	return true;
}

static int make_client(struct res_rinet *s, struct ck_err *err)
{
	int r;

	if (!s->made && connect_unbound(s))
		return 0;
	r = make_alone(s, err);
	return r < 0 ? r : connect_to(s->fd, &s->dst, err);
}

/* s was accepted by the socket at listening; its client connects. */
static int connect_pair(int listening, struct res_rinet *s, struct ck_err *err)
{
	struct res_rinet *client = s->peer;
	int r = make_client(client, err);

	if (r < 0)
		return r;
	r = s->fd = accept_from(listening, &client->src, err);
	s->made = r >= 0;
	return s->made ? 0 : r;
}

static bool covers(const struct res_rinet *listening, const struct sock_addr *a)
{
	return res_sock_same_end(&listening->src, a) ||
	       (listening->src.in.sin_port == a->in.sin_port && res_sock_is_any(&listening->src));
}

static int make_listening(struct engine_restore *r, struct res_rinet *l, struct ck_err *err)
{
	int ret = make_alone(l, err);

	if (ret == 0 && listen(l->fd, (int)l->e->backlog ? (int)l->e->backlog : 1) < 0)
		ret = ck_fail_errno(err, "cannot listen on a TCP socket");
	for (size_t i = 0; i < r->res->n_inet && ret == 0; i++) {
		struct res_rinet *s = &r->res->inet_socks[i];

		if (is_tcp(s->e) && s->e->accepted && !s->made && s->peer && !s->e->pending &&
		    s->e->family == l->e->family && covers(l, &s->src))
			ret = connect_pair(l->fd, s, err);
	}
	if (ret == 0 && listen(l->fd, (int)l->e->backlog) < 0)
		ret = ck_fail_errno(err, "cannot listen on a TCP socket");
	return ret;
}

/* Those that wait to be accepted, in their order. */
static int connect_pending(struct engine_restore *r, const struct res_rinet *to, struct ck_err *err)
{
	for (uint32_t last = 0;;) {
		struct res_rinet *next = NULL;
		int ret;

		for (size_t i = 0; i < r->res->n_inet; i++) {
			struct res_rinet *s = &r->res->inet_socks[i];

			if (s->peer == to && s->e->pending > last &&
			    (!next || s->e->pending < next->e->pending))
				next = s;
		}
		if (!next)
			return 0;
		last = next->e->pending;
		ret = make_client(next, err);
		if (ret < 0)
			return ret;
	}
}

/* Nobody of the job listens at its address any more. */
static int stand_in(struct res_rinet *s, struct ck_err *err)
{
	CK_AUTO(fd) int fd = new_socket(s->e, err);
	int r = fd < 0 ? fd : bind_to(fd, &s->src, err);

	if (r == 0 && listen(fd, 1) < 0)
		r = ck_fail_errno(err, "cannot listen on a TCP socket");
	return r == 0 ? connect_pair(fd, s, err) : r;
}

/* ---- connections that are to be ended ---- */

static void loopback(const InetSkEntry *e, struct sock_addr *ret)
{
	static const struct in6_addr mapped = { { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127,
						    0, 0, 1 } } };

	memset(ret, 0, sizeof(*ret));
	ret->sa.sa_family = (sa_family_t)e->family;
	if (e->family == AF_INET) {
		ret->len = sizeof(ret->in);
		ret->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		ret->len = sizeof(ret->in6);
		ret->in6.sin6_addr = e->v6only ? in6addr_loopback : mapped;
	}
}

static int make_ended(struct res_rinet *s, struct ck_err *err)
{
	CK_AUTO(fd)
	int listening = socket((int)s->e->family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	struct sock_addr at, from;
	int r;

	loopback(s->e, &at);
	if (listening < 0 || bind(listening, &at.sa, at.len) < 0 || listen(listening, 1) < 0 ||
	    res_sock_name(listening, &at) < 0)
		return ck_fail_errno(err, "cannot listen at the loopback interface");
	r = s->fd = new_socket(s->e, err);
	if (r < 0)
		return r;
	s->made = true;
	r = connect_to(s->fd, &at, err);
	if (r == 0 && res_sock_name(s->fd, &from) < 0)
		r = ck_fail_errno(err, "cannot ask for the name of a socket");
	if (r == 0)
		r = s->other = accept_from(listening, &from, err);
	return r < 0 ? r : 0;
}

/* Linux net/ipv4/tcp.c:__tcp_close(): without lingering, the other side gets a reset. */
static int end_connection(struct res_rinet *s, struct ck_err *err)
{
	const struct linger cut = { .l_onoff = 1, .l_linger = 0 };

	if (s->e->ended == SOCK_ENDED_RESET &&
	    setsockopt(s->other, SOL_SOCKET, SO_LINGER, &cut, sizeof(cut)) < 0)
		return ck_fail_errno(err, "cannot reset a connection");
	close(s->other);
	s->other = -EBADF;
	if (s->e->ended == SOCK_ENDED_OVER && shutdown(s->f->fd, SHUT_WR) < 0 && errno != ENOTCONN)
		return ck_fail_errno(err, "cannot end a connection");
	return 0;
}

static int by_ino(const void *a, const void *b)
{
	uint32_t x = ((const struct res_rinet *)a)->e->ino;
	uint32_t y = ((const struct res_rinet *)b)->e->ino;

	return (x > y) - (x < y);
}

static int find_peers(struct engine_restore *r, struct ck_err *err)
{
	struct res_restore *res = r->res;

	qsort(res->inet_socks, res->n_inet, sizeof(*res->inet_socks), by_ino);
	for (size_t i = 0; i < res->n_inet; i++) {
		struct res_rinet *s = &res->inet_socks[i];
		InetSkEntry key = { .ino = s->e->peer };
		const struct res_rinet k = { .e = &key };

		if (i > 0 && s[-1].e->ino == s->e->ino)
			return ck_fail(err, CK_ERR_IMAGE, -EEXIST, "IP socket %u is there twice",
				       s->e->ino);
		if (!s->e->has_peer || !is_tcp(s->e))
			continue;
		s->peer = bsearch(&k, res->inet_socks, res->n_inet, sizeof(k), by_ino);
		if (!s->peer || s->peer == s || !is_tcp(s->peer->e) ||
		    (s->e->pending ? s->peer->e->state != SOCK_LISTENING
				   : s->peer->e->peer != s->e->ino || s->peer->e->pending))
			return ck_fail(err, CK_ERR_IMAGE, -ENOENT, "TCP socket %u has no peer",
				       s->e->ino);
	}
	return 0;
}

static int make_all(struct engine_restore *r, struct ck_err *err)
{
	struct res_restore *res = r->res;
	int ret = find_peers(r, err);

	for (size_t i = 0; i < res->n_inet && ret == 0; i++)
		if (res->inet_socks[i].e->state == SOCK_LISTENING)
			ret = make_listening(r, &res->inet_socks[i], err);
	/* Who listens is likelier to have been the one that may use its address again. */
	for (size_t i = 0; i < 2 * res->n_inet && ret == 0; i++) {
		struct res_rinet *s = &res->inet_socks[i % res->n_inet];

		if (is_tcp(s->e) && s->peer && !s->e->pending && !s->made &&
		    (s->e->opts->reuseaddr || i >= res->n_inet))
			ret = stand_in(s, err);
	}
	for (size_t i = 0; i < res->n_inet && ret == 0; i++)
		if (res->inet_socks[i].e->state == SOCK_LISTENING)
			ret = connect_pending(r, &res->inet_socks[i], err);
	for (size_t i = 0; i < res->n_inet && ret == 0; i++)
		ret = res->inet_socks[i].e->ended ? make_ended(&res->inet_socks[i], err)
						  : make_alone(&res->inet_socks[i], err);
	return ret;
}

int res_sock_inet_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
		       struct ck_err *err)
{
	struct res_restore *res = r->res;
	bool any = false;
	int ret;

	for (size_t i = 0; i < res->n_inet; i++)
		any = any || res->inet_socks[i].made;
	ret = any ? 0 : make_all(r, err);
	for (size_t i = 0; i < res->n_inet && ret == 0; i++) {
		struct res_rinet *s = &res->inet_socks[i];

		if (s->f != f)
			continue;
		ret = res_set_status(s->fd, f->fe->isk->flags, err);
		if (ret == 0)
			*ret_fd = ck_take_fd(&s->fd);
		return ret;
	}
	return ret < 0 ? ret : ck_fail(err, CK_ERR_BUG, -ENOENT, "a socket was not made");
}

/* ---- finish ---- */

struct sending {
	struct engine_restore *r;
	struct res_rinet *to;
};

static int send_datagram(struct sending *x, const SkPacketEntry *p, const uint8_t *data,
			 struct ck_err *err)
{
	struct sock_addr from = { .len = 0 }, to = x->to->src;

	if (!p->has_from || p->from.len < sizeof(struct sockaddr_in))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a datagram has no sender");
	from.len = (socklen_t)p->from.len;
	memcpy(&from.any, p->from.data, p->from.len);
	for (size_t i = 0; i < x->r->res->n_inet; i++) {
		const struct res_rinet *s = &x->r->res->inet_socks[i];

		if (is_tcp(s->e) || s->src.in.sin_port != from.in.sin_port)
			continue;
		/* To whoever has every address of the host: where the sender is. */
		if (res_sock_is_any(&x->to->src)) {
			to = from;
			to.in.sin_port = x->to->src.in.sin_port;
		}
		if (!res_sock_in_family(&to, (int)s->e->family))
			continue;
		return res_sock_queue_send(x->r, s->f->fd, p, data, &to, err);
	}
	return ck_fail(err, CK_ERR_IMAGE, -ENOTCONN, "nobody can send a datagram again");
}

static int send_packet(const SkPacketEntry *p, const uint8_t *data, void *arg, struct ck_err *err)
{
	struct sending *x = arg;
	const struct res_rinet *peer = x->to->peer;
	int fd = x->to->other;

	if (!is_tcp(x->to->e))
		return send_datagram(x, p, data, err);
	if (peer && !x->to->e->pending)
		fd = peer->f->fd;
	if (fd < 0)
		return ck_fail(err, CK_ERR_IMAGE, -ENOTCONN,
			       "a TCP socket has received something from nobody");
	res_sock_widen(fd);
	return res_sock_queue_send(x->r, fd, p, data, NULL, err);
}

static int set_options(struct res_rinet *s, struct ck_err *err)
{
	int r = 0;

	if (s->e->tcp_opts)
		r = res_sock_opts_set(s->f->fd, res_sock_tcp_opts, res_sock_n_tcp_opts,
				      s->e->tcp_opts, err);
	return r < 0 ? r : res_sock_common_set(s->f->fd, s->e->opts, is_tcp(s->e), err);
}

static int finish_one(struct res_rinet *s, struct ck_err *err)
{
	static const int how[] = { 0, SHUT_RD, SHUT_WR, SHUT_RDWR };
	int r = s->other >= 0 ? end_connection(s, err) : 0;

	if (r == 0 && !is_tcp(s->e) && s->dst.len)
		r = connect_to(s->f->fd, &s->dst, err);
	if (r == 0 && s->e->shutdown && shutdown(s->f->fd, how[s->e->shutdown]) < 0 &&
	    errno != ENOTCONN)
		r = ck_fail_errno(err, "cannot shut down a TCP socket");
	return r < 0 ? r : set_options(s, err);
}

int res_sock_inet_finish(struct engine_restore *r, struct ck_err *err)
{
	struct res_restore *res = r->res;
	int ret = 0;

	for (size_t i = 0; i < res->n_inet && ret == 0; i++) {
		struct res_rinet *s = &res->inet_socks[i];

		ret = res_sock_queue_each(r, s->e->id, send_packet,
					  &(struct sending){ .r = r, .to = s }, err);
		if (ret < 0)
			ret = res_err_at_rfile(s->f, err, ret);
	}
	for (size_t i = 0; i < res->n_inet && ret == 0; i++) {
		struct res_rinet *s = &res->inet_socks[i];

		ret = finish_one(s, err);
		if (ret < 0)
			ret = res_err_at_rfile(s->f, err, ret);
	}
	return ret;
}
