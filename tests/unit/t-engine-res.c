// SPDX-License-Identifier: Apache-2.0
/* Descriptors, directories and locks of a small job, dumped and restored without its memory. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <termios.h>

#include "tests/unit/res-job.h"
#include "tests/unit/skip.h"

static off_t offset(int fd)
{
	return lseek(fd, 0, SEEK_CUR);
}

/* ---- files ---- */

static void files_make(int task)
{
	(void)task;
	job_open(3, "rw", O_RDWR, "hello world");
	JOB_CHECK(lseek(3, 6, SEEK_SET) == 6);
	job_open(4, "log", O_WRONLY | O_APPEND | O_CLOEXEC, "line\n");
	JOB_CHECK(write(4, "more\n", 5) == 5);
	job_open(200, "ro", O_RDONLY | O_NONBLOCK, "read me");
	JOB_CHECK(lseek(200, 3, SEEK_SET) == 3);
	job_move(open("/dev/zero", O_RDWR), 7);
	job_move(open("/dev/urandom", O_RDONLY), 8);
	job_move(open("/dev/full", O_WRONLY | O_CLOEXEC), 9);
	JOB_CHECK(fcntl(9, F_SETFD, FD_CLOEXEC) == 0);
	job_move(open(job_dir, O_RDONLY | O_DIRECTORY), 10);
	job_move(open(job_path("ro"), O_PATH), 11);
	job_open(12, "odd (deleted)", O_RDWR, "odd");
	job_open(13, "new\nline", O_RDONLY, "newline");
	job_open(14, "private", O_RDWR | O_SYNC, "x");
	JOB_CHECK(fchmod(14, 0600) == 0);
	JOB_CHECK(symlink("ro", job_path("link")) == 0);
	job_move(open(job_path("link"), O_PATH | O_NOFOLLOW), 15);
}

static void files_verify(int task)
{
	struct stat st;
	char buf[32] = "";

	(void)task;
	JOB_CHECK(offset(3) == 6 && read(3, buf, 31) == 5 && !strcmp(buf, "world"));
	JOB_CHECK((fcntl(3, F_GETFL) & O_ACCMODE) == O_RDWR && fcntl(3, F_GETFD) == 0);
	JOB_CHECK(fcntl(4, F_GETFD) == FD_CLOEXEC && (fcntl(4, F_GETFL) & O_APPEND));
	JOB_CHECK(write(4, "end\n", 4) == 4);
	JOB_CHECK(fstat(4, &st) == 0 && st.st_size == 14);
	JOB_CHECK(offset(200) == 3 && (fcntl(200, F_GETFL) & O_NONBLOCK));
	JOB_CHECK(read(7, buf, 5) == 5 && !memcmp(buf, "\0\0\0\0\0", 5));
	JOB_CHECK(fstat(8, &st) == 0 && minor(st.st_rdev) == 9);
	JOB_CHECK(write(9, "x", 1) == -1 && errno == ENOSPC && fcntl(9, F_GETFD) == FD_CLOEXEC);
	JOB_CHECK(fstat(10, &st) == 0 && S_ISDIR(st.st_mode));
	JOB_CHECK(fcntl(11, F_GETFL) & O_PATH);
	JOB_CHECK(fstat(12, &st) == 0 && st.st_size == 3 && st.st_nlink == 1);
	JOB_CHECK(pread(13, buf, 7, 0) == 7 && !memcmp(buf, "newline", 7));
	JOB_CHECK((fcntl(14, F_GETFL) & O_SYNC) == O_SYNC && !(fcntl(14, F_GETFL) & O_NONBLOCK));
	JOB_CHECK(fstat(15, &st) == 0 && S_ISLNK(st.st_mode));
	for (int fd = 3; fd < 400; fd++)
		JOB_CHECK(job_is_open(fd) ==
			  (fd == 3 || fd == 4 || (fd >= 7 && fd <= 15) || fd == 200));
}

START_TEST(files)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = files_make, .verify = files_verify });
}
END_TEST

/* ---- what is shared stays shared, and nothing else is ---- */

