// SPDX-License-Identifier: Apache-2.0
/*
 * What a task knows about itself: ids, name, command line, environment, executable, auxiliary
 * vector, personality, limits, and the prctl settings.
 */
#include <grp.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "job.h"

static struct self {
	uid_t uid[3];
	gid_t gid[3];
	int ngroups;
	gid_t groups[64];
	pid_t pid, sid, pgid;
	char exe[4096], cmdline[4096], environ[8192], auxv[1024], comm[16];
	ssize_t auxv_len;
	int persona;
	struct rlimit limits[RLIM_NLIMITS];
	int prctls[4];
} first, now;

static ssize_t slurp(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, all = 0;

	CHECKF(fd >= 0, "open %s", path);
	while ((n = read(fd, buf + all, len - all)) > 0)
		all += n;
	close(fd);
	return all;
}

static void look(struct self *s)
{
	static const int ops[] = { PR_GET_NO_NEW_PRIVS, PR_GET_DUMPABLE, PR_GET_TIMERSLACK,
				   PR_GET_KEEPCAPS };

	memset(s, 0, sizeof(*s));
	CHECK(!getresuid(&s->uid[0], &s->uid[1], &s->uid[2]));
	CHECK(!getresgid(&s->gid[0], &s->gid[1], &s->gid[2]));
	s->ngroups = getgroups(64, s->groups);
	s->pid = getpid();
	s->sid = getsid(0);
	s->pgid = getpgid(0);
	CHECK(readlink("/proc/self/exe", s->exe, sizeof(s->exe) - 1) > 0);
	slurp("/proc/self/cmdline", s->cmdline, sizeof(s->cmdline));
	slurp("/proc/self/environ", s->environ, sizeof(s->environ));
	s->auxv_len = slurp("/proc/self/auxv", s->auxv, sizeof(s->auxv));
	CHECK(!prctl(PR_GET_NAME, s->comm));
	s->persona = personality(0xffffffff);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		CHECK(!getrlimit(i, &s->limits[i]));
	for (int i = 0; i < 4; i++)
		s->prctls[i] = prctl(ops[i], 0, 0, 0, 0);
}

static void compare(void)
{
	CHECK(!memcmp(now.uid, first.uid, sizeof(now.uid)));
	CHECK(!memcmp(now.gid, first.gid, sizeof(now.gid)));
	CHECK(now.pid == first.pid && now.sid == first.sid && now.pgid == first.pgid);
	CHECKF(!strcmp(now.exe, first.exe), "exe is %s, was %s", now.exe, first.exe);
	CHECKF(!memcmp(now.cmdline, first.cmdline, sizeof(now.cmdline)), "cmdline %s", now.cmdline);
	CHECK(!memcmp(now.environ, first.environ, sizeof(now.environ)));
	CHECK(now.auxv_len == first.auxv_len && !memcmp(now.auxv, first.auxv, now.auxv_len));
	CHECKF(!strcmp(now.comm, first.comm), "comm %s", now.comm);
	CHECKF(now.persona == first.persona, "personality %x", (unsigned int)now.persona);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		CHECKF(now.limits[i].rlim_cur == first.limits[i].rlim_cur &&
			       now.limits[i].rlim_max == first.limits[i].rlim_max,
		       "limit %d", i);
	for (int i = 0; i < 4; i++)
		CHECKF(now.prctls[i] == first.prctls[i], "prctl %d: %d, was %d", i, now.prctls[i],
		       first.prctls[i]);
}

int main(void)
{
	struct rlimit rl;
	uint64_t x = 11;

	job_begin(2000);
	CHECK(!prctl(PR_SET_NAME, "my (name) 1 S"));
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(personality(UNAME26 | ADDR_NO_RANDOMIZE) >= 0);
	CHECK(!getrlimit(RLIMIT_SIGPENDING, &rl));
	rl.rlim_cur = 777;
	CHECK(!setrlimit(RLIMIT_SIGPENDING, &rl));
	look(&first);
	CHECK(!strcmp(first.comm, "my (name) 1 S") && first.prctls[0] == 1);
	while (job_more()) {
		look(&now);
		compare();
		x = job_chain(x, 200000);
	}
	return job_end("self", x);
}
