// SPDX-License-Identifier: Apache-2.0
/*
 * Paths that are elsewhere on the target. Pure but for reading a list of them. A map is applied to
 * what was recorded, once, and never to its own result: with /q/w:/q/w/e a job's /q/w/e is
 * /q/w/e/e, and no more. Both sides are kept without a slash at the end and without "//"; what has
 * "." or ".." in it is refused, for the kernel records no such path, and what it would lead to
 * depends on links.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/strbuf.h"
#include "fsmap/fsmap.h"

enum { LIST_MAX = 1 << 20 }; /* bytes */

void fsmap_maps_done(struct fsmap_maps *maps)
{
	for (size_t i = 0; i < maps->n; i++) {
		free(maps->map[i].from);
		free(maps->map[i].to);
	}
	free(maps->map);
	memset(maps, 0, sizeof(*maps));
}

/* ---- reading ---- */

/* Takes a side off text, up to a ':' that stands for itself or to the end. What follows it goes to
 * *ret_rest, or NULL. */
static char *take_side(const char *text, const char **ret_rest)
{
	char *side = malloc(strlen(text) + 1);
	size_t n = 0;

	if (!side)
		return NULL;
	for (; *text && *text != ':'; text++) {
		if (*text == '\\' && (text[1] == ':' || text[1] == '\\'))
			text++;
		side[n++] = *text;
	}
	side[n] = '\0';
	*ret_rest = *text ? text + 1 : NULL;
	return side;
}

