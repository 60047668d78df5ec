// SPDX-License-Identifier: Apache-2.0
/*
 * Which processes have something in common that is not copied by fork(2): memory, the table of
 * descriptors, directories and umask, signal actions (clone(2) with CLONE_VM and the like, without
 * CLONE_THREAD). And whether the threads of a process do have in common what threads have.
 *
 * Memory tells by itself: what the blob's area in one task says is seen in the other. For the rest
 * there is kcmp(2), which gives an order to sort by; and where that is forbidden, as in containers,
 * tags: each task that looks like another is given a number, which it writes, one after the other,
 * into the close-on-exec flags of its descriptors and into its umask. What /proc then shows of it
 * is the number of the last one that has the same table. Numbers with more digits than there is
 * room for are written digit by digit. A tag only takes permissions from a umask, never gives any.
 * engine/order.c says how tags come off.
 *
 * Among processes that can be restored, those that share were made by one another.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "engine/inject.h"

#define UMASK_BITS 0777u

static const struct {
	int kcmp;
	const char *what;
} objects[ENGINE_NKIN] = {
	[ENGINE_KIN_VM] = { KCMP_VM, "memory" },
	[ENGINE_KIN_FILES] = { KCMP_FILES, "descriptors" },
	[ENGINE_KIN_FS] = { KCMP_FS, "directories and umask" },
	[ENGINE_KIN_SIGHAND] = { KCMP_SIGHAND, "signal actions" },
};

static const enum engine_kin tables[] = { ENGINE_KIN_FILES, ENGINE_KIN_FS };
enum { N_TABLES = CK_ARRAY_SIZE(tables) };

static int thread_differs(const struct engine_thread *th, enum engine_kin kin, struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			"cannot dump a thread that has %s of its own", objects[kin].what);

	ck_err_hint(err, r, "made by unshare(2) or clone(2); use a process");
	ck_err_at(err, r, "thread %d", (int)th->tid);
	return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(th->task));
}

/* ---- memory ---- */

/* Is there a stub beside the task's own? */
static bool has_guest(const struct engine_task *t)
{
	const size_t own = t->inject->dead - t->vdso_map->start, len = t->inject->stub.len;
	CK_AUTO(free) uint8_t *now = malloc(t->vdso_len);

	if (!now || ck_pread_full(t->memfd, now, t->vdso_len, (off_t)t->vdso_map->start) !=
			    (ssize_t)t->vdso_len)
		return true;
	memcpy(now + own, t->vdso + own, len);
	return memcmp(now, t->vdso, t->vdso_len) != 0;
}

static int find_memory(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct engine_task **guests = calloc(d->n_tasks + 1, sizeof(*guests));
	size_t n = 0;

	if (!guests)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compare processes");
	for (size_t i = 0; i < d->n_tasks; i++)
		if (!d->tasks[i]->zombie && has_guest(d->tasks[i]))
			guests[n++] = d->tasks[i];
	for (size_t i = 1; i < n; i++)
		for (size_t k = 0; k < i && !guests[i]->kin[ENGINE_KIN_VM]; k++)
			if (!guests[k]->kin[ENGINE_KIN_VM] &&
			    engine_kin_memory(guests[k], guests[i]))
				guests[i]->kin[ENGINE_KIN_VM] = guests[k];
	return 0;
}

/* ---- kcmp ---- */

struct sorter {
	int type, error;
};

struct entry {
	struct engine_task *t;
	size_t at;
};

static int compare(pid_t a, pid_t b, struct sorter *s)
{
	long c = syscall(SYS_kcmp, a, b, s->type, 0, 0);

	if (c < 0)
		s->error = -errno;
	return c == 0 ? 0 : c == 1 ? -1 : 1;
}

static int by_object(const void *a, const void *b, void *arg)
{
	const struct entry *x = a, *y = b;
	int c = x->at == y->at ? 0 : compare(x->t->threads[0].tid, y->t->threads[0].tid, arg);

	return c ? c : (x->at > y->at) - (x->at < y->at);
}

