// SPDX-License-Identifier: Apache-2.0
/* Unix sockets of a small job: pairs, names, connections that wait, queues, what travels in them.
 */
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/res-job.h"

static socklen_t address(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	if (name[0] == '@') {
		/* The directory's random name makes it our own. */
		snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "%s-%s", job_dir, name + 1);
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				   strlen(a->sun_path + 1));
	}
	snprintf(a->sun_path, sizeof(a->sun_path), "%s", job_path(name));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a->sun_path) + 1);
}

static void open_at(int fd, int type, const char *name)
{
	struct sockaddr_un a;
	socklen_t len;

	job_move(socket(AF_UNIX, type, 0), fd);
	if (!name)
		return;
	len = address(&a, name);
	JOB_CHECK(bind(fd, (struct sockaddr *)&a, len) == 0);
}

static void reach(int fd, const char *name)
{
	struct sockaddr_un a;
	socklen_t len = address(&a, name);

	JOB_CHECK(connect(fd, (struct sockaddr *)&a, len) == 0);
}

static void has_name(int fd, const char *name, bool peer)
{
	struct sockaddr_un want, got;
	socklen_t want_len = name ? address(&want, name) : sizeof(sa_family_t);
	socklen_t len = sizeof(got);

	if (peer)
		JOB_CHECK(getpeername(fd, (struct sockaddr *)&got, &len) == 0);
	else
		JOB_CHECK(getsockname(fd, (struct sockaddr *)&got, &len) == 0);
	JOB_CHECK(len == want_len && (!name || memcmp(&got, &want, len) == 0));
}

static void pair_at(int a, int b, int type)
{
	int sv[2];

	JOB_CHECK(socketpair(AF_UNIX, type, 0, sv) == 0);
	job_move(sv[1], b);
	job_move(sv[0], a);
}

static void reads(int fd, const char *text)
{
	char buf[200];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	JOB_CHECK(n == (ssize_t)strlen(text));
	JOB_CHECK(memcmp(buf, text, (size_t)n) == 0);
}

