// SPDX-License-Identifier: Apache-2.0
/*
 * A small job dumped and restored within one program, and plans made from damaged images: whatever
 * is in them, planning ends with a plan or an error.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "engine/engine.h"
#include "image/image.h"
#include "tests/fuzz/plan.h"
#include "tests/unit/rnd.h"
#include "tests/unit/skip.h"

#define ROUNDS 60

static char top[] = "/tmp/t-engine-restore-XXXXXX";

/* ---- the job ---- */

struct board {
	volatile int rounds;
	volatile int ready;
};

static void nap(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static void *idle(void *arg)
{
	struct board *b = arg;

	while (b->rounds < ROUNDS)
		nap(5);
	return arg;
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* 42 if all went well: a thread, a child with a pipe, shared memory, a timer, a zombie. */
static int job(struct board *b)
{
	struct itimerval every = { { 0, 20000 }, { 0, 20000 } };
	pid_t zombie, child;
	pthread_t th;
	int p[2], st;
	char c;

	signal(SIGALRM, on_alarm);
	if (pipe(p) || pthread_create(&th, NULL, idle, b) || setitimer(ITIMER_REAL, &every, NULL))
		return 1;
	zombie = fork();
	if (!zombie)
		_exit(3);
	child = fork();
	if (!child) {
		close(p[1]);
		_exit(read(p[0], &c, 1) == 1 && c == 'x' ? b->rounds : 99);
	}
	b->ready = 1;
	while (b->rounds < ROUNDS) {
		nap(10);
		b->rounds++;
	}
	if (pthread_join(th, NULL) || write(p[1], "x", 1) != 1)
		return 2;
	if (waitpid(zombie, &st, 0) != zombie || st != 3 << 8)
		return 3;
	if (waitpid(child, &st, 0) != child || st != ROUNDS << 8)
		return 4;
	return 42;
}

static pid_t start_job(struct board **ret)
{
	struct board *b =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	ck_assert_ptr_ne(b, MAP_FAILED);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		setsid();
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		syscall(SYS_close_range, 3u, ~0u, 0u);
		_exit(job(b));
	}
	*ret = b;
	return pid;
}

/* What the engine told on its way. */
struct told {
	char stages[256];
	uint64_t done, total;
	pid_t running;
};

static void on_stage(void *arg, const char *name)
{
	struct told *t = arg;
	size_t len = strlen(t->stages);

	snprintf(t->stages + len, sizeof(t->stages) - len, "%s ", name);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct told *t = arg;

	ck_assert_uint_ge(done, t->done);
	ck_assert_uint_le(done, total);
	t->done = done;
	t->total = total;
}

static void on_running(void *arg, const struct engine_restore_stats *s)
{
	struct told *t = arg;

	ck_assert_uint_gt(s->pages, 0);
	ck_assert_uint_le(s->kept, s->compared);
	ck_assert_uint_le(s->compared, s->pages);
	ck_assert_uint_le(s->forking_ns, s->restore_ns);
	t->running = s->pid;
	on_stage(arg, "running");
}

static void dump_job(const char *dir)
{
	struct told told = { .done = 0 };
	struct engine_dump_opts o = {
		.dir = dir, .watch = { .stage = on_stage, .progress = on_progress, .arg = &told }
	};
	struct engine_dump_stats stats;
	struct ck_err err = CK_ERR_INIT;
	struct board *b;
	int r;

	o.pid = start_job(&b);
	while (b->rounds < 5)
		nap(1);
	r = engine_dump(&o, &stats, &err);
	ck_assert_msg(r == 0, "dump: %s (%s)", err.what, err.where);
	ck_assert_str_eq(told.stages, "open freeze look inject ask write commit let-go sums code ");
	ck_assert_uint_gt(told.done, 0);
	ck_assert_uint_gt(stats.pages, 0);
	ck_assert_uint_ge(stats.scanned, stats.pages);
	ck_assert_uint_le(stats.freezing_ns, stats.frozen_ns);
	ck_assert_uint_le(stats.memory_ns + stats.commit_ns, stats.frozen_ns);
	ck_assert_uint_le(stats.frozen_ns, stats.total_ns);
	while (waitpid(-1, NULL, 0) > 0) /* unless the dump has, who was its tracer */
		continue;
	munmap(b, 4096);
}

static void path_of(char *buf, size_t size, const char *dir, const char *name)
{
	ck_assert_int_lt(snprintf(buf, size, "%s/%s", dir, name), (int)size);
}

/* ---- the way there and back ---- */

static int restore(const char *dir, unsigned int flags, int *ret_status, struct ck_err *err)
{
	CK_AUTO(image) struct image *img = NULL;
	struct told told = { .done = 0 };
	struct engine_restore_opts o = {
		.flags = flags,
		.watch = { .stage = on_stage, .progress = on_progress, .arg = &told },
		.on_running = on_running,
		.arg = &told
	};
	int r = image_open(dir, &img, err);

	o.image = img;
	r = r < 0 ? r : engine_restore(&o, ret_status, err);
	if (r == 0) {
		ck_assert_str_eq(told.stages, "load place plan trunk grow script finish go running "
					      "stand ");
		ck_assert_int_gt(told.running, 1);
	}
	return r;
}

START_TEST(there_and_back)
{
	char dir[128];
	struct ck_err err = CK_ERR_INIT;
	int r, status = 0;

	path_of(dir, sizeof(dir), top, _i ? "fresh" : "any");
	dump_job(dir);
	r = restore(dir, _i ? ENGINE_NO_INPLACE : 0, &status, &err);
	if (r < 0 && err.kind == CK_ERR_PERM)
		SKIP(err.what);
	ck_assert_msg(r == 0, "restore: %s (%s): %s", err.what, err.where, strerror(-err.code));
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %x",
		      (unsigned int)status);
}
END_TEST

