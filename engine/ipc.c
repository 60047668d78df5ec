// SPDX-License-Identifier: Apache-2.0
/*
 * System V IPC of a job that is being dumped, and the way into its IPC namespace.
 *
 * A segment that is attached shows in the mappings of the tasks, and counts them: whoever else has
 * it attached is found out. Semaphores and queues belong to nobody. The kernel tells who used each
 * last and when it was made: the job's are those that one of its processes used last, and those of
 * its user that came into being since it began and that nobody else alive has used last. One too
 * many does no harm, since at a restore all of them are made in a namespace of their own.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/pidfd.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/pb.h"
#include "engine/dump.h"
#include "image/format.h"
#include "image/ipc.pb-c.h"

/* Linux 4.17, uapi/linux/{shm,sem,msg}.h */
enum {
	STAT_ANY_SHM = 15,
	STAT_ANY_SEM = 20,
	STAT_ANY_MSG = 13,
	STACK = 256 * 1024,
};

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

/* ---- the namespace ---- */

struct visit {
	int pidfd, result;
	int (*fn)(void *arg);
	void *arg;
};

/* Its user namespace gives the right to enter the other, to whoever made it. */
static int visit_main(void *arg)
{
	struct visit *v = arg;

	if (setns(v->pidfd, CLONE_NEWIPC) == 0 ||
	    (errno == EPERM && setns(v->pidfd, CLONE_NEWUSER | CLONE_NEWIPC) == 0))
		v->result = v->fn(v->arg);
	else
		v->result = -errno;
	_exit(0);
}

/* A child that shares memory and descriptors with us goes there and calls fn; what it attaches is
 * ours. We stand still meanwhile. */
int engine_in_ipc(const struct engine_dump *d, int (*fn)(void *arg), void *arg)
{
	struct visit v = { .result = -EIO, .fn = fn, .arg = arg };
	CK_AUTO(free) char *stack = NULL;
	pid_t pid;

	if (!d->other_ipc)
		return fn(arg);
	stack = malloc(STACK);
	v.pidfd = (int)syscall(SYS_pidfd_open, d->tasks[0]->pid, 0);
	if (!stack || v.pidfd < 0)
		return stack ? -errno : -ENOMEM;
	pid = clone(visit_main, stack + STACK, CLONE_VM | CLONE_VFORK | CLONE_FILES, &v);
	if (pid < 0)
		v.result = -errno;
	else
		waitpid(pid, NULL, __WALL);
	close(v.pidfd);
	return v.result;
}

/* ---- whose it is ---- */

struct gather {
	struct engine_dump *d;
	CkptIpc *ipc;
	time_t since; /* when the job began */
	struct ck_err *err;
};

static bool is_of_job(const struct gather *g, pid_t pid)
{
	for (size_t i = 0; i < g->d->n_tasks; i++)
		if (g->d->tasks[i]->pid == pid)
			return true;
	return false;
}

/* The job's parent may have restored it, and is no user of what it made. */
static bool is_other(const struct gather *g, pid_t pid)
{
	return pid > 0 && !is_of_job(g, pid) && pid != g->d->tasks[0]->stat.ppid &&
	       (kill(pid, 0) == 0 || errno == EPERM);
}

/* 1 or 0; or refuses what is used by others, too. pids: who used it last. */
static int belongs(const struct gather *g, const struct ipc_perm *perm, time_t since,
		   const pid_t *pids, size_t n, const char *what)
{
	pid_t other = 0;
	bool ours = false;
	int r;

	for (size_t i = 0; i < n; i++) {
		ours = ours || is_of_job(g, pids[i]);
		other = is_other(g, pids[i]) ? pids[i] : other;
	}
	if (ours && other) {
		r = ck_fail(g->err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump %s with the key %#x, which process %d uses, too", what,
			    (unsigned int)perm->__key, (int)other);
		return ck_err_hint(g->err, r, "what the job shares with others can't be kept");
	}
	return ours ||
	       (!other && (g->d->other_ipc ||
			   (perm->cuid == g->d->tasks[0]->status.uid[1] && since >= g->since)));
}

static CkptIpcPerm *make_perm(int id, const struct ipc_perm *p)
{
	CkptIpcPerm *e = CK_PB_NEW(CkptIpcPerm, ckpt_ipc_perm);

	if (!e)
		return NULL;
	e->id = (uint32_t)id;
	e->key = (uint32_t)p->__key;
	e->uid = p->uid;
	e->gid = p->gid;
	e->mode = p->mode & 0777u;
	return e;
}

static int no_memory(const struct gather *g)
{
	return ck_fail(g->err, CK_ERR_SYS, -ENOMEM, "cannot list System V IPC");
}