static void empty(int fd)
{
	char c;

	JOB_CHECK(recv(fd, &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static void says(int fd, const char *text)
{
	JOB_CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* ---- pairs and their queues ---- */

static void pairs_make(int task)
{
	if (task > 0)
		return;
	pair_at(10, 11, SOCK_STREAM | SOCK_NONBLOCK);
	says(10, "one");
	says(10, "two");
	says(11, "back");
	pair_at(12, 13, SOCK_DGRAM);
	says(12, "first");
	says(12, "");
	says(12, "third");
	says(13, "answer");
	pair_at(14, 15, SOCK_SEQPACKET);
	says(14, "a");
	says(14, "bc");
	JOB_CHECK(shutdown(14, SHUT_WR) == 0);
	JOB_CHECK(fcntl(15, F_SETFD, FD_CLOEXEC) == 0);
	/* ends that are gone: with something left to be read, and with something unread */
	pair_at(16, 17, SOCK_STREAM);
	says(17, "last words");
	close(17);
	pair_at(18, 19, SOCK_STREAM);
	says(18, "unread");
	close(19);
	pair_at(20, 21, SOCK_STREAM);
	JOB_CHECK(shutdown(20, SHUT_RD) == 0);
}

static void pairs_verify(int task)
{
	char c;

	if (task > 0) {
		job_step_wait(1);
		says(11, "from the child");
		job_step_done(2);
		return;
	}
	reads(11, "onetwo");
	reads(10, "back");
	job_step_done(1);
	job_step_wait(2);
	reads(10, "from the child");
	empty(11);
	JOB_CHECK(fcntl(10, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(12, F_GETFL) == O_RDWR);
	reads(13, "first");
	reads(13, "");
	reads(13, "third");
	empty(13);
	reads(12, "answer");
	says(13, "x");
	reads(12, "x");
	reads(15, "a");
	reads(15, "bc");
	JOB_CHECK(recv(15, &c, 1, 0) == 0);
	JOB_CHECK(send(14, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	says(15, "other way");
	reads(14, "other way");
	JOB_CHECK(fcntl(15, F_GETFD) == FD_CLOEXEC && fcntl(14, F_GETFD) == 0);
	reads(16, "last words");
	JOB_CHECK(recv(16, &c, 1, 0) == 0);
	JOB_CHECK(send(16, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	JOB_CHECK(recv(18, &c, 1, 0) == -1 && errno == ECONNRESET);
	JOB_CHECK(recv(18, &c, 1, 0) == 0);
	JOB_CHECK(recv(20, &c, 1, 0) == 0);
	JOB_CHECK(send(21, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	has_name(10, NULL, false);
}

START_TEST(pairs)
{
	job_cycle(&(struct job){ .n_tasks = 2, .make = pairs_make, .verify = pairs_verify });
}
END_TEST

/* ---- nothing is changed in the job ---- */

static void kept_verify(int task)
{
	(void)task;
}

START_TEST(leaves_queues)
{
	struct job j = { .n_tasks = 2, .make = pairs_make, .verify = kept_verify };
	char buf[20];
	struct job_dump jd;
	int off = 0;
	socklen_t len = sizeof(off);
	int pidfd, fd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	pidfd = (int)syscall(SYS_pidfd_open, shared->pid[0], 0);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, 13, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, &len), 0);
	ck_assert_int_eq(off, -1);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT), 5);
	ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 5);
	ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 0);
	ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 5);
	ck_assert_int_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	close(fd);
	close(pidfd);
	job_kill(&j);
	job_dump_done(&jd);
}
END_TEST

/* ---- names ---- */

static void accept_at(int fd, int from)
{
	job_move(accept(from, NULL, NULL), fd);
}

static void names_make(int task)
{
	(void)task;
	open_at(10, SOCK_STREAM, "listen");
	JOB_CHECK(chmod(job_path("listen"), 0640) == 0);
	JOB_CHECK(listen(10, 5) == 0);
	open_at(11, SOCK_STREAM, NULL);
	reach(11, "listen");
	accept_at(12, 10);
	says(11, "to the server");
	open_at(13, SOCK_STREAM, "client");
	reach(13, "listen");
	accept_at(14, 10);
	says(14, "to the client");
	/* not accepted, in this order */
	open_at(15, SOCK_STREAM, "waits");
	open_at(16, SOCK_STREAM, NULL);
	reach(15, "listen");
	reach(16, "listen");
	/* abstract; whoever listened is gone, two were accepted */
	open_at(20, SOCK_SEQPACKET, "@gone");
	JOB_CHECK(listen(20, 5) == 0);
	open_at(21, SOCK_SEQPACKET, NULL);
	reach(21, "@gone");
	accept_at(22, 20);
	open_at(23, SOCK_SEQPACKET, NULL);
	reach(23, "@gone");
	accept_at(24, 20);
	close(20);
	says(22, "hello");
	/* the path is gone, and then taken by another */
	open_at(30, SOCK_STREAM, "again");
	JOB_CHECK(listen(30, 5) == 0);
	open_at(31, SOCK_STREAM, NULL);
	reach(31, "again");
	accept_at(32, 30);
	JOB_CHECK(unlink(job_path("again")) == 0);
	open_at(33, SOCK_STREAM, "again");
	JOB_CHECK(listen(33, 5) == 0);
	/* relative */
	JOB_CHECK(chdir(job_dir) == 0);
	job_move(socket(AF_UNIX, SOCK_STREAM, 0), 40);
	JOB_CHECK(bind(40, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, "rel" }, 6) == 0);
	JOB_CHECK(listen(40, 1) == 0);
	/* bound, nothing else; and nothing at all */
	open_at(41, SOCK_STREAM, "bound");
	open_at(42, SOCK_STREAM, NULL);
}

static void names_verify(int task)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);
	struct stat st;

	(void)task;
	JOB_CHECK(stat(job_path("listen"), &st) == 0 && st.st_mode == (S_IFSOCK | 0640));
	reads(12, "to the server");
	reads(13, "to the client");
	has_name(12, "listen", false);
	has_name(11, "listen", true);
	has_name(11, NULL, false);
	has_name(13, "client", false);
	has_name(14, "client", true);
	accept_at(17, 10);
	has_name(17, "waits", true);
	says(17, "at last");
	reads(15, "at last");
	accept_at(18, 10);
	says(16, "me too");
	reads(18, "me too");
	JOB_CHECK(fcntl(10, F_SETFL, O_NONBLOCK) == 0);
	JOB_CHECK(accept(10, NULL, NULL) == -1 && errno == EAGAIN);
	reads(21, "hello");
	says(23, "x");
	reads(24, "x");
	has_name(22, "@gone", false);
	has_name(23, "@gone", true);
	says(31, "y");
	reads(32, "y");
	open_at(34, SOCK_STREAM, NULL);
	reach(34, "again");
	accept_at(35, 33);
	JOB_CHECK(getsockname(40, (struct sockaddr *)&a, &len) == 0 && len == 6);
	JOB_CHECK(strcmp(a.sun_path, "rel") == 0);
	JOB_CHECK(chdir(job_dir) == 0);
	JOB_CHECK(connect(42, (struct sockaddr *)&a, len) == 0);
	has_name(41, "bound", false);
	JOB_CHECK(listen(41, 1) == 0);
}

START_TEST(names)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = names_make, .verify = names_verify });
}
END_TEST

