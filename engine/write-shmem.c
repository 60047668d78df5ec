// SPDX-License-Identifier: Apache-2.0
/*
 * Shared anonymous memory: once per object, from whoever maps it, and only the pages that it has.
 * Reading a hole would fill it, in the job. What the object has can only be seen in the page cache,
 * by mincore() in a task that maps it: page tables know nothing of pages that others have touched.
 *
 * mincore() does not see what is swapped out. smaps counts it, so: list the pages; if smaps then
 * says that nothing is swapped out, the list was complete, for nobody of the job takes pages in or
 * out. Otherwise have the kernel read them, touch what comes, and list again.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "image/format.h"

enum { SWAP_TRIES = 2000, SWAP_PAUSE_MS = 5, CHUNK = 1 << 20 };

/* A part of an object, seen in the task that is asked for it. */
struct piece {
	uint32_t id;
	struct engine_task *task;
	const struct proc_map *map;
	uint64_t start, end; /* in the task, without what another piece has */
};

struct shmem {
	struct piece *piece; /* by object and offset */
	size_t n_pieces;
	struct engine_run *run;
	size_t n_runs, room;
	const struct piece *at; /* whose runs are being listed */
};

static void ck_auto_shmem(struct shmem *s)
{
	free(s->piece);
	free(s->run);
}

/* ---- objects ---- */

static bool same_object(const struct proc_map *a, const struct proc_map *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

static int add_object(struct engine_dump *d, const struct proc_map *m)
{
	const struct proc_map **grown;

	if (engine_shmem_id(d, m))
		return 0;
	grown = realloc(d->shmem, (d->n_shmem + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	d->shmem = grown;
	d->shmem[d->n_shmem++] = m;
	return 0;
}

uint32_t engine_shmem_id(const struct engine_dump *d, const struct proc_map *m)
{
	for (size_t i = 0; i < d->n_shmem; i++)
		if (same_object(d->shmem[i], m))
			return (uint32_t)i + 1;
	return 0;
}

int engine_find_shmem(struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->maps.n; k++) {
			const struct proc_map *m = &d->tasks[i]->maps.m[k];

			if ((engine_map_status(m) & IMAGE_VMA_ANON_SHARED) && add_object(d, m) < 0)
				return ck_fail(err, CK_ERR_SYS, -ENOMEM,
					       "cannot list shared memory");
		}
	return 0;
}

/* ---- pieces ---- */

static int by_offset(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->map->pgoff < y->map->pgoff ? -1 : x->map->pgoff > y->map->pgoff;
}

/* Each offset of each object is asked for once. */
static void drop_overlaps(struct shmem *s)
{
	uint64_t done = 0;
	uint32_t id = 0;
	size_t n = 0;

	qsort(s->piece, s->n_pieces, sizeof(*s->piece), by_offset);
	for (size_t i = 0; i < s->n_pieces; i++) {
		struct piece p = s->piece[i];
		uint64_t from = p.map->pgoff, end = from + (p.map->end - p.map->start);

		if (p.id != id)
			done = 0;
		id = p.id;
		if (from < done)
			from = done;
		if (from >= end)
			continue;
		p.start = p.map->start + (from - p.map->pgoff);
		p.end = p.map->end;
		done = end;
		s->piece[n++] = p;
	}
	s->n_pieces = n;
}

static int find_pieces(const struct engine_dump *d, struct shmem *s, struct ck_err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_tasks; i++)
		n += d->tasks[i]->maps.n;
	s->piece = calloc(n ? n : 1, sizeof(*s->piece));
	if (!s->piece)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list shared memory");
	for (size_t i = 0; i < d->n_tasks; i++)
		for (size_t k = 0; k < d->tasks[i]->maps.n; k++) {
			const struct proc_map *m = &d->tasks[i]->maps.m[k];

			if (engine_map_status(m) & IMAGE_VMA_ANON_SHARED)
				s->piece[s->n_pieces++] = (struct piece){
					.id = engine_shmem_id(d, m), .task = d->tasks[i], .map = m
				};
		}
	drop_overlaps(s);
	return 0;
}

/* ---- pages ---- */

static int add_run(uint64_t start, uint64_t end, void *arg, struct ck_err *err)
{
	struct shmem *s = arg;

	if (s->n_runs == s->room) {
		size_t room = s->room ? s->room * 2 : 64;
		struct engine_run *grown = reallocarray(s->run, room, sizeof(*grown));

		if (!grown)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list shared memory");
		s->run = grown;
		s->room = room;
	}
	s->run[s->n_runs++] =
		(struct engine_run){ .id = s->at->id,
				     .task = s->at->task,
				     .start = start,
				     .end = end,
				     .shift = (int64_t)(s->at->map->pgoff - s->at->map->start) };
	return 0;
}

static int list_runs(struct shmem *s, struct ck_err *err)
{
	int r = 0;

	s->n_runs = 0;
	for (size_t i = 0; i < s->n_pieces && r == 0; i++) {
		s->at = &s->piece[i];
		r = engine_resident(s->at->task, s->at->start, s->at->end, add_run, s, err);
		if (r < 0)
			r = ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(s->at->task));
	}
	return r;
}

