// SPDX-License-Identifier: Apache-2.0
/*
 * The plan of a task's memory. Private memory is put in place and filled before a task's children
 * are made, so that they inherit it: a child keeps what it has in common with its maker, writes
 * only the pages that differ, and so goes on sharing the others by copy-on-write as it did before.
 * Everything else follows when all tasks exist.
 *
 * 1. Until the end of engine_plan_private() a mapping that has pages is readable and writable,
 *    whatever its final protection; others have their final protection at once.
 * 2. Nothing of the trunk's is left but the window: zone, parked shared memory, parked vDSO.
 * 3. Shared mappings, the vDSO, final protections and advice come after the children.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "engine/restore.h"
#include "engine/span.h"
#include "engine/vdso.h"
#include "image/format.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* v6.11 */
#endif

/* What of a mapping's flags mmap takes again; the rest is set by other means, or information. */
#define KEEP_FLAGS (MAP_GROWSDOWN | MAP_NORESERVE | MAP_STACK)
/* What makes two mappings different kinds of memory. */
#define KIND_FLAGS (MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE)

struct engine_rmem {
	uint32_t *fill;            /* per mapping: its protection while children are made */
	struct engine_spans pages; /* that the task has of its own */
};

void engine_mem_done(struct engine_rtask *t)
{
	if (!t->mem)
		return;
	engine_spans_done(&t->mem->pages);
	free(t->mem->fill);
	free(t->mem);
	t->mem = NULL;
}

uint32_t engine_mem_fill(const struct engine_rtask *t, size_t vma)
{
	return t->mem->fill[vma];
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot plan memory");
}

int engine_pages_fd(const struct engine_restore *r, const struct engine_rtask *t)
{
	return res_base(r) + (int)res_count(r) + (int)(t - r->tasks);
}

static bool is_private(const VmaEntry *v)
{
	return !(v->status & (IMAGE_VMA_VSYSCALL | IMAGE_VMA_VDSO | IMAGE_VMA_VVAR |
			      IMAGE_VMA_GUARD | IMAGE_VMA_UPROBES | IMAGE_VMA_ANON_SHARED |
			      IMAGE_VMA_FILE_SHARED | IMAGE_VMA_MEMFD)) &&
	       (v->flags & MAP_TYPE) != MAP_SHARED;
}

static bool is_file(const VmaEntry *v)
{
	return !(v->flags & MAP_ANONYMOUS) &&
	       (v->status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED | IMAGE_VMA_MEMFD));
}

/* Contents that the kernel may drop at any time: randomness that must not come twice. */
static bool is_droppable(const VmaEntry *v)
{
	return (v->flags & MAP_TYPE) == MAP_DROPPABLE;
}

static bool same_kind(const VmaEntry *a, const VmaEntry *b)
{
	if ((a->flags & KIND_FLAGS) != (b->flags & KIND_FLAGS) || is_droppable(a))
		return false;
	return !is_file(a) || (a->shmid == b->shmid && a->pgoff - a->start == b->pgoff - b->start);
}

/* ---- what there is to do ---- */

/* A zero page of a file's mapping is a page; of anonymous memory it is none. */
static bool run_is_page(const struct image_pages_run *run, const VmaEntry *v)
{
	return (run->flags & IMAGE_PE_PRESENT) || is_file(v);
}

/* Calls fn for each part of a pagemap that lies in one mapping. */
static int each_part(const struct engine_rtask *t,
		     int (*fn)(const VmaEntry *v, size_t vma, const struct image_pages_run *run,
			       uint64_t start, uint64_t end, void *arg),
		     void *arg)
{
	size_t v = 0;
	int rc = 0;

	for (size_t i = 0; i < t->pages.n && rc == 0; i++) {
		const struct image_pages_run *run = &t->pages.run[i];
		uint64_t at = run->vaddr, end = at + run->pages * IMAGE_PAGE_SIZE;

		while (at < end && rc == 0) {
			uint64_t stop;

			while (t->mm->vmas[v]->end <= at)
				v++;
			stop = end < t->mm->vmas[v]->end ? end : t->mm->vmas[v]->end;
			rc = fn(t->mm->vmas[v], v, run, at, stop, arg);
			at = stop;
		}
	}
	return rc;
}

static int note_part(const VmaEntry *v, size_t vma, const struct image_pages_run *run,
		     uint64_t start, uint64_t end, void *arg)
{
	struct engine_rmem *m = arg;

	if (!is_private(v) || is_droppable(v) || !run_is_page(run, v))
		return 0;
	if ((v->prot & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE))
		m->fill[vma] = PROT_READ | PROT_WRITE;
	engine_spans_add(&m->pages, start, end);
	return 0;
}

