// SPDX-License-Identifier: Apache-2.0
/*
 * Network interfaces with their addresses, by rtnetlink; ports that are taken, from /proc/net.
 * Those could be had by sock_diag as well, but asking may load kernel modules, and a probe changes
 * nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum {
	MAX_INTERFACES = 4096,
	MAX_SOCKETS = 256 << 10, /* bytes of text that are read of each table */
	BUFFER = 32 << 10,       /* the kernel makes no larger dump messages */
	MAC_MAX = 20,            /* InfiniBand's */
};

struct links {
	CkptFacts *facts;
	int *index; /* of the interface with the same number in facts */
	size_t n;
};

/* ---- rtnetlink ---- */

static int ask(int fd, uint16_t type)
{
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} request = {
		.h = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
		       .nlmsg_type = type,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		       .nlmsg_seq = type },
		.g = { .rtgen_family = AF_UNSPEC },
	};

	return send(fd, &request, request.h.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* Gives each message of the answer to fn. 0, -ENOMEM from fn, or another error of the kernel's. */
static int each_answer(int fd, uint16_t type, int (*fn)(struct links *l, const struct nlmsghdr *h),
		       struct links *links)
{
	CK_AUTO(free) char *buf = malloc(BUFFER);
	int r = buf ? ask(fd, type) : -ENOMEM;

	while (r == 0) {
		ssize_t n = recv(fd, buf, BUFFER, 0);
		struct nlmsghdr *h = (struct nlmsghdr *)buf;
		size_t len;

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (len = (size_t)n; NLMSG_OK(h, len) && r == 0; h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EIO;
			r = fn(links, h);
		}
	}
	return r;
}

/* An attribute's text, cut at its end. */
static char *text_of(const struct rtattr *a)
{
	return strndup(RTA_DATA(a), RTA_PAYLOAD(a));
}

static char *hardware_of(const struct rtattr *a)
{
	const uint8_t *b = RTA_DATA(a);
	char text[3 * MAC_MAX + 1] = "";
	size_t n = RTA_PAYLOAD(a), at = 0;

	for (size_t i = 0; i < n && i < MAC_MAX; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%02x", i ? ":" : "", b[i]);
	return strdup(text);
}

static char *kind_of(const struct rtattr *info)
{
	const struct rtattr *a = RTA_DATA(info);
	size_t len = RTA_PAYLOAD(info);

	for (; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == IFLA_INFO_KIND)
			return text_of(a);
	return NULL;
}

static void take_attribute(CkptInterface *i, const struct rtattr *a)
{
	uint32_t mtu;

	switch (a->rta_type) {
	case IFLA_IFNAME:
		if (!i->name)
			i->name = text_of(a);
		break;
	case IFLA_MTU:
		if (RTA_PAYLOAD(a) >= sizeof(mtu)) {
			memcpy(&mtu, RTA_DATA(a), sizeof(mtu));
			i->has_mtu = true;
			i->mtu = mtu;
		}
		break;
	case IFLA_ADDRESS:
		if (!i->hardware)
			i->hardware = hardware_of(a);
		break;
	case IFLA_LINKINFO:
		if (!i->kind)
			i->kind = kind_of(a);
		break;
	}
}

static int add_link(struct links *l, const struct nlmsghdr *h)
{
	const struct ifinfomsg *m = NLMSG_DATA(h);
	size_t len = IFLA_PAYLOAD(h);
	CkptInterface *i;
	int *index;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    l->n >= MAX_INTERFACES)
		return 0;
	index = reallocarray(l->index, l->n + 1, sizeof(*index));
	if (!index)
		return -ENOMEM;
	l->index = index;
	i = CK_PB_NEW(CkptInterface, ckpt_interface);
	if (!i)
		return -ENOMEM;
	i->has_up = true;
	i->up = (m->ifi_flags & IFF_UP) != 0;
	for (const struct rtattr *a = IFLA_RTA(m); RTA_OK(a, len); a = RTA_NEXT(a, len))
		take_attribute(i, a);
	if (!i->name || ck_pb_append(&l->facts->interfaces, &l->facts->n_interfaces, i) < 0) {
		ckpt_interface__free_unpacked(i, NULL);
		return -ENOMEM;
	}
	l->index[l->n++] = m->ifi_index;
	return 0;
}

static CkptInterface *by_index(struct links *l, int index)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->index[i] == index)
			return l->facts->interfaces[i];
	return NULL;
}

