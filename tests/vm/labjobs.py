# SPDX-License-Identifier: Apache-2.0
"""The jobs of the lab: how each is built and started, how its progress is seen, and how it is ended.

Programs are built from tests/vm/jobs by the compiler and flags given here; those without flags are the ones
of tests/jobs, built by the Makefile. A job's "progress" is "board" (the first word of a shared file, see
tests/jobs/job.h), "lines" (it adds a line per round to its output) or the name of a file that grows. It ends when told
to: by the second word of its board, by a file named "stop", or by itself ("self"), and must then have said "right"
or, if it ends by itself, have written what an uninterrupted run wrote."""

import os
import platform

# What glibc's tunables can take from its own choices of functions.
NO_AVX512 = "-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ"
SSE2_LEAKY = (
    f"{NO_AVX512},-AVX2,-AVX,-BMI2,-BMI1,-FMA,-F16C,-LZCNT,-MOVBE,-POPCNT,-SSE4_2,-SSE4_1,-SSSE3,-ERMS,-XSAVE,-XSAVEC"
)
SSE2 = SSE2_LEAKY + ",-AVX_Fast_Unaligned_Load"

NUMPY_OFF = (
    "SSSE3 SSE41 POPCNT SSE42 AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
)


def tunables(hwcaps):
    return {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + hwcaps}


SSE2_ENV = tunables(SSE2)
NUMPY_ENV = {**SSE2_ENV, "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": NUMPY_OFF, "OPENSSL_ia32cap": "0:0"}

CFLAGS = "-std=gnu17 -D_GNU_SOURCE -O2 -g -pthread"
STRINGS = "-fno-builtin -fno-tree-loop-distribute-patterns"
VECTOR = "-O3 -ffp-contract=fast"

# program: (compiler, source, flags, libraries)
BUILDS = {
    "lab-counter": ("gcc", "counter.c", "", ""),
    "lab-strings": ("gcc", "strings.c", STRINGS, ""),
    "lab-strings-native": ("gcc", "strings.c", STRINGS + " -O3 -march=native", ""),
    "lab-strings-v2": ("gcc", "strings.c", STRINGS + " -O3 -march=x86-64-v2", ""),
    "lab-strings-v3": ("gcc", "strings.c", STRINGS + " -O3 -march=x86-64-v3", ""),
    "lab-strings-static": ("gcc", "strings.c", STRINGS + " -static", ""),
    "lab-musl-strings": ("musl-gcc", "strings.c", STRINGS + " -static", ""),
    "lab-musl-v1": ("musl-gcc", "vector.c", VECTOR + " -static", ""),
    "lab-musl-v2": ("musl-gcc", "vector.c", VECTOR + " -static -march=x86-64-v2", ""),
    "lab-musl-v3": ("musl-gcc", "vector.c", VECTOR + " -static -march=x86-64-v3", ""),
    "lab-musl-v4": ("musl-gcc", "vector.c", VECTOR + " -static -march=x86-64-v4 -mprefer-vector-width=512", ""),
    "lab-musl-native": ("musl-gcc", "vector.c", VECTOR + " -static -march=native", ""),
    "lab-musl-lzcnt": ("musl-gcc", "vector.c", VECTOR + " -static -mlzcnt -mbmi", ""),
    "lab-musl-fma": ("musl-gcc", "vector.c", VECTOR + " -static -march=x86-64-v2 -mavx -mfma", ""),
    "lab-clones": ("gcc", "clones.c", "", ""),
    "lab-exceptions": ("g++", "exceptions.cc", "", ""),
    "liblazy.so": ("gcc", "liblazy.c", "-shared -fPIC", ""),
    "lab-lazy": ("gcc", "lazy.c", "-Wl,-z,lazy -Wl,-rpath,$ORIGIN", "-llazy"),
    "lab-sigframe": ("gcc", "sigframe.c", "", ""),
    "lab-openmp": ("gcc", "openmp.c", "-fopenmp", ""),
    "lab-dgemm": ("gcc", "dgemm.c", "", "-lopenblas"),
    "lab-getres": ("gcc", "getres.c", "", ""),
}


