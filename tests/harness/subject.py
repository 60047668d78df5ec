# SPDX-License-Identifier: Apache-2.0
"""A job that bad things are tried against, what it looked like before, and how to tell that it was left alone."""

import mmap
import os
import re
import struct
import time

from ckpttest import Failed, Job, alive, read_proc, stat_fields, status_field, threads, tree, wait_until

# A blob that finds its own way back can't always unmap the ground under its feet, nor the last of several threads
# the word that they shared. A few unused pages that stay behind are no harm to the job; they are counted. (None of
# the jobs has such mappings of its own.)
LEFTOVER = re.compile(r"\S+ (rwxp 00000000 00:00 0 *|r--s 00000000 00:01 \d+ +/SYSV00000000 \(deleted\))")

# Jobs whose masks or descriptors change while they run, and whose tasks come and go.
OWN_MASKS = {"handler"}
OWN_FDS = {"kin", "unix"}
OWN_TASKS = {"storm", "files"}


class Board:
    """The two words that a job shares with us: its rounds, and our wish that it end."""

    def __init__(self, place, path):
        with open(path, "wb") as f:
            f.write(bytes(4096))
        place.own(path)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def rounds(self):
        return struct.unpack_from("<Q", self.map, 0)[0]

    def stop(self):
        struct.pack_into("<Q", self.map, 8, 1)


class Subject:
    """A job that ckpt is killed against, and what it looked like before."""

    def __init__(self, place, name, number):
        self.place, self.name = place, name
        self.cwd = place.work_dir(f"{name}-{number}")
        self.board = Board(place, os.path.join(self.cwd, "board"))
        self.out = place.output(os.path.join(self.cwd, "stdout"))
        self.job = Job(
            place,
            self.cwd,
            [os.path.join(place.bin, name)],
            {"JOB_BOARD": os.path.join(self.cwd, "board")},
            stdout=self.out,
        )
        self.progress("after its start", 3)
        self.before = self.looks()
        # The C library blocks signals for a moment while it starts threads.
        wait_until("a steady state after its start", 20, self.steady, 0.05)

    def progress(self, when, rounds=2):
        was = self.board.rounds()
        wait_until(f"progress {when}", 20, lambda: self.board.rounds() >= was + rounds or self.job.front.poll(), 0.001)

    def steady_tasks(self):
        return [self.job.root] if self.name in OWN_TASKS else tree(self.job.root)

    def looks(self):
        """What must be the same afterwards: tasks, threads, dispositions, masks, mappings, descriptors."""
        seen = {}
        for pid in self.steady_tasks():
            for tid in threads(pid):
                fields = ["SigIgn", "SigCgt", "Seccomp", "NoNewPrivs"] + ["SigBlk"] * (self.name not in OWN_MASKS)
                status = read_proc(pid, f"task/{tid}/status") or ""
                for field in fields:
                    m = re.search(rf"^{field}:\s*(\S+)", status, re.M)
                    seen[f"{field} of {tid}"] = m.group(1) if m else None
            maps = (read_proc(pid, "maps") or "").split("\n")
            seen[f"mappings of {pid}"] = "\n".join(sorted(m for m in maps if not LEFTOVER.fullmatch(m)))
            if self.name in OWN_FDS:
                continue
            try:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    seen[f"fd {fd} of {pid}"] = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:
                pass
        return seen

    def steady(self):
        before, self.before = self.before, self.looks()
        return before == self.before

    def leftovers(self):
        maps = read_proc(self.job.root, "maps") or ""
        return sum(1 for m in maps.split("\n") if LEFTOVER.fullmatch(m))

    def undisturbed(self):
        """Nothing of ckpt is left on any task. A string says what is."""
        for pid in tree(self.job.root):
            for tid in threads(pid):
                state = stat_fields(f"{pid}/task/{tid}")
                if state and state[0] in "Tt":
                    return f"task {tid} is stopped"
                tracer = status_field(f"{pid}/task/{tid}", "TracerPid")
                if tracer not in (None, "0"):
                    return f"task {tid} is traced by {tracer}"
        return None

    def differs(self):
        try:
            now = self.looks()
        except (FileNotFoundError, ProcessLookupError):
            return "tasks are missing"
        for key in sorted(set(now) | set(self.before)):
            if now.get(key) != self.before.get(key):
                return f"{key}: {difference(self.before.get(key), now.get(key))}"
        return None

    def check_intact(self):
        """Right after ckpt's end the blob may still be on its way out: some time is allowed."""
        end = time.monotonic() + 10
        while True:
            if self.job.front.poll() is not None:
                raise Failed(f"the job died: {self.job.front.returncode}: {self.output()}")
            problem = self.undisturbed() or self.differs()
            if not problem:
                break
            if time.monotonic() > end:
                raise Failed(f"not intact after 10 s: {problem}")
            time.sleep(0.002)
        self.progress("afterwards")
        if self.job.front.poll() is not None:
            raise Failed(f"the job died: {self.job.front.returncode}: {self.output()}")

    def check_gone(self, image, members):
        self.job.wait(20)
        wait_until("all tasks gone", 10, lambda: not any(alive(p) for p in members))
        status, out = self.place.run([self.place.ckpt, "check", "--image", image], self.cwd)
        if status:
            raise Failed(f"the job is gone, but its image does not check: {status}: {out}")
        self.job.generation += 1
        os.rename(image, self.job.image())
        self.job.restore()
        self.progress("after the restore")

    def finish(self):
        self.board.stop()
        status = self.job.wait(60)
        if status or "right" not in self.output():
            raise Failed(f"its end: {status}: {self.output()}")

    def output(self):
        with open(os.path.join(self.cwd, "stdout"), errors="replace", encoding="utf-8") as f:
            return f.read()[-500:]

    def close(self):
        self.job.abandon()
        os.close(self.out)


def difference(before, now):
    if before is None or now is None or "\n" not in before:
        return f"was {before!r}, is {now!r}"
    old, new = set(before.split("\n")), set(now.split("\n"))
    return f"gone {sorted(old - new)[:4]}, new {sorted(new - old)[:4]}"


def failed_dump(subject, argv, image, names):
    """A dump that must fail, say why in one line, leave no image and leave the job alone."""
    status, out = subject.place.run(argv, subject.cwd, timeout=60)
    subject.job.log(argv, status, out)
    if status == 0:
        raise Failed("the dump succeeded")
    if status < 64 or status > 78:
        raise Failed(f"status {status} is none of ours: {out}")
    lines = [line for line in out.strip().split("\n") if line]
    if len(lines) != 1 or not lines[0].startswith("ckpt dump: "):
        raise Failed(f"not one clear line: {out!r}")
    if names and not re.search(names, out, re.I):
        raise Failed(f"the error does not say /{names}/: {out!r}")
    if os.path.exists(os.path.join(image, "ckpt-manifest.img")):
        raise Failed("there is an image all the same")
    subject.check_intact()


def dump_argv(subject, image, *options):
    return [subject.place.ckpt, "dump", "-t", str(subject.job.root), "--image", image, *options]


def with_subject(place, tap, title, job, body):
    try:
        subject = Subject(place, job, re.sub(r"\W+", "-", title))
    except Failed as e:
        tap.ok(title, False, str(e))
        return
    try:
        notes = body(subject)
        subject.finish()
        tap.ok(title, True, notes or "")
    except (Failed, OSError) as e:
        place.keep(subject.cwd)
        tap.ok(title, False, f"{e}\nkept: {subject.cwd}")
    finally:
        subject.close()
