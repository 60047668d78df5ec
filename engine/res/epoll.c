// SPDX-License-Identifier: Apache-2.0
/*
 * epoll(7). The kernel knows what an instance watches as pairs of a file and the number that it had
 * when it was added. Usually it still has that number; but a program may have closed it while the
 * file lives on elsewhere, and opened something else there. kcmp() tells; where it is forbidden,
 * the file at that number is believed if it looks like the one behind the pair. A file that no task
 * has open any more can't be made again, and is refused.
 *
 * A signalfd wakes those who wait on the signals of the process that added it (Linux
 * fs/signalfd.c:signalfd_poll()). The kernel does not tell which one that was; the first in the
 * tree that has the epoll instance adds it again, in its script; likewise what is opened only there
 * (late.c). All else is added where the files are opened.
 *
 * The ready list is not kept: what is ready when it is added is ready again. So with EPOLLET there
 * can be one more event than needed, never one less.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* What EPOLLONESHOT leaves of the events, Linux fs/eventpoll.c:EP_PRIVATE_BITS */
#define EVENTS_PRIVATE (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)

static bool epoll_match(const struct engine_fd *fd)
{
	return strcmp(fd->link, "anon_inode:[eventpoll]") == 0;
}

static int read_items(const struct res_file *f, struct proc_epoll *ret, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	size_t len = 0;
	int r = res_fdinfo(f, &text, &len, err);

	if (r < 0)
		return r;
	r = proc_parse_epoll(text, len, ret);
	return r < 0 ? ck_fail(err, CK_ERR_REFUSED, r,
			       "the kernel does not tell what an epoll instance watches")
		     : 0;
}

static bool looks_like(const struct engine_fd *fd, const struct proc_epoll_item *e)
{
	return fd->st.st_ino == e->ino &&
	       fd->st.st_dev == makedev(e->kdev >> 20, e->kdev & 0xfffff);
}

/* Is fd the file behind the item? nth: how many items before it have the same number. 1, 0, or
 * -errno if the kernel does not answer. */
static int is_target(const struct engine_fd *fd, const struct res_file *f,
		     const struct proc_epoll_item *e, unsigned int nth)
{
	struct kcmp_epoll_slot slot = {
		.efd = (uint32_t)f->fd,
		.tfd = (uint32_t)e->fd,
		.toff = nth,
	};
	long r = syscall(SYS_kcmp, fd->task->threads[0].tid, f->task->threads[0].tid,
			 KCMP_EPOLL_TFD, (unsigned long)fd->fd, &slot);

	return r < 0 ? -errno : r == 0;
}

static unsigned int same_number_before(const struct proc_epoll *p, size_t i)
{
	unsigned int n = 0;

	for (size_t k = 0; k < i; k++)
		n += p->item[k].fd == p->item[i].fd;
	return n;
}

/* The file behind item i, as the id of its entry. */
static int find_target(const struct engine_dump *d, const struct res_file *f,
		       const struct proc_epoll *p, size_t i, uint32_t *ret, struct ck_err *err)
{
	const struct proc_epoll_item *e = &p->item[i];
	const struct engine_fd *likely = res_fd_of(f->task, e->fd);
	unsigned int nth = same_number_before(p, i);
	int r = likely && looks_like(likely, e) ? is_target(likely, f, e, nth) : 0;

	if (r != 0) {
		*ret = likely->id;
		return 0;
	}
	for (size_t t = 0; t < d->n_tasks; t++)
		for (size_t k = 0; k < d->tasks[t]->n_fds; k++) {
			const struct engine_fd *fd = &d->tasks[t]->fds[k];

			if (looks_like(fd, e) && is_target(fd, f, e, nth) == 1) {
				*ret = fd->id;
				return 0;
			}
		}
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
		    "the epoll instance watches a file, once fd %d, that no task has open", e->fd);
	return ck_err_hint(err, r, "it may be open outside of the job, or on its way in a socket");
}

/* COMPAT(v6.9): before, nobody can have set it. */
#define EPOLL_GET_PARAMS _IOR(0x8A, 0x02, struct epoll_busy)
struct epoll_busy { /* Linux uapi/linux/eventpoll.h:struct epoll_params */
	uint32_t usecs;
	uint16_t budget;
	uint8_t prefer, pad;
};

static int check_busy(struct engine_dump *d, const struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	struct epoll_busy busy = { 0 };

	if (fd < 0 || ioctl(fd, EPOLL_GET_PARAMS, &busy) < 0 ||
	    (!busy.usecs && !busy.budget && !busy.prefer))
		return 0;
	return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
		       "cannot dump an epoll instance that polls busily (EPIOCSPARAMS)");
}

