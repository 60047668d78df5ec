#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images that CRIU made, in archives as Podman exports them (tests/foreign/make): judged for the host they come
# from, and for others. $CKPT is the binary.

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	FOREIGN=$ROOT/tests/foreign
	HOST=$FOREIGN/host.json
	cd "$BATS_TEST_TMPDIR"
	export TMPDIR=$BATS_TEST_TMPDIR/tmp
	mkdir "$TMPDIR"
}

# Nothing is left of what was unpacked.
teardown() {
	[ -z "$(ls -A "$TMPDIR")" ]
}

check() { # NAME OPTION...
	local name=$1
	shift
	run "$CKPT" check --image "$FOREIGN/$name.tar.zst" "$@"
	echo "$output"
}

other() { # CODE
	python3 -c "import json; f = json.load(open('$HOST')); $1; json.dump(f, open('other.json', 'w'))"
}

@test "jobs that ckpt can restore, on a CPU that they know" {
	for name in native static threads epoll deleted musl-cpuinfo python perl pipeline; do
		check "$name" --host "$HOST"
		[ "$status" -eq 0 ]
		[[ "$output" =~ "[image.sums]" ]]
		[[ ! "$output" =~ "cpu.isa" ]]
	done
}

@test "the CPU of a job without glibc is not known, and the finding says how it could be" {
	check musl --host "$HOST"
	[ "$status" -eq 22 ]
	[[ "$output" =~ "UNDECIDED".*"[cpu.isa]".*"no cpuinfo.img, and no glibc" ]]
	check musl --host "$HOST" --override cpu.isa
	[ "$status" -eq 0 ]
}

@test "a signal frame in the pages of a stack is found, and judged" {
	tar --zstd -xf "$FOREIGN/frame.tar.zst"
	other 'c = f["cpu"]; c["xcr0"] = 3; c["xsave"] = []; c["xsave_size"] = 576'
	run "$CKPT" check --image checkpoint --host other.json --override cpu.isa --override cpu.xsave.component
	echo "$output"
	[ "$status" -eq 22 ]
	[[ "$output" =~ "UNDECIDED".*"[cpu.xsave.frame]: AVX upper halves".*"the signal frame at 0x7ff" ]]
	# Where there is AVX it has a place.
	other 'c = f["cpu"]; c["xcr0"] = 7; c["xsave"] = [x for x in c["xsave"] if x["bit"] == 2]; c["xsave_size"] = 832'
	run "$CKPT" check --image checkpoint --host other.json --all
	echo "$output"
	[[ ! "$output" =~ "[cpu.xsave.frame]: AVX upper halves" ]]
	rm -r checkpoint
}

@test "a socket can't be restored by ckpt; the rest is judged with an override" {
	check socket --host "$HOST"
	[ "$status" -eq 20 ]
	[[ "$output" =~ "REFUSED".*"[image.unsupported]: internet socket" ]]
	check socket --host "$HOST" --override image.unsupported
	[ "$status" -eq 0 ]
	check native --host "$HOST" --override image.unsupported
	[ "$status" -eq 0 ]
}

@test "what Podman itself exported: a container, which ckpt can't restore" {
	check podman --host "$HOST"
	[ "$status" -eq 20 ]
	for what in "task 1, the init of a pid namespace" "a seccomp filter" "namespaces of its own, as a container has"; do
		[[ "$output" =~ "[image.unsupported]: $what" ]]
	done
	[ "$(grep -c "^  REFUSED" <<<"$output")" -eq 3 ]
}

@test "a CPU that lacks what the source had" {
	other 'f["cpu"]["features"].remove("movbe")'
	for name in native static threads epoll deleted musl-cpuinfo python perl pipeline; do
		check "$name" --host other.json
		[ "$status" -eq 22 ]
		[[ "$output" =~ "[cpu.isa]: movbe" ]]
	done
	other 'f["cpu"]["arch"] = "aarch64"'
	check native --host other.json
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[cpu.arch]" ]]
}

@test "tar, gzip and zstd, with the image in checkpoint/ or at the top" {
	mkdir all
	zstd -qdc "$FOREIGN/native.tar.zst" | tar -C all -xf -
	[ -e all/checkpoint/inventory.img ]
	tar -C all -cf a.tar .
	tar -C all -czf a.tar.gz checkpoint config.dump
	tar -C all/checkpoint -cf top.tar .
	mkdir one
	mv all/checkpoint one/snap
	tar -C one -cf named.tar snap
	for f in a.tar a.tar.gz top.tar named.tar one/snap; do
		run "$CKPT" check --image "$f" --host "$HOST"
		echo "$output"
		[ "$status" -eq 0 ]
		[[ "${lines[0]}" =~ ^"$f: compatible" ]]
	done
}

@test "damaged, empty and hostile archives; no restore from one" {
	head -c 1500 "$FOREIGN/native.tar.zst" >short.tar.zst
	run "$CKPT" check --image short.tar.zst
	[ "$status" -eq 65 ]
	[[ "$output" =~ "[image.corrupt]".*"remedy" ]]
	tar -cf empty.tar -T /dev/null
	run "$CKPT" check --image empty.tar
	[ "$status" -eq 66 ]
	mkdir x
	: >x/pstree.img
	tar -cf none.tar x
	run "$CKPT" check --image none.tar
	[ "$status" -eq 65 ]
	[[ "$output" =~ "[image.incomplete]" ]]
	: >inventory.img
	tar -cPf up.tar --transform 's,^,../../../../../../tmp/ckpt-escape/,' inventory.img
	run "$CKPT" check --image up.tar
	[ "$status" -eq 65 ]
	[ ! -e /tmp/ckpt-escape ]
	run "$CKPT" restore --image "$FOREIGN/native.tar.zst"
	[ "$status" -eq 66 ]
	[[ "$output" =~ "unpack it" ]]
}

@test "a container: its paths are its own" {
	mkdir all
	zstd -qdc "$FOREIGN/native.tar.zst" | tar -C all -xf -
	# The job's ids of namespaces become others than the dumping process's: mnt_ns_id is field 9.
	python3 - all/checkpoint <<-'END'
		import glob, sys
		path = glob.glob(sys.argv[1] + "/ids-*.img")[0]
		data = bytearray(open(path, "rb").read())
		at = 12
		while at < len(data):
		    tag, at = data[at], at + 1
		    if tag == 9 << 3:
		        data[at] ^= 0x40
		    while data[at] & 0x80:
		        at += 1
		    at += 1
		open(path, "wb").write(data)
	END
	tar -C all -cf c.tar .
	run "$CKPT" check --image c.tar
	echo "$output"
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[image.unsupported]: namespaces of its own" ]]
	[[ ! "$output" =~ "[fs." ]]
}
