"""Ports of loopback that are given once: not to another worker of this run, to another run on the machine, or by the kernel to anybody.

A port that was merely free a moment ago can be somebody's by the time a server listens there. These lie below the ones that the kernel
gives to connections and to listeners on port 0 (``ip_local_port_range`` begins at 32768), and in blocks of which each process has its own.
"""

from __future__ import annotations

import itertools
import socket
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = range(10_000, 20_000, 250)
"""The first port of each block. The buses of clusters are 10000 above their servers, where no block is."""


@cache
def _block() -> tuple[socket.socket, Iterator[int]]:
    """The block of this process: its ports in turn, and the name in the kernel that holds it until the process has ended."""
    for first in BLOCKS:
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0authcode-gateway-tests-ports-{first}")
        except OSError:
            held.close()
            continue
        return held, itertools.cycle(range(first, first + BLOCKS.step))
    raise AssertionError("every block of ports is held by a test run")


def free_port() -> int:
    """A port where nobody listens, and which nobody else is given before this process has gone through its block."""
    _, ports = _block()
    for port in itertools.islice(ports, BLOCKS.step):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("every port of the block is taken")
