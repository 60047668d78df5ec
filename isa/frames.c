// SPDX-License-Identifier: Apache-2.0
/*
 * Where functions begin and end, from the frame descriptions that even stripped objects have for
 * their exceptions (.eh_frame; System V ABI and LSB 5.0, 10.6). Every length comes from a file and
 * is bounded; damage ends the list.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa-internal.h"

/* DW_EH_PE_*: how a pointer is written */
enum {
	PE_OMIT = 0xff,
	PE_FORMAT = 0x0f,
	PE_ULEB = 0x01,
	PE_DATA2 = 0x02,
	PE_DATA4 = 0x03,
	PE_DATA8 = 0x04,
	PE_SDATA2 = 0x0a,
	PE_SDATA4 = 0x0b,
	PE_SDATA8 = 0x0c,
	PE_PCREL = 0x10,
	PE_RELATION = 0x70,
};

struct reader {
	const uint8_t *p;
	size_t len, off;
	uint64_t vaddr; /* of p */
	bool bad;
};

static uint64_t get(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if (r->bad || n > r->len - r->off) {
		r->bad = true;
		return 0;
	}
	memcpy(&v, r->p + r->off, n);
	r->off += n;
	return v;
}

static uint64_t get_leb(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; !r->bad; shift += 7) {
		uint64_t b = get(r, 1);

		if (shift < 64)
			v |= (b & 0x7f) << shift;
		if (!(b & 0x80))
			break;
	}
	return v;
}

static uint64_t get_encoded(struct reader *r, unsigned int enc, bool *ok)
{
	uint64_t at = r->vaddr + r->off, v;

	*ok = true;
	switch (enc & PE_FORMAT) {
	case 0:
	case PE_DATA8:
	case PE_SDATA8:
		v = get(r, 8);
		break;
	case PE_DATA4:
		v = get(r, 4);
		break;
	case PE_SDATA4:
		v = (uint64_t)(int64_t)(int32_t)get(r, 4);
		break;
	case PE_DATA2:
		v = get(r, 2);
		break;
	case PE_SDATA2:
		v = (uint64_t)(int64_t)(int16_t)get(r, 2);
		break;
	case PE_ULEB:
		v = get_leb(r);
		break;
	default:
		*ok = false;
		return 0;
	}
	if ((enc & PE_RELATION) == PE_PCREL)
		v += at;
	else if (enc & PE_RELATION)
		*ok = false;
	return v;
}

/* How a CIE says that its functions' addresses are written; PE_OMIT if we can't tell. */
static unsigned int pointer_encoding(struct reader r, uint32_t len)
{
	unsigned int enc = 0;
	const char *aug;
	bool ok;

	if (len > r.len - r.off)
		return PE_OMIT;
	r.len = r.off + len;
	get(&r, 4); /* id */
	if (get(&r, 1) != 1 || r.bad)
		return PE_OMIT;
	aug = (const char *)r.p + r.off;
	while (get(&r, 1) && !r.bad)
		;
	if (r.bad)
		return PE_OMIT;
	get_leb(&r);
	get_leb(&r);
	get_leb(&r); /* the return address' register: one byte that looks the same */
	if (aug[0] != 'z')
		return aug[0] ? PE_OMIT : 0;
	get_leb(&r);
	for (const char *a = aug + 1; *a && !r.bad; a++) {
		if (*a == 'R')
			enc = (unsigned int)get(&r, 1);
		else if (*a == 'L')
			get(&r, 1);
		else if (*a == 'P')
			get_encoded(&r, (unsigned int)get(&r, 1), &ok);
		else if (*a != 'S' && *a != 'B')
			return PE_OMIT;
	}
	return r.bad ? PE_OMIT : enc;
}

static int add(struct isa_range **list, size_t *n, size_t *size, uint64_t start, uint64_t end)
{
	if (!isa_grow(list, *n, size, sizeof(**list)))
		return -ENOMEM;
	(*list)[(*n)++] = (struct isa_range){ start, end };
	return 0;
}

/* One FDE whose body is at r; id is how far behind its CIE it is. */
static bool read_fde(struct reader r, uint32_t id, size_t body, struct isa_range *ret)
{
	struct reader cie = r;
	uint64_t start, size;
	uint32_t len;
	unsigned int enc;
	bool ok, ok2;

	cie.off = body - id;
	len = (uint32_t)get(&cie, 4);
	enc = cie.bad ? PE_OMIT : pointer_encoding(cie, len);
	if (enc == PE_OMIT)
		return false;
	start = get_encoded(&r, enc, &ok);
	size = get_encoded(&r, enc & PE_FORMAT, &ok2);
	if (!ok || !ok2 || r.bad || !start || start + size <= start)
		return false;
	*ret = (struct isa_range){ start, start + size };
	return true;
}

int isa_frames(const struct isa_object *o, struct isa_range **ret, size_t *ret_n)
{
	struct reader r = { .vaddr = o->frames.start };
	CK_AUTO(free) struct isa_range *list = NULL;
	size_t n = 0, size = 0;

	*ret = NULL;
	*ret_n = 0;
	r.len = o->frames.end - o->frames.start;
	r.p = r.len ? isa_object_at(o, o->frames.start, r.len) : NULL;
	if (!r.p)
		return 0;
	while (r.len - r.off >= 8) {
		uint32_t len = (uint32_t)get(&r, 4), id;
		size_t body = r.off;
		struct reader fde = r;
		struct isa_range f;

		if (!len)
			continue;
		if (len < 4 || len > r.len - r.off)
			break;
		r.off = body + len;
		id = (uint32_t)get(&fde, 4);
		if (id && id <= body && read_fde(fde, id, body, &f) &&
		    add(&list, &n, &size, f.start, f.end) < 0)
			return -ENOMEM;
	}
	*ret_n = n;
	*ret = ck_take_ptr(&list);
	return 0;
}
