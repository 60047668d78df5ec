// SPDX-License-Identifier: Apache-2.0
/* The table of kernel and privilege features (probe/facts.def) and how facts are asked about them.
 */
#include <errno.h>
#include <string.h>

#include "base/pb.h"
#include "probe/probe-internal.h"

#define FACT(id, name_, section_, since_, commit_, how_, meaning_, who_) \
	[PROBE_##id] = { .name = name_,                                  \
			 .section = PROBE_##section_,                    \
			 .since = since_,                                \
			 .commit = commit_,                              \
			 .how = how_,                                    \
			 .meaning = meaning_,                            \
			 .who = who_ },
const struct probe_fact_info probe_fact_infos[PROBE_N_FACTS] = {
#include "probe/facts.def"
};
#undef FACT

int probe_fact_find(const char *name)
{
	for (int i = 0; i < PROBE_N_FACTS; i++)
		if (!strcmp(probe_fact_infos[i].name, name))
			return i;
	return -1;
}

/* Fields of CkptFacts. What stands here is as old as the profile; all else lasts until somebody
 * changes the host. */
const char *const probe_momentary[] = {
	"at",
	"memory/available",
	"memory/cgroup_free",
	"memory/swap_free",
	"memory/cgroup",
	"memory/committed",
	"mounts/revision",
	"mounts/root_hash",
	"paths",
	"pids",
	"cgroups/path",
	"cgroups/writable",
	"cgroups/limits",
	"listeners",
	"listeners_cut",
	"tasks",
	"priv/user_tasks",
	NULL,
};

int probe_mark_momentary(CkptFacts *facts)
{
	for (size_t i = 0; probe_momentary[i]; i++)
		if (ck_pb_append_str(&facts->momentary, &facts->n_momentary, probe_momentary[i]) <
		    0)
			return -ENOMEM;
	return 0;
}

static const CkptFeature *find(CkptFeature *const *f, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(f[i]->name, name))
			return f[i];
	return NULL;
}

CkptTristate probe_has(const CkptFacts *facts, const char *name, const char **ret_detail)
{
	const CkptFeature *f = find(facts->kernel->features, facts->kernel->n_features, name);

	if (!f)
		f = find(facts->priv->features, facts->priv->n_features, name);
	if (ret_detail)
		*ret_detail = f && f->detail ? f->detail : "";
	return f ? f->value : CKPT_TRISTATE__CKPT_UNKNOWN;
}
