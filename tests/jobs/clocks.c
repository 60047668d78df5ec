// SPDX-License-Identifier: Apache-2.0
/*
 * The vDSO, by libc and by function pointers that were looked up in it at the start and kept:
 * every exported function must go on answering rightly after a restore, on whatever kernel.
 */
#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/time.h>

#include "job.h"

static int (*v_gettime)(clockid_t, struct timespec *);
static int (*v_getres)(clockid_t, struct timespec *);
static int (*v_gettimeofday)(struct timeval *, void *);
static time_t (*v_time)(time_t *);
static long (*v_getcpu)(unsigned int *, unsigned int *, void *);

static const Elf64_Dyn *dyn_find(const Elf64_Dyn *d, Elf64_Sxword tag)
{
	for (; d->d_tag != DT_NULL; d++)
		if (d->d_tag == tag)
			return d;
	return NULL;
}

/* The address of an exported function of the vDSO, whose tables lie at their file offsets. */
static void *vdso_symbol(const char *name)
{
	const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *eh = (const void *)base;
	const Elf64_Phdr *ph = (const void *)(base + eh->e_phoff);
	const Elf64_Shdr *sh = (const void *)(base + eh->e_shoff);
	const Elf64_Dyn *dyn = NULL;
	const Elf64_Sym *sym;
	const char *str;

	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(base + ph[i].p_offset);
	CHECK(dyn && dyn_find(dyn, DT_SYMTAB) && dyn_find(dyn, DT_STRTAB));
	sym = (const void *)(base + dyn_find(dyn, DT_SYMTAB)->d_un.d_ptr);
	str = base + dyn_find(dyn, DT_STRTAB)->d_un.d_ptr;
	for (int i = 0; i < eh->e_shnum; i++)
		if (sh[i].sh_type == SHT_DYNSYM)
			for (size_t j = 0; j < sh[i].sh_size / sizeof(*sym); j++)
				if (!strcmp(str + sym[j].st_name, name))
					return (void *)(uintptr_t)(base + sym[j].st_value);
	CHECKF(false, "the vDSO has no %s", name);
	return NULL;
}

static uint64_t ns(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec;
}

/* kernel <= vDSO <= kernel again, and never backwards over the whole run. */
static void check_clock(clockid_t c, bool monotonic)
{
	static uint64_t last[12];
	struct timespec a, b, l, d, r1, r2;

	CHECK(!syscall(SYS_clock_gettime, c, &a));
	CHECK(!v_gettime(c, &b));
	CHECK(!clock_gettime(c, &l));
	CHECK(!syscall(SYS_clock_gettime, c, &d));
	CHECKF(ns(&a) <= ns(&b) && ns(&b) <= ns(&l) && ns(&l) <= ns(&d),
	       "clock %d: %llu %llu %llu %llu", c, (unsigned long long)ns(&a),
	       (unsigned long long)ns(&b), (unsigned long long)ns(&l), (unsigned long long)ns(&d));
	CHECKF(!monotonic || ns(&a) >= last[c], "clock %d went back by %llu ns", c,
	       (unsigned long long)(last[c] - ns(&a)));
	last[c] = ns(&d);
	CHECK(!syscall(SYS_clock_getres, c, &r1) && !v_getres(c, &r2));
	CHECKF(ns(&r1) == ns(&r2), "resolution of clock %d", c);
}

static void check_wall(void)
{
	struct timespec a, b;
	struct timeval tv;
	time_t t;

	CHECK(!syscall(SYS_clock_gettime, CLOCK_REALTIME, &a));
	CHECK(!v_gettimeofday(&tv, NULL));
	t = v_time(NULL);
	CHECK(!syscall(SYS_clock_gettime, CLOCK_REALTIME, &b));
	CHECK(a.tv_sec <= tv.tv_sec && tv.tv_sec <= b.tv_sec);
	CHECK(a.tv_sec - 1 <= t && t <= b.tv_sec); /* time() is of the last tick */
}

static void check_cpu(void)
{
	unsigned int cpu = ~0u, node = ~0u;

	CHECK(!v_getcpu(&cpu, &node, NULL) && cpu < 8192 && node < 1024);
	CHECK(sched_getcpu() >= 0);
}

int main(void)
{
	uint64_t x = 9;

	job_begin(30000);
	v_gettime = vdso_symbol("__vdso_clock_gettime");
	v_getres = vdso_symbol("__vdso_clock_getres");
	v_gettimeofday = vdso_symbol("__vdso_gettimeofday");
	v_time = vdso_symbol("__vdso_time");
	v_getcpu = vdso_symbol("__vdso_getcpu");
	while (job_more()) {
		for (int i = 0; i < 20; i++) {
			check_clock(CLOCK_REALTIME, false);
			check_clock(CLOCK_MONOTONIC, true);
			check_clock(CLOCK_MONOTONIC_RAW, true);
			check_clock(CLOCK_REALTIME_COARSE, false);
			check_clock(CLOCK_MONOTONIC_COARSE, true);
			check_clock(CLOCK_BOOTTIME, true);
			check_wall();
			check_cpu();
		}
		x = job_chain(x, 3000);
	}
	return job_end("clocks", x);
}
