// SPDX-License-Identifier: Apache-2.0
/*
 * Reads an image for a restore: tree, cores, address spaces, pagemaps, clocks. Messages come from
 * anywhere: what a plan relies on is checked here once, and what can't be restored at all is
 * refused here by name. Descriptors and files are engine/res/'s.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "engine/restore.h"
#include "image/format.h"
#include "image/inventory.pb-c.h"
#include "image/timens.pb-c.h"

#define MAX_TASKS 65536u
#define MAX_THREADS 65536u
#define MAX_SHM (1ull << 46)

static void free_message(ProtobufCMessage *m)
{
	protobuf_c_message_free_unpacked(m, NULL);
}

CK_DEFINE_AUTO(message, ProtobufCMessage *, free_message);

void engine_load_done(struct engine_restore *r)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		struct engine_rtask *t = &r->tasks[i];

		engine_mem_done(t);
		for (size_t k = 0; t->core && k < t->n_threads; k++)
			if (t->core[k])
				core_entry__free_unpacked(t->core[k], NULL);
		for (size_t k = 0; t->regs && k < t->n_threads; k++)
			free(t->regs[k].xstate);
		free(t->regs);
		engine_patches_done(t);
		free(t->core);
		if (t->ids)
			task_kobj_ids_entry__free_unpacked(t->ids, NULL);
		if (t->mm)
			mm_entry__free_unpacked(t->mm, NULL);
		if (t->ps)
			pstree_entry__free_unpacked(t->ps, NULL);
		image_pagemap_done(&t->pages);
	}
	for (size_t i = 0; i < r->n_shm; i++)
		image_pagemap_done(&r->shm[i].pages);
	if (r->ipc)
		ckpt_ipc__free_unpacked(r->ipc, NULL);
	free(r->shm);
	free(r->tasks);
	r->ipc = NULL;
	r->shm = NULL;
	r->tasks = NULL;
	r->n_tasks = r->n_shm = 0;
}

/* ---- the tree ---- */

static struct engine_rtask *find_task(const struct engine_restore *r, uint32_t pid)
{
	for (size_t i = 0; i < r->n_tasks; i++)
		if (r->tasks[i].ps && r->tasks[i].ps->pid == pid)
			return &r->tasks[i];
	return NULL;
}

static int add_task(struct engine_restore *r, PstreeEntry *ps, struct ck_err *err)
{
	struct engine_rtask *t = &r->tasks[r->n_tasks];

	if (ps->pid == 0 || ps->pid > INT32_MAX || ps->sid > INT32_MAX || ps->pgid > INT32_MAX ||
	    ps->n_threads == 0 || ps->n_threads > MAX_THREADS || find_task(r, ps->pid))
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot use the tree: entry of task %u",
			       ps->pid);
	t->parent = find_task(r, ps->ppid);
	if (r->n_tasks && !t->parent)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot use the tree: task %u has no parent in it", ps->pid);
	/* CRIU gives a zombie a single thread of number 0. */
	if (ps->n_threads == 1 && ps->threads[0] == 0)
		ps->threads[0] = ps->pid;
	t->ps = ps;
	t->n_threads = ps->n_threads;
	t->core = calloc(t->n_threads, sizeof(t->core[0]));
	r->n_tasks++;
	return t->core ? 0 : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot load the tree");
}

static int load_tree(struct engine_restore *r, struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	int rc = image_read_all(r->image, IMAGE_PSTREE, 0, &e, err);

	if (rc < 0)
		return rc;
	if (e.n == 0 || e.n > MAX_TASKS)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot use the tree: %zu tasks", e.n);
	r->tasks = calloc(e.n, sizeof(r->tasks[0]));
	if (!r->tasks)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot load the tree");
	for (size_t i = 0; i < e.n && rc == 0; i++) {
		size_t before = r->n_tasks;

		rc = add_task(r, (PstreeEntry *)e.m[i], err);
		if (r->n_tasks > before)
			e.m[i] = NULL; /* now the task's */
	}
	return rc;
}

