// SPDX-License-Identifier: Apache-2.0
/*
 * The restorer: runs in every task of a job that is being restored, out of the zone, and executes
 * the script of its slot. It decides nothing; what could be reasoned about was decided while
 * planning.
 *
 * 1. All signals are blocked from before the first task is made until the tracer sets the job's
 *    masks.
 * 2. Every task is traced from birth, so a task that fails just exits: the tracer kills the tree.
 * 3. The first failure is written into the zone; later ones are its consequences.
 * 4. The thread pointer, the vDSO and rseq are not used; the stack and all data lie in the zone.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/pie/pie-script.h"
#include "engine/pie/pie-syscall.h"
#include "engine/pie/pie-xxh64.h"

/* From the kernel's headers, which don't go together with freestanding code everywhere. */
#define SIGCONT 18
#define SIGSTOP 19
#define SIG_IGN 1
#define SIG_SETMASK 2
#define RLIMIT_CORE 4
#define SIG_UNBLOCK 1
#define ESRCH 3
#define EINTR 4
#define EPERM 1
#define EIO 5
#define EBUSY 16
#define EBADMSG 74
#define EUCLEAN 117
#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif
#define PIE_PR_TIMER_CREATE_RESTORE_IDS 77 /* v6.15 */
#define PIE_TIMER_TRIES (1 << 20)

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t set_tid, set_tid_size, cgroup;
};

void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
void pie_entry(struct pie_slot *s);

/* GCC may call these two whatever it is told. */
void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}

static inline void *ptr(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}

static inline struct pie_zone *zone_of(const struct pie_slot *s)
{
	return ptr(s->zone);
}

static void wait_word(uint32_t *word, uint32_t seen)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == seen)
		pie_syscall6(__NR_futex, (long)word, FUTEX_WAIT, (long)seen, 0, 0, 0);
}

__attribute__((noreturn)) static void leave(int code)
{
	for (;;)
		pie_syscall1(__NR_exit_group, code);
}

__attribute__((noreturn)) static void fail(struct pie_slot *s, long error, uint64_t detail)
{
	struct pie_zone *z = zone_of(s);
	uint32_t none = 0;

	if (__atomic_compare_exchange_n(&z->failed, &none, 1, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE)) {
		z->slot = (uint32_t)(s - (struct pie_slot *)ptr(z->slots));
		z->op = s->at;
		z->error = (int32_t)error;
		z->detail = detail;
		__atomic_store_n(&z->failed, 2, __ATOMIC_RELEASE);
	}
	leave(1);
}

/* ---- making tasks ---- */

/* The child starts in pie_entry(slot) on its own stack, the parent gets the number or -errno. */
static long clone_into(struct clone3_args *args, struct pie_slot *slot)
{
	register struct pie_slot *arg __asm__("r8") = slot;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r8, %%rdi\n\t"
			 "call pie_entry\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(__NR_clone3), "D"(args), "S"(sizeof(*args)), "r"(arg)
			 : "rcx", "r11", "memory");
	return ret;
}

static long run_clone(struct pie_slot *s, const struct pie_op *op)
{
	struct pie_slot *child = (struct pie_slot *)ptr(zone_of(s)->slots) + op->a[0];
	int32_t tid = child->tid;
	struct clone3_args args;
	long r;

	memset(&args, 0, sizeof(args));
	args.flags = op->a[1];
	args.exit_signal = op->a[1] & (CLONE_THREAD | CLONE_PARENT) ? 0 : op->a[2];
	args.stack = child->stack;
	args.stack_size = PIE_STACK;
	args.set_tid = (uintptr_t)&tid;
	args.set_tid_size = 1;
	r = clone_into(&args, child);
	return r < 0 || r == tid ? r : -EUCLEAN;
}

static long run_barrier(const struct pie_op *op)
{
	struct pie_barrier *b = ptr(op->a[0]);
	uint32_t seen = __atomic_add_fetch(&b->count, 1, __ATOMIC_ACQ_REL);

	if (seen == b->target)
		pie_syscall6(__NR_futex, (long)&b->count, FUTEX_WAKE, 1 << 30, 0, 0, 0);
	for (; seen < b->target; seen = __atomic_load_n(&b->count, __ATOMIC_ACQUIRE))
		wait_word(&b->count, seen);
	return 0;
}

/*
 * Leaves the wait status behind that a zombie had, without a core: a limit of one byte is too
 * little for a file, and tells a core handler to keep out. Being undumpable instead would hide the
 * status from a later dump. Linux fs/coredump.c:coredump_pipe()
 */
