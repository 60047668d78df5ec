/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/inject.c and engine/order.c: where things are in a task that has the blob. */
#ifndef CK_ENGINE_INJECT_H
#define CK_ENGINE_INJECT_H

#include "engine/arch/x86_64/stub.h"
#include "engine/dump.h"

struct engine_inject {
	uint64_t dead; /* address of the stub in the task's vDSO */
	uint8_t original[sizeof(((struct arch_stub *)0)->code)];
	struct arch_stub stub;
	bool written;                /* the stub stands in the vDSO */
	uint64_t area;               /* 0 until the host has mapped it */
	size_t area_len, filled_len; /* bytes; the filled part is in front */
	/* in the area; there is no scratch if scratch_off is 0 */
	size_t process_off, slots_off, fds_off, children_off, scratch_off;
	int mark; /* signal by which the blob tells that it is about to make the marker call, or 0
		   */
	/* descriptors at fds_off, in the task's order: first those that are unclear, then the
	 * others (but for O_PATH, which have no signals) */
	size_t n_fds, n_all;
};

/* Runs a thread until the entry stop of the marker call. All its signals are blocked. */
int engine_run_to_marker(struct engine_thread *th, struct ck_err *err);

#endif
