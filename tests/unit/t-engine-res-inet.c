// SPDX-License-Identifier: Apache-2.0
/* TCP and UDP sockets of a small job: listening, connected with each other, with queues. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "tests/unit/res-job.h"

static void bind_at(int fd, int family, int type, int *port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in a4 = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *a = family == AF_INET ? (void *)&a4 : (void *)&a6;
	socklen_t len = family == AF_INET ? sizeof(a4) : sizeof(a6);

	job_move(socket(family, type, 0), fd);
	JOB_CHECK(bind(fd, a, len) == 0);
	JOB_CHECK(getsockname(fd, a, &len) == 0);
	*port = ntohs(family == AF_INET ? a4.sin_port : a6.sin6_port);
}

static void reach(int fd, int family, int type, int port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				   .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons((uint16_t)port) };

	if (!job_is_open(fd))
		job_move(socket(family, type, 0), fd);
	JOB_CHECK(connect(fd, family == AF_INET ? (void *)&a4 : (void *)&a6,
			  family == AF_INET ? sizeof(a4) : sizeof(a6)) == 0);
}

static int port_of(int fd, bool peer)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	if (peer)
		JOB_CHECK(getpeername(fd, (struct sockaddr *)&a, &len) == 0);
	else
		JOB_CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return ntohs(a.sin_port);
}

static void says(int fd, const char *text)
{
	JOB_CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static void reads(int fd, const char *text)
{
	char buf[200];
	ssize_t n = recv(fd, buf, strlen(text), MSG_WAITALL);

	JOB_CHECK(n == (ssize_t)strlen(text));
	JOB_CHECK(memcmp(buf, text, (size_t)n) == 0);
}

static int get(int fd, int level, int opt)
{
	int v = -77;
	socklen_t len = sizeof(v);

	JOB_CHECK(getsockopt(fd, level, opt, &v, &len) == 0);
	return v;
}

static void set(int fd, int level, int opt, int v)
{
	JOB_CHECK(setsockopt(fd, level, opt, &v, sizeof(v)) == 0);
}

/* ---- TCP ---- */

enum { P_LISTEN, P_GONE, P_SIX, P_CLIENT, P_WAITS };

static void tcp_make(int task)
{
	int port;

	(void)task;
	bind_at(10, AF_INET, SOCK_STREAM, &port);
	shared->value[P_LISTEN] = port;
	JOB_CHECK(listen(10, 7) == 0);
	reach(11, AF_INET, SOCK_STREAM, port);
	job_move(accept(10, NULL, NULL), 12);
	shared->value[P_CLIENT] = port_of(11, false);
	says(11, "to the server");
	says(12, "to the client");
	set(11, IPPROTO_TCP, TCP_NODELAY, 1);
	set(11, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(11, IPPROTO_TCP, TCP_KEEPIDLE, 123);
	/* half closed, with something left */
	reach(13, AF_INET, SOCK_STREAM, port);
	job_move(accept(10, NULL, NULL), 14);
	says(13, "last");
	JOB_CHECK(shutdown(13, SHUT_WR) == 0);
	/* not accepted */
	reach(15, AF_INET, SOCK_STREAM, port);
	shared->value[P_WAITS] = port_of(15, false);
	/* nobody listens any more */
	bind_at(20, AF_INET, SOCK_STREAM, &port);
	shared->value[P_GONE] = port;
	JOB_CHECK(listen(20, 1) == 0);
	reach(21, AF_INET, SOCK_STREAM, port);
	job_move(accept(20, NULL, NULL), 22);
	close(20);
	/* IPv6 */
	bind_at(23, AF_INET6, SOCK_STREAM, &port);
	JOB_CHECK(listen(23, 3) == 0);
	reach(24, AF_INET6, SOCK_STREAM, port);
	job_move(accept(23, NULL, NULL), 25);
	says(25, "six");
	job_move(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), 26);
	/* As a dump does it before it kills the job: the addresses are free at once. */
	for (int fd = 11; fd < 26; fd++)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
				 sizeof(struct linger));
}

