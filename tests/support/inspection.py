"""What a gateway process holds: descriptors, connections and memory by the kernel's word, tasks and objects by its own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

INSPECTED = Path(__file__).parent / "inspected"
_LISTENING = "0A"


def environ(socket: Path) -> dict[str, str]:
    """For a process that is to be asked by ``held``."""
    return {"PYTHONPATH": str(INSPECTED), "INSPECTED": str(socket)}


@dataclass(frozen=True)
class Held:
    """``descriptors`` by what they lead to ("client", "listener", a port's name, "pipe", ...); tasks and objects by their names."""

    descriptors: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    unhandled: tuple[str, ...] = ()
    """What the event loop had to log, with tracebacks."""


async def held(pid: int, socket: Path, *, listener: int, ports: Mapping[int, str]) -> Held:
    """What a process holds now; ``ports`` name the servers that it talks to, ``listener`` is its own port."""
    reader, writer = await asyncio.open_unix_connection(socket)
    told = json.loads(await reader.read())
    writer.close()
    return Held(
        descriptors(pid, listener=listener, ports=ports), Counter(told["tasks"]), Counter(told["objects"]), tuple(told["unhandled"])
    )


def descriptors(pid: int, *, listener: int, ports: Mapping[int, str]) -> Counter[str]:
    """Every descriptor of a process, by what it leads to."""
    sockets = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(fields[column].rpartition(":")[2], 16) for column in (1, 2))
        if fields[3] == _LISTENING:
            sockets[fields[9]] = "listener"
        elif here == listener:
            sockets[fields[9]] = "client"
        else:
            sockets[fields[9]] = ports.get(there, "elsewhere")
    found: Counter[str] = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        kind, _, inode = target.partition(":[")
        if kind == "socket":
            found[sockets.get(inode.removesuffix("]"), "other socket")] += 1
        else:
            found["file" if target.startswith("/") else kind] += 1
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process has in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
