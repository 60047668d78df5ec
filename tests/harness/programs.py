# SPDX-License-Identifier: Apache-2.0
"""The programs that are dumped and restored: how each is set up, started, and what of its results must be
the same as those of an uninterrupted run."""

import base64
import glob
import itertools
import os
import random
import re
import shutil
import subprocess

from ckpttest import Failed

HERE = os.path.dirname(os.path.abspath(__file__))

# Lines of LAMMPS's log that hold times measured on the wall: all that may differ between two runs.
with open(os.path.join(HERE, "..", "lib", "lammps-timing"), encoding="ascii") as patterns:
    LAMMPS_TIMING = re.compile("|".join(patterns.read().split("\n")[:-1]))


def untimed(data):
    lines = data.decode().split("\n")
    return "\n".join(line for line in lines if not LAMMPS_TIMING.search(line)).encode()


def whole(data):
    return data


port_ranges = itertools.count(os.getpid())


class Program:
    """argv and env may say {bin}, the directory of the test programs; env, {port}, the first of 32 ports of one run.
    results: file name -> what to compare.
    loads: set of programs that may be dumped while they start and load libraries.
    The job's standard output goes to the file "stdout", or to us through a pipe if pipe is set.
    wipe(cwd) removes, between a dump and the restore, what belongs to the image."""

    def __init__(
        self, name, argv, files=(), setup=None, env=None, stdin=None, results=None, status=0, pipe=False, needs=None, wipe=None
    ):
        self.name, self.argv, self.files, self.setup = name, argv, files, setup
        self.env, self.stdin, self.status, self.pipe, self.needs = env or {}, stdin, status, pipe, needs
        self.wipe = wipe
        self.loads = False
        self.results = {"stdout": whole}
        self.results.update(results or {})

    def prepare(self, place, cwd):
        for name in self.files:
            shutil.copy(os.path.join(HERE, "programs", name), cwd)
            place.own(os.path.join(cwd, name))
        if self.setup:
            self.setup(place, cwd)

    def command(self, place):
        argv = [a.format(bin=place.bin) for a in self.argv]
        port = 20000 + 32 * (next(port_ranges) % 380)
        return argv, {k: v.format(bin=place.bin, port=port) for k, v in self.env.items()}

    def collect(self, cwd):
        found = {}
        for name, view in self.results.items():
            with open(os.path.join(cwd, name), "rb") as f:
                found[name] = view(f.read())
        return found


