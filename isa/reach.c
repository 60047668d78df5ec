// SPDX-License-Identifier: Apache-2.0
/*
 * What a task's code can reach, function by function. Roots are all places that hold a pointer to
 * code: registers, stacks, private and shared memory (pointers that glibc has mangled too),
 * handlers of signals, what is called at the end. From there along calls, jumps, addresses that are
 * taken, and slots with what they hold in this task. A slot that is not bound yet leads to what
 * ld.so would bind it to: the function of that name, or what its resolver returns, run on the
 * task's memory.
 *
 * Two sets. "Reached" may be executed: more than what will be. "Called" follows only direct calls
 * from where threads stand, or return to, and not from what lies behind them; it is certain where,
 * on the way, nothing asks for the CPU any more.
 *
 * Not seen, and said so in docs/CPU.md: code that is loaded later, pointers that are stored in
 * other forms, or unaligned, or only outside the image.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa-internal.h"

#define NO_NODE UINT32_MAX
enum { STACK_MAX = 1 << 20 }; /* bytes of a stack that are looked through for return addresses */

const struct isa_module *isa_graph_module(const struct isa_graph *g, uint32_t node)
{
	const struct isa_space *s = g->s;
	size_t low = 0, high = s->n_modules;

	/* The last module whose first function is not behind it; empty ones have none. */
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (s->modules[mid].first <= node)
			low = mid;
		else
			high = mid;
	}
	return &s->modules[low];
}

struct isa_function *isa_graph_function(const struct isa_graph *g, uint32_t node)
{
	const struct isa_module *m = isa_graph_module(g, node);

	return &m->object->fn[node - m->first];
}

static uint32_t node_of(const struct isa_module *m, const struct isa_function *f)
{
	return (uint32_t)(m->first + (size_t)(f - m->object->fn));
}

struct from {
	uint32_t node;
	enum isa_why why;
	uint32_t tid;
	const char *bound;
};

static void mark(struct isa_graph *g, uint32_t node, unsigned int state, const struct from *from)
{
	struct isa_node *n = &g->node[node];
	unsigned int fresh = state & ~n->state;

	if (!fresh || g->error)
		return;
	/* The surer way explains it. */
	if (!n->why || (fresh & (ISA_CALLED | ISA_CERTAIN))) {
		n->parent = from->node;
		n->why = (uint8_t)from->why;
		n->tid = from->tid;
	}
	if (from->bound && !n->bound)
		n->bound = from->bound;
	n->state |= (uint8_t)fresh;
	if (!isa_grow(&g->todo, g->n_todo, &g->todo_size, sizeof(*g->todo))) {
		g->error = -ENOMEM;
		return;
	}
	g->todo[g->n_todo++] = node;
}

/* Where nothing chooses, what is called is certain. Where something does, only what was chosen is,
 * and what that calls in turn. */
static unsigned int settle_state(const struct isa_graph *g, const struct isa_module *m,
				 unsigned int state, const struct from *from)
{
	bool within = from->node != NO_NODE && isa_graph_module(g, from->node) == m;

	if ((state & ISA_CALLED) && !m->object->dispatch)
		state |= ISA_CERTAIN;
	else if (m->object->dispatch && !within && !(state & ISA_BOUND))
		state &= ~(unsigned int)ISA_CERTAIN;
	return state;
}

/* By a data word or a taken address: code that nothing describes may as well be a table. */
static bool may_be_data(struct isa_graph *g, const struct isa_module *m, struct isa_function *f,
			enum isa_why why)
{
	if (why == ISA_WHY_CALL || !(f->flags & ISA_FN_GAP) || !m->object->framed)
		return false;
	if (isa_code_decode(m->object, f) < 0)
		g->error = -ENOMEM;
	return f->flags & ISA_FN_BAD;
}

