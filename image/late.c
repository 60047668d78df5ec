// SPDX-License-Identifier: Apache-2.0
/*
 * Files that are added to a committed image: no manifest knows them, so that they are sealed and
 * name the manifest that they belong to. Each appears as a whole or not at all.
 */
#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "image/dir.h"
#include "image/open.h"

static void late_name(enum image_kind kind, char name[static IMAGE_NAME_MAX + 8])
{
	snprintf(name, IMAGE_NAME_MAX + 8, "%s" IMAGE_TMP_SUFFIX, image_types[kind].format);
}

int image_late_start(const struct image *img, enum image_kind kind, struct image_file **ret,
		     struct ck_err *err)
{
	char name[IMAGE_NAME_MAX + 8];

	late_name(kind, name);
	/* What an interrupted run left, or one that runs beside us: its file is as good as ours. */
	unlinkat(img->dirfd, name, 0);
	return image_file_start(img->dirfd, img->dir, name, kind, ret, err);
}

int image_late_finish(const struct image *img, enum image_kind kind, struct image_file *f, int r,
		      struct ck_err *err)
{
	char name[IMAGE_NAME_MAX + 8];
	uint64_t size, hash;

	late_name(kind, name);
	if (r < 0)
		image_file_drop(f);
	else
		r = image_file_finish(f, true, &size, &hash, err);
	if (r == 0 && renameat(img->dirfd, name, img->dirfd, image_types[kind].format) < 0)
		r = image_fail_io(err, img->dir, name, "rename");
	if (r == 0 && fsync(img->dirfd) < 0)
		r = image_fail_io(err, img->dir, NULL, "write");
	if (r < 0)
		unlinkat(img->dirfd, name, 0);
	return r;
}

int image_write_late(const struct image *img, enum image_kind kind, const ProtobufCMessage *m,
		     struct ck_err *err)
{
	CK_AUTO(image_file) struct image_file *f = NULL;
	int r = image_late_start(img, kind, &f, err);

	if (r == 0)
		r = image_append(f, m, err);
	r = image_late_finish(img, kind, ck_take_ptr(&f), r, err);
	return r < 0 ? image_err_at(err, r, img->dir) : 0;
}
