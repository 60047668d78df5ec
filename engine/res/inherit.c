// SPDX-License-Identifier: Apache-2.0
/*
 * Descriptors that lead out of the job, pipes and sockets to whoever started it and its terminal:
 * on restore the caller's descriptor of the same number takes their place. It is opened anew where
 * that is possible, so that the job gets a description of its own and its flags don't become the
 * caller's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

enum { N_STDIO = 3 };

static bool allows(int fd, uint32_t flags)
{
	int fl = fcntl(fd, F_GETFL);
	int have = fl & O_ACCMODE;

	return fl >= 0 && (have == O_RDWR || have == (int)(flags & O_ACCMODE));
}

static bool fits(int n, enum res_inherit_kind kind, uint32_t flags)
{
	return allows(n, flags) && (kind != RES_INHERIT_TTY || isatty(n));
}

/* The number to use: n itself, else the first of 0..2 that fits; -1 if there has to be one. */
static int choose(int n, enum res_inherit_kind kind, uint32_t flags)
{
	if (kind == RES_INHERIT_PIPE || fits(n, kind, flags))
		return n;
	for (int i = 0; i < N_STDIO; i++)
		if (fits(i, kind, flags))
			return i;
	return kind == RES_INHERIT_TTY ? -1 : n;
}

static const char *access_of(uint32_t flags)
{
	const uint32_t mode = flags & O_ACCMODE;

	return mode == O_RDONLY ? "read" : mode == O_WRONLY ? "written" : "both read and written";
}

/* Never a regular file: a new description would start at offset 0 and overwrite it. */
static int reopen(int n, uint32_t flags)
{
	char path[40];
	struct stat st;

	if (fstat(n, &st) < 0 || (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", n);
	return open(path, (int)(flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int res_inherit_open(int n, enum res_inherit_kind kind, uint32_t flags, int *ret_fd,
		     struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	int from = choose(n, kind, flags), r;

	if (from < 0) {
		r = ck_fail(err, CK_ERR_HOST, -ENOTTY,
			    "the job had a terminal, and the caller has none");
		return ck_err_hint(err, r, "run ckpt restore in a terminal");
	}
	if (fcntl(from, F_GETFD) < 0) {
		r = ck_fail(err, CK_ERR_HOST, -EBADF,
			    "the job's %s is to be the caller's descriptor %d, which is not open",
			    kind == RES_INHERIT_SOCKET ? "socket" : "pipe", from);
		return ck_err_hint(err, r, "redirect it, for example %d%s", from,
				   from ? ">/dev/null" : "</dev/null");
	}
	if (!allows(from, flags))
		return ck_fail(err, CK_ERR_HOST, -EACCES,
			       "the caller's descriptor %d can't be %s, as the job's could", from,
			       access_of(flags));
	fd = reopen(from, flags);
	if (fd >= 0) {
		r = res_set_status(fd, flags, err);
		if (r < 0)
			return r;
	} else {
		fd = fcntl(from, F_DUPFD_CLOEXEC, N_STDIO);
		if (fd < 0)
			return ck_fail_errno(err, "cannot take over descriptor %d", from);
	}
	*ret_fd = ck_take_fd(&fd);
	return 0;
}
