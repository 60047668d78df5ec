// SPDX-License-Identifier: Apache-2.0
/*
 * Pages of the stopped tree into pages-*.img, and the pagemaps that say where they belong. A page
 * moves once: from the task into a buffer, from there into the image (engine/out.c). Not written:
 * pages of files that nobody wrote to, untouched pages, and zero pages where absence means zero.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "engine/out.h"
#include "engine/pagemap.h"
#include "engine/watch.h"
#include "image/format.h"
#include "image/pagemap.pb-c.h"

enum { PAGE = 4096, BATCH = 256 };

/* One pagemap with its pages file. */
struct writer {
	struct engine_dump *d;
	const struct engine_task *task;
	struct image_file *map, *pages;
	uint32_t pages_id;
	bool zero_is_absent;
	bool gently;               /* see read_task() */
	int64_t shift;             /* added to a task's address for the pagemap */
	uint64_t run, run_pages;   /* the entry that is growing */
	const struct proc_map *at; /* the mapping that engine_write_pages() is in */

	/* What is read next, all of one task: into the room that d->out has. */
	struct iovec batch[BATCH];
	size_t n_batch, batch_len;
	uint8_t *room;
	size_t room_len;
};

static void writer_done(struct writer *w)
{
	if (w->pages) /* nothing may be on its way into a file that is closed */
		engine_out_wait(w->d->out);
	if (w->map)
		image_file_close(w->map, NULL);
	if (w->pages)
		image_file_close(w->pages, NULL);
}

static inline void ck_auto_writer(struct writer *w)
{
	writer_done(w);
}

static int writer_open(struct writer *w, enum image_kind kind, unsigned int id, uint32_t pages_id,
		       struct ck_err *err)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	int r = 0;

	head.pages_id = w->pages_id = pages_id;
	if (!w->d->out)
		r = engine_out_new(!(w->d->opts->flags & ENGINE_LEAVE_RUNNING), &w->d->out, err);
	if (r == 0)
		r = image_create(w->d->images, kind, id, &w->map, err);
	if (r == 0)
		r = image_append(w->map, &head.base, err);
	if (r == 0)
		r = image_create(w->d->images, IMAGE_PAGES, pages_id, &w->pages, err);
	if (r < 0)
		return r;
	engine_out_begin(w->d->out, w->pages);
	w->room = engine_out_room(w->d->out, &w->room_len);
	return 0;
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

/* ---- a batch: what was read becomes the file's next pages ---- */

/* n pages that belong at addr (in the pagemap's terms) are the file's next. */
static int note_pages(struct writer *w, uint64_t addr, size_t n, struct ck_err *err)
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
	return 0;
}

static bool is_zero(const uint8_t *page)
{
	const uint64_t *w = (const void *)page;

	return !w[0] && !memcmp(page, page + 8, PAGE - 8);
}

/* n pages of data at addr. Those to be kept are moved to *to, the end of what is kept so far. */
static int keep_pages(struct writer *w, uint64_t addr, const uint8_t *data, size_t n, uint8_t **to,
		      struct ck_err *err)
{
	for (size_t i = 0, from = 0; i <= n; i++) {
		size_t len = (i - from) * PAGE;
		int r;

		if (i < n && !(w->zero_is_absent && is_zero(data + i * PAGE)))
			continue;
		if (len) {
			if (*to != data + from * PAGE)
				memmove(*to, data + from * PAGE, len);
			*to += len;
			r = note_pages(w, addr + from * PAGE, i - from, err);
			if (r < 0)
				return r;
		}
		from = i + 1;
	}
	return 0;
}

/*
 * process_vm_readv() is the fast way; it fails on what the task itself can't read. It pins what it
 * reads, for which the kernel first makes a copy of a page that several tasks have by
 * copy-on-write: a dump of a forked job would multiply its memory. There, /proc/PID/mem it is.
 * Linux mm/gup.c:gup_must_unshare(), v5.19
 */
