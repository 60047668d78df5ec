// SPDX-License-Identifier: Apache-2.0
/*
 * Signal frames in an image, for a CPU of another layout than that of the source: found in the
 * stacks' pages, rewritten while a refusal still costs nothing, and put in place by the tracer at
 * the very end. Where the layouts are the same, nothing is looked for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/fd.h"
#include "cpuinfo/cpuinfo.h"
#include "engine/arch/arch.h"
#include "engine/restore.h"
#include "image/facts.pb-c.h"
#include "image/format.h"

#define SS_DISABLE_FLAG 2u

struct plan {
	struct engine_rtask *task;
	size_t thread;
	const CkptCpuFacts *source; /* NULL: a foreign image */
	const struct arch_xstate_layout *host;
	bool drop;   /* what there is no place for */
	int fd;      /* of the task's pages */
	size_t seen; /* frames of the thread */
	struct ck_err *err;
	int failed; /* what err holds */
};

static void free_facts(CkptFacts *f)
{
	ckpt_facts__free_unpacked(f, NULL);
}

CK_DEFINE_AUTO(facts, CkptFacts *, free_facts);

/* ---- layouts ---- */

static bool is_hosts(const CkptCpuFacts *cpu, const struct arch_xstate_layout *host)
{
	if (!cpu->has_xcr0 || cpu->xcr0 != host->xcr0 || cpu->xsave_size != host->size)
		return false;
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++) {
		const CkptXsaveComponent *c = cpuinfo_component(cpu, i);

		if ((c ? c->offset : 0) != host->c[i].offset)
			return false;
	}
	return true;
}

/* The layout of the CPU that wrote a frame. Sizes are the same everywhere. */
static void layout_of(const struct plan *p, const struct cpuinfo_frame *f,
		      struct arch_xstate_layout *ret)
{
	static const uint32_t sizes[ARCH_XSTATE_BITS] = {
		[ARCH_YMM] = 256,   [ARCH_BNDREGS] = 64,    [ARCH_BNDCSR] = 64,
		[ARCH_OPMASK] = 64, [ARCH_ZMM_HI256] = 512, [ARCH_HI16_ZMM] = 1024,
		[ARCH_PKRU] = 8,    [ARCH_TILECFG] = 64,    [ARCH_TILEDATA] = 8192,
	};

	memset(ret, 0, sizeof(*ret));
	ret->xcr0 = f->xfeatures;
	ret->size = f->size;
	for (unsigned int i = 2; i < ARCH_XSTATE_BITS; i++) {
		const CkptXsaveComponent *c = p->source ? cpuinfo_component(p->source, i) : NULL;
		uint32_t offset = cpuinfo_offset(p->source, f->xfeatures, f->size, i);

		if (!(f->xfeatures >> i & 1) || !offset)
			continue;
		ret->c[i].offset = offset;
		ret->c[i].size = c ? c->size : sizes[i];
	}
}

/* ---- finding and rewriting ---- */

static int read_image(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct plan *p = arg;

	return image_pages_read(&engine_rkin_of(p->task, ENGINE_KIN_VM)->pages, p->fd, addr, buf,
				len);
}

/* What the dump noted of it; NULL in a foreign image. */
static const CkptX86Frame *noted(const struct plan *p, uint64_t area)
{
	const ThreadInfoX86 *ti = p->task->core[p->thread]->thread_info;

	for (size_t i = 0; i < ti->n_ckpt_frames; i++)
		if (ti->ckpt_frames[i]->area == area)
			return ti->ckpt_frames[i];
	return NULL;
}

static int translate(struct plan *p, const struct cpuinfo_frame *f)
{
	CK_AUTO(free) uint8_t *area = malloc(f->room);
	const CkptX86Frame *note = noted(p, f->area);
	struct arch_xstate_layout from;
	int r;

	if (!area)
		return ck_fail(p->err, CK_ERR_SYS, -ENOMEM, "cannot keep a signal frame");
	r = read_image(p, f->area, area, f->room);
	if (r < 0)
		return ck_fail(p->err, CK_ERR_IMAGE, r, "cannot read a signal frame");
	layout_of(p, f, &from);
	r = arch_frame_translate(&from, p->host,
				 p->drop                    ? ~0ull
				 : note && note->in_syscall ? ARCH_XSTATE_CALLER_SAVED
							    : 0,
				 area, f->size, f->room, p->err);
	if (r <= 0)
		return r;
	return engine_patch(p->task, f->area, ck_take_ptr(&area), f->room, p->err);
}

