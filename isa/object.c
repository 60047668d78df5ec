// SPDX-License-Identifier: Apache-2.0
/*
 * A file with code, as far as its code goes: segments, symbols, the words that the dynamic linker
 * fills in. Static programs have no dynamic section; there the section headers tell. All counts and
 * offsets come from the file and are bounded; what is damaged is left out or makes the file
 * unknown.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/fd.h"
#include "isa/isa-internal.h"

enum {
	MAX_PHDRS = 512,
	MAX_SHDRS = 4096,
	MAX_DYN = 1024,
};
#define MAX_FILE ((uint64_t)4 << 30)
#define MAX_COUNT ((uint64_t)1 << 24) /* symbols, relocations */

/* GNU_PROPERTY_X86_ISA_1_NEEDED: bits 0 to 3 are the levels of the psABI */
#define ISA_NEEDED 0xc0008002u

static int unknown(struct isa_object *o, const char *why)
{
	if (o->unknown)
		return 0;
	o->unknown = strdup(why);
	return o->unknown ? 0 : -ENOMEM;
}

const uint8_t *isa_object_at(const struct isa_object *o, uint64_t vaddr, size_t len)
{
	for (size_t i = 0; i < o->n_load; i++) {
		uint64_t in = vaddr - o->load[i].start;

		if (vaddr < o->load[i].start || in >= o->load_filesz[i])
			continue;
		if (len > o->load_filesz[i] - in)
			return NULL;
		return o->data + o->load_off[i] + in;
	}
	return NULL;
}

bool isa_object_vaddr(const struct isa_object *o, uint64_t off, uint64_t *ret)
{
	for (size_t i = 0; i < o->n_load; i++) {
		/* A segment is mapped from the page that it begins in. */
		uint64_t start = o->load_off[i] & ~(uint64_t)(IMAGE_PAGE_SIZE - 1);

		if (off < start || off >= o->load_off[i] + o->load_filesz[i])
			continue;
		*ret = o->load[i].start - (o->load_off[i] - start) + (off - start);
		return true;
	}
	return false;
}

bool isa_object_is_code(const struct isa_object *o, uint64_t vaddr)
{
	for (size_t i = 0; i < o->n_load; i++)
		if (o->load_exec[i] && vaddr >= o->code[i].start && vaddr < o->code[i].end)
			return true;
	return false;
}

/* n bytes of the file at off that were read, or NULL. */
static const void *file_at(const struct isa_object *o, uint64_t off, uint64_t n)
{
	return off <= o->len && n <= o->len - off ? o->data + off : NULL;
}

static int read_range(struct isa_object *o, int fd, uint64_t off, uint64_t n)
{
	ssize_t got;

	if (!file_at(o, off, n))
		return -EBADMSG;
	got = ck_pread_full(fd, o->data + off, n, (off_t)off);
	if (got < 0)
		return (int)got;
	return (uint64_t)got == n ? 0 : -EBADMSG;
}

/* ---- segments ---- */

static int take_load(struct isa_object *o, int fd, const Elf64_Phdr *p)
{
	size_t i = o->n_load;

	if (i == CK_ARRAY_SIZE(o->load) || p->p_vaddr + p->p_memsz < p->p_vaddr ||
	    p->p_filesz > p->p_memsz)
		return -EBADMSG;
	o->load[i] = (struct isa_range){ p->p_vaddr, p->p_vaddr + p->p_memsz };
	o->load_off[i] = p->p_offset;
	o->load_filesz[i] = p->p_filesz;
	o->load_exec[i] = p->p_flags & PF_X;
	o->code[i] = (struct isa_range){ p->p_vaddr, p->p_vaddr + p->p_filesz };
	if (!i || p->p_vaddr < o->lowest)
		o->lowest = p->p_vaddr & ~(uint64_t)(IMAGE_PAGE_SIZE - 1);
	o->n_load++;
	return read_range(o, fd, p->p_offset, p->p_filesz);
}

static int read_segments(struct isa_object *o, int fd, const Elf64_Ehdr *e)
{
	if (e->e_phentsize != sizeof(Elf64_Phdr) || !e->e_phnum || e->e_phnum > MAX_PHDRS ||
	    read_range(o, fd, e->e_phoff, (uint64_t)e->e_phnum * sizeof(Elf64_Phdr)) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr p;

		memcpy(&p, o->data + e->e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type == PT_LOAD && take_load(o, fd, &p) < 0)
			return -EBADMSG;
	}
	return o->n_load ? 0 : -EBADMSG;
}

