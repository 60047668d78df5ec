/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about this host's kernel, privileges, memory, mounts and pids, tried for real where trying
 * is harmless. Nothing is changed on the host; experiments run in children that are gone
 * afterwards.
 */
#ifndef CK_PROBE_PROBE_H
#define CK_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/facts.pb-c.h"
#include "image/needs.pb-c.h"
#include "image/rule.h"

struct ck_err;

/* The features of probe/facts.def. */
enum probe_fact {
#define FACT(id, name, section, since, commit, how, meaning, who) PROBE_##id,
#include "probe/facts.def"
#undef FACT
	PROBE_N_FACTS,
};

enum probe_section {
	PROBE_KERNEL, /* CkptKernelFacts.features */
	PROBE_PRIV,   /* CkptPrivFacts.features */
};

struct probe_fact_info {
	const char *name; /* stable; what CkptNeedFeature and host profiles say */
	enum probe_section section;
	const char *since, *commit; /* "" if not known */
	const char *how;            /* how it is found out */
	const char *meaning, *who;
};

extern const struct probe_fact_info probe_fact_infos[PROBE_N_FACTS];

/* -1 if there is no such name. */
int probe_fact_find(const char *name);
/* What facts say about a feature, by name, in either section. An absent one is UNKNOWN; *ret_detail
 * (may be NULL) is never NULL afterwards and belongs to facts. */
CkptTristate probe_has(const CkptFacts *facts, const char *name, const char **ret_detail);

/* The fields that hold only for the moment, by path ("memory/available"), ended by NULL; what
 * CkptFacts.momentary says. */
extern const char *const probe_momentary[];

/* The whole live host, CPU included; no paths and no pids. Takes some 10 ms. The caller frees *ret
 * with ckpt_facts__free_unpacked(*ret, NULL). Call it before stopping anybody. */
int probe_facts(CkptFacts **ret, struct ck_err *err);
/* A host of which nothing is known but its CPU, which becomes part of *ret, or is freed. */
int probe_facts_of_cpu(CkptCpuFacts *cpu, CkptFacts **ret, struct ck_err *err);
/* Replaces facts->modules by what the tree of modules of another kernel has (DIR is its
 * /lib/modules/RELEASE; modprobe.d is that of the same root). CK_ERR_CONFIG if it is none. */
int probe_modules_of(CkptFacts *facts, const char *dir, struct ck_err *err);
/* Adds which packages own facts->paths, and those packages; needs, if not NULL, name others. Reads
 * the lists of all: some 10 ms. 0 or -ENOMEM. */
int probe_path_packages(CkptFacts *facts, const CkptNeeds *needs);
/*
 * Adds to facts->pids which of n numbers (of tasks, process groups or sessions) are taken in our
 * pid namespace, and by whom. 0 or -ENOMEM.
 */
int probe_pids(CkptFacts *facts, const uint32_t *pids, size_t n);
/* Sets facts->priv->user_tasks, unless /proc can't be read. Looks at every process of the host. */
void probe_user_tasks(CkptFacts *facts);
/* "nofile" of RLIMIT_NOFILE, as facts name it; NULL if there is no such limit. */
const char *probe_limit_name(int resource);

/* The rules of this folder, ended by a row without an id. */
extern const struct rule probe_rules[];

#endif