/* ---- datagrams ---- */

static void dgrams_make(int task)
{
	struct sockaddr_un a;
	socklen_t len;

	(void)task;
	open_at(10, SOCK_DGRAM, "recv");
	open_at(11, SOCK_DGRAM, "send");
	open_at(12, SOCK_DGRAM, NULL);
	reach(11, "recv");
	reach(12, "recv");
	says(11, "named");
	says(12, "nameless");
	open_at(13, SOCK_DGRAM, "@free");
	len = address(&a, "recv");
	JOB_CHECK(sendto(13, "by address", 10, 0, (struct sockaddr *)&a, len) == 10);
	/* its sender has gone */
	open_at(14, SOCK_DGRAM, "@left");
	JOB_CHECK(sendto(14, "bye", 3, 0, (struct sockaddr *)&a, len) == 3);
	close(14);
	/* to a name that leads nowhere by now */
	open_at(15, SOCK_DGRAM, "deleted");
	open_at(16, SOCK_DGRAM, NULL);
	reach(16, "deleted");
	JOB_CHECK(unlink(job_path("deleted")) == 0);
	says(16, "still there");
}

static void from(int fd, const char *text, const char *name)
{
	struct sockaddr_un a, want;
	socklen_t len = sizeof(a), want_len = name ? address(&want, name) : 0;
	char buf[100];
	ssize_t n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&a, &len);

	JOB_CHECK(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0);
	JOB_CHECK(name ? len == want_len && memcmp(&a, &want, len) == 0
		       : len <= (socklen_t)sizeof(sa_family_t));
}

static void dgrams_verify(int task)
{
	(void)task;
	from(10, "named", "send");
	from(10, "nameless", NULL);
	from(10, "by address", "@free");
	from(10, "bye", "@left");
	empty(10);
	says(12, "again");
	from(10, "again", NULL);
	from(15, "still there", NULL);
	says(16, "and now");
	from(15, "and now", NULL);
	has_name(15, "deleted", false);
	JOB_CHECK(access(job_path("deleted"), F_OK) == -1 && errno == ENOENT);
}

START_TEST(dgrams)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = dgrams_make, .verify = dgrams_verify });
}
END_TEST

/* ---- descriptors in messages ---- */

