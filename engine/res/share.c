// SPDX-License-Identifier: Apache-2.0
/*
 * Which descriptors share one open file description. Candidates agree in everything that /proc
 * shows of a description. Among them tags decide (engine/order.c): each is given a signal number by
 * F_SETSIG, one after the other, and what F_GETSIG then says is the tag of the last one that has
 * the same description. With more candidates than numbers, that is done once per digit.
 *
 * kcmp(2) would tell as well, but not in containers, whose seccomp profiles forbid it.
 *
 * A tag may do no harm while it is there: a signal with this number must not be sent. Files send
 * signals if O_ASYNC is set or somebody holds a lease (which both can be seen), and directories for
 * F_NOTIFY (which can't). Among those only 0 and SIGIO are used as tags: 0 stands for SIGIO.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

enum { MEM_MAJOR = 1, BASE = 64, QUIET_BASE = 2 };

struct sharer {
	struct engine_fd *fd;
	size_t order;  /* among all descriptors of the job */
	size_t group;  /* the lowest order in its description */
	size_t number; /* among those that look alike */
	uint64_t key;  /* the tags that were read; equal if shared */
};

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static uint32_t own_flags(const struct engine_fd *fd)
{
	return fd->info.flags & ~(uint32_t)O_CLOEXEC;
}

/* What /proc shows of a description. */
static int compare_looks(const struct engine_fd *a, const struct engine_fd *b)
{
	int c = compare_u64(a->st.st_dev, b->st.st_dev);

	c = c ? c : compare_u64(a->st.st_ino, b->st.st_ino);
	c = c ? c : compare_u64((uint64_t)a->info.mnt_id, (uint64_t)b->info.mnt_id);
	c = c ? c : compare_u64(own_flags(a), own_flags(b));
	return c ? c : compare_u64((uint64_t)a->info.pos, (uint64_t)b->info.pos);
}

static int by_looks(const void *a, const void *b)
{
	const struct sharer *x = a, *y = b;
	int c = compare_looks(x->fd, y->fd);

	return c ? c : compare_u64(x->order, y->order);
}

static int by_order(const void *a, const void *b)
{
	return compare_u64(((const struct sharer *)a)->order, ((const struct sharer *)b)->order);
}

static int by_key(const void *a, const void *b)
{
	const struct sharer *x = a, *y = b;
	int c = compare_u64(x->key, y->key);

	return c ? c : compare_u64(x->order, y->order);
}

/* Nothing of what O_PATH and memory devices (null, zero ...) have can be shared or not. */
static bool sharing_matters(const struct engine_fd *fd)
{
	return !(own_flags(fd) & O_PATH) &&
	       !(S_ISCHR(fd->st.st_mode) && major(fd->st.st_rdev) == MEM_MAJOR);
}

static bool must_be_quiet(const struct engine_fd *fd)
{
	for (size_t i = 0; i < fd->info.n_locks; i++)
		if (!strcmp(fd->info.locks[i].kind, "LEASE"))
			return true;
	return S_ISDIR(fd->st.st_mode) || (own_flags(fd) & O_ASYNC);
}

/* How many of s[0..n) look like the first. */
static size_t alike(const struct sharer *s, size_t n)
{
	size_t k = 1;

	while (k < n && compare_looks(s[0].fd, s[k].fd) == 0)
		k++;
	return k;
}

/* All descriptors of the job, sorted by what they look like. */
static int list_all(const struct engine_dump *d, struct sharer **ret, size_t *ret_n,
		    struct ck_err *err)
{
	struct sharer *s;
	size_t n = 0, k = 0;

	for (size_t i = 0; i < d->n_tasks; i++)
		n += d->tasks[i]->n_fds;
	s = calloc(n ? n : 1, sizeof(*s));
	if (!s)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot sort %zu descriptors", n);
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t j = 0; j < d->tasks[i]->n_fds; j++, k++)
			s[k] = (struct sharer){ .fd = &d->tasks[i]->fds[j], .order = k };
	qsort(s, n, sizeof(*s), by_looks);
	*ret = s;
	*ret_n = n;
	return 0;
}

int res_share_list(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct sharer *s = NULL;
	size_t n, k;
	int r = list_all(d, &s, &n, err);

	for (size_t i = 0; r == 0 && i < n; i += k) {
		k = alike(&s[i], n - i);
		for (size_t j = i; j < i + k; j++)
			s[j].fd->unclear = k > 1 && sharing_matters(s[j].fd);
	}
	return r;
}

static int fail_ambiguous(const struct sharer *s, const char *hint, struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			"cannot tell whether two descriptors of %s are one", s[0].fd->link);

	if (s[0].fd->task == s[1].fd->task)
		r = ck_err_at(err, r, "fd %d and fd %d", s[0].fd->fd, s[1].fd->fd);
	else
		r = ck_err_at(err, r, "fd %d, and fd %d of task %d", s[0].fd->fd, s[1].fd->fd,
			      (int)s[1].fd->task->pid);
	r = ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(s[0].fd->task));
	return ck_err_hint(err, r, "%s", hint);
}

