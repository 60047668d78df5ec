// SPDX-License-Identifier: Apache-2.0
/*
 * Open files of /proc that are the job's own: read again and again from the start, with an offset
 * that stays, as a directory, and inherited by a child, whom they tell of its parent.
 */
#include <fcntl.h>

#include "job.h"

static int fd_stat, fd_status, fd_dir, fd_path, fd_dup;
static pid_t owner;

static void check_pid(int fd)
{
	char text[64] = "";

	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
	CHECKF(strtol(text, NULL, 10) == owner, "/proc/self/stat is of process %s", text);
}

static void check(void)
{
	int fl = fcntl(fd_status, F_GETFL), fd;

	check_pid(fd_stat);
	CHECK(lseek(fd_status, 0, SEEK_CUR) == 7 && lseek(fd_dup, 0, SEEK_CUR) == 7);
	CHECK((fl & O_NONBLOCK) && fcntl(fd_dup, F_GETFD) == FD_CLOEXEC);
	fd = openat(fd_dir, "stat", O_RDONLY);
	CHECK(fd >= 0);
	check_pid(fd);
	CHECK(!close(fd));
	fd = openat(fd_path, "comm", O_RDONLY);
	CHECK(fd >= 0 && !close(fd));
}

static void child(int in)
{
	char c;

	while (read(in, &c, 1) == 1 && c == 'r')
		check();
	_exit(6);
}

int main(void)
{
	uint64_t h = 8;
	int p[2], st;
	pid_t pid;

	job_begin(3000);
	owner = getpid();
	fd_stat = open("/proc/self/stat", O_RDONLY);
	fd_status = open("/proc/self/status", O_RDONLY | O_NONBLOCK);
	fd_dir = open("/proc/self", O_RDONLY | O_DIRECTORY);
	fd_path = open("/proc/self", O_PATH | O_DIRECTORY);
	fd_dup = fcntl(fd_status, F_DUPFD_CLOEXEC, 50);
	CHECK(fd_stat >= 0 && fd_status >= 0 && fd_dir >= 0 && fd_path >= 0 && fd_dup == 50);
	CHECK(lseek(fd_status, 7, SEEK_SET) == 7 && !pipe(p));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(p[1]);
		child(p[0]);
	}
	close(p[0]);
	for (uint64_t round = 0; job_more(); round++) {
		CHECK(write(p[1], "r", 1) == 1);
		check();
		h = job_chain(h, 100000);
	}
	CHECK(write(p[1], "q", 1) == 1);
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 6);
	return job_end("procfiles", h);
}
