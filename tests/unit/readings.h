/* SPDX-License-Identifier: Apache-2.0 */
/* The CPUID readings of tests/unit/data/cpuid.txt, as facts. */
#ifndef CK_TESTS_UNIT_READINGS_H
#define CK_TESTS_UNIT_READINGS_H

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "cpuinfo/cpuinfo.h"

enum { MAX_READINGS = 256 };

struct reading {
	char name[96];
	CkptCpuFacts *cpu;
};

__attribute__((unused)) static size_t readings_load(struct reading r[MAX_READINGS])
{
	CK_AUTO(free) char *text = NULL;
	char *at, *next;
	size_t n = 0;

	ck_assert_int_eq(ck_read_file_at(AT_FDCWD, "tests/unit/data/cpuid.txt", 1 << 24, &text,
					 NULL),
			 0);
	for (at = strstr(text, "\n== "); at; at = next, n++) {
		char *nl = strchr(at + 1, '\n');

		ck_assert_uint_lt(n, MAX_READINGS);
		ck_assert_ptr_nonnull(nl);
		next = strstr(nl, "\n== ");
		*nl = '\0';
		strncpy(r[n].name, at + 4, sizeof(r[n].name) - 1);
		ck_assert_int_eq(cpuinfo_parse(nl + 1,
					       (size_t)((next ? next : nl + 1 + strlen(nl + 1)) -
							nl - 1),
					       &r[n].cpu, NULL),
				 0);
	}
	ck_assert_uint_gt(n, 160);
	return n;
}

__attribute__((unused)) static void readings_done(struct reading *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ckpt_cpu_facts__free_unpacked(r[i].cpu, NULL);
}

#endif
