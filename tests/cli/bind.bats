#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt restore --map-mode bind: a job that has the path of its directory in its memory, restored by an ordinary user on hosts
# where there is no such path. $CKPT is the binary. tests/harness/run-moves has the long run.

setup() {
	export DIR OLD
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/bind-XXXXXX")
	chmod 755 "$DIR"
	cp "$CKPT" "$DIR/ckpt"
	as mkdir "$DIR/u" 2>/dev/null || { mkdir -m 777 "$DIR/u"; }
	unshare -Ur true || skip "no user namespaces"
}

teardown() {
	[ -z "$FRONT" ] || kill -9 "$FRONT" 2>/dev/null || true
	chmod -R u+rwx "$DIR"
	rm -rf "$DIR" "$TOP"
}

# An ordinary user.
AS=()
[ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)

as() {
	"${AS[@]}" "$@"
}

# The job adds a line to $OLD/out again and again, and has no descriptor of it. Dumped to $DIR/u/img, and $OLD is then
# $DIR/u/new.
dump() { # OLD
	OLD=$1
	mkdir -p "$OLD"
	chmod 777 "$OLD"
	as sh -c 'echo data >"$OLD/data"'
	# shellcheck disable=SC2016
	"${AS[@]}" bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		cd /
		exec setsid bash -c "while read -r x <\"\$OLD/data\"; do echo \"\$x\" >>\"\$OLD/out\"; read -rt 0.02 <>/dev/zero; done; exit 9"' </dev/null >/dev/null 2>&1 &
	local pid=$!
	for _ in {1..100}; do
		[ ! -s "$OLD/out" ] || break
		sleep 0.05
	done
	for _ in {1..20}; do # between two lines it has no file open
		! as "$DIR/ckpt" dump -t "$pid" --image "$DIR/u/img" || break
	done
	as cp -a "$OLD" "$DIR/u/new"
	rm -r "$OLD"
}

# The lines that the job adds in half a second after it was restored.
grows() { # OPTION...
	local before after
	before=$(wc -l <"$DIR/u/new/out")
	"${AS[@]}" "$DIR/ckpt" restore --image "$DIR/u/img" --map "$OLD:$DIR/u/new" --map-mode bind "$@" &
	FRONT=$!
	for _ in {1..100}; do
		after=$(wc -l <"$DIR/u/new/out")
		[ "$after" -le $((before + 3)) ] || return 0
		kill -0 "$FRONT" || return 1
		sleep 0.05
	done
	return 1
}

# Seen from inside the job.
inside() { # COMMAND...
	local init job
	read -r init <"/proc/$FRONT/task/$FRONT/children" || true # no newline
	read -r job _ <"/proc/$init/task/$init/children" || true
	run "${AS[@]}" nsenter --preserve-credentials -U -m -p -t "$job" "$@"
	echo "$output"
}

@test "below a directory that the user may not write to" {
	mkdir -p "$DIR/pool/other" "$DIR/pool/deep"
	echo seen >"$DIR/pool/other/file"
	ln -s other/file "$DIR/pool/link"
	dump "$DIR/pool/a/b/job"
	rmdir "$DIR/pool/a/b" "$DIR/pool/a"
	if [ "$(id -u)" -ne 0 ]; then chmod 555 "$DIR/pool"; fi
	before=$(find "$DIR/pool" -printf '%p %T@\n')
	grows
	inside cat "$DIR/pool/link"
	[ "$output" = seen ]
	inside touch "$DIR/pool/new"
	[ "$status" -ne 0 ]
	inside touch "$DIR/u/made"
	[ -e "$DIR/u/made" ]
	[ "$(find "$DIR/pool" -printf '%p %T@\n')" = "$before" ]
}

@test "below the root directory" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to make a directory there"
	TOP=/ckpt-bind-$$
	dump "$TOP/scratch/job"
	rmdir "$TOP/scratch" "$TOP"
	grows
	[ ! -e "$TOP" ]
	inside ls -d /etc /proc/self /tmp "$TOP/scratch/job/data"
	[ "$status" -eq 0 ]
	inside sh -c 'echo $$ >/dev/null && cat /etc/hostname /proc/self/comm && touch /tmp/. && ! touch /new'
	[ "$status" -eq 0 ]
}

@test "a directory that the user may write to is not covered: the remedy helps" {
	as mkdir "$DIR/u/pool"
	dump "$DIR/u/pool/job"
	run as "$DIR/ckpt" restore --image "$DIR/u/img" --map "$OLD:$DIR/u/new" --map-mode bind
	echo "$output"
	[ "$status" -eq 20 ]
	[[ "$output" == *"mkdir -p"* ]]
	run as "$DIR/ckpt" restore --image "$DIR/u/img" --map "$OLD:$DIR/u/new" --map-mode bind --override fs.bind
	echo "$output"
	[ "$status" -eq 69 ] # it is as the check said
	[[ "$output" == *"mkdir -p"* ]]
	[ ! -e "$OLD" ]
	as mkdir -p "$OLD"
	grows
	[ -z "$(ls "$OLD")" ]
}

# The check says beforehand what the restore would.
check_bind() { # STATUS OPTION...
	run as "$DIR/ckpt" check --image "$DIR/u/img" --map "$OLD:$DIR/u/new" --map-mode bind "${@:2}"
	echo "$output"
	[ "$status" -eq "$1" ]
}
remedy() {
	as sh -c "$(sed -n 's/^ *remedy *//p' <<<"$output")"
}

