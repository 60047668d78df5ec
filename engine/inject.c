// SPDX-License-Identifier: Apache-2.0
/*
 * Puts the parasite blob into every thread of a stopped tree, and takes it out again.
 *
 * The protocol, per task. ckpt may be killed between any two steps: -> says what happens then.
 *  1. A stub is written into the vDSO's dead bytes: behind its only loaded segment, where section
 *     headers and padding lie, which nothing executes.
 *     -> nothing: nobody is in it
 *  2. The host thread's registers are pointed at the stub in one PTRACE_SETREGSET; only then its
 *     signals are blocked.
 *     -> the stub maps, unmaps, and goes back by itself
 *  3. The host maps the area and is caught in the stub's marker call. Code, slots and ways back
 *     are written into the area.
 *     -> the stub unmaps and goes back
 *  4. Every thread's registers are pointed at the blob, with its slot.
 *     -> the blob goes back by itself
 *  5. All threads are caught in the blob's marker call, where they stay during the dump.
 *     -> the blob looks at the shared word: goes back, or ends itself
 *  6. Ejection: a thread is pointed at its way back, then gets its mask, then its registers; the
 *     host, last, unmaps word and area by the stub's own instruction before.
 *     -> each point is a way back
 *
 * Registers that ckpt gives back itself carry orig_rax, so that the kernel restarts interrupted
 * calls as after any stop.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ipc.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/arch/x86_64/stub.h"
#include "engine/dump.h"
#include "engine/inject.h"
#include "engine/pie/parasite.h"
#include "image/format.h"

extern const uint8_t pie_parasite_start[], pie_parasite_end[];

enum { PAGE = 4096, STUB_ALIGN = 64 };

static size_t page_up(size_t n)
{
	return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static size_t blob_size(void)
{
	return (uintptr_t)pie_parasite_end - (uintptr_t)pie_parasite_start;
}

static uint64_t slot_addr(const struct engine_inject *in, size_t i)
{
	return in->area + in->slots_off + i * sizeof(struct parasite_slot);
}

/* ---- one thread ---- */

static int set_regs(const struct engine_thread *th, const struct user_regs_struct *regs)
{
	struct iovec io = { (void *)(uintptr_t)regs, sizeof(*regs) };

	return ptrace(PTRACE_SETREGSET, th->tid, NT_PRSTATUS, &io) < 0 ? -errno : 0;
}

static int set_mask(const struct engine_thread *th, uint64_t mask)
{
	return ptrace(PTRACE_SETSIGMASK, th->tid, 8, &mask) < 0 ? -errno : 0;
}

/*
 * Lets a thread run to its next system call stop. All its signals are blocked; only a stop signal
 * can come in between, and is kept for later. Returns PTRACE_SYSCALL_INFO_ENTRY or _EXIT, or
 * -errno.
 */
static int run_to_syscall_stop(struct engine_thread *th, struct __ptrace_syscall_info *ret_info)
{
	for (;;) {
		int status, r;

		th->at_stop = false;
		if (ptrace(PTRACE_SYSCALL, th->tid, 0, 0) < 0)
			return -errno;
		r = engine_wait_stop(th, &status);
		if (r < 0)
			return r;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (ptrace(PTRACE_GET_SYSCALL_INFO, th->tid, sizeof(*ret_info), ret_info) <
			    0)
				return -errno;
			return ret_info->op;
		}
		if (status >> 16 == 0)
			th->deferred = WSTOPSIG(status);
	}
}

/*
 * Lets the blob run until its mark. A stop at each of its system calls would cost more than all the
 * rest. If the signal was somebody else's, the mark waits blocked, and will mean as little as that.
 */
static int run_to_mark(struct engine_thread *th, int mark)
{
	for (;;) {
		int status, r;

		th->at_stop = false;
		if (ptrace(PTRACE_CONT, th->tid, 0, 0) < 0)
			return -errno;
		r = engine_wait_stop(th, &status);
		if (r < 0)
			return r;
		if (status >> 16 == 0 && WSTOPSIG(status) == mark)
			return set_mask(th, ~0ull);
		if (status >> 16 == 0)
			th->deferred = WSTOPSIG(status);
	}
}

