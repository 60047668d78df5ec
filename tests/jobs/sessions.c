// SPDX-License-Identifier: Apache-2.0
/*
 * Sessions and process groups whose leaders are gone, or came later than their members:
 *
 *   early   child of a session leader, and still in the session that its parent was born in
 *   orphan  member of a session whose leader has died; the root adopted it as a subreaper
 *   left    member of a process group whose leader has died
 *   joined  member of a process group whose leader is a zombie
 *
 * and zombies that ended by exit, by a signal, and as session leaders. Each checks its place, and
 * the root at last all exit statuses.
 */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "job.h"

enum { EARLY, LATE, ORPHAN, LEFT, JOINED, LEADER, N_MEMBERS };

struct place {
	pid_t pid, ppid, sid, pgid;
};

static struct place *board; /* shared: who is where; pid is written last */
static int hold[2];         /* ends when the root is done */

static struct place here(void)
{
	return (struct place){ getpid(), getppid(), getsid(0), getpgid(0) };
}

static bool same(const struct place *a, const struct place *b)
{
	return a->pid == b->pid && a->ppid == b->ppid && a->sid == b->sid && a->pgid == b->pgid;
}

/* Announces its place and checks it until the pipe ends. */
__attribute__((noreturn)) static void stay(int who)
{
	struct timespec ts = { 0, 3000000 };
	struct place first = here(), now;
	char c;

	close(hold[1]);
	CHECK(!fcntl(hold[0], F_SETFL, O_NONBLOCK));
	board[who] = first;
	while (read(hold[0], &c, 1) != 0) {
		CHECK(errno == EAGAIN);
		now = here();
		CHECKF(same(&first, &now), "member %d: %d %d %d %d became %d %d %d %d", who,
		       first.pid, first.ppid, first.sid, first.pgid, now.pid, now.ppid, now.sid,
		       now.pgid);
		nanosleep(&ts, NULL);
	}
	_exit(20 + who);
}

static void wait_member(int who)
{
	while (!__atomic_load_n(&board[who].pid, __ATOMIC_ACQUIRE))
		sched_yield();
}

static pid_t child(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	return pid;
}

/* Has a child, then becomes a session leader, then has another. */
static pid_t make_leader(void)
{
	pid_t pid = child();

	if (pid)
		return pid;
	if (!child())
		stay(EARLY);
	wait_member(EARLY);
	CHECK(setsid() == getpid());
	if (!child())
		stay(LATE);
	wait_member(LATE);
	stay(LEADER);
}

static void make_orphan(void)
{
	pid_t pid = child();
	int st;

	if (!pid) {
		pid_t leader = getpid();

		CHECK(setsid() == leader);
		if (!child()) {
			while (getppid() == leader)
				sched_yield();
			stay(ORPHAN);
		}
		_exit(0);
	}
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	wait_member(ORPHAN);
}

/* A member of the group of a child that ends; what becomes of the child is the caller's matter. */
static pid_t make_group(int who)
{
	pid_t leader = child();

	if (!leader) {
		CHECK(!setpgid(0, 0));
		while (!board[who].pid)
			sched_yield();
		_exit(5);
	}
	setpgid(leader, leader);
	if (!child()) {
		CHECK(!setpgid(0, leader));
		stay(who);
	}
	wait_member(who);
	return leader;
}

static pid_t make_zombie(int how)
{
	pid_t pid = child();
	siginfo_t si;

	if (!pid) {
		if (how == 0)
			_exit(7);
		if (how == 1)
			kill(getpid(), SIGKILL);
		if (how == 2) {
			CHECK(setsid() == getpid());
			raise(SIGTERM);
		}
		_exit(99);
	}
	CHECK(!waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
	return pid;
}

static void expect(pid_t pid, int status)
{
	int st;

	CHECK(waitpid(pid, &st, 0) == pid);
	CHECKF(st == status, "wait status %x of %d, not %x", (unsigned int)st, (int)pid,
	       (unsigned int)status);
}

int main(void)
{
	pid_t leader, gone, joined, z[3];
	struct place me;
	uint64_t x = 1;

	job_begin(900);
	board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(board != MAP_FAILED && !pipe(hold));
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	leader = make_leader();
	wait_member(LEADER);
	make_orphan();
	gone = make_group(LEFT);
	expect(gone, 5 << 8);
	joined = make_group(JOINED);
	for (int i = 0; i < 3; i++)
		z[i] = make_zombie(i);
	close(hold[0]);
	CHECK(board[EARLY].sid == getsid(0) && board[EARLY].ppid == leader);
	CHECK(board[LATE].sid == leader && board[LEADER].sid == leader);
	CHECK(board[ORPHAN].sid != getsid(0) && kill(board[ORPHAN].sid, 0) < 0 && errno == ESRCH);
	CHECK(board[LEFT].pgid == gone && board[JOINED].pgid == joined);
	me = here();
	while (job_more()) {
		struct place now = here();

		now.ppid = me.ppid; /* outside of the tree */
		CHECK(same(&me, &now));
		x = job_chain(x, 600000);
	}
	close(hold[1]);
	expect(joined, 5 << 8);
	expect(z[0], 7 << 8);
	expect(z[1], SIGKILL);
	expect(z[2], SIGTERM);
	expect(leader, (20 + LEADER) << 8);
	expect(board[ORPHAN].pid, (20 + ORPHAN) << 8);
	expect(board[LEFT].pid, (20 + LEFT) << 8);
	expect(board[JOINED].pid, (20 + JOINED) << 8);
	/* The children of the leader have become ours. */
	expect(board[EARLY].pid, (20 + EARLY) << 8);
	expect(board[LATE].pid, (20 + LATE) << 8);
	CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	return job_end("sessions", x);
}
