// SPDX-License-Identifier: Apache-2.0
/* Puts the facts of the live host together: experiments, kernel, privileges, memory, mounts, CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/elf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "cpuinfo/cpuinfo.h"
#include "probe/probe-internal.h"

/* What a filter answers says nothing about the kernel. */
static bool may_be_filtered(const CkptFacts *facts, const struct probe_answer *a)
{
	return facts->priv->has_seccomp && facts->priv->seccomp == SECCOMP_MODE_FILTER &&
	       a->value == CKPT_TRISTATE__CKPT_NO &&
	       (strstr(a->detail, strerror(EPERM)) || strstr(a->detail, strerror(ENOSYS)));
}

static char *detail_of(const CkptFacts *facts, const struct probe_answer *a)
{
	char *s;

	if (asprintf(&s, "%s%s", a->detail,
		     may_be_filtered(facts, a) ? "; a seccomp filter may have answered" : "") < 0)
		return NULL;
	return s;
}

static int add_answers(CkptFacts *facts, const struct probe_answers *p)
{
	for (int i = 0; i < PROBE_N_FACTS; i++) {
		const struct probe_fact_info *info = &probe_fact_infos[i];
		bool kernel = info->section == PROBE_KERNEL;
		CkptFeature *f = CK_PB_NEW(CkptFeature, ckpt_feature);
		int r;

		if (!f)
			return -ENOMEM;
		f->name = strdup(info->name);
		f->value = (CkptTristate)p->a[i].value;
		if (p->a[i].detail[0])
			f->detail = detail_of(facts, &p->a[i]);
		r = !f->name || (p->a[i].detail[0] && !f->detail) ? -ENOMEM : 0;
		if (r == 0 && kernel)
			r = ck_pb_append(&facts->kernel->features, &facts->kernel->n_features, f);
		else if (r == 0)
			r = ck_pb_append(&facts->priv->features, &facts->priv->n_features, f);
		if (r < 0) {
			ckpt_feature__free_unpacked(f, NULL);
			return r;
		}
	}
	return 0;
}

static int run_experiments(CkptFacts *facts)
{
	struct probe_answers *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	if (p == MAP_FAILED)
		return -errno;
	for (int i = 0; i < PROBE_N_FACTS; i++)
		probe_unknown(p, (enum probe_fact)i, "the experiment did not end");
	probe_in_child(probe_calls, p);
	probe_in_child(probe_other_task, p);
	probe_in_child(probe_in_place, p);
	probe_namespaces(p);
	facts->priv->has_ns_cap_eff = p->has_ns_cap_eff;
	facts->priv->ns_cap_eff = p->ns_cap_eff;
	r = add_answers(facts, p);
	munmap(p, sizeof(*p));
	return r;
}

static bool read_sysctl(const char *path, uint64_t *ret)
{
	CK_AUTO(free) char *text = NULL;
	char *end;

	if (ck_read_file_at(AT_FDCWD, path, 64, &text, NULL) < 0)
		return false;
	*ret = strtoull(text, &end, 10);
	return end != text;
}

/* Highest user address + 1. Above 2^47 the kernel maps only on demand, and only with LA57. */
static uint64_t task_size(void)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), low = UINT64_C(1) << 47;
	void *at = (void *)(uintptr_t)(low + page);
	void *m =
		mmap(at, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (m == MAP_FAILED)
		return low - page;
	munmap(m, page);
	return (m == at ? UINT64_C(1) << 56 : low) - page;
}

static int vdso_facts(CkptKernelFacts *k)
{
	CK_AUTO(fd) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(proc_maps) struct proc_maps maps = { 0 };
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
	uint8_t id[CK_BUILD_ID_MAX];
	int len;

	if (self < 0 || proc_read_maps(self, &maps, NULL) < 0)
		return 0;
	for (size_t i = 0; i < maps.n; i++) {
		if (strcmp(maps.m[i].name, "[vdso]") || maps.m[i].start != vdso)
			continue;
		k->has_vdso_size = true;
		k->vdso_size = maps.m[i].end - maps.m[i].start;
		len = ck_elf_build_id_mem((void *)vdso, k->vdso_size, id);
		if (len <= 0)
			return 0;
		k->vdso_build_id.data = malloc((size_t)len);
		if (!k->vdso_build_id.data)
			return -ENOMEM;
		memcpy(k->vdso_build_id.data, id, (size_t)len);
		k->vdso_build_id.len = (size_t)len;
		k->has_vdso_build_id = true;
		return 0;
	}
	return 0;
}