def big_text(size, width):
    """A setup that writes size bytes of text that compresses little, in lines of width."""

    def setup(place, cwd):
        shared = os.path.join(place.dir, f"text-{size}-{width}")
        if not os.path.exists(shared):
            raw = base64.b64encode(random.Random(width).randbytes(size * 3 // 4 // width * width))
            with open(shared + ".new", "wb") as f:
                f.write(b"\n".join(raw[i : i + width] for i in range(0, len(raw), width)) + b"\n")
            os.chmod(shared + ".new", 0o644)
            os.rename(shared + ".new", shared)
        os.symlink(shared, os.path.join(cwd, "input"))
        os.mkdir(os.path.join(cwd, "sorting"))
        place.own(os.path.join(cwd, "sorting"))

    return setup


def c_tree(place, cwd):
    """A setup: small C files, and a makefile that compiles and links them."""
    texts = {f"f{i}.c": f"int f{i}(int x) {{ return x ? f{i}(x - 1) ^ {i} : {i}; }}\n" for i in range(24)}
    texts["main.c"] = "int main(void) { return 0; }\n"
    texts["Makefile"] = "O = $(sort $(patsubst %.c,%.o,$(wildcard *.c)))\nprog: $(O)\n\t@$(CC) -o $@ $(O)\n"
    texts["Makefile"] += "%.o: %.c\n\t@sleep 0.1; $(CC) -O2 -c -o $@ $<\n"
    for name, text in texts.items():
        path = os.path.join(cwd, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        place.own(path)


def wipe_mpi(cwd):
    """What Open MPI has in /dev/shm and in its session directory, by the names in the latest image."""
    latest = max(glob.glob(os.path.join(cwd, "image*")), key=os.path.getmtime)
    with open(os.path.join(latest, "files.img"), "rb") as f:
        names = set(re.findall(rb"/dev/shm/vader_[\w.-]+\.[0-9a-f]+\.\d+|/[\w./-]+/ompi[\w.-]+/pid\.\d+", f.read()))
    # Dumped early, there are no ranks yet, and nothing that they share.
    if not names:
        raise Failed(f"{latest}: no trace of a session of Open MPI")
    for name in names:
        if os.path.isdir(name):
            shutil.rmtree(name)
        elif os.path.exists(name):
            os.unlink(name)


def wipe_sessions(cwd):
    """What the job shm has by name, in its session directory and in /dev/shm."""
    for path in glob.glob(os.path.join(cwd, "ompi.job.*")):
        pid = path.rsplit(".", 1)[1]
        shutil.rmtree(path)
        os.unlink(f"/dev/shm/ckpt-job-{pid}")


def wipe_sysv(cwd):
    """What the job sysv left where it began; later it is in a namespace of its own."""
    ids = os.path.join(cwd, "sysv.ids")
    if os.path.exists(ids):
        with open(ids, encoding="ascii") as f:
            subprocess.run(["ipcrm", *f.read().split()], check=True)
        os.unlink(ids)


def own_jobs():
    names = (
        "spin nap futex handler frames storm threads tree sessions signals memory sparse files procfiles shares eventfd paths groups routes unix tcp epoll pty hangup shm "
        "memfd clocks vectors rseq self inotify pidfd stops "
        "sysv mappings settings kin kinvm"
    ).split()
    more = {"files": {"files.d/files.seq": whole, "files.d/files.append": whole}, "memory": {"memory.data": whole}}
    wipes = {"shm": wipe_sessions, "sysv": wipe_sysv}
    jobs = [Program(n, ["{bin}/" + n], results=more.get(n), wipe=wipes.get(n)) for n in names]
    jobs.append(Program("status-42", ["{bin}/ends", "42"], status=42))
    jobs.append(Program("headless", ["{bin}/headless"], status=42))
    jobs.append(Program("signal-15", ["{bin}/ends", "signal", "15"], status=-15))
    jobs.append(Program("pipe-out", ["{bin}/tree"], pipe=True))
    return jobs


def real_programs():
    return [
        Program(
            "lammps",
            ["{bin}/lammps", "-in", "in.melt", "-log", "log.lammps"],
            files=["in.melt"],
            results={"stdout": untimed, "log.lammps": untimed, "traj.txt": whole},
            needs="/usr/bin/lmp",
        ),
        Program(
            "mpirun",
            ["/usr/bin/mpirun", "--oversubscribe", "-np", "2", "lmp", "-in", "in.melt", "-log", "log.lammps"],
            files=["in.melt"],
            # Ranks that start compare their user namespaces, to copy from each other's memory: dumped in that very
            # moment, one would say that they differ. Ranks that wait leave the CPU to each other: there may be fewer
            # CPUs than ranks, with several trials at a time. All jobs that listen take the first free port from the same
            # one on: a job that is restored would find its own taken by the trial beside it.
            env={
                "OMP_NUM_THREADS": "1",
                "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
                "OMPI_MCA_mpi_yield_when_idle": "1",
                "OMPI_MCA_btl_tcp_port_min_v4": "{port}",
                "OMPI_MCA_btl_tcp_port_min_v6": "{port}",
            },
            results={"stdout": untimed, "log.lammps": untimed, "traj.txt": whole},
            needs="/usr/bin/mpirun",
            wipe=wipe_mpi,
        ),
        Program(
            "make",
            ["/usr/bin/make", "-j3"],
            setup=c_tree,
            results={f"f{i}.o": whole for i in range(24)} | {"prog": whole},
            needs="/usr/bin/make",
        ),
        Program(
            "python3",
            ["/usr/bin/python3", "work.py"],
            files=["work.py"],
            env={"PYTHONHASHSEED": "0"},
            results={"work.txt": whole},
            needs="/usr/bin/python3",
        ),
        Program(
            "perl",
            ["/usr/bin/perl", "work.pl"],
            files=["work.pl"],
            env={"PERL_HASH_SEED": "0"},
            results={"work.txt": whole},
            needs="/usr/bin/perl",
        ),
        Program(
            "gzip",
            ["/usr/bin/gzip", "-9nc"],
            setup=big_text(34000000, 76),
            stdin="input",
            needs="/usr/bin/gzip",
        ),
        Program(
            "sort",
            ["/usr/bin/sort", "-S", "2M", "--batch-size=4", "-T", "sorting", "-o", "sorted", "input"],
            setup=big_text(30000000, 12),
            results={"sorted": whole},
            needs="/usr/bin/sort",
        ),
        Program(
            "sqlite3",
            ["/usr/bin/sqlite3", "-batch", "work.db"],
            files=["work.sql"],
            stdin="work.sql",
            results={"work.db": whole},
            needs="/usr/bin/sqlite3",
        ),
        Program(
            "redis",
            ["/usr/bin/python3", "redis.py"],
            files=["redis.py"],
            needs="/usr/bin/redis-check-rdb",
        ),
        Program(
            "pool",
            ["/usr/bin/python3", "pool.py"],
            files=["pool.py"],
            results={"pool.txt": whole},
            needs="/usr/bin/python3",
        ),
        Program(
            "loop",
            ["/usr/bin/python3", "loop.py"],
            files=["loop.py"],
            results={"loop.txt": whole},
            needs="/usr/bin/python3",
        ),
        Program(
            "xz",
            ["/usr/bin/xz", "-T2", "-3", "--block-size=1MiB", "-c"],
            setup=big_text(6000000, 76),
            stdin="input",
            needs="/usr/bin/xz",
        ),
        Program(
            "tmux",
            ["/usr/bin/python3", "tmux.py"],
            files=["tmux.py"],
            needs="/usr/bin/tmux",
        ),
    ]


def heavy_programs():
    """Those whose packages are big, or would run as services: make check-programs."""
    return [
        Program(
            "nginx",
            ["/usr/bin/python3", "nginx.py"],
            files=["nginx.py"],
            needs="/usr/sbin/nginx",
        ),
        Program(
            "node",
            ["/usr/bin/node", "http.js"],
            files=["http.js"],
            needs="/usr/bin/node",
        ),
        Program(
            "java",
            ["/usr/bin/java", "-Xmx256m", "Work.java"],
            files=["Work.java"],
            results={"work.txt": whole},
            needs="/usr/bin/javac",
        ),
        Program(
            "R",
            ["/usr/bin/Rscript", "--vanilla", "work.R"],
            files=["work.R"],
            results={"work.txt": whole},
            needs="/usr/bin/Rscript",
        ),
        Program(
            "postgres",
            ["/usr/bin/python3", "postgres.py"],
            files=["postgres.py"],
            needs="/usr/bin/pgbench",
        ),
    ]


def loading(programs):
    for p in programs:
        p.loads = True
    return programs


def all_programs():
    return loading(real_programs()) + own_jobs()
