// SPDX-License-Identifier: Apache-2.0
/*
 * Files that can only be opened when the processes exist: a pidfd, a file in somebody's /proc. One
 * task opens each in its script, when all processes are made, and hands it on to the others that
 * have it, through a pair of sockets: so it is one description for all, as it was.
 *
 * Nobody waits for ever: all tasks go through these files in the same order, so of those that wait,
 * one has come to the least of them, and whoever it waits for will.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

enum { OPEN_AT = 0, RELAY_SLOTS = 2 };

static bool has_it(const struct engine_restore *r, const struct res_rfile *f, size_t task)
{
	const struct image_entries *fds = &r->res->task[task].fds;

	for (size_t i = 0; i < fds->n; i++)
		if (((const FdinfoEntry *)fds->m[i])->id == f->fe->id)
			return true;
	return false;
}

static bool receives(const struct engine_restore *r, const struct res_rfile *f, size_t task)
{
	return &r->tasks[task] != f->opener && has_it(r, f, task);
}

void res_late_load(struct engine_restore *r)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		struct res_rfile *f = &r->res->file[i];

		if (!f->opener)
			continue;
		f->relay = -1;
		for (size_t t = 0; t < r->n_tasks && f->relay < 0; t++)
			if (receives(r, f, t)) {
				f->relay = (int)r->res->n_slots;
				r->res->n_slots += RELAY_SLOTS;
			}
	}
}

/* The number is taken for now. */
int res_late_open(int *ret_fd, struct ck_err *err)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	if (fd < 0)
		return ck_fail_errno(err, "cannot open /");
	*ret_fd = fd;
	return 0;
}

int res_late_finish(struct engine_restore *r, struct ck_err *err)
{
	int pair[2], ret = 0;

	for (size_t i = 0; i < r->res->n_files && ret == 0; i++) {
		const struct res_rfile *f = &r->res->file[i];

		if (!f->opener || f->relay < 0)
			continue;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return ck_fail_errno(err, "cannot hand on %s", res_rfile_name(f));
		for (int k = 0; k < RELAY_SLOTS; k++) {
			int want = r->res->base + f->relay + k;

			if (ret == 0 && fcntl(pair[k], F_DUPFD_CLOEXEC, want) != want)
				ret = ck_fail(err, CK_ERR_BUG, -EBUSY, "descriptor %d is taken",
					      want);
			close(pair[k]);
		}
	}
	return ret;
}

/* ---- scripts ---- */

/* The task's own copy of a message with room for one descriptor. */
static uint64_t message(struct script *s, int fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)),
		       .cmsg_level = SOL_SOCKET,
		       .cmsg_type = SCM_RIGHTS } };
	static const char byte;
	struct iovec io = { .iov_len = 1 };
	struct msghdr m = { .msg_iovlen = 1, .msg_controllen = sizeof(c) };

	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	io.iov_base = (void *)(uintptr_t)script_data(s, &byte, 1);
	m.msg_iov = (struct iovec *)(uintptr_t)script_data(s, &io, sizeof(io));
	m.msg_control = (void *)(uintptr_t)script_data(s, &c, sizeof(c));
	return script_data(s, &m, sizeof(m));
}

static void plan_owner(struct script *s, const struct res_rfile *f, const FownEntry *o)
{
	struct f_owner_ex owner = { .type = (enum __pid_type)o->pid_type, .pid = (pid_t)o->pid };

	if (o->signum)
		script_syscall(s, SCRIPT_OK, SYS_fcntl, OPEN_AT, F_SETSIG, o->signum, 0, 0, 0,
			       "set the signal of %s", res_rfile_name(f));
	if (o->pid)
		script_syscall(s, SCRIPT_OK, SYS_fcntl, OPEN_AT, F_SETOWN_EX,
			       script_data(s, &owner, sizeof(owner)), 0, 0, 0,
			       "have signals of %s sent to %d", res_rfile_name(f), owner.pid);
}

static int plan_opener(const struct engine_restore *r, const struct res_rfile *f, struct script *s,
		       struct ck_err *err)
{
	int ret = f->type->plan_open(r, f, s, err);

	if (ret < 0)
		return ret;
	plan_owner(s, f, f->type->fown(r, f));
	for (size_t t = 0; f->relay >= 0 && t < r->n_tasks; t++)
		if (receives(r, f, t))
			script_syscall(s, SCRIPT_OK, SYS_sendmsg,
				       (uint64_t)(r->res->base + f->relay + 1), message(s, OPEN_AT),
				       MSG_NOSIGNAL, 0, 0, 0, "hand on %s to task %u",
				       res_rfile_name(f), r->tasks[t].ps->pid);
	return 0;
}

/* Nothing below the parked numbers is needed any more: the lowest is free. */
int res_late_plan(const struct engine_restore *r, const struct engine_rtask *t, struct ck_err *err)
{
	struct script *s = t->script;

	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];
		int ret = 0;

		if (!f->opener || (f->opener != t && !has_it(r, f, (size_t)(t - r->tasks))))
			continue;
		script_syscall(s, SCRIPT_OK, SYS_close_range, OPEN_AT, (uint64_t)r->res->base - 1,
			       0, 0, 0, 0, "close the caller's descriptors");
		if (f->opener == t)
			ret = plan_opener(r, f, s, err);
		else
			script_syscall(s, SCRIPT_OK, SYS_recvmsg,
				       (uint64_t)(r->res->base + f->relay), message(s, 0),
				       MSG_CMSG_CLOEXEC, 0, 0, 0, "be handed %s",
				       res_rfile_name(f));
		if (ret < 0)
			return ret;
		script_syscall(s, SCRIPT_OK, SYS_dup3, OPEN_AT, (uint64_t)(r->res->base + f->slot),
			       O_CLOEXEC, 0, 0, 0, "keep %s", res_rfile_name(f));
		script_syscall(s, SCRIPT_OK, SYS_close, OPEN_AT, 0, 0, 0, 0, 0, "close %s",
			       res_rfile_name(f));
	}
	return 0;
}
