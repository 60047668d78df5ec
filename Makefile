# SPDX-License-Identifier: Apache-2.0
# make            build ./ckpt            make demo    set up, build, run the main job
# make check      set up, build, test     make dev     with ASan and UBSan
# V=1 shows commands, B=dir builds elsewhere, PREFIX= and DESTDIR= for install.

B ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

PKGS = libprotobuf-c json-c libcap libkmod libcpuid libxxhash
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
       -Wwrite-strings -Wformat=2 -Wundef -Wimplicit-fallthrough -Werror
CFLAGS ?= -O2 -g
# The generated protobuf-c headers are system headers to us: their warnings aren't ours.
CPPFLAGS += -D_GNU_SOURCE -I. -isystem $(B)/gen $(shell pkg-config --cflags $(PKGS))
ALL_CFLAGS = -std=gnu17 $(WARN) -fno-strict-aliasing $(CFLAGS) $(SANITIZE)
LDLIBS += $(shell pkg-config --libs $(PKGS))

PROTOS := $(wildcard image/*.proto)
PIES := $(patsubst engine/pie/%.c,%,$(filter-out engine/pie/pie-%.c,$(wildcard engine/pie/*.c)))
SRCS := $(wildcard base/*.c image/*.c probe/*.c cpuinfo/*.c fsmap/*.c policies/*.c engine/*.c \
	engine/res/*.c engine/arch/*/*.c report/*.c)
CMDS := $(wildcard cmd/*.c)
GEN := $(PROTOS:%.proto=$(B)/gen/%.pb-c.c)
LIB_OBJS := $(SRCS:%.c=$(B)/%.o) $(GEN:%.c=%.o) $(PIES:%=$(B)/engine/pie/%-blob.o)
CMD_OBJS := $(CMDS:%.c=$(B)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/t-*.c))
JOBS := $(patsubst tests/jobs/%.c,$(B)/tests/jobs/%,$(wildcard tests/jobs/*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all
all: ckpt

ckpt: $(B)/ckpt
	$(Q)cmp -s $< $@ || cp $< $@

$(B)/ckpt: $(CMD_OBJS) $(B)/libckpt.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(CMD_OBJS) $(B)/libckpt.a $(LDLIBS)

$(B)/libckpt.a: $(LIB_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	$(call say,PROTOC,$<)
	$(Q)mkdir -p $(B)/gen && protoc-c --c_out=$(B)/gen $<

$(B)/gen/%.o: $(B)/gen/%.c
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu17 -w $(CPPFLAGS) $(CFLAGS) $(SANITIZE) -MMD -MP -c -o $@ $<

$(B)/%.o: %.c $(B)/flags | $(GEN:%.c=%.h)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Rebuild everything when the flags change.
$(B)/flags: FORCE
	$(Q)mkdir -p $(B); echo '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS)' >$@
.PHONY: FORCE
FORCE:

# Blobs that run inside a task: no libc, no floating point registers, one flat section.
PIE_CFLAGS = -std=gnu17 $(WARN) -O2 -g -fPIE -fvisibility=hidden -ffreestanding -nostdlib -mgeneral-regs-only \
	-fno-stack-protector -fno-strict-aliasing -fno-asynchronous-unwind-tables -fcf-protection=none -mno-red-zone \
	-fno-builtin -fno-jump-tables
$(B)/engine/pie/%.pie.o: engine/pie/%.c $(B)/flags | $(GEN:%.c=%.h)
	$(call say,CC,$< (blob))
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(PIE_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/engine/pie/%.elf: $(B)/engine/pie/%.pie.o engine/pie/pie.lds
	$(call say,LD,$@)
	$(Q)$(CC) -nostdlib -static -Wl,-T,engine/pie/pie.lds,--build-id=none,--no-dynamic-linker,--orphan-handling=error -o $@ $<
$(B)/engine/pie/%.bin: $(B)/engine/pie/%.elf
	$(Q)objcopy -O binary $< $@
$(B)/engine/pie/%-blob.o: $(B)/engine/pie/%.bin
	$(call say,BLOB,$@)
	$(Q)printf '.section .rodata\n.balign 64\n.globl pie_%s_start, pie_%s_end\npie_%s_start:\n.incbin "%s"\npie_%s_end:\n.section .note.GNU-stack,"",@progbits\n' \
		$* $* $* $< $* | $(CC) -x assembler -c -o $@ -

$(B)/tests/unit/%: tests/unit/%.c $(B)/libckpt.a
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP $(shell pkg-config --cflags check) \
		-o $@ $< $(B)/libckpt.a $(LDLIBS) $(shell pkg-config --libs check)

$(B)/tests/jobs/%: tests/jobs/%.c
	$(call say,JOB,$@)
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -O2 -g -pthread -o $@ $< -lm -lrt

.PHONY: jobs check-unit clean
jobs: $(JOBS)

check-unit: $(UNIT)
	$(Q)for t in $(UNIT); do $$t || exit 1; done

clean:
	rm -rf $(B) ckpt

-include $(LIB_OBJS:.o=.d) $(CMD_OBJS:.o=.d) $(UNIT:%=%.d) $(PIES:%=$(B)/engine/pie/%.pie.d)
