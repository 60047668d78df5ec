// SPDX-License-Identifier: Apache-2.0
/*
 * Packages that own the files of a job, for whoever has another version of them. The lists of all
 * packages are read for it, when the job has been let go: what is no more the file that the job had
 * is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/pb.h"
#include "engine/res/res.h"
#include "probe/probe.h"

/* Also of a job with another root directory, whose packages would be others. */
static bool is_still_there(const CkptNeedPath *p)
{
	struct stat st;

	return S_ISREG(p->mode) && !p->carried && p->access == O_RDONLY && p->has_size &&
	       stat(p->path, &st) == 0 && (uint64_t)st.st_size == p->size &&
	       (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec ==
		       p->mtime_ns;
}

static int add_path(CkptFacts *f, const CkptNeedPath *p)
{
	CkptPathFact *e = CK_PB_NEW(CkptPathFact, ckpt_path_fact);

	if (!e || ck_pb_append(&f->paths, &f->n_paths, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->exists = is_still_there(p);
	e->mode = p->mode;
	e->path = strdup(p->path);
	return e->path ? 0 : -ENOMEM;
}

static const char *version_of(const CkptFacts *f, const char *package)
{
	for (size_t i = 0; i < f->n_packages; i++)
		if (!strcmp(f->packages[i]->name, package))
			return f->packages[i]->version;
	return NULL;
}

/* *ret NULL: its package is not installed, whatever its list says. */
static int owner_of(CkptContents *c, const CkptFacts *f, const char *package, CkptOwner **ret)
{
	const char *version;
	CkptOwner *o;

	*ret = NULL;
	for (size_t i = 0; i < c->n_owners; i++)
		if (!strcmp(c->owners[i]->package, package)) {
			*ret = c->owners[i];
			return 0;
		}
	version = version_of(f, package);
	if (!version)
		return 0;
	o = CK_PB_NEW(CkptOwner, ckpt_owner);
	if (!o || ck_pb_append(&c->owners, &c->n_owners, o) < 0) {
		free(o);
		return -ENOMEM;
	}
	o->package = strdup(package);
	o->version = strdup(version);
	o->paths = calloc(f->n_paths, sizeof(*o->paths));
	*ret = o;
	return o->package && o->version && o->paths ? 0 : -ENOMEM;
}

static int add_owners(CkptContents *c, const CkptFacts *f)
{
	for (size_t i = 0; i < f->n_paths; i++) {
		CkptOwner *o;

		if (!f->paths[i]->package)
			continue;
		if (owner_of(c, f, f->paths[i]->package, &o) < 0)
			return -ENOMEM;
		if (o)
			o->paths[o->n_paths++] = (uint32_t)i;
	}
	return 0;
}

int res_owners(struct engine_dump *d, CkptContents *c)
{
	CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);
	int r = f ? 0 : -ENOMEM;

	for (size_t i = 0; i < d->needs.n_paths && r == 0; i++)
		r = add_path(f, d->needs.paths[i]);
	if (r == 0)
		r = probe_path_packages(f, NULL);
	if (r == 0)
		r = add_owners(c, f);
	if (f)
		ckpt_facts__free_unpacked(f, NULL);
	return r;
}
