// SPDX-License-Identifier: Apache-2.0
/*
 * Watches a directory, a file in it and a deleted file that is still open, changes them all the
 * time and checks that just these events come, under the numbers that the watches have.
 */
#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "job.h"

#define DIRNAME "inotify.d"

static int in, log_fd, gone_fd, in_dir, on_log, on_gone, on_sub;

static void expect(int wd, uint32_t mask, const char *name)
{
	union {
		struct inotify_event e;
		char room[sizeof(struct inotify_event) + 16]; /* for one event only */
	} u;
	ssize_t n;

	do {
		n = read(in, &u, sizeof(u));
	} while (n < 0 && errno == EINTR);
	CHECKF(n >= (ssize_t)sizeof(u.e), "no event for watch %d", wd);
	CHECKF(u.e.wd == wd && u.e.mask == mask, "event %x of watch %d instead of %x of %d",
	       u.e.mask, u.e.wd, mask, wd);
	CHECK(name ? u.e.len && !strcmp(u.e.name, name) : !u.e.len);
}

static void nothing_more(void)
{
	char buf[512];

	CHECK(read(in, buf, sizeof(buf)) == -1 && errno == EAGAIN);
}

static void touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && !close(fd));
}

static void begin(void)
{
	int waste;

	CHECK(!mkdir(DIRNAME, 0700) && !mkdir(DIRNAME "/sub", 0700));
	log_fd = open(DIRNAME "/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	gone_fd = open(DIRNAME "/gone", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(log_fd >= 0 && gone_fd >= 0);
	in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	CHECK(in >= 0);
	for (int i = 0; i < 40; i++) {
		waste = inotify_add_watch(in, "/", IN_DELETE_SELF);
		CHECK(waste > 0 && !inotify_rm_watch(in, waste));
		expect(waste, IN_IGNORED, NULL);
	}
	on_gone = inotify_add_watch(in, DIRNAME "/gone", IN_MODIFY);
	CHECK(on_gone == 41 && !unlink(DIRNAME "/gone"));
	in_dir = inotify_add_watch(in, DIRNAME, IN_CREATE | IN_DELETE | IN_MOVE);
	on_log = inotify_add_watch(in, DIRNAME "/log", IN_MODIFY | IN_EXCL_UNLINK);
	waste = inotify_add_watch(in, "/", IN_DELETE_SELF);
	CHECK(!inotify_rm_watch(in, waste));
	expect(waste, IN_IGNORED, NULL);
	on_sub = inotify_add_watch(in, DIRNAME "/sub", IN_CREATE | IN_ONESHOT);
	CHECK(in_dir == 42 && on_log == 43 && on_sub == 45);
}

int main(void)
{
	uint64_t x = 5;

	begin();
	job_begin(6000);
	while (job_more()) {
		x = job_chain(x, 40000);
		touch(DIRNAME "/a");
		expect(in_dir, IN_CREATE, "a");
		CHECK(!rename(DIRNAME "/a", DIRNAME "/b"));
		expect(in_dir, IN_MOVED_FROM, "a");
		expect(in_dir, IN_MOVED_TO, "b");
		CHECK(!unlink(DIRNAME "/b"));
		expect(in_dir, IN_DELETE, "b");
		CHECK(write(log_fd, "x", 1) == 1);
		expect(on_log, IN_MODIFY, NULL);
		CHECK(pwrite(gone_fd, "x", 1, 0) == 1);
		expect(on_gone, IN_MODIFY, NULL);
		nothing_more();
	}
	touch(DIRNAME "/sub/1");
	expect(on_sub, IN_CREATE, "1");
	expect(on_sub, IN_IGNORED, NULL);
	touch(DIRNAME "/sub/2");
	nothing_more();
	CHECK(fcntl(in, F_GETFD) == FD_CLOEXEC);
	return job_end("inotify", x);
}
