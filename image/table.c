// SPDX-License-Identifier: Apache-2.0
/*
 * The image table: every kind of file that an image of ours can hold, its name, magic and messages;
 * and the mapping between names and (kind, id). CRIU's other kinds (signalfds, mount namespaces,
 * ...) get a row here when the engine can handle them.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/ckpt-isa.pb-c.h"
#include "image/ckpt.pb-c.h"
#include "image/core.pb-c.h"
#include "image/cpuinfo.pb-c.h"
#include "image/facts.pb-c.h"
#include "image/fdinfo.pb-c.h"
#include "image/file-lock.pb-c.h"
#include "image/fs.pb-c.h"
#include "image/ghost-file.pb-c.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/ipc.pb-c.h"
#include "image/mm.pb-c.h"
#include "image/needs.pb-c.h"
#include "image/pagemap.pb-c.h"
#include "image/pipe-data.pb-c.h"
#include "image/pstree.pb-c.h"
#include "image/remap-file-path.pb-c.h"
#include "image/seccomp.pb-c.h"
#include "image/sk-packet.pb-c.h"
#include "image/stats.pb-c.h"
#include "image/timens.pb-c.h"
#include "image/tty.pb-c.h"

enum {
	ARRAY = IMAGE_F_ARRAY,
	PERID = IMAGE_F_PERID,
	RAW = IMAGE_F_RAW,
	EXTRA = IMAGE_F_EXTRA,
	OURS = IMAGE_F_OURS,
	LATE = IMAGE_F_LATE,
	SEALED = IMAGE_F_SEALED,
	SERVICE = IMAGE_F_SERVICE,
	NOCOMMON = IMAGE_F_NOCOMMON,
};

/* clang-format off */
#define ROW(kind, name, file, magic, flags, head, entry) \
	[IMAGE_##kind] = { name, file, magic, flags, head, entry }

const struct image_type image_types[IMAGE_N_KINDS] = {
	ROW(INVENTORY, "inventory", "inventory.img", 0x58313116, NOCOMMON, NULL, &inventory_entry__descriptor),
	ROW(PSTREE, "pstree", "pstree.img", 0x50273030, ARRAY, NULL, &pstree_entry__descriptor),
	ROW(CORE, "core", "core-%u.img", 0x55053847, PERID, NULL, &core_entry__descriptor),
	ROW(IDS, "ids", "ids-%u.img", 0x54432030, PERID, NULL, &task_kobj_ids_entry__descriptor),
	ROW(MM, "mm", "mm-%u.img", 0x57492820, PERID, NULL, &mm_entry__descriptor),
	ROW(PAGEMAP, "pagemap", "pagemap-%u.img", 0x56084025, ARRAY | PERID,
	    &pagemap_head__descriptor, &pagemap_entry__descriptor),
	ROW(PAGEMAP_SHMEM, "pagemap-shmem", "pagemap-shmem-%u.img", 0x56084025, ARRAY | PERID,
	    &pagemap_head__descriptor, &pagemap_entry__descriptor),
	ROW(PAGES, "pages", "pages-%u.img", 0, RAW | PERID, NULL, NULL),
	ROW(FDINFO, "fdinfo", "fdinfo-%u.img", 0x56213732, ARRAY | PERID, NULL, &fdinfo_entry__descriptor),
	ROW(FILES, "files", "files.img", 0x56303138, ARRAY, NULL, &file_entry__descriptor),
	ROW(FS, "fs", "fs-%u.img", 0x51403912, PERID, NULL, &fs_entry__descriptor),
	ROW(PIPES_DATA, "pipes-data", "pipes-data.img", 0x56453709, ARRAY | EXTRA, NULL, &pipe_data_entry__descriptor),
	ROW(FIFO_DATA, "fifo-data", "fifo-data.img", 0x59333054, ARRAY | EXTRA, NULL, &pipe_data_entry__descriptor),
	ROW(SK_QUEUES, "sk-queues", "sk-queues.img", 0x56264026, ARRAY | EXTRA, NULL, &sk_packet_entry__descriptor),
	ROW(REMAP_FPATH, "remap-fpath", "remap-fpath.img", 0x59133954, ARRAY, NULL, &remap_file_path_entry__descriptor),
	ROW(GHOST_FILE, "ghost-file", "ghost-file-%x.img", 0x52583605, ARRAY | PERID | EXTRA,
	    &ghost_file_entry__descriptor, &ghost_chunk_entry__descriptor),
	ROW(FILE_LOCKS, "filelocks", "filelocks.img", 0x54323616, ARRAY, NULL, &file_lock_entry__descriptor),
	ROW(TTY_FILES, "tty", "tty.img", 0x59433025, ARRAY, NULL, &tty_file_entry__descriptor),
	ROW(TTY_INFO, "tty-info", "tty-info.img", 0x59453036, ARRAY, NULL, &tty_info_entry__descriptor),
	ROW(TTY_DATA, "tty-data", "tty-data.img", 0x59413026, ARRAY | LATE, NULL, &tty_data_entry__descriptor),
	ROW(TIMENS, "timens", "timens-%u.img", 0x43114433, PERID, NULL, &timens_entry__descriptor),
	ROW(SECCOMP, "seccomp", "seccomp.img", 0x64413049, 0, NULL, &seccomp_entry__descriptor),
	ROW(CPUINFO, "cpuinfo", "cpuinfo.img", 0x61404013, 0, NULL, &cpuinfo_entry__descriptor),
	ROW(STATS_DUMP, "stats-dump", "stats-dump", 0x57093306, SERVICE | LATE, NULL, &stats_entry__descriptor),
	ROW(STATS_RESTORE, "stats-restore", "stats-restore", 0x57093306, SERVICE, NULL, &stats_entry__descriptor),
	ROW(CKPT_FACTS, "ckpt-facts", "ckpt-facts.img", 0x54434b43, OURS, NULL, &ckpt_facts__descriptor),
	ROW(CKPT_NEEDS, "ckpt-needs", "ckpt-needs.img", 0x444e4b43, OURS, NULL, &ckpt_needs__descriptor),
	ROW(CKPT_IPC, "ckpt-ipc", "ckpt-ipc.img", 0x50494b43, OURS, NULL, &ckpt_ipc__descriptor),
	ROW(CKPT_FILES, "ckpt-files", "ckpt-files.img", 0x4c464b43, ARRAY | EXTRA | OURS, NULL, &ckpt_file_entry__descriptor),
	ROW(CKPT_SUMS, "ckpt-sums", "ckpt-sums.img", 0x4d534b43, ARRAY | OURS | LATE | SEALED,
	    NULL, &ckpt_pages_sums__descriptor),
	ROW(CKPT_ISA, "ckpt-isa", "ckpt-isa.img", 0x53494b43, OURS | LATE | SEALED, NULL, &ckpt_isa__descriptor),
	ROW(CKPT_CONTENTS, "ckpt-contents", "ckpt-contents.img", 0x43434b43, OURS | LATE | SEALED,
	    NULL, &ckpt_contents__descriptor),
	ROW(CKPT_MANIFEST, "ckpt-manifest", "ckpt-manifest.img", 0x464d4b43, OURS | SEALED,
	    NULL, &ckpt_manifest__descriptor),
};
/* clang-format on */

void image_file_name(enum image_kind kind, unsigned int id, char name[static IMAGE_NAME_MAX])
{
	const char *format = image_types[kind].format;
	const char *pct = strchr(format, '%');

	if (!pct)
		snprintf(name, IMAGE_NAME_MAX, "%s", format);
	else
		snprintf(name, IMAGE_NAME_MAX, pct[1] == 'x' ? "%.*s%x%s" : "%.*s%u%s",
			 (int)(pct - format), format, id, pct + 2);
}

static bool parse_id(const char *name, const char *format, unsigned int *ret)
{
	const char *pct = strchr(format, '%');
	unsigned long id;
	size_t prefix;
	char *end;

	if (!pct)
		return false;
	prefix = (size_t)(pct - format);
	if (strncmp(name, format, prefix) != 0)
		return false;
	id = strtoul(name + prefix, &end, pct[1] == 'x' ? 16 : 10);
	if (id > UINT_MAX || strcmp(end, pct + 2) != 0)
		return false;
	*ret = (unsigned int)id;
	return true;
}

bool image_parse_name(const char *name, enum image_kind *ret_kind, unsigned int *ret_id)
{
	char again[IMAGE_NAME_MAX];

	for (enum image_kind k = 0; k < IMAGE_N_KINDS; k++) {
		unsigned int id = 0;

		if ((image_types[k].flags & IMAGE_F_PERID) &&
		    !parse_id(name, image_types[k].format, &id))
			continue;
		/* Just one spelling of a number is a name: no sign, blank, or zero in front. */
		image_file_name(k, id, again);
		if (strcmp(again, name) != 0)
			continue;
		*ret_kind = k;
		*ret_id = id;
		return true;
	}
	return false;
}
