// SPDX-License-Identifier: Apache-2.0
/* Deleted files, mapped files, what is refused, what a host needs, and files that changed. */
#include <linux/netlink.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include "fsmap/fsmap.h"
#include "image/ghost-file.pb-c.h"
#include "tests/unit/res-job.h"

/* ---- deleted files ---- */

static void deleted_make(int task)
{
	struct stat st;

	(void)task;
	/* two descriptions of one inode, with a hole */
	job_open(3, "gone", O_RDWR, "start");
	JOB_CHECK(pwrite(3, "end", 3, 10 << 20) == 3);
	job_move(open(job_path("gone"), O_RDONLY), 4);
	JOB_CHECK(lseek(4, 2, SEEK_SET) == 2 && lseek(3, 1 << 20, SEEK_SET) == 1 << 20);
	JOB_CHECK(fchmod(3, 0640) == 0);
	JOB_CHECK(unlink(job_path("gone")) == 0);
	JOB_CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0) != MAP_FAILED);
	/* never had a name */
	job_move(open(job_dir, O_TMPFILE | O_RDWR, 0600), 5);
	JOB_CHECK(write(5, "tmp", 3) == 3);
	/* has another name */
	job_open(6, "one", O_RDWR | O_APPEND, "linked");
	JOB_CHECK(link(job_path("one"), job_path("two")) == 0 && unlink(job_path("one")) == 0);
	/* another file has the name now */
	job_open(7, "old", O_RDONLY, "old contents");
	JOB_CHECK(unlink(job_path("old")) == 0);
	job_open(8, "old", O_RDONLY, "new");
	/* unlinked and put back */
	job_open(9, "back", O_RDONLY, "back");
	JOB_CHECK(link(job_path("back"), job_path("tmp")) == 0 && unlink(job_path("back")) == 0);
	JOB_CHECK(rename(job_path("tmp"), job_path("back")) == 0);
	/* empty; unreadable */
	job_open(10, "empty", O_RDWR, "");
	JOB_CHECK(unlink(job_path("empty")) == 0);
	job_open(11, "mode0", O_RDWR, "mode 0");
	JOB_CHECK(fchmod(11, 0) == 0 && unlink(job_path("mode0")) == 0);
	JOB_CHECK(lseek(11, 4, SEEK_SET) == 4);
	JOB_CHECK(fstat(3, &st) == 0);
	shared->value[0] = st.st_mtime;
	/* its directory is gone, too */
	JOB_CHECK(mkdir(job_path("dir"), 0755) == 0);
	job_open(12, "dir/file", O_RDWR, "far away");
	JOB_CHECK(unlink(job_path("dir/file")) == 0 && rmdir(job_path("dir")) == 0);
}

static void deleted_verify(int task)
{
	char buf[32] = "";
	struct stat st, st4;

	(void)task;
	JOB_CHECK(fstat(3, &st) == 0 && fstat(4, &st4) == 0);
	JOB_CHECK(st.st_ino == st4.st_ino && st.st_dev == st4.st_dev && st.st_nlink == 0);
	JOB_CHECK(st.st_size == (10 << 20) + 3 && st.st_blocks < 1000);
	JOB_CHECK((st.st_mode & 07777) == 0640 && st.st_mtime == shared->value[0]);
	JOB_CHECK(lseek(3, 0, SEEK_CUR) == 1 << 20 && lseek(4, 0, SEEK_CUR) == 2);
	JOB_CHECK(read(4, buf, 3) == 3 && !memcmp(buf, "art", 3));
	JOB_CHECK(pread(4, buf, 3, 10 << 20) == 3 && !memcmp(buf, "end", 3));
	JOB_CHECK(pwrite(3, "S", 1, 0) == 1 && pread(4, buf, 1, 0) == 1 && buf[0] == 'S');
	JOB_CHECK(pread(5, buf, 10, 0) == 3 && lseek(5, 0, SEEK_CUR) == 3);
	JOB_CHECK(fstat(5, &st) == 0 && st.st_nlink == 0);
	JOB_CHECK(pread(6, buf, 10, 0) == 6 && (fcntl(6, F_GETFL) & O_APPEND));
	JOB_CHECK(read(7, buf, 32) == 12 && !memcmp(buf, "old contents", 12));
	JOB_CHECK(read(8, buf, 32) == 3);
	JOB_CHECK(fstat(9, &st) == 0 && st.st_nlink == 1);
	JOB_CHECK(fstat(10, &st) == 0 && st.st_size == 0 && st.st_nlink == 0);
	JOB_CHECK(read(11, buf, 32) == 2 && fstat(11, &st) == 0 && (st.st_mode & 0777) == 0);
	JOB_CHECK(read(12, buf, 32) == 8 && !memcmp(buf, "far away", 8));
}

