// SPDX-License-Identifier: Apache-2.0
/*
 * TCP and UDP sockets, as they are looked at and written: unbound, bound, listening with clients of
 * the job that wait, and connected within the job or to an end that is gone. A connection is known
 * by its two addresses. What one end has sent must have arrived at the other, for what is in
 * between nobody can read without privilege; on the same host that is a matter of moments, unless
 * the reader is behind. Multicast memberships can't be seen, and are not kept. How sockets are made
 * again is in inet-open.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

/* Linux include/net/tcp_states.h */
enum {
	FIN_WAIT1 = 4,
	FIN_WAIT2 = 5,
	CLOSE_WAIT = 8,
	LAST_ACK = 9,
	CLOSING = 11,
};

static bool has_fin(uint32_t state)
{
	return state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING;
}

static bool is_connected(const struct res_sock *s)
{
	return s->state == SOCK_ESTABLISHED || s->state == FIN_WAIT1 || s->state == FIN_WAIT2 ||
	       has_fin(s->state);
}

static int tcp_info(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0 ? -errno : 0;
}

/* ---- look ---- */

static int look_tcp(struct res_sock *s, int fd, struct ck_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	struct tcp_info info;
	int r = tcp_info(fd, &info);
	bool over;

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot ask for the state of a TCP socket");
	s->state = info.tcpi_state;
	over = poll(&p, 1, 0) > 0 && (p.revents & POLLRDHUP);
	if (s->state == SOCK_LISTENING) {
		s->waiting = info.tcpi_unacked;
		s->backlog = info.tcpi_sacked;
	} else if (s->state == SOCK_CLOSED) {
		if (!over)
			return 0;
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump a TCP socket whose connection is over");
		return ck_err_hint(err, r, "let the job close it");
	} else if (!is_connected(s)) {
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump a TCP socket that is being connected");
		return ck_err_hint(err, r, "try again when it is connected");
	} else {
		if (s->state != SOCK_ESTABLISHED && s->state != CLOSE_WAIT)
			s->shutdown |= SK_SHUTDOWN__WRITE;
		if (over && !has_fin(s->state))
			s->shutdown |= SK_SHUTDOWN__READ;
	}
	return 0;
}

static bool is_link_local(const struct sock_addr *a)
{
	return a->len && a->sa.sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LINKLOCAL(&a->in6.sin6_addr) ||
		IN6_IS_ADDR_MC_LINKLOCAL(&a->in6.sin6_addr));
}

int res_sock_inet_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err)
{
	struct res_sock *s;
	int r;

	f->type = &res_type_inet;
	r = res_sock_look(d, f, fd, err);
	if (r < 0)
		return r;
	s = f->sock;
	if (!(s->type == SOCK_STREAM && s->protocol == IPPROTO_TCP) &&
	    !(s->type == SOCK_DGRAM && s->protocol == IPPROTO_UDP))
		return res_type_other.look(d, f, err);
	if (is_link_local(&s->name) || is_link_local(&s->peer_name))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a socket with a link-local address");
	if (s->type == SOCK_STREAM)
		return look_tcp(s, fd, err);
	s->state = s->peer_name.len ? SOCK_ESTABLISHED : SOCK_CLOSED;
	return 0;
}

/* ---- settle ---- */

/* An IPv4 address in whichever family; 0 if it is of IPv6 only. */
static bool v4_of(const struct sock_addr *a, uint32_t *ret)
{
	if (a->sa.sa_family == AF_INET) {
		*ret = a->in.sin_addr.s_addr;
		return true;
	}
	if (!IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return false;
	memcpy(ret, &a->in6.sin6_addr.s6_addr[12], sizeof(*ret));
	return true;
}

static uint16_t port_of(const struct sock_addr *a)
{
	/* at the same place in both families */
	return a->in.sin_port;
}

bool res_sock_same_end(const struct sock_addr *a, const struct sock_addr *b)
{
	uint32_t x = 0, y = 0;
	bool v4 = v4_of(a, &x);

	if (!a->len || !b->len || port_of(a) != port_of(b) || v4 != v4_of(b, &y))
		return false;
	return v4 ? x == y
		  : memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(struct in6_addr)) == 0;
}

bool res_sock_is_any(const struct sock_addr *a)
{
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == 0
					  : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

static struct res_sock *find_peer(const struct engine_dump *d, const struct res_sock *s)
{
	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_sock *o = d->res->files[i]->sock;

		if (o && o != s && o->type == SOCK_STREAM &&
		    (o->family == AF_INET || o->family == AF_INET6) && is_connected(o) &&
		    res_sock_same_end(&o->name, &s->peer_name) &&
		    res_sock_same_end(&o->peer_name, &s->name))
			return o;
	}
	return NULL;
}

