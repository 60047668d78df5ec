// SPDX-License-Identifier: Apache-2.0
/*
 * Reads smaps. Of a task with many mappings that are megabytes, for which the kernel looks at every
 * page table, while the task stands still: so one thread reads as another one parses. A short text
 * is read and parsed by the caller alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/procfs-text.h"
#include "base/procfs.h"

enum {
	CHUNK = 1 << 17,
	SLOTS = 2,
	LONGEST = 1 << 16, /* bytes of a line: a name has four times PATH_MAX when all is escaped */
};

/* ---- text that comes in pieces ---- */

struct parser {
	struct proc_maps maps;
	char carry[LONGEST]; /* a line whose end has not come yet */
	size_t carried;
};

static int parse_line(struct parser *p, const char *line, size_t len)
{
	struct ck_text t = ck_text_of(line, len);

	return proc_parse_map_line(&t, &p->maps);
}

static int carry_on(struct parser *p, const char *text, size_t len)
{
	if (len > sizeof(p->carry) - p->carried)
		return -EINVAL;
	memcpy(p->carry + p->carried, text, len);
	p->carried += len;
	return 0;
}

static int feed(struct parser *p, const char *text, size_t len)
{
	const char *end = text + len, *nl;
	int r = 0;

	while (r == 0 && (nl = memchr(text, '\n', (size_t)(end - text)))) {
		if (p->carried) {
			r = carry_on(p, text, (size_t)(nl - text));
			if (r == 0)
				r = parse_line(p, p->carry, p->carried);
			p->carried = 0;
		} else {
			r = parse_line(p, text, (size_t)(nl - text));
		}
		text = nl + 1;
	}
	return r < 0 ? r : carry_on(p, text, (size_t)(end - text));
}

/* ---- reading ahead ---- */

struct reader {
	int fd;
	struct {
		char *text;
		ssize_t len; /* bytes, fewer than CHUNK at the end; or a negative errno */
	} slot[SLOTS];
	sem_t empty, full; /* slots */
	bool stop;         /* set before the post of empty that tells of it */
};

static ssize_t read_slot(struct reader *rd, unsigned int i)
{
	rd->slot[i].len = ck_read_full(rd->fd, rd->slot[i].text, CHUNK);
	return rd->slot[i].len;
}

static void *read_ahead(void *arg)
{
	struct reader *rd = arg;
	ssize_t n = CHUNK;

	for (unsigned int i = 0; n == CHUNK; i = (i + 1) % SLOTS) {
		sem_wait(&rd->empty);
		if (rd->stop)
			break;
		n = read_slot(rd, i);
		sem_post(&rd->full);
	}
	return NULL;
}

static int parse_slot(struct parser *p, const struct reader *rd, unsigned int i)
{
	ssize_t n = rd->slot[i].len;

	return n < 0 ? (int)n : feed(p, rd->slot[i].text, (size_t)n);
}

static int parse_with_help(struct parser *p, struct reader *rd, pthread_t helper)
{
	bool last = false;
	int r = 0;

	for (unsigned int i = 0; r == 0 && !last; i = (i + 1) % SLOTS) {
		sem_wait(&rd->full);
		last = rd->slot[i].len != CHUNK;
		r = parse_slot(p, rd, i);
		rd->stop = r < 0;
		sem_post(&rd->empty);
	}
	pthread_join(helper, NULL);
	return r;
}

static int parse_alone(struct parser *p, struct reader *rd)
{
	bool last = false;
	int r = 0;

	while (r == 0 && !last) {
		last = read_slot(rd, 0) != CHUNK;
		r = parse_slot(p, rd, 0);
	}
	return r;
}

/* The rest of the text, after a first chunk. */
static int parse_rest(struct parser *p, struct reader *rd)
{
	pthread_t helper;
	int r;

	if (sem_init(&rd->empty, 0, SLOTS) < 0 || sem_init(&rd->full, 0, 0) < 0)
		return -errno;
	r = pthread_create(&helper, NULL, read_ahead, rd) == 0 ? parse_with_help(p, rd, helper)
							       : parse_alone(p, rd);
	sem_destroy(&rd->empty);
	sem_destroy(&rd->full);
	return r;
}

static int read_smaps(int fd, struct parser *p)
{
	CK_AUTO(free) char *text = malloc((size_t)SLOTS * CHUNK);
	struct reader rd = { .fd = fd };
	int r;

	if (!text)
		return -ENOMEM;
	for (unsigned int i = 0; i < SLOTS; i++)
		rd.slot[i].text = text + (size_t)i * CHUNK;
	r = read_slot(&rd, 0) < 0 ? (int)rd.slot[0].len : parse_slot(p, &rd, 0);
	if (r == 0 && rd.slot[0].len == CHUNK)
		r = parse_rest(p, &rd);
	return r == 0 && p->carried ? -EINVAL : r;
}

int proc_read_smaps(int dirfd, struct proc_maps *ret, struct ck_err *err)
{
	CK_AUTO(fd) int fd = openat(dirfd, "smaps", O_RDONLY | O_CLOEXEC);
	CK_AUTO(free) struct parser *p = calloc(1, sizeof(*p));
	int r = fd < 0 ? -errno : !p ? -ENOMEM : read_smaps(fd, p);

	if (r < 0) {
		if (p)
			proc_maps_done(&p->maps);
		return r == -EINVAL || r == -ENOMEM ? proc_fail_parse(err, r, "smaps")
						    : proc_fail_read(err, r, "smaps");
	}
	*ret = p->maps;
	return 0;
}