static void sharing_make(int task)
{
	if (task > 0) {
		JOB_CHECK(dup2(3, 20 + task) == 20 + task);
		return;
	}
	job_open(3, "a", O_RDWR, "0123456789");
	job_move(open(job_path("a"), O_RDWR), 4);
	JOB_CHECK(dup2(4, 5) == 5);
	JOB_CHECK(fcntl(5, F_SETFD, FD_CLOEXEC) == 0);
	job_move(open(job_path("a"), O_RDWR | O_APPEND), 6);
}

static void sharing_verify(int task)
{
	if (task == 0) {
		JOB_CHECK(lseek(3, 7, SEEK_SET) == 7);
		JOB_CHECK(offset(4) == 0 && offset(5) == 0);
		JOB_CHECK(lseek(5, 2, SEEK_SET) == 2 && offset(4) == 2);
		JOB_CHECK(fcntl(5, F_GETFD) == FD_CLOEXEC && fcntl(4, F_GETFD) == 0);
		JOB_CHECK(fcntl(3, F_SETFL, O_NONBLOCK) == 0);
		job_step_done(1);
		job_step_wait(2);
		JOB_CHECK(offset(3) == 9);
		return;
	}
	job_step_wait(1);
	if (task == 1)
		job_step_wait(2);
	JOB_CHECK(offset(20 + task) == (task == 2 ? 7 : 9));
	JOB_CHECK(fcntl(20 + task, F_GETFL) & O_NONBLOCK);
	JOB_CHECK(!(fcntl(4, F_GETFL) & O_NONBLOCK) && offset(4) == 2);
	if (task == 2) {
		JOB_CHECK(lseek(3, 9, SEEK_SET) == 9);
		job_step_done(2);
	}
}

START_TEST(sharing)
{
	job_cycle(&(struct job){ .n_tasks = 3, .make = sharing_make, .verify = sharing_verify });
}
END_TEST

/* ---- locks ---- */

static void locks_make(int task)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3 };

	if (task == 1) {
		fl.l_start = 10;
		fl.l_type = F_RDLCK;
		JOB_CHECK(fcntl(4, F_SETLK, &fl) == 0);
		return;
	}
	job_open(3, "flock", O_RDWR, "");
	JOB_CHECK(flock(3, LOCK_EX) == 0);
	job_open(4, "posix", O_RDWR, "");
	JOB_CHECK(fcntl(4, F_SETLK, &fl) == 0);
	job_open(5, "ofd", O_RDWR, "");
	fl.l_len = 0;
	JOB_CHECK(fcntl(5, F_OFD_SETLK, &fl) == 0);
	JOB_CHECK(dup2(5, 6) == 6);
}

static short who_locks(int fd, int cmd, off_t start)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1 };

	JOB_CHECK(fcntl(fd, cmd, &fl) == 0);
	return fl.l_type;
}

static void locks_verify(int task)
{
	int fd;

	if (task == 1) {
		job_step_done(1);
		job_step_wait(2);
		return;
	}
	job_step_wait(1);
	fd = open(job_path("flock"), O_RDWR);
	JOB_CHECK(flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK);
	fd = open(job_path("ofd"), O_RDWR);
	JOB_CHECK(who_locks(fd, F_OFD_GETLK, 1) == F_UNLCK);
	JOB_CHECK(who_locks(fd, F_OFD_GETLK, 1 << 20) == F_WRLCK);
	/* one's own lock is no hindrance, another task's is */
	JOB_CHECK(who_locks(4, F_GETLK, 2) == F_UNLCK);
	JOB_CHECK(who_locks(4, F_GETLK, 10) == F_RDLCK);
	JOB_CHECK(who_locks(4, F_OFD_GETLK, 2) == F_WRLCK);
	JOB_CHECK(who_locks(4, F_OFD_GETLK, 5) == F_UNLCK);
	job_step_done(2);
}

START_TEST(locks)
{
	job_cycle(&(struct job){ .n_tasks = 2, .make = locks_make, .verify = locks_verify });
}
END_TEST

static void lock_taken_make(int task)
{
	(void)task;
	job_open(3, "flock", O_RDWR, "");
	JOB_CHECK(flock(3, LOCK_EX) == 0);
}

