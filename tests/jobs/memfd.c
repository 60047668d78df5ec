// SPDX-License-Identifier: Apache-2.0
/*
 * Memory with descriptors and no names: one memfd that two processes map and write, one that is
 * only mapped, one that grows by writing, one that is sealed.
 */
#include <stddef.h>

#include "job.h"

enum { WORDS = 2048 };

struct segment {
	volatile uint64_t turn; /* even: the parent's, odd: the child's */
	volatile uint64_t word[WORDS];
};

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

static struct segment *map(int fd)
{
	void *p = mmap(NULL, sizeof(struct segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int make(const char *name, unsigned int flags)
{
	int fd = memfd_create(name, flags);

	CHECK(fd >= 0 && ftruncate(fd, sizeof(struct segment)) == 0);
	return fd;
}

static void check_sealed(int fd)
{
	char c;

	CHECK(fcntl(fd, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK));
	CHECK(pread(fd, &c, 1, 4) == 1 && c == 's');
	CHECK(pwrite(fd, "x", 1, 0) == -1 && errno == EPERM);
	CHECK(ftruncate(fd, 0) == -1 && errno == EPERM);
}

int main(void)
{
	int shared = make("shared", 0), mapped = make("mapped", MFD_CLOEXEC), status;
	int log = memfd_create("log", MFD_ALLOW_SEALING);
	int sealed = memfd_create("a (deleted)", MFD_ALLOW_SEALING);
	struct segment *a = map(shared), *b = map(mapped);
	uint64_t x = 2, h = JOB_DIGEST_INIT, n = 0, last = 0;
	pid_t pid;

	close(mapped);
	CHECK(log >= 0 && sealed >= 0 && write(sealed, "it is so", 8) == 8);
	CHECK(pwrite(sealed, "s", 1, 4) == 1);
	CHECK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		child(a, b);
	job_begin(20000);
	while (job_more()) {
		x = step(a, b, x);
		a->turn++;
		await(a, 0);
		CHECK(write(log, &x, 8) == 8);
		CHECK(pread(shared, &last, 8, (off_t)offsetof(struct segment, word)) == 8);
		CHECK(last == a->word[0]);
		CHECK(fcntl(shared, F_GET_SEALS) == F_SEAL_SEAL);
		if (++n % 64 == 0)
			check_sealed(sealed);
	}
	b->turn = 1;
	a->turn++;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
	CHECK(lseek(log, 0, SEEK_CUR) == (off_t)(n * 8) &&
	      lseek(log, 0, SEEK_END) == (off_t)(n * 8));
	for (uint64_t i = 0; i < n; i++) {
		CHECK(pread(log, &last, 8, (off_t)(i * 8)) == 8);
		h = job_digest(h, &last, 8);
	}
	return job_end("memfd", h);
}