START_TEST(deleted)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = deleted_make, .verify = deleted_verify });
}
END_TEST

/* ---- mapped files ---- */

static const char page_text[] = "only mapped, not open";

static void mapped_make(int task)
{
	char *p;

	(void)task;
	job_open(3, "data", O_RDWR, "");
	JOB_CHECK(ftruncate(3, 3 * 4096 + 100) == 0);
	JOB_CHECK(pwrite(3, page_text, sizeof(page_text), 4096) == sizeof(page_text));
	/* the second and the third page, and beyond the end */
	p = mmap(NULL, 4 * 4096, PROT_READ, MAP_PRIVATE, 3, 4096);
	JOB_CHECK(p != MAP_FAILED);
	shared->value[0] = (long)p;
	close(3);
	JOB_CHECK(unlink(job_path("data")) == 0);
	job_open(3, "there", O_RDWR, "mapped and there");
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	JOB_CHECK(p != MAP_FAILED);
	shared->value[1] = (long)p;
	close(3);
}

static size_t map_at(const struct engine_task *t, long addr)
{
	size_t i = 0;

	while (i < t->maps.n && t->maps.m[i].start != (uint64_t)addr)
		i++;
	ck_assert_uint_lt(i, t->maps.n);
	return i;
}

START_TEST(mapped)
{
	struct job j = { .n_tasks = 1, .make = mapped_make };
	struct job_restore *jr = calloc(1, sizeof(*jr));
	const struct engine_task *t;
	struct job_dump jd;
	uint32_t gone, there;
	char buf[64] = "";
	struct stat st;
	int fd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	job_kill(&j);
	t = jd.d.tasks[0];
	gone = t->map_file_ids[map_at(t, shared->value[0])];
	there = t->map_file_ids[map_at(t, shared->value[1])];
	ck_assert_uint_ne(gone, 0);
	ck_assert_uint_ne(there, 0);
	ck_assert_uint_ne(t->exe_file_id, 0);
	/* anonymous memory has no file, and one file has one entry */
	ck_assert_uint_eq(t->map_file_ids[map_at(t, (long)shared)], 0);
	for (size_t i = 1; i < t->maps.n; i++)
		if (!strcmp(t->maps.m[i].name, t->maps.m[i - 1].name) && t->map_file_ids[i])
			ck_assert_uint_eq(t->map_file_ids[i], t->map_file_ids[i - 1]);
	ck_assert_msg(job_load(&j, &jd, jr) == 0, "%s (%s)", job_err.what, job_err.where);
	ck_assert_msg(res_open(&jr->r, &job_err) == 0, "%s (%s)", job_err.what, job_err.where);
	fd = res_parked_fd(&jr->r, gone);
	ck_assert_int_eq(pread(fd, buf, sizeof(buf), 4096), sizeof(buf));
	ck_assert_str_eq(buf, page_text);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_nlink, 0);
	ck_assert_int_ge(st.st_size, 3 * 4096 + 100);
	ck_assert_int_le(st.st_size, 4 * 4096);
	fd = res_parked_fd(&jr->r, there);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_ge(res_parked_fd(&jr->r, t->exe_file_id), res_base(&jr->r));
	ck_assert_int_eq(res_parked_fd(&jr->r, 1 << 20), -ENOENT);
	job_restore_done(jr);
	job_dump_done(&jd);
	free(jr);
}
END_TEST

/* ---- needs ---- */

static const CkptNeedPath *need_of(const struct job_dump *jd, const char *path)
{
	for (size_t i = 0; i < jd->d.needs.n_paths; i++)
		if (!strcmp(jd->d.needs.paths[i]->path, path))
			return jd->d.needs.paths[i];
	ck_abort_msg("no need for %s", path);
	return NULL;
}

