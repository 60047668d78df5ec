// SPDX-License-Identifier: Apache-2.0
/*
 * Freezing, the blob, and the ways back, on small tasks of our own: with ckpt alive, and with ckpt
 * killed while the blob is in.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"

/* What a task under test shows of itself. */
struct shown {
	volatile unsigned long count;   /* progress */
	volatile int handled;           /* signals seen */
	volatile int result;            /* errno of a call that should not have been interrupted */
	volatile unsigned long odd;     /* self-checks that failed */
	volatile unsigned long naps[3]; /* progress of each thread beside the first */
};

static struct shown *shown;

static void nap_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&ts, &ts) < 0)
		;
}

/* Keeps a value in every general register over a long loop. */
static void tight_loop(void)
{
	unsigned long x = 1;

	for (;;) {
		for (int i = 0; i < 1000; i++)
			x = x * 6364136223846793005ul + 1442695040888963407ul;
		if (!(x & 1) && !shown->count)
			shown->odd++;
		shown->count++;
	}
}

static void sleep_and_count(volatile unsigned long *count)
{
	for (;;) {
		struct timespec ts = { 0, 20000000 };

		if (nanosleep(&ts, NULL) < 0) {
			shown->result = errno;
			shown->odd++;
		}
		++*count;
	}
}

static void sleeper(void)
{
	sleep_and_count(&shown->count);
}

static void on_signal(int sig)
{
	(void)sig;
	shown->handled++;
}

/* Waits in pause() for signals, each of which must end the call. */
static void pauser(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	shown->count = 1;
	for (;;) {
		pause();
		shown->count++;
	}
}

static void *thread_main(void *arg)
{
	sleep_and_count(arg);
	return NULL;
}

static void threads(void)
{
	pthread_t t;

	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, thread_main, (void *)&shown->naps[i]);
	tight_loop();
}

static pid_t start(void (*fn)(void))
{
	pid_t pid;

	shown->count = 0;
	shown->handled = shown->result = 0;
	shown->odd = 0;
	shown->naps[0] = 0;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn();
		_exit(0);
	}
	while (!shown->count)
		nap_ms(1);
	nap_ms(50); /* the last threads map their stacks */
	return pid;
}

static char *maps_of(pid_t pid)
{
	char path[64], *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, path, 1 << 20, &text, NULL), 0);
	return text;
}

static void assert_counts(const volatile unsigned long *count)
{
	unsigned long before = *count;

	for (int i = 0; i < 2000 && *count < before + 3; i++)
		nap_ms(1);
	ck_assert_uint_ge(*count, before + 3);
}

static void assert_progress(pid_t pid)
{
	assert_counts(&shown->count);
	for (int i = 0; shown->naps[0] && i < 3; i++)
		assert_counts(&shown->naps[i]);
	ck_assert_uint_eq(shown->odd, 0);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
}

