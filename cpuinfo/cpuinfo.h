/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about CPUs: which instructions and which register state a host gives to user programs.
 * What an image still needs of them is judged in cpuinfo/rules.c. Works on stored facts of any
 * host; only cpuinfo_facts() asks the CPU it runs on.
 */
#ifndef CK_CPUINFO_CPUINFO_H
#define CK_CPUINFO_CPUINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/ckpt-isa.pb-c.h"
#include "image/facts.pb-c.h"
#include "image/rule.h"

struct ck_err;

enum cpuinfo_class {
	CPUINFO_ISA,   /* an encoding: faults or means something else where it is absent */
	CPUINFO_STATE, /* a register state that has to be carried along */
	CPUINFO_HINT,  /* never needed by a program */
};

enum cpuinfo_reg {
	CPUINFO_EAX,
	CPUINFO_EBX,
	CPUINFO_ECX,
	CPUINFO_EDX,
};

/* One row of cpuinfo/features.def. */
struct cpuinfo_feature {
	const char *name; /* as in /proc/cpuinfo */
	uint32_t leaf, subleaf;
	enum cpuinfo_reg reg;
	unsigned int bit;
	enum cpuinfo_class class;
	uint64_t xcr0; /* components that must be enabled before it is usable */
};

extern const struct cpuinfo_feature cpuinfo_features[];
extern const size_t cpuinfo_n_features;

/* NULL if the name is unknown. */
const struct cpuinfo_feature *cpuinfo_feature_find(const char *name);
/* One row of cpuinfo/isa-sets.c: a kind of instructions, as Zydis names it ("AVX512BW_256"). */
struct cpuinfo_isa_set {
	const char *name;
	/* The features that they need, up to NULL. None: every x86-64 CPU runs them, or ignores
	 * them, or the kernel alone decides. */
	const char *needs[4];
};

extern const struct cpuinfo_isa_set cpuinfo_isa_sets[];
extern const size_t cpuinfo_n_isa_sets;

/* The needs of a set, a list that ends with NULL. NULL itself if the set, and with it what it
 * needs, is unknown. */
const char *const *cpuinfo_isa_set(const char *name);
/* Is it among the host's usable features? */
bool cpuinfo_has(const CkptCpuFacts *cpu, const char *name);
/* "AVX-512 opmask" for bit 5 of XCR0; "component 33" where there is no name. */
const char *cpuinfo_component_name(unsigned int bit);
/* The component's place in the standard xsave layout; NULL if the host doesn't have it. */
const CkptXsaveComponent *cpuinfo_component(const CkptCpuFacts *cpu, unsigned int bit);

/*
 * Where a CPU that is known as far as cpu tells (NULL: not at all), and whose xsave areas hold
 * xfeatures in size bytes, has a component; 0 if that is not known.
 */
uint32_t cpuinfo_offset(const CkptCpuFacts *cpu, uint64_t xfeatures, uint32_t size,
			unsigned int bit);

/* The live CPU. The caller frees *ret with ckpt_cpu_facts__free_unpacked(*ret, NULL). */
int cpuinfo_facts(CkptCpuFacts **ret, struct ck_err *err);
/*
 * CPUID leaves as text, in AIDA64's form; those of the first logical processor. CK_ERR_CONFIG if it
 * is no such text. Freed as above.
 */
int cpuinfo_parse(const char *text, size_t len, CkptCpuFacts **ret, struct ck_err *err);
/*
 * From leaves (and xcr0, if has_xcr0) alone: vendor, brand, codename, family, model, stepping,
 * xsave layout, features and level, replacing nothing but what is empty. Without has_xcr0, what
 * Linux would enable on such a CPU is inferred. -ENOMEM.
 */
int cpuinfo_derive(CkptCpuFacts *cpu);

/*
 * What a variable of the job's ld.so has to say on that CPU, bytes, so that the code that reads it
 * saves no more registers than it has reserved room for. 0: that code is not in use.
 */
uint64_t cpuinfo_save_room(const CkptCpuFacts *cpu, const CkptIsaTask *t, const CkptIsaSave *s);

/* A mapping of a task. */
struct cpuinfo_map {
	uint64_t start, end;
	bool exec;
};

/* A task's memory, live or in an image. */
struct cpuinfo_memory {
	const struct cpuinfo_map *map; /* in order */
	size_t n;
	/* len bytes at addr; 0, or negative where nothing can be read. */
	int (*read)(void *arg, uint64_t addr, void *buf, size_t len);
	void *arg;
};

/* A signal frame: extended state that a handler interrupted, on a stack. */
struct cpuinfo_frame {
	uint64_t area;      /* address of the xsave area */
	uint32_t size;      /* bytes of it, in the standard format of the CPU that wrote it */
	uint32_t room;      /* bytes that another one may take there, with the word behind it */
	uint64_t xfeatures; /* components that it can hold */
	uint64_t xstate_bv; /* those that are not in their initial state */
	uint32_t mxcsr;
	uint64_t ip, sp; /* where it was interrupted */
};

/*
 * Calls fn for the frames that a thread will return through, the newest first; sas is its alternate
 * stack (size 0: none). A negative value of fn ends the search and is returned. -ENOMEM.
 */
int cpuinfo_frames(const struct cpuinfo_memory *m, uint64_t sp, uint64_t sas_sp, uint64_t sas_size,
		   int (*fn)(const struct cpuinfo_frame *f, void *arg), void *arg);

/* Does a signal frame of that CPU fit on an alternate stack? tiles: AMX is permitted to the task.
 */
bool cpuinfo_frame_fits(const CkptCpuFacts *cpu, uint64_t sas_sp, uint64_t sas_size, bool tiles);

/* The rules of this folder, ended by a row without an id. */
extern const struct rule cpuinfo_rules[];

#endif