static void needs_make(int task)
{
	(void)task;
	job_open(3, "read", O_RDONLY, "12345");
	job_move(open(job_path("read"), O_RDONLY | O_NONBLOCK), 4);
	job_open(5, "write", O_WRONLY, "123");
	job_move(open(job_path("write"), O_RDONLY), 6);
	JOB_CHECK(chdir(job_dir) == 0);
	job_open(7, "gone", O_RDWR, "gone");
	JOB_CHECK(unlink(job_path("gone")) == 0);
}

START_TEST(needs)
{
	struct job j = { .n_tasks = 1, .make = needs_make };
	char exe[PATH_MAX] = "";
	const CkptNeedPath *p;
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	job_kill(&j);
	p = need_of(&jd, job_path("read"));
	ck_assert_uint_eq(p->n_roles, 1);
	ck_assert_int_eq(p->roles[0], CKPT_PATH_ROLE__CKPT_PATH_FD);
	ck_assert(p->has_size && p->size == 5 && p->has_hash && !p->has_build_id);
	ck_assert_uint_eq(p->access, O_RDONLY);
	ck_assert_uint_eq(p->mode, S_IFREG | 0644);
	ck_assert_ptr_nonnull(strstr(p->who, "fd 3"));
	ck_assert_ptr_nonnull(p->mount_point);
	p = need_of(&jd, job_path("write"));
	ck_assert_uint_eq(p->access, O_RDWR);
	ck_assert(p->has_size && p->has_hash);
	p = need_of(&jd, job_dir);
	ck_assert_int_eq(p->roles[0], CKPT_PATH_ROLE__CKPT_PATH_CWD);
	p = need_of(&jd, job_path("gone"));
	ck_assert(p->has_carried && p->carried);
	ck_assert_int_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	p = need_of(&jd, exe);
	ck_assert_uint_eq(p->n_roles, 2);
	ck_assert(p->has_build_id && p->build_id.len == 20);
	ck_assert_uint_eq(jd.d.needs.n_inherited, 0);
	ck_assert(!jd.d.needs.has_terminal);
	/* All that a restore has to open: 0 to 2 are one, program and libraries count too. */
	ck_assert_uint_gt(jd.d.needs.max_fds, 6);
	ck_assert_uint_gt(jd.d.needs.highest_fd, 2);
	job_dump_done(&jd);
}
END_TEST

/* ---- checksums that wait until the job was let go ---- */

enum { BIG = 100000 };

static void waiting_make(int task)
{
	static char text[BIG + 1];

	(void)task;
	memset(text, 'x', BIG);
	job_open(3, "same", O_RDWR, text);
	job_open(4, "other", O_WRONLY, text);
	job_open(5, "longer", O_WRONLY | O_APPEND, text);
	job_open(6, "small", O_WRONLY, "12345");
	job_open(7, "gone", O_RDWR, text);
}

static void write_into(const char *name, int flags)
{
	CK_AUTO(fd) int fd = open(job_path(name), O_WRONLY | flags);

	ck_assert_int_eq(write(fd, "y", 1), 1);
}

static size_t index_of(const struct job_dump *jd, const char *name)
{
	const CkptNeedPath *p = need_of(jd, job_path(name));
	size_t i = 0;

	while (jd->d.needs.paths[i] != p)
		i++;
	return i;
}

START_TEST(sums_wait)
{
	struct job j = { .n_tasks = 1, .make = waiting_make };
	CK_AUTO(image) struct image *img = NULL;
	const CkptContents *c;
	ProtobufCMessage *m;
	struct job_dump jd;
	uint64_t hash = 0;
	int fd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert(need_of(&jd, job_path("small"))->has_hash);
	ck_assert(!need_of(&jd, job_path("same"))->has_hash);
	job_kill(&j);
	write_into("other", 0);
	write_into("longer", O_APPEND);
	ck_assert_int_eq(unlink(job_path("gone")), 0);
	ck_assert_int_eq(image_open(job_path("img"), &img, &job_err), 0);
	ck_assert_int_eq(res_write_sums(&jd.d, img, &job_err), 0);
	image_free(img);
	ck_assert_int_eq(image_open(job_path("img"), &img, &job_err), 0);
	ck_assert_int_eq(image_read_one(img, IMAGE_CKPT_CONTENTS, 0, &m, &job_err), 0);
	c = (const CkptContents *)m;
	ck_assert_uint_eq(c->image_id, image_id(img));
	fd = open(job_path("same"), O_RDONLY);
	ck_assert_int_eq(fsmap_hash(fd, BIG, &hash, NULL), 0);
	close(fd);
	/* What was changed has none, and what lost its name was held: but that changed its ctime.
	 */
	ck_assert_uint_eq(c->n_sums, 1);
	ck_assert_uint_eq(c->sums[0]->path, index_of(&jd, "same"));
	ck_assert(c->sums[0]->has_hash && c->sums[0]->hash == hash);
	ck_assert(need_of(&jd, job_path("same"))->has_hash);
	ck_assert(!need_of(&jd, job_path("other"))->has_hash);
	protobuf_c_message_free_unpacked(m, NULL);
	job_dump_done(&jd);
}
END_TEST

