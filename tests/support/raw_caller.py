"""A caller that sends bytes and reads what comes back until the connection ends: what only a raw socket can say and see."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
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


async def until_closed(url: str, *pieces: bytes, first: Sequence[bytes] = (), begins: Callable[[], None] = lambda: None) -> bytes:
    """Send ``pieces``, each in a segment of its own, and read until the other side closes, in order or by a reset.

    Before that, each of ``first`` is sent and answered on the same connection; ``begins`` is called then, and those answers are left out.
    """
    parts = urlsplit(url)
    return await _until_closed(asyncio.open_connection(parts.hostname, parts.port), *pieces, first=first, begins=begins)


async def until_closed_at(path: Path, *pieces: bytes) -> bytes:
    """The same on a Unix socket."""
    return await _until_closed(asyncio.open_unix_connection(path), *pieces)


def in_two(pieces: Sequence[bytes], at: int) -> Sequence[bytes]:
    """``pieces`` with the first of them cut behind byte ``at``, from its end where that is negative."""
    first, *rest = pieces
    return [piece for piece in (first[:at], first[at:], *rest) if piece]


async def _until_closed(
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    *pieces: bytes,
    first: Sequence[bytes] = (),
    begins: Callable[[], None] = lambda: None,
) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await connecting
        received = b""
        try:
            for request in first:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(answers(head)[0].header(b"Content-Length") or 0))
            begins()
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while data := await reader.read(65536):
                received += data
        except ConnectionError:
            received += bytes(reader._buffer)  # what came before the reset, of which the reader says nothing any more
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


async def again_and_again(url: str, request: bytes, *, begins: Callable[[], None] = lambda: None, times: int = 4) -> Said:
    """Send ``request``, which does not ask for an end, so often on one connection as long as it stands; the last answer.

    All answers have one status. ``begins`` is called before the last time.
    """
    parts = urlsplit(url)
    statuses: list[int] = []
    said = None
    async with asyncio.timeout(PATIENCE):
        while len(statuses) < times:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            closes = False
            while len(statuses) < times and not closes:
                if len(statuses) == times - 1:
                    begins()
                writer.write(request)
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (ConnectionError, asyncio.IncompleteReadError):
                    assert statuses, "a new connection ended without a word"
                    break
                (said,) = answers(head)
                length = 0 if request.startswith(b"HEAD ") else int(said.header(b"Content-Length") or 0)
                said = Said(said.status, said.head, await reader.readexactly(length))
                statuses.append(said.status)
                closes = said.header(b"Connection") == b"close"
            writer.close()
    assert said is not None
    assert len(set(statuses)) == 1, statuses
    return said
