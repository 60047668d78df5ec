// SPDX-License-Identifier: Apache-2.0
/*
 * Orders to the blob: what the host thread of a task does for us while everything is held. An order
 * is written into the area, the marker call returns, the blob carries it out and makes the next
 * marker call. If ckpt dies, whatever was begun is carried to its end, and the marker after it
 * leads back.
 *
 * Tags are the only orders that change anything outside of the area: for a moment, the signal
 * number (F_SETSIG) of open file descriptions is another one. They come off whatever happens:
 *  - `tagged` is set in every task that will tag before any of them does. With it, the blob's own
 *    way back takes the tags off, also where another task put them there.
 *  - All tasks know what the number was before the first tag, and each restores it after its own
 *    last tag: so the last change to a description is a restoration, in whatever order they come.
 * Until then nobody can notice, but by asking F_GETSIG from outside of the job in these
 * microseconds: engine/res/share.c tags only where no signal with that number can be sent.
 *
 * Close-on-exec flags and the umask are tagged in the same way (engine/kin.c).
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "engine/inject.h"
#include "image/format.h"

static off_t orders_at(const struct engine_task *t)
{
	return (off_t)(t->inject->area + t->inject->process_off +
		       offsetof(struct parasite_process, orders));
}

static int read_orders(const struct engine_task *t, struct parasite_orders *ret, struct ck_err *err)
{
	if (ck_pread_full(t->memfd, ret, sizeof(*ret), orders_at(t)) == (ssize_t)sizeof(*ret))
		return 0;
	return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
}

static int write_at(const struct engine_task *t, const void *data, size_t len, off_t at,
		    struct ck_err *err)
{
	int r = ck_pwrite_full(t->memfd, data, len, at);

	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot write into the blob's area") : 0;
}

/* *o goes in and comes back. Calls that failed in the task are for the caller to judge. */
static int give_order(struct engine_task *t, struct parasite_orders *o, struct ck_err *err)
{
	int r = write_at(t, o, sizeof(*o), orders_at(t), err);

	if (r == 0)
		r = engine_run_to_marker(&t->threads[0], err);
	return r < 0 ? r : read_orders(t, o, err);
}

/* ---- tags ---- */

static off_t fds_at(const struct engine_task *t)
{
	return (off_t)(t->inject->area + t->inject->fds_off);
}

/* Between the table in the area and the task's descriptors. */
static int table_in(const struct engine_task *t, struct parasite_fd *table, struct ck_err *err)
{
	size_t size = t->inject->n_fds * sizeof(*table);

	if (ck_pread_full(t->memfd, table, size, fds_at(t)) == (ssize_t)size)
		return 0;
	return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
}

int engine_tags_begin(struct engine_task *t, struct ck_err *err)
{
	uint32_t tagged = 1;

	return write_at(t, &tagged, sizeof(tagged),
			orders_at(t) + (off_t)offsetof(struct parasite_orders, tagged), err);
}

static int order_tags(struct engine_task *t, enum parasite_order order, struct ck_err *err)
{
	CK_AUTO(free) struct parasite_fd *table = calloc(t->inject->n_fds, sizeof(*table));
	struct parasite_orders o;
	int r = table ? table_in(t, table, err)
		      : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot tag descriptors");

	for (size_t i = 0, k = 0; r == 0 && i < t->n_fds; i++)
		if (t->fds[i].unclear)
			table[k++].tag = t->fds[i].tag;
	if (r == 0 && order == PARASITE_TAG)
		r = write_at(t, table, t->inject->n_fds * sizeof(*table), fds_at(t), err);
	if (r == 0)
		r = read_orders(t, &o, err);
	if (r < 0)
		return r;
	o.order = order;
	r = give_order(t, &o, err);
	if (r == 0 && o.error)
		r = ck_fail(err, CK_ERR_SYS, o.error, "cannot tag the job's descriptors");
	if (r == 0 && order == PARASITE_READ)
		r = table_in(t, table, err);
	for (size_t i = 0, k = 0; r == 0 && order == PARASITE_READ && i < t->n_fds; i++)
		if (t->fds[i].unclear)
			t->fds[i].tag = table[k++].is;
	return r;
}

int engine_tags_put(struct engine_task *t, struct ck_err *err)
{
	return order_tags(t, PARASITE_TAG, err);
}

int engine_tags_read(struct engine_task *t, struct ck_err *err)
{
	return order_tags(t, PARASITE_READ, err);
}

int engine_tags_end(struct engine_task *t, struct ck_err *err)
{
	return order_tags(t, PARASITE_UNTAG, err);
}

/* ---- what processes have in common ---- */

static off_t kin_at(const struct engine_task *t)
{
	return (off_t)(t->inject->area + t->inject->process_off +
		       offsetof(struct parasite_process, kin));
}

int engine_kin_set(struct engine_task *t, const struct parasite_kin *k, struct ck_err *err)
{
	return write_at(t, k, sizeof(*k), kin_at(t), err);
}

int engine_kin_order(struct engine_task *t, enum parasite_order order, struct ck_err *err)
{
	struct parasite_orders o;
	int r = read_orders(t, &o, err);

	if (r < 0)
		return r;
	o.order = order;
	r = give_order(t, &o, err);
	if (r == 0 && o.error)
		r = ck_fail(err, CK_ERR_SYS, o.error, "cannot tag the job's tables");
	return r;
}

bool engine_kin_memory(const struct engine_task *a, const struct engine_task *b)
{
	const off_t at = (off_t)(a->inject->area + a->inject->process_off +
				 offsetof(struct parasite_process, id));
	uint32_t id;

	return ck_pread_full(b->memfd, &id, sizeof(id), at) == sizeof(id) && id == (uint32_t)a->pid;
}

