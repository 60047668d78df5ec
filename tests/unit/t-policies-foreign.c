// SPDX-License-Identifier: Apache-2.0
/*
 * What is derived from an image that CRIU made: exactly what is in it, and nothing but an error
 * from a damaged one. The image is written here, its files are then spoilt at random; the seed is
 * printed and can be given as SEED.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "cpuinfo/cpuinfo.h"
#include "image/core.pb-c.h"
#include "image/fdinfo.pb-c.h"
#include "image/format.h"
#include "image/fs.pb-c.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/mm.pb-c.h"
#include "image/pagemap.pb-c.h"
#include "image/pstree.pb-c.h"
#include "image/remap-file-path.pb-c.h"
#include "policies/foreign.h"
#include "policies/policies.h"

enum { EXE = 1, LIB, CWD, ROOT, LOG, GHOST, FIFO_PATH, FIFO, TTY, SOCKET };

static char base[] = "/tmp/t-policies-foreign-XXXXXX";
static char dir[80];

static void put(struct image_writer *w, enum image_kind kind, unsigned int id,
		const ProtobufCMessage *m)
{
	ck_assert_int_eq(image_write_one(w, kind, id, m, NULL), 0);
}

static void put_inventory(struct image_writer *w)
{
	InventoryEntry e = INVENTORY_ENTRY__INIT;

	e.img_version = IMAGE_FORMAT_V1_1;
	e.has_fdinfo_per_id = e.fdinfo_per_id = true;
	e.has_ns_per_id = e.ns_per_id = true;
	put(w, IMAGE_INVENTORY, 0, &e.base);
}

static void put_tree(struct image_writer *w)
{
	PstreeEntry e = PSTREE_ENTRY__INIT;
	uint32_t threads[] = { 7, 8 };

	e.pid = e.pgid = e.sid = 7;
	e.threads = threads;
	e.n_threads = 2;
	put(w, IMAGE_PSTREE, 0, &e.base);
}

static void put_core(struct image_writer *w, uint32_t tid)
{
	CoreEntry e = CORE_ENTRY__INIT;
	ThreadInfoX86 ti = THREAD_INFO_X86__INIT;
	UserX86RegsEntry regs = USER_X86_REGS_ENTRY__INIT;
	UserX86FpregsEntry fp = USER_X86_FPREGS_ENTRY__INIT;
	UserX86XsaveEntry xs = USER_X86_XSAVE_ENTRY__INIT;
	TaskCoreEntry tc = TASK_CORE_ENTRY__INIT;
	ThreadCoreEntry th = THREAD_CORE_ENTRY__INIT;
	CredsEntry creds = CREDS_ENTRY__INIT;
	uint64_t opmask[8] = { tid == 8 }, hi16[128] = { 0 };
	uint32_t pkru[2] = { 0x55555554 };
	char comm[] = "sim";

	e.mtype = CORE_ENTRY__MARCH__X86_64;
	e.thread_info = &ti;
	ti.gpregs = &regs;
	ti.fpregs = &fp;
	regs.orig_ax = tid == 7 ? 230 : UINT64_MAX;
	fp.xsave = &xs;
	xs.xstate_bv = 0x2a3;
	xs.opmask_reg = opmask;
	xs.n_opmask_reg = 8;
	xs.hi16_zmm = hi16;
	xs.n_hi16_zmm = 128;
	xs.pkru = pkru;
	xs.n_pkru = 2;
	creds.uid = creds.euid = 1001;
	creds.egid = 1002;
	th.creds = &creds;
	e.thread_core = &th;
	tc.comm = comm;
	tc.task_state = IMAGE_TASK_ALIVE;
	if (tid == 7)
		e.tc = &tc;
	put(w, IMAGE_CORE, tid, &e.base);
}

static void put_mm(struct image_writer *w)
{
	MmEntry e = MM_ENTRY__INIT;
	VmaEntry v[3] = { VMA_ENTRY__INIT, VMA_ENTRY__INIT, VMA_ENTRY__INIT };
	VmaEntry *list[] = { &v[0], &v[1], &v[2] };

	v[0].start = 0x400000;
	v[0].end = 0x401000;
	v[0].shmid = LIB;
	v[0].status = IMAGE_VMA_REGULAR | IMAGE_VMA_FILE_PRIVATE;
	v[1].start = 0x7ff000000000;
	v[1].end = 0x7ff000002000;
	v[1].status = IMAGE_VMA_REGULAR | IMAGE_VMA_ANON_PRIVATE;
	v[2].start = 0xffffffffff600000;
	v[2].end = 0xffffffffff601000;
	v[2].status = IMAGE_VMA_VSYSCALL;
	e.exe_file_id = EXE;
	e.vmas = list;
	e.n_vmas = 3;
	put(w, IMAGE_MM, 7, &e.base);
}

static void put_places(struct image_writer *w)
{
	TaskKobjIdsEntry ids = TASK_KOBJ_IDS_ENTRY__INIT;
	FsEntry fs = FS_ENTRY__INIT;
	RemapFilePathEntry remap = REMAP_FILE_PATH_ENTRY__INIT;

	ids.files_id = 3;
	fs.cwd_id = CWD;
	fs.root_id = ROOT;
	remap.orig_id = GHOST;
	remap.has_remap_type = true;
	remap.remap_type = REMAP_TYPE__GHOST;
	put(w, IMAGE_IDS, 7, &ids.base);
	put(w, IMAGE_FS, 7, &fs.base);
	put(w, IMAGE_REMAP_FPATH, 0, &remap.base);
}

static const struct {
	uint32_t id;
	const char *name;
	uint32_t flags, mode;
	int64_t size; /* -1: not recorded */
} files[] = {
	{ EXE, "/bin/sim", O_RDONLY, S_IFREG | 0755, 1000 },
	{ LIB, "/lib/libc.so", O_RDONLY, S_IFREG | 0644, 2000 },
	{ CWD, "/home/u", O_RDONLY | O_DIRECTORY, S_IFDIR | 0750, -1 },
	{ ROOT, "/", O_RDONLY | O_DIRECTORY, S_IFDIR | 0755, -1 },
	{ LOG, "/home/u/log", O_WRONLY | O_APPEND, S_IFREG | 0644, -1 },
	{ GHOST, "/tmp/gone", O_RDWR, S_IFREG | 0600, 5 },
	{ FIFO_PATH, "/home/u/fifo", O_RDWR, S_IFIFO | 0600, -1 },
};

