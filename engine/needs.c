// SPDX-License-Identifier: Apache-2.0
/*
 * What the image needs of any host, as far as it does not come from descriptors and files
 * (engine/res/needs.c): tasks, register state, addresses, memory, kernel features.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "engine/arch/arch.h"
#include "engine/dump.h"
#include "fsmap/fsmap.h"
#include "image/format.h"
#include "probe/probe.h"

/* Bytes into the xsave area, Intel SDM vol. 1, 13.4.1 and 13.4.2 */
enum { MXCSR = 24, XSTATE_BV = 512, XSAVE_LEAST = 576 };

static int need_task(CkptNeeds *n, const struct engine_task *t)
{
	CkptNeedTask *e = CK_PB_NEW(CkptNeedTask, ckpt_need_task);

	if (!e || ck_pb_append(&n->tasks, &n->n_tasks, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->pid = (uint32_t)t->ns_pid;
	e->pgid = (uint32_t)t->ns_pgid;
	e->sid = (uint32_t)t->ns_sid;
	e->has_uid = e->has_gid = 1;
	e->uid = t->status.uid[1];
	e->gid = t->status.gid[1];
	e->comm = strdup(t->stat.comm);
	e->tids = calloc(t->n_threads + 2, sizeof(*e->tids));
	if (!e->comm || !e->tids)
		return -ENOMEM;
	if (t->ended)
		e->tids[e->n_tids++] = e->pid;
	for (size_t i = 0; i < t->n_threads; i++)
		e->tids[e->n_tids++] = (uint32_t)t->threads[i].ns_tid;
	return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* Live components that hold nothing but zeros: nobody would miss them. */
static uint64_t initial_components(const struct arch_xstate_layout *l, const uint8_t *area,
				   size_t len, uint64_t bv)
{
	uint64_t bits = 0;

	for (unsigned int i = ARCH_YMM; i < ARCH_XSTATE_BITS; i++) {
		size_t offset = l->c[i].offset, size = l->c[i].size;

		if ((bv >> i & 1) && size && offset + size <= len && all_zero(area + offset, size))
			bits |= UINT64_C(1) << i;
	}
	return bits;
}

/* What lives in an xsave area of this host's layout; caller is NULL or the code that called. */
static int fill_state(CkptNeedXstate *e, const struct arch_xstate_layout *l, const uint8_t *area,
		      size_t len, const char *caller)
{
	memcpy(&e->xstate_bv, area + XSTATE_BV, sizeof(e->xstate_bv));
	e->has_initial = 1;
	e->initial = initial_components(l, area, len, e->xstate_bv);
	e->has_mxcsr = 1;
	memcpy(&e->mxcsr, area + MXCSR, sizeof(e->mxcsr));
	if ((e->xstate_bv >> ARCH_PKRU & 1) && l->c[ARCH_PKRU].size >= sizeof(e->pkru) &&
	    l->c[ARCH_PKRU].offset + sizeof(e->pkru) <= len) {
		e->has_pkru = 1;
		memcpy(&e->pkru, area + l->c[ARCH_PKRU].offset, sizeof(e->pkru));
	}
	e->caller = caller ? strdup(caller) : NULL;
	return caller && !e->caller ? -ENOMEM : 0;
}

static int need_xstate(CkptNeeds *n, const struct arch_xstate_layout *l,
		       const struct engine_thread *th)
{
	CkptNeedXstate *e;

	if (th->xsave_len < XSAVE_LEAST)
		return 0;
	e = CK_PB_NEW(CkptNeedXstate, ckpt_need_xstate);
	if (!e || ck_pb_append(&n->xstate, &n->n_xstate, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->tid = (uint32_t)th->ns_tid;
	e->in_syscall = (int64_t)th->stopped.orig_rax >= 0;
	return fill_state(e, l, th->xsave, th->xsave_len,
			  e->in_syscall ? engine_code_name(th->task, th->stopped.rip) : NULL);
}

/* A frame's area, of the size that it says, has been there a moment ago. */
static int need_frame(CkptNeeds *n, const struct arch_xstate_layout *l,
		      const struct engine_thread *th, const struct engine_frame *f)
{
	CK_AUTO(free) uint8_t *area = malloc(f->f.size);
	CkptNeedFrame *e = CK_PB_NEW(CkptNeedFrame, ckpt_need_frame);

	if (!area || !e || ck_pb_append(&n->frames, &n->n_frames, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->address = f->f.area;
	e->xfeatures = f->f.xfeatures;
	e->size = f->f.size;
	e->room = f->f.room;
	e->state = CK_PB_NEW(CkptNeedXstate, ckpt_need_xstate);
	if (!e->state)
		return -ENOMEM;
	e->state->tid = (uint32_t)th->ns_tid;
	e->state->in_syscall = f->in_syscall;
	if (ck_pread_full(th->task->memfd, area, f->f.size, (off_t)f->f.area) != f->f.size)
		return -EIO;
	return fill_state(e->state, l, area, f->f.size, f->caller);
}

/* Raised by what the thread itself does. */
static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGTRAP;
}

/* Which handlers run on an alternate stack: none, those of faults, or others too. */
enum alt_use { ALT_NONE, ALT_FAULTS, ALT_ANY };
static enum alt_use alt_use_of(const struct engine_task *t)
{
	enum alt_use use = ALT_NONE;

	for (int sig = 1; sig <= PARASITE_NSIG; sig++) {
		if (!(t->view->sa[sig].flags & SA_ONSTACK) || t->view->sa[sig].handler <= 1)
			continue; /* 0 and 1: SIG_DFL and SIG_IGN */
		if (!is_fault(sig))
			return ALT_ANY;
		use = ALT_FAULTS;
	}
	return use;
}

static int need_altstack(CkptNeeds *n, const struct engine_thread *th, enum alt_use use)
{
	const struct engine_thread_view *v = &th->view;
	bool faults_only = use == ALT_FAULTS;
	CkptNeedAltstack *e = NULL;

	if (use == ALT_NONE || (v->sas_flags & SS_DISABLE) || !v->sas_size)
		return 0;
	for (size_t i = 0; i < n->n_altstacks; i++)
		if (n->altstacks[i]->faults_only == faults_only)
			e = n->altstacks[i];
	if (e && e->size <= v->sas_size)
		return 0;
	if (!e) {
		e = CK_PB_NEW(CkptNeedAltstack, ckpt_need_altstack);
		if (!e || ck_pb_append(&n->altstacks, &n->n_altstacks, e) < 0) {
			free(e);
			return -ENOMEM;
		}
	}
	e->tid = (uint32_t)th->ns_tid;
	e->address = v->sas_sp;
	e->size = v->sas_size;
	e->faults_only = faults_only;
	return 0;
}

/* Once for each name. */
static int need_feature(CkptNeeds *n, const char *name, const char *why)
{
	CkptNeedFeature *e;

	for (size_t i = 0; i < n->n_features; i++)
		if (!strcmp(n->features[i]->name, name))
			return 0;
	e = CK_PB_NEW(CkptNeedFeature, ckpt_need_feature);
	if (!e || ck_pb_append(&n->features, &n->n_features, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->name = strdup(name);
	e->why = strdup(why);
	return e->name && e->why ? 0 : -ENOMEM;
}

static void need_addresses(CkptNeeds *n, const struct engine_task *t)
{
	uint64_t size = 0;

	for (size_t i = 0; i < t->maps.n; i++) {
		const struct proc_map *m = &t->maps.m[i];

		if (engine_map_status(m) & IMAGE_VMA_VSYSCALL)
			continue;
		size += m->end - m->start;
		if (!n->has_lowest_address || m->start < n->lowest_address)
			n->lowest_address = m->start;
		if (!n->has_highest_address || m->end > n->highest_address)
			n->highest_address = m->end;
		n->has_lowest_address = n->has_highest_address = 1;
	}
	n->has_largest_size = true;
	if (size > n->largest_size)
		n->largest_size = size;
}

static int need_limits(CkptNeeds *n, const struct engine_dump *d)
{
	for (int i = 0; i < PROC_NLIMITS; i++) {
		const char *name = probe_limit_name(i);
		CkptNeedLimit *l = name ? CK_PB_NEW(CkptNeedLimit, ckpt_need_limit) : NULL;

		if (!name)
			continue;
		if (!l || ck_pb_append(&n->limits, &n->n_limits, l) < 0) {
			free(l);
			return -ENOMEM;
		}
		for (size_t k = 0; k < d->n_tasks; k++)
			if (!d->tasks[k]->zombie && d->tasks[k]->limits.max[i] > l->hard)
				l->hard = d->tasks[k]->limits.max[i];
		l->name = strdup(name);
		if (!l->name)
			return -ENOMEM;
	}
	return 0;
}

static int need_of_task(CkptNeeds *n, const struct arch_xstate_layout *l,
			const struct engine_task *t)
{
	enum alt_use use = t->zombie ? ALT_NONE : alt_use_of(t);
	int r = need_task(n, t);

	if (!t->zombie && (t->view->xcomp_perm & ARCH_XSTATE_DYNAMIC)) {
		n->has_xcomp_perm = 1;
		n->xcomp_perm |= t->view->xcomp_perm & ARCH_XSTATE_DYNAMIC;
	}
	if (!t->zombie)
		need_addresses(n, t);
	for (size_t k = 0; k < t->n_threads && r == 0; k++) {
		r = need_xstate(n, l, &t->threads[k]);
		for (size_t i = 0; i < t->threads[k].n_frames && r == 0; i++)
			r = need_frame(n, l, &t->threads[k], &t->threads[k].frames[i]);
		if (r == 0)
			r = need_altstack(n, &t->threads[k], use);
		if (r == 0 && t->threads[k].rseq_addr)
			r = need_feature(n, "rseq",
					 "threads that registered restartable sequences");
	}
	return r;
}

enum { ENVIRONMENT_MAX = 1 << 20 }; /* bytes of it that are looked at */

/* As it was when the program began: what a batch system gave it. */
static int need_scratch(CkptNeeds *n, const struct engine_task *t)
{
	CK_AUTO(free) char *text = NULL;
	size_t len;

	if (t->zombie || ck_read_file_at(t->dirfd, "environ", ENVIRONMENT_MAX, &text, &len) < 0)
		return 0;
	return fsmap_need_scratch(n, text, len);
}

int engine_fill_needs(struct engine_dump *d, struct ck_err *err)
{
	struct arch_xstate_layout layout;
	CkptNeeds *n = &d->needs;
	struct utsname u;
	int r = arch_xstate_host(&layout, err);

	if (r < 0)
		return r;
	uname(&u);
	n->version = 1;
	n->arch = strdup(u.machine);
	n->memory = d->pages * IMAGE_PAGE_SIZE;
	r = n->arch ? 0 : -ENOMEM;
	if (r == 0 && d->ipc)
		r = need_feature(n, "ns.ipc", "System V IPC");
	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		r = need_of_task(n, &layout, d->tasks[i]);
	if (r == 0)
		r = need_limits(n, d);
	if (r == 0 && d->n_tasks)
		r = need_scratch(n, d->tasks[0]);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot list the image's needs") : 0;
}
