// SPDX-License-Identifier: Apache-2.0
/*
 * Gathers what the judge looks at: needs and source from an image, the target from this host or
 * from a profile. Decides nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "fsmap/fsmap.h"
#include "image/image.h"
#include "isa/isa.h"
#include "policies/foreign.h"
#include "policies/policies.h"
#include "probe/probe.h"

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

static int read_message(const struct image *img, enum image_kind kind,
			const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
			struct ck_err *err)
{
	ProtobufCMessage *m;
	int r = image_read_one(img, kind, 0, &m, err);

	if (r < 0)
		return r;
	if (m->descriptor != type) {
		protobuf_c_message_free_unpacked(m, NULL);
		return ck_fail(err, CK_ERR_BUG, -EPROTO, "read another message than expected");
	}
	*ret = m;
	return 0;
}

static int read_recorded(const struct image *img, CkptNeeds **ret_needs, CkptFacts **ret_source,
			 struct ck_err *err)
{
	CkptNeeds *needs;
	ProtobufCMessage *facts;
	int r;

	if (image_origin(img) == IMAGE_FOREIGN)
		return policy_derive_needs(img, ret_needs, ret_source, err);
	r = fsmap_read_needs(img, &needs, err);
	if (r < 0)
		return r;
	r = read_message(img, IMAGE_CKPT_FACTS, &ckpt_facts__descriptor, &facts, err);
	if (r < 0) {
		ckpt_needs__free_unpacked(needs, NULL);
		return r;
	}
	*ret_needs = needs;
	*ret_source = (CkptFacts *)facts;
	return 0;
}

int policy_read_needs(const struct image *img, const struct fsmap_maps *maps, CkptNeeds **ret_needs,
		      CkptFacts **ret_source, struct ck_err *err)
{
	int r = read_recorded(img, ret_needs, ret_source, err);

	if (r < 0 || fsmap_map_needs(maps, *ret_needs) == 0)
		return r;
	ckpt_needs__free_unpacked(*ret_needs, NULL);
	if (*ret_source)
		ckpt_facts__free_unpacked(*ret_source, NULL);
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot map paths");
}

struct sums_seen {
	bool pages, sums;
};

static int see(enum image_kind kind, unsigned int id, uint64_t size, void *arg)
{
	struct sums_seen *s = arg;

	(void)id;
	s->pages = s->pages || (kind == IMAGE_PAGES && size);
	s->sums = s->sums || kind == IMAGE_CKPT_SUMS;
	return 0;
}

/* The facts' pids: those that the tasks of the job will have. */
static int look_pids(const CkptNeeds *needs, CkptFacts *host)
{
	for (size_t i = 0; i < needs->n_tasks; i++) {
		const CkptNeedTask *t = needs->tasks[i];
		int r = probe_pids(host, &t->pid, 1);

		for (size_t k = 0; k < t->n_tids && r == 0; k++)
			if (t->tids[k] != t->pid)
				r = probe_pids(host, &t->tids[k], 1);
		if (r < 0)
			return r;
	}
	return 0;
}

void policy_case_done(struct policy_case *c)
{
	if (c->needs)
		ckpt_needs__free_unpacked(c->needs, NULL);
	if (c->source)
		ckpt_facts__free_unpacked(c->source, NULL);
	if (c->isa)
		ckpt_isa__free_unpacked(c->isa, NULL);
	free(c->dir);
	free(c->fault);
	free(c->hint);
	memset(c, 0, sizeof(*c));
}

/* What its code can execute: as the dump found it, else as it can be found now. Without that the
 * judge has less to go by, which it says. */
static CkptIsa *read_isa(const struct image *img, const CkptNeeds *needs)
{
	ProtobufCMessage *m = NULL;
	CkptIsa *isa = NULL;

	if (image_origin(img) == IMAGE_OURS &&
	    read_message(img, IMAGE_CKPT_ISA, &ckpt_isa__descriptor, &m, NULL) == 0) {
		isa = (CkptIsa *)m;
		if (isa->has_image_id && isa->image_id == image_id(img))
			return isa;
		ckpt_isa__free_unpacked(isa, NULL);
	}
	return isa_gather(img, needs, &isa, NULL) < 0 ? NULL : isa;
}

int policy_case_read(const struct image *img, const struct fsmap_maps *maps,
		     struct policy_case *ret, struct ck_err *err)
{
	CK_AUTO(case) struct policy_case c = { 0 };
	struct sums_seen seen = { 0 };
	int r = policy_read_needs(img, maps, &c.needs, &c.source, err);

