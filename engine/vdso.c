// SPDX-License-Identifier: Apache-2.0
/*
 * The vDSO, engine/vdso.h. A vDSO in an image is hostile input like any other: every offset is
 * checked against its length.
 *
 * What a redirected function does instead is written over its beginning if it is long enough; else
 * it begins with a five-byte jump to the bytes between the end of the segment and the end of the
 * mapping: section headers and padding, read by nobody.
 */
#include "engine/vdso.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/procfs.h"

#define MAX_SYMBOLS 256u
#define MAX_VDSO (256u << 10)

/* ---- this kernel's ---- */

static bool is_vdso_name(const char *name)
{
	return !strncmp(name, "[vvar", 5) || !strcmp(name, "[vdso]");
}

static int note_maps(struct engine_rvdso *v, const struct proc_maps *maps, struct ck_err *err)
{
	for (size_t i = 0; i < maps->n; i++) {
		const struct proc_map *m = &maps->m[i];

		if (!is_vdso_name(m->name))
			continue;
		if (v->n == ENGINE_VDSO_MAPS || (v->n && v->map[v->n - 1].end != m->start))
			return ck_fail(err, CK_ERR_HOST, -EPROTO,
				       "cannot use this kernel's vDSO: its mappings are apart");
		v->map[v->n].start = m->start;
		v->map[v->n++].end = m->end;
		if (!strcmp(m->name, "[vdso]")) {
			v->start = m->start;
			v->end = m->end;
		}
	}
	if (v->start && v->end - v->start > MAX_VDSO)
		return ck_fail(err, CK_ERR_HOST, -EPROTO, "cannot use this kernel's vDSO");
	return 0;
}

void engine_vdso_free(struct engine_rvdso *v)
{
	if (v)
		free(v->code);
	free(v);
}

CK_DEFINE_AUTO(rvdso, struct engine_rvdso *, engine_vdso_free);

int engine_vdso_find(struct engine_rvdso **ret, struct ck_err *err)
{
	CK_AUTO(proc_maps) struct proc_maps maps = { 0 };
	CK_AUTO(rvdso) struct engine_rvdso *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at the vDSO");
	r = proc_read_own_maps(&maps, err);
	if (r == 0)
		r = note_maps(v, &maps, err);
	if (r < 0)
		return r;
	if (v->start) {
		v->code = malloc(v->end - v->start);
		if (!v->code)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at the vDSO");
		memcpy(v->code, (const void *)(uintptr_t)v->start, v->end - v->start);
	}
	*ret = ck_take_ptr(&v);
	return 0;
}

uint64_t engine_vdso_span(const struct engine_rvdso *v)
{
	return v->n ? v->map[v->n - 1].end - v->map[0].start : 0;
}

/* ---- a vDSO as bytes ---- */

struct object {
	const uint8_t *code;
	size_t len;
	uint64_t bias; /* virtual address of byte 0 */
	size_t loaded; /* end of the segment */
	size_t symtab, strtab, strsz;
	size_t n_syms;
};

/* len bytes at off, or NULL. */
static const void *at(const struct object *o, uint64_t off, size_t len)
{
	return off <= o->len && len <= o->len - off ? o->code + off : NULL;
}

static int read_segments(struct object *o, uint64_t *ret_dyn, size_t *ret_dyn_len)
{
	const Elf64_Ehdr *e = at(o, 0, sizeof(*e));
	bool load = false, dyn = false;

	if (!e || memcmp(e->e_ident, ELFMAG, SELFMAG) || e->e_ident[EI_CLASS] != ELFCLASS64 ||
	    e->e_machine != EM_X86_64 || e->e_phentsize != sizeof(Elf64_Phdr))
		return -ENOEXEC;
	for (unsigned int i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr p;
		const void *raw = at(o, e->e_phoff + i * sizeof(p), sizeof(p));

		if (!raw)
			return -ENOEXEC;
		memcpy(&p, raw, sizeof(p));
		if (p.p_type == PT_LOAD) {
			if (load || p.p_offset || !at(o, 0, p.p_filesz))
				return -ENOEXEC;
			load = true;
			o->bias = p.p_vaddr;
			o->loaded = p.p_filesz;
		} else if (p.p_type == PT_DYNAMIC) {
			if (!at(o, p.p_offset, p.p_filesz))
				return -ENOEXEC;
			dyn = true;
			*ret_dyn = p.p_offset;
			*ret_dyn_len = p.p_filesz;
		}
	}
	return load && dyn ? 0 : -ENOEXEC;
}

