// SPDX-License-Identifier: Apache-2.0
/* eventfd(2): a counter. Its value stands in /proc/PID/fdinfo, so nothing is read from the job. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

static bool eventfd_match(const struct engine_fd *fd)
{
	return strcmp(fd->link, "anon_inode:[eventfd]") == 0;
}

static int eventfd_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_fown_look(d, f, err);
}

static int eventfd_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	EventfdFileEntry e = EVENTFD_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	CK_AUTO(free) char *text = NULL;
	struct proc_eventfd v;
	size_t len = 0;
	int r = res_fdinfo(f, &text, &len, err);

	if (r < 0)
		return r;
	r = proc_parse_eventfd(text, len, &v);
	if (r < 0)
		return ck_fail(err, CK_ERR_REFUSED, r,
			       "the kernel does not tell the count of an eventfd");
	e.id = f->id;
	e.flags = f->flags;
	e.fown = &f->fown;
	e.counter = v.count;
	e.has_semaphore = v.semaphore >= 0;
	e.semaphore = v.semaphore == 1;
	fe.type = FD_TYPES__EVENTFD;
	fe.id = f->id;
	fe.efd = &e;
	return res_put_file(d, &fe, err);
}

static bool eventfd_owns(const FileEntry *fe)
{
	return fe->efd != NULL;
}

static int eventfd_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	(void)r;
	if (f->fe->efd->counter == UINT64_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "an eventfd counts beyond its limit");
	return 0;
}

static int eventfd_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			struct ck_err *err)
{
	const EventfdFileEntry *e = f->fe->efd;
	CK_AUTO(fd) int fd = eventfd(0, EFD_CLOEXEC | (e->semaphore ? EFD_SEMAPHORE : 0));
	int ret;

	(void)r;
	if (fd < 0)
		return ck_fail_errno(err, "cannot make an eventfd");
	/* eventfd(2)'s own initial value has 32 bits only */
	if (e->counter) {
		ret = ck_write_full(fd, &e->counter, sizeof(e->counter));
		if (ret < 0)
			return ck_fail(err, CK_ERR_SYS, ret, "cannot set an eventfd");
	}
	ret = res_set_status(fd, e->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static const FownEntry *eventfd_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->efd->fown;
}

const struct res_type res_type_eventfd = {
	.name = "an eventfd",
	.fd_type = FD_TYPES__EVENTFD,
	.match = eventfd_match,
	.look = eventfd_look,
	.dump = eventfd_dump,
	.owns = eventfd_owns,
	.load = eventfd_load,
	.open = eventfd_open,
	.fown = eventfd_fown,
};