static void put_files(struct image_writer *w)
{
	struct image_file *f = NULL;

	ck_assert_int_eq(image_create(w, IMAGE_FILES, 0, &f, NULL), 0);
	for (size_t i = CK_ARRAY_SIZE(files); i-- > 0;) { /* not in the order of their ids */
		FileEntry e = FILE_ENTRY__INIT;
		RegFileEntry reg = REG_FILE_ENTRY__INIT;
		FownEntry fown = FOWN_ENTRY__INIT;
		uint32_t words[5] = { 0x04030201, 2, 3, 4, 5 };

		e.type = FD_TYPES__REG;
		e.id = reg.id = files[i].id;
		e.reg = &reg;
		reg.fown = &fown;
		reg.name = (char *)(uintptr_t)files[i].name;
		reg.flags = files[i].flags;
		reg.has_mode = true;
		reg.mode = files[i].mode;
		reg.has_size = files[i].size >= 0;
		reg.size = (uint64_t)files[i].size;
		if (files[i].id == LIB) {
			reg.build_id = words;
			reg.n_build_id = 5;
		}
		ck_assert_int_eq(image_append(f, &e.base, NULL), 0);
	}
	for (uint32_t id = FIFO; id <= SOCKET; id++) {
		FileEntry e = FILE_ENTRY__INIT;
		FifoEntry fifo = FIFO_ENTRY__INIT;

		e.id = fifo.id = id;
		e.type = id == FIFO ? FD_TYPES__FIFO : id == TTY ? FD_TYPES__TTY : FD_TYPES__UNIXSK;
		fifo.has_regf_id = true;
		fifo.regf_id = FIFO_PATH;
		if (id == FIFO)
			e.fifo = &fifo;
		ck_assert_int_eq(image_append(f, &e.base, NULL), 0);
	}
	ck_assert_int_eq(image_file_close(f, NULL), 0);
}

