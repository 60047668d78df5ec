// SPDX-License-Identifier: Apache-2.0
/*
 * What stands once in an image: pstree, kernel object ids, the inventory and the clocks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "engine/arch/arch.h"
#include "engine/dump.h"
#include "image/format.h"
#include "image/inventory.pb-c.h"
#include "image/pstree.pb-c.h"
#include "image/timens.pb-c.h"

/*
 * Numbers of the image for the namespaces that the tree shares with whoever dumps it. The inventory
 * carries the same ones: nothing of theirs is to be made at restore.
 */
enum { NS_PID = 1, NS_NET, NS_IPC, NS_UTS, NS_MNT, NS_USER, NS_CGROUP, NS_TIME };

static void set_namespaces(TaskKobjIdsEntry *e)
{
	e->has_pid_ns_id = e->has_net_ns_id = e->has_ipc_ns_id = e->has_uts_ns_id = 1;
	e->has_mnt_ns_id = e->has_user_ns_id = e->has_cgroup_ns_id = e->has_time_ns_id = 1;
	e->pid_ns_id = NS_PID;
	e->net_ns_id = NS_NET;
	e->ipc_ns_id = NS_IPC;
	e->uts_ns_id = NS_UTS;
	e->mnt_ns_id = NS_MNT;
	e->user_ns_id = NS_USER;
	e->cgroup_ns_id = NS_CGROUP;
	e->time_ns_id = NS_TIME;
}

static int write_ids(struct engine_dump *d, const struct engine_task *t, struct ck_err *err)
{
	TaskKobjIdsEntry e = TASK_KOBJ_IDS_ENTRY__INIT;

	e.vm_id = (uint32_t)engine_kin_of(t, ENGINE_KIN_VM)->ns_pid;
	e.files_id = (uint32_t)engine_kin_of(t, ENGINE_KIN_FILES)->ns_pid;
	e.fs_id = (uint32_t)engine_kin_of(t, ENGINE_KIN_FS)->ns_pid;
	e.sighand_id = (uint32_t)engine_kin_of(t, ENGINE_KIN_SIGHAND)->ns_pid;
	set_namespaces(&e);
	return image_write_one(d->images, IMAGE_IDS, (uint32_t)t->ns_pid, &e.base, err);
}

static int write_pstree(struct engine_dump *d, struct ck_err *err)
{
	struct image_file *f = NULL;
	int r = image_create(d->images, IMAGE_PSTREE, 0, &f, err), r2;

	for (size_t i = 0; i < d->n_tasks && r == 0; i++) {
		const struct engine_task *t = d->tasks[i];
		PstreeEntry e = PSTREE_ENTRY__INIT;
		CK_AUTO(free) uint32_t *tids = calloc(t->n_threads + 1, sizeof(*tids));
		size_t first = t->ended ? 1 : 0;

		if (!tids) {
			r = ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe the tree");
			break;
		}
		e.pid = (uint32_t)t->ns_pid;
		e.ppid = (uint32_t)t->ns_ppid;
		e.pgid = (uint32_t)t->ns_pgid;
		e.sid = (uint32_t)t->ns_sid;
		tids[0] = e.pid;
		for (size_t k = 0; k < t->n_threads; k++)
			tids[first + k] = (uint32_t)t->threads[k].ns_tid;
		e.threads = tids;
		e.n_threads = t->n_threads ? first + t->n_threads : 1;
		r = image_append(f, &e.base, err);
	}
	if (!f)
		return r;
	r2 = image_file_close(f, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

static int write_inventory(struct engine_dump *d, struct ck_err *err)
{
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	TaskKobjIdsEntry ids = TASK_KOBJ_IDS_ENTRY__INIT;
	bool shared = false; /* memory: CRIU would give everybody their own */

	/* The task's own objects are nobody else's: 0 is no task's number. */
	set_namespaces(&ids);
	for (size_t i = 0; i < d->n_tasks; i++)
		shared = shared || d->tasks[i]->kin[ENGINE_KIN_VM];
	inv.img_version = d->ipc || shared ? IMAGE_FORMAT_CKPT : IMAGE_FORMAT_V1_1;
	inv.has_fdinfo_per_id = inv.has_ns_per_id = 1;
	inv.fdinfo_per_id = inv.ns_per_id = 1;
	inv.root_ids = &ids;
	inv.has_lsmtype = 1;
	inv.lsmtype = LSMTYPE__NO_LSM;
	return image_write_one(d->images, IMAGE_INVENTORY, 0, &inv.base, err);
}

static int write_clocks(struct engine_dump *d, struct ck_err *err)
{
	const struct parasite_process *v = d->tasks[0]->view;
	Timespec mono = TIMESPEC__INIT, boot = TIMESPEC__INIT;
	TimensEntry e = TIMENS_ENTRY__INIT;

	mono.tv_sec = (uint64_t)v->monotonic_sec;
	mono.tv_nsec = (uint64_t)v->monotonic_nsec;
	boot.tv_sec = (uint64_t)v->boottime_sec;
	boot.tv_nsec = (uint64_t)v->boottime_nsec;
	e.monotonic = &mono;
	e.boottime = &boot;
	/* 0: no time namespace of the job's own, but what its clocks showed */
	return image_write_one(d->images, IMAGE_TIMENS, 0, &e.base, err);
}

int engine_write_tree(struct engine_dump *d, struct ck_err *err)
{
	int r = write_pstree(d, err);

	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		if (!d->tasks[i]->zombie)
			r = write_ids(d, d->tasks[i], err);
	if (r == 0)
		r = write_clocks(d, err);
	if (r == 0)
		r = write_inventory(d, err);
	return r;
}