static int epoll_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(proc_epoll) struct proc_epoll p = { 0 };
	int r = read_items(f, &p, err);
	uint32_t id;

	if (r == 0)
		r = check_busy(d, f, err);

	for (size_t i = 0; i < p.n && r == 0; i++)
		r = find_target(d, f, &p, i, &id, err);
	return r < 0 ? r : res_fown_look(d, f, err);
}

static int put_entry(struct engine_dump *d, const struct res_file *f, EventpollFileEntry *e,
		     struct ck_err *err)
{
	FileEntry fe = FILE_ENTRY__INIT;

	e->id = f->id;
	e->flags = f->flags;
	e->fown = (FownEntry *)&f->fown;
	fe.type = FD_TYPES__EVENTPOLL;
	fe.id = f->id;
	fe.epfd = e;
	return res_put_file(d, &fe, err);
}

static int epoll_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(proc_epoll) struct proc_epoll p = { 0 };
	int r = read_items(f, &p, err);
	CK_AUTO(free) EventpollTfdEntry *t = calloc(p.n + 1, sizeof(*t));
	CK_AUTO(free) EventpollTfdEntry **list = calloc(p.n + 1, sizeof(*list));
	EventpollFileEntry e = EVENTPOLL_FILE_ENTRY__INIT;

	if (!t || !list)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe an epoll instance");
	for (size_t i = 0; i < p.n && r == 0; i++) {
		const struct proc_epoll_item *item = &p.item[i];

		eventpoll_tfd_entry__init(&t[i]);
		t[i].id = f->id;
		t[i].tfd = (uint32_t)item->fd;
		t[i].events = item->events;
		t[i].data = item->data;
		t[i].has_dev = t[i].has_inode = t[i].has_pos = t[i].has_target = true;
		t[i].dev = item->kdev;
		t[i].inode = item->ino;
		t[i].pos = item->pos;
		r = find_target(d, f, &p, i, &t[i].target, err);
		list[i] = &t[i];
	}
	e.n_tfd = p.n;
	e.tfd = list;
	return r < 0 ? r : put_entry(d, f, &e, err);
}

/* ---- restore ---- */

static bool epoll_owns(const FileEntry *fe)
{
	return fe->epfd != NULL;
}

static bool is_added_by_task(const struct res_rfile *f)
{
	return f->type == &res_type_signalfd || f->opener;
}

/* CRIU doesn't say which file it is: the one that is open at that number. */
static struct res_rfile *target_of(const struct engine_restore *r, const struct res_rfile *f,
				   const EventpollTfdEntry *e)
{
	if (e->has_target)
		return res_rfile_find(r, e->target);
	return f->holder ? res_rfile_at(r, (int64_t)f->holder->ps->pid, e->tfd) : NULL;
}

static int epoll_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const EventpollFileEntry *e = f->fe->epfd;

	for (size_t i = 0; i < e->n_tfd; i++) {
		const struct res_rfile *t = target_of(r, f, e->tfd[i]);

		if (!t || !t->want || e->tfd[i]->tfd >= INT32_MAX)
			return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
				       "an epoll instance watches a file, once fd %u, that no "
				       "task has open",
				       e->tfd[i]->tfd);
	}
	return 0;
}

static int epoll_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
		      struct ck_err *err)
{
	CK_AUTO(fd) int fd = epoll_create1(EPOLL_CLOEXEC);
	int ret;

