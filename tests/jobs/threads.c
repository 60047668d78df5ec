// SPDX-License-Identifier: Apache-2.0
/*
 * Four threads, each with state of every kind a thread has: thread-local variables, a signal
 * mask, a name, an id that libc remembers, a stack with known contents, mutexes of all kinds held
 * over the whole run, a condition variable they meet at, and a robust mutex that one dies with.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "job.h"

#define N 4

struct worker {
	pthread_t thread;
	unsigned int no;
	pid_t tid;
	uint64_t digest;
	pthread_mutex_t mine; /* error-checking, held for the whole run */
	pthread_mutex_t rec;  /* recursive, held twice */
};

static struct worker workers[N];
static __thread uint64_t tls_value;
static __thread char tls_name[16];
static pthread_key_t key;

static pthread_mutex_t meet_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t meet_cond = PTHREAD_COND_INITIALIZER;
static unsigned int meet_waiting;
static uint64_t meet_round;
static bool meet_more = true;

static pthread_mutex_t robust;
static pthread_mutex_t pi;
static uint64_t pi_counter;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static uint64_t rw_value;

static void mutex_init(pthread_mutex_t *m, int type, int robustness, int protocol)
{
	pthread_mutexattr_t a;

	CHECK(!pthread_mutexattr_init(&a));
	CHECK(!pthread_mutexattr_settype(&a, type));
	CHECK(!pthread_mutexattr_setrobust(&a, robustness));
	CHECK(!pthread_mutexattr_setprotocol(&a, protocol));
	CHECK(!pthread_mutex_init(m, &a));
	CHECK(!pthread_mutexattr_destroy(&a));
}

/* All threads wait for each other; the last decides whether there is another round. */
static bool meet(void)
{
	uint64_t round;
	bool more;

	CHECK(!pthread_mutex_lock(&meet_lock));
	round = meet_round;
	if (++meet_waiting == N) {
		meet_waiting = 0;
		meet_round++;
		meet_more = job_more();
		CHECK(!pthread_cond_broadcast(&meet_cond));
	} else {
		while (round == meet_round)
			CHECK(!pthread_cond_wait(&meet_cond, &meet_lock));
	}
	more = meet_more;
	CHECK(!pthread_mutex_unlock(&meet_lock));
	return more;
}

static void check_identity(struct worker *w, uint64_t value)
{
	char name[16];
	sigset_t set;

	CHECK(tls_value == value);
	CHECK(pthread_getspecific(key) == w);
	CHECK(pthread_equal(pthread_self(), w->thread));
	CHECK(syscall(SYS_gettid) == w->tid);
	CHECK(!prctl(PR_GET_NAME, name) && !strcmp(name, tls_name));
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &set));
	for (unsigned int i = 0; i < N; i++)
		CHECK(sigismember(&set, SIGRTMIN + (int)i) == (i == w->no));
	CHECK(pthread_mutex_lock(&w->mine) == EDEADLK); /* libc knows the owner by its tid */
}

static void share(struct worker *w, uint64_t round)
{
	CHECK(!pthread_mutex_lock(&pi));
	pi_counter++;
	CHECK(!pthread_mutex_unlock(&pi));
	if (round % N == w->no) {
		CHECK(!pthread_rwlock_wrlock(&rw));
		rw_value = job_next(rw_value);
		CHECK(!pthread_rwlock_unlock(&rw));
	} else {
		CHECK(!pthread_rwlock_rdlock(&rw));
		CHECK(!pthread_rwlock_unlock(&rw));
	}
}

static void setup(struct worker *w)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)w->no);
	CHECK(!pthread_sigmask(SIG_BLOCK, &set, NULL));
	w->thread = pthread_self();
	w->tid = (pid_t)syscall(SYS_gettid);
	snprintf(tls_name, sizeof(tls_name), "worker-%u", w->no);
	CHECK(!prctl(PR_SET_NAME, tls_name));
	CHECK(!pthread_setspecific(key, w));
	mutex_init(&w->mine, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
	mutex_init(&w->rec, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
	CHECK(!pthread_mutex_lock(&w->mine));
	CHECK(!pthread_mutex_lock(&w->rec) && !pthread_mutex_lock(&w->rec));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned char canary[8192];
	uint64_t x = w->no, round = 0;

	setup(w);
	memset(canary, (int)(0xa0 + w->no), sizeof(canary));
	if (w->no == 3)
		CHECK(!pthread_mutex_lock(&robust));
	tls_value = x;
	while (meet()) {
		check_identity(w, x);
		x = job_chain(x, 20000 + 1000 * w->no);
		tls_value = x;
		share(w, round++);
		__asm__ volatile("" : : "r"(canary) : "memory");
	}
	for (size_t i = 0; i < sizeof(canary); i++)
		CHECK(canary[i] == 0xa0 + w->no);
	CHECK(!pthread_mutex_unlock(&w->rec) && !pthread_mutex_unlock(&w->rec));
	CHECK(pthread_mutex_unlock(&w->rec) == EPERM);
	CHECK(!pthread_mutex_unlock(&w->mine));
	CHECK(x == job_chain(w->no, round * (20000 + 1000 * w->no)));
	w->digest = x;
	return NULL; /* number 3 dies holding the robust mutex */
}

int main(void)
{
	uint64_t h = JOB_DIGEST_INIT;

	job_begin(6000);
	mutex_init(&robust, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
	mutex_init(&pi, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT);
	CHECK(!pthread_key_create(&key, NULL));
	for (unsigned int i = 0; i < N; i++)
		workers[i].no = i;
	/* The main thread is worker 0. */
	for (unsigned int i = 1; i < N; i++)
		CHECK(!pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	work(&workers[0]);
	for (unsigned int i = 1; i < N; i++)
		CHECK(!pthread_join(workers[i].thread, NULL));
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD); /* the kernel found its robust list */
	CHECK(pi_counter == job_rounds() * N);
	CHECK(rw_value == job_chain(0, job_rounds()));
	for (unsigned int i = 0; i < N; i++) {
		if (job_limit)
			printf("worker %u: %016llx\n", i, (unsigned long long)workers[i].digest);
		h = job_digest(h, &workers[i].digest, sizeof(h));
	}
	return job_end("threads", h);
}
