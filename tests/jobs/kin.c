// SPDX-License-Identifier: Apache-2.0
/*
 * Processes that share descriptors, or directory and umask, by flags of clone(2): with the parent,
 * with a grandparent, with a sibling; and some that look the same and share nothing. In turns each
 * checks what it has against what the last one that has the same made of it, and changes something.
 * Their ends send different signals to the parent, or none.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "job.h"

enum { ROLES = 6, SLOTS = 8, FIRST = 50, DIRS = 4, LAST = 64, GROUPS = ROLES, OVER = 1u << 31 };

/* Who has what in common: the number of the group. */
static const int files_of[ROLES] = { 0, 0, 2, 0, 4, 4 };
static const int fs_of[ROLES] = { 0, 1, 0, 1, 4, 5 };

static struct board {
	uint32_t turn;
	bool last; /* umasks change, too: onlookers compare them while the job runs */
	uint64_t x;
	int slot[GROUPS][SLOTS]; /* minor number of the device that is open there, or 0 */
	int cloexec[GROUPS][SLOTS];
	mode_t mask[GROUPS];
	int dir[GROUPS];
} * b;
static char base[PATH_MAX - 64];
static volatile int ends[2]; /* that SIGCHLD and SIGUSR1 have told of */

static const struct {
	const char *name;
	int minor;
} devices[] = { { "/dev/null", 3 }, { "/dev/zero", 5 }, { "/dev/full", 7 } };

static void check_files(int g)
{
	for (int i = 0; i < SLOTS; i++) {
		struct stat st;
		int flags = fcntl(FIRST + i, F_GETFD);

		CHECKF((flags >= 0) == (b->slot[g][i] != 0), "group %d: fd %d is %s", g, FIRST + i,
		       flags < 0 ? "closed" : "open");
		if (flags < 0)
			continue;
		CHECK(!fstat(FIRST + i, &st) && (int)minor(st.st_rdev) == b->slot[g][i]);
		CHECKF((flags & FD_CLOEXEC) == b->cloexec[g][i], "group %d: close-on-exec of fd %d",
		       g, FIRST + i);
	}
}

static void change_files(int g, uint64_t x)
{
	int i = (int)(x % SLOTS), dev = (int)((x >> 8) % 3), flags = (int)(x >> 16) & 1;

	if (b->slot[g][i] && (x >> 20 & 1)) {
		CHECK(!close(FIRST + i));
		b->slot[g][i] = 0;
		return;
	}
	if (!b->slot[g][i]) {
		int fd = open(devices[dev].name, O_RDONLY);

		CHECK(fd >= 0 && dup2(fd, FIRST + i) == FIRST + i && !close(fd));
		b->slot[g][i] = devices[dev].minor;
	}
	CHECK(!fcntl(FIRST + i, F_SETFD, flags));
	b->cloexec[g][i] = flags;
}

static void check_fs(int g)
{
	char cwd[PATH_MAX], want[PATH_MAX];
	mode_t mask = umask(b->mask[g]);

	CHECKF(mask == b->mask[g], "group %d: umask is %o, not %o", g, mask, b->mask[g]);
	snprintf(want, sizeof(want), "%s/kin.%d", base, b->dir[g]);
	CHECK(getcwd(cwd, sizeof(cwd)));
	CHECKF(!strcmp(cwd, want), "group %d: in %s, not %s", g, cwd, want);
}

static void change_fs(int g, uint64_t x)
{
	char path[PATH_MAX];

	if (b->last && (x & 1)) {
		b->mask[g] = (mode_t)(x >> 8) & 0666;
		umask(b->mask[g]);
	} else {
		b->dir[g] = (int)((x >> 8) % DIRS);
		snprintf(path, sizeof(path), "%s/kin.%d", base, b->dir[g]);
		CHECK(!chdir(path));
	}
}

static void take_turn(int role)
{
	b->x = job_next(b->x + (uint64_t)role);
	check_files(files_of[role]);
	check_fs(fs_of[role]);
	change_files(files_of[role], b->x);
	change_fs(fs_of[role], b->x >> 24);
}

/* Until it is role's turn; false when all is over. */
static bool wait_turn(int role)
{
	for (;;) {
		uint32_t now = __atomic_load_n(&b->turn, __ATOMIC_ACQUIRE);

		if (now & OVER)
			return false;
		if (now % ROLES == (uint32_t)role)
			return true;
		syscall(SYS_futex, &b->turn, FUTEX_WAIT, now, NULL, NULL, 0);
	}
}

static void next_turn(uint32_t over)
{
	__atomic_store_n(&b->turn, ((b->turn + 1) % (ROLES << 20)) | over, __ATOMIC_RELEASE);
	syscall(SYS_futex, &b->turn, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* As fork(2), but for the flags, which have the signal in them. */
static pid_t clone_with(unsigned long flags)
{
	pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);

	CHECK(pid >= 0);
	return pid;
}

static void make_children(int role);

static pid_t child(int role, unsigned long flags)
{
	pid_t pid = clone_with(flags);
	int status;

	if (pid)
		return pid;
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
	make_children(role);
	while (wait_turn(role)) {
		take_turn(role);
		next_turn(0);
	}
	while (role == 1 && wait(&status) > 0)
		CHECK(status == 0);
	_exit(0);
}

static void make_children(int role)
{
	if (role == 1)
		child(3, CLONE_FILES | CLONE_FS | SIGCHLD);
	if (role == 4)
		child(5, CLONE_FILES | CLONE_PARENT); /* without a signal, as its maker */
}

/* A child that found something wrong has said so, and nobody gets another turn. */
static void on_child(int signo)
{
	ends[signo == SIGUSR1]++;
	if (!(__atomic_load_n(&b->turn, __ATOMIC_ACQUIRE) & OVER))
		_exit(3);
}

static void prepare(void)
{
	char path[PATH_MAX];

	umask(022);
	b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(b != MAP_FAILED);
	memset(b, 0, sizeof(*b));
	CHECK(getcwd(base, sizeof(base)));
	for (int i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "%s/kin.%d", base, i);
		CHECK(!mkdir(path, 0755) || errno == EEXIST);
	}
	snprintf(path, sizeof(path), "%s/kin.0", base);
	CHECK(!chdir(path));
	for (int g = 0; g < GROUPS; g++)
		b->mask[g] = 022;
	signal(SIGCHLD, on_child);
	signal(SIGUSR1, on_child);
}

int main(void)
{
	int status, n = 0;

	job_begin(11000);
	prepare();
	child(1, CLONE_FILES | SIGCHLD);
	child(2, CLONE_FS | SIGUSR1);
	child(4, 0);
	while (job_more() || (b->last = true, n++ < LAST)) {
		CHECK(wait_turn(0));
		take_turn(0);
		next_turn(0);
	}
	CHECK(wait_turn(0));
	next_turn(OVER);
	for (n = 0; waitpid(-1, &status, __WALL) > 0; n++)
		CHECK(status == 0);
	CHECKF(n == 4, "%d children", n);
	CHECKF(ends[0] == 1 && ends[1] == 1, "%d and %d signals", ends[0], ends[1]);
	return job_end("kin", b->x);
}