int engine_run_to_marker(struct engine_thread *th, struct ck_err *err)
{
	struct __ptrace_syscall_info info = { .op = 0 };
	int mark = th->task->inject->mark, r = mark ? run_to_mark(th, mark) : 0;

	for (;;) {
		if (r >= 0)
			r = run_to_syscall_stop(th, &info);
		if (r < 0)
			return ck_fail(err, r == -ESRCH ? CK_ERR_GONE : CK_ERR_SYS, r,
				       "the task ended while it was asked for its state");
		if (r == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == PARASITE_MARKER)
			return 0;
	}
}

/* Points a stopped thread at code; a system call it is entering is skipped. */
static int aim(struct engine_thread *th, uint64_t rip, uint64_t rdi)
{
	struct user_regs_struct regs = th->resume;

	regs.rip = rip;
	regs.rdi = rdi;
	regs.rax = 0;
	regs.orig_rax = (unsigned long)-1;
	return set_regs(th, &regs);
}

/*
 * Makes the host execute one system call by the instruction at insn, behind which its way back
 * stands. It is left in the call's exit stop.
 */
static int remote_call(struct engine_thread *th, uint64_t insn, long nr, uint64_t a, uint64_t b)
{
	struct user_regs_struct regs = th->resume;
	struct __ptrace_syscall_info info = { .op = 0 };
	int r;

	regs.rip = insn;
	regs.rax = (unsigned long)nr;
	regs.rdi = a;
	regs.rsi = b;
	regs.orig_rax = (unsigned long)-1;
	r = set_regs(th, &regs);
	/* What we see first may be the exit of the marker call. */
	while (r >= 0 && !(r == PTRACE_SYSCALL_INFO_ENTRY && (long)info.entry.nr == nr))
		r = run_to_syscall_stop(th, &info);
	if (r >= 0)
		r = run_to_syscall_stop(th, &info);
	if (r < 0)
		return r;
	return info.exit.is_error ? (int)info.exit.rval : 0;
}

/* ---- one task ---- */

/* The dead bytes: behind the end of the vDSO's PT_LOAD. Offsets from its start. */
static int find_dead_bytes(const struct engine_task *t, size_t *ret, struct ck_err *err)
{
	const Elf64_Ehdr *eh = (const void *)t->vdso;
	const Elf64_Phdr *ph;
	uint64_t end = 0;

	if (t->vdso_len < sizeof(*eh) || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh->e_phoff > t->vdso_len || eh->e_phentsize != sizeof(*ph) ||
	    eh->e_phnum > (t->vdso_len - eh->e_phoff) / sizeof(*ph))
		return ck_fail(err, CK_ERR_REFUSED, -ENOEXEC, "the vDSO is not an ELF file");
	ph = (const void *)(t->vdso + eh->e_phoff);
	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && ph[i].p_offset + ph[i].p_memsz > end)
			end = ph[i].p_offset + ph[i].p_memsz;
	end = (end + STUB_ALIGN - 1) & ~(uint64_t)(STUB_ALIGN - 1);
	if (!end || end > t->vdso_len || t->vdso_len - end < sizeof(((struct arch_stub *)0)->code))
		return ck_fail(err, CK_ERR_REFUSED, -ENOSPC,
			       "the vDSO has no room behind its code");
	*ret = end;
	return 0;
}

/*
 * A place for len bytes that no killed dump has used: a signal handler may still return into the
 * way back that stands there. Our own vDSO tells what untouched bytes look like. Where all have
 * been used, the first is taken: that handler would have to run since as many killed dumps.
 */
static int choose_place(const struct engine_task *t, size_t dead, size_t len, size_t *ret,
			struct ck_err *err)
{
	const uint8_t *own =
		(const void *)getauxval(AT_SYSINFO_EHDR); /* NOLINT(performance-no-int-to-ptr) */
	CK_AUTO(free) uint8_t *now = malloc(t->vdso_len);
	int r;

