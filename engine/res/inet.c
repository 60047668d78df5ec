// SPDX-License-Identifier: Apache-2.0
/*
 * TCP and UDP sockets, as they are looked at and written: unbound, bound, listening with clients of
 * the job that wait, connected within the job, to an end that is gone, or to outside, and those
 * whose connection is over. Who belongs to whom is found out in inet-settle.c, how sockets are made
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

bool res_sock_has_fin(uint32_t state)
{
	return state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING;
}

bool res_sock_is_connected(const struct res_sock *s)
{
	return s->state == SOCK_ESTABLISHED || s->state == FIN_WAIT1 || s->state == FIN_WAIT2 ||
	       res_sock_has_fin(s->state);
}

int res_sock_tcp_info(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0 ? -errno : 0;
}

/* ---- look ---- */

/* Closed, after it was connected. Which error it is that waits can't be asked without taking it. */
static int look_over(const struct engine_dump *d, struct res_sock *s, const struct pollfd *p,
		     struct ck_err *err)
{
	int r;

	s->ended = p->revents & POLLERR ? SOCK_ENDED_RESET : SOCK_ENDED_OVER;
	if (s->ended == SOCK_ENDED_OVER || d->opts->tcp != ENGINE_OUTSIDE_REFUSE)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN, "cannot dump a TCP socket for which an error waits");
	return ck_err_hint(err, r,
			   "try again when the job has been told, or use --tcp=reset: then that "
			   "the connection was reset is what it is told");
}

static int look_tcp(const struct engine_dump *d, struct res_sock *s, int fd, struct ck_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	struct tcp_info info;
	int r = res_sock_tcp_info(fd, &info);
	bool over;

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot ask for the state of a TCP socket");
	s->state = info.tcpi_state;
	over = poll(&p, 1, 0) > 0 && (p.revents & POLLRDHUP);
	if (s->state == SOCK_LISTENING) {
		s->waiting = info.tcpi_unacked;
		s->backlog = info.tcpi_sacked;
	} else if (s->state == SOCK_CLOSED) {
		return over ? look_over(d, s, &p, err) : 0;
	} else if (!res_sock_is_connected(s)) {
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump a TCP socket that is being connected");
		return ck_err_hint(err, r, "try again when it is connected");
	} else {
		if (s->state != SOCK_ESTABLISHED && s->state != CLOSE_WAIT)
			s->shutdown |= SK_SHUTDOWN__WRITE;
		if (over && !res_sock_has_fin(s->state))
			s->shutdown |= SK_SHUTDOWN__READ;
	}
	return 0;
}

/* Parts of a datagram (MSG_MORE), or some that wait for the network: nobody can read them. */
static int check_sent(int fd, struct ck_err *err)
{
	int unsent = 0, r;

	if (ioctl(fd, SIOCOUTQ, &unsent) < 0)
		return ck_fail_errno(err, "cannot ask what a socket has to send");
	if (!unsent)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump datagrams that a socket has not sent yet");
	return ck_err_hint(err, r, "try again when they are sent");
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
		return look_tcp(d, s, fd, err);
	s->state = s->peer_name.len ? SOCK_ESTABLISHED : SOCK_CLOSED;
	return check_sent(fd, err);
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
	*ret_port = ntohs(res_sock_port(a));
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
	e.has_ended = s->ended != 0;
	e.ended = s->ended;
	fe.type = FD_TYPES__INETSK;
	fe.id = f->id;
	fe.isk = &e;
	r = res_put_file(d, &fe, err);
	return r < 0 ? r : res_sock_queue_dump(d, s, err);
}

static int need_interface(struct engine_dump *d, const struct res_file *f, const char *name,
			  struct ck_err *err)
{
	CkptNeeds *all = &d->needs;
	CkptNeedInterface **grown, *n;
	char who[128];

	for (size_t i = 0; i < all->n_interfaces; i++)
		if (strcmp(all->interfaces[i]->name, name) == 0)
			return 0;
	snprintf(who, sizeof(who), ENGINE_TASK_FMT, ENGINE_TASK_ARG(f->task));
	grown = reallocarray(all->interfaces, all->n_interfaces + 1, sizeof(*grown));
	if (grown)
		all->interfaces = grown;
	n = grown ? calloc(1, sizeof(*n)) : NULL;
	if (!n)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember an interface");
	ckpt_need_interface__init(n);
	all->interfaces[all->n_interfaces++] = n;
	n->name = strdup(name);
	n->who = strdup(who);
	return n->name && n->who
		       ? 0
		       : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember an interface");
}

static int need_interfaces(struct engine_dump *d, const struct res_file *f, struct ck_err *err)
{
	const SkOptsEntry *o = &f->sock->opts;
	int r = o->so_bound_dev ? need_interface(d, f, o->so_bound_dev, err) : 0;

	for (size_t i = 0; i < o->n_more && r == 0; i++)
		if (o->more[i]->interface)
			r = need_interface(d, f, o->more[i]->interface, err);
	return r;
}

static int inet_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct res_sock *s = f->sock;
	bool tcp = s->type == SOCK_STREAM, v6 = s->family == AF_INET6;
	CkptNeedAddress **grown;
	CkptNeedAddress *n;
	char text[INET6_ADDRSTRLEN], who[128];
	int r = need_interfaces(d, f, err);

	if (r < 0)
		return r;
	if (s->name.len == 0 || !res_sock_port(&s->name) || s->accepted || s->pending || s->ended)
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
	n->port = ntohs(res_sock_port(&s->name));
	n->exclusive = (tcp ? s->state == SOCK_LISTENING : !res_sock_is_connected(s)) &&
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
