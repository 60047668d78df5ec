// SPDX-License-Identifier: Apache-2.0
/*
 * The parasite blob: see parasite.h. Runs in a stopped thread of somebody else's program, without
 * libc and without touching vector registers. It makes no system call that blocks or that
 * overwrites the thread's restart block (nanosleep, poll, futex ...), since the interrupted call
 * may still need it.
 */
#include "engine/pie/parasite.h"

#include <asm/unistd.h>

#include "engine/pie/pie-syscall.h"

/* linux/prctl.h, bits of linux/shm.h and asm/signal.h; the headers themselves drag libc in */
#define ARCH_GET_XCOMP_PERM 0x1022 /* asm/prctl.h */
#define PR_GET_PDEATHSIG 2
#define PR_GET_DUMPABLE 3
#define PR_GET_TSC 25
#define PR_GET_SECUREBITS 27
#define PR_GET_TIMERSLACK 30
#define PR_MCE_KILL_GET 34
#define PR_GET_CHILD_SUBREAPER 37
#define PR_GET_TID_ADDRESS 40
#define PR_GET_THP_DISABLE 42
#define PR_GET_SPECULATION_CTRL 52
#define PR_GET_MEMORY_MERGE 68
#define MEMBARRIER_CMD_GET_REGISTRATIONS 512
#define SHM_RDONLY 010000
#define F_GETFD 1
#define F_SETFD 2
#define FD_CLOEXEC 1
#define F_SETSIG 10
#define F_GETSIG 11
#define F_GETOWN_EX 16
#define F_GETOWNER_UIDS 17
#define MADV_WILLNEED 3
#define EINVAL 22
#define ENOMEM 12
#define PAGE 4096
#define LAST_PAGE 0x7ffffffff000 /* nobody can have it */
#define N_KEYS 16
#define SOL_SOCKET 1
#define SO_PEEK_OFF 42
#define AF_UNIX 1
#define SOCK_DGRAM 2
#define SOCK_CLOEXEC 02000000
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define SCM_RIGHTS 1
#define SIGKILL 9
#define P_PID 1
#define WNOHANG 0x00000001
#define WSTOPPED 0x00000002
#define WCONTINUED 0x00000008
#define WNOWAIT 0x01000000
#define __WALL 0x40000000
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7

#define STR_(x) #x
#define STR(x) STR_(x)

/*
 * rdi: the slot; rsp: still the thread's own stack. All signals are blocked before the stack is
 * switched: a handler that runs earlier runs where the program expects it to.
 */
/* clang-format off */
__asm__(".section .text.entry,\"ax\"\n"
	".globl pie_entry\n"
	".hidden pie_entry\n"
	"pie_entry:\n"
	"	mov %rdi, %rbx\n"
	"	mov $" STR(__NR_rt_sigprocmask) ", %eax\n"
	"	mov $2, %edi\n" /* SIG_SETMASK */
	"	lea " STR(PARASITE_STACK) "(%rbx), %rsi\n" /* &slot->all */
	"	mov $0, %edx\n"
	"	mov $8, %r10d\n"
	"	syscall\n"
	"	mov %rbx, %rdi\n"
	"	lea " STR(PARASITE_STACK) "(%rbx), %rsp\n"
	"	cld\n"
	"	call parasite_main\n"
	"	ud2\n"
	".text\n");
/* clang-format on */

void parasite_main(struct parasite_slot *s);

static void note(struct parasite_process *p, long nr, long r)
{
	if (r < 0 && !p->error) {
		p->error = (int32_t)r;
		p->error_call = (int32_t)nr;
	}
}

static long ask_prctl(struct parasite_process *p, long option, void *arg)
{
	long r = pie_syscall5(__NR_prctl, option, arg, 0, 0, 0);

	note(p, __NR_prctl, r);
	return r;
}

/* What some kernels and containers don't tell: the answer may be an error. */
static void ask_settings(struct parasite_slot *s)
{
	long r = pie_syscall5(__NR_get_mempolicy, &s->mempolicy, s->nodes, PARASITE_NNODES * 64, 0,
			      0);

	if (r < 0)
		s->mempolicy = (int32_t)r;
	r = pie_syscall5(__NR_prctl, PR_GET_TSC, &s->tsc, 0, 0, 0);
	if (r < 0)
		s->tsc = (int32_t)r;
	s->mce_kill = (int32_t)pie_syscall5(__NR_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);
	for (long i = 0; i < PARASITE_NFLAWS; i++)
		s->speculation[i] =
			(int32_t)pie_syscall5(__NR_prctl, PR_GET_SPECULATION_CTRL, i, 0, 0, 0);
}