	if (!now || ck_pread_full(t->memfd, now, t->vdso_len, (off_t)t->vdso_map->start) !=
			    (ssize_t)t->vdso_len)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the vDSO");
	*ret = dead;
	for (size_t at = dead; own && t->vdso_len - at >= len; at += STUB_ALIGN)
		if (!memcmp(now + at, own + at, len)) {
			*ret = at;
			return 0;
		}
	/* Since we looked: the stub of another process that has the same memory. */
	if (!memcmp(now + dead, t->vdso + dead, len))
		return 0;
	r = ck_fail(err, CK_ERR_REFUSED, -ENOSPC,
		    "cannot dump so many processes that share their memory");
	return ck_err_hint(err, r, "use threads");
}

static int put_stub(struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = t->inject;
	struct engine_thread *host = &t->threads[0];
	size_t dead = 0, at = 0;
	int r;

	r = find_dead_bytes(t, &dead, err);
	if (r < 0)
		return r;
	arch_stub_build(&in->stub, &host->resume, host->sigmask, in->area_len, PARASITE_MARKER);
	if (!in->stub.len)
		return ck_fail(err, CK_ERR_BUG, -ENOSPC, "the stub is larger than its buffer");
	r = choose_place(t, dead, in->stub.len, &at, err);
	if (r < 0)
		return r;
	in->dead = t->vdso_map->start + at;
	if (ck_pread_full(t->memfd, in->original, in->stub.len, (off_t)in->dead) !=
	    (ssize_t)in->stub.len)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the vDSO");
	in->written = true;
	r = ck_pwrite_full(t->memfd, in->stub.code, in->stub.len, (off_t)in->dead);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot write into the vDSO") : 0;
}

/* Step 2 and 3: the host maps the area. */
static int map_area(struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = t->inject;
	struct engine_thread *host = &t->threads[0];
	struct user_regs_struct regs = { 0 };
	struct iovec io = { &regs, sizeof(regs) };
	int r;

	r = aim(host, in->dead, 0);
	if (r == 0)
		r = set_mask(host, ~0ull);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot point the thread at the stub");
	r = engine_run_to_marker(host, err);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETREGSET, host->tid, NT_PRSTATUS, &io) < 0)
		return ck_fail_errno(err, "cannot read the registers");
	if (regs.rdi > -4096ul) {
		r = ck_fail(err, CK_ERR_REFUSED, (int)(long)regs.rdi,
			    "cannot map %zu KiB of executable memory in the task: %s",
			    in->area_len / 1024, strerror(-(int)(long)regs.rdi));
		return ck_err_hint(err, r,
				   "raise its address space limit (ulimit -v), or allow "
				   "writable and executable memory");
	}
	in->area = regs.rdi;
	return 0;
}

#define SIG_BIT(sig) (1ull << ((sig)-1))
#define STOP_SIGNALS (SIG_BIT(SIGSTOP) | SIG_BIT(SIGTSTP) | SIG_BIT(SIGTTIN) | SIG_BIT(SIGTTOU))

/* Of a task whose actions are not at hand yet, all its handlers: some have SA_RESTART. */
static uint64_t ending_signals(const struct engine_thread *th)
{
	const struct engine_task *t = th->task;
	uint64_t ending = t->status.sig_cgt;

	switch (th->interrupted) {
	case ARCH_ENDS:
		return th->stop_hidden ? ending | (STOP_SIGNALS & ~t->status.sig_ign) : ending;
	case ARCH_RESTARTS_IF_ASKED:
		for (int sig = 1; t->view && sig <= PARASITE_NSIG; sig++)
			if (t->view->sa[sig].flags & SA_RESTART)
				ending &= ~SIG_BIT(sig);
		return ending;
	default:
		return 0;
	}
}

static uint64_t pending_mask(const struct engine_siginfo *pending, size_t n)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < n; i++) {
		siginfo_t si;

		memcpy(&si, pending[i].raw, sizeof(si));
		mask |= SIG_BIT(si.si_signo);
	}
	return mask;
}

const struct user_regs_struct *engine_regs_to_keep(const struct engine_thread *th)
{
	uint64_t pending = pending_mask(th->pending, th->n_pending) |
			   pending_mask(th->task->pending, th->task->n_pending);

	return pending & ~th->sigmask & ending_signals(th) ? &th->ended : &th->resume;
}