static void tcp_verify(int task)
{
	char c;

	(void)task;
	JOB_CHECK(port_of(10, false) == shared->value[P_LISTEN]);
	JOB_CHECK(port_of(11, false) == shared->value[P_CLIENT]);
	JOB_CHECK(port_of(12, true) == shared->value[P_CLIENT]);
	JOB_CHECK(port_of(12, false) == shared->value[P_LISTEN]);
	reads(12, "to the server");
	reads(11, "to the client");
	JOB_CHECK(get(11, IPPROTO_TCP, TCP_NODELAY) == 1 && get(12, IPPROTO_TCP, TCP_NODELAY) == 0);
	JOB_CHECK(get(11, SOL_SOCKET, SO_KEEPALIVE) == 1);
	JOB_CHECK(get(11, IPPROTO_TCP, TCP_KEEPIDLE) == 123);
	JOB_CHECK(get(11, SOL_SOCKET, SO_REUSEADDR) == 0);
	says(11, "again");
	reads(12, "again");
	reads(14, "last");
	JOB_CHECK(recv(14, &c, 1, 0) == 0);
	says(14, "answer");
	reads(13, "answer");
	JOB_CHECK(send(13, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	job_move(accept(10, NULL, NULL), 16);
	JOB_CHECK(port_of(16, true) == shared->value[P_WAITS]);
	says(15, "at last");
	reads(16, "at last");
	says(21, "x");
	reads(22, "x");
	JOB_CHECK(port_of(22, false) == shared->value[P_GONE]);
	reads(24, "six");
	JOB_CHECK(fcntl(26, F_GETFL) == (O_RDWR | O_NONBLOCK));
	reach(27, AF_INET, SOCK_STREAM, (int)shared->value[P_LISTEN]);
}

START_TEST(tcp)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = tcp_make, .verify = tcp_verify });
}
END_TEST

/* ---- UDP ---- */

static void udp_make(int task)
{
	int port;

	(void)task;
	bind_at(10, AF_INET, SOCK_DGRAM, &port);
	shared->value[0] = port;
	bind_at(11, AF_INET, SOCK_DGRAM, &port);
	shared->value[1] = port;
	reach(11, AF_INET, SOCK_DGRAM, (int)shared->value[0]);
	says(11, "one");
	says(11, "");
	says(11, "three");
	reach(12, AF_INET, SOCK_DGRAM, (int)shared->value[1]);
	set(12, SOL_SOCKET, SO_BROADCAST, 1);
	job_move(socket(AF_INET6, SOCK_DGRAM, 0), 13);
}

static void from(int fd, const char *text, long port)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	char buf[100];
	ssize_t n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&a, &len);

	JOB_CHECK(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0);
	JOB_CHECK(ntohs(a.sin_port) == port);
}

static void udp_verify(int task)
{
	char c;

	(void)task;
	from(10, "one", shared->value[1]);
	from(10, "", shared->value[1]);
	from(10, "three", shared->value[1]);
	JOB_CHECK(recv(10, &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	says(11, "again");
	from(10, "again", shared->value[1]);
	JOB_CHECK(port_of(12, true) == shared->value[1]);
	JOB_CHECK(get(12, SOL_SOCKET, SO_BROADCAST) == 1);
	JOB_CHECK(get(13, SOL_SOCKET, SO_DOMAIN) == AF_INET6);
}

START_TEST(udp)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = udp_make, .verify = udp_verify });
}
END_TEST