@test "the check tells what has to be made, and it is enough" {
	as mkdir "$DIR/u/pool"
	dump "$DIR/u/pool/a/job"
	as rmdir "$DIR/u/pool/a"
	check_bind 20
	[[ "$output" == *"[fs.bind]: $OLD"*"mkdir -p $OLD"* ]]
	run as "$DIR/ckpt" check --image "$DIR/u/img" --map "$OLD:$DIR/u/new"
	[ "$status" -eq 0 ] # what is rewritten needs no OLD
	check_bind 20
	remedy
	check_bind 0
	grows
}

@test "the check tells of a cover, of NEW that is missing, and of NEW of another kind" {
	mkdir -p "$DIR/pool"
	dump "$DIR/pool/job"
	if [ "$(id -u)" -ne 0 ]; then chmod 555 "$DIR/pool"; fi
	check_bind 0 --all
	[[ "$output" == *"NOTE"*"[fs.bind]: $OLD"*"the job sees $DIR/pool as it is now, read-only"* ]]
	check_bind 20 --map "/no/where:$DIR/u/none"
	[[ "$output" == *"[fs.bind]: /no/where"*"no $DIR/u/none"* ]]
	check_bind 20 --map "/etc/hostname:$DIR/u"
	[[ "$output" == *"[fs.bind]: /etc/hostname"*"map /etc/hostname to a file"* ]]
	grows
}

@test "the check looks for OLD below another one where that leads to" {
	as mkdir "$DIR/u/job.d"
	dump "$DIR/u/job"
	check_bind 20 --map "$OLD/sub:$DIR/u/job.d"
	[[ "$output" == *"$DIR/u/new/sub is missing"*"mkdir -p $DIR/u/new/sub"* ]]
	as mkdir "$OLD"
	remedy
	check_bind 0 --map "$OLD/sub:$DIR/u/job.d"
	grows --map "$OLD/sub:$DIR/u/job.d"
}

# The job sleeps, and has $DIR/u/in/f open; $DIR/u/in is then a link to what is bound.
@test "the check follows links into what is bound" {
	as mkdir "$DIR/u/in" "$DIR/u/data" "$DIR/u/other"
	as sh -c 'echo data >"$DIR/u/in/f"'
	# shellcheck disable=SC2016
	"${AS[@]}" /usr/bin/python3 -c 'import os, sys; os.closerange(3, 1024); os.chdir("/"); fd = os.open(sys.argv[1], os.O_RDONLY); os.set_inheritable(fd, True); os.execvp("sleep", ["sleep", "1000"])' "$DIR/u/in/f" </dev/null >/dev/null 2>&1 &
	local pid=$!
	sleep 0.5
	as "$DIR/ckpt" dump -t "$pid" --image "$DIR/u/img"
	as mv "$DIR/u/in/f" "$DIR/u/data/f"
	as rmdir "$DIR/u/in"
	as ln -s data "$DIR/u/in"
	local maps=(--map "$DIR/u/data:$DIR/u/other" --map-mode bind)
	run as "$DIR/ckpt" check --image "$DIR/u/img" "${maps[@]}"
	echo "$output"
	[ "$status" -eq 20 ]
	[[ "$output" == *"[fs.mount.hides]: $DIR/u/in/f"*"$DIR/u/other/f"* ]]
	# It is as the finding says: rewritten, the restore runs; and so it does once the file is there.
	run as timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$DIR/u/img" "${maps[@]}" --override fs.mount.hides
	echo "$output"
	[ "$status" -ne 143 ]
	run as timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$DIR/u/img" --map "$DIR/u/data:$DIR/u/other"
	echo "$output"
	[ "$status" -eq 143 ]
	as cp -p "$DIR/u/data/f" "$DIR/u/other/f"
	run as timeout --preserve-status -s TERM 1.5 "$DIR/ckpt" restore --image "$DIR/u/img" "${maps[@]}"
	echo "$output"
	[ "$status" -eq 143 ]
}

@test "two paths change places" {
	as mkdir -p "$DIR/u/x" "$DIR/u/y"
	dump "$DIR/u/job"
	as mkdir "$DIR/u/job"
	as sh -c 'echo x >"$DIR/u/x/name" && echo y >"$DIR/u/y/name"'
	grows --map "$DIR/u/x:$DIR/u/y" --map "$DIR/u/y:$DIR/u/x"
	inside cat "$DIR/u/x/name" "$DIR/u/y/name"
	[ "$output" = $'y\nx' ]
	[ "$(cat "$DIR/u/x/name")" = x ]
}

@test "without NEW nothing is done" {
	dump "$DIR/pool/job"
	run as "$DIR/ckpt" restore --image "$DIR/u/img" --map "$OLD:$DIR/u/nowhere" --map-mode bind
	echo "$output"
	[ "$status" -ne 0 ]
	[[ "$output" == *"$DIR/u/nowhere"* ]]
}

@test "by rewriting the job would not find its files" {
	dump "$DIR/u/job"
	run as "$DIR/ckpt" restore --image "$DIR/u/img" --map "$OLD:$DIR/u/new"
	[ "$status" -eq 9 ]
}
