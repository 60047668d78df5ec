// SPDX-License-Identifier: Apache-2.0
/*
 * What an image that CRIU made needs, read from its own files: tasks, registers and addresses here,
 * paths in foreign-files.c. CRIU records neither the host nor checksums, so that some rules have
 * less to go by; what ckpt can't restore is listed as unsupported.
 */
#include "policies/foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/pb.h"
#include "image/core.pb-c.h"
#include "image/format.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/mm.pb-c.h"
#include "image/pstree.pb-c.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* uapi/linux/mman.h, v6.11 */
#endif

static inline void ck_auto_message(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}

static inline void ck_auto_needs(CkptNeeds **n)
{
	if (*n)
		ckpt_needs__free_unpacked(*n, NULL);
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot derive what the image needs");
}

int policy_add_unsupported(CkptNeeds *n, const char *what, struct ck_err *err)
{
	for (size_t i = 0; i < n->n_unsupported; i++)
		if (!strcmp(n->unsupported[i], what))
			return 0;
	return ck_pb_append_str(&n->unsupported, &n->n_unsupported, what) < 0 ? no_memory(err) : 0;
}

static const char *arch_name(CoreEntry__March m)
{
	switch (m) {
	case CORE_ENTRY__MARCH__X86_64:
		return "x86_64";
	case CORE_ENTRY__MARCH__ARM:
		return "armv7l";
	case CORE_ENTRY__MARCH__AARCH64:
		return "aarch64";
	case CORE_ENTRY__MARCH__PPC64:
		return "ppc64le";
	case CORE_ENTRY__MARCH__S390:
		return "s390x";
	case CORE_ENTRY__MARCH__MIPS:
		return "mips64";
	case CORE_ENTRY__MARCH__LOONGARCH64:
		return "loongarch64";
	case CORE_ENTRY__MARCH__RISCV64:
		return "riscv64";
	default:
		return "an unknown architecture";
	}
}

static bool zero32(const uint32_t *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (w[i])
			return false;
	return true;
}

static bool zero64(const uint64_t *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (w[i])
			return false;
	return true;
}

/* Components whose data says that they hold their initial value, all zero. */
static uint64_t initial_components(const UserX86XsaveEntry *x)
{
	uint64_t bits = 0;

	bits |= zero32(x->ymmh_space, x->n_ymmh_space) ? 1u << 2 : 0;
	bits |= zero64(x->bndreg_state, x->n_bndreg_state) ? 1u << 3 : 0;
	bits |= zero64(x->bndcsr_state, x->n_bndcsr_state) ? 1u << 4 : 0;
	bits |= zero64(x->opmask_reg, x->n_opmask_reg) ? 1u << 5 : 0;
	bits |= zero64(x->zmm_upper, x->n_zmm_upper) ? 1u << 6 : 0;
	bits |= zero64(x->hi16_zmm, x->n_hi16_zmm) ? 1u << 7 : 0;
	return bits;
}

static int add_xstate(CkptNeeds *n, uint32_t tid, const CoreEntry *core, struct ck_err *err)
{
	const ThreadInfoX86 *t = core->thread_info;
	const UserX86XsaveEntry *x = t ? t->fpregs->xsave : NULL;
	CkptNeedXstate *e;

	if (!x)
		return 0;
	e = CK_PB_NEW(CkptNeedXstate, ckpt_need_xstate);
	if (!e)
		return no_memory(err);
	e->tid = tid;
	e->xstate_bv = x->xstate_bv;
	e->in_syscall = (int64_t)t->gpregs->orig_ax >= 0;
	e->has_initial = true;
	e->initial = initial_components(x);
	e->has_pkru = x->n_pkru > 0;
	e->pkru = e->has_pkru ? x->pkru[0] : 0;
	if (ck_pb_append(&n->xstate, &n->n_xstate, e) < 0) {
		free(e);
		return no_memory(err);
	}
	return 0;
}

/* What only the leader's core tells. */
static int take_leader(CkptNeeds *n, CkptNeedTask *t, const CoreEntry *core, struct ck_err *err)
{
	const ThreadCoreEntry *th = core->thread_core;

	if (core->tc) {
		free(t->comm);
		t->comm = strdup(core->tc->comm);
		if (!t->comm)
			return no_memory(err);
	}
	if (th && th->creds) {
		t->has_uid = t->has_gid = true;
		t->uid = th->creds->euid;
		t->gid = th->creds->egid;
	}
	if (!n->arch)
		n->arch = strdup(arch_name(core->mtype));
	return n->arch ? 0 : no_memory(err);
}

