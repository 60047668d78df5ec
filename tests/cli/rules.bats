#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Every rule of the check in a real situation: the image of a job of an ordinary user, a host that lacks something,
# the finding, its remedy followed to the letter, and the finding is gone. $CKPT is the binary. What an ordinary
# user can't bring about (limits, other users' tasks) is made by root, where the tests run as root.

setup_file() {
	export DIR JOB IMG SEEN
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/rules-XXXXXX")
	chmod 755 "$DIR"
	JOB=$DIR/job IMG=$DIR/img SEEN=$DIR/seen
	cp "$CKPT" "$DIR/ckpt"
	: >"$SEEN"
	mkdir -m 777 "$DIR/u"
	as mkdir -m 750 "$DIR/u/job" "$DIR/u/job/in" "$DIR/u/job/out" "$DIR/u/job/cwd" "$DIR/u/job/open"
	as mkdir -m 711 "$DIR/u/job/open/a"
	as mkdir -m 1770 "$DIR/u/job/open/a/b c"
	ln -s u/job "$JOB"
	as sh -c 'head -c 5000 /dev/urandom >"$DIR/u/job/in/data"
		head -c 20000000 /dev/zero >"$DIR/u/job/in/large"
		head -c 20000000 /dev/urandom >"$DIR/u/job/out/large"
		: >"$DIR/u/job/out/log"
		mkfifo -m 600 "$DIR/u/job/out/fifo"'
	JOB=$DIR/u/job IMG=$DIR/u/img
	start
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG"
	as cp -a "$JOB" "$DIR/u/saved"
}

teardown_file() {
	rm -rf "$DIR"
}

setup() {
	cd "$BATS_TEST_TMPDIR"
}

teardown() {
	chmod -R u+rwx "$JOB" 2>/dev/null || true
	rm -rf "$JOB"
	as cp -a "$DIR/u/saved" "$JOB"
}

# An ordinary user.
AS=()
[ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)

as() {
	"${AS[@]}" "$@"
}

# An ordinary user with capabilities in a user namespace, where only he is; and there without any.
sandbox() { # UNSHARE-OPTION... COMMAND
	run as unshare -U --keep-caps "--map-user=$(as id -u)" "--map-group=$(as id -g)" "$@"
	echo "$output"
}
export NO_CAPS="setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all"

need_root() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}

# Starts the job as an ordinary user; $PID is its number.
start() {
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$JOB/cwd"
		exec 4<"$JOB/in/data" 5<>"$JOB/out/fifo" 6>>"$JOB/out/append" 7<"$JOB/open/a/b c" 8<"$JOB/in/large" 9>"$JOB/out/result" 3<>"$JOB/out/large"
		printf %s "so far: 1" >&9
		exec setsid sleep 1000' </dev/null >>"$JOB/out/log" 2>/dev/null &
	PID=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$PID/comm")" != sleep ] || break
		sleep 0.05
	done
}

check() {
	run as "$DIR/ckpt" check --image "$IMG" "$@"
	echo "$output"
}

