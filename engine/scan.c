// SPDX-License-Identifier: Apache-2.0
/*
 * After a rewrite: where the job's memory still has the old path. Its descriptors lead elsewhere by
 * now, but a program that noted a path down will go where it was. Pages are read from the image; of
 * very large jobs only so many that nobody waits for long.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/strbuf.h"
#include "engine/restore.h"
#include "fsmap/fsmap.h"

enum { CHUNK = 1 << 20, MAX_FILES = 3 };
#define SCAN_MAX ((uint64_t)1 << 30) /* bytes: less than a second from the page cache */

enum kind { ARGUMENTS, ENVIRONMENT, STACKS, HEAP, OTHER, SHARED, FILES, N_KINDS };

static const char *const kind_names[N_KINDS] = {
	"in its arguments", "in its environment", "on stacks",           "on the heap",
	"in other memory",  "in shared memory",   "in data of programs",
};

struct scan {
	const struct engine_restore *r;
	const struct engine_rtask *t; /* NULL: shared memory */
	const char *path;
	size_t len;
	uint64_t left; /* bytes that may still be read */
	uint64_t n, by_kind[N_KINDS];
	uint32_t files[MAX_FILES]; /* programs and libraries with it, the first ones */
	size_t n_files;
	uint8_t *buf;
};

/* May c be within a component of a path? */
static bool is_name(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-' || c == '+' || c >= 0x80;
}

static const VmaEntry *vma_at(const struct engine_rtask *t, uint64_t addr)
{
	size_t lo = 0, hi = t->mm->n_vmas;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->mm->vmas[mid]->end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->mm->n_vmas && t->mm->vmas[lo]->start <= addr ? t->mm->vmas[lo] : NULL;
}

static void add_file(struct scan *s, uint32_t id)
{
	for (size_t i = 0; i < s->n_files; i++)
		if (s->files[i] == id)
			return;
	if (s->n_files < MAX_FILES)
		s->files[s->n_files++] = id;
}

static enum kind kind_at(struct scan *s, uint64_t addr)
{
	const MmEntry *mm = s->t ? s->t->mm : NULL;
	const VmaEntry *v = s->t ? vma_at(s->t, addr) : NULL;

	if (!s->t)
		return SHARED;
	if (addr >= mm->mm_arg_start && addr < mm->mm_arg_end)
		return ARGUMENTS;
	if (addr >= mm->mm_env_start && addr < mm->mm_env_end)
		return ENVIRONMENT;
	if (!v)
		return OTHER;
	if (v->status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED)) {
		add_file(s, (uint32_t)v->shmid);
		return FILES;
	}
	if (v->status & IMAGE_VMA_HEAP)
		return HEAP;
	return v->start <= mm->mm_start_stack && mm->mm_start_stack < v->end ? STACKS : OTHER;
}

/* What is in the buffer before first was looked at with the last chunk. */
static void count(struct scan *s, uint64_t addr, size_t n, size_t first)
{
	const uint8_t *end = s->buf + n, *p = s->buf;

	while ((p = memmem(p, (size_t)(end - p), s->path, s->len))) {
		size_t at = (size_t)(p - s->buf);

		p += s->len;
		if (at + s->len < first || (at && is_name(s->buf[at - 1])) ||
		    (p < end && is_name(*p)))
			continue;
		s->n++;
		s->by_kind[kind_at(s, addr + at)]++;
	}
}

/* Pages that follow each other; so much of a chunk stays that nothing is missed between two. */
static int scan_run(struct scan *s, int fd, const struct image_pages_run *run, struct ck_err *err)
{
	uint64_t len = run->pages * IMAGE_PAGE_SIZE;
	size_t kept = 0;

	if (!(run->flags & IMAGE_PE_PRESENT))
		return 0;
	for (uint64_t off = 0; off < len && s->left;) {
		size_t want = len - off < CHUNK ? (size_t)(len - off) : CHUNK;
		size_t n = kept + want;

		if (ck_pread_full(fd, s->buf + kept, want, (off_t)(run->file_off + off)) !=
		    (ssize_t)want)
			return ck_fail(err, CK_ERR_IMAGE, -EIO, "cannot read pages");
		count(s, run->vaddr + off - kept, n, kept);
		off += want;
		s->left -= want < s->left ? want : s->left;
		kept = s->len < n ? s->len : n;
		memmove(s->buf, s->buf + n - kept, kept);
	}
	return 0;
}

static int scan_pages(struct scan *s, const struct image_pagemap *p, struct ck_err *err)
{
	CK_AUTO(fd) int fd = p->n ? image_open_fd(s->r->image, IMAGE_PAGES, p->pages_id, err) : -1;
	int r = p->n && fd < 0 ? fd : 0;

	for (size_t i = 0; i < p->n && r == 0; i++)
		r = scan_run(s, fd, &p->run[i], err);
	return r;
}

static void tell(struct scan *s, struct engine_restore *r)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	const char *sep = ": ";

	for (size_t k = 0; k < N_KINDS; k++) {
		if (!s->by_kind[k])
			continue;
		ck_strbuf_addf(&b, "%s%llu %s", sep, (unsigned long long)s->by_kind[k],
			       kind_names[k]);
		sep = ", ";
	}
	for (size_t i = 0; i < s->n_files; i++) {
		const char *name = res_path_of(r, s->files[i]), *slash = strrchr(name, '/');

		ck_strbuf_addf(&b, "%s%s", i ? ", " : " (", slash ? slash + 1 : name);
	}
	ck_strbuf_addf(&b, "%s%s", s->n_files ? ")" : "",
		       s->left ? "" : "; the first GiB of its memory was looked at");
	engine_note(r,
		    "%s still stands %llu times in the memory of the job%s. A program that opens "
		    "files by such paths needs --map-mode bind",
		    s->path, (unsigned long long)s->n, ck_strbuf_str(&b));
}

static int scan_for(struct engine_restore *r, const char *path, uint8_t *buf, struct ck_err *err)
{
	struct scan s = { .r = r, .path = path, .len = strlen(path), .left = SCAN_MAX, .buf = buf };
	int rc = 0;

	for (size_t i = 0; i < r->n_tasks && rc == 0; i++) {
		s.t = &r->tasks[i];
		rc = s.t->mm ? scan_pages(&s, &s.t->pages, err) : 0;
	}
	s.t = NULL;
	for (size_t i = 0; i < r->n_shm && rc == 0; i++)
		rc = scan_pages(&s, &r->shm[i].pages, err);
	if (rc == 0 && s.n)
		tell(&s, r);
	return rc;
}

int engine_scan_paths(struct engine_restore *r, struct ck_err *err)
{
	const struct fsmap_maps *maps = r->opts->maps;
	CK_AUTO(free) uint8_t *buf = NULL;
	int rc = 0;

	if (!maps || !maps->n || r->opts->map_mode != ENGINE_MAP_REWRITE)
		return 0;
	buf = malloc(CHUNK + PATH_MAX);
	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look for paths");
	for (size_t i = 0; i < maps->n && rc == 0; i++)
		rc = scan_for(r, maps->map[i].from, buf, err);
	return rc;
}