/* Once for each name. */
static int need_feature(CkptNeeds *n, const char *name, const char *why, struct ck_err *err)
{
	CkptNeedFeature *e;

	for (size_t i = 0; i < n->n_features; i++)
		if (!strcmp(n->features[i]->name, name))
			return 0;
	e = CK_PB_NEW(CkptNeedFeature, ckpt_need_feature);
	if (!e || ck_pb_append(&n->features, &n->n_features, e) < 0) {
		free(e);
		return no_memory(err);
	}
	e->name = strdup(name);
	e->why = strdup(why);
	return e->name && e->why ? 0 : no_memory(err);
}

static int take_thread(CkptNeeds *n, const ThreadCoreEntry *th, struct ck_err *err)
{
	int r = 0;

	if (th && th->has_seccomp_mode && th->seccomp_mode != SECCOMP_MODE__disabled)
		r = policy_add_unsupported(n, "a seccomp filter", err);
	if (r == 0 && th && th->rseq_entry)
		r = need_feature(n, "rseq", "threads that registered restartable sequences", err);
	return r;
}

static int take_core(const struct image *img, CkptNeeds *n, CkptNeedTask *t, uint32_t tid,
		     struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	int r = image_read_one(img, IMAGE_CORE, tid, &m, err);

	if (r < 0)
		return r;
	if (tid == t->pid)
		r = take_leader(n, t, (const CoreEntry *)m, err);
	if (r == 0)
		r = take_thread(n, ((const CoreEntry *)m)->thread_core, err);
	return r < 0 ? r : add_xstate(n, tid, (const CoreEntry *)m, err);
}

static int add_task(const struct image *img, CkptNeeds *n, const PstreeEntry *ps,
		    struct ck_err *err)
{
	CkptNeedTask *t = CK_PB_NEW(CkptNeedTask, ckpt_need_task);
	int r = 0;

	if (!t || ck_pb_append(&n->tasks, &n->n_tasks, t) < 0) {
		free(t);
		return no_memory(err);
	}
	t->pid = ps->pid;
	t->pgid = ps->pgid;
	t->sid = ps->sid;
	t->comm = strdup("");
	t->tids = calloc(ps->n_threads + 1, sizeof(*t->tids));
	if (!t->comm || !t->tids)
		return no_memory(err);
	for (size_t i = 0; i < ps->n_threads; i++)
		/* CRIU gives a zombie a single thread of number 0. */
		t->tids[t->n_tids++] = ps->threads[i] ? ps->threads[i] : ps->pid;
	if (ps->pid == 1)
		r = policy_add_unsupported(n, "task 1, the init of a pid namespace", err);
	if (!ps->n_threads && r == 0)
		r = take_core(img, n, t, ps->pid, err);
	for (size_t i = 0; i < ps->n_threads && r == 0; i++)
		r = take_core(img, n, t, t->tids[i], err);
	return r;
}

/* Not every kind of mapping can be made again. */
static const char *unsupported_vma(const VmaEntry *v)
{
	if (v->status & IMAGE_VMA_SYSVIPC)
		return "System V shared memory";
	if (v->status & IMAGE_VMA_SOCKET)
		return "a mapped packet socket";
	if (v->status & IMAGE_VMA_AIORING)
		return "an asynchronous I/O context";
	if (v->status & IMAGE_VMA_SHSTK)
		return "a shadow stack";
	return v->flags & MAP_HUGETLB ? "huge pages of hugetlbfs" : NULL;
}

static int take_addresses(CkptNeeds *n, const MmEntry *mm, struct ck_err *err)
{
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		const char *what = unsupported_vma(v);

		if (what && policy_add_unsupported(n, what, err) < 0)
			return -ENOMEM;
		if ((v->flags & MAP_TYPE) == MAP_DROPPABLE &&
		    need_feature(n, "mmap.droppable", "a mapping that the kernel may drop", err) <
			    0)
			return -ENOMEM;
		if (v->status & IMAGE_VMA_VSYSCALL)
			continue;
		if (!n->has_lowest_address || v->start < n->lowest_address)
			n->lowest_address = v->start;
		if (!n->has_highest_address || v->end > n->highest_address)
			n->highest_address = v->end;
		n->has_lowest_address = n->has_highest_address = true;
	}
	return 0;
}

