// SPDX-License-Identifier: Apache-2.0
/*
 * What a task was started with that chooses code, and what its C library made of it: variables of
 * the environment, and the record of glibc (struct cpu_features) with what it takes for usable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb.h"
#include "cpuinfo/cpuinfo.h"
#include "isa/isa-internal.h"

enum {
	ENV_MAX = 1 << 20,
	/* glibc sysdeps/x86/include/cpu-features.h, since 2.33: five words, then for each leaf
	 * cpuid[4] and active[4] */
	BASIC_WORDS = 5,
	RECORD_WORDS = 8,
	N_RECORDS = 7,
	TOTAL_WORDS = BASIC_WORDS + RECORD_WORDS * N_RECORDS,
};

/* The leaves in the order of the record, the same since 2.33. */
static const struct {
	uint32_t leaf, subleaf;
} records[N_RECORDS] = {
	{ 1, 0 },          { 7, 0 },          { 0x80000001, 0 }, { 0xd, 1 },
	{ 0x80000007, 0 }, { 0x80000008, 0 }, { 7, 1 },
};

static const char *const variables[] = {
	"GLIBC_TUNABLES=",
	"LD_BIND_NOW=",
	"LD_BIND_NOT=",
	"LD_AUDIT=",
	"LD_PROFILE=",
	"OPENBLAS_CORETYPE=",
	"OPENSSL_ia32cap=",
	"NPY_DISABLE_CPU_FEATURES=",
	"MKL_ENABLE_INSTRUCTIONS=",
	"DNNL_MAX_CPU_ISA=",
	"OMPI_MCA_op=",
};

static int take_environment(const struct isa_space *s, CkptIsaTask *ret)
{
	size_t len = s->env_end - s->env_start;
	CK_AUTO(free) char *env = NULL;

	if (s->env_end <= s->env_start || len > ENV_MAX)
		return 0;
	env = malloc(len + 1);
	if (!env)
		return -ENOMEM;
	env[len] = 0;
	if (!isa_space_read((void *)s, s->env_start, env, len))
		return 0;
	for (char *p = env; p < env + len; p += strlen(p) + 1)
		for (size_t i = 0; i < CK_ARRAY_SIZE(variables); i++)
			if (!strncmp(p, variables[i], strlen(variables[i])) &&
			    ck_pb_append_str(&ret->environment, &ret->n_environment, p) < 0)
				return -ENOMEM;
	return 0;
}

/* ---- glibc's record ---- */

static bool is_record(const uint32_t *w)
{
	const uint32_t *leaf1 = w + BASIC_WORDS;
	uint32_t family = leaf1[0] >> 8 & 0xf, model = leaf1[0] >> 4 & 0xf;

	if (family == 15)
		family += leaf1[0] >> 20 & 0xff;
	if (family == 6 || family >= 15)
		model += (leaf1[0] >> 16 & 0xf) << 4;
	/* What is active is a part of what there is; SSE2 always is. */
	return w[0] >= 1 && w[0] <= 4 && w[2] == family && w[3] == model &&
	       w[4] == (leaf1[0] & 0xf) && !(leaf1[6] & ~leaf1[2]) && !(leaf1[7] & ~leaf1[3]) &&
	       (leaf1[7] >> 26 & 1);
}

/* A function that returns the record's address: lea record(%rip), %rax; ret. */
static uint64_t from_function(const struct isa_space *s)
{
	static const char *const names[] = { "_dl_x86_get_cpu_features", "__x86_get_cpu_features" };

	for (size_t i = 0; i < s->n_modules; i++)
		for (size_t k = 0; k < CK_ARRAY_SIZE(names); k++) {
			const struct isa_module *m = &s->modules[i];
			size_t n;
			const struct isa_symbol *const *y =
				isa_object_named(m->object, names[k], &n);
			uint64_t v =
				y ? isa_call(isa_space_read, (void *)s, m->base + y[0]->addr) : 0;
			uint32_t w[TOTAL_WORDS];

			if (v && isa_space_read((void *)s, v, w, sizeof(w)) && is_record(w))
				return v;
		}
	return 0;
}

struct search {
	uint64_t found;
};

static int find_record(void *arg, uint64_t addr, const uint64_t *words, size_t n)
{
	const uint32_t *w = (const uint32_t *)words;
	struct search *f = arg;

	for (size_t i = 0; !f->found && i + TOTAL_WORDS <= n * 2; i++)
		if (is_record(w + i))
			f->found = addr + i * sizeof(*w);
	return 0;
}

uint64_t isa_cpu_features(const struct isa_space *s)
{
	struct search f = { from_function(s) };

	/* A static program keeps it in its own data. */
	if (!f.found && !s->interpreter)
		(void)isa_space_words(s, find_record, &f, NULL);
	return f.found;
}

static int take_usable(const struct isa_space *s, CkptIsaTask *ret)
{
	uint64_t at = isa_cpu_features(s);
	uint32_t w[TOTAL_WORDS];

	if (!at || !isa_space_read((void *)s, at, w, sizeof(w)))
		return 0;
	ret->has_has_usable = ret->has_usable = true;
	for (size_t i = 0; i < cpuinfo_n_features; i++) {
		const struct cpuinfo_feature *f = &cpuinfo_features[i];

		for (size_t k = 0; k < N_RECORDS; k++) {
			const uint32_t *active = w + BASIC_WORDS + k * RECORD_WORDS + 4;

			if (records[k].leaf == f->leaf && records[k].subleaf == f->subleaf &&
			    (active[f->reg] >> f->bit & 1) &&
			    ck_pb_append_str(&ret->usable, &ret->n_usable, f->name) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int take_platform(const struct isa_space *s, CkptIsaTask *ret)
{
	char name[32] = "";

	ret->has_hwcap2 = s->has_hwcap2;
	ret->hwcap2 = s->hwcap2;
	if (!s->platform || !isa_space_read((void *)s, s->platform, name, sizeof(name) - 1) ||
	    !name[0])
		return 0;
	ret->platform = strdup(name);
	return ret->platform ? 0 : -ENOMEM;
}

int isa_launch(const struct isa_space *s, CkptIsaTask *ret)
{
	int r = take_environment(s, ret);

	if (r == 0)
		r = take_usable(s, ret);
	if (r == 0)
		r = take_platform(s, ret);
	return r < 0 ? r : isa_saves(s, ret);
}
