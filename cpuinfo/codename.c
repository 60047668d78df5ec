// SPDX-License-Identifier: Apache-2.0
/*
 * The CPU's code name for people to read. The one file that knows libcpuid; its view of features
 * and of xsave is too coarse for verdicts, so nothing else is taken from it.
 */
#include <libcpuid/libcpuid.h>
#include <stdio.h>
#include <string.h>

#include "cpuinfo/cpuinfo.h"

static void silent(const char *msg)
{
	(void)msg;
}

void cpuinfo_codename(char *buf, size_t size)
{
	struct cpu_raw_data_t raw;
	struct cpu_id_t id, other;

	buf[0] = '\0';
	cpuid_set_warn_function(silent);
	if (cpuid_get_raw_data(&raw) < 0 || cpu_identify(&raw, &id) < 0)
		return;
	/* For a model newer than its table libcpuid answers with whatever is least unlike. Such an
	 * answer doesn't depend on the model number; a real one does. */
	raw.basic_cpuid[1][0] ^= 0x000f00f0;
	if (cpu_identify(&raw, &other) == 0 && !strcmp(id.cpu_codename, other.cpu_codename))
		return;
	snprintf(buf, size, "%s", id.cpu_codename);
}