static int take_memory(const struct image *img, CkptNeeds *n, struct policy_files *files,
		       const CkptNeedTask *t, struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	int r = image_read_one(img, IMAGE_MM, t->pid, &m, err);

	if (r == -ENOENT)
		return 0; /* a zombie */
	if (r == 0)
		r = take_addresses(n, (const MmEntry *)m, err);
	if (r == 0)
		r = policy_frames_of_task(img, n, t, (const MmEntry *)m, err);
	return r < 0 ? r : policy_files_of_mm(files, t, (const MmEntry *)m, err);
}

static int add_pages(enum image_kind kind, unsigned int id, uint64_t size, void *arg)
{
	CkptNeeds *n = arg;

	(void)id;
	if (kind == IMAGE_PAGES)
		n->memory += size;
	return 0;
}

/* A container's: the job has namespaces of its own, and its paths are not this host's. */
static int take_namespaces(const struct image *img, CkptNeeds *n, bool *ret_mounts,
			   struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *inv = NULL;
	CK_AUTO(message) ProtobufCMessage *ids = NULL;
	const TaskKobjIdsEntry *host, *job;
	int r = image_read_one(img, IMAGE_INVENTORY, 0, &inv, err);

	if (r == 0)
		r = image_read_one(img, IMAGE_IDS, n->tasks[0]->pid, &ids, err);
	if (r == -ENOENT)
		return 0;
	host = r == 0 ? ((const InventoryEntry *)inv)->root_ids : NULL;
	job = (const TaskKobjIdsEntry *)ids;
	if (!host)
		return r;
#define OTHER(ns) \
	(host->has_##ns##_ns_id && job->has_##ns##_ns_id && host->ns##_ns_id != job->ns##_ns_id)
	*ret_mounts = OTHER(mnt);
	if (OTHER(pid) || OTHER(net) || OTHER(ipc) || OTHER(uts) || OTHER(mnt) || OTHER(user) ||
	    OTHER(cgroup))
		r = policy_add_unsupported(n, "namespaces of its own, as a container has", err);
#undef OTHER
	return r;
}

static void drop_paths(CkptNeeds *n)
{
	for (size_t i = 0; i < n->n_paths; i++)
		ckpt_need_path__free_unpacked(n->paths[i], NULL);
	n->n_paths = 0;
}

static int derive(const struct image *img, CkptNeeds *n, struct ck_err *err)
{
	bool own_mounts = false;
	CK_AUTO(image_entries) struct image_entries tree = { 0 };
	CK_AUTO(policy_files) struct policy_files files = { .img = img, .needs = n };
	int r = image_read_all(img, IMAGE_PSTREE, 0, &tree, err);

	n->version = 1;
	for (size_t i = 0; i < tree.n && r == 0; i++)
		r = add_task(img, n, (const PstreeEntry *)tree.m[i], err);
	if (r == 0 && !n->arch)
		r = ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "the image has no tasks");
	if (r == 0)
		r = take_namespaces(img, n, &own_mounts, err);
	if (r == 0)
		r = policy_files_read(&files, err);
	for (size_t i = 0; i < n->n_tasks && r == 0; i++) {
		r = take_memory(img, n, &files, n->tasks[i], err);
		if (r == 0)
			r = policy_files_of_task(&files, n->tasks[i], err);
	}
	if (r == 0)
		r = policy_files_finish(&files, err);
	if (own_mounts)
		drop_paths(n);
	return r < 0 ? r : image_each(img, add_pages, n, err);
}

int policy_derive_needs(const struct image *img, CkptNeeds **ret_needs, CkptFacts **ret_source,
			struct ck_err *err)
{
	CK_AUTO(needs) CkptNeeds *n = CK_PB_NEW(CkptNeeds, ckpt_needs);
	int r;

	if (!n)
		return no_memory(err);
	r = derive(img, n, err);
	if (r == 0)
		r = policy_derive_cpu(img, n, ret_source, err);
	if (r < 0)
		return r;
	*ret_needs = ck_take_ptr(&n);
	return 0;
}
