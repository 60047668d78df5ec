/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded reader of ELF notes: of a file, or of a mapped object such as the vDSO. */
#ifndef CK_BASE_ELF_H
#define CK_BASE_ELF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Longer build-ids than this are ignored; SHA-1 has 20 bytes. */
#define CK_BUILD_ID_MAX 64

/* Reads len bytes at off; returns the bytes read (fewer at the end) or a negative errno. */
typedef ssize_t (*ck_elf_read_fn)(void *arg, void *buf, size_t len, uint64_t off);

/*
 * The GNU build-id of a little-endian ELF object. Returns its length in bytes, 0 if the object is
 * no ELF or carries none (or is damaged: hostile input is no error here), or the reader's errno.
 */
int ck_elf_build_id(ck_elf_read_fn read, void *arg, uint8_t ret[static CK_BUILD_ID_MAX]);
/* The same for an open file (its offset is left alone) and for an object in memory. */
int ck_elf_build_id_fd(int fd, uint8_t ret[static CK_BUILD_ID_MAX]);
int ck_elf_build_id_mem(const void *data, size_t len, uint8_t ret[static CK_BUILD_ID_MAX]);

#endif
