// SPDX-License-Identifier: Apache-2.0
/*
 * Every kind of mapping that is to survive, with known contents: private and shared anonymous
 * memory, memory that stays shared copy-on-write with a child, PROT_NONE with contents, read-
 * only, executable, the heap, a deep stack, private and shared file mappings, huge and sparse
 * ones, and the madvise flags as smaps shows them.
 */
#include "job.h"

#define PAGE 4096ul
#define KIB 1024ul
#define MIB (1024ul * KIB)
#define COW_SIZE (4 * MIB)

struct region {
	const char *name;
	size_t size;
	unsigned char *at;
	const char *vmflag; /* as smaps names the advice */
	int flags, advice;
	bool hidden; /* made PROT_NONE after it was filled */
};

/* clang-format off */
static struct region regions[] = {
	{ "private", 3 * MIB, NULL, NULL, MAP_PRIVATE, 0, false },
	{ "shared", MIB, NULL, NULL, MAP_SHARED, 0, false },
	{ "none", 64 * KIB, NULL, NULL, MAP_PRIVATE, 0, true },
	{ "none-shared", 64 * KIB, NULL, NULL, MAP_SHARED, 0, true },
	{ "noreserve", 64 * KIB, NULL, "nr", MAP_PRIVATE | MAP_NORESERVE, 0, false },
	{ "dontfork", 64 * KIB, NULL, "dc", MAP_PRIVATE, MADV_DONTFORK, false },
	{ "dontdump", 64 * KIB, NULL, "dd", MAP_PRIVATE, MADV_DONTDUMP, false },
	{ "wipeonfork", 64 * KIB, NULL, "wf", MAP_PRIVATE, MADV_WIPEONFORK, false },
	{ "hugepage", 4 * MIB, NULL, "hg", MAP_PRIVATE, MADV_HUGEPAGE, false },
	{ "nohugepage", 64 * KIB, NULL, "nh", MAP_PRIVATE, MADV_NOHUGEPAGE, false },
	{ "sequential", 64 * KIB, NULL, "sr", MAP_PRIVATE, MADV_SEQUENTIAL, false },
	{ "random", 64 * KIB, NULL, "rr", MAP_PRIVATE, MADV_RANDOM, false },
};
/* clang-format on */
#define N_REGIONS (sizeof(regions) / sizeof(regions[0]))

static unsigned char *cow, *sparse, *file_private, *file_shared, *heap, *unlinked;
static uint64_t (*code)(void);
static const size_t file_size = 256 * KIB, sparse_size = 1024 * MIB;

static void fill(unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = job_next(seed + i);

		memcpy(p + i, &v, 8);
	}
}

static void verify(const char *name, const unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = job_next(seed + i), is;

		memcpy(&is, p + i, 8);
		CHECKF(is == v, "%s differs at offset %zu of %zu", name, i, len);
	}
}

static void *map(void *at, size_t len, int prot, int flags, int fd)
{
	void *p = mmap(at, len, prot, flags, fd, 0);

	CHECKF(p != MAP_FAILED, "mmap of %zu bytes", len);
	return p;
}

/* A line that starts a mapping, "7f00-7f10 rw-p ...", and whether addr is in it. */
static bool smaps_head(const char *line, const void *addr, bool *ret_inside)
{
	char *end;
	unsigned long from = strtoul(line, &end, 16), to;

	if (end == line || *end != '-')
		return false;
	to = strtoul(end + 1, NULL, 16);
	*ret_inside = from <= (unsigned long)addr && (unsigned long)addr < to;
	return true;
}

/* One field of the smaps entry that addr lies in: its text after the colon. */
static bool smaps_field(const void *addr, const char *field, char *buf, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	size_t n = strlen(field);
	char line[512];

	CHECK(f);
	while (!found && fgets(line, sizeof(line), f))
		if (!smaps_head(line, addr, &inside) && inside && !strncmp(line, field, n) &&
		    line[n] == ':')
			found = snprintf(buf, len, "%s", line + n + 1) > 0;
	CHECK(!fclose(f));
	return found;
}