# The rule stands in the output, with a word in front, and a remedy; it is then one that was seen.
fires() { # WORD RULE
	grep -q "^  $1  .*\[$2\]" <<<"$output"
	REMEDY=$(awk -v rule="[$2]" 'index($0, rule) { on = 1; next } /^  [A-Z]/ { on = 0 }
		on && /^ *remedy/ { sub(/^ *remedy */, ""); print; exit }' <<<"$output")
	[ -n "$REMEDY" ] || [ "$1" = DEFERRED ]
	echo "$2" >>"$SEEN"
}

gone() { # RULE
	! grep -q "\[$1\]" <<<"$output"
}

runs() { # OPTION...: the restore really runs; the job, sleep, would take a quarter of an hour
	run as timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$IMG" "$@"
	echo "$output"
	[ "$status" -eq 143 ]
}

# This host as a profile, changed by Python: f is it.
profile() { # CODE
	as "$DIR/ckpt" probe >host.json
	python3 -c "import json; f = json.load(open('host.json')); $1; json.dump(f, open('other.json', 'w'))"
	chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR"/.. 2>/dev/null || true
	cp host.json other.json "$DIR"
	HOST=$DIR/host.json OTHER=$DIR/other.json
}

@test "nothing is wrong, and the restore runs" {
	check
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	runs
}

@test "image.corrupt: another copy of the image" {
	local whole=$IMG
	IMG=$DIR/u/copy
	as cp -a "$whole" "$IMG"
	as sh -c 'printf "\377" | dd of="$IMG/pstree.img" bs=1 seek=9 conv=notrunc status=none'
	check
	[ "$status" -eq 65 ]
	fires REFUSED image.corrupt
	[[ "$REMEDY" =~ "from a copy of this one" ]]
	rm -rf "$IMG"
	as cp -a "$whole" "$IMG"
	check
	[ "$status" -eq 0 ]
}

@test "image.incomplete: a new dump" {
	start
	IMG=$DIR/u/short
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG" --leave-running
	rm "$IMG/ckpt-manifest.img"
	check
	[ "$status" -eq 65 ]
	fires REFUSED image.incomplete
	[[ "$REMEDY" =~ "take a new one" ]]
	rm -rf "$IMG"
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG"
	check
	[ "$status" -eq 0 ]
}

@test "image.version: a format to come" {
	as cp -a "$IMG" "$DIR/u/later"
	rm "$DIR"/u/later/ckpt-*
	# img_version, the first field, is 2.
	as sh -c 'printf "\011" | dd of="$DIR/u/later/inventory.img" bs=1 seek=9 conv=notrunc status=none'
	IMG=$DIR/u/later
	check
	[ "$status" -eq 65 ]
	fires REFUSED image.version
	[[ "$REMEDY" =~ "use the ckpt that wrote it" ]] # there is none yet
}

@test "image.unsupported: override it to judge the rest" {
	IMG=$BATS_TEST_DIRNAME/../foreign/socket.tar.zst
	cp "$IMG" "$DIR/u/socket.tar.zst"
	IMG=$DIR/u/socket.tar.zst
	profile 'pass'
	check --host "$HOST"
	[ "$status" -eq 20 ]
	fires REFUSED image.unsupported
	eval "check --host $HOST $(grep -oE -- '--override [a-z.]+' <<<"$REMEDY")"
	[ "$status" -ne 20 ]
}

@test "image.sums: none is needed, the restore runs" {
	as cp -a "$IMG" "$DIR/u/nosums"
	rm "$DIR/u/nosums/ckpt-sums.img"
	IMG=$DIR/u/nosums
	check
	[ "$status" -eq 0 ]
	fires NOTE image.sums
	runs
}

@test "cpu.arch: a host of that architecture" {
	profile 'f["cpu"]["arch"] = "aarch64"'
	check --host "$OTHER"
	[ "$status" -eq 20 ]
	fires REFUSED cpu.arch
	[[ "$REMEDY" =~ "architecture $(uname -m)" ]]
	check --host "$HOST"
	[ "$status" -eq 0 ]
}

@test "cpu.xsave.component: a CPU with that state" {
	grep -qw avx /proc/cpuinfo || skip "this CPU has no AVX"
	cat >live.c <<-'END'
		int main(void)
		{
			double x[4] __attribute__((aligned(32))) = { 1, 2, 3, 4 };
			asm volatile("vmovapd %0, %%ymm7\n1: jmp 1b" : : "m"(x) : "memory");
		}
	END
	gcc -o "$DIR/live" live.c
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid "$DIR/live"' </dev/null >/dev/null 2>&1 &
	PID=$!
	sleep 0.5
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/live"
	IMG=$DIR/u/live
	profile 'f["cpu"]["xcr0"] = 3; f["cpu"]["features"] = [x for x in f["cpu"]["features"] if "avx" not in x and x not in ("fma", "f16c", "vaes", "vpclmulqdq")]'
	check --host "$OTHER"
	[ "$status" -eq 20 ]
	fires REFUSED cpu.xsave.component
	# What follows from it is one line below.
	grep -q 'hence .*\[cpu.isa\]' <<<"$output"
	check --host "$HOST"
	[ "$status" -eq 0 ]
}

@test "cpu.xsave.frame: a CPU like that of the source" {
	grep -qw avx /proc/cpuinfo || skip "this CPU has no AVX"
	cat >frame.c <<-'END'
		#include <signal.h>

		static void stay(int sig)
		{
			(void)sig;
			for (;;)
				;
		}

		int main(void)
		{
			double x[4] __attribute__((aligned(32))) = { 1, 2, 3, 4 };

			signal(SIGALRM, stay);
			asm volatile("vmovapd %0, %%ymm7" : : "m"(x) : "memory");
			asm volatile("1: pause; jmp 1b");
		}
	END
	gcc -O1 -o "$DIR/frame" frame.c
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid "$DIR/frame"' </dev/null >/dev/null 2>&1 &
	PID=$!
	sleep 0.5
	kill -ALRM "$PID"
	sleep 0.2
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/frame"
	IMG=$DIR/u/frame
	as "$DIR/ckpt" show --image "$IMG" --format json ckpt-needs | grep -q '"frames"'
	profile 'c = f["cpu"]; c["xcr0"] = 3; c["xsave"] = []; c["xsave_size"] = 576'
	check --host "$OTHER" --override cpu.xsave.component
	[ "$status" -eq 20 ]
	fires REFUSED cpu.xsave.frame
	check --host "$HOST"
	[ "$status" -eq 0 ]
	runs
}

@test "cpu.sigstack: a CPU like that of the source" {
	cat >alt.c <<-'END'
		#include <signal.h>
		#include <unistd.h>

		static char stack[4096];

		static void none(int sig)
		{
			(void)sig;
		}

		int main(void)
		{
			stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
			struct sigaction sa = { .sa_handler = none, .sa_flags = SA_ONSTACK };

			sigaltstack(&ss, 0);
			sigaction(SIGUSR1, &sa, 0);
			for (;;)
				pause();
		}
	END
	gcc -o "$DIR/alt" alt.c
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid "$DIR/alt"' </dev/null >/dev/null 2>&1 &
	PID=$!
	sleep 0.5
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/alt"
	IMG=$DIR/u/alt
	profile 'c = f["cpu"]; c["xcr0"] |= 1 << 19; c["xsave"].append({"bit": 19, "offset": 4000, "size": 128}); c["xsave_size"] = 4128'
	check --host "$OTHER"
	[ "$status" -eq 20 ]
	fires REFUSED cpu.sigstack
	check --host "$HOST"
	[ "$status" -eq 0 ]
	gone cpu.sigstack
}

@test "cpu.isa: start the job as it says, next time" {
	profile 'f["cpu"]["features"].remove("xsave")'
	check --host "$OTHER"
	[ "$status" -eq 22 ]
	fires UNDECIDED cpu.isa
	check --host "$OTHER" --override cpu.isa
	[ "$status" -eq 0 ]
	check --host "$HOST"
	gone cpu.isa
	# shellcheck disable=SC2016
	"${AS[@]}" env $(grep -oE '(GLIBC_TUNABLES|LD_BIND_NOW)=[^ ]+' <<<"$REMEDY") bash -c '
		cd /
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid sleep 1000' </dev/null >/dev/null 2>&1 &
	PID=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$PID/comm")" != sleep ] || break
		sleep 0.05
	done
	IMG=$DIR/u/portable
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG"
	check --host "$OTHER"
	[ "$status" -eq 0 ]
	gone cpu.isa
}

