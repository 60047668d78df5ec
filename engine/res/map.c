// SPDX-License-Identifier: Apache-2.0
/*
 * Recorded paths that are elsewhere here: the entries of files.img get the names that they have on
 * this host, once, before anything else looks at them. Everything that is opened by a path goes
 * through these entries: descriptors, mapped files, the program, directories, carried files,
 * FIFOs, watches, the names of Unix sockets. What the job has in its own memory is not touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/auto.h"
#include "engine/res/res.h"
#include "fsmap/fsmap.h"

static int map_string(const struct fsmap_maps *maps, char **path)
{
	char *to = NULL;
	int r = *path ? fsmap_map_path(maps, *path, &to) : 0;

	if (r > 0) {
		free(*path);
		*path = to;
	}
	return r;
}

/* A path with its final zero; abstract names begin with one, relative ones with anything else. */
static int map_sun_path(const struct fsmap_maps *maps, ProtobufCBinaryData *name,
			struct ck_err *err)
{
	CK_AUTO(free) char *from = NULL;
	CK_AUTO(free) char *to = NULL;
	int r;

	if (name->len == 0 || name->data[0] != '/')
		return 0;
	from = strndup((const char *)name->data, name->len);
	r = from ? fsmap_map_path(maps, from, &to) : -ENOMEM;
	if (r <= 0)
		return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot map a path") : 0;
	if (strlen(to) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		r = ck_fail(err, CK_ERR_HOST, -ENAMETOOLONG,
			    "the name of the Unix socket %s becomes too long: %s", from, to);
		return ck_err_hint(err, r, "map to a shorter path, or use --map-mode bind");
	}
	free(name->data);
	name->len = strlen(to) + 1;
	name->data = (uint8_t *)ck_take_ptr(&to);
	return 0;
}

static int map_file(const struct fsmap_maps *maps, FileEntry *fe, struct ck_err *err)
{
	int r = 0;

	if (fe->reg && map_string(maps, &fe->reg->name) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot map a path");
	/* CRIU's watches; ours refer to entries of their own. */
	for (size_t i = 0; fe->ify && i < fe->ify->n_wd; i++)
		if (fe->ify->wd[i]->f_handle &&
		    map_string(maps, &fe->ify->wd[i]->f_handle->path) < 0)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot map a path");
	if (!fe->usk)
		return 0;
	if (map_string(maps, &fe->usk->name_dir) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot map a path");
	r = map_sun_path(maps, &fe->usk->name, err);
	if (r == 0 && fe->usk->has_peer_name)
		r = map_sun_path(maps, &fe->usk->peer_name, err);
	return r;
}

const char *res_path_of(const struct engine_restore *r, uint32_t file_id)
{
	const struct res_rfile *f = res_rfile_find(r, file_id);

	return f ? res_rfile_name(f) : "a file";
}

int res_map_files(struct engine_restore *r, struct ck_err *err)
{
	const struct fsmap_maps *maps = r->opts->maps;
	int ret = 0;

	if (!maps || !maps->n || r->opts->map_mode != ENGINE_MAP_REWRITE)
		return 0;
	for (size_t i = 0; i < r->res->files.n && ret == 0; i++)
		ret = map_file(maps, (FileEntry *)r->res->files.m[i], err);
	return ret;
}
