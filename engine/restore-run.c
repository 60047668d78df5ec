// SPDX-License-Identifier: Apache-2.0
/*
 * The trunk: the process that all tasks are forked from. It opens and maps once what they share,
 * makes the first of them, and traces all. It works with nothing but the plan; whatever fails, it
 * exits, and the kernel kills what there is (PTRACE_O_EXITKILL, and its own PDEATHSIG before it
 * traces).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#include "base/auto.h"
#include "base/fd.h"
#include "engine/arch/arch.h"
#include "engine/pie/pie-xxh64.h"
#include "engine/restore.h"
#include "image/format.h"

#define RSEQ_UNREGISTER 1
#define RSEQ_GLIBC_SIG 0x53053053
#define READY_TRIES 200 /* of 50 ms */

/* ---- limits ---- */

/* What counts while the job is made is the hard limit: each task gets its own at last. */
static void raise_soft_limits(void)
{
	static const enum __rlimit_resource raised[] = { RLIMIT_AS,      RLIMIT_DATA,
							 RLIMIT_NPROC,   RLIMIT_FSIZE,
							 RLIMIT_MEMLOCK, RLIMIT_SIGPENDING,
							 RLIMIT_MSGQUEUE };

	for (size_t i = 0; i < CK_ARRAY_SIZE(raised); i++) {
		struct rlimit l;

		if (getrlimit(raised[i], &l) < 0 || l.rlim_cur == l.rlim_max)
			continue;
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(raised[i], &l);
	}
}

/* ---- descriptors ---- */

static int raise_nofile(const struct engine_restore *r, struct ck_err *err)
{
	rlim_t need = (rlim_t)engine_pages_fd(r, &r->tasks[r->n_tasks - 1]) + 1;
	struct rlimit l;
	int rc;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return ck_fail_errno(err, "cannot read the limit of open files");
	if (l.rlim_cur >= need)
		return 0;
	l.rlim_cur = need;
	if (l.rlim_max < need)
		l.rlim_max = need;
	if (setrlimit(RLIMIT_NOFILE, &l) == 0)
		return 0;
	rc = ck_fail_errno(err, "cannot have %llu open files", (unsigned long long)need);
	return ck_err_hint(err, rc, "raise the limit of open files (ulimit -Hn)");
}

static int park_pages(struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		CK_AUTO(fd) int fd = -EBADF;
		int want = engine_pages_fd(r, &r->tasks[i]), got;

		if (r->tasks[i].zombie)
			continue;
		fd = image_open_fd(r->image, IMAGE_PAGES, r->tasks[i].pages.pages_id, err);
		if (fd < 0)
			return fd;
		got = fcntl(fd, F_DUPFD_CLOEXEC, want);
		if (got < 0)
			return ck_fail_errno(err, "cannot have a descriptor %d", want);
		if (got != want)
			return ck_fail(err, CK_ERR_BUG, -EBUSY, "descriptor %d is taken", want);
	}
	return 0;
}

/* ---- shared anonymous memory ---- */

struct shm_reader {
	int fd;
	uint64_t off;
	const uint64_t *sums;
	size_t n_sums;
	struct pie_xxh64 hash;
	uint64_t *filled; /* in all, for whoever watches */
};

static int check_sum(struct shm_reader *s, struct ck_err *err)
{
	uint64_t chunk = (s->off - 1) / PIE_SUM_CHUNK;

	if (chunk >= s->n_sums || pie_xxh64_final(&s->hash) != s->sums[chunk])
		return ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
			       "cannot fill shared memory: wrong checksum of bytes from %llu on",
			       (unsigned long long)(chunk * PIE_SUM_CHUNK));
	pie_xxh64_init(&s->hash);
	return 0;
}

static int read_run(struct shm_reader *s, uint8_t *to, uint64_t len, struct ck_err *err)
{
	while (len) {
		uint64_t room = PIE_SUM_CHUNK - s->off % PIE_SUM_CHUNK;
		uint64_t n = len < room ? len : room;
		int rc = 0;

		if (ck_pread_full(s->fd, to, n, (off_t)s->off) != (ssize_t)n)
			return ck_fail(err, CK_ERR_IMAGE, -EIO, "cannot read shared memory");
		if (s->n_sums)
			pie_xxh64_update(&s->hash, to, n);
		__atomic_fetch_add(s->filled, n, __ATOMIC_RELAXED);
		s->off += n;
		if (s->n_sums && s->off % PIE_SUM_CHUNK == 0)
			rc = check_sum(s, err);
		if (rc < 0)
			return rc;
		to += n;
		len -= n;
	}
	return 0;
}

static int fill_shm(struct engine_restore *r, const struct engine_rshm *shm, struct ck_err *err)
{
	CK_AUTO(fd) int fd = image_open_fd(r->image, IMAGE_PAGES, shm->pages.pages_id, err);
	struct shm_reader s = { .fd = fd, .filled = &script_zone_header(r->zone)->filled };
	int rc = fd;

	pie_xxh64_init(&s.hash);
	if (rc >= 0)
		rc = image_pages_sums(r->image, shm->pages.pages_id, &s.sums, &s.n_sums, err);
	for (size_t i = 0; i < shm->pages.n && rc >= 0; i++) {
		const struct image_pages_run *run = &shm->pages.run[i];

		if (!(run->flags & IMAGE_PE_PRESENT))
			continue;
		if (run->file_off != s.off)
			rc = ck_fail(err, CK_ERR_IMAGE, -EBADMSG,
				     "cannot use a pagemap: pages out of order");
		else
			rc = read_run(&s, (uint8_t *)(uintptr_t)(shm->addr + run->vaddr),
				      run->pages * IMAGE_PAGE_SIZE, err);
	}
	if (rc >= 0 && s.n_sums && s.off % PIE_SUM_CHUNK)
		rc = check_sum(&s, err);
	return rc < 0 ? ck_err_at(err, rc, "shared memory %llu", (unsigned long long)shm->id) : 0;
}

