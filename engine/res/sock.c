// SPDX-License-Identifier: Apache-2.0
/*
 * What all sockets have in common: names, and options, which are rows of one table: read at dump,
 * compared and set at restore, so that what is at its default anyway needs no right to be set. What
 * the running kernel does not know is left out. Each family has a file of its own.
 */
#include "engine/res/sock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/fd.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif

enum { MAX_FILTER = 4096 }; /* instructions, linux/bpf_common.h: BPF_MAXINSNS */

/* ---- names ---- */

void res_sock_addr_text(const struct sock_addr *a, char *buf, size_t size)
{
	char host[64] = "?";
	size_t n = a->len > offsetof(struct sockaddr_un, sun_path)
			   ? a->len - offsetof(struct sockaddr_un, sun_path)
			   : 0;

	if (a->len == 0 || (a->sa.sa_family == AF_UNIX && n == 0)) {
		snprintf(buf, size, "no name");
	} else if (a->sa.sa_family == AF_UNIX) {
		if (a->un.sun_path[0])
			snprintf(buf, size, "%.*s", (int)n, a->un.sun_path);
		else
			snprintf(buf, size, "@%.*s", (int)n - 1, a->un.sun_path + 1);
	} else if (a->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, ntohs(a->in.sin_port));
	} else if (a->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
		snprintf(buf, size, "[%s]:%u", host, ntohs(a->in6.sin6_port));
	} else {
		snprintf(buf, size, "something");
	}
}

bool res_sock_addr_equal(const struct sock_addr *a, const struct sock_addr *b)
{
	return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}

int res_sock_name(int fd, struct sock_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->len = sizeof(ret->any);
	if (getsockname(fd, &ret->sa, &ret->len) == 0)
		return 0;
	ret->len = 0;
	return -errno;
}

int res_sock_peer_name(int fd, struct sock_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->len = sizeof(ret->any);
	if (getpeername(fd, &ret->sa, &ret->len) == 0)
		return 0;
	ret->len = 0;
	return -errno;
}

/* ---- options ---- */

static int32_t *field(const void *msg, size_t offset)
{
	return (int32_t *)(void *)((char *)(uintptr_t)msg + offset);
}

void res_sock_opts_read(int fd, const struct sock_opt *t, size_t n, void *msg)
{
	for (size_t i = 0; i < n; i++) {
		int v = 0;
		socklen_t len = sizeof(v);

		if (getsockopt(fd, t[i].level, t[i].opt, &v, &len) < 0)
			continue;
		if (len == 1)
			v = *(unsigned char *)&v;
		*field(msg, t[i].has) = 1;
		*field(msg, t[i].value) = t[i].kind == SOCK_OPT_BOOL ? v != 0 : v;
	}
}

int res_sock_opts_set(int fd, const struct sock_opt *t, size_t n, const void *msg,
		      struct ck_err *err)
{
	for (size_t i = 0; i < n; i++) {
		int v = *field(msg, t[i].value), now = 0;
		socklen_t len = sizeof(now);

		if (!*field(msg, t[i].has))
			continue;
		if (getsockopt(fd, t[i].level, t[i].opt, &now, &len) == 0) {
			if (len == 1)
				now = *(unsigned char *)&now;
			if ((t[i].kind == SOCK_OPT_BOOL ? now != 0 : now) == v)
				continue;
		}
		if (setsockopt(fd, t[i].level, t[i].opt, &v, sizeof(v)) < 0)
			return ck_fail_errno(err, "cannot set %s of a socket to %d", t[i].name, v);
	}
	return 0;
}