START_TEST(page_checksums_are_looked_at)
{
	char dir[128], pages[192];
	struct ck_err err = CK_ERR_INIT;
	struct stat st;
	int r, status = 0, fd;
	char c;

	path_of(dir, sizeof(dir), top, "sums");
	dump_job(dir);
	path_of(pages, sizeof(pages), dir, "pages-1.img");
	fd = open(pages, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(pread(fd, &c, 1, st.st_size / 2), 1);
	c ^= 4;
	ck_assert_int_eq(pwrite(fd, &c, 1, st.st_size / 2), 1);
	close(fd);
	r = restore(dir, 0, &status, &err);
	ck_assert_int_lt(r, 0);
	if (err.kind == CK_ERR_PERM)
		SKIP(err.what);
	ck_assert_int_eq(err.kind, CK_ERR_IMAGE);
	ck_assert_ptr_nonnull(strstr(err.what, "checksum"));
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left */
}
END_TEST

/* ---- damaged images ---- */

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	int a = open(from, O_RDONLY), b = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	ck_assert(a >= 0 && b >= 0);
	while ((n = read(a, buf, sizeof(buf))) > 0)
		ck_assert_int_eq(write(b, buf, (size_t)n), n);
	close(a);
	close(b);
}

/* Files of the image that carry messages; without ours it is a foreign one, which nothing vouches
 * for. */
static size_t copy_foreign(const char *from, const char *to, char names[][64], size_t max)
{
	DIR *d = opendir(from);
	struct dirent *e;
	size_t n = 0;

	ck_assert_ptr_nonnull(d);
	mkdir(to, 0700);
	while ((e = readdir(d))) {
		char a[384], b[384];

		if (e->d_name[0] == '.' || !strncmp(e->d_name, "ckpt-", 5))
			continue;
		path_of(a, sizeof(a), from, e->d_name);
		path_of(b, sizeof(b), to, e->d_name);
		copy_file(a, b);
		if (strncmp(e->d_name, "pages-", 6) && n < max && strlen(e->d_name) < 64)
			strcpy(names[n++], e->d_name);
	}
	closedir(d);
	return n;
}

static int plan(const char *dir)
{
	CK_AUTO(image) struct image *img = NULL;
	struct ck_err err = CK_ERR_INIT;
	int r = image_open(dir, &img, &err);

	if (r == 0)
		r = plan_restore(img, &err);
	ck_assert(r == 0 || err.kind != CK_ERR_NONE);
	return r;
}

static void damage(const char *path, uint64_t *seed)
{
	int fd = open(path, O_RDWR);
	uint32_t size, at;
	uint8_t byte;

	ck_assert_int_ge(fd, 0);
	size = (uint32_t)lseek(fd, 0, SEEK_END);
	if (rnd(seed, 16) == 0) {
		size = rnd(seed, size);
		ck_assert_int_eq(ftruncate(fd, size), 0);
	}
	for (uint32_t i = 1 + rnd(seed, 3); i && size; i--) {
		at = rnd(seed, size);
		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		byte = rnd(seed, 2) ? (uint8_t)rnd(seed, 256) : byte ^ (uint8_t)(1 << rnd(seed, 8));
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

START_TEST(damaged_images)
{
	static char names[64][64];
	char whole[128], bad[128], a[256], b[256];
	uint64_t seed = (uint64_t)rnd_env("CKPT_SEED", 20);
	long rounds = rnd_env("CKPT_N", 1500);
	size_t n, refused = 0;

	path_of(whole, sizeof(whole), top, "whole");
	path_of(bad, sizeof(bad), top, "bad");
	dump_job(whole);
	n = copy_foreign(whole, bad, names, CK_ARRAY_SIZE(names));
	ck_assert_int_eq(plan(bad), 0);
	for (long i = 0; i < rounds; i++) {
		const char *name = names[rnd(&seed, (uint32_t)n)];

		path_of(a, sizeof(a), whole, name);
		path_of(b, sizeof(b), bad, name);
		damage(b, &seed);
		refused += plan(bad) < 0;
		copy_file(a, b);
	}
	ck_assert_uint_gt(refused, (size_t)rounds / 15);
}
END_TEST

static void remove_top(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	if (fork() == 0)
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	wait(NULL);
}

int main(void)
{
	Suite *s = suite_create("engine-restore");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int bad;

	if (!mkdtemp(top))
		return EXIT_FAILURE;
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, there_and_back, 0, 2);
	tcase_add_test(t, page_checksums_are_looked_at);
	tcase_add_test(t, damaged_images);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	remove_top();
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