# A job that saves registers in less room than this CPU needs, as after a start on a smaller one. $1: where it tells.
lazy_job() {
	rm -f "$DIR/u/go" "$1"
	as touch "$1"
	"${AS[@]}" env GLIBC_TUNABLES=glibc.cpu.hwcaps=-XSAVEC bash -c '
		cd /
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid "$1" 640 "$2"' - "$DIR/lazy" "$DIR/u/go" </dev/null >"$1" 2>&1 &
	PID=$!
	for _ in {1..100}; do
		! grep -q ready "$1" || return 0
		sleep 0.05
	done
	return 1
}

@test "cpu.xsave.size: the restore gives ld.so the room that this CPU needs" {
	local status=0
	grep -qw xsave /proc/cpuinfo && grep -qw avx /proc/cpuinfo || skip "this CPU has no AVX"
	cp "$(dirname "$CKPT")/tests/tools/lazy" "$DIR"
	# Without ckpt, it goes wrong.
	lazy_job "$DIR/u/lazy.out"
	touch "$DIR/u/go"
	wait "$PID" || status=$?
	[ "$status" -ne 0 ]
	lazy_job "$DIR/u/lazy.out"
	IMG=$DIR/u/lazy
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG"
	as touch "$DIR/u/go"
	check --all
	[ "$status" -eq 0 ]
	[[ "$output" =~ "[cpu.xsave.size]: xsave areas of lazy binding".*"needs    640 bytes".*"the restore raises it" ]]
	run as "$DIR/ckpt" restore --image "$IMG"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" =~ "note: ld.so reserves 640 bytes".*"raised" ]]
}

@test "cpu.xsave.size: code that nobody has read" {
	profile 'avx = [c for c in f["cpu"]["xsave"] if c["bit"] == 2][0]; avx["size"] = 20000; f["cpu"]["xsave_size"] = 20576'
	as cp -a "$IMG" "$DIR/u/bare"
	as rm "$DIR/u/bare/ckpt-isa.img"
	# Of an archive there are no pages to read.
	as tar -cf "$DIR/u/bare.tar" -C "$DIR/u/bare" .
	IMG=$DIR/u/bare.tar
	check --host "$OTHER"
	[ "$status" -eq 22 ]
	fires UNDECIDED cpu.xsave.size
	[[ "$REMEDY" =~ "LD_BIND_NOW=1" ]]
	IMG=$DIR/u/img
	check --host "$OTHER"
	[ "$status" -eq 0 ]
	gone cpu.xsave.size
}

@test "priv.restore: allow user namespaces" {
	unshare -Ur true || skip "no user namespaces"
	# shellcheck disable=SC2016
	sandbox sh -c '
		echo 0 >/proc/sys/user/max_user_namespaces
		$NO_CAPS "$DIR/ckpt" check --image "$IMG" && exit 1
		[ $? -eq 69 ] || exit 1
		sysctl=/usr/sbin/sysctl
		[ -x $sysctl ] || sysctl=echo
		$sysctl -w user.max_user_namespaces=15000 || echo 15000 >/proc/sys/user/max_user_namespaces
		echo AGAIN
		$NO_CAPS "$DIR/ckpt" check --image "$IMG"'
	[ "$status" -eq 0 ]
	[[ "$output" =~ "REFUSED".*"[priv.restore]".*"sysctl -w user.max_user_namespaces=15000".*AGAIN ]]
	[[ ! "${output#*AGAIN}" =~ "priv.restore" ]]
	echo priv.restore >>"$SEEN"
}

@test "priv.uid: run ckpt as root" {
	need_root
	# shellcheck disable=SC2016
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		setpriv --reuid=65534 --regid=65534 --clear-groups sleep 1000 &
		exec setsid sleep 1000' </dev/null >/dev/null 2>&1 &
	PID=$!
	sleep 0.5
	"$DIR/ckpt" dump -t "$PID" --image "$DIR/two"
	chmod -R a+rX "$DIR/two"
	IMG=$DIR/two
	check
	[ "$status" -eq 20 ]
	fires REFUSED priv.uid
	[ "$REMEDY" = "run ckpt as root" ]
	run "$DIR/ckpt" check --image "$IMG"
	echo "$output"
	gone priv.uid
}

