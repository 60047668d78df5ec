// SPDX-License-Identifier: Apache-2.0
/*
 * Which TCP and UDP sockets of the job belong to each other, once all are known. A connection is
 * known by its two addresses. What one end has sent must have arrived at the other, for what is in
 * between nobody can read without privilege; on the same host that is a matter of moments, unless
 * the reader is behind.
 *
 * A connection that leads out of the job can't be made again: its other end would have to take
 * part. It is refused, or else comes back as one that the other side has ended, as the user wishes.
 * So do connections whose other end was here and is gone.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"
#include "engine/watch.h"

/* ---- addresses ---- */

/* An IPv4 address in whichever family; false if it is of IPv6 only. */
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

static bool same_address(const struct sock_addr *a, const struct sock_addr *b)
{
	uint32_t x = 0, y = 0;
	bool v4 = v4_of(a, &x);

	if (v4 != v4_of(b, &y))
		return false;
	return v4 ? x == y
		  : memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(struct in6_addr)) == 0;
}

bool res_sock_same_end(const struct sock_addr *a, const struct sock_addr *b)
{
	return a->len && b->len && res_sock_port(a) == res_sock_port(b) && same_address(a, b);
}

bool res_sock_is_any(const struct sock_addr *a)
{
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == 0
					  : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

bool res_sock_in_family(struct sock_addr *a, int family)
{
	const in_port_t port = a->in.sin_port;
	uint32_t v4;

	if (a->sa.sa_family == family)
		return true;
	if (!v4_of(a, &v4))
		return false;
	if (family == AF_INET) {
		a->in = (struct sockaddr_in){ AF_INET, port, { v4 }, { 0 } };
		a->len = sizeof(a->in);
	} else {
		a->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
		memset(&a->in6.sin6_addr.s6_addr[10], 0xff, 2);
		memcpy(&a->in6.sin6_addr.s6_addr[12], &v4, sizeof(v4));
		a->len = sizeof(a->in6);
	}
	return true;
}

static bool is_loopback(const struct sock_addr *a)
{
	uint32_t v4;

	if (v4_of(a, &v4))
		return ntohl(v4) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

/* ---- who is at the other end ---- */

static struct res_sock *find_peer(const struct engine_dump *d, const struct res_sock *s)
{
	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_sock *o = d->res->files[i]->sock;

		if (o && o != s && o->type == SOCK_STREAM &&
		    (o->family == AF_INET || o->family == AF_INET6) && res_sock_is_connected(o) &&
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
		    res_sock_port(&o->name) != res_sock_port(at))
			continue;
		if (res_sock_same_end(&o->name, at))
			return o;
		if (res_sock_is_any(&o->name))
			any = o;
	}
	return any;
}

/* The socket at the other end, on this host: *ret_ino is 0 if no process has it any more. False: it
 * may be on another one. */
static bool find_local(const struct res_sock *s, uint32_t *ret_ino)
{
	uint32_t state;
	int r;

	if (!is_loopback(&s->peer_name) && !same_address(&s->peer_name, &s->name))
		return false;
	r = res_sock_diag_tcp(&s->peer_name, &s->name, ret_ino, &state);
	if (r == -ENOENT)
		*ret_ino = 0;
	return r == 0 || r == -ENOENT;
}

/* Everything that from has sent has arrived at to. */
static int check_arrived(struct engine_dump *d, const struct res_sock *from,
			 const struct res_sock *to, struct ck_err *err)
{
	CK_AUTO(fd) int a = res_file_borrow(d, from->f);
	CK_AUTO(fd) int b = res_file_borrow(d, to->f);
	struct tcp_info x, y;
	int unsent = 0, r;

	if (a < 0 || b < 0 || res_sock_tcp_info(a, &x) < 0 || res_sock_tcp_info(b, &y) < 0 ||
	    ioctl(a, SIOCOUTQNSD, &unsent) < 0)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot look at a TCP connection");
	/* The end of a stream counts as a byte received (tcp_rcv_nxt_update()), not as one sent. */
	if (unsent == 0 && x.tcpi_bytes_sent - x.tcpi_bytes_retrans ==
				   y.tcpi_bytes_received - (res_sock_has_fin(y.tcpi_state) ? 1 : 0))
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

	if (fd < 0 || res_sock_tcp_info(fd, &info) < 0 || ioctl(fd, SIOCOUTQNSD, &unsent) < 0)
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
	uint32_t other;

	if (peer) {
		s->peer = peer->ino;
		s->accepted = find_listening(d, &s->name) != NULL;
		return check_arrived(d, s, peer, err);
	}
	if (listening && listening->waiting > listening->found && !res_sock_has_fin(s->state))
		return settle_pending(d, s, listening, err);
	if (res_sock_has_fin(s->state) && find_local(s, &other) && other == 0) {
		s->ended = SOCK_ENDED_CLOSED;
		return 0;
	}
	s->outside = true;
	s->ended = d->opts->tcp == ENGINE_OUTSIDE_RESET ? SOCK_ENDED_RESET : SOCK_ENDED_CLOSED;
	return 0;
}

/* ---- connections that lead out of the job ---- */

/* "10.0.0.1:4000 to 10.0.0.2:80 (task 812 (curl))" */
static void describe(const struct res_sock *s, char *buf, size_t size)
{
	char from[80], to[80], who[200] = "";
	uint32_t ino;

	res_sock_addr_text(&s->name, from, sizeof(from));
	res_sock_addr_text(&s->peer_name, to, sizeof(to));
	if (find_local(s, &ino) && ino)
		res_sock_holder(ino, who, sizeof(who));
	snprintf(buf, size, "%s to %s%s%s", from, to, who[0] ? ", " : "", who);
}

static int fail_outside(struct engine_dump *d, const struct res_sock *first, size_t n,
			struct ck_err *err)
{
	char one[400], list[200] = "";
	size_t told = 0, len = 0;
	int r;

	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_sock *s = d->res->files[i]->sock;

		if (!s || !s->outside)
			continue;
		describe(s, one, sizeof(one));
		engine_detail(&d->opts->watch, ENGINE_TASK_FMT " > fd %d: TCP connection %s",
			      ENGINE_TASK_ARG(s->f->task), s->f->fd, one);
		if (told && len + strlen(one) + 2 >= sizeof(list))
			continue;
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", told ? "; " : "",
					one);
		len = len < sizeof(list) ? len : sizeof(list) - 1;
		told++;
	}
	if (n == 1)
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a TCP connection that leads out of the job (%s)", list);
	else
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump %zu TCP connections that lead out of the job (%s%s)", n,
			    list, told < n ? "; and others, that -vv lists" : "");
	r = ck_err_hint(err, r,
			"dump the processes at the other ends too, or use --tcp=close or "
			"--tcp=reset: then the job finds them ended after the restore");
	return res_err_at_file(first->f, err, r);
}