/* What somebody else's slot for that name is bound to. */
static uint64_t find_witness(const struct isa_graph *g, const struct isa_module *def,
			     const char *name, uint64_t resolver)
{
	for (size_t i = 0; i < g->s->n_modules; i++) {
		const struct isa_module *m = &g->s->modules[i];

		for (size_t k = 0; k < m->object->n_slots; k++) {
			const struct isa_slot *slot = &m->object->slots[k];
			bool same = slot->resolver ? m == def && slot->resolver == resolver
						   : name && !strcmp(slot->name, name);
			uint64_t v;

			if (same && isa_space_read(g->s, m->base + slot->addr, &v, sizeof(v)) &&
			    isa_space_code(g->s, v) == def && v != def->base + resolver)
				return v;
		}
	}
	return 0;
}

static void mark_vaddr(struct isa_graph *g, const struct isa_module *m, uint64_t vaddr,
		       unsigned int state, const struct from *from)
{
	struct isa_function *f = isa_code_find(m->object, vaddr);

	if (!f || isa_dispatch_skips(m->object, vaddr) || may_be_data(g, m, f, from->why))
		return;
	/* Whoever calls a resolver (dlsym) gets what it chooses, and that is all it does. */
	if (isa_object_resolver(m->object, vaddr)) {
		uint64_t chosen = find_witness(g, m, NULL, vaddr);
		struct isa_function *to;

		if (!chosen)
			chosen = isa_call(isa_space_read, g->s, m->base + vaddr);
		to = isa_code_find(m->object, chosen - m->base);
		if (to) {
			mark(g, node_of(m, to), settle_state(g, m, state | ISA_BOUND, from), from);
			return;
		}
	}
	mark(g, node_of(m, f), settle_state(g, m, state, from), from);
}

static void mark_addr(struct isa_graph *g, uint64_t addr, unsigned int state,
		      const struct from *from)
{
	const struct isa_module *m = isa_space_code(g->s, addr);

	if (m)
		mark_vaddr(g, m, addr - m->base, state, from);
}

/* ---- slots ---- */