static void finish(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void block_sigchld(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void inject(struct engine_dump *d)
{
	struct ck_err err = CK_ERR_INIT;

	block_sigchld();
	if (engine_freeze(d, &err) < 0 || engine_look(d, &err) < 0 || engine_inject(d, &err) < 0)
		ck_abort_msg("%s (%s:%d)", err.what, err.file, err.line);
}

/* In a child, which dies with the blob in all threads. */
static void inject_and_die(pid_t pid, int doomed)
{
	pid_t ckpt = fork();
	int status;

	if (!ckpt) {
		struct engine_dump_opts o = { .pid = pid };
		struct engine_dump d = { .opts = &o };

		inject(&d);
		if (doomed)
			engine_doom(&d);
		kill(getpid(), SIGKILL);
	}
	ck_assert_int_eq(waitpid(ckpt, &status, 0), ckpt);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void (*const programs[])(void) = { tight_loop, sleeper, threads };

START_TEST(in_and_out)
{
	pid_t pid = start(programs[_i]);
	struct engine_dump_opts o = { .pid = pid };
	char *before = maps_of(pid), *after;
	uint64_t permitted = 0;

	for (int round = 0; round < 5; round++) {
		struct engine_dump d = { .opts = &o };

		inject(&d);
		ck_assert_uint_eq(d.tasks[0]->view->error, 0);
		ck_assert_uint_ne(d.tasks[0]->view->brk, 0);
		if (syscall(SYS_arch_prctl, 0x1022 /* ARCH_GET_XCOMP_PERM */, &permitted) == 0)
			ck_assert_uint_eq(d.tasks[0]->view->xcomp_perm, permitted);
		ck_assert_uint_ne(d.tasks[0]->threads[0].view.clear_tid_addr, 0);
		ck_assert_int_eq(engine_eject(&d, NULL), 0);
		engine_thaw(&d);
		engine_inject_done(&d);
		engine_tasks_free(&d);
		assert_progress(pid);
	}
	after = maps_of(pid);
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
	finish(pid);
}
END_TEST

START_TEST(killed_with_the_blob_in)
{
	pid_t pid = start(programs[_i]);
	char *before = maps_of(pid), *after;

	inject_and_die(pid, 0);
	assert_progress(pid);
	after = maps_of(pid);
	if (programs[_i] != threads) /* several threads leave the area behind */
		ck_assert_str_eq(before, after);
	free(before);
	free(after);
	finish(pid);
}
END_TEST

START_TEST(killed_after_the_commit)
{
	pid_t pid = start(programs[_i]);
	int status;

	inject_and_die(pid, 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

/* Whenever a dump is killed, the next one must be possible, at once. */
START_TEST(killed_anywhere)
{
	pid_t pid = start(programs[_i]);
	struct engine_dump_opts o = { .pid = pid };

	block_sigchld();
	for (int round = 0; round < 30; round++) {
		struct timespec ts = { 0, (long)(round * 7919 % 30) * 1000000 };
		struct engine_dump d = { .opts = &o };
		pid_t ckpt = fork();

		if (!ckpt)
			for (;;) {
				inject(&d);
				engine_eject(&d, NULL);
				engine_thaw(&d);
				engine_inject_done(&d);
				engine_tasks_free(&d);
			}
		nanosleep(&ts, NULL);
		kill(ckpt, SIGKILL);
		ck_assert_int_eq(waitpid(ckpt, NULL, 0), ckpt);
		inject(&d);
		ck_assert_int_eq(engine_eject(&d, NULL), 0);
		engine_thaw(&d);
		engine_inject_done(&d);
		engine_tasks_free(&d);
		assert_progress(pid);
	}
	finish(pid);
}
END_TEST

/* A signal that came while everything stood still must end pause() in both ways back. */
START_TEST(signal_meanwhile)
{
	pid_t pid = start(pauser);
	pid_t ckpt;

	nap_ms(20);
	ckpt = fork();
	if (!ckpt) {
		struct engine_dump_opts o = { .pid = pid };
		struct engine_dump d = { .opts = &o };

		inject(&d);
		kill(pid, SIGUSR1);
		if (_i) {
			ck_assert_int_eq(engine_eject(&d, NULL), 0);
			engine_thaw(&d);
		}
		kill(getpid(), SIGKILL);
	}
	waitpid(ckpt, NULL, 0);
	for (int i = 0; i < 2000 && shown->count < 2; i++)
		nap_ms(1);
	ck_assert_int_eq(shown->handled, 1);
	ck_assert_uint_eq(shown->count, 2);
	finish(pid);
}
END_TEST

static void on_signal_wait(int sig)
{
	(void)sig;
	shown->handled++;
	while (shown->handled < 2)
		nap_ms(1);
}

static void handler_waits(void)
{
	struct sigaction sa = { .sa_handler = on_signal_wait };

	sigaction(SIGUSR1, &sa, NULL);
	tight_loop();
}

/*
 * A signal that comes on the way back has a frame that leads into the way back: it must still stand
 * there when the handler returns, though another dump came meanwhile and was killed as well.
 */
START_TEST(signal_on_the_way_back)
{
	pid_t pid = start(handler_waits);
	pid_t ckpt = fork();

	if (!ckpt) {
		struct engine_dump_opts o = { .pid = pid };
		struct engine_dump d = { .opts = &o };

		inject(&d);
		kill(pid, SIGUSR1);
		kill(getpid(), SIGKILL);
	}
	waitpid(ckpt, NULL, 0);
	for (int i = 0; i < 2000 && !shown->handled; i++)
		nap_ms(1);
	ck_assert_int_eq(shown->handled, 1);
	for (int i = 0; i < 3; i++)
		inject_and_die(pid, 0);
	shown->handled = 2;
	assert_progress(pid);
	finish(pid);
}
END_TEST

/* ---- stopped by job control ---- */

static pid_t start_stopped(void (*fn)(void))
{
	pid_t pid = start(fn);
	int status;

	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	return pid;
}

/* Stands still, has been so all the time (nothing new to wait for), and goes on when it may. */
static void assert_still_stopped(pid_t pid)
{
	CK_AUTO(fd) int dir = proc_open_pid(pid);
	struct proc_stat st = { .state = 0 };
	unsigned long count;

	for (int i = 0; i < 2000 && st.state != 'T'; i++) {
		ck_assert_int_eq(proc_read_stat(dir, &st, NULL), 0);
		nap_ms(1);
	}
	ck_assert_int_eq(st.state, 'T');
	count = shown->count;
	nap_ms(60);
	ck_assert_uint_eq(shown->count, count);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG | WUNTRACED | WCONTINUED), 0);
}

START_TEST(stopped_stays_stopped)
{
	pid_t pid = start_stopped(programs[_i]);
	struct engine_dump_opts o = { .pid = pid };

	for (int round = 0; round < 3; round++) {
		struct engine_dump d = { .opts = &o };

		inject(&d);
		ck_assert_int_eq(d.tasks[0]->stop_signo, SIGSTOP);
		ck_assert_int_eq(engine_eject(&d, NULL), 0);
		engine_thaw(&d);
		engine_inject_done(&d);
		engine_tasks_free(&d);
		assert_still_stopped(pid);
		inject_and_die(pid, 0);
		assert_still_stopped(pid);
	}
	kill(pid, SIGCONT);
	assert_progress(pid);
	finish(pid);
}
END_TEST

/* Told to end while it can't run, it does so before it runs anything else. */
START_TEST(stopped_and_doomed)
{
	pid_t pid = start_stopped(programs[_i]);
	unsigned long count = shown->count;
	int status;

	inject_and_die(pid, 1);
	kill(pid, SIGCONT);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_uint_eq(shown->count, count);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine/inject");
	TCase *tc = tcase_create("inject");
	SRunner *sr;
	int failed;

	shown = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, in_and_out, 0, 3);
	tcase_add_loop_test(tc, killed_with_the_blob_in, 0, 3);
	tcase_add_loop_test(tc, killed_after_the_commit, 0, 3);
	tcase_add_loop_test(tc, killed_anywhere, 0, 3);
	tcase_add_loop_test(tc, signal_meanwhile, 0, 2);
	tcase_add_test(tc, signal_on_the_way_back);
	tcase_add_loop_test(tc, stopped_stays_stopped, 0, 3);
	tcase_add_loop_test(tc, stopped_and_doomed, 0, 3);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