/* One that takes both families, from one that has IPv4 only. */
static void both_make(int task)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(any);

	(void)task;
	job_move(socket(AF_INET6, SOCK_DGRAM, 0), 10);
	job_move(socket(AF_INET, SOCK_DGRAM, 0), 11);
	JOB_CHECK(bind(10, (struct sockaddr *)&any, len) == 0);
	JOB_CHECK(getsockname(10, (struct sockaddr *)&any, &len) == 0);
	to.sin_port = any.sin6_port;
	JOB_CHECK(sendto(11, "four", 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
	shared->value[1] = port_of(11, false);
}

static void both_verify(int task)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	char buf[8];

	(void)task;
	JOB_CHECK(recvfrom(10, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&a, &len) == 4);
	JOB_CHECK(memcmp(buf, "four", 4) == 0 && IN6_IS_ADDR_V4MAPPED(&a.sin6_addr));
	JOB_CHECK(ntohs(a.sin6_port) == shared->value[1]);
}

START_TEST(both_families)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = both_make, .verify = both_verify });
}
END_TEST

/* ---- what is refused ---- */

static int outer;

static void outer_in_job(void)
{
	int port, l;

	bind_at(100, AF_INET, SOCK_STREAM, &port);
	l = 100;
	ck_assert_int_eq(listen(l, 1), 0);
	reach(101, AF_INET, SOCK_STREAM, port);
	outer = accept(l, NULL, NULL);
	dup2(101, 0);
}

static void outer_make(int task)
{
	(void)task;
}

START_TEST(peer_outside)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = outer_make, .outside = outer_in_job },
		    "leads out of the job (127.0.0.1:");
}
END_TEST

/* ---- connections that lead to another process, which has sent something ---- */

enum { AWAY = 10, AWAY_TOO, GONE, OVER, CUT };

/* By the order in which it accepts them: keeps two, closes two, cuts one off. */
static void away_peer(int listening)
{
	const struct linger cut = { .l_onoff = 1, .l_linger = 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = AWAY; i <= CUT; i++) {
		int fd = accept(listening, NULL, NULL);

		if (fd < 0 || send(fd, "sent", 4, MSG_NOSIGNAL) != 4)
			_exit(1);
		if (i == CUT)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof(cut));
		if (i > AWAY_TOO)
			close(fd);
	}
	for (;;)
		pause();
}

static void away_outside(void)
{
	pid_t pid;
	int port;

	bind_at(100, AF_INET, SOCK_STREAM, &port);
	ck_assert_int_eq(listen(100, 8), 0);
	shared->value[0] = port;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		away_peer(100);
	shared->value[1] = pid;
	close(100);
}

static void away_make(int task)
{
	char buf[4];

	(void)task;
	for (int fd = AWAY; fd <= CUT; fd++) {
		struct pollfd p = { .fd = fd, .events = fd > AWAY_TOO ? POLLRDHUP : POLLIN };

		reach(fd, AF_INET, SOCK_STREAM, (int)shared->value[0]);
		JOB_CHECK(poll(&p, 1, 5000) == 1);
	}
	JOB_CHECK(recv(OVER, buf, 4, MSG_WAITALL) == 4 && shutdown(OVER, SHUT_WR) == 0);
	for (int fd = 0; fd < CUT - AWAY; fd++)
		if (shared->value[2] & 1 << fd)
			close(AWAY + fd);
	if (shared->value[2] & 1 << (CUT - AWAY))
		close(CUT);
}

static void ends_with(int fd, int error)
{
	char c;

	JOB_CHECK(recv(fd, &c, 1, 0) == (error ? -1 : 0) && (!error || errno == error));
}

/* The second time it knows that nobody is there. */
static void breaks(int fd)
{
	ssize_t r = send(fd, "x", 1, MSG_NOSIGNAL);

	if (r == 1)
		r = send(fd, "x", 1, MSG_NOSIGNAL);
	JOB_CHECK(r == -1 && (errno == EPIPE || errno == ECONNRESET));
}