static int compare_threads(const struct engine_task *t, enum engine_kin kin, struct ck_err *err)
{
	struct sorter s = { .type = objects[kin].kcmp };

	for (size_t i = 1; i < t->n_threads; i++) {
		int c = compare(t->threads[0].tid, t->threads[i].tid, &s);

		if (s.error)
			return ck_fail(err, CK_ERR_SYS, s.error, "cannot compare threads");
		if (c)
			return thread_differs(&t->threads[i], kin, err);
	}
	return 0;
}

/* e: n tasks that live. */
static int sort_out(struct entry *e, size_t n, enum engine_kin kin, struct ck_err *err)
{
	struct sorter s = { .type = objects[kin].kcmp };
	size_t first = 0;

	qsort_r(e, n, sizeof(*e), by_object, &s);
	for (size_t i = 1; i < n; i++)
		if (compare(e[first].t->threads[0].tid, e[i].t->threads[0].tid, &s) == 0)
			e[i].t->kin[kin] = e[first].t;
		else
			first = i;
	return s.error ? ck_fail(err, CK_ERR_SYS, s.error, "cannot compare processes") : 0;
}

/* The root's parent, which is none of the job. Who it belongs to may be another one than us. */
static int check_outside(const struct engine_dump *d, struct ck_err *err)
{
	const struct engine_task *root = d->tasks[0];

	for (size_t kin = 0; root->stat.ppid > 0 && kin < ENGINE_NKIN; kin++)
		if (syscall(SYS_kcmp, root->threads[0].tid, root->stat.ppid, objects[kin].kcmp, 0,
			    0) == 0) {
			int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
					"cannot dump a job that shares %s with its parent",
					objects[kin].what);

			ck_err_hint(err, r, "dump the parent, whose child it is");
			return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(root));
		}
	return 0;
}

static int ask_kernel(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct entry *e = calloc(d->n_tasks + 1, sizeof(*e));
	int r = e ? check_outside(d, err)
		  : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compare processes");

	for (size_t kin = ENGINE_KIN_FILES; kin < ENGINE_NKIN && r == 0; kin++) {
		size_t n = 0;

		for (size_t i = 0; i < d->n_tasks; i++)
			if (!d->tasks[i]->zombie)
				e[n++] = (struct entry){ d->tasks[i], i };
		r = sort_out(e, n, (enum engine_kin)kin, err);
		for (size_t i = 0; i < n && r == 0 && kin != ENGINE_KIN_SIGHAND; i++)
			r = compare_threads(e[i].t, (enum engine_kin)kin, err);
	}
	return r;
}

/* ---- tags ---- */

struct tagged {
	struct engine_task *t;
	size_t at;              /* in the tree */
	size_t number;          /* among those that look alike, from 1 on; 0: nothing to be asked */
	unsigned int bits;      /* of the highest number among them */
	unsigned int room;      /* of one digit, in bits */
	uint64_t key;           /* what was read */
	struct stat cwd, root;  /* FS */
	struct parasite_kin *k; /* what the task has been told, in common with its other table */
};

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_stat(const struct stat *a, const struct stat *b)
{
	int c = compare_u64(a->st_dev, b->st_dev);

	return c ? c : compare_u64(a->st_ino, b->st_ino);
}

static int compare_fs(const struct tagged *a, const struct tagged *b)
{
	int c = compare_u64(a->t->status.umask, b->t->status.umask);

	c = c ? c : compare_stat(&a->cwd, &b->cwd);
	return c ? c : compare_stat(&a->root, &b->root);
}

static int compare_files(const struct tagged *a, const struct tagged *b)
{
	int c = compare_u64(a->t->n_fds, b->t->n_fds);

	for (size_t i = 0; c == 0 && i < a->t->n_fds; i++) {
		const struct engine_fd *x = &a->t->fds[i], *y = &b->t->fds[i];

		c = compare_u64((uint64_t)x->fd, (uint64_t)y->fd);
		c = c ? c : compare_u64(x->info.flags, y->info.flags);
		c = c ? c : compare_stat(&x->st, &y->st);
	}
	return c;
}

static int by_fs(const void *a, const void *b)
{
	const struct tagged *x = a, *y = b;
	int c = compare_fs(x, y);

	return c ? c : compare_u64(x->at, y->at);
}

