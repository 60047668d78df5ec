/* SPDX-License-Identifier: Apache-2.0 */
/* XXH64 with seed 0, fed in pieces; for code without libc. */
#ifndef CK_PIE_XXH64_H
#define CK_PIE_XXH64_H

#include <stddef.h>
#include <stdint.h>

#define PIE_XXH_P1 0x9e3779b185ebca87ull
#define PIE_XXH_P2 0xc2b2ae3d27d4eb4full
#define PIE_XXH_P3 0x165667b19e3779f9ull
#define PIE_XXH_P4 0x85ebca77c2b2ae63ull
#define PIE_XXH_P5 0x27d4eb2f165667c5ull

struct pie_xxh64 {
	uint64_t v[4];
	uint64_t total;
	uint8_t rest[32]; /* total % 32 bytes not yet mixed in */
};

static inline uint64_t pie_xxh_rot(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static inline uint64_t pie_xxh_get(const uint8_t *p, int n)
{
	uint64_t x = 0;

	for (int i = n - 1; i >= 0; i--)
		x = x << 8 | p[i];
	return x;
}

static inline uint64_t pie_xxh_round(uint64_t acc, uint64_t in)
{
	return pie_xxh_rot(acc + in * PIE_XXH_P2, 31) * PIE_XXH_P1;
}

static inline void pie_xxh64_init(struct pie_xxh64 *h)
{
	h->v[0] = PIE_XXH_P1 + PIE_XXH_P2;
	h->v[1] = PIE_XXH_P2;
	h->v[2] = 0;
	h->v[3] = 0 - PIE_XXH_P1;
	h->total = 0;
}

/* Plain 8-byte loads: unaligned ones are fine here, and this loop is what takes the time. */
static inline void pie_xxh64_stripes(struct pie_xxh64 *h, const uint8_t *p, size_t n)
{
	typedef uint64_t word __attribute__((may_alias, aligned(1)));
	uint64_t a = h->v[0], b = h->v[1], c = h->v[2], d = h->v[3];

	for (size_t i = 0; i < n; i++, p += 32) {
		const word *w = (const word *)(const void *)p;

		a = pie_xxh_round(a, w[0]);
		b = pie_xxh_round(b, w[1]);
		c = pie_xxh_round(c, w[2]);
		d = pie_xxh_round(d, w[3]);
	}
	h->v[0] = a, h->v[1] = b, h->v[2] = c, h->v[3] = d;
}

static inline void pie_xxh64_update(struct pie_xxh64 *h, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t have = h->total % 32;

	h->total += len;
	if (have) {
		while (len && have < 32) {
			h->rest[have++] = *p++;
			len--;
		}
		if (have < 32)
			return;
		pie_xxh64_stripes(h, h->rest, 1);
	}
	pie_xxh64_stripes(h, p, len / 32);
	p += len / 32 * 32;
	for (size_t i = 0; i < len % 32; i++)
		h->rest[i] = p[i];
}

static inline uint64_t pie_xxh64_final(const struct pie_xxh64 *h)
{
	const uint8_t *p = h->rest;
	size_t n = h->total % 32;
	uint64_t x = PIE_XXH_P5;

	if (h->total >= 32) {
		x = pie_xxh_rot(h->v[0], 1) + pie_xxh_rot(h->v[1], 7) + pie_xxh_rot(h->v[2], 12) +
		    pie_xxh_rot(h->v[3], 18);
		for (int i = 0; i < 4; i++)
			x = (x ^ pie_xxh_round(0, h->v[i])) * PIE_XXH_P1 + PIE_XXH_P4;
	}
	x += h->total;
	for (; n >= 8; n -= 8, p += 8)
		x = pie_xxh_rot(x ^ pie_xxh_round(0, pie_xxh_get(p, 8)), 27) * PIE_XXH_P1 +
		    PIE_XXH_P4;
	if (n >= 4) {
		x = pie_xxh_rot(x ^ (pie_xxh_get(p, 4) * PIE_XXH_P1), 23) * PIE_XXH_P2 + PIE_XXH_P3;
		n -= 4, p += 4;
	}
	for (; n; n--, p++)
		x = pie_xxh_rot(x ^ (*p * PIE_XXH_P5), 11) * PIE_XXH_P1;
	x = (x ^ x >> 33) * PIE_XXH_P2;
	x = (x ^ x >> 29) * PIE_XXH_P3;
	return x ^ x >> 32;
}

#endif
