// SPDX-License-Identifier: Apache-2.0
/*
 * A process whose first thread has ended, with status 42, before the others; and a child of the
 * same kind, which wants a signal when its parent's end comes, and must not get it before. The
 * process's status is that of the first or of the last thread, as kernels have it.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "job.h"

enum { THREADS = 3 };

static volatile uint64_t *count; /* shared: of each thread of the child */
static volatile uint64_t naps;
static volatile bool stop;
static pid_t self, child;

static void end_thread(int status)
{
	for (;;)
		syscall(SYS_exit, status);
}

static char first_state(void)
{
	char text[512], *at;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	CHECK(n > 0);
	close(fd);
	text[n] = 0;
	at = strrchr(text, ')');
	CHECK(at && at[1]);
	return at[2];
}

static void *child_thread(void *arg)
{
	volatile uint64_t *mine = arg;
	struct timespec ts = { 0, 1000000 };
	int sig = 0;

	CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
	for (;;) {
		CHECK(!prctl(PR_GET_PDEATHSIG, &sig) && sig == SIGKILL);
		++*mine;
		nanosleep(&ts, NULL);
	}
	return NULL;
}

__attribute__((noreturn)) static void be_child(void)
{
	pthread_t t;

	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&t, NULL, child_thread, (void *)(uintptr_t)&count[i]));
	end_thread(7);
	_exit(1);
}

static void *nap(void *arg)
{
	struct timespec ts = { 0, 1000000 };

	(void)arg;
	while (!stop) {
		nanosleep(&ts, NULL);
		naps++;
	}
	return NULL;
}

static void *work(void *arg)
{
	pthread_t t;
	uint64_t x = 1, seen[THREADS + 1] = { 0 };
	int st;

	(void)arg;
	CHECK(!pthread_create(&t, NULL, nap, NULL));
	while (first_state() != 'Z')
		sched_yield();
	child = fork();
	CHECK(child >= 0);
	if (!child)
		be_child();
	while (job_more()) {
		CHECK(getpid() == self && gettid() != self && first_state() == 'Z');
		x = job_chain(x, 400000);
		if (job_rounds() % 50)
			continue;
		while (naps == seen[THREADS])
			sched_yield();
		seen[THREADS] = naps;
		for (int i = 0; i < THREADS; i++) {
			while (count[i] == seen[i])
				CHECK(waitpid(child, NULL, WNOHANG) == 0);
			seen[i] = count[i];
		}
	}
	CHECK(!kill(child, SIGTERM));
	CHECK(waitpid(child, &st, 0) == child && st == SIGTERM);
	stop = true;
	CHECK(!pthread_join(t, NULL));
	job_end("headless", x);
	end_thread(42);
	return NULL;
}

int main(void)
{
	pthread_t t;

	job_begin(1200);
	count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(count != MAP_FAILED);
	self = getpid();
	CHECK(!pthread_create(&t, NULL, work, NULL));
	end_thread(42);
	return 1;
}
