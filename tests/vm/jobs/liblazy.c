// SPDX-License-Identifier: Apache-2.0
/*
 * The library whose functions lazy.c binds. Each is trivial.
 */
#include <stdint.h>

#include "lazy.h"

#define DEFINE(n)                          \
	uint64_t LAZY_NAME(n)(uint64_t x); \
	uint64_t LAZY_NAME(n)(uint64_t x)  \
	{                                  \
		return x ^ 0x##n;          \
	}
LAZY_ALL(DEFINE)