/* ---- cores ---- */

static int check_thread(const struct engine_rtask *t, const CoreEntry *c, bool leader,
			struct ck_err *err)
{
	if (c->mtype != CORE_ENTRY__MARCH__X86_64)
		return ck_fail(err, CK_ERR_HOST, -ENOEXEC,
			       "cannot restore a task of another machine (%d)", (int)c->mtype);
	if (leader && !c->tc)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot find the process in its core");
	if (t->zombie)
		return 0;
	if ((!c->thread_info && !(leader && t->ended)) || !c->thread_core)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot find registers in a core");
	if (c->thread_core->has_seccomp_mode &&
	    c->thread_core->seccomp_mode != SECCOMP_MODE__disabled)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore a thread with a seccomp filter");
	return 0;
}

/* Who made an image without "unwaited" has the stop told again: waiting for it in vain is worse. */
static void note_state(struct engine_rtask *t, const TaskCoreEntry *tc)
{
	uint32_t signo = tc->has_stop_signo ? tc->stop_signo : SIGSTOP;

	t->zombie = tc->task_state == IMAGE_TASK_DEAD || tc->task_state == IMAGE_TASK_ZOMBIE;
	if (tc->task_state == IMAGE_TASK_STOPPED)
		t->stop_signo = signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU
					? (int)signo
					: SIGSTOP;
	t->unwaited = tc->has_unwaited ? tc->unwaited : IMAGE_UNWAITED_STOP;
}

static int load_core(struct engine_restore *r, struct engine_rtask *t, uint32_t tid, size_t at,
		     struct ck_err *err)
{
	ProtobufCMessage *m = NULL;
	int rc = image_read_one(r->image, IMAGE_CORE, tid, &m, err);

	if (rc < 0)
		return rc;
	t->core[at] = (CoreEntry *)m;
	if (at == 0 && t->core[0]->tc)
		note_state(t, t->core[0]->tc);
	t->ended = !t->zombie && t->n_threads > 1 && !t->core[0]->thread_info;
	if (t->ended && (t->stop_signo || t->unwaited == IMAGE_UNWAITED_CONT))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot restore a stopped process whose first thread has ended");
	return check_thread(t, t->core[at], at == 0, err);
}

/* The leader's first, whatever the order in the tree; the list of ids is put into the same order.
 */
static int load_cores(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	uint32_t *tids = t->ps->threads;
	size_t leader = 0;
	int rc = 0;

	while (leader < t->n_threads && tids[leader] != t->ps->pid)
		leader++;
	if (leader == t->n_threads)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot use the tree: no leader among the threads");
	tids[leader] = tids[0];
	tids[0] = t->ps->pid;
	for (size_t i = 0; i < t->n_threads && rc == 0; i++) {
		if (tids[i] == 0 || tids[i] > INT32_MAX)
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot use the tree: thread number %u", tids[i]);
		rc = load_core(r, t, tids[i], i, err);
		if (rc < 0)
			ck_err_at(err, rc, "thread %u", tids[i]);
	}
	return rc;
}

/* ---- memory ---- */

static int check_vma(const struct engine_restore *r, const VmaEntry *v, uint64_t *end,
		     struct ck_err *err)
{
	const char *kind = NULL;

	if (v->status & IMAGE_VMA_VSYSCALL)
		return 0;
	if ((v->start < *end && !(v->status & IMAGE_VMA_GUARD)) || v->start >= v->end ||
	    v->end > r->task_size || (v->start | v->end | v->pgoff) % IMAGE_PAGE_SIZE ||
	    v->pgoff > INT64_MAX - (v->end - v->start))
		return ck_fail(err, v->end > r->task_size ? CK_ERR_HOST : CK_ERR_IMAGE, -EBADMSG,
			       "cannot place the mapping at %llx", (unsigned long long)v->start);
	if (!(v->status & IMAGE_VMA_GUARD))
		*end = v->end;
	if ((v->status & IMAGE_VMA_SYSVIPC) && !(v->status & IMAGE_VMA_ANON_SHARED))
		kind = "System V shared memory";
	else if (v->status & IMAGE_VMA_SOCKET)
		kind = "a mapped socket";
	else if (v->status & IMAGE_VMA_AIORING)
		kind = "asynchronous I/O of io_setup";
	else if (v->status & IMAGE_VMA_SHSTK)
		kind = "a shadow stack";
	else if (v->flags & MAP_HUGETLB)
		kind = "huge pages of hugetlbfs";
	if (kind)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot restore %s at %llx", kind,
			       (unsigned long long)v->start);
	return 0;
}