/* .eh_frame itself is found through the table that PT_GNU_EH_FRAME has of it. */
static void take_frames(struct isa_object *o, uint64_t hdr)
{
	const uint8_t *h = isa_object_at(o, hdr, 8);
	int32_t rel;

	/* version 1, the pointer relative to itself in 4 bytes: what linkers write */
	if (!h || h[0] != 1 || h[1] != 0x1b)
		return;
	memcpy(&rel, h + 4, sizeof(rel));
	o->frames.start = hdr + 4 + (uint64_t)(int64_t)rel;
	for (size_t i = 0; i < o->n_load; i++)
		if (o->frames.start >= o->load[i].start &&
		    o->frames.start < o->load[i].start + o->load_filesz[i])
			o->frames.end = o->load[i].start + o->load_filesz[i];
}

static void take_property(struct isa_object *o, const uint8_t *p, size_t len)
{
	while (len >= 8) {
		uint32_t type, size, bits;

		memcpy(&type, p, 4);
		memcpy(&size, p + 4, 4);
		if (size > len - 8)
			return;
		if (type == ISA_NEEDED && size >= 4) {
			memcpy(&bits, p + 8, 4);
			for (unsigned int level = 1; level <= 4; level++)
				if ((bits >> (level - 1) & 1) && level > o->level)
					o->level = level;
		}
		size = 8 + ((size + 7) & ~7u);
		p += size < len ? size : len;
		len -= size < len ? size : len;
	}
}

static void take_notes(struct isa_object *o, const uint8_t *p, size_t len, size_t align)
{
	size_t off = 0;

	while (len - off >= sizeof(Elf64_Nhdr)) {
		size_t desc;
		Elf64_Nhdr n;

		memcpy(&n, p + off, sizeof(n));
		off += sizeof(n);
		if (n.n_namesz > len - off)
			return;
		desc = off + n.n_namesz;
		desc += (align - desc % align) % align;
		if (desc > len || n.n_descsz > len - desc)
			return;
		if (n.n_namesz == 4 && !memcmp(p + off, "GNU", 4)) {
			if (n.n_type == NT_GNU_PROPERTY_TYPE_0)
				take_property(o, p + desc, n.n_descsz);
			if (n.n_type == NT_GNU_BUILD_ID && n.n_descsz <= CK_BUILD_ID_MAX) {
				memcpy(o->build_id, p + desc, n.n_descsz);
				o->build_id_len = n.n_descsz;
			}
		}
		off = desc + n.n_descsz;
		off += (align - off % align) % align;
		if (off > len)
			return;
	}
}

/* ---- symbols and slots ---- */

struct tables {
	uint64_t symtab, n_symbols, strtab, strsz; /* file offsets */
	uint64_t rela[2], n_rela[2];               /* file offsets; [1] is the lazy ones' */
};

static const char *string_at(const struct isa_object *o, const struct tables *t, uint64_t off)
{
	const char *s = off < t->strsz ? file_at(o, t->strtab + off, t->strsz - off) : NULL;

	return s && memchr(s, 0, t->strsz - off) ? s : "";
}

static bool read_symbol(const struct isa_object *o, const struct tables *t, uint64_t i,
			Elf64_Sym *ret)
{
	const void *p =
		i < t->n_symbols ? file_at(o, t->symtab + i * sizeof(*ret), sizeof(*ret)) : NULL;

	if (p)
		memcpy(ret, p, sizeof(*ret));
	return p;
}

static int add_symbols(struct isa_object *o, const struct tables *t, bool exported)
{
	for (uint64_t i = 0; i < t->n_symbols; i++) {
		struct isa_symbol s = { .exported = exported };
		Elf64_Sym y;

		if (!read_symbol(o, t, i, &y))
			break;
		s.addr = y.st_value;
		s.size = y.st_size;
		s.name = string_at(o, t, y.st_name);
		switch (ELF64_ST_TYPE(y.st_info)) {
		case STT_FUNC:
		case STT_NOTYPE:
			s.kind = ISA_SYMBOL_CODE;
			break;
		case STT_GNU_IFUNC:
			s.kind = ISA_SYMBOL_IFUNC;
			break;
		case STT_OBJECT:
			s.kind = ISA_SYMBOL_DATA;
			break;
		default:
			continue;
		}
		if (y.st_shndx == SHN_UNDEF || !s.name[0])
			continue;
		if (!isa_grow(&o->symbols, o->n_symbols, &o->symbols_size, sizeof(s)))
			return -ENOMEM;
		o->symbols[o->n_symbols++] = s;
	}
	return 0;
}