#define ROW(kind_, level_, opt_, field_)                                    \
	{                                                                   \
		.level = (level_), .opt = (opt_), .kind = SOCK_OPT_##kind_, \
		.has = offsetof(SkOptsEntry, has_##field_),                 \
		.value = offsetof(SkOptsEntry, field_), .name = #opt_       \
	}
/* clang-format off */
static const struct sock_opt common[] = {
	ROW(BOOL, SOL_SOCKET, SO_REUSEADDR, reuseaddr),
	ROW(BOOL, SOL_SOCKET, SO_REUSEPORT, so_reuseport),
	ROW(U32, SOL_SOCKET, SO_PRIORITY, so_priority),
	ROW(U32, SOL_SOCKET, SO_RCVLOWAT, so_rcvlowat),
	ROW(U32, SOL_SOCKET, SO_MARK, so_mark),
	ROW(BOOL, SOL_SOCKET, SO_PASSCRED, so_passcred),
	ROW(BOOL, SOL_SOCKET, SO_PASSSEC, so_passsec),
	ROW(BOOL, SOL_SOCKET, SO_DONTROUTE, so_dontroute),
	ROW(BOOL, SOL_SOCKET, SO_NO_CHECK, so_no_check),
	ROW(BOOL, SOL_SOCKET, SO_BROADCAST, so_broadcast),
	ROW(BOOL, SOL_SOCKET, SO_KEEPALIVE, so_keepalive),
	ROW(U32, SOL_SOCKET, SO_OOBINLINE, so_oobinline),
	ROW(S32, SOL_SOCKET, SO_PEEK_OFF, so_peek_off),
	ROW(BOOL, SOL_SOCKET, SO_TIMESTAMP, so_timestamp),
	ROW(BOOL, SOL_SOCKET, SO_TIMESTAMPNS, so_timestampns),
	ROW(BOOL, SOL_SOCKET, SO_RXQ_OVFL, so_rxq_ovfl),
};
/* clang-format on */
#undef ROW

static int read_filter(int fd, SkOptsEntry *o, struct ck_err *err)
{
	struct sock_filter insns[MAX_FILTER];
	socklen_t n =
		MAX_FILTER; /* instructions, not bytes: Linux net/core/filter.c:sk_get_filter() */

	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, insns, &n) < 0) {
		if (errno != EACCES)
			return 0;
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a socket with a BPF program");
	}
	if (n == 0 || n > MAX_FILTER)
		return 0;
	o->so_filter = calloc(n, sizeof(*o->so_filter));
	if (!o->so_filter)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a filter");
	o->n_so_filter = n;
	for (socklen_t i = 0; i < n; i++)
		o->so_filter[i] = (uint64_t)insns[i].code << 48 | (uint64_t)insns[i].jt << 40 |
				  (uint64_t)insns[i].jf << 32 | insns[i].k;
	return 0;
}

static void read_timeouts(int fd, SkOptsEntry *o)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0) {
		o->so_snd_tmo_sec = (uint64_t)tv.tv_sec;
		o->so_snd_tmo_usec = (uint64_t)tv.tv_usec;
	}
	len = sizeof(tv);
	if (getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0) {
		o->so_rcv_tmo_sec = (uint64_t)tv.tv_sec;
		o->so_rcv_tmo_usec = (uint64_t)tv.tv_usec;
	}
}

int res_sock_common_read(int fd, SkOptsEntry *o, struct ck_err *err)
{
	char dev[IFNAMSIZ] = "";
	struct linger linger = { 0 };
	socklen_t len = sizeof(o->so_sndbuf);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &o->so_sndbuf, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o->so_rcvbuf, &len) < 0)
		return ck_fail_errno(err, "cannot ask for the buffers of a socket");
	len = sizeof(o->so_buf_lock);
	o->has_so_buf_lock = getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &o->so_buf_lock, &len) == 0;
	res_sock_opts_read(fd, common, CK_ARRAY_SIZE(common), o);
	read_timeouts(fd, o);
	len = sizeof(linger);
	if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff) {
		o->has_so_linger = true;
		o->so_linger = (uint32_t)linger.l_linger;
	}
	len = sizeof(dev);
	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, dev, &len) == 0 && dev[0]) {
		o->so_bound_dev = strdup(dev);
		if (!o->so_bound_dev)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a socket");
	}
	return read_filter(fd, o, err);
}

void res_sock_common_done(SkOptsEntry *o)
{
	free(o->so_bound_dev);
	free(o->so_filter);
	res_sock_more_done(o);
}

int res_sock_common_check(const SkOptsEntry *o, struct ck_err *err)
{
	if (o->so_sndbuf > INT32_MAX || o->so_rcvbuf > INT32_MAX || o->so_linger > INT32_MAX ||
	    o->so_snd_tmo_sec > INT64_MAX || o->so_rcv_tmo_sec > INT64_MAX ||
	    o->so_snd_tmo_usec > 999999 || o->so_rcv_tmo_usec > 999999)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "an option of a socket is out of range");
	if (o->n_so_filter > MAX_FILTER)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "the filter of a socket is too long");
	if (o->so_bound_dev && strlen(o->so_bound_dev) >= IFNAMSIZ)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the interface of a socket makes no sense");
	return res_sock_more_check(o, err);
}

