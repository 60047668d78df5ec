// SPDX-License-Identifier: Apache-2.0
/* The probe: its table, its text parsers, and that it tries for real and leaves nothing behind. */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/pb.h"
#include "probe/probe-internal.h"

START_TEST(table_is_sound)
{
	for (int i = 0; i < PROBE_N_FACTS; i++) {
		const struct probe_fact_info *f = &probe_fact_infos[i];

		ck_assert_int_eq(probe_fact_find(f->name), i);
		ck_assert_int_gt((int)strlen(f->meaning), 3);
		ck_assert_int_gt((int)strlen(f->who), 3);
		ck_assert_int_gt((int)strlen(f->since), 2);
		ck_assert_int_gt((int)strlen(f->how), 3);
		for (const char *c = f->commit; *c; c++)
			ck_assert_msg(strchr("0123456789abcdef", *c) != NULL, "%s", f->commit);
	}
	ck_assert_int_eq(probe_fact_find("no.such.fact"), -1);
}
END_TEST

/* Each names a field that there is; what is not named lasts. */
START_TEST(momentary_fields)
{
	for (size_t i = 0; probe_momentary[i]; i++) {
		const ProtobufCMessageDescriptor *d = &ckpt_facts__descriptor;
		CK_AUTO(free) char *path = strdup(probe_momentary[i]);
		char *rest = path, *name;

		while ((name = strsep(&rest, "/")) != NULL) {
			const ProtobufCFieldDescriptor *f =
				protobuf_c_message_descriptor_get_field_by_name(d, name);

			ck_assert_msg(f != NULL, "no field %s", probe_momentary[i]);
			if (rest)
				ck_assert_int_eq(f->type, PROTOBUF_C_TYPE_MESSAGE);
			d = f->descriptor;
		}
	}
}
END_TEST

START_TEST(meminfo)
{
	static const char text[] = "MemTotal:  100 kB\nMemFree: 7 kB\nMemAvailable:\t50 kB\n";
	uint64_t v = 1;

	ck_assert(probe_meminfo(text, "MemAvailable", &v));
	ck_assert_uint_eq(v, 50 * 1024);
	ck_assert(!probe_meminfo(text, "SwapFree", &v));
	ck_assert(!probe_meminfo(text, "Mem", &v));
	ck_assert(!probe_meminfo("", "MemTotal", &v));
}
END_TEST

START_TEST(lists)
{
	ck_assert(probe_in_list("cpu,memory", "cpu"));
	ck_assert(probe_in_list("cpu,memory", "memory"));
	ck_assert(!probe_in_list("cpu,memory", "mem"));
	ck_assert(!probe_in_list("cpuacct", "cpu"));
	ck_assert(!probe_in_list("", "cpu"));
}
END_TEST

static const CkptInterface *interface(const CkptFacts *f, const char *name)
{
	for (size_t i = 0; i < f->n_interfaces; i++)
		if (!strcmp(f->interfaces[i]->name, name))
			return f->interfaces[i];
	return NULL;
}

/* A port of ours is among those that are taken, and goes when we let it go. */
START_TEST(network)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	for (int pass = 0; pass < 2; pass++) {
		CkptFacts *f = NULL;
		bool seen = false;

		ck_assert_int_eq(probe_facts(&f, NULL), 0);
		for (size_t i = 0; i < f->n_listeners; i++) {
			const CkptListener *l = f->listeners[i];

			seen = seen ||
			       (l->port == ntohs(a.sin_port) && l->uid == geteuid() &&
				!strcmp(l->protocol, "tcp") && !strcmp(l->address, "127.0.0.1"));
		}
		ck_assert_int_eq(seen, pass == 0);
		ck_assert_ptr_nonnull(interface(f, "lo"));
		ck_assert_uint_gt(interface(f, "lo")->mtu, 1000);
		ck_assert_str_eq(interface(f, "lo")->addresses[0], "127.0.0.1/8");
		ckpt_facts__free_unpacked(f, NULL);
		if (pass == 0)
			close(fd);
	}
}
END_TEST

