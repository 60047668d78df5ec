// SPDX-License-Identifier: Apache-2.0
/* Growing repeated fields: see pb.h. */
#include "base/pb.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for size elements. */
static int resize(void *array, size_t size)
{
	void **a, **grown;

	memcpy(&a, array, sizeof(a));
	grown = reallocarray(a, size, sizeof(*a));
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	return 0;
}

static void put(const void *array, size_t *n, void *item)
{
	void **a;

	memcpy(&a, array, sizeof(a));
	a[(*n)++] = item;
}

int ck_pb_append(void *array, size_t *n, void *item)
{
	/* Full exactly when n is 0 or a power of two. */
	if (!(*n & (*n - 1)) && (*n > SIZE_MAX / 2 || resize(array, *n ? *n * 2 : 1) < 0))
		return -ENOMEM;
	put(array, n, item);
	return 0;
}

int ck_pb_append_unpacked(void *array, size_t *n, void *item)
{
	if (resize(array, *n + 1) < 0)
		return -ENOMEM;
	put(array, n, item);
	return 0;
}

int ck_pb_append_str(char ***array, size_t *n, const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		return -ENOMEM;
	if (ck_pb_append(array, n, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}
