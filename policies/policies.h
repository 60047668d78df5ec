/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge. A policy says which rules apply and what is allowed; the judge runs the rules of all
 * domains over what an image needs and what a host is, and gives a verdict. policy_judge() is pure;
 * the policy_check_*() functions gather first.
 */
#ifndef CK_POLICIES_POLICIES_H
#define CK_POLICIES_POLICIES_H

#include <stdbool.h>
#include <stddef.h>

#include "image/ckpt-isa.pb-c.h"
#include "image/facts.pb-c.h"
#include "image/needs.pb-c.h"
#include "image/rule.h"

struct ck_err;
struct fsmap_maps;
struct image;

/* ---- policies ---- */

/* What becomes of a rule's findings. */
enum policy_treatment {
	POLICY_APPLY,  /* as found */
	POLICY_WARN,   /* whatever would refuse is said, and does not refuse */
	POLICY_REFUSE, /* whatever is not in order refuses */
	POLICY_OFF,    /* the rule is not run */
};

struct policy;

/* The names of those that are built in, the strictest first; ended by NULL. */
extern const char *const policy_names[];
/* A built-in one by its name, else a file. CK_ERR_CONFIG if it is not a policy, or names a rule or
 * an action that we don't know. */
int policy_open(const char *name_or_file, struct policy **ret, struct ck_err *err);
int policy_parse(const char *text, struct policy **ret, struct ck_err *err);
/*
 * Says everything that is wrong with a policy (error), and what is right but hardly meant. Returns
 * the number of errors; negative if it can't be read at all.
 */
typedef void (*policy_tell_fn)(void *arg, bool error, const char *text);
int policy_lint(const char *name_or_file, policy_tell_fn tell, void *arg, struct ck_err *err);
/* As policy_open() takes it, with every rule. The caller frees it; NULL if memory ran out. */
char *policy_to_json(const struct policy *p);
void policy_free(struct policy *p);
static inline void ck_auto_policy(struct policy **p)
{
	if (*p)
		policy_free(*p);
}
const char *policy_name(const struct policy *p);
/* Allows an action (as --allow names it). CK_ERR_USAGE if there is none of that name. */
int policy_allow(struct policy *p, const char *action, struct ck_err *err);
/* What a policy allows is not allowed this time. */
void policy_forbid(struct policy *p, const char *action);
/* Takes "undecided" for "compatible". */
void policy_allow_undecided(struct policy *p);
bool policy_allows_undecided(const struct policy *p);
bool policy_allows(const struct policy *p, const char *action);
enum policy_treatment policy_treatment(const struct policy *p, const char *rule);
/* "apply", "warn", ... as JSON has it */
const char *policy_treatment_name(enum policy_treatment t);
/*
 * Whatever this rule finds shall not stand in the way, once: somebody takes the risk, and the
 * verdict names who (by) and when (at). CK_ERR_USAGE if there is no such rule, or if a restore
 * can't go on against it.
 */
int policy_override(struct policy *p, const char *rule, const char *by, const char *at,
		    struct ck_err *err);

/* ---- rules ---- */

/* The tables of all domains, in the order in which causes precede consequences; ended by NULL. */
extern const struct rule *const policy_tables[];
const struct rule *policy_rule_find(const char *id);
/* Without what it says is right, nothing can be read or run: no override helps. */
bool policy_rule_is_final(const char *id);
/* A rule's section of docs/rules.md without its heading; ends with *ret_len, not a 0. -ENOENT. */
int policy_explain(const char *rule, const char **ret, size_t *ret_len);

/* ---- verdicts ---- */

enum verdict_status {
	VERDICT_COMPATIBLE,
	VERDICT_ACTIONS, /* compatible once the listed actions are allowed */
	VERDICT_UNDECIDED,
	VERDICT_TRY_LATER, /* what refuses may be gone in a minute */
	VERDICT_INCOMPATIBLE,
	VERDICT_HOST,  /* this host can't restore anything */
	VERDICT_IMAGE, /* the image is corrupt or incomplete */
};

struct verdict_override {
	char *rule, *by, *at;
	size_t n; /* findings that would have stood in the way */
};

struct verdict {
	enum verdict_status status;
	bool live;                /* judged for this host, now */
	struct findings findings; /* what decides first, then by cause */
	struct verdict_override *overrides;
	size_t n_overrides;
	/* for people; NULL where not known */
	char *image, *policy;
	char *source_host, *source_cpu, *source_kernel;
	char *target_host, *target_cpu, *target_kernel;
};

void policy_verdict_done(struct verdict *v);
static inline void ck_auto_verdict(struct verdict *v)
{
	policy_verdict_done(v);
}
/* "compatible", "actions", "undecided", ... as JSON has it */
const char *policy_verdict_name(enum verdict_status s);
const char *policy_finding_name(enum finding_status s);