START_TEST(lock_taken)
{
	struct job j = { .n_tasks = 1, .make = lock_taken_make, .verify = lock_taken_make };
	CK_AUTO(fd) int fd = -EBADF;
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	job_kill(&j);
	fd = open(job_path("flock"), O_RDWR);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(job_restore(&j, &jd), -1);
	ck_assert_ptr_nonnull(strstr(shared->failure, "locked by somebody else"));
	job_dump_done(&jd);
}
END_TEST

/* ---- place in the file system ---- */

static void place_make(int task)
{
	if (task == 0) {
		JOB_CHECK(mkdir(job_path("cwd"), 0711) == 0);
		JOB_CHECK(chdir(job_path("cwd")) == 0);
		umask(027);
	} else {
		JOB_CHECK(mkdir(job_path("removed"), 0700) == 0);
		JOB_CHECK(chdir(job_path("removed")) == 0);
		JOB_CHECK(rmdir(job_path("removed")) == 0);
		umask(0);
	}
}

static void place_verify(int task)
{
	struct stat here, there;
	char buf[PATH_MAX];

	if (task == 0) {
		JOB_CHECK(umask(0) == 027);
		JOB_CHECK(getcwd(buf, sizeof(buf)) && !strcmp(buf, job_path("cwd")));
		JOB_CHECK(stat(".", &here) == 0 && stat(job_path("cwd"), &there) == 0);
		JOB_CHECK(here.st_ino == there.st_ino);
	} else {
		JOB_CHECK(umask(0) == 0);
		JOB_CHECK(stat(".", &here) == 0 && S_ISDIR(here.st_mode));
		JOB_CHECK(getcwd(buf, sizeof(buf)) == NULL && errno == ENOENT);
		JOB_CHECK((here.st_mode & 0777) == 0700);
	}
}

START_TEST(place)
{
	job_cycle(&(struct job){ .n_tasks = 2, .make = place_make, .verify = place_verify });
}
END_TEST

static void chroot_make(int task)
{
	(void)task;
	JOB_CHECK(mkdir(job_path("root"), 0755) == 0 && mkdir(job_path("root/in"), 0755) == 0);
	job_open(3, "root/file", O_RDONLY, "inside");
	JOB_CHECK(chroot(job_path("root")) == 0 && chdir("/in") == 0);
}

static void chroot_verify(int task)
{
	char buf[100];

	(void)task;
	JOB_CHECK(getcwd(buf, sizeof(buf)) && !strcmp(buf, "/in"));
	JOB_CHECK(access("/file", R_OK) == 0 && access("/etc", F_OK) == -1);
	JOB_CHECK(read(3, buf, 10) == 6);
}

START_TEST(changed_root)
{
	if (geteuid() != 0)
		SKIP("needs root");
	job_cycle(&(struct job){ .n_tasks = 1, .make = chroot_make, .verify = chroot_verify });
}
END_TEST

/* ---- eventfds ---- */

static void eventfd_make(int task)
{
	(void)task;
	job_move(eventfd(5, EFD_NONBLOCK | EFD_CLOEXEC), 3);
	JOB_CHECK(fcntl(3, F_SETFD, FD_CLOEXEC) == 0);
	job_move(eventfd(2, EFD_SEMAPHORE), 4);
	job_move(eventfd(0, EFD_NONBLOCK), 5);
	JOB_CHECK(write(5, &(uint64_t){ UINT64_MAX - 1 }, 8) == 8);
	JOB_CHECK(dup2(5, 6) == 6);
}

static void eventfd_verify(int task)
{
	uint64_t v = 0;

	(void)task;
	JOB_CHECK(fcntl(3, F_GETFD) == FD_CLOEXEC && (fcntl(3, F_GETFL) & O_NONBLOCK));
	JOB_CHECK(read(3, &v, 8) == 8 && v == 5 && read(3, &v, 8) == -1 && errno == EAGAIN);
	JOB_CHECK(fcntl(4, F_GETFL) == O_RDWR);
	JOB_CHECK(read(4, &v, 8) == 8 && v == 1 && read(4, &v, 8) == 8 && v == 1);
	JOB_CHECK(read(6, &v, 8) == 8 && v == UINT64_MAX - 1);
	JOB_CHECK(read(5, &v, 8) == -1 && errno == EAGAIN);
}

