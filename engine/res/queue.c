// SPDX-License-Identifier: Apache-2.0
/*
 * sk-queues.img: the messages that sockets have received and nobody has read. Written as peek.c
 * found them, sent again by whoever makes the sockets; a message carries files of the job by their
 * parked descriptors.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum { MAX_RIGHTS = 253 };

int res_sock_queue_dump(struct engine_dump *d, const struct res_sock *s, struct ck_err *err)
{
	int r = 0;

	for (size_t i = 0; i < s->n_q && r == 0; i++) {
		const struct sock_packet *p = &s->q[i];
		SkPacketEntry e = SK_PACKET_ENTRY__INIT;
		ScmEntry scm = SCM_ENTRY__INIT, *scms[] = { &scm };

		e.id_for = s->f->id;
		e.length = (uint32_t)p->len;
		if (p->n_rights) {
			scm.type = SCM_RIGHTS;
			scm.rights = p->rights;
			scm.n_rights = p->n_rights;
			e.scm = scms;
			e.n_scm = 1;
		}
		if (p->from.len > sizeof(sa_family_t)) {
			e.has_from = true;
			e.from.data = (uint8_t *)(uintptr_t)&p->from.any;
			e.from.len = p->from.len;
		}
		r = res_put(d, RES_OUT_SK_QUEUES, &e.base, err);
		if (r == 0 && p->len)
			r = res_put_raw(d, RES_OUT_SK_QUEUES, p->data, p->len, err);
	}
	return r;
}

static int check(const SkPacketEntry *p, uint64_t raw_len, struct ck_err *err)
{
	if (raw_len != p->length || p->length > INT32_MAX)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "a message to socket %u is cut short",
			       p->id_for);
	if (p->has_from &&
	    (p->from.len < sizeof(sa_family_t) || p->from.len > sizeof(struct sockaddr_storage)))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "the sender of a message to socket %u makes no sense", p->id_for);
	if (p->n_scm > 1 ||
	    (p->n_scm && (p->scm[0]->type != SCM_RIGHTS || p->scm[0]->n_rights > MAX_RIGHTS)))
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "what comes with a message to socket %u makes no sense", p->id_for);
	return 0;
}

int res_sock_queue_load(struct engine_restore *r, uint32_t id_for, struct ck_err *err)
{
	const struct image_entries *q = &r->res->sk_queues;

	for (size_t i = 0; i < q->n; i++) {
		const SkPacketEntry *p = (const SkPacketEntry *)q->m[i];
		int ret;

		if (p->id_for != id_for)
			continue;
		ret = check(p, q->raw_len[i], err);
		for (size_t k = 0; ret == 0 && p->n_scm && k < p->scm[0]->n_rights; k++)
			ret = res_want(r, p->scm[0]->rights[k], RES_WANT_FD, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int res_sock_queue_each(struct engine_restore *r, uint32_t id_for,
			int (*fn)(const SkPacketEntry *p, const uint8_t *data, void *arg,
				  struct ck_err *err),
			void *arg, struct ck_err *err)
{
	const struct image_entries *q = &r->res->sk_queues;
	CK_AUTO(fd) int in = -EBADF;

	for (size_t i = 0; i < q->n; i++) {
		const SkPacketEntry *p = (const SkPacketEntry *)q->m[i];
		CK_AUTO(free) uint8_t *data = NULL;
		int ret;

		if (p->id_for != id_for)
			continue;
		if (in < 0)
			in = image_open_fd(r->image, IMAGE_SK_QUEUES, 0, err);
		if (in < 0)
			return in;
		data = malloc((size_t)p->length + 1);
		if (!data)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot send %u bytes", p->length);
		if (ck_pread_full(in, data, p->length, (off_t)q->raw_off[i]) != (ssize_t)p->length)
			return ck_fail(err, CK_ERR_IMAGE, -EIO,
				       "cannot read a message to a socket");
		ret = fn(p, data, arg, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int put_rights(struct engine_restore *r, const SkPacketEntry *p, struct msghdr *m,
		      struct ck_err *err)
{
	struct cmsghdr *c = m->msg_control;
	size_t n = p->n_scm ? p->scm[0]->n_rights : 0;

	m->msg_controllen = n ? CMSG_SPACE(n * sizeof(int)) : 0;
	if (n == 0)
		return 0;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (size_t i = 0; i < n; i++) {
		const struct res_rfile *f = res_rfile_find(r, p->scm[0]->rights[i]);

		if (!f || f->fd < 0)
			return ck_fail(err, CK_ERR_IMAGE, -EBADF,
				       "a message carries file %u, which is not open",
				       p->scm[0]->rights[i]);
		memcpy(CMSG_DATA(c) + i * sizeof(int), &f->fd, sizeof(int));
	}
	return 0;
}

int res_sock_queue_send(struct engine_restore *r, int fd, const SkPacketEntry *p,
			const uint8_t *data, const struct sock_addr *to, struct ck_err *err)
{
	char control[CMSG_SPACE(MAX_RIGHTS * sizeof(int))]
		__attribute__((aligned(__alignof__(struct cmsghdr))));
	struct iovec iov = { (void *)(uintptr_t)data, p->length };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	ssize_t n;
	int ret;

	memset(control, 0, sizeof(control));
	ret = put_rights(r, p, &m, err);
	if (ret < 0)
		return ret;
	if (to) {
		m.msg_name = (void *)(uintptr_t)&to->any;
		m.msg_namelen = to->len;
	}
	while (iov.iov_len || p->length == 0) {
		n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return ck_fail(err, CK_ERR_HOST, -ENOSPC,
				       "a socket can't take all that it had received");
		if (n < 0)
			return ck_fail_errno(err, "cannot send what a socket had received");
		if (p->length == 0)
			break;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		m.msg_controllen = 0;
	}
	return 0;
}