static struct res_sock *find_listening(const struct engine_dump *d, const struct sock_addr *at)
{
	struct res_sock *any = NULL;

	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_sock *o = d->res->files[i]->sock;

		if (!o || o->state != SOCK_LISTENING || o->family == AF_UNIX ||
		    port_of(&o->name) != port_of(at))
			continue;
		if (res_sock_same_end(&o->name, at))
			return o;
		if (res_sock_is_any(&o->name))
			any = o;
	}
	return any;
}

static int fail_outside(const struct res_sock *s, struct ck_err *err)
{
	char from[80], to[80];
	int r;

	res_sock_addr_text(&s->name, from, sizeof(from));
	res_sock_addr_text(&s->peer_name, to, sizeof(to));
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
		    "cannot dump a TCP connection that leads out of the job (%s to %s)", from, to);
	return ck_err_hint(err, r,
			   "dump the process at the other end too, or let the job close the "
			   "connection");
}

/* Everything that from has sent has arrived at to. */
static int check_arrived(struct engine_dump *d, const struct res_sock *from,
			 const struct res_sock *to, struct ck_err *err)
{
	CK_AUTO(fd) int a = res_file_borrow(d, from->f);
	CK_AUTO(fd) int b = res_file_borrow(d, to->f);
	struct tcp_info x, y;
	int unsent = 0, r;

	if (a < 0 || b < 0 || tcp_info(a, &x) < 0 || tcp_info(b, &y) < 0 ||
	    ioctl(a, SIOCOUTQNSD, &unsent) < 0)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot look at a TCP connection");
	/* The end of a stream counts as a byte received (tcp_rcv_nxt_update()), not as one sent. */
	if (unsent == 0 && x.tcpi_bytes_sent - x.tcpi_bytes_retrans ==
				   y.tcpi_bytes_received - (has_fin(y.tcpi_state) ? 1 : 0))
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump a TCP connection with %d bytes that the reader has no room for",
		    unsent);
	return ck_err_hint(err, r, "try again when the job has read more");
}

/* A client of the job that a listening socket of the job has not accepted yet. */
static int settle_pending(struct engine_dump *d, struct res_sock *s, struct res_sock *listening,
			  struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, s->f);
	struct tcp_info info;
	int unsent = 0, r;

	if (fd < 0 || tcp_info(fd, &info) < 0 || ioctl(fd, SIOCOUTQNSD, &unsent) < 0)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot look at a TCP connection");
	if (info.tcpi_bytes_sent || unsent || s->shutdown) {
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump what was sent to a connection that is not accepted yet");
		return ck_err_hint(err, r, "try again when the job has accepted it");
	}
	s->peer = listening->ino;
	s->pending = ++listening->found;
	return 0;
}

static int settle_connected(struct engine_dump *d, struct res_sock *s, struct ck_err *err)
{
	struct res_sock *peer = find_peer(d, s), *listening = find_listening(d, &s->peer_name);

	if (peer) {
		s->peer = peer->ino;
		s->accepted = find_listening(d, &s->name) != NULL;
		return check_arrived(d, s, peer, err);
	}
	if (listening && listening->waiting > listening->found && !has_fin(s->state))
		return settle_pending(d, s, listening, err);
	return fail_outside(s, err);
}

static int check_waiting(const struct res_sock *s, struct ck_err *err)
{
	int r;

	if (s->waiting == s->found)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump a TCP socket at which connections from outside of the job wait");
	return ck_err_hint(err, r, "try again when the job has accepted them");
}

/* A datagram can only be sent again by somebody who has the sender's address. */
static int check_senders(const struct engine_dump *d, const struct res_sock *s, struct ck_err *err)
{
	for (size_t i = 0; i < s->n_q; i++) {
		bool known = false;
		int r;

		for (size_t k = 0; k < d->res->n_files && !known; k++) {
			const struct res_sock *o = d->res->files[k]->sock;

			known = o && o->type == SOCK_DGRAM && o->family != AF_UNIX &&
				port_of(&o->name) == port_of(&s->q[i].from);
		}
		if (known)
			continue;
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump a datagram that came from outside of the job");
		return ck_err_hint(err, r, "try again when the job has read it");
	}
	return 0;
}

int res_inet_settle(struct engine_dump *d, struct ck_err *err)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < d->res->n_files; i++) {
			struct res_sock *s = d->res->files[i]->sock;
			int r = 0;

			if (!s || (s->family != AF_INET && s->family != AF_INET6))
				continue;
			if (s->type == SOCK_DGRAM)
				r = pass == 0 ? check_senders(d, s, err) : 0;
			else if (pass == 0 && is_connected(s))
				r = settle_connected(d, s, err);
			else if (pass == 1 && s->state == SOCK_LISTENING)
				r = check_waiting(s, err);
			if (r < 0)
				return res_err_at_file(s->f, err, r);
		}
	return 0;
}

