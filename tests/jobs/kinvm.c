// SPDX-License-Identifier: Apache-2.0
/*
 * Processes that share memory, and some of them signal actions, without being threads: each counts
 * in memory that the others see, sets the action of a signal that those with the same actions must
 * have, and one has a child of its own, which must have a copy of the memory.
 */
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "job.h"

enum { ROLES = 3, STACK = 65536, LAST = 1 << 20 };

static uint32_t turn;
static bool over;
static uint64_t x = 5;
static pid_t who[ROLES + 1], copy;
static int action[ROLES]; /* 0: by default, 1: ignored; of whom has the same as 0 */
static const bool same[ROLES] = { true, true, false };
static char stacks[ROLES][STACK] __attribute__((aligned(16)));
static uint64_t *others; /* what the copy sees of x */

static void check_action(int role)
{
	struct sigaction sa;

	CHECK(!sigaction(SIGUSR2, NULL, &sa));
	CHECKF((sa.sa_handler == SIG_IGN) == action[same[role] ? 0 : role],
	       "role %d: SIGUSR2 is %s", role,
	       sa.sa_handler == SIG_IGN ? "ignored" : "not ignored");
	action[same[role] ? 0 : role] = (int)(x >> 7 & 1);
	sa.sa_handler = x >> 7 & 1 ? SIG_IGN : SIG_DFL;
	CHECK(!sigaction(SIGUSR2, &sa, NULL));
}

static bool wait_turn(int role)
{
	for (;;) {
		uint32_t now = __atomic_load_n(&turn, __ATOMIC_ACQUIRE);

		if (over)
			return false;
		if (now % ROLES == (uint32_t)role)
			return true;
		syscall(SYS_futex, &turn, FUTEX_WAIT, now, NULL, NULL, 0);
	}
}

static void next_turn(void)
{
	__atomic_store_n(&turn, (turn + 1) % (ROLES * LAST), __ATOMIC_RELEASE);
	syscall(SYS_futex, &turn, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void take_turn(int role)
{
	CHECK((pid_t)syscall(SYS_getpid) == who[role]);
	x = job_chain(x + (uint64_t)role, 20);
	check_action(role);
}

/* Has the memory as it was when it was made, and counts on its own. */
__attribute__((noreturn)) static void be_copy(uint64_t mine)
{
	for (;;) {
		CHECK(x == mine);
		mine = x = job_next(x);
		__atomic_store_n(others, mine, __ATOMIC_RELEASE);
		usleep(1000);
	}
}

static void on_child(int signo)
{
	(void)signo;
	if (!over)
		_exit(3);
}

static int member(void *arg)
{
	int role = (int)(intptr_t)arg;

	who[role] = (pid_t)syscall(SYS_getpid);
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
	if (role == 1) {
		copy = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		CHECK(copy >= 0);
		if (!copy) {
			CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
			be_copy(x);
		}
	}
	next_turn();
	while (wait_turn(role)) {
		take_turn(role);
		next_turn();
	}
	if (role == 1) {
		int status;

		CHECK(!kill(copy, SIGKILL) && waitpid(copy, &status, 0) == copy);
	}
	return role;
}

int main(void)
{
	static const int flags[ROLES] = { 0, CLONE_VM | CLONE_SIGHAND | SIGCHLD,
					  CLONE_VM | SIGCHLD };
	uint64_t seen;

	job_begin(500000);
	others = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(others != MAP_FAILED);
	who[0] = getpid();
	signal(SIGCHLD, on_child);
	next_turn();
	for (int i = 1; i < ROLES; i++) {
		CHECK(wait_turn(i));
		CHECK(clone(member, stacks[i] + STACK, flags[i], (void *)(intptr_t)i) > 0);
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == (uint32_t)i)
			usleep(100);
	}
	seen = __atomic_load_n(others, __ATOMIC_ACQUIRE);
	while (job_more()) {
		CHECK(wait_turn(0));
		take_turn(0);
		next_turn();
	}
	CHECK(wait_turn(0));
	while (__atomic_load_n(others, __ATOMIC_ACQUIRE) == seen)
		usleep(1000);
	over = true;
	next_turn();
	for (int i = 1; i < ROLES; i++) {
		int status;

		CHECK(waitpid(who[i], &status, 0) == who[i]);
		CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == i, "status %x", status);
	}
	return job_end("kinvm", x);
}
