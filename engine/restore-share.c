// SPDX-License-Identifier: Apache-2.0
/*
 * The second half of a task's memory, when its children exist: shared mappings, the vDSO, final
 * protections, advice, locks. engine/restore-mem.c has the first half and the invariants.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/restore.h"
#include "engine/vdso.h"
#include "image/format.h"

#define ADVICE_GUARD_INSTALL 102 /* v6.13 */

/* ---- shared mappings ---- */

static const struct engine_rshm *find_shm(const struct engine_restore *r, uint64_t id)
{
	for (size_t i = 0; i < r->n_shm; i++)
		if (r->shm[i].id == id)
			return &r->shm[i];
	return NULL;
}

/* An old length of 0 makes a second mapping of the same object: mremap(2). */
static int plan_anon_shared(struct engine_restore *r, struct script *s, const VmaEntry *v,
			    struct ck_err *err)
{
	const struct engine_rshm *shm = find_shm(r, v->shmid);
	uint64_t len = v->end - v->start;

	if (!shm || v->pgoff + len > shm->size)
		return ck_fail(err, CK_ERR_BUG, -ENOENT, "cannot find shared memory %llu",
			       (unsigned long long)v->shmid);
	script_syscall(s, SCRIPT_OK, SYS_mremap, shm->addr + v->pgoff, 0, len,
		       MREMAP_MAYMOVE | MREMAP_FIXED, v->start, 0, "map shared memory at %llx-%llx",
		       (unsigned long long)v->start, (unsigned long long)v->end);
	if (v->prot != (PROT_READ | PROT_WRITE))
		script_syscall(s, SCRIPT_OK, SYS_mprotect, v->start, len, v->prot, 0, 0, 0,
			       "protect shared memory at %llx", (unsigned long long)v->start);
	return 0;
}

static int plan_file_shared(struct engine_restore *r, struct script *s, const VmaEntry *v,
			    struct ck_err *err)
{
	int fd = v->shmid > UINT32_MAX ? -1 : res_parked_fd(r, (uint32_t)v->shmid);

	if (fd < 0)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot find the file mapped at %llx",
			       (unsigned long long)v->start);
	script_syscall(s, SCRIPT_IS_ARG0, SYS_mmap, v->start, v->end - v->start, v->prot,
		       MAP_SHARED | MAP_FIXED_NOREPLACE | (v->flags & MAP_NORESERVE), (uint64_t)fd,
		       v->pgoff, "map a shared file at %llx-%llx", (unsigned long long)v->start,
		       (unsigned long long)v->end);
	return 0;
}

static int plan_mapping(struct engine_restore *r, struct engine_rtask *t, size_t i,
			struct ck_err *err)
{
	const VmaEntry *v = t->mm->vmas[i];

	if (v->status & (IMAGE_VMA_VSYSCALL | IMAGE_VMA_VDSO | IMAGE_VMA_VVAR | IMAGE_VMA_GUARD |
			 IMAGE_VMA_UPROBES))
		return 0;
	if (v->status & IMAGE_VMA_ANON_SHARED)
		return plan_anon_shared(r, t->script, v, err);
	if (v->status & (IMAGE_VMA_FILE_SHARED | IMAGE_VMA_MEMFD))
		return plan_file_shared(r, t->script, v, err);
	if (engine_mem_fill(t, i) != v->prot)
		script_syscall(t->script, SCRIPT_OK, SYS_mprotect, v->start, v->end - v->start,
			       v->prot, 0, 0, 0, "protect %llx-%llx", (unsigned long long)v->start,
			       (unsigned long long)v->end);
	return 0;
}

/* ---- advice ---- */

static const struct {
	int advice;
	enum script_expect expect; /* the kernel may have been built without */
} advices[] = {
	{ MADV_RANDOM, SCRIPT_OK },         { MADV_SEQUENTIAL, SCRIPT_OK },
	{ MADV_DONTFORK, SCRIPT_OK },       { MADV_WIPEONFORK, SCRIPT_OK },
	{ MADV_DONTDUMP, SCRIPT_OK },       { MADV_MERGEABLE, SCRIPT_DEGRADED },
	{ MADV_HUGEPAGE, SCRIPT_DEGRADED }, { MADV_NOHUGEPAGE, SCRIPT_DEGRADED },
};