static int prepare(struct engine_rtask *t, struct ck_err *err)
{
	struct engine_rmem *m = calloc(1, sizeof(*m));

	if (!m)
		return no_memory(err);
	t->mem = m;
	m->fill = calloc(t->mm->n_vmas + 1, sizeof(m->fill[0]));
	if (!m->fill)
		return no_memory(err);
	for (size_t i = 0; i < t->mm->n_vmas; i++)
		m->fill[i] = t->mm->vmas[i]->prot;
	each_part(t, note_part, m);
	return m->pages.failed ? no_memory(err) : 0;
}

/* ---- single operations ---- */

static void plan_unmap(struct script *s, uint64_t start, uint64_t end)
{
	if (start < end)
		script_syscall(s, SCRIPT_OK, SYS_munmap, start, end - start, 0, 0, 0, 0,
			       "unmap %llx-%llx", (unsigned long long)start,
			       (unsigned long long)end);
}

static void plan_protect(struct script *s, uint64_t start, uint64_t end, uint32_t prot)
{
	script_syscall(s, SCRIPT_OK, SYS_mprotect, start, end - start, prot, 0, 0, 0,
		       "protect %llx-%llx", (unsigned long long)start, (unsigned long long)end);
}

static int plan_map(struct engine_restore *r, struct script *s, const VmaEntry *v, uint64_t start,
		    uint64_t end, uint32_t prot, struct ck_err *err)
{
	uint64_t flags = (v->flags & (MAP_TYPE | KEEP_FLAGS)) | MAP_FIXED_NOREPLACE;
	int fd = -1;

	if (is_file(v)) {
		fd = res_parked_fd(r, (uint32_t)v->shmid);
		if (v->shmid > UINT32_MAX || fd < 0)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot find the file mapped at %llx",
				       (unsigned long long)v->start);
	} else {
		flags |= MAP_ANONYMOUS;
	}
	script_syscall(s, SCRIPT_IS_ARG0, SYS_mmap, start, end - start, prot, flags, (uint64_t)fd,
		       is_file(v) ? v->pgoff + (start - v->start) : 0, "map %s at %llx-%llx",
		       is_file(v) ? "a file" : "memory", (unsigned long long)start,
		       (unsigned long long)end);
	return 0;
}

/* ---- from the maker's memory, or from nothing ---- */

/* Grows what is inherited in place, so that it stays one mapping; only its last page is named, for
 * mremap wants a range of a single mapping. */
static void plan_grow(struct script *s, uint64_t end, uint64_t to)
{
	script_syscall(s, SCRIPT_OK, SYS_mremap, end - PIE_PAGE, PIE_PAGE, to - end + PIE_PAGE, 0,
		       0, 0, "extend memory at %llx to %llx", (unsigned long long)end,
		       (unsigned long long)to);
}

struct inherit {
	struct engine_rtask *base;
	struct engine_spans kept; /* what t and base have in common */
	struct engine_spans
		ends; /* one byte behind each of base's mappings that is kept to its end */
};

static void find_kept(const struct engine_rtask *t, struct inherit *in)
{
	const MmEntry *a = t->mm, *b = in->base->mm;
	size_t k = 0;

	for (size_t i = 0; i < a->n_vmas; i++) {
		const VmaEntry *v = a->vmas[i];

		while (k < b->n_vmas && b->vmas[k]->end <= v->start)
			k++;
		for (size_t m = k; m < b->n_vmas && b->vmas[m]->start < v->end; m++) {
			const VmaEntry *w = b->vmas[m];
			uint64_t start = v->start > w->start ? v->start : w->start;
			uint64_t end = v->end < w->end ? v->end : w->end;

			if (!is_private(v) || !is_private(w) || !same_kind(v, w) || start >= end)
				continue;
			engine_spans_add(&in->kept, start, end);
			if (end == w->end)
				engine_spans_add(&in->ends, end, end + 1);
		}
	}
}

static void plan_unmap_rest(struct script *s, const struct engine_rtask *base,
			    const struct engine_spans *kept)
{
	for (size_t i = 0; i < base->mm->n_vmas; i++) {
		const VmaEntry *w = base->mm->vmas[i];
		struct engine_span one = { w->start, w->end };
		struct engine_spans whole = { .s = &one, .n = 1 };
		CK_AUTO(engine_spans) struct engine_spans rest = { 0 };

		if (!is_private(w))
			continue;
		engine_spans_minus(&whole, kept, &rest);
		for (size_t k = 0; k < rest.n; k++)
			plan_unmap(s, rest.s[k].start, rest.s[k].end);
	}
}

