# SPDX-License-Identifier: Apache-2.0
"""What the tests that run real jobs share: an ordinary user, a place of his own, ckpt and jobs run as
him, and what /proc tells about them. Python's standard library only."""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
TEST_USER = "ckpttest"


class Failed(Exception):
    """The thing under test did something wrong."""


class Ended(Exception):
    """The job was over before it could be looked at: bad luck, not a failure."""


def ordinary_user():
    """The passwd entry of the user that jobs run as: ourselves, or, when we are root, one made for it."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    try:
        return pwd.getpwnam(TEST_USER)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/sh", TEST_USER], check=True
        )
        return pwd.getpwnam(TEST_USER)


class Place:
    """A directory of the ordinary user that holds copies of ckpt and the test programs (the source tree may
    be closed to him) and all work directories. Removed at the end unless something was worth keeping."""

    def __init__(self, name, user=None):
        self.user = user or ordinary_user()
        self.dir = tempfile.mkdtemp(prefix=f"ckpt-{name}-", dir=os.environ.get("CKPT_TMP", "/var/tmp"))
        self.bin = os.path.join(self.dir, "bin")
        self.kept = []
        self.pidfile = None
        os.chmod(self.dir, 0o755)
        os.mkdir(self.bin)
        ckpt = os.environ.get("CKPT", os.path.join(BUILD, "ckpt"))
        shutil.copy(ckpt, os.path.join(self.bin, "ckpt"))
        built = [os.path.join(BUILD, "tests", sub) for sub in ("jobs", "lib", "tools")]
        for where in built + [os.path.join(TOP, "tests", "lib")]:
            for name in sorted(os.listdir(where)) if os.path.isdir(where) else []:
                path = os.path.join(where, name)
                if os.access(path, os.X_OK) and os.path.isfile(path):
                    shutil.copy(path, os.path.join(self.bin, name))
        self.own(self.dir)
        self.own(self.bin)
        self.ckpt = os.path.join(self.bin, "ckpt")

    def own(self, path):
        if os.getuid() == 0:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def work_dir(self, name):
        path = os.path.join(self.dir, name)
        os.mkdir(path)
        self.own(path)
        return path

    def output(self, path):
        """A new file of the ordinary user's, open for writing: a job's stdout."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.own(path)
        return fd

    def environment(self, home, more=None):
        env = {"PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin", "HOME": home, "LC_ALL": "C.UTF-8"}
        env["TMPDIR"] = home
        env["USER"] = env["LOGNAME"] = self.user.pw_name
        if "JOB_SCALE" in os.environ:
            env["JOB_SCALE"] = os.environ["JOB_SCALE"]
        env.update(more or {})
        return env

    def popen(self, argv, cwd, env=None, **kw):
        """Starts argv as the ordinary user. No descriptor but stdio is handed on."""
        if os.getuid() == 0:
            kw.update(user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[])
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(argv, cwd=cwd, env=self.environment(cwd, env), umask=0o022, **kw)

    def run(self, argv, cwd, timeout=60, **kw):
        """Runs argv to its end and returns (status, output). Never waits longer than timeout."""
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.STDOUT)
        p = self.popen(argv, cwd, **kw)
        try:
            out, _ = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as e:
            p.kill()
            p.communicate()
            raise Failed(f"{shlex.join(argv)} hangs: no end after {timeout} s") from e
        return p.returncode, (out or b"").decode(errors="replace")

    def has_pidfile(self):
        if self.pidfile is None:
            status, out = self.run([self.ckpt, "help"], self.dir)
            self.pidfile = status == 0 and "--pidfile" in out
        return self.pidfile

    def keep(self, path):
        self.kept.append(path)

    def done(self):
        if not self.kept and not os.environ.get("CKPT_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)


# ---- /proc


def read_proc(pid, name):
    """Text of /proc/PID/NAME, or None when there is no such task."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as f:
            return f.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None


def stat_fields(pid):
    """Fields of /proc/PID/stat from the third (the state) on, or None."""
    text = read_proc(pid, "stat")
    return text.rsplit(")", 1)[1].split() if text else None


def status_field(pid, field):
    text = read_proc(pid, "status")
    m = re.search(rf"^{field}:\s*(.*)$", text, re.M) if text else None
    return m.group(1) if m else None


def threads(pid):
    """Thread ids of pid in their order; none when it is gone."""
    try:
        return sorted(os.listdir(f"/proc/{pid}/task"), key=int)
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid):
    """Children of all threads of pid."""
    found = []
    for tid in threads(pid):
        text = read_proc(pid, f"task/{tid}/children")
        found += [int(c) for c in (text or "").split()]
    return found


def tree(pid):
    """pid and all its descendants, zombies too."""
    found = [pid]
    for p in found:
        found += [c for c in children(p) if c not in found]
    return found


def alive(pid):
    """A process lives on without its first thread as long as it has others."""
    f = stat_fields(pid)
    return f is not None and (f[0] not in "ZX" or int(f[17]) > 1)


def find_inside(outer, pid):
    """The task below outer that calls itself pid (in its innermost pid namespace), as we see it."""
    for p in tree(outer)[1:]:
        ids = status_field(p, "NSpid")
        if ids and int(ids.split()[-1]) == pid:
            return p
    return None


def describe(pid):
    """One line per task below pid: who it is and what it waits for. For the notes of a failure."""
    lines = []
    for p in tree(pid):
        for tid in threads(p):
            state = stat_fields(f"{p}/task/{tid}") or ["gone"]
            words = [(read_proc(f"{p}/task/{tid}", n) or "").strip() for n in ("comm", "wchan", "syscall")]
            lines.append(f"task {tid}: {state[0]} {' '.join(words)} tracer {status_field(f'{p}/task/{tid}', 'TracerPid')}")
    return "\n".join(lines)


def kill_tree(pid):
    """Kills pid and what is below it; all of it was started by us."""
    for p in tree(pid):
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_until(what, timeout, condition, step=0.005):
    """Returns the first true value of condition(); Failed when there is none in time."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {timeout} s")
        time.sleep(step)


