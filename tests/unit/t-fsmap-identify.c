// SPDX-License-Identifier: Apache-2.0
/* fsmap_identify(): build-ids of real and damaged ELF files, hashes, unreadable descriptors. */
#include <check.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/auto.h"
#include "base/err.h"
#include "fsmap/fsmap.h"
#include "tests/unit/skip.h"

static int temp_file(const void *data, size_t len)
{
	int fd = memfd_create("t", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	return fd;
}

/* A minimal 64-bit object with one PT_NOTE holding another note and then the build-id. */
static size_t make_elf(uint8_t *buf, uint32_t descsz)
{
	Elf64_Ehdr eh = { .e_phoff = sizeof(eh), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 };
	Elf64_Phdr ph = { .p_type = PT_NOTE, .p_offset = sizeof(eh) + sizeof(ph), .p_align = 4 };
	Elf64_Nhdr other = { 4, 5, 1 }, id = { 4, descsz, NT_GNU_BUILD_ID };
	size_t off = sizeof(eh) + sizeof(ph);

	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	memset(buf, 0, 1024);
	memcpy(buf + off, &other, sizeof(other));
	memcpy(buf + off + 12, "GNU", 4);
	off += 12 + 4 + 8;
	memcpy(buf + off, &id, sizeof(id));
	memcpy(buf + off + 12, "GNU", 4);
	off += 16;
	for (int i = 0; i < 20; i++)
		buf[off + (size_t)i] = (uint8_t)(i + 1);
	off += 20;
	ph.p_filesz = off - ph.p_offset;
	memcpy(buf, &eh, sizeof(eh));
	memcpy(buf + sizeof(eh), &ph, sizeof(ph));
	return off;
}

START_TEST(build_id_found)
{
	struct fsmap_identity id;
	uint8_t elf[1024];
	CK_AUTO(fd) int fd = temp_file(elf, make_elf(elf, 20));

	ck_assert_int_eq(fsmap_identify(fd, FSMAP_HASH, &id, NULL), 0);
	ck_assert_uint_eq(id.build_id_len, 20);
	ck_assert_int_eq(id.build_id[0], 1);
	ck_assert_int_eq(id.build_id[19], 20);
	ck_assert(!id.has_hash);
}
END_TEST

START_TEST(own_program_and_libc)
{
	struct fsmap_identity id;
	CK_AUTO(fd) int fd = open("/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		SKIP("the C library is elsewhere");
	ck_assert_int_eq(fsmap_identify(fd, 0, &id, NULL), 0);
	ck_assert_uint_eq(id.build_id_len, 20);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
}
END_TEST

START_TEST(damaged_elf_is_no_error)
{
	uint8_t elf[1024], one[1024];
	size_t len = make_elf(elf, 20);

	for (size_t cut = 1; cut < len; cut++) {
		struct fsmap_identity id;
		CK_AUTO(fd) int fd = temp_file(elf, cut);

		ck_assert_int_eq(fsmap_identify(fd, 0, &id, NULL), 0);
		ck_assert_uint_eq(id.build_id_len, 0);
	}
	for (size_t i = 4; i < len; i++) {
		static const uint8_t v[] = { 0x00, 0x7f, 0x80, 0xff };

		for (size_t k = 0; k < sizeof(v); k++) {
			struct fsmap_identity id;

			memcpy(one, elf, len);
			one[i] = v[k];
			CK_AUTO(fd) int fd = temp_file(one, len);
			ck_assert_int_eq(fsmap_identify(fd, 0, &id, NULL), 0);
			ck_assert_uint_le(id.build_id_len, CK_BUILD_ID_MAX);
		}
	}
}
END_TEST

START_TEST(too_long_build_id_ignored)
{
	uint8_t elf[1024], id[CK_BUILD_ID_MAX];

	make_elf(elf, 65);
	ck_assert_int_eq(ck_elf_build_id_mem(elf, sizeof(elf), id), 0);
}
END_TEST

START_TEST(hash_of_plain_file)
{
	struct fsmap_identity id;
	size_t len = 600001; /* more than two chunks */
	CK_AUTO(free) char *data = calloc(1, len);
	uint64_t prefix;

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 7 + i / 251);
	CK_AUTO(fd) int fd = temp_file(data, len);
	ck_assert_int_eq(fsmap_identify(fd, 0, &id, NULL), 0);
	ck_assert(!id.has_hash);
	ck_assert_int_eq(fsmap_identify(fd, FSMAP_HASH, &id, NULL), 0);
	ck_assert(id.has_hash);
	ck_assert_uint_eq(id.hash, XXH64(data, len, 0));
	ck_assert_int_eq(id.st.st_size, (off_t)len);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), (off_t)len);
	ck_assert_int_eq(fsmap_hash(fd, 300000, &prefix, NULL), 0);
	ck_assert_uint_eq(prefix, XXH64(data, 300000, 0));
}
END_TEST

