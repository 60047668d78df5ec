// SPDX-License-Identifier: Apache-2.0
/*
 * Which descriptors share a description: found by tags, which must be gone afterwards, also when
 * the dump is killed while they are there.
 */
#include "engine/res/res.h"
#include "tests/unit/res-job.h"

enum { MANY = 70, DIRS = 5, FIRST = 10, DUPS = 200, FIRST_DIR = 300 };

static off_t offset(int fd)
{
	return lseek(fd, 0, SEEK_CUR);
}

/* ---- more descriptors that look alike than there are tags ---- */

/* In each task: its own descriptions from FIRST + 1000 * task on, and duplicates of all before. */
static void many_make(int task)
{
	int first = FIRST + 1000 * task;

	if (task == 0)
		job_open(3, "many", O_RDWR, "0123456789");
	for (int i = 0; i < MANY; i++)
		job_move(open(job_path("many"), O_RDWR), first + i);
	JOB_CHECK(dup2(first + MANY - 1, first + DUPS) >= 0 && dup2(3, first + DUPS + 1) >= 0);
	for (int i = 0; i < DIRS; i++)
		job_move(open(job_dir, O_RDONLY | O_DIRECTORY), first + FIRST_DIR + i);
	JOB_CHECK(dup2(first + FIRST_DIR + 2, first + FIRST_DIR + DIRS) >= 0);
}

/* Every description gets an offset of its own; whoever shares it sees that. */
static void many_verify(int task)
{
	if (task == 0) {
		JOB_CHECK(lseek(3, 5000, SEEK_SET) == 5000);
		for (int i = 0; i < MANY; i++)
			JOB_CHECK(lseek(FIRST + i, 100 + i, SEEK_SET) == 100 + i);
		for (int i = 0; i < MANY; i++)
			JOB_CHECK(offset(FIRST + i) == 100 + i);
		JOB_CHECK(offset(FIRST + DUPS) == 100 + MANY - 1);
		JOB_CHECK(offset(FIRST + DUPS + 1) == 5000);
		job_step_done(1);
		job_step_wait(2);
		JOB_CHECK(offset(FIRST) == 777 && offset(FIRST + 1) == 101);
		return;
	}
	job_step_wait(1);
	for (int i = 0; i < MANY; i++)
		JOB_CHECK(offset(FIRST + i) == 100 + i && offset(FIRST + 1000 + i) == 0);
	JOB_CHECK(lseek(FIRST, 777, SEEK_SET) == 777);
	JOB_CHECK(lseek(FIRST + 1000 + MANY - 1, 9, SEEK_SET) == 9);
	JOB_CHECK(offset(FIRST + 1000 + DUPS) == 9 && offset(FIRST + 1000 + DUPS + 1) == 5000);
	job_step_done(2);
}

static size_t n_descriptions(const struct job_dump *jd, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < jd->d.res->n_files; i++)
		n += jd->d.res->files[i]->fd >= 0 && !strcmp(jd->d.res->files[i]->link, name);
	return n;
}

START_TEST(many)
{
	struct job j = { .n_tasks = 2, .make = many_make, .verify = many_verify };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert_uint_eq(n_descriptions(&jd, job_path("many")), 1 + 2 * MANY);
	ck_assert_uint_eq(n_descriptions(&jd, job_dir), 2 * DIRS);
	job_kill(&j);
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	job_dump_done(&jd);
}
END_TEST

/* ---- tags come off ---- */

enum { PLAIN = 3, PLAIN_DUP, OWN_SIGNAL, OWN_SIGNAL_DUP, TWIN, DIR_1, DIR_2, DIR_3, N_END };

