// SPDX-License-Identifier: Apache-2.0
/*
 * Options of sockets beyond those that CRIU's messages have fields for: one table for all families.
 * What differs from a new socket of the same kind is kept, byte by byte as getsockopt() tells it,
 * and set again in the end. Not in the table: what the kernel changes by itself (TCP_QUICKACK,
 * SO_INCOMING_CPU), what only tells (IP_MTU), and what can't be read (TCP's keys, programs that
 * choose among SO_REUSEPORT). Multicast memberships go with them: sock-group.c.
 */
#include <errno.h>
#include <linux/in6.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum { MAX_VALUE = 64 };

enum row_flags {
	IDLE = 1 << 0,  /* TCP: tells the user's wish only while there is no connection */
	NEVER = 1 << 1, /* what it stands for can't be kept: an interface by its number, ... */
	DGRAM = 1 << 2, /* not of streams: the kernel fills it in when it accepts one */
};

struct row {
	int level, opt;
	unsigned int flags;
	const char *name;
};

/* Numbers that the C library's headers may not have yet */
#define ROW(level_, opt_, number_, flags_)                                            \
	{                                                                             \
		.level = (level_), .opt = (number_), .flags = (flags_), .name = #opt_ \
	}
/* clang-format off */
static const struct row rows[] = {
	ROW(SOL_SOCKET, SO_DEBUG, 1, 0),
	ROW(SOL_SOCKET, SO_TIMESTAMPING, 37, 0),
	ROW(SOL_SOCKET, SO_WIFI_STATUS, 41, 0),
	ROW(SOL_SOCKET, SO_NOFCS, 43, 0),
	ROW(SOL_SOCKET, SO_LOCK_FILTER, 44, 0),
	ROW(SOL_SOCKET, SO_SELECT_ERR_QUEUE, 45, 0),
	ROW(SOL_SOCKET, SO_BUSY_POLL, 46, 0),
	ROW(SOL_SOCKET, SO_MAX_PACING_RATE, 47, 0),
	ROW(SOL_SOCKET, SO_ZEROCOPY, 60, 0),
	ROW(SOL_SOCKET, SO_TXTIME, 61, 0),
	ROW(SOL_SOCKET, SO_TIMESTAMP_NEW, 63, 0),
	ROW(SOL_SOCKET, SO_TIMESTAMPNS_NEW, 64, 0),
	ROW(SOL_SOCKET, SO_PREFER_BUSY_POLL, 69, 0),
	ROW(SOL_SOCKET, SO_RESERVE_MEM, 73, 0),
	ROW(SOL_SOCKET, SO_TXREHASH, 74, 0),
	ROW(SOL_SOCKET, SO_RCVMARK, 75, 0),
	ROW(SOL_SOCKET, SO_PASSPIDFD, 76, 0),
	ROW(SOL_SOCKET, SO_PASSRIGHTS, 83, 0),
	ROW(IPPROTO_TCP, TCP_MAXSEG, 2, IDLE),
	ROW(IPPROTO_TCP, TCP_WINDOW_CLAMP, 10, IDLE),
	ROW(IPPROTO_TCP, TCP_CONGESTION, 13, 0),
	ROW(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 16, 0),
	ROW(IPPROTO_TCP, TCP_SAVE_SYN, 27, 0),
	ROW(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 30, IDLE),
	ROW(IPPROTO_TCP, TCP_ULP, 31, NEVER),
	ROW(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 34, 0),
	ROW(IPPROTO_TCP, TCP_INQ, 36, 0),
	ROW(IPPROTO_TCP, TCP_TX_DELAY, 37, 0),
	ROW(IPPROTO_UDP, UDP_CORK, 1, NEVER),
	ROW(IPPROTO_UDP, UDP_ENCAP, 100, NEVER),
	ROW(IPPROTO_UDP, UDP_NO_CHECK6_TX, 101, 0),
	ROW(IPPROTO_UDP, UDP_NO_CHECK6_RX, 102, 0),
	ROW(IPPROTO_UDP, UDP_SEGMENT, 103, 0),
	ROW(IPPROTO_UDP, UDP_GRO, 104, 0),
	ROW(IPPROTO_IP, IP_OPTIONS, 4, 0),
	ROW(IPPROTO_IP, IP_RECVOPTS, 6, 0),
	ROW(IPPROTO_IP, IP_RETOPTS, 7, 0),
	ROW(IPPROTO_IP, IP_RECVTTL, 12, 0),
	ROW(IPPROTO_IP, IP_RECVTOS, 13, 0),
	ROW(IPPROTO_IP, IP_PASSSEC, 18, 0),
	ROW(IPPROTO_IP, IP_TRANSPARENT, 19, NEVER),
	ROW(IPPROTO_IP, IP_RECVORIGDSTADDR, 20, 0),
	ROW(IPPROTO_IP, IP_MINTTL, 21, 0),
	ROW(IPPROTO_IP, IP_CHECKSUM, 23, 0),
	ROW(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 24, 0),
	ROW(IPPROTO_IP, IP_RECVFRAGSIZE, 25, 0),
	ROW(IPPROTO_IP, IP_RECVERR_RFC4884, 26, 0),
	ROW(IPPROTO_IP, IP_MULTICAST_IF, 32, DGRAM), /* an address */
	ROW(IPPROTO_IP, IP_MULTICAST_ALL, 49, DGRAM),
	ROW(IPPROTO_IP, IP_UNICAST_IF, 50, NEVER),
	ROW(IPPROTO_IP, IP_LOCAL_PORT_RANGE, 51, 0),
	ROW(IPPROTO_IPV6, IPV6_2292PKTINFO, 2, 0),
	ROW(IPPROTO_IPV6, IPV6_2292HOPOPTS, 3, 0),
	ROW(IPPROTO_IPV6, IPV6_2292DSTOPTS, 4, 0),
	ROW(IPPROTO_IPV6, IPV6_2292RTHDR, 5, 0),
	ROW(IPPROTO_IPV6, IPV6_2292HOPLIMIT, 8, 0),
	ROW(IPPROTO_IPV6, IPV6_FLOWINFO, 11, 0),
	ROW(IPPROTO_IPV6, IPV6_MULTICAST_IF, 17, DGRAM | NEVER),
	ROW(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 18, DGRAM),
	ROW(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 19, DGRAM),
	ROW(IPPROTO_IPV6, IPV6_MTU_DISCOVER, 23, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVERR, 25, 0),
	ROW(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 29, DGRAM),
	ROW(IPPROTO_IPV6, IPV6_RECVERR_RFC4884, 31, 0),
	ROW(IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 33, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 51, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVHOPOPTS, 53, 0),
	ROW(IPPROTO_IPV6, IPV6_HOPOPTS, 54, 0),
	ROW(IPPROTO_IPV6, IPV6_RTHDRDSTOPTS, 55, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVRTHDR, 56, 0),
	ROW(IPPROTO_IPV6, IPV6_RTHDR, 57, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVDSTOPTS, 58, 0),
	ROW(IPPROTO_IPV6, IPV6_DSTOPTS, 59, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVPATHMTU, 60, 0),
	ROW(IPPROTO_IPV6, IPV6_DONTFRAG, 62, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVTCLASS, 66, 0),
	ROW(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 70, 0),
	ROW(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 72, 0),
	ROW(IPPROTO_IPV6, IPV6_MINHOPCOUNT, 73, 0),
	ROW(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 74, 0),
	ROW(IPPROTO_IPV6, IPV6_UNICAST_IF, 76, NEVER),
	ROW(IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 77, 0),
	ROW(SOL_NETLINK, NETLINK_PKTINFO, 3, 0),
	ROW(SOL_NETLINK, NETLINK_BROADCAST_ERROR, 4, 0),
	ROW(SOL_NETLINK, NETLINK_NO_ENOBUFS, 5, 0),
	ROW(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 8, 0),
	ROW(SOL_NETLINK, NETLINK_CAP_ACK, 10, 0),
	ROW(SOL_NETLINK, NETLINK_EXT_ACK, 11, 0),
	ROW(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 12, 0),
};
/* clang-format on */
#undef ROW

