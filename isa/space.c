// SPDX-License-Identifier: Apache-2.0
/*
 * A task's memory as its image has it: the pages that the image holds, over the files that are
 * mapped below them. Also what the kernel held for it: registers, handlers of signals, the
 * auxiliary vector.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/pb.h"
#include "image/fdinfo.pb-c.h"
#include "image/format.h"
#include "isa/isa-internal.h"

enum { CHUNK = 1 << 20 };

static inline void ck_auto_message(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}

static int fail_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at the image's code");
}

/* ---- files ---- */

static const char *path_of(const struct image_entries *files, uint64_t id)
{
	for (size_t i = 0; i < files->n; i++) {
		const FileEntry *f = (const FileEntry *)files->m[i];

		if (f->id == id && f->reg)
			return f->reg->name;
	}
	return NULL;
}

static const CkptNeedPath *need_of(const CkptNeeds *needs, const char *path)
{
	for (size_t i = 0; i < needs->n_paths; i++)
		if (!strcmp(needs->paths[i]->path, path))
			return needs->paths[i];
	return NULL;
}

/* The object of a path, read if it is the first time. -ENOMEM. */
static int find_object(struct isa_objects *all, const CkptNeeds *needs, const char *path,
		       struct isa_object **ret)
{
	const CkptNeedPath *need;
	struct isa_object *o;
	int r = 0;

	for (size_t i = 0; i < all->n; i++)
		if (!strcmp(all->o[i]->path, path)) {
			*ret = all->o[i];
			return 0;
		}
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->index = all->n;
	o->path = strdup(path);
	need = need_of(needs, path);
	if (!o->path)
		r = -ENOMEM;
	else if (!need || (need->has_carried && need->carried))
		r = (o->unknown = strdup("is in the job's own namespace or without a name"))
			    ? 0
			    : -ENOMEM;
	else
		r = isa_object_load(o, need);
	if (r == 0)
		r = ck_pb_append(&all->o, &all->n, o);
	if (r < 0) {
		isa_object_done(o);
		free(o);
		return r;
	}
	*ret = o;
	return 0;
}

/* ---- mappings ---- */

static int add_module(struct isa_space *s, size_t *size, struct isa_object *o, uint64_t base,
		      int32_t *ret)
{
	for (size_t i = 0; i < s->n_modules; i++)
		if (s->modules[i].object == o && s->modules[i].base == base) {
			*ret = (int32_t)i;
			return 0;
		}
	if (!isa_grow(&s->modules, s->n_modules, size, sizeof(*s->modules)))
		return -ENOMEM;
	s->modules[s->n_modules] = (struct isa_module){ .object = o, .base = base };
	*ret = (int32_t)s->n_modules++;
	return 0;
}

static bool is_special(const VmaEntry *v)
{
	return v->status & (IMAGE_VMA_VDSO | IMAGE_VMA_VVAR | IMAGE_VMA_VSYSCALL | IMAGE_VMA_GUARD |
			    IMAGE_VMA_UPROBES);
}

static bool is_file(const VmaEntry *v)
{
	return v->status & (IMAGE_VMA_FILE_PRIVATE | IMAGE_VMA_FILE_SHARED);
}

/* exec: takes the mappings with code; later those without, of files that have some. */
static int take_file(struct isa_space *s, size_t *size, const CkptNeeds *needs,
		     struct isa_objects *all, const struct image_entries *files, const VmaEntry *v,
		     struct isa_vma *ret)
{
	const char *path = path_of(files, v->shmid);
	struct isa_object *o = NULL;
	uint64_t vaddr;
	int r = 0;

	if (!path)
		return 0;
	if (v->prot & PROT_EXEC)
		r = find_object(all, needs, path, &o);
	for (size_t i = 0; !o && i < s->n_modules; i++)
		if (!strcmp(s->modules[i].object->path, path))
			o = s->modules[i].object;
	if (r < 0 || !o)
		return r;
	if (o->unknown || !isa_object_vaddr(o, v->pgoff, &vaddr))
		vaddr = v->start;
	return add_module(s, size, o, v->start - vaddr, &ret->module);
}

static int take_mappings(struct isa_space *s, const MmEntry *mm, const CkptNeeds *needs,
			 struct isa_objects *all, const struct image_entries *files)
{
	size_t size = 0;
	int r = 0;

	s->vmas = calloc(mm->n_vmas + 1, sizeof(*s->vmas));
	if (!s->vmas)
		return -ENOMEM;
	for (int exec = 1; exec >= 0 && r == 0; exec--) {
		s->n_vmas = 0;
		for (size_t i = 0; i < mm->n_vmas && r == 0; i++) {
			const VmaEntry *v = mm->vmas[i];
			struct isa_vma *m = &s->vmas[s->n_vmas];

			if (is_special(v))
				continue;
			if (exec)
				*m = (struct isa_vma){ v->start,  v->end, v->pgoff, v->prot,
						       v->status, -1,     v->shmid };
			if (is_file(v) && exec == !!(v->prot & PROT_EXEC))
				r = take_file(s, &size, needs, all, files, v, m);
			s->n_vmas++;
		}
	}
	return r;
}