static int map_shm(struct engine_restore *r, const struct engine_rshm *shm, struct ck_err *err)
{
	void *want = (void *)(uintptr_t)shm->addr;
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE |
		    (shm->noreserve ? MAP_NORESERVE : 0);

	if (shm->sysv) {
		int rc = engine_attach_shm(shm, err);

		if (rc == 0)
			rc = fill_shm(r, shm, err);
		return rc < 0 ? rc : engine_finish_shm(shm, err);
	}
	if (mmap(want, shm->size, PROT_READ | PROT_WRITE, flags, -1, 0) != want)
		return ck_fail_errno(err, "cannot map %llu bytes of shared memory",
				     (unsigned long long)shm->size);
	return fill_shm(r, shm, err);
}

/* ---- the first tasks ---- */

/* The kernel writes into a registered rseq area on the way back to user space; a task that unmaps
 * the trunk's memory would die of it. Ours is inherited by fork, so it goes. */
static void unregister_rseq(void)
{
#ifdef RSEQ_SIG
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	const unsigned int sizes[] = { 32, __rseq_size, (__rseq_size + 31) / 32 * 32 };

	for (size_t i = 0; __rseq_size && i < CK_ARRAY_SIZE(sizes); i++)
		if (syscall(SYS_rseq, area, sizes[i], RSEQ_UNREGISTER, RSEQ_GLIBC_SIG) == 0)
			return;
#endif
}

/* A task made in place is ckpt's child; one made by init is init's. */
static int make_top(struct engine_restore *r, const struct engine_rproc *p, struct ck_err *err)
{
	struct pie_slot *slot = script_zone_slot(r->zone, script_slot(p->script));
	uint64_t entry = script_zone_base(r->zone) + PIE_PAGE;
	pid_t tid = p->pid;
	struct clone_args args = {
		.flags = r->strategy == ENGINE_INPLACE ? CLONE_PARENT : 0,
		.exit_signal = r->strategy == ENGINE_INPLACE ? 0 : SIGCHLD,
		.stack = slot->stack,
		.stack_size = PIE_STACK,
		.set_tid = (uintptr_t)&tid,
		.set_tid_size = 1,
	};
	long made = arch_clone_into(&args, sizeof(args), entry, (uintptr_t)slot);
	struct timespec wait = { .tv_nsec = 50000000 };

	if (made == -EEXIST)
		return ck_fail(err, CK_ERR_BUSY, -EEXIST, "cannot make task %d: its pid is taken",
			       (int)p->pid);
	if (made < 0)
		return ck_fail(err, CK_ERR_SYS, (int)made, "cannot make task %d", (int)p->pid);
	for (int i = 0; i < READY_TRIES; i++) {
		if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != PIE_NEW)
			return engine_seize(p->pid, err);
		syscall(SYS_futex, &slot->state, FUTEX_WAIT, PIE_NEW, &wait, NULL, 0);
	}
	return ck_fail(err, CK_ERR_SYS, -ETIMEDOUT, "cannot start task %d", (int)p->pid);
}

static void tell_go(struct engine_restore *r)
{
	struct pie_zone *z = script_zone_header(r->zone);

	__atomic_store_n(&z->go, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &z->go, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void collect_notes(struct engine_restore *r)
{
	const char *who, *what;
	size_t slot = 0;

	while ((what = script_zone_degraded(r->zone, &slot, &who)))
		engine_note(r, "%s: could not %s, going on", who, what);
}

/* While files were opened as another user the end of ckpt went unnoticed: engine_act_as_job() */
static int open_files(struct engine_restore *r, struct ck_err *err)
{
	struct pollfd f = { .fd = r->report, .events = POLLIN };
	int rc = res_open(r, err);

	if (rc == 0 && poll(&f, 1, 0) == 1 && (f.revents & POLLHUP))
		_exit(1);
	return rc;
}

int engine_run(struct engine_restore *r, struct ck_err *err)
{
	int rc;

	raise_soft_limits();
	rc = raise_nofile(r, err);

	signal(SIGCHLD, SIG_DFL); /* ignored, it would reap what has to stay a zombie */
	unregister_rseq();
	if (rc == 0)
		rc = engine_set_clocks(r, err);
	if (rc == 0)
		rc = open_files(r, err);
	if (rc == 0)
		rc = park_pages(r, err);
	if (rc == 0)
		rc = engine_make_ipc(r, err);
	for (size_t i = 0; i < r->n_shm && rc == 0; i++)
		rc = map_shm(r, &r->shm[i], err);
	if (rc < 0)
		return rc;
	engine_restore_stage(r, "grow");
	script_zone_header(r->zone)->trunk = getpid();
	for (size_t i = 0; i < r->n_procs && rc == 0; i++)
		if (!r->procs[i]->maker)
			rc = make_top(r, r->procs[i], err);
	if (rc < 0)
		return rc;
	engine_restore_stage(r, "script");
	tell_go(r);
	rc = engine_trace(r, err);
	if (rc == 0)
		collect_notes(r);
	return rc;
}
