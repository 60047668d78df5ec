#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt check on the image of a real job. $CKPT is the binary. Each test spoils the host in one way, looks at
# the verdict, follows the remedy to the letter where it is a command, and checks again.

setup_file() {
	export JOB=$BATS_FILE_TMPDIR/job IMG=$BATS_FILE_TMPDIR/img
	mkdir -m 750 "$JOB" "$JOB/in" "$JOB/out" "$JOB/cwd"
	head -c 5000 /dev/urandom >"$JOB/in/data"
	mkfifo -m 600 "$JOB/out/fifo"
	# Nothing of the test harness may stay open in the job.
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$JOB/cwd"
		exec 4<"$JOB/in/data" 5<>"$JOB/out/fifo" 6>>"$JOB/out/append"
		exec setsid sleep 1000' </dev/null >"$JOB/out/log" 2>"$JOB/out/err" &
	local pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	echo some output >>"$JOB/out/log"
	"$CKPT" dump -t "$pid" --image "$IMG"
	cp -a "$JOB" "$BATS_FILE_TMPDIR/saved"
}

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_TEST_TMPDIR"
	AS=()
}

teardown() {
	chmod -R u+rwx "$JOB"
	rm -rf "$JOB"
	cp -a "$BATS_FILE_TMPDIR/saved" "$JOB"
}

check() {
	run "${AS[@]}" "$CKPT" check --image "$IMG" "$@"
	echo "$output"
}

# The remedy of the only finding, as a command.
remedy() {
	sed -n 's/^ *remedy *//p' <<<"$output"
}

@test "a healthy image on the host where it was made" {
	check
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ "$output" =~ "compatible" ]]
}

@test "an input with other contents" {
	printf x | dd of="$JOB/in/data" bs=1 seek=2500 conv=notrunc status=none
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.file.changed]: $JOB/in/data" ]]
	[[ "$output" =~ "XXH64" ]]
	cp -p "$BATS_FILE_TMPDIR/saved/in/data" "$JOB/in/data"
	check
	[ "$status" -eq 0 ]
}

@test "an input that was touched, and one that grew" {
	touch "$JOB/in/data"
	check
	[ "$status" -eq 0 ]
	echo more >>"$JOB/in/data"
	check
	[ "$status" -eq 0 ]
	head -c 100 "$BATS_FILE_TMPDIR/saved/in/data" >"$JOB/in/data"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "5000 bytes" ]]
	[[ "$output" =~ "100 bytes" ]]
}

@test "an output that went on" {
	echo and on >>"$JOB/out/log"
	check
	[ "$status" -eq 21 ]
	[[ "$output" =~ "[fs.file.grown]: $JOB/out/log" ]]
	eval "$(remedy)"
	check
	[ "$status" -eq 0 ]
	: >"$JOB/out/log"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.file.changed]: $JOB/out/log" ]]
}

@test "a log that is only appended to" {
	echo and on >>"$JOB/out/append"
	check
	[ "$status" -eq 0 ]
	[[ "$output" =~ "NOTE" ]]
	[[ "$output" =~ "[fs.file.appended]: $JOB/out/append" ]]
}

@test "the working directory is gone" {
	rmdir "$JOB/cwd"
	check --make-dirs
	[ "$status" -eq 0 ]
	check
	[ "$status" -eq 21 ]
	[[ "$output" =~ "[fs.cwd]: $JOB/cwd" && "$output" =~ "--allow make-dirs" ]]
	eval "$(remedy)"
	[ "$(stat -c %a "$JOB/cwd")" = 750 ]
	check
	[ "$status" -eq 0 ]
}

@test "a directory with needed files is gone: one finding" {
	rm -r "$JOB/out"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.dir.missing]: $JOB/out" ]]
	[ "$(grep -c REFUSED <<<"$output")" -eq 1 ]
	rm -r "$JOB"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.dir.missing]: $JOB" ]]
	[ "$(grep -c REFUSED <<<"$output")" -eq 1 ]
	mkdir "$JOB" # for the next test
}

@test "single files are gone" {
	rm "$JOB/in/data" "$JOB/out/fifo"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.file.missing]: $JOB/in/data" ]]
	[[ "$output" =~ "mkfifo -m 0600 $JOB/out/fifo" ]]
	cp -p "$BATS_FILE_TMPDIR/saved/in/data" "$JOB/in/data"
	eval "$(remedy | grep mkfifo)"
	check
	[ "$status" -eq 0 ]
}

@test "a directory stands where a file was" {
	rm "$JOB/in/data"
	mkdir "$JOB/in/data"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.file.changed]: $JOB/in/data" ]]
}

