// SPDX-License-Identifier: Apache-2.0
/*
 * What the analysis of code says, against programs that are made here: what they need, and, step by
 * step, that they execute nothing that was not predicted.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo.h"
#include "engine/engine.h"
#include "image/facts.pb-c.h"
#include "isa/isa-internal.h"
#include "tests/unit/skip.h"

enum { STEPS = 60000 };

static char dir[] = "/tmp/ckpt-t-isa-XXXXXX";

/* Prints, compares and computes, for ever; says that it has begun with a byte. */
static const char program[] =
	"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"
	"static float x[999], y[999];\n"
	"static int by_value(const void *a, const void *b)\n"
	"{ return *(const int *)a - *(const int *)b; }\n"
	"__attribute__((noinline)) static float sum(int n)\n"
	"{ float s = 0; for (int i = 0; i < n; i++) { x[i] = x[i] * 1.5f + y[i]; s += x[i]; }\n"
	"  return s; }\n"
	"#ifdef CLONES\n__attribute__((target_clones(\"avx2\", \"default\"), noinline))\n#else\n"
	"__attribute__((noinline))\n#endif\n"
	"double dot(const float *a, int n)\n"
	"{ double s = 0; for (int i = 0; i < n; i++) s += a[i] * a[i]; return s; }\n"
	"int main(void) { char b[300], c[300]; int v[50]; write(1, \"x\", 1);\n"
	"for (unsigned int i = 0;; i++) {\n"
	"  for (int k = 0; k < 50; k++) v[k] = (int)(i * 7919u + (unsigned int)k * 31) % 100;\n"
	"  qsort(v, 50, sizeof(*v), by_value); char *m = malloc(100 + i % 5000);\n"
	"  snprintf(b, sizeof(b), \"%u %g %g %d\", i, sum(999), dot(x, 999), v[3]);\n"
	"  memset(c, 'a', 299); memcpy(c, b, strlen(b) + 1);\n"
	"  if (strcmp(b, c) || strchr(c, '~')) return 1;\n"
	"#ifdef LATER\n  if (i == ~0u) LATER;\n#endif\n"
	"  free(m); } }\n";

static void setup(void)
{
	char path[64];
	FILE *f;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/p.c", dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(program, f);
	fclose(f);
}

static void teardown(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static bool build(const char *compiler)
{
	char command[300];

	snprintf(command, sizeof(command), "cd %s && %s p.c -o p 2>/dev/null", dir, compiler);
	return system(command) == 0;
}

static pid_t start(const char *tunables)
{
	char path[64], env[200];
	int fd[2];
	pid_t pid;
	char c;

	snprintf(path, sizeof(path), "%s/p", dir);
	snprintf(env, sizeof(env), "GLIBC_TUNABLES=%s", tunables);
	ck_assert_int_eq(pipe(fd), 0);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(fd[1], 1);
		dup2(null, 2);
		closefrom(3);
		setsid();
		execle(path, "p", (char *)NULL, (char *[]){ env, NULL });
		_exit(127);
	}
	close(fd[1]);
	ck_assert_int_eq(read(fd[0], &c, 1), 1);
	close(fd[0]);
	return pid;
}

struct looked {
	struct image *img;
	CkptNeeds *needs;
	struct image_entries files;
	struct isa_objects all;
	struct isa_space space;
	struct isa_graph graph;
	CkptIsa *isa;
};

/* Dumps the program, which runs on, and looks at the image. */
static void look(pid_t pid, struct looked *l)
{
	struct engine_dump_stats stats;
	struct engine_dump_opts o = { .pid = pid, .flags = ENGINE_LEAVE_RUNNING };
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *m;
	char path[64];

	snprintf(path, sizeof(path), "%s/img", dir);
	o.dir = path;
	ck_assert_msg(engine_dump(&o, &stats, &err) == 0, "%s %s", err.what, err.where);
	ck_assert_int_eq(stats.late.kind, CK_ERR_NONE);
	ck_assert_int_eq(image_open(path, &l->img, NULL), 0);
	ck_assert_int_eq(image_read_one(l->img, IMAGE_CKPT_NEEDS, 0, &m, NULL), 0);
	l->needs = (CkptNeeds *)m;
	ck_assert_int_eq(image_read_one(l->img, IMAGE_CKPT_ISA, 0, &m, NULL), 0);
	l->isa = (CkptIsa *)m;
	ck_assert_uint_eq(l->isa->image_id, image_id(l->img));
	ck_assert_int_eq(image_read_all(l->img, IMAGE_FILES, 0, &l->files, NULL), 0);
	ck_assert_int_eq(isa_space_load(&l->space, l->img, l->needs, l->needs->tasks[0], &l->all,
					&l->files, NULL),
			 0);
	ck_assert_int_eq(isa_graph_walk(&l->graph, &l->space, NULL), 0);
}

