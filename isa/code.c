// SPDX-License-Identifier: Apache-2.0
/*
 * An object's code, divided into functions and read function by function: what each one needs, and
 * where it leads. A function is what a frame description, else a symbol says is one; what lies
 * between is a gap, which may be data.
 *
 * A function is taken as a whole: an indirect jump, a landing pad or a return address in it may
 * lead anywhere in it. A call that ends a function does not return; what else runs over its end
 * goes on in the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa-internal.h"

/* ---- dividing ---- */

struct piece {
	uint64_t start, end;
	bool framed;
};

static int by_start(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->framed != y->framed)
		return x->framed ? -1 : 1;
	return x->end > y->end ? -1 : x->end < y->end;
}

static int add_function(struct isa_object *o, size_t *size, uint64_t start, uint64_t end, bool gap)
{
	if (start >= end)
		return 0;
	if (!isa_grow(&o->fn, o->n_fn, size, sizeof(*o->fn)))
		return -ENOMEM;
	o->fn[o->n_fn++] =
		(struct isa_function){ .start = start, .end = end, .flags = gap ? ISA_FN_GAP : 0 };
	return 0;
}

/* One segment's functions, from all pieces in order. */
static int divide_segment(struct isa_object *o, size_t *size, const struct isa_range *seg,
			  const struct piece *p, size_t n)
{
	uint64_t at = seg->start;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t start = p[i].start > at ? p[i].start : at;
		uint64_t end = p[i].end < seg->end ? p[i].end : seg->end;

		if (p[i].start < seg->start || start >= end)
			continue;
		/* A symbol in the middle of a framed function is a label. */
		if (!p[i].framed && p[i].start < at)
			continue;
		/* And one that reaches into the next framed function ends there. */
		for (size_t k = i + 1; !p[i].framed && k < n && p[k].start < end; k++)
			if (p[k].framed && p[k].start > start)
				end = p[k].start;
		r = add_function(o, size, at, start, true);
		if (r == 0)
			r = add_function(o, size, start, end, !p[i].framed);
		at = end;
	}
	return r < 0 ? r : add_function(o, size, at, seg->end, true);
}

static int by_segment(const void *a, const void *b)
{
	const struct isa_function *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

int isa_code_divide(struct isa_object *o)
{
	CK_AUTO(free) struct isa_range *frames = NULL;
	CK_AUTO(free) struct piece *p = NULL;
	uint64_t described = 0, all = 0;
	size_t n_frames, n = 0, size = 0;
	int r = isa_frames(o, &frames, &n_frames);

	if (r < 0)
		return r;
	p = calloc(n_frames + o->n_symbols + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < n_frames; i++) {
		p[n++] = (struct piece){ frames[i].start, frames[i].end, true };
		if (isa_object_is_code(o, frames[i].start))
			described += frames[i].end - frames[i].start;
	}
	for (size_t i = 0; i < o->n_symbols; i++) {
		const struct isa_symbol *s = &o->symbols[i];

		if (s->kind != ISA_SYMBOL_DATA && s->size && s->addr + s->size > s->addr)
			p[n++] = (struct piece){ s->addr, s->addr + s->size, false };
	}
	qsort(p, n, sizeof(*p), by_start);
	for (size_t i = 0; i < o->n_load && r == 0; i++) {
		if (!o->load_exec[i])
			continue;
		all += o->code[i].end - o->code[i].start;
		r = divide_segment(o, &size, &o->code[i], p, n);
	}
	if (o->n_fn)
		qsort(o->fn, o->n_fn, sizeof(*o->fn), by_segment);
	o->framed = described > all / 2;
	return r;
}

struct isa_function *isa_code_find(const struct isa_object *o, uint64_t vaddr)
{
	size_t low = 0, high = o->n_fn;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (vaddr < o->fn[mid].start)
			high = mid;
		else if (vaddr >= o->fn[mid].end)
			low = mid + 1;
		else
			return &o->fn[mid];
	}
	return NULL;
}

/* ---- stubs of procedure linkage tables ---- */

static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

/* Behind an ENDBR64, if there is one; n bytes have to be there. */
static const uint8_t *behind_endbr(const struct isa_object *o, uint64_t *vaddr, size_t n)
{
	const uint8_t *p = isa_object_at(o, *vaddr, sizeof(endbr64) + n);

	if (p && !memcmp(p, endbr64, sizeof(endbr64))) {
		*vaddr += sizeof(endbr64);
		return p + sizeof(endbr64);
	}
	return isa_object_at(o, *vaddr, n);
}

bool isa_code_stub(const struct isa_object *o, uint64_t vaddr, uint64_t *ret_slot)
{
	const uint8_t *p = behind_endbr(o, &vaddr, 6);
	int32_t rel;

	if (p && p[0] == 0xf2) { /* bnd */
		vaddr++;
		p = isa_object_at(o, vaddr, 6);
	}
	if (!p || p[0] != 0xff || p[1] != 0x25)
		return false;
	memcpy(&rel, p + 2, sizeof(rel));
	*ret_slot = vaddr + 6 + (uint64_t)(int64_t)rel;
	return true;
}

