// SPDX-License-Identifier: Apache-2.0
/* mm-*.img: the address space of a process without its contents. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "engine/inject.h"
#include "engine/pagemap.h"
#include "image/format.h"
#include "image/mm.pb-c.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* v6.11 */
#endif

static void mm_free(MmEntry *m)
{
	mm_entry__free_unpacked(m, NULL);
}

CK_DEFINE_AUTO(mm, MmEntry *, mm_free);

/* VmFlags that madvise(2) sets, and by which advice */
static const struct {
	uint32_t flag;
	int advice;
} advices[] = {
	{ PROC_VM_SEQ_READ, MADV_SEQUENTIAL },   { PROC_VM_RAND_READ, MADV_RANDOM },
	{ PROC_VM_DONTCOPY, MADV_DONTFORK },     { PROC_VM_DONTDUMP, MADV_DONTDUMP },
	{ PROC_VM_MERGEABLE, MADV_MERGEABLE },   { PROC_VM_HUGEPAGE, MADV_HUGEPAGE },
	{ PROC_VM_NOHUGEPAGE, MADV_NOHUGEPAGE }, { PROC_VM_WIPEONFORK, MADV_WIPEONFORK },
};

static uint64_t advice_bits(const struct proc_map *m)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < CK_ARRAY_SIZE(advices); i++)
		if (m->vmflags & advices[i].flag)
			bits |= 1ull << advices[i].advice;
	return bits;
}

static uint32_t map_flags(const struct proc_map *m, uint32_t status)
{
	uint32_t flags = m->shared                        ? MAP_SHARED
			 : m->vmflags & PROC_VM_DROPPABLE ? MAP_DROPPABLE
							  : MAP_PRIVATE;

	if (!(status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED)))
		flags |= MAP_ANONYMOUS;
	if (m->vmflags & PROC_VM_GROWSDOWN)
		flags |= MAP_GROWSDOWN;
	if (m->vmflags & PROC_VM_LOCKED)
		flags |= MAP_LOCKED;
	if (m->vmflags & PROC_VM_NORESERVE)
		flags |= MAP_NORESERVE;
	return flags;
}

static VmaEntry *make_vma(const struct engine_dump *d, const struct engine_task *t, size_t i)
{
	const struct proc_map *m = &t->maps.m[i];
	uint32_t status = engine_map_status(m);
	VmaEntry *v = malloc(sizeof(*v));

	if (!v)
		return NULL;
	vma_entry__init(v);
	v->start = m->start;
	v->end = m->end;
	v->prot = (m->r ? PROT_READ : 0u) | (m->w ? PROT_WRITE : 0u) | (m->x ? PROT_EXEC : 0u);
	v->flags = map_flags(m, status);
	v->status = status;
	v->fd = -1;
	v->has_madv = 1;
	v->madv = advice_bits(m);
	v->has_lock_on_fault = v->lock_on_fault = (m->vmflags & PROC_VM_LOCKONFAULT) != 0;
	if (status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED)) {
		v->pgoff = m->pgoff;
		v->shmid = t->map_file_ids[i];
	} else if (status & IMAGE_VMA_ANON_SHARED) {
		v->pgoff = m->pgoff;
		v->shmid = engine_shmem_id(d, m);
	}
	return v;
}

static int make_vmas(const struct engine_dump *d, const struct engine_task *t, MmEntry *mm)
{
	mm->vmas = calloc(t->maps.n ? t->maps.n : 1, sizeof(*mm->vmas));
	if (!mm->vmas)
		return -ENOMEM;
	for (size_t i = 0; i < t->maps.n; i++) {
		mm->vmas[i] = make_vma(d, t, i);
		if (!mm->vmas[i])
			return -ENOMEM;
		mm->n_vmas++;
	}
	return 0;
}

struct guards {
	MmEntry *mm;
	size_t room;
};

