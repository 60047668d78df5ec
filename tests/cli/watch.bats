#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What dump and restore tell of a real job: -v, --status-fd, progress, statistics; and ckpt show on its image.
# $CKPT is the binary.

bats_require_minimum_version 1.5.0

# start NAME COMMAND: a job of its own session, with nothing of the harness open; its pid is in NAME.pid
start() {
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid bash -c "echo \$\$ >$1.pid; exec $2"' - "$1" "$2" </dev/null >/dev/null 2>&1 &
	for _ in {1..200}; do
		[ ! -e "$1.ready" ] || return 0
		sleep 0.05
	done
	false
}

JOB='import mmap, os, threading, time
shared = mmap.mmap(-1, 1 << 20)
shared[:5] = b"hello"
os.pipe()
log = open("log", "a")
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
if os.fork() == 0:
    time.sleep(1000)
open(os.environ["READY"], "w")
time.sleep(float(os.environ.get("LIFE", "1000")))
os._exit(7)'

setup_file() {
	export IMG=$BATS_FILE_TMPDIR/img JOB
	cd "$BATS_FILE_TMPDIR"
	READY=one.ready start one 'python3 -c "$JOB"'
	ROOT_PID=$(cat one.pid)
	export ROOT_PID
	"$CKPT" -v dump -t "$ROOT_PID" --image "$IMG" --status-fd 4 4>dump.status 2>dump.err
}

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_TEST_TMPDIR"
}

teardown() {
	local p

	for p in *.pid; do
		[ ! -e "$p" ] || pkill -KILL -s "$(cat "$p")" || true
	done
}

# Each line fits the schema; the stages are those given; prints nothing.
check_status() { # FILE STAGES
	while read -r line; do
		"$ROOT/tests/lib/schema" "$ROOT/docs/schema/status.json" <<<"$line"
	done <"$1"
	[ "$(sed -n 's/.*"stage":"\([a-z-]*\)".*/\1/p' "$1" | xargs)" = "$2" ]
	[[ "$(head -1 "$1")" =~ '"event":"start"' ]]
	[[ "$(tail -1 "$1")" =~ '"event":"end"' ]]
}

@test "a dump tells its stages, and what it cost" {
	cd "$BATS_FILE_TMPDIR"
	check_status dump.status "open freeze look inject ask write commit let-go sums code"
	[[ "$(tail -1 dump.status)" =~ '"tasks":2,"threads":3,' ]]
	for s in open freeze look inject ask write commit let-go sums code; do
		grep -qE "^ckpt dump: +[0-9.]+ ms  $s$" dump.err
	done
	grep -qE "^ckpt dump: $IMG: tasks: 2, threads: 3, pages: [0-9]+ \([0-9.]+ MiB\); the job stood still for " dump.err
}

@test "without -v and a terminal, a dump is silent; one that leaves the job running has other stages" {
	READY=q.ready start q 'python3 -c "$JOB"'
	run "$CKPT" dump -t "$(cat q.pid)" --image snap --leave-running --status-fd 4 4>status
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	check_status status "open freeze look inject ask write eject thaw commit sums code"
}

@test "a restore tells its stages, the pid, and the job's end" {
	READY=q.ready LIFE=1 start q 'python3 -c "$JOB"'
	"$CKPT" dump -t "$(cat q.pid)" --image snap
	run -7 --separate-stderr "$CKPT" -vv restore --image snap --status-fd 4 --stats stats 4>status
	check_status status "verify check load place plan trunk grow script finish go stand"
	grep -q '"event":"running",.*"pid":[0-9]*,"pages":[0-9]' status
	[[ "$(tail -1 status)" =~ '"status":7}' ]]
	[[ "$stderr" =~ "ckpt restore: "[^$'\n']*" ms  script"$'\n' ]]
	[[ "$stderr" =~ in\ (place|fresh) ]]
	python3 - <<-'END'
		import struct
		assert struct.unpack("<II", open("stats", "rb").read(8)) == (0x55105940, 0x57093306)
	END
	[ ! -e snap/stats-restore ]
}

