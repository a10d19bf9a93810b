"""What a program costs: CPU time and memory of a process and all its descendants, as the kernel counts them.

CPU time comes from ``schedstat``, in nanoseconds on a CPU, of every thread. Where the kernel has none it comes from ``stat``, in ticks.
Work that the kernel does for a process on the way (copying to sockets, loopback delivery of what it sends) is in it.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def parse_stat(text: str) -> tuple[int, int]:
    """Parent process id and CPU ticks (utime + stime) of a ``/proc/PID/stat``; the command's name may hold spaces and brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def parse_schedstat(text: str) -> int:
    """Nanoseconds on a CPU of a ``schedstat``: the first of its three numbers."""
    return int(text.split(maxsplit=1)[0])


def parse_pss(text: str) -> int:
    """Bytes of a ``smaps_rollup`` that a process has for itself, with its share of what it shares (Pss)."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no Pss line")


def tree(root: int, proc: Path = PROC) -> list[int]:
    """The process and its descendants, the process first."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                parent, _ = parse_stat((entry / "stat").read_text())
            except OSError:  # it ended while we looked
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += sorted(children.get(pid, []))
    return found


def cpu_seconds(root: int, proc: Path = PROC) -> float:
    """CPU seconds of the process and its descendants since each began; threads that ended are in it by the tick."""
    return sum(_process_seconds(proc / str(pid)) for pid in tree(root, proc))


def _process_seconds(folder: Path) -> float:
    try:
        _, ticks = parse_stat((folder / "stat").read_text())
    except OSError:
        return 0.0
    by_tick = ticks / os.sysconf("SC_CLK_TCK")
    nanoseconds = 0
    try:
        for thread in (folder / "task").iterdir():
            nanoseconds += parse_schedstat((thread / "schedstat").read_text())
    except OSError:
        return by_tick
    exact = nanoseconds / 1e9
    # Both count the same time; `stat` alone keeps what ended threads used. A tick per thread is the grain of `stat`.
    return by_tick if by_tick - exact > 1.0 else exact


def memory_bytes(root: int, proc: Path = PROC) -> int:
    """Memory of the process and its descendants (proportional set size); buffers of sockets in the kernel are not in it."""
    total = 0
    for pid in tree(root, proc):
        try:
            total += parse_pss((proc / str(pid) / "smaps_rollup").read_text())
        except (OSError, ValueError):  # it ended, or is a zombie
            continue
    return total
