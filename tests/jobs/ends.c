// SPDX-License-Identifier: Apache-2.0
/*
 * Works for a while, then ends as told: "ends 42" with that status, "ends signal 15" by that
 * signal.
 */
#include <signal.h>

#include "job.h"

int main(int argc, char **argv)
{
	uint64_t x = 1;
	int how;

	CHECK(argc >= 2);
	how = (int)strtol(argv[argc - 1], NULL, 10);
	job_begin(1500);
	while (job_more())
		x = job_chain(x, 200000);
	job_end("ends", x);
	if (strcmp(argv[1], "signal"))
		return how;
	raise(how);
	return 4;
}
