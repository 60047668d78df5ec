// SPDX-License-Identifier: Apache-2.0
/*
 * Features that a task tries on another: a child of ours that does nothing. We are its parent and
 * tracer; Yama's scope 1 allows that much, so what holds for a job that isn't our child is known
 * only when it is dumped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "probe/probe-internal.h"

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f /* uapi/linux/ptrace.h, v5.13 */
#endif
#define SUSPEND_SECCOMP (1 << 21) /* uapi/linux/ptrace.h, v4.3; not all C libraries have it */

/* glibc's enum and its variadic ptrace() know neither the newest requests nor their types. */
static long raw_ptrace(long request, pid_t pid, uintptr_t addr, void *data)
{
	return syscall(SYS_ptrace, request, pid, addr, data);
}

static void try_stopped(struct probe_answers *p, pid_t pid)
{
	struct __ptrace_peeksiginfo_args peek = { .off = 0, .nr = 1 };
	struct __ptrace_rseq_configuration rseq;
	siginfo_t info[1];
	uint64_t mask, word[11];
	long r;

	r = raw_ptrace(PTRACE_PEEKSIGINFO, pid, (uintptr_t)&peek, info);
	probe_result(p, PROBE_PTRACE_SIGINFO, r, "PTRACE_PEEKSIGINFO");
	r = raw_ptrace(PTRACE_GETSIGMASK, pid, sizeof(mask), &mask);
	probe_result(p, PROBE_PTRACE_SIGMASK, r, "PTRACE_GETSIGMASK");
	r = raw_ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, sizeof(rseq), &rseq);
	probe_result(p, PROBE_PTRACE_RSEQ, r, "PTRACE_GET_RSEQ_CONFIGURATION");
	r = raw_ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(word), word);
	probe_result(p, PROBE_PTRACE_SYSCALL_INFO, r, "PTRACE_GET_SYSCALL_INFO");
	r = raw_ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, NULL);
	/* EINVAL: it has none, which is looked at after the permission (kernel/seccomp.c:
	 * get_nth_filter()). */
	probe_result(p, PROBE_SECCOMP_FILTER, r < 0 && errno == EINVAL ? 0 : r,
		     "PTRACE_SECCOMP_GET_FILTER");
	r = raw_ptrace(PTRACE_SETOPTIONS, pid, 0, (void *)(uintptr_t)SUSPEND_SECCOMP);
	probe_result(p, PROBE_SECCOMP_SUSPEND, r, "PTRACE_O_SUSPEND_SECCOMP");
}

static void try_memory(struct probe_answers *p, pid_t pid)
{
	static const char word[8] = "witness";
	char copy[8] = "", path[64];
	struct iovec local = { copy, sizeof(copy) };
	struct iovec remote = { (void *)(uintptr_t)word, sizeof(word) };
	CK_AUTO(fd) int mem = -EBADF;
	long r;

	r = syscall(SYS_process_vm_readv, pid, &local, 1, &remote, 1, 0);
	if (r >= 0 && memcmp(copy, word, sizeof(word)))
		probe_no(p, PROBE_PROCESS_VM_READV, 0, "process_vm_readv read something else");
	else
		probe_result(p, PROBE_PROCESS_VM_READV, r, "process_vm_readv");
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	r = mem < 0 ? mem : pread(mem, copy, sizeof(copy), (off_t)(uintptr_t)word);
	probe_result(p, PROBE_PROC_MEM, r, "/proc/PID/mem");
}

static void try_descriptors(struct probe_answers *p, pid_t pid)
{
	CK_AUTO(fd) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CK_AUTO(fd) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	CK_AUTO(fd) int got = -EBADF;
	char path[64];
	long r;

	r = syscall(SYS_kcmp, getpid(), pid, KCMP_FILE, 0, 0);
	/* EBADF: we have no descriptor 0, but the kernel knows the call. */
	probe_result(p, PROBE_KCMP, r < 0 && errno == EBADF ? 0 : r, "kcmp");
	if (pidfd >= 0) {
		got = (int)syscall(SYS_pidfd_getfd, pidfd, 0, 0);
		r = got < 0 && errno == EBADF ? 0 : got;
		probe_result(p, PROBE_PIDFD_GETFD, r, "pidfd_getfd");
	} else {
		probe_no(p, PROBE_PIDFD_GETFD, errno, "pidfd_open");
	}
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	probe_result(p, PROBE_PROC_CHILDREN, access(path, R_OK), "/proc/PID/task/TID/children");
}

static void try_traced(struct probe_answers *p, pid_t pid)
{
	int status;

	if (raw_ptrace(PTRACE_SEIZE, pid, 0, NULL) < 0) {
		probe_no(p, PROBE_PTRACE_SEIZE, errno, "PTRACE_SEIZE");
		return;
	}
	if (raw_ptrace(PTRACE_INTERRUPT, pid, 0, NULL) < 0 ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) {
		probe_no(p, PROBE_PTRACE_SEIZE, errno, "PTRACE_INTERRUPT");
		return;
	}
	probe_yes(p, PROBE_PTRACE_SEIZE);
	try_stopped(p, pid);
}

void probe_other_task(struct probe_answers *p)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		for (;;)
			pause();
	}
	try_memory(p, pid);
	try_descriptors(p, pid);
	try_traced(p, pid);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}