static void tagged_make(int task)
{
	/* the second task may outlive the first */
	JOB_CHECK(task == 0 || prctl(PR_SET_PDEATHSIG, 0) == 0);
	if (task > 0)
		return;
	job_open(PLAIN, "plain", O_WRONLY, "x");
	JOB_CHECK(dup2(PLAIN, PLAIN_DUP) == PLAIN_DUP);
	job_open(OWN_SIGNAL, "own", O_RDWR, "x");
	JOB_CHECK(fcntl(OWN_SIGNAL, F_SETSIG, SIGUSR2) == 0);
	JOB_CHECK(dup2(OWN_SIGNAL, OWN_SIGNAL_DUP) == OWN_SIGNAL_DUP);
	job_move(open(job_path("own"), O_RDWR), TWIN);
	for (int fd = DIR_1; fd <= DIR_3; fd++)
		job_move(open(job_dir, O_RDONLY | O_DIRECTORY), fd);
}

/* From outside: the signal of a descriptor of the job. */
static int signal_of(pid_t pid, int number)
{
	CK_AUTO(fd) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	CK_AUTO(fd) int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	ck_assert_int_ge(fd, 0);
	return fcntl(fd, F_GETSIG);
}

static bool is_untagged(pid_t pid)
{
	for (int fd = PLAIN; fd < N_END; fd++) {
		int want = fd == OWN_SIGNAL || fd == OWN_SIGNAL_DUP ? SIGUSR2 : 0;

		if (signal_of(pid, fd) != want)
			return false;
	}
	return true;
}

START_TEST(tags_come_off)
{
	struct job j = { .n_tasks = 2, .make = tagged_make };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert(is_untagged(shared->pid[0]) && is_untagged(shared->pid[1]));
	for (int fd = PLAIN; fd < N_END; fd++) {
		const struct engine_task *t = jd.d.tasks[0];
		uint32_t id = t->fds[3 + fd - PLAIN].id;

		ck_assert_int_eq(t->fds[3 + fd - PLAIN].fd, fd);
		ck_assert_int_eq(id == t->fds[3 + fd - PLAIN - 1].id,
				 fd == PLAIN_DUP || fd == OWN_SIGNAL_DUP);
		ck_assert_uint_eq(id, jd.d.tasks[1]->fds[3 + fd - PLAIN].id);
	}
	ck_assert_int_eq(engine_eject(&jd.d, NULL), 0);
	engine_thaw(&jd.d);
	ck_assert(is_untagged(shared->pid[0]));
	job_kill(&j);
	job_dump_done(&jd);
}
END_TEST

static void put_tags(struct engine_task *t, int tag)
{
	for (size_t i = 0; i < t->n_fds; i++)
		t->fds[i].tag = tag;
	ck_assert_int_eq(engine_tags_put(t, &job_err), 0);
}

/* The dump is killed with tags on: by both tasks; by the first alone; by the first, which is killed
 * as well: then the second takes them off. */
START_TEST(killed_with_tags)
{
	struct job j = { .n_tasks = 2, .make = tagged_make };
	bool clean = false;
	pid_t ckpt;
	int status;

	job_start(&j);
	ckpt = fork();
	if (ckpt == 0) {
		struct job_dump jd;

		ck_assert_int_eq(job_look(&j, &jd), 0);
		for (size_t i = 0; i < 2; i++)
			ck_assert_int_eq(engine_tags_begin(jd.d.tasks[i], &job_err), 0);
		put_tags(jd.d.tasks[0], SIGWINCH);
		if (_i == 0)
			put_tags(jd.d.tasks[1], SIGURG);
		ck_assert_int_eq(signal_of(shared->pid[1], PLAIN), _i ? SIGWINCH : SIGURG);
		ck_assert_int_eq(signal_of(shared->pid[1], OWN_SIGNAL), _i ? SIGWINCH : SIGURG);
		if (_i == 2)
			kill(shared->pid[0], SIGKILL);
		kill(getpid(), SIGKILL);
	}
	ck_assert_int_eq(waitpid(ckpt, &status, 0), ckpt);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	for (int i = 0; i < 5000 && !clean; i++) {
		clean = is_untagged(shared->pid[1]);
		usleep(1000);
	}
	ck_assert(clean);
	/* and nobody puts one on again */
	ck_assert(is_untagged(shared->pid[1]));
	job_kill(&j);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine/res share");
	TCase *c = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	tcase_add_test(c, many);
	tcase_add_test(c, tags_come_off);
	tcase_add_loop_test(c, killed_with_tags, 0, 3);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