START_TEST(eventfds)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = eventfd_make, .verify = eventfd_verify });
}
END_TEST

/* ---- epoll instances, timerfds, signalfds ---- */

static void watch(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	JOB_CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
}

/*
 * 3 watches: 4, an eventfd, under its number; another under number 6, where something else is now;
 * 5, whose shot is spent; itself watched by 8.
 */
static void epoll_make(int task)
{
	struct epoll_event got;
	int p[2];

	if (task)
		return;
	JOB_CHECK(pipe(p) == 0);
	close(p[1]);
	job_move(p[0], 5); /* hangs up: would fire again at once */
	job_move(epoll_create1(EPOLL_CLOEXEC), 3);
	job_move(eventfd(0, 0), 4);
	job_move(eventfd(0, 0), 6);
	watch(3, 5, EPOLLIN | EPOLLONESHOT, 55);
	JOB_CHECK(epoll_wait(3, &got, 1, 0) == 1 && got.data.u64 == 55);
	watch(3, 4, EPOLLIN, 1ull << 63 | 44);
	watch(3, 6, EPOLLIN | EPOLLET, 66);
	JOB_CHECK(dup2(6, 7) == 7);
	job_move(eventfd(9, 0), 6);
	job_move(epoll_create1(0), 8);
	watch(8, 3, EPOLLIN, 33);
	JOB_CHECK(fcntl(8, F_SETFL, O_NONBLOCK) == 0);
}

static void epoll_verify(int task)
{
	struct epoll_event got[4];

	if (task)
		return;
	JOB_CHECK(fcntl(8, F_GETFL) & O_NONBLOCK);
	JOB_CHECK(epoll_wait(8, got, 4, 0) == 0);
	JOB_CHECK(write(7, &(uint64_t){ 1 }, 8) == 8);
	JOB_CHECK(epoll_wait(8, got, 4, 0) == 1 && got[0].data.u64 == 33);
	JOB_CHECK(epoll_wait(3, got, 4, 0) == 1);
	JOB_CHECK(got[0].data.u64 == 66 && got[0].events == EPOLLIN);
	JOB_CHECK(epoll_wait(3, got, 4, 0) == 0); /* EPOLLET is kept */
	JOB_CHECK(write(4, &(uint64_t){ 1 }, 8) == 8);
	JOB_CHECK(epoll_wait(3, got, 4, 0) == 1 && got[0].data.u64 == (1ull << 63 | 44));
	/* The spent one can be armed again. */
	got[0] = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 56 };
	JOB_CHECK(epoll_ctl(3, EPOLL_CTL_MOD, 5, got) == 0);
	JOB_CHECK(read(4, &(uint64_t){ 0 }, 8) == 8);
	JOB_CHECK(epoll_wait(3, got, 4, 0) == 1 && got[0].data.u64 == 56);
	/* What was added as 6 is not what is 6 now. */
	JOB_CHECK(epoll_ctl(3, EPOLL_CTL_DEL, 6, NULL) == -1 && errno == ENOENT);
	JOB_CHECK(dup2(7, 6) == 6 && epoll_ctl(3, EPOLL_CTL_DEL, 6, NULL) == 0);
}

START_TEST(epolls)
{
	job_cycle(&(struct job){ .n_tasks = 2, .make = epoll_make, .verify = epoll_verify });
}
END_TEST

static void timerfd_make(int task)
{
	struct itimerspec its = { .it_value = { 1000, 0 }, .it_interval = { 7, 5 } };
	struct timespec now;

	(void)task;
	job_move(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 3);
	JOB_CHECK(timerfd_settime(3, 0, &its, NULL) == 0);
	job_move(timerfd_create(CLOCK_REALTIME, 0), 4);
	JOB_CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
	its.it_value.tv_sec = shared->value[0] = now.tv_sec + 500;
	JOB_CHECK(timerfd_settime(4, TFD_TIMER_ABSTIME, &its, NULL) == 0);
	its = (struct itimerspec){ .it_value = { 0, 1 } };
	job_move(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK), 5);
	JOB_CHECK(timerfd_settime(5, 0, &its, NULL) == 0);
	usleep(1000); /* has expired, not read */
	job_move(timerfd_create(CLOCK_MONOTONIC, 0), 6);
}

