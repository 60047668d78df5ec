#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Output files that went on growing after the dump: ckpt restore --files. A job of an ordinary user is dumped and left running;
# what it writes until its end is what the restored one must come to as well. $CKPT is the binary.

setup_file() {
	export DIR JOB IMG
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/files-XXXXXX")
	chmod 755 "$DIR"
	JOB=$DIR/u/job IMG=$DIR/u/img
	cp "$CKPT" "$DIR/ckpt"
	mkdir -m 777 "$DIR/u"
	as mkdir "$JOB"
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$JOB"
		exec setsid bash -c "exec 8>>log 9>table
			for ((n = 0; n < 300; n++)); do
				echo \"log \$n\" >&8
				echo \"line \$n\" >&9
				read -rt 0.01 <>/dev/zero
			done
			exit 0"' </dev/null >/dev/null 2>&1 &
	local pid=$!
	for _ in {1..200}; do
		[ ! -s "$JOB/table" ] || [ "$(wc -l <"$JOB/table")" -lt 50 ] || break
		sleep 0.02
	done
	as "$DIR/ckpt" dump -t "$pid" --image "$IMG" --leave-running
	wait "$pid"
	[ "$(wc -l <"$JOB/table")" -eq 300 ]
	as cp -a "$JOB" "$DIR/u/whole"
}

teardown_file() {
	rm -rf "$DIR"
}

setup() {
	cd "$DIR"
}

teardown() {
	rm -rf "$JOB"
	as cp -a "$DIR/u/whole" "$JOB"
}

# An ordinary user.
AS=()
[ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)

as() {
	"${AS[@]}" "$@"
}

ckpt() {
	run as "$DIR/ckpt" "$@" --image "$IMG"
	echo "$output"
}

untouched() {
	diff -r "$DIR/u/whole" "$JOB"
}

# The saved end of a file; its name tells what was left.
tail_of() { # FILE
	echo "$JOB/$1".ckpt-tail-*
}

@test "both ways are told, and nothing is done without one" {
	for command in check restore; do
		ckpt "$command"
		[ "$status" -eq 21 ]
		[[ "$output" == *"[fs.file.grown]: $JOB/table"*"--allow rollback-files"*"--allow keep-files"* ]]
	done
	untouched
	for allowed in "--allow rollback-files" "--files rollback" "--allow keep-files" "--files keep"; do
		# shellcheck disable=SC2086
		ckpt check $allowed
		[ "$status" -eq 0 ]
	done
	ckpt restore --allow rollback-files --allow keep-files --files refuse
	[ "$status" -eq 21 ]
	untouched
}

