// SPDX-License-Identifier: Apache-2.0
/*
 * Descriptors that look alike and are, or are not, one open file description: by dup(), by fork(),
 * as of `>log 2>&1`, inherited and duplicated in the child, and the same file and directory opened
 * again at the same offset. In every round all of them are first moved to one offset, so that
 * nothing tells them apart; then each description is moved away, and parent and child look who went
 * along. The signal number of a file (F_SETSIG) stays what it was.
 */
#include <signal.h>

#include "job.h"

enum { LOG_OUT, LOG_ERR, AGAIN, THIRD, DUP, CHILD_DUP, CHILD_OWN, DIR_A, DIR_B, DIR_DUP, N_FDS };

/* Which description each has, and who has it: 1 the parent, 2 the child. */
static const struct {
	int description, who;
} want[N_FDS] = {
	[LOG_OUT] = { 0, 3 },   [LOG_ERR] = { 0, 3 },   [AGAIN] = { 1, 3 }, [THIRD] = { 2, 3 },
	[DUP] = { 1, 3 },       [DIR_A] = { 4, 3 },     [DIR_B] = { 5, 3 }, [DIR_DUP] = { 4, 3 },
	[CHILD_DUP] = { 2, 2 }, [CHILD_OWN] = { 3, 2 },
};
enum { N_DESCRIPTIONS = 6, SAME = 50 };

static int fds[N_FDS];

/* One byte to the other process and one back, so that both are at the same point. */
static void meet(int in, int out)
{
	char c = 'x';

	CHECK(write(out, &c, 1) == 1 && read(in, &c, 1) == 1);
}

static off_t place(int description)
{
	return 1000 + description;
}

static void check_offsets(int who)
{
	for (int i = 0; i < N_FDS; i++)
		if (want[i].who & who) {
			off_t at = lseek(fds[i], 0, SEEK_CUR);

			CHECKF(at == place(want[i].description),
			       "descriptor %d of process %d is at %ld, not %ld", i, who, (long)at,
			       (long)place(want[i].description));
		}
}

/* Of the descriptions that both have, each is moved by one of the two; the child moves its own. */
static void move(int who, uint64_t round)
{
	bool done[N_DESCRIPTIONS] = { false };

	for (int i = 0; i < N_FDS; i++) {
		int k = want[i].description;
		int mover = want[i].who != 3 ? want[i].who : ((uint64_t)k + round) % 2 ? 1 : 2;

		if (k == 3)
			mover = 2;
		if (mover != who || done[k])
			continue;
		CHECK(lseek(fds[i], place(k), SEEK_SET) == place(k));
		done[k] = true;
	}
}

static void check_signals(int who)
{
	for (int i = 0; i < N_FDS; i++)
		if (want[i].who & who)
			CHECKF(fcntl(fds[i], F_GETSIG) == (want[i].description == 1 ? SIGUSR2 : 0),
			       "descriptor %d of process %d has another signal", i, who);
}

static void one_round(int who, int in, int out, uint64_t round)
{
	for (int i = 0; i < N_FDS; i++)
		if (want[i].who & who)
			CHECK(lseek(fds[i], SAME, SEEK_SET) == SAME);
	meet(in, out);
	/* here nothing tells them apart, for a while */
	(void)job_chain(round, 300000);
	meet(in, out);
	move(who, round);
	meet(in, out);
	check_offsets(who);
	check_signals(who);
	meet(in, out);
}

static void setup(void)
{
	fds[LOG_OUT] = open("shares.log", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	fds[LOG_ERR] = dup(fds[LOG_OUT]);
	fds[AGAIN] = open("shares.log", O_WRONLY);
	fds[THIRD] = open("shares.log", O_WRONLY);
	fds[DUP] = fcntl(fds[AGAIN], F_DUPFD_CLOEXEC, 100);
	fds[DIR_A] = open(".", O_RDONLY | O_DIRECTORY);
	fds[DIR_B] = open(".", O_RDONLY | O_DIRECTORY);
	fds[DIR_DUP] = dup(fds[DIR_A]);
	for (int i = 0; i < N_FDS; i++)
		CHECK(fds[i] >= 0);
	CHECK(!fcntl(fds[AGAIN], F_SETSIG, SIGUSR2));
}

static void child(int in, int out)
{
	char c;

	fds[CHILD_DUP] = dup(fds[THIRD]);
	fds[CHILD_OWN] = open("shares.log", O_WRONLY);
	CHECK(fds[CHILD_DUP] >= 0 && fds[CHILD_OWN] >= 0);
	for (uint64_t round = 0; read(in, &c, 1) == 1 && c == 'r'; round++)
		one_round(2, in, out, round);
	_exit(7);
}

int main(void)
{
	int down[2], up[2], st;
	uint64_t h = 9;
	pid_t pid;

	job_begin(900);
	setup();
	CHECK(!pipe(down) && !pipe(up));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child(down[0], up[1]);
	for (uint64_t round = 0; job_more(); round++) {
		CHECK(write(down[1], "r", 1) == 1);
		one_round(1, up[0], down[1], round);
		h = job_chain(h, 100000);
	}
	CHECK(write(down[1], "q", 1) == 1);
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 7);
	return job_end("shares", h);
}