__attribute__((noreturn)) static void run_exit(const struct pie_op *op)
{
	int status = (int)op->a[0], signo = status & 0x7f;
	uint64_t all = ~0ull, core[2] = { 1, 1 };
	struct kernel_sigaction dfl;

	if (!signo)
		leave(status >> 8 & 0xff);
	memset(&dfl, 0, sizeof(dfl));
	pie_syscall4(__NR_prlimit64, 0, RLIMIT_CORE, core, 0);
	pie_syscall4(__NR_rt_sigaction, signo, &dfl, 0, 8);
	pie_syscall4(__NR_rt_sigprocmask, SIG_UNBLOCK, &all, 0, 8);
	pie_syscall2(__NR_kill, pie_syscall0(__NR_getpid), signo);
	leave(128 + signo);
}

/* ---- pages ---- */

struct reader {
	struct pie_slot *slot;
	const struct pie_pages *p;
	uint64_t off; /* in the file */
	struct pie_xxh64 hash;
};

/* data is the file's next len bytes. */
static void hash_bytes(struct reader *r, const uint8_t *data, uint64_t len)
{
	const uint64_t *sums = ptr(r->p->sums);

	while (len) {
		uint64_t chunk = r->off / PIE_SUM_CHUNK;
		uint64_t room = (chunk + 1) * PIE_SUM_CHUNK - r->off;
		uint64_t n = len < room ? len : room;

		pie_xxh64_update(&r->hash, data, n);
		r->off += n;
		data += n;
		len -= n;
		if (n < room)
			continue;
		if (chunk >= r->p->n_sums || pie_xxh64_final(&r->hash) != sums[chunk])
			fail(r->slot, -EBADMSG, chunk);
		pie_xxh64_init(&r->hash);
	}
}

static void read_bytes(struct reader *r, uint8_t *to, uint64_t len)
{
	uint64_t off = r->off;

	for (uint64_t done = 0; done < len;) {
		long n = pie_syscall4(__NR_pread64, r->p->fd, to + done, len - done, off + done);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			fail(r->slot, n ? n : -EIO, 0);
		done += (uint64_t)n;
	}
	if (r->p->n_sums)
		hash_bytes(r, to, len);
	else
		r->off += len;
	__atomic_fetch_add(&zone_of(r->slot)->filled, len, __ATOMIC_RELAXED);
}

static bool page_differs(const uint8_t *a, const uint8_t *b)
{
	typedef uint64_t word __attribute__((may_alias));
	const word *x = (const word *)(const void *)a, *y = (const word *)(const void *)b;

	for (size_t i = 0; i < PIE_PAGE / sizeof(word); i++)
		if (x[i] != y[i])
			return true;
	return false;
}

static void run_through_bounce(struct reader *r, const struct pie_run *run)
{
	uint8_t *bounce = ptr(r->slot->bounce), *to = ptr(run->addr);
	uint64_t kept = 0;

	for (uint64_t done = 0; done < run->len;) {
		uint64_t n = run->len - done < PIE_BOUNCE ? run->len - done : PIE_BOUNCE;

		read_bytes(r, bounce, n);
		for (uint64_t o = 0; run->mode == PIE_RUN_COMPARE && o < n; o += PIE_PAGE)
			if (page_differs(to + done + o, bounce + o))
				memcpy(to + done + o, bounce + o, PIE_PAGE);
			else
				kept++;
		done += n;
	}
	__atomic_fetch_add(&zone_of(r->slot)->kept, kept, __ATOMIC_RELAXED);
}

/* In pieces, so that what is hashed is still in the cache. */
static void run_into_place(struct reader *r, const struct pie_run *run)
{
	for (uint64_t done = 0; done < run->len;) {
		uint64_t n = run->len - done < PIE_BOUNCE ? run->len - done : PIE_BOUNCE;

		read_bytes(r, ptr(run->addr + done), n);
		done += n;
	}
}

