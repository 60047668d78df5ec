// SPDX-License-Identifier: Apache-2.0
/*
 * How ld.so keeps registers while it binds a function: in room on the caller's stack, as much as a
 * variable says, which was computed for the CPU of the start (glibc: xsave_state_size, and since
 * 2.40 another one for thread-local variables). All places that do so look like
 *
 *	sub variable(%rip), %rsp
 *	...
 *	mov $mask, %eax
 *	xsave offset(%rsp)       or xsavec
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb.h"
#include "isa/isa-internal.h"

enum {
	SUB_LEN = 7,
	INSN_MAX = 15,      /* bytes of an instruction */
	LOOK_MAX = 64,      /* instructions between the two */
	ROOM_MAX = 1 << 20, /* bytes; more is nonsense */
};

/* disp(%rsp), as the operand of a two-byte opcode at p. */
static bool take_offset(const uint8_t *p, uint32_t *ret)
{
	if ((p[2] & 0xc7) == 0x44 && p[3] == 0x24 && p[4] < 0x80) {
		*ret = p[4];
		return true;
	}
	if ((p[2] & 0xc7) != 0x84 || p[3] != 0x24)
		return false;
	memcpy(ret, p + 4, sizeof(*ret));
	return *ret < ROOM_MAX;
}

/* From the instruction behind the subtraction to the one that saves. */
static bool read_site(const struct isa_object *o, uint64_t vaddr, CkptIsaSave *ret)
{
	uint32_t mask = 0;

	for (size_t i = 0; i < LOOK_MAX; i++) {
		const uint8_t *p = isa_object_at(o, vaddr, INSN_MAX);
		struct isa_insn in;

		if (!p || !isa_decode(p, INSN_MAX, vaddr, &in) || in.flow != ISA_FLOW_ON)
			return false;
		if (p[0] == 0xb8)
			memcpy(&mask, p + 1, sizeof(mask));
		if (in.save_state) {
			p += p[0] == 0x48; /* REX.W */
			ret->mask = mask;
			ret->compacted = p[1] == 0xc7;
			return mask && take_offset(p, &ret->offset);
		}
		vaddr += in.len;
	}
	return false;
}

/* Does an instruction begin there? */
static bool is_instruction(const struct isa_object *o, uint64_t vaddr)
{
	const struct isa_function *f = isa_code_find(o, vaddr);
	uint64_t at = f ? f->start : vaddr + 1;

	while (f && at < vaddr) {
		const uint8_t *p = isa_object_at(o, at, f->end - at);
		struct isa_insn in;

		if (!p || !isa_decode(p, f->end - at, at, &in))
			return false;
		at += in.len;
	}
	return at == vaddr;
}

static int add_save(CkptIsaTask *t, const CkptIsaSave *s)
{
	CkptIsaSave *copy = CK_PB_NEW(CkptIsaSave, ckpt_isa_save);
	uint64_t *at;

	if (!copy || ck_pb_append(&t->saves, &t->n_saves, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	*copy = *s;
	for (size_t i = 0; i < t->n_state_size_at; i++)
		if (t->state_size_at[i] == s->at)
			return 0;
	at = reallocarray(t->state_size_at, t->n_state_size_at + 1, sizeof(*at));
	if (!at)
		return -ENOMEM;
	t->state_size_at = at;
	at[t->n_state_size_at++] = s->at;
	t->has_state_size = true;
	if (s->size > t->state_size)
		t->state_size = s->size;
	return 0;
}

/* A subtraction from the stack pointer at vaddr of ld.so. */
static int take_site(const struct isa_space *s, const struct isa_module *m, uint64_t vaddr,
		     CkptIsaTask *t)
{
	const struct isa_object *o = m->object;
	CkptIsaSave save = CKPT_ISA_SAVE__INIT;
	const uint8_t *p = isa_object_at(o, vaddr, SUB_LEN);
	int32_t rel;

	if (!p || !is_instruction(o, vaddr))
		return 0;
	memcpy(&rel, p + 3, sizeof(rel));
	save.at = m->base + vaddr + SUB_LEN + (uint64_t)(int64_t)rel;
	if (isa_object_is_code(o, save.at - m->base) ||
	    !isa_space_read((void *)s, save.at, &save.size, sizeof(save.size)) ||
	    save.size > ROOM_MAX || !read_site(o, vaddr + SUB_LEN, &save)) {
		t->has_saves_unknown = t->saves_unknown = true;
		return 0;
	}
	return add_save(t, &save);
}

static int take_segment(const struct isa_space *s, const struct isa_module *m, size_t i,
			CkptIsaTask *t)
{
	static const uint8_t sub[] = { 0x48, 0x2b, 0x25 };
	const struct isa_object *o = m->object;
	const uint8_t *start = o->data + o->load_off[i], *end = start + o->load_filesz[i];
	int r = 0;

	for (const uint8_t *p = start;
	     r == 0 && (p = memmem(p, (size_t)(end - p), sub, sizeof(sub))); p++)
		r = take_site(s, m, o->load[i].start + (uint64_t)(p - start), t);
	return r;
}

int isa_saves(const struct isa_space *s, CkptIsaTask *ret)
{
	const struct isa_module *m = NULL;
	int r = 0;

	if (!s->interpreter)
		return 0;
	for (size_t i = 0; i < s->n_modules && !m; i++)
		if (s->modules[i].base == s->interpreter)
			m = &s->modules[i];
	if (!m || m->object->unknown) {
		ret->has_saves_unknown = ret->saves_unknown = true;
		return 0;
	}
	for (size_t i = 0; i < m->object->n_load && r == 0; i++)
		if (m->object->load_exec[i])
			r = take_segment(s, m, i, ret);
	return r;
}
