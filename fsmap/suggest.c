// SPDX-License-Identifier: Apache-2.0
/*
 * Maps that would bring an image's paths to where the same things are on a host: the scratch
 * directory that a variable names there, the mount point of the same filesystem, and, on this host,
 * a directory near by with the same contents. Only for what is missing; a proposal that is looked
 * at and has not what is needed is none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/strbuf.h"
#include "fsmap/fsmap.h"

enum { NEAR_MAX = 1000 }; /* directories that are looked at beside a missing one */

struct search {
	const CkptNeeds *needs;
	const CkptFacts *host;
	bool live;
	struct fsmap_suggestions *out;
};

static const CkptPathFact *fact_of(const struct search *s, size_t i)
{
	const CkptPathFact *f = i < s->host->n_paths ? s->host->paths[i] : NULL;

	return f && !strcmp(f->path, s->needs->paths[i]->path) ? f : NULL;
}

static char *join(const char *dir, const char *rest)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	ck_strbuf_addf(&b, "%s%s", strcmp(dir, "/") || !rest[0] ? dir : "", rest);
	return ck_strbuf_ok(&b) ? strdup(ck_strbuf_str(&b)) : NULL;
}

/* ---- is it there what is needed? ---- */

static bool same_contents(const CkptNeedPath *need, const char *path)
{
	CK_AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct fsmap_identity id;
	uint64_t hash;

	if (fd < 0 || fsmap_identify(fd, FSMAP_BUILD_ID, &id, NULL) < 0)
		return false;
	if (need->has_build_id)
		return id.build_id_len == need->build_id.len &&
		       !memcmp(id.build_id, need->build_id.data, id.build_id_len);
	if (need->has_hash)
		return fsmap_hash(fd, need->size, &hash, NULL) == 0 && hash == need->hash;
	return !need->has_sample ||
	       (fsmap_sample(fd, need->size, &hash, NULL) == 0 && hash == need->sample);
}

/* What the job writes may have grown since. */
static bool is_same(const CkptNeedPath *need, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || (st.st_mode & S_IFMT) != (need->mode & S_IFMT))
		return false;
	if (!S_ISREG(st.st_mode) || !need->has_size)
		return true;
	if ((uint64_t)st.st_size < need->size ||
	    ((uint64_t)st.st_size > need->size && need->access == O_RDONLY))
		return false;
	return need->size == 0 || same_contents(need, path);
}

/* All that is needed at from or below is to; *ret_files: how many files of these have contents. */
static bool holds(const struct search *s, const char *from, const char *to, size_t *ret_files)
{
	*ret_files = 0;
	for (size_t i = 0; i < s->needs->n_paths; i++) {
		const CkptNeedPath *p = s->needs->paths[i];
		CK_AUTO(free) char *there = NULL;

		if (p->carried || !fsmap_below(p->path, from))
			continue;
		there = join(to, p->path + strlen(from));
		if (!there || !is_same(p, there))
			return false;
		*ret_files += S_ISREG(p->mode) && p->size > 0;
	}
	return true;
}

/* ---- proposals ---- */

static bool is_covered(const struct fsmap_suggestions *x, const char *path)
{
	for (size_t i = 0; i < x->n; i++)
		if (fsmap_below(path, x->s[i].from))
			return true;
	return false;
}