/* What narrows down, or widens, what a user may do or a job may need. */
static const char *const sysctls[] = {
	"fs.file-max",
	"fs.nr_open",
	"fs.pipe-max-size",
	"kernel.apparmor_restrict_unprivileged_userns",
	"kernel.io_uring_disabled",
	"kernel.modules_disabled",
	"kernel.msgmax",
	"kernel.msgmnb",
	"kernel.msgmni",
	"kernel.randomize_va_space",
	"kernel.sem",
	"kernel.shmall",
	"kernel.shmmax",
	"kernel.shmmni",
	"kernel.threads-max",
	"kernel.unprivileged_userns_clone",
	"kernel.yama.ptrace_scope",
	"net.core.somaxconn",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_unprivileged_port_start",
	"user.max_ipc_namespaces",
	"user.max_mnt_namespaces",
	"user.max_net_namespaces",
	"user.max_pid_namespaces",
	"user.max_time_namespaces",
	"user.max_user_namespaces",
	"user.max_uts_namespaces",
	"vm.legacy_va_layout",
	"vm.max_map_count",
	"vm.memfd_noexec",
	"vm.nr_hugepages",
	"vm.overcommit_memory",
	"vm.overcommit_ratio",
	"vm.unprivileged_userfaultfd",
};

static int add_sysctl(CkptKernelFacts *k, const char *name)
{
	CK_AUTO(free) char *text = NULL;
	char path[128];
	CkptSysctl *s;

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	for (char *c = path + strlen("/proc/sys/"); *c; c++)
		if (*c == '.')
			*c = '/';
	if (ck_read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	for (char *c = text; *c; c++)
		if (*c == '\t')
			*c = ' ';
	s = CK_PB_NEW(CkptSysctl, ckpt_sysctl);
	if (!s)
		return -ENOMEM;
	s->name = strdup(name);
	s->value = ck_take_ptr(&text);
	if (!s->name || ck_pb_append(&k->sysctls, &k->n_sysctls, s) < 0) {
		ckpt_sysctl__free_unpacked(s, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* "nodev\tproc\n", "\text4\n" */
static int add_filesystems(CkptKernelFacts *k)
{
	CK_AUTO(free) char *text = NULL;
	char *rest, *line;

	if (ck_read_file_at(AT_FDCWD, "/proc/filesystems", 1 << 16, &text, NULL) < 0)
		return 0;
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL) {
		const char *tab = strchr(line, '\t');

		if (tab && ck_pb_append_str(&k->filesystems, &k->n_filesystems, tab + 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int kernel_facts(CkptFacts *facts, const struct utsname *u)
{
	CkptKernelFacts *k = facts->kernel;
	uint64_t v;

	k->release = strdup(u->release);
	k->version = strdup(u->version);
	if (!k->release || !k->version)
		return -ENOMEM;
	if (read_sysctl("/proc/sys/kernel/pid_max", &v)) {
		k->has_pid_max = true;
		k->pid_max = (uint32_t)v;
	}
	k->has_mmap_min_addr = read_sysctl("/proc/sys/vm/mmap_min_addr", &k->mmap_min_addr);
	k->has_page_size = k->has_task_size = true;
	k->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	k->task_size = task_size();
	for (size_t i = 0; i < CK_ARRAY_SIZE(sysctls); i++)
		if (add_sysctl(k, sysctls[i]) < 0)
			return -ENOMEM;
	return add_filesystems(k) < 0 ? -ENOMEM : vdso_facts(k);
}

static int add_mount(CkptFacts *facts, const struct proc_mount *m)
{
	CkptMount *c = CK_PB_NEW(CkptMount, ckpt_mount);

	if (!c)
		return -ENOMEM;
	c->point = strdup(m->point);
	c->fstype = strdup(m->fstype);
	c->source = strdup(m->source);
	c->root = strdup(m->root);
	c->options = strdup(m->options);
	c->super_options = strdup(m->super_options);
	c->has_major = c->has_minor = true;
	c->major = m->major;
	c->minor = m->minor;
	if (!c->super_options || !c->point || !c->fstype || !c->source || !c->root || !c->options ||
	    ck_pb_append(&facts->mounts, &facts->n_mounts, c) < 0) {
		ckpt_mount__free_unpacked(c, NULL);
		return -ENOMEM;
	}
	return 0;
}

static int mount_facts(CkptFacts *facts)
{
	CK_AUTO(fd) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CK_AUTO(proc_mounts) struct proc_mounts mounts = { 0 };

	if (self < 0 || proc_read_mountinfo(self, &mounts, NULL) < 0)
		return 0;
	for (size_t i = 0; i < mounts.n; i++)
		if (add_mount(facts, &mounts.m[i]) < 0)
			return -ENOMEM;
	return 0;
}

static void free_facts(CkptFacts *facts)
{
	ckpt_facts__free_unpacked(facts, NULL);
}
CK_DEFINE_AUTO(facts, CkptFacts *, free_facts);

static int fill(CkptFacts *facts, struct ck_err *err)
{
	struct utsname u;
	int r;

	if (uname(&u) < 0)
		return -errno;
	facts->version = 1;
	facts->has_at = true;
	facts->at = (uint64_t)time(NULL);
	facts->hostname = strdup(u.nodename);
	facts->kernel = CK_PB_NEW(CkptKernelFacts, ckpt_kernel_facts);
	facts->priv = CK_PB_NEW(CkptPrivFacts, ckpt_priv_facts);
	if (!facts->hostname || !facts->kernel || !facts->priv)
		return -ENOMEM;
	r = probe_mark_momentary(facts);
	if (r == 0)
		r = kernel_facts(facts, &u);
	if (r < 0)
		return r;
	r = probe_privileges(facts);
	if (r == 0)
		r = run_experiments(facts);
	if (r == 0)
		r = probe_memory(facts);
	if (r == 0)
		r = probe_tasks(facts);
	if (r == 0)
		r = probe_cgroups(facts);
	if (r == 0)
		r = probe_network(facts);
	if (r == 0)
		r = probe_modules(facts);
	if (r == 0)
		r = probe_packages(facts);
	if (r == 0)
		r = mount_facts(facts);
	return r < 0 ? r : cpuinfo_facts(&facts->cpu, err);
}

int probe_facts(CkptFacts **ret, struct ck_err *err)
{
	CK_AUTO(facts) CkptFacts *facts = CK_PB_NEW(CkptFacts, ckpt_facts);
	int r;

	if (!facts)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe this host");
	r = fill(facts, err);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot describe this host");
	*ret = ck_take_ptr(&facts);
	return 0;
}

int probe_facts_of_cpu(CkptCpuFacts *cpu, CkptFacts **ret, struct ck_err *err)
{
	CK_AUTO(facts) CkptFacts *facts = CK_PB_NEW(CkptFacts, ckpt_facts);

	if (facts) {
		facts->cpu = cpu;
		facts->version = 1;
		facts->kernel = CK_PB_NEW(CkptKernelFacts, ckpt_kernel_facts);
		facts->priv = CK_PB_NEW(CkptPrivFacts, ckpt_priv_facts);
	} else {
		ckpt_cpu_facts__free_unpacked(cpu, NULL);
	}
	if (facts && facts->kernel)
		facts->kernel->release = strdup("");
	if (!facts || !facts->kernel || !facts->priv || !facts->kernel->release)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot describe a host");
	*ret = ck_take_ptr(&facts);
	return 0;
}