static int add_slots(struct isa_object *o, const struct tables *t)
{
	for (size_t k = 0; k < CK_ARRAY_SIZE(t->rela); k++)
		for (uint64_t i = 0; i < t->n_rela[k]; i++) {
			const void *p =
				file_at(o, t->rela[k] + i * sizeof(Elf64_Rela), sizeof(Elf64_Rela));
			struct isa_slot s = { .name = "" };
			Elf64_Rela r;
			Elf64_Sym y;

			if (!p)
				break;
			memcpy(&r, p, sizeof(r));
			s.addr = r.r_offset;
			s.lazy = ELF64_R_TYPE(r.r_info) == R_X86_64_JUMP_SLOT;
			if (ELF64_R_TYPE(r.r_info) == R_X86_64_IRELATIVE)
				s.resolver = (uint64_t)r.r_addend;
			else if (!s.lazy && ELF64_R_TYPE(r.r_info) != R_X86_64_GLOB_DAT)
				continue;
			else if (read_symbol(o, t, ELF64_R_SYM(r.r_info), &y))
				s.name = string_at(o, t, y.st_name);
			if (!isa_grow(&o->slots, o->n_slots, &o->slots_size, sizeof(s)))
				return -ENOMEM;
			o->slots[o->n_slots++] = s;
		}
	return 0;
}

static uint64_t offset_of(const struct isa_object *o, uint64_t vaddr)
{
	const uint8_t *p = isa_object_at(o, vaddr, 1);

	return p ? (uint64_t)(p - o->data) : UINT64_MAX;
}

static void take_dynamic_entry(struct isa_object *o, struct tables *t, const Elf64_Dyn *d)
{
	uint64_t v = d->d_un.d_val;

	switch (d->d_tag) {
	case DT_SYMTAB:
		t->symtab = offset_of(o, v);
		break;
	case DT_STRTAB:
		t->strtab = offset_of(o, v);
		break;
	case DT_STRSZ:
		t->strsz = v;
		break;
	case DT_RELA:
		o->init[2].start = v;
		t->rela[0] = offset_of(o, v);
		break;
	case DT_RELASZ:
		t->n_rela[0] = v / sizeof(Elf64_Rela);
		break;
	case DT_JMPREL:
		o->init[3].start = v;
		t->rela[1] = offset_of(o, v);
		break;
	case DT_PLTRELSZ:
		t->n_rela[1] = v / sizeof(Elf64_Rela);
		break;
	case DT_INIT_ARRAY:
		o->init[0].start += v;
		o->init[0].end += v;
		break;
	case DT_INIT_ARRAYSZ:
		o->init[0].end += v;
		break;
	case DT_PREINIT_ARRAY:
		o->init[1].start += v;
		o->init[1].end += v;
		break;
	case DT_PREINIT_ARRAYSZ:
		o->init[1].end += v;
		break;
	case DT_FINI:
		o->has_fini = true;
		o->fini = v;
		break;
	case DT_PLTGOT:
		o->gotplt = v;
		break;
	case DT_BIND_NOW:
		o->bind_now = true;
		break;
	case DT_FLAGS:
		o->bind_now = o->bind_now || (v & DF_BIND_NOW);
		break;
	case DT_FLAGS_1:
		o->bind_now = o->bind_now || (v & DF_1_NOW);
		break;
	default:
		break;
	}
}

