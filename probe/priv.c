// SPDX-License-Identifier: Apache-2.0
/*
 * Who we are and what we may do: ids, capabilities, limits, and which user namespace all that holds
 * in. Capabilities tell little by themselves; what can be done is tried (probe/ns.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum { MAX_TEXT = 1 << 16 };

void probe_capabilities(CkptPrivFacts *p)
{
	static const cap_flag_t flags[] = { CAP_EFFECTIVE, CAP_PERMITTED, CAP_INHERITABLE };
	uint64_t *sets[] = { &p->cap_eff, &p->cap_prm, &p->cap_inh };
	cap_t caps = cap_get_proc();
	cap_flag_value_t v;

	if (!caps)
		return;
	p->has_cap_eff = p->has_cap_prm = p->has_cap_inh = p->has_cap_bnd = p->has_cap_amb = true;
	for (int c = 0; c < cap_max_bits() && c < 64; c++) {
		for (size_t i = 0; i < CK_ARRAY_SIZE(flags); i++)
			if (cap_get_flag(caps, c, flags[i], &v) == 0 && v == CAP_SET)
				*sets[i] |= UINT64_C(1) << c;
		if (cap_get_bound(c) == CAP_SET)
			p->cap_bnd |= UINT64_C(1) << c;
		if (cap_get_ambient(c) == CAP_SET)
			p->cap_amb |= UINT64_C(1) << c;
	}
	cap_free(caps);
}

/* prlimit(2), in the order of the manual page */
static const struct {
	const char *name;
	enum __rlimit_resource number;
} limits[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "locks", RLIMIT_LOCKS },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },
	{ "rtprio", RLIMIT_RTPRIO },
	{ "rttime", RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

const char *probe_limit_name(int resource)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(limits); i++)
		if ((int)limits[i].number == resource)
			return limits[i].name;
	return NULL;
}

static int add_limits(CkptPrivFacts *p)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(limits); i++) {
		CkptLimit *l;
		struct rlimit v;

		if (getrlimit(limits[i].number, &v) < 0)
			continue;
		l = CK_PB_NEW(CkptLimit, ckpt_limit);
		if (!l)
			return -ENOMEM;
		l->name = strdup(limits[i].name);
		l->soft = v.rlim_cur;
		l->hard = v.rlim_max;
		if (!l->name || ck_pb_append(&p->limits, &p->n_limits, l) < 0) {
			ckpt_limit__free_unpacked(l, NULL);
			return -ENOMEM;
		}
		if (limits[i].number == RLIMIT_NOFILE) {
			p->has_nofile_hard = true;
			p->nofile_hard = v.rlim_max;
		}
	}
	return 0;
}

/* A line of uid_map, its columns put together: "0 1000 1". */
static int add_map(int self, const char *file, char ***array, size_t *n)
{
	CK_AUTO(free) char *text = NULL;
	char *rest, *line;

	if (ck_read_file_at(self, file, MAX_TEXT, &text, NULL) < 0)
		return 0;
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *to = line, *word;
		char *words = line;

		if (!*line)
			continue;
		while ((word = strsep(&words, " \t")) != NULL) {
			size_t len = strlen(word);

			if (!len)
				continue;
			if (to != line)
				*to++ = ' ';
			memmove(to, word, len);
			to += len;
		}
		*to = '\0';
		if (ck_pb_append_str(array, n, line) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int user_namespace(int self, CkptPrivFacts *p)
{
	if (add_map(self, "uid_map", &p->uid_map, &p->n_uid_map) < 0 ||
	    add_map(self, "gid_map", &p->gid_map, &p->n_gid_map) < 0)
		return -ENOMEM;
	/* The host's own namespace maps every id onto itself; another one can't have been given
	 * the last (user_namespaces(7)). */
	p->has_initial_userns = p->n_uid_map > 0;
	p->initial_userns = p->n_uid_map == 1 && !strcmp(p->uid_map[0], "0 0 4294967295");
	return 0;
}

static int lsm_label(int self, CkptPrivFacts *p)
{
	CK_AUTO(free) char *text = NULL;

	if (ck_read_file_at(self, "attr/current", 4096, &text, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	if (text[0])
		p->lsm_label = ck_take_ptr(&text);
	return 0;
}

static int from_status(int self, CkptPrivFacts *p)
{
	CK_AUTO(proc_status) struct proc_status status = { 0 };

	if (proc_read_status(self, &status, NULL) < 0)
		return 0;
	p->has_seccomp = p->has_no_new_privs = true;
	p->seccomp = (uint32_t)status.seccomp;
	p->no_new_privs = status.no_new_privs;
	if (!status.n_groups)
		return 0;
	p->groups = malloc(status.n_groups * sizeof(*p->groups));
	if (!p->groups)
		return -ENOMEM;
	memcpy(p->groups, status.groups, status.n_groups * sizeof(*p->groups));
	p->n_groups = status.n_groups;
	return 0;
}

int probe_privileges(CkptFacts *facts)
{
	CK_AUTO(fd) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CkptPrivFacts *p = facts->priv;
	int r;

	p->has_uid = p->has_gid = true;
	p->uid = geteuid();
	p->gid = getegid();
	probe_capabilities(p);
	r = add_limits(p);
	if (r == 0 && self >= 0)
		r = from_status(self, p);
	if (r == 0 && self >= 0)
		r = user_namespace(self, p);
	return r == 0 && self >= 0 ? lsm_label(self, p) : r;
}