/* Is it called only where something has gone wrong, or may well be, as far as its name tells? */
static bool is_for_errors(const char *name)
{
	/* clang-format off */
	static const char *const names[] = {
		"_Unwind_Resume", "__assert_fail", "__cxa_begin_catch", "__cxa_end_catch",
		"__cxa_rethrow", "__cxa_throw", "__errno_location", "__fprintf_chk",
		"__stack_chk_fail", "__vfprintf_chk", "_exit", "abort", "dcgettext", "dcngettext",
		"dgettext", "dlerror", "err", "error", "errx", "exit", "fprintf", "fputc", "fputs",
		"fwrite", "gai_strerror", "gettext", "perror", "strerror", "strerror_r", "syslog",
		"vfprintf", "warn", "warnx",
	};
	/* clang-format on */

	for (size_t i = 0; i < CK_ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static const char *resolver_name(const struct isa_object *o, uint64_t resolver)
{
	const struct isa_symbol *s = isa_object_symbol(o, resolver);

	return s && s->addr == resolver ? s->name : "";
}

static bool is_ifunc(const struct isa_object *o, const char *name)
{
	size_t n;
	const struct isa_symbol *const *s = isa_object_named(o, name, &n);

	for (size_t i = 0; i < n; i++)
		if (s[i]->kind == ISA_SYMBOL_IFUNC)
			return true;
	return false;
}

/* A function of the symbol's name, in the first module that has one; all its versions. */
static void mark_named(struct isa_graph *g, const char *name, unsigned int state,
		       const struct from *from)
{
	for (size_t i = 0; i < g->s->n_modules; i++) {
		const struct isa_module *m = &g->s->modules[i];
		size_t n;
		const struct isa_symbol *const *s = isa_object_named(m->object, name, &n);

		for (size_t k = 0; k < n; k++) {
			struct from by = *from;
			uint64_t v;

			if (s[k]->kind == ISA_SYMBOL_CODE)
				mark_vaddr(g, m, s[k]->addr, state, from);
			if (s[k]->kind != ISA_SYMBOL_IFUNC)
				continue;
			by.bound = name;
			v = isa_call(isa_space_read, g->s, m->base + s[k]->addr);
			if (!isa_space_code(g->s, v))
				v = find_witness(g, m, name, s[k]->addr);
			if (isa_space_code(g->s, v))
				mark_addr(g, v,
					  state | ISA_BOUND |
						  (state & ISA_CALLED ? ISA_CERTAIN : 0u),
					  &by);
			else
				mark_vaddr(g, m, s[k]->addr, ISA_REACHED, from);
		}
		if (n)
			return;
	}
}

/* The way that ld.so saves registers was chosen at start, as the functions were. It is certain that
 * it will be used if the program itself calls something that is not bound; in libraries most that
 * is not bound yet never will be. */
static void follow_unbound(struct isa_graph *g, const struct isa_module *m,
			   const struct isa_slot *slot, unsigned int state, const struct from *from)
{
	bool sure = (state & ISA_CALLED) && m->object->is_exe;
	struct from lazy = *from;

	lazy.why = ISA_WHY_LAZY;
	g->n_lazy++;
	if (g->trampoline)
		mark_addr(g, g->trampoline,
			  ISA_REACHED | (sure ? ISA_CALLED | ISA_CERTAIN | ISA_BOUND : 0u), &lazy);
	mark_named(g, slot->name, state, from);
}

static void follow_slot(struct isa_graph *g, const struct isa_module *m, uint64_t vaddr,
			unsigned int state, const struct from *from)
{
	const struct isa_slot *slot = isa_object_slot(m->object, vaddr);
	const struct isa_module *to;
	struct from by = *from;
	uint64_t v;

	if (!slot || !isa_space_read(g->s, m->base + vaddr, &v, sizeof(v)) || !v)
		return;
	if (is_for_errors(slot->name))
		state &= ISA_REACHED;
	to = isa_space_code(g->s, v);
	if (to == m && slot->lazy && isa_code_unbound(m->object, v - m->base)) {
		follow_unbound(g, m, slot, state, from);
		return;
	}
	if (!to)
		return;
	if (slot->resolver)
		by.bound = resolver_name(m->object, slot->resolver);
	else if (is_ifunc(to->object, slot->name))
		by.bound = slot->name;
	if (by.bound)
		state |= ISA_BOUND | (state & ISA_CALLED ? ISA_CERTAIN : 0u);
	mark_vaddr(g, to, v - to->base, state, &by);
}

/* ---- one function's edges ---- */

/* It chooses how ld.so saves registers: what it did not choose is never executed. */
static bool installs_trampolines(struct isa_graph *g, const struct isa_module *m,
				 const struct isa_function *f)
{
	for (uint32_t i = 0; i < f->n_edges; i++) {
		struct isa_function *to = f->edges[i].kind == ISA_EDGE_ADDRESS
						  ? isa_code_find(m->object, f->edges[i].to)
						  : NULL;

		if (!to)
			continue;
		if (isa_code_decode(m->object, to) < 0)
			g->error = -ENOMEM;
		if (to->flags & ISA_FN_SAVES)
			return true;
	}
	return false;
}

/* The table of kernels that OpenBLAS chose. */
static void follow_table(struct isa_graph *g, const struct isa_module *m, unsigned int state,
			 const struct from *from)
{
	struct isa_range t;

	if (!isa_dispatch_table(g->s, m, &t))
		return;
	for (uint64_t at = t.start; at + 8 <= t.end && at + 8 > at; at += 8) {
		uint64_t v;

		if (isa_space_read(g->s, at, &v, sizeof(v)) && isa_space_code(g->s, v) == m &&
		    isa_code_plausible(m->object, v - m->base))
			mark_vaddr(g, m, v - m->base,
				   state | ISA_BOUND | (state & ISA_CALLED ? ISA_CERTAIN : 0u),
				   from);
	}
}

static void follow_edge(struct isa_graph *g, const struct isa_module *m,
			const struct isa_function *f, const struct isa_edge *e, unsigned int state,
			uint32_t node)
{
	struct from from = { .node = node, .why = ISA_WHY_CALL };
	const struct isa_slot *slot = isa_object_slot(m->object, e->to);
	struct isa_function *to;
	uint64_t stub;

	if (e->kind == ISA_EDGE_CALL && isa_code_stub(m->object, e->to, &stub) &&
	    isa_object_slot(m->object, stub)) {
		follow_slot(g, m, stub, state, &from);
	} else if (e->kind == ISA_EDGE_CALL) {
		mark_vaddr(g, m, e->to, state, &from);
	} else if (e->kind == ISA_EDGE_ADDRESS) {
		from.why = ISA_WHY_ADDRESS;
		to = isa_code_find(m->object, e->to);
		if (to && isa_code_decode(m->object, to) < 0)
			g->error = -ENOMEM;
		/* Whoever asks the CPU first, and then stores a pointer, asks the next CPU too. */
		if (!(to && (to->flags & ISA_FN_RANDOM) && (f->flags & ISA_FN_CPUID)))
			mark_vaddr(g, m, e->to, ISA_REACHED, &from);
	} else if (e->kind == ISA_EDGE_DATA ||
		   (slot && m->object->gotoblas && !strcmp(slot->name, "gotoblas"))) {
		from.why = ISA_WHY_TABLE;
		follow_table(g, m, state, &from);
	} else if (e->kind == ISA_EDGE_SLOT) {
		follow_slot(g, m, e->to, state, &from);
	} else {
		from.why = ISA_WHY_ADDRESS;
		follow_slot(g, m, e->to, ISA_REACHED, &from);
	}
}

static void follow(struct isa_graph *g, uint32_t node)
{
	const struct isa_module *m = isa_graph_module(g, node);
	struct isa_function *f = isa_graph_function(g, node);
	unsigned int state = g->node[node].state & (ISA_REACHED | ISA_CALLED | ISA_CERTAIN);
	bool installer;

	if (isa_code_decode(m->object, f) < 0) {
		g->error = -ENOMEM;
		return;
	}
	installer = installs_trampolines(g, m, f);
	/* What it then does depends on what is bound. */
	if (f->flags & ISA_FN_SAVES)
		state &= ISA_REACHED;
	for (uint32_t i = 0; i < f->n_edges && !g->error; i++)
		if (!(installer && f->edges[i].kind == ISA_EDGE_ADDRESS))
			follow_edge(g, m, f, &f->edges[i], state, node);
	for (size_t i = 0; (f->flags & ISA_FN_GOTBASE) && i < m->object->n_slots; i++) {
		struct from from = { .node = node, .why = ISA_WHY_ADDRESS };

		follow_slot(g, m, m->object->slots[i].addr, ISA_REACHED, &from);
	}
}

static int run(struct isa_graph *g)
{
	/* In order, so that the way that explains a function is a short one. */
	for (size_t i = 0; i < g->n_todo && !g->error; i++)
		follow(g, g->todo[i]);
	g->n_todo = 0;
	return g->error;
}

/* ---- roots ---- */

static void mark_pointer(struct isa_graph *g, uint64_t v, enum isa_why why, uint32_t tid)
{
	const struct isa_module *m = isa_space_code(g->s, v);
	struct from from = { .node = NO_NODE, .why = why, .tid = tid };

	if (m && isa_code_plausible(m->object, v - m->base))
		mark_vaddr(g, m, v - m->base, ISA_REACHED, &from);
}

/* Is the thread between the trampoline's two ends, with its registers on its stack? */
static void note_binding(struct isa_graph *g, uint64_t addr)
{
	const struct isa_module *m = isa_space_code(g->s, g->trampoline);
	const struct isa_function *f = m ? isa_code_find(m->object, g->trampoline - m->base) : NULL;

	if (f && addr - m->base - f->start < f->end - f->start)
		g->binding = true;
}

static bool is_live(const struct isa_graph *g, uint32_t node, uint64_t vaddr)
{
	for (size_t i = 0; i < g->n_live; i++)
		if (g->live[i].node == node && g->live[i].vaddr == vaddr)
			return true;
	return false;
}

/* What a thread can still call of a function that it is in. */
static void follow_live(struct isa_graph *g, const struct isa_module *m,
			const struct isa_function *part, uint32_t node, const struct from *from)
{
	unsigned int state = settle_state(g, m, ISA_REACHED | ISA_CALLED, from);

	for (uint32_t i = 0; i < part->n_edges; i++)
		if (part->edges[i].kind == ISA_EDGE_CALL || part->edges[i].kind == ISA_EDGE_SLOT ||
		    part->edges[i].kind == ISA_EDGE_DATA)
			follow_edge(g, m, part, &part->edges[i], state, node);
}

/* A thread is there, or will return there: all of the function can be reached, for whoever comes
 * again; but what this thread calls comes after this place. */
static void mark_live(struct isa_graph *g, const struct isa_module *m, uint64_t vaddr,
		      const struct from *from)
{
	const struct isa_function *f = isa_code_find(m->object, vaddr);
	struct isa_function part;
	uint32_t node;
	int r;

	if (!f || g->error || is_live(g, node = node_of(m, f), vaddr))
		return;
	mark_vaddr(g, m, vaddr, ISA_REACHED, from);
	r = isa_code_from(m->object, f, vaddr, &part);
	if (r < 0 || !isa_grow(&g->live, g->n_live, &g->live_size, sizeof(*g->live))) {
		g->error = -ENOMEM;
		return;
	}
	if (r > 0) {
		mark_vaddr(g, m, vaddr, ISA_REACHED | ISA_CALLED, from);
		return;
	}
	g->live[g->n_live++] = (struct isa_live){ node, vaddr, part.need };
	if (!(part.flags & ISA_FN_SAVES))
		follow_live(g, m, &part, node, from);
	free(part.edges);
}

/* What a thread executes and will return to. */
static void mark_stack(struct isa_graph *g, const struct isa_thread *t, uint32_t tid)
{
	const struct isa_vma *v = isa_space_vma(g->s, t->sp);
	struct from from = { .node = NO_NODE, .why = ISA_WHY_THREAD, .tid = tid };
	CK_AUTO(free) uint64_t *w = NULL;
	const struct isa_module *at;
	size_t len;

	at = isa_space_code(g->s, t->ip);
	if (at)
		mark_live(g, at, t->ip - at->base, &from);
	note_binding(g, t->ip);
	if (!v)
		return;
	len = v->end - (t->sp & ~UINT64_C(7));
	len = (len < STACK_MAX ? len : STACK_MAX) / 8;
	w = calloc(len + 1, sizeof(*w));
	if (!w) {
		g->error = -ENOMEM;
		return;
	}
	if (!isa_space_read(g->s, t->sp & ~UINT64_C(7), w, len * 8))
		return;
	from.why = ISA_WHY_STACK;
	for (size_t i = 0; i < len; i++) {
		const struct isa_module *m = isa_space_code(g->s, w[i]);

		if (m)
			note_binding(g, w[i]);
		if (m && isa_code_after_call(m->object, w[i] - m->base))
			mark_live(g, m, w[i] - m->base, &from);
	}
}

static void mark_registers(struct isa_graph *g, const struct isa_thread *t, uint32_t tid)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(t->regs); i++)
		mark_pointer(g, t->regs[i], ISA_WHY_POINTER, tid);
	for (size_t i = 0; i + 1 < t->n_xmm; i += 2)
		mark_pointer(g, t->xmm[i] | (uint64_t)t->xmm[i + 1] << 32, ISA_WHY_POINTER, tid);
}