static uint64_t swapped_kib(const struct proc_maps *maps, const struct piece *p)
{
	for (size_t i = 0; i < maps->n; i++)
		if (maps->m[i].start == p->map->start)
			return maps->m[i].swap_kib;
	return 0;
}

/* A page that was read ahead leaves the swap when somebody touches it. */
static int touch(const struct shmem *s, struct ck_err *err)
{
	CK_AUTO(free) uint8_t *buf = malloc(CHUNK);
	int r = buf ? 0 : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read shared memory");

	for (size_t i = 0; i < s->n_runs && r == 0; i++)
		for (uint64_t at = s->run[i].start; at < s->run[i].end && r == 0; at += CHUNK) {
			uint64_t left = s->run[i].end - at;
			size_t len = left < CHUNK ? (size_t)left : CHUNK;

			if (ck_pread_full(s->run[i].task->memfd, buf, len, (off_t)at) !=
			    (ssize_t)len)
				r = ck_fail(err, CK_ERR_SYS, -EIO, "cannot read shared memory");
		}
	return r;
}

static bool has_piece(const struct shmem *s, const struct engine_task *t)
{
	for (size_t i = 0; i < s->n_pieces; i++)
		if (s->piece[i].task == t)
			return true;
	return false;
}

/* *ret: something is swapped out; it is being fetched. */
static int fetch_swapped(const struct engine_dump *d, const struct shmem *s, bool *ret,
			 struct ck_err *err)
{
	*ret = false;
	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i];
		CK_AUTO(proc_maps) struct proc_maps maps = { 0 };
		int r;

		if (!has_piece(s, t))
			continue;
		r = proc_read_smaps(t->dirfd, &maps, err);
		for (size_t k = 0; k < s->n_pieces && r == 0; k++) {
			if (s->piece[k].task != t || !swapped_kib(&maps, &s->piece[k]))
				continue;
			*ret = true;
			r = engine_fetch(t, s->piece[k].start, s->piece[k].end, err);
		}
		if (r < 0)
			return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
	}
	return 0;
}

static bool host_has_swap(void)
{
	struct sysinfo si;

	return sysinfo(&si) < 0 || si.totalswap > 0;
}

static int find_pages(const struct engine_dump *d, struct shmem *s, struct ck_err *err)
{
	const struct timespec pause = { .tv_nsec = SWAP_PAUSE_MS * 1000000l };

	for (int i = 0; i < SWAP_TRIES; i++) {
		bool swapped = host_has_swap();
		int r = list_runs(s, err);

		/* smaps takes time; without swap before and after there is nothing to learn. */
		if (r == 0 && (swapped || host_has_swap()))
			r = fetch_swapped(d, s, &swapped, err);
		if (r < 0 || !swapped)
			return r;
		r = touch(s, err);
		if (r < 0)
			return r;
		nanosleep(&pause, NULL);
	}
	return ck_fail(err, CK_ERR_BUSY, -EAGAIN,
		       "shared memory is swapped out as fast as it can be read");
}

int engine_write_shmem(struct engine_dump *d, uint32_t first_pages_id, struct ck_err *err)
{
	CK_AUTO(shmem) struct shmem s = { 0 };
	size_t from = 0, to = 0;
	int r = 0;

	if (d->n_shmem)
		r = find_pieces(d, &s, err);
	if (r == 0)
		r = find_pages(d, &s, err);
	for (uint32_t id = 1; id <= d->n_shmem && r == 0; id++) {
		while (to < s.n_runs && s.run[to].id == id)
			to++;
		r = engine_write_runs(d, id, first_pages_id + id - 1, s.run + from, to - from, err);
		from = to;
	}
	return r;
}
