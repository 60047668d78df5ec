/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the suites of engine/res/: a small job that holds descriptors is made, dumped into an image
 * by res_look() and res_dump() alone, killed, and made again by res_load(), res_open() and scripts
 * that are executed here instead of in a blob. Memory is not restored: the job's checks are
 * functions of the test program, run in processes that have the restored descriptors and nothing
 * else.
 */
#ifndef CK_TESTS_RES_JOB_H
#define CK_TESTS_RES_JOB_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "engine/dump.h"
#include "engine/restore.h"
#include "image/inventory.pb-c.h"

enum { JOB_TASKS = 3, JOB_OPS = 256 };

/* What a test is: functions of the job, each called in task 0, 1, ... of it. */
struct job {
	int n_tasks; /* task 1 is the child of task 0, task 2 that of task 1 */
	unsigned int dump_flags, restore_flags;
	enum engine_outside away; /* what becomes of connections to outside */
	void (*make)(int task);   /* opens things; forks come after task's own make() */
	void (*outside)(void);    /* in the test itself, before the job is forked; may be NULL */
	void (*caller)(void);     /* in the process that restores, before res_open(); may be NULL */
	void (*verify)(int task); /* in the restored task */
};

/* Shared between the test, the job and the restored job. */
struct job_shared {
	char failure[512];
	int step;
	int let_go; /* the restoring process has none of the job's descriptors any more */
	pid_t pid[JOB_TASKS];
	long value[16];
};
static struct job_shared *shared;
static char job_dir[64]; /* a fresh directory for files of the test */
static struct ck_err job_err;

/* For code of the job, where Check's own macros have lost their pipe. */
#define JOB_CHECK(cond)                                                                            \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			snprintf(shared->failure, sizeof(shared->failure), "%s:%d: %s (errno %d)", \
				 __FILE__, __LINE__, #cond, errno);                                \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static inline void job_setup(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	snprintf(job_dir, sizeof(job_dir), "/tmp/t-res-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(job_dir));
}

static inline void job_teardown(void)
{
	char cmd[100];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", job_dir);
	ck_assert_int_eq(system(cmd), 0);
	munmap(shared, sizeof(*shared));
}

static inline const char *job_path(const char *name)
{
	static char path[4][128];
	static unsigned int next;
	char *p = path[next++ % 4];

	snprintf(p, 128, "%s/%s", job_dir, name);
	return p;
}

