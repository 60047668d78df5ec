#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A job that is stopped as a shell's Ctrl-Z does it: it stays so through dumps and restores. $CKPT is the binary.

bats_require_minimum_version 1.5.0

JOB='import os, threading, time
log = open("log", "ab", 0)
def count():
    while True:
        log.write(b".")
        time.sleep(0.002)
threading.Thread(target=count, daemon=True).start()
count()'

setup() {
	cd "$BATS_TEST_TMPDIR"
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid bash -c "echo \$\$ >pid; exec python3 -c \"\$1\"" - "$1"' - "$JOB" </dev/null >/dev/null 2>&1 &
	until [ -s log ]; do sleep 0.02; done
	PID=$(cat pid)
}

teardown() {
	[ ! -e front ] || kill -KILL "$(cat front)" 2>/dev/null || true
	pkill -KILL -s "$(cat pid)" || true
}

state() { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f1; }

reaches() { # STATE PID
	for _ in {1..400}; do
		[ "$(state "$2")" != "$1" ] || return 0
		sleep 0.02
	done
	false
}

grows() {
	local was

	was=$(stat -c %s log)
	for _ in {1..400}; do
		[ "$(stat -c %s log)" = "$was" ] || return 0
		sleep 0.02
	done
	false
}

stands() { # PID
	local was

	reaches T "$1"
	was=$(stat -c %s log)
	sleep 0.2
	[ "$(stat -c %s log)" = "$was" ]
}

@test "a job that is left running was stopped, and still is" {
	kill -STOP "$PID"
	reaches T "$PID"
	run -0 --separate-stderr "$CKPT" dump -t "$PID" --image img --leave-running
	stands "$PID"
	kill -CONT "$PID"
	grows
}

@test "a stopped job is restored as a stopped one, and so is whoever stands for it" {
	kill -STOP "$PID"
	reaches T "$PID"
	run -0 --separate-stderr "$CKPT" dump -t "$PID" --image img
	"$CKPT" restore --image img 3>&- >restore.out 2>&1 &
	front=$!
	echo "$front" >front
	reaches T "$front"
	stands "$front"
	kill -CONT "$front"
	grows
	kill -TERM "$front"
	status=0
	wait "$front" || status=$?
	[ "$status" = 143 ]
	rm front
}