START_TEST(sums_at_once)
{
	struct job j = { .n_tasks = 1, .make = waiting_make, .dump_flags = ENGINE_LEAVE_RUNNING };
	struct job_dump jd;

	ck_assert_int_eq(job_dump(&j, &jd), 0);
	ck_assert(need_of(&jd, job_path("same"))->has_hash);
	ck_assert(need_of(&jd, job_path("longer"))->has_hash);
	job_kill(&j);
	job_dump_done(&jd);
}
END_TEST

/* ---- files that changed ---- */

static void changed_make(int task)
{
	(void)task;
	job_open(3, "file", O_RDWR, "12345678");
	job_open(4, "log", O_WRONLY | O_APPEND, "12345678");
}

static void changed_verify(int task)
{
	(void)task;
}

static void expect_failure(const struct job *j, const struct job_dump *jd, const char *what)
{
	ck_assert_int_eq(job_restore(j, jd), -1);
	ck_assert_msg(strstr(shared->failure, what) != NULL, "\"%s\" is not in: %s", what,
		      shared->failure);
}

START_TEST(changed)
{
	struct job j = { .n_tasks = 1, .make = changed_make, .verify = changed_verify };
	char file[100];
	struct job_dump jd;

	snprintf(file, sizeof(file), "%s", job_path("file"));
	ck_assert_int_eq(job_dump(&j, &jd), 0);
	job_kill(&j);
	ck_assert_int_eq(truncate(job_path("log"), 100), 0); /* a log may grow */
	ck_assert_msg(job_restore(&j, &jd) == 0, "%s", shared->failure);
	ck_assert_int_eq(truncate(file, 9), 0);
	expect_failure(&j, &jd, "has 9 bytes here, and had 8");
	expect_failure(&j, &jd, "--files rollback");
	ck_assert_int_eq(unlink(file), 0);
	expect_failure(&j, &jd, "there is no /tmp/");
	expect_failure(&j, &jd, "fd 3");
	ck_assert_int_eq(mkfifo(file, 0600), 0);
	expect_failure(&j, &jd, "is a FIFO here, and was a regular file");
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(mkdir(file, 0700), 0);
	expect_failure(&j, &jd, "is a directory here");
	job_dump_done(&jd);
}
END_TEST

/* ---- a file that has lost the name it was opened by, and has another ---- */

static void linked_make(int task)
{
	(void)task;
	job_open(3, "first", O_RDWR, "abc");
	JOB_CHECK(link(job_path("first"), job_path("second")) == 0);
	JOB_CHECK(unlink(job_path("first")) == 0);
}

static void linked_verify(int task)
{
	struct stat st, other;

	(void)task;
	JOB_CHECK(fstat(3, &st) == 0 && stat(job_path("second"), &other) == 0);
	JOB_CHECK(st.st_ino == other.st_ino && st.st_nlink == 1 && st.st_size == 3);
}

START_TEST(linked)
{
	job_cycle(&(struct job){ .n_tasks = 1, .make = linked_make, .verify = linked_verify });
}
END_TEST

/* ---- a file of the job's state that is open by two names ---- */

static const char *shm_name(int i)
{
	static char name[2][64];

	snprintf(name[i], sizeof(name[i]), "/dev/shm/t-res-%d-%d", (int)shared->pid[0], i);
	return name[i];
}

static void two_names_make(int task)
{
	(void)task;
	JOB_CHECK(open(shm_name(0), O_RDWR | O_CREAT | O_EXCL, 0600) == 3);
	JOB_CHECK(write(3, "state", 5) == 5 && link(shm_name(0), shm_name(1)) == 0);
	JOB_CHECK(open(shm_name(1), O_RDWR) == 4);
}