static void plan_advice(struct script *s, const VmaEntry *v)
{
	uint64_t len = v->end - v->start;

	if (v->status & (IMAGE_VMA_VSYSCALL | IMAGE_VMA_VDSO | IMAGE_VMA_VVAR | IMAGE_VMA_UPROBES |
			 IMAGE_VMA_GUARD))
		return;
	for (size_t i = 0; v->has_madv && i < CK_ARRAY_SIZE(advices); i++)
		if (v->madv & (1ull << advices[i].advice))
			script_syscall(s, advices[i].expect, SYS_madvise, v->start, len,
				       (uint64_t)advices[i].advice, 0, 0, 0,
				       "give advice %d for memory at %llx", advices[i].advice,
				       (unsigned long long)v->start);
	/* Pages that may not be touched can't be faulted in; the mapping is marked all the same. */
	if (v->flags & MAP_LOCKED)
		script_syscall(s, v->prot == PROT_NONE ? SCRIPT_ANY : SCRIPT_OK, SYS_mlock2,
			       v->start, len, v->has_lock_on_fault && v->lock_on_fault, 0, 0, 0,
			       "lock memory at %llx", (unsigned long long)v->start);
}

/* Before memory is locked: then there are no more guards to be had. */
static void plan_guards(struct script *s, const MmEntry *mm)
{
	for (size_t i = 0; i < mm->n_vmas; i++)
		if (mm->vmas[i]->status & IMAGE_VMA_GUARD)
			script_syscall(s, SCRIPT_OK, SYS_madvise, mm->vmas[i]->start,
				       mm->vmas[i]->end - mm->vmas[i]->start, ADVICE_GUARD_INSTALL,
				       0, 0, 0, "guard memory at %llx",
				       (unsigned long long)mm->vmas[i]->start);
}

/* ---- the vDSO ---- */

struct old_vdso {
	const VmaEntry *code;
	uint64_t data; /* lowest address of the data pages in front of it; the code's if none */
	uint8_t *bytes;
	size_t len;
};

static int find_old(const struct engine_rtask *t, struct old_vdso *o, struct ck_err *err)
{
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (!(v->status & IMAGE_VMA_VDSO))
			continue;
		if (o->code)
			return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				       "cannot restore a task with two vDSOs");
		o->code = v;
		o->data = v->start;
		for (size_t k = i; k-- > 0;) {
			const VmaEntry *w = t->mm->vmas[k];

			if (!(w->status & IMAGE_VMA_VVAR) || w->end != o->data)
				break;
			o->data = w->start;
		}
	}
	if (o->code)
		o->len = o->code->end - o->code->start;
	if (o->len > 1 << 20)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot use the saved vDSO: %zu bytes",
			       o->len);
	return 0;
}

static int read_old(struct engine_restore *r, const struct engine_rtask *t, struct old_vdso *o,
		    struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	uint64_t got = 0;

	o->bytes = calloc(1, o->len);
	if (!o->bytes)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the saved vDSO");
	fd = image_open_fd(r->image, IMAGE_PAGES, t->pages.pages_id, err);
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < t->pages.n; i++) {
		const struct image_pages_run *run = &t->pages.run[i];
		uint64_t run_end = run->vaddr + run->pages * IMAGE_PAGE_SIZE;
		uint64_t from = run->vaddr > o->code->start ? run->vaddr : o->code->start;
		uint64_t to = run_end < o->code->end ? run_end : o->code->end;

		if (from >= to || !(run->flags & IMAGE_PE_PRESENT))
			continue;
		if (ck_pread_full(fd, o->bytes + (from - o->code->start), to - from,
				  (off_t)(run->file_off + (from - run->vaddr))) !=
		    (ssize_t)(to - from))
			return ck_fail(err, CK_ERR_IMAGE, -EIO, "cannot read the saved vDSO");
		got += to - from;
	}
	return got ? 0 : ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot find the saved vDSO's pages");
}