static unsigned long smaps_kib(const void *addr, const char *field)
{
	char buf[128];

	CHECKF(smaps_field(addr, field, buf, sizeof(buf)), "no %s in smaps", field);
	return strtoul(buf, NULL, 10);
}

static void check_vmflag(const struct region *r)
{
	char buf[256], want[8];

	snprintf(want, sizeof(want), " %s ", r->vmflag);
	CHECK(smaps_field(r->at, "VmFlags", buf, sizeof(buf)));
	CHECKF(strstr(buf, want), "%s: no flag %s in%s", r->name, r->vmflag, buf);
}

static void setup_regions(void)
{
	for (size_t i = 0; i < N_REGIONS; i++) {
		struct region *r = &regions[i];

		r->at = map(NULL, r->size, PROT_READ | PROT_WRITE, r->flags | MAP_ANONYMOUS, -1);
		if (r->advice && madvise(r->at, r->size, r->advice))
			r->vmflag = NULL; /* not in this kernel */
		fill(r->at, r->size, i * 1000);
		if (r->hidden)
			CHECK(!mprotect(r->at, r->size, PROT_NONE));
	}
}

static void check_regions(uint64_t round)
{
	for (size_t i = 0; i < N_REGIONS; i++) {
		struct region *r = &regions[i];

		if (r->hidden && round % 16)
			continue;
		if (r->hidden)
			CHECK(!mprotect(r->at, r->size, PROT_READ | PROT_WRITE));
		verify(r->name, r->at, r->size, i * 1000);
		if (r->hidden)
			CHECK(!mprotect(r->at, r->size, PROT_NONE));
		if (r->vmflag && round % 16 == 0)
			check_vmflag(r);
	}
}