/* Linux net/ipv4/inet_connection_sock.c:inet_csk_bind_conflict(): what ends in order keeps its
 * address for a minute, unless both ends are cut off. */
void res_abort(struct engine_dump *d)
{
	const struct linger cut = { .l_onoff = 1, .l_linger = 0 };

	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_sock *s = d->res->files[i]->sock;
		CK_AUTO(fd) int fd = -EBADF;

		if (!s || s->family == AF_UNIX || s->type != SOCK_STREAM || !is_connected(s))
			continue;
		fd = res_file_borrow(d, s->f);
		if (fd >= 0)
			(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof(cut));
	}
}

/* ---- options ---- */

#define TCP_ROW(kind_, opt_, field_)                                           \
	{                                                                      \
		.level = IPPROTO_TCP, .opt = (opt_), .kind = SOCK_OPT_##kind_, \
		.has = offsetof(TcpOptsEntry, has_##field_),                   \
		.value = offsetof(TcpOptsEntry, field_), .name = #opt_         \
	}
#define IP_ROW(kind_, level_, opt_, field_)                                 \
	{                                                                   \
		.level = (level_), .opt = (opt_), .kind = SOCK_OPT_##kind_, \
		.has = offsetof(IpOptsEntry, has_##field_),                 \
		.value = offsetof(IpOptsEntry, field_), .name = #opt_       \
	}
/* clang-format off */
const struct sock_opt res_sock_tcp_opts[] = {
	TCP_ROW(BOOL, TCP_NODELAY, nodelay),
	TCP_ROW(BOOL, TCP_CORK, cork),
	TCP_ROW(U32, TCP_KEEPCNT, keepcnt),
	TCP_ROW(U32, TCP_KEEPIDLE, keepidle),
	TCP_ROW(U32, TCP_KEEPINTVL, keepintvl),
	TCP_ROW(U32, TCP_USER_TIMEOUT, user_timeout),
	TCP_ROW(U32, TCP_DEFER_ACCEPT, defer_accept),
	TCP_ROW(U32, TCP_SYNCNT, syncnt),
	TCP_ROW(S32, TCP_LINGER2, linger2),
	TCP_ROW(U32, TCP_NOTSENT_LOWAT, notsent_lowat),
	TCP_ROW(U32, TCP_FASTOPEN, fastopen),
};
const size_t res_sock_n_tcp_opts = CK_ARRAY_SIZE(res_sock_tcp_opts);
const struct sock_opt res_sock_ip_opts[] = {
	IP_ROW(BOOL, IPPROTO_IP, IP_FREEBIND, freebind),
	IP_ROW(BOOL, IPPROTO_IP, IP_PKTINFO, pktinfo),
	IP_ROW(U32, IPPROTO_IP, IP_TOS, tos),
	IP_ROW(U32, IPPROTO_IP, IP_TTL, ttl),
	IP_ROW(U32, IPPROTO_IP, IP_MTU_DISCOVER, mtu_discover),
	IP_ROW(BOOL, IPPROTO_IP, IP_RECVERR, recverr),
	IP_ROW(U32, IPPROTO_IP, IP_MULTICAST_TTL, multicast_ttl),
	IP_ROW(BOOL, IPPROTO_IP, IP_MULTICAST_LOOP, multicast_loop),
};
const size_t res_sock_n_ip_opts = CK_ARRAY_SIZE(res_sock_ip_opts);
const struct sock_opt res_sock_ip6_opts[] = {
	IP_ROW(U32, IPPROTO_IPV6, IPV6_TCLASS, tclass),
	IP_ROW(U32, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops),
	IP_ROW(BOOL, IPPROTO_IPV6, IPV6_RECVPKTINFO, recvpktinfo6),
};
const size_t res_sock_n_ip6_opts = CK_ARRAY_SIZE(res_sock_ip6_opts);
/* clang-format on */

static int read_options(struct engine_dump *d, const struct res_sock *s, InetSkEntry *e,
			struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, s->f);
	int v6only = 0;
	socklen_t len = sizeof(v6only);

	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot borrow a socket");
	if (s->type == SOCK_STREAM)
		res_sock_opts_read(fd, res_sock_tcp_opts, res_sock_n_tcp_opts, e->tcp_opts);
	res_sock_opts_read(fd, res_sock_ip_opts, res_sock_n_ip_opts, e->ip_opts);
	/* Linux net/ipv4/ip_sockglue.c:do_ip_setsockopt() does not take it for a stream. */
	if (s->type == SOCK_STREAM)
		e->ip_opts->has_multicast_ttl = false;
	if (s->family == AF_INET6) {
		res_sock_opts_read(fd, res_sock_ip6_opts, res_sock_n_ip6_opts, e->ip_opts);
		e->has_v6only = getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len) == 0;
		e->v6only = v6only != 0;
	}
	return 0;
}

