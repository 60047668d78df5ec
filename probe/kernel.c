// SPDX-License-Identifier: Apache-2.0
/*
 * Features that a task tries on itself. Runs in a child of its own (probe_in_child()), which may
 * spoil its address space: after the vDSO was moved only raw system calls are made.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "probe/probe-internal.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77 /* uapi/linux/prctl.h, v6.15 */
#define PR_TIMER_CREATE_RESTORE_IDS_OFF 0
#define PR_TIMER_CREATE_RESTORE_IDS_ON 1
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* uapi/linux/mman.h, v6.11 */
#endif

/* uapi/linux/fs.h, v6.7 */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_PRESENT (1 << 3)

static void try_pagemap_scan(struct probe_answers *p)
{
	CK_AUTO(fd) int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct scan_region region = { 0 };
	struct scan_arg arg = { .size = sizeof(arg),
				.vec = (uintptr_t)&region,
				.vec_len = 1,
				.category_anyof_mask = SCAN_PRESENT,
				.return_mask = SCAN_PRESENT };
	char *m;
	long r;

	if (fd < 0) {
		probe_no(p, PROBE_PAGEMAP_SCAN, errno, "open /proc/PID/pagemap");
		return;
	}
	m = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return;
	m[0] = 1;
	arg.start = (uintptr_t)m;
	arg.end = arg.start + page;
	r = ioctl(fd, SCAN_IOCTL, &arg);
	if (r == 1 && region.start == arg.start && region.end == arg.end)
		probe_yes(p, PROBE_PAGEMAP_SCAN);
	else
		probe_no(p, PROBE_PAGEMAP_SCAN, r < 0 ? errno : 0, "ioctl PAGEMAP_SCAN");
}

static void try_timer_ids(struct probe_answers *p)
{
	struct sigevent ev = { .sigev_notify = SIGEV_NONE };
	int id = 4711, r;

	r = prctl(PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_ON, 0, 0, 0);
	if (r == 0) {
		r = (int)syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id);
		if (r == 0 && id != 4711) {
			probe_no(p, PROBE_TIMER_IDS, 0, "the timer got another id");
			return;
		}
	}
	probe_result(p, PROBE_TIMER_IDS, r, "prctl PR_TIMER_CREATE_RESTORE_IDS");
}

static void try_mm_map(struct probe_answers *p)
{
	struct prctl_mm_map map;
	unsigned int size = 0;
	int r;

	/* The size query is there only with CONFIG_CHECKPOINT_RESTORE
	 * (kernel/sys.c:prctl_set_mm()). */
	if (prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) < 0) {
		probe_no(p, PROBE_MM_MAP, errno, "prctl PR_SET_MM_MAP_SIZE");
		return;
	}
	if (probe_own_mm_map(&map) < 0)
		return;
	r = prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
	probe_result(p, PROBE_MM_MAP, r, "prctl PR_SET_MM_MAP");
}

static void try_files(struct probe_answers *p)
{
	CK_AUTO(fd) int timers = -EBADF;
	CK_AUTO(fd) int pidfd = -EBADF;
	CK_AUTO(fd) int memfd = -EBADF;
	long r;

	timers = open("/proc/self/timers", O_RDONLY | O_CLOEXEC);
	probe_result(p, PROBE_PROC_TIMERS, timers, "open /proc/PID/timers");
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	probe_result(p, PROBE_PIDFD_OPEN, pidfd, "pidfd_open");
	memfd = (int)syscall(SYS_memfd_create, "ckpt-probe", MFD_CLOEXEC);
	probe_result(p, PROBE_MEMFD, memfd, "memfd_create");
	/* Above any descriptor there is: closes nothing. */
	r = syscall(SYS_close_range, 0x7ffffff0, 0x7fffffff, 0);
	probe_result(p, PROBE_CLOSE_RANGE, r, "close_range");
}

static void try_mappings(struct probe_answers *p)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *m = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	int r;

	probe_result(p, PROBE_MAP_DROPPABLE, m == MAP_FAILED ? -1 : 0, "mmap MAP_DROPPABLE");
	/* A wrong length is EINVAL for whoever knows the call, registered or not. */
	r = (int)syscall(SYS_rseq, NULL, 0, 0, 0);
	if (r < 0 && errno == EINVAL)
		r = 0;
	probe_result(p, PROBE_RSEQ, r, "rseq");
}

/* Last: glibc's pointers into the vDSO are stale afterwards. */
static void try_move_vdso(struct probe_answers *p)
{
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!vdso) {
		probe_no(p, PROBE_MREMAP_VDSO, 0, "there is no vDSO");
		return;
	}
	/* A part of the area is EINVAL (arch/x86/entry/vdso/vma.c:vdso_mremap()), so the attempt
	 * grows until it is the whole. */
	for (size_t n = 1; n <= 8; n++) {
		void *room = mmap(NULL, n * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (room == MAP_FAILED)
			return;
		if (syscall(SYS_mremap, vdso, n * page, n * page, MREMAP_MAYMOVE | MREMAP_FIXED,
			    room) >= 0) {
			probe_yes(p, PROBE_MREMAP_VDSO);
			return;
		}
	}
	probe_no(p, PROBE_MREMAP_VDSO, errno, "mremap of the vDSO");
}

void probe_kernel(struct probe_answers *p)
{
	try_pagemap_scan(p);
	try_files(p);
	try_mappings(p);
	try_mm_map(p);
	try_timer_ids(p);
	try_move_vdso(p);
}
