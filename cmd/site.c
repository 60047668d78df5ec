// SPDX-License-Identifier: Apache-2.0
/*
 * Images judged for the hosts of many profiles. Each image is read once, each profile is in memory
 * only while it is judged: a site may have thousands.
 */
#include "cmd/site.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/profile.h"
#include "cmd/verdict.h"
#include "fsmap/fsmap.h"
#include "image/image.h"
#include "policies/policies.h"
#include "report/report.h"

enum { MAX_NAME = 255 }; /* bytes */

struct cases {
	struct policy_case *c;
	size_t n;
};

static inline void ck_auto_cases(struct cases *c)
{
	for (size_t i = 0; i < c->n; i++)
		policy_case_done(&c->c[i]);
	free(c->c);
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot judge for many hosts");
}

static int read_image(const char *dir, const struct fsmap_maps *maps, struct policy_case *ret,
		      struct ck_err *err)
{
	CK_AUTO(image) struct image *img = NULL;
	int r = policy_image_open(dir, &img, err);

	if (r == 0)
		r = policy_case_read(img, maps, ret, err);
	/* A broken image is an answer too. */
	if (r < 0 && policy_case_broken(dir, err, ret) == 0)
		r = 0;
	return r;
}

static int read_images(const struct cmd_args *a, const struct fsmap_maps *maps,
		       struct report_site *s, struct cases *cases, struct ck_err *err)
{
	const char *dir;
	size_t n = 0;
	int r;

	for (size_t i = 0; cmd_each(a, "image", &i);)
		n++;
	s->images = calloc(n + 1, sizeof(*s->images));
	cases->c = calloc(n + 1, sizeof(*cases->c));
	if (!s->images || !cases->c)
		return no_memory(err);
	for (size_t i = 0; (dir = cmd_each(a, "image", &i));) {
		r = read_image(dir, maps, &cases->c[cases->n], err);
		if (r < 0)
			return r;
		cases->n++;
		s->images[s->n_images] = strdup(dir);
		if (!s->images[s->n_images])
			return no_memory(err);
		s->n_images++;
	}
	return 0;
}

/* Tells what is wrong with a profile, and remembers it. */
static int leave_out(const char *sub, const char *path, struct report_site *s, struct ck_err *err)
{
	struct report_unread *u = &s->unread[s->n_unread];
	char line[1200];

	cmd_fail(sub, err);
	ck_err_format(err, line, sizeof(line));
	u->profile = strdup(path);
	u->error = strdup(line);
	s->n_unread++;
	return u->profile && u->error ? 0 : no_memory(err);
}

/* Profiles come from elsewhere, and what is copied here is repeated on every line. */
static char *copy(const char *s)
{
	return s ? strndup(s, MAX_NAME) : NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int describe(const char *path, const CkptFacts *facts, struct report_host *h,
		    struct ck_err *err)
{
	bool named = facts->hostname && facts->hostname[0];
	const CkptCpuFacts *cpu = facts->cpu;

	h->profile = strdup(path);
	h->name = copy(named ? facts->hostname : base_name(path));
	h->cpu = copy(cpu->brand && cpu->brand[0] ? cpu->brand : cpu->arch);
	h->kernel = copy(facts->kernel->release);
	h->level = copy(cpu->level);
	h->memory = facts->memory ? facts->memory->total : 0;
	h->at = facts->at;
	if (!h->profile || !h->name || !h->cpu || policy_readiness(facts, &h->ready) < 0)
		return no_memory(err);
	return 0;
}

static int judge_host(const char *path, const CkptFacts *facts, const struct cases *cases,
		      const struct policy *policy, struct report_site *s, struct ck_err *err)
{
	struct verdict *row = &s->cells[s->n_hosts * s->n_images];
	int r = describe(path, facts, &s->hosts[s->n_hosts], err);

	s->n_hosts++;
	for (size_t i = 0; i < cases->n && r == 0; i++) {
		r = policy_case_judge(&cases->c[i], facts, policy, &row[i], err);
		policy_verdict_trim(&row[i]);
	}
	return r;
}

static int judge_all(const struct cmd_args *a, const struct cases *cases,
		     const struct policy *policy, struct report_site *s, struct ck_err *err)
{
	CK_AUTO(profiles) struct cmd_profiles p = { 0 };
	int r = 0;

	for (size_t i = 0; i < a->n_operands; i++)
		if (cmd_profiles_add(&p, a->operands[i], err) < 0)
			return -EINVAL;
	s->hosts = calloc(p.n + 1, sizeof(*s->hosts));
	s->unread = calloc(p.n + 1, sizeof(*s->unread));
	s->cells = calloc(p.n * s->n_images + 1, sizeof(*s->cells));
	s->policy = strdup(policy_name(policy));
	if (!s->hosts || !s->unread || !s->cells || !s->policy)
		return no_memory(err);
	for (size_t i = 0; i < p.n && r == 0; i++) {
		CK_AUTO(facts) CkptFacts *facts = NULL;

		r = cmd_profile_read(p.paths[i], &facts, err);
		if (r == 0)
			r = judge_host(p.paths[i], facts, cases, policy, s, err);
		else if (err->kind == CK_ERR_CONFIG)
			r = leave_out(a->cmd->name, p.paths[i], s, err);
		if (r == 0)
			*err = (struct ck_err)CK_ERR_INIT;
	}
	if (r == 0 && !s->n_hosts)
		return ck_fail(err, CK_ERR_CONFIG, -ENOENT, "there is no usable host profile");
	return r;
}

int cmd_site_judge(const struct cmd_args *a, struct report_site *ret)
{
	CK_AUTO(policy) struct policy *policy = NULL;
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };
	CK_AUTO(cases) struct cases cases = { 0 };
	struct ck_err err = CK_ERR_INIT;
	int status = cmd_verdict_policy(a, &policy);

	if (status == CMD_EXIT_OK)
		status = cmd_verdict_maps(a, &maps);
	if (status != CMD_EXIT_OK)
		return status;
	if (read_images(a, &maps, ret, &cases, &err) < 0 ||
	    judge_all(a, &cases, policy, ret, &err) < 0)
		return cmd_fail(a->cmd->name, &err);
	return CMD_EXIT_OK;
}
