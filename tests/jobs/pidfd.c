// SPDX-License-Identifier: Apache-2.0
/*
 * pidfds: of itself, of a child that works, of a zombie, of a process that is gone. The child's is
 * shared with another child, and watched by epoll; that of the one that is gone tells how it ended.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "job.h"

static int fd_self, fd_child, fd_zombie, fd_gone, fd_gone_too, ep;
static bool tells_exit; /* Linux 6.15 */

static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	CHECK(fd >= 0);
	return fd;
}

static pid_t ended(int status)
{
	siginfo_t si;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		if (status < 0)
			raise(-status);
		_exit(status);
	}
	CHECK(!waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
	return pid;
}

static bool is_ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static int exit_code(int fd)
{
	struct {
		uint64_t mask, cgroupid;
		uint32_t ids[11];
		int32_t exit_code;
	} info = { .mask = 1 << 3 };

	if (ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, sizeof(info)), &info) < 0 ||
	    !(info.mask & 1 << 3))
		return -1;
	return info.exit_code;
}

static void check(void)
{
	siginfo_t si = { 0 };

	CHECK(!syscall(SYS_pidfd_send_signal, fd_self, 0, NULL, 0) && !is_ready(fd_self));
	CHECK(!syscall(SYS_pidfd_send_signal, fd_child, 0, NULL, 0) && !is_ready(fd_child));
	CHECK(!waitid((idtype_t)3, (id_t)fd_zombie, &si, WEXITED | WNOWAIT)); /* P_PIDFD */
	CHECK(si.si_code == CLD_EXITED && si.si_status == 7 && is_ready(fd_zombie));
	CHECK(syscall(SYS_pidfd_send_signal, fd_gone, 0, NULL, 0) == -1 && errno == ESRCH);
	CHECK(is_ready(fd_gone) && is_ready(fd_gone_too));
	if (tells_exit)
		CHECK(exit_code(fd_gone) == SIGTERM && exit_code(fd_gone_too) == SIGTERM);
	CHECK(fcntl(fd_gone, F_GETFD) == FD_CLOEXEC && (fcntl(fd_gone_too, F_GETFL) & O_NONBLOCK));
}

static void child(int in, int out)
{
	char c;

	while (read(in, &c, 1) == 1 && c != 'q') {
		if (c == 'f')
			c = fcntl(fd_child, F_GETFL) & O_NONBLOCK ? 'n' : 'b';
		CHECK(write(out, &c, 1) == 1);
	}
	_exit(6);
}

static pid_t make_child(int to[2], int from[2])
{
	pid_t pid;

	CHECK(!pipe(to) && !pipe(from));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		close(to[1]);
		child(to[0], from[1]);
	}
	close(to[0]);
	return pid;
}

static char ask(int to, int from, char c)
{
	CHECK(write(to, &c, 1) == 1 && read(from, &c, 1) == 1);
	return c;
}

int main(void)
{
	int to[2][2], from[2][2], st;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 77 };
	uint64_t h = 8;
	pid_t pid[2], gone;
	siginfo_t si;

	fd_self = open_pidfd(getpid());
	pid[0] = make_child(to[0], from[0]);
	fd_child = open_pidfd(pid[0]);
	pid[1] = make_child(to[1], from[1]);
	fd_zombie = open_pidfd(ended(7));
	gone = ended(-SIGTERM);
	fd_gone = open_pidfd(gone);
	fd_gone_too = open_pidfd(gone);
	CHECK(!fcntl(fd_gone_too, F_SETFL, O_NONBLOCK) && waitpid(gone, NULL, 0) == gone);
	tells_exit = exit_code(fd_gone) == SIGTERM;
	ep = epoll_create1(0);
	CHECK(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd_child, &ev));
	job_begin(2500);
	for (uint64_t round = 0; job_more(); round++) {
		CHECK(!fcntl(fd_child, F_SETFL, round % 2 ? O_NONBLOCK : 0));
		h = job_chain(h, 100000);
		check();
		CHECK(ask(to[1][1], from[1][0], 'f') == (round % 2 ? 'n' : 'b'));
		CHECK(ask(to[0][1], from[0][0], 'x') == 'x');
		CHECK(epoll_wait(ep, &ev, 1, 0) == 0);
	}
	CHECK(!fcntl(fd_child, F_SETFL, 0));
	CHECK(write(to[0][1], "q", 1) == 1);
	CHECK(epoll_wait(ep, &ev, 1, -1) == 1 && ev.data.u64 == 77);
	CHECK(!waitid((idtype_t)3, (id_t)fd_child, &si, WEXITED) && si.si_status == 6);
	CHECK(write(to[1][1], "q", 1) == 1);
	CHECK(waitpid(pid[1], &st, 0) == pid[1] && WIFEXITED(st) && WEXITSTATUS(st) == 6);
	return job_end("pidfd", h);
}
