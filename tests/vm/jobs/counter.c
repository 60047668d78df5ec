// SPDX-License-Identifier: Apache-2.0
/*
 * A counter that formats its numbers with the C library, and reads them back without it.
 */
#include "../../jobs/job.h"

static uint64_t value_of(const char *digits)
{
	uint64_t v = 0;

	while (*digits >= '0' && *digits <= '9')
		v = v * 10 + (uint64_t)(*digits++ - '0');
	return v;
}

int main(void)
{
	uint64_t x = 5;
	char text[64];

	job_begin(20000);
	while (job_more()) {
		int n = snprintf(text, sizeof(text), "%llu of %s", (unsigned long long)x, "many");

		CHECK(n > 8 && value_of(text) == x);
		x = job_chain(x, 2000);
	}
	return job_end("counter", x);
}
