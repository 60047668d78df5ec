# SPDX-License-Identifier: Apache-2.0
"""What the lab's cells mean: whether the verdict was true, where a job died, how far the emulator can be believed, and
the tables of all that. By itself, `matrix.py CELLS.jsonl...` prints the tables of cells from earlier runs."""

import collections
import json
import os
import re
import subprocess
import sys

SAID = ["compatible", "attested", "undecided", "incompatible", "other"]
TRUTHS = ["right", "died", "wrong", "stuck", "refused", "lab"]

# What the real CPU has and its emulation lacks: a job that fails only for these would run there.
NOT_EMULATED = {
    "xsavec": ("EPYC-Rome", "EPYC-Milan", "Skylake-Client"),
    "sha": ("EPYC-Rome", "EPYC-Milan"),
    "rdpid": ("EPYC-Rome", "EPYC-Milan"),
}


def said_of(record):
    return record["said"] if record.get("said") in SAID else "other"


def judgement(record):
    """(passed, text): was the verdict true? Undecided is never a lie, but must have been restorable when forced."""
    said, truth = record.get("said", "nothing"), record["truth"]
    text = f"{said}, {truth}"
    if truth in ("lab", "stuck"):
        return False, text
    if said in ("compatible", "attested"):
        return truth == "right", text
    if said == "incompatible" and truth == "refused" and record.get("criu"):
        # The engine doesn't try. CRIU does, at another moment of the same job.
        unchecked = record["criu"]["none"]["truth"]
        return unchecked != "right", f"{text}; CRIU without checks: {unchecked}"
    if said == "incompatible":
        return truth != "right", text
    return said == "undecided", text


def notes(record):
    """For people: why, where and how."""
    lines = []
    for f in record.get("findings", []):
        words = [f["rule"], f["status"], f.get("subject", ""), f.get("evidence", "")]
        lines.append(" ".join(w for w in words if w)[:300])
    for key in ("detail", "trap", "where", "trust", "check_error"):
        if record.get(key):
            lines.append(f"{key}: {record[key]}")
    return "\n".join(lines)


# ---- where a job died


