// SPDX-License-Identifier: Apache-2.0
/* Any text as a policy. */
#include <stdbool.h>

#include "policies/policies.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ck_err err = CK_ERR_INIT;
	struct policy *p, *again;
	char *text = strndup((const char *)data, len);
	int r;

	FUZZ_ASSERT(text);
	r = policy_parse(text, &p, &err);
	if (r < 0) {
		fuzz_failed_well(r, &err);
	} else {
		FUZZ_ASSERT(policy_name(p));
		FUZZ_ASSERT(policy_treatment_name(policy_treatment(p, "cpu.isa")));
		free(text);
		text = policy_to_json(p);
		FUZZ_ASSERT(text && policy_parse(text, &again, &err) == 0);
		policy_free(again);
		policy_free(p);
	}
	free(text);
	return 0;
}