# ---- a job under way


class Job:
    """A job that was started, and is dumped and restored from time to time. self.front is our child that
    stands for it: the job itself, or the `ckpt restore` in the foreground; self.root is its root task."""

    def __init__(self, place, cwd, argv, env=None, stdout=None, stdin=None, pipe=False, session=True):
        self.place, self.cwd = place, cwd
        self.generation = 0
        self.ckpt_log = []
        self.stdio = {"stdout": stdout or subprocess.DEVNULL, "stdin": stdin or subprocess.DEVNULL}
        self.pipe = pipe
        self.front = place.popen(argv, cwd, env, stderr=subprocess.STDOUT, start_new_session=session, **self.stdio)
        self.root = self.inner = self.front.pid

    def log(self, argv, status, out):
        line = f"$ {shlex.join(argv)}\n{out}[status {status}]\n"
        self.ckpt_log.append(line)
        with open(os.path.join(self.cwd, "ckpt.log"), "a", encoding="utf-8") as f:
            f.write(line)

    def run_ckpt(self, *args, timeout=60):
        argv = [self.place.ckpt, *args]
        status, out = self.place.run(argv, self.cwd, timeout)
        self.log(argv, status, out)
        return status, out

    def image(self):
        return os.path.join(self.cwd, f"image{self.generation}")

    def dump(self, *options):
        """Dumps to the next image. Ended if there was no job any more."""
        self.generation += 1
        members = tree(self.root)
        for _ in range(20):
            status, out = self.run_ckpt("dump", "-t", str(self.root), "--image", self.image(), *options)
            # A job that reads /proc/self at this very moment is refused, and runs on: as a user would, try again.
            if not (status and "a file of a process" in out and alive(self.root)):
                break
            time.sleep(0.02)
        if status:
            if not alive(self.root):
                self.generation -= 1
                raise Ended()
            raise Failed(f"dump {self.generation}: status {status}: {out.strip()}")
        if "--leave-running" in options:
            return
        if self.wait(20) != -signal.SIGKILL:
            raise Failed(f"after dump {self.generation}: the job ended with {self.front.returncode}")
        wait_until("all tasks gone after the dump", 10, lambda: not any(alive(p) for p in members))

    def groups(self):
        """The process groups and sessions of the image, by the names that the oracle gives them."""
        status, out = self.run_ckpt("show", "--image", self.image(), "--format", "json", "pstree")
        if status:
            raise Failed(f"show {self.generation}: status {status}: {out.strip()}")
        entries = json.loads(out)["files"][0]["entries"]
        return {f"task {e['pid']}: NS{kind}": e[kind] for e in entries for kind in ("pgid", "sid")}

    def check(self):
        status, out = self.run_ckpt("check", "--image", self.image())
        if status:
            raise Failed(f"check {self.generation}: status {status}: {out.strip()}")

    def restore(self, *options):
        """Restores in the foreground; returns when the job runs."""
        argv = [self.place.ckpt, "restore", "--image", self.image(), *options]
        pidfile = os.path.join(self.cwd, f"pid{self.generation}")
        if self.place.has_pidfile():
            argv += ["--pidfile", pidfile]
        errors = os.path.join(self.cwd, f"restore{self.generation}.err")
        with open(errors, "wb") as err:
            out = self.stdio["stdout"] if self.pipe else err
            self.front = self.place.popen(argv, self.cwd, stderr=err, stdout=out, start_new_session=True)
        try:
            self.root = wait_until("the restored job", 60, lambda: self.running(pidfile))
        except Failed as e:
            raise Failed(f"{e}\n{describe(self.front.pid)}") from e
        finally:
            with open(errors, encoding="utf-8", errors="replace") as err:
                self.log(argv, self.front.poll(), err.read())

    def running(self, pidfile):
        if self.place.has_pidfile():
            try:
                with open(pidfile, encoding="ascii") as f:
                    text = f.read()
                if text.endswith("\n"):
                    return int(text)
            except FileNotFoundError:
                pass
        else:
            pid = find_inside(self.front.pid, self.inner)
            if pid and self.settled(pid):
                return pid
        if self.front.poll() is not None:
            # It may have been restored and have run to its end already.
            if self.front.returncode in (0, 42, -signal.SIGTERM, -signal.SIGKILL):
                return self.front.pid
            with open(os.path.join(self.cwd, f"restore{self.generation}.err"), encoding="utf-8") as f:
                raise Failed(f"restore {self.generation}: status {self.front.returncode}: {f.read().strip()}")
        return None

    def settled(self, pid):
        """No longer ckpt in any way: neither its program nor its tracee."""
        try:
            # The first thread may have ended, and then has no program any more.
            last = threads(pid)[-1]
            exe = os.readlink(f"/proc/{pid}/task/{last}/exe")
        except (OSError, IndexError):
            return False
        traced = [status_field(f"{pid}/task/{tid}", "TracerPid") for tid in threads(pid)]
        return exe != self.place.ckpt and set(traced) == {"0"}

    def wait(self, timeout):
        try:
            return self.front.wait(timeout)
        except subprocess.TimeoutExpired as e:
            where = describe(self.front.pid)
            raise Failed(f"the job hangs: no end after {timeout:.0f} s (generation {self.generation})\n{where}") from e

    def abandon(self):
        if self.front.poll() is None:
            kill_tree(self.front.pid)
            self.front.wait()


# ---- TAP


class Tap:
    """Prints test points, from any thread; ends with the plan."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = self.failures = 0
        print("TAP version 13", flush=True)

    def say(self, text):
        with self.lock:
            for line in str(text).rstrip("\n").split("\n"):
                print(f"# {line}", flush=True)

    def ok(self, name, passed=True, notes=""):
        with self.lock:
            self.count += 1
            self.failures += not passed
            print(f"{'ok' if passed else 'not ok'} {self.count} - {name}", flush=True)
            for line in notes.rstrip("\n").split("\n") if notes else []:
                print(f"# {line}", flush=True)

    def skip(self, name, why):
        with self.lock:
            self.count += 1
            print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    def done(self):
        print(f"1..{self.count}", flush=True)
        return 1 if self.failures else 0


def die(text):
    print(f"Bail out! {text}", flush=True)
    sys.exit(1)
