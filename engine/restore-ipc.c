// SPDX-License-Identifier: Apache-2.0
/*
 * System V IPC of a job that is being restored: read from the image, and made anew, with the old
 * numbers, in an IPC namespace in which nothing else is. Attached segments are parked like other
 * shared memory, engine/restore-share.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/restore.h"
#include "image/format.h"
#include "image/ipc.pb-c.h"

enum {
	MAX_SEMS = 1 << 16,
	MAX_SEM_VALUE = 32767,
};

#define MAX_SHM (1ull << 46)
#define PAGE_UP(n) (((n) + IMAGE_PAGE_SIZE - 1) / IMAGE_PAGE_SIZE * IMAGE_PAGE_SIZE)

/* ---- what the image says ---- */

static int check_perm(const CkptIpcPerm *p, struct ck_err *err)
{
	if (p->id > INT32_MAX || p->mode > 0777)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL, "System V IPC object %u makes no sense",
			       p->id);
	return 0;
}

static int check_sem(const CkptIpcSem *e, struct ck_err *err)
{
	int rc = check_perm(e->perm, err);
	bool good = e->n_values > 0 && e->n_values <= MAX_SEMS;

	for (size_t i = 0; i < e->n_values; i++)
		good = good && e->values[i] <= MAX_SEM_VALUE;
	if (rc == 0 && !good)
		rc = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "semaphores %u make no sense",
			     e->perm->id);
	return rc;
}

static int check_queue(const CkptIpcQueue *e, struct ck_err *err)
{
	int rc = check_perm(e->perm, err);

	for (size_t i = 0; i < e->n_texts && rc == 0; i++)
		if (e->texts[i]->type <= 0)
			rc = ck_fail(err, CK_ERR_IMAGE, -EINVAL, "message queue %u makes no sense",
				     e->perm->id);
	return rc;
}

static int join_shm(struct engine_restore *r, const CkptIpcShm *e, struct ck_err *err)
{
	struct engine_rshm *shm = NULL;
	int rc = check_perm(e->perm, err);

	for (size_t i = 0; i < r->n_shm; i++)
		if (r->shm[i].id == e->object)
			shm = &r->shm[i];
	if (rc < 0)
		return rc;
	if (!shm || shm->sysv || e->size > MAX_SHM || PAGE_UP(e->size) < shm->size)
		return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "System V shared memory %u makes no sense", e->perm->id);
	shm->sysv = e;
	shm->size = PAGE_UP(e->size);
	return 0;
}

/* Every mapping of such memory must be of a segment. */
static int check_maps(const struct engine_restore *r, struct ck_err *err)
{
	for (size_t i = 0; i < r->n_tasks; i++)
		for (size_t k = 0; r->tasks[i].mm && k < r->tasks[i].mm->n_vmas; k++) {
			const VmaEntry *v = r->tasks[i].mm->vmas[k];
			bool found = !(v->status & IMAGE_VMA_SYSVIPC);

			for (size_t m = 0; m < r->n_shm && !found; m++)
				found = r->shm[m].id == v->shmid && r->shm[m].sysv;
			if (!found)
				return ck_fail(err, CK_ERR_IMAGE, -EINVAL,
					       "cannot find the System V shared memory at %llx",
					       (unsigned long long)v->start);
		}
	return 0;
}

int engine_load_ipc(struct engine_restore *r, struct ck_err *err)
{
	ProtobufCMessage *m = NULL;
	int rc = image_read_one(r->image, IMAGE_CKPT_IPC, 0, &m, err);

	if (rc == -ENOENT)
		return check_maps(r, err);
	if (rc < 0)
		return rc;
	r->ipc = (CkptIpc *)m;
	for (size_t i = 0; i < r->ipc->n_shm && rc == 0; i++)
		rc = join_shm(r, r->ipc->shm[i], err);
	for (size_t i = 0; i < r->ipc->n_sem && rc == 0; i++)
		rc = check_sem(r->ipc->sem[i], err);
	for (size_t i = 0; i < r->ipc->n_queue && rc == 0; i++)
		rc = check_queue(r->ipc->queue[i], err);
	return rc < 0 ? rc : check_maps(r, err);
}

/* ---- in the trunk ---- */

/* The next object of this kind ("shm", "sem", "msg") gets this number. */
static int choose_id(const char *kind, uint32_t id, struct ck_err *err)
{
	char path[64], text[16];
	CK_AUTO(fd) int fd = -EBADF;
	int rc;

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s_next_id", kind);
	snprintf(text, sizeof(text), "%u", id);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : ck_write_full(fd, text, strlen(text));
	if (rc == 0)
		return 0;
	rc = ck_fail(err, CK_ERR_HOST, rc, "cannot choose the number of a System V IPC object (%s)",
		     path);
	return ck_err_hint(
		err, rc,
		"the kernel must have CONFIG_CHECKPOINT_RESTORE, and /proc/sys be writable");
}

static int check_id(int got, const CkptIpcPerm *p, const char *what, struct ck_err *err)
{
	if (got < 0)
		return ck_fail_errno(err, "cannot make %s %u", what, p->id);
	if ((uint32_t)got != p->id)
		return ck_fail(err, CK_ERR_HOST, -EEXIST, "cannot have %s %u: the kernel gave %d",
			       what, p->id, got);
	return 0;
}

