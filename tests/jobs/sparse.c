// SPDX-License-Identifier: Apache-2.0
/*
 * Reservations of a TiB in which next to nothing was ever touched: a shared and a private one.
 * Whoever looks at the job from outside must leave the holes alone: in every round the job sees the
 * pages that it and its children have written, of the windows around them that nothing else is in
 * memory, and its resident set. Pages of the shared one that only a child has ever touched, and
 * that nobody maps any more, must not be lost.
 */
#include "job.h"

#define PAGE 4096ul
#define TIB (1ul << 40)
#define WINDOW (16ul << 20) /* bytes on both sides of a page that are looked at */

enum { N_PAGES = 40, N_PEERS = 20 };

static unsigned char *shared, *reserved;

/* Where page i is: no neighbours, spread over all of it, the first and the last among them. */
static size_t where(int i)
{
	return i == 0 ? 0 : (size_t)i * (TIB / (N_PAGES - 1)) / PAGE * PAGE - PAGE;
}

static void fill(unsigned char *base, int i)
{
	uint64_t v = job_next((uint64_t)i + 1);

	for (size_t k = 0; k < PAGE; k += 8)
		memcpy(base + where(i) + k, &v, 8);
}

static void verify(const char *name, const unsigned char *base, int i)
{
	uint64_t v = job_next((uint64_t)i + 1), is;

	for (size_t k = 0; k < PAGE; k += 8) {
		memcpy(&is, base + where(i) + k, 8);
		CHECKF(is == v, "%s: page %d has another content", name, i);
	}
}

static unsigned char *map(int flags)
{
	unsigned char *p = mmap(NULL, TIB, PROT_READ | PROT_WRITE,
				flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED && !madvise(p, TIB, MADV_NOHUGEPAGE));
	return p;
}

/* Rss and Swap of a mapping, in pages. */
static unsigned long resident(const unsigned char *base)
{
	unsigned long sum = 0;
	char line[400];
	bool in = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		char *end;
		unsigned long start = strtoul(line, &end, 16);

		if (*end == '-')
			in = start == (uintptr_t)base;
		else if (in && (!strncmp(line, "Rss:", 4) || !strncmp(line, "Swap:", 5)))
			sum += strtoul(strchr(line, ':') + 1, NULL, 10) * 1024 / PAGE;
	}
	fclose(f);
	return sum;
}

/* A dump amid the reading leaves half of a table that is another one now: asked anew. */
static void check_resident(const char *name, const unsigned char *base, unsigned long least)
{
	unsigned long n = resident(base);

	for (int i = 0; i < 3 && (n < least || n > N_PAGES); i++)
		n = resident(base);
	CHECKF(n >= least && n <= N_PAGES, "%lu %s pages", n, name);
}

/* One page in its window. */
static void check_window(int i)
{
	static unsigned char vec[2 * WINDOW / PAGE];
	size_t from = where(i) > WINDOW ? where(i) - WINDOW : 0, n = 0;
	size_t len = TIB - from < 2 * WINDOW ? TIB - from : 2 * WINDOW;

	CHECK(!mincore(shared + from, len, vec));
	for (size_t k = 0; k < len / PAGE; k++)
		n += vec[k] & 1;
	CHECKF(n <= 1, "%zu pages around page %d, which is alone", n, i);
}

static void check(void)
{
	for (int i = 0; i < N_PAGES; i++)
		check_window(i);
	for (int i = 0; i < N_PAGES; i++) {
		/* those of the peers are looked at by peers: here they are not even mapped */
		if (i >= N_PEERS)
			verify("shared", shared, i);
		verify("private", reserved, i);
	}
	check_resident("private", reserved, N_PAGES);
	check_resident("shared", shared, 0);
}

/* A child for some of the pages, which ends. */
static void peer(bool write)
{
	pid_t pid = fork();
	int st;

	CHECK(pid >= 0);
	if (!pid) {
		for (int i = 0; i < N_PEERS; i++) {
			if (write)
				fill(shared, i);
			verify("shared, of a child", shared, i);
		}
		_exit(5);
	}
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 5);
}

int main(void)
{
	uint64_t h = 3;

	job_begin(400);
	shared = map(MAP_SHARED);
	reserved = map(MAP_PRIVATE);
	for (int i = 0; i < N_PAGES; i++) {
		if (i >= N_PEERS)
			fill(shared, i);
		fill(reserved, i);
	}
	peer(true);
	for (uint64_t round = 0; job_more(); round++) {
		check();
		if (round % 16 == 0)
			peer(false);
		/* no effect where there is no swap */
		if (round % 4 == 0)
			(void)madvise(shared, TIB, MADV_PAGEOUT);
		h = job_chain(h, 300000);
	}
	return job_end("sparse", h);
}
