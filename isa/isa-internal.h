/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to isa/. An object is a file with code, read once for all tasks; a module is where a task
 * has it. Addresses inside an object are those of its own headers ("vaddr"); a module's base is
 * what has to be added to them.
 */
#ifndef CK_ISA_ISA_INTERNAL_H
#define CK_ISA_ISA_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/elf.h"
#include "base/err.h"
#include "image/core.pb-c.h"
#include "image/image.h"
#include "image/mm.pb-c.h"
#include "isa/isa.h"

/* Room for one more item in an array that doubles; false if memory ran out. */
static inline bool isa_grow(void *array, size_t n, size_t *size, size_t item)
{
	size_t more = *size ? *size * 2 : 64;
	void *p;

	if (n < *size)
		return true;
	p = reallocarray(*(void **)array, more, item);
	if (!p)
		return false;
	*(void **)array = p;
	*size = more;
	return true;
}

/* ---- decode.c: the only file that knows the decoder's types ---- */

/* A set of CPU features that instructions need; x86-64's own are in none. */
struct isa_set {
	uint64_t w[2];
};
enum { ISA_SET_BITS = 128 };

static inline bool isa_set_empty(struct isa_set s)
{
	return !(s.w[0] | s.w[1]);
}
static inline bool isa_set_has(struct isa_set s, unsigned int bit)
{
	return s.w[bit / 64] >> (bit % 64) & 1;
}
static inline void isa_set_add(struct isa_set *s, struct isa_set more)
{
	s->w[0] |= more.w[0];
	s->w[1] |= more.w[1];
}

static inline void isa_set_remove(struct isa_set *s, struct isa_set less)
{
	s->w[0] &= ~less.w[0];
	s->w[1] &= ~less.w[1];
}

/* The name of a bit, as /proc/cpuinfo has it; NULL behind the last one. */
const char *isa_feature_name(unsigned int bit);
/* The set of one name; empty if there is no such bit. */
struct isa_set isa_feature_set(const char *name);

enum isa_flow {
	ISA_FLOW_ON,       /* to the next one */
	ISA_FLOW_BRANCH,   /* there or to the next one */
	ISA_FLOW_CALL,     /* there, and perhaps back */
	ISA_FLOW_JUMP,     /* there */
	ISA_FLOW_INDIRECT, /* somewhere; not a call */
	ISA_FLOW_END,      /* a return, or a trap that nothing comes back from */
};

struct isa_insn {
	uint8_t len;
	enum isa_flow flow;
	struct isa_set need;
	bool tzcnt; /* needs BMI1 only if it means it: older CPUs execute it as BSF */
	bool cpuid, nop, lea;
	bool wide;       /* a 512-bit register */
	bool save_state; /* XSAVE, XSAVEC or FXSAVE */
	bool elides;     /* begins, ends or leaves a transaction */
	bool has_target;
	uint64_t target; /* of a direct branch or call */
	bool has_mem;
	uint64_t mem; /* the address that a memory operand names by itself */
	bool has_imm;
	uint64_t imm; /* a constant of at least 32 bits */
};

/* One instruction at addr; false if there is none that we know. */
bool isa_decode(const uint8_t *p, size_t len, uint64_t addr, struct isa_insn *ret);

/* Reads the memory of a task: false if nobody knows what is there. */
typedef bool (*isa_read_fn)(void *arg, uint64_t addr, void *buf, size_t len);
/* Runs a function without arguments on memory as it is, writing none; what it returns, or 0 if that
 * can't be told. */
uint64_t isa_call(isa_read_fn read, void *arg, uint64_t addr);

/* ---- object.c: ELF ---- */

struct isa_range {
	uint64_t start, end;
};

enum isa_symbol_kind {
	ISA_SYMBOL_CODE,
	ISA_SYMBOL_IFUNC,
	ISA_SYMBOL_DATA,
};

struct isa_symbol {
	uint64_t addr, size;
	const char *name; /* in the object's data */
	enum isa_symbol_kind kind;
	bool exported;
};

