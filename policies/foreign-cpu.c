// SPDX-License-Identifier: Apache-2.0
/*
 * Which CPU an image of CRIU's comes from. CRIU doesn't say, but the job's own C library does:
 * glibc since 2.33 keeps what CPUID told it at start (struct cpu_features, in ld.so's or a static
 * program's relocated data), and chose its functions by it. The record is found by its shape: five
 * words say vendor kind, highest leaf, family, model and stepping; then comes leaf 1, whose EAX
 * says the last three again. Jobs without glibc (musl, Go) have no record; then cpuinfo.img tells,
 * if CRIU was asked for it, and else nothing: auxiliary vectors and saved registers say which state
 * the CPU had, not which instructions.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/pb.h"
#include "cpuinfo/cpuinfo.h"
#include "image/core.pb-c.h"
#include "image/cpuinfo.pb-c.h"
#include "image/format.h"
#include "policies/foreign.h"
#include "policies/policies.h"

enum {
	MAX_SCAN = 64 << 20, /* bytes of one task that are looked at */
	N_RECORDS = 7,
	/* basic, then cpuid[4] and active[4] of each leaf; glibc sysdeps/x86/include/cpu-features.h
	 */
	BASIC_WORDS = 5,
	RECORD_WORDS = 8,
	TOTAL_WORDS = BASIC_WORDS + N_RECORDS * RECORD_WORDS,
};

/* The leaves in the order of the record, the same since 2.33. */
static const struct {
	uint32_t leaf, subleaf;
} records[N_RECORDS] = {
	{ 1, 0 },          { 7, 0 },          { 0x80000001, 0 }, { 0xd, 1 },
	{ 0x80000007, 0 }, { 0x80000008, 0 }, { 7, 1 },
};

#define BIT_SSE2 (1u << 26)
enum { KIND_LAST = 4, MAX_LEAF = 0x40 }; /* kinds: Intel, AMD, Zhaoxin, other */

static inline void ck_auto_message(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

static bool is_record(const uint32_t *w)
{
	const uint32_t *leaf1 = w + BASIC_WORDS;
	/* tsc, cx8, cmov, sse, sse2: every 64-bit CPU */
	const uint32_t must = 1u << 4 | 1u << 8 | 1u << 15 | 1u << 25 | BIT_SSE2;
	uint32_t family = leaf1[0] >> 8 & 0xf, model = leaf1[0] >> 4 & 0xf;

	if (family == 15)
		family += leaf1[0] >> 20 & 0xff;
	if (family == 6 || family >= 15)
		model += (leaf1[0] >> 16 & 0xf) << 4;
	if (w[0] < 1 || w[0] > KIND_LAST || w[1] < 1 || w[1] > MAX_LEAF || w[2] != family ||
	    w[3] != model || w[4] != (leaf1[0] & 0xf) || (leaf1[3] & must) != must)
		return false;
	/* What is active is a part of what there is. */
	return !(leaf1[6] & ~leaf1[2]) && !(leaf1[7] & ~leaf1[3]) && (leaf1[7] & BIT_SSE2);
}

static int add_leaf(CkptCpuFacts *cpu, uint32_t leaf, uint32_t subleaf, const uint32_t r[static 4])
{
	CkptCpuidLeaf *l = CK_PB_NEW(CkptCpuidLeaf, ckpt_cpuid_leaf);

	if (!l || ck_pb_append(&cpu->leaves, &cpu->n_leaves, l) < 0) {
		free(l);
		return -ENOMEM;
	}
	l->leaf = leaf;
	l->subleaf = subleaf;
	l->eax = r[0];
	l->ebx = r[1];
	l->ecx = r[2];
	l->edx = r[3];
	return 0;
}

static int add_leaves(CkptCpuFacts *cpu, const uint32_t *w)
{
	int r = 0;

	for (size_t i = 0; i < N_RECORDS && r == 0; i++)
		r = add_leaf(cpu, records[i].leaf, records[i].subleaf,
			     w + BASIC_WORDS + i * RECORD_WORDS);
	return r;
}

/* For an archive, whose pages are not unpacked: the pages that the record is in. */
static bool keep_record(const void *data, size_t len, size_t *off, size_t *n)
{
	const uint32_t *w = data;

	for (size_t i = (*off + sizeof(*w) - 1) / sizeof(*w); i + TOTAL_WORDS <= len / sizeof(*w);
	     i++) {
		if (!is_record(w + i))
			continue;
		*off = i * sizeof(*w);
		*n = TOTAL_WORDS * sizeof(*w);
		return true;
	}
	return false;
}

int policy_image_open(const char *path, struct image **ret, struct ck_err *err)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
		return image_open_archive(path, keep_record, ret, err);
	return image_open(path, ret, err);
}

