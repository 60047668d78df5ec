# SPDX-License-Identifier: Apache-2.0
"""json, re, sha256, big integers and sorting: what is done twice must come out the same, and known answers be
right. Adds a line per round to its output until there is a file named "stop"."""
import hashlib
import json
import os
import re
import sys


def bad(what):
    print("BAD work.py:", what, flush=True)
    os._exit(3)


def main():
    first = None
    n = 0
    while not os.path.exists("stop"):
        n += 1
        data = {f"k{i}": [i * n % 7, str(i * i), {"x": i / 8}] for i in range(300)}
        if json.loads(json.dumps(data)) != data:
            bad("json")
        text = " ".join(f"a{i}b{i * 3}" for i in range(500))
        if [int(b) for b in re.findall(r"a\d+b(\d+)", text)] != [i * 3 for i in range(500)]:
            bad("re")
        digest = hashlib.sha256(text.encode() * 20).hexdigest() + hashlib.md5(text.encode()).hexdigest()
        first = first or digest
        if digest != first or not hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf8f01cfea"):
            bad("sha256")
        if pow(3, 2**200 - 1, 2**127 - 1) * pow(3, -(2**200 - 1), 2**127 - 1) % (2**127 - 1) != 1:
            bad("integers")
        if sorted(str(i) for i in range(999, -1, -1))[:3] != ["0", "1", "10"]:
            bad("sorting")
        print("iter", n, flush=True)
    print("right", flush=True)


sys.exit(main())
