/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the self-checking jobs share. A job runs a fixed amount of work, or, with JOB_BOARD=FILE in
 * its environment, until the second word of that file (mapped shared) is set; the first word counts
 * its rounds, so that an onlooker sees it making progress. Its output depends on nothing but the
 * amount of work: no pids, addresses or times. It exits with 0 if all was right, 3 with a line
 * "BAD ..." if not. JOB_SCALE (per cent, default 100) changes the amount of work.
 */
#ifndef TESTS_JOBS_JOB_H
#define TESTS_JOBS_JOB_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB_UNUSED __attribute__((unused))

enum { JOB_ROUNDS, JOB_STOP };

static uint64_t job_private_board[2];
static volatile uint64_t *job_board = job_private_board;
static uint64_t job_limit; /* 0: until told to stop */

JOB_UNUSED __attribute__((noreturn, format(printf, 3, 4))) static void job_bad(const char *file,
									       int line,
									       const char *fmt, ...)
{
	char buf[512];
	va_list ap;
	int n, e = errno;

	n = snprintf(buf, sizeof(buf), "BAD %s:%d: ", file, line);
	va_start(ap, fmt);
	n += vsnprintf(buf + n, sizeof(buf) - n, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(buf) - 40)
		n = sizeof(buf) - 40;
	n += snprintf(buf + n, sizeof(buf) - n, " (errno %d)\n", e);
	/* Not stdio: its lock may be what is broken. Both places, one of which will be seen. */
	if (write(1, buf, n) < 0 || write(2, buf, n) < 0)
		_exit(4);
	_exit(3);
}

#define CHECK(cond)                                               \
	do {                                                      \
		if (!(cond))                                      \
			job_bad(__FILE__, __LINE__, "%s", #cond); \
	} while (0)
#define CHECKF(cond, ...)                                         \
	do {                                                      \
		if (!(cond))                                      \
			job_bad(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

/* rounds: how many make up about two seconds. */
JOB_UNUSED static void job_begin(uint64_t rounds)
{
	const char *path = getenv("JOB_BOARD"), *scale = getenv("JOB_SCALE");

	job_limit = rounds * (scale ? strtoul(scale, NULL, 10) : 100) / 100;
	if (path) {
		int fd = open(path, O_RDWR | O_CLOEXEC);
		void *p;

		CHECK(fd >= 0);
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(p != MAP_FAILED);
		close(fd);
		job_board = p;
		job_limit = 0;
	} else if (!job_limit) {
		job_limit = 1;
	}
}

/* Counts a round of the main thread; false when the work is done. */
JOB_UNUSED static bool job_more(void)
{
	uint64_t n = ++job_board[JOB_ROUNDS];

	return job_limit ? n <= job_limit : !job_board[JOB_STOP];
}

/* The rounds done, for a final recount. */
JOB_UNUSED static uint64_t job_rounds(void)
{
	return job_board[JOB_ROUNDS] - 1;
}

/* FNV-1a. */
#define JOB_DIGEST_INIT 0xcbf29ce484222325ull
JOB_UNUSED static uint64_t job_digest(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

/* A deterministic sequence: the next of x (splitmix64). */
JOB_UNUSED static uint64_t job_next(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The same in a way that takes time: n steps. */
JOB_UNUSED static uint64_t job_chain(uint64_t x, uint64_t n)
{
	while (n--)
		x = job_next(x);
	return x;
}

JOB_UNUSED static uint64_t job_ns(clockid_t clock)
{
	struct timespec ts;

	CHECK(!clock_gettime(clock, &ts));
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

JOB_UNUSED static struct timespec job_timespec(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
}

/* Do we run on that stack? */
JOB_UNUSED static bool job_runs_on(const void *stack, size_t size)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return here >= (uintptr_t)stack && here < (uintptr_t)stack + size;
}

/* The end of a job that was right. With a fixed amount of work the digest is comparable. */
JOB_UNUSED static int job_end(const char *name, uint64_t digest)
{
	if (job_limit)
		printf("%s: right, digest %016llx\n", name, (unsigned long long)digest);
	else
		printf("%s: right\n", name);
	CHECK(!fflush(stdout));
	return 0;
}

#endif
