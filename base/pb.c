// SPDX-License-Identifier: Apache-2.0
/* Growing repeated fields: see pb.h. */
#include "base/pb.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int ck_pb_append(void *array, size_t *n, void *item)
{
	void **a;

	memcpy(&a, array, sizeof(a));
	/* Full exactly when n is 0 or a power of two. */
	if (!(*n & (*n - 1)) || !*n) {
		size_t size = *n ? *n * 2 : 1;
		void **grown;

		if (size > SIZE_MAX / sizeof(*a))
			return -ENOMEM;
		grown = realloc(a, size * sizeof(*a));
		if (!grown)
			return -ENOMEM;
		a = grown;
		memcpy(array, &a, sizeof(a));
	}
	a[(*n)++] = item;
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
