/* SPDX-License-Identifier: Apache-2.0 */
/* Private to probe/: the experiments and their answers. */
#ifndef CK_PROBE_PROBE_INTERNAL_H
#define CK_PROBE_PROBE_INTERNAL_H

#include "probe/probe.h"

/* Lives in a shared mapping: children write their answers straight into it. What no child came to
 * answer stays UNKNOWN. */
struct probe_answer {
	int value; /* CkptTristate */
	char detail[96];
};

struct probe_answers {
	struct probe_answer a[PROBE_N_FACTS];
	bool has_ns_cap_eff;
	uint64_t ns_cap_eff; /* in a new user namespace */
};

void probe_yes(struct probe_answers *p, enum probe_fact f);
/* NO, or UNKNOWN where error (an errno) only says that the experiment itself failed. */
void probe_no(struct probe_answers *p, enum probe_fact f, int error, const char *what);
void probe_unknown(struct probe_answers *p, enum probe_fact f, const char *why);
/* YES if r >= 0, else as probe_no() with errno. */
void probe_result(struct probe_answers *p, enum probe_fact f, long r, const char *what);

/* TCP_REPAIR on a socket of this network namespace. */
void probe_tcp_repair(struct probe_answers *p, enum probe_fact f);

/* Arguments for PR_SET_MM_MAP that leave our own (or a forked child's) layout as it is. */
struct prctl_mm_map;
int probe_own_mm_map(struct prctl_mm_map *ret);

/* Runs fn in a forked child and waits for it; a child that hangs is killed after some seconds. */
void probe_in_child(void (*fn)(struct probe_answers *p), struct probe_answers *p);

void probe_calls(struct probe_answers *p);      /* probe/calls.c, and probe_kernel() */
void probe_kernel(struct probe_answers *p);     /* probe/kernel.c */
void probe_other_task(struct probe_answers *p); /* probe/ptrace.c */
void probe_namespaces(struct probe_answers *p); /* probe/ns.c */
void probe_in_place(struct probe_answers *p);   /* probe/ns.c */

int probe_mark_momentary(CkptFacts *facts); /* probe/facts.c; -ENOMEM */

/* probe/priv.c */
void probe_capabilities(CkptPrivFacts *p); /* the four sets */
int probe_privileges(CkptFacts *facts);

/* Each adds its part to facts, or leaves out what it can't know: 0 or -ENOMEM. */
int probe_memory(CkptFacts *facts);  /* probe/memory.c */
int probe_tasks(CkptFacts *facts);   /* probe/memory.c */
int probe_cgroups(CkptFacts *facts); /* probe/cgroup.c; after probe_memory() */
int probe_network(CkptFacts *facts); /* probe/net.c */

/* probe/rules-net.c */
void probe_port_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void probe_address_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void probe_interface_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
/* probe/rules-limits.c */
void probe_as_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void probe_nproc_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
void probe_lowered_rule(const struct rule *r, const struct rule_input *in, struct findings *out);
int probe_modules(CkptFacts *facts); /* probe/modules.c */
/* probe/packages.c; admin is dpkg's directory. */
int probe_packages(CkptFacts *facts);
int probe_packages_in(CkptFacts *facts, const char *admin);
int probe_path_packages_in(CkptFacts *facts, const CkptNeeds *needs, const char *admin);

/* "memory" among "cpu,memory" */
bool probe_in_list(const char *list, const char *want);
/* The value in bytes of a "Name:  123 kB" line of /proc/meminfo; false if there is none. */
bool probe_meminfo(const char *text, const char *name, uint64_t *ret);

#endif
