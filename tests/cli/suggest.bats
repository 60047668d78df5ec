#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt map suggest: its lines, given to --maps, bring the job back. $CKPT is the binary.
# shellcheck disable=SC2015

setup() {
	export DIR
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/suggest-XXXXXX")
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

# The job has a file open in its directory and stands in it.
dump() { # DIRECTORY [VARIABLE]
	as mkdir -p "$1"
	as sh -c 'echo data >"$1/in"' - "$1"
	"${AS[@]}" env ${2:+"$2=$1"} /usr/bin/python3 -c '
import os, sys, time
os.closerange(3, 1024)
os.chdir(sys.argv[1])
fd = os.open("in", os.O_RDONLY)
open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]):
    time.sleep(0.05)
with open(sys.argv[2] + ".cwd", "w") as f:
    f.write(os.getcwd())
sys.exit(7 if os.read(fd, 9) == b"data\n" else 1)' "$1" "$DIR/u/up" </dev/null >/dev/null 2>&1 &
	for _ in {1..200}; do [ ! -e "$DIR/u/up" ] || break; sleep 0.05; done
	as "$DIR/ckpt" dump -t $! --image "$DIR/u/img"
}

suggest() { # STATUS OPTION...
	run --separate-stderr as "$DIR/ckpt" map suggest --image "$DIR/u/img" "${@:2}"
	echo "$output$stderr"
	[ "$status" -eq "$1" ]
}

# Where the job is then.
obey() { # DIRECTORY
	echo "$output" >"$DIR/u/maps"
	(sleep 0.7; rm -f "$DIR/u/up") &
	run as "$DIR/ckpt" restore --image "$DIR/u/img" --maps "$DIR/u/maps"
	echo "$output"
	[ "$status" -eq 7 ]
	[ "$(cat "$DIR/u/up.cwd")" = "$1" ]
}

bats_require_minimum_version 1.5.0

@test "a directory that was renamed is known by its contents" {
	dump "$DIR/u/a:b"
	suggest 0
	[ -z "$output" ] # it is there
	as mkdir "$DIR/u/another" "$DIR/u/third"
	as sh -c 'echo dada >"$1/in"' - "$DIR/u/another"
	as mv "$DIR/u/a:b" "$DIR/u/new"
	suggest 0
	[ "${lines[0]}" = "# what is needed of it is the same there: 1 file" ]
	[ "${lines[1]}" = "$DIR/u/a\\:b:$DIR/u/new" ]
	[ ${#lines[@]} -eq 2 ]
	obey "$DIR/u/new"
}

@test "what is found nowhere is told, and is no success" {
	dump "$DIR/u/old"
	as rm "$DIR/u/old/in"
	as rmdir "$DIR/u/old"
	as mkdir "$DIR/u/new"
	suggest 20
	[ "$output" = "# missing, and found nowhere: $DIR/u/old" ]
}

@test "the variable of a batch system comes first, where it has what is needed" {
	dump "$DIR/u/dir_1" _CONDOR_SCRATCH_DIR
	as cp -r "$DIR/u/dir_1" "$DIR/u/copy"
	as mkdir "$DIR/u/far" "$DIR/u/far/away"
	as mv "$DIR/u/dir_1" "$DIR/u/far/away/dir_2"
	_CONDOR_SCRATCH_DIR=$DIR/u/far suggest 0
	[[ "$output" == *"$DIR/u/dir_1:$DIR/u/copy"* ]]
	export _CONDOR_SCRATCH_DIR=$DIR/u/far/away/dir_2
	suggest 0
	[ "${lines[0]}" = "# _CONDOR_SCRATCH_DIR named the one, and names the other" ]
	[ "${lines[1]}" = "$DIR/u/dir_1:$DIR/u/far/away/dir_2" ]
	obey "$DIR/u/far/away/dir_2"
}

@test "the same export under another mount point of a stored host" {
	[ "$(id -u)" -eq 0 ] || skip "mounts need root"
	mkdir -m 777 "$DIR/u/mnt"
	export -f dump as
	export DIR
	unshare -m bash -c '
		AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
		mount -t tmpfs -o mode=777 srv:/data "$DIR/u/mnt"
		dump "$DIR/u/mnt/run"'
	"$DIR/ckpt" probe >"$DIR/host.json"
	python3 - "$DIR" <<-'END'
		import json, sys
		with open(sys.argv[1] + "/host.json") as f:
		    host = json.load(f)
		host["mounts"].append({"point": "/elsewhere", "fstype": "tmpfs", "source": "srv:/data", "root": "/"})
		with open(sys.argv[1] + "/other.json", "w") as f:
		    json.dump(host, f)
	END
	suggest 0 --host "$DIR/host.json"
	[ -z "$output" ]
	chmod 644 "$DIR"/*.json
	suggest 0 --host "$DIR/other.json"
	[ "${lines[0]}" = "# srv:/data (tmpfs) is mounted there" ]
	[ "${lines[1]}" = "$DIR/u/mnt:/elsewhere" ]
}