/* Whoever it cannot be given to stays with the user who restores. */
static int give_away(int rc, const CkptIpcPerm *p, const char *what, struct ck_err *err)
{
	return rc < 0 ? ck_fail_errno(err, "cannot give %s %u to user %u", what, p->id, p->uid) : 0;
}

int engine_attach_shm(const struct engine_rshm *shm, struct ck_err *err)
{
	const CkptIpcPerm *p = shm->sysv->perm;
	void *want = (void *)(uintptr_t)shm->addr;
	int rc = choose_id("shm", p->id, err), id;

	if (rc < 0)
		return rc;
	id = shmget((key_t)p->key, shm->sysv->size, IPC_CREAT | IPC_EXCL | 0600);
	rc = check_id(id, p, "shared memory", err);
	if (rc == 0 && shmat(id, want, 0) != want)
		rc = ck_fail_errno(err, "cannot attach shared memory %u", p->id);
	return rc;
}

/* When it is filled: who may have it, and for how long. */
int engine_finish_shm(const struct engine_rshm *shm, struct ck_err *err)
{
	const CkptIpcPerm *p = shm->sysv->perm;
	struct shmid_ds ds = { .shm_perm = { .uid = p->uid, .gid = p->gid } };
	int rc;

	ds.shm_perm.mode = (unsigned short)p->mode;
	rc = give_away(shmctl((int)p->id, IPC_SET, &ds), p, "shared memory", err);
	if (rc == 0 && shm->sysv->removed && shmctl((int)p->id, IPC_RMID, NULL) < 0)
		rc = ck_fail_errno(err, "cannot remove shared memory %u", p->id);
	return rc;
}

static int make_sem(const CkptIpcSem *e, struct ck_err *err)
{
	CK_AUTO(free) unsigned short *v = calloc(e->n_values, sizeof(*v));
	struct semid_ds ds = { .sem_perm = { .uid = e->perm->uid, .gid = e->perm->gid } };
	union {
		unsigned short *array;
		struct semid_ds *buf;
	} values = { .array = v }, set = { .buf = &ds };
	int rc = v ? choose_id("sem", e->perm->id, err)
		   : ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot make semaphores");

	if (rc == 0)
		rc = check_id(semget((key_t)e->perm->key, (int)e->n_values,
				     IPC_CREAT | IPC_EXCL | 0600),
			      e->perm, "semaphores", err);
	for (size_t i = 0; i < e->n_values && rc == 0; i++)
		v[i] = (unsigned short)e->values[i];
	if (rc == 0 && semctl((int)e->perm->id, 0, SETALL, values) < 0)
		rc = ck_fail_errno(err, "cannot set semaphores %u", e->perm->id);
	ds.sem_perm.mode = (unsigned short)e->perm->mode;
	if (rc == 0)
		rc = give_away(semctl((int)e->perm->id, 0, IPC_SET, set), e->perm, "semaphores",
			       err);
	return rc;
}

static int send_text(const CkptIpcQueue *q, const CkptIpcText *e, struct ck_err *err)
{
	CK_AUTO(free) struct msgbuf *buf = malloc(sizeof(*buf) + e->data.len);

	if (!buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot fill a message queue");
	buf->mtype = e->type;
	if (e->data.len)
		memcpy(buf->mtext, e->data.data, e->data.len);
	if (msgsnd((int)q->perm->id, buf, e->data.len, IPC_NOWAIT) < 0)
		return ck_fail_errno(err, "cannot put %zu bytes into message queue %u", e->data.len,
				     q->perm->id);
	return 0;
}

static int make_queue(const CkptIpcQueue *q, struct ck_err *err)
{
	struct msqid_ds ds;
	int rc = choose_id("msg", q->perm->id, err), id;

	if (rc < 0)
		return rc;
	id = msgget((key_t)q->perm->key, IPC_CREAT | IPC_EXCL | 0600);
	rc = check_id(id, q->perm, "message queue", err);
	if (rc == 0 && msgctl(id, IPC_STAT, &ds) < 0)
		rc = ck_fail_errno(err, "cannot look at message queue %u", q->perm->id);
	if (rc < 0)
		return rc;
	/* More than the limit of the namespace needs a privilege of the host. */
	if (q->qbytes != ds.msg_qbytes) {
		ds.msg_qbytes = q->qbytes;
		if (msgctl(id, IPC_SET, &ds) < 0)
			return ck_fail_errno(err, "cannot let message queue %u have %llu bytes",
					     q->perm->id, (unsigned long long)q->qbytes);
	}
	for (size_t i = 0; i < q->n_texts && rc == 0; i++)
		rc = send_text(q, q->texts[i], err);
	ds.msg_perm.uid = q->perm->uid;
	ds.msg_perm.gid = q->perm->gid;
	ds.msg_perm.mode = (unsigned short)q->perm->mode;
	return rc < 0 ? rc : give_away(msgctl(id, IPC_SET, &ds), q->perm, "message queue", err);
}

int engine_make_ipc(const struct engine_restore *r, struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 0; r->ipc && i < r->ipc->n_sem && rc == 0; i++)
		rc = make_sem(r->ipc->sem[i], err);
	for (size_t i = 0; r->ipc && i < r->ipc->n_queue && rc == 0; i++)
		rc = make_queue(r->ipc->queue[i], err);
	return rc;
}
