#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What of a job shares something with others in a way that can't be kept. $CKPT is the binary; beside it is the tool
# that has system calls fail.

bats_require_minimum_version 1.5.0

setup() {
	DENY=${CKPT%/*}/tests/tools/deny
	cd "$BATS_TEST_TMPDIR" || return
	cat >job.py <<-'END'
		import ctypes, os, signal, sys, threading, time

		libc = ctypes.CDLL(None)
		clone = lambda flags: libc.syscall(56, flags | signal.SIGCHLD, 0, 0, 0, 0)
		FS, FILES = 0x200, 0x400

		def own(flag):
		    assert libc.unshare(flag) == 0
		    print("here", flush=True)
		    time.sleep(100)

		what = sys.argv[1]
		if what == "thread-fs":
		    threading.Thread(target=own, args=(FS,), daemon=True).start()
		elif what == "thread-files":
		    threading.Thread(target=own, args=(FILES,), daemon=True).start()
		elif what == "outside":
		    if clone(FILES) == 0:
		        with open("pid", "w") as f:
		            f.write(str(os.getpid()))
		        print("here", flush=True)
		elif what == "cousins":
		    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
		    if os.fork() == 0 and os.fork() == 0:
		        if clone(FILES) == 0:  # ends, and leaves its child to the root
		            if clone(FILES):
		                os._exit(0)
		        else:
		            os.wait()
		            print("here", flush=True)
		        time.sleep(100)
		time.sleep(100)
	END
}

teardown() {
	[ ! -s session ] || pkill -KILL -s "$(cat session)" || true
}

start() { # WHAT
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid bash -c "echo \$\$ >pid; cp pid session; exec \"\$@\"" - python3 job.py "$@"' - "$@" </dev/null >out 2>&1 &
	for _ in {1..400}; do
		! grep -q here out || break
		sleep 0.02
	done
	grep -q here out
	PID=$(cat pid)
}

refused() { # TEXT
	run "$@"
	echo "$output"
	[ "$status" -eq 69 ]
	[[ "$output" =~ $TEXT ]]
	[ ! -e refused ]
	kill -0 "$PID"
}

@test "a thread that has directories or descriptors of its own is refused" {
	start thread-fs
	TEXT="cannot dump a thread that has directories and umask of its own .*thread" refused "$CKPT" dump -t "$PID" --image refused
	TEXT="cannot dump a thread that has directories and umask of its own .*thread" refused "$DENY" kcmp -- "$CKPT" dump -t "$PID" --image refused
	pkill -KILL -s "$(cat session)"
	rm out
	start thread-files
	TEXT="cannot dump a thread that has descriptors of its own .*thread" refused "$CKPT" dump -t "$PID" --image refused
	TEXT="cannot dump a thread that has descriptors of its own .*thread" refused "$DENY" kcmp -- "$CKPT" dump -t "$PID" --image refused
}

@test "a job that shares descriptors with its parent is refused" {
	start outside
	TEXT="cannot dump a job that shares descriptors with its parent" refused "$CKPT" dump -t "$PID" --image refused
}

@test "processes that share descriptors and can't make one another are refused" {
	start cousins
	TEXT="cannot dump a process that shares descriptors with task .* neither its parent nor a child" refused "$CKPT" dump -t "$PID" --image refused
}