static uint64_t sample_of(int fd, uint64_t size)
{
	uint64_t sum;

	ck_assert_int_eq(fsmap_sample(fd, size, &sum, NULL), 0);
	return sum;
}

/* Small files are sampled as a whole; of large ones the ends always are. */
START_TEST(samples)
{
	enum { LARGE = 20 << 20 };
	CK_AUTO(fd) int fd = temp_file("hello world", 11);
	uint64_t sum = sample_of(fd, 5);

	ck_assert_uint_ne(sum, sample_of(fd, 6));
	ck_assert_int_eq(pwrite(fd, "W", 1, 6), 1);
	ck_assert_uint_eq(sum, sample_of(fd, 5));
	ck_assert_uint_ne(sample_of(fd, 0), sum);
	ck_assert_int_eq(ftruncate(fd, LARGE), 0);
	sum = sample_of(fd, LARGE);
	ck_assert_int_eq(ftruncate(fd, 2 * LARGE), 0);
	ck_assert_uint_eq(sum, sample_of(fd, LARGE));
	ck_assert_int_eq(pwrite(fd, "x", 1, LARGE), 1);
	ck_assert_uint_eq(sum, sample_of(fd, LARGE));
	ck_assert_int_eq(pwrite(fd, "x", 1, LARGE - 1), 1);
	ck_assert_uint_ne(sum, sample_of(fd, LARGE));
	sum = sample_of(fd, LARGE);
	ck_assert_int_eq(pwrite(fd, "x", 1, 20), 1);
	ck_assert_uint_ne(sum, sample_of(fd, LARGE));
	/* Said to be larger than it is: as far as it goes, and no overflow. */
	(void)sample_of(fd, UINT64_MAX >> 1);
}
END_TEST

START_TEST(unreadable_descriptors)
{
	struct ck_err err = CK_ERR_INIT;
	struct fsmap_identity id;
	CK_AUTO(fd) int path = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	CK_AUTO(fd) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CK_AUTO(fd) int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(fsmap_identify(path, FSMAP_HASH, &id, &err), 0);
	ck_assert(S_ISREG(id.st.st_mode) && !id.build_id_len && !id.has_hash);
	ck_assert_int_eq(fsmap_identify(null, FSMAP_HASH, &id, &err), 0);
	ck_assert(S_ISCHR(id.st.st_mode) && !id.has_hash);
	ck_assert_int_eq(fsmap_identify(dir, FSMAP_HASH, &id, &err), 0);
	ck_assert(S_ISDIR(id.st.st_mode) && !id.has_hash);
	ck_assert_int_eq(fsmap_identify(-1, 0, &id, &err), -EBADF);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fsmap-identify");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, build_id_found);
	tcase_add_test(tc, own_program_and_libc);
	tcase_add_test(tc, damaged_elf_is_no_error);
	tcase_add_test(tc, too_long_build_id_ignored);
	tcase_add_test(tc, hash_of_plain_file);
	tcase_add_test(tc, samples);
	tcase_add_test(tc, unreadable_descriptors);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