static void ask_thread(struct parasite_slot *s, struct parasite_process *p)
{
	struct {
		uint64_t sp;
		int32_t flags, pad;
		uint64_t size;
	} sas = { 0, 0, 0, 0 };

	note(p, __NR_sigaltstack, pie_syscall2(__NR_sigaltstack, 0, &sas));
	s->sas_sp = sas.sp;
	s->sas_size = sas.size;
	s->sas_flags = (uint32_t)sas.flags;
	ask_prctl(p, PR_GET_TID_ADDRESS, &s->clear_tid_addr);
	ask_prctl(p, PR_GET_PDEATHSIG, &s->pdeath_sig);
	s->securebits = (uint32_t)ask_prctl(p, PR_GET_SECUREBITS, 0);
	s->timerslack_ns = (uint64_t)ask_prctl(p, PR_GET_TIMERSLACK, 0);
	ask_settings(s);
}

static void ask_timers(struct parasite_process *p)
{
	for (uint32_t i = 0; i < p->n_timers && i < PARASITE_NTIMERS; i++) {
		struct parasite_timer *t = &p->timers[i];

		/* struct itimerspec: interval, value */
		note(p, __NR_timer_gettime,
		     pie_syscall2(__NR_timer_gettime, t->id, &t->interval_sec));
		t->overrun = (int32_t)pie_syscall1(__NR_timer_getoverrun, t->id);
	}
	for (int i = 0; i < 3; i++)
		note(p, __NR_getitimer, pie_syscall2(__NR_getitimer, i, p->itimer[i]));
}

/* ---- orders ---- */

static void note_order(struct parasite_orders *o, long r)
{
	if (r < 0 && !o->error)
		o->error = (int32_t)r;
}

static void read_signals(struct parasite_orders *o)
{
	struct parasite_fd *f = (struct parasite_fd *)o->fds;

	for (uint32_t i = 0; i < o->n_fds; i++) {
		f[i].is = (int32_t)pie_syscall3(__NR_fcntl, f[i].fd, F_GETSIG, 0);
		note_order(o, f[i].is);
	}
}

/* Who gets which signal from each, before any tag. */
static void ask_fds(struct parasite_orders *o)
{
	struct parasite_fd *f = (struct parasite_fd *)o->fds;

	for (uint32_t i = 0; i < o->n_all; i++) {
		f[i].fd_flags = (int32_t)pie_syscall3(__NR_fcntl, f[i].fd, F_GETFD, 0);
		f[i].was = (int32_t)pie_syscall3(__NR_fcntl, f[i].fd, F_GETSIG, 0);
		if (f[i].was >= 0)
			pie_syscall3(__NR_fcntl, f[i].fd, F_GETOWN_EX, &f[i].owner_type);
		if (f[i].owner_pid)
			pie_syscall3(__NR_fcntl, f[i].fd, F_GETOWNER_UIDS, f[i].owner_uids);
	}
}

static void set_signals(struct parasite_orders *o, int tag)
{
	struct parasite_fd *f = (struct parasite_fd *)o->fds;

	for (uint32_t i = 0; i < o->n_fds; i++)
		if (f[i].was >= 0)
			note_order(o, pie_syscall3(__NR_fcntl, f[i].fd, F_SETSIG,
						   tag ? f[i].tag : f[i].was));
	if (!tag)
		o->tagged = 0;
}

/* Notes the runs in n pages at addr. Returns how many were gone through until there was no room for
 * another run. */
static uint64_t note_runs(struct parasite_orders *o, struct parasite_scratch *s, uint64_t addr,
			  uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct parasite_run *last = &s->run[o->n_runs - 1];
		uint64_t at = addr + i * 4096, eight = 1;

		if (!(i % 8) && n - i >= 8)
			__builtin_memcpy(&eight, s->vec + i, 8);
		if (!eight) {
			i += 7;
			continue;
		}
		if (!(s->vec[i] & 1))
			continue;
		if (o->n_runs && last->end == at) {
			last->end += 4096;
			continue;
		}
		if (o->n_runs == PARASITE_NRUNS)
			return i;
		s->run[o->n_runs++] = (struct parasite_run){ at, at + 4096 };
	}
	return n;
}