const struct isa_vma *isa_space_vma(const struct isa_space *s, uint64_t addr)
{
	size_t low = 0, high = s->n_vmas;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (addr < s->vmas[mid].start)
			high = mid;
		else if (addr >= s->vmas[mid].end)
			low = mid + 1;
		else
			return &s->vmas[mid];
	}
	return NULL;
}

const struct isa_module *isa_space_code(const struct isa_space *s, uint64_t addr)
{
	const struct isa_vma *v = isa_space_vma(s, addr);

	if (!v || !(v->prot & PROT_EXEC) || v->module < 0 || s->modules[v->module].object->unknown)
		return NULL;
	return &s->modules[v->module];
}

/* ---- contents ---- */

/* Number of the first run that ends behind addr. */
static size_t first_run(const struct image_pagemap *p, uint64_t addr)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->run[mid].vaddr + p->run[mid].pages * IMAGE_PAGE_SIZE <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct image_pages_run *run_at(const struct image_pagemap *p, uint64_t addr)
{
	size_t i = first_run(p, addr);

	return i < p->n && p->run[i].vaddr <= addr ? &p->run[i] : NULL;
}

/* Within one page. */
static bool read_page(const struct isa_space *s, uint64_t addr, void *buf, size_t len)
{
	const struct image_pages_run *run = run_at(&s->pages, addr);
	const struct isa_vma *v;
	const uint8_t *p;

	if (run && !(run->flags & IMAGE_PE_PRESENT)) {
		memset(buf, 0, len);
		return !(run->flags & IMAGE_PE_PARENT);
	}
	if (run)
		return s->pages_fd >= 0 &&
		       ck_pread_full(s->pages_fd, buf, len,
				     (off_t)(run->file_off + (addr - run->vaddr))) == (ssize_t)len;
	v = isa_space_vma(s, addr);
	if (!v)
		return false;
	memset(buf, 0, len);
	if (v->status & IMAGE_VMA_ANON_PRIVATE)
		return true;
	if (v->module < 0 || s->modules[v->module].object->unknown)
		return false;
	p = isa_object_at(s->modules[v->module].object, addr - s->modules[v->module].base, len);
	if (p)
		memcpy(buf, p, len);
	return true;
}

bool isa_space_read(void *space, uint64_t addr, void *buf, size_t len)
{
	const struct isa_space *s = space;
	uint8_t *to = buf;

	while (len) {
		size_t n = IMAGE_PAGE_SIZE - addr % IMAGE_PAGE_SIZE;

		n = n < len ? n : len;
		if (!read_page(s, addr, to, n))
			return false;
		addr += n;
		to += n;
		len -= n;
	}
	return true;
}

/* Pieces of [start, end) that lie in a pages file. */
static int walk_run(int fd, const struct image_pages_run *run, uint64_t start, uint64_t end,
		    uint64_t *buf, isa_words_fn fn, void *arg, struct ck_err *err)
{
	int r = 0;

	while (start < end && r == 0) {
		size_t n = end - start < CHUNK ? (size_t)(end - start) : CHUNK;
		ssize_t got =
			ck_pread_full(fd, buf, n, (off_t)(run->file_off + (start - run->vaddr)));

		if (got != (ssize_t)n)
			return ck_fail(err, CK_ERR_IMAGE, got < 0 ? (int)got : -EBADMSG,
				       "cannot read the image's pages");
		r = fn(arg, start, buf, n / sizeof(*buf));
		start += n;
	}
	return r;
}

static int walk_map(const struct image_pagemap *p, int fd, uint64_t start, uint64_t end,
		    uint64_t *buf, isa_words_fn fn, void *arg, struct ck_err *err)
{
	int r = 0;

	for (size_t i = first_run(p, start); i < p->n && p->run[i].vaddr < end && r == 0; i++) {
		const struct image_pages_run *run = &p->run[i];
		uint64_t from = run->vaddr > start ? run->vaddr : start;
		uint64_t to = run->vaddr + run->pages * IMAGE_PAGE_SIZE;

		to = to < end ? to : end;
		if ((run->flags & IMAGE_PE_PRESENT) && from < to)
			r = walk_run(fd, run, from, to, buf, fn, arg, err);
	}
	return r;
}