static int read_batch(const struct writer *w, struct ck_err *err)
{
	struct iovec to = { w->room, w->batch_len };
	ssize_t got =
		w->gently ? 0 : process_vm_readv(w->task->pid, &to, 1, w->batch, w->n_batch, 0);
	size_t done = got > 0 ? (size_t)got : 0, off = 0;

	for (size_t i = 0; i < w->n_batch; off += w->batch[i++].iov_len) {
		size_t have = done > off ? done - off : 0, len = w->batch[i].iov_len;
		uint64_t addr = (uintptr_t)w->batch[i].iov_base;

		if (have >= len)
			continue;
		got = ck_pread_full(w->task->memfd, w->room + off + have, len - have,
				    (off_t)(addr + have));
		if (got != (ssize_t)(len - have))
			return ck_fail(err, CK_ERR_SYS, got < 0 ? (int)got : -EIO,
				       "cannot read memory at %llx", (unsigned long long)addr);
	}
	return 0;
}

static void scanned(struct engine_dump *d, size_t len)
{
	d->scanned += len / PAGE;
	engine_progress(&d->opts->watch, d->scanned * PAGE, d->to_scan * PAGE);
}

static int flush_batch(struct writer *w, struct ck_err *err)
{
	uint8_t *to = w->room;
	size_t off = 0;
	int r = w->n_batch ? read_batch(w, err) : 0;

	for (size_t i = 0; i < w->n_batch && r == 0; off += w->batch[i++].iov_len)
		r = keep_pages(w, (uintptr_t)w->batch[i].iov_base + (uint64_t)w->shift,
			       w->room + off, w->batch[i].iov_len / PAGE, &to, err);
	scanned(w->d, w->batch_len);
	w->n_batch = w->batch_len = 0;
	if (r == 0)
		r = engine_out_add(w->d->out, (size_t)(to - w->room), err);
	w->room = engine_out_room(w->d->out, &w->room_len);
	return r;
}

/* Whatever differs between two ranges (task, shift, flags) must be set before, and the batch
 * flushed. */