@test "a failure is the last thing told" {
	run -66 --separate-stderr "$CKPT" dump -t 4194303 --image snap --status-fd 4 4>status
	check_status status "open freeze"
	[[ "$(tail -1 status)" =~ '"error":"' ]]
	[[ "$(tail -1 status)" =~ '"status":66}' ]]
	run -66 --separate-stderr "$CKPT" restore --image none --status-fd 4 4>status
	check_status status "verify"
	[[ "$(tail -1 status)" =~ '"status":66}' ]]
}

@test "no name commands the terminal, and none is too long for a line" {
	evil=$(printf '\033%.0s' {1..220})
	run -66 --separate-stderr "$CKPT" dump -t 4194303 --image "snap$evil" --status-fd 4 4>status
	[[ ! "$stderr" =~ $'\033' ]]
	run ! --separate-stderr "$CKPT" dump -t 4194303 --image "$evil/$evil/$evil" --status-fd 4 4>status
	[[ ! "$stderr" =~ $'\033' ]]
	check_status status "open"
	[[ "$(tail -1 status)" =~ '"status":' ]]
}

@test "a status descriptor must be one" {
	for n in x -1 77 4; do
		run -64 --separate-stderr "$CKPT" dump -t 4194303 --image snap --status-fd $n 4</dev/null
		[[ "$stderr" =~ "descriptor" ]]
	done
}

@test "a reader that sleeps or is gone holds nothing up" {
	READY=q.ready start q 'python3 -c "$JOB"'
	python3 - "$CKPT" "$(cat q.pid)" <<-'END'
		import fcntl, os, subprocess, sys
		r, w = os.pipe()
		fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
		os.write(w, b"x" * 4096)
		def dump(name):
		    return subprocess.run([sys.argv[1], "-v", "dump", "-t", sys.argv[2], "--image", name, "--leave-running",
		                           "--status-fd", str(w)], stderr=w, pass_fds=[w], timeout=60).returncode
		assert dump("one") == 0
		os.close(r)
		assert dump("two") == 0
	END
	"$CKPT" show --image two >/dev/null
}

@test "progress is drawn on a terminal, and goes when it is done" {
	READY=q.ready start q 'python3 -c "b = open(\"/dev/urandom\", \"rb\").read(1 << 20) * 400; $JOB"'
	# ckpt is stopped while it copies, so that it takes long enough.
	python3 - "$CKPT" "$(cat q.pid)" <<-'END'
		import os, pty, re, signal, sys, time
		def dump(name):
		    r, w = os.pipe()
		    pid, tty = pty.fork()
		    if pid == 0:
		        os.set_inheritable(w, True)
		        os.execv(sys.argv[1], [sys.argv[1], "dump", "-t", sys.argv[2], "--image", name, "--leave-running",
		                               "--status-fd", str(w)])
		    os.close(w)
		    seen = b""
		    while b'"write"' not in seen:
		        seen += os.read(r, 4096)
		    time.sleep(0.02)
		    os.kill(pid, signal.SIGSTOP)
		    time.sleep(0.6)
		    os.kill(pid, signal.SIGCONT)
		    text = b""
		    try:
		        while chunk := os.read(tty, 4096):
		            text += chunk
		    except OSError:
		        pass
		    assert os.waitpid(pid, 0)[1] == 0
		    return text.decode()
		for i in range(8):
		    text = dump(f"snap{i}")
		    if "%" in text:
		        break
		lines = text.split("\r")
		assert re.search(r"^ckpt dump: [0-9.]+ MiB of [0-9.]+ MiB, +[0-9]+ %, [0-9.]+ .iB/s *$", lines[1]), lines
		assert re.search(r"^ +$", lines[-3]) and lines[-2].startswith(f"ckpt dump: snap{i}: tasks: 2,"), lines
	END
}

