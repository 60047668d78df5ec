#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Files on filesystems of all kinds, and under odd names: a job of an ordinary user stands in a directory there, reads a
# file, maps one and writes one. It is dumped, nothing is wrong, it goes on; a changed input refuses, and output that
# grew is told from output that changed. $CKPT is the binary.
# shellcheck disable=SC2015,SC2016

setup() {
	export DIR
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/fs-XXXXXX")
	chmod 777 "$DIR"
	cp "$CKPT" "$DIR/ckpt"
	cat >"$DIR/job.py" <<-'END'
		import mmap, os, sys, time
		os.closerange(3, 1024)
		base, name = sys.argv[1], sys.argv[2]
		os.chdir(base)
		fd = os.open(name, os.O_RDONLY)
		m = mmap.mmap(os.open("mapped", os.O_RDONLY), 0, prot=mmap.PROT_READ)
		out = os.open(sys.argv[3], os.O_RDWR | os.O_CREAT, 0o600)
		os.write(out, b"so far: 1")
		open(sys.argv[4], "w").close()
		n = 0
		while n < 400:
		    time.sleep(0.05)
		    n += 1
		    if not os.path.exists(sys.argv[4]):
		        assert os.pread(fd, 5, 0) == b"data\n" and m[:5] == b"data\n"
		        os.write(out, b", 2")
		        sys.exit(7)
		sys.exit(1)
	END
	cat >"$DIR/lib.sh" <<-'END'
		fill() { # BASE NAME
			mkdir -p "$1"
			echo data >"$1/$2"
			echo data >"$1/mapped"
		}
		make() { # BASE NAME OUT: the job, dumped
			rm -f "$DIR/u/up"
			/usr/bin/python3 "$DIR/job.py" "$1" "$2" "$3" "$DIR/u/up" </dev/null >/dev/null 2>&1 &
			for _ in {1..200}; do [ ! -e "$DIR/u/up" ] || break; sleep 0.05; done
			[ -e "$DIR/u/up" ] || { echo "the job did not start"; return 1; }
			rm -rf "$DIR/u/img"
			"$DIR/ckpt" dump -t $! --image "$DIR/u/img" || { kill $!; return 1; }
			wait $!
			return 0
		}
		says() { # STATUS [RULE]
			local got=0
			"$DIR/ckpt" check --image "$DIR/u/img" >"$DIR/u/said" || got=$?
			cat "$DIR/u/said"
			[ "$got" -eq "$1" ] || { echo "status $got, not $1"; return 1; }
			[ -z "$2" ] || grep -qF "[$2]" "$DIR/u/said"
		}
		goes_on() { # OUT: the restored job reads all it had, and writes on
			: >"$DIR/u/up"
			(sleep 0.7; rm -f "$DIR/u/up") &
			local got=0
			"$DIR/ckpt" restore --image "$DIR/u/img" || got=$?
			[ "$got" -eq 7 ] || { echo "the job ended with $got"; return 1; }
			[ "$(cat "$1")" = "so far: 1, 2" ]
		}
		whole() { # BASE NAME OUT: dump, check, go on; then output that grew, and input that changed
			make "$1" "$2" "$3" && says 0 && goes_on "$3" || return 1
			says 21 fs.file.grown || return 1
			printf 'so far: 2' >"$3"
			says 20 fs.file.changed || return 1
			printf 'so far: 1' >"$3"
			says 0 || return 1
			[ -n "$4" ] || { echo DATA >"$1/$2" && says 20 fs.file.changed && echo data >"$1/$2" && says 0; }
		}
		mkdir -p "$DIR/u"
	END
	# Nobody looks into the home of a user's Python.
	chmod 644 "$DIR/job.py" "$DIR/lib.sh"
}

teardown() {
	umount "$DIR/mnt" 2>/dev/null || true
	rm -rf "$DIR"
}

AS=()
[ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)

# Runs a script as an ordinary user.
ordinary() { # SCRIPT ARGUMENT...
	run "${AS[@]}" bash -c '. "$DIR/lib.sh"; '"$1" - "${@:2}"
	echo "$output"
	[ "$status" -eq 0 ]
}

