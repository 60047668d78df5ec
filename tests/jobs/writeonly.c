// SPDX-License-Identifier: Apache-2.0
/*
 * Holds an unlinked file that it may write but nobody may read: mode 0200, opened for writing only.
 */
#include <sys/stat.h>

#include "job.h"

int main(void)
{
	int fd = open("writeonly.gone", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0200);
	struct stat st;
	uint64_t x = 2;

	CHECK(fd >= 0 && !unlink("writeonly.gone"));
	job_begin(1500);
	while (job_more()) {
		x = job_chain(x, 200000);
		CHECK(pwrite(fd, &x, sizeof(x), 4096) == sizeof(x));
		CHECK(!fstat(fd, &st) && st.st_size == 4104 && (st.st_mode & 0777) == 0200);
	}
	return job_end("writeonly", x);
}
