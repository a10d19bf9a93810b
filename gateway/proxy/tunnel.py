"""Bytes both ways after a 101: neither side can flood the other through us, and either may finish speaking first.

Answers the hostile cases WS-10, WS-11 and WS-14. Both transports change hands, so that a half-closed side stays half closed. Whoever ends
a person's session ends what that person holds open: a WebSocket is told so by a close frame between two frames of the application's
(RFC 6455 section 5.5.1), and what has not ended half a second later is dropped.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

from gateway.proxy.held import watch_for_vanishing
from gateway.proxy.websocket_frames import close_frame

if TYPE_CHECKING:
    from aiohttp.http import WebSocketReader
    from aiohttp.web_protocol import RequestHandler

    from gateway.proxy.websocket_frames import Ending, FrameFollower

FLUSH: Final = 10.0
"""Seconds that one side has to read what is left for it after the other side is gone."""
FLUSH_WHEN_ENDED: Final = 0.5
"""The same when the tunnel is ended from outside."""


class _HeldBack:
    """Stands where aiohttp expects a parser of upgraded bytes: takes what came between the handshake and the 101 (aiohttp bounds it)."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class _Side(asyncio.Protocol):
    """One end of a tunnel: what it receives goes to the peer, as fast as the peer takes it."""

    __slots__ = ("ended", "gone", "peer", "pieces", "transport", "tunnel")

    def __init__(self, transport: asyncio.Transport, tunnel: Tunnel) -> None:
        self.transport = transport
        self.tunnel = tunnel
        self.peer: _Side = self
        self.pieces = 0
        self.ended = False
        self.gone = False

    @override
    def data_received(self, data: bytes) -> None:
        self.pieces += 1
        peer = self.peer.transport
        if not peer.is_closing():
            peer.write(data)

    @override
    def eof_received(self) -> bool:
        self.ended = True
        return self.tunnel.side_ended(self)

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
        self.tunnel.side_lost(self, exc)


class _Caller(_Side):
    """The browser's end. Once the tunnel is ending, nothing more of what it sends gets through."""

    __slots__ = ("deaf",)

    def __init__(self, transport: asyncio.Transport, tunnel: Tunnel) -> None:
        super().__init__(transport, tunnel)
        self.deaf = False

    @override
    def data_received(self, data: bytes) -> None:
        if not self.deaf:
            super().data_received(data)


class _Application(_Side):
    """The application's end of a WebSocket: its frames are followed, so that the tunnel knows where one ends."""

    __slots__ = ("_frames",)

    def __init__(self, transport: asyncio.Transport, tunnel: Tunnel, frames: FrameFollower) -> None:
        super().__init__(transport, tunnel)
        self._frames = frames

    @override
    def data_received(self, data: bytes) -> None:
        if self.tunnel.ending is None:
            self._frames.follow(data)
            super().data_received(data)
        elif not self.tunnel.said_goodbye:
            rest = self._frames.finish(data)
            super().data_received(data if rest is None else data[:rest])
            if rest is not None:
                self.tunnel.say_goodbye()