static void find_resident(struct parasite_orders *o)
{
	struct parasite_scratch *s = (struct parasite_scratch *)o->scratch;

	o->n_runs = 0;
	while (o->start < o->end) {
		uint64_t n = (o->end - o->start) / 4096, done;
		long r;

		if (n > PARASITE_VEC)
			n = PARASITE_VEC;
		r = pie_syscall3(__NR_mincore, o->start, n * 4096, s->vec);
		note_order(o, r);
		if (r < 0)
			return;
		done = note_runs(o, s, o->start, n);
		o->start += done * 4096;
		if (done < n)
			return;
	}
}

/* A socket of its own for a moment, closed again whatever happens. */
static void pass(struct parasite_orders *o)
{
	struct {
		uint64_t len;
		int32_t level, type, fd, pad;
	} control = { 20, SOL_SOCKET, SCM_RIGHTS, o->pass_fd, 0 };
	struct {
		const void *base;
		uint64_t len;
	} iov = { &control, 1 };
	struct {
		const void *name;
		uint64_t name_len; /* the upper half is padding */
		const void *iov;
		uint64_t n_iov;
		const void *control;
		uint64_t control_len, flags;
	} m = { o->pass_to, PARASITE_ADDR, &iov, 1, &control, sizeof(control), 0 };
	long fd = pie_syscall3(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	note_order(o, fd);
	if (fd < 0)
		return;
	note_order(o, pie_syscall3(__NR_sendmsg, fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL));
	pie_syscall1(__NR_close, fd);
}

static void ask_children(struct parasite_orders *o)
{
	struct parasite_child *c = (struct parasite_child *)o->children;
	const long what = WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL;

	for (uint64_t i = 0; i < o->n_children; i++) {
		int32_t si[32] = { 0 }; /* siginfo_t: signo, errno, code */
		long r = pie_syscall5(__NR_waitid, P_PID, c[i].pid, si, what, 0);

		note_order(o, r);
		c[i].code = si[2];
	}
}

static void tag_kin(struct parasite_process *p, int tag)
{
	struct parasite_kin *k = &p->kin;
	uint32_t flags = tag ? k->fd_tag : k->fd_was;

	if (!k->tagged)
		return;
	for (uint32_t i = 0; i < k->n_fds && i < PARASITE_NKIN; i++)
		note_order(&p->orders, pie_syscall3(__NR_fcntl, k->fd[i], F_SETFD,
						    flags >> i & 1 ? FD_CLOEXEC : 0));
	if (k->umask_was >= 0)
		pie_syscall1(__NR_umask, tag ? k->umask_tag : k->umask_was);
	if (!tag)
		k->tagged = 0;
}

static void obey(struct parasite_process *p)
{
	struct parasite_orders *o = &p->orders;
	uint32_t order = o->order;

	/* Each once: if ckpt dies meanwhile, the next marker returns without one. */
	o->order = PARASITE_NO_ORDER;
	o->error = 0;
	if (order == PARASITE_TAG || order == PARASITE_UNTAG)
		set_signals(o, order == PARASITE_TAG);
	else if (order == PARASITE_READ)
		read_signals(o);
	else if (order == PARASITE_RESIDENT)
		find_resident(o);
	else if (order == PARASITE_CHILDREN)
		ask_children(o);
	else if (order == PARASITE_FETCH)
		note_order(o,
			   pie_syscall3(__NR_madvise, o->start, o->end - o->start, MADV_WILLNEED));
	else if (order == PARASITE_PASS)
		pass(o);
	else if (order == PARASITE_KIN_TAG || order == PARASITE_KIN_UNTAG)
		tag_kin(p, order == PARASITE_KIN_TAG);
	else
		note_order(o, -EINVAL);
}

/* Nothing tells which keys are allocated, but who names one that isn't is told so before anything
 * else: mm/mprotect.c, do_mprotect_pkey(). Key 0 always is. */
static uint32_t ask_keys(void)
{
	uint32_t keys = 0;

	for (int key = 1; key < N_KEYS; key++)
		if (pie_syscall4(__NR_pkey_mprotect, LAST_PAGE, PAGE, 0, key) == -ENOMEM)
			keys |= 1u << key;
	return keys;
}

static void ask_process(struct parasite_process *p)
{
	uint32_t v = 0;

	for (int sig = 1; sig <= PARASITE_NSIG; sig++)
		if (p->query_sigs & 1ull << (sig - 1))
			note(p, __NR_rt_sigaction,
			     pie_syscall4(__NR_rt_sigaction, sig, 0, &p->sa[sig], 8));
	p->dumpable = (uint32_t)ask_prctl(p, PR_GET_DUMPABLE, 0);
	p->thp_disabled = (uint32_t)ask_prctl(p, PR_GET_THP_DISABLE, 0);
	ask_prctl(p, PR_GET_CHILD_SUBREAPER, &v);
	p->subreaper = v;
	p->memory_merge = (int32_t)pie_syscall5(__NR_prctl, PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
	p->membarrier =
		(int32_t)pie_syscall3(__NR_membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0);
	p->keys = ask_keys();
	p->brk = (uint64_t)pie_syscall1(__NR_brk, 0);
	/* Not before v5.16, when there was nothing to permit. */
	if (pie_syscall2(__NR_arch_prctl, ARCH_GET_XCOMP_PERM, &p->xcomp_perm) < 0)
		p->xcomp_perm = 0;
	note(p, __NR_clock_gettime,
	     pie_syscall2(__NR_clock_gettime, CLOCK_MONOTONIC, &p->monotonic_sec));
	note(p, __NR_clock_gettime,
	     pie_syscall2(__NR_clock_gettime, CLOCK_BOOTTIME, &p->boottime_sec));
	ask_timers(p);
	ask_fds(&p->orders);
	p->shm = pie_syscall3(__NR_shmat, p->shmid, 0, SHM_RDONLY);
	note(p, __NR_shmat, p->shm);
}

/* Does a signal wait that would have ended the interrupted call? Re-issuing it would lose that. */
static int is_ended(const struct parasite_slot *s)
{
	uint64_t pending = 0;

	pie_syscall2(__NR_rt_sigpending, &pending, 8);
	return (pending & ~s->sigmask & s->eintr_sigs) != 0;
}

static void jump(uint64_t to, uint64_t flags, uint64_t rdi) __attribute__((noreturn));
static void jump(uint64_t to, uint64_t flags, uint64_t rdi)
{
	__asm__ volatile("push %0\n\tpopfq\n\tjmp *%1"
			 :
			 : "r"(flags), "r"(to), "D"(rdi)
			 : "memory");
	__builtin_unreachable();
}

/* The way back without ckpt. */
static void leave(struct parasite_slot *s, struct parasite_process *p) __attribute__((noreturn));
static void leave(struct parasite_slot *s, struct parasite_process *p)
{
	int ended;

	if (p->peeked_fd1)
		pie_syscall5(__NR_setsockopt, p->peeked_fd1 - 1, SOL_SOCKET, SO_PEEK_OFF,
			     &p->peek_off, sizeof(p->peek_off));
	if (p->shm > 0 && *(volatile uint32_t *)p->shm == PARASITE_KILL)
		pie_syscall2(__NR_kill, pie_syscall0(__NR_getpid), SIGKILL);
	if (s->host && p->orders.tagged)
		set_signals(&p->orders, 0);
	if (s->host && p->kin.tagged)
		tag_kin(p, 0);
	if (__atomic_add_fetch(&p->left, 1, __ATOMIC_ACQ_REL) == p->n_aimed && p->shm > 0)
		pie_syscall1(__NR_shmdt, p->shm);
	ended = is_ended(s);
	/*
	 * The area can only be unmapped by the host when it is alone in it: with several threads,
	 * it stays behind as a few unused pages.
	 */
	if (!ended && s->host && p->n_aimed == 1)
		jump(p->stub_leave, s->flags, p->area);
	jump((uint64_t)(ended ? s->back_eintr : s->back), s->flags, 0);
}

/* A traced thread stops for it although it means nothing to the job; any other just goes on. */
static void raise_mark(uint32_t mark)
{
	uint64_t others = ~(1ull << (mark - 1));

	pie_syscall4(__NR_rt_sigprocmask, 2, &others, 0, 8); /* SIG_SETMASK */
	pie_syscall3(__NR_tgkill, pie_syscall0(__NR_getpid), pie_syscall0(__NR_gettid), mark);
}

__attribute__((used)) void parasite_main(struct parasite_slot *s)
{
	struct parasite_process *p = (struct parasite_process *)s->process;

	ask_thread(s, p);
	if (s->host)
		ask_process(p);
	for (;;) {
		if (p->mark)
			raise_mark(p->mark);
		pie_syscall0(PARASITE_MARKER);
		if (!s->host || !p->orders.order)
			break;
		obey(p);
	}
	leave(s, p);
}
