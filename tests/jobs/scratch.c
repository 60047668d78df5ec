// SPDX-License-Identifier: Apache-2.0
/*
 * A job that lives in a scratch directory: its program, working directory, input, output, FIFO,
 * socket, locks and a deleted file are all there, and each is used in every round, by descriptors
 * and by relative paths. With "absolute" as its argument also by the absolute path that it was
 * started with, which only its memory has. Its board, which is a file there too, has a third word:
 * how many rounds it may do before it waits.
 */
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "job.h"

enum { JOB_ALLOWED = 2, DATA = 1 << 16 };

static int fd_in, fd_log, fd_table, fd_dir, fd_fifo, fd_lock, fd_gone, fd_sock, fd_cwd;
static const unsigned char *data;
static char home[96];

static int open_at(const char *name, int flags)
{
	int fd = open(name, flags, 0640);

	CHECKF(fd >= 0, "open %s", name);
	return fd;
}

static void setup(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 4 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	CHECK(getcwd(home, sizeof(home)));
	fd_in = open_at("../in/data", O_RDONLY);
	data = mmap(NULL, DATA, PROT_READ, MAP_PRIVATE, fd_in, 0);
	CHECK(data != MAP_FAILED);
	fd_log = open_at("../out/log", O_WRONLY | O_APPEND | O_CREAT);
	fd_table = open_at("../out/table", O_RDWR | O_CREAT);
	fd_dir = open_at("../out", O_RDONLY | O_DIRECTORY);
	fd_cwd = open_at(".", O_PATH);
	CHECK(!mkfifo("fifo", 0600));
	fd_fifo = open_at("fifo", O_RDWR | O_NONBLOCK);
	CHECK(write(fd_fifo, "x", 1) == 1);
	fd_lock = open_at("../out/lock", O_RDWR | O_CREAT);
	CHECK(!fcntl(fd_lock, F_SETLK, &fl));
	fd_gone = open_at("../out/gone", O_RDWR | O_CREAT);
	CHECK(pwrite(fd_gone, "gone", 4, 100) == 4 && !unlink("../out/gone"));
	sprintf(un.sun_path, "%s/sock", home);
	fd_sock = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd_sock >= 0 && !bind(fd_sock, (struct sockaddr *)&un, sizeof(un)));
	CHECK(!listen(fd_sock, 4));
}

static uint64_t files(uint64_t round, uint64_t h)
{
	unsigned char block[64];
	uint64_t v = h, back;
	size_t n = (size_t)(round * sizeof(block) % DATA);
	char line[64];
	int len, fd;

	CHECK(read(fd_in, block, sizeof(block)) == sizeof(block));
	CHECK(!memcmp(block, data + n, sizeof(block)));
	if (n + sizeof(block) == DATA)
		CHECK(lseek(fd_in, 0, SEEK_SET) == 0);
	len = sprintf(line, "%llu %016llx\n", (unsigned long long)round, (unsigned long long)h);
	CHECK(write(fd_log, line, (size_t)len) == len);
	CHECK(pwrite(fd_table, &v, sizeof(v), (off_t)(round * sizeof(v))) == sizeof(v));
	fd = openat(fd_dir, "table", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 &&
	      pread(fd, &back, sizeof(back), (off_t)(round * sizeof(v))) == sizeof(back));
	CHECK(back == v && !close(fd));
	CHECK(pread(fd_gone, line, 4, 100) == 4 && !memcmp(line, "gone", 4));
	CHECK(access("../out/gone", F_OK) == -1 && errno == ENOENT);
	return job_digest(h, block, sizeof(block));
}

/* Is what is open still what its name leads to? */
static void same(int fd, const char *name)
{
	struct stat a, b;

	CHECK(!fstat(fd, &a) && !stat(name, &b));
	CHECKF(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "%s is another file", name);
}

static void names(void)
{
	static const char *const own[] = { "/sock", "/fifo", "/../out/log", "/../in/data" };
	char path[4200], now[4096];

	same(fd_in, "../in/data");
	same(fd_log, "../out/log");
	same(fd_fifo, "fifo");
	same(fd_dir, "../out");
	same(fd_cwd, ".");
	CHECK(getcwd(now, sizeof(now)));
	for (size_t i = 0; home[0] && i < sizeof(own) / sizeof(own[0]); i++) {
		sprintf(path, "%s%s", home, own[i]);
		CHECKF(!access(path, F_OK), "%s is gone", path);
	}
	if (home[0])
		CHECK(!strcmp(now, home));
}

static void sockets(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), from;
	char c = 'a';

	CHECK(to >= 0);
	if (home[0])
		sprintf(un.sun_path, "%s/sock", home);
	CHECK(!connect(to, (struct sockaddr *)&un, sizeof(un)));
	from = accept4(fd_sock, NULL, NULL, SOCK_CLOEXEC);
	CHECK(from >= 0 && write(to, &c, 1) == 1 && read(from, &c, 1) == 1 && c == 'a');
	CHECK(!close(to) && !close(from));
	CHECK(read(fd_fifo, &c, 1) == 1 && c == 'x' && write(fd_fifo, &c, 1) == 1);
}

static void locks(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0 };
	pid_t parent = getpid(), pid = fork();
	int st;

	CHECK(pid >= 0);
	if (pid) {
		CHECK(waitpid(pid, &st, 0) == pid && st == 0);
		return;
	}
	CHECK(!fcntl(fd_lock, F_GETLK, &fl) && fl.l_type == F_WRLCK && fl.l_pid == parent);
	CHECK(fl.l_start == 3 && fl.l_len == 4);
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t h = 7;

	job_begin(2000);
	setup();
	if (argc < 2 || strcmp(argv[1], "absolute"))
		home[0] = '\0';
	for (uint64_t round = 0; job_more(); round++) {
		while (job_board != job_private_board && !job_board[JOB_STOP] &&
		       job_board[JOB_ROUNDS] > job_board[JOB_ALLOWED])
			usleep(500);
		h = files(round, h);
		names();
		sockets();
		if (round % 16 == 0)
			locks();
	}
	printf("scratch: digest %016llx\n", (unsigned long long)h);
	return job_end("scratch", h);
}
