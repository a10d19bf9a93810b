"""An application that records raw bytes and answers with raw bytes: what a broken or hostile upstream does is written down, byte for byte.

A script is an async function of one ``Connection``. Nothing here sleeps: scripts wait for events and for bytes.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[["Connection"], Awaitable[None]]

PATIENCE = 20.0
"""Seconds after which a wait that should be short is a failure; nothing is measured by it."""
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


class Connection:
    """One connection as the upstream sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, arrived: asyncio.Event) -> None:
        self.reader = reader
        self.writer = writer
        self.received = bytearray()
        self.over = asyncio.Event()
        self._arrived = arrived

    def _note(self, raw: bytes) -> bytes:
        self.received += raw
        self._arrived.set()
        return raw

    async def head(self) -> bytes:
        """Read one request head, blank line included."""
        return self._note(await self.reader.readuntil(b"\r\n\r\n"))

    async def read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        return self._note(await self.reader.readexactly(count))

    async def chunk(self) -> bytes:
        """Read one chunk; empty for the last."""
        size = await self.reader.readuntil(b"\r\n")
        data = await self.reader.readexactly(int(size, 16) + 2)
        self._note(size + data)
        return data[:-2]

    async def body(self, head: bytes) -> bytes:
        """Read the body that ``head`` announces."""
        if b"\r\nTransfer-Encoding: chunked\r\n" in head:
            pieces = []
            while piece := await self.chunk():
                pieces.append(piece)
            return b"".join(pieces)
        length = _LENGTH.search(head)
        return await self.read(int(length[1])) if length else b""

    async def rest(self) -> bytes:
        """Read until the gateway closes, by an orderly end or a reset."""
        pieces = []
        try:
            while piece := await self.reader.read(65536):
                pieces.append(self._note(piece))
        except ConnectionError:
            pass
        return b"".join(pieces)

    async def send(self, data: bytes) -> None:
        """Write and drain; a gateway that has closed is no error."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except (ConnectionError, RuntimeError):
            pass  # uvloop calls it a RuntimeError

    def reset(self) -> None:
        """Drop the connection at once."""
        self.writer.transport.abort()


class RawUpstream:
    """A listening upstream; ``connections`` in the order in which they came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections: list[Connection] = []
        self.port = 0
        self._arrived = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def received(self) -> bytes:
        """Every byte of every connection so far."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def seen(self, what: bytes) -> None:
        """Wait until ``what`` was received."""
        async with asyncio.timeout(PATIENCE):
            while what not in self.received:
                self._arrived.clear()
                await self._arrived.wait()

    async def dropped(self, index: int = 0) -> None:
        """Wait until the script of a connection is over: one that reads to the end ends when the gateway lets go."""
        async with asyncio.timeout(PATIENCE):
            await self.connections[index].over.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._arrived)
        self.connections.append(connection)
        try:
            await self.script(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway dropped the connection: tests look at what was received
        finally:
            connection.over.set()
            writer.close()


@asynccontextmanager
async def raw_upstream(
    script: Script, *, host: str = "127.0.0.1", unix_path: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawUpstream]:
    """A raw upstream on a free port of loopback, or on a unix socket."""
    upstream = RawUpstream(script)
    if unix_path is not None:
        server = await asyncio.start_unix_server(upstream.serve, unix_path)
    else:
        server = await asyncio.start_server(upstream.serve, host, 0, ssl=tls)
        upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for connection in upstream.connections:
            connection.writer.transport.abort()
            await connection.over.wait()


def answering(*pieces: bytes, then: str = "close") -> Script:
    """Read a request with its body, send ``pieces`` one by one, then "close", "reset" or "hold" (until the gateway closes)."""

    async def script(connection: Connection) -> None:
        await connection.body(await connection.head())
        for piece in pieces:
            await connection.send(piece)
        if then == "reset":
            connection.reset()
        elif then == "hold":
            await connection.rest()

    return script


async def echo(connection: Connection) -> None:
    """Answer with the request's body, in chunks, each as soon as it was read; X-Seen tells the method."""
    head = await connection.head()
    await connection.send(b"HTTP/1.1 200 OK\r\nX-Seen: " + head.split(b" ")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked\r\n" in head:
        while piece := await connection.chunk():
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    elif body := await connection.body(head):
        await connection.send(b"%x\r\n%b\r\n" % (len(body), body))
    await connection.send(b"0\r\n\r\n")
