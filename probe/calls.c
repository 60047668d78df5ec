// SPDX-License-Identifier: Apache-2.0
/*
 * Features that a task tries on itself and that leave it as it was. Runs in a child all the same
 * (probe_in_child()): a seccomp filter may kill who asks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/auto.h"
#include "probe/probe-internal.h"

/* What the C library's headers may be too old for; from the kernel's uapi headers. */
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif

enum {
	DUPFD_QUERY = 1024 + 3,      /* fcntl.h, v6.10 */
	KCMP_TYPE_EPOLL_TFD = 7,     /* kcmp.h, v4.13 */
	LANDLOCK_VERSION = 1,        /* landlock.h, v5.13 */
	CPUID_SET = 0x1012,          /* asm/prctl.h, v4.12 */
	XCOMP_GET_PERM = 0x1022,     /* asm/prctl.h, v5.16 */
	SHSTK_STATUS = 0x5005,       /* asm/prctl.h, v6.6 */
	UFFD_USER_FAULTS_ONLY = 1,   /* userfaultfd.h, v5.11 */
	UFFD_WP_ASYNC_BIT = 1 << 15, /* userfaultfd.h, v6.7 */
	UFFD_VERSION = 0xaa,
};

/* fs.h, v6.11 */
struct map_query {
	uint64_t size, flags, addr, start, end, vma_flags, page_size, offset, inode;
	uint32_t major, minor, name_size, build_id_size;
	uint64_t name, build_id;
};
#define MAP_QUERY_IOCTL _IOWR('f', 17, struct map_query)
#define TICKS_IOCTL _IOW('T', 0, uint64_t)

/* userfaultfd.h */
struct uffd_api {
	uint64_t api, features, ioctls;
};
#define UFFD_API_IOCTL _IOWR(0xaa, 0x3f, struct uffd_api)

static void try_maps_query(struct probe_answers *p)
{
	CK_AUTO(fd) int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct map_query q = { .size = sizeof(q), .addr = (uintptr_t)&q };
	int r;

	if (fd < 0) {
		probe_unknown(p, PROBE_MAPS_QUERY, "/proc/self/maps can't be opened");
		return;
	}
	r = ioctl(fd, MAP_QUERY_IOCTL, &q);
	if (r == 0 && (q.start > q.addr || q.end <= q.addr))
		probe_no(p, PROBE_MAPS_QUERY, 0, "ioctl PROCMAP_QUERY told of another mapping");
	else
		probe_result(p, PROBE_MAPS_QUERY, r, "ioctl PROCMAP_QUERY");
}

static void try_page(struct probe_answers *p, char *page, size_t size)
{
	CK_AUTO(fd) int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;
	void *again;

	page[0] = 1;
	if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / size * 8)) != 8)
		probe_unknown(p, PROBE_SOFT_DIRTY, "/proc/self/pagemap can't be read");
	else if (entry >> 55 & 1)
		probe_yes(p, PROBE_SOFT_DIRTY);
	else
		probe_no(p, PROBE_SOFT_DIRTY, 0, "a page just written is not marked");
	/* Older kernels take the address for a hint. */
	again = mmap(page, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		     0);
	if (again == MAP_FAILED && errno == EEXIST)
		probe_yes(p, PROBE_FIXED_NOREPLACE);
	else
		probe_no(p, PROBE_FIXED_NOREPLACE, again == MAP_FAILED ? errno : 0,
			 "mmap MAP_FIXED_NOREPLACE");
	probe_result(p, PROBE_VMA_NAME,
		     prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, page, size, "ckpt-probe"),
		     "prctl PR_SET_VMA_ANON_NAME");
}

static void try_memory(struct probe_answers *p)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	CK_AUTO(fd) int secret = -EBADF;
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page != MAP_FAILED)
		try_page(p, page, size);
	probe_result(p, PROBE_MSEAL, syscall(SYS_mseal, 0, 0, 0), "mseal");
	secret = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	probe_result(p, PROBE_MEMFD_SECRET, secret, "memfd_secret");
}

