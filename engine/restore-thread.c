// SPDX-License-Identifier: Apache-2.0
/*
 * The plan of what each thread has of its own: the places it gave to the kernel, its name,
 * scheduling, credentials, pending signals. Every thread executes its part itself. Registers and
 * the signal mask are set by the tracer at the very end.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/restore.h"
#include "image/format.h"

#define SECBIT_NO_FIXUP 4u /* SECBIT_NO_SETUID_FIXUP */
#define SECBIT_KEEP 16u    /* SECBIT_KEEP_CAPS */
#define IOPRIO_WHO_PROCESS 1
#define CPUS_MAX 8192
#define SAS_AUTODISARM 0x80000000u
#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#endif

static void plan_places(const CoreEntry *c, struct script *s)
{
	const ThreadCoreEntry *tc = c->thread_core;
	stack_t sas = { .ss_flags = SS_DISABLE };

	script_syscall(s, SCRIPT_OK, SYS_set_tid_address, c->thread_info->clear_tid_addr, 0, 0, 0,
		       0, 0, "set the child-tid address");
	if (tc->futex_rla)
		script_syscall(s, SCRIPT_OK, SYS_set_robust_list, tc->futex_rla, tc->futex_rla_len,
			       0, 0, 0, 0, "set the robust futex list");
	if (tc->rseq_entry && tc->rseq_entry->rseq_abi_pointer)
		script_syscall(s, SCRIPT_OK, SYS_rseq, tc->rseq_entry->rseq_abi_pointer,
			       tc->rseq_entry->rseq_abi_size, 0, tc->rseq_entry->signature, 0, 0,
			       "register the rseq area");
	if (tc->sas && tc->sas->ss_size && !(tc->sas->ss_flags & SS_DISABLE)) {
		sas.ss_sp = (void *)(uintptr_t)tc->sas->ss_sp;
		sas.ss_size = tc->sas->ss_size;
		sas.ss_flags = (int)(tc->sas->ss_flags & SAS_AUTODISARM);
	}
	script_syscall(s, SCRIPT_OK, SYS_sigaltstack, script_data(s, &sas, sizeof(sas)), 0, 0, 0, 0,
		       0, "set the alternate signal stack");
}

void engine_plan_name(const char *name, struct script *s)
{
	char comm[16] = { 0 };

	memccpy(comm, name, 0, sizeof(comm) - 1);
	script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_NAME, script_data(s, comm, sizeof(comm)), 0,
		       0, 0, 0, "set the thread's name");
}

/* Without those that this host lacks; if it has none of them, the thread runs where we may. */
static void plan_cpus(struct engine_restore *r, const ThreadCoreEntry *tc, struct script *s)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	for (size_t i = 0; i < tc->cpus.len * 8; i++)
		if ((tc->cpus.data[i / 8] >> i % 8 & 1) && (long)i >= n)
			engine_note(r, "the job is bound to CPUs that this host does not have");
	script_syscall(s, SCRIPT_DEGRADED, SYS_sched_setaffinity, 0, tc->cpus.len,
		       script_data(s, tc->cpus.data, tc->cpus.len), 0, 0, 0,
		       "bind the thread to its CPUs");
}

/* Getting less of the CPU is always allowed, more needs a privilege of the host. */
static void plan_sched(struct engine_restore *r, const ThreadCoreEntry *tc, struct script *s)
{
	struct sched_param p = { .sched_priority = (int)tc->sched_prio };
	uint32_t policy = tc->sched_policy |
			  (tc->has_reset_on_fork && tc->reset_on_fork ? SCHED_RESET_ON_FORK : 0);

	if (tc->has_sched_policy && (policy || (uint32_t)sched_getscheduler(0) != policy))
		script_syscall(s, SCRIPT_DEGRADED, SYS_sched_setscheduler, 0, policy,
			       script_data(s, &p, sizeof(p)), 0, 0, 0, "set scheduling policy %u",
			       tc->sched_policy);
	if (tc->has_cpus && tc->cpus.len && tc->cpus.len <= CPUS_MAX / 8)
		plan_cpus(r, tc, s);
	if (tc->has_ioprio)
		script_syscall(s, SCRIPT_DEGRADED, SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
			       tc->ioprio, 0, 0, 0, "set I/O priority %#x", tc->ioprio);
	if (tc->has_mempolicy && tc->n_nodes)
		script_syscall(s, SCRIPT_DEGRADED, SYS_set_mempolicy, tc->mempolicy,
			       script_data(s, tc->nodes, tc->n_nodes * sizeof(tc->nodes[0])),
			       tc->n_nodes * 64 + 1, 0, 0, 0, "set NUMA memory policy %#x",
			       tc->mempolicy);
	if (tc->has_sched_nice && tc->sched_nice != getpriority(PRIO_PROCESS, 0))
		script_syscall(s, SCRIPT_DEGRADED, SYS_setpriority, PRIO_PROCESS, 0,
			       (uint64_t)(int64_t)tc->sched_nice, 0, 0, 0, "set nice value %d",
			       tc->sched_nice);
}