static void send_fds(int sock, const char *text, const int *fds, size_t n)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	JOB_CHECK(sendmsg(sock, &m, 0) == (ssize_t)iov.iov_len);
}

static size_t receive_fds(int sock, const char *text, int *fds)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))), buf[100];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(sock, &m, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	size_t len = c ? c->cmsg_len - CMSG_LEN(0) : 0;

	JOB_CHECK(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0);
	if (len)
		memcpy(fds, CMSG_DATA(c), len);
	return len / sizeof(int);
}

static void rights_make(int task)
{
	int p[2], fds[2];

	(void)task;
	job_open(5, "kept", O_RDWR, "0123456789");
	JOB_CHECK(lseek(5, 4, SEEK_SET) == 4);
	job_open(6, "sent", O_RDONLY, "abcdef");
	JOB_CHECK(lseek(6, 2, SEEK_SET) == 2);
	JOB_CHECK(pipe(p) == 0);
	job_move(p[1], 8);
	job_move(p[0], 7);
	pair_at(10, 11, SOCK_STREAM);
	send_fds(10, "with", (int[]){ 5, 6 }, 2);
	says(10, "after");
	close(6);
	pair_at(12, 13, SOCK_DGRAM);
	says(12, "plain");
	send_fds(12, "pipe", (int[]){ 7 }, 1);
	close(7);
	/* a socket in a message, with something in it */
	pair_at(14, 15, SOCK_STREAM);
	says(14, "inner");
	fds[0] = 15;
	send_fds(12, "socket", fds, 1);
	close(15);
}

static void rights_verify(int task)
{
	char buf[20];
	int fds[4];

	(void)task;
	JOB_CHECK(!job_is_open(6) && !job_is_open(7) && !job_is_open(15));
	JOB_CHECK(receive_fds(11, "with", fds) == 2);
	JOB_CHECK(lseek(fds[0], 0, SEEK_CUR) == 4 && lseek(fds[0], 7, SEEK_SET) == 7);
	JOB_CHECK(lseek(5, 0, SEEK_CUR) == 7);
	JOB_CHECK(read(fds[1], buf, 20) == 4 && memcmp(buf, "cdef", 4) == 0);
	JOB_CHECK(receive_fds(11, "after", fds) == 0);
	JOB_CHECK(receive_fds(13, "plain", fds) == 0);
	JOB_CHECK(receive_fds(13, "pipe", fds) == 1);
	JOB_CHECK(write(8, "xyz", 3) == 3 && read(fds[0], buf, 20) == 3);
	JOB_CHECK(receive_fds(13, "socket", fds) == 1);
	reads(fds[0], "inner");
	says(fds[0], "out");
	reads(14, "out");
}

START_TEST(rights)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = rights_make, .verify = rights_verify });
}
END_TEST

/* ---- where pidfd_getfd and kcmp are forbidden ---- */

START_TEST(passed)
{
	job_forbid(SYS_pidfd_getfd);
	job_cycle(&(struct job){ .n_tasks = 2, .make = pairs_make, .verify = pairs_verify });
}
END_TEST

START_TEST(rights_unclear)
{
	job_forbid(SYS_pidfd_getfd);
	job_forbid(SYS_kcmp);
	job_refused(&(struct job){ .n_tasks = 1, .make = rights_make },
		    "cannot tell whether a message carries what fd 5");
}
END_TEST

/* ---- options ---- */

static void set(int fd, int opt, int v)
{
	JOB_CHECK(setsockopt(fd, SOL_SOCKET, opt, &v, sizeof(v)) == 0);
}

static int get(int fd, int opt)
{
	int v = -77;
	socklen_t len = sizeof(v);

	JOB_CHECK(getsockopt(fd, SOL_SOCKET, opt, &v, &len) == 0);
	return v;
}

