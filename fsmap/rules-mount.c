// SPDX-License-Identifier: Apache-2.0
/*
 * The rules about filesystems: is what is mounted on the target what the job had there, and is
 * there room for what travels with it? Pure.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "fsmap/say.h"

/* ---- another shared filesystem ---- */

/* Files are compared one by one. What the job will look for in a directory nobody can compare. */
static bool relies_on_mount(const CkptNeedPath *p)
{
	return !p->carried && S_ISDIR(p->mode);
}

static const CkptPathFact *fact_at(const CkptFacts *t, size_t i, const char *path)
{
	return i < t->n_paths && !strcmp(t->paths[i]->path, path) ? t->paths[i] : NULL;
}

/* The first path that relies on m and is on another filesystem there; NULL if there is none. */
static const CkptNeedPath *find_elsewhere(const struct rule_input *in, const CkptNeedMount *m,
					  enum fsmap_shared *ret)
{
	const CkptNeedPath *server = NULL;

	*ret = FSMAP_SHARED_SAME;
	for (size_t i = 0; i < in->needs->n_paths; i++) {
		const CkptNeedPath *p = in->needs->paths[i];
		const CkptPathFact *f = fact_at(in->target, i, p->path);
		enum fsmap_shared s;

		if (!relies_on_mount(p) || fsmap_need_mount(in->needs, p) != m)
			continue;
		/* What is missing is told by another rule. */
		if (f && !f->exists)
			continue;
		s = fsmap_compare_shared(m, in->target, p->path);
		if (s == FSMAP_SHARED_OTHER) {
			*ret = s;
			return p;
		}
		if (s == FSMAP_SHARED_SERVER)
			server = p;
	}
	if (server)
		*ret = FSMAP_SHARED_SERVER;
	return server;
}

static void say_mount_command(struct finding *f, const CkptNeedMount *m, const char *rule)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

	ck_strbuf_addf(&b, "mount -t %s ", m->fstype);
	fsmap_quote(&b, m->source);
	ck_strbuf_addf(&b, " ");
	fsmap_quote(&b, m->point);
	if (ck_strbuf_ok(&b))
		finding_remedy(f, "%s; if the same files are there: --override %s",
			       ck_strbuf_str(&b), rule);
}

void fsmap_other_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	bool any = false, asked = false;

	for (size_t i = 0; i < in->needs->n_mounts; i++) {
		const CkptNeedMount *m = in->needs->mounts[i];
		const CkptMount *t;
		const CkptNeedPath *p;
		enum fsmap_shared s;
		struct finding *f;

		/* Whoever maps a mount says what is to be used instead. */
		if (!fsmap_is_shared(m->fstype) || !m->source || m->moved)
			continue;
		asked = true;
		p = find_elsewhere(in, m, &s);
		t = p ? fsmap_mount_of(in->target, p->path) : NULL;
		if (!t)
			continue;
		any = true;
		f = findings_add(out, r,
				 s == FSMAP_SHARED_OTHER ? FINDING_UNKNOWN : FINDING_DEGRADED,
				 m->point);
		finding_need(f, "%s from %s", m->fstype, m->source);
		finding_have(f, "%s from %s, mounted at %s", t->fstype, t->source ? t->source : "?",
			     t->point);
		finding_evidence(f, "%s, %s", p->path, p->who ? p->who : "?");
		if (s == FSMAP_SHARED_OTHER)
			say_mount_command(f, m, r->id);
		else
			finding_remedy(f, "none is needed if both names mean the same server");
	}
	if (!any)
		findings_add(out, r, asked ? FINDING_OK : FINDING_NA, NULL);
}

/* ---- CVMFS ---- */