@test "permissions are tried for real" {
	[ "$(id -u)" -ne 0 ] || AS=(setpriv --bounding-set=-dac_override,-dac_read_search)
	chmod 200 "$JOB/in/data"
	check
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.file.permission]: $JOB/in/data" ]]
	eval "$(remedy)"
	check
	[ "$status" -eq 0 ]
	chmod 400 "$JOB/out/log"
	check
	[ "$status" -eq 20 ]
	eval "$(remedy)"
	chmod 000 "$JOB/cwd"
	check
	[ "$status" -eq 20 ]
	eval "$(remedy)"
	check
	[ "$status" -eq 0 ]
}

@test "damaged, incomplete and missing images" {
	cp -a "$IMG" img
	printf '\xff' | dd of=img/pstree.img bs=1 seek=9 conv=notrunc status=none
	run "$CKPT" check --image img
	[ "$status" -eq 65 ]
	[[ "$output" =~ "[image.corrupt]" ]]
	[[ "$output" =~ "pstree.img" ]]
	cp -a "$IMG/." img/
	rm img/ckpt-manifest.img
	run "$CKPT" check --image img
	[ "$status" -eq 65 ]
	[[ "$output" =~ "[image.incomplete]" ]]
	run "$CKPT" check --image no-such-image
	[ "$status" -eq 66 ]
	cp -a "$IMG/." img/
	rm img/ckpt-sums.img
	run "$CKPT" check --image img
	[ "$status" -eq 0 ]
	[[ "$output" =~ "[image.sums]" ]]
}

@test "an image without our own files: CRIU's" {
	cp -a "$IMG" img
	rm img/ckpt-*
	# The CPU is known all the same: glibc keeps what CPUID told it.
	run "$CKPT" check --image img
	echo "$output"
	[ "$status" -eq 0 ]
	"$CKPT" probe -o host.json
	sed 's/"xsave"/"not-xsave"/' host.json >other.json
	if ! cmp -s host.json other.json; then
		run "$CKPT" check --image img --host other.json
		echo "$output"
		[ "$status" -eq 22 ]
		[[ "$output" =~ "[cpu.isa]: ld-linux-x86-64.so.2".*"needs    xsave" ]]
	fi
	rmdir "$JOB/cwd"
	rm "$JOB/in/data"
	run "$CKPT" check --image img
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.cwd]: $JOB/cwd" ]]
	[[ "$output" =~ "[fs.file.missing]: $JOB/in/data" ]]
	[ "$(grep -c REFUSED <<<"$output")" -eq 2 ]
	rm img/files.img
	run "$CKPT" check --image img
	[ "$status" -eq 65 ]
}

@test "a job with a terminal wants an action to be allowed" {
	python3 - <<-'END'
		import os, pty, subprocess, time
		os.closerange(3, 1024)
		pid, fd = pty.fork()
		if pid == 0:
		    os.execvp("sleep", ["sleep", "1000"])
		time.sleep(0.5)
		subprocess.run([os.environ["CKPT"], "dump", "-t", str(pid), "--image", "img", "--shell-job"], check=True)
	END
	run "$CKPT" check --image img
	echo "$output"
	[ "$status" -eq 21 ]
	[[ "$output" =~ "--allow shell-job" ]]
	run "$CKPT" restore --image img
	[ "$status" -eq 21 ]
	run "$CKPT" check --image img --allow shell-job
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
}

@test "profiles of other hosts" {
	"$CKPT" probe -o host.json
	check --host host.json
	[ "$status" -eq 0 ]
	[[ "$output" =~ "DEFERRED" ]]
	edit() {
		python3 -c "import json; f = json.load(open('host.json')); $1; json.dump(f, open('other.json', 'w'))"
	}
	edit 'f["cpu"]["features"].remove("xsave")'
	check --host other.json
	[ "$status" -eq 22 ]
	[[ "$output" =~ "[cpu.isa]: ld-linux-x86-64.so.2".*"needs    xsave" ]]
	check --host other.json --allow-undecided
	[ "$status" -eq 0 ]
	edit 'f["cpu"]["arch"] = "aarch64"'
	check --host other.json
	[ "$status" -eq 20 ]
	[ "$(grep -c REFUSED <<<"$output")" -eq 1 ]
	edit 'f["memory"]["total"] = 4096; f["memory"]["swap_free"] = 0'
	check --host other.json
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[mem.available]" ]]
	edit 'f["cpu"]["arch"] = 7'
	check --host other.json
	[ "$status" -eq 78 ]
	[[ "$output" =~ "cpu" ]]
	echo '{' >other.json
	check --host other.json
	[ "$status" -eq 78 ]
	check --host no-such-file
	[ "$status" -eq 78 ]
}

# All that ckpt check finds, but for what a profile can't know of another moment.
findings() {
	"$CKPT" check --image "$IMG" --format json --all "$@" | python3 -c '
import json, sys
for f in json.load(sys.stdin)["findings"]:
    if f["rule"] != "mem.available":
        print(json.dumps({k: f.get(k) for k in ("rule", "status", "subject", "need", "have", "remedy")}))' | sort
}