static void away_verify(int task)
{
	(void)task;
	reads(AWAY, "sent");
	ends_with(AWAY, shared->value[3] ? ECONNRESET : 0);
	breaks(AWAY);
	reads(GONE, "sent");
	ends_with(GONE, 0);
	breaks(GONE);
	ends_with(OVER, 0);
	JOB_CHECK(send(OVER, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	if (job_is_open(CUT)) {
		reads(CUT, "sent");
		ends_with(CUT, ECONNRESET);
		ends_with(CUT, 0);
	}
}

static void away_cycle(enum engine_outside away, int closed)
{
	shared->value[2] = closed;
	shared->value[3] = away == ENGINE_OUTSIDE_RESET;
	job_cycle(&(struct job){ .n_tasks = 1,
				 .away = away,
				 .make = away_make,
				 .outside = away_outside,
				 .verify = away_verify });
	kill((pid_t)shared->value[1], SIGKILL);
	ck_assert_int_eq(waitpid((pid_t)shared->value[1], NULL, 0), shared->value[1]);
}

START_TEST(outside_closed)
{
	away_cycle(ENGINE_OUTSIDE_CLOSE, 0);
}
END_TEST

START_TEST(outside_reset)
{
	away_cycle(ENGINE_OUTSIDE_RESET, 0);
}
END_TEST

static void gone_verify(int task)
{
	(void)task;
	reads(GONE, "sent");
	ends_with(GONE, 0);
	breaks(GONE);
	ends_with(OVER, 0);
}

/* What has ended before the dump needs nobody's leave. */
START_TEST(outside_gone)
{
	shared->value[2] = 1 | 1 << (AWAY_TOO - AWAY) | 1 << (CUT - AWAY);
	job_cycle(&(struct job){
		.n_tasks = 1, .make = away_make, .outside = away_outside, .verify = gone_verify });
}
END_TEST

START_TEST(outside_refused)
{
	struct job j = { .n_tasks = 1, .make = away_make, .outside = away_outside };
	char text[40];

	shared->value[2] = 1 << (CUT - AWAY);
	job_refused(&j, "cannot dump 2 TCP connections that lead out of the job (127.0.0.1:");
	snprintf(text, sizeof(text), "task %ld (", shared->value[1]);
	ck_assert_msg(strstr(job_err.what, text) != NULL, "%s: %s", text, job_err.what);
	ck_assert_ptr_nonnull(strstr(job_err.where, "fd 10"));
	ck_assert_ptr_nonnull(strstr(job_err.hint, "--tcp=close"));
	ck_assert_int_eq(job_err.kind, CK_ERR_REFUSED);
}
END_TEST

START_TEST(outside_error)
{
	shared->value[2] = 1 | 1 << (AWAY_TOO - AWAY);
	job_refused(&(struct job){ .n_tasks = 1, .make = away_make, .outside = away_outside },
		    "for which an error waits");
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
}
END_TEST

/* ---- options beyond the usual ones ---- */

static const struct {
	int fd, level, opt, value;
} more[] = {
	{ 10, IPPROTO_TCP, TCP_MAXSEG, 1200 },
	{ 10, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1 },
	{ 10, IPPROTO_TCP, TCP_INQ, 1 },
	{ 10, SOL_SOCKET, SO_ZEROCOPY, 1 },
	{ 11, IPPROTO_IP, IP_RECVTTL, 1 },
	{ 11, IPPROTO_IP, IP_RECVTOS, 1 },
	{ 11, IPPROTO_IP, IP_MINTTL, 7 },
	{ 11, IPPROTO_IP, IP_MULTICAST_ALL, 0 },
	{ 11, IPPROTO_IP, IP_MULTICAST_IF, 0x0100007f },
	{ 11, IPPROTO_UDP, UDP_SEGMENT, 500 },
	{ 11, IPPROTO_UDP, UDP_GRO, 1 },
	{ 11, SOL_SOCKET, SO_TIMESTAMPING, 0x18 },
	{ 12, IPPROTO_IPV6, IPV6_RECVTCLASS, 1 },
	{ 12, IPPROTO_IPV6, IPV6_RECVERR, 1 },
	{ 12, IPPROTO_IPV6, IPV6_DONTFRAG, 1 },
	{ 12, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 9 },
	{ 12, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO },
};

static void more_make(int task)
{
	(void)task;
	job_move(socket(AF_INET, SOCK_STREAM, 0), 10);
	job_move(socket(AF_INET, SOCK_DGRAM, 0), 11);
	job_move(socket(AF_INET6, SOCK_DGRAM, 0), 12);
	for (size_t i = 0; i < CK_ARRAY_SIZE(more); i++)
		set(more[i].fd, more[i].level, more[i].opt, more[i].value);
	JOB_CHECK(setsockopt(10, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	JOB_CHECK(setsockopt(11, IPPROTO_IP, IP_OPTIONS, "\x01\x01\x01\x01", 4) == 0);
}

static void more_verify(int task)
{
	char buf[64];
	socklen_t len = sizeof(buf);

	(void)task;
	for (size_t i = 0; i < CK_ARRAY_SIZE(more); i++)
		if (get(more[i].fd, more[i].level, more[i].opt) != more[i].value) {
			snprintf(shared->failure, sizeof(shared->failure),
				 "option %d of level %d of fd %d is lost", more[i].opt,
				 more[i].level, more[i].fd);
			_exit(1);
		}
	JOB_CHECK(getsockopt(10, IPPROTO_TCP, TCP_CONGESTION, buf, &len) == 0);
	JOB_CHECK(strcmp(buf, "reno") == 0);
	len = sizeof(buf);
	JOB_CHECK(getsockopt(11, IPPROTO_IP, IP_OPTIONS, buf, &len) == 0 && len == 4);
	JOB_CHECK(memcmp(buf, "\x01\x01\x01\x01", 4) == 0);
}

START_TEST(more_options)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = more_make, .verify = more_verify });
}
END_TEST

/* ---- multicast ---- */

static struct sockaddr_storage ip4(const char *text)
{
	struct sockaddr_storage s = { 0 };
	struct sockaddr_in *a = (void *)&s;

	a->sin_family = AF_INET;
	JOB_CHECK(inet_pton(AF_INET, text, &a->sin_addr) == 1);
	return s;
}

static struct group_source_req source_of(const char *group, const char *source)
{
	return (struct group_source_req){ .gsr_interface = 1,
					  .gsr_group = ip4(group),
					  .gsr_source = ip4(source) };
}

/* Member of all, of all but one, of one; by IPv6; and by IPv4 on a socket for IPv6. */
static void groups_make(int task)
{
	struct group_source_req q = source_of("239.1.1.2", "127.9.9.9");
	struct group_req g = { .gr_interface = 1, .gr_group = ip4("239.1.1.1") };
	struct sockaddr_in6 *a6 = (void *)&g.gr_group;
	int port;

	(void)task;
	bind_at(10, AF_INET, SOCK_DGRAM, &port);
	job_move(socket(AF_INET6, SOCK_DGRAM, 0), 11);
	JOB_CHECK(setsockopt(10, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof(g)) == 0);
	JOB_CHECK(setsockopt(11, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof(g)) == 0);
	g.gr_group = q.gsr_group;
	JOB_CHECK(setsockopt(10, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof(g)) == 0);
	JOB_CHECK(setsockopt(10, IPPROTO_IP, MCAST_BLOCK_SOURCE, &q, sizeof(q)) == 0);
	q = source_of("239.1.1.3", "127.8.8.8");
	JOB_CHECK(setsockopt(10, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &q, sizeof(q)) == 0);
	*a6 = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	JOB_CHECK(inet_pton(AF_INET6, "ff02::7777", &a6->sin6_addr) == 1);
	JOB_CHECK(setsockopt(11, IPPROTO_IPV6, MCAST_JOIN_GROUP, &g, sizeof(g)) == 0);
}

static void member(int fd, const char *group, uint32_t mode, const char *source)
{
	struct group_filter f = { .gf_interface = 1, .gf_group = ip4(group), .gf_numsrc = 1 };
	socklen_t len = sizeof(f);
	struct sockaddr_storage s = ip4(source ? source : "0.0.0.0");

	JOB_CHECK(getsockopt(fd, IPPROTO_IP, MCAST_MSFILTER, &f, &len) == 0);
	JOB_CHECK(f.gf_fmode == mode && f.gf_numsrc == (source ? 1 : 0));
	JOB_CHECK(!source || memcmp(&f.gf_slist[0], &s, sizeof(struct sockaddr_in)) == 0);
}

static void groups_verify(int task)
{
	struct group_filter f = { .gf_interface = 1 };
	struct sockaddr_in6 *a6 = (void *)&f.gf_group;
	socklen_t len = sizeof(f);

	(void)task;
	member(10, "239.1.1.1", MCAST_EXCLUDE, NULL);
	member(10, "239.1.1.2", MCAST_EXCLUDE, "127.9.9.9");
	member(10, "239.1.1.3", MCAST_INCLUDE, "127.8.8.8");
	member(11, "239.1.1.1", MCAST_EXCLUDE, NULL);
	a6->sin6_family = AF_INET6;
	JOB_CHECK(inet_pton(AF_INET6, "ff02::7777", &a6->sin6_addr) == 1);
	JOB_CHECK(getsockopt(11, IPPROTO_IPV6, MCAST_MSFILTER, &f, &len) == 0);
	f.gf_group = ip4("239.1.1.2");
	JOB_CHECK(getsockopt(11, IPPROTO_IP, MCAST_MSFILTER, &f, &len) == -1);
}

START_TEST(groups)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = groups_make, .verify = groups_verify });
}
END_TEST