static void end(pid_t pid, struct looked *l)
{
	char command[100];

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	isa_graph_done(&l->graph);
	isa_space_done(&l->space);
	for (size_t i = 0; i < l->all.n; i++) {
		isa_object_done(l->all.o[i]);
		free(l->all.o[i]);
	}
	free(l->all.o);
	image_entries_done(&l->files);
	ckpt_isa__free_unpacked(l->isa, NULL);
	ckpt_needs__free_unpacked(l->needs, NULL);
	image_free(l->img);
	snprintf(command, sizeof(command), "rm -rf %s/img", dir);
	ck_assert_int_eq(system(command), 0);
}

/* Executes and compares: where each instruction lies in a function that can be reached. */
static void step(pid_t pid, const struct looked *l)
{
	size_t in_modules = 0;

	ck_assert_int_eq(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	for (size_t i = 0; i < STEPS; i++) {
		struct user_regs_struct regs;
		const struct isa_module *m;
		const struct isa_function *f;

		ck_assert_int_eq(ptrace(PTRACE_GETREGS, pid, 0, &regs), 0);
		m = isa_space_code(&l->space, regs.rip);
		f = m ? isa_code_find(m->object, regs.rip - m->base) : NULL;
		if (f) {
			uint64_t slot;

			in_modules++;
			ck_assert_msg((l->graph.node[m->first + (size_t)(f - m->object->fn)].state &
				       ISA_REACHED) ||
					      isa_code_stub(m->object, regs.rip - m->base, &slot) ||
					      isa_code_stub(m->object, f->start, &slot) ||
					      isa_object_resolver(m->object, f->start),
				      "%s %#llx is executed", m->object->path,
				      (unsigned long long)(regs.rip - m->base));
		}
		ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, 0, 0), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	}
	ck_assert_uint_gt(in_modules, STEPS / 2);
}

static CkptIsaClass class_of(const CkptIsa *isa, const char *feature)
{
	CkptIsaClass c = 0;

	for (size_t i = 0; i < isa->n_modules; i++)
		for (size_t k = 0; k < isa->modules[i]->n_needs; k++)
			if (!strcmp(isa->modules[i]->needs[k]->feature, feature) &&
			    isa->modules[i]->needs[k]->class_ > c)
				c = isa->modules[i]->needs[k]->class_;
	return c;
}

static bool cpu_has(const char *feature)
{
	char command[100];

	snprintf(command, sizeof(command), "grep -qw %s /proc/cpuinfo", feature);
	return system(command) == 0;
}

START_TEST(oracle)
{
	static const char *const compilers[] = { "gcc -O2", "gcc -O2 -static",
						 "gcc -O3 -ffast-math -DCLONES" };
	struct looked l = { 0 };
	pid_t pid;

	ck_assert(build(compilers[_i]));
	pid = start("");
	look(pid, &l);
	step(pid, &l);
	end(pid, &l);
}
END_TEST

START_TEST(musl_needs_nothing)
{
	struct looked l = { 0 };
	pid_t pid;

	if (!build("musl-gcc -static -O2 -march=x86-64"))
		SKIP("no musl-gcc");
	pid = start("");
	look(pid, &l);
	ck_assert_uint_eq(l.isa->n_modules, 1);
	ck_assert_uint_gt(l.isa->modules[0]->reached, 3);
	for (size_t i = 0; i < l.isa->modules[0]->n_needs; i++)
		ck_abort_msg("needs %s", l.isa->modules[0]->needs[i]->feature);
	step(pid, &l);
	end(pid, &l);
}
END_TEST