static void take_dynamic(struct isa_object *o, struct tables *t, const Elf64_Phdr *p)
{
	o->has_dynamic = true;
	for (size_t i = 0; i < MAX_DYN && (i + 1) * sizeof(Elf64_Dyn) <= p->p_filesz; i++) {
		const uint8_t *at =
			isa_object_at(o, p->p_vaddr + i * sizeof(Elf64_Dyn), sizeof(Elf64_Dyn));
		Elf64_Dyn d;

		if (!at)
			break;
		memcpy(&d, at, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		take_dynamic_entry(o, t, &d);
	}
	o->n_init = 4;
	for (size_t k = 0; k < CK_ARRAY_SIZE(t->n_rela); k++) {
		if (t->n_rela[k] > MAX_COUNT || t->rela[k] == UINT64_MAX)
			t->n_rela[k] = 0;
		o->init[2 + k].end = o->init[2 + k].start + t->n_rela[k] * sizeof(Elf64_Rela);
	}
}

/* ---- sections: what a static program has instead, symbols of unstripped ones ---- */

struct sections {
	const Elf64_Shdr *h;
	size_t n;
	const char *names;
	size_t names_len;
};

static bool read_sections(struct isa_object *o, int fd, const Elf64_Ehdr *e, struct sections *ret)
{
	const Elf64_Shdr *str;

	if (e->e_shentsize != sizeof(Elf64_Shdr) || !e->e_shnum || e->e_shnum > MAX_SHDRS ||
	    e->e_shstrndx >= e->e_shnum || e->e_shoff % 8 ||
	    read_range(o, fd, e->e_shoff, (uint64_t)e->e_shnum * sizeof(Elf64_Shdr)) < 0)
		return false;
	ret->h = (const Elf64_Shdr *)(const void *)(o->data + e->e_shoff);
	ret->n = e->e_shnum;
	str = &ret->h[e->e_shstrndx];
	if (read_range(o, fd, str->sh_offset, str->sh_size) < 0)
		return false;
	ret->names = (const char *)o->data + str->sh_offset;
	ret->names_len = str->sh_size;
	return true;
}

static bool is_named(const struct sections *s, const Elf64_Shdr *h, const char *name)
{
	size_t len = strlen(name) + 1;

	return h->sh_name < s->names_len && len <= s->names_len - h->sh_name &&
	       !memcmp(s->names + h->sh_name, name, len);
}

static int take_symtab(struct isa_object *o, int fd, const struct sections *s, const Elf64_Shdr *h)
{
	const Elf64_Shdr *str = h->sh_link < s->n ? &s->h[h->sh_link] : NULL;
	struct tables t = { .symtab = h->sh_offset, .n_symbols = h->sh_size / sizeof(Elf64_Sym) };

	if (!str || t.n_symbols > MAX_COUNT || read_range(o, fd, h->sh_offset, h->sh_size) < 0 ||
	    read_range(o, fd, str->sh_offset, str->sh_size) < 0)
		return 0;
	t.strtab = str->sh_offset;
	t.strsz = str->sh_size;
	return add_symbols(o, &t, false);
}

/* A static program's: no dynamic section names them. */
static void take_static_section(struct isa_object *o, const struct sections *s, const Elf64_Shdr *h,
				struct tables *t)
{
	if (h->sh_type == SHT_RELA && (h->sh_flags & SHF_ALLOC) &&
	    h->sh_size / sizeof(Elf64_Rela) <= MAX_COUNT) {
		t->rela[1] = h->sh_offset;
		t->n_rela[1] = h->sh_size / sizeof(Elf64_Rela);
	}
	if ((h->sh_type == SHT_INIT_ARRAY || h->sh_type == SHT_PREINIT_ARRAY ||
	     h->sh_type == SHT_RELA || is_named(s, h, ".ctors")) &&
	    (h->sh_flags & SHF_ALLOC) && o->n_init < CK_ARRAY_SIZE(o->init))
		o->init[o->n_init++] = (struct isa_range){ h->sh_addr, h->sh_addr + h->sh_size };
	if (is_named(s, h, ".fini") && h->sh_addr) {
		o->has_fini = true;
		o->fini = h->sh_addr;
	}
}

/* From the first section with code of each segment to the last one. */
static void take_code(struct isa_object *o, const struct sections *s)
{
	for (size_t i = 0; i < o->n_load; i++) {
		struct isa_range seg = o->code[i], code = { UINT64_MAX, 0 };

		for (size_t k = 0; k < s->n; k++) {
			const Elf64_Shdr *h = &s->h[k];

			if (!(h->sh_flags & SHF_EXECINSTR) || h->sh_addr < seg.start ||
			    h->sh_addr > seg.end || h->sh_size > seg.end - h->sh_addr)
				continue;
			if (h->sh_addr < code.start)
				code.start = h->sh_addr;
			if (h->sh_addr + h->sh_size > code.end)
				code.end = h->sh_addr + h->sh_size;
		}
		if (code.start < code.end)
			o->code[i] = code;
	}
}

static int take_sections(struct isa_object *o, int fd, const struct sections *s, struct tables *t)
{
	int r = 0;

	take_code(o, s);
	for (size_t i = 0; i < s->n && r == 0; i++) {
		const Elf64_Shdr *h = &s->h[i];

		if (h->sh_type == SHT_SYMTAB)
			r = take_symtab(o, fd, s, h);
		if (h->sh_type == SHT_DYNSYM && h->sh_offset == t->symtab)
			t->n_symbols = h->sh_size / sizeof(Elf64_Sym);
		if (!o->has_dynamic)
			take_static_section(o, s, h, t);
		if ((h->sh_flags & SHF_ALLOC) && is_named(s, h, ".eh_frame") &&
		    h->sh_addr + h->sh_size >= h->sh_addr)
			o->frames = (struct isa_range){ h->sh_addr, h->sh_addr + h->sh_size };
	}
	return r;
}

/* ---- the whole ---- */

static int by_address(const void *a, const void *b)
{
	const struct isa_symbol *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	/* The shortest exported name first: it is the one that people know. */
	if (x->exported != y->exported)
		return x->exported ? -1 : 1;
	return (strlen(x->name) > strlen(y->name)) - (strlen(x->name) < strlen(y->name));
}

static int slots_by_address(const void *a, const void *b)
{
	const struct isa_slot *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

const struct isa_symbol *isa_object_symbol(const struct isa_object *o, uint64_t vaddr)
{
	size_t low = 0, high = o->n_symbols;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->symbols[mid].addr <= vaddr)
			low = mid + 1;
		else
			high = mid;
	}
	/* Back over symbols without a size, and labels inside others. */
	for (size_t k = 0; k < 16 && low; k++) {
		const struct isa_symbol *s = &o->symbols[--low];

		while (low && o->symbols[low - 1].addr == s->addr)
			s = &o->symbols[--low];
		if (vaddr - s->addr < s->size || vaddr == s->addr)
			return s;
	}
	return NULL;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(const struct isa_symbol *const *)a)->name,
		      (*(const struct isa_symbol *const *)b)->name);
}