/* All of them are told at once. */
static int check_outside(struct engine_dump *d, struct ck_err *err)
{
	const struct res_sock *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_sock *s = d->res->files[i]->sock;

		if (!s || !s->outside)
			continue;
		first = first ? first : s;
		n++;
	}
	return n && d->opts->tcp == ENGINE_OUTSIDE_REFUSE ? fail_outside(d, first, n, err) : 0;
}

/* Whoever waits from outside is turned away, if connections to the outside are to end. */
static int check_waiting(const struct engine_dump *d, const struct res_sock *s, struct ck_err *err)
{
	int r;

	if (s->waiting == s->found || d->opts->tcp != ENGINE_OUTSIDE_REFUSE)
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump a TCP socket at which connections from outside of the job wait");
	return ck_err_hint(err, r,
			   "try again when the job has accepted them, or use --tcp=close or "
			   "--tcp=reset");
}

/* A datagram can only be sent again by somebody who has the sender's address. */
static int check_senders(const struct engine_dump *d, const struct res_sock *s, struct ck_err *err)
{
	for (size_t i = 0; i < s->n_q; i++) {
		bool known = false;
		int r;

		for (size_t k = 0; k < d->res->n_files && !known; k++) {
			const struct res_sock *o = d->res->files[k]->sock;

			known = o && o->type == SOCK_DGRAM &&
				(o->family == AF_INET || o->family == AF_INET6) &&
				res_sock_port(&o->name) == res_sock_port(&s->q[i].from);
		}
		if (known)
			continue;
		r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
			    "cannot dump a datagram that came from outside of the job");
		return ck_err_hint(err, r, "try again when the job has read it");
	}
	return 0;
}

static int settle_one(struct engine_dump *d, struct res_sock *s, int pass, struct ck_err *err)
{
	if (s->type == SOCK_DGRAM)
		return pass == 0 ? check_senders(d, s, err) : 0;
	if (pass == 0 && res_sock_is_connected(s))
		return settle_connected(d, s, err);
	return pass == 1 && s->state == SOCK_LISTENING ? check_waiting(d, s, err) : 0;
}

int res_inet_settle(struct engine_dump *d, struct ck_err *err)
{
	for (int pass = 0; pass < 2; pass++) {
		int r = pass == 1 ? check_outside(d, err) : 0;

		if (r < 0)
			return r;
		for (size_t i = 0; i < d->res->n_files; i++) {
			struct res_sock *s = d->res->files[i]->sock;

			if (!s || (s->family != AF_INET && s->family != AF_INET6))
				continue;
			r = settle_one(d, s, pass, err);
			if (r < 0)
				return res_err_at_file(s->f, err, r);
		}
	}
	return 0;
}

/*
 * Linux net/ipv4/inet_connection_sock.c:inet_csk_bind_conflict(): what ends in order keeps its
 * address for a minute, unless both ends are cut off. Those outside are ended as was asked for.
 */
void res_abort(struct engine_dump *d)
{
	const struct linger cut = { .l_onoff = 1, .l_linger = 0 };

	for (size_t i = 0; i < d->res->n_files; i++) {
		const struct res_sock *s = d->res->files[i]->sock;
		CK_AUTO(fd) int fd = -EBADF;

		if (!s || s->family == AF_UNIX || s->type != SOCK_STREAM ||
		    !res_sock_is_connected(s) || s->ended == SOCK_ENDED_CLOSED)
			continue;
		fd = res_file_borrow(d, s->f);
		if (fd >= 0)
			(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof(cut));
	}
}