static int fill_slot(const struct engine_task *t, size_t i, struct parasite_slot *slot)
{
	const struct engine_thread *th = &t->threads[i];

	memset(slot, 0, sizeof(*slot));
	slot->all = ~0ull;
	slot->process = t->inject->area + t->inject->process_off;
	slot->eintr_sigs = ending_signals(th);
	slot->sigmask = th->sigmask;
	slot->flags = (th->resume.eflags & ARCH_USER_RFLAGS) | 0x202;
	slot->host = i == 0;
	if (!arch_emit_back(slot->back, sizeof(slot->back), &th->resume, th->sigmask) ||
	    !arch_emit_back(slot->back_eintr, sizeof(slot->back_eintr), &th->ended, th->sigmask))
		return -ENOSPC;
	return 0;
}

/*
 * A signal that means nothing to any thread: its default is to be ignored, nobody catches it, and
 * nobody blocks it to wait for it. So it is dropped if it is delivered, whether we live or not.
 */
static int choose_mark(const struct engine_task *t)
{
	static const int unheard[] = { SIGURG, SIGWINCH };

	/* The job is under the same seccomp filters as we are. */
	if (syscall(SYS_tgkill, getpid(), gettid(), 0) < 0)
		return 0;
	for (size_t i = 0; i < CK_ARRAY_SIZE(unheard); i++) {
		uint64_t used = t->status.sig_cgt;

		for (size_t k = 0; k < t->n_threads; k++)
			used |= t->threads[k].sigmask;
		if (!(used & 1ull << (unheard[i] - 1)))
			return unheard[i];
	}
	return 0;
}

static void fill_process(const struct engine_dump *d, const struct engine_task *t,
			 struct parasite_process *p)
{
	const struct engine_inject *in = t->inject;

	memset(p, 0, sizeof(*p));
	p->shmid = d->shmid;
	p->id = (uint32_t)t->pid;
	p->stub_leave = in->dead + in->stub.leave;
	p->area = in->area;
	/* An action can differ from the default without being seen in the masks only by its flags;
	 * those of SIGCHLD matter (SA_NOCLDWAIT, SA_NOCLDSTOP). */
	p->query_sigs = t->status.sig_cgt | t->status.sig_ign | 1ull << (SIGCHLD - 1);
	p->n_timers = (uint32_t)t->timers.n;
	for (size_t i = 0; i < t->timers.n; i++)
		p->timers[i].id = t->timers.t[i].id;
	p->mark = (uint32_t)in->mark;
	p->orders.fds = in->area + in->fds_off;
	p->orders.n_fds = (uint32_t)in->n_fds;
	p->orders.n_all = (uint32_t)in->n_all;
	p->orders.children = in->area + in->children_off;
	p->orders.n_children = t->n_children;
	p->orders.scratch = in->scratch_off ? in->area + in->scratch_off : 0;
}

static void fill_children(const struct engine_task *t, struct parasite_child *c)
{
	for (size_t i = 0; i < t->n_children; i++)
		c[i] = (struct parasite_child){ .pid = t->children[i]->ns_pid };
}

static bool is_asked(const struct engine_fd *fd)
{
	return fd->unclear || !(fd->info.flags & O_PATH);
}

static void fill_fds(const struct engine_task *t, struct parasite_fd *f)
{
	for (int unclear = 1; unclear >= 0; unclear--)
		for (size_t i = 0; i < t->n_fds; i++)
			if (is_asked(&t->fds[i]) && t->fds[i].unclear == (unclear == 1))
				*f++ = (struct parasite_fd){ .fd = t->fds[i].fd };
}

/* /proc adds what a description was opened with to what the descriptor has; TIOCGPTPEER leaves
 * O_CLOEXEC there. */
static void set_close_on_exec(struct engine_fd *fd, int fd_flags)
{
	if (fd_flags < 0)
		return;
	fd->odd = (fd->info.flags & O_CLOEXEC) && !(fd_flags & FD_CLOEXEC);
	fd->info.flags &= ~(unsigned int)O_CLOEXEC;
	if (fd_flags & FD_CLOEXEC)
		fd->info.flags |= O_CLOEXEC;
}

