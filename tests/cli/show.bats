#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt show on images made by hand: CRIU's, incomplete, damaged and hostile ones. $CKPT is the binary.

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir img
	# inventory: img_version 2, fdinfo_per_id
	printf '\x16\x31\x31\x58\x04\0\0\0\x08\x02\x10\x01' >img/inventory.img
	# pstree: pid 7 with threads 7 and 8; pid 300, child of 7
	printf '\x19\x43\x56\x54\x30\x30\x27\x50' >img/pstree.img
	printf '\x0c\0\0\0\x08\x07\x10\0\x18\x07\x20\x07\x28\x07\x28\x08' >>img/pstree.img
	printf '\x0c\0\0\0\x08\xac\x02\x10\x07\x18\x07\x20\x07\x28\xac\x02' >>img/pstree.img
	# pagemap of pid 7: two pages of pages-1.img
	printf '\x19\x43\x56\x54\x25\x40\x08\x56\x02\0\0\0\x08\x01' >img/pagemap-7.img
	printf '\x06\0\0\0\x08\x80\x80\x04\x10\x02' >>img/pagemap-7.img
	head -c 8192 /dev/zero >img/pages-1.img
}

@test "show lists a foreign image and sums it up" {
	echo log >img/dump.log
	run "$CKPT" show --image img
	[ "$status" -eq 0 ]
	[[ "$output" =~ "origin   foreign" ]]
	[[ "$output" =~ "root     7" ]]
	[[ "$output" =~ "tasks    2" ]]
	[[ "$output" =~ "threads  3" ]]
	[[ "$output" =~ "pages    2" ]]
	[[ "$output" =~ "       2             40  unverified  pstree.img" ]]
	[[ "$output" =~ "       -           8192  unverified  pages-1.img" ]]
	[[ "$output" =~ "       -              4  stray       dump.log" ]]
}

@test "show decodes files by name, file name and kind" {
	run "$CKPT" show --image img pstree
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "pstree.img:" ]
	[ "${lines[1]}" = "  - pid: 7" ]
	run "$CKPT" show --image img pstree.img
	[ "$status" -eq 0 ]
	for name in pagemap-7 pagemap-7.img pagemap; do
		run "$CKPT" show --image img $name
		[ "$status" -eq 0 ]
		[ "${lines[1]}" = "  - pages_id: 1" ]
		[ "${lines[2]}" = "  - vaddr: 0x10000  compat_nr_pages: 2" ]
	done
	run "$CKPT" show --image img pages-1
	[ "$output" = "pages-1.img: 8192 raw bytes" ]
}

@test "show writes JSON" {
	run "$CKPT" show --image img --format json
	[ "$status" -eq 0 ]
	echo "$output" | python3 -c '
import json, sys
j = json.load(sys.stdin)
assert j["version"] == 1 and j["origin"] == "foreign" and j["whole"] and j["tasks"] == 2
f = {x["name"]: x for x in j["files"]}
assert f["pstree.img"]["entries"] == 2 and f["pages-1.img"]["bytes"] == 8192'
	run "$CKPT" show --image img --format json pstree
	echo "$output" | python3 -c '
import json, sys
e = json.load(sys.stdin)["files"][0]["entries"]
assert e[1] == {"pid": 300, "ppid": 7, "pgid": 7, "sid": 7, "threads": [300]}, e'
}

@test "show says what is wrong and shows what there is" {
	rm img/inventory.img
	run "$CKPT" show --image img
	[ "$status" -eq 65 ]
	[[ "$output" =~ "whole    false" ]]
	[[ "$output" =~ "pstree.img" ]]
	[[ "$output" =~ "incomplete" ]]
	truncate -s 30 img/pstree.img
	run "$CKPT" show --image img pstree
	[ "$status" -eq 65 ]
	[[ "$output" =~ "cut off" ]]
}

@test "show tells a dump that did not finish" {
	touch img/ckpt-manifest.img.tmp
	run "$CKPT" show --image img
	[ "$status" -eq 65 ]
	[[ "$output" =~ "its dump did not finish" ]]
}

@test "show of nothing" {
	run "$CKPT" show --image nowhere
	[ "$status" -eq 66 ]
	[[ "$output" =~ "there is no such image" ]]
	mkdir empty
	run "$CKPT" show --image empty
	[ "$status" -eq 66 ]
	run "$CKPT" show --image img core-9
	[ "$status" -eq 66 ]
	run "$CKPT" show
	[ "$status" -eq 64 ]
	run "$CKPT" show --image img --format yaml
	[ "$status" -eq 64 ]
	run "$CKPT" show --image img pstree files
	[ "$status" -eq 64 ]
}

@test "show lets no name command the terminal" {
	touch "img/$(printf 'evil\033]0;owned\007\n.img')"
	touch "img/$(printf 'byte\377')"
	run "$CKPT" show --image img
	[ "$status" -eq 0 ]
	[[ "$output" =~ 'evil\x1b]0;owned\x07' ]]
	[[ ! "$output" =~ $'\033' ]]
	"$CKPT" show --image img --format json | python3 -c 'import json, sys; json.load(sys.stdin)'
}

@test "show does not follow links" {
	echo secret >secret
	ln -sf ../secret img/core-7.img
	run "$CKPT" show --image img
	[ "$status" -eq 65 ]
	[[ ! "$output" =~ secret ]]
	run "$CKPT" show --image img core-7
	[ "$status" -ne 0 ]
}

@test "show notices a full disk for its output" {
	[ -c /dev/full ] || skip
	run sh -c '"$CKPT" show --image img >/dev/full'
	[ "$status" -eq 71 ]
}