/* ---- shared memory ---- */

static const struct proc_map *first_map(const struct gather *g, int id, size_t *ret_n)
{
	const struct proc_map *first = NULL;

	*ret_n = 0;
	for (size_t i = 0; i < g->d->n_tasks; i++)
		for (size_t k = 0; k < g->d->tasks[i]->maps.n; k++) {
			const struct proc_map *m = &g->d->tasks[i]->maps.m[k];

			if (!(engine_map_status(m) & IMAGE_VMA_SYSVIPC) || m->inode != (uint64_t)id)
				continue;
			first = first ? first : m;
			++*ret_n;
		}
	return first;
}

static int add_shm(struct gather *g, int id, const struct shmid_ds *ds)
{
	size_t attached;
	const struct proc_map *m = first_map(g, id, &attached);
	CkptIpcShm *e;
	int r = 0;

	/* The number of who made it may have been somebody else's before. */
	if (!m && !ds->shm_nattch &&
	    ((is_of_job(g, ds->shm_cpid) && ds->shm_ctime >= g->since) || g->d->other_ipc))
		r = ck_fail(g->err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump shared memory segment %d, which nobody has attached", id);
	else if (m && ds->shm_nattch > attached)
		r = ck_fail(g->err, CK_ERR_REFUSED, -EOPNOTSUPP,
			    "cannot dump shared memory segment %d, which others have attached, too",
			    id);
	if (r < 0 || !m)
		return r;
	e = CK_PB_NEW(CkptIpcShm, ckpt_ipc_shm);
	if (!e || ck_pb_append(&g->ipc->shm, &g->ipc->n_shm, e) < 0) {
		free(e);
		return no_memory(g);
	}
	e->size = ds->shm_segsz;
	e->perm = make_perm(id, &ds->shm_perm);
	if (!e->perm)
		return no_memory(g);
	e->has_removed = e->removed = (ds->shm_perm.mode & SHM_DEST) != 0;
	/* One that was removed has lost its key, but bears it in its name. */
	e->perm->key = (uint32_t)strtoul(m->name + strlen("/SYSV"), NULL, 16);
	return 0;
}

static int gather_shm(struct gather *g)
{
	struct shm_info info;
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info), r = 0;

	for (int i = 0; i <= last && r == 0; i++) {
		struct shmid_ds ds;
		int id = shmctl(i, STAT_ANY_SHM, &ds);

		if (id >= 0)
			r = add_shm(g, id, &ds);
	}
	return r;
}

/* ---- semaphores ---- */

static int put_sem(struct gather *g, int id, const struct semid_ds *ds)
{
	CK_AUTO(free) unsigned short *v = calloc(ds->sem_nsems + 1, sizeof(*v));
	CkptIpcSem *e = CK_PB_NEW(CkptIpcSem, ckpt_ipc_sem);
	union semun arg = { .array = v };

	if (!v || !e || ck_pb_append(&g->ipc->sem, &g->ipc->n_sem, e) < 0) {
		free(e);
		return no_memory(g);
	}
	e->perm = make_perm(id, &ds->sem_perm);
	e->values = calloc(ds->sem_nsems + 1, sizeof(*e->values));
	if (!e->perm || !e->values)
		return no_memory(g);
	if (semctl(id, 0, GETALL, arg) < 0)
		return ck_fail_errno(g->err, "cannot read semaphores %d", id);
	for (; e->n_values < ds->sem_nsems; e->n_values++)
		e->values[e->n_values] = v[e->n_values];
	return 0;
}

static int add_sem(struct gather *g, int id, const struct semid_ds *ds)
{
	CK_AUTO(free) pid_t *pids = calloc(ds->sem_nsems + 1, sizeof(*pids));
	int r;

	if (!pids)
		return no_memory(g);
	/* What may not be read is not ours either. */
	for (size_t i = 0; i < ds->sem_nsems; i++) {
		pids[i] = semctl(id, (int)i, GETPID);
		if (pids[i] < 0)
			return 0;
	}
	r = belongs(g, &ds->sem_perm, ds->sem_ctime, pids, ds->sem_nsems, "semaphores");
	return r <= 0 ? r : put_sem(g, id, ds);
}

static int gather_sem(struct gather *g)
{
	struct seminfo info;
	int last = semctl(0, 0, SEM_INFO, (union semun){ .info = &info }), r = 0;

	for (int i = 0; i <= last && r == 0; i++) {
		struct semid_ds ds = { 0 };
		int id = semctl(i, 0, STAT_ANY_SEM, (union semun){ .buf = &ds });

		if (id >= 0)
			r = add_sem(g, id, &ds);
	}
	return r;
}