/* Memory that may hold pointers to code. */
struct words {
	struct isa_graph *g;
	uint64_t low, high;   /* where libraries are */
	uint64_t low2, high2; /* and where the program is */
	uint64_t guard;       /* what glibc mangles pointers with, 0 if unknown */
};

/* Is this word one whose use is known: a slot, a constructor, an entry of a table? */
static bool is_known_word(const struct words *w, uint64_t addr)
{
	const struct isa_vma *v = isa_space_vma(w->g->s, addr);
	const struct isa_module *m;
	uint64_t vaddr;

	if (!v || v->module < 0 || w->g->s->modules[v->module].object->unknown)
		return false;
	m = &w->g->s->modules[v->module];
	vaddr = addr - m->base;
	for (size_t i = 0; i < m->object->n_init; i++)
		if (vaddr >= m->object->init[i].start && vaddr < m->object->init[i].end)
			return true;
	return isa_object_slot(m->object, vaddr) || isa_dispatch_skips(m->object, vaddr);
}

static int take_words(void *arg, uint64_t addr, const uint64_t *word, size_t n)
{
	struct words *w = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t v = word[i];

		if (w->guard && v >> 48) /* ror 17, xor: glibc PTR_DEMANGLE */
			v = (v >> 17 | v << 47) ^ w->guard;
		if (v - w->low >= w->high - w->low && v - w->low2 >= w->high2 - w->low2)
			continue;
		if (isa_space_code(w->g->s, v) && !is_known_word(w, addr + i * 8))
			mark_pointer(w->g, v, ISA_WHY_POINTER, 0);
	}
	return w->g->error;
}

