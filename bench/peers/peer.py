"""What the benchmark has to know of a program to measure it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.around import Around
    from bench.installing import Installer, Tool
    from bench.processes import Command


class Use(Enum):
    """What a process is started for: some peers need another configuration to do it at their best."""

    REQUESTS = "requests"
    CHECKS = "checks"
    IDLE = "idle"
    WEBSOCKETS = "websockets"


@dataclass(frozen=True, slots=True)
class Check:
    """The forward-auth endpoint of a peer: what a front proxy asks, and the status that lets a request through.

    In ``headers``, ``{authority}`` is the peer's own and ``{page}`` differs from request to request.
    """

    path: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One program.

    ``render(folder, tool, around, port, use)`` writes its configuration into ``folder`` and gives the command that serves on ``port``.
    """

    name: str
    sessions: str
    install: Installer
    render: Callable[[Path, Tool, Around, int, Use], Command]
    signs_in: bool = True
    check: Check | None = None
    prefix: str = ""
    """Put before every path that is asked for."""
    scenarios: frozenset[str] | None = None
    """What it is measured in; everything it can do, when None."""
