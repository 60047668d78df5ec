# SPDX-License-Identifier: Apache-2.0
# make            build ./ckpt            make demo    set up, build, run the main job
# make check      set up, build, test     make dev     build and unit-test with ASan and UBSan
# make lint       all static checks       make fmt     format as lint wants it
# make man        the manual pages        make install PREFIX=/usr/local
# make bench      speed, beside CRIU's with CRIU=path
# V=1 shows commands, B=dir builds elsewhere, PREFIX= and DESTDIR= for install, DEV=1 as make dev.

ifdef DEV
B ?= build-dev
CFLAGS ?= -Og -g
SANITIZE ?= -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
B ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

PKGS = libprotobuf-c json-c libcap libkmod libxxhash libarchive
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
       -Wwrite-strings -Wformat=2 -Wundef -Wimplicit-fallthrough -Werror
CFLAGS ?= -O2 -g
# The generated protobuf-c headers are system headers to us: their warnings aren't ours.
CPPFLAGS += -D_GNU_SOURCE -I. -isystem $(B)/gen $(shell pkg-config --cflags $(PKGS))
# Not -MMD: it would leave out the generated headers, and with them every change of a message.
DEPFLAGS = -MD -MP
ALL_CFLAGS = -std=gnu17 $(WARN) -fno-strict-aliasing $(CFLAGS) $(SANITIZE)
LDLIBS += $(shell pkg-config --libs $(PKGS)) -lZydis

