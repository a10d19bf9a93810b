"""Bytes both ways after a 101: neither side can flood the other through us, and either may finish speaking first.

Answers the hostile cases WS-10, WS-11 and WS-14. Both transports change hands, so that a half-closed side stays half closed; whoever
signs a person out can close what that person holds open.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.http import WebSocketReader
    from aiohttp.web_protocol import RequestHandler

FLUSH = 10.0
"""Seconds that one side has to read what is left for it after the other side is gone."""
FLUSH_WHEN_CLOSED = 0.5
"""The same when the tunnel is closed from outside."""


class _HeldBack:
    """Stands where aiohttp expects a parser of upgraded bytes: collects what came between the handshake and the 101."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class _Side(asyncio.Protocol):
    """One end of a tunnel: what it receives goes to the peer, as fast as the peer takes it."""

    def __init__(self, transport: asyncio.Transport, lost: Callable[[_Side, Exception | None], None]) -> None:
        self.transport = transport
        self.peer: _Side = self
        self.ended = False
        self.gone = False
        self._lost = lost

    @override
    def data_received(self, data: bytes) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    @override
    def eof_received(self) -> bool:
        self.ended = True
        peer = self.peer
        if peer.ended or not (peer.transport.can_write_eof() and self.transport.can_write_eof()):
            peer.transport.close()
            return False
        if not peer.transport.is_closing():
            peer.transport.write_eof()
        return True

    @override
    def pause_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._lost(self, exc)


class Tunnel:
    """An upgraded connection between a caller and an application. ``close`` ends it from outside (a sign-out)."""

    def __init__(self, handler: RequestHandler, upstream: asyncio.Transport) -> None:
        """Take over the caller's connection from ``handler`` and the application's ``upstream``; ``start`` lets bytes flow."""
        assert handler.transport is not None
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        held_back = _HeldBack()
        handler.set_parser(cast("WebSocketReader", held_back))
        self._held_back = held_back
        self._caller = _Side(handler.transport, self._lost)
        self._application = _Side(upstream, self._lost)
        self._caller.peer, self._application.peer = self._application, self._caller
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._flush: asyncio.TimerHandle | None = None

    def start(self, to_caller: bytes) -> None:
        """Change the transports over. ``to_caller`` is the head of the 101 with what the application sent behind it."""
        self._caller.transport.set_protocol(self._caller)
        self._application.transport.set_protocol(self._application)
        self._application.data_received(to_caller)
        if self._held_back.data:
            self._caller.data_received(self._held_back.data)
            self._held_back.data = b""

    async def finished(self) -> None:
        """Wait until both sides are gone."""
        await self._finished

    def close(self) -> None:
        """Close both sides; what cannot be flushed in half a second is dropped. May be called at any time, from the loop's thread."""
        self._close_within(FLUSH_WHEN_CLOSED)

    def abort(self) -> None:
        """Drop both sides at once."""
        self._caller.transport.abort()
        self._application.transport.abort()

    def _close_within(self, seconds: float) -> None:
        self._caller.transport.close()
        self._application.transport.close()
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None if self._finished.done() else self._loop.call_later(seconds, self.abort)

    def _lost(self, side: _Side, exc: Exception | None) -> None:
        if side.peer.gone:
            if self._flush is not None:
                self._flush.cancel()
            if not self._finished.done():
                self._finished.set_result(None)
        elif exc is not None:
            side.peer.transport.abort()
        else:
            self._close_within(FLUSH)
        if side is self._caller:
            # aiohttp keeps the books of its connections: it has to hear that this one is gone.
            self._handler.connection_lost(exc)
