// SPDX-License-Identifier: Apache-2.0
/*
 * Every kind of descriptor that is to survive: regular files with their flags and offsets, shared
 * and separate, appended to, locked, unlinked, sparse; a directory, a FIFO and a pipe with
 * contents, devices; and what goes with files: cwd, umask, limits.
 */
#include <dirent.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "job.h"

enum { PIPE_BYTES = 100000 };

static int fd_seq, fd_dup, fd_fork, fd_other, fd_append, fd_gone, fd_dir, fd_null, fd_zero, fd_rand,
	fd_full, fd_fifo, fd_lock, fd_ofd, fd_flock, fd_path, fd_rdonly, pipe_in, pipe_out;
static uint64_t appended;
static char cwd[4096];

static int open_new(const char *name, int flags)
{
	int fd = open(name, flags | O_CREAT | O_TRUNC, 0640);

	CHECKF(fd >= 0, "open %s", name);
	return fd;
}

static void lock_byte(int fd, int op, short type, off_t start, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	CHECK(!fcntl(fd, op, &fl));
}

static void setup_devices(void)
{
	fd_null = open("/dev/null", O_RDWR);
	fd_zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	fd_rand = open("/dev/urandom", O_RDONLY);
	fd_full = open("/dev/full", O_WRONLY);
	CHECK(fd_null >= 0 && fd_zero >= 0 && fd_rand >= 0 && fd_full >= 0);
}

static void setup_locks(void)
{
	fd_lock = open_new("files.lock", O_RDWR);
	fd_ofd = open_new("files.ofd", O_RDWR);
	fd_flock = open_new("files.flock", O_RDWR);
	CHECK(!ftruncate(fd_lock, 100) && !ftruncate(fd_ofd, 100));
	lock_byte(fd_lock, F_SETLK, F_WRLCK, 10, 5);
	lock_byte(fd_lock, F_SETLK, F_RDLCK, 40, 0);
	lock_byte(fd_ofd, F_OFD_SETLK, F_WRLCK, 20, 7);
	CHECK(!flock(fd_flock, LOCK_EX));
}

static void setup_pipes(void)
{
	char block[1000];
	int p[2];

	CHECK(!mkfifo("files.fifo", 0600) || errno == EEXIST);
	fd_fifo = open("files.fifo", O_RDWR | O_NONBLOCK);
	CHECK(fd_fifo >= 0 && write(fd_fifo, "abcdefgh", 8) == 8);
	CHECK(!pipe2(p, O_NONBLOCK));
	pipe_in = p[0];
	pipe_out = p[1];
	CHECK(fcntl(pipe_out, F_SETPIPE_SZ, 256 * 1024) == 256 * 1024);
	for (int i = 0; i < PIPE_BYTES / 1000; i++) {
		memset(block, i, sizeof(block));
		CHECK(write(pipe_out, block, sizeof(block)) == sizeof(block));
	}
}

static void setup(void)
{
	CHECK(!mkdir("files.d", 0750) || errno == EEXIST);
	CHECK(!chdir("files.d") && getcwd(cwd, sizeof(cwd)));
	umask(027);
	fd_seq = open_new("files.seq", O_RDWR);
	fd_dup = dup(fd_seq);
	fd_fork = fcntl(fd_seq, F_DUPFD_CLOEXEC, 700);
	fd_other = open("files.seq", O_RDWR | O_SYNC | O_CLOEXEC);
	fd_append = open_new("files.append", O_WRONLY | O_APPEND);
	fd_rdonly = open("files.append", O_RDONLY | O_NOATIME | O_NONBLOCK);
	fd_path = open("files.append", O_PATH | O_CLOEXEC);
	fd_gone = open_new("files.gone", O_RDWR);
	CHECK(fd_dup >= 0 && fd_fork == 700 && fd_other >= 0 && fd_path >= 0 && fd_rdonly >= 0);
	CHECK(pwrite(fd_gone, "still here", 10, 200000) == 10 && !unlink("files.gone"));
	CHECK(lseek(fd_gone, 123, SEEK_SET) == 123);
	fd_dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd_dir >= 0);
	setup_devices();
	setup_locks();
	setup_pipes();
}

static void check_flags(int fd, int status, int descriptor)
{
	int fl = fcntl(fd, F_GETFL), want = status | (fl & 0100000 /* O_LARGEFILE */);

	CHECKF(fl == want, "fd %d: status flags %o, not %o", fd, (unsigned)fl, (unsigned)want);
	CHECKF(fcntl(fd, F_GETFD) == descriptor, "fd %d: close-on-exec", fd);
}

