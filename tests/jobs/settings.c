// SPDX-License-Identifier: Apache-2.0
/*
 * What a thread can set for itself and keeps: names, niceness, scheduling, CPUs, I/O priority,
 * timer slack, memory policy, time stamp counter, speculation, keep-caps; and a process: limits,
 * core dump filter, umask, personality, transparent huge pages, membarrier. The second thread has
 * other ones than the first. Where the kernel or a container forbids one, it is left alone.
 */
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "job.h"

#define BE(level) (2 << 13 | (level)) /* IOPRIO_CLASS_BE */

struct seen {
	char name[16];
	int nice, policy, tsc, keepcaps, mode, spec;
	long ioprio, slack, thp, pers, filter, barrier;
	unsigned long nodes[16], cpus[16];
	struct rlimit core, stack;
	mode_t mask;
};

static volatile bool ready, stop;

static long read_filter(void)
{
	char text[32] = { 0 };
	int fd = open("/proc/self/coredump_filter", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strtol(text, NULL, 16);
}

static void write_filter(const char *text)
{
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0);
	close(fd);
}

static void look(struct seen *s)
{
	memset(s, 0, sizeof(*s));
	CHECK(!prctl(PR_GET_NAME, s->name) && !prctl(PR_GET_TSC, &s->tsc));
	errno = 0;
	s->nice = getpriority(PRIO_PROCESS, 0);
	CHECK(!errno);
	s->policy = (int)syscall(SYS_sched_getscheduler, 0);
	s->keepcaps = prctl(PR_GET_KEEPCAPS);
	s->spec = prctl(PR_GET_SPECULATION_CTRL, 0, 0, 0, 0);
	s->ioprio = syscall(SYS_ioprio_get, 1, 0);
	s->slack = prctl(PR_GET_TIMERSLACK);
	s->thp = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	s->pers = personality(0xffffffff);
	s->filter = read_filter();
	s->barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	CHECK(syscall(SYS_sched_getaffinity, 0, sizeof(s->cpus), s->cpus) > 0);
	if (syscall(SYS_get_mempolicy, &s->mode, s->nodes, 1024, NULL, 0) < 0)
		s->mode = -errno;
	CHECK(!getrlimit(RLIMIT_CORE, &s->core) && !getrlimit(RLIMIT_STACK, &s->stack));
	s->mask = umask(0);
	umask(s->mask);
}

/* Some of these are forbidden here or there. */
static void choose(int who)
{
	unsigned long node = 1, cpu = 1ul << who;
	struct sched_param p = { 0 };

	CHECK(!prctl(PR_SET_NAME, who ? "second (one)" : "first\nline"));
	CHECK(!setpriority(PRIO_PROCESS, 0, 3 + who));
	CHECK(!syscall(SYS_sched_setscheduler, 0, SCHED_BATCH | (who ? SCHED_RESET_ON_FORK : 0),
		       &p));
	CHECK(!prctl(PR_SET_TIMERSLACK, 70000 + who));
	CHECK(!prctl(PR_SET_KEEPCAPS, who));
	(void)syscall(SYS_sched_setaffinity, 0, sizeof(cpu), &cpu);
	(void)syscall(SYS_ioprio_set, 1, 0, BE(5 + who));
	(void)syscall(SYS_set_mempolicy, who ? 2 : 1, &node, 64); /* MPOL_BIND, MPOL_PREFERRED */
	if (who)
		(void)prctl(PR_SET_SPECULATION_CTRL, 0, PR_SPEC_DISABLE, 0, 0);
}

static void same(const struct seen *a, const char *whose)
{
	struct seen b;

	look(&b);
#define SAME(x) CHECKF(!memcmp(&a->x, &b.x, sizeof(b.x)), "the %s's " #x " has changed", whose)
	SAME(name);
	SAME(nice);
	SAME(policy);
	SAME(tsc);
	SAME(keepcaps);
	SAME(mode);
	SAME(spec);
	SAME(ioprio);
	SAME(slack);
	SAME(thp);
	SAME(pers);
	SAME(filter);
	SAME(barrier);
	SAME(nodes);
	SAME(cpus);
	SAME(core);
	SAME(stack);
	SAME(mask);
}

static void *second(void *arg)
{
	struct timespec ts = { 0, 2000000 };
	struct seen s;

	choose(1);
	look(&s);
	ready = true;
	while (!stop) {
		same(&s, "second");
		nanosleep(&ts, NULL);
	}
	return arg;
}

int main(void)
{
	struct rlimit core = { 4096, 8192 };
	struct seen s;
	pthread_t t;
	uint64_t x = 1;

	job_begin(900);
	CHECK(!setrlimit(RLIMIT_CORE, &core));
	write_filter("0x17");
	umask(037);
	CHECK(personality(ADDR_COMPAT_LAYOUT) >= 0);
	CHECK(!prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	CHECK(!syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	CHECK(!pthread_create(&t, NULL, second, NULL));
	while (!ready)
		sched_yield();
	choose(0);
	look(&s);
	CHECK(s.barrier == 0 && s.thp == 1 && s.filter == 0x17);
	while (job_more()) {
		same(&s, "first");
		x = job_chain(x, 500000);
	}
	stop = true;
	CHECK(!pthread_join(t, NULL));
	return job_end("settings", x);
}
