// SPDX-License-Identifier: Apache-2.0
/*
 * Mounts: which one a path is on, and whether two of them show the same thing on different hosts.
 * Shared filesystems count as the same by what is exported and the path in it; servers have several
 * names, so those tell nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/auto.h"
#include "fsmap/fold.h"

bool fsmap_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (n == 1 && dir[0] == '/')
		return path[0] == '/';
	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

const CkptMount *fsmap_mount_of(const CkptFacts *facts, const char *path)
{
	const CkptMount *best = NULL;
	size_t len = 0;

	for (size_t i = 0; i < facts->n_mounts; i++) {
		const CkptMount *m = facts->mounts[i];
		size_t n = strlen(m->point);

		if (fsmap_below(path, m->point) && n >= len) {
			best = m;
			len = n;
		}
	}
	return best;
}

/* ---- shared filesystems ---- */

/* Types whose files are the same wherever they are mounted. */
static const char *const shared_types[] = {
	"nfs",          "nfs4",           "lustre",    "gpfs",       "beegfs",
	"ceph",         "cifs",           "smb3",      "afs",        "9p",
	"panfs",        "orangefs",       "glusterfs", "fuse.sshfs", "fuse.ceph-fuse",
	"fuse.juicefs", "fuse.glusterfs",
};

bool fsmap_is_shared(const char *fstype)
{
	for (size_t i = 0; fstype && i < CK_ARRAY_SIZE(shared_types); i++)
		if (!strcmp(fstype, shared_types[i]))
			return true;
	return false;
}

/* What is exported, without the server: "/export/home" of "fs1:/export/home". */
static const char *export_of(const char *source)
{
	const char *colon = strstr(source, ":/");

	return colon ? colon + 1 : source;
}

static void add_part(struct ck_strbuf *b, const char *part)
{
	size_t n = strlen(part);

	while (n && part[n - 1] == '/')
		n--;
	ck_strbuf_add(b, part, n);
}

void fsmap_shared_name(struct ck_strbuf *b, const char *source, const char *root, const char *point,
		       const char *path)
{
	size_t n = strlen(point);

	add_part(b, export_of(source));
	if (root)
		add_part(b, root);
	if (fsmap_below(path, point))
		add_part(b, path + (n > 1 ? n : 0));
}

enum fsmap_shared fsmap_compare_shared(const CkptNeedMount *need, const CkptFacts *target,
				       const char *path)
{
	CK_AUTO(strbuf) struct ck_strbuf a = CK_STRBUF_INIT, b = CK_STRBUF_INIT;
	const CkptMount *m = fsmap_mount_of(target, path);

	if (!m || !m->source || !need->source)
		return FSMAP_SHARED_UNKNOWN;
	if (!fsmap_is_shared(m->fstype))
		return FSMAP_SHARED_OTHER;
	fsmap_shared_name(&a, need->source, need->root, need->point, path);
	fsmap_shared_name(&b, m->source, m->root, m->point, path);
	if (!ck_strbuf_ok(&a) || !ck_strbuf_ok(&b))
		return FSMAP_SHARED_UNKNOWN;
	if (strcmp(ck_strbuf_str(&a), ck_strbuf_str(&b)) != 0)
		return FSMAP_SHARED_OTHER;
	return strcmp(need->source, m->source) ? FSMAP_SHARED_SERVER : FSMAP_SHARED_SAME;
}

const CkptNeedMount *fsmap_need_mount(const CkptNeeds *needs, const CkptNeedPath *path)
{
	for (size_t i = 0; path->mount_point && i < needs->n_mounts; i++)
		if (!strcmp(needs->mounts[i]->point, path->mount_point))
			return needs->mounts[i];
	return NULL;
}

/* ---- CVMFS ---- */

static bool read_attr(const char *path, const char *name, char *buf, size_t size)
{
	ssize_t n = getxattr(path, name, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

bool fsmap_cvmfs(const char *path, struct fsmap_cvmfs *ret)
{
	struct fsmap_cvmfs c = { .revision = 0 };
	char text[32], *end;

	if (!read_attr(path, "user.fqrn", c.fqrn, sizeof(c.fqrn)) ||
	    !read_attr(path, "user.revision", text, sizeof(text)))
		return false;
	errno = 0;
	c.revision = strtoull(text, &end, 10);
	if (errno || end == text)
		return false;
	(void)read_attr(path, "user.root_hash", c.root_hash, sizeof(c.root_hash));
	*ret = c;
	return true;
}