static void put_fds(struct image_writer *w)
{
	static const struct {
		uint32_t fd, id;
		FdTypes type;
	} fds[] = {
		{ 0, TTY, FD_TYPES__TTY },       { 1, LOG, FD_TYPES__REG },
		{ 5, GHOST, FD_TYPES__REG },     { 6, FIFO, FD_TYPES__FIFO },
		{ 7, SOCKET, FD_TYPES__UNIXSK },
	};
	struct image_file *f = NULL;

	ck_assert_int_eq(image_create(w, IMAGE_FDINFO, 3, &f, NULL), 0);
	for (size_t i = 0; i < CK_ARRAY_SIZE(fds); i++) {
		FdinfoEntry e = FDINFO_ENTRY__INIT;

		e.id = fds[i].id;
		e.fd = fds[i].fd;
		e.type = fds[i].type;
		ck_assert_int_eq(image_append(f, &e.base, NULL), 0);
	}
	ck_assert_int_eq(image_file_close(f, NULL), 0);
}

static void write_image(void)
{
	struct image_writer *w = NULL;
	char manifest[120];

	ck_assert_ptr_nonnull(mkdtemp(base));
	snprintf(dir, sizeof(dir), "%s/img", base);
	ck_assert_int_eq(image_writer_open(dir, &w, NULL), 0);
	put_inventory(w);
	put_tree(w);
	put_core(w, 7);
	put_core(w, 8);
	put_mm(w);
	put_places(w);
	put_files(w);
	put_fds(w);
	ck_assert_int_eq(image_commit(w, NULL), 0);
	image_writer_free(w);
	snprintf(manifest, sizeof(manifest), "%s/ckpt-manifest.img", dir);
	ck_assert_int_eq(unlink(manifest), 0);
}

static void remove_image(void)
{
	char cmd[120];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", base);
	ck_assert_int_eq(system(cmd), 0);
}

static const CkptNeedPath *path_of(const CkptNeeds *n, const char *path)
{
	const CkptNeedPath *found = NULL;

	for (size_t i = 0; i < n->n_paths; i++)
		if (!strcmp(n->paths[i]->path, path)) {
			ck_assert_ptr_null(found);
			found = n->paths[i];
		}
	ck_assert_msg(found != NULL, "no %s", path);
	if (!found)
		abort(); /* for analyzers */
	return found;
}