/* A word that the dynamic linker fills in for a symbol, or with what a function returns. */
struct isa_slot {
	uint64_t addr;
	const char *name;  /* "" if it is none */
	uint64_t resolver; /* IRELATIVE: the function */
	bool lazy;         /* may be filled in at the first call */
};

enum isa_function_flags {
	ISA_FN_DECODED = 1 << 0,
	ISA_FN_GAP = 1 << 1,     /* no frame description says that this is a function */
	ISA_FN_CPUID = 1 << 2,   /* asks the CPU itself */
	ISA_FN_BAD = 1 << 3,     /* has bytes that are no instructions */
	ISA_FN_SAVES = 1 << 4,   /* saves the vector registers */
	ISA_FN_GOTBASE = 1 << 5, /* finds slots from the table's start */
	ISA_FN_RANDOM = 1 << 6,  /* needs nothing but RDRAND or RDSEED */
	ISA_FN_ELIDES = 1 << 7,  /* runs transactions */
};

/* What leads from a function to somewhere else in its object. */
enum isa_edge_kind {
	ISA_EDGE_CALL,    /* a direct call, jump or fall */
	ISA_EDGE_ADDRESS, /* its address is taken */
	ISA_EDGE_SLOT,    /* calls what is in a slot */
	ISA_EDGE_TAKEN,   /* loads what is in a slot */
	ISA_EDGE_DATA,    /* names a variable that we want to know of */
};
struct isa_edge {
	uint64_t to; /* vaddr */
	enum isa_edge_kind kind;
};

struct isa_function {
	uint64_t start, end;
	struct isa_set need;
	unsigned int flags;
	uint32_t n_edges;
	struct isa_edge *edges;
};

struct isa_object {
	size_t index; /* among all */
	char *path;
	char *unknown; /* why it can't be looked at, or NULL */
	uint8_t *data; /* as long as the file; what isn't needed is not read and 0 */
	size_t len;
	uint8_t build_id[CK_BUILD_ID_MAX];
	size_t build_id_len;
	bool fixed; /* ET_EXEC: has addresses of its own in code and data */
	bool has_dynamic, bind_now;
	bool is_exe;
	uint64_t lowest; /* vaddr of the first page */
	struct isa_range load[32];
	uint64_t load_off[32], load_filesz[32];
	bool load_exec[32];
	struct isa_range
		code[32]; /* of it, what lies in sections of code: headers and constants don't */
	size_t n_load;
	/* Pointers to constructors and to resolvers: called already, or only by ld.so. */
	struct isa_range init[8];
	size_t n_init;
	uint64_t gotplt, fini;
	bool has_fini;
	struct isa_range frames;           /* .eh_frame */
	unsigned int level;                /* of the psABI, by its notes; 0: says nothing */
	const char *dispatch;              /* NULL: nothing in it chooses code by CPU */
	struct isa_symbol *symbols;        /* by address */
	const struct isa_symbol **by_name; /* exported ones, by name */
	size_t n_by_name;
	size_t n_symbols, symbols_size;
	struct isa_slot *slots; /* by address */
	size_t n_slots, slots_size;
	uint64_t *resolvers; /* functions that only choose another one, in order */
	size_t n_resolvers;
	struct isa_function *fn; /* by address */
	size_t n_fn;
	bool framed; /* most of its code has frame descriptions */
	/* OpenBLAS: the variable that says which table is in use; 0: it is not OpenBLAS. */
	uint64_t gotoblas;
};

/* Reads and parses; what can't be is told in o->unknown. Only -ENOMEM is an error. */
int isa_object_load(struct isa_object *o, const CkptNeedPath *need);
void isa_object_done(struct isa_object *o);
/* The len bytes at vaddr as the file has them, or NULL. */
const uint8_t *isa_object_at(const struct isa_object *o, uint64_t vaddr, size_t len);
/* Where an offset of the file is mapped: the bias that maps file offset off to addr. */
bool isa_object_vaddr(const struct isa_object *o, uint64_t off, uint64_t *ret);
bool isa_object_is_code(const struct isa_object *o, uint64_t vaddr);
/* The function or variable that the address lies in, or NULL. */
const struct isa_symbol *isa_object_symbol(const struct isa_object *o, uint64_t vaddr);
/* Exported symbols of that name: the first of *ret_n in a row, one for each version. */
const struct isa_symbol *const *isa_object_named(const struct isa_object *o, const char *name,
						 size_t *ret_n);