PROTOS := $(wildcard image/*.proto)
PIES := $(patsubst engine/pie/%.c,%,$(filter-out engine/pie/pie-%.c,$(wildcard engine/pie/*.c)))
SRCS := $(wildcard base/*.c image/*.c probe/*.c cpuinfo/*.c isa/*.c fsmap/*.c policies/*.c engine/*.c \
	engine/res/*.c engine/arch/*/*.c report/*.c)
# Linked in as they stand.
TEXTS := $(wildcard policies/*.json) docs/rules.md
CMDS := $(wildcard cmd/*.c)
GEN := $(PROTOS:%.proto=$(B)/gen/%.pb-c.c)
LIB_OBJS := $(SRCS:%.c=$(B)/%.o) $(GEN:%.c=%.o) $(PIES:%=$(B)/engine/pie/%-blob.o) $(TEXTS:%=$(B)/%.o)
CMD_OBJS := $(CMDS:%.c=$(B)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/t-*.c))
JOBS := $(patsubst tests/jobs/%.c,$(B)/tests/jobs/%,$(wildcard tests/jobs/*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(wildcard tests/tools/*.c))

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
	$(Q)$(CC) -std=gnu17 -w $(CPPFLAGS) $(CFLAGS) $(SANITIZE) $(DEPFLAGS) -c -o $@ $<

$(B)/%.o: %.c $(B)/flags | $(GEN:%.c=%.h)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(DEPFLAGS) -c -o $@ $<

# Rebuild everything when the flags change.
$(B)/flags: FORCE
	$(Q)mkdir -p $(B); echo '$(CC) $(DEPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(DEPFLAGS) $(ALL_CFLAGS)' >$@
.PHONY: FORCE
FORCE:

# Blobs that run inside a task: no libc, no floating point registers, one flat section.
PIE_CFLAGS = -std=gnu17 $(WARN) -O2 -g -fPIE -fvisibility=hidden -ffreestanding -nostdlib -mgeneral-regs-only \
	-fno-stack-protector -fno-strict-aliasing -fno-asynchronous-unwind-tables -fcf-protection=none -mno-red-zone \
	-fno-builtin -fno-jump-tables
$(B)/engine/pie/%.pie.o: engine/pie/%.c $(B)/flags | $(GEN:%.c=%.h)
	$(call say,CC,$< (blob))
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(PIE_CFLAGS) $(DEPFLAGS) -c -o $@ $<
$(B)/engine/pie/%.elf: $(B)/engine/pie/%.pie.o engine/pie/pie.lds
	$(call say,LD,$@)
	$(Q)$(CC) -nostdlib -static -Wl,-T,engine/pie/pie.lds,--build-id=none,--no-dynamic-linker,--no-warn-rwx-segments,--orphan-handling=error -o $@ $<
$(B)/engine/pie/%.bin: $(B)/engine/pie/%.elf
	$(Q)objcopy -O binary $< $@
$(B)/engine/pie/%-blob.o: $(B)/engine/pie/%.bin
	$(call say,BLOB,$@)
	$(Q)printf '.section .rodata\n.balign 64\n.globl pie_%s_start, pie_%s_end\npie_%s_start:\n.incbin "%s"\npie_%s_end:\n.section .note.GNU-stack,"",@progbits\n' \
		$* $* $* $< $* | $(CC) -x assembler -c -o $@ -

# policies/strict.json becomes policy_strict_json_start and _end, with a 0 behind it.
$(TEXTS:%=$(B)/%.o): $(B)/%.o: %
	$(call say,BLOB,$@)
	$(Q)mkdir -p $(@D) && n=policy_$(subst .,_,$(notdir $<)) && printf \
		'.section .rodata\n.globl %s_start, %s_end\n%s_start:\n.incbin "%s"\n%s_end:\n.byte 0\n.section .note.GNU-stack,"",@progbits\n' \
		$$n $$n $$n $< $$n | $(CC) -x assembler -c -o $@ -

$(B)/tests/unit/%: tests/unit/%.c $(B)/libckpt.a
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(DEPFLAGS) $(shell pkg-config --cflags check) \
		-o $@ $< $(B)/libckpt.a $(LDLIBS) $(shell pkg-config --libs check)

# Fuzz targets: $(B)/tests/fuzz/replay-NAME feeds NAME its corpus, tests/fuzz/corpus/NAME. make fuzz
# runs them under libFuzzer (clang) for FUZZ_SECONDS each; what that adds stays in build-fuzz/corpus.
FUZZ := $(patsubst tests/fuzz/fuzz-%.c,%,$(wildcard tests/fuzz/fuzz-*.c))
REPLAYS := $(FUZZ:%=$(B)/tests/fuzz/replay-%)
FUZZERS := $(FUZZ:%=$(B)/tests/fuzz/fuzz-%)
FUZZ_SECONDS ?= 60
$(B)/tests/fuzz/replay-%: tests/fuzz/fuzz-%.c tests/fuzz/replay.c $(wildcard tests/fuzz/*.h) $(B)/libckpt.a
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -o $@ $(wordlist 1,2,$^) $(B)/libckpt.a $(LDLIBS)
$(B)/tests/fuzz/fuzz-%: tests/fuzz/fuzz-%.c $(wildcard tests/fuzz/*.h) $(B)/libckpt.a
	$(call say,FUZZER,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< $(B)/libckpt.a $(LDLIBS)
.PHONY: fuzz fuzz-run
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang B=build-fuzz \
		SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Wno-error' fuzz-run
fuzz-run: $(FUZZERS)
	$(Q)for t in $(FUZZ); do mkdir -p $(B)/corpus/$$t; $(B)/tests/fuzz/fuzz-$$t -max_total_time=$(FUZZ_SECONDS) \
		-timeout=20 -rss_limit_mb=1024 -artifact_prefix=$(B)/$$t- $(B)/corpus/$$t tests/fuzz/corpus/$$t || exit 1; done

# What the tests run and use: jobs, a preloaded library, tools. None of them is linked with ckpt.
TEST_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(WARN) -O2 -g -pthread $(DEPFLAGS)
$(B)/tests/jobs/%: tests/jobs/%.c
	$(call say,JOB,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_CFLAGS) -o $@ $< -lm -lrt
$(B)/tests/bench/%: tests/bench/%.c
	$(call say,JOB,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_CFLAGS) -o $@ $<
$(B)/tests/tools/%: tests/tools/%.c
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_CFLAGS) -o $@ $< $(TEST_LIBS)
$(B)/tests/tools/deny: TEST_LIBS = -lseccomp
$(B)/tests/tools/repo: TEST_LIBS = -lfuse3
$(B)/tests/tools/lazy: TEST_LIBS = -Wl,-z,lazy

# Debian packages: what building, testing and the demo need; make lint, which is part of make check, needs more.
DEPS := build-essential pkg-config libprotobuf-c-dev protobuf-c-compiler libjson-c-dev libcap-dev libkmod-dev \
	libxxhash-dev libarchive-dev libzydis-dev libseccomp-dev kmod scdoc check bats criu lammps redis-tools tmux python3 perl sqlite3 gzip xz-utils zstd acl coreutils passwd util-linux \
	qemu-system-x86 busybox-static e2fsprogs cpio iproute2 libfuse3-dev fuse3 bindfs squashfuse squashfs-tools musl-tools libopenblas-dev python3-numpy
# Not of make check: some are big, and some would be started as services.
DEPS_PROGRAMS := nginx-light nodejs postgresql default-jdk-headless r-base-core
DEPS_LINT := git clang-format clang-tidy cppcheck shellcheck codespell
.PHONY: deps deps-lint jobs check check-all check-unit check-cli check-deny check-jobs check-moves check-kill check-interop check-vm \
	check-cells check-lab check-long check-programs demo
deps:
	$(Q)tests/deps $(DEPS)
deps-lint: deps
	$(Q)tests/deps $(DEPS_LINT)

jobs: $(B)/ckpt $(JOBS) $(TEST_TOOLS)

check-unit: $(UNIT) $(REPLAYS)
	$(Q)for t in $(UNIT); do $$t || exit 1; done
	$(Q)for f in $(FUZZ); do $(B)/tests/fuzz/replay-$$f tests/fuzz/corpus/$$f >$(B)/replay.log || \
		{ cat $(B)/replay.log; exit 1; }; done

# One suite at a time; each speaks TAP and also runs by hand.
SUITE_cli = CKPT=$(abspath $(B)/ckpt) bats --tap tests/cli
SUITE_jobs = tests/harness/run-jobs
SUITE_programs = tests/harness/run-jobs heavy
SUITE_moves = tests/harness/run-moves
SUITE_kill = tests/kill/run-kill
SUITE_interop = tests/interop/run-interop
SUITE_vm = tests/vm/run-vm
SUITE_cells = tests/vm/lab --quick
SUITE_lint = status:tests/lint
SUITE_deny = tests/deny/run-deny
SUITE_dev-jobs = CKPT=$(abspath $(B)-dev/ckpt) CKPT_N=1 JOB_SCALE=50 tests/harness/run-jobs tree threads sessions signals memory files vectors
check-cli check-deny check-jobs check-moves check-kill check-interop check-vm check-cells: check-%: jobs
	$(Q)$(SUITE_$*)

# Every job on every emulated host; LAB holds arguments, CRIU the program of a CRIU to compare with.
check-lab: jobs
	$(Q)tests/vm/lab $(if $(CRIU),--criu $(CRIU)) $(LAB)
check-programs: deps jobs
	$(Q)tests/deps $(DEPS_PROGRAMS)
	$(Q)$(SUITE_programs)

# The sub-make is for the packages: what pkg-config says is known only once they are there.
check: deps-lint
	$(Q)$(MAKE) --no-print-directory check-all
check-all: jobs $(UNIT)
	$(Q)$(MAKE) --no-print-directory DEV=1 B=$(B)-dev sanitized
	$(Q)tests/tally -o $(B)/total unit=unit:"$(UNIT)" dev-unit=unit:"$(UNIT:$(B)/%=$(B)-dev/%)" \
		$(foreach f,$(FUZZ),fuzz-$f="$(B)-dev/tests/fuzz/replay-$f tests/fuzz/corpus/$f") \
		$(foreach s,lint cli deny dev-jobs jobs moves kill interop vm cells,$s="$(SUITE_$s)")
check-long: deps-lint
	$(Q)$(MAKE) --no-print-directory check-all CKPT_N=200 CKPT_KILL=every

demo: deps
	$(Q)$(MAKE) --no-print-directory jobs && tests/demo/run

# Speed, beside CRIU's where CRIU= names its program; BENCH holds more arguments, --help lists them.
.PHONY: bench
bench: $(B)/ckpt $(B)/tests/bench/load
	$(Q)tests/bench/run-bench $(if $(CRIU),--criu $(CRIU)) $(BENCH)

# What is built with sanitizers, and quick to run.
.PHONY: dev sanitized
sanitized: $(B)/ckpt $(UNIT) $(REPLAYS)

dev:
	$(Q)$(MAKE) --no-print-directory DEV=1 B=$(B)-dev sanitized check-unit

# Static checks. Each file has a stamp under $(L), renewed when the file, what it includes, or the
# rules change; `make -j2 lint` after a small edit takes seconds. Generated code is not looked at.
L := $(B)/lint
UNIT_SRCS := $(wildcard tests/unit/*.c)
OWN_C := $(SRCS) $(CMDS) $(wildcard engine/pie/*.c) $(UNIT_SRCS) $(wildcard tests/jobs/*.c tests/tools/*.c tests/vm/jobs/*.c tests/fuzz/*.c)
OWN_H := $(filter-out build%,$(wildcard */*.h */*/*.h */*/*/*.h))
SHELLS := $(shell git ls-files | xargs grep -lsE '^\#!.*\b(ba)?sh\b')
# Flags that both compilers know, by kind of file.
lint_flags = $(CPPFLAGS) $(if $(filter engine/pie/%,$<),$(PIE_CFLAGS),-std=gnu17 $(WARN) -fno-strict-aliasing) \
	$(if $(filter tests/unit/%,$<),$(shell pkg-config --cflags check)) $(if $(filter tests/vm/jobs/%,$<),-fopenmp)
# gcc 12 takes a pointer that is stored in an array or a message for leaked; LeakSanitizer (make dev)
# watches leaks. Tests needn't survive a lack of memory.
ANALYZE = -O1 -fanalyzer -Wno-analyzer-malloc-leak $(if $(filter tests/%,$<), \
	-Wno-analyzer-possible-null-argument -Wno-analyzer-possible-null-dereference -Wno-analyzer-null-argument -Wno-analyzer-null-dereference)

.PHONY: lint lint-tools lint-format check-headers check-layers check-symbols check-files check-words \
	check-docs check-tools check-shell check-spelling fmt
lint: lint-tools check-files check-layers check-symbols check-words check-docs check-tools check-shell \
	check-spelling check-headers $(OWN_C:%=$(L)/%.format) $(OWN_H:%=$(L)/%.format) \
	$(OWN_C:%=$(L)/%.gcc) $(OWN_C:%=$(L)/%.cppcheck) $(OWN_C:%=$(L)/%.tidy)

lint-tools:
	$(Q)for t in $(DEPS_LINT); do command -v $$t >/dev/null || { echo "make lint needs $$t: make deps-lint" >&2; exit 1; }; done

$(L)/%.format: % .clang-format
	$(call say,FORMAT,$<)
	$(Q)mkdir -p $(@D) && clang-format --dry-run -Werror --ferror-limit=3 $< && touch $@
$(L)/%.c.gcc: %.c $(B)/flags | $(GEN:%.c=%.h)
	$(call say,ANALYZE,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(lint_flags) $(ANALYZE) $(DEPFLAGS) -MF $@.d -MT "$@ $(@:.gcc=.tidy) $(@:.gcc=.cppcheck)" \
		-c -o /dev/null $< && touch $@
$(L)/%.c.tidy: %.c .clang-tidy tests/.clang-tidy | $(GEN:%.c=%.h)
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(@D) && clang-tidy --quiet $< -- $(lint_flags) 2>$@.err || { cat $@.err >&2; exit 1; }
	$(Q)touch $@
$(L)/%.c.cppcheck: %.c | $(GEN:%.c=%.h)
	$(call say,CPPCHK,$<)
	$(Q)mkdir -p $(@D) && cppcheck --quiet --enable=warning,performance,portability --error-exitcode=1 \
		--inline-suppr --std=c11 --suppress=missingIncludeSystem --suppress=memleak --suppress=comparePointers $(if $(filter tests/%,$<),--suppress=nullPointer) -I. -D_GNU_SOURCE -D__x86_64__ $< && touch $@
$(L)/%.h.alone: %.h $(B)/flags | $(GEN:%.c=%.h)
	$(call say,HEADER,$<)
	$(Q)mkdir -p $(@D) && echo '#include "$<"' | $(CC) $(lint_flags) $(DEPFLAGS) -MF $@.d -MT $@ -x c -c -o /dev/null - && touch $@
-include $(OWN_C:%=$(L)/%.gcc.d) $(OWN_H:%=$(L)/%.alone.d)

check-headers: $(OWN_H:%=$(L)/%.alone)
check-layers check-files check-words check-docs:
	$(call say,CHECK,$@)
	$(Q)tools/$@
check-symbols: $(LIB_OBJS) $(CMD_OBJS)
	$(call say,CHECK,$@)
	$(Q)$(if $(SANITIZE),: skipped with sanitizers,tools/$@ $(B))
check-tools:
	$(call say,CHECK,$@)
	$(Q)tools/$@
check-shell:
	$(call say,CHECK,$@)
	$(Q)shellcheck $(SHELLS)
check-spelling:
	$(call say,CHECK,$@)
	$(Q)git ls-files | grep -vE '^LICENSE$$|/data/|/corpus/' | xargs codespell

fmt:
	$(Q)clang-format -i $(OWN_C) $(OWN_H)

# Manual pages and completion come from the table of options in ckpt itself.
.PHONY: man install
man: $(B)/man/stamp
$(B)/man/stamp: $(B)/ckpt
	$(call say,MAN,$(@D))
	$(Q)rm -rf $(@D) && mkdir -p $(@D)
	$(Q)set -e; $< help --format scdoc >$(@D)/ckpt.1.scd; \
		for c in $$($< help --format list | grep -v ' '); do $< help $$c --format scdoc >$(@D)/ckpt-$$c.1.scd; done; \
		for p in $(@D)/*.scd; do scdoc <$$p >$${p%.scd}; done
	$(Q)touch $@

DOCS := $(wildcard README.md docs/*.md)
install: $(B)/ckpt man
	install -D -m 755 $(B)/ckpt $(DESTDIR)$(PREFIX)/bin/ckpt
	install -d $(DESTDIR)$(PREFIX)/share/doc/ckpt
	install -m 644 LICENSE $(DOCS) $(DESTDIR)$(PREFIX)/share/doc/ckpt
	install -d $(DESTDIR)$(PREFIX)/share/doc/ckpt/schema
	install -m 644 docs/schema/*.json $(DESTDIR)$(PREFIX)/share/doc/ckpt/schema
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 644 $(B)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	$(B)/ckpt help --format bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ckpt

clean:
	rm -rf $(B) $(B)-dev build-fuzz ckpt

-include $(LIB_OBJS:.o=.d) $(CMD_OBJS:.o=.d) $(UNIT:%=%.d) $(JOBS:%=%.d) $(TEST_TOOLS:%=%.d) $(B)/tests/bench/load.d $(PIES:%=$(B)/engine/pie/%.pie.d)
