// SPDX-License-Identifier: Apache-2.0
/*
 * Open files of /proc that are the job's own: read again and again from the start, with an offset
 * that stays, as a directory, and inherited by a child, whom they tell of its parent. Of the child
 * the parent has one as well; both have one of a process that is gone.
 */
#include <fcntl.h>
#include <signal.h>

#include "job.h"

static int fd_stat, fd_status, fd_dir, fd_path, fd_dup, fd_gone;
static pid_t owner;

static void check_pid(int fd, pid_t pid)
{
	char text[64] = "";

	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
	CHECKF(strtol(text, NULL, 10) == pid, "/proc/PID/stat is of process %s", text);
}

static int open_gone(void)
{
	char path[40];
	pid_t pid = fork();
	int fd;

	CHECK(pid >= 0);
	if (pid == 0) {
		for (;;)
			pause();
	}
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && !kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid);
	return fd;
}

static void check(void)
{
	int fl = fcntl(fd_status, F_GETFL), fd;
	char c;

	check_pid(fd_stat, owner);
	CHECK(lseek(fd_status, 0, SEEK_CUR) == 7 && lseek(fd_dup, 0, SEEK_CUR) == 7);
	CHECK((fl & O_NONBLOCK) && fcntl(fd_dup, F_GETFD) == FD_CLOEXEC);
	fd = openat(fd_dir, "stat", O_RDONLY);
	CHECK(fd >= 0);
	check_pid(fd, owner);
	CHECK(!close(fd));
	fd = openat(fd_path, "comm", O_RDONLY);
	CHECK(fd >= 0 && !close(fd));
	CHECK(pread(fd_gone, &c, 1, 0) == -1 && errno == ESRCH);
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
	char path[40];
	int p[2], st, fd_child;
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
	fd_gone = open_gone();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(p[1]);
		child(p[0]);
	}
	close(p[0]);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd_child = open(path, O_RDONLY);
	CHECK(fd_child >= 0);
	for (uint64_t round = 0; job_more(); round++) {
		CHECK(write(p[1], "r", 1) == 1);
		check();
		check_pid(fd_child, pid);
		h = job_chain(h, 100000);
	}
	CHECK(write(p[1], "q", 1) == 1);
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 6);
	return job_end("procfiles", h);
}
