/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for random tests: the same from the same seed. And the knobs of such tests. */
#ifndef CK_TESTS_UNIT_RND_H
#define CK_TESTS_UNIT_RND_H

#include <stdint.h>
#include <stdlib.h>

/* From 0 to below - 1, by splitmix64; 0 if below is 0. */
static inline uint32_t rnd(uint64_t *state, uint32_t below)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return below ? (uint32_t)((z ^ (z >> 31)) >> 16) % below : 0;
}

/* CKPT_SEED, CKPT_N */
static inline long rnd_env(const char *name, long otherwise)
{
	const char *s = getenv(name);

	return s ? strtol(s, NULL, 0) : otherwise;
}

#endif