START_TEST(built_for_this_cpu)
{
	struct looked l = { 0 };
	pid_t pid;

	if (!cpu_has("avx2"))
		SKIP("no AVX2");
	if (!build("musl-gcc -static -O3 -march=x86-64-v3"))
		SKIP("no musl-gcc");
	pid = start("");
	look(pid, &l);
	ck_assert_int_eq(class_of(l.isa, "avx"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	ck_assert_int_eq(class_of(l.isa, "avx512f"), 0);
	end(pid, &l);
}
END_TEST

START_TEST(chosen_by_glibc)
{
	struct looked l = { 0 };
	pid_t pid;

	if (!cpu_has("avx2"))
		SKIP("no AVX2");
	ck_assert(build("gcc -O2 -march=x86-64"));
	pid = start("");
	look(pid, &l);
	ck_assert_int_eq(class_of(l.isa, cpu_has("avx512vl") ? "avx512vl" : "avx2"),
			 CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	ck_assert_uint_eq(l.isa->n_tasks, 1);
	ck_assert(l.isa->tasks[0]->has_usable);
	ck_assert_uint_gt(l.isa->tasks[0]->n_state_size_at, 0);
	end(pid, &l);
}
END_TEST

/* ld.so and we come to the same: what its code has to reserve on this CPU. */
START_TEST(room_of_this_cpu)
{
	static const char *const tunables[] = { "", "glibc.cpu.hwcaps=-XSAVEC" };
	CkptCpuFacts *cpu = NULL;
	struct looked l = { 0 };
	size_t in_use = 0;
	pid_t pid;

	if (!cpu_has("avx"))
		SKIP("no AVX");
	ck_assert_int_eq(cpuinfo_facts(&cpu, NULL), 0);
	ck_assert(build("gcc -O2"));
	pid = start(tunables[_i]);
	look(pid, &l);
	ck_assert(!l.isa->tasks[0]->saves_unknown && !l.isa->tasks[0]->binding);
	for (size_t i = 0; i < l.isa->tasks[0]->n_saves; i++) {
		const CkptIsaSave *s = l.isa->tasks[0]->saves[i];
		uint64_t room = cpuinfo_save_room(cpu, l.isa->tasks[0], s);

		ck_assert_uint_eq(s->mask & 0xee, 0xee);
		/* Without XSAVEC it reserves room for all state that there is. */
		ck_assert_uint_le(room, s->size);
		if (room && s->compacted)
			ck_assert_uint_eq(room, s->size);
		in_use += room > 0;
	}
	ck_assert_uint_gt(in_use, 0);
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
	end(pid, &l);
}
END_TEST

/* What the remedies of cpu.isa promise. */
START_TEST(portable_launch)
{
	struct looked l = { 0 };
	pid_t pid;

	ck_assert(build("gcc -O2 -march=x86-64"));
	pid = start("glibc.cpu.hwcaps=-XSAVE,-XSAVEC,-RTM,-AVX_Fast_Unaligned_Load,"
		    "-SSE4_2,-SSE4_1,-SSSE3");
	look(pid, &l);
	ck_assert_int_lt(class_of(l.isa, "avx"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	ck_assert_int_lt(class_of(l.isa, "ssse3"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	ck_assert_int_lt(class_of(l.isa, "sse4_2"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	ck_assert_int_lt(class_of(l.isa, "xsavec"), CKPT_ISA_CLASS__CKPT_ISA_POSSIBLE);
	ck_assert_int_eq(class_of(l.isa, "rtm"), 0);
	end(pid, &l);
	/* The trap: without the last word, memmove stays bound to AVX code. */
	if (!cpu_has("avx2"))
		SKIP("no AVX2");
	pid = start("glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-XSAVEC");
	memset(&l, 0, sizeof(l));
	look(pid, &l);
	ck_assert_int_eq(class_of(l.isa, "avx"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	end(pid, &l);
}
END_TEST

/* What is called and not bound is bound in the way that was chosen at start. */
START_TEST(lazy_binding_is_certain)
{
	struct looked l = { 0 };
	pid_t pid;

	if (!cpu_has("xsavec"))
		SKIP("no XSAVEC");
	ck_assert(build("gcc -O2 -Wl,-z,lazy '-DLATER=puts(\"x\")'"));
	pid = start("");
	look(pid, &l);
	ck_assert_str_eq(l.isa->tasks[0]->trampoline, "xsavec");
	ck_assert_int_eq(class_of(l.isa, "xsavec"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	end(pid, &l);
	ck_assert(build("gcc -O2 -Wl,-z,now"));
	pid = start("glibc.elision.enable=1");
	memset(&l, 0, sizeof(l));
	look(pid, &l);
	ck_assert_int_lt(class_of(l.isa, "xsavec"), CKPT_ISA_CLASS__CKPT_ISA_CERTAIN);
	/* The libraries still bind among themselves, perhaps. Whoever asks for transactions may run
	 * them. */
	ck_assert_int_gt(class_of(l.isa, "rtm"), 0);
	end(pid, &l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("isa-reach");
	TCase *t = tcase_create("programs");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, oracle, 0, 3);
	tcase_add_test(t, musl_needs_nothing);
	tcase_add_test(t, built_for_this_cpu);
	tcase_add_test(t, chosen_by_glibc);
	tcase_add_loop_test(t, room_of_this_cpu, 0, 2);
	tcase_add_test(t, portable_launch);
	tcase_add_test(t, lazy_binding_is_certain);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