static void two_names_verify(int task)
{
	struct stat st[4];

	(void)task;
	JOB_CHECK(fstat(3, &st[0]) == 0 && fstat(4, &st[1]) == 0);
	JOB_CHECK(stat(shm_name(0), &st[2]) == 0 && stat(shm_name(1), &st[3]) == 0);
	for (int i = 0; i < 4; i++)
		JOB_CHECK(st[i].st_ino == st[0].st_ino && st[i].st_nlink == 2);
	JOB_CHECK(st[0].st_size == 5);
	JOB_CHECK(unlink(shm_name(0)) == 0 && unlink(shm_name(1)) == 0);
}

START_TEST(two_names)
{
	job_cycle(
		&(struct job){ .n_tasks = 1, .make = two_names_make, .verify = two_names_verify });
}
END_TEST

/* ---- what is refused ---- */

static int refused_kind;

enum {
	R_NETLINK,
	R_INOTIFY,
	R_PIDFD,
	R_LEASE,
	R_DNOTIFY,
	R_LINKED,
	R_PROC,
	R_PROC_DEEP,
	N_REFUSED,
};
static const char *const refused_text[N_REFUSED] = {
	"a netlink socket (socket:[",
	"unread events wait in an inotify instance",
	"a pidfd of a process outside of the job",
	"a lease on a file",
	"watched by F_NOTIFY",
	"which has 1 other names",
	"a file of a process (/proc/1/status)",
	"deeper than /proc/PID/NAME",
};

static void inotify_unread(void)
{
	JOB_CHECK(inotify_init1(0) == 3);
	JOB_CHECK(inotify_add_watch(3, job_dir, IN_CREATE) == 1);
	JOB_CHECK(mkdir(job_path("new"), 0700) == 0);
}

static void refused_make(int task)
{
	(void)task;
	if (refused_kind == R_NETLINK)
		JOB_CHECK(socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK) == 3);
	else if (refused_kind == R_INOTIFY)
		inotify_unread();
	else if (refused_kind == R_PIDFD)
		JOB_CHECK(syscall(SYS_pidfd_open, getppid(), 0) == 3);
	else if (refused_kind == R_PROC)
		JOB_CHECK(open("/proc/1/status", O_RDONLY) == 3);
	else if (refused_kind == R_PROC_DEEP)
		JOB_CHECK(open("/proc/self/fdinfo/0", O_RDONLY) == 3);
	if (refused_kind == R_DNOTIFY) {
		JOB_CHECK(open(job_dir, O_RDONLY | O_DIRECTORY) == 3);
		JOB_CHECK(fcntl(3, F_NOTIFY, DN_CREATE | DN_MULTISHOT) == 0);
	}
	if (refused_kind == R_LINKED) {
		job_open(3, "linked", O_RDWR, "");
		JOB_CHECK(mkdir(job_path("sub"), 0700) == 0);
		JOB_CHECK(rename(job_path("linked"), job_path("lost")) == 0);
		JOB_CHECK(link(job_path("lost"), job_path("sub/other")) == 0);
		JOB_CHECK(unlink(job_path("lost")) == 0);
	}
	if (refused_kind == R_LEASE) {
		job_open(3, "lease", O_RDONLY, "");
		JOB_CHECK(fcntl(3, F_SETLEASE, F_RDLCK) == 0);
	}
}

START_TEST(refused)
{
	struct job j = { .n_tasks = 1, .make = refused_make };
	char place[40];

	refused_kind = _i;
	job_refused(&j, refused_text[_i]);
	ck_assert_int_eq(job_err.kind, _i == R_INOTIFY ? CK_ERR_BUSY : CK_ERR_REFUSED);
	snprintf(place, sizeof(place), "task %d (", (int)shared->pid[0]);
	ck_assert_ptr_nonnull(strstr(job_err.where, place));
	ck_assert_ptr_nonnull(strstr(job_err.where, "> fd 3"));
	/* an image that was refused is not there */
	ck_assert_int_eq(access(job_path("img"), F_OK), -1);
}
END_TEST

static Suite *files_suite(void)
{
	const TTest *const tests[] = { deleted, mapped,    needs,     changed,
				       linked,  two_names, sums_wait, sums_at_once };
	Suite *s = suite_create("engine/res files");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, job_setup, job_teardown);
	for (size_t i = 0; i < CK_ARRAY_SIZE(tests); i++)
		tcase_add_test(c, tests[i]);
	tcase_add_loop_test(c, refused, 0, N_REFUSED);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(files_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