struct value {
	socklen_t len;
	uint8_t bytes[MAX_VALUE];
};

/* False: this socket does not know the option. */
static bool get(int fd, const struct row *row, struct value *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->len = sizeof(ret->bytes);
	return getsockopt(fd, row->level, row->opt, ret->bytes, &ret->len) == 0;
}

static bool is_equal(const struct value *a, const struct value *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* ---- dump ---- */

static int add(SkOptsEntry *o, const struct row *row, const struct value *v, struct ck_err *err)
{
	SkMoreEntry **grown = reallocarray(o->more, o->n_more + 1, sizeof(*grown));
	SkMoreEntry *m = grown ? calloc(1, sizeof(*m)) : NULL;
	uint8_t *bytes = m ? malloc(MAX_VALUE) : NULL;

	if (grown)
		o->more = grown;
	if (!bytes) {
		free(m);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember an option of a socket");
	}
	sk_more_entry__init(m);
	m->level = (uint32_t)row->level;
	m->opt = (uint32_t)row->opt;
	m->value.len = v->len;
	m->value.data = memcpy(bytes, v->bytes, v->len);
	o->more[o->n_more++] = m;
	return 0;
}

int res_sock_more_read(int fd, struct res_sock *s, bool idle, struct ck_err *err)
{
	CK_AUTO(fd) int fresh = socket(s->family, s->type | SOCK_CLOEXEC, s->protocol);

	for (size_t i = 0; i < CK_ARRAY_SIZE(rows); i++) {
		struct value is, was = { .len = 0 };
		int r;

		if (((rows[i].flags & IDLE) && !idle) ||
		    ((rows[i].flags & DGRAM) && s->type == SOCK_STREAM))
			continue;
		if (!get(fd, &rows[i], &is) ||
		    (fresh >= 0 && get(fresh, &rows[i], &was) && is_equal(&is, &was)))
			continue;
		if (rows[i].flags & NEVER || is.len == MAX_VALUE)
			return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				       "cannot dump a socket with %s set", rows[i].name);
		r = add(&s->opts, &rows[i], &is, err);
		if (r < 0)
			return r;
	}
	return res_sock_groups_read(fd, s, &s->opts, err);
}

