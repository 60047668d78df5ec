// SPDX-License-Identifier: Apache-2.0
/*
 * What was reached, as the image tells it: for each module and feature how many functions need it,
 * how sure it is that they are executed, and one of them with the way that leads to it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb.h"
#include "base/strbuf.h"
#include "isa/isa-internal.h"

enum { CHAIN_MAX = 6 };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "printf of libc.so.6"; NULL if memory ran out. */
static char *name_of(const struct isa_graph *g, uint32_t node)
{
	const struct isa_module *m = isa_graph_module(g, node);
	const struct isa_function *f = isa_graph_function(g, node);
	const struct isa_symbol *s = isa_object_symbol(m->object, f->start);
	struct ck_strbuf b = CK_STRBUF_INIT;

	if (s && s->kind != ISA_SYMBOL_DATA)
		ck_strbuf_addf(&b, "%s", s->name);
	else
		ck_strbuf_addf(&b, "%#llx", (unsigned long long)f->start);
	ck_strbuf_addf(&b, " of %s", base_name(m->object->path));
	return ck_strbuf_take(&b);
}

static const char *root_text(uint8_t why)
{
	switch (why) {
	case ISA_WHY_THREAD:
		return "a thread executes it";
	case ISA_WHY_STACK:
		return "a thread returns to it";
	case ISA_WHY_HANDLER:
		return "it handles a signal";
	case ISA_WHY_END:
		return "it is called at the end";
	default:
		return "a pointer to it is in memory";
	}
}

static bool is_root(uint8_t why)
{
	return why >= ISA_WHY_THREAD && why <= ISA_WHY_END;
}