/* ---- children ---- */

int engine_ask_children(struct engine_task *t, struct ck_err *err)
{
	size_t size = t->n_children * sizeof(struct parasite_child);
	CK_AUTO(free) struct parasite_child *c = malloc(size + 1);
	struct parasite_orders o;
	int r = c ? read_orders(t, &o, err)
		  : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot ask about children");

	if (r < 0 || !t->n_children)
		return r;
	o.order = PARASITE_CHILDREN;
	r = give_order(t, &o, err);
	if (r == 0 && o.error)
		r = ck_fail(err, CK_ERR_SYS, o.error, "cannot ask about children");
	if (r == 0 && ck_pread_full(t->memfd, c, size, (off_t)o.children) != (ssize_t)size)
		r = ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
	for (size_t i = 0; i < t->n_children && r == 0; i++)
		t->children[i]->unwaited = c[i].code == CLD_STOPPED     ? IMAGE_UNWAITED_STOP
					   : c[i].code == CLD_CONTINUED ? IMAGE_UNWAITED_CONT
									: IMAGE_UNWAITED_NONE;
	return r;
}

/* ---- memory ---- */

/* An order that ckpt doesn't wait for any more delays the job: this much takes some 0.2 s. */
#define MAX_RANGE (64ull << 30)

static int order_range(struct engine_task *t, enum parasite_order order, struct parasite_orders *o,
		       struct ck_err *err)
{
	uint64_t start = o->start;
	int r;

	o->order = order;
	r = give_order(t, o, err);
	if (r == 0 && o->error)
		r = ck_fail(err, CK_ERR_SYS, o->error, "cannot ask for the pages at %llx",
			    (unsigned long long)start);
	return r;
}

static int tell_runs(const struct engine_task *t, const struct parasite_orders *o,
		     int (*fn)(uint64_t start, uint64_t end, void *arg, struct ck_err *err),
		     void *arg, struct ck_err *err)
{
	CK_AUTO(free) struct parasite_run *run = calloc(PARASITE_NRUNS, sizeof(*run));
	size_t n = o->n_runs < PARASITE_NRUNS ? o->n_runs : PARASITE_NRUNS;
	int r = 0;

	if (!run)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list pages");
	if (ck_pread_full(t->memfd, run, n * sizeof(*run),
			  (off_t)(o->scratch + offsetof(struct parasite_scratch, run))) !=
	    (ssize_t)(n * sizeof(*run)))
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
	for (size_t i = 0; i < n && r == 0; i++)
		r = fn(run[i].start, run[i].end, arg, err);
	return r;
}

int engine_resident(struct engine_task *t, uint64_t start, uint64_t end,
		    int (*fn)(uint64_t start, uint64_t end, void *arg, struct ck_err *err),
		    void *arg, struct ck_err *err)
{
	struct parasite_orders o;
	int r = read_orders(t, &o, err);

	for (uint64_t at = start; at < end && r == 0; at = o.start) {
		o.start = at;
		o.end = end - at > MAX_RANGE ? at + MAX_RANGE : end;
		r = order_range(t, PARASITE_RESIDENT, &o, err);
		if (r == 0 && o.start <= at)
			r = ck_fail(err, CK_ERR_SYS, -EIO, "the list of pages makes no progress");
		if (r == 0)
			r = tell_runs(t, &o, fn, arg, err);
	}
	return r;
}

int engine_fetch(struct engine_task *t, uint64_t start, uint64_t end, struct ck_err *err)
{
	struct parasite_orders o;
	int r = read_orders(t, &o, err);

	if (r < 0)
		return r;
	o.start = start;
	o.end = end;
	return order_range(t, PARASITE_FETCH, &o, err);
}

/* ---- descriptors ---- */

/* What has come that is the file that we want. Others may write to this name, too. */
static int receive(int sock, const struct stat *want)
{
	char control[CMSG_SPACE(sizeof(int)) + 256]
		__attribute__((aligned(__alignof__(struct cmsghdr))));
	char byte;

	for (;;) {
		struct iovec iov = { &byte, 1 };
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		CK_AUTO(fd) int fd = -EBADF;
		const struct cmsghdr *c;
		struct stat st;

		if (recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
			return errno == EAGAIN ? -EIO : -errno;
		c = CMSG_FIRSTHDR(&m);
		if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    c->cmsg_len < CMSG_LEN(sizeof(int)))
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		if (fstat(fd, &st) == 0 && st.st_dev == want->st_dev && st.st_ino == want->st_ino)
			return ck_take_fd(&fd);
	}
}

int engine_pass(struct engine_task *t, int fd, const struct stat *want)
{
	CK_AUTO(fd) int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(a);
	struct parasite_orders o;
	int r;

	if (!t->inject || !t->inject->area)
		return -EPERM;
	/* Without a name the kernel chooses one: Linux net/unix/af_unix.c:unix_autobind() */
	if (sock < 0 || bind(sock, (const struct sockaddr *)&a, sizeof(sa_family_t)) < 0 ||
	    getsockname(sock, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	r = read_orders(t, &o, NULL);
	if (r < 0 || len != sizeof(o.pass_to))
		return r < 0 ? r : -EIO;
	memcpy(o.pass_to, &a, sizeof(o.pass_to));
	o.pass_fd = fd;
	o.order = PARASITE_PASS;
	r = give_order(t, &o, NULL);
	if (r == 0)
		r = o.error;
	return r < 0 ? r : receive(sock, want);
}