static long run_pages(struct pie_slot *s, const struct pie_op *op)
{
	struct reader r = { .slot = s, .p = ptr(op->a[0]) };
	const struct pie_run *runs = ptr(r.p->runs);
	const uint64_t *sums = ptr(r.p->sums);

	pie_xxh64_init(&r.hash);
	for (uint64_t i = 0; i < r.p->n_runs; i++) {
		if (runs[i].mode == PIE_RUN_READ)
			run_into_place(&r, &runs[i]);
		else if (runs[i].mode == PIE_RUN_ZERO)
			memset(ptr(runs[i].addr), 0, runs[i].len);
		else
			run_through_bounce(&r, &runs[i]);
	}
	if (r.p->n_sums && r.off % PIE_SUM_CHUNK) {
		uint64_t chunk = r.off / PIE_SUM_CHUNK;

		if (chunk >= r.p->n_sums || pie_xxh64_final(&r.hash) != sums[chunk])
			fail(s, -EBADMSG, chunk);
	}
	return 0;
}

/* ---- single operations ---- */

static long timer_create(const struct pie_timer *t, int32_t *id)
{
	return pie_syscall3(__NR_timer_create, t->clock, t->sigevent, id);
}

/* Timer numbers are handed out in order; since v6.15 one may be asked for. */
static long timer_with_id(const struct pie_timer *t)
{
	int32_t id = t->id;
	long r;

	if (pie_syscall5(__NR_prctl, PIE_PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) == 0) {
		r = timer_create(t, &id);
		pie_syscall5(__NR_prctl, PIE_PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
		return r < 0 ? r : id == t->id ? 0 : -EUCLEAN;
	}
	for (int i = 0; i < PIE_TIMER_TRIES; i++) {
		r = timer_create(t, &id);
		if (r < 0 || id == t->id)
			return r;
		pie_syscall1(__NR_timer_delete, id);
	}
	return -EUCLEAN;
}

static long run_timer(const struct pie_op *op)
{
	struct pie_timer *t = ptr(op->a[0]);
	long r = timer_with_id(t);

	if (r < 0)
		return r;
	return pie_syscall4(__NR_timer_settime, t->id, 0, &t->interval_sec, 0);
}

/*
 * Stopped, it goes on all the same, since it is traced; but the process is a stopped one, and will
 * stand still as soon as it is no longer traced. A stop signal but SIGSTOP does nothing in an
 * orphaned process group.
 */
static long run_stop(struct pie_slot *s, const struct pie_op *op)
{
	uint64_t all = ~0ull, some = ~(1ull << (op->a[0] - 1));
	struct kernel_sigaction sa;
	long pid = pie_syscall0(__NR_getpid);

	memset(&sa, 0, sizeof(sa));
	__atomic_store_n(&s->state, PIE_STOPPING, __ATOMIC_RELEASE);
	pie_syscall4(__NR_rt_sigaction, (long)op->a[0], &sa, 0, 8);
	pie_syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &some, 0, 8);
	pie_syscall2(__NR_kill, pid, op->a[0]);
	pie_syscall4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, 8);
	if (!__atomic_load_n(&s->stopped, __ATOMIC_ACQUIRE))
		pie_syscall2(__NR_kill, pid, SIGSTOP);
	__atomic_store_n(&s->state, PIE_RUNNING, __ATOMIC_RELEASE);
	if (!op->a[1])
		return 0;
	pie_syscall2(__NR_kill, pid, SIGCONT);
	sa.handler = SIG_IGN; /* throws away the signal itself */
	return pie_syscall4(__NR_rt_sigaction, SIGCONT, &sa, 0, 8);
}

static long run_write_file(const struct pie_op *op)
{
	long fd = pie_syscall4(__NR_openat, AT_FDCWD, op->a[0], O_WRONLY | O_CLOEXEC, 0);
	long r;

	if (fd < 0)
		return fd;
	r = pie_syscall3(__NR_write, fd, op->a[1], op->a[2]);
	pie_syscall1(__NR_close, fd);
	return r;
}

/*
 * The mark is an ordinary signal to oneself: traced tasks stop for it even if it is ignored. The
 * state is written before, so that the tracer takes any stop from here on for the arrival.
 */
__attribute__((noreturn)) static void run_arrive(struct pie_slot *s)
{
	uint32_t signo = zone_of(s)->mark_signo;
	uint64_t mark = 1ull << (signo - 1);
	long pid = pie_syscall0(__NR_getpid);

	__atomic_store_n(&s->state, PIE_ARRIVED, __ATOMIC_RELEASE);
	pie_syscall4(__NR_rt_sigprocmask, SIG_UNBLOCK, &mark, 0, 8);
	for (;;)
		pie_syscall3(__NR_tgkill, pid, s->tid, signo);
}

static long run_await_left(const struct pie_slot *s, const struct pie_op *op)
{
	struct pie_slot *other = (struct pie_slot *)ptr(zone_of(s)->slots) + op->a[0];

	wait_word(&other->left, 0);
	return 0;
}

