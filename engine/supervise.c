// SPDX-License-Identifier: Apache-2.0
/*
 * Between ckpt and the trunk, and ckpt as the job's parent afterwards. The trunk reports over a
 * socket of packets: stages and notes, then either an error or the fact that the job runs, with a
 * pidfd of its root; as init also when the root stops, goes on, or ends.
 *
 * 1. Signals are blocked in ckpt from before the trunk is made; those that come are read from a
 *    signalfd: before the job runs they end the restore, afterwards they are the job's.
 * 2. While the restore is under way, the trunk dies with ckpt, and the job with the trunk.
 * Afterwards init and its job still die with ckpt, unless detached; in place, the job is init's
 * like any other whose parent has died.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/restore.h"
#include "engine/watch.h"

enum { PROGRESS_MS = 50 };
enum packet_type { PACKET_STAGE = 1, PACKET_NOTE, PACKET_ERROR, PACKET_RUNNING, PACKET_STATUS };

struct packet {
	enum packet_type type;
	int status;     /* PACKET_STATUS: a wait status of the root */
	char note[400]; /* PACKET_STAGE: its name */
	struct ck_err err;
};

/* ---- in the trunk ---- */

/* fd < 0: none goes with it. Nobody listening is no error here. */
static void send_packet(int sock, const struct packet *p, int fd)
{
	struct iovec io = { (void *)(uintptr_t)p, sizeof(*p) };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { .buf = { 0 } };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = u.buf;
		m.msg_controllen = sizeof(u.buf);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	while (sendmsg(sock, &m, MSG_NOSIGNAL) < 0 && errno == EINTR)
		continue;
}

void engine_restore_stage(const struct engine_restore *r, const char *name)
{
	struct packet p = { .type = PACKET_STAGE };

	if (r->report < 0) {
		engine_stage(&r->opts->watch, name);
		return;
	}
	snprintf(p.note, sizeof(p.note), "%s", name);
	send_packet(r->report, &p, -1);
}

static void send_notes(struct engine_restore *r, int sock)
{
	for (size_t i = 0; i < r->n_notes; i++) {
		struct packet p = { .type = PACKET_NOTE };

		snprintf(p.note, sizeof(p.note), "%s", r->notes[i]);
		send_packet(sock, &p, -1);
	}
}

/* Descriptors of the job must not be held open by anybody else. */
static int keep_only(int sock)
{
	int fd = dup3(sock, 0, O_CLOEXEC);

	if (fd < 0)
		return sock;
	syscall(SYS_close_range, 1u, ~0u, 0u);
	return fd;
}

__attribute__((noreturn)) static void be_init(pid_t root, int sock)
{
	for (;;) {
		struct packet p = { .type = PACKET_STATUS };
		pid_t pid = waitpid(-1, &p.status, __WALL | WUNTRACED | WCONTINUED);

		if (pid < 0 && errno != EINTR)
			_exit(1);
		if (pid != root)
			continue;
		send_packet(sock, &p, -1);
		if (WIFEXITED(p.status) || WIFSIGNALED(p.status))
			_exit(0); /* the kernel kills the rest of the namespace */
	}
}

void engine_trunk_main(struct engine_restore *r, int sock)
{
	struct packet p = { .type = PACKET_RUNNING };
	pid_t root = (pid_t)r->tasks[0].ps->pid;
	int pidfd, rc;

	engine_notes_done(r); /* the plan's are told by ckpt itself */
	r->report = sock;
	engine_restore_stage(r, "trunk");
	if (r->strategy == ENGINE_NAMESPACES) {
		if (!(r->opts->flags & ENGINE_RESTORE_SHELL_JOB))
			setsid();
		engine_enter_namespaces(r);
	}
	rc = engine_bind_maps(r, &p.err);
	if (rc == 0)
		rc = engine_run(r, &p.err);
	if (rc < 0) {
		p.type = PACKET_ERROR;
		send_packet(sock, &p, -1);
		_exit(1);
	}
	if (r->strategy == ENGINE_NAMESPACES && (r->opts->flags & ENGINE_DETACH))
		prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	send_notes(r, sock);
	pidfd = (int)syscall(SYS_pidfd_open, root, 0);
	send_packet(sock, &p, pidfd);
	if (r->strategy == ENGINE_INPLACE)
		_exit(0);
	be_init(root, keep_only(sock));
}

/* ---- in ckpt ---- */

struct supervisor {
	struct engine_restore *r;
	pid_t trunk, root; /* root: in our pid namespace, 0 until it runs */
	int sock, signals, pidfd;
	bool ended;
	int status;
	uint64_t start, grow, script; /* when, nanoseconds */
};