static int copy_run(uint64_t start, uint64_t end, void *arg, struct ck_err *err)
{
	struct writer *w = arg;

	while (start < end) {
		size_t room = w->room_len - w->batch_len;
		size_t len = end - start < room ? (size_t)(end - start) : room;
		int r = 0;

		/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address in the task */
		w->batch[w->n_batch++] = (struct iovec){ (void *)(uintptr_t)start, len };
		w->batch_len += len;
		start += len;
		if (w->n_batch == BATCH || w->batch_len == w->room_len)
			r = flush_batch(w, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int keep_sums(struct engine_dump *d, const struct image_known_sums *sums, struct ck_err *err)
{
	struct image_known_sums *grown;

	if (!sums->n)
		return 0;
	grown = reallocarray(d->sums, d->n_sums + 1, sizeof(*grown));
	if (!grown) {
		free(sums->sums);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot keep checksums");
	}
	d->sums = grown;
	d->sums[d->n_sums++] = *sums;
	return 0;
}

static int writer_close(struct writer *w, struct ck_err *err)
{
	struct image_known_sums sums = { .pages_id = w->pages_id };
	int r = flush_batch(w, err), r2;

	if (r == 0)
		r = end_run(w, err);
	if (r == 0)
		r = engine_out_end(w->d->out, &sums.sums, &sums.n, err);
	if (r == 0)
		r = keep_sums(w->d, &sums, err);
	if (r < 0)
		return r;
	r = image_file_close(ck_take_ptr(&w->map), err);
	r2 = image_file_close(ck_take_ptr(&w->pages), r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

/* ---- private memory ---- */

/* Droppable memory is randomness that must not come twice; its user knows what zeros mean. */
static bool is_copied(const struct proc_map *m)
{
	const uint32_t not = IMAGE_VMA_VVAR | IMAGE_VMA_VSYSCALL | IMAGE_VMA_ANON_SHARED |
			     IMAGE_VMA_FILE_SHARED | IMAGE_VMA_VDSO;

	/* One without pages is a reservation: without PAGEMAP_SCAN a slow one to walk. */
	return !(engine_map_status(m) & not ) && (m->rss_kib || m->swap_kib) &&
	       !(m->vmflags & PROC_VM_DROPPABLE);
}

/* A run of a task's own pages, over one or several mappings. */
static int copy_private(uint64_t start, uint64_t end, void *arg, struct ck_err *err)
{
	struct writer *w = arg;
	int r = 0;

	while (start < end && r == 0) {
		bool anon, gently;
		uint64_t stop;

		while (w->at->end <= start)
			w->at++;
		stop = end < w->at->end ? end : w->at->end;
		anon = engine_map_status(w->at) & IMAGE_VMA_ANON_PRIVATE;
		gently = !w->at->r || w->at->mapped_twice_kib;
		if (anon != w->zero_is_absent || gently != w->gently)
			r = flush_batch(w, err);
		w->zero_is_absent = anon;
		w->gently = gently;
		if (r == 0)
			r = copy_run(start, stop, w, err);
		start = stop;
	}
	return r;
}

/* The vDSO without our stub in it. */
static int copy_vdso(struct writer *w, const struct proc_map *m, struct ck_err *err)
{
	int r = flush_batch(w, err);

	for (size_t off = 0; off < w->task->vdso_len && r == 0;) {
		size_t left = w->task->vdso_len - off;
		size_t len = left < w->room_len ? left : w->room_len;

		memcpy(w->room, w->task->vdso + off, len);
		r = note_pages(w, m->start + off, len / PAGE, err);
		if (r == 0)
			r = engine_out_add(w->d->out, len, err);
		w->room = engine_out_room(w->d->out, &w->room_len);
		scanned(w->d, len);
		off += len;
	}
	return r;
}

uint64_t engine_pages_to_scan(const struct engine_dump *d)
{
	uint64_t kib = 0;

	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->maps.n; k++) {
			const struct proc_map *m = &d->tasks[i]->maps.m[k];

			if (!m->shared)
				kib += m->anon_kib + m->swap_kib;
		}
	for (size_t i = 0; i < d->n_shmem; i++)
		kib += d->shmem[i]->rss_kib + d->shmem[i]->swap_kib;
	return kib * 1024 / PAGE;
}

int engine_write_pages(struct engine_dump *d, struct engine_task *t, uint32_t pages_id,
		       struct ck_err *err)
{
	CK_AUTO(writer) struct writer w = { .d = d, .task = t };
	CK_AUTO(fd) int pagemap = openat(t->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	const struct proc_map *m = t->maps.m, *end = m + t->maps.n, *last;
	int r;

	/* Its memory is another task's, which has them. */
	if (t->kin[ENGINE_KIN_VM])
		end = m;

	if (pagemap < 0)
		return ck_fail_errno(err, "cannot open the pagemap");
	r = writer_open(&w, IMAGE_PAGEMAP, (unsigned int)t->ns_pid, pages_id, err);
	for (; m < end && r == 0; m = last + 1) {
		last = m;
		if (engine_map_status(m) & IMAGE_VMA_VDSO) {
			r = copy_vdso(&w, m, err);
			continue;
		}
		if (!is_copied(m))
			continue;
		/* A call for each of ten thousand neighbours would take longer than their pages. */
		while (last + 1 < end && last[1].start == last->end && is_copied(last + 1))
			last++;
		w.at = m;
		r = engine_private_pages(pagemap, m->start, last->end, copy_private, &w, err);
	}
	return r < 0 ? r : writer_close(&w, err);
}

int engine_write_runs(struct engine_dump *d, uint32_t id, uint32_t pages_id,
		      const struct engine_run *runs, size_t n, struct ck_err *err)
{
	CK_AUTO(writer) struct writer w = { .d = d, .zero_is_absent = true };
	int r = writer_open(&w, IMAGE_PAGEMAP_SHMEM, id, pages_id, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		if (w.task != runs[i].task || w.shift != runs[i].shift)
			r = flush_batch(&w, err);
		w.task = runs[i].task;
		w.shift = runs[i].shift;
		if (r == 0)
			r = copy_run(runs[i].start, runs[i].end, &w, err);
	}
	return r < 0 ? r : writer_close(&w, err);
}
