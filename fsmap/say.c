// SPDX-License-Identifier: Apache-2.0
/* Words that several rules about files have in common. Pure. */
#include "fsmap/say.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

const char *fsmap_plural(size_t n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}

const char *fsmap_type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "something else";
	}
}

void fsmap_say_who(struct finding *f, const CkptNeedPath *need)
{
	if (need->who && need->who[0])
		finding_evidence(f, "%s", need->who);
}

struct finding *fsmap_say_many(const struct rule *r, enum finding_status status, const char *what,
			       const struct fsmap_items *items, size_t from, size_t to,
			       struct findings *out)
{
	CK_AUTO(free) char *key = fsmap_key(&items->item[from]);
	CK_AUTO(strbuf) struct ck_strbuf names = CK_STRBUF_INIT;
	struct finding *f;

	if (!key) {
		out->failed = true;
		return NULL;
	}
	f = findings_add(out, r, status, key);
	fsmap_list(&names, items, from, to);
	finding_need(f, "%zu %s: %s", to - from, what, ck_strbuf_str(&names));
	fsmap_say_who(f, items->item[from].need);
	return f;
}

static const char *source_host(const struct rule_input *in)
{
	return in->source ? in->source->hostname : NULL;
}

static bool is_source(const struct rule_input *in)
{
	const char *host = source_host(in), *here = in->target->hostname;

	return host && here && !strcmp(host, here);
}

void fsmap_say_copy(const struct rule_input *in, struct finding *f, const char *path, bool dir)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	const char *host = source_host(in);

	fsmap_quote(&b, path);
	if (!ck_strbuf_ok(&b))
		return;
	if (is_source(in))
		finding_remedy(f, "put %s back as it was when the image was made",
			       ck_strbuf_str(&b));
	else if (host && dir)
		finding_remedy(f, "mkdir -p %s && rsync -a %s:%s/ %s/", ck_strbuf_str(&b), host,
			       ck_strbuf_str(&b), ck_strbuf_str(&b));
	else if (host)
		finding_remedy(f, "rsync -a %s:%s %s", host, ck_strbuf_str(&b), ck_strbuf_str(&b));
	else
		finding_remedy(f, "copy %s here from the host where the image was made",
			       ck_strbuf_str(&b));
}

void fsmap_say_copy_many(const struct rule_input *in, struct finding *f,
			 const struct fsmap_items *items, size_t from, size_t to)
{
	CK_AUTO(free) char *key = fsmap_key(&items->item[from]);
	bool coarse = false;

	for (size_t i = from; i < to && !coarse; i++)
		coarse = fsmap_is_coarse(&items->item[i]);
	if (!key)
		return;
	/* A whole tree may be far more than the job needs of it. */
	if (!coarse)
		fsmap_say_copy(in, f, key, true);
	else if (is_source(in) || !source_host(in))
		finding_remedy(f, "put them back as they were when the image was made; ckpt show "
				  "--image DIR ckpt-needs lists them");
	else
		finding_remedy(f, "bring them from %s; ckpt show --image DIR ckpt-needs lists them",
			       source_host(in));
}