START_TEST(live_host)
{
	CkptFacts *f = NULL;
	const char *detail;

	ck_assert_int_eq(probe_facts(&f, NULL), 0);
	ck_assert_int_eq((int)probe_has(f, "ptrace.seize", NULL), CKPT_TRISTATE__CKPT_YES);
	ck_assert_int_eq((int)probe_has(f, "process_vm_readv", NULL), CKPT_TRISTATE__CKPT_YES);
	ck_assert_int_eq((int)probe_has(f, "nonsense", &detail), CKPT_TRISTATE__CKPT_UNKNOWN);
	ck_assert_str_eq(detail, "");
	ck_assert_uint_eq(f->kernel->n_features + f->priv->n_features, PROBE_N_FACTS);
	ck_assert_uint_ge(f->kernel->pid_max, 300);
	ck_assert_uint_eq(f->kernel->page_size, 4096);
	ck_assert_uint_ge(f->kernel->task_size, 0x7ffffffff000);
	ck_assert_uint_eq(f->kernel->vdso_size % 4096, 0);
	ck_assert_uint_gt(f->kernel->vdso_build_id.len, 0);
	ck_assert_uint_gt(f->memory->available, 1 << 20);
	ck_assert_uint_ge(f->memory->total, f->memory->available);
	ck_assert_uint_gt(f->n_mounts, 0);
	ck_assert_uint_gt(f->tasks->tasks, 1);
	ck_assert_uint_gt(f->n_modules, 30);
	ck_assert_uint_gt(f->kernel->n_sysctls, 10);
	ck_assert_uint_gt(f->kernel->n_filesystems, 5);
	ck_assert(f->priv->has_uid);
	ck_assert_uint_eq(f->priv->uid, geteuid());
	ck_assert_uint_gt(f->n_momentary, 5);
	ck_assert_uint_eq(f->priv->n_limits, 16);
	ck_assert_uint_gt(f->priv->n_uid_map, 0);
	ck_assert_uint_eq(f->priv->cap_eff & ~f->priv->cap_prm, 0);
	/* Every experiment came to an answer, or says why it was not made. */
	for (int i = 0; i < PROBE_N_FACTS; i++) {
		CkptTristate v = probe_has(f, probe_fact_infos[i].name, &detail);

		ck_assert_msg(v == CKPT_TRISTATE__CKPT_YES || *detail, "%s",
			      probe_fact_infos[i].name);
		ck_assert_msg(!strstr(detail, "did not end"), "%s", probe_fact_infos[i].name);
	}
	ck_assert_uint_gt(f->at, 1500000000);
	/* What can't be packed was not built right. */
	ck_assert_uint_gt(ckpt_facts__get_packed_size(f), 1000);
	ckpt_facts__free_unpacked(f, NULL);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}
END_TEST

/* Under a filter that refuses kcmp and clone3 the probe says so, and says it of nothing else. */
START_TEST(tries_for_real)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 2),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { CK_ARRAY_SIZE(code), code };
	const char *detail;
	CkptFacts *f = NULL;

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
	ck_assert_int_eq(probe_facts(&f, NULL), 0);
	ck_assert_int_eq((int)probe_has(f, "kcmp", &detail), CKPT_TRISTATE__CKPT_NO);
	ck_assert_ptr_nonnull(strstr(detail, "not permitted; a seccomp filter may have answered"));
	ck_assert_int_eq((int)probe_has(f, "set_tid", &detail), CKPT_TRISTATE__CKPT_NO);
	ck_assert_ptr_nonnull(strstr(detail, "not implemented"));
	ck_assert_int_eq((int)probe_has(f, "process_vm_readv", NULL), CKPT_TRISTATE__CKPT_YES);
	ck_assert_uint_eq(f->priv->seccomp, 2);
	ck_assert(f->priv->no_new_privs);
	ckpt_facts__free_unpacked(f, NULL);
}
END_TEST

/* Not whole enough for the generated destructor. */
static void drop(CkptFacts *f)
{
	for (size_t i = 0; i < f->n_pids; i++)
		ckpt_pid_fact__free_unpacked(f->pids[i], NULL);
	free(f->pids);
	free(f);
}

START_TEST(taken_pids)
{
	CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);
	uint32_t pids[4] = { (uint32_t)getpid(), 0, 0, 0x7fffffff };
	pid_t gone = fork();

	ck_assert_ptr_nonnull(f);
	if (gone == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(gone, NULL, 0), gone);
	pids[1] = (uint32_t)gone;
	ck_assert_int_eq(probe_pids(f, pids, 4), 0);
	ck_assert_uint_eq(f->n_pids, 4);
	ck_assert(f->pids[0]->taken);
	ck_assert_ptr_nonnull(strstr(f->pids[0]->by, "t-probe"));
	ck_assert(!f->pids[1]->taken);
	ck_assert(!f->pids[2]->taken);
	ck_assert(!f->pids[3]->taken);
	drop(f);
}
END_TEST

/* The number of a leader that is gone stays taken while its group lives. */
START_TEST(pid_of_a_group)
{
	CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);
	int ready[2];
	uint32_t pid;
	pid_t leader;
	char c;

	ck_assert_int_eq(pipe(ready), 0); /* closed by all: both children have come so far */
	leader = fork();
	if (leader == 0) {
		setpgid(0, 0);
		if (fork() == 0) {
			close(ready[1]);
			alarm(20);
			pause();
		}
		_exit(0);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &c, 1), 0);
	ck_assert_int_eq(waitpid(leader, NULL, 0), leader);
	pid = (uint32_t)leader;
	ck_assert_int_eq(probe_pids(f, &pid, 1), 0);
	ck_assert(f->pids[0]->taken);
	ck_assert_str_eq(f->pids[0]->by, "a process group");
	kill(-leader, SIGKILL);
	drop(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("probe-host");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, table_is_sound);
	tcase_add_test(tc, momentary_fields);
	tcase_add_test(tc, meminfo);
	tcase_add_test(tc, lists);
	tcase_add_test(tc, live_host);
	tcase_add_test(tc, tries_for_real);
	tcase_add_test(tc, network);
	tcase_add_test(tc, taken_pids);
	tcase_add_test(tc, pid_of_a_group);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