bool isa_code_unbound(const struct isa_object *o, uint64_t vaddr)
{
	const uint8_t *p = behind_endbr(o, &vaddr, 7);

	/* push $n; [bnd] jmp the first entry */
	return p && p[0] == 0x68 && (p[5] == 0xe9 || (p[5] == 0xf2 && p[6] == 0xe9));
}

/* ---- pointers ---- */

bool isa_code_after_call(const struct isa_object *o, uint64_t vaddr)
{
	const uint8_t *p = isa_object_at(o, vaddr - 5, 5);

	if (p && p[0] == 0xe8)
		return true;
	for (size_t len = 2; len <= 8; len++) {
		struct isa_insn in;

		p = isa_object_at(o, vaddr - len, len);
		if (p && (p[0] == 0xff || p[1] == 0xff || (len > 3 && p[2] == 0xff)) &&
		    isa_decode(p, len, vaddr - len, &in) && in.len == len &&
		    in.flow == ISA_FLOW_CALL)
			return true;
	}
	return false;
}

bool isa_code_plausible(const struct isa_object *o, uint64_t vaddr)
{
	const struct isa_function *f = isa_code_find(o, vaddr);
	const uint8_t *p;

	if (!f)
		return false;
	if (vaddr == f->start || ((f->flags & ISA_FN_GAP) && !o->framed))
		return true;
	p = isa_object_at(o, vaddr, sizeof(endbr64));
	return (p && !memcmp(p, endbr64, sizeof(endbr64))) || isa_code_after_call(o, vaddr);
}

/* ---- reading a function ---- */

struct edges {
	struct isa_edge *e;
	size_t n, size;
};

static inline void ck_auto_edges(struct edges *e)
{
	free(e->e);
}

static int add_edge(struct edges *e, uint64_t to, enum isa_edge_kind kind)
{
	if (e->n && e->e[e->n - 1].to == to && e->e[e->n - 1].kind == kind)
		return 0;
	if (!isa_grow(&e->e, e->n, &e->size, sizeof(*e->e)))
		return -ENOMEM;
	e->e[e->n++] = (struct isa_edge){ to, kind };
	return 0;
}

static bool inside(const struct isa_function *f, uint64_t vaddr)
{
	return vaddr >= f->start && vaddr < f->end;
}

/* What a memory operand names. */
static int add_memory(const struct isa_object *o, struct isa_function *f, const struct isa_insn *in,
		      struct edges *e)
{
	if (isa_object_is_code(o, in->mem))
		return inside(f, in->mem) ? 0 : add_edge(e, in->mem, ISA_EDGE_ADDRESS);
	if (o->gotoblas && in->mem == o->gotoblas)
		return add_edge(e, in->mem, ISA_EDGE_DATA);
	if (in->lea && o->gotplt && in->mem == o->gotplt)
		f->flags |= ISA_FN_GOTBASE;
	if (!isa_object_slot(o, in->mem))
		return 0;
	return add_edge(e, in->mem, in->flow == ISA_FLOW_ON ? ISA_EDGE_TAKEN : ISA_EDGE_SLOT);
}

static int add_operands(const struct isa_object *o, struct isa_function *f,
			const struct isa_insn *in, struct edges *e)
{
	int r = 0;

	if (in->has_target && !inside(f, in->target) && isa_object_is_code(o, in->target))
		r = add_edge(e, in->target, ISA_EDGE_CALL);
	if (r == 0 && in->has_mem)
		r = add_memory(o, f, in, e);
	if (r == 0 && in->has_imm && o->fixed && isa_object_is_code(o, in->imm) &&
	    !inside(f, in->imm))
		r = add_edge(e, in->imm, ISA_EDGE_ADDRESS);
	return r;
}

static void take_flags(struct isa_function *f, const struct isa_insn *in)
{
	isa_set_add(&f->need, in->need);
	if (in->cpuid)
		f->flags |= ISA_FN_CPUID;
	if (in->save_state)
		f->flags |= ISA_FN_SAVES;
	if (in->elides)
		f->flags |= ISA_FN_ELIDES;
}

/* TZCNT in a function that has nothing else of its time is BSF with a prefix that is ignored. */
static void settle_tzcnt(struct isa_function *f)
{
	struct isa_set bmi1 = isa_feature_set("bmi1"), late = isa_feature_set("bmi2");

	isa_set_add(&late, isa_feature_set("avx"));
	isa_set_add(&late, bmi1);
	if ((f->need.w[0] & late.w[0]) | (f->need.w[1] & late.w[1]))
		isa_set_add(&f->need, bmi1);
}

static void settle(struct isa_function *f, bool tzcnt)
{
	struct isa_set random = isa_feature_set("rdrand");

	if (tzcnt)
		settle_tzcnt(f);
	/* XGETBV, which comes after the question whether there is one. */
	if (f->flags & ISA_FN_CPUID)
		isa_set_remove(&f->need, isa_feature_set("xsave"));
	isa_set_add(&random, isa_feature_set("rdseed"));
	if (!isa_set_empty(f->need) && !(f->need.w[0] & ~random.w[0]) &&
	    !(f->need.w[1] & ~random.w[1]))
		f->flags |= ISA_FN_RANDOM;
	f->flags |= ISA_FN_DECODED;
}

