#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt report on images of a real job, and profiles that are this host's with one thing changed. $CKPT is the
# binary.

bats_require_minimum_version 1.5.0
load ../lib/pool

setup_file() {
	make_image img
	make_pool
	cp -r "$BATS_FILE_TMPDIR/img" "$BATS_FILE_TMPDIR/broken"
	rm "$BATS_FILE_TMPDIR/broken/files.img"
	for i in 01 02 03 04 12; do
		sed "s/\"hostname\": \"same\"/\"hostname\": \"n$i.site\"/" "$BATS_FILE_TMPDIR/pool/same.json" \
			>"$BATS_FILE_TMPDIR/pool/n$i.json"
	done
}

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_FILE_TMPDIR"
}

report() {
	run --separate-stderr "$CKPT" report "$@"
	printf '%s\n' "$output" "stderr: $stderr"
}

# What the page FILE says, an element's text per line; fails if it is not well-formed.
texts() {
	python3 -c '
import sys, xml.etree.ElementTree as E
for e in E.parse(sys.argv[1]).iter():
    if e.tag != "style" and (e.text or "").strip(): print(e.text.strip())' "$1"
}

@test "a summary in text" {
	report pool --image img --image broken
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "1 of 2 images have a host that takes them" ]
	[[ "${lines[1]}" =~ ^"  none for  broken" ]]
	[ "${lines[2]}" = "8 of 13 hosts (8 kinds) take at least one image" ]
	[[ "$output" =~ "nothing on  arm" ]]
	[[ "$output" =~ "13  the image is damaged [image.corrupt]: 13 hosts, alone in 13" ]]
	[[ "$output" =~ "2  instructions are missing [cpu.isa]: 2 hosts, alone in 1" ]]
}

@test "JSON fits its schema and has everything" {
	report pool --image img --image broken --format json
	[ "$status" -eq 0 ]
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/report.json" <<<"$output"
	[ "$(jq_py 'len(d["hosts"])')" -eq 13 ]
	[ "$(jq_py 'd["images"][0]["counts"]["compatible"]')" -eq 8 ]
	[ "$(jq_py '[h["verdicts"] for h in d["hosts"] if h["host"] == "arm"]')" = "[['incompatible', 'image-broken']]" ]
	[ "$(jq_py '[h["restore_in_namespaces"] for h in d["hosts"] if h["host"] == "sealed"][0]')" = no ]
	[ "$(jq_py '[b["rule"] for b in d["blockers"]][0]')" = image.corrupt ]
}

@test "a page that is well-formed and needs nothing else" {
	report pool --image img --image broken -o site.html
	[ "$status" -eq 0 ]
	texts site.html >texts
	grep -qx 'n\[01-04,12\].site, same' texts
	grep -qx '6 hosts: .*' texts
	grep -qx 'cpu.isa' texts
	[ "$(grep -c '^✓$' texts)" -ge 3 ]
	run ! grep -qiE '<script|https?:|src=|url\(|@import' site.html
	# The same page, but for the time.
	"$CKPT" report pool --image img --image broken -o - >again.html
	diff <(sed 's/, 20..-.* UTC//' site.html) <(sed 's/, 20..-.* UTC//' again.html)
}

@test "a page about hostile profiles is well-formed and says so" {
	mkdir -p evil
	python3 - <<-'END'
		import json
		d = json.load(open("pool/same.json"))
		bad = "</a><script>alert('x')</script>\" onload=\"x&amp;\x1b[2J\u202e"
		d["hostname"] = d["cpu"]["brand"] = d["kernel"]["release"] = bad
		for f in d["kernel"]["features"] + d["priv"]["features"]:
		    f["value"], f["detail"] = "CKPT_NO", bad
		json.dump(d, open("evil/a.json", "w"))
		open("evil/<b>.json", "w").write("{")
	END
	report evil --image img -o evil.html
	[ "$status" -eq 0 ]
	run ! grep -q '<script' evil.html
	run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xe2\x80\xae' evil.html
	texts evil.html >texts
	grep -q "^</a><script>alert('x')</script>\" onload=\"x&amp;.\[2J.*" texts
	grep -qx 'evil/<b>.json' texts
}

@test "what can't be done is said" {
	report pool --image no-such-image
	[ "$status" -eq 66 ]
	report no-such-profile --image img
	[ "$status" -eq 78 ]
	report pool --image img -o no/such/dir
	[ "$status" -eq 71 ]
	report pool --image img -o /dev/full
	[ "$status" -ne 0 ]
	report pool --image img -o - --format json
	[ "$status" -eq 64 ]
	report pool
	[ "$status" -eq 64 ]
	report --image img
	[ "$status" -eq 64 ]
}
