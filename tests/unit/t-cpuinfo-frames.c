// SPDX-License-Identifier: Apache-2.0
/* Signal frames that the kernel makes are found, each once and no other; broken ones end a search.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo.h"

/* ---- our own memory ---- */

enum { MAX_MAPS = 512, MAX_FOUND = 128 };

static struct cpuinfo_map maps[MAX_MAPS];
static struct cpuinfo_memory own = { .map = maps };

/* As a dump reads another task's, and past the guards that sanitizers put between variables. */
static int read_own(void *arg, uint64_t addr, void *buf, size_t len)
{
	struct iovec to = { buf, len }, from = { (void *)(uintptr_t)addr, len };

	(void)arg;
	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static void read_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512], perm[8];

	ck_assert_ptr_nonnull(f);
	own.read = read_own;
	for (own.n = 0; own.n < MAX_MAPS && fgets(line, sizeof(line), f);) {
		unsigned long long start, end;

		/* NOLINTNEXTLINE(cert-err34-c): the kernel's own text */
		if (sscanf(line, "%llx-%llx %4s", &start, &end, perm) == 3 && perm[0] == 'r')
			maps[own.n++] = (struct cpuinfo_map){ start, end, perm[2] == 'x' };
	}
	fclose(f);
}

/* ---- what the kernel said, and what was found ---- */

static struct {
	uint64_t area, ip, sp;
} want[MAX_FOUND];
static struct cpuinfo_frame found[MAX_FOUND];
/* raise() is declared as calling nothing of ours. */
static volatile int n_want, n_found, depth;
static stack_t sas;
static char alt[65536] __attribute__((aligned(4096)));

static int take(const struct cpuinfo_frame *f, void *arg)
{
	(void)arg;
	ck_assert_int_lt(n_found, MAX_FOUND);
	found[n_found++] = *f;
	return 0;
}

static void look(void)
{
	read_maps();
	n_found = 0;
	ck_assert_int_eq(cpuinfo_frames(&own, (uintptr_t)__builtin_frame_address(0),
					(uintptr_t)sas.ss_sp, sas.ss_size, take, NULL),
			 0);
}

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	const mcontext_t *mc = &((ucontext_t *)uc)->uc_mcontext;

	(void)si;
	want[n_want].area = (uintptr_t)mc->fpregs;
	want[n_want].ip = (uint64_t)mc->gregs[REG_RIP];
	want[n_want].sp = (uint64_t)mc->gregs[REG_RSP];
	n_want++;
	if (--depth > 0)
		raise(depth % 2 ? SIGUSR1 : SIGUSR2);
	else
		look();
	(void)sig;
}