@test "show lists an image of ours" {
	run "$CKPT" show --image "$IMG"
	[ "$status" -eq 0 ]
	[[ "$output" =~ "origin   ckpt" ]]
	[[ "$output" =~ "whole    true" ]]
	[[ "$output" =~ "root     $ROOT_PID" ]]
	[[ "$output" =~ "command  python3" ]]
	[[ "$output" =~ "tasks    2" ]]
	[[ "$output" =~ "threads  3" ]]
	# The list is the directory, and nothing in it is amiss; what came after the commit has no row in the manifest.
	awk 'list && $3 != "ok" && $4 != "stats-dump" && $4 != "ckpt-isa.img" && $4 != "ckpt-contents.img" { print; bad = 1 } /^ entries/ { list = 1 } END { exit bad }' <<<"$output"
	[ "$(sed '1,/^ entries/d' <<<"$output" | awk '{ print $4 }' | sort)" = "$(ls "$IMG")" ]
	"$CKPT" show --image "$IMG" --format json | python3 -c '
import json, sys
j = json.load(sys.stdin)
assert j["origin"] == "ckpt" and j["whole"] and j["tasks"] == 2 and j["threads"] == 3 and j["pages"] > 100, j'
}

@test "show decodes each file of it" {
	for f in "$IMG"/*; do
		for format in text json; do
			"$CKPT" show --image "$IMG" "${f##*/}" --format $format >"$format"
			[ -s "$format" ]
		done
		python3 - "${f##*/}" <<-'END'
			import json, sys
			j = json.load(open("json"))
			assert j["version"] == 1 and [f["name"] for f in j["files"]] == [sys.argv[1]], j
			assert j["files"][0]["kind"] == "pages" or j["files"][0]["entries"], j
		END
		! grep -q unknown_fields json
	done
}

@test "show knows what is in it" {
	"$CKPT" show --image "$IMG" pagemap --format json >pagemap
	"$CKPT" show --image "$IMG" "core-$ROOT_PID" --format json >core
	"$CKPT" show --image "$IMG" ckpt-needs --format json >needs
	"$CKPT" show --image "$IMG" stats-dump --format json >stats
	"$CKPT" show --image "$IMG" files --format json >files
	python3 - "$IMG" "$BATS_FILE_TMPDIR/dump.status" <<-'END'
		import json, os, sys
		def entries(name):
		    return [e for f in json.load(open(name))["files"] for e in f["entries"]]
		pages = sum(int(e["nr_pages"]) for e in entries("pagemap") if "nr_pages" in e)
		files = [f for f in os.listdir(sys.argv[1]) if f.startswith("pages-")]
		in_files = sum(os.path.getsize(os.path.join(sys.argv[1], f)) for f in files) // 4096
		core = entries("core")[0]
		assert core["tc"]["comm"] == "python3" and core["thread_core"], core
		assert any(p["path"].endswith("/log") for p in entries("needs")[0]["paths"])
		dump = entries("stats")[0]["dump"]
		end = json.loads(open(sys.argv[2]).read().splitlines()[-1])
		assert dump["pages_written"] == pages and dump["pages_scanned"] >= pages, (dump, pages)
		assert dump["pages_written"] + dump["shpages_written"] == in_files == end["pages"], (dump, in_files)
		assert dump["shpages_written"] == 1 and 1 <= dump["shpages_scanned"] <= 256, dump
		assert dump["frozen_time"] == end["frozen_us"] and dump["freezing_time"] == end["freezing_us"]
		assert 0 < dump["freezing_time"] < dump["frozen_time"] < end["total_us"]
		names = [e["reg"]["name"] for e in entries("files") if "reg" in e]
		assert any(n.endswith("/log") for n in names), names
	END
}

@test "crit shows our statistics" {
	command -v crit || skip "no crit"
	crit show "$IMG/stats-dump" | python3 -c '
import json, sys
j = json.load(sys.stdin)
assert j["magic"] == "STATS" and j["entries"][0]["dump"]["pages_written"] > 100, j'
}

@test "show says which names there are not" {
	for name in core-1 core-x nonsense pages-99 ../img "" core-; do
		run "$CKPT" show --image "$IMG" "$name"
		echo "$output"
		[ "$status" -eq 66 ]
		[[ "$output" =~ "the image has no $name" ]]
		[[ "$output" =~ "ckpt show --image $IMG lists its files" ]]
	done
}
