// SPDX-License-Identifier: Apache-2.0
/* Whole reads and writes: short ones are continued, ends of files and errors are told apart. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"

enum { BIG = 300000 }; /* more than a pipe takes at once */

static char dir[] = "/tmp/ck-t-fd-XXXXXX";

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void remove_dir(void)
{
	rmdir(dir);
}

static int temp_file(void)
{
	char path[] = "/tmp/ck-t-fd-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

static void pattern(unsigned char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(i * 7 + i / 251);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Signals without SA_RESTART, one every millisecond, make EINTR and short transfers certain. */
static void storm(void)
{
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	struct sigaction sa = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

START_TEST(pipe_in_pieces_and_through_signals)
{
	CK_AUTO(free) unsigned char *in = malloc(BIG), *out = malloc(BIG + 1);
	int p[2], status;
	pid_t pid;

	ck_assert(in && out);
	pattern(in, BIG);
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		storm();
		if (ck_write_full(p[1], in, BIG - 1) < 0)
			_exit(1);
		for (int i = 0; i < 20; i++)
			pause(); /* let the reader be interrupted in an empty pipe */
		_exit(ck_write_full(p[1], in + BIG - 1, 1) == 0 ? 0 : 1);
	}
	ck_assert_int_gt(pid, 0);
	close(p[1]);
	storm();
	for (int i = 0; i < 20; i++)
		pause(); /* let the writer fill the pipe and be interrupted in it */
	/* One byte more than comes: the answer is what there was before the end. */
	ck_assert_int_eq(ck_read_full(p[0], out, BIG + 1), BIG);
	ck_assert_mem_eq(in, out, BIG);
	while (waitpid(pid, &status, 0) < 0)
		ck_assert_int_eq(errno, EINTR);
	ck_assert_int_eq(status, 0);
	close(p[0]);
}
END_TEST

START_TEST(positions)
{
	CK_AUTO(fd) int fd = temp_file();
	char buf[8] = "";

	ck_assert_int_eq(ck_pwrite_full(fd, "world", 5, 6), 0);
	ck_assert_int_eq(ck_pwrite_full(fd, "hello ", 6, 0), 0);
	ck_assert_int_eq(ck_pread_full(fd, buf, 4, 2), 4);
	ck_assert_str_eq(buf, "llo ");
	ck_assert_int_eq(ck_pread_full(fd, buf, sizeof(buf), 9), 2);
	ck_assert_int_eq(ck_pread_full(fd, buf, sizeof(buf), 99), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
}
END_TEST

START_TEST(errors_are_errnos)
{
	CK_AUTO(fd) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CK_AUTO(fd) int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	char c = 'x';

	ck_assert_int_eq(ck_read_full(-1, &c, 1), -EBADF);
	ck_assert_int_eq(ck_pread_full(-1, &c, 1, 0), -EBADF);
	ck_assert_int_eq(ck_write_full(null, &c, 1), -EBADF);
	ck_assert_int_eq(ck_write_full(full, &c, 1), -ENOSPC);
	ck_assert_int_eq(ck_pwrite_full(full, &c, 1, 0), -ENOSPC);
	ck_assert_int_eq(ck_write_full(-1, &c, 0), 0);
}
END_TEST

/* Sizes around the first buffer and its doublings; max is inclusive. */
START_TEST(whole_files)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 8193, BIG };
	size_t n = sizes[_i], len = 1;
	CK_AUTO(free) unsigned char *in = malloc(n + 1);
	CK_AUTO(free) char *out = NULL;
	char *untouched = NULL;
	char path[64];
	int fd;

	ck_assert_ptr_nonnull(in);
	pattern(in, n);
	snprintf(path, sizeof(path), "%s/f", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ck_write_full(fd, in, n), 0);
	close(fd);
	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, path, n, &out, &len), 0);
	ck_assert_uint_eq(len, n);
	ck_assert_int_eq(memcmp(in, out, n), 0);
	ck_assert_int_eq(out[n], '\0');
	if (n > 0) {
		ck_assert_int_eq(ck_read_file_at(AT_FDCWD, path, n - 1, &untouched, &len), -EFBIG);
		ck_assert_ptr_null(untouched);
	}
	unlink(path);
}
END_TEST

START_TEST(files_without_size)
{
	CK_AUTO(free) char *s = NULL;

	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, "/proc/self/stat", 4096, &s, NULL), 0);
	ck_assert_int_eq(strtol(s, NULL, 10), getpid());
	/* What never ends must not fill the memory. */
	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, "/dev/zero", 10000, &s, NULL), -EFBIG);
	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, "/nonexistent", 1, &s, NULL), -ENOENT);
}
END_TEST

START_TEST(links)
{
	CK_AUTO(free) char *s = NULL;
	char path[64], *target = malloc(PATH_MAX);

	ck_assert_ptr_nonnull(target);
	memset(target, 'a', PATH_MAX - 1);
	for (int i = 200; i < PATH_MAX - 1; i += 200)
		target[i] = '/';
	target[PATH_MAX - 1] = '\0';
	snprintf(path, sizeof(path), "%s/l", dir);
	ck_assert_int_eq(symlink(target, path), 0);
	ck_assert_int_eq(ck_readlink_at(AT_FDCWD, path, &s), 0);
	ck_assert_str_eq(s, target);
	unlink(path);
	ck_assert_int_eq(ck_readlink_at(AT_FDCWD, path, &target), -ENOENT);
	free(target);
	ck_assert_int_eq(ck_readlink_at(AT_FDCWD, "/", &s), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/fd");
	TCase *t = tcase_create("fd");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, pipe_in_pieces_and_through_signals);
	tcase_add_test(t, positions);
	tcase_add_test(t, errors_are_errnos);
	tcase_add_loop_test(t, whole_files, 0, 9);
	tcase_add_test(t, files_without_size);
	tcase_add_test(t, links);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
