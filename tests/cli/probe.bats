#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt probe: the facts of this host. $CKPT is the binary.

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_TEST_TMPDIR"
}

@test "probe prints facts that fit their schema" {
	"$CKPT" probe >facts.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/facts.json" facts.json
	[ "$(python3 -c 'import json; print(json.load(open("facts.json"))["kernel"]["release"])')" = "$(uname -r)" ]
	[ "$(python3 -c 'import json; print(json.load(open("facts.json"))["priv"]["uid"])')" = "$(id -u)" ]
}

@test "probe writes a file whole or not at all" {
	"$CKPT" probe -o facts.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/facts.json" facts.json
	[ "$(ls)" = facts.json ]
	run "$CKPT" probe -o no/such/dir
	[ "$status" -eq 71 ]
	[[ "$output" =~ "cannot write no/such/dir" ]]
	run "$CKPT" probe -o /dev/full
	[ "$status" -ne 0 ]
}

@test "probe says when its output can't be written" {
	run bash -c '"$CKPT" probe >/dev/full'
	[ "$status" -eq 71 ]
}

@test "probe refuses arguments that it does not know" {
	run "$CKPT" probe --nonsense
	[ "$status" -eq 64 ]
	run "$CKPT" probe nonsense
	[ "$status" -eq 64 ]
	run "$CKPT" probe -o
	[ "$status" -eq 64 ]
}

@test "in a sandbox without more namespaces, probe says so" {
	unshare -Ur true || skip "no user namespaces"
	unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$CKPT" probe' >facts.json
	python3 -c '
import json
f = {x["name"]: x for x in json.load(open("facts.json"))["priv"]["features"]}
assert f["ns"]["value"] == "CKPT_NO" and f["ns"]["detail"], f["ns"]
assert f["set_tid"]["value"] == "CKPT_NO", f["set_tid"]
assert f["ns.proc"]["value"] == "CKPT_UNKNOWN", f["ns.proc"]'
}

@test "the schema has the fields of the message, each of them" {
	python3 - "$ROOT/image/facts.proto" "$ROOT/docs/schema/facts.json" <<-'END'
	import json, re, sys
	messages, name = {}, None
	for line in open(sys.argv[1]):
	    if m := re.match(r"message (\w+) ", line):
	        name = messages.setdefault(m.group(1), {})
	    elif m := re.match(r"\s+(required|optional|repeated) (\w+) (\w+) = \d+;", line):
	        name[m.group(3)] = m.group(2)
	assert len(messages) > 10, messages

	def walk(message, schema, where):
	    properties = schema.get("items", schema)["properties"]
	    assert set(messages[message]) == set(properties), (where, set(messages[message]) ^ set(properties))
	    for field, kind in messages[message].items():
	        if kind in messages:
	            walk(kind, properties[field], f"{where}/{field}")

	walk("ckpt_facts", json.load(open(sys.argv[2])), "")
	END
}

@test "a CPUID reading makes a profile of a CPU, and of nothing else" {
	cat >haswell.txt <<-'END'
		CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69 [GenuineIntel]
		CPUID 00000001: 000306C3-00000800-3CD83201-07808101
		CPUID 00000007: 00000000-000001A9-00000000-00000000 [SL 00]
		CPUID 0000000D: 00000007-00000340-00000340-00000000 [SL 00]
		CPUID 0000000D: 00000001-00000000-00000000-00000000 [SL 01]
		CPUID 0000000D: 00000100-00000240-00000000-00000000 [SL 02]
		CPUID 80000000: 80000008-00000000-00000000-00000000
		CPUID 80000001: 00000000-00000000-00000021-20000000
	END
	"$CKPT" probe --from-cpuid haswell.txt -o haswell.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/facts.json" haswell.json
	python3 -c '
import json
d = json.load(open("haswell.json"))
assert sorted(d) == ["cpu", "kernel", "priv", "version"], sorted(d)
assert d["kernel"] == {"release": ""} and d["priv"] == {}, d
assert d["cpu"]["codename"] == "Haswell" and d["cpu"]["level"] == "x86-64-v3", d["cpu"]
assert d["cpu"]["xcr0"] == 7 and d["cpu"]["xsave_size"] == 832, d["cpu"]'
	run "$CKPT" probe --from-cpuid /proc/self/status
	[ "$status" -eq 78 ]
	[[ "$output" =~ "no CPUID leaves" ]]
	run "$CKPT" probe --from-cpuid no.such.file
	[ "$status" -eq 78 ]
	run "$CKPT" probe --from-cpuid haswell.txt --for .
	[ "$status" -eq 64 ]
}