@test "priv.place: none is needed, the restore runs" {
	unshare -Ur true || skip "no user namespaces"
	# shellcheck disable=SC2016
	sandbox sh -c '
		echo 0 >/proc/sys/user/max_time_namespaces
		"$DIR/ckpt" check --image "$IMG" || exit 1
		timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$IMG"'
	echo "$output"
	fires NOTE priv.place
	[ "$status" -eq 143 ]
}

@test "kernel.page-size, kernel.feature: another kernel" {
	profile 'f["kernel"]["page_size"] = 65536
for x in f["kernel"]["features"]:
    if x["name"] == "close_range": x.update(value="CKPT_NO", detail="Function not implemented")'
	check --host "$OTHER"
	[ "$status" -eq 69 ]
	fires REFUSED kernel.page-size
	[[ "$REMEDY" =~ "4096" ]]
	fires REFUSED kernel.feature
	[[ "$REMEDY" =~ "Linux 5.9" ]]
	check --host "$HOST"
	[ "$status" -eq 0 ]
}

@test "kernel.task-size, proc.pid.max: the sysctl that is named" {
	profile 'f["kernel"].update(mmap_min_addr=0x7f0000000000, pid_max=2, release="6.1.0")'
	check --host "$OTHER"
	[ "$status" -eq 20 ]
	fires REFUSED kernel.task-size
	local addr=${REMEDY##*=}
	fires REFUSED proc.pid.max
	local pids=${REMEDY##*=}
	profile "f['kernel'].update(mmap_min_addr=$addr, pid_max=$pids, release='6.1.0')"
	check --host "$OTHER"
	[ "$status" -eq 0 ]
	gone kernel.task-size
	gone proc.pid.max
}

@test "proc.pid.taken: the job still runs; end it" {
	start
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/running" --leave-running
	IMG=$DIR/u/running
	check
	[ "$status" -eq 0 ]
	fires NOTE proc.pid.taken
	[[ "$REMEDY" =~ "end it first" ]]
	kill "$PID"
	wait "$PID" || true
	check
	gone proc.pid.taken
}

@test "proc.pid.taken: somebody else has it, and there are no namespaces" {
	unshare -Urpf --mount-proc true || skip "no user namespaces"
	local pid
	pid=$("$DIR/ckpt" show --image "$IMG" pstree --format json | grep -oE '"pid": ?[0-9]+' | head -1 | grep -oE '[0-9]+')
	# shellcheck disable=SC2016
	sandbox -pf --mount-proc bash -c '
		echo 0 >/proc/sys/user/max_user_namespaces
		echo 0 >/proc/sys/user/max_pid_namespaces
		echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
		sleep 1000 </dev/null >/dev/null 2>&1 &
		[ $! -eq $1 ] || { echo "got $!"; exit 77; }
		"$DIR/ckpt" check --image "$IMG"
		[ $? -eq 75 ] || exit 1
		kill $!
		wait $! 2>/dev/null
		echo AGAIN
		"$DIR/ckpt" check --image "$IMG" || exit 1
		timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$IMG"' - "$pid"
	echo "$output"
	[ "$status" -eq 143 ]
	[[ "$output" =~ "REFUSED".*"[proc.pid.taken]".*"end it".*AGAIN ]]
}

@test "mem.available: raise the limit of the cgroup" {
	need_root
	local group=/sys/fs/cgroup/memory limit=memory.limit_in_bytes
	if [ ! -d $group ]; then
		group=/sys/fs/cgroup limit=memory.max
		grep -qw memory $group/cgroup.subtree_control || skip "no memory cgroups"
	fi
	group=$group/ckpt-rules-$$
	mkdir "$group" 2>/dev/null || skip "no memory cgroups"
	"${AS[@]}" setsid /usr/bin/python3 -c 'import os, time; os.closerange(3, 1024); os.chdir("/"); x = os.urandom(120 << 20); time.sleep(1000)' </dev/null >/dev/null 2>&1 &
	PID=$!
	sleep 2
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/big"
	IMG=$DIR/u/big
	echo $((64 << 20)) >"$group/$limit"
	# shellcheck disable=SC2016
	run bash -c 'echo $$ >"$1/cgroup.procs" && exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$DIR/ckpt" check --image "$2"' - "$group" "$IMG"
	echo "$output"
	[ "$status" -eq 75 ]
	fires REFUSED mem.available
	[[ "$REMEDY" =~ "raise the limit" ]]
	echo $((512 << 20)) >"$group/$limit"
	# shellcheck disable=SC2016
	run bash -c 'echo $$ >"$1/cgroup.procs" && exec setpriv --reuid=65534 --regid=65534 --clear-groups -- timeout --preserve-status -s TERM 2 "$DIR/ckpt" restore --image "$2"' - "$group" "$IMG"
	echo "$output"
	for _ in {1..50}; do
		! rmdir "$group" 2>/dev/null || break
		sleep 0.1
	done
	[ "$status" -eq 143 ]
}

@test "limit.nofile: raise it as root" {
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -n 100; "$DIR/ckpt" check --image "$IMG"'
	echo "$output"
	[ "$status" -eq 20 ]
	fires REFUSED limit.nofile
	[[ "$REMEDY" =~ "prlimit --nofile="([0-9]+)" --pid PID" ]]
	local need=${BASH_REMATCH[1]}
	# What is named is really enough, and one less is really too few.
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -n '"$need"'; "$DIR/ckpt" check --image "$IMG" && exec timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$IMG"'
	echo "$output"
	[ "$status" -eq 143 ]
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -n '$((need - 1))'; exec timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$IMG" --override limit.nofile'
	echo "$output"
	[ "$status" -ne 143 ]
	# By root, as it says.
	need_root
	mkfifo "$DIR/go"
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c 'ulimit -n 100; read -r _ <"$DIR/go"; "$DIR/ckpt" check --image "$IMG"' &
	local shell=$! rc=0
	chmod 644 "$DIR/go"
	for _ in {1..100}; do
		! grep -qE "^Max open files +100 +100 " "/proc/$shell/limits" || break
		sleep 0.05
	done
	prlimit "--nofile=$need" --pid "$shell" || rc=$?
	echo >"$DIR/go"
	wait $shell || [ "$rc" -ne 0 ]
	[ "$rc" -eq 0 ] || skip "root may not raise limits here"
}

@test "limit.as: more virtual memory" {
	# shellcheck disable=SC2016
	"${AS[@]}" setsid /usr/bin/python3 -c 'import mmap, os, time; os.closerange(3, 1024); os.chdir("/"); m = mmap.mmap(-1, 3 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000); time.sleep(1000)' </dev/null >/dev/null 2>&1 &
	PID=$!
	sleep 1
	IMG=$DIR/u/wide
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG"
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -v 2000000; "$DIR/ckpt" check --image "$1"' - "$IMG"
	echo "$output"
	[ "$status" -eq 20 ]
	fires REFUSED limit.as
	[[ "$REMEDY" =~ "ask for more virtual memory" ]]
	# It is as the finding says: the mapping can't be made. And the soft limit is no matter.
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -v 2000000; exec timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$1" --override limit.as' - "$IMG"
	echo "$output"
	[ "$status" -ne 143 ]
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -Sv 2000000; exec timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$1"' - "$IMG"
	echo "$output"
	[ "$status" -eq 143 ]
}

@test "limit.nproc: end other processes of the user" {
	need_root
	# A user whom nobody else is.
	local others=() own=(setpriv --reuid=61234 --regid=61234 --clear-groups --)
	IMG=$DIR/v/img
	mkdir -m 777 "$DIR/v"
	"${own[@]}" setsid /usr/bin/python3 -c 'import os; os.closerange(3, 1024); os.chdir("/"); os.execv("/usr/bin/sleep", ["sleep", "1000"])' </dev/null >/dev/null 2>&1 &
	PID=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$PID/comm")" != sleep ] || break
		sleep 0.05
	done
	"${own[@]}" "$DIR/ckpt" dump -t "$PID" --image "$IMG"
	for _ in {1..10}; do
		"${own[@]}" sleep 1000 </dev/null >/dev/null 2>&1 3>&- &
		others+=("$!")
	done
	sleep 0.5
	# ckpt itself is one, and what it tries needs one or two at a time.
	# shellcheck disable=SC2016
	run "${own[@]}" bash -c 'ulimit -u 13; exec "$DIR/ckpt" check --image "$1"' - "$IMG"
	echo "$output"
	[ "$status" -eq 75 ]
	fires REFUSED limit.nproc
	[[ "$REMEDY" =~ "end other processes of this user" ]]
	kill "${others[@]}"
	sleep 0.3
	# shellcheck disable=SC2016
	run "${own[@]}" bash -c 'ulimit -u 13; exec timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$1"' - "$IMG"
	echo "$output"
	[ "$status" -eq 143 ]
	rm -rf "$DIR/v"
}

@test "limit.lowered: restore it from where limits are as they were" {
	# shellcheck disable=SC2016
	run as bash -c 'ulimit -n 900; "$DIR/ckpt" check --image "$IMG"'
	echo "$output"
	[ "$status" -eq 0 ]
	fires NOTE limit.lowered
	[[ "$output" =~ nofile\ [0-9]+ ]]
	[[ "$REMEDY" =~ "where the limits are as they were" ]]
	check
	[ "$status" -eq 0 ]
	gone limit.lowered
}

@test "term: restore it from a terminal" {
	cat >make.py <<-'END'
		import os, pty, signal, subprocess, sys, time
		os.closerange(3, 1024)
		os.chdir(os.environ["DIR"] + "/u")
		pid, fd = pty.fork()
		if pid == 0:
		    os.execvp("sleep", ["sleep", "1000"])
		time.sleep(0.5)
		signal.alarm(20)
		subprocess.run([os.environ["DIR"] + "/ckpt", "dump", "-t", str(pid), "--image", os.environ["DIR"] + "/u/tty", "--shell-job"], check=True)
	END
	chmod 644 make.py
	as /usr/bin/python3 - <make.py
	IMG=$DIR/u/tty
	check
	[ "$status" -eq 21 ]
	fires "TO ALLOW" term
	[ "$REMEDY" = "ckpt restore --shell-job, from a terminal" ]
	cat >run.py <<-'END'
		import os, pty, signal, sys, time
		pid, fd = pty.fork()
		if pid == 0:
		    os.execv(os.environ["DIR"] + "/ckpt", ["ckpt", "restore", "--shell-job", "--image", os.environ["DIR"] + "/u/tty"])
		signal.alarm(20)
		time.sleep(1.5)
		os.kill(pid, signal.SIGTERM) # which it forwards to the job
		status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
		print(status, os.read(fd, 1000) if status != -signal.SIGTERM else "")
		sys.exit(status != -signal.SIGTERM)
	END
	run as /usr/bin/python3 - <run.py
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "fs.mount.missing: mount it" {
	unshare -Urm true || skip "no user namespaces"
	# shellcheck disable=SC2016
	run as unshare -Urm bash -c '
		mkdir -p "$DIR/u/mnt"
		mount -t tmpfs none "$DIR/u/mnt"
		mkdir "$DIR/u/mnt/work"
		cd "$DIR/u/mnt/work"
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		setsid sleep 1000 </dev/null >/dev/null 2>&1 &
		sleep 0.5
		cd /
		"$DIR/ckpt" dump -t $! --image "$DIR/u/mounted"'
	echo "$output"
	[ "$status" -eq 0 ]
	IMG=$DIR/u/mounted
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.mount.missing
	# shellcheck disable=SC2016
	run as unshare -Urm bash -c '
		eval "$1"
		"$DIR/ckpt" check --image "$IMG"
		eval "$("$DIR/ckpt" check --image "$IMG" | sed -n "s/^ *remedy *//p")"
		echo AGAIN
		"$DIR/ckpt" check --image "$IMG" || exit 1
		timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$IMG"' - "$REMEDY"
	echo "$output"
	[ "$status" -eq 143 ]
	[[ ! "$output" =~ "fs.mount.missing" ]]
	[[ "$output" =~ "[fs.cwd]".*AGAIN ]]
}

@test "fs.dir.missing, fs.cwd, fs.file.missing: bring them back" {
	rm -r "$JOB/open" "$JOB/cwd"
	rm "$JOB/out/fifo" "$JOB/in/data"
	check --all
	[ "$status" -eq 20 ]
	fires "TO ALLOW" fs.dir.missing
	as sh -c "$REMEDY"
	[ "$(stat -c %a "$JOB/open" "$JOB/open/a" "$JOB/open/a/b c" | xargs)" = "750 711 1770" ]
	fires "TO ALLOW" fs.cwd
	as sh -c "$REMEDY"
	fires REFUSED fs.file.missing
	as sh -c "$(sed -n 's/^ *remedy *\(mkfifo.*\)/\1/p' <<<"$output")"
	[[ "$output" =~ "put $JOB/in/data back as it was" ]]
	cp -a "$DIR/u/saved/in/data" "$JOB/in/data"
	check
	[ "$status" -eq 0 ]
	runs
}

@test "fs.file.permission: as the finding says" {
	chmod 200 "$JOB/in/data"
	chmod 400 "$JOB/out/log"
	chmod 000 "$JOB/cwd"
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.file.permission
	while read -r remedy; do
		as sh -c "$remedy"
	done < <(sed -n 's/^ *remedy *//p' <<<"$output")
	check
	[ "$status" -eq 0 ]
	runs
	need_root
	# Somebody else's file: setfacl, or what does the same where there is none.
	chown 0:0 "$JOB/in/data"
	chmod 600 "$JOB/in/data"
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.file.permission
	[[ "$REMEDY" =~ "setfacl -m u:65534:r $JOB/in/data" ]]
	command -v setfacl || skip "no setfacl here, and chmod was followed"
	eval "${REMEDY#*: }"
	check
	[ "$status" -eq 0 ]
}

@test "fs.file.grown: cut it back" {
	echo and on >>"$JOB/out/result"
	check
	[ "$status" -eq 21 ]
	fires "TO ALLOW" fs.file.grown
	[[ "$output" =~ "the first 9 bytes are as they were" ]]
	as sh -c "$REMEDY"
	[ "$(cat "$JOB/out/result")" = "so far: 1" ]
	check
	[ "$status" -eq 0 ]
	runs
}

@test "fs.file.grown: large output, of which samples are compared" {
	head -c 1000000 /dev/urandom >>"$JOB/out/large"
	check
	[ "$status" -eq 21 ]
	fires "TO ALLOW" fs.file.grown
	[[ "$output" =~ "64 samples of the first 20000000 bytes are as they were" ]]
	as sh -c "$REMEDY"
	check
	[ "$status" -eq 0 ]
	runs
}

@test "fs.file.changed: put it back" {
	printf %s "so far: 2" >"$JOB/out/result"
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.file.changed
	[ "$REMEDY" = "put back the 9 bytes it had when the image was made" ]
	echo "begun anew, and longer" >"$JOB/out/result"
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.file.changed
	cp -a "$DIR/u/saved/out/result" "$JOB/out/result"
	check
	[ "$status" -eq 0 ]
	printf x | dd of="$JOB/in/data" bs=1 seek=2500 conv=notrunc status=none
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.file.changed
	[ "$REMEDY" = "put $JOB/in/data back as it was when the image was made" ]
	cp -a "$DIR/u/saved/in/data" "$JOB/in/data"
	check
	[ "$status" -eq 0 ]
	runs
}

@test "fs.file.appended: none is needed, the restore runs" {
	echo and on >>"$JOB/out/append"
	check
	[ "$status" -eq 0 ]
	fires NOTE fs.file.appended
	runs
}

@test "fs.file.doubt: compare, then override" {
	touch "$JOB/in/large"
	check
	[ "$status" -eq 22 ]
	fires UNDECIDED fs.file.doubt
	cmp "$JOB/in/large" "$DIR/u/saved/in/large"
	local option
	option=$(grep -oE -- '--override [a-z.]+' <<<"$REMEDY")
	eval "check $option"
	[ "$status" -eq 0 ]
	eval "runs $option"
}

# A job that stands in a directory and has one file of it open; $PID is its number.
start_in() { # DIR FILE
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$1"
		exec 4<"$2"
		exec setsid sleep 1000' - "$@" </dev/null >/dev/null 2>&1 &
	PID=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$PID/comm")" != sleep ] || break
		sleep 0.05
	done
}

need_fuse() {
	need_root
	[ -w /dev/fuse ] && [ -x "$REPO" ] || skip "no FUSE here"
}
export REPO=${CKPT%/*}/tests/tools/repo

@test "fs.cvmfs.revision: none is needed, the restore runs" {
	need_fuse
	mkdir -p "$DIR/src/lib" "$DIR/cvmfs"
	echo data >"$DIR/src/lib/f"
	printf '%s\n' sw.example.org 12 abcd >"$DIR/attributes"
	"$REPO" "$DIR/src" "$DIR/attributes" "$DIR/cvmfs" -o ro,allow_other,fsname=cvmfs2
	start_in "$DIR/cvmfs/lib" f
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/cvmfs-img"
	IMG=$DIR/u/cvmfs-img
	check --all
	[ "$status" -eq 0 ]
	grep -q "OK  \[fs.cvmfs.revision\]" <<<"$output"
	printf '%s\n' sw.example.org 13 ef01 >"$DIR/attributes"
	check
	[ "$status" -eq 0 ]
	fires NOTE fs.cvmfs.revision
	[[ "$output" =~ "revision 12 of sw.example.org, root hash abcd" ]]
	[[ "$REMEDY" =~ "CVMFS_ROOT_HASH=abcd" ]]
	runs
	as "$DIR/ckpt" probe --for "$IMG" -o "$DIR/u/with.json"
	check --host "$DIR/u/with.json"
	[[ "$output" =~ "revision 13" ]]
	# What the new revision brought is seen, too.
	echo DATA >"$DIR/src/lib/f"
	sleep 1.1 # the kernel keeps attributes for a second
	check
	[ "$status" -eq 20 ]
	fires REFUSED fs.file.changed
	printf '%s\n' other.example.org 13 ef01 >"$DIR/attributes"
	echo data >"$DIR/src/lib/f"
	sleep 1.1
	check
	[ "$status" -eq 22 ]
	fires UNDECIDED fs.cvmfs.revision
	umount "$DIR/cvmfs"
}

@test "fs.mount.other: mount what was there" {
	need_fuse
	mkdir -p "$DIR/src" "$DIR/shared"
	echo data >"$DIR/src/f"
	printf '%s\n' >"$DIR/attributes"
	mount_it() {
		"$REPO" "$DIR/src" "$DIR/attributes" "$DIR/shared" -o "ro,allow_other,subtype=sshfs,fsname=$1"
	}
	mount_it fs1:/export/data
	start_in "$DIR/shared" f
	as "$DIR/ckpt" dump -t "$PID" --image "$DIR/u/shared-img"
	IMG=$DIR/u/shared-img
	check
	[ "$status" -eq 0 ]
	gone fs.mount.other
	profile pass
	check --host "$HOST"
	[[ ! "$output" =~ "$DIR/shared" ]] # known by its export
	umount "$DIR/shared"
	mount_it fs1:/export/old
	check
	[ "$status" -eq 22 ]
	fires UNDECIDED fs.mount.other
	[[ "$REMEDY" =~ ^"mount -t fuse.sshfs fs1:/export/data $DIR/shared;" ]]
	umount "$DIR/shared"
	cp "$DIR/src/f" "$DIR/shared/f"
	check
	[ "$status" -eq 22 ]
	fires UNDECIDED fs.mount.other
	eval "runs $(grep -oE -- '--override [a-z.]+' <<<"$REMEDY")"
	rm "$DIR/shared/f"
	mount_it fs1:/export/data
	check
	[ "$status" -eq 0 ]
	runs
	umount "$DIR/shared"
}

@test "fs.bind: make what is named" {
	local maps=(--map "$JOB:$DIR/u/moved" --map-mode bind)
	mv "$JOB" "$DIR/u/moved"
	check "${maps[@]}"
	[ "$status" -eq 20 ]
	fires REFUSED fs.bind
	as sh -c "$REMEDY"
	check "${maps[@]}"
	[ "$status" -eq 0 ]
	runs "${maps[@]}"
	rm -rf "$DIR/u/moved"
}

@test "fs.mount.hides: rewrite, or bring the file" {
	as mkdir "$DIR/u/store" "$DIR/u/other"
	as mv "$JOB/in" "$DIR/u/store/in"
	as ln -s "$DIR/u/store/in" "$JOB/in"
	local maps=(--map "$DIR/u/store:$DIR/u/other")
	check "${maps[@]}" --map-mode bind
	[ "$status" -eq 20 ]
	fires REFUSED fs.mount.hides
	[[ "$REMEDY" =~ "--map-mode rewrite, or bring it to $DIR/u/other/in/" ]]
	runs "${maps[@]}" --map-mode rewrite
	as cp -a "$DIR/u/store/in" "$DIR/u/other/in"
	check "${maps[@]}" --map-mode bind
	[ "$status" -eq 0 ]
	runs "${maps[@]}" --map-mode bind
	rm -rf "$DIR/u/store" "$DIR/u/other"
}

@test "fs.space: free what is said" {
	unshare -Urm true || skip "no user namespaces"
	# shellcheck disable=SC2016
	run as unshare -Urm bash -c '
		mkdir -p "$DIR/u/small"
		mount -t tmpfs -o size=8m none "$DIR/u/small"
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec 4<>"$DIR/u/small/deleted"
		head -c 5000000 /dev/urandom >&4
		rm "$DIR/u/small/deleted"
		setsid sleep 1000 </dev/null >/dev/null 2>&1 &
		sleep 0.5
		exec 4>&-
		"$DIR/ckpt" dump -t $! --image "$DIR/u/room" || exit 1
		"$DIR/ckpt" check --image "$DIR/u/room" || exit 1
		head -c 5000000 /dev/zero >"$DIR/u/small/other"
		"$DIR/ckpt" check --image "$DIR/u/room"
		[ $? -eq 75 ] || exit 1
		rm "$DIR/u/small/other"
		echo AGAIN
		"$DIR/ckpt" check --image "$DIR/u/room" || exit 1
		timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$DIR/u/room"'
	echo "$output"
	[ "$status" -eq 143 ]
	[[ "$output" =~ "[fs.space]: $DIR/u/small".*"5 MiB for 1 carried file".*"free ".*" MiB there".*AGAIN ]]
	echo fs.space >>"$SEEN"
}

@test "fs.unseen: check on the host itself" {
	profile 'pass'
	check --host "$HOST"
	[ "$status" -eq 0 ]
	fires DEFERRED fs.unseen
	[ "$REMEDY" = "run the check on the host itself" ]
	check
	gone fs.unseen
}

# A job that listens, in a network of its own: $1 is its address. Then COMMAND in that network.
listening() { # ADDRESS COMMAND...
	cat >net.sh <<-'END'
		set -e
		ip link set lo up
		ip address add 192.0.2.7/32 dev lo
		cat >listen.py <<'PY'
		import socket, sys, time
		s = socket.socket()
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		s.bind((sys.argv[1], 7777))
		s.listen()
		open("listening", "w").close()
		time.sleep(1000)
		PY
		job() {
			rm -f listening
			setsid python3 listen.py "$1" </dev/null >/dev/null 2>&1 3>&- 4>&- &
			for _ in {1..100}; do [ ! -e listening ] || break; sleep 0.05; done
			[ -e listening ]
		}
		address=$1
		shift
		job "$address"
		"$DIR/ckpt" dump -t "$!" --image img
		wait || true
		eval "$*"
	END
	chmod 777 "$BATS_TEST_TMPDIR"
	export DIR
	run unshare -rn bash net.sh "$@"
	echo "$output"
}

@test "net.port.taken: end who has it" {
	# shellcheck disable=SC2016
	listening 127.0.0.1 'job 0.0.0.0; "$DIR/ckpt" check --image img || echo "status $?"; kill "$!"; wait || true
		"$DIR/ckpt" check --image img && echo "status 0"'
	fires REFUSED net.port.taken
	[[ "$REMEDY" =~ "end who has it" ]]
	[[ "$output" =~ "tcp 127.0.0.1:7777".*"tcp 0.0.0.0:7777 is taken".*"status 75".*"status 0" ]]
}

@test "net.address.missing: the address that is named is added" {
	# shellcheck disable=SC2016
	listening 192.0.2.7 'ip address del 192.0.2.7/32 dev lo; "$DIR/ckpt" check --image img >said || echo "status $?"; cat said
		"$(sed -n "s/.*as root: \(ip\) address.*/\1/p" said)" $(sed -n "s/.*as root: ip //p" said)
		"$DIR/ckpt" check --image img && echo "status 0"'
	fires REFUSED net.address.missing
	[[ "$output" =~ "status 20".*"no interface has it".*"status 0" ]]
}

@test "net.interface.missing: an interface gets the name" {
	cat >net.sh <<-'END'
		set -e
		ip link set lo up
		cat >member.py <<'PY'
		import socket, time
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
		open("bound", "w").close()
		time.sleep(1000)
		PY
		setsid python3 member.py </dev/null >/dev/null 2>&1 3>&- 4>&- &
		for _ in {1..100}; do [ ! -e bound ] || break; sleep 0.05; done
		"$DIR/ckpt" dump -t "$!" --image img
		wait || true
		ip link set lo down
		ip link set lo name loop
		"$DIR/ckpt" check --image img >said || echo "status $?"
		cat said
		ip link set loop name lo
		"$DIR/ckpt" check --image img && echo "status 0"
	END
	chmod 777 "$BATS_TEST_TMPDIR"
	export DIR
	run unshare -rn bash net.sh
	echo "$output"
	fires REFUSED net.interface.missing
	[[ "$REMEDY" =~ "name lo" ]]
	[[ "$output" =~ "status 20".*"no interface of that name".*"status 0" ]]
}

@test "no rule was forgotten" {
	need_root
	"$DIR/ckpt" explain | awk '{ print $1 }' | sort >all
	sort -u "$SEEN" | diff all -
}
