// SPDX-License-Identifier: Apache-2.0
/* Timers that expire while a dump is under way: each goes off exactly once. */
#include <check.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/dump.h"

static atomic_int *seen; /* by the job: SIGALRM, SIGUSR1; [2]: its timers run */

static void on_signal(int sig)
{
	atomic_fetch_add(&seen[sig == SIGALRM ? 0 : 1], 1);
}

static void nap_ms(long ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000 };

	nanosleep(&ts, NULL);
}

/* Two timers that go off once, 100 ms from now. */
static void job(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec ts = { .it_value.tv_nsec = 100000000 };
	struct itimerval tv = { .it_value.tv_usec = 100000 };
	timer_t id;

	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	if (timer_create(CLOCK_MONOTONIC, &ev, &id) < 0 || timer_settime(id, 0, &ts, NULL) < 0 ||
	    setitimer(ITIMER_REAL, &tv, NULL) < 0)
		_exit(1);
	atomic_store(&seen[2], 1);
	for (;;)
		pause();
}

static bool is_pending(const struct engine_task *t, int sig)
{
	for (size_t i = 0; i < t->n_pending; i++) {
		siginfo_t si;

		memcpy(&si, t->pending[i].raw, sizeof(si));
		if (si.si_signo == sig)
			return true;
	}
	return false;
}

START_TEST(expire_while_stopped)
{
	struct engine_dump_opts o = { 0 };
	struct engine_dump d = { .opts = &o };
	struct ck_err err = CK_ERR_INIT;
	const struct engine_task *t;
	sigset_t set;
	int r;

	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(seen, MAP_FAILED);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	o.pid = fork();
	if (o.pid == 0)
		job();
	while (!atomic_load(&seen[2]))
		nap_ms(1);
	r = engine_freeze(&d, &err);
	if (r == 0)
		r = engine_look(&d, &err);
	ck_assert_msg(r == 0, "%s (%s)", err.what, err.where);
	t = d.tasks[0];
	ck_assert_uint_eq(t->n_pending, 0);
	nap_ms(150);
	r = engine_inject(&d, &err);
	ck_assert_msg(r == 0, "%s (%s)", err.what, err.where);
	ck_assert(is_pending(t, SIGALRM) && is_pending(t, SIGUSR1));
	ck_assert_uint_eq(t->n_pending, 2);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(t->view->itimer[ITIMER_REAL][i], 0);
	ck_assert_int_eq(t->view->timers[0].value_sec, 0);
	ck_assert_int_eq(t->view->timers[0].value_nsec, 0);
	ck_assert_int_eq(engine_eject(&d, &err), 0);
	engine_thaw(&d);
	engine_inject_done(&d);
	engine_tasks_free(&d);
	nap_ms(50);
	ck_assert_int_eq(atomic_load(&seen[0]), 1);
	ck_assert_int_eq(atomic_load(&seen[1]), 1);
	kill(o.pid, SIGKILL);
	waitpid(o.pid, NULL, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine/pending");
	TCase *t = tcase_create("pending");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, expire_while_stopped);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
