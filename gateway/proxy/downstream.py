"""The caller's connection: bytes are written straight to it, in one write where one will do, and a broken answer never looks whole.

Answers UP-04 and UP-05: an answer that broke off upstream ends here by a reset, not by an orderly end, which for an answer that ends with
the connection would be the only sign.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http import HttpVersion11
from typing_extensions import override

from gateway.proxy.framing import LAST_CHUNK, Delimiter, chunk

if TYPE_CHECKING:
    import asyncio

    from aiohttp.abc import AbstractStreamWriter

    from gateway.proxy.framing import Framing

_RESET = struct.pack("ii", 1, 0)
"""``struct linger``: on, zero seconds; closing sends RST."""


_JOINED = 16 * 1024
"""Bytes of a body that are cheaper copied behind the head than written beside it."""


class Relayed(web.StreamResponse):
    """What ``forward`` returns to aiohttp: an answer that has left already, known by its status and length for the access log."""

    def __init__(self, status: int, *, body_length: int, keep_alive: bool) -> None:
        # Not the library's own beginning: it makes room for headers and cookies that this answer does not have any more.
        self._status = status
        self._relayed_length = body_length
        self._keeps = keep_alive

    @property
    @override
    def prepared(self) -> bool:
        return True

    @property
    @override
    def keep_alive(self) -> bool:
        return self._keeps

    @property
    @override
    def body_length(self) -> int:
        return self._relayed_length

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        pass


def write_start(transport: asyncio.WriteTransport, head: bytes, framing: Framing, body: bytes, *, complete: bool) -> None:
    """Write the final head, and what is there of the body, at once; ``complete``: it is all of it."""
    if framing is Delimiter.CHUNKS:
        if body:
            body = chunk(body)
        if complete:
            body += LAST_CHUNK
    if len(body) < _JOINED:
        transport.write(head + body if body else head)
    else:
        transport.writelines((head, body))


class Downstream:
    """The caller of one request. Nothing is written once its connection is closing."""

    __slots__ = ("_chunked", "_request", "_transport", "http10", "length", "started")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._transport = request.transport
        self._chunked = False
        self.http10 = request.version < HttpVersion11
        self.started = False
        """Whether a final head was written: from then on a failure cannot be told, only shown by breaking off."""
        self.length = 0
        """Bytes of the body sent, before framing."""

    @property
    def gone(self) -> bool:
        """Whether the caller has left."""
        return self._transport is None or self._transport.is_closing()

    def interim(self, head: bytes) -> None:
        """Send a 1xx head."""
        if not self.gone and not self.http10 and not self.started:
            self._write(head)

    def start(self, head: bytes, framing: Framing, body: bytes, *, complete: bool) -> None:
        """Send the final head, with what is there of the body, in one write."""
        self.started = True
        self.length = len(body)
        self._chunked = framing is Delimiter.CHUNKS
        if not self.gone:
            assert self._transport is not None
            write_start(self._transport, head, framing, body, complete=complete)

    def take(self, data: bytes) -> bool:
        """Send a piece of the body. Returns whether the caller is behind (or gone), so that no more should come for now."""
        self.length += len(data)
        self._write(chunk(data) if self._chunked else data)
        return self.behind

    @property
    def behind(self) -> bool:
        """Whether more is buffered than the high-water mark of the caller's connection."""
        return self.gone or self._request.protocol.writing_paused

    @property
    def lent(self) -> asyncio.Transport | None:
        """The transport, for whoever leads bytes around it while it is ``emptied``; None when it is closed or closing."""
        return None if self.gone else self._transport

    async def emptied(self) -> bool:
        """Wait until everything that was written is the kernel's; False when the caller left instead."""
        transport = self.lent
        if transport is None:
            return False
        transport.set_write_buffer_limits(0)
        try:
            return await self.drain()
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    async def drain(self) -> bool:
        """Wait until the caller has caught up; False when it left instead."""
        try:
            await self._request.writer.drain()
        except ConnectionError:
            return False
        return not self.gone

    def finish(self) -> None:
        """The body is complete."""
        if self._chunked:
            self._write(LAST_CHUNK)

    def abort(self) -> None:
        """Break off, by a reset where the connection has one."""
        transport = self._transport
        if transport is not None:
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and not transport.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        self._request.protocol.force_close()

    def _write(self, data: bytes) -> None:
        if not self.gone:
            assert self._transport is not None
            self._transport.write(data)