START_TEST(derives_what_is_there)
{
	struct ck_err err = CK_ERR_INIT;
	struct image *img = NULL;
	CkptFacts *source = NULL;
	CkptNeeds *n = NULL;
	const CkptNeedPath *p;

	ck_assert_int_eq(image_open(dir, &img, &err), 0);
	ck_assert_msg(policy_read_needs(img, NULL, &n, &source, &err) == 0, "%s %s", err.what,
		      err.where);
	ck_assert_ptr_null(source);
	ck_assert_str_eq(n->arch, "x86_64");
	ck_assert_uint_eq(n->n_tasks, 1);
	ck_assert_str_eq(n->tasks[0]->comm, "sim");
	ck_assert_uint_eq(n->tasks[0]->n_tids, 2);
	ck_assert_uint_eq(n->tasks[0]->uid, 1001);
	ck_assert_uint_eq(n->tasks[0]->gid, 1002);
	ck_assert_uint_eq(n->n_xstate, 2);
	ck_assert_uint_eq(n->xstate[0]->xstate_bv, 0x2a3);
	ck_assert(n->xstate[0]->in_syscall && !n->xstate[1]->in_syscall);
	ck_assert_uint_eq(n->xstate[0]->initial & 0xe0, 0xe0);
	ck_assert_uint_eq(n->xstate[1]->initial & 0xe0, 0xc0);
	ck_assert_uint_eq(n->xstate[0]->pkru, 0x55555554);
	ck_assert_uint_eq(n->lowest_address, 0x400000);
	ck_assert_uint_eq(n->highest_address, 0x7ff000002000);
	ck_assert(n->terminal);
	ck_assert_uint_eq(n->n_unsupported, 1);
	ck_assert_str_eq(n->unsupported[0], "unix socket");
	ck_assert_uint_eq(n->n_paths, 7);
	p = path_of(n, "/lib/libc.so");
	ck_assert_uint_eq(p->n_roles, 1);
	ck_assert_int_eq((int)p->roles[0], CKPT_PATH_ROLE__CKPT_PATH_MAP);
	ck_assert_uint_eq(p->build_id.len, 20);
	ck_assert_mem_eq(p->build_id.data, "\1\2\3\4\2\0\0\0", 8);
	ck_assert_str_eq(p->who, "task 7 (sim), mapped");
	p = path_of(n, "/home/u/log");
	ck_assert(p->append && !p->has_size && p->has_stdio && p->stdio == 1);
	ck_assert_str_eq(p->who, "task 7 (sim), fd 1");
	ck_assert(path_of(n, "/tmp/gone")->carried);
	ck_assert(!path_of(n, "/home/u/fifo")->carried);
	ck_assert_uint_eq(path_of(n, "/home/u/fifo")->mode, S_IFIFO | 0600);
	ck_assert_uint_eq(path_of(n, "/bin/sim")->size, 1000);
	ckpt_needs__free_unpacked(n, NULL);
	image_free(img);
}
END_TEST

/* What glibc 2.36 recorded on a Haswell: leaf 1 and 7; the later leaves are left out. */
static const uint32_t haswell[] = {
	1,       0xd,      6,          60,         3, /* Intel, highest leaf, family, model,
							 stepping */
	0x306c3, 0x100800, 0x7ffafbff, 0xbfebfbff, 0, 0,     0x7ed83203, 0x078bfbff,
	0,       0x27ab,   0,          0x9c000400, 0, 0x728, 0,          0,
};

static void add_data_page(void)
{
	struct image_writer *w = NULL;
	struct image_file *pages = NULL, *map = NULL;
	PagemapHead head = PAGEMAP_HEAD__INIT;
	uint8_t page[IMAGE_PAGE_SIZE] = { 0 };
	char name[120], moved[120];

	memcpy(page + 1000, haswell, sizeof(haswell));
	/* Written apart, since the image is complete. */
	snprintf(name, sizeof(name), "%s/more", base);
	ck_assert_int_eq(image_writer_open(name, &w, NULL), 0);
	put_inventory(w);
	ck_assert_int_eq(image_create(w, IMAGE_PAGES, 1, &pages, NULL), 0);
	ck_assert_int_eq(image_append_raw(pages, page, sizeof(page), NULL), 0);
	ck_assert_int_eq(image_file_close(pages, NULL), 0);
	ck_assert_int_eq(image_create(w, IMAGE_PAGEMAP, 7, &map, NULL), 0);
	head.pages_id = 1;
	ck_assert_int_eq(image_append(map, &head.base, NULL), 0);
	ck_assert_int_eq(image_append_pagemap(map, 0x400000, 1, IMAGE_PE_PRESENT, NULL), 0);
	ck_assert_int_eq(image_file_close(map, NULL), 0);
	ck_assert_int_eq(image_commit(w, NULL), 0);
	image_writer_free(w);
	for (int i = 0; i < 2; i++) {
		const char *file = i ? "pages-1.img" : "pagemap-7.img";

		snprintf(name, sizeof(name), "%s/more/%s", base, file);
		snprintf(moved, sizeof(moved), "%s/%s", dir, file);
		ck_assert_int_eq(rename(name, moved), 0);
	}
}

