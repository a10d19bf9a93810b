"""A caller that sends bytes and reads what comes back until the connection ends: what only a raw socket can say and see."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from pathlib import Path

PATIENCE = 20.0
"""Seconds after which a connection that should have ended is a failure; nothing is measured by it."""


@dataclass(frozen=True)
class Said:
    """One answer as it came: status, head without the status line, body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        for line in self.head.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name.lower():
                return value.strip()
        return None


async def until_closed(url: str, *pieces: bytes) -> bytes:
    """Send ``pieces``, each in a segment of its own, and read until the other side closes, in order or by a reset."""
    parts = urlsplit(url)
    return await _until_closed(asyncio.open_connection(parts.hostname, parts.port), *pieces)


async def until_closed_at(path: Path, *pieces: bytes) -> bytes:
    """The same on a Unix socket."""
    return await _until_closed(asyncio.open_unix_connection(path), *pieces)


async def _until_closed(connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], *pieces: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await connecting
        received = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while data := await reader.read(65536):
                received += data
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        return received


def answers(received: bytes) -> Sequence[Said]:
    """Every final answer in what was received; interim ones (1xx) are left out. A body has the length that its head says."""
    found = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        assert end, f"an answer without an end of its head: {head[:200]!r}"
        line, _, rest = head.partition(b"\r\n")
        status = int(line.split(b" ")[1])
        if status < 200:
            continue
        said = Said(status, rest, b"")
        length = int(said.header(b"Content-Length") or 0)
        found.append(Said(status, rest, received[:length]))
        received = received[length:]
    return found
