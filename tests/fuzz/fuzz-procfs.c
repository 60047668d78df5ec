// SPDX-License-Identifier: Apache-2.0
/*
 * The parsers of /proc text on any text. The first line chooses the parser by the file's name.
 * What is parsed is walked whole; what is refused leaves nothing behind.
 */
#include <errno.h>

#include "base/procfs.h"
#include "probe/probe-internal.h"
#include "tests/fuzz/fuzz.h"

static void parse_stat(const char *text, size_t len)
{
	struct proc_stat s;

	if (proc_parse_stat(text, len, &s) == 0)
		FUZZ_ASSERT(memchr(s.comm, '\0', sizeof(s.comm)));
}

static void parse_status(const char *text, size_t len)
{
	struct proc_status s;
	uint64_t sum = 0;

	if (proc_parse_status(text, len, &s) < 0) {
		FUZZ_ASSERT(!s.groups && !s.n_groups);
		return;
	}
	for (size_t i = 0; i < s.n_groups; i++)
		sum += s.groups[i];
	FUZZ_ASSERT(sum <= s.n_groups * (uint64_t)UINT32_MAX);
	FUZZ_ASSERT(s.n_ns || s.ns_pid == s.pid);
	proc_status_done(&s);
}

static void parse_maps(const char *text, size_t len)
{
	struct proc_maps m;
	uint64_t end = 0;

	if (proc_parse_maps(text, len, &m) < 0) {
		FUZZ_ASSERT(!m.m && !m.n);
		return;
	}
	for (size_t i = 0; i < m.n; i++) {
		FUZZ_ASSERT(m.m[i].start >= end && m.m[i].end > m.m[i].start);
		FUZZ_ASSERT(strlen(m.m[i].name) <= len);
		end = m.m[i].end;
	}
	proc_maps_done(&m);
}

static void parse_fdinfo(const char *text, size_t len)
{
	struct proc_fdinfo f;

	if (proc_parse_fdinfo(text, len, &f) < 0) {
		FUZZ_ASSERT(!f.locks && !f.n_locks);
		return;
	}
	for (size_t i = 0; i < f.n_locks; i++) {
		FUZZ_ASSERT(memchr(f.locks[i].kind, '\0', sizeof(f.locks[i].kind)));
		FUZZ_ASSERT(memchr(f.locks[i].type, '\0', sizeof(f.locks[i].type)));
	}
	proc_fdinfo_done(&f);
}

static void parse_mountinfo(const char *text, size_t len)
{
	struct proc_mounts m;

	if (proc_parse_mountinfo(text, len, &m) < 0) {
		FUZZ_ASSERT(!m.m && !m.n);
		return;
	}
	for (size_t i = 0; i < m.n; i++)
		FUZZ_ASSERT(strlen(m.m[i].root) + strlen(m.m[i].point) + strlen(m.m[i].options) +
				    strlen(m.m[i].fstype) + strlen(m.m[i].source) +
				    strlen(m.m[i].super_options) <=
			    len);
	proc_mounts_done(&m);
}

static void parse_timers(const char *text, size_t len)
{
	struct proc_timers t;

	if (proc_parse_timers(text, len, &t) < 0) {
		FUZZ_ASSERT(!t.t && !t.n);
		return;
	}
	for (size_t i = 0; i < t.n; i++)
		FUZZ_ASSERT(t.t[i].id >= 0);
	proc_timers_done(&t);
}

static void parse_limits(const char *text, size_t len)
{
	struct proc_limits l;

	proc_parse_limits(text, len, &l);
}

static void parse_cgroup(const char *text, size_t len)
{
	struct proc_cgroups g;

	if (proc_parse_cgroups(text, len, &g) < 0) {
		FUZZ_ASSERT(!g.g && !g.n);
		return;
	}
	for (size_t i = 0; i < g.n; i++)
		FUZZ_ASSERT(strlen(g.g[i].controllers) + strlen(g.g[i].path) <= len);
	proc_cgroups_done(&g);
}

static void parse_listeners(const char *text, size_t len)
{
	struct proc_listeners l;

	if (proc_parse_listeners(text, len, &l) < 0) {
		FUZZ_ASSERT(!l.l && !l.n);
		return;
	}
	for (size_t i = 0; i < l.n; i++)
		FUZZ_ASSERT(l.l[i].port <= 65535);
	proc_listeners_done(&l);
}

static void parse_eventfd(const char *text, size_t len)
{
	struct proc_eventfd e;

	if (proc_parse_eventfd(text, len, &e) == 0)
		FUZZ_ASSERT(e.semaphore >= -1 && e.semaphore <= 1);
}

static void parse_epoll(const char *text, size_t len)
{
	struct proc_epoll e;

	if (proc_parse_epoll(text, len, &e) < 0) {
		FUZZ_ASSERT(!e.item && !e.n);
		return;
	}
	for (size_t i = 0; i < e.n; i++)
		FUZZ_ASSERT(e.item[i].fd >= 0);
	proc_epoll_done(&e);
}

static void parse_inotify(const char *text, size_t len)
{
	struct proc_inotify i;

	if (proc_parse_inotify(text, len, &i) < 0) {
		FUZZ_ASSERT(!i.watch && !i.n);
		return;
	}
	for (size_t k = 0; k < i.n; k++)
		FUZZ_ASSERT(i.watch[k].wd > 0 && i.watch[k].handle_len <= PROC_HANDLE_MAX);
	proc_inotify_done(&i);
}

static void parse_timerfd(const char *text, size_t len)
{
	struct proc_timerfd t;

	proc_parse_timerfd(text, len, &t);
}

static void parse_signalfd(const char *text, size_t len)
{
	uint64_t mask;

	proc_parse_signalfd(text, len, &mask);
}

static void parse_pidfd(const char *text, size_t len)
{
	int pid;

	if (proc_parse_pidfd(text, len, &pid) == 0)
		FUZZ_ASSERT(pid >= -1);
}

static void parse_loadavg(const char *text, size_t len)
{
	uint32_t tasks, last;

	proc_parse_loadavg(text, len, &tasks, &last);
}

static void parse_filesystems(const char *text, size_t len)
{
	proc_has_filesystem(text, len, "tmpfs");
}

/* This one takes terminated text. */
static void parse_meminfo(const char *text, size_t len)
{
	char *s = strndup(text, len);
	uint64_t v;

	FUZZ_ASSERT(s);
	if (probe_meminfo(s, "MemAvailable", &v))
		FUZZ_ASSERT(strstr(s, "MemAvailable:"));
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct {
		const char *name;
		void (*parse)(const char *text, size_t len);
	} parsers[] = {
		{ "stat", parse_stat },           { "status", parse_status },
		{ "maps", parse_maps },           { "fdinfo", parse_fdinfo },
		{ "mountinfo", parse_mountinfo }, { "timers", parse_timers },
		{ "limits", parse_limits },       { "cgroup", parse_cgroup },
		{ "meminfo", parse_meminfo },     { "listeners", parse_listeners },
		{ "eventfd", parse_eventfd },     { "epoll", parse_epoll },
		{ "timerfd", parse_timerfd },     { "signalfd", parse_signalfd },
		{ "loadavg", parse_loadavg },     { "filesystems", parse_filesystems },
		{ "inotify", parse_inotify },     { "pidfd", parse_pidfd },
	};
	char name[16];

	if (!fuzz_take_line(&data, &len, name, sizeof(name)))
		return 0;
	for (size_t i = 0; i < sizeof(parsers) / sizeof(parsers[0]); i++)
		if (!strcmp(name, parsers[i].name))
			parsers[i].parse((const char *)data, len);
	return 0;
}
