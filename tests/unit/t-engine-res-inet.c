// SPDX-License-Identifier: Apache-2.0
/* TCP and UDP sockets of a small job: listening, connected with each other, with queues. */
#include <netinet/in.h>
#include <netinet/tcp.h>
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

static Suite *inet_suite(void)
{
	const TTest *const tests[] = { tcp, udp, peer_outside };
	Suite *s = suite_create("engine/res-inet");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
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