static void timerfd_verify(int task)
{
	struct itimerspec its;
	struct timespec now;
	uint64_t n = 0;

	(void)task;
	JOB_CHECK(timerfd_gettime(3, &its) == 0);
	JOB_CHECK(its.it_value.tv_sec > 900 && its.it_value.tv_sec < 1000);
	JOB_CHECK(its.it_interval.tv_sec == 7 && its.it_interval.tv_nsec == 5);
	JOB_CHECK(read(3, &n, 8) == -1 && errno == EAGAIN);
	JOB_CHECK(timerfd_gettime(4, &its) == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0);
	/* What is left is rounded up or down by what passed between the two calls. */
	JOB_CHECK(labs(now.tv_sec + its.it_value.tv_sec - shared->value[0]) <= 1);
	JOB_CHECK(read(5, &n, 8) == 8 && n == 1);
	JOB_CHECK(read(5, &n, 8) == -1 && errno == EAGAIN);
	JOB_CHECK(timerfd_gettime(6, &its) == 0);
	JOB_CHECK(!its.it_value.tv_sec && !its.it_value.tv_nsec && !its.it_interval.tv_sec);
}

START_TEST(timerfds)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = timerfd_make, .verify = timerfd_verify });
}
END_TEST

/* ---- pseudo terminals ---- */

