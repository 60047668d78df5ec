// SPDX-License-Identifier: Apache-2.0
/*
 * Parsers of maps, smaps and mountinfo. The kernel escapes a newline in a name, so that a line is
 * always a line; a name may otherwise hold anything, and may itself end in " (deleted)": who cares
 * must compare device and inode of what is there.
 */
#include "base/procfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/procfs-text.h"

/* ---- maps and smaps ---- */

static const struct {
	char name[3];
	enum proc_vmflag flag;
} vmflag_names[] = {
	{ "gd", PROC_VM_GROWSDOWN },  { "lo", PROC_VM_LOCKED },       { "sr", PROC_VM_SEQ_READ },
	{ "rr", PROC_VM_RAND_READ },  { "dc", PROC_VM_DONTCOPY },     { "de", PROC_VM_DONTEXPAND },
	{ "ac", PROC_VM_ACCOUNT },    { "nr", PROC_VM_NORESERVE },    { "ht", PROC_VM_HUGETLB },
	{ "sf", PROC_VM_SYNC },       { "wf", PROC_VM_WIPEONFORK },   { "dd", PROC_VM_DONTDUMP },
	{ "mm", PROC_VM_MIXEDMAP },   { "hg", PROC_VM_HUGEPAGE },     { "nh", PROC_VM_NOHUGEPAGE },
	{ "mg", PROC_VM_MERGEABLE },  { "um", PROC_VM_UFFD_MISSING }, { "uw", PROC_VM_UFFD_WP },
	{ "io", PROC_VM_IO },         { "pf", PROC_VM_PFNMAP },       { "dp", PROC_VM_DROPPABLE },
	{ "ms", PROC_VM_MAYSHARE },   { "sh", PROC_VM_SHARED },       { "sl", PROC_VM_SEALED },
	{ "ui", PROC_VM_UFFD_MINOR }, { "ss", PROC_VM_SHSTK },        { "lf", PROC_VM_LOCKONFAULT },
};

static uint32_t parse_vmflags(struct ck_text *t)
{
	struct ck_text word;
	uint32_t flags = 0;

	/* Compared by hand: ten thousand mappings have two million comparisons. */
	while (ck_text_word(t, &word))
		for (size_t i = 0; i < sizeof(vmflag_names) / sizeof(vmflag_names[0]); i++)
			if (ck_text_len(&word) == 2 && word.p[0] == vmflag_names[i].name[0] &&
			    word.p[1] == vmflag_names[i].name[1])
				flags |= (uint32_t)vmflag_names[i].flag;
	return flags;
}

static bool parse_perm(struct ck_text *t, char yes, char no, bool *ret)
{
	if (t->p == t->end || (*t->p != yes && *t->p != no))
		return false;
	*ret = *t->p++ == yes;
	return true;
}

/* "START-END rwxp OFFSET MAJ:MIN INODE     NAME" */
static int parse_map_head(struct ck_text line, struct proc_map *m)
{
	static const char deleted[] = " (deleted)";
	const size_t n = sizeof(deleted) - 1;

	if (!ck_text_u64(&line, 16, &m->start) || !ck_text_skip(&line, "-") ||
	    !ck_text_u64(&line, 16, &m->end) || !ck_text_skip(&line, " "))
		return -EINVAL;
	if (!parse_perm(&line, 'r', '-', &m->r) || !parse_perm(&line, 'w', '-', &m->w) ||
	    !parse_perm(&line, 'x', '-', &m->x) || !parse_perm(&line, 's', 'p', &m->shared))
		return -EINVAL;
	if (!ck_text_skip(&line, " ") || !ck_text_u64(&line, 16, &m->pgoff) ||
	    !ck_text_u32(&line, 16, &m->dev_major) || !ck_text_skip(&line, ":") ||
	    !ck_text_u32(&line, 16, &m->dev_minor) || !ck_text_u64(&line, 10, &m->inode))
		return -EINVAL;
	if (m->end <= m->start || (line.p < line.end && *line.p != ' '))
		return -EINVAL;
	ck_text_blanks(&line);
	if (ck_text_len(&line) > n && memcmp(line.end - n, deleted, n) == 0) {
		m->deleted = true;
		line.end -= n;
	}
	m->name = ck_text_dup(&line, CK_UNESCAPE_NEWLINE);
	return m->name ? 0 : -ENOMEM;
}

/* A head starts with lower-case hexadecimal digits and '-', a key of smaps with a capital. */
static bool is_map_head(const struct ck_text *line)
{
	return line->p < line->end &&
	       ((*line->p >= '0' && *line->p <= '9') || (*line->p >= 'a' && *line->p <= 'f'));
}