/* ---- message queues ---- */

/* MSG_COPY leaves the message where it is; n counts from the oldest. */
static int put_text(struct gather *g, CkptIpcQueue *q, int id, long n, size_t room)
{
	CK_AUTO(free) struct msgbuf *buf = malloc(sizeof(*buf) + room);
	CkptIpcText *e = CK_PB_NEW(CkptIpcText, ckpt_ipc_text);
	ssize_t len;

	if (!buf || !e || ck_pb_append(&q->texts, &q->n_texts, e) < 0) {
		free(e);
		return no_memory(g);
	}
	len = msgrcv(id, buf, room, n, MSG_COPY | IPC_NOWAIT);
	if (len < 0)
		return ck_fail_errno(g->err, "cannot read message %ld of queue %d", n, id);
	e->type = buf->mtype;
	e->data.data = malloc((size_t)len + 1);
	if (!e->data.data)
		return no_memory(g);
	memcpy(e->data.data, buf->mtext, (size_t)len);
	e->data.len = (size_t)len;
	return 0;
}

static int add_queue(struct gather *g, int id, const struct msqid_ds *ds)
{
	const pid_t pids[2] = { ds->msg_lspid, ds->msg_lrpid };
	CkptIpcQueue *q;
	int r = belongs(g, &ds->msg_perm, ds->msg_ctime, pids, 2, "a message queue");

	if (r <= 0)
		return r;
	q = CK_PB_NEW(CkptIpcQueue, ckpt_ipc_queue);
	if (!q || ck_pb_append(&g->ipc->queue, &g->ipc->n_queue, q) < 0) {
		free(q);
		return no_memory(g);
	}
	q->qbytes = ds->msg_qbytes;
	q->perm = make_perm(id, &ds->msg_perm);
	if (!q->perm)
		return no_memory(g);
	for (r = 0; q->n_texts < ds->msg_qnum && r == 0;)
		r = put_text(g, q, id, (long)q->n_texts, ds->__msg_cbytes);
	return r;
}

static int gather_queues(struct gather *g)
{
	struct msginfo info;
	int last = msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&info), r = 0;

	for (int i = 0; i <= last && r == 0; i++) {
		struct msqid_ds ds;
		int id = msgctl(i, STAT_ANY_MSG, &ds);

		if (id >= 0)
			r = add_queue(g, id, &ds);
	}
	return r;
}

/* ---- all of it ---- */

static int gather(void *arg)
{
	struct gather *g = arg;
	int r = gather_shm(g);

	if (r == 0)
		r = gather_sem(g);
	return r == 0 ? gather_queues(g) : r;
}

/* A second early, for both are cut to whole ones. */
static time_t began(const struct engine_task *t)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return time(NULL) - now.tv_sec +
	       (time_t)(t->stat.start_time / (uint64_t)sysconf(_SC_CLK_TCK)) - 1;
}

int engine_look_ipc(struct engine_dump *d, struct ck_err *err)
{
	struct ck_err own = CK_ERR_INIT;
	struct gather g = { .d = d, .since = began(d->tasks[0]), .err = &own };
	int r;

	if (d->ipc) /* it is tried again */
		ckpt_ipc__free_unpacked(d->ipc, NULL);
	g.ipc = d->ipc = CK_PB_NEW(CkptIpc, ckpt_ipc);
	if (!g.ipc)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list System V IPC");
	r = engine_in_ipc(d, gather, &g);
	if (r < 0 && own.kind != CK_ERR_NONE && err)
		*err = own;
	else if (r < 0) {
		r = ck_fail(err, CK_ERR_PERM, r, "cannot enter the job's IPC namespace");
		ck_err_hint(err, r, "run ckpt inside the container: nsenter -i -t %d",
			    (int)d->tasks[0]->pid);
	}
	if (r == 0 && g.ipc->n_shm + g.ipc->n_sem + g.ipc->n_queue == 0) {
		ckpt_ipc__free_unpacked(g.ipc, NULL);
		d->ipc = NULL;
	}
	return r;
}

/* When shared memory has its numbers. */
int engine_write_ipc(struct engine_dump *d, struct ck_err *err)
{
	const struct gather g = { .d = d };
	size_t n;

	if (!d->ipc)
		return 0;
	for (size_t i = 0; i < d->ipc->n_shm; i++) {
		CkptIpcShm *e = d->ipc->shm[i];

		e->object = engine_shmem_id(d, first_map(&g, (int)e->perm->id, &n));
	}
	return image_write_one(d->images, IMAGE_CKPT_IPC, 0, &d->ipc->base, err);
}