/* 3: a master with 4, its slave. 5: one whose slave was closed. 6: one that is locked. */
static void pty_make(int task)
{
	struct winsize w = { .ws_row = 7, .ws_col = 9 };
	struct termios t;

	if (task)
		return;
	for (int fd = 3; fd <= 6; fd++)
		if (fd != 4)
			job_move(open("/dev/ptmx", O_RDWR | O_NOCTTY), fd);
	for (int fd = 3; fd <= 5; fd += 2)
		JOB_CHECK(ioctl(fd, TIOCSPTLCK, &(int){ 0 }) == 0);
	/* The description keeps this O_CLOEXEC, which fdinfo then shows of all its descriptors. */
	job_move(ioctl(3, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), 4);
	JOB_CHECK(fcntl(4, F_SETFD, 0) == 0);
	close(ioctl(5, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	JOB_CHECK(tcgetattr(4, &t) == 0);
	cfmakeraw(&t);
	t.c_cc[VMIN] = 3;
	JOB_CHECK(tcsetattr(4, TCSANOW, &t) == 0);
	JOB_CHECK(ioctl(4, TIOCSWINSZ, &w) == 0);
	JOB_CHECK(ioctl(3, TIOCPKT, &(int){ 1 }) == 0);
	JOB_CHECK(ioctl(4, TIOCEXCL) == 0);
	JOB_CHECK(fcntl(3, F_SETFL, O_NONBLOCK) == 0);
}

static void pty_verify(int task)
{
	CK_AUTO(fd) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct proc_fdinfo info;
	struct winsize w;
	struct termios t;
	char buf[8];
	int on = 0;

	if (task == 1) { /* the child has the same slave */
		JOB_CHECK(write(4, "abc", 3) == 3);
		job_step_done(1);
		return;
	}
	JOB_CHECK(isatty(4) && tcgetattr(4, &t) == 0);
	JOB_CHECK(fcntl(3, F_GETFD) == 0 && fcntl(4, F_GETFD) == 0);
	JOB_CHECK(proc_read_fdinfo(self, 4, &info, NULL) == 0 && !(info.flags & O_CLOEXEC));
	JOB_CHECK(!(t.c_lflag & (ICANON | ECHO)) && t.c_cc[VMIN] == 3);
	JOB_CHECK(ioctl(4, TIOCGWINSZ, &w) == 0 && w.ws_row == 7 && w.ws_col == 9);
	JOB_CHECK(ioctl(3, TIOCGPKT, &on) == 0 && on == 1);
	JOB_CHECK(ioctl(4, TIOCGEXCL, &on) == 0 && on == 1);
	JOB_CHECK(ioctl(3, TIOCGEXCL, &on) == 0 && on == 0);
	JOB_CHECK(fcntl(3, F_GETFL) & O_NONBLOCK);
	job_step_wait(1);
	usleep(20000);
	JOB_CHECK(read(3, buf, 8) == 4 && !memcmp(buf, "\0abc", 4));
	JOB_CHECK(read(5, buf, 8) == -1 && errno == EIO);
	JOB_CHECK(ioctl(6, TIOCGPTLCK, &on) == 0 && on == 1);
}

START_TEST(ptys)
{
	job_cycle(&(struct job){ .n_tasks = 2, .make = pty_make, .verify = pty_verify });
}
END_TEST

static void stopped_make(int task)
{
	(void)task;
	job_move(open("/dev/ptmx", O_RDWR | O_NOCTTY), 3);
	JOB_CHECK(ioctl(3, TIOCSPTLCK, &(int){ 0 }) == 0);
	job_move(ioctl(3, TIOCGPTPEER, O_RDWR | O_NOCTTY), 4);
	JOB_CHECK(shared->value[0] ? write(3, "\023", 1) == 1 : tcflow(4, TCOOFF) == 0);
	/* what the master writes is seen to a moment later */
	while (poll(&(struct pollfd){ .fd = 4, .events = POLLOUT }, 1, 0) == 1)
		usleep(1000);
}

START_TEST(pty_stopped)
{
	shared->value[0] = _i;
	job_refused(&(struct job){ .n_tasks = 1, .make = stopped_make }, "is stopped");
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
}
END_TEST

static void busy_make(int task)
{
	const struct {
		uint32_t usecs;
		uint16_t budget;
		uint8_t prefer, pad;
	} busy = { .usecs = 50, .budget = 8 };

	(void)task;
	job_move(epoll_create1(0), 3);
	shared->value[0] = ioctl(3, _IOW(0x8A, 0x01, busy), &busy);
}

START_TEST(epoll_busy)
{
	struct job j = { .n_tasks = 1, .make = busy_make };
	struct job_dump jd;
	int r = job_dump(&j, &jd);

	/* COMPAT(v6.9) */
	ck_assert_int_eq(r, shared->value[0] < 0 ? 0 : -EOPNOTSUPP);
	job_kill(&j);
	job_dump_done(&jd);
}
END_TEST

static void unread_make(int task)
{
	(void)task;
	job_move(open("/dev/ptmx", O_RDWR | O_NOCTTY), 3);
	JOB_CHECK(ioctl(3, TIOCSPTLCK, &(int){ 0 }) == 0);
	job_move(ioctl(3, TIOCGPTPEER, O_RDWR | O_NOCTTY), 4);
	JOB_CHECK(write(shared->value[0] ? 3 : 4, "x\n", 2) == 2);
}

START_TEST(pty_unread)
{
	struct job j = { .n_tasks = 1, .make = unread_make, .dump_flags = ENGINE_LEAVE_RUNNING };
	struct job_dump jd;

	shared->value[0] = _i;
	ck_assert_int_eq(job_dump(&j, &jd), -EBUSY);
	ck_assert_int_eq(job_err.kind, CK_ERR_BUSY);
	job_kill(&j);
	job_dump_done(&jd);
}
END_TEST

static void signalfd_make(int task)
{
	sigset_t set;

	(void)task;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMAX);
	job_move(signalfd(-1, &set, SFD_NONBLOCK), 3);
}

static void signalfd_verify(int task)
{
	struct signalfd_siginfo si;
	sigset_t set;

	(void)task;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMAX);
	JOB_CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	JOB_CHECK(raise(SIGUSR2) == 0);
	JOB_CHECK(read(3, &si, sizeof(si)) == -1 && errno == EAGAIN);
	JOB_CHECK(sigqueue(getpid(), SIGRTMAX, (union sigval){ .sival_int = 77 }) == 0);
	JOB_CHECK(read(3, &si, sizeof(si)) == sizeof(si));
	JOB_CHECK((int)si.ssi_signo == SIGRTMAX && si.ssi_int == 77);
	JOB_CHECK(raise(SIGUSR1) == 0);
	JOB_CHECK(read(3, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1);
}

START_TEST(signalfds)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = signalfd_make, .verify = signalfd_verify });
}
END_TEST

