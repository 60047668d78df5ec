# SPDX-License-Identifier: Apache-2.0
# For bats: the image of a real job, and profiles of a pool of hosts. $CKPT is the binary.

# make_image NAME: dumps a job into $BATS_FILE_TMPDIR/NAME. It has nothing of the test harness open.
make_image() {
	local dir=$BATS_FILE_TMPDIR pid

	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$1"
		exec setsid sleep 1000' - "$dir" </dev/null >>"$dir/log" 2>&1 &
	pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	"$CKPT" dump -t "$pid" --image "$dir/$1"
}

# make_pool: $BATS_FILE_TMPDIR/pool/NAME.json, this host's profile with one thing changed. What this host can
# do depends on who asks, so it is written down as an ordinary user's in a place with user namespaces.
make_pool() {
	mkdir "$BATS_FILE_TMPDIR/pool"
	"$CKPT" probe -o "$BATS_FILE_TMPDIR/here.json"
	python3 - "$BATS_FILE_TMPDIR" <<-'END'
		import copy, json, os, sys

		os.chdir(sys.argv[1])
		base = json.load(open("here.json"))
		yes = ("ns", "ns.set_tid", "ns.exe", "ns.proc", "ns.time")
		no = ("set_tid", "exe", "time", "pidns", "pidns.set_tid", "pidns.proc")

		def feature(facts, name, value):
		    for f in facts["kernel"]["features"] + facts["priv"]["features"]:
		        if f["name"] == name:
		            f.pop("detail", None)
		            f["value"] = "CKPT_" + value
		            if value != "YES":
		                f["detail"] = "tried"

		for n in yes:
		    feature(base, n, "YES")
		for n in no:
		    feature(base, n, "NO")
		base["priv"]["cap_eff"] = 0

		def host(name, change=lambda f: None):
		    facts = copy.deepcopy(base)
		    facts["hostname"] = name
		    change(facts)
		    json.dump(facts, open(f"pool/{name}.json", "w"))

		def kernel(f): f["kernel"]["release"] = "4.99"
		def noclock(f): feature(f, "ns.time", "NO")
		def isa(f): f["cpu"]["features"].remove("xsave")
		def strange(f): isa(f), feature(f, "ns.set_tid", "UNKNOWN")
		def arm(f): f["cpu"] = {"arch": "aarch64"}
		def small(f): f["memory"].update(total=4096, available=4096, swap_free=0, swap_total=0)
		def sealed(f): feature(f, "ns", "NO")

		host("same")
		for change in (kernel, noclock, isa, strange, arm, small, sealed):
		    host(change.__name__, change)
	END
}

# jq_py EXPR: of the JSON in $output, as d.
jq_py() {
	python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1" <<<"$output"
}
