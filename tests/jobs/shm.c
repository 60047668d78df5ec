// SPDX-License-Identifier: Apache-2.0
/*
 * Two processes that share files by name: a POSIX shared memory object, a file in a session
 * directory such as MPI libraries make, and a FIFO there.
 */
#include <sys/stat.h>

#include "job.h"

enum { WORDS = 4096 };

struct segment {
	volatile uint64_t turn; /* even: the parent's, odd: the child's */
	volatile uint64_t word[WORDS];
};

static char shm_name[64], dir[64], file[96], fifo[96];

static struct segment *map(int fd)
{
	struct segment *s;

	CHECK(fd >= 0);
	CHECK(ftruncate(fd, sizeof(*s)) == 0);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(s != MAP_FAILED);
	close(fd);
	return s;
}

static uint64_t step(struct segment *a, struct segment *b, uint64_t x)
{
	for (int i = 0; i < 50; i++) {
		size_t k = x % WORDS;

		CHECKF(a->word[k] == b->word[k], "word %zu differs", k);
		x = job_next(x ^ a->word[k]);
		a->word[k] = b->word[k] = x;
	}
	return x;
}

static void await(struct segment *s, uint64_t parity)
{
	while (s->turn % 2 != parity)
		usleep(20);
}

static void child(struct segment *a, struct segment *b)
{
	uint64_t x = 1;

	for (;;) {
		await(a, 1);
		if (b->turn)
			_exit(42);
		x = step(a, b, x);
		a->turn++;
	}
}

int main(void)
{
	struct segment *a, *b;
	int rw, status;
	uint64_t x = 2, h = JOB_DIGEST_INIT, said, heard;
	pid_t pid;

	/* Unique to this run: the name's only use. */
	snprintf(shm_name, sizeof(shm_name), "/ckpt-job-%d", (int)getpid());
	snprintf(dir, sizeof(dir), "ompi.job.%d", (int)getpid());
	snprintf(file, sizeof(file), "%s/segment", dir);
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	CHECK(mkdir(dir, 0710) == 0 && mkfifo(fifo, 0600) == 0);
	a = map(shm_open(shm_name, O_RDWR | O_CREAT | O_EXCL, 0600));
	b = map(open(file, O_RDWR | O_CREAT | O_EXCL, 0640));
	rw = open(fifo, O_RDWR);
	CHECK(rw >= 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		child(a, b);
	job_begin(20000);
	while (job_more()) {
		struct stat st;

		said = x = step(a, b, x);
		CHECK(write(rw, &said, 8) == 8);
		a->turn++;
		await(a, 0);
		CHECK(read(rw, &heard, 8) == 8 && heard == said);
		if (x % 64 == 0) {
			CHECK(stat(file, &st) == 0 && (st.st_mode & 07777) == 0640);
			CHECK(st.st_size == sizeof(*b));
			CHECK(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0710);
		}
	}
	b->turn = 1;
	a->turn++;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
	for (int i = 0; i < WORDS; i++)
		h = job_digest(h, (const void *)&a->word[i], 8);
	CHECK(shm_unlink(shm_name) == 0 && unlink(file) == 0 && unlink(fifo) == 0 &&
	      rmdir(dir) == 0);
	return job_end("shm", h ^ x);
}