static int by_files(const void *a, const void *b)
{
	const struct tagged *x = a, *y = b;
	int c = compare_files(x, y);

	return c ? c : compare_u64(x->at, y->at);
}

static int by_key(const void *a, const void *b)
{
	const struct tagged *x = a, *y = b;
	int c = compare_u64(x->key, y->key);

	return c ? c : compare_u64(x->at, y->at);
}

static bool looks_like(const struct tagged *a, const struct tagged *b, enum engine_kin kin)
{
	return (kin == ENGINE_KIN_FS ? compare_fs(a, b) : compare_files(a, b)) == 0;
}

static unsigned int bits_of(size_t n)
{
	return n ? 64 - (unsigned int)__builtin_clzll(n) : 0;
}

/* Which of the task's descriptors can bear a tag that is seen. */
static unsigned int list_fds(const struct engine_task *t, struct parasite_kin *k)
{
	k->n_fds = k->fd_was = 0;
	for (size_t i = 0; i < t->n_fds && k->n_fds < PARASITE_NKIN; i++) {
		if (t->fds[i].odd)
			continue;
		k->fd_was |= (uint32_t) !!(t->fds[i].info.flags & O_CLOEXEC) << k->n_fds;
		k->fd[k->n_fds++] = t->fds[i].fd;
	}
	k->fd_tag = k->fd_was;
	return k->n_fds;
}

static unsigned int room_in(struct tagged *g, enum engine_kin kin)
{
	if (kin == ENGINE_KIN_FILES)
		return list_fds(g->t, g->k);
	g->k->umask_was = g->k->umask_tag = (int32_t)g->t->status.umask;
	return (unsigned int)__builtin_popcount(UMASK_BITS & ~g->t->status.umask);
}

static int cannot_tell(const struct tagged *g, enum engine_kin kin, struct ck_err *err)
{
	int r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot tell who shares %s",
			objects[kin].what);

	ck_err_hint(err, r, "allow the system call kcmp where ckpt runs");
	return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(g->t));
}

/* g[0..n): sorted by their looks. *ret_rounds grows to what the highest number takes. */
static int number_all(struct tagged *g, size_t n, enum engine_kin kin, unsigned int *ret_rounds,
		      struct ck_err *err)
{
	for (size_t i = 0, k; i < n; i += k) {
		for (k = 1; i + k < n && looks_like(&g[i], &g[i + k], kin); k++)
			;
		for (size_t j = i; j < i + k; j++) {
			g[j].room = room_in(&g[j], kin);
			if (k == 1 && g[j].t->n_threads == 1)
				continue;
			if (!g[j].room)
				return cannot_tell(&g[j], kin, err);
			g[j].number = j - i + 1;
			g[j].bits = bits_of(k);
			if ((g[j].bits - 1) / g[j].room + 1 > *ret_rounds)
				*ret_rounds = (g[j].bits - 1) / g[j].room + 1;
		}
	}
	return 0;
}

static unsigned int digit_of(const struct tagged *g, unsigned int round)
{
	unsigned int shift = round * g->room;

	return shift >= g->bits ? 0 : (unsigned int)(g->number >> shift) & ((1u << g->room) - 1);
}

/* Bits of digit into the places that are clear in mask; and out of there. */
static uint32_t spread(uint32_t mask, unsigned int digit)
{
	uint32_t out = 0;

	for (uint32_t bit = 1; bit & UMASK_BITS; bit <<= 1)
		if (!(mask & bit)) {
			out |= digit & 1 ? bit : 0;
			digit >>= 1;
		}
	return out;
}

static unsigned int gather(uint32_t mask, uint32_t value)
{
	unsigned int out = 0, n = 0;

	for (uint32_t bit = 1; bit & UMASK_BITS; bit <<= 1)
		if (!(mask & bit))
			out |= (unsigned int)!!(value & bit) << n++;
	return out;
}

static void set_digit(struct tagged *g, enum engine_kin kin, unsigned int round)
{
	unsigned int digit = digit_of(g, round);

	if (kin == ENGINE_KIN_FILES)
		g->k->fd_tag = g->k->fd_was ^ digit;
	else
		g->k->umask_tag =
			g->k->umask_was | (int32_t)spread((uint32_t)g->k->umask_was, digit);
}

