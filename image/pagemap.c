// SPDX-License-Identifier: Apache-2.0
/*
 * Pagemaps: which pages of an address space are where in its pages file. Old and new ways of saying
 * the same (two length fields, flags or in_parent) end here.
 */
#include "image/pagemap.pb-c.h"

#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/dir.h"

int image_append_pagemap(struct image_file *f, uint64_t vaddr, uint64_t pages, unsigned int flags,
			 struct ck_err *err)
{
	while (pages) {
		PagemapEntry e = PAGEMAP_ENTRY__INIT;
		/* CRIU below 4.2 reads the old field alone, and takes a 0 in it for no pages. */
		uint32_t n = pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
		int r;

		e.vaddr = vaddr;
		e.compat_nr_pages = n;
		e.has_nr_pages = true;
		e.nr_pages = n;
		e.has_flags = true;
		e.flags = flags;
		r = image_append(f, &e.base, err);
		if (r < 0)
			return r;
		vaddr += (uint64_t)n * IMAGE_PAGE_SIZE;
		pages -= n;
	}
	return 0;
}

static unsigned int flags_of(const PagemapEntry *e)
{
	if (e->has_in_parent && e->in_parent)
		return (e->has_flags ? e->flags : 0) | IMAGE_PE_PARENT;
	return e->has_flags ? e->flags : IMAGE_PE_PRESENT;
}

/* The range begins at or behind min, and its end is an address too. */
static bool is_sound(const struct image_pages_run *run, uint64_t min)
{
	return run->vaddr % IMAGE_PAGE_SIZE == 0 && run->vaddr >= min &&
	       run->pages <= (UINT64_MAX - run->vaddr) / IMAGE_PAGE_SIZE;
}

static int add_run(struct image_pagemap *p, const PagemapEntry *e, uint64_t *end, uint64_t size,
		   struct ck_err *err)
{
	struct image_pages_run *run = &p->run[p->n];

	run->vaddr = e->vaddr;
	run->pages = e->has_nr_pages ? e->nr_pages : e->compat_nr_pages;
	run->flags = flags_of(e);
	run->file_off = p->present * IMAGE_PAGE_SIZE;
	if (!is_sound(run, *end))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "has an impossible range: %llu pages at 0x%llx",
			       (unsigned long long)run->pages, (unsigned long long)run->vaddr);
	*end = run->vaddr + run->pages * IMAGE_PAGE_SIZE;
	if (run->flags & IMAGE_PE_PRESENT) {
		if (run->pages > size / IMAGE_PAGE_SIZE - p->present)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "has more pages than pages-%u.img", p->pages_id);
		p->present += run->pages;
	}
	if (run->pages)
		p->n++;
	return 0;
}

/* Bytes of the pages file; 0 if there is none, which is right where no page is present. */
static int pages_size(const struct image *img, unsigned int pages_id, uint64_t *ret)
{
	CK_AUTO(fd) int fd = image_open_fd(img, IMAGE_PAGES, pages_id, NULL);
	off_t size;

	*ret = 0;
	if (fd == -ENOENT)
		return 0;
	size = fd < 0 ? fd : lseek(fd, 0, SEEK_END);
	if (size < 0)
		return fd < 0 ? fd : -errno;
	*ret = (uint64_t)size;
	return 0;
}

static int convert(const struct image *img, const struct image_entries *e, struct image_pagemap *p,
		   struct ck_err *err)
{
	uint64_t size, end = 0;
	int r;

	if (e->n == 0)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "has no entry");
	p->pages_id = ((const PagemapHead *)e->m[0])->pages_id;
	r = pages_size(img, p->pages_id, &size);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot open pages-%u.img", p->pages_id);
	p->run = calloc(e->n, sizeof(*p->run));
	if (!p->run)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read");
	for (size_t i = 1; i < e->n && r == 0; i++)
		r = add_run(p, (const PagemapEntry *)e->m[i], &end, size, err);
	return r;
}

int image_read_pagemap(const struct image *img, enum image_kind kind, unsigned int id,
		       struct image_pagemap *ret, struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	CK_AUTO(image_pagemap) struct image_pagemap p = { 0 };
	char name[IMAGE_NAME_MAX];
	int r = image_read_all(img, kind, id, &e, err);

	if (r < 0)
		return r;
	r = convert(img, &e, &p, err);
	if (r < 0) {
		image_file_name(kind, id, name);
		return image_err_at(err, ck_err_at(err, r, "%s", name), image_dir(img));
	}
	*ret = p;
	p = (struct image_pagemap){ 0 };
	return 0;
}

/* The first run that ends behind addr. */
static const struct image_pages_run *run_behind(const struct image_pagemap *p, uint64_t addr)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->run[mid].vaddr + p->run[mid].pages * IMAGE_PAGE_SIZE <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return p->run + lo;
}

int image_pages_read(const struct image_pagemap *p, int fd, uint64_t addr, void *buf, size_t len)
{
	const struct image_pages_run *run = run_behind(p, addr), *end = p->run + p->n;
	uint8_t *to = buf;

	memset(buf, 0, len);
	for (; len && run < end && (run->vaddr <= addr || run->vaddr - addr < len); run++) {
		uint64_t skip = run->vaddr > addr ? run->vaddr - addr : 0;
		uint64_t left, n;
		ssize_t got;

		addr += skip;
		to += skip;
		len -= skip;
		left = run->pages * IMAGE_PAGE_SIZE - (addr - run->vaddr);
		n = left < len ? left : len;
		if (run->flags & IMAGE_PE_PRESENT) {
			got = ck_pread_full(fd, to, n,
					    (off_t)(run->file_off + (addr - run->vaddr)));
			if (got != (ssize_t)n)
				return got < 0 ? (int)got : -EIO;
		}
		addr += n;
		to += n;
		len -= n;
	}
	return 0;
}

void image_pagemap_done(struct image_pagemap *p)
{
	free(p->run);
	*p = (struct image_pagemap){ 0 };
}
