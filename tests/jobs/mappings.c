// SPDX-License-Identifier: Apache-2.0
/*
 * Memory with properties of its own: guard regions, what is locked now and later, droppable memory,
 * mappings that reach beyond the end of their file. Looked at by touching it, and in smaps.
 */
#include <setjmp.h>
#include <signal.h>

#include "job.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#define ADVICE_GUARD 102 /* v6.13 */

enum { PAGE = 4096 };

static sigjmp_buf back;
static volatile char *guarded, *droppable, *on_fault, *private_file, *shared_file;
static bool has_guards, has_droppable;

static void jump(int sig)
{
	siglongjmp(back, sig);
}

/* 0, or the signal that it gives. */
static int touch(volatile char *p)
{
	int sig = sigsetjmp(back, 1);

	if (!sig)
		(void)*p;
	return sig;
}

/* Does a mapping have this flag in smaps? */
static bool has_flag(volatile char *at, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;
	char line[512], *rest;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start = strtoul(line, &rest, 16);

		if (rest > line && *rest == '-')
			here = start <= (unsigned long)at &&
			       (unsigned long)at < strtoul(rest + 1, NULL, 16);
		else if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag) != NULL;
	}
	fclose(f);
	return found;
}

static volatile char *map(size_t pages, int flags, int fd)
{
	void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void begin(void)
{
	int fd = open("mappings.data", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	CHECK(fd >= 0 && !ftruncate(fd, PAGE + 100));
	signal(SIGSEGV, jump);
	signal(SIGBUS, jump);
	guarded = map(8, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset((void *)guarded, 1, 8 * PAGE);
	has_guards = !madvise((void *)(guarded + 2 * PAGE), 3 * PAGE, ADVICE_GUARD);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	has_droppable = p != MAP_FAILED && has_flag(p, " dp");
	droppable = p;
	private_file = map(3, MAP_PRIVATE, fd);
	shared_file = map(3, MAP_SHARED, fd);
	private_file[PAGE] = 5;
	close(fd);
	on_fault = map(16, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	CHECK(!syscall(SYS_mlock2, on_fault, 16 * PAGE, MLOCK_ONFAULT));
	on_fault[3 * PAGE] = 7;
	CHECK(!mlockall(MCL_FUTURE | MCL_ONFAULT));
}

static void check(void)
{
	volatile char *p = map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	CHECK(has_flag(p, " lo") && has_flag(p, " lf"));
	CHECK(!munmap((void *)p, PAGE));
	CHECK(has_flag(on_fault, " lo") && has_flag(on_fault, " lf") && on_fault[3 * PAGE] == 7);
	CHECK(!has_flag(guarded, " lo"));
	for (int i = 0; i < 8; i++)
		CHECKF(touch(guarded + i * PAGE) == (has_guards && i >= 2 && i < 5 ? SIGSEGV : 0),
		       "page %d beside a guard", i);
	CHECK(guarded[PAGE] == 1 && guarded[5 * PAGE] == 1);
	CHECK(!has_droppable || has_flag(droppable, " dp"));
	CHECK(private_file[PAGE] == 5 && touch(private_file + 2 * PAGE) == SIGBUS);
	CHECK(!touch(shared_file + PAGE + 200) && touch(shared_file + 2 * PAGE) == SIGBUS);
}

int main(void)
{
	uint64_t x = 6;

	begin();
	job_begin(500);
	while (job_more()) {
		x = job_chain(x, 200000);
		check();
	}
	return job_end("mappings", x);
}
