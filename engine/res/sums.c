// SPDX-License-Identifier: Apache-2.0
/*
 * Checksums of the files that the job needs. Reading takes time, and the job stands still: so most
 * files are only held open at first, and are read after the job was let go. What is found then
 * counts if size and times are still those of the stop; else it is dropped, and the image knows the
 * size and the time of that file only.
 *
 * Read at once are small files, and those that may well be other ones a moment later: what a job
 * that goes on writes, and what somebody else has changed just now. Big ones of these are sampled.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/pb.h"
#include "engine/res/res.h"
#include "fsmap/fsmap.h"

/* Some gigabytes are read in a second from the page cache. */
#define HASH_MAX ((uint64_t)16 << 20) /* bytes; of a bigger file samples are hashed */
#define AT_ONCE_TOTAL ((uint64_t)64 << 20)
#define LATER_TOTAL ((uint64_t)512 << 20)

enum {
	SMALL = 64 << 10, /* bytes: takes no longer than the calls around it */
	RECENT_S = 10,    /* changed in these seconds: perhaps not for the last time */
	HELD_MAX = 4096,  /* descriptors */
};

struct res_held {
	uint32_t path; /* in d->needs.paths */
	int fd;
	struct timespec ctim;
};

static void sum_now(CkptNeedPath *p, int fd, uint64_t *left)
{
	if (p->size <= HASH_MAX && p->size <= *left) {
		p->has_hash = fsmap_hash(fd, p->size, &p->hash, NULL) == 0;
		*left -= p->size;
	} else {
		p->has_sample = fsmap_sample(fd, p->size, &p->sample, NULL) == 0;
	}
}

/* There every change gives a file another time, this kernel's. Elsewhere what was written may reach
 * a server, and its clock, when the job has long been gone. */
static bool has_our_times(const CkptNeedPath *p)
{
	static const char *const types[] = { "ext2",  "ext3",    "ext4", "xfs",
					     "btrfs", "overlay", "zfs",  "f2fs" };

	for (size_t i = 0; p->fstype && i < CK_ARRAY_SIZE(types); i++)
		if (strcmp(p->fstype, types[i]) == 0)
			return true;
	return p->fstype && strcmp(p->fstype, "tmpfs") == 0;
}

/* Will it be known whether it has changed meanwhile, and is that unlikely? */
static bool can_wait(const struct engine_dump *d, const CkptNeedPath *p, const struct stat *st)
{
	struct timespec now;

	if (p->access != O_RDONLY)
		return !(d->opts->flags & ENGINE_LEAVE_RUNNING) && has_our_times(p);
	return clock_gettime(CLOCK_REALTIME, &now) == 0 && st->st_ctim.tv_sec < now.tv_sec &&
	       now.tv_sec - st->st_ctim.tv_sec > RECENT_S;
}

/* Others need descriptors as well. */
static bool may_hold(const struct res_dump *res)
{
	struct rlimit l;

	return res->n_held < HELD_MAX && getrlimit(RLIMIT_NOFILE, &l) == 0 &&
	       res->n_held < l.rlim_cur / 4;
}

void res_sum(struct engine_dump *d, CkptNeedPath *p, size_t index, const struct stat *st, int *fd)
{
	struct res_dump *res = d->res;
	struct res_held *grown;
	uint64_t left = AT_ONCE_TOTAL > res->hashed ? AT_ONCE_TOTAL - res->hashed : 0;
	uint64_t before = left;

	if (p->size > SMALL && can_wait(d, p, st) && may_hold(res)) {
		grown = reallocarray(res->held, res->n_held + 1, sizeof(*grown));
		if (grown) {
			res->held = grown;
			grown[res->n_held++] =
				(struct res_held){ (uint32_t)index, ck_take_fd(fd), st->st_ctim };
			return;
		}
	}
	sum_now(p, *fd, &left);
	res->hashed += before - left;
}

/* Is what was read now what was there at the stop? */
static bool is_unchanged(const struct res_held *h, const CkptNeedPath *p)
{
	struct stat st;

	return fstat(h->fd, &st) == 0 && (uint64_t)st.st_size == p->size &&
	       (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec ==
		       p->mtime_ns &&
	       st.st_ctim.tv_sec == h->ctim.tv_sec && st.st_ctim.tv_nsec == h->ctim.tv_nsec;
}

static int add_sum(CkptContents *c, const CkptNeedPath *p, uint32_t path)
{
	CkptFileSum *s = CK_PB_NEW(CkptFileSum, ckpt_file_sum);

	if (!s)
		return -ENOMEM;
	s->path = path;
	s->has_hash = p->has_hash;
	s->hash = p->hash;
	s->has_sample = p->has_sample;
	s->sample = p->sample;
	if (ck_pb_append(&c->sums, &c->n_sums, s) == 0)
		return 0;
	ckpt_file_sum__free_unpacked(s, NULL);
	return -ENOMEM;
}

/* d->needs gets them too: isa/ asks whether files are still the same. */
static int sum_held(struct engine_dump *d, CkptContents *c)
{
	uint64_t left = LATER_TOTAL;
	int r = 0;

	for (size_t i = 0; i < d->res->n_held && r == 0; i++) {
		const struct res_held *h = &d->res->held[i];
		CkptNeedPath *p = d->needs.paths[h->path];

		sum_now(p, h->fd, &left);
		if (!is_unchanged(h, p))
			p->has_hash = p->has_sample = false;
		if (p->has_hash || p->has_sample)
			r = add_sum(c, p, h->path);
	}
	return r;
}

int res_write_sums(struct engine_dump *d, const struct image *img, struct ck_err *err)
{
	CkptContents *c;
	int r;

	if (!d->res)
		return 0;
	c = CK_PB_NEW(CkptContents, ckpt_contents);
	if (!c)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot compute checksums of files");
	c->image_id = image_id(img);
	r = sum_held(d, c);
	if (r == 0)
		r = res_owners(d, c);
	if (r < 0)
		ck_fail(err, CK_ERR_SYS, r, "cannot compute checksums of files");
	else if (c->n_sums || c->n_owners)
		r = image_write_late(img, IMAGE_CKPT_CONTENTS, &c->base, err);
	ckpt_contents__free_unpacked(c, NULL);
	return r;
}

void res_sums_done(struct res_dump *res)
{
	for (size_t i = 0; i < res->n_held; i++)
		close(res->held[i].fd);
	free(res->held);
}
