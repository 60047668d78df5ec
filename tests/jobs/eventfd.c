// SPDX-License-Identifier: Apache-2.0
/*
 * Two processes that wake each other by eventfds, counters and semaphores, blocking and not; one of
 * them counts up for the whole run and is read now and then.
 */
#include <sys/eventfd.h>

#include "job.h"

#define END (1ull << 40)

static int up, down, tally;

static void add(int fd, uint64_t n)
{
	CHECK(write(fd, &n, sizeof(n)) == sizeof(n));
}

static uint64_t take(int fd)
{
	uint64_t n = 0;
	ssize_t r;

	do {
		r = read(fd, &n, sizeof(n));
	} while (r < 0 && errno == EINTR);
	CHECK(r == sizeof(n));
	return n;
}

static void child(void)
{
	uint64_t n;

	while ((n = take(up)) < END)
		add(down, n);
	_exit(42);
}

int main(void)
{
	uint64_t standing = 0, x = 3, n;
	int status;
	pid_t pid;

	up = eventfd(0, 0);
	down = eventfd(0, EFD_SEMAPHORE);
	tally = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(up >= 0 && down >= 0 && tally >= 0);
	CHECK(read(tally, &n, sizeof(n)) == -1 && errno == EAGAIN);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		child();
	job_begin(150000);
	while (job_more()) {
		x = job_chain(x, 200);
		n = x % 5 + 1;
		add(up, n);
		for (uint64_t i = 0; i < n; i++)
			CHECK(take(down) == 1);
		add(tally, n);
		standing += n;
		if (x % 1024 == 0) {
			CHECK(take(tally) == standing);
			standing = 0;
		}
	}
	if (standing)
		CHECK(take(tally) == standing);
	add(up, END);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
	CHECK(fcntl(tally, F_GETFL) == (O_RDWR | O_NONBLOCK));
	CHECK(fcntl(tally, F_GETFD) == FD_CLOEXEC);
	return job_end("eventfd", x);
}
