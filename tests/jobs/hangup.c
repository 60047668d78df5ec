// SPDX-License-Identifier: Apache-2.0
/*
 * Terminals whose other side is gone, as those of a job that outlives its login: one as standard
 * input, one that does not block and was opened for reading only, and beside them one that works,
 * and that may have got the number of one of these.
 */
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include "job.h"

static int open_pair(int flags, int *ret_master)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), fd;
	char name[64];

	CHECK(master >= 0 && !grantpt(master) && !unlockpt(master));
	CHECK(!ptsname_r(master, name, sizeof(name)));
	fd = open(name, flags | O_NOCTTY);
	CHECK(fd >= 0);
	*ret_master = master;
	return fd;
}

static void check_gone(int fd, int flags)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	struct termios t;
	char c;

	CHECK((fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == flags);
	CHECK(read(fd, &c, 1) == 0);
	CHECK(write(fd, "x", 1) == -1 && errno == (flags & O_ACCMODE ? EIO : EBADF));
	CHECK(tcgetattr(fd, &t) == -1 && errno == EIO);
	CHECK(isatty(fd) == 0 && errno == EIO);
	CHECK(poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) == (POLLHUP | POLLERR));
}

static void check_works(int master, int slave)
{
	char c = 0;

	CHECK(write(slave, "y", 1) == 1);
	CHECK(read(master, &c, 1) == 1 && c == 'y');
}

int main(void)
{
	int master, first, second, slave;
	uint64_t x = 1;

	job_begin(300);
	first = open_pair(O_RDWR, &master);
	CHECK(!close(master));
	second = open_pair(O_RDONLY | O_NONBLOCK, &master);
	CHECK(!close(master));
	CHECK(dup2(first, 0) == 0 && !close(first));
	slave = open_pair(O_RDWR, &master);
	while (job_more()) {
		check_gone(0, O_RDWR);
		check_gone(second, O_RDONLY | O_NONBLOCK);
		check_works(master, slave);
		x = job_chain(x, 400000);
	}
	return job_end("hangup", x);
}