static void options_make(int task)
{
	struct timeval tv = { 3, 250000 };
	struct linger l = { 1, 7 };

	(void)task;
	pair_at(10, 11, SOCK_STREAM);
	set(10, SO_SNDBUF, 30000);
	set(10, SO_RCVBUF, 20000);
	set(10, SO_PASSCRED, 1);
	set(10, SO_PRIORITY, 3);
	set(10, SO_KEEPALIVE, 1);
	set(10, SO_PEEK_OFF, 2);
	set(10, SO_RCVLOWAT, 9);
	JOB_CHECK(setsockopt(10, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	JOB_CHECK(setsockopt(10, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
	shared->value[0] = get(10, SO_SNDBUF);
	shared->value[1] = get(11, SO_SNDBUF);
}

static void options_verify(int task)
{
	struct timeval tv = { 0, 0 };
	struct linger l = { 0, 0 };
	socklen_t len = sizeof(tv);

	(void)task;
	JOB_CHECK(get(10, SO_SNDBUF) == shared->value[0] && get(10, SO_RCVBUF) == 40000);
	JOB_CHECK(get(11, SO_SNDBUF) == shared->value[1]);
	JOB_CHECK(get(10, SO_PASSCRED) == 1 && get(11, SO_PASSCRED) == 0);
	JOB_CHECK(get(10, SO_PRIORITY) == 3 && get(11, SO_PRIORITY) == 0);
	JOB_CHECK(get(10, SO_KEEPALIVE) == 1 && get(10, SO_PEEK_OFF) == 2);
	JOB_CHECK(get(11, SO_PEEK_OFF) == -1 && get(10, SO_RCVLOWAT) == 9);
	JOB_CHECK(getsockopt(10, SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0);
	JOB_CHECK(tv.tv_sec == 3 && tv.tv_usec / 10000 == 25);
	len = sizeof(l);
	JOB_CHECK(getsockopt(10, SOL_SOCKET, SO_LINGER, &l, &len) == 0);
	JOB_CHECK(l.l_onoff == 1 && l.l_linger == 7);
}

START_TEST(options)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = options_make, .verify = options_verify });
}
END_TEST

/* ---- what is refused ---- */

static int outer[2];

/* What job_run() does not close is standard input and output. */
static void outer_outside(void)
{
	int null = open("/dev/null", O_RDWR);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, outer), 0);
	for (int i = 0; i < 3; i++)
		dup2(i ? null : outer[0], i);
	close(outer[0]);
}

/* Descriptor 10 is a socket that leads out, with something to be read. */
static void outer_make(int task)
{
	(void)task;
	job_move(0, 10);
	job_move(open("/dev/null", O_RDWR), 0);
}

START_TEST(peer_outside)
{
	struct job j = { .n_tasks = 1, .make = outer_make, .outside = outer_outside };

	job_refused(&j, "connected to outside of the job");
	ck_assert_ptr_nonnull(strstr(job_err.what, "t-engine-res-un"));
	ck_assert_ptr_nonnull(strstr(job_err.hint, "--unix=close"));
}
END_TEST

static void said_outside(void)
{
	outer_outside();
	ck_assert_int_eq(send(outer[1], "from outside", 12, 0), 12);
}