/* s[0..n): look alike, and are unclear. Their numbers; *ret_rounds: digits of the highest. */
static int number(struct sharer *s, size_t n, unsigned int *ret_rounds, struct ck_err *err)
{
	size_t base = must_be_quiet(s[0].fd) ? QUIET_BASE : BASE;
	unsigned int rounds = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i].fd->sig < 0)
			return fail_ambiguous(s, "fcntl(F_GETSIG) fails in the task", err);
		if (must_be_quiet(s[i].fd) && s[i].fd->sig != 0 && s[i].fd->sig != SIGIO)
			return fail_ambiguous(s, "the job has set a signal of its own (F_SETSIG)",
					      err);
		s[i].number = i;
	}
	for (size_t top = n - 1; top > 0; top /= base)
		rounds++;
	if (rounds > *ret_rounds)
		*ret_rounds = rounds;
	return 0;
}

static void set_tag(const struct sharer *s, unsigned int round)
{
	bool quiet = must_be_quiet(s->fd);
	size_t rest = s->number;

	while (round--)
		rest /= quiet ? QUIET_BASE : BASE;
	if (quiet)
		s->fd->tag = rest % QUIET_BASE ? SIGIO : 0;
	else
		s->fd->tag = (int)(rest % BASE);
}

static void add_tag(struct sharer *s)
{
	if (must_be_quiet(s->fd))
		s->key = s->key * QUIET_BASE + (s->fd->tag == SIGIO);
	else
		s->key = s->key * BASE + (uint64_t)s->fd->tag;
}

static bool has_unclear(const struct engine_task *t)
{
	for (size_t i = 0; i < t->n_fds; i++)
		if (t->fds[i].unclear)
			return true;
	return false;
}

/* In the same order every time: so it is always the same candidate whose tag stays. go_on: also
 * after a failure, the first of which is returned. */
static int for_tasks(struct engine_dump *d, int (*fn)(struct engine_task *, struct ck_err *),
		     bool go_on, struct ck_err *err)
{
	int first = 0;

	for (size_t i = 0; i < d->n_tasks && (first == 0 || go_on); i++) {
		struct engine_task *t = d->tasks[i];
		int r = has_unclear(t) ? fn(t, first < 0 ? NULL : err) : 0;

		if (r < 0 && first == 0)
			first = ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
	}
	return first;
}

/* Fills the keys. */
static int ask(struct engine_dump *d, struct sharer *s, size_t n, struct ck_err *err)
{
	unsigned int rounds = 0;
	int r = 0;

	for (size_t i = 0, k; i < n && r == 0; i += k) {
		k = alike(&s[i], n - i);
		if (s[i].fd->unclear)
			r = number(&s[i], k, &rounds, err);
	}
	for (unsigned int round = 0; round < rounds && r == 0; round++) {
		for (size_t i = 0; i < n; i++)
			if (s[i].fd->unclear)
				set_tag(&s[i], round);
		r = for_tasks(d, engine_tags_put, false, err);
		if (r == 0)
			r = for_tasks(d, engine_tags_read, false, err);
		for (size_t i = 0; i < n && r == 0; i++)
			if (s[i].fd->unclear)
				add_tag(&s[i]);
	}
	return r;
}

static int settle(struct engine_dump *d, struct sharer *s, size_t n, struct ck_err *err)
{
	int r = for_tasks(d, engine_tags_begin, false, err), r2;

	if (r == 0)
		r = ask(d, s, n, err);
	r2 = for_tasks(d, engine_tags_end, true, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

/* s[0..n): look alike. */
static void group(struct sharer *s, size_t n)
{
	qsort(s, n, sizeof(*s), by_key);
	for (size_t i = 0; i < n; i++)
		s[i].group = i && s[i].key == s[i - 1].key ? s[i - 1].group : s[i].order;
}

/* One file per group, in the order in which the job's descriptors come. */
static int make_files(struct engine_dump *d, struct sharer *s, size_t n, struct ck_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct engine_fd *fd = s[i].fd;
		struct res_file *f;
		char via[24];

		if (s[i].group != s[i].order) {
			fd->id = s[s[i].group].fd->id;
			f = res_file_by_id(d, fd->id);
		} else {
			snprintf(via, sizeof(via), "fd/%d", fd->fd);
			f = res_file_new(d, fd->task, via);
			if (!f)
				return ck_fail(err, CK_ERR_SYS, -ENOMEM,
					       "cannot remember an open file");
			fd->id = f->id;
			f->type = res_type_of(fd);
			f->fd = fd->fd;
			f->st = fd->st;
			f->flags = own_flags(fd);
			f->pos = (uint64_t)fd->info.pos;
			f->mnt_id = fd->info.mnt_id;
			f->link = fd->link;
		}
		if (fd->fd <= 2 && (f->stdio < 0 || fd->fd < f->stdio))
			f->stdio = fd->fd;
	}
	return 0;
}

int res_share(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct sharer *s = NULL;
	size_t n, k;
	int r = list_all(d, &s, &n, err);

	if (r == 0)
		r = settle(d, s, n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i += k) {
		k = alike(&s[i], n - i);
		group(&s[i], k);
	}
	qsort(s, n, sizeof(*s), by_order);
	return make_files(d, s, n, err);
}
