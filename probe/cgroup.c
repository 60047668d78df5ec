// SPDX-License-Identifier: Apache-2.0
/*
 * Control groups, v1 and v2: which hierarchies there are, where we are in them, and what limits
 * hold for us. A limit of any group on the way up from our own to the mount point holds; the one
 * that leaves least counts. Page cache charged to a group counts as free memory: the kernel gives
 * it up before it kills.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum {
	MAX_FILE = 1 << 20,
	MILLI = 1000, /* thousandths of a CPU */
};

/* A limit, by the files of one version. */
struct limit {
	uint32_t version;
	const char *controller; /* v1: the hierarchy that has it */
	const char *name;       /* what we call it: v2's file */
	const char *file, *used;
};

static const struct limit limits[] = {
	{ 2, "memory", "memory.max", "memory.max", "memory.current" },
	{ 2, "memory", "memory.swap.max", "memory.swap.max", "memory.swap.current" },
	{ 2, "pids", "pids.max", "pids.max", "pids.current" },
	{ 2, "cpu", "cpu.max", "cpu.max", NULL },
	{ 1, "memory", "memory.max", "memory.limit_in_bytes", "memory.usage_in_bytes" },
	{ 1, "pids", "pids.max", "pids.max", "pids.current" },
	{ 1, "cpu", "cpu.max", "cpu.cfs_quota_us", NULL },
};

bool probe_in_list(const char *list, const char *want)
{
	size_t n = strlen(want);

	for (const char *p = list; p && *p; p = strchr(p, ','), p = p ? p + 1 : NULL)
		if (!strncmp(p, want, n) && (p[n] == ',' || !p[n]))
			return true;
	return false;
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
	return end != text && text[0] != '-' && !errno && *ret < UINT64_C(1) << 62;
}

/* A share of CPUs: v2 has quota and period in one file, v1 in two. */
static bool read_cpu(int dir, const struct limit *l, uint64_t *ret)
{
	CK_AUTO(free) char *text = NULL;
	uint64_t quota, period = 0;
	char *end;

	if (l->version == 1) {
		if (!read_number(dir, "cpu.cfs_quota_us", &quota) ||
		    !read_number(dir, "cpu.cfs_period_us", &period))
			return false;
	} else {
		if (ck_read_file_at(dir, "cpu.max", MAX_FILE, &text, NULL) < 0)
			return false;
		quota = strtoull(text, &end, 10);
		if (end == text)
			return false;
		period = strtoull(end, NULL, 10);
	}
	if (!period || quota > UINT64_MAX / MILLI)
		return false;
	*ret = quota * MILLI / period;
	return true;
}

/* "active_file 4096" */
static uint64_t stat_key(const char *text, const char *key)
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

/* Page cache within a group's usage. v1 has its own groups' total under other names. */
static uint64_t cache_of(int dir, uint32_t version)
{
	CK_AUTO(free) char *text = NULL;

	if (ck_read_file_at(dir, "memory.stat", MAX_FILE, &text, NULL) < 0)
		return 0;
	return version == 2 ? stat_key(text, "active_file") + stat_key(text, "inactive_file")
			    : stat_key(text, "total_active_file") +
				      stat_key(text, "total_inactive_file");
}

static CkptCgroupLimit *find_limit(CkptCgroup *g, const char *name)
{
	for (size_t i = 0; i < g->n_limits; i++)
		if (!strcmp(g->limits[i]->name, name))
			return g->limits[i];
	return NULL;
}

static uint64_t headroom(uint64_t limit, uint64_t used)
{
	return limit > used ? limit - used : 0;
}

/* Takes a group's limit if it leaves less than the one that is there. */
static int take_limit(CkptCgroup *g, const char *name, uint64_t limit, bool has_used, uint64_t used,
		      const char *group)
{
	CkptCgroupLimit *l = find_limit(g, name);
	char *copy;

	if (l && headroom(l->limit, l->used) <= headroom(limit, used))
		return 0;
	copy = strdup(group);
	if (!copy)
		return -ENOMEM;
	if (!l) {
		l = CK_PB_NEW(CkptCgroupLimit, ckpt_cgroup_limit);
		if (l)
			l->name = strdup(name);
		if (!l || !l->name || ck_pb_append(&g->limits, &g->n_limits, l) < 0) {
			if (l)
				ckpt_cgroup_limit__free_unpacked(l, NULL);
			free(copy);
			return -ENOMEM;
		}
	}
	free(l->group);
	l->group = copy;
	l->limit = limit;
	l->has_used = has_used;
	l->used = used;
	return 0;
}