/* The kernel doubles what it is told, and getsockopt() tells the double. */
static int set_buffer(int fd, int opt, int force, uint32_t want, const char *name,
		      struct ck_err *err)
{
	int now = 0, v = (int)(want / 2), r;
	socklen_t len = sizeof(now);

	if (getsockopt(fd, SOL_SOCKET, opt, &now, &len) < 0)
		return ck_fail_errno(err, "cannot ask for the buffers of a socket");
	if ((uint32_t)now == want)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, force, &v, sizeof(v)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, opt, &v, sizeof(v)) < 0)
		return ck_fail_errno(err, "cannot set %s of a socket to %d", name, v);
	len = sizeof(now);
	if (getsockopt(fd, SOL_SOCKET, opt, &now, &len) == 0 && (uint32_t)now >= want)
		return 0;
	r = ck_fail(err, CK_ERR_HOST, -EPERM, "cannot set %s of a socket to %d", name, v);
	return ck_err_hint(err, r, "raise net.core.wmem_max and net.core.rmem_max");
}

static int set_buffers(int fd, const SkOptsEntry *o, bool tuned, struct ck_err *err)
{
	uint32_t lock = o->has_so_buf_lock ? o->so_buf_lock & (SOCK_LOCK_SND | SOCK_LOCK_RCV) : 0;
	int r = 0;

	if (!tuned || (lock & SOCK_LOCK_SND))
		r = set_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, o->so_sndbuf, "SO_SNDBUF", err);
	if (r == 0 && (!tuned || (lock & SOCK_LOCK_RCV)))
		r = set_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, o->so_rcvbuf, "SO_RCVBUF", err);
	/* COMPAT(v5.14): before, what was set stays so */
	if (r == 0 && o->has_so_buf_lock)
		(void)setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock));
	return r;
}

static int set_filter(int fd, const SkOptsEntry *o, struct ck_err *err)
{
	struct sock_filter insns[MAX_FILTER];
	struct sock_fprog prog = { .len = (unsigned short)o->n_so_filter, .filter = insns };

	if (o->n_so_filter == 0)
		return 0;
	for (size_t i = 0; i < o->n_so_filter && i < MAX_FILTER; i++) {
		uint64_t v = o->so_filter[i];

		insns[i] = (struct sock_filter){ .code = (uint16_t)(v >> 48),
						 .jt = (uint8_t)(v >> 40),
						 .jf = (uint8_t)(v >> 32),
						 .k = (uint32_t)v };
	}
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0)
		return ck_fail_errno(err, "cannot set the filter of a socket");
	return 0;
}

static int set_timeout(int fd, int opt, uint64_t sec, uint64_t usec, struct ck_err *err)
{
	struct timeval tv = { .tv_sec = (time_t)sec, .tv_usec = (suseconds_t)usec };

	if ((sec || usec) && setsockopt(fd, SOL_SOCKET, opt, &tv, sizeof(tv)) < 0)
		return ck_fail_errno(err, "cannot set a timeout of a socket");
	return 0;
}

int res_sock_common_set(int fd, const SkOptsEntry *o, bool tuned, struct ck_err *err)
{
	struct linger linger = { .l_onoff = 1, .l_linger = (int)o->so_linger };
	int r = res_sock_opts_set(fd, common, CK_ARRAY_SIZE(common), o, err);

	if (r == 0)
		r = set_buffers(fd, o, tuned, err);
	if (r == 0)
		r = set_timeout(fd, SO_SNDTIMEO, o->so_snd_tmo_sec, o->so_snd_tmo_usec, err);
	if (r == 0)
		r = set_timeout(fd, SO_RCVTIMEO, o->so_rcv_tmo_sec, o->so_rcv_tmo_usec, err);
	if (r == 0 && o->has_so_linger &&
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		r = ck_fail_errno(err, "cannot set SO_LINGER of a socket");
	if (r == 0 && o->so_bound_dev && o->so_bound_dev[0] &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->so_bound_dev,
		       (socklen_t)strlen(o->so_bound_dev)) < 0)
		r = ck_fail_errno(err, "cannot bind a socket to interface %s", o->so_bound_dev);
	if (r == 0)
		r = set_filter(fd, o, err);
	return r == 0 ? res_sock_more_set(fd, o, err) : r;
}