/* Looks through one run of pages; 1 if the record is there and was taken. */
static int scan_run(int fd, uint64_t off, uint64_t len, CkptCpuFacts *cpu)
{
	CK_AUTO(free) uint32_t *w = malloc(len);
	ssize_t n;

	if (!w)
		return -ENOMEM;
	n = ck_pread_full(fd, w, len, (off_t)off);
	for (size_t i = 0; n > 0 && i + TOTAL_WORDS <= (size_t)n / sizeof(*w); i++)
		if (is_record(w + i))
			return add_leaves(cpu, w + i) < 0 ? -ENOMEM : 1;
	return 0;
}

/* Is the address in private data of a mapped file, or in the .bss that follows it (where a static
 * program has the record)? */
static bool is_file_data(const MmEntry *mm, uint64_t addr)
{
	uint64_t data_end = 0;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		bool data = (v->status & IMAGE_VMA_FILE_PRIVATE) ||
			    (v->start == data_end && (v->status & IMAGE_VMA_ANON_PRIVATE));

		if (addr >= v->start && addr < v->end)
			return data;
		if (data)
			data_end = v->end;
	}
	return false;
}

static int scan_task(const struct image *img, const MmEntry *mm, uint32_t pid, CkptCpuFacts *cpu,
		     struct ck_err *err)
{
	CK_AUTO(image_pagemap) struct image_pagemap map = { 0 };
	CK_AUTO(fd) int fd = -EBADF;
	uint64_t budget = MAX_SCAN;
	int r = image_read_pagemap(img, IMAGE_PAGEMAP, pid, &map, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	fd = image_open_fd(img, IMAGE_PAGES, map.pages_id, err);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	for (size_t i = 0; i < map.n && r == 0; i++) {
		const struct image_pages_run *run = &map.run[i];
		uint64_t len = run->pages * IMAGE_PAGE_SIZE;

		if (!(run->flags & IMAGE_PE_PRESENT) || !is_file_data(mm, run->vaddr))
			continue;
		if (len > budget)
			break;
		budget -= len;
		r = scan_run(fd, run->file_off, len, cpu);
	}
	return r;
}

static void add_component(CkptCpuFacts *cpu, uint32_t bit, uint32_t offset, uint32_t size)
{
	CkptXsaveComponent *c = CK_PB_NEW(CkptXsaveComponent, ckpt_xsave_component);

	if (!c || ck_pb_append(&cpu->xsave, &cpu->n_xsave, c) < 0) {
		free(c);
		return;
	}
	c->bit = bit;
	c->offset = offset;
	c->size = size;
	cpu->xcr0 |= UINT64_C(1) << bit;
	if (offset + size > cpu->xsave_size)
		cpu->xsave_size = offset + size;
}

/* Where the vendors put components 5, 6, 7 and 9, for those who have AVX-512 and for the others. */
struct places {
	uint32_t opmask, zmm_hi256, hi16_zmm, pkru;
};

static struct places places_of(const CkptCpuFacts *cpu, bool avx512)
{
	static const struct places intel = { 1088, 1152, 1664, 2688 }, zen2 = { .pkru = 832 },
				   zen3 = { .pkru = 2432 }, zen4 = { 832, 896, 1408, 2432 };
	uint32_t eax = cpu->n_leaves ? cpu->leaves[0]->eax : 0; /* leaf 1, the first of a record */
	uint32_t family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);

	if ((eax >> 8 & 0xf) != 0xf || family < 0x17)
		return intel;
	return avx512 ? zen4 : family < 0x19 ? zen2 : zen3;
}

/* Which components the source had, from those that its threads' areas have. */
static int take_components(const struct image *img, uint32_t tid, CkptCpuFacts *cpu,
			   struct ck_err *err)
{
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	int r = image_read_one(img, IMAGE_CORE, tid, &m, err);
	const ThreadInfoX86 *ti = r < 0 ? NULL : ((const CoreEntry *)m)->thread_info;
	const UserX86XsaveEntry *x = ti ? ti->fpregs->xsave : NULL;
	struct places at;

	if (!x)
		return r;
	at = places_of(cpu, x->n_opmask_reg > 0);
	cpu->has_xcr0 = cpu->has_xsave_size = true;
	cpu->xcr0 = 3;
	cpu->xsave_size = 576;
	if (x->n_ymmh_space)
		add_component(cpu, 2, 576, 256);
	if (x->n_opmask_reg)
		add_component(cpu, 5, at.opmask, 64);
	if (x->n_zmm_upper)
		add_component(cpu, 6, at.zmm_hi256, 512);
	if (x->n_hi16_zmm)
		add_component(cpu, 7, at.hi16_zmm, 1024);
	if (x->n_pkru)
		add_component(cpu, 9, at.pkru, 8);
	return 0;
}