bool isa_object_resolver(const struct isa_object *o, uint64_t vaddr);
const struct isa_slot *isa_object_slot(const struct isa_object *o, uint64_t vaddr);

/* ---- frames.c ---- */
/* The ranges of all functions that .eh_frame describes, in any order. -ENOMEM. */
int isa_frames(const struct isa_object *o, struct isa_range **ret, size_t *ret_n);

/* ---- code.c ---- */
/* Divides the object's code into functions. -ENOMEM. */
int isa_code_divide(struct isa_object *o);
/* The function that vaddr lies in, or NULL. */
struct isa_function *isa_code_find(const struct isa_object *o, uint64_t vaddr);
/* Fills in need, flags and edges, once. -ENOMEM. */
int isa_code_decode(struct isa_object *o, struct isa_function *f);
/*
 * What can still be executed of f by whoever is at vaddr: *ret has the needs and edges of that
 * part, to be freed by the caller (ret->edges). 1: it can't be told from the rest. -ENOMEM.
 */
int isa_code_from(const struct isa_object *o, const struct isa_function *f, uint64_t vaddr,
		  struct isa_function *ret);
/* A stub of a procedure linkage table at vaddr jumps through *ret_slot. */
bool isa_code_stub(const struct isa_object *o, uint64_t vaddr, uint64_t *ret_slot);
/* Is this the part of such a stub that a slot leads to before it is bound? */
bool isa_code_unbound(const struct isa_object *o, uint64_t vaddr);
/* The first instruction of f that needs this bit; its start if there is none. */
uint64_t isa_code_first(const struct isa_object *o, const struct isa_function *f, unsigned int bit);
/* Can a word that holds this address be a pointer to code: a function's start, or the place behind
 * a call? */
bool isa_code_plausible(const struct isa_object *o, uint64_t vaddr);
bool isa_code_after_call(const struct isa_object *o, uint64_t vaddr);

/* ---- space.c: a task's memory as its image has it ---- */

struct isa_module {
	struct isa_object *object;
	uint64_t base;
	size_t first; /* number of its first function among the task's */
};

struct isa_vma {
	uint64_t start, end;
	uint64_t off; /* in the file */
	uint32_t prot, status;
	int32_t module; /* -1: of no file that we look at */
	uint64_t shmid;
};

struct isa_thread {
	uint64_t ip, sp, fs_base;
	uint64_t regs[16];
	uint32_t xmm[64];
	size_t n_xmm;
};

struct isa_space {
	const struct image *img;
	uint32_t pid;
	struct isa_vma *vmas;
	size_t n_vmas;
	struct isa_module *modules;
	size_t n_modules;
	struct image_pagemap pages;
	int pages_fd;
	struct isa_thread *threads;
	size_t n_threads;
	uint64_t *handlers; /* of signals, and what they return to */
	size_t n_handlers;
	uint64_t interpreter; /* AT_BASE, 0 for a static program */
	uint64_t env_start, env_end;
	uint64_t hwcap2, platform; /* the latter an address */
	bool has_hwcap2;
	char **unknown; /* executable memory of no file */
	size_t n_unknown;
};

/* All objects of an image. */
struct isa_objects {
	struct isa_object **o;
	size_t n;
};

/* 0, or 1 if the task has no memory (a zombie). */
int isa_space_load(struct isa_space *s, const struct image *img, const CkptNeeds *needs,
		   const CkptNeedTask *task, struct isa_objects *all,
		   const struct image_entries *files, struct ck_err *err);