/* ---- signals from descriptors ---- */

static void fown_make(int task)
{
	struct f_owner_ex o = { .type = F_OWNER_PID, .pid = getpid() };
	int p[2];

	(void)task;
	JOB_CHECK(pipe(p) == 0);
	JOB_CHECK(fcntl(3, F_SETSIG, SIGUSR2) == 0);
	JOB_CHECK(fcntl(4, F_SETOWN_EX, &o) == 0);
}

START_TEST(signal_owner)
{
	struct job j = { .n_tasks = 1, .make = fown_make };
	struct job_restore *jr = calloc(1, sizeof(*jr));
	const struct script *s = &jr->script[0];
	const struct f_owner_ex *o = NULL;
	struct job_dump jd;
	int fd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	job_kill(&j);
	ck_assert_int_eq(job_load(&j, &jd, jr), 0);
	ck_assert_int_eq(res_plan(&jr->r, &jr->tasks[0], &job_err), 0);
	for (size_t i = 0; i < s->n; i++)
		if (s->op[i].nr == SYS_fcntl && s->op[i].a[1] == F_SETOWN_EX)
			o = (const struct f_owner_ex *)(uintptr_t)s->op[i].a[2];
	ck_assert_ptr_nonnull(o);
	ck_assert_int_eq(o->pid, shared->pid[0]);
	ck_assert_int_eq(o->type, F_OWNER_PID);
	ck_assert_int_eq(res_open(&jr->r, &job_err), 0);
	fd = -1;
	for (size_t i = 0; i < res_count(&jr->r); i++)
		if (fcntl(res_base(&jr->r) + (int)i, F_GETSIG) == SIGUSR2)
			fd = res_base(&jr->r) + (int)i;
	ck_assert_int_ge(fd, 0);
	job_restore_done(jr);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	job_dump_done(&jd);
	free(jr);
}
END_TEST

/* ---- where system calls are forbidden, as in containers ---- */

static void unclear_make(int task)
{
	(void)task;
	job_open(3, "log", O_WRONLY | O_APPEND, "line\n");
	JOB_CHECK(dup2(3, 4) == 4);
	job_open(5, "data", O_RDWR, "x");
	JOB_CHECK(pipe((int[2]){ 0 }) == 0 && dup2(6, 8) == 8);
}

static void unclear_verify(int task)
{
	(void)task;
	JOB_CHECK(write(3, "a", 1) == 1 && write(4, "b", 1) == 1);
	JOB_CHECK(job_is_open(5) && job_is_open(6) && job_is_open(7) && job_is_open(8) &&
		  !job_is_open(9));
}

START_TEST(kcmp_forbidden)
{
	job_forbid(SYS_kcmp);
	job_forbid(SYS_pidfd_getfd);
	job_cycle(&(struct job){ .n_tasks = 1, .make = unclear_make, .verify = unclear_verify });
}
END_TEST

/* As "sharing", in a container. */
START_TEST(shared_without_kcmp)
{
	job_forbid(SYS_kcmp);
	job_forbid(SYS_pidfd_getfd);
	job_cycle(&(struct job){ .n_tasks = 3, .make = sharing_make, .verify = sharing_verify });
}
END_TEST

static Suite *res_suite(void)
{
	const TTest *const tests[] = { files,          sharing,
				       locks,          lock_taken,
				       place,          changed_root,
				       eventfds,       epolls,
				       timerfds,       signalfds,
				       ptys,           signal_owner,
				       kcmp_forbidden, shared_without_kcmp,
				       epoll_busy };
	Suite *s = suite_create("engine/res");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
	tcase_add_loop_test(c, pty_unread, 0, 2);
	tcase_add_loop_test(c, pty_stopped, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(res_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