START_TEST(cpu_of_the_c_library)
{
	struct ck_err err = CK_ERR_INIT;
	struct image *img = NULL;
	CkptFacts *source = NULL;
	CkptNeeds *n = NULL;

	add_data_page();
	ck_assert_msg(image_open(dir, &img, &err) == 0, "%s %s", err.what, err.where);
	ck_assert_msg(policy_read_needs(img, NULL, &n, &source, &err) == 0, "%s %s", err.what,
		      err.where);
	ck_assert_ptr_nonnull(source);
	ck_assert_uint_eq(source->cpu->model, 60);
	/* The areas of this image's threads have AVX-512, whatever the CPU said. */
	ck_assert_uint_eq(source->cpu->xcr0, 0x2a3);
	ck_assert(cpuinfo_has(source->cpu, "movbe") && cpuinfo_has(source->cpu, "bmi2"));
	ck_assert(!cpuinfo_has(source->cpu, "avx")); /* no component for it */
	ck_assert(!cpuinfo_has(source->cpu, "avx512f"));
	ck_assert_str_eq(source->cpu->brand, "CPU of family 6, model 60");
	ckpt_facts__free_unpacked(source, NULL);
	ckpt_needs__free_unpacked(n, NULL);
	image_free(img);
}
END_TEST

static unsigned int seed_of(void)
{
	const char *s = getenv("SEED");

	return s ? (unsigned int)strtoul(s, NULL, 0) : (unsigned int)time(NULL);
}

/* A few bytes of one file become others; what comes of it is an answer or an error. */
static void spoil(const char *name, const char *good, size_t len, unsigned int *seed)
{
	CK_AUTO(free) char *bad = malloc(len + 1);
	CK_AUTO(fd) int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
	size_t keep = rand_r(seed) % 8 ? len : (size_t)rand_r(seed) % (len + 1);

	ck_assert(bad && fd >= 0);
	memcpy(bad, good, len);
	for (int k = rand_r(seed) % 4; k >= 0 && len > 8; k--)
		bad[8 + (size_t)rand_r(seed) % (len - 8)] = (char)rand_r(seed);
	ck_assert_int_eq(ck_write_full(fd, bad, keep), 0);
}

START_TEST(damage)
{
	static const char *const names[] = { "pstree.img",    "core-7.img",   "core-8.img",
					     "mm-7.img",      "files.img",    "fs-7.img",
					     "ids-7.img",     "fdinfo-3.img", "remap-fpath.img",
					     "pagemap-7.img", "pages-1.img" };
	unsigned int seed = seed_of();
	size_t judged = 0;

	add_data_page();
	printf("SEED=%u\n", seed);
	for (int round = 0; round < 3000; round++) {
		const char *which = names[(size_t)rand_r(&seed) % CK_ARRAY_SIZE(names)];
		CK_AUTO(free) char *good = NULL;
		CK_AUTO(free) char *name = NULL;
		struct ck_err err = CK_ERR_INIT;
		struct image *img = NULL;
		CkptFacts *source = NULL;
		CkptNeeds *n = NULL;
		size_t len;

		ck_assert_int_gt(asprintf(&name, "%s/%s", dir, which), 0);
		ck_assert_int_eq(ck_read_file_at(AT_FDCWD, name, 1 << 20, &good, &len), 0);
		spoil(name, good, len, &seed);
		if (image_open(dir, &img, &err) == 0) {
			if (policy_read_needs(img, NULL, &n, &source, &err) == 0) {
				judged++;
				ck_assert_uint_gt(ckpt_needs__get_packed_size(n), 0);
				ckpt_needs__free_unpacked(n, NULL);
				if (source)
					ckpt_facts__free_unpacked(source, NULL);
			} else {
				ck_assert_int_ne((int)err.kind, CK_ERR_NONE);
			}
			image_free(img);
		}
		CK_AUTO(fd) int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
		ck_assert_int_eq(ck_write_full(fd, good, len), 0);
	}
	/* Both answers are reached. */
	ck_assert_uint_gt(judged, 100);
	ck_assert_uint_lt(judged, 2900);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policies-foreign");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, write_image, remove_image);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, derives_what_is_there);
	tcase_add_test(tc, cpu_of_the_c_library);
	tcase_add_test(tc, damage);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
