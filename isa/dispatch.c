// SPDX-License-Identifier: Apache-2.0
/*
 * Who chooses code by CPU in an object. Where nobody does, an instruction that is there is meant to
 * be executed on any CPU. Where somebody does, it is known for some libraries what they asked:
 * glibc its own record of the CPU, OpenBLAS a table of kernels, OpenSSL and numpy variables that
 * the environment can change. All others ask by themselves, which nothing attests.
 */
#include <string.h>

#include "isa/isa-internal.h"

/* Whoever uses one of these asks what the CPU can do. */
static const char *const askers[] = {
	"__cpu_model",          "__cpu_features2",
	"__cpu_indicator_init", "__x86_get_cpuid_feature_leaf",
	"__get_cpu_features",   "getauxval",
};

static bool defines(const struct isa_object *o, const char *name)
{
	size_t n;

	return isa_object_named(o, name, &n);
}

static bool uses(const struct isa_object *o, const char *name)
{
	for (size_t i = 0; i < o->n_slots; i++)
		if (!strcmp(o->slots[i].name, name))
			return true;
	return false;
}

/* Is there a CPUID instruction, in whatever way the bytes are read? */
static bool has_cpuid(const struct isa_object *o)
{
	static const uint8_t cpuid[] = { 0x0f, 0xa2 };

	for (size_t i = 0; i < o->n_load; i++)
		if (o->load_exec[i] &&
		    memmem(o->data + o->load_off[i], o->load_filesz[i], cpuid, sizeof(cpuid)))
			return true;
	return false;
}

static bool chooses(const struct isa_object *o)
{
	for (size_t i = 0; i < o->n_slots; i++)
		if (o->slots[i].resolver)
			return true;
	for (size_t i = 0; i < o->n_symbols; i++)
		if (o->symbols[i].kind == ISA_SYMBOL_IFUNC)
			return true;
	for (size_t i = 0; i < CK_ARRAY_SIZE(askers); i++)
		if (uses(o, askers[i]))
			return true;
	return has_cpuid(o);
}

void isa_dispatch_find(struct isa_object *o)
{
	size_t n;
	const struct isa_symbol *const *blas = isa_object_named(o, "gotoblas", &n);

	if (blas && (*blas)->kind == ISA_SYMBOL_DATA && defines(o, "gotoblas_corename")) {
		o->gotoblas = (*blas)->addr;
		o->dispatch = "openblas";
	} else if (defines(o, "_rtld_global_ro") || uses(o, "_rtld_global_ro") ||
		   defines(o, "_dl_x86_get_cpu_features") || uses(o, "_dl_x86_get_cpu_features")) {
		o->dispatch = "glibc";
	} else if (defines(o, "OPENSSL_init_crypto")) {
		o->dispatch = "openssl";
	} else if (defines(o, "PyInit__multiarray_umath")) {
		o->dispatch = "numpy";
	} else if (chooses(o)) {
		o->dispatch = "itself";
	}
}

bool isa_dispatch_table(const struct isa_space *s, const struct isa_module *m,
			struct isa_range *ret)
{
	const struct isa_symbol *table;
	uint64_t chosen;

	if (!m->object->gotoblas ||
	    !isa_space_read((void *)s, m->base + m->object->gotoblas, &chosen, sizeof(chosen)))
		return false;
	table = chosen ? isa_object_symbol(m->object, chosen - m->base) : NULL;
	if (!table || table->kind != ISA_SYMBOL_DATA || strncmp(table->name, "gotoblas_", 9) != 0)
		return false;
	*ret = (struct isa_range){ m->base + table->addr, m->base + table->addr + table->size };
	return true;
}

bool isa_dispatch_skips(const struct isa_object *o, uint64_t vaddr)
{
	const struct isa_symbol *s = o->gotoblas ? isa_object_symbol(o, vaddr) : NULL;

	return s && !strncmp(s->name, "gotoblas_", 9);
}
