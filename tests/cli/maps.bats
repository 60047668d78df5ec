#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Files that are elsewhere at the restore: --map and --maps, as check, match, probe and restore take them. tests/harness/run-moves
# has the long run; here is what is said.

setup_file() {
	export DIR=$BATS_FILE_TMPDIR
	mkdir "$DIR/old"
	cp "$(command -v sleep)" "$DIR/old/prog"
	head -c 5000 /dev/urandom >"$DIR/old/data"
	(
		for f in /proc/self/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$DIR/old"
		# shellcheck disable=SC2016
		exec env -i SCRATCH="$DIR/old/tmp" OTHER="$DIR/older:$DIR/old" \
			setsid bash -c 'exec -a "$0" ./prog 1000' "$DIR/old/prog" 7<data
	) </dev/null >"$DIR/log" 2>&1 &
	local pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != prog ] || break
		sleep 0.05
	done
	for f in cmdline environ; do
		tr '\0' '\n' <"/proc/$pid/$f" | grep -oE "$DIR/old(/|\$)" | wc -l >"$DIR/$f"
	done
	"$CKPT" dump -t "$pid" --image "$DIR/img"
	mv "$DIR/old" "$DIR/new"
	"$CKPT" probe -o "$DIR/here.json"
}

check() {
	run "$CKPT" check --image "$DIR/img" "$@"
	echo "$output"
}

@test "without a map the job's files are missing; with it they are found" {
	check
	[ "$status" -eq 20 ]
	check --map "$DIR/old:$DIR/new"
	[ "$status" -eq 0 ]
	check --map "$DIR:/nowhere" --map "$DIR/old:$DIR/new" --all
	[[ "$output" != *"fs.file.missing"*"$DIR/old"* ]]
}

@test "what is missing below NEW is told by the name that it should have there" {
	check --map "$DIR/old:$DIR/img"
	[ "$status" -eq 20 ]
	[[ "$output" == *"$DIR/img/prog"* && "$output" != *"$DIR/old/"* ]]
}

@test "maps from a file" {
	printf '# where it went\n\n%s:%s\n' "$DIR/old" "$DIR/new" >"$DIR/maps"
	check --maps "$DIR/maps"
	[ "$status" -eq 0 ]
	echo "$DIR/old" >>"$DIR/maps"
	check --maps "$DIR/maps"
	[ "$status" -eq 78 ]
	[[ "$output" == *"line 4 of $DIR/maps"* ]]
	check --maps "$DIR/none"
	[ "$status" -eq 78 ]
}

@test "maps that are none are usage errors, and nothing is done" {
	for bad in "$DIR/old" "old:$DIR/new" "$DIR/old:new" "/:$DIR" "$DIR/../x:$DIR" /proc/self:/tmp; do
		for command in check restore; do
			run "$CKPT" "$command" --image "$DIR/img" --map "$bad"
			echo "$output"
			[ "$status" -eq 64 ]
		done
	done
	run "$CKPT" restore --image "$DIR/img" --map "$DIR/old:$DIR/new" --map "$DIR/old/:/tmp"
	[ "$status" -eq 64 ]
	[[ "$output" == *"mapped twice"* ]]
}

@test "a profile that answers for the mapped paths decides offline" {
	run "$CKPT" match --image "$DIR/img" "$DIR/here.json" --map "$DIR/old:$DIR/new" --format json
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" == *fs.unseen* ]]
	"$CKPT" probe --for "$DIR/img" --map "$DIR/old:$DIR/new" -o "$DIR/asked.json"
	check --host "$DIR/asked.json" --map "$DIR/old:$DIR/new"
	[ "$status" -eq 0 ]
	[[ "$output" != *fs.unseen* ]]
	"$CKPT" probe --for "$DIR/img" -o "$DIR/asked.json"
	check --host "$DIR/asked.json"
	[ "$status" -eq 20 ]
}

@test "the restored job has its files where they are now" {
	"$CKPT" restore --image "$DIR/img" --map "$DIR/old:$DIR/new" --detach --status-fd 3 3>"$DIR/status" 2>"$DIR/notes"
	# What the job has of the old path in its memory is told.
	cat "$DIR/notes"
	[ "$(cat "$DIR/cmdline")" -eq 1 ] && [ "$(cat "$DIR/environ")" -ge 2 ]
	grep -F "note: $DIR/old still stands" "$DIR/notes" | grep -F "1 in its arguments, $(cat "$DIR/environ") in its environment" | grep -F "bind"
	pid=$(sed -n 's/.*"event": *"running".*"pid": *\([0-9]*\).*/\1/p' "$DIR/status")
	[ "$(readlink "/proc/$pid/cwd")" = "$DIR/new" ]
	[ "$(readlink "/proc/$pid/exe")" = "$DIR/new/prog" ]
	[ "$(readlink "/proc/$pid/fd/7")" = "$DIR/new/data" ]
	! grep -F "$DIR/old" "/proc/$pid/maps"
	kill "$pid"
	"$CKPT" restore --image "$DIR/img" --map "$DIR/old:$DIR/new" --map "$DIR/cold:/" --detach --status-fd 3 3>"$DIR/status" 2>"$DIR/notes"
	kill "$(sed -n 's/.*"event": *"running".*"pid": *\([0-9]*\).*/\1/p' "$DIR/status")"
	! grep -F "$DIR/cold" "$DIR/notes"
}
