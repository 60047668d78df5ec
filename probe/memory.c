// SPDX-License-Identifier: Apache-2.0
/*
 * How much memory a job could have here: the host's (/proc/meminfo) and, where a cgroup limits us,
 * the least headroom on the way up from our own group, v1 or v2. Page cache charged to a group
 * counts as free: the kernel gives it up before it kills.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum { MAX_FILE = 1 << 20 };

/* The files of one cgroup version. */
struct version {
	const char *fstype, *controller;
	const char *limit, *usage;
	const char *active, *inactive; /* keys of memory.stat */
};

static const struct version versions[] = {
	{ "cgroup2", "", "memory.max", "memory.current", "active_file", "inactive_file" },
	{ "cgroup", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file",
	  "total_inactive_file" },
};

bool probe_meminfo(const char *text, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);
	const char *line = text;

	while (line) {
		if (!strncmp(line, name, len) && line[len] == ':') {
			*ret = strtoull(line + len + 1, NULL, 10) * 1024;
			return true;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

/* "memory" among "cpu,memory"; "" is v2's empty list */
static bool has_controller(const char *list, size_t len, const char *want)
{
	size_t n = strlen(want);

	if (!n)
		return !len;
	while (len >= n) {
		const char *comma = memchr(list, ',', len);
		size_t item = comma ? (size_t)(comma - list) : len;

		if (item == n && !memcmp(list, want, n))
			return true;
		if (!comma)
			break;
		list += item + 1;
		len -= item + 1;
	}
	return false;
}

char *probe_cgroup_path(const char *text, const char *controller)
{
	const char *line = text;

	/* "4:memory:/a/b", and "0::/a/b" for v2 */
	while (line && *line) {
		const char *end = strchrnul(line, '\n');
		const char *list = memchr(line, ':', (size_t)(end - line));
		const char *path = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;

		if (path && has_controller(list + 1, (size_t)(path - list - 1), controller))
			return strndup(path + 1, (size_t)(end - path - 1));
		line = *end ? end + 1 : NULL;
	}
	return NULL;
}

/* A number from a group's file. "max" and v1's huge numbers are "no limit": false. */
static bool read_number(int dir, const char *name, uint64_t *ret)
{
	CK_AUTO(free) char *text = NULL;
	char *end;

	if (ck_read_file_at(dir, name, MAX_FILE, &text, NULL) < 0)
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return end != text && !errno && *ret < UINT64_C(1) << 62;
}

/* "active_file 4096" */
static uint64_t read_stat_key(const char *text, const char *key)
{
	size_t len = strlen(key);
	const char *line = text;

	while (line) {
		if (!strncmp(line, key, len) && line[len] == ' ')
			return strtoull(line + len, NULL, 10);
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return 0;
}

/* Headroom of one group; false if it has no limit. */
static bool headroom(const char *path, const struct version *v, uint64_t *ret)
{
	CK_AUTO(fd) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(free) char *stat = NULL;
	uint64_t limit, usage, cache = 0;

	if (dir < 0 || !read_number(dir, v->limit, &limit) || !read_number(dir, v->usage, &usage))
		return false;
	if (ck_read_file_at(dir, "memory.stat", MAX_FILE, &stat, NULL) == 0)
		cache = read_stat_key(stat, v->active) + read_stat_key(stat, v->inactive);
	usage = usage > cache ? usage - cache : 0;
	*ret = limit > usage ? limit - usage : 0;
	return true;
}

/* From our own group up to the mount point; the tightest group wins. */
static int walk_up(CkptMemoryFacts *m, const struct version *v, const struct proc_mount *mount,
		   const char *group)
{
	size_t root = strlen(mount->root), base = strlen(mount->point);
	CK_AUTO(free) char *path = NULL;

	/* A bind mount of a subtree shows only what is below its root. */
	if (root > 1 && !strncmp(group, mount->root, root) && (group[root] == '/' || !group[root]))
		group += root;
	if (asprintf(&path, "%s%s", mount->point, group) < 0)
		return -ENOMEM;
	for (;;) {
		char *slash;
		uint64_t free_bytes;

		if (headroom(path, v, &free_bytes) &&
		    (!m->has_cgroup_free || free_bytes < m->cgroup_free)) {
			char *name = strdup(path);

			if (!name)
				return -ENOMEM;
			free(m->cgroup);
			m->cgroup = name;
			m->has_cgroup_free = true;
			m->cgroup_free = free_bytes;
		}
		slash = strrchr(path, '/');
		if (!slash || (size_t)(slash - path) < base)
			return 0;
		*slash = '\0';
	}
}

static bool mount_has(const struct proc_mount *m, const struct version *v)
{
	return !strcmp(m->fstype, v->fstype) &&
	       (!*v->controller ||
		has_controller(m->super_options, strlen(m->super_options), v->controller));
}

static int cgroup_memory(CkptMemoryFacts *m)
{
	CK_AUTO(fd) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(proc_mounts) struct proc_mounts mounts = { 0 };
	CK_AUTO(free) char *text = NULL;
	int r;

	if (self < 0 || ck_read_file_at(self, "cgroup", MAX_FILE, &text, NULL) < 0 ||
	    proc_read_mountinfo(self, &mounts, NULL) < 0)
		return 0; /* no cgroups, no limit of theirs */
	for (size_t i = 0; i < CK_ARRAY_SIZE(versions); i++) {
		CK_AUTO(free) char *group = probe_cgroup_path(text, versions[i].controller);

		for (size_t k = 0; group && k < mounts.n; k++) {
			if (!mount_has(&mounts.m[k], &versions[i]))
				continue;
			r = walk_up(m, &versions[i], &mounts.m[k], group);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int probe_memory(CkptFacts *facts)
{
	CkptMemoryFacts *m = malloc(sizeof(*m));
	CK_AUTO(free) char *text = NULL;

	if (!m)
		return -ENOMEM;
	ckpt_memory_facts__init(m);
	facts->memory = m;
	if (ck_read_file_at(AT_FDCWD, "/proc/meminfo", MAX_FILE, &text, NULL) == 0) {
		m->has_total = probe_meminfo(text, "MemTotal", &m->total);
		m->has_available = probe_meminfo(text, "MemAvailable", &m->available);
		m->has_swap_free = probe_meminfo(text, "SwapFree", &m->swap_free);
	}
	return cgroup_memory(m);
}
