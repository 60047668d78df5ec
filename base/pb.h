/* SPDX-License-Identifier: Apache-2.0 */
/* Building protobuf-c messages: everything malloc()ed, so that *__free_unpacked(m, NULL) frees it.
 */
#ifndef CK_BASE_PB_H
#define CK_BASE_PB_H

#include <stddef.h>

/*
 * Appends item to a repeated field; the array grows by doubling. Returns 0 and owns item, or
 * -ENOMEM and leaves it to the caller. array is the address of the field's T ** member.
 */
int ck_pb_append(void *array, size_t *n, void *item);
/* The same for a field of a message that was unpacked: its array has room for what is in it only.
 */
int ck_pb_append_unpacked(void *array, size_t *n, void *item);
/* Appends a copy of s to a repeated string field. */
int ck_pb_append_str(char ***array, size_t *n, const char *s);

/* A fresh message of a generated type, initialised; NULL if memory ran out. */
#define CK_PB_NEW(type, prefix)                       \
	({                                            \
		type *ck_new_ = malloc(sizeof(type)); \
		if (ck_new_)                          \
			prefix##__init(ck_new_);      \
		ck_new_;                              \
	})

#endif
