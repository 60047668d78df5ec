# SPDX-License-Identifier: Apache-2.0
"""numpy: integer and floating point arithmetic, products of matrices, functions and sorting, compared with
Python's own. Adds a line per round to its output until there is a file named "stop"."""
import math
import os
import sys

import numpy as np


def bad(what):
    print("BAD arrays.py:", what, flush=True)
    os._exit(3)


def main():
    n = 0
    while not os.path.exists("stop"):
        n += 1
        v = np.arange(n, n + 1000)
        if int((v * v).sum()) != sum(i * i for i in range(n, n + 1000)):
            bad("integers")
        a = (np.arange(3600).reshape(60, 60) * n % 53).astype(float)
        c = a @ a.T
        if c[7, 9] != sum(float(x) * float(y) for x, y in zip(a[7], a[9])):
            bad("matrix product")
        x = np.linspace(0.1, 20, 400)
        for f, g in ((np.exp, math.exp), (np.log, math.log), (np.sin, math.sin), (np.sqrt, math.sqrt)):
            if not all(abs(p - g(q)) <= 1e-12 * max(1, abs(p)) for p, q in zip(f(x).tolist(), x.tolist())):
                bad(f.__name__)
        w = (v * 7919 % 1009).astype(np.int32)
        if np.sort(w).tolist() != sorted(w.tolist()) or int(w.max()) != max(w.tolist()):
            bad("sorting")
        if np.where(w > 500, w, 0).sum() != sum(i for i in w.tolist() if i > 500):
            bad("where")
        f = v.astype(np.float32) * np.float32(0.5) + np.float32(1)
        if f.tolist() != [i * 0.5 + 1 for i in range(n, n + 1000)]:
            bad("single precision")
        print("iter", n, flush=True)
    print("right", flush=True)


sys.exit(main())