# A tree of modules as depmod leaves it, with the modprobe.d of its root.
make_tree() {
	local dir=$1/lib/modules/6.1.0-test name
	mkdir -p "$dir/kernel" "$1/etc/modprobe.d"
	for name in overlay nfs tun veth; do
		printf '#define I(t) __attribute__((used, section(".modinfo"))) static const char t[]\n
			I(l) = "license=GPL"; I(n) = "name=%s"; I(a) = "alias=test-%s";\n' "$name" "$name" >m.c
		gcc -c -o "$dir/kernel/$name.ko" m.c
	done
	echo kernel/fuse.ko >"$dir/modules.builtin"
	printf 'fuse.name=fuse\0fuse.license=GPL\0' >"$dir/modules.builtin.modinfo"
	echo kernel/overlay.ko >"$dir/modules.order"
	depmod -b "$PWD/$1" 6.1.0-test
	printf 'blacklist nfs\n' >"$1/etc/modprobe.d/nfs.conf"
	printf 'install veth /bin/false\n' >"$1/etc/modprobe.d/veth.conf"
}

@test "modules of another kernel: built in, loadable, kept out, missing" {
	make_tree root
	"$CKPT" probe --modules root/lib/modules/6.1.0-test -o facts.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/facts.json" facts.json
	python3 -c '
import json, os
f = json.load(open("facts.json"))
assert f["kernel"]["modules_tree"] == os.path.abspath("root/lib/modules/6.1.0-test"), f["kernel"]
m = {x["name"]: x for x in f["modules"]}
state = {n: m[n]["state"][12:] for n in ("fuse", "overlay", "tun", "nfs", "veth", "ext4")}
assert state == {"fuse": "BUILTIN", "overlay": "LOADABLE", "tun": "LOADABLE", "nfs": "BLACKLISTED",
                 "veth": "BLACKLISTED", "ext4": "MISSING"}, state
assert "blacklisted" in m["nfs"]["detail"] and "install" in m["veth"]["detail"], m'
	run "$CKPT" probe --modules root
	echo "$output"
	[ "$status" -eq 78 ]
	[[ "$output" =~ "is no tree of modules" ]]
	run "$CKPT" probe --modules no/such/tree
	[ "$status" -eq 71 ]
}

@test "limits of control groups are told, the tightest on the way up" {
	local top=/sys/fs/cgroup group
	[ -e "$top/cgroup.controllers" ] || top=$top/pids
	group=$top/ckpt-test-$$
	mkdir "$group" 2>/dev/null || skip "no control groups can be made"
	[ "$top" != /sys/fs/cgroup ] || echo +pids >"$group/cgroup.subtree_control" || {
		rmdir "$group"
		skip "no control groups can be made"
	}
	mkdir "$group/inner"
	echo 900 >"$group/pids.max"
	echo 5000 >"$group/inner/pids.max"
	run sh -c 'echo $$ >"$1/cgroup.procs" && exec "$CKPT" probe -o facts.json' - "$group/inner"
	rmdir "$group/inner" "$group"
	[ "$status" -eq 0 ]
	python3 - "$group" <<-'END'
	import json, sys
	g, = [g for g in json.load(open("facts.json"))["cgroups"] if "pids" in g["controllers"]]
	limit, = [l for l in g["limits"] if l["name"] == "pids.max"]
	assert g["path"].endswith("/inner"), g
	assert limit["limit"] == 900 and limit["group"] == sys.argv[1] and limit["used"] >= 1, limit
	END
}

@test "probe works for anybody, and where /proc tells little" {
	cp "$CKPT" "$BATS_TEST_TMPDIR/ckpt" && chmod 755 "$BATS_TEST_TMPDIR/ckpt"
	unshare -Urn true || skip "no user namespaces"
	# No capabilities, an empty network, no /sys.
	unshare -Urmn sh -c '
		mount -t tmpfs none /sys
		exec setpriv --bounding-set=-all --inh-caps=-all ./ckpt probe' >facts.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/facts.json" facts.json
	python3 -c '
import json
f = json.load(open("facts.json"))
assert not f["priv"]["initial_userns"] and len(f["priv"]["uid_map"]) == 1, f["priv"]
assert [i["name"] for i in f["interfaces"] if "addresses" in i] == [], f["interfaces"]
assert "listeners" not in f, f["listeners"]'
}
