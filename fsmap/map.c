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

int fsmap_map_needs(const struct fsmap_maps *maps, CkptNeeds *needs)
{
	for (size_t i = 0; i < needs->n_paths; i++) {
		CkptNeedPath *p = needs->paths[i];
		const struct fsmap_map *m = fsmap_map_find(maps, p->path);
		bool inner = m && p->mount_point && fsmap_below(p->mount_point, m->from) &&
			     strcmp(p->mount_point, m->from) != 0;

		if (!m)
			continue;
		if (map_field(maps, &p->path) < 0 ||
		    (inner && map_field(maps, &p->mount_point) < 0))
			return -ENOMEM;
		/* A path that leaves its mount: the one it comes to may be any, or none. */
		if (!inner) {
			free(p->mount_point);
			free(p->fstype);
			p->mount_point = p->fstype = NULL;
		}
	}
	return map_dirs(maps, needs);
}
