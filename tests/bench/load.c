// SPDX-License-Identifier: Apache-2.0
/*
 * The jobs of the benchmark:
 *
 *   load memory MIB     so much random memory
 *   load tasks N        N processes
 *   load maps N         N mappings of a page each
 *   load fds N          N descriptors: files, several opens of one file, pipes
 *
 * Each says "ready PID" and then "gap NANOSECONDS AT" for every pause of more than a millisecond
 * that a thread which does nothing but look at the clock has seen (AT: its end on CLOCK_MONOTONIC).
 * At SIGTERM it looks whether everything is as it was, says "whole" or "broken", and ends.
 *
 *   load copy MIB FILE  no job: what one copy costs. Writes so much random memory to FILE, makes it
 *                       durable and reads it into fresh memory; says the three times in seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 1 << 20, TASK_WORDS = 8192, TICK_NS = 100000, GAP_NS = 1000000 };

static void die(const char *what)
{
	fprintf(stderr, "load: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* Thread-safe and whole: one write. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[96];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (write(1, line, (size_t)n) != n)
		_exit(1);
}

static void *watch(void *arg)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	int64_t last = now_ns();

	(void)arg;
	for (;;) {
		int64_t now;

		nanosleep(&tick, NULL);
		now = now_ns();
		if (now - last > GAP_NS)
			say("gap %lld %lld\n", (long long)(now - last), (long long)now);
		last = now;
	}
	return NULL;
}

/* What stands at word i of the memory number seed. */
static uint64_t word_at(uint64_t seed, uint64_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull + seed;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

static void fill(uint64_t *p, size_t words, uint64_t seed)
{
	for (size_t i = 0; i < words; i++)
		p[i] = word_at(seed, i);
}

static int is_whole(const uint64_t *p, size_t words, uint64_t seed)
{
	for (size_t i = 0; i < words; i++)
		if (p[i] != word_at(seed, i))
			return 0;
	return 1;
}

static uint64_t *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("map memory");
	return p;
}

static void wait_for(int signo)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigwait(&set, &got);
}

/* ---- the jobs: each makes what there is to keep, and looks at it again at the end ---- */

static uint64_t *memory;
static size_t memory_words;

static void make_memory(size_t n)
{
	memory_words = n * (1 << 20) / sizeof(*memory);
	memory = map(memory_words * sizeof(*memory));
	fill(memory, memory_words, 1);
}

static int check_memory(size_t n)
{
	(void)n;
	return is_whole(memory, memory_words, 1);
}

static pid_t *tasks;

static void make_tasks(size_t n)
{
	tasks = calloc(n, sizeof(*tasks));
	for (size_t i = 1; tasks && i < n; i++) {
		uint64_t *p;

		tasks[i] = fork();
		if (tasks[i] < 0)
			die("fork");
		if (tasks[i])
			continue;
		p = map(TASK_WORDS * sizeof(*p));
		fill(p, TASK_WORDS, i);
		wait_for(SIGTERM);
		_exit(is_whole(p, TASK_WORDS, i) ? 0 : 1);
	}
}

static int check_tasks(size_t n)
{
	int whole = 1;

	for (size_t i = 1; i < n; i++) {
		int status = 1;

		kill(tasks[i], SIGTERM);
		whole = waitpid(tasks[i], &status, 0) == tasks[i] && status == 0 && whole;
	}
	return whole;
}

static uint8_t *maps;

/* Every other page is read-only: neighbours with the same protection would become one mapping. */
static void make_maps(size_t n)
{
	maps = (uint8_t *)map(n * PAGE);
	for (size_t i = 0; i < n; i++) {
		fill((uint64_t *)(void *)(maps + i * PAGE), PAGE / 8, i);
		if (i % 2 && mprotect(maps + i * PAGE, PAGE, PROT_READ) < 0)
			die("protect a page");
	}
}

static int check_maps(size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_whole((const uint64_t *)(const void *)(maps + i * PAGE), PAGE / 8, i))
			return 0;
	return 1;
}

static int *fds;

static void make_fds(size_t n)
{
	struct rlimit l = { n + 64, n + 64 };
	char name[32];

	fds = calloc(n + 1, sizeof(*fds));
	if (!fds || setrlimit(RLIMIT_NOFILE, &l) < 0)
		die("raise the limit of open files");
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "file%zu", i % 4 == 1 ? (size_t)0 : i);
		if (i % 4 >= 2) {
			if (pipe(&fds[i++]) < 0)
				die("make a pipe");
		} else {
			fds[i] = open(name, O_RDWR | O_CREAT, 0600);
			if (fds[i] < 0 || lseek(fds[i], (off_t)i, SEEK_SET) < 0)
				die("open a file");
		}
	}
}

static int check_fds(size_t n)
{
	char c = 'x';

	for (size_t i = 0; i < n; i++) {
		if (i % 4 < 2) {
			if (lseek(fds[i], 0, SEEK_CUR) != (off_t)i)
				return 0;
		} else if (i + 1 < n) {
			i++;
			if (write(fds[i], &c, 1) != 1 || read(fds[i - 1], &c, 1) != 1)
				return 0;
		}
	}
	return 1;
}

static const struct kind {
	const char *name;
	void (*make)(size_t n);
	int (*check)(size_t n);
} kinds[] = {
	{ "memory", make_memory, check_memory },
	{ "tasks", make_tasks, check_tasks },
	{ "maps", make_maps, check_maps },
	{ "fds", make_fds, check_fds },
};

static int run_job(const struct kind *k, size_t n)
{
	pthread_t watcher;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	k->make(n);
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	if (pthread_create(&watcher, NULL, watch, NULL) != 0)
		die("make a thread");
	say("ready %d\n", (int)getpid());
	wait_for(SIGTERM);
	say("%s\n", k->check(n) ? "whole" : "broken");
	return 0;
}

/* ---- one copy ---- */

static int copy(size_t n, const char *name)
{
	size_t len = n << 20;
	uint64_t *from = map(len), *to = map(len);
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	int64_t t[4];

	if (fd < 0)
		die("make the file");
	fill(from, len / 8, 1);
	t[0] = now_ns();
	for (size_t at = 0; at < len; at += CHUNK)
		if (write(fd, (uint8_t *)from + at, CHUNK) != CHUNK)
			die("write");
	t[1] = now_ns();
	if (fsync(fd) < 0)
		die("sync");
	t[2] = now_ns();
	for (size_t at = 0; at < len; at += CHUNK)
		if (pread(fd, (uint8_t *)to + at, CHUNK, (off_t)at) != CHUNK)
			die("read");
	t[3] = now_ns();
	for (int i = 0; i < 3; i++)
		printf("%.6f%c", (double)(t[i + 1] - t[i]) / 1e9, i < 2 ? ' ' : '\n');
	return 0;
}

int main(int argc, char **argv)
{
	size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

	if (n && argc == 4 && !strcmp(argv[1], "copy"))
		return copy(n, argv[3]);
	for (size_t i = 0; n && argc == 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[1], kinds[i].name))
			return run_job(&kinds[i], n);
	fprintf(stderr, "usage: load memory|tasks|maps|fds N, or load copy MIB FILE\n");
	return 2;
}