/* The 32-bit word at off, which may lie anywhere; 0 outside. */
static uint32_t word(const struct object *o, uint64_t off)
{
	const void *p = at(o, off, 4);
	uint32_t w = 0;

	if (p)
		memcpy(&w, p, 4);
	return w;
}

/* The number of symbols, which only hash tables tell: the old one has it as its second word, in the
 * new one it is the end of the last chain. */
static size_t count_gnu(const struct object *o, uint64_t off)
{
	uint32_t buckets = word(o, off), first = word(o, off + 4), bloom = word(o, off + 8), n = 0;
	uint64_t b = off + 16 + (uint64_t)bloom * 8;

	if (buckets > MAX_SYMBOLS || first > MAX_SYMBOLS || bloom > MAX_SYMBOLS)
		return 0;
	for (uint32_t i = 0; i < buckets; i++)
		n = word(o, b + i * 4ull) > n ? word(o, b + i * 4ull) : n;
	while (n >= first && n < MAX_SYMBOLS && at(o, b + (buckets + n - first) * 4ull, 4) &&
	       !(word(o, b + (buckets + n - first) * 4ull) & 1))
		n++;
	return n + 1ul;
}

static int object_open(struct object *o, const uint8_t *code, size_t len)
{
	uint64_t dyn = 0, hash = 0, gnu = 0;
	size_t dyn_len = 0;
	int r;

	*o = (struct object){ .code = code, .len = len };
	r = read_segments(o, &dyn, &dyn_len);
	for (size_t i = 0; r == 0 && i + sizeof(Elf64_Dyn) <= dyn_len; i += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;

		memcpy(&d, code + dyn + i, sizeof(d));
		if (d.d_tag == DT_SYMTAB)
			o->symtab = d.d_un.d_ptr - o->bias;
		else if (d.d_tag == DT_STRTAB)
			o->strtab = d.d_un.d_ptr - o->bias;
		else if (d.d_tag == DT_STRSZ)
			o->strsz = d.d_un.d_val;
		else if (d.d_tag == DT_HASH)
			hash = d.d_un.d_ptr - o->bias;
		else if (d.d_tag == DT_GNU_HASH)
			gnu = d.d_un.d_ptr - o->bias;
	}
	if (r < 0)
		return r;
	o->n_syms = hash ? word(o, hash + 4) : gnu ? count_gnu(o, gnu) : 0;
	if (!o->n_syms || o->n_syms > MAX_SYMBOLS || !o->strsz || !at(o, o->strtab, o->strsz) ||
	    code[o->strtab + o->strsz - 1] || !at(o, o->symtab, o->n_syms * sizeof(Elf64_Sym)))
		return -ENOEXEC;
	return 0;
}

/* Symbol i if it is an exported function inside the segment; *ret_off is where it begins. */
static const char *function(const struct object *o, size_t i, uint64_t *ret_off, size_t *ret_len)
{
	Elf64_Sym s;

	memcpy(&s, o->code + o->symtab + i * sizeof(s), sizeof(s));
	if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || s.st_shndx == SHN_UNDEF ||
	    (ELF64_ST_BIND(s.st_info) != STB_GLOBAL && ELF64_ST_BIND(s.st_info) != STB_WEAK) ||
	    s.st_name >= o->strsz || s.st_value - o->bias >= o->loaded)
		return NULL;
	*ret_off = s.st_value - o->bias;
	*ret_len = s.st_size < o->loaded - *ret_off ? s.st_size : o->loaded - *ret_off;
	return (const char *)o->code + o->strtab + s.st_name;
}

static bool find_function(const struct object *o, const char *name, uint64_t *ret_off)
{
	for (size_t i = 0; i < o->n_syms; i++) {
		size_t len;
		const char *n = function(o, i, ret_off, &len);

		if (n && !strcmp(n, name))
			return true;
	}
	return false;
}

size_t engine_vdso_loaded(const uint8_t *code, size_t len)
{
	struct object o;

	return object_open(&o, code, len) < 0 ? 0 : o.loaded;
}

int engine_vdso_same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	return engine_vdso_loaded(a, a_len) && a_len == b_len && !memcmp(a, b, a_len);
}

/* ---- redirecting ---- */

#define STUB_MAX 24

/* mov $-ENOSYS, %rax; ret */
static const uint8_t enosys[] = { 0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, 0xc3 };

/* movabs $to, %rax; jmp *%rax: no argument is passed in rax. */
static size_t stub_jump(uint8_t *out, uint64_t to)
{
	out[0] = 0x48, out[1] = 0xb8;
	memcpy(out + 2, &to, 8);
	out[10] = 0xff, out[11] = 0xe0;
	return 12;
}

