// SPDX-License-Identifier: Apache-2.0
/* What happens around a dump: timers that expire and signals that come do so exactly once, and end
 * the calls that they would have ended. */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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
static void sets_timers(void)
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
	int r;

	o.pid = fork();
	if (o.pid == 0)
		sets_timers();
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

/* ---- calls that a signal ends ---- */

static void must(int r, const struct ck_err *err)
{
	ck_assert_msg(r == 0, "%s (%s)", err->what, err->where);
}

static void catch_usr1(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
}

static void waits_in_pause(void)
{
	catch_usr1();
	atomic_store(&seen[2], 1);
	pause();
}

static void waits_in_epoll(void)
{
	struct epoll_event ev;
	int fd = epoll_create1(0);

	atomic_store(&seen[2], 1);
	for (;;)
		epoll_wait(fd, &ev, 1, -1);
}

static pid_t start(void (*what)(void))
{
	pid_t pid;

	atomic_store(&seen[2], 0);
	pid = fork();
	if (pid == 0) {
		what();
		_exit(3);
	}
	while (!atomic_load(&seen[2]))
		nap_ms(1);
	nap_ms(20);
	return pid;
}

static void setup(void)
{
	sigset_t set;

	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(seen, MAP_FAILED);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void finish(struct engine_dump *d, pid_t pid)
{
	must(engine_eject(d, NULL), &(struct ck_err)CK_ERR_INIT);
	engine_thaw(d);
	engine_inject_done(d);
	engine_tasks_free(d);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static const struct {
	void (*job)(void);
	int sig;
	bool ended;
} cases[] = {
	{ waits_in_pause, 0, false },       { waits_in_pause, SIGUSR1, true },
	{ waits_in_pause, SIGTSTP, false }, { waits_in_epoll, SIGTSTP, true },
	{ waits_in_epoll, SIGURG, false },
};

/* In an image, too: where it is restored the handler would run first, and the call would be begun
 * only then. */
START_TEST(ended_by_what_waits)
{
	struct engine_dump_opts o = { .pid = start(cases[_i].job) };
	struct engine_dump d = { .opts = &o };
	struct ck_err err = CK_ERR_INIT;
	const struct user_regs_struct *regs;

	must(engine_freeze(&d, &err), &err);
	must(engine_look(&d, &err), &err);
	if (cases[_i].sig)
		kill(o.pid, cases[_i].sig);
	must(engine_inject(&d, &err), &err);
	regs = engine_regs_to_keep(&d.tasks[0]->threads[0]);
	ck_assert_int_eq((long)regs->rax == -EINTR, cases[_i].ended);
	finish(&d, o.pid);
}
END_TEST

static void on_one_cpu(int policy, pid_t pid)
{
	struct sched_param sp = { 0 };
	cpu_set_t set;
	int cpu;

	sched_getaffinity(0, sizeof(set), &set);
	for (cpu = 0; !CPU_ISSET(cpu, &set);)
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	ck_assert_int_eq(sched_setaffinity(pid, sizeof(set), &set), 0);
	ck_assert_int_eq(sched_setscheduler(pid, policy, &sp), 0);
}

/* Let go on by SIGCONT, but not on a CPU yet: that the stop has ended its call is still to come. */
START_TEST(continued_not_yet_running)
{
	struct engine_dump_opts o = { .pid = start(waits_in_epoll) };
	struct engine_dump d = { .opts = &o };
	struct ck_err err = CK_ERR_INIT;
	siginfo_t si;
	pid_t hog;

	on_one_cpu(SCHED_IDLE, o.pid);
	kill(o.pid, SIGSTOP);
	ck_assert_int_eq(waitid(P_PID, (id_t)o.pid, &si, WSTOPPED), 0);
	hog = fork();
	if (hog == 0)
		for (;;)
			;
	on_one_cpu(SCHED_OTHER, hog);
	nap_ms(10);
	kill(o.pid, SIGCONT);
	must(engine_freeze(&d, &err), &err);
	must(engine_look(&d, &err), &err);
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	ck_assert_int_eq((long)d.tasks[0]->threads[0].stopped.rax, -EINTR);
	must(engine_inject(&d, &err), &err);
	finish(&d, o.pid);
}
END_TEST

/* Let go on long ago, though its parent has not asked: the stop that it sees now is ours. */
START_TEST(continued_long_ago)
{
	struct engine_dump_opts o = { .pid = start(waits_in_epoll) };
	struct engine_dump d = { .opts = &o };
	struct ck_err err = CK_ERR_INIT;
	siginfo_t si;

	kill(o.pid, SIGSTOP);
	ck_assert_int_eq(waitid(P_PID, (id_t)o.pid, &si, WSTOPPED), 0);
	kill(o.pid, SIGCONT);
	nap_ms(50);
	must(engine_freeze(&d, &err), &err);
	must(engine_look(&d, &err), &err);
	ck_assert(engine_was_continued(o.pid));
	ck_assert_int_ne((long)d.tasks[0]->threads[0].stopped.rax, -EINTR);
	must(engine_inject(&d, &err), &err);
	finish(&d, o.pid);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine/pending");
	TCase *t = tcase_create("pending");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, expire_while_stopped);
	tcase_add_loop_test(t, ended_by_what_waits, 0, sizeof(cases) / sizeof(*cases));
	tcase_add_test(t, continued_not_yet_running);
	tcase_add_test(t, continued_long_ago);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
