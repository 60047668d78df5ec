// SPDX-License-Identifier: Apache-2.0
/*
 * Which files that have a name are part of the job's state: its contents at the moment of the dump
 * belong to the job's memory at that moment, nobody would miss them, and they may be gone or
 * changed when the job comes back. Such are files in /dev/shm, files of other tmpfs that are mapped
 * shared, and what MPI libraries and their launchers keep in session directories. They travel in
 * the image, and are made anew under their names: a job that still runs keeps what it has.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* Beginnings of names of session directories */
static const char *const sessions[] = {
	"ompi.",             /* Open MPI 4: ompi.HOST.UID */
	"openmpi-sessions-", /* Open MPI 2 and 3 */
	"prte.",             /* PRRTE, of Open MPI 5 */
};

static bool is_in_session(const char *path)
{
	for (const char *p = path; (p = strchr(p, '/')); p++)
		for (size_t i = 0; i < CK_ARRAY_SIZE(sessions); i++) {
			size_t n = strlen(sessions[i]);

			if (!strncmp(p + 1, sessions[i], n) && strchr(p + 1, '/'))
				return true;
		}
	return false;
}

/* Asked once for all files of /dev/shm: the job stands still. */
static bool is_on_tmpfs(struct engine_dump *d, const struct res_file *f)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct statfs fs;

	if (d->res->tmpfs == f->st.st_dev)
		return true;
	fd = res_name_open(f->task, f->name, O_PATH);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return false;
	d->res->tmpfs = f->st.st_dev;
	return true;
}

int res_state_look(struct engine_dump *d, struct res_file *f, bool mapped_shared,
		   struct ck_err *err)
{
	bool state;

	if (f->ghost || !f->name || (!S_ISREG(f->st.st_mode) && !S_ISFIFO(f->st.st_mode)) ||
	    (f->flags & O_PATH))
		return 0;
	if (is_in_session(f->name))
		state = true;
	else if (!S_ISREG(f->st.st_mode))
		state = false;
	else
		state = (mapped_shared || !strncmp(f->name, "/dev/shm/", 9)) && is_on_tmpfs(d, f);
	return state ? res_ghost_add_named(d, f, err) : 0;
}
