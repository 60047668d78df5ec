/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes on descriptors, and small files read at once. */
#ifndef CK_BASE_FD_H
#define CK_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ck_err;

/* Reads up to len bytes, through EINTR and short reads. Returns the bytes read (less than len only
 * at end of file) or a negative errno. */
ssize_t ck_read_full(int fd, void *buf, size_t len);
ssize_t ck_pread_full(int fd, void *buf, size_t len, off_t off);
/* Writes all of it: 0 or a negative errno. */
int ck_write_full(int fd, const void *buf, size_t len);
int ck_pwrite_full(int fd, const void *buf, size_t len, off_t off);

/*
 * Reads a whole file, at most max bytes, into a fresh terminated buffer. *ret_len may be NULL.
 * -EFBIG if it is larger. Works on /proc, where st_size says nothing. Caller frees *ret.
 */
int ck_read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

/* The target of a symbolic link in a fresh buffer. Returns 0 or a negative errno; caller frees. */
int ck_readlink_at(int dirfd, const char *path, char **ret);

#endif
