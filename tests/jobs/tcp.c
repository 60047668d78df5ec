// SPDX-License-Identifier: Apache-2.0
/*
 * Talks over TCP and UDP on the loopback with processes of its own, which come back over new
 * connections, and has answers and datagrams standing in queues all the time. Every byte that
 * arrives is checked.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include "job.h"

enum { CLIENTS = 2, TALK = 2000, AHEAD = 40, STANDING = 5, HELLO = 77 };

static void send_word(int fd, uint64_t v)
{
	ssize_t n;

	do {
		n = send(fd, &v, sizeof(v), MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	CHECK(n == sizeof(v));
}

static uint64_t get_word(int fd)
{
	uint64_t v = 0;
	ssize_t n;

	do {
		n = recv(fd, &v, sizeof(v), MSG_WAITALL);
	} while (n < 0 && errno == EINTR);
	CHECKF(n == sizeof(v), "recv gave %zd", n);
	return v;
}

/* Asks AHEAD of the answers, so that both directions always hold something. */
static void client(const struct sockaddr_in *server, uint64_t x)
{
	const int on = 1;

	for (;;) {
		int fd = socket(AF_INET, SOCK_STREAM, 0), r;
		uint64_t y = x;

		CHECK(fd >= 0);
		do {
			r = connect(fd, (const struct sockaddr *)server, sizeof(*server));
		} while (r < 0 && errno == EINTR);
		CHECK(r == 0 || errno == EISCONN);
		CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
		CHECK(get_word(fd) == HELLO);
		for (int i = 0; i < TALK + AHEAD; i++) {
			if (i < TALK)
				send_word(fd, x = job_next(x));
			if (i >= AHEAD)
				CHECK(get_word(fd) == ~(y = job_next(y)));
		}
		CHECK(shutdown(fd, SHUT_WR) == 0);
		CHECK(get_word(fd) == HELLO + 1);
		close(fd);
	}
}

struct talk {
	int fd, left;
};

static void serve(struct talk *t, int listening)
{
	uint64_t v;
	ssize_t n;

	if (t->fd < 0) {
		do {
			t->fd = accept(listening, NULL, NULL);
		} while (t->fd < 0 && errno == EINTR);
		CHECK(t->fd >= 0);
		send_word(t->fd, HELLO);
		t->left = TALK;
	}
	for (int i = 0; i < 20 && t->left > 0; i++, t->left--)
		send_word(t->fd, ~get_word(t->fd));
	if (t->left > 0)
		return;
	do {
		n = recv(t->fd, &v, sizeof(v), 0);
	} while (n < 0 && errno == EINTR);
	CHECK(n == 0);
	send_word(t->fd, HELLO + 1);
	close(t->fd);
	t->fd = -1;
}

static int dgram[2];
static uint64_t sent, received;

static void dgrams(const struct sockaddr_in *from)
{
	for (; sent < received + STANDING; sent++)
		CHECK(send(dgram[0], &sent, 1 + sent % 8, 0) == (ssize_t)(1 + sent % 8));
	for (int i = 0; i < 2; i++, received++) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);
		uint64_t v = 0;
		ssize_t n;

		do {
			n = recvfrom(dgram[1], &v, sizeof(v), 0, (struct sockaddr *)&a, &len);
		} while (n < 0 && errno == EINTR);
		CHECKF(n == (ssize_t)(1 + received % 8), "got %zd", n);
		CHECK(memcmp(&v, &received, (size_t)n) == 0);
		CHECK(a.sin_port == from->sin_port);
	}
}

static int bound(int type, struct sockaddr_in *a)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(fd >= 0);
	if (type == SOCK_STREAM)
		CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	CHECK(bind(fd, (struct sockaddr *)a, len) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)a, &len) == 0);
	return fd;
}

int main(void)
{
	struct talk talk[CLIENTS];
	struct sockaddr_in server, a, b;
	uint64_t digest = JOB_DIGEST_INIT;
	pid_t child[CLIENTS];
	int listening = bound(SOCK_STREAM, &server), status;

	CHECK(listen(listening, CLIENTS) == 0);
	for (int i = 0; i < CLIENTS; i++) {
		talk[i].fd = -1;
		child[i] = fork();
		CHECK(child[i] >= 0);
		if (child[i] == 0) {
			close(listening);
			client(&server, (uint64_t)i + 1);
		}
	}
	dgram[0] = bound(SOCK_DGRAM, &a);
	dgram[1] = bound(SOCK_DGRAM, &b);
	CHECK(connect(dgram[0], (struct sockaddr *)&b, sizeof(b)) == 0);
	job_begin(5000);
	while (job_more()) {
		for (int i = 0; i < CLIENTS; i++)
			serve(&talk[i], listening);
		dgrams(&a);
		digest = job_digest(digest, &received, sizeof(received));
	}
	for (int i = 0; i < CLIENTS; i++) {
		/* Had one found something wrong, it would have ended before. */
		CHECK(kill(child[i], SIGKILL) == 0);
		CHECK(waitpid(child[i], &status, 0) == child[i] && WIFSIGNALED(status));
	}
	return job_end("tcp", digest);
}