static int check_mm(const struct engine_restore *r, const MmEntry *mm, struct ck_err *err)
{
	uint64_t end = IMAGE_PAGE_SIZE;
	int rc = 0;

	for (size_t i = 0; i < mm->n_vmas && rc == 0; i++)
		rc = check_vma(r, mm->vmas[i], &end, err);
	if (rc == 0 && mm->n_aios)
		rc = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			     "cannot restore asynchronous I/O of io_setup");
	return rc;
}

/* Every page of a pagemap must lie in a mapping that is filled from it. */
static int check_pages(const struct engine_rtask *t, struct ck_err *err)
{
	size_t v = 0;

	for (size_t i = 0; i < t->pages.n; i++) {
		uint64_t at = t->pages.run[i].vaddr;
		uint64_t end = at + t->pages.run[i].pages * IMAGE_PAGE_SIZE;

		if (t->pages.run[i].flags & IMAGE_PE_PARENT)
			return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				       "cannot restore pages that are in a parent image");
		while (at < end) {
			const VmaEntry *e;

			while (v < t->mm->n_vmas && t->mm->vmas[v]->end <= at)
				v++;
			e = v < t->mm->n_vmas ? t->mm->vmas[v] : NULL;
			if (!e || e->start > at || (e->status & IMAGE_VMA_GUARD) ||
			    (e->flags & MAP_TYPE) == MAP_SHARED)
				return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
					       "cannot place a page at %llx",
					       (unsigned long long)at);
			at = e->end;
		}
	}
	return 0;
}

/* Guard regions lie inside of mappings, and are made when those are there. */
static bool guards_last(const MmEntry *mm)
{
	CK_AUTO(free) VmaEntry **sorted = calloc(mm->n_vmas + 1, sizeof(*sorted));
	size_t n = 0;

	for (int guards = 0; sorted && guards < 2; guards++)
		for (size_t i = 0; i < mm->n_vmas; i++)
			if (!(mm->vmas[i]->status & IMAGE_VMA_GUARD) == !guards)
				sorted[n++] = mm->vmas[i];
	if (sorted && n)
		memcpy(mm->vmas, sorted, n * sizeof(*sorted));
	return sorted != NULL;
}

static int load_memory(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	ProtobufCMessage *m = NULL;
	int rc = image_read_one(r->image, IMAGE_MM, t->ps->pid, &m, err);

	if (rc < 0)
		return rc;
	t->mm = (MmEntry *)m;
	rc = guards_last(t->mm) ? check_mm(r, t->mm, err)
				: ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot load memory");
	if (rc == 0)
		rc = image_read_pagemap(r->image, IMAGE_PAGEMAP, t->ps->pid, &t->pages, err);
	return rc < 0 ? rc : check_pages(t, err);
}

/* ---- kernel objects ---- */

static int load_ids(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	ProtobufCMessage *m = NULL;
	int rc = image_read_one(r->image, IMAGE_IDS, t->ps->pid, &m, err);

	if (rc == 0) {
		t->ids = (TaskKobjIdsEntry *)m;
		return 0;
	}
	if (rc == -ENOENT && t->core[0]->ids) {
		t->ids = t->core[0]->ids;
		t->core[0]->ids = NULL;
		return 0;
	}
	return rc;
}