/* The signal is the same as in run_arrive(); the tracer lets the thread go at it. */
__attribute__((noreturn)) static void run_leave(struct pie_slot *s, const struct pie_op *op)
{
	uint32_t signo = zone_of(s)->mark_signo;
	uint64_t mark = 1ull << (signo - 1);

	__atomic_store_n(&s->state, PIE_LEAVING, __ATOMIC_RELEASE);
	pie_syscall4(__NR_rt_sigprocmask, SIG_UNBLOCK, &mark, 0, 8);
	pie_syscall3(__NR_tgkill, pie_syscall0(__NR_getpid), s->tid, signo);
	for (;;)
		pie_syscall1(__NR_exit, op->a[0]);
}

static long run_op(struct pie_slot *s, const struct pie_op *op)
{
	switch (op->code) {
	case PIE_SYSCALL:
		return pie_syscall6((long)op->nr, (long)op->a[0], (long)op->a[1], (long)op->a[2],
				    (long)op->a[3], (long)op->a[4], (long)op->a[5]);
	case PIE_PAGES:
		return run_pages(s, op);
	case PIE_CLONE:
		return run_clone(s, op);
	case PIE_BARRIER:
		return run_barrier(op);
	case PIE_COPY:
		memcpy(ptr(op->a[0]), ptr(op->a[1]), op->a[2]);
		return 0;
	case PIE_TIMER:
		return run_timer(op);
	case PIE_STOP:
		return run_stop(s, op);
	case PIE_WRITE_FILE:
		return run_write_file(op);
	case PIE_EXIT:
		run_exit(op);
	case PIE_AWAIT_LEFT:
		return run_await_left(s, op);
	case PIE_LEAVE:
		run_leave(s, op);
	case PIE_ARRIVE:
		run_arrive(s);
	default:
		return -EUCLEAN;
	}
}

/* Returns how many operations to go on by. */
static uint32_t judge(struct pie_slot *s, const struct pie_op *op, long r)
{
	bool ok = r >= 0 || r < -4095;

	switch (op->expect) {
	case PIE_ANY:
		return 1;
	case PIE_IS_ARG0:
		if (ok && (uint64_t)r != op->a[0])
			fail(s, -EUCLEAN, 0);
		break;
	case PIE_OK_OR_NEXT:
		if (ok)
			return 2;
		/* EBUSY: the child of another program has that one mapped, too. */
		if (r == -EPERM || r == -EBUSY) {
			s->degraded = s->at + 1;
			return 1;
		}
		break;
	case PIE_OK_DEGRADED:
		if (!ok)
			s->degraded = s->at + 1;
		return 1;
	default:
		break;
	}
	if (!ok)
		fail(s, r, 0);
	return 1;
}

/* Its parent may have died before it asked to die with it, and with the parent the trunk. */
static void wait_go(struct pie_zone *z)
{
	const int64_t tick[2] = { 0, 100000000 };

	while (!__atomic_load_n(&z->go, __ATOMIC_ACQUIRE)) {
		pie_syscall6(__NR_futex, (long)&z->go, FUTEX_WAIT, 0, (long)tick, 0, 0);
		if (pie_syscall2(__NR_kill, z->trunk, 0) == -ESRCH)
			leave(1);
	}
}

/* Made by ckpt itself: dies with its parent, may be traced by ckpt's helper process under Yama, and
 * waits until it is. */
static void wait_for_tracer(struct pie_slot *s)
{
	pie_syscall5(__NR_prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0);
	pie_syscall5(__NR_prctl, PR_SET_PTRACER, -1L, 0, 0, 0);
	__atomic_store_n(&s->state, PIE_READY, __ATOMIC_RELEASE);
	pie_syscall6(__NR_futex, (long)&s->state, FUTEX_WAKE, 1, 0, 0, 0);
	wait_go(zone_of(s));
	pie_syscall5(__NR_prctl, PR_SET_PTRACER, 0, 0, 0, 0);
}

__attribute__((section(".text.entry"), used)) void pie_entry(struct pie_slot *s)
{
	const struct pie_op *ops = ptr(s->ops);

	if (s->top)
		wait_for_tracer(s);
	__atomic_store_n(&s->state, PIE_RUNNING, __ATOMIC_RELEASE);
	while (s->at < s->n_ops)
		s->at += judge(s, &ops[s->at], run_op(s, &ops[s->at]));
	fail(s, -EUCLEAN, 0);
}