static void closed_verify(int task)
{
	char c;

	(void)task;
	reads(10, "from outside");
	JOB_CHECK(recv(10, &c, 1, 0) == 0);
	JOB_CHECK(send(10, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
}

START_TEST(peer_closed)
{
	job_cycle(&(struct job){ .n_tasks = 1,
				 .away = ENGINE_OUTSIDE_CLOSE,
				 .make = outer_make,
				 .outside = said_outside,
				 .verify = closed_verify });
}
END_TEST

/* ---- standard input and output, as sshd makes them: one socket ---- */

static int back[2]; /* the caller's */

static void stdio_outside(void)
{
	outer_outside();
	dup2(0, 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, back), 0);
	ck_assert_int_eq(send(back[1], "hello", 5, 0), 5);
}

static void stdio_make(int task)
{
	(void)task;
}

static void stdio_caller(void)
{
	dup2(back[0], 0);
	dup2(back[0], 1);
}

static void stdio_verify(int task)
{
	char buf[20];

	(void)task;
	JOB_CHECK(read(0, buf, sizeof(buf)) == 5 && !memcmp(buf, "hello", 5));
	JOB_CHECK(write(1, "answer", 6) == 6);
}

START_TEST(stdio_inherited)
{
	job_cycle(&(struct job){ .n_tasks = 1,
				 .make = stdio_make,
				 .outside = stdio_outside,
				 .caller = stdio_caller,
				 .verify = stdio_verify });
	reads(back[1], "answer");
}
END_TEST

/* The caller has nothing that can be both read and written. */
static void stdio_poor(void)
{
	int p[2];

	JOB_CHECK(pipe(p) == 0);
	dup2(p[0], 0);
	dup2(p[1], 1);
	dup2(p[1], 2);
}

START_TEST(stdio_too_poor)
{
	struct job j = { .n_tasks = 1,
			 .make = stdio_make,
			 .outside = stdio_outside,
			 .caller = stdio_poor,
			 .verify = stdio_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert_uint_eq(jd.d.needs.n_inherited, 1);
	job_kill(&j);
	ck_assert_int_lt(job_restore(&j, &jd), 0);
	ck_assert_msg(strstr(shared->failure, "both read and written") != NULL, "%s",
		      shared->failure);
	job_dump_done(&jd);
}
END_TEST

static void stdio_said(void)
{
	stdio_outside();
	ck_assert_int_eq(send(outer[1], "unread", 6, 0), 6);
}

START_TEST(stdio_unread)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = stdio_make, .outside = stdio_said },
		    "has not read");
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
}
END_TEST

static void unaccepted_make(int task)
{
	(void)task;
	open_at(10, SOCK_STREAM, "@listen");
	JOB_CHECK(listen(10, 5) == 0);
	open_at(11, SOCK_STREAM, NULL);
	reach(11, "@listen");
	says(11, "lost");
}

START_TEST(sent_to_unaccepted)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = unaccepted_make }, "not accepted yet");
}
END_TEST

/* Only its reader can see where the descriptors begin. */
static void glued_make(int task)
{
	(void)task;
	pair_at(10, 11, SOCK_STREAM);
	says(10, "before ");
	send_fds(10, "with", (int[]){ 0 }, 1);
}

START_TEST(glued_rights)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = glued_make }, "carries descriptors");
}
END_TEST

static void urgent_make(int task)
{
	(void)task;
	pair_at(10, 11, SOCK_STREAM);
	says(10, "before");
	JOB_CHECK(send(10, "!", 1, MSG_OOB) == 1);
}

START_TEST(urgent)
{
	job_refused(&(struct job){ .n_tasks = 1, .make = urgent_make }, "urgent data");
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
}
END_TEST

/* Sent again, they would be ckpt's. */
static void credentials_make(int task)
{
	(void)task;
	pair_at(10, 11, shared->value[0] ? SOCK_STREAM : SOCK_DGRAM);
	JOB_CHECK(setsockopt(11, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)) == 0);
	says(10, "who");
}

START_TEST(credentials)
{
	shared->value[0] = _i;
	job_refused(&(struct job){ .n_tasks = 1, .make = credentials_make }, "SO_PASSCRED");
}
END_TEST

static Suite *unix_suite(void)
{
	const TTest *const tests[] = {
		pairs,           leaves_queues,  names,          dgrams,
		rights,          options,        peer_outside,   sent_to_unaccepted,
		glued_rights,    passed,         rights_unclear, peer_closed,
		stdio_inherited, stdio_too_poor, stdio_unread,   urgent
	};
	Suite *s = suite_create("engine/res-unix");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
	tcase_add_loop_test(c, credentials, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(unix_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