static void find_ranges(struct words *w)
{
	const struct isa_space *s = w->g->s;

	w->low = w->low2 = UINT64_MAX;
	w->high = w->high2 = 0;
	for (size_t i = 0; i < s->n_vmas; i++) {
		const struct isa_vma *v = &s->vmas[i];
		bool exe = v->module >= 0 && s->modules[v->module].object->is_exe;
		uint64_t *low = exe ? &w->low2 : &w->low, *high = exe ? &w->high2 : &w->high;

		if (!isa_space_code(s, v->start))
			continue;
		*low = v->start < *low ? v->start : *low;
		*high = v->end > *high ? v->end : *high;
	}
	if (!w->high)
		w->low = 0;
	if (!w->high2)
		w->low2 = 0;
}

enum { GUARD_AT = 0x30 }; /* bytes into the thread block: glibc tcbhead_t.pointer_guard */

static int mark_memory(struct isa_graph *g, struct ck_err *err)
{
	struct words w = { .g = g };
	int r;

	find_ranges(&w);
	if (g->s->n_threads && g->s->threads[0].fs_base)
		isa_space_read(g->s, g->s->threads[0].fs_base + GUARD_AT, &w.guard,
			       sizeof(w.guard));
	r = isa_space_words(g->s, take_words, &w, err);
	return r == -ENOMEM ? ck_fail(err, CK_ERR_SYS, r, "cannot look at the image's code") : r;
}

