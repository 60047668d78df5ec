// SPDX-License-Identifier: Apache-2.0
/* What an image of ours needs, with the checksums and the packages that were added once the job had
 * been let go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "fsmap/fsmap.h"
#include "image/image.h"

static void add_sums(CkptNeeds *needs, const CkptContents *c)
{
	for (size_t i = 0; i < c->n_sums; i++) {
		const CkptFileSum *s = c->sums[i];
		CkptNeedPath *p = s->path < needs->n_paths ? needs->paths[s->path] : NULL;

		if (!p)
			continue;
		if (s->has_hash) {
			p->has_hash = true;
			p->hash = s->hash;
		}
		if (s->has_sample) {
			p->has_sample = true;
			p->sample = s->sample;
		}
	}
}

/* -ENOMEM; a path that an owner names twice, or that is none, is no matter. */
static int add_owner(CkptNeeds *needs, const CkptOwner *o)
{
	for (size_t i = 0; i < o->n_paths; i++) {
		CkptNeedPath *p = o->paths[i] < needs->n_paths ? needs->paths[o->paths[i]] : NULL;

		if (!p || p->package || p->package_version)
			continue;
		p->package = strdup(o->package);
		p->package_version = strdup(o->version);
		if (!p->package || !p->package_version)
			return -ENOMEM;
	}
	return 0;
}

static int add_late(CkptNeeds *needs, const CkptContents *c)
{
	int r = 0;

	add_sums(needs, c);
	for (size_t i = 0; i < c->n_owners && r == 0; i++)
		r = add_owner(needs, c->owners[i]);
	return r;
}

/* What only a restore adds is not taken from an image. */
static void drop_added(CkptNeeds *needs)
{
	for (size_t i = 0; i < needs->n_binds; i++)
		ckpt_need_bind__free_unpacked(needs->binds[i], NULL);
	needs->n_binds = 0;
	for (size_t i = 0; i < needs->n_paths; i++) {
		CkptNeedPath *p = needs->paths[i];
		char **added[] = { &p->recorded, &p->package, &p->package_version };

		for (size_t k = 0; k < CK_ARRAY_SIZE(added); k++) {
			free(*added[k]);
			*added[k] = NULL;
		}
	}
	for (size_t i = 0; i < needs->n_mounts; i++)
		needs->mounts[i]->moved = false;
}

int fsmap_read_needs(const struct image *img, CkptNeeds **ret, struct ck_err *err)
{
	ProtobufCMessage *m, *late;
	int r = image_read_one(img, IMAGE_CKPT_NEEDS, 0, &m, err);

	if (r < 0)
		return r;
	*ret = (CkptNeeds *)m;
	drop_added(*ret);
	/* A dump that was killed at its end has none: less is known then, and nothing is wrong. */
	if (image_read_one(img, IMAGE_CKPT_CONTENTS, 0, &late, NULL) < 0)
		return 0;
	if (((const CkptContents *)late)->image_id == image_id(img))
		r = add_late(*ret, (const CkptContents *)late);
	protobuf_c_message_free_unpacked(late, NULL);
	if (r == 0)
		return 0;
	ckpt_needs__free_unpacked(*ret, NULL);
	return ck_fail(err, CK_ERR_SYS, r, "cannot read what the image needs");
}
