// SPDX-License-Identifier: Apache-2.0
/*
 * Netlink sockets of the families that every program may ask: routes, sockets, device events, and
 * generic ones without groups, whose numbers differ from host to host. What they ask is answered at
 * once; an answer that waits to be read tells of this host, and is waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum { MAX_WORDS = 64, MAX_TEXT = 16 << 20 };

static struct sockaddr_nl nl_of(const struct sock_addr *a)
{
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK };

	memcpy(&nl, &a->any, a->len < sizeof(nl) ? a->len : sizeof(nl));
	return nl;
}

static bool is_known(uint32_t protocol)
{
	return protocol == NETLINK_ROUTE || protocol == NETLINK_SOCK_DIAG ||
	       protocol == NETLINK_KOBJECT_UEVENT || protocol == NETLINK_GENERIC;
}

/* ---- dump ---- */

/* Is it in the middle of a long answer? Linux net/netlink/af_netlink.c:netlink_native_seq_show()
 * has columns for that (the 7th) and for the inode (the last). */
static bool is_answering(uint32_t ino)
{
	CK_AUTO(free) char *text = NULL;
	char *rest = NULL;

	if (ck_read_file_at(AT_FDCWD, "/proc/net/netlink", MAX_TEXT, &text, NULL) < 0)
		return false;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *last = "", *running = "";
		char *at = NULL;
		int column = 0;

		for (char *p = strtok_r(line, " ", &at); p; p = strtok_r(NULL, " ", &at)) {
			running = ++column == 7 ? p : running;
			last = p;
		}
		if (strtoul(last, NULL, 10) == ino)
			return running[0] == '1';
	}
	return false;
}

int res_sock_netlink_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct sockaddr_nl peer;
	int r;

	f->type = &res_type_netlink;
	r = res_sock_look(d, f, fd, err);
	if (r < 0)
		return r;
	peer = nl_of(&f->sock->peer_name);
	if (!is_known((uint32_t)f->sock->protocol) || peer.nl_pid || peer.nl_groups)
		return res_type_other.look(d, f, err);
	if ((poll(&p, 1, 0) == 0 || !(p.revents & (POLLIN | POLLERR))) &&
	    !is_answering(f->sock->ino))
		return 0;
	r = ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		    "cannot dump a netlink socket in which an answer waits");
	return ck_err_hint(err, r, "try again when the job has read it");
}

static int netlink_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const struct res_sock *s = f->sock;
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	NetlinkSkEntry e = NETLINK_SK_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	uint32_t groups[MAX_WORDS] = { 0 };
	socklen_t len = sizeof(groups);

	if (fd < 0)
		return ck_fail(err, CK_ERR_SYS, fd, "cannot borrow a socket");
	if (getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len) < 0 ||
	    len > sizeof(groups))
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "the kernel does not tell the groups of a netlink socket");
	e.n_groups = len / sizeof(groups[0]);
	while (e.n_groups && !groups[e.n_groups - 1])
		e.n_groups--;
	if (e.n_groups && s->protocol == NETLINK_GENERIC)
		return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			       "cannot dump a generic netlink socket that is member of a group");
	e.id = f->id;
	e.ino = s->ino;
	e.protocol = (uint32_t)s->protocol;
	e.flags = f->flags;
	e.portid = nl_of(&s->name).nl_pid;
	e.groups = groups;
	e.fown = &f->fown;
	e.opts = (SkOptsEntry *)(uintptr_t)&s->opts;
	e.has_type = true;
	e.type = (uint32_t)s->type;
	fe.type = FD_TYPES__NETLINKSK;
	fe.id = f->id;
	fe.nlsk = &e;
	return res_put_file(d, &fe, err);
}

/* ---- restore ---- */

static bool netlink_owns(const FileEntry *fe)
{
	return fe->nlsk != NULL;
}

static int netlink_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const NetlinkSkEntry *e = f->fe->nlsk;

	(void)r;
	if (!is_known(e->protocol) || e->n_groups > MAX_WORDS || (e->n_groups && !e->portid) ||
	    (e->has_type && e->type != SOCK_RAW && e->type != SOCK_DGRAM) || e->dst_portid ||
	    e->dst_group)
		return ck_fail(err, CK_ERR_IMAGE, -EOPNOTSUPP,
			       "a netlink socket is of a kind that can't be restored");
	return res_sock_common_check(e->opts, err);
}

static int join(int fd, const NetlinkSkEntry *e, struct ck_err *err)
{
	for (unsigned int i = 0; i < e->n_groups * 32; i++) {
		int group = (int)i + 1;

		if ((e->groups[i / 32] >> i % 32 & 1) &&
		    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return ck_fail_errno(err, "cannot join group %d of netlink family %u",
					     group, e->protocol);
	}
	return 0;
}

static int netlink_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
			struct ck_err *err)
{
	const NetlinkSkEntry *e = f->fe->nlsk;
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = e->portid };
	CK_AUTO(fd)
	int fd = socket(AF_NETLINK, (int)(e->has_type ? e->type : SOCK_RAW) | SOCK_CLOEXEC,
			(int)e->protocol);
	int ret;

	(void)r;
	if (fd < 0)
		return ck_fail_errno(err, "cannot make a netlink socket");
	if (e->portid && bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (errno == EADDRINUSE)
			return ck_fail(err, CK_ERR_BUSY, -EADDRINUSE,
				       "somebody else has port %u of netlink family %u", e->portid,
				       e->protocol);
		return ck_fail_errno(err, "cannot bind a netlink socket to %u", e->portid);
	}
	ret = join(fd, e, err);
	if (ret == 0)
		ret = res_sock_common_set(fd, e->opts, false, err);
	if (ret == 0)
		ret = res_set_status(fd, e->flags, err);
	if (ret == 0)
		*ret_fd = ck_take_fd(&fd);
	return ret;
}

static const FownEntry *netlink_fown(const struct engine_restore *r, const struct res_rfile *f)
{
	(void)r;
	return f->fe->nlsk->fown;
}

const struct res_type res_type_netlink = {
	.name = "a netlink socket",
	.fd_type = FD_TYPES__NETLINKSK,
	.dump = netlink_dump,
	.owns = netlink_owns,
	.load = netlink_load,
	.open = netlink_open,
	.fown = netlink_fown,
};
