// SPDX-License-Identifier: Apache-2.0
/*
 * Signal frames: what the kernel puts on a stack when it calls a handler, the interrupted code's
 * registers and, above them, its extended state in the CPU's layout. rt_sigreturn(2) on another CPU
 * takes a frame of another layout without a word and drops all vector state, so that whoever moves
 * a task has to know them. Found by their shape, from a thread's stack pointer upwards and from one
 * stack to the next.
 *
 * 1. The area is aligned to 64 bytes; the frame below it says where it is, at a fixed distance.
 * 2. The area's size stands in it, and a magic word behind it, twice said.
 * 3. The frame returns into code.
 *
 * What lies below the stack pointer is left over from handlers that have returned. Above it, such
 * remains can survive only in variables that nobody has set yet; they are taken for frames.
 * Linux arch/x86/kernel/signal.c:get_sigframe(), arch/x86/kernel/fpu/signal.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo-internal.h"

enum {
	HEAD = 456,     /* bytes from the beginning of the frame to the area */
	MXCSR = 24,     /* in the area */
	SOFTWARE = 464, /* in the area: struct _fpx_sw_bytes */
	HEADER = 512,   /* in the area: XSTATE_BV */
	LEGACY = 512,   /* bytes of an area without xsave */
	TILEDATA = 18,  /* in XCR0; in frames only where it is permitted */
	LEAST = 576,    /* bytes of an area with a header */
	MOST = 65536,
	ALIGN = 64,
	END_MARK = 4, /* bytes */
	RED_ZONE = 128,
	HAS_XSTATE = 1, /* in uc_flags */
	CS_64 = 0x33,
	CHUNK = 65536,
	MAX_SWITCHES = 64, /* from one stack to another, in one thread; more is a broken chain */
};
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u
#define MAX_SCAN (UINT64_C(256) << 20) /* bytes of one thread that are looked at */

/* struct rt_sigframe up to sigcontext, as far as it matters here. */
struct head {
	uint64_t restorer;
	uint64_t uc_flags, uc_link, sas_sp, sas_flags, sas_size;
	uint64_t registers[15], sp, ip, flags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, area;
	uint64_t rest[27];
};
_Static_assert(sizeof(struct head) == HEAD && offsetof(struct head, area) == 232, "ABI");

struct software {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t size, padding[7];
};
_Static_assert(sizeof(struct software) == HEADER - SOFTWARE, "ABI");

struct search {
	const struct cpuinfo_memory *m;
	uint64_t sas_sp, sas_end;
	int (*fn)(const struct cpuinfo_frame *f, void *arg);
	void *arg;
	uint64_t scanned;
	uint8_t *chunk;
};

static const struct cpuinfo_map *map_of(const struct cpuinfo_memory *m, uint64_t addr)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->map[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->n && m->map[lo].start <= addr ? &m->map[lo] : NULL;
}

static bool is_code(const struct cpuinfo_memory *m, uint64_t addr)
{
	const struct cpuinfo_map *map = map_of(m, addr);

	return map && map->exec;
}

static bool within(uint64_t addr, uint64_t start, uint64_t end)
{
	return addr >= start && addr < end;
}

static bool is_software(const struct software *w)
{
	return w->magic1 == MAGIC1 && w->size >= LEAST && w->size <= MOST &&
	       w->extended_size == w->size + END_MARK && (w->xfeatures & 3) == 3;
}

/*
 * Up to where a rewritten area may reach: the kernel started at the top of the stack, which is the
 * alternate stack's end or the interrupted code's red zone, and rounded down.
 */
static uint32_t room_of(const struct head *h, uint64_t area, uint32_t size)
{
	uint64_t sas_end = h->sas_sp + h->sas_size, end = h->sp - RED_ZONE;
	uint64_t least = area + size + END_MARK;

	if (within(area, h->sas_sp, sas_end) && !within(h->sp, h->sas_sp, sas_end))
		end = sas_end;
	if (end < least || end >= least + ALIGN)
		end = least;
	return (uint32_t)(end - area);
}

/* Is there a frame whose area is at addr? Then *ret is it. */
static bool frame_at(const struct cpuinfo_memory *m, uint64_t addr, const struct software *w,
		     struct head *h, struct cpuinfo_frame *ret)
{
	uint8_t area[LEAST];
	uint32_t mark;

