// SPDX-License-Identifier: Apache-2.0
/*
 * Any files as an image: opened, looked over, asked what it needs, and planned to be restored, up
 * to the point where something would happen. Each file is a line with its name, a length (4 bytes,
 * little-endian) and its contents; of raw pages the contents are the file's size (8 bytes). Without
 * a manifest nothing vouches for any of them, so that changed ones are read.
 *
 * tests/fuzz/pack makes such an input of an image.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/image.h"
#include "policies/policies.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan.h"

enum { MAX_FILES = 128, MAX_PAGES = 64 << 20 };

struct files {
	char dir[40];
	char name[MAX_FILES][IMAGE_NAME_MAX];
	size_t n;
};

static void path_of(char path[static 128], const struct files *f, const char *name)
{
	snprintf(path, 128, "%s/%s", f->dir, name);
}

static void put_file(struct files *f, const char *name, const uint8_t *data, size_t len)
{
	char path[128];
	uint64_t size = 0;
	int fd;

	path_of(path, f, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (!strncmp(name, "pages-", 6)) {
		memcpy(&size, data, len < 8 ? len : 8);
		FUZZ_ASSERT(ftruncate(fd, (off_t)(size % (MAX_PAGES + 1))) == 0);
	} else {
		FUZZ_ASSERT(ck_write_full(fd, data, len) == 0);
	}
	close(fd);
	snprintf(f->name[f->n++], IMAGE_NAME_MAX, "%s", name);
}

static void unpack(struct files *f, const uint8_t *data, size_t len)
{
	char name[IMAGE_NAME_MAX];

	while (f->n < MAX_FILES && fuzz_take_line(&data, &len, name, sizeof(name)) && len >= 4) {
		uint32_t n;

		memcpy(&n, data, 4);
		data += 4;
		len -= 4;
		if (n > len)
			n = (uint32_t)len;
		if (name[0] && name[0] != '.' && !strchr(name, '/'))
			put_file(f, name, data, n);
		data += n;
		len -= n;
	}
}

static int look_at(enum image_kind kind, unsigned int id, uint64_t size, void *arg)
{
	const struct image *img = arg;
	struct image_pagemap p;
	struct ck_err err = CK_ERR_INIT;
	int r;

	(void)size;
	if (kind != IMAGE_PAGEMAP && kind != IMAGE_PAGEMAP_SHMEM)
		return 0;
	r = image_read_pagemap(img, kind, id, &p, &err);
	if (r < 0) {
		fuzz_failed_well(r, &err);
		return 0;
	}
	for (size_t i = 0; i < p.n; i++) {
		FUZZ_ASSERT(p.run[i].pages && p.run[i].vaddr % IMAGE_PAGE_SIZE == 0);
		FUZZ_ASSERT(!i || p.run[i].vaddr >= p.run[i - 1].vaddr +
							    p.run[i - 1].pages * IMAGE_PAGE_SIZE);
	}
	image_pagemap_done(&p);
	return 0;
}

static void ask_needs(const struct image *img)
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

static void use(const char *dir)
{
	struct ck_err err = CK_ERR_INIT, fault;
	struct image *img;
	int r = image_open_any(dir, &img, &fault, &err);

	if (r < 0) {
		fuzz_failed_well(r, &err);
		return;
	}
	FUZZ_ASSERT(image_each(img, look_at, img, &err) == 0);
	image_free(img);
	err = (struct ck_err)CK_ERR_INIT;
	r = image_open(dir, &img, &err);
	if (r < 0) {
		fuzz_failed_well(r, &err);
		return;
	}
	ask_needs(img);
	err = (struct ck_err)CK_ERR_INIT;
	r = plan_restore(img, &err);
	if (r < 0)
		fuzz_failed_well(r, &err);
	image_free(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct files f = { .dir = "/dev/shm/fuzz-restore-XXXXXX" };
	char path[128];

	FUZZ_ASSERT(mkdtemp(f.dir));
	unpack(&f, data, len);
	use(f.dir);
	for (size_t i = 0; i < f.n; i++) {
		path_of(path, &f, f.name[i]);
		unlink(path);
	}
	rmdir(f.dir);
	return 0;
}