@test "rollback: the results are those of an uninterrupted run, and what was cut off is saved" {
	ckpt restore --files rollback
	[ "$status" -eq 0 ]
	[[ "$output" == *"$JOB/table is cut back"*"$(tail_of table)"* ]]
	for f in table log; do
		cmp "$JOB/$f" "$DIR/u/whole/$f"
		size=$(tail_of "$f")
		size=${size##*-}
		[ "$size" -gt 100 ]
		cmp "$(tail_of "$f")" <(tail -c "+$((size + 1))" "$DIR/u/whole/$f")
	done
	# Once more: the names of the saved ends are taken.
	ckpt restore --files rollback
	[ "$status" -eq 0 ]
	cmp "$JOB/table" "$DIR/u/whole/table"
	[ "$(find "$JOB" -name 'table.ckpt-tail-*' | wc -l)" -eq 2 ]
}

@test "keep: the job goes on where it was, over what is there" {
	ckpt restore --files keep
	[ "$status" -eq 0 ]
	cmp "$JOB/table" "$DIR/u/whole/table"
	[ "$(wc -l <"$JOB/log")" -gt 300 ]
	[ "$(find "$JOB" -name '*.ckpt-tail-*' | wc -l)" -eq 0 ]
}

@test "a policy allows it" {
	as "$DIR/ckpt" policy show default |
		python3 -c 'import json, sys; p = json.load(sys.stdin); p["allow"] = ["rollback-files"]; json.dump(p, sys.stdout)' >"$DIR/site.json"
	ckpt restore --policy "$DIR/site.json"
	[ "$status" -eq 0 ]
	cmp "$JOB/table" "$DIR/u/whole/table"
	[ -e "$(tail_of table)" ]
}

@test "a file whose beginning is another one is not touched" {
	printf X | dd of="$JOB/table" conv=notrunc status=none
	before=$(md5sum "$JOB/table")
	for how in rollback keep; do
		ckpt restore --files "$how"
		[ "$status" -eq 20 ]
		[[ "$output" == *"[fs.file.changed]"* ]]
	done
	ckpt restore --files rollback --override fs.file.changed
	[ "$status" -ne 0 ]
	[[ "$output" == *"not what they were"* ]]
	[ "$(md5sum "$JOB/table")" = "$before" ]
	[ "$(find "$JOB" -name '*.ckpt-tail-*' | wc -l)" -eq 0 ]
}

@test "a log that begins in another way stays as it is" {
	printf X | dd of="$JOB/log" conv=notrunc status=none
	ckpt restore --files rollback
	[ "$status" -eq 0 ]
	[[ "$output" == *"$JOB/log"*"it stays as it is"* ]]
	[ "$(head -c 1 "$JOB/log")" = X ]
	[ "$(wc -l <"$JOB/log")" -gt 300 ]
	cmp "$JOB/table" "$DIR/u/whole/table"
}

@test "somebody still writes to it" {
	exec 7>>"$JOB/table"
	ckpt restore --files rollback
	exec 7>&-
	[ "$status" -eq 75 ]
	[[ "$output" == *"open for writing"* ]]
	untouched
}

@test "a restore that fails puts everything back" {
	stamp=$(stat -c %y "$JOB/table" "$JOB/log")
	# Both are cut before the job's descriptors turn out to be too many.
	run as bash -c 'ulimit -n 64; exec "$@"' - "$DIR/ckpt" restore --image "$IMG" --files rollback --override limit.nofile
	echo "$output"
	[ "$status" -ne 0 ]
	[[ "$output" == *"limit"* ]]
	untouched
	[ "$(stat -c %y "$JOB/table" "$JOB/log")" = "$stamp" ]
}

@test "a big file's checksum comes when the job has been let go, and counts as well" {
	as mkdir "$DIR/u/big"
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$1"
		exec setsid bash -c "exec 9>out; seq 100000 >&9; exec sleep 1000"' - "$DIR/u/big" </dev/null >/dev/null 2>&1 &
	local pid=$!
	for _ in {1..200}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.02
	done
	as "$DIR/ckpt" dump -t "$pid" --image "$DIR/u/bigimg"
	cp "$DIR/u/big/out" "$DIR/out"
	"$DIR/ckpt" show --image "$DIR/u/bigimg" ckpt-contents
	seq 10 | as tee -a "$DIR/u/big/out" >/dev/null
	IMG=$DIR/u/bigimg
	ckpt check
	[ "$status" -eq 21 ]
	[[ "$output" == *"[fs.file.grown]"*"are as they were"* ]]
	printf X | dd of="$DIR/u/big/out" conv=notrunc status=none
	ckpt check
	[ "$status" -eq 20 ]
	[[ "$output" == *"[fs.file.changed]"* ]]
	printf 1 | dd of="$DIR/u/big/out" conv=notrunc status=none
	as "$DIR/ckpt" restore --image "$IMG" --files rollback --detach --status-fd 3 3>"$DIR/status"
	cmp "$DIR/u/big/out" "$DIR/out"
	kill "$(sed -n 's/.*"event": *"running".*"pid": *\([0-9]*\).*/\1/p' "$DIR/status")"
}

@test "killed at any moment: the file is as it was, or the rest of it is saved" {
	killat=$DIR/killat
	cp "$(dirname "$CKPT")/tests/tools/killat" "$killat"
	as "$killat" -o "$DIR/u/count" "$DIR/ckpt" restore --image "$IMG" --files rollback
	events=$(sed -n 's/.*events=\([0-9]*\).*/\1/p' "$DIR/u/count")
	cut=0
	whole=0
	for ((n = events / 40; n < events; n += events / 40)); do
		teardown
		as "$killat" -g -n "$n" -o "$DIR/u/count" "$DIR/ckpt" restore --image "$IMG" --files rollback
		for f in table log; do
			if cmp -s "$JOB/$f" "$DIR/u/whole/$f"; then
				whole=$((whole + 1))
				continue
			fi
			cut=$((cut + 1))
			saved=$(tail_of "$f")
			size=${saved##*-}
			[ "$(stat -c %s "$JOB/$f")" -ge "$size" ]
			cmp <(head -c "$size" "$JOB/$f" && cat "$saved") "$DIR/u/whole/$f"
		done
	done
	echo "$events events: $cut were cut, $whole as before"
	[ "$cut" -gt 0 ] && [ "$whole" -gt 0 ]
}

@test "root restores with the rights of the job's user" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	chmod 755 "$JOB"
	mv "$JOB" "$DIR/u/kept"
	mkdir "$DIR/secret"
	cp -a "$DIR/u/kept/." "$DIR/secret"
	chown 0:0 "$DIR/secret"
	chmod 700 "$DIR/secret"
	ln -s "$DIR/secret" "$JOB"
	before=$(md5sum "$DIR/secret/"*)
	for how in rollback keep; do
		run "$DIR/ckpt" restore --image "$IMG" --files "$how"
		echo "$output"
		[ "$status" -ne 0 ]
		[[ "$output" == *"rights of the job's user, 65534"* ]]
	done
	[ "$(md5sum "$DIR/secret/"*)" = "$before" ]
	rm "$JOB"
	mv "$DIR/u/kept" "$JOB"
	run "$DIR/ckpt" restore --image "$IMG" --files rollback
	echo "$output"
	[ "$status" -eq 0 ]
	cmp "$JOB/table" "$DIR/u/whole/table"
	[ "$(stat -c %u "$(tail_of table)")" -eq 65534 ]
}

@test "root makes carried files with the rights of the job's user" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	SHM=$(mktemp -d /dev/shm/ckpt-files-XXXXXX)
	chmod 777 "$SHM"
	as mkdir "$SHM/own"
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec 9>"$1/own/state"
		echo state >&9
		exec setsid sleep 1000' - "$SHM" </dev/null >/dev/null 2>&1 &
	local pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	as "$DIR/ckpt" dump -t "$pid" --image "$DIR/u/shm"
	rm -r "$SHM/own"
	mkdir -m 755 "$SHM/roots"
	as ln -s "$SHM/roots" "$SHM/own"
	run "$DIR/ckpt" restore --image "$DIR/u/shm"
	echo "$output"
	[ "$status" -ne 0 ]
	[[ "$output" == *"made with the rights of the job's user, 65534"* ]]
	[ -z "$(ls -A "$SHM/roots")" ]
	rm "$SHM/own"
	"$DIR/ckpt" restore --image "$DIR/u/shm" --detach --status-fd 3 3>"$DIR/status"
	[ "$(cat "$SHM/own/state")" = state ]
	[ "$(stat -c %u "$SHM/own" "$SHM/own/state" | xargs)" = "65534 65534" ]
	kill "$(sed -n 's/.*"event": *"running".*"pid": *\([0-9]*\).*/\1/p' "$DIR/status")"
	rm -r "$SHM"
}

@test "what root gave the job is opened again, from an image of root's own" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	(umask 077 && : >"$DIR/given")
	(
		for f in /proc/self/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec setsid "${AS[@]}" sleep 1000
	) </dev/null >"$DIR/given" 2>&1 &
	local pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	"$DIR/ckpt" dump -t "$pid" --image "$DIR/own"
	"$DIR/ckpt" restore --image "$DIR/own" --detach --status-fd 3 3>"$DIR/status"
	pid=$(sed -n 's/.*"event": *"running".*"pid": *\([0-9]*\).*/\1/p' "$DIR/status")
	[ "$(readlink "/proc/$pid/fd/1")" = "$DIR/given" ]
	kill "$pid"
	# An image that its user could have written gets nothing of root's.
	chown -R 65534:65534 "$DIR/own"
	run "$DIR/ckpt" restore --image "$DIR/own"
	echo "$output"
	[ "$status" -ne 0 ]
	[[ "$output" == *"rights of the job's user, 65534"* ]]
}
