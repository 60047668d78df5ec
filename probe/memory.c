// SPDX-License-Identifier: Apache-2.0
/* How much memory the host has and has left, and how many tasks run on it. What a control group
 * leaves of it is found in probe/cgroup.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum { MAX_FILE = 1 << 20 };

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

int probe_memory(CkptFacts *facts)
{
	CkptMemoryFacts *m = CK_PB_NEW(CkptMemoryFacts, ckpt_memory_facts);
	CK_AUTO(free) char *text = NULL;

	if (!m)
		return -ENOMEM;
	facts->memory = m;
	if (ck_read_file_at(AT_FDCWD, "/proc/meminfo", MAX_FILE, &text, NULL) < 0)
		return 0;
	m->has_total = probe_meminfo(text, "MemTotal", &m->total);
	m->has_available = probe_meminfo(text, "MemAvailable", &m->available);
	m->has_swap_total = probe_meminfo(text, "SwapTotal", &m->swap_total);
	m->has_swap_free = probe_meminfo(text, "SwapFree", &m->swap_free);
	m->has_commit_limit = probe_meminfo(text, "CommitLimit", &m->commit_limit);
	m->has_committed = probe_meminfo(text, "Committed_AS", &m->committed);
	return 0;
}

int probe_tasks(CkptFacts *facts)
{
	CK_AUTO(free) char *text = NULL;
	uint32_t tasks, last;
	size_t len;

	if (ck_read_file_at(AT_FDCWD, "/proc/loadavg", MAX_FILE, &text, &len) < 0 ||
	    proc_parse_loadavg(text, len, &tasks, &last) < 0)
		return 0;
	facts->tasks = CK_PB_NEW(CkptTasksFacts, ckpt_tasks_facts);
	if (!facts->tasks)
		return -ENOMEM;
	facts->tasks->has_tasks = facts->tasks->has_last_pid = true;
	facts->tasks->tasks = tasks;
	facts->tasks->last_pid = last;
	return 0;
}
