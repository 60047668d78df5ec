// SPDX-License-Identifier: Apache-2.0
/*
 * Processes that share memory, descriptors, directories or signal actions without being threads of
 * one. A process is made by one that has the same, with the flag of clone(2): so it has what that
 * has from the beginning, and the first of them alone puts it in order. Meanwhile the others keep
 * away: they meet, at barriers.
 *
 * Nobody waits for ever: all meetings are held in the same order by everybody, files that are
 * opened late between two of them (engine/res/late.c), and none is missed by anyone.
 */
#include <errno.h>
#include <sched.h>

#include "engine/restore.h"

static const uint64_t clone_flags[ENGINE_NKIN] = {
	[ENGINE_KIN_VM] = CLONE_VM,
	[ENGINE_KIN_FILES] = CLONE_FILES,
	[ENGINE_KIN_FS] = CLONE_FS,
	[ENGINE_KIN_SIGHAND] = CLONE_SIGHAND,
};

static const struct {
	enum engine_kin kin;
	const char *what;
} meetings[ENGINE_NMEETINGS] = {
	[ENGINE_MEET_MEMORY] = { ENGINE_KIN_VM, "its memory" },
	[ENGINE_MEET_QUIET] = { ENGINE_KIN_FILES, "the caller's descriptors" },
	[ENGINE_MEET_DIRS] = { ENGINE_KIN_FS, "its directories" },
	[ENGINE_MEET_PARKED] = { ENGINE_KIN_FILES, "parked descriptors" },
	[ENGINE_MEET_FDS] = { ENGINE_KIN_FILES, "its descriptors" },
	[ENGINE_MEET_CHILD] = { ENGINE_KIN_SIGHAND, "signal actions" },
};

static uint32_t id_of(const struct engine_rtask *t, enum engine_kin kin)
{
	const uint32_t ids[ENGINE_NKIN] = {
		[ENGINE_KIN_VM] = t->ids->vm_id,
		[ENGINE_KIN_FILES] = t->ids->files_id,
		[ENGINE_KIN_FS] = t->ids->fs_id,
		[ENGINE_KIN_SIGHAND] = t->ids->sighand_id,
	};

	return ids[kin];
}

int engine_load_kin(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		struct engine_rtask *t = &r->tasks[i];

		for (int kin = 0; kin < ENGINE_NKIN && !t->zombie; kin++)
			for (size_t k = 0; k < i && !t->kin[kin]; k++)
				if (!r->tasks[k].zombie && !r->tasks[k].kin[kin] &&
				    id_of(&r->tasks[k], kin) == id_of(t, kin))
					t->kin[kin] = &r->tasks[k];
		/* Linux kernel/fork.c:copy_process() */
		if (t->kin[ENGINE_KIN_SIGHAND] &&
		    t->kin[ENGINE_KIN_VM] !=
			    engine_rkin_of(t->kin[ENGINE_KIN_SIGHAND], ENGINE_KIN_VM))
			return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				       "cannot use the ids of task %u: it shares signal actions "
				       "without memory",
				       t->ps->pid);
	}
	return 0;
}

bool engine_can_make(struct engine_rtask *maker, const struct engine_rtask *t)
{
	for (int kin = 0; kin < ENGINE_NKIN; kin++)
		if (t->kin[kin] && (!maker || engine_rkin_of(maker, kin) != t->kin[kin]))
			return false;
	return true;
}

uint64_t engine_clone_flags(struct engine_rtask *maker, const struct engine_rtask *t)
{
	uint64_t flags = 0;

	for (int kin = 0; kin < ENGINE_NKIN; kin++)
		if (t->kin[kin] && engine_rkin_of(maker, kin) == t->kin[kin])
			flags |= clone_flags[kin];
	return flags;
}

/* How many share it with first; threads: of them all. */
static uint32_t count(const struct engine_restore *r, const struct engine_rtask *first,
		      enum engine_kin kin, size_t *ret_threads)
{
	uint32_t n = 0;

	*ret_threads = 0;
	for (size_t i = 0; i < r->n_tasks; i++)
		if (&r->tasks[i] == first || r->tasks[i].kin[kin] == first) {
			n++;
			*ret_threads += r->tasks[i].n_threads;
		}
	return n;
}

void engine_plan_meeting(struct engine_restore *r, struct engine_rtask *t,
			 enum engine_meeting meeting)
{
	struct engine_rtask *first = engine_rkin_of(t, meetings[meeting].kin);
	uint64_t a[6] = { 0 };
	size_t threads;

	if (!first->meet[meeting]) {
		uint32_t n = count(r, first, meetings[meeting].kin, &threads);

		if (n < 2)
			return;
		first->meet[meeting] = script_barrier(r->zone, n);
	}
	a[0] = first->meet[meeting];
	script_op(t->script, PIE_BARRIER, SCRIPT_OK, 0, a, "wait for those that share %s",
		  meetings[meeting].what);
}

uint64_t engine_creds_barrier(struct engine_restore *r, struct engine_rtask *t)
{
	struct engine_rtask *first = engine_rkin_of(t, ENGINE_KIN_VM);
	size_t threads;

	if (!first->creds_done) {
		count(r, first, ENGINE_KIN_VM, &threads);
		if (threads > 1)
			first->creds_done = script_barrier(r->zone, (uint32_t)threads);
	}
	return first->creds_done;
}
