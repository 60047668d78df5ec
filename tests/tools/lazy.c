// SPDX-License-Identifier: Apache-2.0
/*
 * lazy BYTES FILE: a job whose ld.so believes that BYTES are room enough for the registers that it
 * saves while it binds a function, as after a start on a smaller CPU. When FILE appears it binds
 * some, each right below a frame of known bytes, and exits with 0 if these are still the same.
 */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { CANARY = 4096, PAGE = 4096 };

/* sub size(%rip), %rsp in ld.so: where size is; NULL if there is none. */
static uint64_t *find_size(void)
{
	static const uint8_t sub[] = { 0x48, 0x2b, 0x25 };
	uintptr_t base = getauxval(AT_BASE);
	const ElfW(Ehdr) *e = (const void *)base;
	const ElfW(Phdr) *p = (const void *)(base + e->e_phoff);

	for (int i = 0; i < e->e_phnum; i++) {
		const uint8_t *at = (const void *)(base + p[i].p_vaddr);
		int32_t rel;

		if (p[i].p_type != PT_LOAD || !(p[i].p_flags & PF_X))
			continue;
		at = memmem(at, p[i].p_filesz, sub, sizeof(sub));
		if (!at)
			continue;
		memcpy(&rel, at + 3, sizeof(rel));
		return (uint64_t *)(uintptr_t)(at + 7 + rel);
	}
	return NULL;
}

static int shrink(uint64_t bytes)
{
	uint64_t *size = find_size();
	void *page = (void *)((uintptr_t)size & ~(uintptr_t)(PAGE - 1));

	if (!size || *size <= bytes || mprotect(page, PAGE, PROT_READ | PROT_WRITE) < 0)
		return -1;
	*size = bytes;
	return mprotect(page, PAGE, PROT_READ);
}

/* The array is the lowest thing in this frame: the call pushes its return address next to it. */
#define TRY(name, call)                                            \
	__attribute__((noinline)) static int try_##name(void)      \
	{                                                          \
		unsigned char canary[CANARY];                      \
		volatile unsigned char *c = canary;                \
		int bad = 0;                                       \
                                                                   \
		for (int i = 0; i < CANARY; i++)                   \
			c[i] = (unsigned char)(i * 7 + 1);         \
		(void)call;                                        \
		for (int i = 0; i < CANARY; i++)                   \
			bad += c[i] != (unsigned char)(i * 7 + 1); \
		return bad;                                        \
	}
TRY(a64l, a64l("x"))
TRY(lrand48, lrand48())
TRY(getpgid, getpgid(0))
TRY(getsid, getsid(0))

int main(int argc, char **argv)
{
	struct timespec nap = { 0, 20000000 };

	if (argc < 3)
		return 2;
	/* Bound while there is room. */
	nanosleep(&nap, NULL);
	if (write(1, "", 0) < 0)
		return 2;
	if (access(argv[2], F_OK) == 0)
		return 2;
	if (shrink(strtoul(argv[1], NULL, 0)) < 0)
		return 3;
	if (write(1, "ready\n", 6) != 6)
		return 2;
	while (access(argv[2], F_OK) < 0)
		nanosleep(&nap, NULL);
	_exit(try_a64l() || try_lrand48() || try_getpgid() || try_getsid());
}
