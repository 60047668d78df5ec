// SPDX-License-Identifier: Apache-2.0
/*
 * Paths that are open as such (O_PATH): of a symbolic link that leads nowhere, of files that may
 * not be read, that others grow, or that were deleted; and files that the kernel makes up as they
 * are read.
 */
#include <sys/stat.h>

#include "job.h"

enum { LINK, SECRET, GROWING, GONE, MADE_UP, N_PATHS };

static const char made_up[] = "/sys/kernel/mm/transparent_hugepage/enabled";
static int fds[N_PATHS], grow;
static char before[N_PATHS][4200];

static void make_file(const char *name, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	CHECK(!fchmod(fd, mode) && !close(fd));
}

static void name_of(int i, char *buf, size_t size)
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[i]);
	n = readlink(link, buf, size - 1);
	CHECK(n > 0);
	buf[n] = '\0';
}

static void setup(void)
{
	CHECK(!symlink("/nonexistent/paths", "paths.link") || errno == EEXIST);
	make_file("paths.secret", 0600);
	make_file("paths.growing", 0600);
	make_file("paths.gone", 0600);
	fds[LINK] = open("paths.link", O_PATH | O_NOFOLLOW);
	fds[SECRET] = open("paths.secret", O_PATH);
	fds[GROWING] = open("paths.growing", O_PATH);
	fds[GONE] = open("paths.gone", O_PATH);
	fds[MADE_UP] = open(made_up, O_RDONLY);
	grow = open("paths.growing", O_WRONLY | O_APPEND);
	CHECK(!chmod("paths.secret", 0) && !unlink("paths.gone") && grow >= 0);
	for (int i = 0; i < N_PATHS; i++) {
		CHECKF(fds[i] >= 0, "path %d", i);
		name_of(i, before[i], sizeof(before[i]));
	}
}

static void check(void)
{
	char buf[4200];
	struct stat st;
	int fd;

	for (int i = 0; i < N_PATHS; i++) {
		name_of(i, buf, sizeof(buf));
		CHECKF(!strcmp(buf, before[i]), "%s is %s", before[i], buf);
		CHECK(i == MADE_UP || (fcntl(fds[i], F_GETFL) & O_PATH));
	}
	CHECK(readlinkat(fds[LINK], "", buf, sizeof(buf)) == (ssize_t)strlen("/nonexistent/paths"));
	CHECK(!fstat(fds[SECRET], &st) && (st.st_mode & 07777) == 0 && st.st_size == 12);
	CHECK(!fstat(fds[GONE], &st) && st.st_nlink == 0 && st.st_size == 10);
	snprintf(buf, sizeof(buf), "/proc/self/fd/%d", fds[GONE]);
	fd = open(buf, O_RDONLY);
	CHECK(fd >= 0 && read(fd, buf, sizeof(buf)) == 10 && !memcmp(buf, "paths.gone", 10));
	close(fd);
	CHECK(pread(fds[MADE_UP], buf, sizeof(buf), 0) > 0);
}

int main(void)
{
	uint64_t x = 5;

	setup();
	job_begin(80000);
	while (job_more()) {
		x = job_chain(x, 1000);
		CHECK(write(grow, "x", 1) == 1);
		check();
	}
	return job_end("paths", x);
}
