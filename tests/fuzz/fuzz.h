/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzz targets share. A target takes any bytes and returns; it aborts where a promise of the
 * parser does not hold. tests/fuzz/replay.c feeds it the files of its corpus, make fuzz runs it
 * under libFuzzer.
 */
#ifndef CK_TESTS_FUZZ_FUZZ_H
#define CK_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define FUZZ_ASSERT(c)                                                          \
	do {                                                                    \
		if (!(c)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c); \
			abort();                                                \
		}                                                               \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Bad input is answered with an error that says something; it is never taken for a bug of ours. */
static inline void fuzz_failed_well(int r, const struct ck_err *err)
{
	FUZZ_ASSERT(r < 0 && err->kind != CK_ERR_NONE && err->kind != CK_ERR_BUG && err->what[0]);
}

/*
 * The input's first line chooses what the rest is: returns it terminated in name (cut if it is too
 * long) and takes it off the front. False if there is no line.
 */
static inline int fuzz_take_line(const uint8_t **data, size_t *len, char *name, size_t size)
{
	const uint8_t *end = *len ? memchr(*data, '\n', *len) : NULL;
	size_t n;

	if (!end)
		return 0;
	n = (size_t)(end - *data) < size ? (size_t)(end - *data) : size - 1;
	memcpy(name, *data, n);
	name[n] = '\0';
	*len -= (size_t)(end - *data) + 1;
	*data = end + 1;
	return 1;
}

#endif