static void nest(int n, int flags1, int flags2)
{
	struct sigaction one = { .sa_sigaction = on_signal,
				 .sa_flags = SA_SIGINFO | SA_NODEFER | flags1 };
	struct sigaction two = { .sa_sigaction = on_signal,
				 .sa_flags = SA_SIGINFO | SA_NODEFER | flags2 };

	sigset_t none;

	n_want = 0;
	depth = n;
	sigaction(SIGUSR1, &one, NULL);
	sigaction(SIGUSR2, &two, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	raise(SIGUSR1);
	ck_assert_int_eq(n_want, n);
	ck_assert_int_eq(n_found, n);
	for (int i = 0; i < n; i++) {
		const struct cpuinfo_frame *f = &found[n - 1 - i];

		ck_assert_uint_eq(f->area, want[i].area);
		ck_assert_uint_eq(f->ip, want[i].ip);
		ck_assert_uint_eq(f->sp, want[i].sp);
		ck_assert_uint_eq(f->xfeatures & 3, 3);
		ck_assert_uint_ge(f->room, f->size + 4);
		ck_assert_uint_lt(f->room, f->size + 4 + 64);
	}
}

static bool has_xsave(void)
{
	CkptCpuFacts *cpu = NULL;
	bool has;

	ck_assert_int_eq(cpuinfo_facts(&cpu, NULL), 0);
	has = cpu->has_xcr0;
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
	return has;
}

static void leave(int sig)
{
	(void)sig;
	_exit(0);
}

START_TEST(on_the_stack)
{
	if (!has_xsave())
		return;
	nest(1, 0, 0);
	nest(3, 0, 0);
	nest(40, 0, 0);
	/* All have returned: what is left of them lies below. */
	look();
	ck_assert_int_eq(n_found, 0);
}
END_TEST

START_TEST(on_the_alternate_stack)
{
	if (!has_xsave())
		return;
	sas = (stack_t){ .ss_sp = alt, .ss_size = sizeof(alt) };
	ck_assert_int_eq(sigaltstack(&sas, NULL), 0);
	nest(1, SA_ONSTACK, 0);
	nest(4, SA_ONSTACK, 0);
	/* The second goes over to it. */
	nest(5, 0, SA_ONSTACK);
	look();
	ck_assert_int_eq(n_found, 0);
}
END_TEST

/* The end of the alternate stack bounds the room of the first frame there. */
START_TEST(room_ends_with_the_stack)
{
	if (!has_xsave())
		return;
	sas = (stack_t){ .ss_sp = alt, .ss_size = sizeof(alt) - 64 };
	ck_assert_int_eq(sigaltstack(&sas, NULL), 0);
	nest(1, SA_ONSTACK, 0);
	ck_assert_uint_le(found[0].area + found[0].room, (uintptr_t)alt + sizeof(alt) - 64);
}
END_TEST

/* The kernel calls a handler on an alternate stack if and only if we say that a frame fits. */
START_TEST(too_small_a_stack)
{
	CkptCpuFacts *cpu = NULL;
	bool fitted = false;

	ck_assert_int_eq(cpuinfo_facts(&cpu, NULL), 0);
	for (size_t size = 2048; size <= 8192 && !fitted; size += size < 4096 ? 8 : 512) {
		stack_t ss = { .ss_sp = alt + 4096, .ss_size = size };
		struct sigaction sa = { .sa_handler = leave, .sa_flags = SA_ONSTACK };
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			sigset_t none;

			sigemptyset(&none);
			sigprocmask(SIG_SETMASK, &none, NULL);
			sigaltstack(&ss, NULL);
			sigaction(SIGUSR1, &sa, NULL);
			raise(SIGUSR1);
			_exit(1);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		fitted = cpuinfo_frame_fits(cpu, (uintptr_t)alt + 4096, size, false);
		ck_assert_msg(fitted ? WIFEXITED(status) && !WEXITSTATUS(status)
				     : WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
			      "%zu bytes: status %#x", size, status);
	}
	ck_assert(fitted);
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
}
END_TEST

/* ---- made up ---- */

enum { BASE = 0x10000, LEN = 0x20000, CODE = 0x1000 };

static uint8_t memory[LEN];
static const struct cpuinfo_map made_maps[] = { { CODE, CODE + 0x1000, true },
						{ BASE, BASE + LEN, false } };

static int read_made(void *arg, uint64_t addr, void *buf, size_t len)
{
	(void)arg;
	if (addr < BASE || addr + len > BASE + LEN)
		return -EFAULT;
	memcpy(buf, memory + (addr - BASE), len);
	return 0;
}

static void put(uint64_t addr, uint64_t v, size_t len)
{
	memcpy(memory + (addr - BASE), &v, len);
}

/* A frame as the kernel's, by its ABI. */
static void put_frame(uint64_t area, uint32_t size, uint64_t sp)
{
	uint64_t frame = area - 456;

	put(frame, CODE + 16, 8);
	put(frame + 8, 7, 8);
	put(frame + 168, sp, 8);
	put(frame + 176, CODE, 8);
	put(frame + 192, 0x33, 2);
	put(frame + 232, area, 8);
	put(area + 464, 0x46505853, 4);
	put(area + 468, size + 4, 4);
	put(area + 472, 7, 8);
	put(area + 480, size, 4);
	put(area + 512, 7, 8);
	put(area + size, 0x46505845, 4);
}

static int count_made(uint64_t sp, uint64_t sas_sp, uint64_t sas_size)
{
	struct cpuinfo_memory m = { .map = made_maps, .n = 2, .read = read_made };

	n_found = 0;
	ck_assert_int_eq(cpuinfo_frames(&m, sp, sas_sp, sas_size, take, NULL), 0);
	return n_found;
}

START_TEST(each_mark_counts)
{
	static const struct {
		int64_t off;
		uint64_t v;
		size_t len;
	} wrong[] = {
		{ -456, BASE, 8 }, /* returns into data */
		{ -448, 6, 8 },    /* no xstate */
		{ -264, 0x23, 2 }, /* 32-bit code */
		{ -224, 0, 8 },    /* its state is elsewhere */
		{ 464, 0, 4 },     /* no mark */
		{ 468, 832, 4 },   /* sizes that differ */
		{ 472, 4, 8 },     /* no x87 */
		{ 480, 500, 4 },   /* too small */
		{ 832, 0, 4 },     /* no mark behind */
	};
	const uint64_t area = BASE + 0x2000;

	for (size_t i = 0; i <= CK_ARRAY_SIZE(wrong); i++) {
		memset(memory, 0, sizeof(memory));
		put_frame(area, 832, BASE + 0x3000);
		ck_assert_int_eq(count_made(BASE + 0x100, 0, 0), 1);
		if (i < CK_ARRAY_SIZE(wrong)) {
			put(area + (uint64_t)wrong[i].off, wrong[i].v, wrong[i].len);
			ck_assert_msg(count_made(BASE + 0x100, 0, 0) == 0, "case %zu", i);
		}
	}
	/* Below the stack pointer: left over. */
	ck_assert_int_eq(count_made(area - 455, 0, 0), 0);
	ck_assert_int_eq(count_made(area - 456, 0, 0), 1);
}
END_TEST

/* At every place of a chunk, and against the end of the memory. */
START_TEST(at_every_place)
{
	for (uint64_t area = BASE + 512; area + 832 + 4 <= BASE + LEN; area += 64) {
		memset(memory, 0, sizeof(memory));
		put_frame(area, 832, BASE + LEN);
		ck_assert_msg(count_made(BASE, 0, 0) == 1, "at %#llx", (unsigned long long)area);
	}
	memset(memory, 0, sizeof(memory));
	put_frame(BASE + LEN - 832 - 64, 832, 0);
	put(BASE + LEN - 832 - 64 + 468, 904, 4);
	put(BASE + LEN - 832 - 64 + 480, 900, 4);
	ck_assert_int_eq(count_made(BASE, 0, 0), 0);
}
END_TEST

START_TEST(chains_that_go_round_end)
{
	memset(memory, 0, sizeof(memory));
	put_frame(BASE + 0x4000, 832, BASE + 0x100);
	ck_assert_int_le(count_made(BASE + 0x100, 0, 0), 64);
	/* Interrupted where nothing is mapped. */
	put_frame(BASE + 0x4000, 832, 0x7fffffff0000);
	ck_assert_int_eq(count_made(BASE + 0x100, 0, 0), 1);
	/* An alternate stack that would wrap round. */
	ck_assert_int_eq(count_made(BASE + 0x100, BASE, UINT64_MAX), 1);
	ck_assert_int_eq(count_made(0, 0, 0), 0);
}
END_TEST

/* From the alternate stack back to another, in the same mapping and below it. */
START_TEST(stacks_side_by_side)
{
	memset(memory, 0, sizeof(memory));
	put_frame(BASE + 0x9000, 832, BASE + 0x1000);
	put_frame(BASE + 0x2000, 832, BASE + 0x3000);
	/* Of an older handler, beyond the alternate stack. */
	put_frame(BASE + 0xb000, 832, BASE + 0xc000);
	ck_assert_int_eq(count_made(BASE + 0x8100, BASE + 0x8000, 0x2000), 2);
	ck_assert_uint_eq(found[0].area, BASE + 0x9000);
	ck_assert_uint_eq(found[1].area, BASE + 0x2000);
}
END_TEST

static int stop(const struct cpuinfo_frame *f, void *arg)
{
	(void)f;
	(void)arg;
	return -ECANCELED;
}

START_TEST(the_caller_may_stop)
{
	struct cpuinfo_memory m = { .map = made_maps, .n = 2, .read = read_made };

	memset(memory, 0, sizeof(memory));
	put_frame(BASE + 0x4000, 832, BASE + 0x5000);
	ck_assert_int_eq(cpuinfo_frames(&m, BASE, 0, 0, stop, NULL), -ECANCELED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cpuinfo-frames");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int bad;

	tcase_add_test(t, on_the_stack);
	tcase_add_test(t, on_the_alternate_stack);
	tcase_add_test(t, room_ends_with_the_stack);
	tcase_add_test(t, too_small_a_stack);
	tcase_add_test(t, each_mark_counts);
	tcase_add_test(t, at_every_place);
	tcase_add_test(t, chains_that_go_round_end);
	tcase_add_test(t, stacks_side_by_side);
	tcase_add_test(t, the_caller_may_stop);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
