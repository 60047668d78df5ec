// SPDX-License-Identifier: Apache-2.0
/* Any text as a CPUID reading; what it tells of the xsave layout must hang together. */
#include "cpuinfo/cpuinfo.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ck_err err = CK_ERR_INIT;
	CkptCpuFacts *cpu = NULL;
	int r = cpuinfo_parse((const char *)data, len, &cpu, &err);

	if (r < 0) {
		fuzz_failed_well(r, &err);
		FUZZ_ASSERT(!cpu);
		return 0;
	}
	FUZZ_ASSERT(cpu->n_leaves >= 2 && cpu->arch);
	for (size_t i = 0; i < cpu->n_xsave; i++) {
		const CkptXsaveComponent *c = cpu->xsave[i];

		FUZZ_ASSERT(cpu->xcr0 >> c->bit & 1);
		FUZZ_ASSERT(!cpu->has_xsave_size || c->offset + c->size <= cpu->xsave_size);
		FUZZ_ASSERT(!cpu->has_xsave_compacted ||
			    c->compacted + c->size <= cpu->xsave_compacted);
	}
	for (size_t i = 1; i < cpu->n_features; i++)
		FUZZ_ASSERT(strcmp(cpu->features[i - 1], cpu->features[i]) < 0);
	ckpt_cpu_facts__free_unpacked(cpu, NULL);
	return 0;
}
