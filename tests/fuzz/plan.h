/* SPDX-License-Identifier: Apache-2.0 */
/* A restore of an image up to the point where something would happen. */
#ifndef CK_TESTS_FUZZ_PLAN_H
#define CK_TESTS_FUZZ_PLAN_H

#include <unistd.h>

#include "base/err.h"
#include "engine/restore.h"
#include "engine/vdso.h"

static inline int plan_restore(const struct image *img, struct ck_err *err)
{
	struct engine_restore_opts o = { .image = img };
	struct engine_restore r = { .opts = &o,
				    .image = img,
				    .strategy = ENGINE_NAMESPACES,
				    .rights = { .uid = getuid(), .gid = getgid() },
				    .task_size = (1ull << 47) - 4096 };
	int rc = engine_load(&r, err);

	if (rc == 0)
		rc = engine_plan_tree(&r, err);
	if (rc == 0)
		rc = res_load(&r, err);
	if (rc == 0)
		rc = engine_plan(&r, err);
	res_restore_done(&r);
	script_zone_free(r.zone);
	engine_vdso_free(r.vdso);
	engine_tree_done(&r);
	engine_load_done(&r);
	engine_notes_done(&r);
	return rc;
}

#endif
