// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an archive with an image in it, asked what that image needs. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/image.h"
#include "policies/policies.h"
#include "tests/fuzz/fuzz.h"

static void ask(const struct image *img)
{
	struct ck_err err = CK_ERR_INIT;
	CkptNeeds *needs;
	CkptFacts *source;
	int r = policy_read_needs(img, NULL, &needs, &source, &err);

	if (r < 0) {
		fuzz_failed_well(r, &err);
		return;
	}
	ckpt_needs__free_unpacked(needs, NULL);
	if (source)
		ckpt_facts__free_unpacked(source, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	int r, fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct ck_err err = CK_ERR_INIT;
	struct image *img;
	char path[40];

	setenv("TMPDIR", "/dev/shm", 1);
	FUZZ_ASSERT(fd >= 0 && ck_pwrite_full(fd, data, len, 0) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = policy_image_open(path, &img, &err);
	if (r < 0) {
		fuzz_failed_well(r, &err);
	} else {
		ask(img);
		image_free(img);
	}
	close(fd);
	return 0;
}
