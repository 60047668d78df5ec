#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compresses and expands a file over and over, and compares. Adds a line per round to its output until
# there is a file named "stop".
n=0
until [ -e stop ]; do
	n=$((n + 1))
	if ! gzip -1 -c input | gzip -dc | cmp -s - input; then
		echo "BAD pipeline.sh: the file is another"
		exit 3
	fi
	echo "iter $n"
done
echo right