void res_sock_widen(int fd)
{
	const int most = 1 << 29;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &most, sizeof(most)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof(most));
}

/* ---- dump: the row for all sockets, until the family is known ---- */

static bool socket_match(const struct engine_fd *fd)
{
	return S_ISSOCK(fd->st.st_mode) && strncmp(fd->link, "socket:", 7) == 0 &&
	       !(fd->info.flags & O_PATH);
}

int res_sock_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err)
{
	struct res_sock *s = calloc(1, sizeof(*s));
	socklen_t len = sizeof(int);
	int r;

	if (!s)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a socket");
	f->sock = s;
	s->f = f;
	s->ino = (uint32_t)f->st.st_ino;
	sk_opts_entry__init(&s->opts);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &s->family, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &s->type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &s->protocol, &len) < 0)
		return ck_fail_errno(err, "cannot ask what kind of socket it is");
	r = res_sock_name(fd, &s->name);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot ask for the name of a socket");
	(void)res_sock_peer_name(fd, &s->peer_name);
	r = res_sock_common_read(fd, &s->opts, err);
	if (r == 0)
		r = res_sock_more_read(fd, s, s->peer_name.len == 0, err);
	return r < 0 ? r : res_fown_look(d, f, err);
}

static int socket_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	int family = -1, type = -1, r;
	socklen_t len = sizeof(family);

	if (fd < 0) {
		r = ck_fail(err, CK_ERR_PERM, fd, "cannot look at a socket (%s)", f->link);
		return ck_err_hint(err, r,
				   "the system call pidfd_getfd is forbidden here, and the task "
				   "can't hand it over");
	}
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return ck_fail_errno(err, "cannot ask what kind of socket it is");
	if (family == AF_UNIX)
		return res_sock_unix_look(d, f, fd, err);
	if (family == AF_NETLINK)
		return res_sock_netlink_look(d, f, fd, err);
	if ((family == AF_INET || family == AF_INET6) &&
	    (type == SOCK_STREAM || type == SOCK_DGRAM))
		return res_sock_inet_look(d, f, fd, err);
	return res_type_other.look(d, f, err);
}

struct res_sock *res_sock_by_ino(const struct engine_dump *d, int family, uint32_t ino)
{
	for (size_t i = 0; i < d->res->n_files && ino; i++) {
		struct res_sock *s = d->res->files[i]->sock;

		if (s && s->ino == ino && s->family == family)
			return s;
	}
	return NULL;
}

static bool holds(const char *pid, const char *link)
{
	CK_AUTO(fd) int proc = -EBADF;
	char path[300];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir))) {
		CK_AUTO(free) char *text = NULL;

		found = e->d_name[0] != '.' && ck_readlink_at(dirfd(dir), e->d_name, &text) == 0 &&
			strcmp(text, link) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

void res_sock_holder(uint32_t ino, char *buf, size_t size)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	char link[40];

	snprintf(buf, size, "nobody that can be seen");
	snprintf(link, sizeof(link), "socket:[%u]", ino);
	while (proc && (e = readdir(proc))) {
		CK_AUTO(fd) int dir = -EBADF;
		struct proc_stat st;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !holds(e->d_name, link))
			continue;
		dir = proc_open_pid((pid_t)strtol(e->d_name, NULL, 10));
		if (dir < 0 || proc_read_stat(dir, &st, NULL) < 0)
			continue;
		snprintf(buf, size, "task %s (%s)", e->d_name, st.comm);
		break;
	}
	if (proc)
		closedir(proc);
}

void res_socks_done(struct res_dump *res)
{
	for (size_t i = 0; i < res->n_files; i++) {
		struct res_sock *s = res->files[i]->sock;

		if (!s)
			continue;
		res_sock_common_done(&s->opts);
		for (size_t k = 0; k < s->n_q; k++) {
			free(s->q[k].data);
			free(s->q[k].rights);
		}
		free(s->q);
		free(s);
	}
	res_sock_diag_done(res);
}

const struct res_type res_type_socket = {
	.name = "a socket",
	.fd_type = FD_TYPES__UND,
	.match = socket_match,
	.look = socket_look,
};