/* Pure. *ret must be empty. -ENOMEM. */
int policy_judge(const struct rule_input *in, const struct policy *p, struct verdict *ret,
		 struct ck_err *err);

/* image_open(), or for a file image_open_archive(): enough to be judged. */
int policy_image_open(const char *path, struct image **ret, struct ck_err *err);
/*
 * What an image needs, and where it comes from: read from an image of ours, derived from CRIU's.
 * Paths are those of the target: maps, which may be NULL, are applied here. *ret_source may become
 * NULL. Both are freed with their *__free_unpacked().
 */
int policy_read_needs(const struct image *img, const struct fsmap_maps *maps, CkptNeeds **ret_needs,
		      CkptFacts **ret_source, struct ck_err *err);
/* An image as the judge sees it: read once, judged for many hosts. */
struct policy_case {
	char *dir;
	struct rule_image image; /* its fault and hint are those below */
	char *fault, *hint;      /* unless it is whole */
	CkptNeeds *needs;        /* NULL if it is broken */
	CkptFacts *source;       /* may be NULL */
	CkptIsa *isa;            /* may be NULL: nobody could look at its code */
};
int policy_case_read(const struct image *img, const struct fsmap_maps *maps,
		     struct policy_case *ret, struct ck_err *err);
/* For an image that could not be opened, from image_open()'s error: every verdict will say so.
 * -EINVAL if that error says nothing about the image itself. */
int policy_case_broken(const char *dir, const struct ck_err *fault, struct policy_case *ret);
void policy_case_done(struct policy_case *c);
static inline void ck_auto_case(struct policy_case *c)
{
	policy_case_done(c);
}
/* Pure: for a stored host profile. */
int policy_case_judge(const struct policy_case *c, const CkptFacts *host, const struct policy *p,
		      struct verdict *ret, struct ck_err *err);
/* This host as it is now, with the answers to what an image asks: its paths, its pids. Freed with
 * ckpt_facts__free_unpacked(). */
int policy_look(const CkptNeeds *needs, CkptFacts **ret, struct ck_err *err);
/* Looks at this host as it is now, and judges. Takes some ten milliseconds. A verdict against it is
 * no error: 0 with *ret filled, and *ret_isa (unless NULL) with what is known of the image's code,
 * or NULL; freed with ckpt_isa__free_unpacked(). */
int policy_check_live(const struct image *img, const struct fsmap_maps *maps,
		      const struct policy *p, struct verdict *ret, CkptIsa **ret_isa,
		      struct ck_err *err);
/* The same for a stored host profile. */
int policy_check_profile(const struct image *img, const struct fsmap_maps *maps,
			 const CkptFacts *host, const struct policy *p, struct verdict *ret,
			 struct ck_err *err);
/*
 * For an image that could not be opened: a verdict made of image_open()'s error. -errno (and *err
 * untouched) if that error says nothing about the image itself.
 */
int policy_check_broken(const char *dir, const struct ck_err *fault, const struct policy *p,
			struct verdict *ret);

/* ---- many hosts ---- */

/* How well an image would do on a host: smaller is better, the first member that differs decides.
 */
struct policy_rank {
	enum verdict_status status;
	size_t refused, undecided, actions, degraded, deferred; /* findings */
	size_t strange; /* 0: CPU and kernel are the source's; 1, 2: one or both are not */
};
void policy_rank(const struct verdict *v, struct policy_rank *ret);
/* As for qsort(); 0 leaves it to the caller. */
int policy_rank_compare(const struct policy_rank *a, const struct policy_rank *b);
/* Drops the findings that are in order, for those who keep many verdicts. */
void policy_verdict_trim(struct verdict *v);

/* What ckpt itself can do on a host. */
enum policy_ability {
	POLICY_DUMP,
	POLICY_RESTORE_IN_PLACE, /* pids chosen in the host's own pid namespace */
	POLICY_RESTORE_BESIDE,   /* in fresh namespaces, where no pid is taken */
	POLICY_N_ABILITIES,
};
struct policy_lack {
	const char *fact, *meaning, *who, *since; /* of probe/facts.def */
	CkptTristate value;                       /* no, or not known */
	char *detail;                             /* what the probe saw, may be empty */
	unsigned int blocks;                      /* 1 << an ability that fails, or may, for it */
};
struct policy_readiness {
	CkptTristate able[POLICY_N_ABILITIES];
	struct policy_lack *lacks;
	size_t n_lacks;
};
/* Pure. Everything that the host lacks, also what only makes things faster. -ENOMEM. */
int policy_readiness(const CkptFacts *host, struct policy_readiness *ret);
void policy_readiness_done(struct policy_readiness *r);

#endif
