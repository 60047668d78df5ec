#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A job in the scratch directory of a batch system, which is another one when it comes back: the check proposes the map,
# and with it the restore runs. $CKPT is the binary.
# shellcheck disable=SC2015

setup() {
	export DIR
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/scratch-XXXXXX")
	chmod 755 "$DIR"
	cp "$CKPT" "$DIR/ckpt"
	mkdir -m 777 "$DIR/u"
	unset _CONDOR_SCRATCH_DIR SLURM_TMPDIR PBS_JOBDIR LSB_JOB_TMPDIR TMPDIR
}

teardown() {
	rm -rf "$DIR"
}

AS=()
[ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
as() {
	"${AS[@]}" "$@"
}

# The job has a file open in its scratch directory and stands in it; it is dumped, and the directory is another one then.
dump() { # VARIABLE OLD NEW
	as mkdir -p "$2" "${3%/*}"
	as sh -c 'echo data >"$1/in"' - "$2"
	"${AS[@]}" env "$1=$2/" /usr/bin/python3 -c '
import os, sys, time
os.closerange(3, 1024)
os.chdir(sys.argv[1])
fd = os.open("in", os.O_RDONLY)
open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]):
    time.sleep(0.05)
sys.exit(7 if os.read(fd, 9) == b"data\n" and os.stat(".").st_ino == os.stat(sys.argv[3]).st_ino else 1)' "$2" "$DIR/u/up" "$3" </dev/null >/dev/null 2>&1 &
	for _ in {1..200}; do [ ! -e "$DIR/u/up" ] || break; sleep 0.05; done
	as "$DIR/ckpt" dump -t $! --image "$DIR/u/img"
	as mv "$2" "$3"
}

check() { # STATUS OPTION...
	run as "$DIR/ckpt" check --image "$DIR/u/img" "${@:2}"
	echo "$output"
	[ "$status" -eq "$1" ]
}

# With the remedy as it stands there.
obey() {
	local remedy
	remedy=$(sed -n 's/^ *remedy *//p' <<<"$output")
	[[ "$remedy" == --map* ]]
	(sleep 0.7; rm -f "$DIR/u/up") &
	run as sh -c "exec \"\$DIR/ckpt\" restore --image \"\$DIR/u/img\" $remedy"
	echo "$output"
	[ "$status" -eq 7 ]
}

@test "the variable that names another directory here gives the map" {
	dump _CONDOR_SCRATCH_DIR "$DIR/u/dir_1" "$DIR/u/dir_2"
	run as "$DIR/ckpt" show --image "$DIR/u/img" ckpt-needs
	[[ "$output" == *"_CONDOR_SCRATCH_DIR"* ]]
	check 20
	[[ "$output" != *"--map"* ]] # nobody has said where it is
	export _CONDOR_SCRATCH_DIR=$DIR/u/dir_2
	check 20
	[[ "$output" == *"_CONDOR_SCRATCH_DIR named it to the job"* ]]
	[[ "$output" == *"remedy   --map $DIR/u/dir_1:$DIR/u/dir_2"* ]]
	obey
}

@test "odd names, and what is above it is missing as well" {
	dump SLURM_TMPDIR "$DIR/u/job 1/it's:x" "$DIR/u/job 2/it's:y"
	as rmdir "$DIR/u/job 1"
	export SLURM_TMPDIR="$DIR/u/job 2/it's:y/"
	check 20
	obey
}

@test "a variable that names what the job does not use, or that is the same, proposes nothing" {
	dump PBS_JOBDIR "$DIR/u/a" "$DIR/u/b"
	export PBS_JOBDIR=$DIR/u/a SLURM_TMPDIR=$DIR/u/b
	check 20
	[[ "$output" != *"--map"* ]]
}
