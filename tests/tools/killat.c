// SPDX-License-Identifier: Apache-2.0
/*
 * killat [-g] [-n N] [-x COMMAND] [-o FILE] PROGRAM [ARG...]: runs a program, counts the stops at
 * entry to and exit from its system calls, of all its threads and children, and at the Nth kills
 * it: the program alone, or with -g its children too. With -x, runs COMMAND there instead and lets
 * it go on. The kernel does not execute a call whose caller dies at its entry, so that N and N + 1
 * of one call are the states before and after it.
 *
 * FILE (standard error otherwise) gets one line "events=E killed=K call=NR way=entry|exit
 * status=S", where K tells whether the Nth stop was reached, and S is the wait status. What the
 * program traces in its turn is not touched. Exits with 0 if all went well, whatever became of the
 * program.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_TASKS = 256, HISTORY = 12 };

/* A system call as it was entered. */
struct call {
	unsigned long long nr, args[3];
};

struct killat {
	unsigned long at, events;
	const char *command, *out;
	bool group, done;
	pid_t leader, tasks[MAX_TASKS];
	int n_tasks, status;
	struct call history[HISTORY]; /* a ring: the last one is at calls % HISTORY */
	unsigned long calls;
	bool entry;
};

static void die(const char *what)
{
	fprintf(stderr, "killat: %s: ", what);
	perror(NULL);
	exit(2);
}

static void forget(struct killat *k, pid_t pid)
{
	for (int i = 0; i < k->n_tasks; i++)
		if (k->tasks[i] == pid)
			k->tasks[i--] = k->tasks[--k->n_tasks];
}

static void learn(struct killat *k, pid_t pid)
{
	forget(k, pid);
	if (k->n_tasks == MAX_TASKS) {
		errno = E2BIG;
		die("too many tasks");
	}
	k->tasks[k->n_tasks++] = pid;
}

/* The moment has come; the task pid is at entry to or at exit from a call. */
static void strike(struct killat *k)
{
	k->done = true;
	if (k->command) {
		if (system(k->command) != 0) /* NOLINT(cert-env33-c): the caller's own */
			die(k->command);
		return;
	}
	kill(k->leader, SIGKILL);
	for (int i = 0; k->group && i < k->n_tasks; i++)
		kill(k->tasks[i], SIGKILL);
}

/* A stop at entry to or exit from a system call. */
static void at_call(struct killat *k, pid_t pid)
{
	struct __ptrace_syscall_info info;

	if (k->done)
		return;
	k->events++;
	k->entry = false;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 &&
	    info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		struct call *c = &k->history[++k->calls % HISTORY];

		k->entry = true;
		c->nr = info.entry.nr;
		for (int i = 0; i < 3; i++)
			c->args[i] = info.entry.args[i];
	}
	if (k->events == k->at)
		strike(k);
}

/* A stop of one task; lets it go on. */
static void stopped(struct killat *k, pid_t pid, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;

	learn(k, pid);
	if (sig == (SIGTRAP | 0x80)) {
		at_call(k, pid);
		sig = 0;
	} else if (event || sig == SIGTRAP || (sig == SIGSTOP && pid != k->leader)) {
		sig = 0; /* of our own making: new tasks, exec */
	}
	/* It may have been killed meanwhile. */
	if (ptrace(PTRACE_SYSCALL, pid, NULL, (long)sig) && errno != ESRCH)
		die("cannot continue a task");
}

static void start(struct killat *k, char **argv)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			     PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int status;

	k->leader = fork();
	if (k->leader < 0)
		die("cannot fork");
	if (!k->leader) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
			die("cannot be traced");
		execvp(argv[0], argv);
		die(argv[0]);
	}
	if (waitpid(k->leader, &status, 0) != k->leader || !WIFSTOPPED(status))
		die("the program did not start");
	learn(k, k->leader);
	if (ptrace(PTRACE_SETOPTIONS, k->leader, NULL, options))
		die("cannot trace");
	/* Up to its exec the program is still ourselves; nothing is counted. */
	do {
		if (ptrace(PTRACE_CONT, k->leader, NULL, NULL))
			die("cannot continue");
		if (waitpid(k->leader, &status, 0) != k->leader || !WIFSTOPPED(status))
			exit(2);
	} while (status >> 16 != PTRACE_EVENT_EXEC);
	if (ptrace(PTRACE_SYSCALL, k->leader, NULL, NULL))
		die("cannot continue");
}

static void watch(struct killat *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		if (WIFSTOPPED(status)) {
			stopped(k, pid, status);
			continue;
		}
		forget(k, pid);
		if (pid == k->leader)
			k->status = status;
	}
	if (errno != ECHILD)
		die("cannot wait");
}

static void report(const struct killat *k)
{
	int fd = k->out ? open(k->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : 2;

	if (fd < 0 || dprintf(fd, "events=%lu killed=%d way=%s status=%d\ncalls:", k->events,
			      k->done, k->entry ? "entry" : "exit", k->status) < 0)
		die(k->out);
	for (unsigned long i = k->calls > HISTORY ? k->calls - HISTORY + 1 : 1; i <= k->calls;
	     i++) {
		const struct call *c = &k->history[i % HISTORY];

		dprintf(fd, " %llu(%llx,%llx,%llx)", c->nr, c->args[0], c->args[1], c->args[2]);
	}
	dprintf(fd, "\n");
	close(fd);
}

int main(int argc, char **argv)
{
	struct killat k = { 0 };
	int opt;

	while ((opt = getopt(argc, argv, "+gn:x:o:")) != -1) {
		switch (opt) {
		case 'g':
			k.group = true;
			break;
		case 'n':
			k.at = strtoul(optarg, NULL, 10);
			break;
		case 'x':
			k.command = optarg;
			break;
		case 'o':
			k.out = optarg;
			break;
		default:
			return 2;
		}
	}
	if (optind == argc) {
		fprintf(stderr, "usage: killat [-g] [-n N] [-x COMMAND] [-o FILE] PROGRAM ...\n");
		return 2;
	}
	start(&k, argv + optind);
	watch(&k);
	report(&k);
	return 0;
}