static void mark_ends(struct isa_graph *g)
{
	for (size_t i = 0; i < g->s->n_modules; i++) {
		const struct isa_module *m = &g->s->modules[i];
		struct from from = { .node = NO_NODE, .why = ISA_WHY_END };

		if (!m->object->unknown && m->object->has_fini)
			mark_vaddr(g, m, m->object->fini, ISA_REACHED, &from);
	}
	for (size_t i = 0; i < g->s->n_handlers; i++)
		mark_pointer(g, g->s->handlers[i], ISA_WHY_HANDLER, 0);
}

/* The third word of a table of slots is where lazy binding begins: the same in all modules. */
static void find_trampoline(struct isa_graph *g)
{
	for (size_t i = 0; i < g->s->n_modules && !g->trampoline; i++) {
		const struct isa_module *m = &g->s->modules[i];
		uint64_t v;

		if (!m->object->unknown && m->object->gotplt &&
		    isa_space_read(g->s, m->base + m->object->gotplt + 16, &v, sizeof(v)) &&
		    isa_space_code(g->s, v))
			g->trampoline = v;
	}
}

int isa_graph_walk(struct isa_graph *g, struct isa_space *s, struct ck_err *err)
{
	int r;

	*g = (struct isa_graph){ .s = s };
	for (size_t i = 0; i < s->n_modules; i++) {
		s->modules[i].first = g->n;
		g->n += s->modules[i].object->n_fn;
	}
	g->node = calloc(g->n + 1, sizeof(*g->node));
	if (!g->node || g->n >= NO_NODE)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at the image's code");
	find_trampoline(g);
	for (size_t i = 0; i < s->n_threads; i++)
		mark_stack(g, &s->threads[i], s->pid);
	r = run(g);
	for (size_t i = 0; i < s->n_threads; i++)
		mark_registers(g, &s->threads[i], s->pid);
	mark_ends(g);
	if (r == 0)
		r = mark_memory(g, err);
	if (r == 0)
		r = run(g);
	return r == -ENOMEM ? ck_fail(err, CK_ERR_SYS, r, "cannot look at the image's code") : r;
}

void isa_graph_done(struct isa_graph *g)
{
	free(g->node);
	free(g->todo);
	free(g->live);
}