/* The answers, in the same order. */
static int read_fds(struct engine_task *t, struct ck_err *err)
{
	const struct engine_inject *in = t->inject;
	size_t size = in->n_all * sizeof(struct parasite_fd);
	CK_AUTO(free) struct parasite_fd *table = malloc(size + 1);
	const struct parasite_fd *f = table;

	if (!table)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the blob's answers");
	if (ck_pread_full(t->memfd, table, size, (off_t)(in->area + in->fds_off)) != (ssize_t)size)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
	for (int unclear = 1; unclear >= 0; unclear--)
		for (size_t i = 0; i < t->n_fds; i++) {
			struct engine_fd *fd = &t->fds[i];

			if (!is_asked(fd) || fd->unclear != (unclear == 1))
				continue;
			fd->sig = f->was;
			set_close_on_exec(fd, f->fd_flags);
			fd->owner = (struct f_owner_ex){ f->owner_type, f->owner_pid };
			fd->owner_uids[0] = f->owner_uids[0];
			fd->owner_uids[1] = f->owner_uids[1];
			f++;
		}
	return 0;
}

static int fill_area(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = t->inject;
	size_t code = blob_size();
	CK_AUTO(free) uint8_t *buf = calloc(1, in->filled_len);
	int r = 0;

	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot prepare the blob");
	memcpy(buf, pie_parasite_start, code);
	in->mark = choose_mark(t);
	fill_process(d, t, (void *)(buf + in->process_off));
	fill_fds(t, (void *)(buf + in->fds_off));
	fill_children(t, (void *)(buf + in->children_off));
	for (size_t i = 0; i < t->n_threads && r == 0; i++)
		r = fill_slot(t, i,
			      (void *)(buf + in->slots_off + i * sizeof(struct parasite_slot)));
	if (r < 0)
		return ck_fail(err, CK_ERR_BUG, r, "a way back is larger than its buffer");
	r = ck_pwrite_full(t->memfd, buf, in->filled_len, (off_t)in->area);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot write the blob") : 0;
}

/*
 * How many threads may be in the blob: written before one is pointed at it and after one was taken
 * out. If we die in between, the word stays attached; engine_look() knows what it is.
 */
static int put_aimed(const struct engine_task *t, uint32_t n)
{
	const struct engine_inject *in = t->inject;

	return ck_pwrite_full(t->memfd, &n, sizeof(n),
			      (off_t)(in->area + in->process_off +
				      offsetof(struct parasite_process, n_aimed)));
}