static int add_guard(uint64_t start, uint64_t end, void *arg, struct ck_err *err)
{
	struct guards *g = arg;
	VmaEntry **grown, *v;

	if (g->mm->n_vmas == g->room) {
		g->room = g->room * 2 + 8;
		grown = reallocarray(g->mm->vmas, g->room, sizeof(*grown));
		if (!grown)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list guard regions");
		g->mm->vmas = grown;
	}
	v = malloc(sizeof(*v));
	if (!v)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list guard regions");
	vma_entry__init(v);
	v->start = start;
	v->end = end;
	v->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	v->status = IMAGE_VMA_GUARD;
	v->fd = -1;
	g->mm->vmas[g->mm->n_vmas++] = v;
	return 0;
}

/* Behind all mappings. */
static int make_guards(const struct engine_task *t, MmEntry *mm, struct ck_err *err)
{
	CK_AUTO(fd) int pagemap = openat(t->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	struct guards g = { .mm = mm, .room = mm->n_vmas };
	uint64_t end = 0;

	if (pagemap < 0)
		return ck_fail_errno(err, "cannot open the pagemap");
	for (size_t i = 0; i < t->maps.n; i++)
		if (!(engine_map_status(&t->maps.m[i]) & IMAGE_VMA_VSYSCALL))
			end = t->maps.m[i].end;
	return engine_guard_pages(pagemap, 0, end, add_guard, &g, err);
}

/* Whether what the task maps from now on is locked shows in what we have mapped there. */
static int find_lock_future(const struct engine_task *t, MmEntry *mm, struct ck_err *err)
{
	CK_AUTO(proc_status) struct proc_status status = { 0 };
	CK_AUTO(proc_maps) struct proc_maps maps = { 0 };
	int r = proc_read_status(t->dirfd, &status, err);

	if (r < 0 || !status.vm_lck_kib || !t->inject)
		return r;
	r = proc_read_smaps(t->dirfd, &maps, err);
	for (size_t i = 0; i < maps.n; i++)
		if (maps.m[i].start == t->inject->area && (maps.m[i].vmflags & PROC_VM_LOCKED)) {
			mm->has_lock_future = true;
			mm->lock_future = MCL_FUTURE;
			if (maps.m[i].vmflags & PROC_VM_LOCKONFAULT)
				mm->lock_future |= MCL_ONFAULT;
		}
	return r;
}

/* Without the closing AT_NULL pair, which the kernel sees to: CRIU takes 44 words at most. */
static int make_auxv(const struct engine_task *t, MmEntry *mm)
{
	size_t n = t->n_auxv;

	while (n >= 2 && t->auxv[n - 2] == 0)
		n -= 2;
	mm->mm_saved_auxv = calloc(n + 1, sizeof(*mm->mm_saved_auxv));
	if (!mm->mm_saved_auxv)
		return -ENOMEM;
	memcpy(mm->mm_saved_auxv, t->auxv, n * sizeof(*t->auxv));
	mm->n_mm_saved_auxv = n;
	return 0;
}

int engine_write_mm(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	const struct proc_stat *s = &t->stat;
	CK_AUTO(mm) MmEntry *mm = malloc(sizeof(*mm));
	int r;

	if (!mm)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe the address space");
	mm_entry__init(mm);
	mm->mm_start_code = s->start_code;
	mm->mm_end_code = s->end_code;
	mm->mm_start_data = s->start_data;
	mm->mm_end_data = s->end_data;
	mm->mm_start_stack = s->start_stack;
	mm->mm_start_brk = s->start_brk;
	mm->mm_brk = t->view->brk;
	mm->mm_arg_start = s->arg_start;
	mm->mm_arg_end = s->arg_end;
	mm->mm_env_start = s->env_start;
	mm->mm_env_end = s->env_end;
	mm->exe_file_id = t->exe_file_id;
	mm->has_dumpable = 1;
	mm->dumpable = (int32_t)t->view->dumpable;
	mm->has_thp_disabled = t->view->thp_disabled != 0;
	mm->thp_disabled = t->view->thp_disabled != 0;
	if (make_vmas(d, t, mm) < 0 || make_auxv(t, mm) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe the address space");
	r = make_guards(t, mm, err);
	if (r == 0)
		r = find_lock_future(t, mm, err);
	if (r < 0)
		return r;
	return image_write_one(d->images, IMAGE_MM, (unsigned int)t->ns_pid, &mm->base, err);
}