void res_sock_more_done(SkOptsEntry *o)
{
	for (size_t i = 0; i < o->n_more; i++) {
		SkMoreEntry *m = o->more[i];

		for (size_t k = 0; k < m->n_sources; k++)
			free(m->sources[k].data);
		free(m->sources);
		free(m->interface);
		free(m->value.data);
		free(m);
	}
	free(o->more);
}

/* ---- restore ---- */

static const struct row *find(const SkMoreEntry *m)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(rows); i++)
		if ((uint32_t)rows[i].level == m->level && (uint32_t)rows[i].opt == m->opt)
			return &rows[i];
	return NULL;
}

int res_sock_more_check(const SkOptsEntry *o, struct ck_err *err)
{
	for (size_t i = 0; i < o->n_more; i++) {
		const SkMoreEntry *m = o->more[i];
		const struct row *row = find(m);
		int r = res_sock_is_group(m) ? res_sock_group_check(m, err) : 0;

		if (r < 0)
			return r;
		if (res_sock_is_group(m))
			continue;
		if (!row || (row->flags & NEVER) || m->value.len >= MAX_VALUE)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "option %u of level %u of a socket makes no sense", m->opt,
				       m->level);
	}
	return 0;
}

int res_sock_more_set(int fd, const SkOptsEntry *o, struct ck_err *err)
{
	for (size_t i = 0; i < o->n_more; i++) {
		const SkMoreEntry *m = o->more[i];
		struct value is, want = { .len = (socklen_t)m->value.len };
		const struct row *row = find(m);
		int r = res_sock_is_group(m) ? res_sock_group_set(fd, m, err) : 0;

		if (r < 0)
			return r;
		if (!row)
			continue; /* a group: res_sock_more_check() has refused all else */
		memcpy(want.bytes, m->value.data, m->value.len);
		if (get(fd, row, &is) && is_equal(&is, &want))
			continue;
		if (setsockopt(fd, row->level, row->opt, want.bytes, want.len) < 0)
			return ck_fail_errno(err, "cannot set %s of a socket", row->name);
	}
	return 0;
}