static int index_names(struct isa_object *o)
{
	o->by_name = calloc(o->n_symbols + 1, sizeof(const struct isa_symbol *));
	if (!o->by_name)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_symbols; i++)
		if (o->symbols[i].exported)
			o->by_name[o->n_by_name++] = &o->symbols[i];
	qsort(o->by_name, o->n_by_name, sizeof(const struct isa_symbol *), compare_names);
	return 0;
}

const struct isa_symbol *const *isa_object_named(const struct isa_object *o, const char *name,
						 size_t *ret_n)
{
	size_t low = 0, high = o->n_by_name, n = 0;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(o->by_name[mid]->name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	while (low + n < o->n_by_name && !strcmp(o->by_name[low + n]->name, name))
		n++;
	*ret_n = n;
	return n ? &o->by_name[low] : NULL;
}

const struct isa_slot *isa_object_slot(const struct isa_object *o, uint64_t vaddr)
{
	struct isa_slot key = { .addr = vaddr };

	return o->n_slots ? bsearch(&key, o->slots, o->n_slots, sizeof(key), slots_by_address)
			  : NULL;
}

static int compare_addresses(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int list_resolvers(struct isa_object *o)
{
	o->resolvers = calloc(o->n_slots + o->n_symbols + 1, sizeof(*o->resolvers));
	if (!o->resolvers)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_slots; i++)
		if (o->slots[i].resolver)
			o->resolvers[o->n_resolvers++] = o->slots[i].resolver;
	for (size_t i = 0; i < o->n_symbols; i++)
		if (o->symbols[i].kind == ISA_SYMBOL_IFUNC)
			o->resolvers[o->n_resolvers++] = o->symbols[i].addr;
	qsort(o->resolvers, o->n_resolvers, sizeof(*o->resolvers), compare_addresses);
	return 0;
}

bool isa_object_resolver(const struct isa_object *o, uint64_t vaddr)
{
	return o->n_resolvers && bsearch(&vaddr, o->resolvers, o->n_resolvers,
					 sizeof(*o->resolvers), compare_addresses);
}

static int take_segments(struct isa_object *o, struct tables *t, const Elf64_Ehdr *e)
{
	for (size_t i = 0; i < e->e_phnum; i++) {
		const uint8_t *at;
		Elf64_Phdr p;

		memcpy(&p, o->data + e->e_phoff + i * sizeof(p), sizeof(p));
		at = isa_object_at(o, p.p_vaddr, p.p_filesz);
		if (!at)
			continue;
		if (p.p_type == PT_DYNAMIC)
			take_dynamic(o, t, &p);
		if (p.p_type == PT_GNU_EH_FRAME)
			take_frames(o, p.p_vaddr);
		if (p.p_type == PT_NOTE)
			take_notes(o, at, p.p_filesz, p.p_align == 8 ? 8 : 4);
	}
	/* Without sections, the strings stand behind the symbols. */
	if (o->has_dynamic && t->strtab > t->symtab && t->strtab < o->len)
		t->n_symbols = (t->strtab - t->symtab) / sizeof(Elf64_Sym);
	return 0;
}

static int parse(struct isa_object *o, int fd)
{
	struct tables t = { 0 };
	struct sections s;
	Elf64_Ehdr e;
	int r;

	if (read_range(o, fd, 0, sizeof(e)) < 0)
		return unknown(o, "is no ELF file");
	memcpy(&e, o->data, sizeof(e));
	if (memcmp(e.e_ident, ELFMAG, SELFMAG) || e.e_ident[EI_CLASS] != ELFCLASS64 ||
	    e.e_ident[EI_DATA] != ELFDATA2LSB || e.e_machine != EM_X86_64 ||
	    (e.e_type != ET_EXEC && e.e_type != ET_DYN))
		return unknown(o, "is no ELF file for this architecture");
	o->fixed = e.e_type == ET_EXEC;
	if (read_segments(o, fd, &e) < 0)
		return unknown(o, "is a damaged ELF file");
	r = take_segments(o, &t, &e);
	if (r == 0 && read_sections(o, fd, &e, &s))
		r = take_sections(o, fd, &s, &t);
	if (r == 0 && t.n_symbols <= MAX_COUNT)
		r = add_symbols(o, &t, true);
	if (r == 0)
		r = add_slots(o, &t);
	if (o->n_symbols)
		qsort(o->symbols, o->n_symbols, sizeof(*o->symbols), by_address);
	if (o->n_slots)
		qsort(o->slots, o->n_slots, sizeof(*o->slots), slots_by_address);
	if (r == 0)
		r = list_resolvers(o);
	return r < 0 ? r : index_names(o);
}

/* Is it still what the image has mapped? */
static int compare(struct isa_object *o, int fd, const CkptNeedPath *need)
{
	XXH64_state_t *h;
	uint64_t hash;

	if (need->has_build_id && need->build_id.len) {
		size_t n = need->build_id.len;

		/* CRIU pads them to whole words. */
		if (o->build_id_len && n >= o->build_id_len && n - o->build_id_len < 4 &&
		    !memcmp(o->build_id, need->build_id.data, o->build_id_len))
			return 0;
		return unknown(o, "is another build than the one that the image has mapped");
	}
	if (need->has_size && need->size != o->len)
		return unknown(o, "has another size than when it was mapped");
	if (!need->has_hash)
		return need->has_size ? 0 : unknown(o, "nothing tells whether it is the same");
	h = XXH64_createState();
	if (!h)
		return -ENOMEM;
	XXH64_reset(h, 0);
	for (uint64_t off = 0; off < o->len;) {
		uint8_t buf[16384];
		ssize_t n = ck_pread_full(fd, buf, sizeof(buf), (off_t)off);

		if (n <= 0)
			break;
		XXH64_update(h, buf, (size_t)n);
		off += (size_t)n;
	}
	hash = XXH64_digest(h);
	XXH64_freeState(h);
	return hash == need->hash ? 0 : unknown(o, "has changed since it was mapped");
}

int isa_object_load(struct isa_object *o, const CkptNeedPath *need)
{
	CK_AUTO(fd) int fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int r;

	if (fd < 0)
		return unknown(o, errno == ENOENT ? "is not here" : "can't be opened");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return unknown(o, "is no regular file");
	if ((uint64_t)st.st_size > MAX_FILE)
		return unknown(o, "is too large");
	o->len = (size_t)st.st_size;
	o->data = calloc(o->len + 1, 1);
	if (!o->data)
		return -ENOMEM;
	r = parse(o, fd);
	if (r == 0 && !o->unknown)
		r = compare(o, fd, need);
	if (r < 0 || o->unknown)
		return r;
	isa_dispatch_find(o);
	return isa_code_divide(o);
}

void isa_object_done(struct isa_object *o)
{
	for (size_t i = 0; i < o->n_fn; i++)
		free(o->fn[i].edges);
	free(o->fn);
	free(o->by_name);
	free(o->resolvers);
	free(o->symbols);
	free(o->slots);
	free(o->data);
	free(o->path);
	free(o->unknown);
}
