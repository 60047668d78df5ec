#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Protection keys: whoever has allocated some can't be dumped, memory or not, and runs on. $CKPT is the binary.

bats_require_minimum_version 1.5.0

# Allocates as many keys as it is told to, frees the first, and says so.
JOB='import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
keys = [libc.syscall(330, 0, 0) for _ in range(int(sys.argv[1]))]
assert -1 not in keys, (keys, ctypes.get_errno())
assert not keys[:1] or libc.syscall(331, keys[0]) == 0
print("ready", flush=True)
time.sleep(1000)'

setup() {
	cd "$BATS_TEST_TMPDIR" || return
	grep -qw ospke /proc/cpuinfo || skip "this CPU has no protection keys"
}

teardown() {
	[ ! -s pid ] || kill -KILL "$(cat pid)" 2>/dev/null || true
}

start() { # KEYS
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		echo $$ >pid
		exec setsid python3 -c "$1" "$2"' - "$JOB" "$1" </dev/null >out 2>&1 &
	until grep -q ready out; do sleep 0.02; done
}

@test "allocated protection keys are refused, and the job runs on" {
	start 3
	run "$CKPT" dump -t "$(cat pid)" --image img
	echo "$output"
	[ "$status" -eq 69 ]
	[[ "$output" =~ "allocated protection keys (2 of them)" ]]
	[ ! -e img ]
	kill -0 "$(cat pid)"
}

@test "keys that were given back are no matter" {
	start 1
	"$CKPT" dump -t "$(cat pid)" --image img
	[ -e img ]
}