static int add_address(struct links *l, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	size_t len = IFA_PAYLOAD(h);
	const struct rtattr *best = NULL;
	char text[INET6_ADDRSTRLEN], full[INET6_ADDRSTRLEN + 8];
	CkptInterface *i;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    (m->ifa_family != AF_INET && m->ifa_family != AF_INET6))
		return 0;
	i = by_index(l, (int)m->ifa_index);
	/* IFA_ADDRESS is the other end of a point-to-point link, where IFA_LOCAL is ours. */
	for (const struct rtattr *a = IFA_RTA(m); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !best))
			best = a;
	if (!i || !best || RTA_PAYLOAD(best) < (m->ifa_family == AF_INET ? 4 : 16) ||
	    !inet_ntop(m->ifa_family, RTA_DATA(best), text, sizeof(text)))
		return 0;
	snprintf(full, sizeof(full), "%s/%u", text, m->ifa_prefixlen);
	return ck_pb_append_str(&i->addresses, &i->n_addresses, full);
}

static int interfaces(CkptFacts *facts)
{
	CK_AUTO(fd) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval patience = { .tv_sec = 2 };
	struct links l = { .facts = facts };
	int r;

	if (fd < 0)
		return 0;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	r = each_answer(fd, RTM_GETLINK, add_link, &l);
	if (r == 0)
		r = each_answer(fd, RTM_GETADDR, add_address, &l);
	free(l.index);
	return r == -ENOMEM ? r : 0;
}

/* ---- ports ---- */

static int add_listener(CkptFacts *facts, const char *protocol, const struct proc_listener *s)
{
	char text[INET6_ADDRSTRLEN];
	CkptListener *l;

	if (!inet_ntop(s->v6 ? AF_INET6 : AF_INET, s->address, text, sizeof(text)))
		return 0;
	l = CK_PB_NEW(CkptListener, ckpt_listener);
	if (!l)
		return -ENOMEM;
	l->protocol = strdup(protocol);
	l->address = strdup(text);
	l->port = s->port;
	l->has_uid = true;
	l->uid = s->uid;
	if (!l->protocol || !l->address ||
	    ck_pb_append(&facts->listeners, &facts->n_listeners, l) < 0) {
		ckpt_listener__free_unpacked(l, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* A table of sockets may be long; its beginning is enough for TCP, since listeners come first. */
static int ports(CkptFacts *facts, const char *protocol)
{
	CK_AUTO(proc_listeners) struct proc_listeners l = { 0 };
	CK_AUTO(free) char *text = malloc(MAX_SOCKETS);
	CK_AUTO(fd) int fd = -EBADF;
	char path[32];
	ssize_t n;
	bool cut;
	int r;

	if (!text)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/net/%s", protocol);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : ck_read_full(fd, text, MAX_SOCKETS);
	if (n < 0)
		return 0;
	cut = n == MAX_SOCKETS;
	while (cut && n > 0 && text[n - 1] != '\n')
		n--;
	r = proc_parse_listeners(text, (size_t)n, &l);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (cut && (protocol[0] == 'u' || !l.others))
		facts->has_listeners_cut = facts->listeners_cut = true;
	for (size_t i = 0; i < l.n && r == 0; i++)
		r = add_listener(facts, protocol, &l.l[i]);
	return r;
}

int probe_network(CkptFacts *facts)
{
	static const char *const protocols[] = { "tcp", "tcp6", "udp", "udp6" };
	int r = interfaces(facts);

	for (size_t i = 0; i < CK_ARRAY_SIZE(protocols) && r == 0; i++)
		r = ports(facts, protocols[i]);
	return r;
}
