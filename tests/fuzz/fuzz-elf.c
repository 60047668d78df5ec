// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an ELF file with a build-id, and as the vDSO that a job brought along. */
#include "base/elf.h"
#include "engine/vdso.h"
#include "tests/fuzz/fuzz.h"

static void redirect(const uint8_t *data, size_t len, const uint8_t *now, size_t now_len)
{
	struct ck_err err = CK_ERR_INIT;
	uint8_t *old = malloc(len ? len : 1);
	int r;

	FUZZ_ASSERT(old);
	memcpy(old, data, len);
	r = engine_vdso_redirect(old, len, now, now_len, 0x7fff12345000, &err);
	if (r < 0)
		fuzz_failed_well(r, &err);
	free(old);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct engine_rvdso *own;
	uint8_t id[CK_BUILD_ID_MAX];
	int n = ck_elf_build_id_mem(data, len, id);

	FUZZ_ASSERT(n >= 0 && n <= CK_BUILD_ID_MAX);
	FUZZ_ASSERT(engine_vdso_loaded(data, len) <= len);
	FUZZ_ASSERT(!len || engine_vdso_same(data, len, data, len) >= 0);
	if (!own)
		FUZZ_ASSERT(engine_vdso_find(&own, NULL) == 0);
	redirect(data, len, NULL, 0);
	if (own->code)
		redirect(data, len, own->code, own->end - own->start);
	return 0;
}
