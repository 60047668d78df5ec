// SPDX-License-Identifier: Apache-2.0
/*
 * Parsers of the lines of fdinfo/N that only anonymous files have: eventfds, epoll instances,
 * inotify instances, timerfds, signalfds, pidfds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/procfs-text.h"
#include "base/procfs.h"

/* Linux fs/eventfd.c:eventfd_show_fdinfo().
 * COMPAT(v6.5): before, nothing tells a semaphore from a counter, the common case. */
int proc_parse_eventfd(const char *text, size_t len, struct proc_eventfd *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	bool seen = false;
	int r;

	*ret = (struct proc_eventfd){ .semaphore = -1 };
	while ((r = ck_text_line(&t, &line)) > 0) {
		if (ck_text_skip(&line, "eventfd-count:")) {
			if (!ck_text_u64(&line, 16, &ret->count))
				return -EINVAL;
			seen = true;
		} else if (ck_text_skip(&line, "eventfd-semaphore:")) {
			if (!ck_text_int(&line, &ret->semaphore) || ret->semaphore < 0)
				return -EINVAL;
		}
	}
	return r == 0 && seen ? 0 : -EINVAL;
}

static bool skip_key(struct ck_text *t, const char *key)
{
	ck_text_blanks(t);
	return ck_text_skip(t, key);
}

/* Linux fs/eventpoll.c:ep_show_fdinfo(): "tfd: 5 events: 19 data: 5  pos:0 ino:40a sdev:d".
 * COMPAT(v4.13): before, the last three are missing. */
static int parse_item(struct ck_text *t, struct proc_epoll_item *e)
{
	int64_t pos;

	if (!ck_text_int(t, &e->fd) || !skip_key(t, "events:") || !ck_text_u32(t, 16, &e->events) ||
	    !skip_key(t, "data:") || !ck_text_u64(t, 16, &e->data) || !skip_key(t, "pos:") ||
	    !ck_text_i64(t, &pos) || !skip_key(t, "ino:") || !ck_text_u64(t, 16, &e->ino) ||
	    !skip_key(t, "sdev:") || !ck_text_u32(t, 16, &e->kdev))
		return -EINVAL;
	e->pos = (uint64_t)pos;
	return e->fd < 0 ? -EINVAL : 0;
}

int proc_parse_epoll(const char *text, size_t len, struct proc_epoll *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = ck_text_line(&t, &line)) > 0) {
		if (!ck_text_skip(&line, "tfd:"))
			continue;
		if (!ck_text_grow(&ret->item, ret->n, sizeof(*ret->item))) {
			r = -ENOMEM;
			break;
		}
		memset(&ret->item[ret->n], 0, sizeof(*ret->item));
		r = parse_item(&line, &ret->item[ret->n]);
		if (r < 0)
			break;
		ret->n++;
	}
	if (r < 0)
		proc_epoll_done(ret);
	return r;
}

void proc_epoll_done(struct proc_epoll *e)
{
	free(e->item);
	memset(e, 0, sizeof(*e));
}

/* A byte in two hexadecimal digits. */
static bool parse_byte(struct ck_text *t, uint8_t *ret)
{
	struct ck_text two = *t;
	uint32_t v;

	if (ck_text_len(t) < 2)
		return false;
	two.end = t->p + 2;
	if (!ck_text_u32(&two, 16, &v) || ck_text_len(&two))
		return false;
	t->p += 2;
	*ret = (uint8_t)v;
	return true;
}

/* "fhandle-bytes:8 fhandle-type:1 f_handle:1ac5030000000000", if the file system has handles. */
static bool parse_handle(struct ck_text *t, struct proc_watch *w)
{
	uint64_t n;
	uint32_t type;

	if (!skip_key(t, "fhandle-bytes:"))
		return ck_text_len(t) == 0;
	if (!ck_text_u64(t, 16, &n) || n > PROC_HANDLE_MAX || !skip_key(t, "fhandle-type:") ||
	    !ck_text_u32(t, 16, &type) || type > INT32_MAX || !skip_key(t, "f_handle:"))
		return false;
	w->handle_type = (int)type;
	w->handle_len = n;
	for (size_t i = 0; i < n; i++)
		if (!parse_byte(t, &w->handle[i]))
			return false;
	return true;
}