/* 1, or -ENOMEM */
static int propose(struct search *s, const char *from, const char *to, const char *why)
{
	struct fsmap_suggestions *x = s->out;
	struct fsmap_suggestion *grown = reallocarray(x->s, x->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	x->s = grown;
	grown[x->n] = (struct fsmap_suggestion){ strdup(from), strdup(to), strdup(why) };
	x->n++;
	return grown[x->n - 1].from && grown[x->n - 1].to && grown[x->n - 1].why ? 1 : -ENOMEM;
}

static bool is_fine(const struct search *s, const char *from, const char *to)
{
	size_t files;

	return strcmp(from, to) != 0 && (!s->live || holds(s, from, to, &files));
}

static int by_scratch(struct search *s, const char *path)
{
	const CkptNeeds *n = s->needs;

	for (size_t i = 0; i < n->n_scratch; i++)
		for (size_t k = 0; k < s->host->n_scratch; k++) {
			const CkptNeedScratch *from = n->scratch[i];
			const CkptScratchFact *to = s->host->scratch[k];
			CK_AUTO(strbuf) struct ck_strbuf why = CK_STRBUF_INIT;

			if (strcmp(from->name, to->name) || !fsmap_below(path, from->path) ||
			    !is_fine(s, from->path, to->path))
				continue;
			ck_strbuf_addf(&why, "%s named the one, and names the other", from->name);
			return propose(s, from->path, to->path, ck_strbuf_str(&why));
		}
	return 0;
}

static const CkptNeedMount *mount_under(const CkptNeeds *n, const char *path)
{
	const CkptNeedMount *best = NULL;

	for (size_t i = 0; i < n->n_mounts; i++)
		if (fsmap_below(path, n->mounts[i]->point) &&
		    (!best || strlen(n->mounts[i]->point) >= strlen(best->point)))
			best = n->mounts[i];
	return best;
}

/* A filesystem that its source names: a device, a server's export. */
static bool is_named(const char *source)
{
	return source && (strchr(source, '/') || strchr(source, ':'));
}

/* Where the root of a needed mount is seen through another one; NULL: not at all. */
static char *seen_through(const CkptNeedMount *need, const CkptMount *m)
{
	const char *from = need->root ? need->root : "/", *root = m->root ? m->root : "/";

	if (need->fqrn && m->fqrn) {
		if (strcmp(need->fqrn, m->fqrn) != 0)
			return NULL;
	} else if (!is_named(need->source) || !m->source || strcmp(need->source, m->source) ||
		   strcmp(need->fstype, m->fstype)) {
		return NULL;
	}
	if (!fsmap_below(from, root))
		return NULL;
	return join(m->point, strcmp(root, "/")   ? from + strlen(root)
			      : strcmp(from, "/") ? from
						  : "");
}

static int by_mount(struct search *s, const char *path)
{
	const CkptNeedMount *need = mount_under(s->needs, path);

	for (size_t i = 0; need && strcmp(need->point, "/") && i < s->host->n_mounts; i++) {
		CK_AUTO(free) char *to = seen_through(need, s->host->mounts[i]);
		CK_AUTO(strbuf) struct ck_strbuf why = CK_STRBUF_INIT;

		if (!to || !is_fine(s, need->point, to))
			continue;
		ck_strbuf_addf(&why, "%s (%s) is mounted there",
			       need->fqrn ? need->fqrn : need->source, need->fstype);
		return propose(s, need->point, to, ck_strbuf_str(&why));
	}
	return 0;
}

static int try_near(struct search *s, const char *from, const char *to)
{
	CK_AUTO(strbuf) struct ck_strbuf why = CK_STRBUF_INIT;
	size_t files;

	/* Without a file that is the same nothing tells one directory from another. */
	if (!strcmp(from, to) || !holds(s, from, to, &files) || !files)
		return 0;
	ck_strbuf_addf(&why, "what is needed of it is the same there: %zu file%s", files,
		       files == 1 ? "" : "s");
	return propose(s, from, to, ck_strbuf_str(&why));
}

/* Directories beside the missing one. */
static int by_sibling(struct search *s, const char *missing)
{
	const char *name = strrchr(missing, '/');
	CK_AUTO(free) char *dir = strndup(missing, name == missing ? 1 : (size_t)(name - missing));
	DIR *d = dir ? opendir(dir) : NULL;
	const struct dirent *e;
	int r = dir ? 0 : -ENOMEM;

	for (int n = 0; d && r == 0 && n < NEAR_MAX && (e = readdir(d)); n++) {
		CK_AUTO(strbuf) struct ck_strbuf rest = CK_STRBUF_INIT;
		CK_AUTO(free) char *to = NULL;

		if (e->d_type != DT_DIR && e->d_type != DT_LNK && e->d_type != DT_UNKNOWN)
			continue;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		ck_strbuf_addf(&rest, "/%s", e->d_name);
		to = ck_strbuf_ok(&rest) ? join(dir, ck_strbuf_str(&rest)) : NULL;
		r = to ? try_near(s, missing, to) : -ENOMEM;
	}
	if (d)
		closedir(d);
	return r;
}

static int by_contents(struct search *s, const char *missing)
{
	CK_AUTO(free) char *here = getcwd(NULL, 0);
	const char *home = getenv("HOME");
	const char *const places[] = { here, home };
	int r = s->live ? by_sibling(s, missing) : 0;

	for (size_t i = 0; s->live && i < CK_ARRAY_SIZE(places) && r == 0; i++) {
		CK_AUTO(free) char *in = places[i] ? join(places[i], strrchr(missing, '/')) : NULL;

		if (!places[i] || places[i][0] != '/')
			continue;
		r = try_near(s, missing, places[i]);
		if (r == 0)
			r = in ? try_near(s, missing, in) : -ENOMEM;
	}
	return r;
}

/* ---- all ---- */

static int add_missing(struct fsmap_suggestions *x, const char *path)
{
	char **grown;

	for (size_t i = 0; i < x->n_missing; i++)
		if (fsmap_below(path, x->missing[i]))
			return 0;
	grown = reallocarray(x->missing, x->n_missing + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	x->missing = grown;
	grown[x->n_missing] = strdup(path);
	return grown[x->n_missing++] ? 0 : -ENOMEM;
}

static int look_at(struct search *s, size_t i)
{
	const CkptNeedPath *p = s->needs->paths[i];
	const CkptPathFact *f = fact_of(s, i);
	const char *missing = f && f->parent_missing ? f->parent_missing : p->path;
	int r;

	if (p->carried || p->path[0] != '/' || (f && f->exists) || is_covered(s->out, p->path))
		return 0;
	r = by_scratch(s, p->path);
	if (r == 0)
		r = by_mount(s, p->path);
	if (r == 0 && f && missing[1])
		r = by_contents(s, missing);
	if (r != 0)
		return r < 0 ? r : 0;
	return f ? add_missing(s->out, missing) : 0;
}

int fsmap_suggest(const CkptNeeds *needs, const CkptFacts *host, bool live,
		  struct fsmap_suggestions *ret)
{
	struct search s = { needs, host, live, ret };
	int r = 0;

	for (size_t i = 0; i < needs->n_paths && r == 0; i++)
		r = look_at(&s, i);
	if (r < 0)
		fsmap_suggestions_done(ret);
	return r;
}

void fsmap_suggestions_done(struct fsmap_suggestions *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->s[i].from);
		free(x->s[i].to);
		free(x->s[i].why);
	}
	for (size_t i = 0; i < x->n_missing; i++)
		free(x->missing[i]);
	free(x->s);
	free(x->missing);
	*x = (struct fsmap_suggestions){ 0 };
}