static void cork_make(int task)
{
	(void)task;
	job_move(socket(AF_INET, SOCK_DGRAM, 0), 11);
	set(11, IPPROTO_UDP, UDP_CORK, 1);
}

START_TEST(corked)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = cork_make }, "with UDP_CORK set");
}
END_TEST

/* Beside the stream, and at its place in it. */
static void urgent_make(int task)
{
	int port;

	(void)task;
	bind_at(10, AF_INET, SOCK_STREAM, &port);
	JOB_CHECK(listen(10, 1) == 0);
	reach(11, AF_INET, SOCK_STREAM, port);
	job_move(accept(10, NULL, NULL), 12);
	set(12, SOL_SOCKET, SO_OOBINLINE, (int)shared->value[0]);
	says(11, "before");
	JOB_CHECK(send(11, "!", 1, MSG_OOB) == 1);
	JOB_CHECK(poll(&(struct pollfd){ .fd = 12, .events = POLLPRI }, 1, 10000) == 1);
}

START_TEST(urgent)
{
	shared->value[0] = _i;
	job_refused(&(struct job){ .n_tasks = 1, .make = urgent_make }, "urgent data");
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
}
END_TEST

static void unsent_make(int task)
{
	int port;

	(void)task;
	bind_at(11, AF_INET, SOCK_DGRAM, &port);
	reach(12, AF_INET, SOCK_DGRAM, port);
	JOB_CHECK(send(12, "part", 4, MSG_MORE) == 4);
}

START_TEST(unsent)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = unsent_make }, "has not sent yet");
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
}
END_TEST

static Suite *inet_suite(void)
{
	const TTest *const tests[] = { tcp,           udp,          peer_outside,    outside_closed,
				       outside_reset, outside_gone, outside_refused, outside_error,
				       more_options,  corked,       unsent,          groups,
				       both_families };
	Suite *s = suite_create("engine/res-inet");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
	tcase_add_loop_test(c, urgent, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(inet_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