/* Linux fs/notify/fdinfo.c:inotify_fdinfo(): "wd:1 ino:3c51a sdev:fe00000 mask:fff ignored_mask:0 "
 * and the handle. */
static bool parse_watch(struct ck_text *t, struct proc_watch *w)
{
	uint32_t wd, ignored;

	if (!skip_key(t, "wd:") || !ck_text_u32(t, 16, &wd) || wd == 0 || wd > INT32_MAX ||
	    !skip_key(t, "ino:") || !ck_text_u64(t, 16, &w->ino) || !skip_key(t, "sdev:") ||
	    !ck_text_u32(t, 16, &w->kdev) || !skip_key(t, "mask:") ||
	    !ck_text_u32(t, 16, &w->mask) || !skip_key(t, "ignored_mask:") ||
	    !ck_text_u32(t, 16, &ignored))
		return false;
	w->wd = (int)wd;
	return parse_handle(t, w);
}

int proc_parse_inotify(const char *text, size_t len, struct proc_inotify *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = ck_text_line(&t, &line)) > 0) {
		if (!ck_text_skip(&line, "inotify "))
			continue;
		if (!ck_text_grow(&ret->watch, ret->n, sizeof(*ret->watch))) {
			r = -ENOMEM;
			break;
		}
		memset(&ret->watch[ret->n], 0, sizeof(*ret->watch));
		if (!parse_watch(&line, &ret->watch[ret->n])) {
			r = -EINVAL;
			break;
		}
		ret->n++;
	}
	if (r < 0)
		proc_inotify_done(ret);
	return r;
}

void proc_inotify_done(struct proc_inotify *i)
{
	free(i->watch);
	memset(i, 0, sizeof(*i));
}

/* "(1, 500000000)" */
static bool parse_time(struct ck_text *t, uint64_t ret[static 2])
{
	return skip_key(t, "(") && ck_text_u64(t, 10, &ret[0]) && ck_text_skip(t, ",") &&
	       ck_text_u64(t, 10, &ret[1]) && ck_text_skip(t, ")") && ret[1] < 1000000000;
}

/* Linux fs/timerfd.c:timerfd_show() */
int proc_parse_timerfd(const char *text, size_t len, struct proc_timerfd *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	unsigned int seen = 0;
	bool good = true;
	int r;

	memset(ret, 0, sizeof(*ret));
	while (good && (r = ck_text_line(&t, &line)) > 0) {
		if (ck_text_skip(&line, "clockid:"))
			good = ck_text_int(&line, &ret->clock);
		else if (ck_text_skip(&line, "ticks:"))
			good = ck_text_u64(&line, 10, &ret->ticks);
		else if (ck_text_skip(&line, "settime flags:"))
			good = ck_text_u32(&line, 8, &ret->settime_flags);
		else if (ck_text_skip(&line, "it_value:"))
			good = parse_time(&line, ret->value);
		else if (ck_text_skip(&line, "it_interval:"))
			good = parse_time(&line, ret->interval);
		else
			continue;
		seen++;
	}
	return good && r == 0 && seen == 5 ? 0 : -EINVAL;
}

/* Linux fs/signalfd.c:signalfd_show_fdinfo() */
int proc_parse_signalfd(const char *text, size_t len, uint64_t *ret_mask)
{
	struct ck_text t = ck_text_of(text, len), line;

	while (ck_text_line(&t, &line) > 0)
		if (ck_text_skip(&line, "sigmask:"))
			return ck_text_u64(&line, 16, ret_mask) ? 0 : -EINVAL;
	return -EINVAL;
}

/* Linux fs/pidfs.c:pidfd_show_fdinfo() */
int proc_parse_pidfd(const char *text, size_t len, int *ret_pid)
{
	struct ck_text t = ck_text_of(text, len), line;

	while (ck_text_line(&t, &line) > 0)
		if (ck_text_skip(&line, "Pid:"))
			return ck_text_int(&line, ret_pid) && *ret_pid >= -1 ? 0 : -EINVAL;
	return -EINVAL;
}