static bool contains(const struct engine_spans *s, uint64_t addr)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->s[i].start <= addr && addr < s->s[i].end)
			return true;
	return false;
}

/* The protection that an inherited address has. */
static uint32_t inherited_prot(const struct engine_rtask *base, uint64_t addr)
{
	for (size_t i = 0; i < base->mm->n_vmas; i++)
		if (base->mm->vmas[i]->start <= addr && addr < base->mm->vmas[i]->end)
			return base->mem->fill[i];
	return 0;
}

/* One mapping: the parts that are not inherited are made, the others get the right protection. */
static int plan_vma(struct engine_restore *r, struct engine_rtask *t, size_t i,
		    const struct inherit *in, struct ck_err *err)
{
	const VmaEntry *v = t->mm->vmas[i];
	struct engine_span one = { v->start, v->end };
	struct engine_spans whole = { .s = &one, .n = 1 };
	CK_AUTO(engine_spans) struct engine_spans fresh = { 0 };
	bool protect = false;
	int rc = 0;

	engine_spans_minus(&whole, &in->kept, &fresh);
	if (fresh.failed)
		return no_memory(err);
	for (size_t k = 0; k < fresh.n && rc == 0; k++) {
		uint64_t start = fresh.s[k].start, end = fresh.s[k].end;

		if (start > v->start && contains(&in->ends, start)) {
			plan_grow(t->script, start, end);
			protect = protect || inherited_prot(in->base, start - 1) != t->mem->fill[i];
		} else {
			rc = plan_map(r, t->script, v, start, end, t->mem->fill[i], err);
		}
	}
	for (size_t k = 0; in->base && k < in->base->mm->n_vmas; k++) {
		const VmaEntry *w = in->base->mm->vmas[k];

		if (w->start < v->end && v->start < w->end && is_private(w) &&
		    in->base->mem->fill[k] != t->mem->fill[i])
			protect = true;
	}
	if (rc == 0 && protect)
		plan_protect(t->script, v->start, v->end, t->mem->fill[i]);
	return rc;
}

/* ---- contents ---- */

struct runs {
	const struct engine_spans *warm; /* inherited with contents: compare before writing */
	size_t next;                     /* the first of them that can still matter */
	struct pie_run *run;
	size_t n, size;
	bool failed, bounce;
};

static void add_run(struct runs *out, uint64_t start, uint64_t end, enum pie_run_mode mode)
{
	struct pie_run *last = out->n ? &out->run[out->n - 1] : NULL, *grown;

	if (start >= end)
		return;
	if (mode == PIE_RUN_COMPARE || mode == PIE_RUN_SKIP)
		out->bounce = true;
	if (last && last->mode == mode && last->addr + last->len == start) {
		last->len += end - start;
		return;
	}
	if (out->n == out->size || !out->run) {
		size_t size = out->size ? out->size * 2 : 64;

		grown = reallocarray(out->run, size, sizeof(*grown));
		if (!grown) {
			out->failed = true;
			return;
		}
		out->run = grown;
		out->size = size;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): n == size holds at first */
	out->run[out->n++] = (struct pie_run){ .addr = start, .len = end - start, .mode = mode };
}

static int add_part(const VmaEntry *v, size_t vma, const struct image_pages_run *run,
		    uint64_t start, uint64_t end, void *arg)
{
	struct runs *out = arg;
	uint64_t at = start;

	(void)vma;
	if (!is_private(v) || is_droppable(v)) {
		if (run->flags & IMAGE_PE_PRESENT)
			add_run(out, start, end, PIE_RUN_SKIP);
		return 0;
	}
	if (!(run->flags & IMAGE_PE_PRESENT)) {
		if (is_file(v))
			add_run(out, start, end, PIE_RUN_ZERO);
		return 0;
	}
	while (out->next < out->warm->n && out->warm->s[out->next].end <= at)
		out->next++;
	for (size_t i = out->next; i < out->warm->n && out->warm->s[i].start < end; i++) {
		const struct engine_span *w = &out->warm->s[i];

		if (w->start > at)
			add_run(out, at, w->start, PIE_RUN_READ);
		at = w->start > at ? w->start : at;
		add_run(out, at, w->end < end ? w->end : end, PIE_RUN_COMPARE);
		at = w->end < end ? w->end : end;
	}
	add_run(out, at, end, PIE_RUN_READ);
	return 0;
}