/* ---- dump ---- */

static size_t put_addr(const struct sock_addr *a, uint32_t words[static 4], uint32_t *ret_port)
{
	if (a->len == 0)
		return 0;
	*ret_port = ntohs(port_of(a));
	if (a->sa.sa_family == AF_INET) {
		words[0] = a->in.sin_addr.s_addr;
		return 1;
	}
	memcpy(words, &a->in6.sin6_addr, 4 * sizeof(uint32_t));
	return 4;
}

static int inet_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct res_sock *s = f->sock;
	TcpOptsEntry tcp = TCP_OPTS_ENTRY__INIT;
	IpOptsEntry ip = IP_OPTS_ENTRY__INIT;
	InetSkEntry e = INET_SK_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	uint32_t src[4], dst[4];
	int r;

	e.id = f->id;
	e.ino = s->ino;
	e.family = (uint32_t)s->family;
	e.type = (uint32_t)s->type;
	e.proto = (uint32_t)s->protocol;
	e.state = s->state;
	e.flags = f->flags;
	e.backlog = s->backlog;
	e.src_addr = src;
	e.n_src_addr = put_addr(&s->name, src, &e.src_port);
	e.dst_addr = dst;
	e.n_dst_addr = put_addr(&s->peer_name, dst, &e.dst_port);
	e.fown = &f->fown;
	e.opts = (SkOptsEntry *)(uintptr_t)&s->opts;
	e.ip_opts = &ip;
	e.tcp_opts = s->type == SOCK_STREAM ? &tcp : NULL;
	r = read_options(d, s, &e, err);
	if (r < 0)
		return r;
	e.has_shutdown = s->shutdown != 0;
	e.shutdown = (SkShutdown)s->shutdown;
	e.has_peer = s->peer != 0;
	e.peer = s->peer;
	e.has_pending = s->pending != 0;
	e.pending = s->pending;
	e.has_accepted = e.accepted = s->accepted;
	fe.type = FD_TYPES__INETSK;
	fe.id = f->id;
	fe.isk = &e;
	r = res_put_file(d, &fe, err);
	return r < 0 ? r : res_sock_queue_dump(d, s, err);
}

static int inet_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct res_sock *s = f->sock;
	bool tcp = s->type == SOCK_STREAM, v6 = s->family == AF_INET6;
	CkptNeedAddress **grown;
	CkptNeedAddress *n;
	char text[INET6_ADDRSTRLEN], who[128];

	if (s->name.len == 0 || !port_of(&s->name) || s->accepted || s->pending)
		return 0;
	if (!inet_ntop(s->name.sa.sa_family,
		       v6 ? (const void *)&s->name.in6.sin6_addr : &s->name.in.sin_addr, text,
		       sizeof(text)))
		return ck_fail_errno(err, "cannot name a socket's address");
	snprintf(who, sizeof(who), ENGINE_TASK_FMT, ENGINE_TASK_ARG(f->task));
	grown = reallocarray(d->needs.addresses, d->needs.n_addresses + 1, sizeof(*grown));
	if (grown)
		d->needs.addresses = grown;
	n = grown ? calloc(1, sizeof(*n)) : NULL;
	if (!n)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember an address");
	ckpt_need_address__init(n);
	d->needs.addresses[d->needs.n_addresses++] = n;
	n->protocol = strdup(tcp ? v6 ? "tcp6" : "tcp" : v6 ? "udp6" : "udp");
	n->address = strdup(text);
	n->who = strdup(who);
	n->port = ntohs(port_of(&s->name));
	n->exclusive = (tcp ? s->state == SOCK_LISTENING : !is_connected(s)) &&
		       !(s->opts.has_so_reuseport && s->opts.so_reuseport);
	return n->protocol && n->address && n->who
		       ? 0
		       : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember an address");
}

/* ---- restore: see inet-open.c ---- */

static bool inet_owns(const FileEntry *fe)
{
	return fe->isk != NULL;
}

static const FownEntry *inet_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->isk->fown;
}

const struct res_type res_type_inet = {
	.name = "an IP socket",
	.fd_type = FD_TYPES__INETSK,
	.dump = inet_dump,
	.needs = inet_needs,
	.owns = inet_owns,
	.load = res_sock_inet_load,
	.open = res_sock_inet_open,
	.fown = inet_fown,
	.finish = res_sock_inet_finish,
};