/* The way from a root to the node, the root first; the middle of a long one is left out. */
static int add_chain(const struct isa_graph *g, uint32_t node, CkptIsaNeed *n)
{
	uint32_t way[CHAIN_MAX], at = node;
	size_t len = 0;

	while (len < CHAIN_MAX && !is_root(g->node[at].why)) {
		way[len++] = at;
		at = g->node[at].parent;
	}
	for (size_t hops = 0; hops < g->n && !is_root(g->node[at].why); hops++)
		at = g->node[at].parent;
	if (ck_pb_append_str(&n->chain, &n->n_chain, root_text(g->node[at].why)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i <= len; i++) {
		CK_AUTO(free) char *name = name_of(g, i ? way[len - i] : at);

		if (!name || ck_pb_append_str(&n->chain, &n->n_chain, name) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void clear_need(CkptIsaNeed *n)
{
	free(n->function);
	free(n->bound);
	for (size_t i = 0; i < n->n_chain; i++)
		free(n->chain[i]);
	free(n->chain);
	n->function = n->bound = NULL;
	n->chain = NULL;
	n->n_chain = 0;
	n->functions = 0;
}

static CkptIsaNeed *find_need(CkptIsaModule *m, const char *feature)
{
	CkptIsaNeed *n;

	for (size_t i = 0; i < m->n_needs; i++)
		if (!strcmp(m->needs[i]->feature, feature))
			return m->needs[i];
	n = CK_PB_NEW(CkptIsaNeed, ckpt_isa_need);
	if (!n || ck_pb_append(&m->needs, &m->n_needs, n) < 0) {
		free(n);
		return NULL;
	}
	n->feature = strdup(feature);
	return n->feature ? n : NULL;
}

static int set_example(const struct isa_graph *g, uint32_t node, unsigned int bit, CkptIsaNeed *n)
{
	const struct isa_module *m = isa_graph_module(g, node);
	const struct isa_function *f = isa_graph_function(g, node);
	const struct isa_symbol *s = isa_object_symbol(m->object, f->start);
	const char *bound = g->node[node].bound;

	n->at = isa_code_first(m->object, f, bit);
	n->has_pid = true;
	n->pid = g->s->pid;
	if (s && s->kind != ISA_SYMBOL_DATA && !(n->function = strdup(s->name)))
		return -ENOMEM;
	if (bound && bound[0] && !(n->bound = strdup(bound)))
		return -ENOMEM;
	return add_chain(g, node, n);
}

static CkptIsaClass class_of(const struct isa_graph *g, uint32_t node)
{
	const struct isa_module *m = isa_graph_module(g, node);
	const struct isa_function *f = isa_graph_function(g, node);

	if (g->node[node].state & ISA_CERTAIN)
		return CKPT_ISA_CLASS__CKPT_ISA_CERTAIN;
	/* Nobody asks before something is bound; it is only not known whether anything will be. */
	if ((f->flags & ISA_FN_SAVES) && g->trampoline &&
	    isa_code_find(m->object, g->trampoline - m->base) == f)
		return CKPT_ISA_CLASS__CKPT_ISA_POSSIBLE;
	return m->object->dispatch ? CKPT_ISA_CLASS__CKPT_ISA_GUARDED
				   : CKPT_ISA_CLASS__CKPT_ISA_POSSIBLE;
}

/* glibc runs transactions only if it was told so at the start; otherwise the code that does is
 * never entered. */
static bool elision_is_off(const CkptIsaTask *t)
{
	static const char name[] = "GLIBC_TUNABLES=";

	for (size_t i = 0; i < t->n_environment; i++)
		if (!strncmp(t->environment[i], name, sizeof(name) - 1) &&
		    strstr(t->environment[i], "glibc.elision.enable"))
			return false;
	return true;
}

static struct isa_set need_of(const struct isa_graph *g, uint32_t node, const CkptIsaTask *t)
{
	const struct isa_object *o = isa_graph_module(g, node)->object;
	const struct isa_function *f = isa_graph_function(g, node);
	struct isa_set need = f->need;

	if ((f->flags & ISA_FN_ELIDES) && o->dispatch && !strcmp(o->dispatch, "glibc") &&
	    elision_is_off(t))
		isa_set_remove(&need, isa_feature_set("rtm"));
	return need;
}

/* What threads can still execute of it, for certain: where the module chooses nothing by CPU. */
static struct isa_set live_need(const struct isa_graph *g, uint32_t node)
{
	struct isa_set need = { { 0 } };

	for (size_t i = 0; i < g->n_live && !isa_graph_module(g, node)->object->dispatch; i++)
		if (g->live[i].node == node)
			isa_set_add(&need, g->live[i].need);
	return need;
}

static int add_node(const struct isa_graph *g, uint32_t node, const CkptIsaTask *t,
		    CkptIsaModule *m)
{
	struct isa_set need = need_of(g, node, t), live = live_need(g, node);

	for (unsigned int bit = 0; isa_feature_name(bit); bit++) {
		CkptIsaClass class = isa_set_has(live, bit) ? CKPT_ISA_CLASS__CKPT_ISA_CERTAIN
							    : class_of(g, node);
		CkptIsaNeed *n;
		int r = 0;

		if (!isa_set_has(need, bit))
			continue;
		n = find_need(m, isa_feature_name(bit));
		if (!n)
			return -ENOMEM;
		if (n->functions && class < n->class_)
			continue;
		if (!n->functions || class > n->class_) {
			clear_need(n);
			n->class_ = class;
			r = set_example(g, node, bit, n);
		}
		if (r < 0)
			return r;
		n->functions++;
	}
	return 0;
}

/* ---- what was chosen at start ---- */

static CkptIsaSlot *find_slot(CkptIsaModule *m, const char *symbol, uint64_t target)
{
	CkptIsaSlot *s;

	for (size_t i = 0; i < m->n_slots; i++)
		if (m->slots[i]->target == target)
			return NULL;
	s = CK_PB_NEW(CkptIsaSlot, ckpt_isa_slot);
	if (!s || ck_pb_append(&m->slots, &m->n_slots, s) < 0) {
		free(s);
		return NULL;
	}
	s->target = target;
	s->symbol = strdup(symbol);
	return s;
}

static int add_bound(const struct isa_graph *g, uint32_t node, CkptIsaModule *m)
{
	const struct isa_object *o = isa_graph_module(g, node)->object;
	const struct isa_function *f = isa_graph_function(g, node);
	const char *bound = g->node[node].bound;
	const struct isa_symbol *y = isa_object_symbol(o, f->start);
	CkptIsaSlot *s;

	if (!(g->node[node].state & ISA_BOUND) || isa_set_empty(f->need))
		return 0;
	s = find_slot(m, bound ? bound : "", f->start);
	if (!s)
		return 0;
	if (!s->symbol || (y && !(s->function = strdup(y->name))))
		return -ENOMEM;
	for (unsigned int bit = 0; isa_feature_name(bit); bit++)
		if (isa_set_has(f->need, bit) &&
		    ck_pb_append_str(&s->features, &s->n_features, isa_feature_name(bit)) < 0)
			return -ENOMEM;
	return 0;
}

/* ---- lazy binding ---- */

static uint32_t count_unbound(const struct isa_graph *g, const struct isa_module *m)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->object->n_slots; i++) {
		const struct isa_slot *s = &m->object->slots[i];
		uint64_t v;

		if (s->lazy && isa_space_read(g->s, m->base + s->addr, &v, sizeof(v)) &&
		    isa_space_code(g->s, v) == m && isa_code_unbound(m->object, v - m->base))
			n++;
	}
	return n;
}

static int take_trampoline(struct isa_graph *g, CkptIsaTask *t)
{
	const struct isa_module *m = isa_space_code(g->s, g->trampoline);
	struct isa_function *f = m ? isa_code_find(m->object, g->trampoline - m->base) : NULL;
	const char *how = NULL;

	t->has_lazy = true;
	t->lazy = g->n_lazy;
	if (!g->trampoline)
		return 0;
	if (!f || isa_code_decode(m->object, f) < 0 || !(f->flags & ISA_FN_SAVES) ||
	    m->base != g->s->interpreter) {
		t->has_trampoline_unknown = t->trampoline_unknown = true;
		return 0;
	}
	how = "fxsave";
	for (unsigned int bit = 0; isa_feature_name(bit); bit++) {
		if (!isa_set_has(f->need, bit))
			continue;
		if (!strcmp(isa_feature_name(bit), "xsavec"))
			how = "xsavec";
		else if (!strcmp(isa_feature_name(bit), "xsave") && strcmp(how, "xsavec") != 0)
			how = "xsave";
	}
	/* What FXSAVE writes is the same everywhere. */
	t->has_binding = t->binding = g->binding && strcmp(how, "fxsave") != 0;
	t->trampoline = strdup(how);
	return t->trampoline ? 0 : -ENOMEM;
}

int isa_evidence(struct isa_graph *g, CkptIsaModule **modules, const struct isa_objects *all,
		 CkptIsaTask *t)
{
	int r = take_trampoline(g, t);

	for (size_t i = 0; i < g->s->n_modules; i++) {
		const struct isa_module *m = &g->s->modules[i];
		CkptIsaModule *e = modules[m->object->index];

		if (m->object->unknown || m->object->index >= all->n)
			continue;
		if (!e->has_bias) {
			e->has_bias = e->has_lazy = true;
			e->bias = m->base;
			e->lazy = count_unbound(g, m);
		}
		e->has_reached = false;
		e->has_undecoded = true;
		e->reached = 0;
	}
	for (uint32_t i = 0; i < g->n && r == 0; i++) {
		CkptIsaModule *e = modules[isa_graph_module(g, i)->object->index];

		if (!(g->node[i].state & ISA_REACHED))
			continue;
		e->has_reached = true;
		e->reached++;
		if (isa_graph_function(g, i)->flags & ISA_FN_BAD)
			e->undecoded++;
		r = add_bound(g, i, e);
		if (r == 0 && !isa_set_empty(isa_graph_function(g, i)->need))
			r = add_node(g, i, t, e);
	}
	return r;
}