static void plan_vdso_moved(struct engine_restore *r, struct engine_rtask *t,
			    const struct old_vdso *o)
{
	const struct engine_rvdso *v = r->vdso;

	for (size_t i = 0; i < v->n; i++) {
		uint64_t len = v->map[i].end - v->map[i].start;

		script_syscall(t->script, SCRIPT_OK, SYS_mremap,
			       v->parked + (v->map[i].start - v->map[0].start), len, len,
			       MREMAP_MAYMOVE | MREMAP_FIXED,
			       o->data + (v->map[i].start - v->map[0].start), 0,
			       "move the vDSO to %llx", (unsigned long long)o->code->start);
	}
}

/* A thread that stands inside it would go on in code whose data is no longer there. */
static int check_outside(const struct engine_rtask *t, const struct old_vdso *o, struct ck_err *err)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		const ThreadInfoX86 *ti = t->core[i]->thread_info;
		uint64_t ip = ti ? ti->gpregs->ip : 0;

		if (ip >= o->code->start && ip < o->code->end)
			return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP,
				       "cannot restore thread %u: it was stopped inside another "
				       "kernel's vDSO",
				       t->ps->threads[i]);
	}
	return 0;
}

static int plan_vdso_redirected(struct engine_restore *r, struct engine_rtask *t,
				struct old_vdso *o, struct ck_err *err)
{
	const struct engine_rvdso *v = r->vdso;
	uint64_t now_at = v->parked + (v->n ? v->start - v->map[0].start : 0);
	uint64_t a[6] = { o->code->start, 0, o->len };
	int rc = check_outside(t, o, err);

	if (rc == 0)
		rc = engine_vdso_redirect(o->bytes, o->len, v->code, v->end - v->start, now_at,
					  err);
	if (rc < 0)
		return rc;
	a[1] = script_data(t->script, o->bytes, o->len);
	script_syscall(t->script, SCRIPT_IS_ARG0, SYS_mmap, o->code->start, o->len,
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		       (uint64_t)-1, 0, "map the old vDSO at %llx",
		       (unsigned long long)o->code->start);
	script_op(t->script, PIE_COPY, SCRIPT_OK, 0, a, "write the old vDSO");
	script_syscall(t->script, SCRIPT_OK, SYS_mprotect, o->code->start, o->len,
		       PROT_READ | PROT_EXEC, 0, 0, 0, "protect the old vDSO");
	return 0;
}

static int plan_vdso(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	const struct engine_rvdso *v = r->vdso;
	struct old_vdso o = { 0 };
	int rc = find_old(t, &o, err);

	if (rc < 0)
		return rc;
	if (!o.code) {
		if (v->n)
			script_syscall(t->script, SCRIPT_OK, SYS_munmap, v->parked,
				       engine_vdso_span(v), 0, 0, 0, 0, "unmap the vDSO");
		return 0;
	}
	rc = read_old(r, t, &o, err);
	if (rc == 0) {
		if (v->n && engine_vdso_same(o.bytes, o.len, v->code, v->end - v->start) &&
		    o.code->end - o.data == engine_vdso_span(v))
			plan_vdso_moved(r, t, &o);
		else
			rc = plan_vdso_redirected(r, t, &o, err);
	}
	free(o.bytes);
	return rc;
}

int engine_plan_shared(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	uint64_t parked = 0;
	int rc = 0;

	for (size_t i = 0; i < t->mm->n_vmas && rc == 0; i++)
		rc = plan_mapping(r, t, i, err);
	if (rc == 0)
		rc = plan_vdso(r, t, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < r->n_shm; i++)
		parked += r->shm[i].size;
	if (parked)
		script_syscall(t->script, SCRIPT_OK, SYS_munmap, r->shm[0].addr, parked, 0, 0, 0, 0,
			       "unmap parked memory");
	plan_guards(t->script, t->mm);
	for (size_t i = 0; i < t->mm->n_vmas; i++)
		plan_advice(t->script, t->mm->vmas[i]);
	if (t->mm->has_lock_future && t->mm->lock_future)
		script_syscall(t->script, SCRIPT_OK, SYS_mlockall, t->mm->lock_future, 0, 0, 0, 0,
			       0, "have all memory to come locked");
	return 0;
}