class LabJob:
    """needs: a file without which it can't be run. host_has: a CPU feature that this host must have."""

    def __init__(self, name, argv, env=None, progress="board", end="board", files=(), also_writes=(), inputs=None, needs=None, host_has=None):
        self.name, self.argv, self.env = name, argv.split(), env or {}
        self.progress, self.end = progress, end
        self.files, self.also_writes, self.inputs = files, also_writes, inputs or {}
        self.needs, self.host_has = needs, host_has

    def program(self):
        """The name of what runs it, as the kernel's log shows it."""
        return os.path.basename(self.argv[0])[:15]


def c_job(name, program=None, env=None, args="", **kw):
    return LabJob(name, f"{{bin}}/{program or 'lab-' + name} {args}", env, **kw)


def script(name, argv, source, env=None, needs=None, **kw):
    return LabJob(name, argv, env, progress="lines", end="stop", files=(source,), needs=needs, **kw)


def all_jobs():
    v4 = {"host_has": "avx512f"}
    return [
        c_job("counter"),
        c_job("counter-sse2", "lab-counter", SSE2_ENV),
        c_job("strings"),
        c_job("strings-native"),
        c_job("strings-v2"),
        c_job("strings-v3"),
        c_job("strings-static"),
        c_job("strings-avx2", "lab-strings", tunables(NO_AVX512)),
        c_job("strings-sse2", "lab-strings", SSE2_ENV),
        c_job("strings-sse2-leaky", "lab-strings", tunables(SSE2_LEAKY)),
        c_job("strings-plausible", "lab-strings", tunables(NO_AVX512 + ",-AVX2_Usable,-AVX2,-ERMS,-XSAVEC")),
        c_job("musl-strings"),
        c_job("musl-v1"),
        c_job("musl-v2"),
        c_job("musl-v3"),
        c_job("musl-v4", **v4),
        c_job("musl-native"),
        c_job("musl-lzcnt"),
        c_job("musl-fma"),
        c_job("clones", args="clones"),
        c_job("clones-sse2", "lab-clones", SSE2_ENV, args="clones"),
        c_job("supports", "lab-clones", args="supports"),
        c_job("supports-sse2", "lab-clones", SSE2_ENV, args="supports"),
        c_job("exceptions"),
        c_job("exceptions-sse2", "lab-exceptions", SSE2_ENV),
        c_job("lazy"),
        c_job("lazy-avx2", "lab-lazy", tunables(NO_AVX512)),
        c_job("lazy-avx2-xsave", "lab-lazy", tunables(NO_AVX512 + ",-XSAVEC")),
        c_job("lazy-sse2", "lab-lazy", SSE2_ENV),
        c_job("lazy-sse2-bindnow", "lab-lazy", {**SSE2_ENV, "LD_BIND_NOW": "1"}),
        c_job("sigframe-xmm", "lab-sigframe", SSE2_ENV, args="xmm"),
        c_job("sigframe-ymm", "lab-sigframe", SSE2_ENV, args="ymm", host_has="avx"),
        c_job("sigframe-zmm", "lab-sigframe", SSE2_ENV, args="zmm", **v4),
        c_job("openmp", env={"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}),
        c_job("openmp-sse2", "lab-openmp", {**SSE2_ENV, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}),
        c_job("dgemm", env={"OPENBLAS_NUM_THREADS": "2"}),
        c_job("dgemm-haswell", "lab-dgemm", {**tunables(NO_AVX512 + ",-XSAVEC"), "OPENBLAS_CORETYPE": "Haswell"}),
        c_job("dgemm-prescott", "lab-dgemm", {**SSE2_ENV, "OPENBLAS_CORETYPE": "Prescott"}),
        c_job("clocks", "clocks"),
        c_job("clocks-sse2", "clocks", SSE2_ENV),
        c_job("getres"),
        c_job("getres-sse2", "lab-getres", SSE2_ENV),
        c_job("threads", "threads"),
        c_job("threads-sse2", "threads", SSE2_ENV),
        c_job("vectors-sse2", "vectors", SSE2_ENV),
        script("python", "/usr/bin/python3 work.py", "work.py"),
        script("python-avx2", "/usr/bin/python3 work.py", "work.py", tunables(NO_AVX512 + ",-XSAVEC")),
        script("python-sse2", "/usr/bin/python3 work.py", "work.py", {**SSE2_ENV, "OPENSSL_ia32cap": "0:0"}),
        script("python-sse2-openssl", "/usr/bin/python3 work.py", "work.py", SSE2_ENV),
        script("numpy", "/usr/bin/python3 arrays.py", "arrays.py", needs="/usr/lib/python3/dist-packages/numpy"),
        script("numpy-sse2", "/usr/bin/python3 arrays.py", "arrays.py", NUMPY_ENV, needs="/usr/lib/python3/dist-packages/numpy"),
        script(
            "numpy-glibc-only", "/usr/bin/python3 arrays.py", "arrays.py", SSE2_ENV, needs="/usr/lib/python3/dist-packages/numpy"
        ),
        script("perl", "/usr/bin/perl work.pl", "work.pl"),
        script("perl-sse2", "/usr/bin/perl work.pl", "work.pl", SSE2_ENV),
        script("gzip", "/bin/sh pipeline.sh", "pipeline.sh", inputs={"input": 400000}),
        script("gzip-sse2", "/bin/sh pipeline.sh", "pipeline.sh", SSE2_ENV, inputs={"input": 400000}),
        lammps("lammps", {}),
        lammps("lammps-sse2", SSE2_ENV),
    ]


def lammps(name, env):
    argv = "{bin}/lammps -in in.melt -var steps 1500 -log log.lammps"
    files = ("../../harness/programs/in.melt",)
    return LabJob(
        name, argv, env, progress="traj.txt", end="self", files=files, also_writes=("log.lammps",), needs="/usr/bin/lmp"
    )


# What make check runs: on each of these hosts, these jobs. Few, quick, and of every outcome.
QUICK_HOSTS = ["Haswell/6.1", "Nehalem/6.12"]
QUICK_JOBS = ["counter", "strings-sse2", "strings-sse2-leaky", "musl-lzcnt", "musl-v3", "sigframe-ymm", "getres-sse2"]
# And these from an emulated host, whose CPU saves less state than this one.
QUICK_SOURCE = "Haswell/6.1"
QUICK_GUEST_JOBS = ["lazy"]

ALL_HOSTS = [
    f"{cpu}/{kernel}"
    for cpu, kernels in (
        ("EPYC-Rome", ("6.1", "6.12")),
        ("EPYC-Milan", ("6.12",)),
        ("Opteron_G3", ("6.1",)),
        ("Nehalem", ("6.1", "6.12")),
        ("SandyBridge", ("6.12",)),
        ("Haswell", ("6.1", "6.12")),
        ("Haswell,-fma", ("6.1",)),
        ("Haswell,-avx2", ("6.12",)),
        ("Skylake-Client", ("6.12",)),
        ("max", ("6.1",)),
    )
    for kernel in kernels
]

# Dumped on one emulated host, and restored on this one and on others.
GUEST_SOURCES = ["Haswell/6.1", "Nehalem/6.1"]
GUEST_JOBS = ["counter", "strings", "musl-v1", "lazy", "musl-fma", "sigframe-ymm", "supports", "getres"]
GUEST_TARGETS = ["Haswell/6.12", "Haswell,-fma/6.1", "Nehalem/6.12", "max/6.1"]


def host_flags():
    if platform.machine() != "x86_64":
        return set()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()
