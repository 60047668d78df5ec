#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What of a job leads out of it: connections, pipes, namespaces. $CKPT is the binary.

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_TMPDIR" || return
}

teardown() {
	local f

	for f in pid front server; do
		[ ! -s "$f" ] || kill -KILL "$(cat "$f")" 2>/dev/null || true
	done
	[ ! -s pid ] || pkill -KILL -s "$(cat pid)" || true
}

# start COMMAND...: in a session of its own and with nothing of the harness open, but what KEEP says
start() {
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || [ "$n" = "$KEEP" ] || eval "exec $n>&-"
		done
		exec setsid bash -c "echo \$\$ >pid; exec \"\$@\"" - "$@"' - "$@" </dev/null >out 2>&1 &
	until [ -s pid ]; do sleep 0.02; done
	PID=$(cat pid)
}

refused() { # TEXT OPTION...
	local text=$1

	shift
	run "$CKPT" dump -t "$PID" --image refused "$@"
	echo "$output"
	[ "$status" -eq 69 ]
	[[ "$output" =~ $text ]]
	[ ! -e refused ]
	kill -0 "$PID"
}

waits() { # for CONDITION...
	for _ in {1..400}; do
		! "$@" || return 0
		sleep 0.02
	done
	false
}

restore() { # the job ends by itself
	run "$CKPT" restore --image img </dev/null 3>&-
	echo "$output; $(cat out)"
}

@test "a namespace that the job would lose is refused" {
	unshare -r true || skip "no user namespaces"
	for ns in net uts cgroup; do
		start unshare -r "--$ns" sh -c 'echo here; sleep 100; true'
		waits grep -q here out
		refused 'cannot dump a task with a .* of its own .*nsenter'
		pkill -KILL -s "$PID"
		rm pid out
	done
}

@test "namespaces within a job are refused" {
	unshare -r true || skip "no user namespaces"
	for ns in "a user" "a mount"; do
		start unshare -r sh -c "unshare --${ns#a } sh -c 'echo here; sleep 100; true'; true"
		waits grep -q here out
		refused "cannot dump a task with $ns namespace of its own"
		pkill -KILL -s "$PID"
		rm pid out
	done
	start unshare -r python3 -c 'import ctypes, time
print("here", ctypes.CDLL(None).unshare(0x20000000), flush=True)
time.sleep(100)'
	waits grep -q "here 0" out
	refused "a pid namespace that only its children are in"
}

# The server keeps two connections, on each of which it has sent something.
SERVER='import os, socket, time
l = socket.create_server(("127.0.0.1", 0))
open("port.new", "w").write(str(l.getsockname()[1]))
os.rename("port.new", "port")
kept = [l.accept()[0] for _ in range(2)]
for c in kept:
    c.send(b"sent")
time.sleep(100)'
CLIENT='import os, socket, time
c = [socket.create_connection(("127.0.0.1", int(open("port").read()))) for _ in range(2)]
print("connected", flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
for s in c:
    print(s.recv(10), flush=True)
    try:
        print("then", s.recv(10), flush=True)
    except OSError as e:
        print("then", e.errno, flush=True)'

connected() {
	python3 -c "$SERVER" 3>&- &
	echo $! >server
	until [ -s port ]; do sleep 0.02; done
	start python3 -c "$CLIENT"
	waits grep -q connected out
}

@test "TCP connections to outside are refused, and all of them are listed" {
	connected
	refused "cannot dump 2 TCP connections that lead out of the job \(127.0.0.1:[0-9]+ to 127.0.0.1:$(cat port), task $(cat server) \(python3\); 127.0.0.1:"
	[[ "$output" =~ "--tcp=close" ]]
}

@test "--tcp=close: what was received is read, and then the end" {
	connected
	"$CKPT" dump -t "$PID" --image img --tcp=close
	touch go
	restore
	[ "$status" -eq 0 ]
	[ "$(grep -c "^b'sent'$" out)" -eq 2 ]
	[ "$(grep -c "^then b''$" out)" -eq 2 ]
}

@test "--tcp=reset: what was received is read, and then an error; also in a later generation" {
	local p again

	connected
	"$CKPT" dump -t "$PID" --image first --tcp=reset
	"$CKPT" restore --image first --detach </dev/null 3>&-
	for p in $(pgrep -f socket.create_connection); do
		[ "$(readlink "/proc/$p/cwd")" != "$PWD" ] || again=$p
	done
	run "$CKPT" dump -t "$again" --image img
	[ "$status" -eq 75 ]
	[[ "$output" =~ "an error waits".*"--tcp=reset" ]]
	"$CKPT" dump -t "$again" --image img --tcp=reset
	touch go
	restore
	[ "$status" -eq 0 ]
	[ "$(grep -c "^b'sent'$" out)" -eq 2 ]
	[ "$(grep -c "^then 104$" out)" -eq 2 ]
}

@test "--pipe=close: a pipe that a launcher has leaked" {
	mkfifo hold
	exec 7< <(exec 3>&-; echo left; exec cat hold)
	KEEP=7 start bash -c 'until [ -e go ]; do sleep 0.02; done; cat <&7'
	exec 7<&-
	refused "cannot dump a pipe whose other end is outside of the job .* > fd 7\); .*--pipe=close"
	"$CKPT" dump -t "$PID" --image img --pipe=close
	touch go
	restore
	[ "$status" -eq 0 ]
	[ "$(cat out)" = left ]
	: >hold &
}
