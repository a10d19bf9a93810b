"""A transport that neither side can flood: writing waits for an upstream that is behind, reading stops for a caller that is.

Answers SL-04: what lies between an application and a slow reader is bounded by the buffers of two sockets and one read of the loop.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from typing_extensions import override


class Feeder(Protocol):
    """Who writes from a buffer of its own, until the upstream is behind."""

    def caught_up(self) -> None:
        """The upstream takes more, or the connection is lost."""
        ...


class Moment:
    """Something that comes again and again, and that one task at a time may wait for."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait for the next time."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def come(self) -> None:
        """Now: whoever waits goes on."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class FlowControlled(asyncio.Protocol):
    """A protocol whose transport may be held in both directions; what it reads is its subclass's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._progress = loop.time()
        """When bytes last moved, by the loop's clock."""
        self._held = False
        self._write_paused = False
        self._writable = Moment(loop)
        self._feeder: Feeder | None = None
        self._encrypts = False

    @property
    def gone(self) -> bool:
        """Whether the connection is closed or closing."""
        return self._transport is None or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send a piece of the request; after a failure it goes nowhere."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._progress = self._loop.time()
            transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream takes more of the request, or the connection is lost."""
        if self._write_paused:
            await self._writable.wait()

    @property
    def writing_paused(self) -> bool:
        """Whether the upstream is behind with reading the request."""
        return self._write_paused

    def feed_from(self, feeder: Feeder | None) -> None:
        """From now on ``feeder`` writes, by ``write_from``, and is told when the upstream has caught up; None: it has ended."""
        self._feeder = feeder
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._encrypts = transport.get_extra_info("sslcontext") is not None
            if not self._encrypts:
                transport.set_write_buffer_limits(None if feeder is None else 0)

    @property
    def lent(self) -> asyncio.Transport | None:
        """The transport, for whoever leads bytes around it; None when it is closed or closing."""
        return None if self.gone else self._transport

    def progressed(self) -> None:
        """Bytes went around the transport."""
        self._progress = self._loop.time()

    def write_from(self, buffer: memoryview) -> bool:
        """Send the feeder's ``buffer``. Returns whether it may be used again: else it may once the upstream has caught up.

        While there is a feeder, writing is paused as soon as one byte has not left, so that no byte that has not left is written over.
        What is encrypted is another matter: it is a copy, and keeps the usual limits, which TLS transports understand otherwise.
        """
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._progress = self._loop.time()
            transport.write(bytes(buffer) if self._encrypts else buffer)
        return not self._write_paused

    @property
    def held(self) -> bool:
        """Whether nothing is read because the caller is behind."""
        return self._held

    def hold(self) -> None:
        """Stop reading: the caller is behind."""
        self._held = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._held = False
        self._progress = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Drop the connection at once: what was not sent yet is not sent, so that a broken-off request stays broken off."""
        if self._transport is not None:
            self._transport.abort()

    # what asyncio calls

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        self._transport = None

    @override
    def pause_writing(self) -> None:
        self._write_paused = True

    @override
    def resume_writing(self) -> None:
        self._write_paused = False
        self._writable.come()
        if self._feeder is not None:
            self._feeder.caught_up()
