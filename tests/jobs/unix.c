// SPDX-License-Identifier: Apache-2.0
/*
 * Talks over Unix sockets of all types, with other processes and with itself, so that a checkpoint
 * finds messages on their way, a server with clients and connections that wait, and descriptors
 * that are only in a message. Every byte that arrives is checked.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "job.h"

enum { CLIENTS = 3, STANDING = 7, MARK = 1000 };

static void name_of(struct sockaddr_un *a, socklen_t *len, const char *what)
{
	static char own[24];

	/* The number that the job began with: it keeps it. */
	if (!own[0])
		snprintf(own, sizeof(own), "%d", (int)getpid());
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "ckpt-job-%s-%s", own, what);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->sun_path + 1));
}

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

/* ---- a client: connects, is greeted, asks, and comes again ---- */

static void client(const struct sockaddr_un *server, socklen_t len, uint64_t x)
{
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0), r;

		CHECK(fd >= 0);
		do {
			r = connect(fd, (const struct sockaddr *)server, len);
		} while (r < 0 && errno == EINTR);
		CHECK(r == 0);
		/* Greeted before it says anything: nothing can be lost in a connection that waits.
		 */
		CHECK(get_word(fd) == MARK);
		for (int i = 0; i < 20; i++) {
			x = job_next(x);
			send_word(fd, x);
			send_word(fd, ~x);
			CHECK(get_word(fd) == job_next(x));
		}
		CHECK(shutdown(fd, SHUT_WR) == 0);
		CHECK(get_word(fd) == MARK + 1);
		close(fd);
	}
}

static uint64_t serve(int listening)
{
	uint64_t sum = 0, v;
	ssize_t n;
	int fd;

	do {
		fd = accept(listening, NULL, NULL);
	} while (fd < 0 && errno == EINTR);
	CHECK(fd >= 0);
	send_word(fd, MARK);
	for (int i = 0; i < 20; i++) {
		v = get_word(fd);
		CHECK(get_word(fd) == ~v);
		send_word(fd, job_next(v));
		sum += v;
	}
	do {
		n = recv(fd, &v, sizeof(v), 0);
	} while (n < 0 && errno == EINTR);
	CHECK(n == 0);
	send_word(fd, MARK + 1);
	close(fd);
	return sum;
}

/* ---- messages that stand in queues of our own ---- */

static int dgram[2], packet[2], carrier[2];
static uint64_t sent, received, put, got;

static void dgrams(void)
{
	uint64_t m[STANDING];

	while (sent < received + STANDING) {
		for (int i = 0; i < STANDING; i++)
			m[i] = job_next(sent + (uint64_t)i);
		CHECK(send(dgram[0], m, (sent % STANDING) * sizeof(m[0]), 0) ==
		      (ssize_t)((sent % STANDING) * sizeof(m[0])));
		CHECK(send(packet[0], &sent, 1 + sent % 8, 0) == (ssize_t)(1 + sent % 8));
		sent++;
	}
	for (int k = 0; k < 3; k++, received++) {
		uint64_t word = 0;
		ssize_t n = recv(dgram[1], m, sizeof(m), 0);

		CHECKF(n == (ssize_t)((received % STANDING) * sizeof(m[0])), "got %zd of %llu", n,
		       (unsigned long long)received);
		for (size_t i = 0; i < (size_t)n / sizeof(m[0]); i++)
			CHECK(m[i] == job_next(received + i));
		n = recv(packet[1], &word, sizeof(word), 0);
		CHECK(n == (ssize_t)(1 + received % 8));
		CHECK(memcmp(&word, &received, (size_t)n) == 0);
	}
}

/* A pipe with a word in it, whose reading end is open nowhere but in the message. */
static void throw_pipe(void)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = { 0 };
	char word = 'p';
	struct iovec iov = { &word, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int p[2];

	CHECK(pipe(p) == 0);
	CHECK(write(p[1], &put, sizeof(put)) == sizeof(put));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &p[0], sizeof(int));
	CHECK(sendmsg(carrier[0], &m, 0) == 1);
	close(p[0]);
	close(p[1]);
	put++;
}

static void catch_pipe(void)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))), byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	uint64_t v;
	int fd;

	CHECK(recvmsg(carrier[1], &m, 0) == 1 && byte == 'p');
	c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	CHECK(read(fd, &v, sizeof(v)) == sizeof(v) && v == got);
	CHECK(read(fd, &v, sizeof(v)) == 0);
	close(fd);
	got++;
}

int main(void)
{
	uint64_t digest = JOB_DIGEST_INIT;
	pid_t child[CLIENTS];
	struct sockaddr_un a;
	socklen_t len;
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), status;

	name_of(&a, &len, "server");
	CHECK(listening >= 0 && bind(listening, (struct sockaddr *)&a, len) == 0);
	CHECK(listen(listening, CLIENTS) == 0);
	for (int i = 0; i < CLIENTS; i++) {
		child[i] = fork();
		CHECK(child[i] >= 0);
		if (child[i] == 0) {
			close(listening);
			client(&a, len, (uint64_t)i + 1);
		}
	}
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, carrier) == 0);
	throw_pipe();
	job_begin(2500);
	while (job_more()) {
		uint64_t sum;

		throw_pipe();
		dgrams();
		sum = serve(listening);
		catch_pipe();
		/* Who comes when is chance: only that all came goes into the digest. */
		digest = job_digest(digest, &received, sizeof(received));
		CHECK(sum != 0);
	}
	catch_pipe();
	for (int i = 0; i < CLIENTS; i++) {
		/* Had one found something wrong, it would have ended before. */
		CHECK(kill(child[i], SIGKILL) == 0);
		CHECK(waitpid(child[i], &status, 0) == child[i] && WIFSIGNALED(status));
	}
	return job_end("unix", digest);
}
