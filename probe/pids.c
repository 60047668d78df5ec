// SPDX-License-Identifier: Apache-2.0
/*
 * Which pid numbers are taken. A number is taken as long as a task, a process group or a session
 * uses it (struct pid is one for all of them), so an exited leader's number is not free either.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

/* "sleep (uid 1001)" */
static char *holder(pid_t pid)
{
	CK_AUTO(fd) int dir = proc_open_pid(pid);
	struct proc_stat stat;
	struct stat st;
	char *s = NULL;

	if (dir < 0 || proc_read_stat(dir, &stat, NULL) < 0)
		return NULL;
	if (fstat(dir, &st) < 0)
		return strdup(stat.comm);
	if (asprintf(&s, "%s%s (uid %u)", stat.state == 'Z' ? "the zombie of " : "", stat.comm,
		     st.st_uid) < 0)
		return NULL;
	return s;
}

static bool signal_reaches(pid_t pid)
{
	return kill(pid, 0) == 0 || errno == EPERM;
}

static CkptPidFact *look(uint32_t pid)
{
	CkptPidFact *f = CK_PB_NEW(CkptPidFact, ckpt_pid_fact);

	if (!f)
		return NULL;
	f->pid = pid;
	if (!pid || pid > INT32_MAX)
		return f;
	f->by = holder((pid_t)pid);
	if (f->by) {
		f->taken = true;
	} else if (signal_reaches((pid_t)pid)) { /* /proc may hide it */
		f->taken = true;
		f->by = strdup("a process that /proc does not show");
	} else if (pid > 1 && signal_reaches(-(pid_t)pid)) {
		f->taken = true;
		f->by = strdup("a process group");
	}
	return f;
}

int probe_pids(CkptFacts *facts, const uint32_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CkptPidFact *f = look(pids[i]);

		if (!f || ck_pb_append(&facts->pids, &facts->n_pids, f) < 0) {
			if (f)
				ckpt_pid_fact__free_unpacked(f, NULL);
			return -ENOMEM;
		}
	}
	return 0;
}

/* As RLIMIT_NPROC counts: threads, zombies too. What is not dumpable seems to be root's. */
void probe_user_tasks(CkptFacts *facts)
{
	CK_AUTO(dir) DIR *proc = opendir("/proc");
	const struct dirent *e;
	uint32_t n = 0;

	if (!proc)
		return;
	while ((e = readdir(proc))) {
		CK_AUTO(fd) int dir = -EBADF;
		struct proc_stat stat;
		struct stat st;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
		    fstatat(dirfd(proc), e->d_name, &st, 0) < 0 || st.st_uid != geteuid())
			continue;
		dir = openat(dirfd(proc), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0 && proc_read_stat(dir, &stat, NULL) == 0)
			n += (uint32_t)stat.num_threads;
	}
	facts->priv->has_user_tasks = true;
	facts->priv->user_tasks = n;
}
