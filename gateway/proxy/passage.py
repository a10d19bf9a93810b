"""A body of known length from the caller's socket to the application's: each read is one write of the same bytes, and nobody looks at them.

Answers SL-04 and invariant 4: no more is read than the body has left, so what follows it is read as the next request and as nothing else;
and nothing is read while the application has not taken what was read before. By way of aiohttp's parser, its queue and a task, every byte
would be copied four times more. Where both sides are plain TCP, the kernel moves the bytes by itself (``splice``).
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from gateway.errors import RequestRefused
from gateway.proxy.splice import Splice

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

    from gateway.errors import GatewayError
    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.passing_connection import PassingConnection

WORTH_IT: Final = 64 * 1024
"""Bytes that have to be left of a body for this to be worth changing the protocol of a transport twice."""
_WORTH_SPLICING: Final = 256 * 1024
"""The same for descriptors of our own."""
_SIZE: Final = 512 * 1024
"""Bytes of one read: few system calls, and still in the core's own cache when they are written."""
_TURN: Final = 2 * 1024 * 1024
"""Bytes after which others have their turn: uvloop reads one connection up to 32 times while there is something to read."""


_SPARES: Final = 4
"""Buffers kept for what is to come: new ones cost page faults."""


class _Spare(threading.local):
    """Buffers for the reads of this thread's loop. A read and its write are one step, so there is one for all bodies that flow."""

    def __init__(self) -> None:
        self.buffers: list[memoryview] = []
        """The last is the one to read into."""

    def give_back(self, buffer: memoryview) -> None:
        """All of ``buffer`` was sent."""
        if len(self.buffers) < _SPARES:
            self.buffers.append(buffer)


_spare = _Spare()


class Passage(asyncio.BufferedProtocol):
    """The last ``left`` bytes of ``body`` on their way from ``caller`` to ``connection``. Reads the caller's transport until they are over.

    ``over`` is done when all of them were sent, or the exchange has failed.
    """

    def __init__(
        self, caller: PassingConnection, transport: asyncio.Transport, body: StreamReader, left: int, connection: UpstreamConnection
    ) -> None:
        self._caller = caller
        self._transport = transport
        self._body = body
        self._left = left
        self._connection: UpstreamConnection | None = connection
        self._unsent: memoryview | None = None
        """The buffer with bytes that the application has yet to take: nobody else may have it, and nothing is read."""
        self._loop = asyncio.get_running_loop()
        self._turn = _TURN
        self._splice: Splice | None = None
        self.over: asyncio.Future[None] = self._loop.create_future()

    def begin(self) -> None:
        """Take the transport over."""
        assert self._connection is not None
        self._transport.pause_reading()  # uvloop learns who reads when reading begins
        self._transport.set_protocol(self)
        self._connection.feed_from(self)
        if self._left >= _WORTH_SPLICING:
            self._splice = Splice.between(self, self._transport, self._connection.lent, self._left, self._loop)
        self._read_on()

    @property
    def awaited(self) -> bool:
        """Whether the next byte is the caller's to send: the application has taken all that came."""
        return self._connection is not None and not self.behind

    @property
    def behind(self) -> bool:
        """Whether the application has yet to take what came."""
        connection, splice = self._connection, self._splice
        return (connection is not None and connection.writing_paused) or (splice is not None and splice.behind)

    def leave(self) -> None:
        """Nobody wants the rest of the body: it is read, and forgotten. May be called at any time and again."""
        if self._connection is not None:
            self._connection.feed_from(None)
            self._connection = self._unsent = None
            self._let_go()
            self._read_on()

    def fail(self, failure: GatewayError) -> None:
        """The body will not come whole, and so the exchange fails."""
        self._let_go()
        if self._connection is not None:
            self._connection.fail(failure)
        self._settle()

    def caught_up(self) -> None:
        """The application has taken what was written, or has gone."""
        if self._unsent is not None and self._connection is not None and not self._connection.gone:
            _spare.give_back(self._unsent)
        self._unsent = None
        if self._connection is not None and self._connection.gone:
            self._let_go()
        self._read_on()

    # what the splice calls

    def took(self, count: int) -> None:
        """Bytes have come."""
        self._left -= count
        self._body.total_bytes += count

    def gave(self) -> None:
        """Bytes have been taken."""
        if self._connection is not None:
            self._connection.progressed()

    def all_given(self) -> None:
        """The body is over."""
        self._splice = None
        self._end()

    def gave_up(self, left_over: bytes) -> None:
        """Something is wrong: go on without, so that the transports see for themselves what it is."""
        self._splice = None
        if self._connection is not None:
            self._connection.write(left_over)
        if self._left:
            self._read_on()
        else:
            self._end()

    # what asyncio calls

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        buffers = _spare.buffers
        if not buffers:
            buffers.append(memoryview(bytearray(_SIZE)))
        buffer = buffers[-1]
        return buffer[: self._left] if self._left < _SIZE else buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        self._body.total_bytes += nbytes
        if self._connection is not None and not self._connection.write_from(_spare.buffers[-1][:nbytes]):
            self._unsent = _spare.buffers.pop()
            self._transport.pause_reading()
        self._turn -= nbytes
        if not self._left:
            self._end()
        elif self._turn <= 0:
            self._turn = _TURN
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    @override
    def eof_received(self) -> bool | None:
        self._caller.eof_received()
        return None

    @override
    def pause_writing(self) -> None:
        self._caller.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._caller.resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(RequestRefused("the request's body broke off"))
        self._caller.connection_lost(exc)

    # ends

    def _read_on(self) -> None:
        """Read, unless the application has yet to take what was read."""
        if not self._left or self._transport.is_closing() or (self._connection is not None and self._connection.writing_paused):
            return
        if self._splice is not None:
            self._splice.go_on()
        else:
            self._transport.resume_reading()

    def _let_go(self) -> None:
        """Whoever closes a socket means it: no descriptor of ours may keep it open."""
        if self._splice is not None:
            self._splice.close()
            self._splice = None

    def _end(self) -> None:
        """The body is over: the transport is the caller's connection's again, which reads the next request."""
        self._transport.pause_reading()
        self._transport.set_protocol(self._caller)
        self._caller.passed_on()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.feed_from(None)
            connection.uploaded()
        self._body.feed_eof()  # which reads on
        self._settle()

    def _settle(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
