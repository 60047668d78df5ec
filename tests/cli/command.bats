#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The command line as such: help, manual pages, completion, and what is said of a wrong one. $CKPT is the binary.

setup() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cd "$BATS_TEST_TMPDIR"
}

# usage TEXT ARG...: status 64, and the first line is TEXT
usage() {
	local text=$1

	shift
	run --separate-stderr "$CKPT" "$@"
	echo "$* -> $status, $stderr"
	[ "$status" -eq 64 ]
	[ -z "$output" ]
	[ "${stderr_lines[0]}" = "$text" ]
	[[ "${stderr_lines[1]}" =~ ^"usage: ckpt " ]]
}

# complete WORD...: what completion proposes for the last of these words
complete() {
	bash --norc -c '
		source /dev/stdin <<<"$("$CKPT" help --format bash)"
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		$(complete -p ckpt | sed "s/.*-F \([^ ]*\).*/\1/")
		printf "%s\n" "${COMPREPLY[@]}"' - "$@"
}

bats_require_minimum_version 1.5.0

@test "help names every command" {
	run "$CKPT" --help
	[ "$status" -eq 0 ]
	for c in $("$CKPT" help --format list | grep -v ' '); do
		[[ "$output" =~ $'\n'"  $c " ]]
	done
	[ "$("$CKPT" help)" = "$output" ]
	[ "$("$CKPT" -h)" = "$output" ]
}

@test "help of a command names its options, three ways" {
	for c in $("$CKPT" help --format list | grep -v ' '); do
		run "$CKPT" "$c" --help
		[ "$status" -eq 0 ]
		[[ "${lines[0]}" =~ ^"usage: ckpt $c " ]]
		[ "$("$CKPT" help "$c")" = "$output" ]
		[ "$("$CKPT" "$c" -h)" = "$output" ]
		for o in $("$CKPT" help --format list | sed -n "s/^$c //p"); do
			grep -qE -- "^ .* $o( |$)" <<<"$output"
		done
	done
}

@test "help fits a terminal" {
	for c in $("$CKPT" help --format list | grep -v ' '); do
		"$CKPT" help "$c" | awk 'length > 80 { print; bad = 1 } END { exit bad || NR > 60 }'
	done
}

@test "each option stands in the README, under its command" {
	local missing=0

	while read -r c o; do
		[ -n "$o" ] || continue
		sed -n "/^### ckpt $c\b/,/^##/p" "$ROOT/README.md" | grep -qE -- "^\| .*\`$o( |\`)" ||
			grep -qE -- "^### ckpt $c\b.*$o\b" "$ROOT/README.md" || {
			echo "not in the README: ckpt $c $o"
			missing=1
		}
	done < <("$CKPT" help --format list)
	[ "$missing" -eq 0 ]
}

@test "the README's exit statuses are those of the manual" {
	"$CKPT" help --format scdoc | sed -nE 's/^\*([0-9]+)\*$/\1/p' >manual
	[ -s manual ]
	sed -nE 's/^\| ([0-9]+) \|.*/\1/p' "$ROOT/README.md" | cmp - manual
}

@test "manual pages have every option, and scdoc takes them" {
	command -v scdoc || skip "no scdoc"
	for c in $("$CKPT" help --format list | grep -v ' '); do
		"$CKPT" help "$c" --format scdoc | scdoc >"$c.1"
		sed 's/\\-/-/g; s/\\f.//g; s/\\&//g' "$c.1" >plain
		for o in $("$CKPT" help --format list | sed -n "s/^$c //p"); do
			grep -q -- "$o" plain
		done
	done
	"$CKPT" help --format scdoc | scdoc >ckpt.1
	[ -s ckpt.1 ]
}

@test "completion proposes commands, options and values" {
	[ "$(complete ckpt '')" = "$("$CKPT" help --format list | grep -v ' ')" ]
	[ "$(complete ckpt res | head -1)" = restore ]
	for c in $("$CKPT" help --format list | grep -v ' '); do
		complete ckpt "$c" -- >got
		for o in $("$CKPT" help --format list | sed -n "s/^$c //p") --help --verbose; do
			grep -qxF -- "$o" got
		done
		[ "$(sort got | uniq -d)" = "" ]
		[ "$(complete ckpt -v "$c" --hel)" = --help ]
	done
	mkdir snap "other dir"
	touch file
	[ "$(complete ckpt show --image '' | sort)" = $'other dir\nsnap' ]
	[ "$(complete ckpt show --image = sn)" = snap ]
	[ "$(complete ckpt check --host fi)" = file ]
	[ "$(complete ckpt show --format '')" = $'text\njson' ]
	[ "$(complete ckpt show --format =)" = $'text\njson' ]
	complete ckpt dump -t '' | grep -qx $$
	[ "$(complete ckpt help res | head -1)" = restore ]
}

@test "a wrong command line is told with what was probably meant" {
	usage "ckpt: which command?"
	usage "ckpt: no such command: dmup; did you mean dump?" dmup
	usage "ckpt: no such command: xyzzy" xyzzy
	usage "ckpt: no such option: --verbsoe; did you mean --verbose?" --verbsoe dump
	usage "ckpt dump: no such option: --imgae; did you mean --image?" dump --imgae snap
	usage "ckpt dump: no such option: --imgae; did you mean --image?" dump --imgae=snap
	usage "ckpt dump: no such option: --xyzzy" dump --xyzzy
	usage "ckpt dump: no such option: -x" dump -x
	usage "ckpt check: --allo may be --allow or --allow-undecided" check --allo x
	usage "ckpt dump: --image needs a value: --image DIR" dump -t 12 --image
	usage "ckpt dump: --image needs a value: --image DIR" dump -t 12 --image=
	usage "ckpt dump: --tree needs a value: --tree PID" dump -t
	usage "ckpt dump: --leave-running takes no value" dump --leave-running=yes
	usage "ckpt dump: --image DIR is missing" dump -t 12
	usage "ckpt dump: not a process id: 12x" dump -t 12x --image snap
	usage "ckpt dump: not a process id: 1" dump -t 1 --image snap
	usage "ckpt dump: unexpected argument: 12" dump 12 -t 13 --image snap
	usage "ckpt show: --format yaml: it takes text|json" show --image snap --format yaml
	usage "ckpt show: --format tex: it takes text|json" show --image snap --format tex
	usage "ckpt help: no such command: xyzzy" help xyzzy
}

@test "options stand where they like" {
	for args in "--image=none --format=json" "--format json --image none" "none2 --image none -v" \
		"--image other --image none" "--image none -- --format"; do
		# shellcheck disable=SC2086
		run "$CKPT" show $args
		[ "$status" -eq 66 ]
		[[ "$output" =~ "none" ]]
	done
	run "$CKPT" -v show --image none
	[ "$status" -eq 66 ]
	[[ "$output" =~ \.c:[0-9]+\]$ ]]
}

@test "help notices a full disk" {
	run bash -c '"$CKPT" --help >/dev/full'
	[ "$status" -eq 71 ]
}

@test "make install brings manual pages and completion" {
	command -v scdoc || skip "no scdoc"
	make -s -C "$ROOT" B="$(dirname "$CKPT")" DESTDIR="$PWD/root" PREFIX=/usr install >log 2>&1 || {
		cat log
		false
	}
	for f in bin/ckpt share/man/man1/ckpt.1 share/man/man1/ckpt-dump.1 share/doc/ckpt/LICENSE; do
		[ -s "root/usr/$f" ]
	done
	"$CKPT" help --format bash | cmp - root/usr/share/bash-completion/completions/ckpt
}
