// SPDX-License-Identifier: Apache-2.0
/* Stopping trees that don't hold still, and dying while at it: the job must never notice. */
#include <check.h>
#include <elf.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/dump.h"

enum { ROUNDS = 40 };

static atomic_ulong *progress; /* shared with the jobs, which count in it */

static void setup(void)
{
	sigset_t set;

	progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(progress, MAP_FAILED);
	/* As engine_dump() does. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* ---- jobs ---- */

static void job_clock(void)
{
	struct timespec ts;

	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &ts);
		atomic_fetch_add(progress, 1);
	}
}

static void *thread_end(void *arg)
{
	return arg;
}

static void job_threads(void)
{
	for (;;) {
		pthread_t t;

		if (pthread_create(&t, NULL, thread_end, NULL) == 0)
			pthread_join(t, NULL);
		atomic_fetch_add(progress, 1);
	}
}

static void job_forks(void)
{
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		atomic_fetch_add(progress, 1);
	}
}

static void *thread_spin(void *arg)
{
	for (;;)
		atomic_fetch_add(progress, 1);
	return arg;
}

static void job_leader_ends(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread_spin, NULL) == 0)
		pthread_exit(NULL);
	_exit(1);
}

static void (*const jobs[])(void) = { job_clock, job_threads, job_forks, job_leader_ends };

static pid_t start(void (*job)(void))
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		alarm(100); /* does not outlive a test that fails */
		job();
		_exit(1);
	}
	return pid;
}

static void nap_us(long us)
{
	struct timespec ts = { .tv_nsec = us * 1000 };

	nanosleep(&ts, NULL);
}

static void must_progress(pid_t pid)
{
	unsigned long before = atomic_load(progress);

	for (int i = 0; i < 2000 && atomic_load(progress) == before; i++) {
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
		nap_us(1000);
	}
	ck_assert_uint_gt(atomic_load(progress), before);
}

static void stop(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- tests ---- */

static bool is_in_vdso(const struct engine_dump *d)
{
	struct user_regs_struct regs = { 0 };
	struct iovec io = { &regs, sizeof(regs) };
	struct proc_maps maps;
	bool inside = false;

	ck_assert_int_eq(ptrace(PTRACE_GETREGSET, d->tasks[0]->pid, NT_PRSTATUS, &io), 0);
	ck_assert_int_eq(proc_read_maps(d->tasks[0]->dirfd, &maps, NULL), 0);
	for (size_t i = 0; i < maps.n; i++)
		inside |= !strcmp(maps.m[i].name, "[vdso]") && regs.rip >= maps.m[i].start &&
			  regs.rip < maps.m[i].end;
	proc_maps_done(&maps);
	return inside;
}

START_TEST(stops_what_moves)
{
	pid_t pid = start(jobs[_i]);

	for (int i = 0; i < ROUNDS; i++) {
		struct engine_dump_opts o = { .pid = pid };
		struct engine_dump d = { .opts = &o };
		struct ck_err err = CK_ERR_INIT;
		unsigned long before;
		int r;

		nap_us(200 + i * 37);
		r = engine_freeze(&d, &err);
		ck_assert_msg(r == 0, "%s (%s)", err.what, err.where);
		if (jobs[_i] == job_clock)
			ck_assert(!is_in_vdso(&d));
		before = atomic_load(progress);
		nap_us(500);
		ck_assert_uint_eq(atomic_load(progress), before);
		engine_thaw(&d);
		engine_tasks_free(&d);
		must_progress(pid);
	}
	stop(pid);
}
END_TEST

START_TEST(survives_our_death)
{
	pid_t pid = start(jobs[_i]);

	for (int i = 0; i < ROUNDS; i++) {
		pid_t us = fork();

		if (us == 0)
			for (;;) {
				struct engine_dump_opts o = { .pid = pid };
				struct engine_dump d = { .opts = &o };

				if (engine_freeze(&d, NULL) == 0)
					engine_thaw(&d);
				engine_tasks_free(&d);
			}
		ck_assert_int_gt(us, 0);
		nap_us(500 + i * 91);
		stop(us);
		must_progress(pid);
	}
	stop(pid);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine/freeze");
	TCase *t = tcase_create("freeze");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, stops_what_moves, 0, 4);
	tcase_add_loop_test(t, survives_our_death, 0, 4);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
