// SPDX-License-Identifier: Apache-2.0
/*
 * Pages of the stopped tree into pages-*.img, and the pagemaps that say where they belong. A page
 * moves once: from the task into a buffer, from there into the image. Not written: pages of files
 * that nobody wrote to, untouched pages, and zero pages where absence means zero.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "engine/pagemap.h"
#include "image/format.h"
#include "image/pagemap.pb-c.h"

enum { PAGE = 4096, CHUNK = 1 << 20 };

/* One pagemap with its pages file. */
struct writer {
	struct engine_dump *d;
	const struct engine_task *task;
	struct image_file *map, *pages;
	uint8_t *buf; /* CHUNK bytes */
	bool zero_is_absent;
	int64_t shift;           /* added to a task's address for the pagemap */
	uint64_t run, run_pages; /* the entry that is growing */
};

static void writer_done(struct writer *w)
{
	if (w->map)
		image_file_close(w->map, NULL);
	if (w->pages)
		image_file_close(w->pages, NULL);
	free(w->buf);
}

static inline void ck_auto_writer(struct writer *w)
{
	writer_done(w);
}

static int writer_open(struct writer *w, enum image_kind kind, unsigned int id, uint32_t pages_id,
		       struct ck_err *err)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	int r;

	w->buf = malloc(CHUNK);
	if (!w->buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot copy pages");
	head.pages_id = pages_id;
	r = image_create(w->d->images, kind, id, &w->map, err);
	if (r == 0)
		r = image_append(w->map, &head.base, err);
	if (r == 0)
		r = image_create(w->d->images, IMAGE_PAGES, pages_id, &w->pages, err);
	return r;
}

static int end_run(struct writer *w, struct ck_err *err)
{
	PagemapEntry e = PAGEMAP_ENTRY__INIT;

	if (!w->run_pages)
		return 0;
	e.vaddr = w->run;
	e.compat_nr_pages = (uint32_t)w->run_pages;
	e.has_nr_pages = 1;
	e.nr_pages = w->run_pages;
	e.has_flags = 1;
	e.flags = IMAGE_PE_PRESENT;
	w->run_pages = 0;
	return image_append(w->map, &e.base, err);
}

static int writer_close(struct writer *w, struct ck_err *err)
{
	int r = end_run(w, err), r2;

	r2 = image_file_close(ck_take_ptr(&w->map), r < 0 ? NULL : err);
	r = r < 0 ? r : r2;
	r2 = image_file_close(ck_take_ptr(&w->pages), r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

/* n pages that belong at addr (in the pagemap's terms) are written. */
static int put_pages(struct writer *w, uint64_t addr, const uint8_t *data, size_t n,
		     struct ck_err *err)
{
	int r = 0;

	if (w->run_pages && (w->run + w->run_pages * PAGE != addr || w->run_pages > 1u << 30))
		r = end_run(w, err);
	if (r < 0)
		return r;
	if (!w->run_pages)
		w->run = addr;
	w->run_pages += n;
	w->d->pages += n;
	return image_append_raw(w->pages, data, n * PAGE, err);
}

static bool is_zero(const uint8_t *page)
{
	const uint64_t *w = (const void *)page;

	return !w[0] && !memcmp(page, page + 8, PAGE - 8);
}

static int put_chunk(struct writer *w, uint64_t addr, const uint8_t *data, size_t n,
		     struct ck_err *err)
{
	size_t from = 0;
	int r;

	if (!w->zero_is_absent)
		return put_pages(w, addr, data, n, err);
	for (size_t i = 0; i <= n; i++) {
		if (i < n && !is_zero(data + i * PAGE))
			continue;
		if (i > from) {
			r = put_pages(w, addr + from * PAGE, data + from * PAGE, i - from, err);
			if (r < 0)
				return r;
		}
		from = i + 1;
	}
	return 0;
}

/*
 * Through /proc/PID/mem: it reads PROT_NONE too, and, unlike process_vm_readv, leaves copy-on-write
 * pages shared. That one pins what it reads, for which the kernel first makes a copy of a page that
 * several tasks have: a dump of a forked job would multiply its memory.
 * Linux mm/gup.c:gup_must_unshare(), v5.19
 */
static int read_task(const struct engine_task *t, uint64_t addr, uint8_t *buf, size_t len,
		     struct ck_err *err)
{
	ssize_t got = ck_pread_full(t->memfd, buf, len, (off_t)addr);

	if (got == (ssize_t)len)
		return 0;
	return ck_fail(err, CK_ERR_SYS, got < 0 ? (int)got : -EIO, "cannot read memory at %llx",
		       (unsigned long long)addr);
}

static int copy_run(uint64_t start, uint64_t end, void *arg, struct ck_err *err)
{
	struct writer *w = arg;

	for (uint64_t at = start; at < end;) {
		size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		int r = read_task(w->task, at, w->buf, len, err);

		if (r == 0)
			r = put_chunk(w, at + (uint64_t)w->shift, w->buf, len / PAGE, err);
		if (r < 0)
			return r;
		at += len;
	}
	return 0;
}

int engine_write_pages(struct engine_dump *d, struct engine_task *t, uint32_t pages_id,
		       struct ck_err *err)
{
	CK_AUTO(writer) struct writer w = { .d = d, .task = t };
	CK_AUTO(fd) int pagemap = openat(t->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	int r;

	if (pagemap < 0)
		return ck_fail_errno(err, "cannot open the pagemap");
	r = writer_open(&w, IMAGE_PAGEMAP, (unsigned int)t->ns_pid, pages_id, err);
	for (size_t i = 0; i < t->maps.n && r == 0; i++) {
		const struct proc_map *m = &t->maps.m[i];
		uint32_t status = engine_map_status(m);

		if (status & (IMAGE_VMA_VVAR | IMAGE_VMA_VSYSCALL | IMAGE_VMA_ANON_SHARED |
			      IMAGE_VMA_FILE_SHARED))
			continue;
		if (status & IMAGE_VMA_VDSO) { /* without our stub in it */
			r = put_pages(&w, m->start, t->vdso, t->vdso_len / PAGE, err);
			continue;
		}
		if (!m->rss_kib && !m->swap_kib)
			continue; /* a reservation: without PAGEMAP_SCAN a slow one to walk */
		w.zero_is_absent = (status & IMAGE_VMA_ANON_PRIVATE) != 0;
		r = engine_private_pages(pagemap, m->start, m->end, copy_run, &w, err);
	}
	return r < 0 ? r : writer_close(&w, err);
}

int engine_write_runs(struct engine_dump *d, uint32_t id, uint32_t pages_id,
		      const struct engine_run *runs, size_t n, struct ck_err *err)
{
	CK_AUTO(writer) struct writer w = { .d = d, .zero_is_absent = true };
	int r = writer_open(&w, IMAGE_PAGEMAP_SHMEM, id, pages_id, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		w.task = runs[i].task;
		w.shift = runs[i].shift;
		r = copy_run(runs[i].start, runs[i].end, &w, err);
	}
	return r < 0 ? r : writer_close(&w, err);
}