static int take(const struct cpuinfo_frame *f, void *arg)
{
	struct plan *p = arg;
	int r = translate(p, f);

	p->seen++;
	if (r < 0)
		p->failed =
			ck_err_at(p->err, r, "signal frame at %#llx", (unsigned long long)f->area);
	return r < 0 ? r : 0;
}

/* A frame in memory that tasks share, or where the search does not come, would be left as it is. */
static int check_noted(const struct plan *p)
{
	const ThreadInfoX86 *ti = p->task->core[p->thread]->thread_info;

	if (p->seen >= ti->n_ckpt_frames)
		return 0;
	return ck_fail(p->err, CK_ERR_HOST, -EOPNOTSUPP,
		       "cannot rewrite a signal frame that is not in private memory");
}

static int plan_thread(struct plan *p, struct cpuinfo_memory *m)
{
	const CoreEntry *c = p->task->core[p->thread];
	const ThreadSasEntry *sas = c->thread_core->sas;
	bool has_sas = sas && !(sas->ss_flags & SS_DISABLE_FLAG);
	uint64_t sp = c->thread_info->gpregs->sp, sas_sp = has_sas ? sas->ss_sp : 0;
	uint64_t sas_size = has_sas ? sas->ss_size : 0;
	int r;

	p->seen = 0;
	r = cpuinfo_frames(m, sp, sas_sp, sas_size, take, p);
	if (r < 0)
		return p->failed ? p->failed
				 : ck_fail(p->err, CK_ERR_SYS, r, "cannot look for signal frames");
	return check_noted(p);
}

static int plan_task(struct plan *p, const struct image *img)
{
	struct engine_rtask *t = p->task;
	CK_AUTO(free) struct cpuinfo_map *maps = calloc(t->mm->n_vmas + 1, sizeof(*maps));
	CK_AUTO(fd)
	int fd = image_open_fd(img, IMAGE_PAGES, engine_rkin_of(t, ENGINE_KIN_VM)->pages.pages_id,
			       NULL);
	struct cpuinfo_memory m = { .map = maps, .read = read_image, .arg = p };
	int r = 0;

	if (!maps)
		return ck_fail(p->err, CK_ERR_SYS, -ENOMEM, "cannot look for signal frames");
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (!(v->status & (IMAGE_VMA_VSYSCALL | IMAGE_VMA_GUARD)))
			maps[m.n++] = (struct cpuinfo_map){ v->start, v->end,
							    (v->prot & PROT_EXEC) != 0 };
	}
	p->fd = fd;
	for (p->thread = engine_first_alive(t); p->thread < t->n_threads && r == 0; p->thread++) {
		r = plan_thread(p, &m);
		if (r < 0)
			ck_err_at(p->err, r, "thread %u", t->ps->threads[p->thread]);
	}
	return r;
}

static int read_source(const struct image *img, CkptFacts **ret, struct ck_err *err)
{
	ProtobufCMessage *m = NULL;
	int r = image_read_one(img, IMAGE_CKPT_FACTS, 0, &m, err);

	*ret = (CkptFacts *)m;
	return r == -ENOENT ? 0 : r;
}

int engine_plan_frames(struct engine_restore *r, const struct arch_xstate_layout *host,
		       struct ck_err *err)
{
	CK_AUTO(facts) CkptFacts *source = NULL;
	struct plan p = { .host = host, .fd = -EBADF, .err = err };
	int rc = read_source(r->image, &source, err);

	if (rc < 0 || (source && is_hosts(source->cpu, host)))
		return rc;
	p.source = source ? source->cpu : NULL;
	p.drop = r->opts->flags & ENGINE_DROP_FRAMES;
	for (size_t i = 0; i < r->n_tasks && rc == 0; i++) {
		p.task = &r->tasks[i];
		rc = p.task->zombie ? 0 : plan_task(&p, r->image);
		if (rc < 0)
			ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(p.task));
	}
	return rc;
}
