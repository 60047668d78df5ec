// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a file with code that an image maps: it is divided into functions, and each is
 * decoded. What it says of itself may be wrong in every way; all that is found lies within it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "isa/isa-internal.h"
#include "tests/fuzz/fuzz.h"

static void look_at(struct isa_object *o)
{
	for (size_t i = 0; i < o->n_fn; i++) {
		struct isa_function *f = &o->fn[i];
		uint64_t slot;

		FUZZ_ASSERT(f->start < f->end);
		FUZZ_ASSERT(isa_object_at(o, f->start, f->end - f->start));
		FUZZ_ASSERT(isa_code_decode(o, f) == 0);
		isa_code_stub(o, f->start, &slot);
		isa_code_unbound(o, f->end);
		isa_code_plausible(o, f->start + 5);
		isa_code_first(o, f, 0);
		isa_object_symbol(o, f->start);
	}
	for (size_t i = 0; i < o->n_slots; i++)
		FUZZ_ASSERT(isa_object_slot(o, o->slots[i].addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	CkptNeedPath need = CKPT_NEED_PATH__INIT;
	struct isa_object o = { 0 };
	int fd = memfd_create("elf", MFD_CLOEXEC);

	FUZZ_ASSERT(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	FUZZ_ASSERT(asprintf(&o.path, "/proc/self/fd/%d", fd) > 0);
	need.has_size = true;
	need.size = len;
	FUZZ_ASSERT(isa_object_load(&o, &need) == 0);
	if (!o.unknown)
		look_at(&o);
	isa_object_done(&o);
	close(fd);
	return 0;
}
