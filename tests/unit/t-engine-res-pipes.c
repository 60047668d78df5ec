// SPDX-License-Identifier: Apache-2.0
/* Pipes, FIFOs, terminals, and standard input and output that lead out of a job. */
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>

#include "tests/unit/res-job.h"

/* ---- pipes ---- */

static void pipes_make(int task)
{
	char big[70000];
	int p[2];

	(void)task;
	memset(big, 'b', sizeof(big));
	JOB_CHECK(pipe(p) == 0);
	job_move(p[1], 41);
	job_move(p[0], 40);
	JOB_CHECK(fcntl(41, F_SETPIPE_SZ, 1 << 17) == 1 << 17);
	JOB_CHECK(write(41, big, sizeof(big)) == sizeof(big));
	/* nobody writes any more */
	JOB_CHECK(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0);
	JOB_CHECK(write(p[1], "last", 4) == 4);
	close(p[1]);
	JOB_CHECK(dup3(p[0], 42, O_CLOEXEC) == 42);
	close(p[0]);
	/* nobody reads any more */
	JOB_CHECK(pipe(p) == 0);
	close(p[0]);
	job_move(p[1], 43);
	/* packets */
	JOB_CHECK(pipe2(p, O_DIRECT) == 0);
	job_move(p[1], 45);
	job_move(p[0], 44);
	JOB_CHECK(write(45, "one", 3) == 3 && write(45, "three", 5) == 5);
	/* opened again: another description of the same end */
	job_move(open("/proc/self/fd/40", O_RDONLY | O_NONBLOCK), 46);
	/* empty, small and both ways */
	JOB_CHECK(pipe(p) == 0);
	JOB_CHECK(fcntl(p[1], F_SETPIPE_SZ, 4096) == 4096);
	job_move(open("/proc/self/fd/3", O_RDWR), 47);
	close(3);
	close(4);
}

static void pipes_verify(int task)
{
	struct pollfd poll40 = { .fd = 40, .events = POLLIN };
	char buf[70001];
	int n = 0;

	(void)task;
	JOB_CHECK(ioctl(40, FIONREAD, &n) == 0 && n == 70000);
	JOB_CHECK(fcntl(40, F_GETPIPE_SZ) == 1 << 17);
	JOB_CHECK(read(46, buf, 10) == 10 && (fcntl(46, F_GETFL) & O_NONBLOCK));
	JOB_CHECK(!(fcntl(40, F_GETFL) & O_NONBLOCK) && !(fcntl(41, F_GETFL) & O_NONBLOCK));
	for (int left = 69990; left > 0; left -= n) {
		n = (int)read(40, buf, sizeof(buf));
		JOB_CHECK(n > 0);
		for (int i = 0; i < n; i++)
			JOB_CHECK(buf[i] == 'b');
	}
	JOB_CHECK(write(41, "x", 1) == 1 && read(40, buf, 10) == 1 && buf[0] == 'x');
	JOB_CHECK(poll(&poll40, 1, 0) == 0);
	close(41);
	JOB_CHECK(poll(&poll40, 1, 0) == 1 && (poll40.revents & POLLHUP));
	JOB_CHECK(read(42, buf, 10) == 4 && !memcmp(buf, "last", 4) && read(42, buf, 10) == 0);
	JOB_CHECK((fcntl(42, F_GETFL) & O_NONBLOCK) && fcntl(42, F_GETFD) == FD_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	JOB_CHECK(write(43, "x", 1) == -1 && errno == EPIPE);
	JOB_CHECK(read(44, buf, 100) == 3 && !memcmp(buf, "one", 3));
	JOB_CHECK(read(44, buf, 100) == 5 && !memcmp(buf, "three", 5));
	JOB_CHECK((fcntl(45, F_GETFL) & O_DIRECT) && fcntl(45, F_GETPIPE_SZ) == 65536);
	JOB_CHECK(fcntl(47, F_GETPIPE_SZ) == 4096);
	JOB_CHECK(write(47, "rt", 2) == 2 && read(47, buf, 9) == 2);
}

START_TEST(pipes)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = pipes_make, .verify = pipes_verify });
}
END_TEST

/* The job's own pipes are as they were after a dump: nothing was read, no end added. */
START_TEST(pipes_untouched)
{
	const struct job j = { .n_tasks = 1, .make = pipes_make, .verify = pipes_verify };
	CK_AUTO(fd) int pidfd = -EBADF;
	CK_AUTO(fd) int fd = -EBADF;
	struct job_dump jd;
	char buf[10];
	int n = 0;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	job_dump_done(&jd);
	pidfd = (int)syscall(SYS_pidfd_open, shared->pid[0], 0);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, 40, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
	ck_assert_int_eq(n, 70000);
	close(fd);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, 42, 0);
	ck_assert_int_eq(read(fd, buf, sizeof(buf)), 4);
	ck_assert_int_eq(read(fd, buf, sizeof(buf)), 0);
	job_kill(&j);
}
END_TEST