	if (r == 0)
		r = image_each(img, see, &seen, err);
	if (r < 0)
		return r;
	c.image.foreign = image_origin(img) == IMAGE_FOREIGN;
	c.image.no_sums = seen.pages && !seen.sums;
	c.dir = strdup(image_dir(img));
	if (!c.dir)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot judge");
	c.isa = read_isa(img, c.needs);
	*ret = c;
	memset(&c, 0, sizeof(c));
	return 0;
}

int policy_case_broken(const char *dir, const struct ck_err *fault, struct policy_case *ret)
{
	CK_AUTO(case) struct policy_case c = { .image = { .state = RULE_IMAGE_CORRUPT } };

	if (fault->kind != CK_ERR_IMAGE)
		return -EINVAL;
	if (fault->code == -ENODATA)
		c.image.state = RULE_IMAGE_INCOMPLETE;
	if (fault->code == -EPROTONOSUPPORT)
		c.image.state = RULE_IMAGE_VERSION;
	if (asprintf(&c.fault, "%s%s%s%s", fault->what, fault->where[0] ? " (" : "", fault->where,
		     fault->where[0] ? ")" : "") < 0) {
		c.fault = NULL;
		return -ENOMEM;
	}
	c.hint = strdup(fault->hint);
	c.dir = strdup(dir);
	if (!c.hint || !c.dir)
		return -ENOMEM;
	*ret = c;
	memset(&c, 0, sizeof(c));
	return 0;
}

static int judge(const struct policy_case *c, const CkptFacts *target, bool live,
		 const struct policy *p, struct verdict *ret, struct ck_err *err)
{
	struct rule_image image = c->image;
	struct rule_input in = {
		.image = &image,
		.needs = c->needs,
		.source = c->source,
		.target = target,
		.isa = c->isa,
		.live = live,
	};
	int r;

	image.fault = c->fault;
	image.hint = c->hint;
	r = policy_judge(&in, p, ret, err);
	if (r < 0)
		return r;
	ret->image = strdup(c->dir);
	if (!ret->image) {
		policy_verdict_done(ret);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot judge");
	}
	return 0;
}

int policy_case_judge(const struct policy_case *c, const CkptFacts *host, const struct policy *p,
		      struct verdict *ret, struct ck_err *err)
{
	return judge(c, host, false, p, ret, err);
}

int policy_look(const CkptNeeds *needs, CkptFacts **ret, struct ck_err *err)
{
	CK_AUTO(facts) CkptFacts *host = NULL;
	int r = probe_facts(&host, err);

	if (r < 0)
		return r;
	if (fsmap_look(needs, host) < 0 || look_pids(needs, host) < 0 ||
	    (fsmap_asks_packages(needs, host) && probe_path_packages(host, needs) < 0))
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at this host");
	probe_user_tasks(host);
	*ret = ck_take_ptr(&host);
	return 0;
}

int policy_check_live(const struct image *img, const struct fsmap_maps *maps,
		      const struct policy *p, struct verdict *ret, CkptIsa **ret_isa,
		      struct ck_err *err)
{
	CK_AUTO(case) struct policy_case c = { 0 };
	CK_AUTO(facts) CkptFacts *host = NULL;
	int r = policy_case_read(img, maps, &c, err);

	if (r == 0)
		r = policy_look(c.needs, &host, err);
	if (r == 0)
		r = judge(&c, host, true, p, ret, err);
	if (r == 0 && ret_isa)
		*ret_isa = ck_take_ptr(&c.isa);
	return r;
}

int policy_check_profile(const struct image *img, const struct fsmap_maps *maps,
			 const CkptFacts *host, const struct policy *p, struct verdict *ret,
			 struct ck_err *err)
{
	CK_AUTO(case) struct policy_case c = { 0 };
	int r = policy_case_read(img, maps, &c, err);

	return r < 0 ? r : judge(&c, host, false, p, ret, err);
}

int policy_check_broken(const char *dir, const struct ck_err *fault, const struct policy *p,
			struct verdict *ret)
{
	CK_AUTO(case) struct policy_case c = { 0 };
	int r = policy_case_broken(dir, fault, &c);

	return r < 0 ? r : judge(&c, NULL, true, p, ret, NULL);
}
