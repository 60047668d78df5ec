// SPDX-License-Identifier: Apache-2.0
/* What an image of ours needs, with the checksums that were added once the job had been let go. */
#include <errno.h>

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

int fsmap_read_needs(const struct image *img, CkptNeeds **ret, struct ck_err *err)
{
	ProtobufCMessage *m, *late;
	int r = image_read_one(img, IMAGE_CKPT_NEEDS, 0, &m, err);

	if (r < 0)
		return r;
	*ret = (CkptNeeds *)m;
	/* A dump that was killed at its end has none: less is known then, and nothing is wrong. */
	if (image_read_one(img, IMAGE_CKPT_CONTENTS, 0, &late, NULL) < 0)
		return 0;
	if (((const CkptContents *)late)->image_id == image_id(img))
		add_sums(*ret, (const CkptContents *)late);
	protobuf_c_message_free_unpacked(late, NULL);
	return 0;
}
