// SPDX-License-Identifier: Apache-2.0
/*
 * Experiments in children. A child writes its answers into the shared mapping and is gone
 * afterwards, however it ends: by itself, by SIGALRM when it hangs, or with us (PR_SET_PDEATHSIG).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum { CHILD_SECONDS = 5 };

void probe_yes(struct probe_answers *p, enum probe_fact f)
{
	p->a[f].value = CKPT_TRISTATE__CKPT_YES;
	p->a[f].detail[0] = '\0';
}

static bool says_nothing(int error)
{
	return error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE ||
	       error == EINTR || error == EIO;
}

void probe_no(struct probe_answers *p, enum probe_fact f, int error, const char *what)
{
	p->a[f].value = says_nothing(error) ? CKPT_TRISTATE__CKPT_UNKNOWN : CKPT_TRISTATE__CKPT_NO;
	snprintf(p->a[f].detail, sizeof(p->a[f].detail), "%s%s%s", what, error ? ": " : "",
		 error ? strerror(error) : "");
}

void probe_unknown(struct probe_answers *p, enum probe_fact f, const char *why)
{
	p->a[f].value = CKPT_TRISTATE__CKPT_UNKNOWN;
	snprintf(p->a[f].detail, sizeof(p->a[f].detail), "%s", why);
}

void probe_result(struct probe_answers *p, enum probe_fact f, long r, const char *what)
{
	if (r >= 0)
		probe_yes(p, f);
	else
		probe_no(p, f, errno, what);
}

int probe_own_mm_map(struct prctl_mm_map *ret)
{
	/* Not by number: /proc may be that of an outer pid namespace. */
	CK_AUTO(fd) int dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct proc_stat s;
	int r = dir < 0 ? -errno : proc_read_stat(dir, &s, NULL);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->start_code = s.start_code;
	ret->end_code = s.end_code;
	ret->start_data = s.start_data;
	ret->end_data = s.end_data;
	ret->start_brk = s.start_brk;
	ret->brk = (uint64_t)(uintptr_t)sbrk(0);
	ret->start_stack = s.start_stack;
	ret->arg_start = s.arg_start;
	ret->arg_end = s.arg_end;
	ret->env_start = s.env_start;
	ret->env_end = s.env_end;
	ret->exe_fd = (uint32_t)-1;
	return 0;
}

void probe_in_child(void (*fn)(struct probe_answers *p), struct probe_answers *p)
{
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(CHILD_SECONDS);
		fn(p);
		_exit(0);
	}
	/* ECHILD: the caller ignores SIGCHLD, and the kernel has waited for us. */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
