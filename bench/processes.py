"""Starting a program on its core and ending it by its own process id; nothing outlives the run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 20.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the peer gets, and which everybody else: load, upstreams, Redis and provider."""

    peer: frozenset[int]
    load: frozenset[int]

    @classmethod
    def here(cls) -> Cores:
        """The first core for the peer, the others for the load; on a machine with one core both share it."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[:1]), frozenset(cores[1:] or cores))


@dataclass(frozen=True, slots=True)
class Command:
    """How a program is started: ``environment`` is added to ours."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class DidNotStart(Exception):
    """A program ended or did not listen in time; the text holds the end of what it printed."""


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(cores: frozenset[int], arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``arguments`` on these cores, under the same process id."""
    return ["taskset", "-c", ",".join(map(str, sorted(cores))), *arguments]


@contextmanager
def running(command: Command, *, cores: frozenset[int], ports: Sequence[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program while the block runs, listening on all ``ports``; what it prints is in ``log``. Raises ``DidNotStart``."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(cores, command.arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | dict(command.environment),
            cwd=command.folder,
            start_new_session=True,
        )
        try:
            _wait_for(process, ports, log)
            yield process
        finally:
            _end(process)


def _wait_for(process: subprocess.Popen[bytes], ports: Sequence[int], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    waiting = list(ports)
    while waiting:
        if process.poll() is not None or time.monotonic() > until:
            raise DidNotStart(f"{process.args!r}: {log.read_text(errors='replace')[-800:]}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", waiting[0])) == 0:
                waiting.pop(0)
                continue
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # workers that a killed parent left behind; the group is the program's own
        os.killpg(process.pid, signal.SIGKILL)
