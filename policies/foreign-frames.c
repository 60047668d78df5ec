// SPDX-License-Identifier: Apache-2.0
/*
 * Signal frames in an image of CRIU's, which moves memory as it is and does not mention them. They
 * are in the pages of the threads' stacks. Whether the interrupted code was in a system call its
 * instructions would tell, which are not in the image: so it may have been. An archive is unpacked
 * without its pages: frames show once it is a directory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo.h"
#include "image/core.pb-c.h"
#include "image/format.h"
#include "policies/foreign.h"

enum { PKRU = 9, SS_OFF = 2 /* SS_DISABLE */ };

/* Bytes of the components that may be dead, the same on all CPUs. */
static const uint16_t sizes[] = { [2] = 256, [3] = 64, [4] = 64, [5] = 64, [6] = 512, [7] = 1024 };

struct looking {
	CkptNeeds *needs;
	uint32_t tid;
	struct image_pagemap pages;
	int fd;
};

static inline void ck_auto_message(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}

static int read_pages(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct looking *l = arg;

	return image_pages_read(&l->pages, l->fd, addr, buf, len);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* What the area's data say beyond its header. */
static void look_inside(const struct cpuinfo_frame *f, const uint8_t *area, CkptNeedXstate *x)
{
	uint32_t pkru_at = cpuinfo_offset(NULL, f->xfeatures, f->size, PKRU);

	x->has_initial = true;
	for (unsigned int bit = 2; bit < CK_ARRAY_SIZE(sizes); bit++) {
		uint32_t at = cpuinfo_offset(NULL, f->xfeatures, f->size, bit);

		if (at && at + sizes[bit] <= f->size && is_zero(area + at, sizes[bit]))
			x->initial |= UINT64_C(1) << bit;
	}
	if ((f->xstate_bv >> PKRU & 1) && pkru_at && pkru_at + sizeof(x->pkru) <= f->size) {
		x->has_pkru = true;
		memcpy(&x->pkru, area + pkru_at, sizeof(x->pkru));
	}
}

static int take(const struct cpuinfo_frame *f, void *arg)
{
	struct looking *l = arg;
	CK_AUTO(free) uint8_t *area = malloc(f->size);
	CkptNeedFrame *e = CK_PB_NEW(CkptNeedFrame, ckpt_need_frame);

	if (!area || !e || ck_pb_append(&l->needs->frames, &l->needs->n_frames, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->address = f->area;
	e->xfeatures = f->xfeatures;
	e->size = f->size;
	e->room = f->room;
	e->state = CK_PB_NEW(CkptNeedXstate, ckpt_need_xstate);
	if (!e->state)
		return -ENOMEM;
	e->state->tid = l->tid;
	e->state->xstate_bv = f->xstate_bv;
	e->state->has_mxcsr = true;
	e->state->mxcsr = f->mxcsr;
	e->state->in_syscall = true; /* perhaps */
	e->state->caller = strdup("");
	if (!e->state->caller)
		return -ENOMEM;
	if (read_pages(l, f->area, area, f->size) == 0)
		look_inside(f, area, e->state);
	return 0;
}

static int look_thread(const struct image *img, struct looking *l, struct cpuinfo_memory *m,
		       struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *msg = NULL;
	int r = image_read_one(img, IMAGE_CORE, l->tid, &msg, err);
	const CoreEntry *c = (const CoreEntry *)msg;
	const ThreadSasEntry *sas;
	bool on;

	if (r < 0)
		return r;
	if (!c->thread_info || !c->thread_core)
		return 0;
	sas = c->thread_core->sas;
	on = sas && !(sas->ss_flags & SS_OFF);
	r = cpuinfo_frames(m, c->thread_info->gpregs->sp, on ? sas->ss_sp : 0,
			   on ? sas->ss_size : 0, take, l);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot look for signal frames") : 0;
}

int policy_frames_of_task(const struct image *img, CkptNeeds *n, const CkptNeedTask *t,
			  const MmEntry *mm, struct ck_err *err)
{
	CK_AUTO(free) struct cpuinfo_map *maps = calloc(mm->n_vmas + 1, sizeof(*maps));
	struct looking l = { .needs = n, .fd = -EBADF };
	struct cpuinfo_memory m = { .map = maps, .read = read_pages, .arg = &l };
	CK_AUTO(fd) int fd = -EBADF;
	int r;

	if (!maps)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look for signal frames");
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (v->start < v->end && (!m.n || v->start >= maps[m.n - 1].end))
			maps[m.n++] = (struct cpuinfo_map){ v->start, v->end,
							    (v->prot & PROT_EXEC) != 0 };
	}
	r = image_read_pagemap(img, IMAGE_PAGEMAP, t->pid, &l.pages, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	fd = image_open_fd(img, IMAGE_PAGES, l.pages.pages_id, NULL);
	l.fd = fd;
	for (size_t i = 0; i < t->n_tids && r == 0 && fd >= 0; i++) {
		l.tid = t->tids[i];
		r = look_thread(img, &l, &m, err);
	}
	image_pagemap_done(&l.pages);
	return r;
}
