// SPDX-License-Identifier: Apache-2.0
/*
 * signalfd(2): a mask. What can be read are the pending signals of whoever reads, which belong to
 * the tasks.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

static bool signalfd_match(const struct engine_fd *fd)
{
	return strcmp(fd->link, "anon_inode:[signalfd]") == 0;
}

static int signalfd_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_fown_look(d, f, err);
}

static int signalfd_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	SignalfdEntry e = SIGNALFD_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	CK_AUTO(free) char *text = NULL;
	size_t len = 0;
	int r = res_fdinfo(f, &text, &len, err);

	if (r < 0)
		return r;
	r = proc_parse_signalfd(text, len, &e.sigmask);
	if (r < 0)
		return ck_fail(err, CK_ERR_REFUSED, r,
			       "the kernel does not tell the mask of a signalfd");
	e.id = f->id;
	e.flags = f->flags;
	e.fown = &f->fown;
	fe.type = FD_TYPES__SIGNALFD;
	fe.id = f->id;
	fe.sgfd = &e;
	return res_put_file(d, &fe, err);
}

static bool signalfd_owns(const FileEntry *fe)
{
	return fe->sgfd != NULL;
}

static int signalfd_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	(void)r, (void)f, (void)err;
	return 0; /* any mask will do: the kernel drops SIGKILL and SIGSTOP from it */
}

/* The system call itself: sigset_t is larger than the kernel's, and libc's functions keep out
 * the signals that it uses itself. */
static int signalfd_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			 struct ck_err *err)
{
	const SignalfdEntry *e = f->fe->sgfd;
	uint64_t mask = e->sigmask;
	CK_AUTO(fd) int fd = (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC);
	int ret;

	(void)r;
	if (fd < 0)
		return ck_fail_errno(err, "cannot make a signalfd");
	ret = res_set_status(fd, e->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static const FownEntry *signalfd_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->sgfd->fown;
}

const struct res_type res_type_signalfd = {
	.name = "a signalfd",
	.fd_type = FD_TYPES__SIGNALFD,
	.match = signalfd_match,
	.look = signalfd_look,
	.dump = signalfd_dump,
	.owns = signalfd_owns,
	.load = signalfd_load,
	.open = signalfd_open,
	.fown = signalfd_fown,
};