# Likewise, where he may mount.
mounting() { # SCRIPT ARGUMENT...
	unshare -Urm true || skip "no user namespaces"
	run "${AS[@]}" unshare -Urm bash -c '. "$DIR/lib.sh"; '"$1" - "${@:2}"
	echo "$output"
	[ "$status" -eq 0 ]
}

need_fuse() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	[ -w /dev/fuse ] && command -v "$1" || skip "no FUSE here"
	mkdir -p "$DIR/mnt" "$DIR/src"
}

@test "the filesystem of temporary files" {
	ordinary 'fill "$DIR/u/d" in; whole "$DIR/u/d" in "$DIR/u/d/out"'
}

@test "tmpfs" {
	mounting 'mkdir "$DIR/u/t"; mount -t tmpfs none "$DIR/u/t"; fill "$DIR/u/t/d" in; whole "$DIR/u/t/d" in "$DIR/u/t/d/out"'
}

@test "overlay: files of the lower and of the upper layer" {
	mounting 'fill "$DIR/u/low/d" in
		mkdir -p "$DIR/u/up-dir" "$DIR/u/w" "$DIR/u/m"
		mount -t overlay none "$DIR/u/m" -o "lowerdir=$DIR/u/low,upperdir=$DIR/u/up-dir,workdir=$DIR/u/w" || { echo "no overlay"; exit 0; }
		whole "$DIR/u/m/d" in "$DIR/u/m/d/out"
		[ -e "$DIR/u/up-dir/d/in" ] && [ ! -e "$DIR/u/up-dir/d/mapped" ]'
}

@test "a bind mount, and another one in its place" {
	mounting 'fill "$DIR/u/a" in; fill "$DIR/u/b" in
		mkdir "$DIR/u/m"
		mount --bind "$DIR/u/a" "$DIR/u/m"
		make "$DIR/u/m" in "$DIR/u/m/out" && says 0 || exit 1
		umount "$DIR/u/m"
		says 20 fs.file.missing || says 20 fs.mount.missing || exit 1
		mount --bind "$DIR/u/b" "$DIR/u/m"
		says 20 fs.file.missing || exit 1
		cp "$DIR/u/a/out" "$DIR/u/b/out"
		says 0 && goes_on "$DIR/u/m/out"'
}

@test "a read-only mount over what is written" {
	mounting 'fill "$DIR/u/a" in
		make "$DIR/u/a" in "$DIR/u/a/out" && says 0 || exit 1
		mount --bind "$DIR/u/a" "$DIR/u/a" && mount -o remount,bind,ro "$DIR/u/a"
		says 20 fs.file.permission && grep -q "remount,rw" "$DIR/u/said"
		umount "$DIR/u/a"
		says 0 && goes_on "$DIR/u/a/out"'
}

@test "FUSE: bindfs" {
	need_fuse bindfs
	chmod 777 "$DIR/src"
	bindfs -o allow_other "$DIR/src" "$DIR/mnt" || skip "no FUSE here"
	ordinary 'fill "$DIR/mnt/d" in; whole "$DIR/mnt/d" in "$DIR/mnt/d/out"'
}

@test "FUSE: squashfuse, as containers use it" {
	need_fuse squashfuse
	mkdir "$DIR/src/d"
	echo data | tee "$DIR/src/d/in" >"$DIR/src/d/mapped"
	mksquashfs "$DIR/src" "$DIR/one.sqfs" -quiet -no-progress
	squashfuse -o allow_other "$DIR/one.sqfs" "$DIR/mnt"
	ordinary 'whole "$DIR/mnt/d" in "$DIR/u/out" read-only'
	# Another build of the same container.
	echo DATA >"$DIR/src/d/in"
	mksquashfs "$DIR/src" "$DIR/two.sqfs" -quiet -no-progress
	umount "$DIR/mnt"
	squashfuse -o allow_other "$DIR/two.sqfs" "$DIR/mnt"
	ordinary 'says 20 fs.file.changed'
	umount "$DIR/mnt"
	squashfuse -o allow_other "$DIR/one.sqfs" "$DIR/mnt"
	ordinary 'says 0'
}