/* A file with these contents, open at number fd. */
static inline void job_open(int fd, const char *name, int flags, const char *contents)
{
	int w = open(job_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int got;

	JOB_CHECK(w >= 0);
	JOB_CHECK(write(w, contents, strlen(contents)) == (ssize_t)strlen(contents));
	close(w);
	got = open(job_path(name), flags);
	JOB_CHECK(got >= 0);
	if (got != fd) {
		JOB_CHECK(dup3(got, fd, flags & O_CLOEXEC) == fd);
		close(got);
	}
}

static inline void job_move(int from, int to)
{
	if (from == to)
		return;
	JOB_CHECK(dup2(from, to) == to);
	close(from);
}

static inline bool job_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* As in a container. */
static inline void job_forbid(long nr)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = CK_ARRAY_SIZE(code), .filter = code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

/* The steps of a verification by several tasks. */
static inline void job_step_wait(int step)
{
	for (int i = 0; i < 10000 && __atomic_load_n(&shared->step, __ATOMIC_ACQUIRE) < step; i++)
		usleep(1000);
	JOB_CHECK(__atomic_load_n(&shared->step, __ATOMIC_ACQUIRE) >= step);
}

static inline void job_step_done(int step)
{
	__atomic_store_n(&shared->step, step, __ATOMIC_RELEASE);
}

static inline void job_run(const struct job *j)
{
	pid_t child = 0;

	close_range(3, ~0u, 0);
	for (int task = 0; task < j->n_tasks && child == 0; task++) {
		/* A test that fails leaves nothing behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		shared->pid[task] = getpid();
		j->make(task);
		if (task + 1 == j->n_tasks)
			break;
		child = fork();
		JOB_CHECK(child >= 0);
	}
	if (child == 0)
		job_step_done(1);
	for (;;)
		pause();
}

static inline void job_start(const struct job *j)
{
	pid_t pid;

	shared->step = 0;
	if (j->outside)
		j->outside();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		/* Nothing of the test's terminal. */
		int null = open("/dev/null", O_RDWR);

		for (int i = 0; i < 3 && !j->outside; i++)
			dup2(null, i);
		setsid();
		job_run(j);
	}
	for (int i = 0; i < 10000 && !__atomic_load_n(&shared->step, __ATOMIC_ACQUIRE); i++) {
		ck_assert_msg(!shared->failure[0], "job: %s", shared->failure);
		usleep(1000);
	}
	ck_assert_int_eq(shared->step, 1);
}

static inline void job_kill(const struct job *j)
{
	for (int i = 0; i < j->n_tasks; i++)
		kill(shared->pid[i], SIGKILL);
	/* All of them, for the last one may hold a lock or the end of a pipe. */
	for (int i = 0; i < j->n_tasks; i++)
		ck_assert_int_eq(waitpid(shared->pid[i], NULL, 0), shared->pid[i]);
}

/* ---- dump ---- */

struct job_dump {
	struct engine_dump_opts opts;
	struct engine_dump d;
};

/* Stops the job and looks at it; the blob is in it afterwards if 0 is returned. */
static inline int job_look(const struct job *j, struct job_dump *jd)
{
	sigset_t set;
	int r;

	memset(jd, 0, sizeof(*jd));
	jd->opts.flags = j->dump_flags;
	jd->opts.tcp = j->away;
	jd->opts.unix_sockets = jd->opts.pipes = j->away;
	jd->opts.pid = shared->pid[0];
	jd->d.opts = &jd->opts;
	ckpt_needs__init(&jd->d.needs);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = engine_freeze(&jd->d, &job_err);
	if (r == 0)
		r = engine_look(&jd->d, &job_err);
	if (r == 0)
		r = res_list(&jd->d, &job_err);
	if (r == 0)
		r = engine_inject(&jd->d, &job_err);
	ck_assert(r < 0 || jd->d.n_tasks >= (size_t)j->n_tasks);
	return r;
}

static inline void job_dump_done(struct job_dump *jd)
{
	CkptNeeds *needs = malloc(sizeof(*needs));

	engine_inject_done(&jd->d);
	res_dump_done(&jd->d);
	engine_tasks_free(&jd->d);
	/* It frees the message, too. */
	ck_assert_ptr_nonnull(needs);
	*needs = jd->d.needs;
	ckpt_needs__free_unpacked(needs, NULL);
	if (jd->d.ipc)
		ckpt_ipc__free_unpacked(jd->d.ipc, NULL);
}

/* Makes the job, looks and writes. The image is committed at job_path("img"); jd is left for
 * looking at needs and ids. Returns what res_look() or res_dump() said. */
static inline int job_dump(const struct job *j, struct job_dump *jd)
{
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	int r;

	job_start(j);
	r = job_look(j, jd);
	ck_assert_int_eq(image_writer_open(job_path("img"), &jd->d.images, &job_err), 0);
	if (r == 0)
		r = res_look(&jd->d, &job_err);
	if (r == 0)
		r = res_dump(&jd->d, &job_err);
	if (r == 0) {
		inv.img_version = IMAGE_FORMAT_V1_1;
		r = image_write_one(jd->d.images, IMAGE_INVENTORY, 0, &inv.base, &job_err);
		ck_assert_int_eq(r, 0);
		r = image_commit(jd->d.images, &job_err);
		ck_assert_int_eq(r, 0);
	}
	image_writer_free(jd->d.images);
	return r;
}

/* ---- restore ---- */

/* What script.h declares: the operations are kept, and data stays where it is copied to. */
struct script {
	struct {
		enum script_expect expect;
		long nr;
		uint64_t a[6];
		char what[200];
	} op[JOB_OPS];
	size_t n;
	uint64_t data[JOB_OPS * 4];
	size_t n_data; /* words */
};

void script_syscall(struct script *s, enum script_expect expect, long nr, uint64_t a0, uint64_t a1,
		    uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, const char *what, ...)
{
	va_list ap;

	ck_assert_uint_lt(s->n, JOB_OPS);
	s->op[s->n].expect = expect;
	s->op[s->n].nr = nr;
	memcpy(s->op[s->n].a, (uint64_t[]){ a0, a1, a2, a3, a4, a5 }, sizeof(s->op[0].a));
	va_start(ap, what);
	vsnprintf(s->op[s->n].what, sizeof(s->op[0].what), what, ap);
	va_end(ap);
	s->n++;
}

void engine_note(struct engine_restore *r, const char *fmt, ...)
{
	va_list ap;

	(void)r;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

uint64_t script_data(struct script *s, const void *data, size_t len)
{
	void *copy = &s->data[s->n_data];

	s->n_data += (len + 7) / 8;
	ck_assert_uint_le(s->n_data, CK_ARRAY_SIZE(s->data));
	return (uint64_t)(uintptr_t)memcpy(copy, data, len);
}

/* The tasks of these jobs share nothing. */
void engine_plan_meeting(struct engine_restore *r, struct engine_rtask *t,
			 enum engine_meeting meeting)
{
	(void)r;
	(void)meeting;
	for (int kin = 0; kin < ENGINE_NKIN; kin++)
		ck_assert_ptr_null(t->kin[kin]);
}

static inline void job_execute(const struct script *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const uint64_t *a = s->op[i].a;
		long r = syscall(s->op[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]);

		if (r < 0 && s->op[i].expect == SCRIPT_OK) {
			snprintf(shared->failure, sizeof(shared->failure), "%s: %s", s->op[i].what,
				 strerror(errno));
			_exit(1);
		}
	}
}

struct job_restore {
	struct engine_restore_opts opts;
	struct engine_restore r;
	struct engine_rtask tasks[JOB_TASKS];
	PstreeEntry ps[JOB_TASKS];
	TaskKobjIdsEntry ids[JOB_TASKS];
	MmEntry mm[JOB_TASKS];
	struct script script[JOB_TASKS];
	struct image *image;
};

/* Everything that the engine has read before it calls res_load(). jd may be NULL: then no program
 * and no mappings are known. */
static inline int job_load(const struct job *j, const struct job_dump *jd, struct job_restore *jr)
{
	memset(jr, 0, sizeof(*jr));
	ck_assert_int_eq(image_open(job_path("img"), &jr->image, &job_err), 0);
	jr->opts.image = jr->image;
	jr->opts.flags = j->restore_flags;
	jr->r.opts = &jr->opts;
	jr->r.image = jr->image;
	jr->r.tasks = jr->tasks;
	jr->r.n_tasks = (size_t)j->n_tasks;
	for (int i = 0; i < j->n_tasks; i++) {
		pstree_entry__init(&jr->ps[i]);
		task_kobj_ids_entry__init(&jr->ids[i]);
		mm_entry__init(&jr->mm[i]);
		jr->ps[i].pid = jr->ids[i].files_id = (uint32_t)shared->pid[i];
		jr->ps[i].pgid = jr->ps[i].sid = (uint32_t)shared->pid[0];
		jr->tasks[i].ps = &jr->ps[i];
		jr->tasks[i].ids = &jr->ids[i];
		jr->tasks[i].mm = &jr->mm[i];
		jr->tasks[i].script = &jr->script[i];
		jr->mm[i].exe_file_id = jd ? jd->d.tasks[i]->exe_file_id : 1;
		if (!jd)
			continue;
		jr->mm[i].vmas = calloc(jd->d.tasks[i]->maps.n, sizeof(*jr->mm[i].vmas));
		for (size_t k = 0; k < jd->d.tasks[i]->maps.n; k++) {
			VmaEntry *v = calloc(1, sizeof(*v));

			vma_entry__init(v);
			v->start = jd->d.tasks[i]->maps.m[k].start;
			v->shmid = jd->d.tasks[i]->map_file_ids[k];
			v->status = v->shmid ? IMAGE_VMA_FILE_PRIVATE : IMAGE_VMA_ANON_PRIVATE;
			jr->mm[i].vmas[jr->mm[i].n_vmas++] = v;
		}
	}
	return res_load(&jr->r, &job_err);
}

static inline void job_restore_done(struct job_restore *jr)
{
	res_restore_done(&jr->r);
	for (int i = 0; i < JOB_TASKS; i++) {
		for (size_t k = 0; k < jr->mm[i].n_vmas; k++)
			free(jr->mm[i].vmas[k]);
		free(jr->mm[i].vmas);
	}
	image_free(jr->image);
}

static inline void job_fail_err(const struct ck_err *err)
{
	ck_err_format(err, shared->failure, sizeof(shared->failure));
	_exit(1);
}

/* In a process of its own: what the restoring process does, with the caller's descriptors. */
static inline void job_restorer(const struct job *j, struct job_restore *jr)
{
	pid_t pid[JOB_TASKS];
	int failed = 0, status;

	if (j->caller)
		j->caller();
	if (res_open(&jr->r, &job_err) < 0)
		job_fail_err(&job_err);
	for (int i = 0; i < j->n_tasks; i++) {
		if (res_plan(&jr->r, &jr->tasks[i], &job_err) < 0)
			job_fail_err(&job_err);
		pid[i] = fork();
		if (pid[i] == 0) {
			job_execute(&jr->script[i]);
			while (!__atomic_load_n(&shared->let_go, __ATOMIC_ACQUIRE))
				usleep(1000);
			j->verify(i);
			_exit(0);
		}
	}
	res_restore_done(&jr->r);
	/* The job alone has its pipes, unless they lead to the caller. */
	if (!j->caller)
		close_range(0, ~0u, 0);
	__atomic_store_n(&shared->let_go, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < j->n_tasks; i++)
		if (waitpid(pid[i], &status, 0) != pid[i] || status != 0)
			failed = 1;
	_exit(failed);
}

/* Returns what res_load() said, else 0 or -1 with shared->failure. */
static inline int job_restore(const struct job *j, const struct job_dump *jd)
{
	struct job_restore *jr = calloc(1, sizeof(*jr));
	int r = job_load(j, jd, jr), status = 0;
	pid_t pid;

	if (r == 0) {
		shared->step = 0;
		shared->let_go = 0;
		shared->failure[0] = '\0';
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			job_restorer(j, jr);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		r = status == 0 && !shared->failure[0] ? 0 : -1;
	}
	job_restore_done(jr);
	free(jr);
	return r;
}

/* The whole way, which must succeed. */
static inline void job_cycle(const struct job *j)
{
	char text[1200];
	struct job_dump jd;
	int r = job_dump(j, &jd);

	ck_err_format(&job_err, text, sizeof(text));
	ck_assert_msg(r == 0, "dump: %s", text);
	job_kill(j);
	r = job_restore(j, &jd);
	if (r != 0 && !shared->failure[0])
		ck_err_format(&job_err, shared->failure, sizeof(shared->failure));
	ck_assert_msg(r == 0, "restore: %s", shared->failure);
	job_dump_done(&jd);
}

/* The dump must be refused, with this text in the message, and nothing changed. */
static inline void job_refused(const struct job *j, const char *what)
{
	char text[1200];
	struct job_dump jd;
	int r = job_dump(j, &jd);

	ck_err_format(&job_err, text, sizeof(text));
	job_kill(j);
	job_dump_done(&jd);
	ck_assert_msg(r < 0, "was not refused: %s", what);
	ck_assert_msg(strstr(text, what) != NULL, "\"%s\" is not in: %s", what, text);
}

#endif
