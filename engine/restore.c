// SPDX-License-Identifier: Apache-2.0
/*
 * A restore from end to end. Two phases: what is read and planned in the first changes nothing on
 * the host and says everything that can be said against it; the second begins with the trunk, and
 * if it fails leaves no task behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/restore.h"
#include "engine/vdso.h"
#include "engine/watch.h"

static void restore_done(struct engine_restore *r)
{
	res_restore_done(r);
	script_zone_free(r->zone);
	engine_vdso_free(r->vdso);
	engine_tree_done(r);
	engine_load_done(r);
	engine_notes_done(r);
}

/* With five page table levels there are addresses above 47 bits, for those who ask. */
static uint64_t find_task_size(void)
{
	const uint64_t four = (1ull << 47) - PIE_PAGE, five = (1ull << 56) - PIE_PAGE;

	return munmap((void *)(uintptr_t)(1ull << 47), PIE_PAGE) == 0 ? five : four;
}

static int prepare(struct engine_restore *r, struct ck_err *err)
{
	int rc;

	r->task_size = find_task_size();
	r->rights.uid = geteuid();
	r->rights.gid = getegid();
	engine_restore_stage(r, "load");
	rc = engine_load(r, err);
	if (rc < 0)
		return rc;
	engine_restore_stage(r, "place");
	rc = engine_choose_place(r, err);
	if (rc < 0)
		return rc;
	engine_detail(&r->opts->watch, "%s",
		      r->strategy == ENGINE_INPLACE ? "in place, with the old pids"
						    : "in fresh namespaces");
	engine_restore_stage(r, "plan");
	rc = res_load(r, err);
	if (rc == 0)
		rc = engine_plan(r, err);
	return rc < 0 ? rc : engine_scan_paths(r, err);
}

/* Returns in ckpt only. */
static int act(struct engine_restore *r, uint64_t start, int *ret_wait_status, struct ck_err *err)
{
	const struct engine_restore_opts *o = r->opts;
	int sock[2], rc;
	pid_t trunk;

	/* Here already, so that ckpt sees how far the tasks are. */
	rc = script_zone_map(r->zone, err);
	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return ck_fail_errno(err, "cannot make a socket");
	trunk = engine_spawn_trunk(r, err);
	if (trunk == 0) {
		close(sock[0]);
		engine_trunk_main(r, sock[1]);
	}
	close(sock[1]);
	for (size_t i = 0; trunk > 0 && o->on_note && i < r->n_notes; i++)
		o->on_note(o->arg, r->notes[i]);
	rc = trunk < 0 ? trunk : engine_supervise(r, trunk, sock[0], start, ret_wait_status, err);
	close(sock[0]);
	return rc;
}

int engine_restore(const struct engine_restore_opts *o, int *ret_wait_status, struct ck_err *err)
{
	struct engine_restore r = { .opts = o, .image = o->image, .report = -EBADF };
	uint64_t start = engine_now_ns();
	struct ck_err local = CK_ERR_INIT;
	sigset_t all, old;
	struct engine_changes *changes = NULL;
	int rc, status = 0;

	err = err ? err : &local;
	rc = prepare(&r, err);
	if (rc == 0)
		rc = engine_change(&r, &changes, err);
	if (rc == 0) {
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, &old);
		rc = act(&r, start, &status, err);
		sigprocmask(SIG_SETMASK, &old, NULL);
		if (rc < 0)
			engine_changes_undo(changes, err);
		else
			engine_changes_free(changes);
	}
	restore_done(&r);
	if (rc == 0 && ret_wait_status)
		*ret_wait_status = status;
	return rc;
}
