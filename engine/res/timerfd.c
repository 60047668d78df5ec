// SPDX-License-Identifier: Apache-2.0
/*
 * timerfd_create(2). A timer goes on with the time that it had left when the job stood still, which
 * is right for clocks that continue where they were. One that waits for a time of day keeps waiting
 * for that.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* linux/timerfd.h can't be included beside sys/timerfd.h. */
#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

#define NS_PER_S 1000000000ull

static bool timerfd_match(const struct engine_fd *fd)
{
	return strcmp(fd->link, "anon_inode:[timerfd]") == 0;
}

static int timerfd_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_fown_look(d, f, err);
}

static bool is_time_of_day(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}

static void keep_deadline(const struct proc_timerfd *v, TimerfdEntry *e)
{
	struct timespec now;

	if (!is_time_of_day(v->clock) || !(v->settime_flags & TFD_TIMER_ABSTIME) ||
	    !(v->value[0] | v->value[1]) || clock_gettime(CLOCK_REALTIME, &now) < 0)
		return;
	e->has_deadline = true;
	e->deadline = ((uint64_t)now.tv_sec + v->value[0]) * NS_PER_S + (uint64_t)now.tv_nsec +
		      v->value[1];
}

static int timerfd_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	TimerfdEntry e = TIMERFD_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	CK_AUTO(free) char *text = NULL;
	struct proc_timerfd v;
	size_t len = 0;
	int r = res_fdinfo(f, &text, &len, err);

	if (r < 0)
		return r;
	r = proc_parse_timerfd(text, len, &v);
	if (r < 0)
		return ck_fail(err, CK_ERR_REFUSED, r,
			       "the kernel does not tell a timerfd's state");
	e.id = f->id;
	e.flags = f->flags;
	e.fown = &f->fown;
	e.clockid = (uint32_t)v.clock;
	e.ticks = v.ticks;
	e.settime_flags = v.settime_flags;
	e.vsec = v.value[0];
	e.vnsec = v.value[1];
	e.isec = v.interval[0];
	e.insec = v.interval[1];
	keep_deadline(&v, &e);
	fe.type = FD_TYPES__TIMERFD;
	fe.id = f->id;
	fe.tfd = &e;
	return res_put_file(d, &fe, err);
}

/* ---- restore ---- */

static bool timerfd_owns(const FileEntry *fe)
{
	return fe->tfd != NULL;
}

static int timerfd_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const TimerfdEntry *e = f->fe->tfd;

	(void)r;
	if (e->vnsec >= NS_PER_S || e->insec >= NS_PER_S || e->vsec > INT64_MAX / 2 ||
	    e->isec > INT64_MAX / 2 || e->clockid > INT32_MAX ||
	    (e->settime_flags & ~(uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a timerfd is set to no valid time");
	return 0;
}

/* A timer is set by its own flags, which it shows: so absolute ones get an absolute time. */
static int when(const TimerfdEntry *e, struct itimerspec *ret)
{
	uint64_t ns = e->vnsec;
	struct timespec now = { 0 };

	*ret = (struct itimerspec){ .it_interval = { (time_t)e->isec, (long)e->insec } };
	if (!(e->vsec | e->vnsec))
		return 0;
	ret->it_value.tv_sec = (time_t)e->vsec;
	if (e->has_deadline) {
		ret->it_value.tv_sec = (time_t)(e->deadline / NS_PER_S);
		ns = e->deadline % NS_PER_S;
	} else if (e->settime_flags & TFD_TIMER_ABSTIME) {
		if (clock_gettime((clockid_t)e->clockid, &now) < 0)
			return -errno;
		ret->it_value.tv_sec += now.tv_sec;
		ns += (uint64_t)now.tv_nsec;
	}
	ret->it_value.tv_sec += (time_t)(ns / NS_PER_S);
	ret->it_value.tv_nsec = (long)(ns % NS_PER_S);
	return 0;
}

static int timerfd_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			struct ck_err *err)
{
	const TimerfdEntry *e = f->fe->tfd;
	CK_AUTO(fd) int fd = timerfd_create((clockid_t)e->clockid, TFD_CLOEXEC);
	struct itimerspec its;
	int ret;

	(void)r;
	if (fd < 0)
		return ck_fail_errno(err, "cannot make a timerfd of clock %u", e->clockid);
	ret = when(e, &its);
	if (ret < 0)
		return ck_fail(err, CK_ERR_SYS, ret, "cannot read clock %u", e->clockid);
	if (timerfd_settime(fd, (int)e->settime_flags, &its, NULL) < 0)
		return ck_fail_errno(err, "cannot set a timerfd");
	/* Needs CONFIG_CHECKPOINT_RESTORE. */
	if (e->ticks && ioctl(fd, TFD_IOC_SET_TICKS, &e->ticks) < 0)
		return ck_fail_errno(err, "cannot set the expirations of a timerfd");
	ret = res_set_status(fd, e->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

static const FownEntry *timerfd_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->tfd->fown;
}

const struct res_type res_type_timerfd = {
	.name = "a timerfd",
	.fd_type = FD_TYPES__TIMERFD,
	.match = timerfd_match,
	.look = timerfd_look,
	.dump = timerfd_dump,
	.owns = timerfd_owns,
	.load = timerfd_load,
	.open = timerfd_open,
	.fown = timerfd_fown,
};
