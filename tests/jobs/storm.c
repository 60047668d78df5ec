// SPDX-License-Identifier: Apache-2.0
/*
 * A fork storm: at every moment several children are being born, working or dying. Each child
 * adds its number to a shared page and hands the parent a check value through a pipe and its exit
 * status.
 */
#include "job.h"

#define ABREAST 6

struct shared {
	_Atomic uint64_t sum, born, done;
};

static void child(struct shared *s, int out, uint64_t n)
{
	uint64_t v = job_chain(n, 200);

	s->born += 1;
	CHECK(write(out, &v, sizeof(v)) == sizeof(v));
	s->sum += n;
	s->done += 1;
	_exit((int)(n % 200));
}

static uint64_t collect(int in, const pid_t *pids, uint64_t first)
{
	uint64_t v, x = 0;

	for (int i = 0; i < ABREAST; i++) {
		int st;

		CHECK(waitpid(pids[i], &st, 0) == pids[i]);
		CHECKF(WIFEXITED(st) && WEXITSTATUS(st) == (int)((first + i) % 200),
		       "child status %x", st);
		CHECK(read(in, &v, sizeof(v)) == sizeof(v));
		x ^= v;
	}
	for (int i = 0; i < ABREAST; i++)
		x ^= job_chain(first + i, 200);
	CHECK(x == 0);
	return x;
}

int main(void)
{
	struct shared *s =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t n = 1, want = 0;
	int p[2];

	CHECK(s != MAP_FAILED && !pipe(p));
	job_begin(3500);
	while (job_more()) {
		pid_t pids[ABREAST];
		uint64_t first = n;

		for (int i = 0; i < ABREAST; i++, n++) {
			pids[i] = fork();
			CHECK(pids[i] >= 0);
			if (!pids[i])
				child(s, p[1], n);
			want += n;
		}
		collect(p[0], pids, first);
		CHECK(s->sum == want && s->born == n - 1 && s->done == n - 1);
	}
	return job_end("storm", want);
}