/* Drops empty components in place; false if it is no absolute path, or has dots in it. */
static bool normalize(char *path)
{
	char *to = path;

	if (path[0] != '/')
		return false;
	for (const char *p = path; *p;) {
		size_t n;

		while (*p == '/')
			p++;
		n = strcspn(p, "/");
		if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		if (n) {
			*to++ = '/';
			memmove(to, p, n);
			to += n;
			p += n;
		}
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
	return true;
}

static int check_sides(char *from, char *to, const char *text, struct ck_err *err)
{
	if (!normalize(from) || !normalize(to) || strlen(from) >= PATH_MAX ||
	    strlen(to) >= PATH_MAX)
		return ck_fail(err, CK_ERR_USAGE, -EINVAL,
			       "'%s' maps no absolute path without dots to another one", text);
	if (!strcmp(from, "/"))
		return ck_fail(err, CK_ERR_USAGE, -EINVAL, "'%s' maps the root directory", text);
	if (fsmap_below(from, "/proc") || fsmap_below(from, "/sys"))
		return ck_fail(err, CK_ERR_USAGE, -EINVAL, "'%s' maps what the kernel makes up",
			       text);
	return 0;
}

/* Longest first, so that the first that fits is the one. */
static int by_length(const void *a, const void *b)
{
	const struct fsmap_map *x = a, *y = b;
	size_t m = strlen(x->from), n = strlen(y->from);

	return m == n ? strcmp(x->from, y->from) : (m < n) - (m > n);
}

int fsmap_maps_add(struct fsmap_maps *maps, const char *text, struct ck_err *err)
{
	const char *rest, *more = NULL;
	CK_AUTO(free) char *from = take_side(text, &rest);
	CK_AUTO(free) char *to = from && rest ? take_side(rest, &more) : NULL;
	struct fsmap_map *grown;
	int r;

	if (!from || (rest && !to))
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a map");
	if (!to || more)
		return ck_fail(err, CK_ERR_USAGE, -EINVAL,
			       "'%s' is no OLD:NEW; a ':' within a path is written '\\:'", text);
	r = check_sides(from, to, text, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < maps->n; i++)
		if (!strcmp(maps->map[i].from, from))
			return ck_fail(err, CK_ERR_USAGE, -EEXIST, "%s is mapped twice", from);
	grown = reallocarray(maps->map, maps->n + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a map");
	maps->map = grown;
	maps->map[maps->n].from = ck_take_ptr(&from);
	maps->map[maps->n++].to = ck_take_ptr(&to);
	qsort(maps->map, maps->n, sizeof(*maps->map), by_length);
	return 0;
}

int fsmap_maps_read(struct fsmap_maps *maps, const char *file, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len, line = 0;
	char *end;
	int r = ck_read_file_at(AT_FDCWD, file, LIST_MAX, &text, &len);

	if (r < 0)
		return ck_fail(err, CK_ERR_CONFIG, r, "cannot read the maps in %s", file);
	if (strlen(text) != len)
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "%s is no list of maps", file);
	for (char *p = text; p; p = end) {
		end = strchr(p, '\n');
		if (end)
			*end++ = '\0';
		line++;
		if (!*p || *p == '#')
			continue;
		r = fsmap_maps_add(maps, p, err);
		if (r < 0 && err && err->kind == CK_ERR_USAGE)
			err->kind = CK_ERR_CONFIG;
		if (r < 0)
			return ck_err_at(err, r, "line %zu of %s", line, file);
	}
	return 0;
}

/* ---- applying ---- */

const struct fsmap_map *fsmap_map_find(const struct fsmap_maps *maps, const char *path)
{
	for (size_t i = 0; maps && i < maps->n; i++)
		if (fsmap_below(path, maps->map[i].from))
			return &maps->map[i];
	return NULL;
}

int fsmap_map_path(const struct fsmap_maps *maps, const char *path, char **ret)
{
	const struct fsmap_map *m = fsmap_map_find(maps, path);
	const char *rest;
	char *s;

	if (!m)
		return 0;
	rest = path + strlen(m->from);
	/* What is below the root directory begins with the slash that is its name. */
	if (asprintf(&s, "%s%s", rest[0] && !strcmp(m->to, "/") ? "" : m->to, rest) < 0)
		return -ENOMEM;
	*ret = s;
	return 1;
}

static int map_field(const struct fsmap_maps *maps, char **field)
{
	char *s = NULL;
	int r = fsmap_map_path(maps, *field, &s);

	if (r > 0) {
		free(*field);
		*field = s;
	}
	return r;
}

static int compare_dirs(const void *a, const void *b)
{
	return strcmp((*(CkptNeedDir *const *)a)->path, (*(CkptNeedDir *const *)b)->path);
}

static int map_dirs(const struct fsmap_maps *maps, CkptNeeds *needs)
{
	int r = 0;

	for (size_t i = 0; i < needs->n_dirs && r >= 0; i++)
		r = map_field(maps, &needs->dirs[i]->path);
	if (needs->n_dirs)
		qsort(needs->dirs, needs->n_dirs, sizeof(*needs->dirs), compare_dirs);
	return r < 0 ? r : 0;
}

/* ---- mounts ---- */

/* Does a mount move as a whole? */
static bool is_inner(const char *point, const struct fsmap_map *m)
{
	return fsmap_below(point, m->from) && strcmp(point, m->from) != 0;
}

/* Where a mount that path is on is after a map: moved as a whole if it is below from, else that
 * part of it which is. */
static int move_mount(const struct fsmap_maps *maps, const struct fsmap_map *m,
		      const CkptNeedMount *old, CkptNeedMount *new)
{
	bool inner = is_inner(old->point, m);
	const char *below = inner ? "" : m->from + (old->point[1] ? strlen(old->point) : 0);
	const char *root = old->root && strcmp(old->root, "/") ? old->root : "";

	new->has_moved = new->moved = !inner;
	if (inner)
		return fsmap_map_path(maps, old->point, &new->point) < 0 ? -ENOMEM : 0;
	new->point = strdup(m->to);
	if (old->root && asprintf(&new->root, "%s%s", root, below) < 0)
		new->root = NULL;
	return new->point && (new->root || !old->root) ? 0 : -ENOMEM;
}

static int copy_text(char **to, const char *from)
{
	if (!from || *to)
		return 0;
	*to = strdup(from);
	return *to ? 0 : -ENOMEM;
}

static CkptNeedMount *new_mount(const struct fsmap_maps *maps, const struct fsmap_map *m,
				const CkptNeedMount *old)
{
	CkptNeedMount *n = CK_PB_NEW(CkptNeedMount, ckpt_need_mount);

	if (!n)
		return NULL;
	n->has_revision = old->has_revision;
	n->revision = old->revision;
	n->has_magic = old->has_magic;
	n->magic = old->magic;
	if (move_mount(maps, m, old, n) == 0 && copy_text(&n->root, old->root) == 0 &&
	    copy_text(&n->fstype, old->fstype) == 0 && copy_text(&n->source, old->source) == 0 &&
	    copy_text(&n->options, old->options) == 0 &&
	    copy_text(&n->super_options, old->super_options) == 0 &&
	    copy_text(&n->fqrn, old->fqrn) == 0 && copy_text(&n->root_hash, old->root_hash) == 0)
		return n;
	ckpt_need_mount__free_unpacked(n, NULL);
	return NULL;
}

/* Of a list of mounts, which have paths on them, and what became of those with paths that moved. */
struct moving {
	CkptNeeds *needs;
	const struct fsmap_maps *maps;
	size_t n_old;
	bool *stays; /* per old one: a path is still on it */
};

/* The old one by its point; n_old if the image does not tell of it. */
static size_t find_mount(const struct moving *v, const char *point)
{
	for (size_t i = 0; i < v->n_old; i++)
		if (!strcmp(v->needs->mounts[i]->point, point))
			return i;
	return v->n_old;
}

/* The mount of a path that m maps; *ret NULL if the image does not tell of it. */
static int moved_mount(struct moving *v, const CkptNeedPath *p, const struct fsmap_map *m,
		       const CkptNeedMount **ret)
{
	size_t old = p->mount_point ? find_mount(v, p->mount_point) : v->n_old;
	CkptNeedMount *n;

	*ret = NULL;
	if (old == v->n_old)
		return 0;
	n = new_mount(v->maps, m, v->needs->mounts[old]);
	if (!n)
		return -ENOMEM;
	for (size_t i = v->n_old; i < v->needs->n_mounts && !*ret; i++)
		if (!strcmp(v->needs->mounts[i]->point, n->point) &&
		    !strcmp(v->needs->mounts[i]->fstype, n->fstype))
			*ret = v->needs->mounts[i];
	if (!*ret && ck_pb_append_unpacked(&v->needs->mounts, &v->needs->n_mounts, n) == 0) {
		*ret = n;
		return 0;
	}
	ckpt_need_mount__free_unpacked(n, NULL);
	return *ret ? 0 : -ENOMEM;
}

/* What nothing needed is on any more need not be mounted. */
static void drop_mounts(struct moving *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->needs->n_mounts; i++)
		if (i >= v->n_old || v->stays[i])
			v->needs->mounts[n++] = v->needs->mounts[i];
		else
			ckpt_need_mount__free_unpacked(v->needs->mounts[i], NULL);
	v->needs->n_mounts = n;
}