static int read_fds(int dirfd, const struct tagged *g, unsigned int *ret, struct ck_err *err)
{
	unsigned int n = g->bits < g->room ? g->bits : g->room, digit = 0;

	for (unsigned int i = 0; i < n; i++) {
		CK_AUTO(proc_fdinfo) struct proc_fdinfo info = { 0 };
		int r = proc_read_fdinfo(dirfd, g->k->fd[i], &info, err);

		if (r < 0)
			return r;
		digit |= (unsigned int)!!(info.flags & O_CLOEXEC) << i;
	}
	*ret = digit ^ (g->k->fd_was & ((1u << n) - 1));
	return 0;
}

static int read_umask(int dirfd, const struct tagged *g, unsigned int *ret, struct ck_err *err)
{
	CK_AUTO(proc_status) struct proc_status st = { 0 };
	int r = proc_read_status(dirfd, &st, err);

	if (r == 0)
		*ret = gather((uint32_t)g->k->umask_was, st.umask);
	return r;
}

static int read_digit(int dirfd, const struct tagged *g, enum engine_kin kin, unsigned int *ret,
		      struct ck_err *err)
{
	return kin == ENGINE_KIN_FILES ? read_fds(dirfd, g, ret, err)
				       : read_umask(dirfd, g, ret, err);
}

/* All threads must show the same. */
static int read_task(struct tagged *g, enum engine_kin kin, struct ck_err *err)
{
	unsigned int digit = 0, other = 0;
	int r = read_digit(g->t->dirfd, g, kin, &digit, err);

	for (size_t i = 1; i < g->t->n_threads && r == 0; i++) {
		CK_AUTO(fd) int dirfd = proc_open_tid(g->t->pid, g->t->threads[i].tid);

		r = dirfd < 0 ? ck_fail(err, CK_ERR_SYS, dirfd, "cannot look at a thread")
			      : read_digit(dirfd, g, kin, &other, err);
		if (r == 0 && other != digit)
			r = thread_differs(&g->t->threads[i], kin, err);
	}
	g->key = g->key << g->room | digit;
	return r;
}

static int for_all(struct engine_dump *d, enum parasite_order order, struct ck_err *err)
{
	int first = 0;

	for (size_t i = 0; i < d->n_tasks; i++) {
		int r = d->tasks[i]->zombie
				? 0
				: engine_kin_order(d->tasks[i], order, first < 0 ? NULL : err);

		if (r < 0 && first == 0)
			first = ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(d->tasks[i]));
	}
	return first;
}

/* What each is to write, into all of them. */
static int tell_all(struct engine_dump *d, const struct parasite_kin *k, struct ck_err *err)
{
	int r = 0;

	for (size_t i = 0; i < d->n_tasks && r == 0; i++)
		if (!d->tasks[i]->zombie)
			r = engine_kin_set(d->tasks[i], &k[i], err);
	return r;
}

static int ask_round(struct engine_dump *d, struct tagged *g[N_TABLES], size_t n,
		     const struct parasite_kin *k, unsigned int round, struct ck_err *err)
{
	int r;

	for (size_t c = 0; c < N_TABLES; c++)
		for (size_t i = 0; i < n; i++)
			set_digit(&g[c][i], tables[c], round);
	r = tell_all(d, k, err);
	if (r == 0)
		r = for_all(d, PARASITE_KIN_TAG, err);
	for (size_t c = 0; c < N_TABLES; c++)
		for (size_t i = 0; i < n && r == 0; i++)
			if (g[c][i].number && round * g[c][i].room < g[c][i].bits)
				r = read_task(&g[c][i], tables[c], err);
	return r;
}

static void settle(struct tagged *g, size_t n, enum engine_kin kin)
{
	for (size_t i = 0, k; i < n; i += k) {
		for (k = 1; i + k < n && looks_like(&g[i], &g[i + k], kin); k++)
			;
		qsort(g + i, k, sizeof(*g), by_key);
		for (size_t j = i + 1, first = i; j < i + k; j++)
			if (g[j].key == g[first].key)
				g[j].t->kin[kin] = g[first].t;
			else
				first = j;
	}
}

