// SPDX-License-Identifier: Apache-2.0
/*
 * Scratch directories of batch systems: each job gets another one, and a restored job is another
 * job to them. The variable that named the old one names the new one, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/pb.h"
#include "fsmap/say.h"

const char *const fsmap_scratch_names[] = {
	"_CONDOR_SCRATCH_DIR", "SLURM_TMPDIR", "PBS_JOBDIR", "LSB_JOB_TMPDIR", "TMPDIR", NULL,
};

/* Without slashes at its end; false if it is no directory of a job's own. */
static bool is_scratch(char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
	return path[0] == '/' && path[1];
}

static bool is_needed(const CkptNeeds *n, const char *dir)
{
	for (size_t i = 0; i < n->n_paths; i++)
		if (!n->paths[i]->carried && fsmap_below(n->paths[i]->path, dir))
			return true;
	return false;
}

static int add_need(CkptNeeds *n, const char *name, const char *value)
{
	CkptNeedScratch *s = CK_PB_NEW(CkptNeedScratch, ckpt_need_scratch);
	bool wanted;

	if (!s)
		return -ENOMEM;
	s->name = strdup(name);
	s->path = strdup(value);
	wanted = s->path && is_scratch(s->path) && is_needed(n, s->path);
	if (s->name && wanted && ck_pb_append(&n->scratch, &n->n_scratch, s) == 0)
		return 0;
	wanted = wanted || !s->name || !s->path;
	ckpt_need_scratch__free_unpacked(s, NULL);
	return wanted ? -ENOMEM : 0;
}

/* The value of a variable in an environment that may end anywhere; NULL. */
static const char *value_of(const char *environment, size_t len, const char *name)
{
	size_t n = strlen(name);

	while (len) {
		const char *end = memchr(environment, '\0', len);
		size_t line = end ? (size_t)(end - environment) : len;

		if (!end)
			return NULL;
		if (line > n && !memcmp(environment, name, n) && environment[n] == '=')
			return environment + n + 1;
		environment = end + 1;
		len -= line + 1;
	}
	return NULL;
}

int fsmap_need_scratch(CkptNeeds *n, const char *environment, size_t len)
{
	int r = 0;

	for (size_t i = 0; fsmap_scratch_names[i] && r == 0; i++) {
		const char *value = value_of(environment, len, fsmap_scratch_names[i]);

		if (value)
			r = add_need(n, fsmap_scratch_names[i], value);
	}
	return r;
}

int fsmap_look_scratch(const CkptNeeds *needs, CkptFacts *facts)
{
	for (size_t i = 0; i < needs->n_scratch; i++) {
		const char *value = getenv(needs->scratch[i]->name);
		CkptScratchFact *f;

		if (!value || value[0] != '/')
			continue;
		f = CK_PB_NEW(CkptScratchFact, ckpt_scratch_fact);
		if (f) {
			f->name = strdup(needs->scratch[i]->name);
			f->path = strdup(value);
		}
		if (!f || !f->name || !f->path || !is_scratch(f->path) ||
		    ck_pb_append(&facts->scratch, &facts->n_scratch, f) < 0) {
			bool bad = !f || !f->name || !f->path || is_scratch(f->path);

			if (f)
				ckpt_scratch_fact__free_unpacked(f, NULL);
			if (bad)
				return -ENOMEM;
		}
	}
	return 0;
}

bool fsmap_say_scratch(const struct rule_input *in, struct finding *f, const char *missing)
{
	const CkptNeeds *n = in->needs;
	const CkptFacts *t = in->target;

	for (size_t i = 0; i < n->n_scratch; i++)
		for (size_t k = 0; k < t->n_scratch; k++) {
			CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT, q = CK_STRBUF_INIT;

			if (strcmp(n->scratch[i]->name, t->scratch[k]->name) != 0 ||
			    !strcmp(n->scratch[i]->path, t->scratch[k]->path) ||
			    !fsmap_below(n->scratch[i]->path, missing))
				continue;
			fsmap_map_side(&b, n->scratch[i]->path);
			ck_strbuf_addf(&b, ":");
			fsmap_map_side(&b, t->scratch[k]->path);
			fsmap_quote(&q, ck_strbuf_str(&b));
			if (!ck_strbuf_ok(&b) || !ck_strbuf_ok(&q))
				continue;
			finding_evidence(f, "%s named it to the job, and names another one here",
					 n->scratch[i]->name);
			finding_remedy(f, "--map %s", ck_strbuf_str(&q));
			return true;
		}
	return false;
}