/* ---- all that is needed ---- */

static int map_one(struct moving *v, CkptNeedPath *p)
{
	const struct fsmap_map *m = fsmap_map_find(v->maps, p->path);
	const CkptNeedMount *mount;
	size_t old;

	if (!m) {
		old = p->mount_point ? find_mount(v, p->mount_point) : v->n_old;
		if (old < v->n_old)
			v->stays[old] = true;
		return 0;
	}
	p->recorded = strdup(p->path);
	if (!p->recorded || map_field(v->maps, &p->path) < 0 || moved_mount(v, p, m, &mount) < 0)
		return -ENOMEM;
	free(p->package); /* which installs nothing there */
	p->package = NULL;
	if (!mount && p->mount_point && is_inner(p->mount_point, m))
		return map_field(v->maps, &p->mount_point) < 0 ? -ENOMEM : 0;
	free(p->mount_point);
	p->mount_point = mount ? strdup(mount->point) : NULL;
	/* A path that leaves its mount: the one it comes to may be of any type. */
	if (!mount || mount->moved) {
		free(p->fstype);
		p->fstype = NULL;
	}
	return mount && !p->mount_point ? -ENOMEM : 0;
}

static int map_paths(const struct fsmap_maps *maps, CkptNeeds *needs)
{
	CK_AUTO(free) bool *stays = calloc(needs->n_mounts + 1, sizeof(*stays));
	struct moving v = { needs, maps, needs->n_mounts, stays };

	if (!stays)
		return -ENOMEM;
	for (size_t i = 0; i < needs->n_paths; i++)
		if (map_one(&v, needs->paths[i]) < 0)
			return -ENOMEM;
	drop_mounts(&v);
	return 0;
}

static int need_binds(const struct fsmap_maps *maps, CkptNeeds *needs)
{
	for (size_t i = maps->n; i-- > 0;) {
		CkptNeedBind *b = CK_PB_NEW(CkptNeedBind, ckpt_need_bind);

		if (b) {
			b->from = strdup(maps->map[i].from);
			b->to = strdup(maps->map[i].to);
		}
		if (!b || !b->from || !b->to ||
		    ck_pb_append_unpacked(&needs->binds, &needs->n_binds, b) < 0) {
			if (b)
				ckpt_need_bind__free_unpacked(b, NULL);
			return -ENOMEM;
		}
	}
	return 0;
}

int fsmap_map_needs(const struct fsmap_maps *maps, CkptNeeds *needs)
{
	int r;

	if (!maps || !maps->n)
		return 0;
	r = map_paths(maps, needs);
	if (r == 0)
		r = map_dirs(maps, needs);
	return r == 0 && maps->bind ? need_binds(maps, needs) : r;
}

void fsmap_map_side(struct ck_strbuf *b, const char *path)
{
	for (; *path; path++) {
		if (*path == ':' || *path == '\\')
			ck_strbuf_addf(b, "\\");
		ck_strbuf_add(b, path, 1);
	}
}