def segment_address(path, offset):
    """The address that an ELF file gives to what lies at an offset."""
    p = subprocess.run(["readelf", "-lW", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    for m in re.finditer(r"^\s+LOAD\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+)", p.stdout, re.M):
        start, address, size = (int(g, 16) for g in m.groups())
        if start <= offset < start + size:
            return offset - start + address
    return None


def instruction_at(path, address):
    """("symbol+0x12", "vpxorq ...") by objdump."""
    p = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", f"--start-address={address:#x}", f"--stop-address={address + 16:#x}", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    symbol = re.search(r"^[0-9a-f]+ <(.*)>:$", p.stdout, re.M)
    first = re.search(r"^\s+[0-9a-f]+:\s+(.*?)\s*$", p.stdout, re.M)
    return symbol.group(1) if symbol else "", re.sub(r"\s+", " ", first.group(1)) if first else "?"


def where_of(record, maps):
    """The instruction that a trap line speaks of, by the mappings that were written down before the dump."""
    m = re.search(r"\bip:?\s?([0-9a-f]+)", record.get("trap", ""))
    if not m or not os.path.exists(maps):
        return ""
    ip = int(m.group(1), 16)
    with open(maps, encoding="utf-8") as f:
        for line in f:
            w = line.split(maxsplit=5)
            lo, hi = (int(x, 16) for x in w[0].split("-"))
            if lo <= ip < hi and len(w) == 6 and w[5].startswith("/"):
                path = w[5].rstrip("\n")
                address = segment_address(path, ip - lo + int(w[2], 16))
                if address is None:
                    return path
                symbol, text = instruction_at(path, address)
                return f"{os.path.basename(path)} {symbol or hex(address)}: {text}"
    m = re.search(r" in (\S+?)\[", record["trap"])  # a process that came later
    return m.group(1) if m else f"{ip:#x}"


# ---- what the emulator is worth


def trust(record):
    """Why the answer of this cell holds for the emulated CPU only, or "". """
    cpu = record["host"].split("/")[0]
    where = record.get("where", "")
    for word, cpus in NOT_EMULATED.items():
        if cpu in cpus and re.search(rf": {word}", where):
            return f"the real CPU has {word}, which the emulator lacks"
    if record["job"].startswith("sigframe") and cpu.startswith("EPYC"):
        return "the emulator lays out register state as Intel does, real EPYCs otherwise"
    return ""


# ---- tables


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]


def confusion(records):
    counts = collections.Counter((said_of(r), r["truth"]) for r in records)
    rows = [[s] + [counts[s, t] or "" for t in TRUTHS] for s in SAID if any(counts[s, t] for t in TRUTHS)]
    return table(["`ckpt check` said"] + HEADS, rows)


def criu_confusion(records):
    """CRIU accepts by restoring, and refuses by failing to; the truth is what it does without its checks."""
    counts = collections.Counter(
        ("restores" if r["criu"]["default"]["truth"] != "refused" else "refuses", r["criu"]["none"]["truth"])
        for r in records
        if r.get("criu")
    )
    if not counts:
        return []
    rows = [[s] + [counts[s, t] or "" for t in TRUTHS] for s in ("restores", "refuses")]
    return table(["`criu restore`"] + HEADS, rows) + [""]


HEADS = ["ran right", "died", "ran wrong", "stuck", "restore refused", "lab failed"]


def by_rule(records):
    """How often each rule stood in the way, and what then happened."""
    counts = collections.defaultdict(collections.Counter)
    for r in records:
        for f in r.get("findings", []):
            if f["status"] in ("refuse", "unknown", "action"):
                counts[f["rule"], f["status"]][r["truth"]] += 1
    rows = [[f"{rule}: {status}"] + [c[t] or "" for t in TRUTHS] for (rule, status), c in sorted(counts.items())]
    return table(["finding"] + HEADS, rows)


MARK = {"right": "ok", "died": "died", "wrong": "WRONG", "stuck": "stuck", "refused": "refused", "lab": "lab"}
SHORT = {"compatible": "yes", "attested": "yes (attested)", "undecided": "?", "incompatible": "no"}


def cell_text(record):
    text = f"{SHORT.get(record.get('said'), record.get('said'))} → {MARK[record['truth']]}"
    if not judgement(record)[0]:
        text = f"**{text}**"
    if record.get("criu"):
        default, none = (MARK[record["criu"][mode]["truth"]] for mode in ("default", "none"))
        text += f" · CRIU {default}" + (f", unchecked {none}" if default == "refused" else "")
    return text + ("°" if record.get("trust") else "")


def grid(records):
    hosts = list(dict.fromkeys(r["host"] for r in records))
    jobs = list(dict.fromkeys(r["job"] for r in records))
    by = {(r["job"], r["host"]): r for r in records}
    rows = [[j] + [cell_text(by[j, h]) if (j, h) in by else "" for h in hosts] for j in jobs]
    return table(["job"] + hosts, rows)


def causes(records):
    seen = collections.defaultdict(list)
    for r in records:
        if r.get("where") or (r["truth"] == "wrong" and r.get("detail")):
            seen[r["job"], r["where"] or r["detail"]].append(r["host"])
    return table(["job", "what happened", "hosts"], [[j, f"`{w[:110]}`", ", ".join(h)] for (j, w), h in sorted(seen.items())])


def write(path, records):
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(tables(records)) + "\n")


def tables(records):
    lines = []
    for source in dict.fromkeys(r["source"] for r in records):
        some = [r for r in records if r["source"] == source]
        title = "here" if source == "here" else f"on {source}"
        lines += [f"## Dumped {title}", "", *confusion(some), "", *criu_confusion(some), *by_rule(some), ""]
        lines += [*grid(some), "", *causes(some), ""]
    return lines


def summary(records):
    lies = [r for r in records if not judgement(r)[0]]
    lines = [f"{len(records)} cells, {len(lies)} of them wrong"]
    return lines + [line for line in confusion(records) if not line.startswith("|---")]


def main():
    records = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            records += [json.loads(line) for line in f]
    print("\n".join(tables(records)))


if __name__ == "__main__":
    main()