static int walk_shared(const struct isa_space *s, const struct isa_vma *v, uint64_t *buf,
		       isa_words_fn fn, void *arg, struct ck_err *err)
{
	CK_AUTO(image_pagemap) struct image_pagemap map = { 0 };
	CK_AUTO(fd) int fd = -EBADF;
	int r = image_read_pagemap(s->img, IMAGE_PAGEMAP_SHMEM, (unsigned int)v->shmid, &map, err);

	if (r == 0)
		r = fd = image_open_fd(s->img, IMAGE_PAGES, map.pages_id, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return walk_map(&map, fd, v->off, v->off + (v->end - v->start), buf, fn, arg, err);
}

/* Constants of a program with addresses of its own. */
static int walk_fixed(const struct isa_module *m, uint64_t *buf, isa_words_fn fn, void *arg)
{
	const struct isa_object *o = m->object;
	int r = 0;

	for (size_t i = 0; i < o->n_load && r == 0; i++) {
		uint64_t at = o->load[i].start, end = at + o->load_filesz[i];

		at = (at + 7) & ~UINT64_C(7);
		while (!o->load_exec[i] && at + 8 <= end && r == 0) {
			size_t n = end - at < CHUNK ? (size_t)(end - at) & ~(size_t)7 : CHUNK;
			const uint8_t *p = isa_object_at(o, at, n);

			if (!p)
				break;
			memcpy(buf, p, n);
			r = fn(arg, m->base + at, buf, n / sizeof(*buf));
			at += n;
		}
	}
	return r;
}

int isa_space_words(const struct isa_space *s, isa_words_fn fn, void *arg, struct ck_err *err)
{
	CK_AUTO(free) uint64_t *buf = malloc(CHUNK);
	int r = 0;

	if (!buf)
		return fail_memory(err);
	for (size_t i = 0; i < s->n_vmas && r == 0; i++) {
		const struct isa_vma *v = &s->vmas[i];

		if (v->status & IMAGE_VMA_ANON_SHARED)
			r = walk_shared(s, v, buf, fn, arg, err);
		else if (!((v->prot & PROT_EXEC) && v->module >= 0))
			r = walk_map(&s->pages, s->pages_fd, v->start, v->end, buf, fn, arg, err);
	}
	for (size_t i = 0; i < s->n_modules && r == 0; i++)
		if (!s->modules[i].object->unknown && s->modules[i].object->fixed)
			r = walk_fixed(&s->modules[i], buf, fn, arg);
	return r;
}

/* ---- code that no file vouches for ---- */

static int note_unknown(struct isa_space *s, const struct isa_vma *v, const char *what)
{
	CK_AUTO(free) char *text = NULL;

	if (asprintf(&text, "%s at %#llx, %llu KiB", what, (unsigned long long)v->start,
		     (unsigned long long)(v->end - v->start) / 1024) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return ck_pb_append_str(&s->unknown, &s->n_unknown, text);
}

static bool has_pages(const struct isa_space *s, const struct isa_vma *v)
{
	for (size_t i = first_run(&s->pages, v->start);
	     i < s->pages.n && s->pages.run[i].vaddr < v->end; i++)
		if (s->pages.run[i].flags)
			return true;
	return false;
}

struct changed {
	const struct isa_module *m;
	bool found;
};

static int compare_words(void *arg, uint64_t addr, const uint64_t *words, size_t n)
{
	struct changed *c = arg;
	const struct isa_object *o = c->m->object;

	/* A segment ends within a page; behind it the page may hold anything, which is no code. */
	for (size_t i = 0; i < n; i++) {
		const uint8_t *p = isa_object_at(o, addr + i * 8 - c->m->base, 8);

		if (p && memcmp(p, &words[i], 8))
			c->found = true;
	}
	return 0;
}

/* Executable memory: of a file, unless its pages were changed; else nobody knows what it is. */
static int check_code(struct isa_space *s, const struct isa_vma *v, uint64_t *buf,
		      struct ck_err *err)
{
	struct changed c = { 0 };
	int r;

	if (v->module < 0)
		return has_pages(s, v) || (v->status &
					   (IMAGE_VMA_ANON_SHARED | IMAGE_VMA_MEMFD |
					    IMAGE_VMA_FILE_SHARED | IMAGE_VMA_FILE_PRIVATE))
			       ? note_unknown(s, v, "executable memory of no file")
			       : 0;
	c.m = &s->modules[v->module];
	if (c.m->object->unknown || !has_pages(s, v))
		return 0;
	r = walk_map(&s->pages, s->pages_fd, v->start, v->end, buf, compare_words, &c, err);
	return r == 0 && c.found ? note_unknown(s, v, "code that was changed in memory") : r;
}

static int check_all_code(struct isa_space *s, struct ck_err *err)
{
	CK_AUTO(free) uint64_t *buf = malloc(CHUNK);
	int r = buf ? 0 : -ENOMEM;

	for (size_t i = 0; i < s->n_vmas && r == 0; i++)
		if (s->vmas[i].prot & PROT_EXEC)
			r = check_code(s, &s->vmas[i], buf, err);
	return r;
}

/* ---- what the kernel held ---- */

static void take_registers(struct isa_thread *t, const ThreadInfoX86 *ti)
{
	const UserX86RegsEntry *g = ti->gpregs;
	const uint64_t regs[16] = { g->ax, g->bx,  g->cx,  g->dx,  g->si,  g->di,  g->bp,  g->r8,
				    g->r9, g->r10, g->r11, g->r12, g->r13, g->r14, g->r15, g->sp };

	memcpy(t->regs, regs, sizeof(regs));
	t->ip = g->ip;
	t->sp = g->sp;
	t->fs_base = g->fs_base;
	t->n_xmm = ti->fpregs->n_xmm_space < CK_ARRAY_SIZE(t->xmm) ? ti->fpregs->n_xmm_space
								   : CK_ARRAY_SIZE(t->xmm);
	if (t->n_xmm)
		memcpy(t->xmm, ti->fpregs->xmm_space, t->n_xmm * sizeof(*t->xmm));
}

static int take_handlers(struct isa_space *s, const TaskCoreEntry *tc)
{
	s->handlers = calloc(tc->n_sigactions * 2 + 1, sizeof(*s->handlers));
	if (!s->handlers)
		return -ENOMEM;
	for (size_t i = 0; i < tc->n_sigactions; i++) {
		s->handlers[s->n_handlers++] = tc->sigactions[i]->sigaction;
		s->handlers[s->n_handlers++] = tc->sigactions[i]->restorer;
	}
	return 0;
}

static int take_threads(struct isa_space *s, const CkptNeedTask *task, struct ck_err *err)
{
	s->threads = calloc(task->n_tids + 1, sizeof(*s->threads));
	if (!s->threads)
		return fail_memory(err);
	for (size_t i = 0; i < task->n_tids; i++) {
		CK_AUTO(message) ProtobufCMessage *m = NULL;
		const CoreEntry *core;
		int r = image_read_one(s->img, IMAGE_CORE, task->tids[i], &m, err);

		if (r < 0)
			return r;
		core = (const CoreEntry *)m;
		if (core->thread_info)
			take_registers(&s->threads[s->n_threads++], core->thread_info);
		if (core->tc && take_handlers(s, core->tc) < 0)
			return fail_memory(err);
	}
	return 0;
}

static void take_auxv(struct isa_space *s, const MmEntry *mm)
{
	for (size_t i = 0; i + 1 < mm->n_mm_saved_auxv; i += 2) {
		uint64_t v = mm->mm_saved_auxv[i + 1];

		switch (mm->mm_saved_auxv[i]) {
		case AT_BASE:
			s->interpreter = v;
			break;
		case AT_PLATFORM:
			s->platform = v;
			break;
		case AT_HWCAP2:
			s->hwcap2 = v;
			s->has_hwcap2 = true;
			break;
		default:
			break;
		}
	}
	s->env_start = mm->mm_env_start;
	s->env_end = mm->mm_env_end;
}

static int load_pages(struct isa_space *s, struct ck_err *err)
{
	int r = image_read_pagemap(s->img, IMAGE_PAGEMAP, s->pid, &s->pages, err);

	if (r == 0)
		r = s->pages_fd = image_open_fd(s->img, IMAGE_PAGES, s->pages.pages_id, err);
	return r == -ENOENT || r >= 0 ? 0 : r;
}

int isa_space_load(struct isa_space *s, const struct image *img, const CkptNeeds *needs,
		   const CkptNeedTask *task, struct isa_objects *all,
		   const struct image_entries *files, struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	const MmEntry *mm;
	int r = image_read_one(img, IMAGE_MM, task->pid, &m, err);

	*s = (struct isa_space){ .img = img, .pid = task->pid, .pages_fd = -EBADF };
	if (r < 0)
		return r == -ENOENT ? 1 : r;
	mm = (const MmEntry *)m;
	take_auxv(s, mm);
	r = load_pages(s, err);
	if (r == 0)
		r = take_threads(s, task, err);
	if (r == 0 && take_mappings(s, mm, needs, all, files) < 0)
		r = fail_memory(err);
	for (size_t i = 0; r == 0 && i < s->n_modules; i++) {
		const char *exe = path_of(files, mm->exe_file_id);

		if (exe && !strcmp(exe, s->modules[i].object->path))
			s->modules[i].object->is_exe = true;
	}
	return r == 0 ? check_all_code(s, err) : r;
}

void isa_space_done(struct isa_space *s)
{
	image_pagemap_done(&s->pages);
	if (s->pages_fd >= 0)
		close(s->pages_fd);
	for (size_t i = 0; i < s->n_unknown; i++)
		free(s->unknown[i]);
	free(s->unknown);
	free(s->vmas);
	free(s->modules);
	free(s->threads);
	free(s->handlers);
}