static CkptFacts *new_source(const char *arch)
{
	CK_AUTO(facts) CkptFacts *f = CK_PB_NEW(CkptFacts, ckpt_facts);

	if (!f)
		return NULL;
	f->version = 1;
	f->cpu = CK_PB_NEW(CkptCpuFacts, ckpt_cpu_facts);
	f->kernel = CK_PB_NEW(CkptKernelFacts, ckpt_kernel_facts);
	f->priv = CK_PB_NEW(CkptPrivFacts, ckpt_priv_facts);
	if (!f->cpu || !f->kernel || !f->priv)
		return NULL;
	f->cpu->arch = strdup(arch);
	f->kernel->release = strdup("");
	return f->cpu->arch && f->kernel->release ? ck_take_ptr(&f) : NULL;
}

/* What `criu dump --cpu-cap` wrote. The order of the words is part of CRIU's format (compel, enum
 * cpuid_leafs). 1, 0 if there is none, or an error. */
static int take_cpuinfo(const struct image *img, CkptCpuFacts *cpu, struct ck_err *err)
{
	enum {
		EDX_1,
		EDX_80000001,
		ECX_1 = 4,
		ECX_80000001 = 6,
		EBX_7 = 9,
		EAX_D_1,
		ECX_7,
		EDX_7 = 18
	};
	CK_AUTO(message) ProtobufCMessage *m = NULL;
	int r = image_read_one(img, IMAGE_CPUINFO, 0, &m, err);
	const CpuinfoEntry *e = (const CpuinfoEntry *)m;
	const CpuinfoX86Entry *x = r == 0 && e->n_x86_entry ? e->x86_entry[0] : NULL;
	uint32_t w[EDX_7 + 1] = { 0 };

	if (!x)
		return r == -ENOENT ? 0 : r;
	for (size_t i = 0; i < x->n_capability && i < CK_ARRAY_SIZE(w); i++)
		w[i] = x->capability[i];
	cpu->has_xcr0 = x->has_xfeatures_mask;
	cpu->xcr0 = x->xfeatures_mask;
	cpu->has_xsave_size = x->has_xsave_size;
	cpu->xsave_size = x->xsave_size;
	cpu->has_family = cpu->has_model = cpu->has_stepping = true;
	cpu->family = x->cpu_family;
	cpu->model = x->model;
	cpu->stepping = x->stepping;
	if (add_leaf(cpu, 1, 0, (uint32_t[]){ 0, 0, w[ECX_1], w[EDX_1] }) < 0 ||
	    add_leaf(cpu, 7, 0, (uint32_t[]){ 0, w[EBX_7], w[ECX_7], w[EDX_7] }) < 0 ||
	    add_leaf(cpu, 0xd, 1, (uint32_t[]){ w[EAX_D_1], 0, 0, 0 }) < 0 ||
	    add_leaf(cpu, 0x80000001, 0, (uint32_t[]){ 0, 0, w[ECX_80000001], w[EDX_80000001] }) <
		    0)
		return -ENOMEM;
	return 1;
}

/* 1 or -ENOMEM. */
static int describe(CkptCpuFacts *cpu)
{
	if (cpuinfo_derive(cpu) < 0)
		return -ENOMEM;
	if (asprintf(&cpu->brand, "CPU of family %u, model %u", cpu->family, cpu->model) < 0) {
		cpu->brand = NULL;
		return -ENOMEM;
	}
	return 1;
}

int policy_derive_cpu(const struct image *img, const CkptNeeds *n, CkptFacts **ret,
		      struct ck_err *err)
{
	CK_AUTO(facts) CkptFacts *f = new_source(n->arch);
	int r = f ? 0 : -ENOMEM;

	for (size_t i = 0; i < n->n_tasks && r == 0; i++) {
		CK_AUTO(message) ProtobufCMessage *mm = NULL;

		r = image_read_one(img, IMAGE_MM, n->tasks[i]->pid, &mm, err);
		if (r == 0)
			r = scan_task(img, (const MmEntry *)mm, n->tasks[i]->pid, f->cpu, err);
		if (r == -ENOENT)
			r = 0; /* a zombie */
		if (r == 1 && take_components(img, n->tasks[i]->pid, f->cpu, err) < 0)
			return ck_err_at(err, -EBADMSG, "task %u", n->tasks[i]->pid);
	}
	if (r == 0)
		r = take_cpuinfo(img, f->cpu, err);
	if (r == 1)
		r = describe(f->cpu);
	if (r == -ENOMEM)
		return ck_fail(err, CK_ERR_SYS, r, "cannot look for the source's CPU");
	*ret = r == 1 ? ck_take_ptr(&f) : NULL;
	return r < 0 ? r : 0;
}
