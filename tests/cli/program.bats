#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The program that /proc/PID/exe tells of. $CKPT is the binary.

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_TMPDIR" || return
	cat >job.py <<-'END'
		import mmap, os, sys, time

		with open(sys.argv[1], "rb") as f:
		    m = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
		print(os.readlink("/proc/self/exe"), flush=True)
		while not os.path.exists("go"):
		    time.sleep(0.01)
		print(os.readlink("/proc/self/exe"), m[1:4].decode(), flush=True)
	END
}

teardown() {
	[ ! -s pid ] || kill -KILL "$(cat pid)" 2>/dev/null || true
}

@test "a job that maps ckpt's own program keeps its own" {
	# In bats, descriptors are open that belong to nobody.
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		echo $$ >pid
		exec python3 job.py "$1"' - "$CKPT" </dev/null >out 2>&1 &
	for _ in {1..400}; do
		! [ -s out ] || break
		sleep 0.02
	done
	"$CKPT" dump -t "$(cat pid)" --image image
	touch go
	run "$CKPT" restore --image image
	cat out >&2
	[ "$status" -eq 0 ]
	[[ "$output" != *"/exe"* ]]
	[ "$(sed -n 2p out)" = "$(sed -n 1p out) ELF" ]
}