@test "odd names" {
	local name
	for name in $'a\nb' $'tab\tand "quotes"' "it's" '$(false)' -n 'ends in (deleted)' 'gone (deleted)' 'Ünïcödé ﷽ 文件' 'back\slash' $'\xff\xfe not UTF-8'; do
		ordinary 'rm -rf "$DIR/u/d"; fill "$DIR/u/d" "$1"; whole "$DIR/u/d" "$1" "$DIR/u/d/$1.out" && rm -r "$DIR/u/d"' "$name"
	done
}

@test "odd names of directories, and the remedy that makes them again" {
	ordinary 'mkdir -m 711 -p "$DIR/u/it'"'"'s"; fill "$DIR/u/it'"'"'s/new
line (deleted)" in; make "$DIR/u/it'"'"'s/new
line (deleted)" in "$DIR/u/out" && says 0 || exit 1
		mv "$DIR/u/it'"'"'s" "$DIR/u/saved"
		says 20 fs.dir.missing || exit 1
		mv "$DIR/u/saved" "$DIR/u/it'"'"'s"
		says 0 && goes_on "$DIR/u/out"'
}

@test "names that differ in case only" {
	ordinary 'fill "$DIR/u/d" in; echo other >"$DIR/u/d/IN"
		make "$DIR/u/d" in "$DIR/u/d/out" || exit 1
		rm "$DIR/u/d/in"
		says 20 fs.file.missing || exit 1
		echo data >"$DIR/u/d/in"
		says 0 && goes_on "$DIR/u/d/out"'
}

@test "a path as long as paths can be" {
	ordinary 'long=$DIR/u part=$(printf %0200d 0)
		while [ ${#long} -lt 3880 ]; do long=$long/$part; done
		rest=$((4095 - ${#long} - 9)) # room for /mapped
		long=$long/$(printf "%0${rest}d" 0)
		[ ${#long} -eq 4087 ]
		fill "$long" in && whole "$long" in "$DIR/u/out"'
}

@test "a path longer than that is refused by the dump, and the job runs on" {
	ordinary 'cd "$DIR/u" && part=$(printf %0200d 0)
		for _ in {1..25}; do mkdir $part; cd $part; done
		/usr/bin/python3 -c "import os; os.closerange(3, 1024); os.execvp(\"sleep\", [\"sleep\", \"1000\"])" </dev/null >/dev/null 2>&1 &
		sleep 0.5
		got=0
		"$DIR/ckpt" dump -t $! --image "$DIR/u/img" 2>"$DIR/u/why" || got=$?
		cat "$DIR/u/why"
		[ "$got" -ne 0 ] && [ ! -e "$DIR/u/img" ] && grep -q "current directory" "$DIR/u/why" && kill $!'
}

@test "symbolic links that lead in circles are said, and nothing hangs" {
	ordinary 'fill "$DIR/u/d" in; make "$DIR/u/d" in "$DIR/u/out" || exit 1
		rm "$DIR/u/d/in"; ln -s in "$DIR/u/d/in"
		says 20 fs.file.permission && grep -q "Too many levels of symbolic links" "$DIR/u/said" || exit 1
		rm "$DIR/u/d/in"; echo data >"$DIR/u/elsewhere"; ln -s ../elsewhere "$DIR/u/d/in"
		says 0 && goes_on "$DIR/u/out"'
}

@test "a directory that is removed while others are looked at" {
	ordinary 'fill "$DIR/u/d" in
		(while [ ! -e "$DIR/u/stop" ]; do mkdir -p "$DIR/u/d/x/y"; rmdir "$DIR/u/d/x/y" "$DIR/u/d/x"; done) &
		churn=$!
		for i in 1 2 3; do
			make "$DIR/u/d" in "$DIR/u/out" && says 0 && goes_on "$DIR/u/out" || { : >"$DIR/u/stop"; exit 1; }
			rm "$DIR/u/out"
		done
		: >"$DIR/u/stop"
		wait $churn'
}