static void try_files(struct probe_answers *p)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	CK_AUTO(fd) int root = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));
	CK_AUTO(fd) int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t ticks = 1;
	int r;

	probe_result(p, PROBE_OPENAT2, root, "openat2");
	r = fcntl(STDERR_FILENO, DUPFD_QUERY, STDERR_FILENO);
	/* EBADF: we have no such descriptor, but the kernel knows the call. */
	probe_result(p, PROBE_DUPFD_QUERY, r < 0 && errno == EBADF ? 0 : r, "fcntl F_DUPFD_QUERY");
	r = (int)syscall(SYS_kcmp, getpid(), getpid(), KCMP_TYPE_EPOLL_TFD, 0, NULL);
	probe_result(p, PROBE_KCMP_EPOLL, r < 0 && errno == EFAULT ? 0 : r, "kcmp KCMP_EPOLL_TFD");
	if (timer >= 0)
		probe_result(p, PROBE_TIMERFD_TICKS, ioctl(timer, TICKS_IOCTL, &ticks),
			     "ioctl TFD_IOC_SET_TICKS");
	r = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
	probe_result(p, PROBE_LANDLOCK, r, "landlock_create_ruleset");
}

static void try_machine(struct probe_answers *p)
{
#if defined(__x86_64__)
	uint64_t v = 0;

	probe_result(p, PROBE_CPUID_FAULT, syscall(SYS_arch_prctl, CPUID_SET, 1),
		     "arch_prctl ARCH_SET_CPUID");
	probe_result(p, PROBE_XCOMP_PERM, syscall(SYS_arch_prctl, XCOMP_GET_PERM, &v),
		     "arch_prctl ARCH_GET_XCOMP_PERM");
	probe_result(p, PROBE_SHSTK, syscall(SYS_arch_prctl, SHSTK_STATUS, &v),
		     "arch_prctl ARCH_SHSTK_STATUS");
#else
	probe_unknown(p, PROBE_CPUID_FAULT, "not tried on this architecture");
	probe_unknown(p, PROBE_XCOMP_PERM, "not tried on this architecture");
	probe_unknown(p, PROBE_SHSTK, "not tried on this architecture");
#endif
}

static void try_uffd(struct probe_answers *p)
{
	struct uffd_api api = { .api = UFFD_VERSION, .features = UFFD_WP_ASYNC_BIT };
	CK_AUTO(fd) int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	/* Without privilege it may be for faults of user mode only
	 * (vm.unprivileged_userfaultfd). */
	if (fd < 0 && errno == EPERM)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_FAULTS_ONLY);
	probe_result(p, PROBE_USERFAULTFD, fd, "userfaultfd");
	if (fd < 0)
		probe_unknown(p, PROBE_UFFD_WP_ASYNC, "not tried, without userfaultfd");
	else
		probe_result(p, PROBE_UFFD_WP_ASYNC, ioctl(fd, UFFD_API_IOCTL, &api),
			     "ioctl UFFDIO_API");
}

void probe_tcp_repair(struct probe_answers *p, enum probe_fact f)
{
	CK_AUTO(fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		probe_unknown(p, f, "there are no TCP sockets");
	else
		probe_result(p, f, setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)),
			     "setsockopt TCP_REPAIR");
}

static void try_sockets(struct probe_answers *p)
{
	CK_AUTO(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int off = 0;

	if (fd < 0)
		probe_unknown(p, PROBE_PEEK_OFF, "there are no UNIX sockets");
	else
		probe_result(p, PROBE_PEEK_OFF,
			     setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)),
			     "setsockopt SO_PEEK_OFF");
	probe_tcp_repair(p, PROBE_TCP_REPAIR);
}

static void try_map_files(struct probe_answers *p)
{
	DIR *d = opendir("/proc/self/map_files");
	CK_AUTO(fd) int fd = -EBADF;
	struct dirent *e;

	if (!d) {
		probe_no(p, PROBE_MAP_FILES, errno, "open /proc/PID/map_files");
		return;
	}
	do {
		e = readdir(d);
	} while (e && e->d_name[0] == '.');
	if (e) {
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		probe_result(p, PROBE_MAP_FILES, fd, "open /proc/PID/map_files/RANGE");
	}
	closedir(d);
}

static void try_io_uring(struct probe_answers *p)
{
	char params[120] = ""; /* struct io_uring_params */
	long r = syscall(SYS_io_uring_setup, 0, params);

	/* No entries are EINVAL for whoever may have a ring (io_uring/io_uring.c:
	 * io_uring_setup()). */
	probe_result(p, PROBE_IO_URING, r < 0 && errno == EINVAL ? 0 : r, "io_uring_setup");
}

void probe_calls(struct probe_answers *p)
{
	try_maps_query(p);
	try_memory(p);
	try_files(p);
	try_machine(p);
	try_uffd(p);
	try_sockets(p);
	try_map_files(p);
	try_io_uring(p);
	probe_kernel(p); /* spoils the child: last */
}