/* A pipe between two tasks. */
static void pipeline_make(int task)
{
	int p[2];

	if (task == 0) {
		JOB_CHECK(pipe(p) == 0 && p[0] == 3 && p[1] == 4);
		JOB_CHECK(write(4, "queued", 6) == 6);
	} else {
		close(4);
	}
}

static void pipeline_verify(int task)
{
	char buf[32];

	if (task == 0) {
		close(3);
		JOB_CHECK(write(4, "+new", 4) == 4);
		close(4);
		job_step_done(1);
		return;
	}
	job_step_wait(1);
	JOB_CHECK(!job_is_open(4));
	JOB_CHECK(read(3, buf, sizeof(buf)) == 10 && !memcmp(buf, "queued+new", 10));
	JOB_CHECK(read(3, buf, sizeof(buf)) == 0);
}

START_TEST(pipeline)
{
	job_cycle(&(struct job){ .n_tasks = 2, .make = pipeline_make, .verify = pipeline_verify });
}
END_TEST

/* ---- pipes that lead out ---- */

static int outer[2][2];

static void outside_pipes(void)
{
	ck_assert_int_eq(pipe2(outer[0], O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(outer[1], O_CLOEXEC), 0);
}

static void stdio_make(int task)
{
	(void)task;
}

static void stdio_outside(void)
{
	/* The job is forked from here, and its task 0 closes all but stdio. */
	outside_pipes();
	dup2(outer[0][0], 0);
	dup2(outer[1][1], 1);
	dup2(outer[1][1], 2);
	close(outer[0][0]);
	close(outer[1][1]);
}

static void stdio_caller(void)
{
	outside_pipes();
	shared->value[0] = outer[0][1];
	JOB_CHECK(write(outer[0][1], "to the job", 10) == 10);
	dup2(outer[0][0], 0);
	dup2(outer[1][1], 1);
	dup2(outer[1][1], 2);
}

static void stdio_verify(int task)
{
	struct pollfd p = { .fd = 1 };
	char buf[32];

	(void)task;
	JOB_CHECK(read(0, buf, sizeof(buf)) == 10 && !memcmp(buf, "to the job", 10));
	JOB_CHECK(write(1, "out", 3) == 3 && write(2, "err", 3) == 3);
	JOB_CHECK(poll(&p, 1, 0) == 0);
	JOB_CHECK(fcntl(1, F_SETFL, O_NONBLOCK) == 0 && (fcntl(2, F_GETFL) & O_NONBLOCK));
	JOB_CHECK(!job_is_open(3));
}

START_TEST(stdio_inherited)
{
	struct job j = { .n_tasks = 1,
			 .make = stdio_make,
			 .outside = stdio_outside,
			 .caller = stdio_caller,
			 .verify = stdio_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert_uint_eq(jd.d.needs.n_inherited, 2);
	ck_assert_uint_eq(jd.d.needs.inherited[0], 0);
	ck_assert_uint_eq(jd.d.needs.inherited[1], 1);
	job_kill(&j);
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	job_dump_done(&jd);
}
END_TEST

static void elsewhere_outside(void)
{
	outside_pipes();
	for (int i = 0; i < 3; i++)
		dup2(i ? open("/dev/null", O_RDWR) : outer[0][1], i);
}

static void elsewhere_make(int task)
{
	(void)task;
	/* Descriptor 3 is a pipe that is not standard input or output. */
	job_move(0, 3);
	job_move(open("/dev/null", O_RDWR), 0);
}

START_TEST(pipe_elsewhere_refused)
{
	struct job j = { .n_tasks = 1, .make = elsewhere_make, .outside = elsewhere_outside };

	job_refused(&j, "fd 3");
	ck_assert_int_eq(job_err.kind, CK_ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(job_err.what, "outside of the job"));
}
END_TEST

static void closed_outside(void)
{
	elsewhere_outside();
	dup2(outer[1][0], 1);
	ck_assert_int_eq(write(outer[1][1], "left", 4), 4);
}

/* Descriptor 3 is to be written, 4 to be read. */
static void closed_make(int task)
{
	elsewhere_make(task);
	job_move(1, 4);
	job_move(open("/dev/null", O_RDWR), 1);
}

static void closed_verify(int task)
{
	char buf[8];

	(void)task;
	signal(SIGPIPE, SIG_IGN);
	JOB_CHECK(write(3, "x", 1) == -1 && errno == EPIPE);
	JOB_CHECK(read(4, buf, sizeof(buf)) == 4 && !memcmp(buf, "left", 4));
	JOB_CHECK(read(4, buf, sizeof(buf)) == 0);
}

START_TEST(pipe_elsewhere_closed)
{
	job_cycle(&(struct job){ .n_tasks = 1,
				 .away = ENGINE_OUTSIDE_CLOSE,
				 .make = closed_make,
				 .outside = closed_outside,
				 .verify = closed_verify });
}
END_TEST

/* Three pipes to outside, and a child whose output is its parent's third. */
static int third[2];

static void three_outside(void)
{
	stdio_outside();
	ck_assert_int_eq(pipe2(third, O_CLOEXEC), 0);
	dup2(third[1], 2);
	close(third[1]);
}

static void three_caller(void)
{
	stdio_caller();
	JOB_CHECK(pipe2(third, O_CLOEXEC | O_NONBLOCK) == 0);
	JOB_CHECK(dup2(third[1], 2) == 2);
}

static void three_make(int task)
{
	if (task == 1)
		JOB_CHECK(dup2(2, 1) == 1);
}

static void three_verify(int task)
{
	struct stat one, two;

	JOB_CHECK(fstat(1, &one) == 0 && fstat(2, &two) == 0);
	JOB_CHECK((one.st_ino == two.st_ino) == (task == 1));
	JOB_CHECK(write(1, "x", 1) == 1 && write(2, "y", 1) == 1);
}

START_TEST(stdio_crossed)
{
	struct job j = { .n_tasks = 2,
			 .make = three_make,
			 .outside = three_outside,
			 .caller = three_caller,
			 .verify = three_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert_uint_eq(jd.d.needs.n_inherited, 3);
	job_kill(&j);
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	job_dump_done(&jd);
}
END_TEST

/* A child whose output is yet another pipe: no number of the caller's can stand for it. */
static void fourth_outside(void)
{
	stdio_outside();
	ck_assert_int_eq(pipe2(third, O_CLOEXEC), 0);
	shared->value[0] = getpid();
	shared->value[1] = third[1];
}

static void fourth_make(int task)
{
	char path[60];

	if (task == 0)
		return;
	snprintf(path, sizeof(path), "/proc/%ld/fd/%ld", shared->value[0], shared->value[1]);
	job_move(open(path, O_WRONLY), 1);
}

START_TEST(stdio_of_two_refused)
{
	struct job j = { .n_tasks = 2, .make = fourth_make, .outside = fourth_outside };

	job_refused(&j, "outside of the job");
	ck_assert_ptr_nonnull(strstr(job_err.where, "fd 1"));
}
END_TEST

/* Standard output to a file that this user may not open again (root may anyway). */
static void forbidden_outside(void)
{
	int fd = open(job_path("log"), O_WRONLY | O_APPEND | O_CREAT, 0600);
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	dup2(fd, 1);
	dup2(null, 2);
	fchmod(fd, 0);
	close(fd);
	close(null);
}

static void forbidden_caller(void)
{
	JOB_CHECK(chmod(job_path("log"), 0600) == 0);
	forbidden_outside();
}

static void forbidden_verify(int task)
{
	struct stat st, own;

	(void)task;
	JOB_CHECK(write(1, "x", 1) == 1);
	JOB_CHECK(stat(job_path("log"), &st) == 0 && fstat(1, &own) == 0);
	JOB_CHECK(st.st_ino == own.st_ino && st.st_size == 1);
}

START_TEST(stdio_forbidden)
{
	struct job j = { .n_tasks = 1,
			 .make = stdio_make,
			 .outside = forbidden_outside,
			 .caller = forbidden_caller,
			 .verify = forbidden_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert_uint_eq(jd.d.needs.n_inherited, 0);
	job_kill(&j);
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	job_dump_done(&jd);
}
END_TEST

/* The same in a directory where this user may not look. */
static void unreachable_outside(void)
{
	int fd, null = open("/dev/null", O_RDWR);

	ck_assert_int_eq(mkdir(job_path("dir"), 0700), 0);
	fd = open(job_path("dir/log"), O_WRONLY | O_APPEND | O_CREAT, 0600);
	dup2(null, 0);
	dup2(fd, 1);
	dup2(null, 2);
	chmod(job_path("dir"), 0);
	close(fd);
	close(null);
}

static void unreachable_caller(void)
{
	int fd;

	JOB_CHECK(chmod(job_path("dir"), 0700) == 0);
	fd = open(job_path("dir/log"), O_WRONLY | O_APPEND);
	JOB_CHECK(dup2(fd, 1) == 1 && chmod(job_path("dir"), 0) == 0);
}

static void unreachable_verify(int task)
{
	struct stat st;

	(void)task;
	JOB_CHECK(write(1, "x", 1) == 1 && fstat(1, &st) == 0 && st.st_size == 1);
	JOB_CHECK(chmod(job_path("dir"), 0700) == 0);
}

START_TEST(stdio_unreachable)
{
	struct job j = { .n_tasks = 1,
			 .make = stdio_make,
			 .outside = unreachable_outside,
			 .caller = unreachable_caller,
			 .verify = unreachable_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert_uint_eq(jd.d.needs.n_inherited, geteuid() == 0 ? 0 : 1);
	job_kill(&j);
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	job_dump_done(&jd);
}
END_TEST

/* ---- FIFOs ---- */

static void fifo_make(int task)
{
	(void)task;
	JOB_CHECK(mkfifo(job_path("fifo"), 0600) == 0);
	job_move(open(job_path("fifo"), O_RDONLY | O_NONBLOCK), 3);
	job_move(open(job_path("fifo"), O_WRONLY), 4);
	JOB_CHECK(write(4, "in the fifo", 11) == 11);
	JOB_CHECK(mkfifo(job_path("gone"), 0600) == 0);
	job_move(open(job_path("gone"), O_RDWR), 5);
	JOB_CHECK(write(5, "nameless", 8) == 8);
	JOB_CHECK(unlink(job_path("gone")) == 0);
}

static void fifo_verify(int task)
{
	char buf[32];

	(void)task;
	JOB_CHECK(read(3, buf, sizeof(buf)) == 11 && !memcmp(buf, "in the fifo", 11));
	JOB_CHECK((fcntl(3, F_GETFL) & O_NONBLOCK) && !(fcntl(4, F_GETFL) & O_NONBLOCK));
	JOB_CHECK(read(3, buf, sizeof(buf)) == -1 && errno == EAGAIN);
	close(4);
	JOB_CHECK(read(3, buf, sizeof(buf)) == 0);
	JOB_CHECK(read(5, buf, sizeof(buf)) == 8 && !memcmp(buf, "nameless", 8));
}

START_TEST(fifos)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = fifo_make, .verify = fifo_verify });
}
END_TEST

/* ---- terminals ---- */

static int pty_master, pty_slave;

static void tty_outside(void)
{
	struct termios t;

	ck_assert_int_eq(openpty(&pty_master, &pty_slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(pty_slave, &t), 0);
	t.c_lflag &= ~(tcflag_t)ECHO;
	t.c_cc[VMIN] = 7;
	ck_assert_int_eq(tcsetattr(pty_slave, TCSANOW, &t), 0);
	for (int i = 0; i < 3; i++)
		dup2(pty_slave, i);
}

static void tty_caller(void)
{
	JOB_CHECK(openpty(&pty_master, &pty_slave, NULL, NULL, NULL) == 0);
	/* Only standard error is a terminal here. */
	JOB_CHECK(dup2(open("/dev/null", O_RDWR), 0) == 0 && dup2(0, 1) == 1);
	JOB_CHECK(dup2(pty_slave, 2) == 2);
}

static void tty_verify(int task)
{
	struct termios t;

	(void)task;
	for (int i = 0; i < 3; i++)
		JOB_CHECK(isatty(i) && (fcntl(i, F_GETFL) & O_ACCMODE) == O_RDWR);
	JOB_CHECK(tcgetattr(0, &t) == 0 && !(t.c_lflag & ECHO) && t.c_cc[VMIN] == 7);
}

START_TEST(terminal)
{
	struct job j = { .n_tasks = 1,
			 .dump_flags = ENGINE_DUMP_SHELL_JOB,
			 .restore_flags = ENGINE_RESTORE_SHELL_JOB,
			 .make = stdio_make,
			 .outside = tty_outside,
			 .caller = tty_caller,
			 .verify = tty_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert(jd.d.needs.has_terminal && jd.d.needs.terminal);
	job_kill(&j);
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	j.restore_flags = 0;
	ck_assert_int_lt(job_restore(&j, &jd), 0);
	ck_assert_ptr_nonnull(strstr(job_err.hint, "--shell-job"));
	job_dump_done(&jd);
}
END_TEST

START_TEST(terminal_refused)
{
	struct job j = { .n_tasks = 1, .make = stdio_make, .outside = tty_outside };

	job_refused(&j, "cannot dump a terminal (/dev/pts/");
	ck_assert_ptr_nonnull(strstr(job_err.hint, "--shell-job"));
}
END_TEST

static Suite *pipes_suite(void)
{
	const TTest *const tests[] = { pipes,
				       pipes_untouched,
				       pipeline,
				       stdio_inherited,
				       pipe_elsewhere_refused,
				       pipe_elsewhere_closed,
				       stdio_crossed,
				       stdio_of_two_refused,
				       stdio_forbidden,
				       stdio_unreachable,
				       fifos,
				       terminal,
				       terminal_refused };
	Suite *s = suite_create("engine/res pipes");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(pipes_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
