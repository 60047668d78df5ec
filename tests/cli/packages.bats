#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Files that packages own: whatever differs is told by package and version, in one finding, with the command that
# brings back what was there. dpkg's database is made for the test, and so is the apt-get that obeys. $CKPT is the binary.
# shellcheck disable=SC2015,SC2016

setup() {
	export DIR DPKG_ADMINDIR
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/packages-XXXXXX")
	chmod 755 "$DIR"
	cp "$CKPT" "$DIR/ckpt"
	mkdir -m 777 "$DIR/u"
	DPKG_ADMINDIR=$DIR/u/dpkg
	as mkdir -p "$DIR/u/lib" "$DIR/u/dpkg/info" "$DIR/u/bin"
	as sh -c 'cat >"$DIR/u/bin/apt-get"; chmod 755 "$DIR/u/bin/apt-get"' <<-'END'
		#!/bin/bash
		# Installs what is asked for: NAME=VERSION.
		[ "$1" = install ] || exit 1
		shift
		for a; do
			case $a in --*) continue ;; esac
			install_package "${a%=*}" "${a#*=}"
		done
		write_status
	END
	# The files of a package differ from version to version.
	install_package() { # NAME VERSION
		local f
		echo "$2" >"$DIR/u/dpkg/$1.version"
		while read -r f; do
			[ ! -e "${f%/*}" ] || [ -d "$f" ] || echo "$1 $2 ${f##*/}" >"$f"
		done <"$DIR/u/dpkg/info/$1.list"
	}
	write_status() {
		local v
		: >"$DIR/u/dpkg/status"
		for v in "$DIR"/u/dpkg/*.version; do
			v=${v##*/} v=${v%.version}
			printf 'Package: %s\nStatus: install ok installed\nArchitecture: all\nVersion: %s\n\n' "$v" "$(cat "$DIR/u/dpkg/$v.version")" >>"$DIR/u/dpkg/status"
		done
	}
	export -f install_package write_status
	as sh -c 'printf "/.\n%s\n" "$DIR/u/lib" >"$DIR/u/dpkg/info/libdemo:amd64.list"
		for i in $(seq 40); do echo "$DIR/u/lib/libdemo$i.so"; done >>"$DIR/u/dpkg/info/libdemo:amd64.list"
		ln -s libdemo:amd64.list "$DIR/u/dpkg/info/libdemo.list"
		printf "/.\n%s\n" "$DIR/u/lib/libother.so" >"$DIR/u/dpkg/info/libother.list"'
	as bash -c 'install_package libdemo 1.0-1; install_package libother 2:3.4~rc1+b2; write_status'
	# The job maps all of them.
	"${AS[@]}" /usr/bin/python3 -c '
import mmap, os, sys
os.closerange(3, 1024)
os.chdir("/")
keep = [mmap.mmap(os.open(sys.argv[1] + "/" + n, os.O_RDONLY), 0, prot=mmap.PROT_READ) for n in sorted(os.listdir(sys.argv[1]))]
os.closerange(3, 1024)
open(sys.argv[2], "w").close()
import time
while os.path.exists(sys.argv[2]):
    time.sleep(0.05)
assert all(m[:3] == b"lib" for m in keep) and keep[0][:] == b"libdemo 1.0-1 libdemo1.so\n"
sys.exit(7)' "$DIR/u/lib" "$DIR/u/up" </dev/null >/dev/null 2>&1 &
	for _ in {1..200}; do [ ! -e "$DIR/u/up" ] || break; sleep 0.05; done
	as "$DIR/ckpt" dump -t $! --image "$DIR/u/img"
}

teardown() {
	rm -rf "$DIR"
}

AS=()
[ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
as() {
	"${AS[@]}" "$@"
}

check() { # STATUS OPTION...
	run as "$DIR/ckpt" check --image "$DIR/u/img" "${@:2}"
	echo "$output"
	[ "$status" -eq "$1" ]
}

# To the letter.
obey() {
	local remedy
	remedy=$(sed -n 's/^ *remedy *as root: //p' <<<"$output")
	[ "$(wc -l <<<"$remedy")" -eq 1 ]
	echo "$remedy"
	PATH=$DIR/u/bin:$PATH as bash -c "$remedy"
}

goes_on() {
	(sleep 0.7; rm -f "$DIR/u/up") &
	run as "$DIR/ckpt" restore --image "$DIR/u/img"
	echo "$output"
	[ "$status" -eq 7 ]
}

@test "the image tells which packages its files are of" {
	run as "$DIR/ckpt" show --image "$DIR/u/img" ckpt-contents
	echo "$output"
	[[ "$output" == *"libdemo"*"1.0-1"* ]]
	[[ "$output" == *"libother"*"2:3.4~rc1+b2"* ]]
	check 0
}

@test "forty upgraded libraries are one finding, and the remedy makes it work" {
	as bash -c 'install_package libdemo 1.1-2; write_status'
	check 20
	[ "$(grep -c REFUSED <<<"$output")" -eq 1 ]
	[[ "$output" == *"[fs.file.changed]: libdemo"* ]]
	[[ "$output" == *"needs    40 files of libdemo 1.0-1: $DIR/u/lib/libdemo1.so, "*" and 37 more"* ]]
	[[ "$output" == *"has      libdemo 1.1-2"* ]]
	[[ "$output" == *"remedy   as root: apt-get install --allow-downgrades libdemo=1.0-1"* ]]
	obey
	check 0
	goes_on
}

@test "two packages are one finding and one command" {
	as bash -c 'install_package libdemo 1.1-2; install_package libother 9; write_status'
	check 20
	[ "$(grep -c REFUSED <<<"$output")" -eq 1 ]
	[[ "$output" == *": libdemo and 1 other package"* ]]
	[[ "$output" == *"has      libdemo 1.1-2, libother 9"* ]]
	obey
	check 0
	goes_on
}

@test "a package that was removed" {
	as bash -c 'rm "$DIR"/u/lib/libdemo* "$DIR/u/dpkg/libdemo.version"; write_status'
	check 20
	[[ "$output" == *"[fs.file.missing]: libdemo"*"no libdemo"* ]]
	obey
	check 0
	goes_on
}

@test "files that were changed behind the package's back" {
	as sh -c 'echo hacked >"$DIR/u/lib/libother.so"'
	check 20
	[[ "$output" == *"has      libother 2:3.4~rc1+b2, but not its files"* ]]
	[[ "$output" == *"apt-get install --reinstall --allow-downgrades 'libother=2:3.4~rc1+b2'"* ]]
	obey
	check 0
	goes_on
}

@test "a profile tells versions, too; what is mapped elsewhere is of no package" {
	as bash -c 'install_package libdemo 1.1-2; write_status'
	as "$DIR/ckpt" probe --for "$DIR/u/img" -o "$DIR/u/host.json"
	check 20 --host "$DIR/u/host.json"
	[[ "$output" == *"has      libdemo 1.1-2"* ]]
	as cp -r "$DIR/u/lib" "$DIR/u/lib2"
	check 20 --map "$DIR/u/lib:$DIR/u/lib2"
	[[ "$output" != *apt-get* ]]
	[[ "$output" == *"[fs.file.changed]: $DIR/u/lib2"* ]]
}