static int parse_map_key(struct ck_text line, struct proc_map *m)
{
	uint64_t kib;

	/* Most lines are other ones. */
	if (line.p == line.end || !*line.p || !strchr("AVPRS", *line.p))
		return 0;
	if (ck_text_skip(&line, "VmFlags:"))
		m->vmflags = parse_vmflags(&line);
	else if (ck_text_skip(&line, "ProtectionKey:"))
		return ck_text_int(&line, &m->protection_key) ? 0 : -EINVAL;
	else if (ck_text_skip(&line, "Rss:"))
		return ck_text_u64(&line, 10, &m->rss_kib) ? 0 : -EINVAL;
	else if (ck_text_skip(&line, "Anonymous:"))
		return ck_text_u64(&line, 10, &m->anon_kib) ? 0 : -EINVAL;
	else if (ck_text_skip(&line, "Swap:"))
		return ck_text_u64(&line, 10, &m->swap_kib) ? 0 : -EINVAL;
	else if (ck_text_skip(&line, "Shared_Clean:") || ck_text_skip(&line, "Shared_Dirty:")) {
		if (!ck_text_u64(&line, 10, &kib))
			return -EINVAL;
		m->mapped_twice_kib += kib;
	}
	return 0;
}

int proc_parse_map_line(struct ck_text *line, struct proc_maps *maps)
{
	struct proc_map *last = maps->n ? &maps->m[maps->n - 1] : NULL;
	struct proc_map m = { .protection_key = -1 };
	int r;

	if (!is_map_head(line))
		return last ? parse_map_key(*line, last) : -EINVAL;
	r = parse_map_head(*line, &m);
	if (r == 0 && last && m.start < last->end)
		r = -EINVAL;
	if (r == 0 && !ck_text_grow(&maps->m, maps->n, sizeof(m)))
		r = -ENOMEM;
	if (r < 0) {
		free(m.name);
		return r;
	}
	maps->m[maps->n++] = m;
	return 0;
}

int proc_parse_maps(const char *text, size_t len, struct proc_maps *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = ck_text_line(&t, &line)) > 0) {
		r = proc_parse_map_line(&line, ret);
		if (r < 0)
			break;
	}
	if (r < 0)
		proc_maps_done(ret);
	return r;
}

void proc_maps_done(struct proc_maps *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->m[i].name);
	free(m->m);
	memset(m, 0, sizeof(*m));
}

/* ---- mountinfo ---- */

static void mount_done(struct proc_mount *m)
{
	free(m->root);
	free(m->point);
	free(m->options);
	free(m->fstype);
	free(m->source);
	free(m->super_options);
}

/* A field ends at exactly one space; it may be empty (a mount without a source). */
static int take_field(struct ck_text *t, char **ret)
{
	struct ck_text f;

	if (!ck_text_until(t, ' ', &f))
		return -EINVAL;
	*ret = ck_text_dup(&f, CK_UNESCAPE_ALL);
	return *ret ? 0 : -ENOMEM;
}

/* "36 35 98:0 ROOT POINT OPTIONS [TAG...] - FSTYPE SOURCE SUPEROPTIONS" */
static int parse_mount_line(struct ck_text *line, struct proc_mount *m)
{
	struct ck_text tag;
	int r;

	if (!ck_text_int(line, &m->id) || !ck_text_int(line, &m->parent) ||
	    !ck_text_u32(line, 10, &m->major) || !ck_text_skip(line, ":") ||
	    !ck_text_u32(line, 10, &m->minor) || !ck_text_skip(line, " "))
		return -EINVAL;
	if ((r = take_field(line, &m->root)) < 0 || (r = take_field(line, &m->point)) < 0 ||
	    (r = take_field(line, &m->options)) < 0)
		return r;
	do {
		if (!ck_text_until(line, ' ', &tag))
			return -EINVAL;
	} while (!ck_text_is(&tag, "-"));
	if ((r = take_field(line, &m->fstype)) < 0 || (r = take_field(line, &m->source)) < 0)
		return r;
	m->super_options = ck_text_dup(line, CK_UNESCAPE_ALL);
	return m->super_options ? 0 : -ENOMEM;
}

int proc_parse_mountinfo(const char *text, size_t len, struct proc_mounts *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = ck_text_line(&t, &line)) > 0) {
		struct proc_mount m = { .id = 0 };

		r = parse_mount_line(&line, &m);
		if (r == 0 && !ck_text_grow(&ret->m, ret->n, sizeof(m)))
			r = -ENOMEM;
		if (r < 0) {
			mount_done(&m);
			break;
		}
		ret->m[ret->n++] = m;
	}
	if (r < 0)
		proc_mounts_done(ret);
	return r;
}

void proc_mounts_done(struct proc_mounts *m)
{
	for (size_t i = 0; i < m->n; i++)
		mount_done(&m->m[i]);
	free(m->m);
	memset(m, 0, sizeof(*m));
}
