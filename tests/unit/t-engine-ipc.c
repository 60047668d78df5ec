// SPDX-License-Identifier: Apache-2.0
/* System V IPC: what is refused at a dump, and what an image must not say. The job sysv does the
 * rest. */
#include <sys/shm.h>

#include "image/format.h"
#include "tests/unit/res-job.h"

/* ---- refused ---- */

static void unattached_make(int task)
{
	(void)task;
	shared->value[0] = shmget(IPC_PRIVATE, 4096, 0600);
	JOB_CHECK(shared->value[0] >= 0);
}

static void attached_make(int task)
{
	JOB_CHECK(shmat((int)shared->value[0], NULL, 0) != (void *)-1);
	(void)task;
}

static void expect_refused(const struct job *j, const char *what)
{
	struct job_dump jd;
	char text[1200];

	job_start(j);
	ck_assert_int_eq(job_look(j, &jd), 0);
	ck_assert_int_lt(engine_look_ipc(&jd.d, &job_err), 0);
	ck_assert_int_eq(job_err.kind, CK_ERR_REFUSED);
	ck_err_format(&job_err, text, sizeof(text));
	ck_assert_msg(strstr(text, what) != NULL, "%s", text);
	job_kill(j);
	job_dump_done(&jd);
}

START_TEST(unattached)
{
	expect_refused(&(struct job){ .n_tasks = 1, .make = unattached_make },
		       "which nobody has attached");
	ck_assert_int_eq(shmctl((int)shared->value[0], IPC_RMID, NULL), 0);
}
END_TEST

/* We have it attached as well. */
START_TEST(attached_elsewhere)
{
	void *p;

	shared->value[0] = shmget(IPC_PRIVATE, 4096, 0600);
	p = shmat((int)shared->value[0], NULL, 0);
	ck_assert_ptr_ne(p, (void *)-1);
	expect_refused(&(struct job){ .n_tasks = 1, .make = attached_make },
		       "which others have attached, too");
	ck_assert_int_eq(shmctl((int)shared->value[0], IPC_RMID, NULL), 0);
	shmdt(p);
}
END_TEST

/* ---- bad images ---- */

struct spec {
	CkptIpcPerm perm[3];
	CkptIpcShm shm;
	CkptIpcSem sem;
	CkptIpcQueue queue;
	CkptIpcText text, *texts[1];
	uint32_t value;
	bool none;
};

static void spec_init(struct spec *s)
{
	memset(s, 0, sizeof(*s));
	for (int i = 0; i < 3; i++) {
		ckpt_ipc_perm__init(&s->perm[i]);
		s->perm[i].id = 5;
		s->perm[i].mode = 0600;
	}
	ckpt_ipc_shm__init(&s->shm);
	ckpt_ipc_sem__init(&s->sem);
	ckpt_ipc_queue__init(&s->queue);
	ckpt_ipc_text__init(&s->text);
	s->shm.perm = &s->perm[0];
	s->shm.size = 8000;
	s->shm.object = 1;
	s->sem.perm = &s->perm[1];
	s->sem.n_values = 1;
	s->sem.values = &s->value;
	s->queue.perm = &s->perm[2];
	s->text.type = 1;
	s->texts[0] = &s->text;
	s->queue.texts = s->texts;
	s->queue.n_texts = 1;
}

/* One segment of two pages, mapped by one task. */
static int load(struct spec *s)
{
	CkptIpcShm *shm[] = { &s->shm };
	CkptIpcSem *sem[] = { &s->sem };
	CkptIpcQueue *queue[] = { &s->queue };
	CkptIpc ipc = CKPT_IPC__INIT;
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	VmaEntry vma = VMA_ENTRY__INIT, *vmas[] = { &vma };
	MmEntry mm = MM_ENTRY__INIT;
	struct engine_rtask task = { .mm = &mm };
	struct engine_rshm object = { .id = 1, .size = 8192 };
	struct engine_restore r = { .tasks = &task, .n_tasks = 1, .shm = &object, .n_shm = 1 };
	struct image_writer *w;
	struct image *image;
	int rc;

	ipc.n_shm = ipc.n_sem = ipc.n_queue = 1;
	ipc.shm = shm;
	ipc.sem = sem;
	ipc.queue = queue;
	vma.shmid = 1;
	vma.status = IMAGE_VMA_REGULAR | IMAGE_VMA_ANON_SHARED | IMAGE_VMA_SYSVIPC;
	mm.vmas = vmas;
	mm.n_vmas = 1;
	inv.img_version = IMAGE_FORMAT_CKPT;
	ck_assert_int_eq(image_writer_open(job_path("img"), &w, &job_err), 0);
	if (!s->none)
		ck_assert_int_eq(image_write_one(w, IMAGE_CKPT_IPC, 0, &ipc.base, &job_err), 0);
	ck_assert_int_eq(image_write_one(w, IMAGE_INVENTORY, 0, &inv.base, &job_err), 0);
	ck_assert_int_eq(image_commit(w, &job_err), 0);
	image_writer_free(w);
	ck_assert_int_eq(image_open(job_path("img"), &image, &job_err), 0);
	r.image = image;
	rc = engine_load_ipc(&r, &job_err);
	if (rc == 0) {
		ck_assert_ptr_eq(object.sysv, r.ipc->shm[0]);
		ck_assert_uint_eq(object.size, 8192);
	}
	if (r.ipc)
		ckpt_ipc__free_unpacked(r.ipc, NULL);
	image_free(image);
	return rc;
}

#define CASE(name, change)                     \
	static void bad_##name(struct spec *s) \
	{                                      \
		change;                        \
	}

/* clang-format off */
CASE(no_ipc, s->none = true)
CASE(id, s->perm[0].id = 1u << 31)
CASE(mode, s->perm[1].mode = 01000)
CASE(object, s->shm.object = 2)
CASE(too_small, s->shm.size = 4096)
CASE(too_big, s->shm.size = 1ull << 47)
CASE(wraps, s->shm.size = UINT64_MAX)
CASE(no_sems, s->sem.n_values = 0)
CASE(sem_value, s->value = 32768)
CASE(text_type, s->text.type = 0)
/* clang-format on */

static const struct {
	const char *what;
	void (*spoil)(struct spec *s);
} bad[] = {
	{ "cannot find the System V shared memory at", bad_no_ipc },
	{ "object 2147483648 makes no sense", bad_id },
	{ "object 5 makes no sense", bad_mode },
	{ "shared memory 5 makes no sense", bad_object },
	{ "shared memory 5 makes no sense", bad_too_small },
	{ "shared memory 5 makes no sense", bad_too_big },
	{ "shared memory 5 makes no sense", bad_wraps },
	{ "semaphores 5 make no sense", bad_no_sems },
	{ "semaphores 5 make no sense", bad_sem_value },
	{ "queue 5 makes no sense", bad_text_type },
};

START_TEST(bad_image)
{
	struct spec s;

	spec_init(&s);
	bad[_i].spoil(&s);
	ck_assert_int_lt(load(&s), 0);
	ck_assert_int_eq(job_err.kind, CK_ERR_IMAGE);
	ck_assert_msg(strstr(job_err.what, bad[_i].what) != NULL, "%s", job_err.what);
}
END_TEST

START_TEST(good_image)
{
	struct spec s;

	spec_init(&s);
	ck_assert_int_eq(load(&s), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine/ipc");
	TCase *c = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	tcase_add_test(c, unattached);
	tcase_add_test(c, attached_elsewhere);
	tcase_add_test(c, good_image);
	tcase_add_loop_test(c, bad_image, 0, CK_ARRAY_SIZE(bad));
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