static void say_revision(const struct rule *r, const struct rule_input *in, const CkptNeedMount *m,
			 const CkptMount *t, struct findings *out)
{
	struct finding *f;

	if (!t->fqrn || strcmp(t->fqrn, m->fqrn) != 0) {
		f = findings_add(out, r, in->live ? FINDING_UNKNOWN : FINDING_DEFERRED, m->point);
		finding_need(f, "the CVMFS repository %s", m->fqrn);
		if (t->fqrn)
			finding_have(f, "%s", t->fqrn);
		finding_remedy(f, "mount %s there; if the same files are there: --override %s",
			       m->fqrn, r->id);
		return;
	}
	f = findings_add(out, r, FINDING_DEGRADED, m->point);
	finding_need(f, "revision %llu of %s%s%s", (unsigned long long)m->revision, m->fqrn,
		     m->root_hash ? ", root hash " : "", m->root_hash ? m->root_hash : "");
	finding_have(f, "revision %llu", (unsigned long long)t->revision);
	finding_evidence(f, "user.revision; the files that the job has were compared one by one");
	if (m->root_hash)
		finding_remedy(f, "none is needed; CVMFS_ROOT_HASH=%s in %s.conf pins it",
			       m->root_hash, m->fqrn);
	else
		finding_remedy(f, "none is needed");
}

void fsmap_revision_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	bool any = false, asked = false;

	for (size_t i = 0; i < in->needs->n_mounts; i++) {
		const CkptNeedMount *m = in->needs->mounts[i];
		const CkptMount *t = m->fqrn ? fsmap_mount_of(in->target, m->point) : NULL;

		/* One that isn't there at all is told by another rule. */
		if (!t || strcmp(t->point, m->point) != 0)
			continue;
		asked = true;
		if (t->fqrn && !strcmp(t->fqrn, m->fqrn) && t->revision == m->revision)
			continue;
		any = true;
		say_revision(r, in, m, t, out);
	}
	if (!any)
		findings_add(out, r, asked ? FINDING_OK : FINDING_NA, NULL);
}

/* ---- room ---- */

struct room {
	uint64_t device, free, wanted;
	size_t n;
	const CkptNeedPath *first;
};

static int add_room(struct room **rooms, size_t *n, const CkptNeedPath *p, const CkptPathFact *f)
{
	struct room *r, *grown;
	uint64_t bytes = p->disk;

	for (size_t i = 0; i < *n; i++) {
		r = &(*rooms)[i];
		if (r->device != f->device)
			continue;
		r->wanted = r->wanted > UINT64_MAX - bytes ? UINT64_MAX : r->wanted + bytes;
		r->n++;
		return 0;
	}
	grown = reallocarray(*rooms, *n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*rooms = grown;
	grown[(*n)++] = (struct room){ f->device, f->free, bytes, 1, p };
	return 0;
}

static unsigned long long mib(uint64_t bytes)
{
	return (bytes >> 20) + (bytes & 0xfffff ? 1 : 0);
}

static void say_room(const struct rule *r, const struct rule_input *in, const struct room *room,
		     struct findings *out)
{
	const CkptMount *m = fsmap_mount_of(in->target, room->first->path);
	struct finding *f = findings_add(out, r, FINDING_REFUSE, m ? m->point : NULL);

	finding_need(f, "%llu MiB for %zu carried %s: %s%s", mib(room->wanted), room->n,
		     fsmap_plural(room->n, "file", "files"), room->first->path,
		     room->n > 1 ? " and others" : "");
	finding_have(f, "%llu MiB free", (unsigned long long)(room->free >> 20));
	fsmap_say_who(f, room->first);
	finding_remedy(f, "free %llu MiB there", mib(room->wanted - room->free));
	if (f)
		f->retry = true;
}

void fsmap_space_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	CK_AUTO(free) struct room *rooms = NULL;
	bool bad = false;
	size_t n = 0;

	for (size_t i = 0; i < in->needs->n_paths; i++) {
		const CkptNeedPath *p = in->needs->paths[i];
		const CkptPathFact *f = fact_at(in->target, i, p->path);

		if (!p->has_disk || !f || !f->has_free || !f->has_device)
			continue;
		if (add_room(&rooms, &n, p, f) < 0) {
			out->failed = true;
			return;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (rooms[i].wanted > rooms[i].free) {
			say_room(r, in, &rooms[i], out);
			bad = true;
		}
	if (!bad)
		findings_add(out, r, n ? FINDING_OK : FINDING_NA, NULL);
}