/* prctl(2)'s, as far as they are not the kernel's default. */
static void plan_settings(const ThreadCoreEntry *tc, struct script *s)
{
	if (tc->has_tsc)
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_TSC, tc->tsc, 0, 0, 0, 0,
			       "set PR_SET_TSC");
	if (tc->has_mce_kill)
		script_syscall(s, SCRIPT_DEGRADED, SYS_prctl, PR_MCE_KILL, PR_MCE_KILL_SET,
			       tc->mce_kill, 0, 0, 0, "set PR_MCE_KILL");
	for (size_t i = 0; i < tc->n_speculation; i++)
		if (tc->speculation[i] & ~(uint32_t)PR_SPEC_ENABLE)
			script_syscall(s, SCRIPT_DEGRADED, SYS_prctl, PR_SET_SPECULATION_CTRL, i,
				       tc->speculation[i], 0, 0, 0,
				       "set PR_SET_SPECULATION_CTRL %zu", i);
}

/* ---- credentials ---- */

static uint64_t caps_of(const uint32_t *words, size_t n)
{
	return n >= IMAGE_CAP_WORDS ? words[0] | (uint64_t)words[1] << 32 : n ? words[0] : 0;
}

static bool has(uint64_t caps, unsigned int cap)
{
	return caps >> cap & 1;
}

static bool ids_differ(const struct engine_restore *r, const CredsEntry *c)
{
	uint32_t u = r->rights.uid, g = r->rights.gid;

	return c->uid != u || c->euid != u || c->suid != u || c->fsuid != u || c->gid != g ||
	       c->egid != g || c->sgid != g || c->fsgid != g;
}

/* Those that every task inherits from us. To set the same ones again may be forbidden, in a user
 * namespace that was made without privilege (kernel/user_namespace.c:userns_may_setgroups()). */
static bool has_groups(const CredsEntry *c)
{
	int n = getgroups(0, NULL);
	CK_AUTO(free) gid_t *own = calloc((size_t)(n > 0 ? n : 0) + 1, sizeof(*own));

	if (n < 0 || !own || c->n_groups != (size_t)n || getgroups(n, own) != n)
		return false;
	for (size_t i = 0; i < c->n_groups; i++)
		if (c->groups[i] != own[i])
			return false;
	return true;
}

static int plan_ids(struct engine_restore *r, const CredsEntry *c, struct script *s,
		    struct ck_err *err)
{
	uint64_t may = r->rights.permitted;

	if (r->rights.userns)
		return 0; /* the namespace has just the one id */
	if (!has(may, CAP_SETUID) || !has(may, CAP_SETGID)) {
		if (!ids_differ(r, c))
			return 0;
		return ck_err_hint(err,
				   ck_fail(err, CK_ERR_PERM, -EPERM,
					   "cannot restore a job of user %u", c->uid),
				   "restore it as that user, or as root");
	}
	if (!has_groups(c))
		script_syscall(s, SCRIPT_OK, SYS_setgroups, c->n_groups,
			       script_data(s, c->groups, c->n_groups * sizeof(c->groups[0])), 0, 0,
			       0, 0, "set supplementary groups");
	script_syscall(s, SCRIPT_OK, SYS_setresgid, c->gid, c->egid, c->sgid, 0, 0, 0,
		       "set group ids %u %u %u", c->gid, c->egid, c->sgid);
	script_syscall(s, SCRIPT_ANY, SYS_setfsgid, c->fsgid, 0, 0, 0, 0, 0, "set fsgid");
	script_syscall(s, SCRIPT_OK, SYS_setresuid, c->uid, c->euid, c->suid, 0, 0, 0,
		       "set user ids %u %u %u", c->uid, c->euid, c->suid);
	script_syscall(s, SCRIPT_ANY, SYS_setfsuid, c->fsuid, 0, 0, 0, 0, 0, "set fsuid");
	return 0;
}

static void plan_capset(struct engine_restore *r, const CredsEntry *c, struct script *s)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint64_t may = r->rights.permitted;
	uint64_t prm = caps_of(c->cap_prm, c->n_cap_prm) & may;
	uint64_t eff = caps_of(c->cap_eff, c->n_cap_eff) & prm;
	uint64_t inheritable = caps_of(c->cap_inh, c->n_cap_inh) & may;

	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(prm >> (32 * i));
		data[i].effective = (uint32_t)(eff >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	script_syscall(s, SCRIPT_OK, SYS_capset, script_data(s, &head, sizeof(head)),
		       script_data(s, data, sizeof(data)), 0, 0, 0, 0, "set capabilities");
	for (unsigned int cap = 0; cap < 64; cap++)
		if (has(caps_of(c->cap_amb, c->n_cap_amb) & prm & inheritable, cap))
			script_syscall(s, SCRIPT_OK, SYS_prctl, PR_CAP_AMBIENT,
				       PR_CAP_AMBIENT_RAISE, cap, 0, 0, 0,
				       "raise ambient capability %u", cap);
}

