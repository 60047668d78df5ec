// SPDX-License-Identifier: Apache-2.0
/*
 * System V IPC: two processes that take turns by semaphores, count in shared memory (one segment
 * with a key, one that is removed already) and exchange messages, some of which nobody takes until
 * the end. Numbers, keys, permissions and contents are looked at all the time.
 */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "job.h"

enum { SIZE = 3 * 4096 + 100, TEXTS = 20 };

struct text {
	long type;
	uint64_t n;
};

static int shm_id, gone_id, sem_id, msg_id;
static key_t key;
static uint64_t *shared, *again, *gone;

static void sem(int i, int by)
{
	struct sembuf op = { (unsigned short)i, (short)by, 0 };

	CHECK(!semop(sem_id, &op, 1));
}

static void check(void)
{
	struct shmid_ds shm;
	struct msqid_ds msg;

	CHECK(shmget(key, 0, 0) == shm_id && semget(key, 0, 0) == sem_id &&
	      msgget(key, 0) == msg_id);
	CHECK(!shmctl(shm_id, IPC_STAT, &shm) && shm.shm_segsz == SIZE && shm.shm_nattch == 4);
	CHECK((shm.shm_perm.mode & 0777) == 0640);
	CHECK(!shmctl(gone_id, IPC_STAT, &shm) && shm.shm_nattch == 2);
	CHECK(shm.shm_perm.mode & SHM_DEST);
	CHECK(semctl(sem_id, 2, GETVAL) == 12345);
	CHECK(!msgctl(msg_id, IPC_STAT, &msg) && msg.msg_qnum >= TEXTS);
	CHECK((msg.msg_perm.mode & 0777) == 0600);
}

static void begin(void)
{
	FILE *f = fopen("sysv.ids", "w");
	struct text t = { .type = 7 };

	key = 0x434b0000 + getpid() % 65536;
	shm_id = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0640);
	gone_id = shmget(IPC_PRIVATE, 1 << 20, 0600);
	sem_id = semget(key, 3, IPC_CREAT | IPC_EXCL | 0600);
	msg_id = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
	CHECK(f && shm_id >= 0 && gone_id >= 0 && sem_id >= 0 && msg_id >= 0);
	CHECK(fprintf(f, "-m %d -s %d -q %d\n", shm_id, sem_id, msg_id) > 0 && !fclose(f));
	shared = shmat(shm_id, NULL, 0);
	again = shmat(shm_id, NULL, 0);
	gone = shmat(gone_id, NULL, 0);
	CHECK(shared != (void *)-1 && again != (void *)-1 && gone != (void *)-1);
	CHECK(!shmctl(gone_id, IPC_RMID, NULL));
	CHECK(!semctl(sem_id, 2, SETVAL, 12345));
	for (t.n = 0; t.n < TEXTS; t.n++)
		CHECK(!msgsnd(msg_id, &t, sizeof(t.n), 0));
}

static void child(void)
{
	struct text t;

	for (;;) {
		sem(0, -1);
		if (!shared[1])
			_exit(6);
		CHECK(again[0] == gone[100] && shared[SIZE / 8] == again[0]);
		CHECK(msgrcv(msg_id, &t, sizeof(t.n), 1, 0) == sizeof(t.n) && t.n == again[0]);
		shared[0]++;
		t.type = 2;
		t.n++;
		CHECK(!msgsnd(msg_id, &t, sizeof(t.n), 0));
		sem(1, 1);
	}
}

static void turn(uint64_t n)
{
	struct text t = { .type = 1, .n = n };

	shared[0] = gone[100] = shared[SIZE / 8] = n;
	CHECK(!msgsnd(msg_id, &t, sizeof(t.n), 0));
	sem(0, 1);
	sem(1, -1);
	CHECK(msgrcv(msg_id, &t, sizeof(t.n), 2, 0) == sizeof(t.n) && t.n == n + 1);
	CHECK(again[0] == n + 1);
}

int main(void)
{
	uint64_t x = 4;
	struct text t;
	int st;
	pid_t pid;

	begin();
	shared[1] = 1;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child();
	job_begin(3000);
	while (job_more()) {
		x = job_chain(x, 80000);
		turn(x);
		check();
	}
	shared[1] = 0;
	sem(0, 1);
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 6);
	for (uint64_t i = 0; i < TEXTS; i++)
		CHECK(msgrcv(msg_id, &t, sizeof(t.n), 7, IPC_NOWAIT) == sizeof(t.n) && t.n == i);
	CHECK(!shmctl(shm_id, IPC_RMID, NULL) && !semctl(sem_id, 0, IPC_RMID));
	CHECK(!msgctl(msg_id, IPC_RMID, NULL) && !shmdt(shared) && !shmdt(again) && !shmdt(gone));
	CHECK(shmget(key, 0, 0) == -1 && errno == ENOENT);
	return job_end("sysv", x);
}
