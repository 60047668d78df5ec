#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Directories that are missing: ckpt check and restore --make-dirs, as an ordinary user. $CKPT is the binary.

setup_file() {
	export DIR IMG PID
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/make-dirs-XXXXXX")
	chmod 755 "$DIR"
	IMG=$DIR/u/img
	cp "$CKPT" "$DIR/ckpt"
	mkdir -m 777 "$DIR/u"
	as mkdir -p "$DIR/u/job/a" "$DIR/u/job/cwd" "$DIR/u/job/a/open"
	as chmod 1777 "$DIR/u/job/a/open"
	as chmod 750 "$DIR/u/job/cwd"
	as chmod 550 "$DIR/u/job/a"
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd "$1/cwd"
		exec 7<"$1/a/open"
		exec setsid sleep 1000' - "$DIR/u/job" </dev/null >/dev/null 2>&1 &
	PID=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$PID/comm")" != sleep ] || break
		sleep 0.05
	done
	as "$DIR/ckpt" dump -t "$PID" --image "$IMG"
}

teardown_file() {
	rm -rf "$DIR"
}

setup() {
	cd "$DIR"
	rm -rf "$DIR/u/job" "$DIR/u/new"
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

ckpt_of_root() {
	run "$DIR/ckpt" "$@" --image "$IMG"
	echo "$output"
}

# The restored job is found, looked at and ended.
lives() { # DIR
	local pid
	pid=$(sed -n 's/.*"event": *"running".*"pid": *\([0-9]*\).*/\1/p' "$DIR/status")
	[ "$(readlink "/proc/$pid/cwd")" = "$1/cwd" ] && [ "$(readlink "/proc/$pid/fd/7")" = "$1/a/open" ]
	kill "$pid"
}

made() { # DIR
	[ "$(stat -c %a "$1/a" "$1/a/open" "$1/cwd" | xargs)" = "550 1777 750" ]
	[ "$(stat -c %u "$1" "$1/a" "$1/a/open" "$1/cwd" | sort -u)" = "$(as id -u)" ]
}

@test "the check tells of it, and nothing is made without" {
	for command in check restore; do
		ckpt "$command"
		[ "$status" -eq 21 ]
		[[ "$output" == *"[fs.dir.missing]: $DIR/u/job"*"--allow make-dirs"* ]]
	done
	[ ! -e "$DIR/u/job" ]
	ckpt check --make-dirs
	[ "$status" -eq 0 ]
	ckpt check --allow make-dirs
	[ "$status" -eq 0 ]
	[ ! -e "$DIR/u/job" ]
}

@test "they are made with their modes, as the user's" {
	as "$DIR/ckpt" restore --image "$IMG" --make-dirs --detach --status-fd 3 3>"$DIR/status" 2>"$DIR/notes"
	lives "$DIR/u/job"
	made "$DIR/u/job"
	grep -F "directories were made: 4, the first is $DIR/u/job" "$DIR/notes"
}

@test "where they are mapped to, with what is above" {
	for mode in rewrite bind; do
		[ "$mode" = rewrite ] || mkdir "$DIR/u/job"
		rm -rf "$DIR/u/new"
		as "$DIR/ckpt" restore --image "$IMG" --map "$DIR/u/job:$DIR/u/new/x" --map-mode "$mode" --make-dirs --detach --status-fd 3 3>"$DIR/status"
		if [ "$mode" = rewrite ]; then
			lives "$DIR/u/new/x"
		else
			lives "$DIR/u/job"
		fi
		made "$DIR/u/new/x"
	done
}

@test "a restore that fails leaves none behind" {
	run as bash -c 'ulimit -n 64; exec "$@"' - "$DIR/ckpt" restore --image "$IMG" --make-dirs --override limit.nofile
	echo "$output"
	[ "$status" -ne 0 ]
	[[ "$output" == *"limit"* ]]
	[ ! -e "$DIR/u/job" ]
	# One that was there before stays.
	as mkdir -p "$DIR/u/job/cwd"
	run as bash -c 'ulimit -n 64; exec "$@"' - "$DIR/ckpt" restore --image "$IMG" --make-dirs --override limit.nofile
	[ "$status" -ne 0 ]
	[ "$(cd "$DIR/u/job" && find . | sort | xargs)" = ". ./cwd" ]
}

@test "what the user may not make is refused" {
	as mkdir "$DIR/u/job"
	as chmod 555 "$DIR/u/job"
	ckpt check --make-dirs
	[ "$status" -eq 20 ]
	[[ "$output" != *"--allow make-dirs"* ]]
	ckpt restore --make-dirs --override fs.cwd --override fs.dir.missing
	[ "$status" -ne 0 ]
	[[ "$output" == *"cannot make the directory"* ]]
	[ -z "$(ls "$DIR/u/job")" ]
}

@test "root makes them with the rights of the job's user" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	"$DIR/ckpt" restore --image "$IMG" --make-dirs --detach --status-fd 3 3>"$DIR/status"
	lives "$DIR/u/job"
	made "$DIR/u/job"
	# A link that its user has put there leads nowhere where the user may not go.
	rm -rf "$DIR/u/job"
	mkdir -m 755 "$DIR/roots"
	as ln -s "$DIR/roots" "$DIR/u/job"
	ckpt_of_root restore --make-dirs
	[ "$status" -ne 0 ]
	[ -z "$(ls -A "$DIR/roots")" ]
}