static void setup_files(void)
{
	int fd = open("memory.data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), fd2;
	unsigned char *buf = malloc(file_size);

	CHECK(fd >= 0 && buf);
	fill(buf, file_size, 77);
	CHECK(write(fd, buf, file_size) == (ssize_t)file_size);
	file_private = map(NULL, file_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	file_shared = map(NULL, file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	CHECK(!close(fd));
	/* Every second page of the private one is our own now. */
	for (size_t i = 0; i < file_size; i += 2 * PAGE)
		fill(file_private + i, PAGE, i);
	fd2 = open("memory.gone", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd2 >= 0 && write(fd2, buf, file_size) == (ssize_t)file_size);
	unlinked = map(NULL, file_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd2);
	fill(unlinked, PAGE, 5);
	CHECK(!unlink("memory.gone") && !close(fd2));
	free(buf);
}

static void check_files(void)
{
	for (size_t i = 0; i < file_size; i += 2 * PAGE) {
		verify("private file mapping, written", file_private + i, PAGE, i);
		verify("private file mapping, untouched", file_private + i + PAGE, PAGE,
		       77 + i + PAGE);
	}
	verify("unlinked file mapping, written", unlinked, PAGE, 5);
	verify("unlinked file mapping, untouched", unlinked + PAGE, file_size - PAGE, 77 + PAGE);
	verify("shared file mapping", file_shared + PAGE, file_size - PAGE, 77 + PAGE);
}

/* What is written through the shared file mapping must be in the file itself. */
static void through_file(uint64_t round)
{
	uint64_t back = 0;
	int fd;

	memcpy(file_shared, &round, sizeof(round));
	fd = open("memory.data", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, &back, sizeof(back)) == sizeof(back) && !close(fd));
	CHECK(back == round);
}

static void setup_others(void)
{
	/* mov $0x1234567, %eax; ret */
	static const unsigned char insn[] = { 0xb8, 0x67, 0x45, 0x23, 0x01, 0xc3 };
	unsigned char *p = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memcpy(p, insn, sizeof(insn));
	CHECK(!mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	code = (uint64_t(*)(void))(uintptr_t)p;
	sparse = map(NULL, sparse_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	for (size_t i = 0; i < sparse_size; i += 64 * MIB)
		fill(sparse + i, PAGE, i);
	heap = sbrk(0);
	CHECK(sbrk(200 * KIB) == heap);
	fill(heap, 200 * KIB, 1);
}

static void check_others(uint64_t round)
{
	CHECK(code() == 0x1234567);
	for (size_t i = 0; i < sparse_size; i += 64 * MIB) {
		verify("sparse", sparse + i, PAGE, i);
		CHECK(sparse[i + 32 * MIB] == 0);
	}
	verify("heap", heap, 200 * KIB, 1);
	/* The end of the heap is where it was, and moves as it used to. */
	CHECK(sbrk(0) == heap + 200 * KIB);
	CHECK(sbrk(64 * KIB) == heap + 200 * KIB);
	memset(heap + 200 * KIB, (int)round, 64 * KIB);
	CHECK(sbrk(-(intptr_t)(64 * KIB)) == heap + 264 * KIB);
}

static __attribute__((noinline)) uint64_t deep(unsigned int depth, uint64_t seed)
{
	volatile uint64_t frame[64];
	uint64_t below;

	for (int i = 0; i < 64; i++)
		frame[i] = seed + i;
	below = depth ? deep(depth - 1, job_next(seed)) : job_chain(seed, 200000);
	for (int i = 0; i < 64; i++)
		CHECK(frame[i] == seed + i);
	return below;
}

/* wf and dc act when the process forks: the child looks. */
static void check_fork_advice(void)
{
	pid_t pid = fork();
	int st;

	CHECK(pid >= 0);
	if (!pid) {
		struct region *r = NULL;

		for (size_t i = 0; i < N_REGIONS; i++)
			if (!strcmp(regions[i].name, "wipeonfork") && regions[i].vmflag)
				r = &regions[i];
		for (size_t i = 0; r && i < r->size; i++)
			CHECK(r->at[i] == 0);
		_exit(0);
	}
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
}

/* The child holds the copy-on-write region too, and looks at it, until the pipe ends. */
static pid_t cow_child(int in, int out)
{
	pid_t pid = fork();
	char c;

	CHECK(pid >= 0);
	if (pid) {
		close(in);
		return pid;
	}
	close(out);
	while (read(in, &c, 1) == 1)
		verify("copy-on-write, child", cow, COW_SIZE, 4711);
	_exit(9);
}

static void check_cow(uint64_t round)
{
	unsigned long shared, private;

	verify("copy-on-write", cow, COW_SIZE, 4711);
	if (round % 8)
		return;
	shared = smaps_kib(cow, "Shared_Dirty") + smaps_kib(cow, "Shared_Clean");
	private = smaps_kib(cow, "Private_Dirty") + smaps_kib(cow, "Private_Clean");
	CHECKF(shared + private >= COW_SIZE / KIB && private <= COW_SIZE / KIB / 64,
	       "copy-on-write memory is no longer shared: %lu KiB shared, %lu private", shared,
	       private);
}

int main(void)
{
	uint64_t h = 1;
	int p[2], st;
	pid_t pid;

	job_begin(800);
	cow = map(NULL, COW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(cow, COW_SIZE, 4711);
	setup_regions();
	setup_files();
	setup_others();
	CHECK(!pipe(p));
	pid = cow_child(p[0], p[1]);
	for (uint64_t round = 0; job_more(); round++) {
		check_regions(round);
		check_files();
		through_file(round);
		check_others(round);
		check_cow(round);
		h = deep(200, h);
		if (round % 4 == 0)
			check_fork_advice();
		if (round % 4 == 0)
			CHECK(write(p[1], "x", 1) == 1);
	}
	close(p[1]);
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 9);
	return job_end("memory", h);
}