	if (addr < HEAD || m->read(m->arg, addr - HEAD, h, sizeof(*h)) < 0 || h->area != addr ||
	    h->cs != CS_64 || !(h->uc_flags & HAS_XSTATE) || !is_code(m, h->restorer) ||
	    m->read(m->arg, addr, area, sizeof(area)) < 0 ||
	    m->read(m->arg, addr + w->size, &mark, sizeof(mark)) < 0 || mark != MAGIC2)
		return false;
	ret->area = addr;
	ret->size = w->size;
	ret->room = room_of(h, addr, w->size);
	ret->xfeatures = w->xfeatures;
	memcpy(&ret->xstate_bv, area + HEADER, sizeof(ret->xstate_bv));
	memcpy(&ret->mxcsr, area + MXCSR, sizeof(ret->mxcsr));
	ret->ip = h->ip;
	ret->sp = h->sp;
	return true;
}

/* Looks from *sp up to end. 1: a frame, and *sp is where the interrupted code's stack is; 0: none.
 */
static int next_frame(struct search *s, uint64_t *sp, uint64_t end)
{
	uint64_t at = (*sp + HEAD + ALIGN - 1) / ALIGN * ALIGN;

	while (at < end && end - at >= LEAST && s->scanned < MAX_SCAN) {
		size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;

		if (s->m->read(s->m->arg, at, s->chunk, len) < 0)
			return 0;
		s->scanned += len;
		for (size_t i = 0; i + HEADER <= len; i += ALIGN) {
			struct software w;
			struct cpuinfo_frame f;
			struct head h;
			int r;

			memcpy(&w, s->chunk + i + SOFTWARE, sizeof(w));
			if (!is_software(&w) || !frame_at(s->m, at + i, &w, &h, &f))
				continue;
			r = s->fn(&f, s->arg);
			*sp = h.sp;
			return r < 0 ? r : 1;
		}
		/* The last ones of this chunk may reach into the next. */
		if (len < CHUNK)
			break;
		at += CHUNK - HEADER;
	}
	return 0;
}

static int search(struct search *s, uint64_t sp)
{
	unsigned int switches = 0;
	int r = 1;

	while (r == 1 && switches < MAX_SWITCHES) {
		const struct cpuinfo_map *map = map_of(s->m, sp);
		uint64_t end = map ? map->end : 0, was = sp;

		if (!map)
			break;
		/* No stack goes on into the alternate one, nor out of it. */
		if (within(sp, s->sas_sp, s->sas_end) && s->sas_end < end)
			end = s->sas_end;
		else if (within(s->sas_sp, sp, end) && s->sas_end > s->sas_sp)
			end = s->sas_sp;
		r = next_frame(s, &sp, end);
		/* Stacks grow down: what was interrupted on the same one lies above. */
		switches += !within(sp, was + 1, end);
	}
	return r < 0 ? r : 0;
}

bool cpuinfo_frame_fits(const CkptCpuFacts *cpu, uint64_t sas_sp, uint64_t sas_size, bool tiles)
{
	uint64_t mask = cpu->has_xcr0 ? cpu->xcr0 : 0, top = sas_sp + sas_size, len = LEGACY;

	if (!tiles)
		mask &= ~(UINT64_C(1) << TILEDATA);
	if (mask)
		len = cpuinfo_area_size(cpu, mask) + END_MARK;
	if (top < sas_sp || len + HEAD + ALIGN > top)
		return false;
	/* As the kernel does: the area, aligned; the frame below it; both above the beginning. */
	return (top - len) / ALIGN * ALIGN - HEAD > sas_sp;
}

int cpuinfo_frames(const struct cpuinfo_memory *m, uint64_t sp, uint64_t sas_sp, uint64_t sas_size,
		   int (*fn)(const struct cpuinfo_frame *f, void *arg), void *arg)
{
	CK_AUTO(free) uint8_t *chunk = malloc(CHUNK);
	struct search s = { .m = m, .fn = fn, .arg = arg, .chunk = chunk, .sas_sp = sas_sp };

	s.sas_end = sas_size <= UINT64_MAX - sas_sp ? sas_sp + sas_size : sas_sp;
	return chunk ? search(&s, sp) : -ENOMEM;
}
