# SPDX-License-Identifier: Apache-2.0
"""What /proc and the scheduler say of a tree of tasks: the same before a dump and after the restore, but for what is
listed here with the reason."""

import ctypes
import os
import re
import time

from ckpttest import Failed, alive, read_proc, stat_fields, threads, tree

# Lines of status that are not compared, and why.
STATUS_DIFFERS = {
    "it runs": "State SigBlk SigPnd ShdPnd voluntary_ctxt_switches nonvoluntary_ctxt_switches",
    "numbers of outer namespaces, or counted by level": "Tgid Pid PPid NStgid NSpid NSpgid NSsid Ngid TracerPid",
    "room in the descriptor table, not its use": "FDSize",
    "of all processes of the user": "SigQ",
    "of the new process, or what is in memory just now": "VmPeak VmHWM VmRSS RssAnon RssFile RssShmem VmSwap VmPTE VmSize VmData",
    "a user namespace has its own": "CapInh CapPrm CapEff CapBnd CapAmb Groups",
    "asked in another way": "Cpus_allowed Cpus_allowed_list",
}
SKIPPED = {field for fields in STATUS_DIFFERS.values() for field in fields.split()}
# Fields of stat that are compared, by their number in proc_pid_stat(5).
STAT = {
    7: "tty_nr", 18: "priority", 19: "nice", 20: "num_threads", 26: "startcode", 27: "endcode", 28: "startstack",
    38: "exit_signal", 40: "rt_priority", 41: "policy", 45: "start_data", 46: "end_data", 47: "start_brk",
    48: "arg_start", 49: "arg_end", 50: "env_start", 51: "env_end",
}  # fmt: skip
FILES = ("limits", "cmdline", "environ", "personality", "oom_score_adj", "coredump_filter", "timerslack_ns", "loginuid")
PATIENCE = 3  # seconds, for what changes while it is looked at

LIBC = ctypes.CDLL(None, use_errno=True)
IOPRIO_GET, IOPRIO_WHO_PROCESS = 252, 1


def inner(pid, field):
    """The number within the innermost namespace."""
    m = re.search(rf"^{field}:\s*(.*)$", read_proc(pid, "status") or "", re.M)
    return int(m.group(1).split()[-1]) if m else 0


def of_thread(pid, tid):
    seen = {}
    for line in (read_proc(pid, f"task/{tid}/status") or "").split("\n"):
        field, _, value = line.partition(":")
        if field and field not in SKIPPED:
            seen[field] = value.strip()
    for number, name in STAT.items():
        seen[f"stat {name}"] = stat_fields(f"{pid}/task/{tid}")[number - 3]
    seen["affinity"] = sorted(os.sched_getaffinity(int(tid)))
    seen["scheduler"] = os.sched_getscheduler(int(tid))
    seen["ioprio"] = LIBC.syscall(IOPRIO_GET, IOPRIO_WHO_PROCESS, int(tid))
    return seen


def of_process(pid):
    seen = {field: inner(pid, field) for field in ("NSpgid", "NSsid")}
    # A zombie has nothing of its own any more; one that a signal ended is made with a limit that forbids a core.
    for name in FILES if alive(pid) else ("comm",):
        try:
            seen[name] = read_proc(pid, name)
        except OSError as e:  # of a process whose first thread has ended, or one that ends
            seen[name] = e.strerror
    for tid in threads(pid):
        try:
            number = inner(f"{pid}/task/{tid}", "NSpid")
            seen.update({f"thread {number}: {key}": value for key, value in of_thread(pid, tid).items()})
        except (OSError, TypeError, IndexError):
            continue  # it has ended
    return seen


def look(root):
    """All tasks from root on, by the numbers that they have for themselves."""
    return {f"task {inner(p, 'NSpid')}: {key}": value for p in tree(root) for key, value in of_process(p).items()}


def still_loading(before, now):
    """Tasks that loaded a library after they were looked at: until the dump they did other things, too."""
    return {key.split(":")[0] for key in before if key.endswith(": VmLib") and now.get(key, before[key]) != before[key]}


def check(root, before, loads=False, dumped=None):
    """Fails with what differs of those tasks and threads that are there as before, and of what the image has: the job
    may have changed it after the look. loads: see still_loading()."""
    end = time.monotonic() + PATIENCE
    while True:
        now = look(root)
        if loads:
            strange = still_loading(before, now)
            before = {key: value for key, value in before.items() if key.split(":")[0] not in strange}
        keys = [key for key in sorted(before) if now.get(key, before[key]) not in (before[key], (dumped or {}).get(key))]
        different = [f"{key}: was {before[key]!r}, is {now[key]!r}" for key in keys]
        if not different:
            return
        if time.monotonic() > end:
            raise Failed("/proc differs after the restore:\n" + "\n".join(different[:12]))
        time.sleep(0.05)
