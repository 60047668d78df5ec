// SPDX-License-Identifier: Apache-2.0
/*
 * Finds the GNU build-id among the PT_NOTE segments of an ELF object. Every count and length comes
 * from the file and is bounded before use; damage means "no build-id". Big-endian objects are
 * nothing to us.
 */
#include "base/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"

enum {
	MAX_PHDRS = 512,
	MAX_NOTES = 64 * 1024, /* bytes of one segment that are looked at */
};

struct span {
	const uint8_t *data;
	size_t len;
};

struct phdr {
	uint32_t type;
	uint64_t offset, filesz, align;
};

static uint32_t note_pad(uint64_t off, uint64_t align)
{
	return (uint32_t)((align - off % align) % align);
}

/* Walks one segment of notes; returns the build-id's length or 0. */
static int scan_notes(const uint8_t *p, size_t len, uint64_t align, uint8_t *ret)
{
	size_t off = 0;

	while (len - off >= sizeof(Elf64_Nhdr)) {
		size_t name, desc;
		Elf64_Nhdr n;

		memcpy(&n, p + off, sizeof(n));
		name = off + sizeof(n);
		if (n.n_namesz > len - name)
			return 0;
		desc = name + n.n_namesz;
		desc += note_pad(desc, align);
		if (desc > len || n.n_descsz > len - desc)
			return 0;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && !memcmp(p + name, "GNU", 4) &&
		    n.n_descsz && n.n_descsz <= CK_BUILD_ID_MAX) {
			memcpy(ret, p + desc, n.n_descsz);
			return (int)n.n_descsz;
		}
		off = desc + n.n_descsz;
		off += note_pad(off, align);
		if (off > len)
			return 0;
	}
	return 0;
}

static int scan_segment(ck_elf_read_fn read, void *arg, const struct phdr *ph, uint8_t *ret)
{
	size_t len = ph->filesz < MAX_NOTES ? (size_t)ph->filesz : MAX_NOTES;
	CK_AUTO(free) uint8_t *buf = NULL;
	ssize_t n;

	if (!len)
		return 0;
	buf = malloc(len);
	if (!buf)
		return -ENOMEM;
	n = read(arg, buf, len, ph->offset);
	if (n < 0)
		return (int)n;
	return scan_notes(buf, (size_t)n, ph->align == 8 ? 8 : 4, ret);
}

/* One header of either class; false if the table ends early. */
static bool take_phdr(const uint8_t *p, bool is64, struct phdr *ret)
{
	if (is64) {
		Elf64_Phdr h;

		memcpy(&h, p, sizeof(h));
		*ret = (struct phdr){ h.p_type, h.p_offset, h.p_filesz, h.p_align };
	} else {
		Elf32_Phdr h;

		memcpy(&h, p, sizeof(h));
		*ret = (struct phdr){ h.p_type, h.p_offset, h.p_filesz, h.p_align };
	}
	return ret->type == PT_NOTE;
}

int ck_elf_build_id(ck_elf_read_fn read, void *arg, uint8_t ret[static CK_BUILD_ID_MAX])
{
	CK_AUTO(free) uint8_t *table = NULL;
	uint64_t phoff, phnum, phent;
	bool is64;
	ssize_t n;
	union {
		Elf64_Ehdr e64;
		Elf32_Ehdr e32;
		uint8_t ident[EI_NIDENT];
	} h = { 0 };

	n = read(arg, &h, sizeof(h), 0);
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(h.e32) || memcmp(h.ident, ELFMAG, SELFMAG) ||
	    h.ident[EI_DATA] != ELFDATA2LSB)
		return 0;
	is64 = h.ident[EI_CLASS] == ELFCLASS64;
	phoff = is64 ? h.e64.e_phoff : h.e32.e_phoff;
	phnum = is64 ? h.e64.e_phnum : h.e32.e_phnum;
	phent = is64 ? h.e64.e_phentsize : h.e32.e_phentsize;
	if (phent != (is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || !phnum ||
	    phnum > MAX_PHDRS)
		return 0;
	table = malloc(phnum * phent);
	if (!table)
		return -ENOMEM;
	n = read(arg, table, phnum * phent, phoff);
	if (n < 0)
		return (int)n;
	for (uint64_t i = 0; (i + 1) * phent <= (uint64_t)n; i++) {
		struct phdr ph;
		int r;

		if (!take_phdr(table + i * phent, is64, &ph))
			continue;
		r = scan_segment(read, arg, &ph, ret);
		if (r)
			return r;
	}
	return 0;
}

static ssize_t read_fd(void *arg, void *buf, size_t len, uint64_t off)
{
	if (off > INT64_MAX)
		return 0;
	return ck_pread_full(*(int *)arg, buf, len, (off_t)off);
}

int ck_elf_build_id_fd(int fd, uint8_t ret[static CK_BUILD_ID_MAX])
{
	return ck_elf_build_id(read_fd, &fd, ret);
}

static ssize_t read_mem(void *arg, void *buf, size_t len, uint64_t off)
{
	const struct span *s = arg;

	if (off >= s->len)
		return 0;
	if (len > s->len - off)
		len = s->len - off;
	memcpy(buf, s->data + off, len);
	return (ssize_t)len;
}

int ck_elf_build_id_mem(const void *data, size_t len, uint8_t ret[static CK_BUILD_ID_MAX])
{
	struct span s = { data, len };

	return ck_elf_build_id(read_mem, &s, ret);
}