	(void)r;
	if (fd < 0)
		return ck_fail_errno(err, "cannot make an epoll instance");
	ret = res_set_status(fd, f->fe->epfd->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static bool has_fired(const EventpollTfdEntry *e)
{
	return (e->events & EPOLLONESHOT) && !(e->events & ~EVENTS_PRIVATE);
}

/*
 * One whose single shot is spent has no events left, not even errors, which epoll_ctl() always
 * adds. If the file is ready for anything at all now, the shot is fired again and taken; nothing
 * else is being watched yet. Otherwise an error to come would be reported.
 */
static int add_fired(int ep, int fd, const EventpollTfdEntry *e)
{
	struct epoll_event ev = { .events = e->events, .data.u64 = e->data };
	struct epoll_event got;

	ev.events |= EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	if (epoll_wait(ep, &got, 1, 0) == 1)
		return 0;
	ev.events = e->events;
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev) < 0 ? -errno : 0;
}

static int add(int ep, int fd, const EventpollTfdEntry *e)
{
	struct epoll_event ev = { .events = e->events, .data.u64 = e->data };

	if (has_fired(e))
		return add_fired(ep, fd, e);
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/*
 * Adds the file under the number it had. Whatever we have there ourselves makes room for that
 * moment; the pair stays when the number is closed, since the file stays open.
 */
static int add_under_number(const struct res_rfile *f, const struct res_rfile *t,
			    const EventpollTfdEntry *e)
{
	int n = (int)e->tfd, flags = fcntl(n, F_GETFD), r;
	CK_AUTO(fd) int own = flags >= 0 ? fcntl(n, F_DUPFD_CLOEXEC, n + 1) : -EBADF;
	CK_AUTO(fd) int ep = fcntl(f->fd, F_DUPFD_CLOEXEC, n + 1);

	if ((flags >= 0 && own < 0) || ep < 0)
		return -errno;
	if (t->fd != n && dup2(t->fd, n) < 0)
		return -errno;
	r = add(ep, n, e);
	if (t->fd == n)
		return r;
	if (own < 0)
		close(n);
	else if (dup3(own, n, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		r = -errno;
	return r;
}

static int fill(struct engine_restore *r, const struct res_rfile *f, struct ck_err *err)
{
	const EventpollFileEntry *e = f->fe->epfd;

	/* What has fired comes first: see add_fired(). */
	for (int fired = 1; fired >= 0; fired--)
		for (size_t i = 0; i < e->n_tfd; i++) {
			int ret;

			const struct res_rfile *t = target_of(r, f, e->tfd[i]);

			if (!t || has_fired(e->tfd[i]) != (fired == 1) || is_added_by_task(t))
				continue;
			ret = add_under_number(f, t, e->tfd[i]);
			if (ret < 0)
				return ck_fail(err, CK_ERR_SYS, ret,
					       "cannot have an epoll instance watch fd %u",
					       e->tfd[i]->tfd);
		}
	return 0;
}

static int epoll_finish(struct engine_restore *r, struct ck_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < r->res->n_files && ret == 0; i++) {
		const struct res_rfile *f = &r->res->file[i];

		if (f->slot >= 0 && f->type == &res_type_epoll)
			ret = res_err_at_rfile(f, err, fill(r, f, err));
	}
	return ret;
}

/* Under the number it had, which is free still, or will be made right by plan_fds(). A number among
 * the parked ones was no task's any more: there the file's own will do. */
static void plan_add(const struct engine_restore *r, struct script *s, const struct res_rfile *f,
		     const struct res_rfile *t, const EventpollTfdEntry *e)
{
	struct epoll_event ev = { .events = e->events, .data.u64 = e->data };
	int base = r->res->base, parked = base + t->slot, n = (int)e->tfd;

	if (n >= base)
		n = parked;
	else
		script_syscall(s, SCRIPT_OK, SYS_dup3, (uint64_t)parked, (uint64_t)n, 0, 0, 0, 0,
			       "put %s where it was", res_rfile_name(t));
	script_syscall(s, SCRIPT_OK, SYS_epoll_ctl, (uint64_t)(base + f->slot), EPOLL_CTL_ADD,
		       (uint64_t)n, script_data(s, &ev, sizeof(ev)), 0, 0,
		       "have an epoll instance watch %s", res_rfile_name(t));
}

void res_epoll_plan(const struct engine_restore *r, const struct engine_rtask *t)
{
	for (size_t i = 0; i < r->res->n_files; i++) {
		const struct res_rfile *f = &r->res->file[i];

		if (f->slot < 0 || f->type != &res_type_epoll || f->holder != t)
			continue;
		for (size_t k = 0; k < f->fe->epfd->n_tfd; k++) {
			const EventpollTfdEntry *e = f->fe->epfd->tfd[k];
			const struct res_rfile *target = target_of(r, f, e);

			if (target && is_added_by_task(target))
				plan_add(r, t->script, f, target, e);
		}
	}
}

static const FownEntry *epoll_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->epfd->fown;
}

const struct res_type res_type_epoll = {
	.name = "an epoll instance",
	.fd_type = FD_TYPES__EVENTPOLL,
	.match = epoll_match,
	.look = epoll_look,
	.dump = epoll_dump,
	.owns = epoll_owns,
	.load = epoll_load,
	.open = epoll_open,
	.fown = epoll_fown,
	.finish = epoll_finish,
};