class Tunnel:
    """An upgraded connection between a caller and an application; it is ``Held``, and ``end`` ends it from outside (a sign-out)."""

    __slots__ = (
        "_application",
        "_caller",
        "_finished",
        "_flush",
        "_frames",
        "_handler",
        "_held_back",
        "_loop",
        "ending",
        "idle",
        "said_goodbye",
    )

    endless = True

    def __init__(
        self, handler: RequestHandler, upstream: asyncio.Transport, *, frames: FrameFollower | None = None, idle: float = math.inf
    ) -> None:
        """Take over the caller's connection from ``handler`` and the application's ``upstream``; ``start`` lets bytes flow.

        ``frames`` follows what the application sends when that is a WebSocket. ``idle`` is for whoever watches over the tunnel.
        """
        assert handler.transport is not None
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._held_back = _HeldBack()
        handler.set_parser(cast("WebSocketReader", self._held_back))
        self._frames = frames
        self._caller = _Caller(handler.transport, self)
        self._application = _Side(upstream, self) if frames is None else _Application(upstream, self, frames)
        self._caller.peer, self._application.peer = self._application, self._caller
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._flush: asyncio.TimerHandle | None = None
        self.idle = idle
        self.ending: Ending | None = None
        self.said_goodbye = False

    def start(self, head: bytes, early: bytes) -> None:
        """Change the transports over: the caller gets ``head`` of the 101 and what the application sent behind it (``early``)."""
        for side in (self._caller, self._application):
            side.transport.set_protocol(side)
            watch_for_vanishing(side.transport)
        self._caller.transport.write(head)
        if early:
            self._application.data_received(early)
        if self._held_back.data:
            self._caller.data_received(self._held_back.data)
            self._held_back.data = b""

    async def finished(self) -> None:
        """Wait until both sides are gone."""
        await self._finished

    @property
    def heard(self) -> int:
        """Pieces that came from the caller."""
        return self._caller.pieces

    @property
    def moved(self) -> int:
        """Pieces that came from either side."""
        return self._caller.pieces + self._application.pieces

    def end(self, ending: Ending) -> None:
        """End both sides; a WebSocket's caller reads why, behind the frame in progress. What takes more than half a second is dropped."""
        if self.ending is not None or self._finished.done():
            return
        self.ending = ending
        self._caller.deaf = True
        self._abort_in(FLUSH_WHEN_ENDED)
        if self._frames is None or self._application.ended:
            self._caller.transport.close()
            self._application.transport.close()
        elif self._frames.at_boundary:
            self.say_goodbye()

    def close(self) -> None:
        """Close both sides without a word. May be called at any time and again."""
        self._close_within(FLUSH_WHEN_ENDED)

    def abort(self) -> None:
        """Drop both sides at once."""
        self._caller.transport.abort()
        self._application.transport.abort()

    # what the sides tell

    def say_goodbye(self) -> None:
        """The application's last frame is whole: send ours, and read on until the caller has closed, so that no reset overtakes it."""
        assert self._frames is not None
        assert self.ending is not None
        self.said_goodbye = True
        caller = self._caller.transport
        if not caller.is_closing():
            if not self._frames.closing:
                caller.write(close_frame(self.ending))
            if self._caller.ended or not caller.can_write_eof():
                caller.close()
            else:
                caller.resume_reading()
                caller.write_eof()
        self._application.transport.close()

    def side_ended(self, side: _Side) -> bool:
        """One side has nothing more to say. Returns whether its connection stays open for what it still has to hear."""
        peer = side.peer
        if self.ending is not None:
            if side is self._application:
                self.abort()  # in the middle of a frame: nothing can be said any more
            return side is self._caller and not self.said_goodbye
        if peer.ended or not (peer.transport.can_write_eof() and side.transport.can_write_eof()):
            peer.transport.close()
            return False
        if not peer.transport.is_closing():
            peer.transport.write_eof()
        return True

    def side_lost(self, side: _Side, exc: Exception | None) -> None:
        """One side is gone; what is left for the other is flushed within a bounded time."""
        if side.peer.gone:
            if self._flush is not None:
                self._flush.cancel()
            if not self._finished.done():
                self._finished.set_result(None)
        elif self.ending is not None:
            if side is self._caller or not self.said_goodbye:
                self.abort()
        elif exc is not None:
            side.peer.transport.abort()
        else:
            self._close_within(FLUSH)
        if side is self._caller:
            # aiohttp keeps the books of its connections: it has to hear that this one is gone.
            self._handler.connection_lost(exc)

    def _close_within(self, seconds: float) -> None:
        self._caller.transport.close()
        self._application.transport.close()
        self._abort_in(seconds)

    def _abort_in(self, seconds: float) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None if self._finished.done() else self._loop.call_later(seconds, self.abort)
