// SPDX-License-Identifier: Apache-2.0
/* ckpt probe: what this host is, as JSON; a stored one serves `ckpt check --host`. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "cmd/cmd.h"
#include "cmd/output.h"
#include "cmd/profile.h"
#include "cmd/verdict.h"
#include "cpuinfo/cpuinfo.h"
#include "fsmap/fsmap.h"
#include "image/image.h"
#include "policies/policies.h"
#include "probe/probe.h"
#include "report/report.h"

enum { MAX_CPUID = 1 << 20 }; /* bytes of text */

static int write_facts(FILE *out, const void *facts, struct ck_err *err)
{
	return report_facts_json(out, facts, err);
}

static inline void ck_auto_needs(CkptNeeds **n)
{
	if (*n)
		ckpt_needs__free_unpacked(*n, NULL);
}

static int probe_for(const char *dir, const struct fsmap_maps *maps, CkptFacts **ret,
		     struct ck_err *err)
{
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(needs) CkptNeeds *needs = NULL;
	CK_AUTO(facts) CkptFacts *source = NULL;
	int r = policy_image_open(dir, &img, err);

	if (r == 0)
		r = policy_read_needs(img, maps, &needs, &source, err);
	if (r == 0)
		r = policy_look(needs, ret, err);
	if (r == 0 && probe_path_packages(*ret, needs) < 0)
		r = ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at this host's packages");
	return r;
}

static int probe_cpuid(const char *path, CkptFacts **ret, struct ck_err *err)
{
	CK_AUTO(free) char *text = NULL;
	CkptCpuFacts *cpu;
	size_t len;
	int r = ck_read_file_at(AT_FDCWD, path, MAX_CPUID, &text, &len);

	if (r < 0)
		return ck_fail(err, CK_ERR_CONFIG, r, "cannot read %s: %s", path, strerror(-r));
	r = cpuinfo_parse(text, len, &cpu, err);
	if (r < 0)
		return ck_err_at(err, r, "%s", path);
	return probe_facts_of_cpu(cpu, ret, err);
}

int cmd_probe(const struct cmd_args *a)
{
	CK_AUTO(facts) CkptFacts *facts = NULL;
	CK_AUTO(fsmap_maps) struct fsmap_maps maps = { 0 };
	struct ck_err err = CK_ERR_INIT;
	const char *path = cmd_value(a, "output");
	const char *image = cmd_value(a, "for"), *cpuid = cmd_value(a, "from-cpuid");
	const char *modules = cmd_value(a, "modules");
	int r, status = cmd_verdict_maps(a, &maps);

	if (status != CMD_EXIT_OK)
		return status;
	if (image && cpuid)
		return cmd_usage("probe", "--for looks at this host, --from-cpuid does not");
	if (cpuid)
		r = probe_cpuid(cpuid, &facts, &err);
	else if (image)
		r = probe_for(image, &maps, &facts, &err);
	else
		r = probe_facts(&facts, &err);
	if (r == 0 && modules)
		r = probe_modules_of(facts, modules, &err);
	if (r == 0 && path && strcmp(path, "-") != 0)
		r = cmd_write_file(path, write_facts, facts, &err);
	else if (r == 0)
		r = report_facts_json(stdout, facts, &err);
	return r < 0 ? cmd_fail("probe", &err) : CMD_EXIT_OK;
}