static void check_all_flags(void)
{
	check_flags(fd_seq, O_RDWR, 0);
	check_flags(fd_dup, O_RDWR, 0);
	check_flags(fd_fork, O_RDWR, FD_CLOEXEC);
	check_flags(fd_other, O_RDWR | O_SYNC, FD_CLOEXEC);
	check_flags(fd_append, O_WRONLY | O_APPEND, 0);
	check_flags(fd_rdonly, O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	check_flags(fd_path, O_PATH, FD_CLOEXEC);
	check_flags(fd_gone, O_RDWR, 0);
	check_flags(fd_dir, O_RDONLY | O_DIRECTORY, FD_CLOEXEC);
	check_flags(fd_null, O_RDWR, 0);
	check_flags(fd_zero, O_RDONLY, FD_CLOEXEC);
	check_flags(fd_full, O_WRONLY, 0);
	check_flags(fd_fifo, O_RDWR | O_NONBLOCK, 0);
	check_flags(pipe_in, O_RDONLY | O_NONBLOCK, 0);
	check_flags(pipe_out, O_WRONLY | O_NONBLOCK, 0);
}

/* One offset for the duplicates, another one for the second open. */
static void check_offsets(uint64_t round)
{
	uint64_t v = round, back = 0;
	off_t at = (off_t)(round * sizeof(v));

	CHECK(lseek(fd_seq, 0, SEEK_CUR) == at && lseek(fd_dup, 0, SEEK_CUR) == at);
	CHECK(write(round % 2 ? fd_seq : fd_fork, &v, sizeof(v)) == sizeof(v));
	CHECK(lseek(fd_dup, 0, SEEK_CUR) == at + (off_t)sizeof(v));
	CHECK(lseek(fd_other, 0, SEEK_CUR) == at);
	CHECK(read(fd_other, &back, sizeof(back)) == sizeof(back) && back == round);
	CHECK(write(fd_append, "line\n", 5) == 5);
	appended += 5;
	CHECK(lseek(fd_append, 0, SEEK_CUR) == (off_t)appended);
	CHECK(lseek(fd_gone, 0, SEEK_CUR) == 123);
}

static void check_gone(void)
{
	struct stat st;
	char buf[16] = "";

	CHECK(!fstat(fd_gone, &st) && st.st_nlink == 0 && st.st_size == 200010);
	CHECK((st.st_mode & 07777) == 0640);
	CHECK(pread(fd_gone, buf, sizeof(buf), 200000) == 10 && !strcmp(buf, "still here"));
	CHECK(access("files.gone", F_OK) == -1 && errno == ENOENT);
}

static void check_devices(void)
{
	char buf[16];

	CHECK(read(fd_null, buf, 16) == 0 && write(fd_null, buf, 16) == 16);
	memset(buf, 1, 16);
	CHECK(read(fd_zero, buf, 16) == 16 && !buf[0] && !buf[15]);
	CHECK(read(fd_rand, buf, 16) == 16);
	CHECK(write(fd_full, buf, 1) == -1 && errno == ENOSPC);
}

static void check_dir(void)
{
	char now[4096];
	struct rlimit rl;
	mode_t m;
	int fd = openat(fd_dir, "files.append", O_RDONLY);

	CHECK(fd >= 0 && !close(fd));
	CHECK(getcwd(now, sizeof(now)) && !strcmp(now, cwd));
	m = umask(0);
	umask(m);
	CHECK(m == 027);
	CHECK(!getrlimit(RLIMIT_CORE, &rl) && rl.rlim_cur == 4096 && rl.rlim_max == 8192);
	CHECK(!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur == 800);
}

/* Contents move through the FIFO and the pipe, so that both are never empty. */
static void check_pipes(uint64_t round)
{
	static uint64_t pos;
	char block[1000], c;

	CHECK(read(fd_fifo, &c, 1) == 1 && c == (char)('a' + round % 8) &&
	      write(fd_fifo, &c, 1) == 1);
	CHECK(fcntl(pipe_out, F_GETPIPE_SZ) == 256 * 1024);
	CHECK(read(pipe_in, block, sizeof(block)) == sizeof(block));
	for (size_t i = 0; i < sizeof(block); i++)
		CHECKF(block[i] == (char)(pos % (PIPE_BYTES / 1000)), "pipe contents at %llu",
		       (unsigned long long)pos);
	pos++;
	CHECK(write(pipe_out, block, sizeof(block)) == sizeof(block));
}

/* Only another process sees our POSIX locks, and only another description the others. */
static void check_locks(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 15 };
	pid_t parent = getpid(), pid = fork();
	int st, fd;

	CHECK(pid >= 0);
	if (pid) {
		CHECK(waitpid(pid, &st, 0) == pid);
		CHECKF(st == 0, "the child that looks at the locks: status %x", st);
		return;
	}
	CHECK(!fcntl(fd_lock, F_GETLK, &fl) && fl.l_type == F_WRLCK);
	CHECK(fl.l_pid == parent && fl.l_start == 10 && fl.l_len == 5);
	fl = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 90, .l_len = 1 };
	CHECK(!fcntl(fd_lock, F_GETLK, &fl) && fl.l_type == F_RDLCK && fl.l_start == 40 &&
	      !fl.l_len);
	fd = open("files.ofd", O_RDWR);
	fl = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 50 };
	CHECK(fd >= 0 && !fcntl(fd, F_OFD_GETLK, &fl));
	CHECK(fl.l_type == F_WRLCK && fl.l_pid == -1 && fl.l_start == 20 && fl.l_len == 7);
	fd = open("files.flock", O_RDWR);
	CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
	CHECK(!flock(fd_flock, LOCK_EX | LOCK_NB)); /* ours already */
	_exit(0);
}

int main(void)
{
	struct rlimit core = { 4096, 8192 }, nofile = { 800, 0 };
	uint64_t h = 5;

	job_begin(3500);
	CHECK(!getrlimit(RLIMIT_NOFILE, &nofile));
	nofile.rlim_cur = 800;
	CHECK(!setrlimit(RLIMIT_CORE, &core) && !setrlimit(RLIMIT_NOFILE, &nofile));
	setup();
	for (uint64_t round = 0; job_more(); round++) {
		check_offsets(round);
		check_all_flags();
		check_gone();
		check_devices();
		check_dir();
		check_pipes(round);
		check_locks();
		h = job_chain(h, 100000);
	}
	return job_end("files", h);
}