static const char *other_namespace(const TaskKobjIdsEntry *a, const TaskKobjIdsEntry *b)
{
#define OTHER(ns) (a->has_##ns##_ns_id && b->has_##ns##_ns_id && a->ns##_ns_id != b->ns##_ns_id)
	if (OTHER(pid))
		return "pid";
	if (OTHER(net))
		return "network";
	if (OTHER(ipc))
		return "IPC";
	if (OTHER(uts))
		return "UTS";
	if (OTHER(mnt))
		return "mount";
	if (OTHER(user))
		return "user";
	if (OTHER(cgroup))
		return "cgroup";
	return NULL;
#undef OTHER
}

static int check_ids(const struct engine_restore *r, const TaskKobjIdsEntry *host, size_t n,
		     struct ck_err *err)
{
	const struct engine_rtask *t = &r->tasks[n];
	const char *what = host ? other_namespace(t->ids, host) : NULL;

	return what ? ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			      "cannot restore a task with a %s namespace of its own", what)
		    : 0;
}

static int check_all_ids(struct engine_restore *r, struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	const TaskKobjIdsEntry *host;
	int rc = image_read_one(r->image, IMAGE_INVENTORY, 0, &m, err);

	if (rc < 0)
		return rc;
	host = ((InventoryEntry *)m)->root_ids;
	for (size_t i = 0; i < r->n_tasks && rc == 0; i++) {
		if (r->tasks[i].zombie)
			continue;
		rc = check_ids(r, host, i, err);
		if (rc < 0)
			ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(&r->tasks[i]));
	}
	return rc < 0 ? rc : engine_load_kin(r, err);
}

/* ---- shared anonymous memory ---- */

static struct engine_rshm *find_shm(const struct engine_restore *r, uint64_t id)
{
	for (size_t i = 0; i < r->n_shm; i++)
		if (r->shm[i].id == id)
			return &r->shm[i];
	return NULL;
}

static int note_shm(struct engine_restore *r, const VmaEntry *v, struct ck_err *err)
{
	struct engine_rshm *s = find_shm(r, v->shmid), *grown;
	uint64_t size = v->pgoff + (v->end - v->start);

	if (size > MAX_SHM || v->shmid > UINT32_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot use the shared memory at %llx",
			       (unsigned long long)v->start);
	if (!s) {
		grown = reallocarray(r->shm, r->n_shm + 1, sizeof(*grown));
		if (!grown)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list shared memory");
		r->shm = grown;
		s = &grown[r->n_shm++];
		memset(s, 0, sizeof(*s));
		s->id = v->shmid;
	}
	if (size > s->size)
		s->size = size;
	s->noreserve = s->noreserve || (v->flags & MAP_NORESERVE);
	return 0;
}

static int load_shm_pages(struct engine_restore *r, struct engine_rshm *s, struct ck_err *err)
{
	int rc = image_read_pagemap(r->image, IMAGE_PAGEMAP_SHMEM, (unsigned int)s->id, &s->pages,
				    err);

	for (size_t i = 0; rc == 0 && i < s->pages.n; i++) {
		const struct image_pages_run *run = &s->pages.run[i];
		uint64_t end = run->vaddr + run->pages * IMAGE_PAGE_SIZE;

		if (run->flags & IMAGE_PE_PARENT)
			rc = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				     "cannot restore pages that are in a parent image");
		/* An object may have been dumped further than anybody maps it. */
		else if (end > s->size && end <= MAX_SHM)
			s->size = end;
		else if (end > s->size)
			rc = ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				     "cannot place a page of shared memory");
	}
	return rc < 0 ? ck_err_at(err, rc, "shared memory %llu", (unsigned long long)s->id) : 0;
}