/* Pages lie in the file in the order of the runs; a plan that relied on less would read others'. */
static int check_order(const struct engine_rtask *t, struct ck_err *err)
{
	uint64_t off = 0;

	for (size_t i = 0; i < t->pages.n; i++) {
		if (!(t->pages.run[i].flags & IMAGE_PE_PRESENT))
			continue;
		if (t->pages.run[i].file_off != off)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot use the pagemap: pages out of order");
		off += t->pages.run[i].pages * IMAGE_PAGE_SIZE;
	}
	return 0;
}

static int plan_contents(struct engine_restore *r, struct engine_rtask *t,
			 const struct engine_spans *warm, struct ck_err *err)
{
	struct runs out = { .warm = warm };
	struct pie_pages p = { .fd = engine_pages_fd(r, t) };
	const uint64_t *sums = NULL;
	size_t n_sums = 0;
	uint64_t a[6] = { 0 };
	int rc = check_order(t, err);

	if (rc == 0)
		rc = image_pages_sums(r->image, t->pages.pages_id, &sums, &n_sums, err);
	if (rc < 0)
		return rc;
	each_part(t, add_part, &out);
	if (out.failed) {
		free(out.run);
		return no_memory(err);
	}
	for (size_t i = 0; i < out.n; i++) {
		uint64_t pages = out.run[i].len / IMAGE_PAGE_SIZE;

		r->pages += out.run[i].mode == PIE_RUN_ZERO ? 0 : pages;
		r->compared += out.run[i].mode == PIE_RUN_COMPARE ? pages : 0;
	}
	if (out.n) {
		p.n_runs = out.n;
		p.runs = script_data(t->script, out.run, out.n * sizeof(out.run[0]));
		p.n_sums = n_sums;
		p.sums = n_sums ? script_data(t->script, sums, n_sums * sizeof(sums[0])) : 0;
		a[0] = script_data(t->script, &p, sizeof(p));
		script_op(t->script, PIE_PAGES, SCRIPT_OK, 0, a, "fill memory from pages-%u.img",
			  t->pages.pages_id);
		if (out.bounce)
			script_wants_bounce(t->script);
	}
	free(out.run);
	return 0;
}

/* Pages that the maker has and the task has not are given back. */
static void plan_drop(struct engine_rtask *t, const struct engine_spans *warm)
{
	CK_AUTO(engine_spans) struct engine_spans gone = { 0 };

	engine_spans_minus(warm, &t->mem->pages, &gone);
	for (size_t i = 0; i < gone.n; i++)
		script_syscall(t->script, SCRIPT_OK, SYS_madvise, gone.s[i].start,
			       gone.s[i].end - gone.s[i].start, MADV_DONTNEED, 0, 0, 0,
			       "drop memory at %llx", (unsigned long long)gone.s[i].start);
}

static void plan_leave_trunk(struct engine_restore *r, struct engine_rtask *t)
{
	const struct engine_rvdso *v = r->vdso;

	for (size_t i = 0; i < v->n; i++) {
		uint64_t to = v->parked + (v->map[i].start - v->map[0].start);
		uint64_t len = v->map[i].end - v->map[i].start;

		script_syscall(t->script, SCRIPT_OK, SYS_mremap, v->map[i].start, len, len,
			       MREMAP_MAYMOVE | MREMAP_FIXED, to, 0, "move the vDSO aside");
	}
	plan_unmap(t->script, 0, r->window);
	plan_unmap(t->script, r->window + r->window_len, r->task_size);
}

int engine_plan_private(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	CK_AUTO(engine_spans) struct engine_spans warm = { 0 };
	struct inherit in = { .base = engine_memory_base(t->proc) };
	int rc = prepare(t, err);

	if (rc == 0 && in.base) {
		find_kept(t, &in);
		plan_unmap_rest(t->script, in.base, &in.kept);
		engine_spans_and(&in.kept, &in.base->mem->pages, &warm);
	} else if (rc == 0) {
		plan_leave_trunk(r, t);
	}
	if (rc == 0)
		rc = engine_plan_program(r, t, err);
	for (size_t i = 0; i < t->mm->n_vmas && rc == 0; i++)
		if (is_private(t->mm->vmas[i]))
			rc = plan_vma(r, t, i, &in, err);
	if (rc == 0 && (in.kept.failed || in.ends.failed || warm.failed))
		rc = no_memory(err);
	if (rc == 0) {
		plan_drop(t, &warm);
		rc = plan_contents(r, t, &warm, err);
	}
	engine_spans_done(&in.kept);
	engine_spans_done(&in.ends);
	return rc;
}