int isa_code_decode(struct isa_object *o, struct isa_function *f)
{
	const uint8_t *p = isa_object_at(o, f->start, f->end - f->start);
	CK_AUTO(edges) struct edges e = { 0 };
	bool tzcnt = false, runs_on = false;
	int r = 0;

	if ((f->flags & ISA_FN_DECODED) || !p)
		return 0;
	for (uint64_t at = f->start; at < f->end && r == 0;) {
		struct isa_insn in;

		if ((f->flags & ISA_FN_GAP) && !p[at - f->start]) {
			at++; /* between functions and sections */
			continue;
		}
		if (!isa_decode(p + (at - f->start), f->end - at, at, &in)) {
			f->flags |= ISA_FN_BAD;
			at++;
			continue;
		}
		if (!in.nop)
			runs_on = in.flow == ISA_FLOW_ON || in.flow == ISA_FLOW_BRANCH;
		tzcnt = tzcnt || in.tzcnt;
		take_flags(f, &in);
		r = add_operands(o, f, &in, &e);
		at += in.len;
	}
	if (r == 0 && runs_on && isa_code_find(o, f->end))
		r = add_edge(&e, f->end, ISA_EDGE_CALL);
	if (r < 0)
		return r;
	settle(f, tzcnt);
	f->n_edges = (uint32_t)e.n;
	f->edges = ck_take_ptr(&e.e);
	return 0;
}

/* ---- a part of one ---- */

struct part {
	const struct isa_object *o;
	struct isa_function *f; /* that becomes the part */
	struct edges e;
	uint8_t *seen;  /* for each byte of the function: an instruction begins there */
	uint64_t *todo; /* where to go on */
	size_t n_todo, todo_size;
	bool tzcnt, all;
};

static int go_on_at(struct part *p, uint64_t vaddr)
{
	if (!inside(p->f, vaddr) || p->seen[vaddr - p->f->start])
		return 0;
	if (!isa_grow(&p->todo, p->n_todo, &p->todo_size, sizeof(*p->todo)))
		return -ENOMEM;
	p->todo[p->n_todo++] = vaddr;
	return 0;
}

/* One instruction after the other, until control goes elsewhere. */
static int run_through(struct part *p, uint64_t at)
{
	int r = 0;

	while (r == 0 && inside(p->f, at) && !p->seen[at - p->f->start]) {
		const uint8_t *code = isa_object_at(p->o, at, p->f->end - at);
		struct isa_insn in;

		p->seen[at - p->f->start] = 1;
		if (!code || !isa_decode(code, p->f->end - at, at, &in))
			return 0;
		p->tzcnt = p->tzcnt || in.tzcnt;
		/* A jump through a table may lead anywhere; one through a slot leaves. */
		if (in.flow == ISA_FLOW_INDIRECT && !(in.has_mem && isa_object_slot(p->o, in.mem)))
			p->all = true;
		take_flags(p->f, &in);
		r = add_operands(p->o, p->f, &in, &p->e);
		if (r == 0 && in.has_target && in.flow != ISA_FLOW_CALL)
			r = go_on_at(p, in.target);
		at += in.len;
		if (in.flow != ISA_FLOW_ON && in.flow != ISA_FLOW_BRANCH &&
		    in.flow != ISA_FLOW_CALL)
			return r;
		if (r == 0 && at == p->f->end && in.flow != ISA_FLOW_CALL)
			r = add_edge(&p->e, at, ISA_EDGE_CALL);
	}
	return r;
}

int isa_code_from(const struct isa_object *o, const struct isa_function *f, uint64_t vaddr,
		  struct isa_function *ret)
{
	struct part p = { .o = o, .f = ret };
	int r;

	*ret = (struct isa_function){ .start = f->start, .end = f->end };
	p.seen = calloc(f->end - f->start + 1, 1);
	r = p.seen ? run_through(&p, vaddr) : -ENOMEM;
	while (r == 0 && p.n_todo)
		r = run_through(&p, p.todo[--p.n_todo]);
	free(p.seen);
	free(p.todo);
	if (r < 0 || p.all) {
		free(p.e.e);
		return r < 0 ? r : 1;
	}
	settle(ret, p.tzcnt);
	ret->n_edges = (uint32_t)p.e.n;
	ret->edges = p.e.e;
	return 0;
}

uint64_t isa_code_first(const struct isa_object *o, const struct isa_function *f, unsigned int bit)
{
	const uint8_t *p = isa_object_at(o, f->start, f->end - f->start);

	for (uint64_t at = f->start; p && at < f->end;) {
		struct isa_insn in;

		if (!isa_decode(p + (at - f->start), f->end - at, at, &in)) {
			at++;
			continue;
		}
		if (isa_set_has(in.need, bit))
			return at;
		at += in.len;
	}
	return f->start;
}
