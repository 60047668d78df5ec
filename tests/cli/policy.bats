#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Policies, overrides and explanations, on the image of a real job. $CKPT is the binary.

setup_file() {
	export JOB=$BATS_FILE_TMPDIR/job IMG=$BATS_FILE_TMPDIR/img
	mkdir -m 750 "$JOB"
	head -c 5000 /dev/urandom >"$JOB/data"
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec 4<"$JOB/data" 5>>"$JOB/log"
		exec setsid sleep 1000' </dev/null >/dev/null 2>&1 &
	local pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	"$CKPT" dump -t "$pid" --image "$IMG"
	cp -p "$JOB/data" "$BATS_FILE_TMPDIR/data"
}

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_TEST_TMPDIR"
	cp -p "$BATS_FILE_TMPDIR/data" "$JOB/data"
	: >"$JOB/log"
}

check() {
	run "$CKPT" check --image "$IMG" "$@"
	echo "$output"
}

@test "three policies are built in, fit the schema and have no errors" {
	run "$CKPT" policy list
	[ "$status" -eq 0 ]
	[ "$(awk '{ print $1 }' <<<"$output")" = "strict
default
permissive" ]
	for p in strict default permissive; do
		"$CKPT" policy show "$p" >"$p.json"
		"$ROOT/tests/lib/schema" "$ROOT/docs/schema/policy.json" "$p.json"
		"$ROOT/tests/lib/schema" "$ROOT/docs/schema/policy.json" "$ROOT/policies/$p.json"
		run "$CKPT" policy lint "$p.json"
		[ "$status" -eq 0 ]
		[ -z "$output" ]
		run "$CKPT" policy lint "$p"
		[ "$status" -eq 0 ]
	done
	run "$CKPT" policy show
	[ "$status" -eq 64 ]
	run "$CKPT" policy list strict
	[ "$status" -eq 64 ]
	run "$CKPT" policy forget
	[ "$status" -eq 64 ]
}

@test "lint names all errors, check refuses such a policy" {
	printf '{"version": 1, "name": "x", "rules": {"cpu.isa": "maybe", "no.rule": "off"},\n "permit": []}' >p.json
	run "$CKPT" policy lint p.json
	echo "$output"
	[ "$status" -eq 78 ]
	[ "$(grep -c wrong: <<<"$output")" -eq 3 ]
	check --policy "$PWD/p.json"
	[ "$status" -eq 78 ]
	[[ "$output" =~ "policy lint" ]]
	printf '{"version": 1,\n"rules": {\n' >p.json
	run "$CKPT" policy lint p.json
	[ "$status" -eq 78 ]
	[[ "$output" =~ "line 3" ]]
	check --policy no-such-policy
	[ "$status" -eq 78 ]
}

@test "a degraded finding refuses under strict, and one's own file decides" {
	echo more >"$JOB/log"
	check
	[ "$status" -eq 0 ]
	[[ "$output" =~ "NOTE".*"[fs.file.appended]" ]]
	check --policy strict
	[ "$status" -eq 20 ]
	[[ "$output" =~ "REFUSED".*"[fs.file.appended]" ]]
	"$CKPT" policy show strict | sed 's/"fs.file.appended":"refuse"/"fs.file.appended":"off"/; s/"priv.place":"refuse"/"priv.place":"apply"/' >own.json
	! grep -q '"fs.file.appended":"refuse"' own.json
	check --policy own.json
	[ "$status" -eq 0 ]
	[[ ! "$output" =~ "fs.file.appended" ]]
}

@test "permissive lets go what default refuses, and says it" {
	printf x | dd of="$JOB/data" bs=1 seek=2500 conv=notrunc status=none
	check
	[ "$status" -eq 20 ]
	check --policy permissive
	[ "$status" -eq 0 ]
	[[ "$output" =~ "NOTE".*"[fs.file.changed]" ]]
	rm "$JOB/data"
	check --policy permissive
	[ "$status" -eq 20 ]
}

@test "an override is named, said with who and when, and restored with" {
	printf x | dd of="$JOB/data" bs=1 seek=2500 conv=notrunc status=none
	check --override fs.file.missing
	[ "$status" -eq 20 ]
	[[ "$output" =~ "fs.file.missing overridden by $(id -un) (uid $(id -u)) at 20"[0-9-]+T[0-9:]+"Z: 0 findings" ]]
	check --override fs.file.changed
	[ "$status" -eq 0 ]
	[[ "$output" =~ "fs.file.changed overridden by".*"1 finding" ]]
	[[ "$output" =~ "OVERRIDDEN".*"[fs.file.changed]: $JOB/data" ]]
	check --override fs.file.changed --format json
	echo "$output" >verdict.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/verdict.json" verdict.json
	python3 -c '
import json
v = json.load(open("verdict.json"))
o = v["overrides"]
assert len(o) == 1 and o[0]["rule"] == "fs.file.changed" and o[0]["findings"] == 1 and "uid" in o[0]["by"], o
assert [f["status"] for f in v["findings"] if f.get("overridden")] == ["degraded"], v'
	# The job, sleep, would take a quarter of an hour.
	run timeout --preserve-status -s TERM 2 "$CKPT" restore --image "$IMG" --override fs.file.changed 2>&1
	echo "$output"
	[ "$status" -eq 143 ]
	[[ "$output" =~ "fs.file.changed overridden by $(id -un)" ]]
	check --override no.rule
	[ "$status" -eq 64 ]
	check --override image.corrupt
	[ "$status" -eq 64 ]
}

@test "explain knows every rule of the check" {
	run "$CKPT" explain
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -ge 29 ]
	for rule in $(awk '{ print $1 }' <<<"$output"); do
		run "$CKPT" explain "$rule"
		[ "$status" -eq 0 ]
		[[ "$output" =~ "$rule: " ]]
		[[ "$output" =~ "Remedy:" ]]
		[[ "$output" =~ "strict: refuse" ]]
		[ "$(awk '{ print length }' <<<"$output" | sort -n | tail -1)" -le 100 ]
	done
	run "$CKPT" explain no.rule
	[ "$status" -eq 64 ]
	run "$CKPT" explain cpu
	[ "$status" -eq 64 ]
}