static int look_at_group(CkptCgroup *g, const char *controllers, const char *path)
{
	CK_AUTO(fd) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < CK_ARRAY_SIZE(limits) && dir >= 0; i++) {
		const struct limit *l = &limits[i];
		uint64_t limit, used = 0, cache;
		bool has_used;
		int r;

		if (l->version != g->version ||
		    (l->version == 1 && !probe_in_list(controllers, l->controller)))
			continue;
		if (!(l->used ? read_number(dir, l->file, &limit) : read_cpu(dir, l, &limit)))
			continue;
		has_used = l->used && read_number(dir, l->used, &used);
		if (has_used && !strcmp(l->name, "memory.max")) {
			cache = cache_of(dir, g->version);
			used = headroom(used, cache);
		}
		r = take_limit(g, l->name, limit, has_used, used, path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* From our own group up to the mount point. */
static int walk_up(CkptCgroup *g, const struct proc_cgroup *own, const struct proc_mount *mount)
{
	size_t root = strlen(mount->root), base = strlen(mount->point);
	const char *group = own->path;
	CK_AUTO(free) char *path = NULL;

	/* A bind mount of a subtree shows only what is below its root. */
	if (root > 1 && !strncmp(group, mount->root, root) && (group[root] == '/' || !group[root]))
		group += root;
	if (asprintf(&path, "%s%s", mount->point, group) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	g->has_writable = true;
	g->writable = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
	for (;;) {
		int r = look_at_group(g, own->controllers, path);
		char *slash;

		if (r < 0)
			return r;
		slash = strrchr(path, '/');
		if (!slash || (size_t)(slash - path) < base)
			return 0;
		*slash = '\0';
	}
}

/* v1: as /proc says. v2: those that the root of the hierarchy has left. */
static int add_controllers(CkptCgroup *g, const char *list, const char *separators)
{
	CK_AUTO(free) char *copy = strdup(list);
	char *rest = copy, *name;

	if (!copy)
		return -ENOMEM;
	while ((name = strsep(&rest, separators)) != NULL)
		if (*name && ck_pb_append_str(&g->controllers, &g->n_controllers, name) < 0)
			return -ENOMEM;
	return 0;
}

static bool mount_has(const struct proc_mount *m, uint32_t version, const char *controllers)
{
	CK_AUTO(free) char *first = strndup(controllers, strcspn(controllers, ","));

	if (version == 2)
		return !strcmp(m->fstype, "cgroup2");
	return first && !strcmp(m->fstype, "cgroup") && probe_in_list(m->super_options, first);
}

static int describe(CkptCgroup *g, const struct proc_cgroup *own, const struct proc_mounts *mounts)
{
	int r;

	g->version = own->controllers[0] ? 1 : 2;
	g->path = strdup(own->path);
	r = g->path ? add_controllers(g, own->controllers, ",") : -ENOMEM;
	for (size_t i = 0; i < mounts->n && r == 0; i++) {
		const struct proc_mount *m = &mounts->m[i];
		CK_AUTO(free) char *file = NULL;
		CK_AUTO(free) char *text = NULL;

		if (!mount_has(m, g->version, own->controllers))
			continue;
		g->point = strdup(m->point);
		if (!g->point || asprintf(&file, "%s/cgroup.controllers", m->point) < 0) {
			file = NULL;
			return -ENOMEM;
		}
		if (g->version == 2 && ck_read_file_at(AT_FDCWD, file, MAX_FILE, &text, NULL) == 0)
			r = add_controllers(g, text, " \n");
		return r < 0 ? r : walk_up(g, own, m);
	}
	return r;
}

/* What the tightest memory limit leaves. */
static int note_memory(CkptMemoryFacts *m, CkptCgroup *g)
{
	const CkptCgroupLimit *l = find_limit(g, "memory.max");
	char *group;

	if (!m || !l || !l->has_used ||
	    (m->has_cgroup_free && m->cgroup_free <= headroom(l->limit, l->used)))
		return 0;
	group = strdup(l->group);
	if (!group)
		return -ENOMEM;
	free(m->cgroup);
	m->cgroup = group;
	m->has_cgroup_free = true;
	m->cgroup_free = headroom(l->limit, l->used);
	return 0;
}

int probe_cgroups(CkptFacts *facts)
{
	CK_AUTO(fd) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(proc_mounts) struct proc_mounts mounts = { 0 };
	CK_AUTO(proc_cgroups) struct proc_cgroups own = { 0 };
	CK_AUTO(free) char *text = NULL;
	size_t len;

	if (self < 0 || ck_read_file_at(self, "cgroup", MAX_FILE, &text, &len) < 0 ||
	    proc_parse_cgroups(text, len, &own) < 0 || proc_read_mountinfo(self, &mounts, NULL) < 0)
		return 0; /* no cgroups, no limits of theirs */
	for (size_t i = 0; i < own.n; i++) {
		CkptCgroup *g = CK_PB_NEW(CkptCgroup, ckpt_cgroup);
		int r = g ? describe(g, &own.g[i], &mounts) : -ENOMEM;

		if (r == 0)
			r = note_memory(facts->memory, g);
		if (r == 0)
			r = ck_pb_append(&facts->cgroups, &facts->n_cgroups, g);
		if (r < 0) {
			if (g)
				ckpt_cgroup__free_unpacked(g, NULL);
			return r;
		}
	}
	return 0;
}
