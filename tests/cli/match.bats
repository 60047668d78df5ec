#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt match on the image of a real job, and profiles that are this host's with one thing changed. $CKPT is the
# binary.

bats_require_minimum_version 1.5.0
load ../lib/pool

setup_file() {
	make_image img
	make_pool
}

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_FILE_TMPDIR"
}

match() {
	run --separate-stderr "$CKPT" match --image img "$@"
	printf '%s\n' "$output" "stderr: $stderr"
}

# Verdict and host of each line.
table() {
	sed -nE 's/^([a-z-]+) +([^ ]+) .*/\1 \2/p' <<<"$output" | grep -v ^left
}

@test "hosts are ranked, best first, each with what decides" {
	match pool
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "3 of 8 hosts can take img, 2 undecided" ]
	diff <(table) - <<-END
		compatible same
		compatible kernel
		compatible noclock
		undecided isa
		undecided strange
		incompatible arm
		incompatible small
		host-unable sealed
	END
	grep -q '^compatible  *same  *CPU and kernel as where the image was made$' <<<"$output"
	grep -q '^compatible  *kernel  *.*, Linux 4.99$' <<<"$output"
	grep -q '^compatible  *noclock  *the job will notice where it is: monotonic clocks \[priv.place\]$' <<<"$output"
	grep -q '^undecided  *isa  *instructions are missing: ld-linux-x86-64.so.2.*\[cpu.isa\]$' <<<"$output"
	grep -q '^undecided  *strange  *.*, and 1 more$' <<<"$output"
	grep -q '^incompatible  *small  *there is too little memory.*\[mem.available\]$' <<<"$output"
	grep -q '^left for ckpt check on the host: .*mem.available' <<<"$output"
}

@test "equally good hosts stay in the order in which they were named" {
	for h in b c a; do
		sed "s/\"hostname\": \"same\"/\"hostname\": \"$h\"/" pool/same.json >"$h.json"
	done
	match b.json c.json a.json
	[ "$(table)" = $'compatible b\ncompatible c\ncompatible a' ]
	match a.json c.json b.json
	[ "$(table)" = $'compatible a\ncompatible c\ncompatible b' ]
}

@test "the exit status is that of a check on the best host" {
	match pool/arm.json pool/isa.json
	[ "$status" -eq 22 ]
	match pool/arm.json pool/isa.json --allow-undecided
	[ "$status" -eq 0 ]
	[ "$(table)" = $'compatible isa\nincompatible arm' ]
	match pool/arm.json pool/sealed.json
	[ "$status" -eq 20 ]
	match pool/sealed.json
	[ "$status" -eq 69 ]
	for h in pool/*.json; do
		run -0 --separate-stderr bash -c '"$CKPT" check --image img --host "$1" >/dev/null; echo $?' - "$h"
		want=$output
		match "$h"
		[ "$status" -eq "$want" ]
	done
}

@test "a profile that can't be used is a line, and not the end" {
	echo '{ "version":' >torn.json
	echo '{ "version": 1, "cpu": 7 }' >wrong.json
	match torn.json pool/arm.json no-such.json wrong.json pool/same.json
	[ "$status" -eq 0 ]
	[ "$(table)" = $'compatible same\nincompatible arm' ]
	[ "$(wc -l <<<"$stderr")" -eq 3 ]
	[[ "$stderr" =~ "torn.json ends too early" ]]
	[[ "$stderr" =~ "cannot read host profile no-such.json" ]]
	[[ "$stderr" =~ "wrong.json" ]]
	match --format json torn.json pool/same.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/match.json" <<<"$output"
	[ "$(jq_py 'd["unread"][0]["profile"]')" = torn.json ]
	match torn.json
	[ "$status" -eq 78 ]
	[[ "$stderr" =~ "no usable host profile" ]]
}

@test "lists of profiles, from a file and from standard input" {
	printf 'pool/arm.json\n\npool/same.json' >list
	match @list
	[ "$(table)" = $'compatible same\nincompatible arm' ]
	run bash -c 'printf "pool/same.json\n" | "$CKPT" match --image img -'
	[ "$status" -eq 0 ]
	[ "$(table)" = "compatible same" ]
	match @no-such-list
	[ "$status" -eq 78 ]
	printf 'a\0b\n' >list
	match @list
	[ "$status" -eq 78 ]
	[[ "$stderr" =~ "line 1 of list" ]]
	mkdir -p empty
	match empty
	[ "$status" -eq 78 ]
}

@test "JSON fits its schema and has everything" {
	match --format json pool
	[ "$status" -eq 0 ]
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/match.json" <<<"$output"
	[ "$(jq_py 'len(d["hosts"])')" -eq 8 ]
	[ "$(jq_py 'd["counts"]["compatible"]')" -eq 3 ]
	[ "$(jq_py 'd["hosts"][0]["profile"]')" = pool/same.json ]
	[ "$(jq_py 'd["hosts"][5]["findings"][0]["rule"]')" = cpu.arch ]
	[ "$(jq_py 'd["hosts"][4]["undecided"]')" -eq 2 ]
}

@test "a broken image takes no host; a missing one is an error" {
	cp -r img broken
	rm broken/files.img
	run "$CKPT" match --image broken pool
	[ "$status" -eq 65 ]
	[[ "$output" =~ "image-broken" ]]
	run "$CKPT" match --image no-such-image pool
	[ "$status" -eq 66 ]
}

@test "an image in an archive" {
	mkdir archive
	cp -r img archive/checkpoint
	tar -C archive -czf archive.tar.gz checkpoint
	run "$CKPT" match --image archive.tar.gz pool/arm.json pool/same.json
	[ "$status" -eq 0 ]
	[ "$(table)" = $'compatible same\nincompatible arm' ]
}

@test "names from profiles don't reach the terminal raw" {
	python3 -c 'import json; d = json.load(open("pool/same.json")); d["hostname"] = "a\x1b[2J\n" + "b" * 500
json.dump(d, open("evil.json", "w"))'
	match evil.json
	[ "$status" -eq 0 ]
	[[ "$output" =~ 'a\x1b[2J\x0abbb' ]]
	[ "${#lines[2]}" -lt 200 ]
}

@test "match refuses arguments that it does not know" {
	match
	[ "$status" -eq 64 ]
	match --nonsense pool
	[ "$status" -eq 64 ]
	match --image img pool
	[ "$status" -eq 64 ]
	run "$CKPT" match pool
	[ "$status" -eq 64 ]
}
