// SPDX-License-Identifier: Apache-2.0
/*
 * Paths that shall lead elsewhere in a mount namespace of the job's own: what each meets on this
 * host, and where links lead once all of them are bound. Gathers; the restore, which does it
 * (engine/bind.c), asks the same questions.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "fsmap/fold.h"

enum { LINKS_MAX = 40 }; /* as the kernel (include/linux/namei.h:MAXSYMLINKS) */

size_t fsmap_nearest(const char *path, struct stat *ret)
{
	size_t n = strlen(path);

	while (n > 1) {
		CK_AUTO(free) char *part = NULL;

		while (n > 1 && path[n - 1] != '/')
			n--;
		while (n > 1 && path[n - 1] == '/')
			n--;
		part = strndup(path, n);
		if (part && stat(part, ret) == 0)
			return n;
	}
	return n;
}

/* access(2) goes by the real user, and without the capabilities of a user namespace. */
bool fsmap_may_make(const char *dir)
{
	return access(dir, W_OK) == 0;
}

bool fsmap_may_list(const char *dir, const struct stat *st)
{
	return access(dir, R_OK | X_OK) == 0 ||
	       (st->st_uid == geteuid() && st->st_gid == getegid());
}

/* ---- what a map meets ---- */

/* Where from is on this host: what is bound before it, the shorter ones, leads there. */
static int find_place(const CkptNeeds *needs, size_t i, char **ret)
{
	const char *from = needs->binds[i]->from;

	for (size_t k = i; k-- > 0;) {
		const CkptNeedBind *b = needs->binds[k];

		if (!fsmap_below(from, b->from))
			continue;
		return asprintf(ret, "%s%s", strcmp(b->to, "/") ? b->to : "",
				from + strlen(b->from)) < 0
			       ? -ENOMEM
			       : 0;
	}
	*ret = strdup(from);
	return *ret ? 0 : -ENOMEM;
}

static int look_above(const char *place, CkptBindFact *f)
{
	struct stat st = { 0 };
	size_t n = fsmap_nearest(place, &st);

	f->above = strndup(place, n);
	if (!f->above)
		return -ENOMEM;
	f->has_above_mode = f->has_writable = f->has_listable = true;
	f->above_mode = st.st_mode;
	f->writable = fsmap_may_make(f->above);
	f->listable = fsmap_may_list(f->above, &st);
	return 0;
}

static int look_at(const CkptNeeds *needs, size_t i, CkptBindFact *f)
{
	struct stat st;

	f->from = strdup(needs->binds[i]->from);
	f->to = strdup(needs->binds[i]->to);
	if (!f->from || !f->to || find_place(needs, i, &f->place) < 0)
		return -ENOMEM;
	f->has_to_mode = stat(f->to, &st) == 0;
	f->to_mode = f->has_to_mode ? st.st_mode : 0;
	f->has_mode = stat(f->place, &st) == 0;
	f->mode = f->has_mode ? st.st_mode : 0;
	return f->has_mode ? 0 : look_above(f->place, f);
}

int fsmap_look_binds(const CkptNeeds *needs, CkptFacts *facts)
{
	for (size_t i = 0; i < needs->n_binds; i++) {
		CkptBindFact *f = CK_PB_NEW(CkptBindFact, ckpt_bind_fact);

		if (!f || look_at(needs, i, f) < 0 ||
		    ck_pb_append(&facts->binds, &facts->n_binds, f) < 0) {
			if (f)
				ckpt_bind_fact__free_unpacked(f, NULL);
			return -ENOMEM;
		}
	}
	return 0;
}

/* ---- where links lead ---- */

/* The longest that path is below; binds are sorted. */
static const CkptNeedBind *bind_of(const CkptNeeds *needs, const char *path)
{
	for (size_t i = needs->n_binds; i-- > 0;)
		if (fsmap_below(path, needs->binds[i]->from))
			return needs->binds[i];
	return NULL;
}

/* The path on this host of one in the job's namespace. false: it is too long. */
static bool outside(const CkptNeeds *needs, const char *path, char out[static PATH_MAX])
{
	const CkptNeedBind *b = bind_of(needs, path);
	const char *to = b && strcmp(b->to, "/") ? b->to : "";
	int n = snprintf(out, PATH_MAX, "%s%s", to, path + (b ? strlen(b->from) : 0));

	if (n == 0)
		(void)snprintf(out, PATH_MAX, "/");
	return n < PATH_MAX;
}

/* A path in the job's namespace, as far as it is resolved, and what is still to go. */
struct walk {
	char done[PATH_MAX], rest[2 * PATH_MAX];
};

/* Takes one component off the rest; a link's target goes in front of what is left. */
static bool step(const CkptNeeds *needs, struct walk *w, unsigned int *links)
{
	CK_AUTO(free) char *left = NULL;
	char host[PATH_MAX], target[PATH_MAX];
	const char *name = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(name, "/"), n = strlen(w->done);
	ssize_t got;

	left = strdup(name + len);
	if (!left || n + len + 2 > PATH_MAX)
		return false;
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		while (n && w->done[n - 1] != '/')
			n--;
		w->done[n ? n - 1 : 0] = '\0';
	} else if (len && !(len == 1 && name[0] == '.')) {
		w->done[n] = '/';
		memcpy(w->done + n + 1, name, len);
		w->done[n + 1 + len] = '\0';
	}
	got = outside(needs, w->done, host) ? readlink(host, target, sizeof(target) - 1) : -1;
	target[got > 0 ? got : 0] = '\0';
	if (got > 0 && ++*links > LINKS_MAX)
		return false;
	if (got > 0)
		w->done[target[0] == '/' ? 0 : n] = '\0';
	return snprintf(w->rest, sizeof(w->rest), "%s%s", target, left) < (int)sizeof(w->rest);
}

int fsmap_leads(const CkptNeeds *needs, const char *path, char **ret)
{
	CK_AUTO(free) struct walk *w = NULL;
	unsigned int links = 0;
	char host[PATH_MAX];

	*ret = NULL;
	if (!needs->n_binds || strlen(path) >= PATH_MAX)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	(void)snprintf(w->rest, sizeof(w->rest), "%s", path);
	while (w->rest[strspn(w->rest, "/")])
		if (!step(needs, w, &links))
			return 0;
	if (!outside(needs, w->done, host))
		return 0;
	*ret = strdup(host);
	return *ret ? 0 : -ENOMEM;
}