static int ask_tags(struct engine_dump *d, struct tagged *g[N_TABLES], size_t n,
		    struct parasite_kin *k, struct ck_err *err)
{
	unsigned int rounds = 0;
	int r = 0, r2;

	for (size_t c = 0; c < N_TABLES; c++)
		qsort(g[c], n, sizeof(*g[c]), tables[c] == ENGINE_KIN_FS ? by_fs : by_files);
	for (size_t c = 0; c < N_TABLES && r == 0; c++)
		r = number_all(g[c], n, tables[c], &rounds, err);
	if (r < 0 || !rounds)
		return r;
	for (unsigned int round = 0; round < rounds && r == 0; round++)
		r = ask_round(d, g, n, k, round, err);
	r2 = for_all(d, PARASITE_KIN_UNTAG, r < 0 ? NULL : err);
	for (size_t c = 0; c < N_TABLES && r == 0; c++)
		settle(g[c], n, tables[c]);
	return r < 0 ? r : r2;
}

static int look_fs(struct tagged *g, struct ck_err *err)
{
	if (fstatat(g->t->dirfd, "cwd", &g->cwd, 0) < 0 ||
	    fstatat(g->t->dirfd, "root", &g->root, 0) < 0)
		return ck_fail_errno(err, "cannot look at the task's directories");
	return 0;
}

/* Signal actions can only be shared together with memory, and nobody else tells of them. */
static int check_memory(const struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		if (d->tasks[i]->kin[ENGINE_KIN_VM]) {
			const struct tagged g = { .t = d->tasks[i] };

			return cannot_tell(&g, ENGINE_KIN_SIGHAND, err);
		}
	return 0;
}

static int ask_tables(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct tagged *files = calloc(d->n_tasks + 1, sizeof(*files));
	CK_AUTO(free) struct tagged *fs = calloc(d->n_tasks + 1, sizeof(*fs));
	CK_AUTO(free) struct parasite_kin *k = calloc(d->n_tasks + 1, sizeof(*k));
	struct tagged *g[N_TABLES] = { files, fs };
	size_t n = 0;
	int r = check_memory(d, err);

	if (!files || !fs || !k)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compare processes");
	for (size_t i = 0; i < d->n_tasks && r == 0; i++) {
		if (d->tasks[i]->zombie)
			continue;
		k[i].tagged = 1;
		files[n] = fs[n] = (struct tagged){ .t = d->tasks[i], .at = i, .k = &k[i] };
		r = look_fs(&fs[n++], err);
	}
	return r < 0 ? r : ask_tags(d, g, n, k, err);
}

/* ---- what can be made again ---- */

static bool has_all_of(const struct engine_task *maker, const struct engine_task *t)
{
	for (size_t k = 0; k < ENGINE_NKIN; k++)
		if (t->kin[k] && (!maker || engine_kin_of(maker, (enum engine_kin)k) != t->kin[k]))
			return false;
	return true;
}

/* Its maker will be its parent, or one of its parent's other children. */
static int check_makers(const struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct engine_task *t = d->tasks[i];
		bool found = has_all_of(t->parent, t);
		int r, with = 0;

		for (int k = 0; k < ENGINE_NKIN && !found; k++) {
			with = t->kin[k] ? k : with;
			found = t->kin[k] && t->kin[k]->parent == t->parent &&
				has_all_of(t->kin[k], t);
		}
		if (found)
			continue;
		r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump a process that shares %s with task %d, which is neither "
			    "its parent nor a child of that",
			    objects[with].what, (int)t->kin[with]->pid);
		ck_err_hint(err, r, "let it share with its parent, or with nobody");
		return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
	}
	return 0;
}

int engine_find_kin(struct engine_dump *d, struct ck_err *err)
{
	bool told = syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0) == 0;
	int r = find_memory(d, err);

	if (r == 0)
		r = told ? ask_kernel(d, err) : ask_tables(d, err);
	return r < 0 ? r : check_makers(d, err);
}