static int load_shm(struct engine_restore *r, struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < r->n_tasks; i++)
		for (size_t k = 0; r->tasks[i].mm && k < r->tasks[i].mm->n_vmas && rc == 0; k++)
			if (r->tasks[i].mm->vmas[k]->status & IMAGE_VMA_ANON_SHARED)
				rc = note_shm(r, r->tasks[i].mm->vmas[k], err);
	for (size_t i = 0; i < r->n_shm && rc == 0; i++)
		rc = load_shm_pages(r, &r->shm[i], err);
	for (size_t i = 0; i < r->n_shm && rc == 0; i++)
		r->pages += r->shm[i].pages.present;
	return rc;
}

/* ---- clocks ---- */

static int find_clocks(enum image_kind kind, unsigned int id, uint64_t size, void *arg)
{
	(void)size;
	if (kind == IMAGE_TIMENS)
		*(int64_t *)arg = id;
	return 0;
}

static int load_clocks(struct engine_restore *r, struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	const TimensEntry *e;
	int64_t id = -1;
	int rc = image_each(r->image, find_clocks, &id, err);

	if (rc < 0 || id < 0)
		return rc;
	rc = image_read_one(r->image, IMAGE_TIMENS, (unsigned int)id, &m, err);
	if (rc == -ENOENT)
		return 0; /* CRIU leaves an empty file where it knows no clocks */
	if (rc < 0)
		return rc;
	e = (const TimensEntry *)m;
	if (!e->monotonic || !e->boottime)
		return 0;
	if (e->monotonic->tv_nsec >= 1000000000 || e->boottime->tv_nsec >= 1000000000 ||
	    e->monotonic->tv_sec > UINT32_MAX || e->boottime->tv_sec > UINT32_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG, "cannot use the saved clocks");
	r->monotonic.tv_sec = (time_t)e->monotonic->tv_sec;
	r->monotonic.tv_nsec = (long)e->monotonic->tv_nsec;
	r->boottime.tv_sec = (time_t)e->boottime->tv_sec;
	r->boottime.tv_nsec = (long)e->boottime->tv_nsec;
	r->has_clocks = true;
	return 0;
}

/* ---- users ---- */

static void note_ids(struct engine_restore *r, const CredsEntry *c, bool *first)
{
	if (*first) {
		r->uid = c->uid;
		r->gid = c->gid;
		r->one_uid = true;
		*first = false;
	}
	if (c->uid != r->uid || c->euid != r->uid || c->suid != r->uid || c->fsuid != r->uid ||
	    c->gid != r->gid || c->egid != r->gid || c->sgid != r->gid || c->fsgid != r->gid)
		r->one_uid = false;
}

static void note_users(struct engine_restore *r)
{
	bool first = true;

	for (size_t i = 0; i < r->n_tasks; i++)
		for (size_t k = 0; k < r->tasks[i].n_threads; k++) {
			const CoreEntry *c = r->tasks[i].core[k];

			if (c->thread_core && c->thread_core->creds)
				note_ids(r, c->thread_core->creds, &first);
		}
	if (first)
		r->one_uid = true, r->uid = r->rights.uid, r->gid = r->rights.gid;
}

static int load_task(struct engine_restore *r, struct engine_rtask *t, struct ck_err *err)
{
	int rc = load_cores(r, t, err);

	if (rc < 0)
		return ck_err_at(err, rc, "task %u", t->ps->pid);
	if (!t->zombie) {
		rc = load_ids(r, t, err);
		if (rc == 0)
			rc = load_memory(r, t, err);
	}
	return rc < 0 ? ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(t)) : 0;
}

int engine_load(struct engine_restore *r, struct ck_err *err)
{
	int rc = load_tree(r, err);

	for (size_t i = 0; i < r->n_tasks && rc == 0; i++)
		rc = load_task(r, &r->tasks[i], err);
	if (rc == 0 && r->tasks[0].zombie)
		rc = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			     "cannot restore a tree whose root is a zombie");
	if (rc == 0)
		rc = check_all_ids(r, err);
	if (rc == 0)
		rc = load_shm(r, err);
	if (rc == 0)
		rc = engine_load_ipc(r, err);
	if (rc == 0)
		rc = load_clocks(r, err);
	if (rc == 0)
		note_users(r);
	return rc;
}