@test "a profile that was made for the image judges it as the host itself does" {
	"$CKPT" probe --for "$IMG" -o host.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/facts.json" host.json
	check --host host.json
	[ "$status" -eq 0 ]
	diff <(findings) <(findings --host host.json)
	printf x | dd of="$JOB/in/data" bs=1 seek=2500 conv=notrunc status=none
	rmdir "$JOB/cwd"
	diff <(findings) <(findings --host host.json) && return 1
	"$CKPT" probe --for "$IMG" -o host.json
	diff <(findings) <(findings --host host.json)
	check --host host.json
	[ "$status" -eq 20 ]
	[[ "$output" =~ "[fs.file.changed]: $JOB/in/data" ]]
	[[ "$output" =~ "[fs.cwd]" ]]
	# Its program and libraries belong to packages, which are told with their sources.
	python3 -c '
import json
f = json.load(open("host.json"))
owner = {p["path"]: p.get("package") for p in f["paths"]}
source = {p["name"]: p["source"] for p in f["packages"]}
libc = [o for p, o in owner.items() if p.endswith("/libc.so.6")]
assert not libc or source[libc[0]] == "glibc", (owner, source)
assert f["packages_from"] == "dpkg" and libc, owner
assert {"paths", "pids", "memory/available"} <= set(f["momentary"]), f["momentary"]
assert not any(p["taken"] for p in f["pids"]) and f["pids"], f["pids"]'
	# An archive is asked as its image is.
	tar cf img.tar -C "${IMG%/*}" "${IMG##*/}"
	"$CKPT" probe --for img.tar -o other.json
	python3 -c '
import json
a, b = (json.load(open(n)) for n in ("host.json", "other.json"))
assert [p["path"] for p in a["paths"]] == [p["path"] for p in b["paths"]]'
	run "$CKPT" probe --for no-such-image
	[ "$status" -eq 66 ]
}

@test "no namespaces and no choice of pids: this host can't" {
	unshare -Ur true || skip "no user namespaces"
	sandbox='echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all "$CKPT" check --image "$IMG"'
	run unshare -Ur sh -c "$sandbox"
	echo "$output"
	[ "$status" -eq 69 ]
	[[ "$output" =~ "[priv.restore]" ]]
	# With its capabilities it makes a pid namespace instead.
	run unshare -Ur sh -c "${sandbox/setpriv --bounding-set=-all/}"
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "restore refuses as the check does, and says nothing where nothing is wrong" {
	rmdir "$JOB/cwd"
	check
	verdict=$output
	run "$CKPT" restore --image "$IMG"
	[ "$status" -eq 21 ]
	[ "$output" = "$verdict" ]
	eval "$(remedy)"
	run "$CKPT" restore --image "$IMG" --allow nonsense
	[ "$status" -eq 64 ]
	# The job, sleep, would take a quarter of an hour.
	run timeout --preserve-status -s TERM 2 "$CKPT" restore --image "$IMG"
	echo "$output"
	[ "$status" -eq 143 ]
	[ -z "$output" ]
}

@test "JSON fits its schema and has everything" {
	rmdir "$JOB/cwd"
	check --format json --policy strict
	[ "$status" -eq 20 ]
	echo "$output" >verdict.json
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/verdict.json" verdict.json
	python3 -c '
import json
v = json.load(open("verdict.json"))
assert v["verdict"] == "incompatible" and v["exit_status"] == 20 and v["live"], v
f = v["findings"]
assert f[0]["rule"] == "fs.cwd" and f[0]["status"] == "refuse" and f[0]["remedy"], f[0]
assert {"cpu.isa", "proc.pid.taken", "mem.available"} <= {x["rule"] for x in f}'
	"$ROOT/tests/lib/schema" "$ROOT/docs/schema/policy.json" "$ROOT/policies/default.json"
}

@test "names from an image don't reach the terminal raw" {
	odd=$JOB/$'in/\e[31mred\n'
	cp -a "$JOB/in/data" "$odd"
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec 4<"$1"
		exec setsid sleep 1000' - "$odd" </dev/null >/dev/null 2>&1 &
	pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	"$CKPT" dump -t "$pid" --image img
	rm "$odd"
	run "$CKPT" check --image img
	[ "$status" -eq 20 ]
	[[ "$output" =~ "in/\\x1b[31mred\\x0a" ]]
	[[ ! "$output" =~ $'\e' ]]
	[ "$(grep -c REFUSED <<<"$output")" -eq 1 ]
}

@test "check refuses arguments that it does not know" {
	run "$CKPT" check
	[ "$status" -eq 64 ]
	check --format yaml
	[ "$status" -eq 64 ]
	check --allow nonsense
	[ "$status" -eq 64 ]
	check more
	[ "$status" -eq 64 ]
}

@test "a check takes milliseconds" {
	SECONDS=0
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		check
	done
	[ "$SECONDS" -le 10 ] # a loaded machine, a sanitized build
}