void isa_space_done(struct isa_space *s);
bool isa_space_read(void *space, uint64_t addr, void *buf, size_t len);
const struct isa_vma *isa_space_vma(const struct isa_space *s, uint64_t addr);
/* The module that an address of code lies in, or NULL. */
const struct isa_module *isa_space_code(const struct isa_space *s, uint64_t addr);
/* Tells fn of the contents of all memory that may hold pointers, in pieces of whole pages. */
typedef int (*isa_words_fn)(void *arg, uint64_t addr, const uint64_t *words, size_t n);
int isa_space_words(const struct isa_space *s, isa_words_fn fn, void *arg, struct ck_err *err);

/* ---- launch.c: what the task was started with, and what ld.so made of it ---- */
int isa_launch(const struct isa_space *s, CkptIsaTask *ret);
/* Where ld.so (or a static program) has what CPUID told it; 0 if that can't be found. */
uint64_t isa_cpu_features(const struct isa_space *s);

/* ---- saves.c: how ld.so keeps registers while it binds a function ---- */
int isa_saves(const struct isa_space *s, CkptIsaTask *ret);

/* ---- dispatch.c: who chooses code by CPU ---- */
void isa_dispatch_find(struct isa_object *o);
/* OpenBLAS: the kernels' table that is in use, as addresses of the task; false: this is none, or it
 * has not chosen yet. */
bool isa_dispatch_table(const struct isa_space *s, const struct isa_module *m,
			struct isa_range *ret);
/* What is not to be followed: tables that nobody chose, and the code that chose. */
bool isa_dispatch_skips(const struct isa_object *o, uint64_t vaddr);

/* ---- reach.c ---- */

enum isa_state {
	ISA_REACHED = 1 << 0,
	ISA_CALLED = 1 << 1,  /* by direct calls from where a thread stands */
	ISA_CERTAIN = 1 << 2, /* and nothing chooses any more on the way */
	ISA_BOUND = 1 << 3,   /* a slot that was chosen at start leads to it */
};

enum isa_why {
	ISA_WHY_NONE,
	ISA_WHY_THREAD,  /* it executes it */
	ISA_WHY_STACK,   /* it will return to it */
	ISA_WHY_POINTER, /* somewhere in memory or in a register */
	ISA_WHY_HANDLER, /* of a signal */
	ISA_WHY_END,     /* called when the program ends */
	ISA_WHY_TABLE,   /* in the table that a library chose */
	ISA_WHY_CALL,    /* from its parent */
	ISA_WHY_ADDRESS, /* its parent takes its address */
	ISA_WHY_LAZY,    /* its parent calls something that is not bound yet */
};

struct isa_node {
	uint8_t state, why;
	uint32_t parent; /* number of a node */
	uint32_t tid;
	const char *bound; /* the symbol that is bound to it */
};

/* A function that a thread executes or will return to. */
struct isa_live {
	uint32_t node;
	uint64_t vaddr;      /* where */
	struct isa_set need; /* of what it can still execute there */
};

struct isa_graph {
	struct isa_space *s;
	struct isa_node *node; /* one for each function of each module */
	size_t n;
	uint32_t *todo;
	size_t n_todo, todo_size;
	struct isa_live *live;
	size_t n_live, live_size;
	uint64_t trampoline; /* that binds lazily, 0: none is in use */
	uint32_t n_lazy;     /* unbound slots that can be reached */
	bool binding;        /* a thread is in the trampoline, or will return there */
	int error;
};

int isa_graph_walk(struct isa_graph *g, struct isa_space *s, struct ck_err *err);
void isa_graph_done(struct isa_graph *g);
/* The module and function of a node. */
const struct isa_module *isa_graph_module(const struct isa_graph *g, uint32_t node);
struct isa_function *isa_graph_function(const struct isa_graph *g, uint32_t node);

/* ---- evidence.c ---- */
/* Adds to modules, one for each object, what the task's code can reach; and fills in t. */
int isa_evidence(struct isa_graph *g, CkptIsaModule **modules, const struct isa_objects *all,
		 CkptIsaTask *t);

#endif
