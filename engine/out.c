// SPDX-License-Identifier: Apache-2.0
/*
 * Pages on their way into files, see out.h. The job stands still meanwhile, so its CPUs are free:
 * reading its memory and hashing it is one thread's work, writing to the filesystem the other's.
 *
 * 1. Buffers are filled and written in a ring, in order. `filled` belongs to the caller, `written`
 *    to the thread; the buffers between them are the thread's, the others the caller's.
 * 2. Only full buffers are handed over before the end of a file: a small file costs no hand-over.
 * 3. The thread does nothing but write: it makes no ptrace call and touches no task.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "engine/out.h"
#include "engine/pie/pie-xxh64.h"
#include "image/image.h"

/* BUF fits a core's cache. The ring is long: on a busy machine either thread waits for a CPU at
 * times, and the other one is not to wait with it. */
enum { BUF = 256 << 10, RING = 64, EARLY = 64 /* buffers */ };

struct engine_out {
	uint8_t *ring; /* RING buffers of BUF bytes */
	size_t len[RING];
	size_t used; /* bytes in the buffer that is being filled */
	struct image_file *file;
	bool threaded; /* there is a CPU for it */
	bool ends;     /* hash, and write to the disk early */
	bool started;

	pthread_t thread;
	pthread_mutex_t lock; /* of the rest */
	pthread_cond_t news;
	uint64_t filled, written; /* buffers so far */
	bool stop;
	int failed; /* the first error of a write, told in err */
	struct ck_err err;

	struct pie_xxh64 hash;
	uint64_t hashed; /* bytes of the file */
	uint64_t *sums;
	size_t n_sums, size;
};

static uint8_t *buffer(const struct engine_out *o, uint64_t i)
{
	return o->ring + i % RING * BUF;
}

static void *write_all(void *arg)
{
	struct engine_out *o = arg;

	pthread_mutex_lock(&o->lock);
	for (;;) {
		uint64_t i = o->written;
		int r = o->failed;

		if (i == o->filled && o->stop)
			break;
		if (i == o->filled) {
			pthread_cond_wait(&o->news, &o->lock);
			continue;
		}
		pthread_mutex_unlock(&o->lock);
		if (r == 0)
			r = image_append_raw(o->file, buffer(o, i), o->len[i % RING], &o->err);
		if (o->ends && i % EARLY == EARLY - 1) /* a hint only */
			(void)sync_file_range(image_file_fd(o->file), 0, 0, SYNC_FILE_RANGE_WRITE);
		pthread_mutex_lock(&o->lock);
		o->failed = r;
		o->written++;
		pthread_cond_broadcast(&o->news);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

int engine_out_new(bool ends, struct engine_out **ret, struct ck_err *err)
{
	struct engine_out *o = calloc(1, sizeof(*o));
	cpu_set_t cpus;

	if (o)
		o->ring = malloc((size_t)RING * BUF);
	if (!o || !o->ring) {
		free(o);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot copy pages");
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->news, NULL);
	o->threaded = sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || CPU_COUNT(&cpus) > 1;
	o->ends = ends && o->threaded;
	*ret = o;
	return 0;
}

void engine_out_free(struct engine_out *o)
{
	if (!o)
		return;
	if (o->started) {
		pthread_mutex_lock(&o->lock);
		o->stop = true;
		pthread_cond_broadcast(&o->news);
		pthread_mutex_unlock(&o->lock);
		pthread_join(o->thread, NULL);
	}
	pthread_cond_destroy(&o->news);
	pthread_mutex_destroy(&o->lock);
	free(o->sums);
	free(o->ring);
	free(o);
}

void engine_out_begin(struct engine_out *o, struct image_file *f)
{
	o->file = f;
	o->used = 0;
	o->hashed = 0;
	o->n_sums = 0;
	pie_xxh64_init(&o->hash);
}

/* ---- checksums ---- */

static int add_sum(struct engine_out *o)
{
	if (o->n_sums == o->size) {
		size_t size = o->size ? o->size * 2 : 64;
		uint64_t *grown = reallocarray(o->sums, size, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		o->sums = grown;
		o->size = size;
	}
	o->sums[o->n_sums++] = pie_xxh64_final(&o->hash);
	pie_xxh64_init(&o->hash);
	return 0;
}

static int hash(struct engine_out *o, const uint8_t *data, size_t len)
{
	while (len) {
		size_t room = IMAGE_SUM_CHUNK - o->hashed % IMAGE_SUM_CHUNK;
		size_t n = len < room ? len : room;
		int r = 0;

		pie_xxh64_update(&o->hash, data, n);
		o->hashed += n;
		data += n;
		len -= n;
		if (n == room)
			r = add_sum(o);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- handing over ---- */

/* Waits until at most n buffers are in the hands of the thread; the error of a write. */
static int wait_written(struct engine_out *o, uint64_t n, struct ck_err *err)
{
	int r;

	pthread_mutex_lock(&o->lock);
	while (o->filled - o->written > n)
		pthread_cond_wait(&o->news, &o->lock);
	r = o->failed;
	pthread_mutex_unlock(&o->lock);
	if (r < 0 && err)
		*err = o->err;
	return r;
}

/* The signal mask is inherited: no signal for ckpt ends up in the thread. */
static bool start(struct engine_out *o)
{
	sigset_t all, old;

	if (o->started || !o->threaded)
		return o->started;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	o->started = pthread_create(&o->thread, NULL, write_all, o) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	o->threaded = o->started;
	return o->started;
}

static bool is_idle(struct engine_out *o)
{
	bool idle;

	pthread_mutex_lock(&o->lock);
	idle = o->filled == o->written;
	pthread_mutex_unlock(&o->lock);
	return idle;
}

static int hand_over(struct engine_out *o, struct ck_err *err)
{
	uint8_t *buf = buffer(o, o->filled);
	size_t len = o->used;

	o->used = 0;
	if (o->ends && hash(o, buf, len) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compute checksums");
	/* The rest of a file that never filled a buffer is written at once. */
	if (len < BUF ? is_idle(o) : !start(o))
		return image_append_raw(o->file, buf, len, err);
	pthread_mutex_lock(&o->lock);
	o->len[o->filled++ % RING] = len;
	pthread_cond_broadcast(&o->news);
	pthread_mutex_unlock(&o->lock);
	/* One is left to fill. */
	return wait_written(o, RING - 1, err);
}

void engine_out_wait(struct engine_out *o)
{
	(void)wait_written(o, 0, NULL);
}

uint8_t *engine_out_room(struct engine_out *o, size_t *ret_len)
{
	*ret_len = BUF - o->used;
	return buffer(o, o->filled) + o->used;
}

int engine_out_add(struct engine_out *o, size_t len, struct ck_err *err)
{
	o->used += len;
	return o->used < BUF ? 0 : hand_over(o, err);
}

int engine_out_end(struct engine_out *o, uint64_t **ret_sums, size_t *ret_n, struct ck_err *err)
{
	int r = o->used ? hand_over(o, err) : 0, r2 = wait_written(o, 0, r < 0 ? NULL : err);

	r = r < 0 ? r : r2;
	if (r == 0 && o->ends && o->hashed % IMAGE_SUM_CHUNK && add_sum(o) < 0)
		r = ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compute checksums");
	if (r < 0)
		return r;
	*ret_n = o->ends ? o->n_sums : 0;
	*ret_sums = *ret_n ? ck_take_ptr(&o->sums) : NULL;
	if (*ret_n)
		o->size = 0;
	return 0;
}
