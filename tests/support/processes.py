"""What the kernel knows of processes: who is whose child, who is gone, who holds which connections."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0
"""How long to wait for another process; a hang must end the test."""
_ESTABLISHED = "01"


def children(pid: int) -> set[int]:
    """The living children of a process."""
    return {child for child, parent, state in _processes() if parent == pid and state != "Z"}


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not any(other == pid and state != "Z" for other, _, state in _processes())


def connections(pid: int, port: int) -> int:
    """How many established IPv4 connections to a local port a process holds."""
    inodes = {
        fields[9]
        for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[3] == _ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == port
    }
    held = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        held += target.removeprefix("socket:[").removesuffix("]") in inodes
    return held


async def until(come_true: Callable[[], bool]) -> None:
    """Look again and again."""
    async with asyncio.timeout(SECONDS):
        while not come_true():
            await asyncio.sleep(0.02)


def _processes() -> list[tuple[int, int, str]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            found.append((int(folder.name), int(parent), state))
    return found
