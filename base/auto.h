/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound cleanup. A variable declared with CK_AUTO(x) is passed to its destructor when the
 * scope is left. Destructors accept empty and half-made objects and keep errno.
 */
#ifndef CK_BASE_AUTO_H
#define CK_BASE_AUTO_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CK_AUTO(name) __attribute__((cleanup(ck_auto_##name)))

/* Makes CK_AUTO(name) for a handle type whose empty value is NULL. */
#define CK_DEFINE_AUTO(name, type, destroy)        \
	static inline void ck_auto_##name(type *p) \
	{                                          \
		int saved = errno;                 \
		if (*p)                            \
			destroy(*p);               \
		errno = saved;                     \
	}                                          \
	struct ck_auto_semicolon

static inline void ck_auto_free(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

/* The empty descriptor is -EBADF, so that a forgotten "return -fd" is still an errno. */
static inline void ck_auto_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

CK_DEFINE_AUTO(file, FILE *, fclose);
CK_DEFINE_AUTO(dir, DIR *, closedir);

/* Hand-over: the variable becomes empty, the caller owns the result. */
static inline int ck_take_fd(int *fd)
{
	int r = *fd;

	*fd = -EBADF;
	return r;
}

#define ck_take_ptr(pp)                        \
	({                                     \
		__auto_type ck_taken_ = *(pp); \
		*(pp) = NULL;                  \
		ck_taken_;                     \
	})

#define CK_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
