// SPDX-License-Identifier: Apache-2.0
/*
 * Asks for the loopback interface by one netlink socket, over and over; others stand by: a member
 * of a group with options, one for events of devices, one that is not bound.
 */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "job.h"

static int asks, hears, events, unbound;
static struct sockaddr_nl asks_name, hears_name;

static struct sockaddr_nl name_of(int fd)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(!getsockname(fd, (struct sockaddr *)&a, &len));
	return a;
}

static int bound(int protocol, uint32_t groups)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW, protocol);

	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

static void setup(void)
{
	int on = 1;

	asks = bound(NETLINK_ROUTE, 0);
	hears = bound(NETLINK_ROUTE, 0);
	/* one that nothing on this host is likely to be told to */
	CHECK(!setsockopt(hears, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &(int){ RTNLGRP_MPLS_ROUTE },
			  sizeof(int)));
	CHECK(!setsockopt(hears, SOL_NETLINK, NETLINK_PKTINFO, &on, sizeof(on)));
	events = bound(NETLINK_KOBJECT_UEVENT, 0);
	unbound = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	CHECK(unbound >= 0);
	asks_name = name_of(asks);
	hears_name = name_of(hears);
}

static void ask(uint32_t seq)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = { .h = { .nlmsg_len = sizeof(q),
		       .nlmsg_type = RTM_GETLINK,
		       .nlmsg_flags = NLM_F_REQUEST,
		       .nlmsg_seq = seq },
		.i = { .ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex("lo") } };
	union {
		struct nlmsghdr h;
		char bytes[32768];
	} a;
	ssize_t n;

	CHECK(send(asks, &q, sizeof(q), 0) == sizeof(q));
	n = recv(asks, &a, sizeof(a), 0);
	CHECK(n >= (ssize_t)sizeof(q) && a.h.nlmsg_type == RTM_NEWLINK && a.h.nlmsg_seq == seq);
}

static void check(void)
{
	struct sockaddr_nl a = name_of(asks), h = name_of(hears), u = name_of(unbound);
	uint32_t groups[8] = { 0 };
	socklen_t len = sizeof(groups);
	int on = 0, type = 0;

	CHECK(a.nl_pid == asks_name.nl_pid && h.nl_pid == hears_name.nl_pid && u.nl_pid == 0);
	CHECK(!getsockopt(hears, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len));
	CHECK(groups[0] == 1u << (RTNLGRP_MPLS_ROUTE - 1) && groups[1] == 0);
	len = sizeof(on);
	CHECK(!getsockopt(hears, SOL_NETLINK, NETLINK_PKTINFO, &on, &len) && on == 1);
	CHECK(!getsockopt(unbound, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_DGRAM);
	CHECK(fcntl(unbound, F_GETFL) == (O_RDWR | O_NONBLOCK));
	CHECK(!getsockopt(events, SOL_SOCKET, SO_PROTOCOL, &type, &len));
	CHECK(type == NETLINK_KOBJECT_UEVENT);
}

int main(void)
{
	uint64_t x = 13;

	setup();
	job_begin(50000);
	while (job_more()) {
		x = job_chain(x, 1000);
		ask((uint32_t)x);
		check();
	}
	return job_end("routes", x);
}
