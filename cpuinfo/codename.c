// SPDX-License-Identifier: Apache-2.0
/* The CPU's code name, for people to read; nothing is decided by it. */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo-internal.h"

static const struct {
	const char *vendor;
	uint32_t family, first_model, last_model, first_stepping, last_stepping;
	const char *name;
} codenames[] = {
#define CODENAME(vendor, family, first, last, first_stepping, last_stepping, name) \
	{ vendor, family, first, last, first_stepping, last_stepping, name },
#include "cpuinfo/codenames.def"
#undef CODENAME
};

int cpuinfo_derive_codename(CkptCpuFacts *cpu)
{
	if (cpu->codename || !cpu->vendor || !cpu->has_model)
		return 0;
	for (size_t i = 0; i < CK_ARRAY_SIZE(codenames); i++) {
		if (strcmp(cpu->vendor, codenames[i].vendor) != 0 ||
		    cpu->family != codenames[i].family || cpu->model < codenames[i].first_model ||
		    cpu->model > codenames[i].last_model ||
		    cpu->stepping < codenames[i].first_stepping ||
		    cpu->stepping > codenames[i].last_stepping)
			continue;
		cpu->codename = strdup(codenames[i].name);
		return cpu->codename ? 0 : -ENOMEM;
	}
	return 0;
}