/* Without the privilege, one of the bits can be set all the same. */
static void plan_secbits(struct engine_restore *r, const CredsEntry *c, struct script *s)
{
	if (c->secbits & ~SECBIT_KEEP)
		engine_note(r, "the job had securebits (%#x) that it can't have here", c->secbits);
	if (c->secbits & SECBIT_KEEP)
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0, 0,
			       "set PR_SET_KEEPCAPS");
}

/*
 * In a user namespace of its own a job has what it had, of what the namespace gives: an ordinary
 * user's job nothing, and nothing to get it back with. The bounding set of such a job was the
 * host's, and means nothing here.
 */
static int plan_creds(struct engine_restore *r, const CredsEntry *c, struct script *s,
		      struct ck_err *err)
{
	uint64_t may = r->rights.permitted, prm = caps_of(c->cap_prm, c->n_cap_prm);
	uint64_t bnd = r->rights.userns ? prm : caps_of(c->cap_bnd, c->n_cap_bnd);
	bool setpcap = has(may, CAP_SETPCAP);
	int rc;

	if (prm & ~may)
		engine_note(r, "the job had capabilities (%#llx) that it can't have here",
			    (unsigned long long)(prm & ~may));
	if (setpcap)
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_FIXUP, 0, 0, 0,
			       0, "set securebits");
	rc = plan_ids(r, c, s, err);
	if (rc < 0)
		return rc;
	for (unsigned int cap = 0; setpcap && cap < 64; cap++)
		if (has(r->rights.bounding & ~bnd, cap))
			script_syscall(s, SCRIPT_OK, SYS_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0, 0,
				       "drop capability %u from the bounding set", cap);
	if (setpcap)
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_SECUREBITS, c->secbits, 0, 0, 0, 0,
			       "set securebits %#x", c->secbits);
	else
		plan_secbits(r, c, s);
	plan_capset(r, c, s);
	if (c->has_no_new_privs && c->no_new_privs)
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0,
			       "set no_new_privs");
	return 0;
}

/* ---- a leader that has ended ---- */

static void plan_end(const struct engine_rtask *t, struct script *s)
{
	uint64_t a[6] = { t->core[0]->tc->exit_code >> 8 & 0xff };

	script_op(s, PIE_LEAVE, SCRIPT_OK, 0, a, "end");
}

static void plan_await_end(const struct engine_rtask *t, struct script *s)
{
	uint64_t a[6] = { script_slot(t->script) };

	script_op(s, PIE_AWAIT_LEFT, SCRIPT_OK, 0, a, "wait for the end of the first thread of %u",
		  t->ps->pid);
}

/* The end of the thread that made it would send the signal. */
static void plan_pdeath(const struct engine_rtask *t, const ThreadCoreEntry *tc, struct script *s)
{
	if (tc->has_pdeath_sig && tc->pdeath_sig && t->parent && t->parent->ended)
		plan_await_end(t->parent, s);
	script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_PDEATHSIG,
		       tc->has_pdeath_sig ? tc->pdeath_sig : 0, 0, 0, 0, 0,
		       "set the parent-death signal");
}

/* ---- in order ---- */

int engine_plan_thread(struct engine_restore *r, struct engine_rtask *t, size_t i, struct script *s,
		       uint64_t creds_done, struct ck_err *err)
{
	const CoreEntry *c = t->core[i];
	const ThreadCoreEntry *tc = c->thread_core;
	uint64_t a[6] = { creds_done };
	bool ended = t->ended && i == 0;
	int rc = 0;

	if (!ended)
		plan_places(c, s);
	engine_plan_name(tc->comm ? tc->comm : t->core[0]->tc->comm, s);
	plan_sched(r, tc, s);
	plan_settings(tc, s);
	if (tc->has_timerslack)
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_TIMERSLACK, tc->timerslack, 0, 0, 0,
			       0, "set the timer slack");
	if (tc->creds)
		rc = plan_creds(r, tc->creds, s, err);
	if (rc < 0)
		return rc;
	/* A change of ids makes the whole address space undumpable, whichever thread it is. */
	if (creds_done)
		script_op(s, PIE_BARRIER, SCRIPT_OK, 0, a, "wait for the other threads");
	if (i == 0 && !t->kin[ENGINE_KIN_VM] && t->mm->has_dumpable &&
	    (t->mm->dumpable == 0 || t->mm->dumpable == 1))
		script_syscall(s, SCRIPT_OK, SYS_prctl, PR_SET_DUMPABLE, (uint64_t)t->mm->dumpable,
			       0, 0, 0, 0, "set dumpable");
	if (ended) {
		plan_end(t, s);
		return 0;
	}
	plan_pdeath(t, tc, s);
	rc = engine_plan_pending(s, tc->signals_p, (pid_t)t->ps->pid, (pid_t)t->ps->threads[i],
				 err);
	/* Where it ends is memory that goes away when all have arrived. */
	if (t->ended && i == 1)
		plan_await_end(t, s);
	if (rc == 0) {
		memset(a, 0, sizeof(a));
		script_op(s, PIE_ARRIVE, SCRIPT_OK, 0, a, "arrive");
	}
	return rc;
}
