#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ckpt check --for: what a scheduler gets. $CKPT is the binary. The image is one of a real job; a scontrol of our
# own writes down what it was asked for.

setup_file() {
	export JOB=$BATS_FILE_TMPDIR/job IMG=$BATS_FILE_TMPDIR/img
	mkdir -p "$JOB/it's"
	echo data >"$JOB/it's/data"
	bash -c '
		for f in /proc/$$/fd/*; do
			n=${f##*/}
			[ "$n" -le 2 ] || eval "exec $n>&-"
		done
		exec 4<"$JOB/it'"'"'s/data"
		exec setsid sleep 1000' </dev/null >/dev/null 2>&1 &
	local pid=$!
	for _ in {1..100}; do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || break
		sleep 0.05
	done
	"$CKPT" dump -t "$pid" --image "$IMG"
	mkdir "$BATS_FILE_TMPDIR/bin"
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho "$#: $*" >>"$SCONTROL_LOG"\n' >"$BATS_FILE_TMPDIR/bin/scontrol"
	chmod +x "$BATS_FILE_TMPDIR/bin/scontrol"
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	export SLURM_JOB_ID=4711 SLURMD_NODENAME=node-7 SCONTROL_LOG=$PWD/log
	PATH=$BATS_FILE_TMPDIR/bin:$PATH
	: >log
	mkdir -p "$JOB/it's"
	[ -e "$JOB/it's/data" ] || echo data >"$JOB/it's/data"
}

# check FOR OPTION...: standard output in $output, standard error in the file err.
check() {
	local caller=$1
	shift
	run bash -c '"$CKPT" check --for "$@" 2>err' - "$caller" "$@"
	echo "$output"
	cat err
}

# What a Prolog does with it.
prolog() {
	eval "$output"
	cat log
}

@test "Slurm: the exit status is 0 whatever is wrong, and the commands do what they should" {
	check slurm-prolog --image "$IMG"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	grep -q compatible err
	rm "$JOB/it's/data"
	check slurm-prolog --image "$IMG"
	[ "$status" -eq 0 ]
	grep -q fs.file.missing err
	prolog
	[ "$(sed -n 1p log)" = "2: requeue 4711" ]
	[ "$(sed -n 2p log)" = "3: update JobId=4711 ExcNodeList=node-7" ]
	[[ "$(sed -n 3p log)" =~ ^"3: update JobId=4711 AdminComment=ckpt: incompatible: a file is missing [fs.file.missing]: $JOB/it_s/data"$ ]]
	[ "$(wc -l <log)" -eq 3 ]
}

@test "Slurm: what no host can cure is held, what is absent starts afresh" {
	cp -a "$IMG" img
	rm img/ckpt-manifest.img
	check slurm-prolog --image img
	[ "$status" -eq 0 ]
	prolog
	[ "$(sed -n 1p log)" = "2: requeuehold 4711" ]
	[ "$(wc -l <log)" -eq 2 ]
	check slurm-prolog --image no-such-image
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	check slurm-prolog --image "$IMG" --policy no-such-policy
	[ "$status" -eq 0 ]
	[[ "$output" =~ "requeuehold" ]]
	SLURM_JOB_ID='1; reboot' check slurm-prolog --image img
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	grep -q SLURM_JOB_ID err
}

@test "HTCondor: a status of 300 and more goes elsewhere, one below holds" {
	check condor-prepare --image "$IMG"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	rm "$JOB/it's/data"
	check condor-prepare --image "$IMG"
	[ "$status" -eq 20 ]
	[ "${lines[0]}" = "HookStatusCode = 320" ]
	[[ "${lines[1]}" =~ ^"HookStatusMessage = \"ckpt: incompatible: a file is missing [fs.file.missing]: $JOB/it_s/data\""$ ]]
	[ "${#lines[@]}" -eq 2 ]
	cp -a "$IMG" img
	rm img/ckpt-manifest.img
	check condor-prepare --image img
	[ "$status" -eq 65 ]
	[ "${lines[0]}" = "HookStatusCode = 65" ]
	check condor-prepare --image no-such-image
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "HookStatusCode = 0" ]
}

@test "LSF: 99 ends the job, others keep it in the queue" {
	check lsf-preexec --image "$IMG"
	[ "$status" -eq 0 ]
	rm "$JOB/it's/data"
	check lsf-preexec --image "$IMG"
	[ "$status" -eq 20 ]
	[ -z "$output" ]
	grep -q fs.file.missing err
	cp -a "$IMG" img
	rm img/ckpt-manifest.img
	check lsf-preexec --image img
	[ "$status" -eq 99 ]
	check lsf-preexec --image no-such-image
	[ "$status" -eq 0 ]
	check somebody --image img
	[ "$status" -eq 64 ]
}