/* Step 4 and 5. */
static int run_blob(struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = t->inject;
	int r;

	for (size_t i = 0; i < t->n_threads; i++) {
		r = put_aimed(t, (uint32_t)i + 1);
		if (r == 0)
			r = aim(&t->threads[i], in->area, slot_addr(in, i));
		if (r == 0)
			r = set_mask(&t->threads[i], ~0ull);
		if (r < 0)
			return ck_fail(err, CK_ERR_SYS, r, "cannot point thread %d at the blob",
				       (int)t->threads[i].tid);
		r = engine_run_to_marker(&t->threads[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A handler with SA_RESTART does not end a restartable call. */
static int refine_ending_signals(struct engine_task *t)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		uint64_t sigs = ending_signals(&t->threads[i]);
		int r;

		if (t->threads[i].interrupted != ARCH_RESTARTS_IF_ASKED)
			continue;
		r = ck_pwrite_full(t->memfd, &sigs, 8,
				   (off_t)(slot_addr(t->inject, i) +
					   offsetof(struct parasite_slot, eintr_sigs)));
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_answers(struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = t->inject;
	const struct parasite_process *p;

	t->view = malloc(sizeof(*t->view));
	if (!t->view)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the blob's answers");
	if (ck_pread_full(t->memfd, t->view, sizeof(*t->view),
			  (off_t)(in->area + in->process_off)) != sizeof(*t->view))
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
	p = t->view;
	if (p->error)
		return ck_fail(err, CK_ERR_SYS, p->error, "system call %d fails in the task",
			       p->error_call);
	for (size_t i = 0; i < t->n_threads; i++) {
		struct engine_thread_view *v = &t->threads[i].view;
		CK_AUTO(free) struct parasite_slot *s = malloc(sizeof(*s));

		if (!s ||
		    ck_pread_full(t->memfd, s, sizeof(*s), (off_t)slot_addr(in, i)) != sizeof(*s))
			return ck_fail(err, CK_ERR_SYS, -EIO, "cannot read the blob's answers");
		v->sas_sp = s->sas_sp;
		v->sas_size = s->sas_size;
		v->sas_flags = s->sas_flags;
		v->clear_tid_addr = s->clear_tid_addr;
		v->pdeath_sig = s->pdeath_sig;
		v->securebits = s->securebits;
		v->timerslack_ns = s->timerslack_ns;
		v->mempolicy = s->mempolicy;
		v->tsc = s->tsc;
		v->mce_kill = s->mce_kill;
		memcpy(v->nodes, s->nodes, sizeof(v->nodes));
		memcpy(v->speculation, s->speculation, sizeof(v->speculation));
	}
	if (refine_ending_signals(t) < 0)
		return ck_fail(err, CK_ERR_SYS, -EIO, "cannot write into the blob's area");
	return read_fds(t, err);
}

/* Code, process, slots, descriptors, children; and, for tasks with shared memory, room for lists of
 * pages. */
static void lay_out(const struct engine_task *t, struct engine_inject *in)
{
	bool shared = false;

	for (size_t i = 0; i < t->n_fds; i++) {
		in->n_fds += t->fds[i].unclear;
		in->n_all += is_asked(&t->fds[i]);
	}
	for (size_t i = 0; i < t->maps.n; i++)
		shared = shared || (engine_map_status(&t->maps.m[i]) & IMAGE_VMA_ANON_SHARED);
	in->process_off = page_up(blob_size());
	in->slots_off = page_up(in->process_off + sizeof(struct parasite_process));
	in->fds_off = in->slots_off + t->n_threads * sizeof(struct parasite_slot);
	in->children_off = in->fds_off + in->n_all * sizeof(struct parasite_fd);
	in->filled_len = page_up(in->children_off + t->n_children * sizeof(struct parasite_child));
	in->area_len = in->filled_len;
	if (shared) {
		in->scratch_off = in->area_len;
		in->area_len += page_up(sizeof(struct parasite_scratch));
	}
}

static int inject_task(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot prepare the blob");
	t->inject = in;
	lay_out(t, in);
	r = put_stub(t, err);
	if (r == 0)
		r = map_area(t, err);
	if (r == 0)
		r = fill_area(d, t, err);
	if (r == 0)
		r = run_blob(t, err);
	if (r == 0)
		r = read_answers(t, err);
	return r < 0 ? r : engine_review_pending(t, err);
}

/* In the job's IPC namespace. 0 or -errno. */
static int attach_word(void *arg)
{
	struct engine_dump *d = arg;
	void *p;
	int r;

	d->shmid = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0644);
	if (d->shmid < 0)
		return -errno;
	p = shmat(d->shmid, NULL, 0);
	r = p == (void *)-1 ? -errno : 0;
	/* Marked for removal at once: it goes with the last process that has it attached. */
	shmctl(d->shmid, IPC_RMID, NULL);
	if (r == 0)
		d->fate = p;
	return r;
}

static int make_word(struct engine_dump *d, struct ck_err *err)
{
	int r = engine_in_ipc(d, attach_word, d);

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot make a page of shared memory");
	d->fate->fate = PARASITE_RESUME;
	memcpy(d->fate->magic, PARASITE_WORD_MAGIC, sizeof(d->fate->magic));
	return 0;
}

int engine_guard_peek(struct engine_task *t, int fd, int off)
{
	const struct engine_inject *in = t->inject;
	struct {
		uint32_t fd1;
		int32_t off;
	} guard = { (uint32_t)(fd + 1), off };
	const size_t at = offsetof(struct parasite_process, peeked_fd1);

	_Static_assert(offsetof(struct parasite_process, peek_off) ==
			       offsetof(struct parasite_process, peeked_fd1) + sizeof(uint32_t),
		       "written at once");
	if (!in || !in->area)
		return 0;
	return ck_pwrite_full(t->memfd, &guard, sizeof(guard),
			      (off_t)(in->area + in->process_off + at));
}

bool engine_is_word(int memfd, const struct proc_map *m)
{
	struct parasite_word w;

	return m->shared && !m->w && m->deleted && m->end - m->start == PAGE &&
	       !strncmp(m->name, "/SYSV", 5) &&
	       ck_pread_full(memfd, &w, sizeof(w), (off_t)m->start) == (ssize_t)sizeof(w) &&
	       !memcmp(w.magic, PARASITE_WORD_MAGIC, sizeof(w.magic));
}

bool engine_is_area(int memfd, const struct proc_map *m)
{
	uint8_t head[64];

	return !m->shared && m->r && m->w && m->x && !m->name[0] && blob_size() >= sizeof(head) &&
	       ck_pread_full(memfd, head, sizeof(head), (off_t)m->start) == (ssize_t)sizeof(head) &&
	       !memcmp(head, pie_parasite_start, sizeof(head));
}

int engine_inject(struct engine_dump *d, struct ck_err *err)
{
	int r = make_word(d, err);

	for (size_t i = 0; i < d->n_tasks && r == 0; i++) {
		if (d->tasks[i]->zombie)
			continue;
		r = inject_task(d, d->tasks[i], err);
		if (r < 0)
			ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(d->tasks[i]));
	}
	if (r < 0)
		engine_eject(d, NULL);
	return r;
}

/* ---- taking it out ---- */

/* A thread that is in code of ours gets its own registers back. back: address of its way back. */
static int eject_thread(struct engine_thread *th, uint64_t back)
{
	int r = engine_event_stop(th);

	if (r == 0)
		r = aim(th, back, 0);
	if (r == 0)
		r = set_mask(th, th->sigmask);
	if (r == 0)
		r = set_regs(th, &th->stopped);
	return r;
}

/* The host unmaps the word and the area; it stays in the stub, in front of its way back. */
static int host_unmap(struct engine_task *t)
{
	struct engine_inject *in = t->inject;
	struct engine_thread *host = &t->threads[0];
	uint64_t insn = in->dead + in->stub.syscall;
	struct parasite_process p;
	int r = 0;

	if (!in->area)
		return 0;
	if (ck_pread_full(t->memfd, &p, sizeof(p), (off_t)(in->area + in->process_off)) ==
		    sizeof(p) &&
	    p.shm > 0)
		r = remote_call(host, insn, SYS_shmdt, (uint64_t)p.shm, 0);
	if (r == 0)
		r = remote_call(host, insn, SYS_munmap, in->area, in->area_len);
	return r;
}

static int eject_task(struct engine_task *t, struct ck_err *err)
{
	struct engine_inject *in = t->inject;
	uint64_t after = in->dead + in->stub.syscall + 2;
	int r = 0, r2;

	for (size_t i = 1; i < t->n_threads && in->area; i++) {
		uint64_t back = slot_addr(in, i) + offsetof(struct parasite_slot, back);

		r2 = t->threads[i].detached ? 0 : eject_thread(&t->threads[i], back);
		r = r ? r : r2;
		r2 = put_aimed(t, (uint32_t)(t->n_threads - i));
		r = r ? r : r2;
	}
	if (!t->threads[0].detached && in->written) {
		r2 = r ? 0 : host_unmap(t);
		r = r ? r : r2;
		r2 = eject_thread(&t->threads[0], after);
		r = r ? r : r2;
		r2 = ck_pwrite_full(t->memfd, in->original, in->stub.len, (off_t)in->dead);
		r = r ? r : r2;
	}
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot take the blob out") : 0;
}

int engine_eject(struct engine_dump *d, struct ck_err *err)
{
	int first = 0;

	for (size_t i = 0; i < d->n_tasks; i++) {
		struct ck_err e = CK_ERR_INIT;
		int r;

		if (!d->tasks[i]->inject)
			continue;
		r = eject_task(d->tasks[i], &e);
		if (r < 0 && first == 0) {
			first = ck_err_at(&e, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(d->tasks[i]));
			if (err)
				*err = e;
		}
	}
	return first;
}

void engine_doom(struct engine_dump *d)
{
	__atomic_store_n(&d->fate->fate, PARASITE_KILL, __ATOMIC_SEQ_CST);
}

void engine_inject_done(struct engine_dump *d)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		free(d->tasks[i]->inject);
		d->tasks[i]->inject = NULL;
	}
	if (d->fate)
		shmdt(d->fate);
	d->fate = NULL;
}