/* mov $nr, %eax; syscall; ret */
static size_t stub_call(uint8_t *out, long nr)
{
	uint32_t n = (uint32_t)nr;

	out[0] = 0xb8;
	memcpy(out + 1, &n, 4);
	out[5] = 0x0f, out[6] = 0x05, out[7] = 0xc3;
	return 8;
}

/*
 * getrandom has two uses. With opaque_len (r8) ~0 it describes the state that callers shall keep:
 * -ENOSYS makes libc do without. Otherwise it may always be the plain call, whatever the state
 * holds. Linux lib/vdso/getrandom.c:__cvdso_getrandom_data()
 */
static size_t stub_getrandom(uint8_t *out)
{
	static const uint8_t head[] = { 0x49, 0x83, 0xf8, 0xff, 0x74, 0x08 };

	memcpy(out, head, sizeof(head));
	stub_call(out + sizeof(head), SYS_getrandom);
	memcpy(out + sizeof(head) + 8, enosys, sizeof(enosys));
	return sizeof(head) + 8 + sizeof(enosys);
}

static const struct {
	const char *name; /* without __vdso_ */
	long nr;
} calls[] = {
	{ "clock_gettime", SYS_clock_gettime },
	{ "gettimeofday", SYS_gettimeofday },
	{ "time", SYS_time },
	{ "getcpu", SYS_getcpu },
	{ "clock_getres", SYS_clock_getres },
	{ "getrandom", SYS_getrandom },
};

/* What name does from now on. Where neither kernel nor we know a way it says so: a job that uses
 * such a function (enclaves) asks for it first. */
static size_t make_stub(uint8_t out[static STUB_MAX], const char *name, const struct object *now,
			uint64_t now_at)
{
	const char *plain = strncmp(name, "__vdso_", 7) ? name : name + 7;
	uint64_t off;

	if (now && find_function(now, name, &off))
		return stub_jump(out, now_at + off);
	for (size_t i = 0; i < CK_ARRAY_SIZE(calls); i++)
		if (!strcmp(calls[i].name, plain))
			return calls[i].nr == SYS_getrandom ? stub_getrandom(out)
							    : stub_call(out, calls[i].nr);
	memcpy(out, enosys, sizeof(enosys));
	return sizeof(enosys);
}

struct redirect {
	uint8_t *code;
	const struct object *old;
	uint64_t done[MAX_SYMBOLS]; /* offsets of functions that are redirected */
	size_t n_done;
	/* Room for stubs, taken from its end: a killed dump's way back may stand at its beginning.
	 */
	size_t free_at, free_end;
};

static bool is_done(const struct redirect *d, uint64_t off)
{
	for (size_t i = 0; i < d->n_done; i++)
		if (d->done[i] == off)
			return true;
	return false;
}

static int put_stub(struct redirect *d, uint64_t off, size_t room, const uint8_t *stub, size_t len)
{
	int32_t rel;

	if (room >= len) {
		memcpy(d->code + off, stub, len);
	} else {
		if (off + 5 > d->old->loaded || d->free_end - d->free_at < len)
			return -ENOSPC;
		d->free_end -= len;
		memcpy(d->code + d->free_end, stub, len);
		rel = (int32_t)(d->free_end - (off + 5));
		d->code[off] = 0xe9; /* jmp rel32 */
		memcpy(d->code + off + 1, &rel, 4);
	}
	d->done[d->n_done++] = off;
	return 0;
}

int engine_vdso_redirect(uint8_t *old, size_t old_len, const uint8_t *now, size_t now_len,
			 uint64_t now_at, struct ck_err *err)
{
	CK_AUTO(free) uint8_t *copy = malloc(old_len ? old_len : 1);
	struct object o, n;
	struct redirect d = { .code = old, .old = &o, .free_end = old_len };
	bool have_now = now && object_open(&n, now, now_len) == 0;

	if (!copy)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot redirect the vDSO");
	memcpy(copy, old, old_len); /* symbols are read while the bytes change */
	if (object_open(&o, copy, old_len) < 0)
		return ck_fail(err, CK_ERR_IMAGE, -ENOEXEC, "cannot understand the saved vDSO");
	d.free_at = o.loaded;
	for (size_t i = 0; i < o.n_syms; i++) {
		uint8_t stub[STUB_MAX];
		uint64_t off;
		size_t room, len;
		const char *name = function(&o, i, &off, &room);

		if (!name || is_done(&d, off))
			continue;
		len = make_stub(stub, name, have_now ? &n : NULL, now_at);
		if (put_stub(&d, off, room, stub, len) < 0)
			return ck_fail(err, CK_ERR_HOST, -ENOSPC,
				       "cannot redirect %s of the saved vDSO: no room", name);
	}
	return (int)d.n_done;
}
