// SPDX-License-Identifier: Apache-2.0
/*
 * A member of a multicast group, and of one by IPv6, at the loopback interface: what is sent to
 * the group arrives, what is sent to another one does not.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "job.h"

static int member, sender;
static struct sockaddr_in to = { .sin_family = AF_INET };

static void join(int level, int family, const char *group)
{
	struct group_req g = { .gr_interface = if_nametoindex("lo") };
	struct sockaddr_in *a = (void *)&g.gr_group;
	struct sockaddr_in6 *a6 = (void *)&g.gr_group;

	g.gr_group.ss_family = (sa_family_t)family;
	CHECK(inet_pton(family, group, family == AF_INET ? (void *)&a->sin_addr : &a6->sin6_addr));
	CHECKF(!setsockopt(member, level, MCAST_JOIN_GROUP, &g, sizeof(g)), "join %s", group);
}

static bool is_member6(const char *group)
{
	struct group_filter f = { .gf_interface = if_nametoindex("lo") };
	struct sockaddr_in6 *a6 = (void *)&f.gf_group;
	socklen_t len = sizeof(f);

	a6->sin6_family = AF_INET6;
	CHECK(inet_pton(AF_INET6, group, &a6->sin6_addr) == 1);
	return getsockopt(member, IPPROTO_IPV6, MCAST_MSFILTER, &f, &len) == 0;
}

static void setup(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct in_addr lo = { htonl(INADDR_LOOPBACK) };
	int off = 0;
	socklen_t len = sizeof(any);

	member = socket(AF_INET6, SOCK_DGRAM, 0);
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(member >= 0 && sender >= 0);
	/* else it hears what others at this host are members of */
	CHECK(!setsockopt(member, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof(off)));
	CHECK(!bind(member, (struct sockaddr *)&any, len));
	CHECK(!getsockname(member, (struct sockaddr *)&any, &len));
	to.sin_port = any.sin6_port;
	CHECK(!setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)));
	join(IPPROTO_IP, AF_INET, "239.77.1.1");
	join(IPPROTO_IPV6, AF_INET6, "ff02::7701");
}

static void say(const char *group, uint64_t x)
{
	CHECK(inet_pton(AF_INET, group, &to.sin_addr) == 1);
	CHECK(sendto(sender, &x, sizeof(x), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(x));
}

int main(void)
{
	uint64_t x = 9, heard;

	setup();
	job_begin(120000);
	while (job_more()) {
		x = job_chain(x, 1000);
		say("239.77.1.2", ~x);
		say("239.77.1.1", x);
		CHECK(recv(member, &heard, sizeof(heard), 0) == sizeof(heard) && heard == x);
		CHECK(is_member6("ff02::7701") && !is_member6("ff02::7702"));
	}
	return job_end("groups", x);
}