/* 1: a packet; 0: the other end is closed. */
static int receive(struct supervisor *s, struct packet *p)
{
	struct iovec io = { p, sizeof(*p) };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr m = { .msg_iov = &io,
			    .msg_iovlen = 1,
			    .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *c;
	ssize_t n;

	do {
		n = recvmsg(s->sock, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	c = n == (ssize_t)sizeof(*p) ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&s->pidfd, CMSG_DATA(c), sizeof(s->pidfd));
	return n == (ssize_t)sizeof(*p);
}

/* The number that the root has for us: fdinfo of its pidfd, in the reader's namespace. */
static pid_t pid_of(int pidfd)
{
	CK_AUTO(free) char *text = NULL;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (pidfd < 0 || ck_read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return 0;
	at = strstr(text, "\nPid:");
	return at ? (pid_t)strtol(at + 5, NULL, 10) : 0;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		continue;
}

/* Helpers that were made in place are our children; so is, after a failure, whatever there was. */
static void reap_tops(struct supervisor *s, bool failed)
{
	const struct engine_restore *r = s->r;

	for (size_t i = 0; r->strategy == ENGINE_INPLACE && i < r->n_procs; i++) {
		const struct engine_rproc *p = r->procs[i];
		siginfo_t si = { .si_pid = 0 };

		if (p->parent || (!failed && p->task))
			continue;
		if (waitid(P_PID, (id_t)p->pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
			continue; /* no child of ours */
		if (failed)
			kill(p->pid, SIGKILL);
		reap(p->pid);
	}
}

static void give_up(struct supervisor *s)
{
	kill(s->trunk, SIGKILL);
	reap(s->trunk);
	reap_tops(s, true);
}

static int trunk_died(struct supervisor *s, struct ck_err *err)
{
	int status = 0;

	kill(s->trunk, SIGKILL);
	while (waitpid(s->trunk, &status, 0) < 0 && errno == EINTR)
		continue;
	reap_tops(s, true);
	return ck_fail(err, CK_ERR_BUG, -ECHILD,
		       "cannot restore the job: the restoring process ended (wait status %#x)",
		       (unsigned int)status);
}

static bool ends_restore(uint32_t signo)
{
	return signo == SIGINT || signo == SIGTERM || signo == SIGHUP || signo == SIGQUIT;
}

static int read_signal(const struct supervisor *s, struct signalfd_siginfo *si)
{
	return ck_read_full(s->signals, si, sizeof(*si)) == (ssize_t)sizeof(*si);
}

static void told(struct supervisor *s, const struct packet *p)
{
	const struct engine_restore_opts *o = s->r->opts;

	if (p->type == PACKET_NOTE && o->on_note)
		o->on_note(o->arg, p->note);
	if (p->type != PACKET_STAGE)
		return;
	if (!strcmp(p->note, "grow"))
		s->grow = engine_now_ns();
	if (!strcmp(p->note, "script"))
		s->script = engine_now_ns();
	engine_stage(&o->watch, p->note);
}

static void show_progress(const struct supervisor *s)
{
	uint64_t done = __atomic_load_n(&script_zone_header(s->r->zone)->filled, __ATOMIC_RELAXED);

	engine_progress(&s->r->opts->watch, done, s->r->pages * IMAGE_PAGE_SIZE);
}

/* poll(2), where it is forbidden by ppoll(2): its result, or a negative errno. */
static int wait_for(struct pollfd *f, nfds_t n, int ms)
{
	const struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	int r = poll(f, n, ms);

	if (r < 0 && errno != EINTR)
		r = ppoll(f, n, ms < 0 ? NULL : &ts, NULL);
	return r < 0 ? -errno : r;
}

/* Until the trunk says that the job runs, or why it does not. */
static int wait_running(struct supervisor *s, struct ck_err *err)
{
	for (;;) {
		struct pollfd f[2] = { { s->sock, POLLIN, 0 }, { s->signals, POLLIN, 0 } };
		struct signalfd_siginfo si;
		struct packet p;
		int r = wait_for(f, 2, s->r->opts->watch.progress ? PROGRESS_MS : -1);

		if (r == -EINTR)
			continue;
		if (r < 0) {
			give_up(s);
			return ck_fail(err, CK_ERR_SYS, r, "cannot wait for the job");
		}
		show_progress(s);
		if (!f[0].revents && !f[1].revents)
			continue;
		if (!f[0].revents) {
			if (!read_signal(s, &si) || !ends_restore(si.ssi_signo))
				continue;
			give_up(s);
			return ck_fail(err, CK_ERR_SYS, -EINTR,
				       "cannot restore the job: interrupted by signal %u",
				       si.ssi_signo);
		}
		if (!receive(s, &p))
			return trunk_died(s, err);
		told(s, &p);
		if (p.type == PACKET_RUNNING)
			return 0;
		if (p.type != PACKET_ERROR)
			continue;
		*err = p.err;
		reap(s->trunk);
		reap_tops(s, true);
		return p.err.code < 0 ? p.err.code : -EPROTO;
	}
}

/* A terminal has given these to the job as well if it is in our process group. */
static bool job_has_it(const struct supervisor *s, const struct signalfd_siginfo *si)
{
	return (s->r->opts->flags & ENGINE_RESTORE_SHELL_JOB) && si->ssi_code == SI_KERNEL;
}

static void forward(struct supervisor *s, int signo)
{
	syscall(SYS_pidfd_send_signal, s->pidfd, signo, NULL, 0);
}

/* The root stopped: so do we, for whoever watches us; and it goes on as we do. */
static void root_changed(struct supervisor *s, int status)
{
	if (WIFSTOPPED(status)) {
		kill(getpid(), SIGSTOP);
		forward(s, SIGCONT);
	} else if (WIFEXITED(status) || WIFSIGNALED(status)) {
		s->ended = true;
		s->status = status;
	}
}

static void check_root(struct supervisor *s)
{
	int status;

	if (s->r->strategy == ENGINE_INPLACE &&
	    waitpid(s->root, &status, __WALL | WNOHANG | WUNTRACED) == s->root)
		root_changed(s, status);
}

static void wait_end(struct supervisor *s)
{
	bool sock_open = s->r->strategy == ENGINE_NAMESPACES;

	while (!s->ended) {
		struct pollfd f[2] = { { s->signals, POLLIN, 0 },
				       { sock_open ? s->sock : -1, POLLIN, 0 } };
		struct signalfd_siginfo si;
		struct packet p;

		if (wait_for(f, 2, -1) < 0)
			continue;
		if (f[0].revents && read_signal(s, &si)) {
			if (si.ssi_signo == SIGCHLD)
				check_root(s);
			else if (!job_has_it(s, &si))
				forward(s, (int)si.ssi_signo);
		}
		if (!f[1].revents)
			continue;
		if (receive(s, &p)) {
			if (p.type == PACKET_STATUS)
				root_changed(s, p.status);
		} else { /* init was killed, and with it everything */
			s->ended = true;
			s->status = SIGKILL;
		}
	}
	if (s->r->strategy == ENGINE_NAMESPACES)
		reap(s->trunk);
}

/* The zone is not needed any more, and may hold a lot. */
static void tell_running(struct supervisor *s)
{
	const struct engine_restore_opts *o = s->r->opts;
	struct engine_restore_stats stats = {
		.pid = s->root,
		.forking_ns = s->script - s->grow,
		.restore_ns = engine_now_ns() - s->start,
		.pages = s->r->pages,
		.compared = s->r->compared,
		.kept = script_zone_header(s->r->zone)->kept,
	};

	script_zone_unmap(s->r->zone);
	if (o->on_running)
		o->on_running(o->arg, &stats);
}

static int run(struct supervisor *s, int *ret_wait_status, struct ck_err *err)
{
	const struct engine_restore_opts *o = s->r->opts;
	int rc = wait_running(s, err);

	if (rc < 0)
		return rc;
	if (s->r->strategy == ENGINE_INPLACE) {
		reap(s->trunk);
		reap_tops(s, false);
	}
	s->root = pid_of(s->pidfd);
	if (s->r->strategy == ENGINE_INPLACE)
		s->root = (pid_t)s->r->tasks[0].ps->pid;
	tell_running(s);
	if (o->flags & ENGINE_DETACH)
		return 0;
	engine_stage(&o->watch, "stand");
	check_root(s);
	wait_end(s);
	*ret_wait_status = s->status;
	return 0;
}

int engine_supervise(struct engine_restore *r, pid_t trunk, int sock, uint64_t start,
		     int *ret_wait_status, struct ck_err *err)
{
	struct supervisor s = {
		.r = r, .trunk = trunk, .sock = sock, .pidfd = -EBADF, .start = start
	};
	sigset_t all;
	int rc;

	sigfillset(&all);
	s.signals = signalfd(-1, &all, SFD_CLOEXEC);
	if (s.signals < 0) {
		rc = ck_fail_errno(err, "cannot watch for signals");
		give_up(&s);
		return rc;
	}
	rc = run(&s, ret_wait_status, err);
	close(s.signals);
	if (s.pidfd >= 0)
		close(s.pidfd);
	return rc;
}
