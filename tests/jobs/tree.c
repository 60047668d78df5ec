// SPDX-License-Identifier: Apache-2.0
/*
 * Five tasks: the root, A in a session of its own, B a child of A in a process group of its own,
 * C a child of the root in a group of its own, and D, a zombie that is reaped only at the end.
 * Numbered messages go round root -> A -> B -> C -> root through pipes that are never empty for
 * long, and each task checks their sequence, its parent, its session and its groups.
 */
#include "job.h"

#define AHEAD 300 /* messages under way: contents of pipes */

struct message {
	uint64_t seq, value;
};

struct member {
	const char *name;
	pid_t self, parent, session, group;
	int in, out;
};

static int pipes[4][2]; /* root->A, A->B, B->C, C->root */

static void send_message(int fd, const struct message *m)
{
	CHECK(write(fd, m, sizeof(*m)) == sizeof(*m));
}

static bool receive(int fd, struct message *m)
{
	ssize_t n = read(fd, m, sizeof(*m));

	CHECKF(n == 0 || n == sizeof(*m), "read of %zd bytes", n);
	return n != 0;
}

static void check_place(const struct member *m)
{
	CHECKF(getpid() == m->self && syscall(SYS_gettid) == m->self, "%s: pid", m->name);
	/* The root's parent is outside of the tree, and may be another one after a restore. */
	CHECKF(!m->parent || getppid() == m->parent, "%s: parent", m->name);
	CHECKF(getsid(0) == m->session && getpgid(0) == m->group, "%s: session", m->name);
}

static void keep_ends(int in, int out)
{
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 2; j++)
			if (pipes[i][j] != in && pipes[i][j] != out)
				close(pipes[i][j]);
}

/* What A, B and C do until their pipe ends: pass on, one step further in the sequence. */
static uint64_t pass_on(const struct member *m)
{
	struct message msg;
	uint64_t want = 0;

	keep_ends(m->in, m->out);
	while (receive(m->in, &msg)) {
		CHECKF(msg.seq == want, "%s: message %llu for %llu", m->name,
		       (unsigned long long)msg.seq, (unsigned long long)want);
		if (want++ % 64 == 0)
			check_place(m);
		msg.value = job_chain(msg.value, 300);
		send_message(m->out, &msg);
	}
	check_place(m);
	return want;
}

static void wait_for(pid_t pid, int status)
{
	int st;

	CHECK(waitpid(pid, &st, 0) == pid);
	CHECKF(WIFEXITED(st) && WEXITSTATUS(st) == status, "status %x, not %d", st, status);
}

static void task_b(pid_t parent, pid_t session)
{
	struct member m = { .name = "B",
			    .self = getpid(),
			    .parent = parent,
			    .session = session,
			    .group = getpid(),
			    .in = pipes[1][0],
			    .out = pipes[2][1] };

	CHECK(!setpgid(0, 0));
	pass_on(&m);
	_exit(11);
}

static void task_a(pid_t parent)
{
	struct member m = { .name = "A",
			    .self = getpid(),
			    .parent = parent,
			    .session = getpid(),
			    .group = getpid(),
			    .in = pipes[0][0],
			    .out = pipes[1][1] };
	pid_t b;

	CHECK(setsid() == getpid());
	b = fork();
	CHECK(b >= 0);
	if (!b)
		task_b(m.self, m.self);
	pass_on(&m);
	close(m.out);
	wait_for(b, 11);
	_exit(10);
}

static void task_c(pid_t parent, pid_t session)
{
	struct member m = { .name = "C",
			    .self = getpid(),
			    .parent = parent,
			    .session = session,
			    .group = getpid(),
			    .in = pipes[2][0],
			    .out = pipes[3][1] };

	CHECK(!setpgid(0, 0));
	pass_on(&m);
	_exit(12);
}

static uint64_t drive(const struct member *me)
{
	struct message msg;
	uint64_t sent = 0, got = 0, h = JOB_DIGEST_INIT;

	while (job_more()) {
		for (; sent < got + AHEAD; sent++) {
			msg.seq = sent;
			msg.value = sent * 3;
			send_message(me->out, &msg);
		}
		for (int i = 0; i < 20; i++, got++) {
			CHECK(receive(me->in, &msg));
			CHECK(msg.seq == got && msg.value == job_chain(got * 3, 900));
			h = job_digest(h, &msg.value, sizeof(msg.value));
		}
		check_place(me);
	}
	close(me->out);
	for (; got < sent; got++) {
		CHECK(receive(me->in, &msg));
		CHECK(msg.seq == got && msg.value == job_chain(got * 3, 900));
	}
	CHECK(!receive(me->in, &msg));
	return h;
}

int main(void)
{
	struct member me = { .name = "root" };
	pid_t a, c, d;
	uint64_t h;
	siginfo_t si;

	for (int i = 0; i < 4; i++)
		CHECK(!pipe(pipes[i]));
	job_begin(15000);
	me.self = getpid();
	me.session = getsid(0);
	me.group = getpgid(0);
	me.in = pipes[3][0];
	me.out = pipes[0][1];
	if ((a = fork()) == 0)
		task_a(me.self);
	if ((c = fork()) == 0)
		task_c(me.self, me.session);
	if ((d = fork()) == 0)
		_exit(42);
	CHECK(a > 0 && c > 0 && d > 0);
	CHECK(!waitid(P_PID, d, &si, WEXITED | WNOWAIT));
	keep_ends(me.in, me.out);
	h = drive(&me);
	CHECK(!waitid(P_PID, d, &si, WEXITED | WNOWAIT | WNOHANG) && si.si_pid == d);
	wait_for(d, 42);
	wait_for(a, 10);
	wait_for(c, 12);
	CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	return job_end("tree", h);
}
