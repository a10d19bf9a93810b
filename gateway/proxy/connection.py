"""One connection to an application, carrying one exchange at a time: its answer, its failure, its flow control.

Answers invariant 13 and the hostile cases UP: every way in which an exchange can go wrong ends in one recorded failure and a dropped
connection; bytes that nobody asked for make the connection unfit for another exchange.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from gateway.errors import GatewayError, UpstreamFailed, UpstreamTimeout
from gateway.proxy.answer_reader import AnswerReader
from gateway.proxy.framing import Delimiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.upstream import Timeouts


class State(Enum):
    """Where the exchange on a connection stands."""

    IDLE = "no exchange"
    HEAD = "the answer's head is awaited"
    BODY = "the answer's body is coming"
    DONE = "the answer was received whole"
    SWITCHED = "the connection changed protocol"
    FAILED = "the exchange failed; the connection is gone"


class UpstreamConnection(asyncio.Protocol):
    """A connection to an upstream. Made by ``Upstream.acquire``; given back by ``Upstream.release``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._shortest = min(timeouts.head, timeouts.idle)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._state = State.IDLE
        self._failure: GatewayError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._write_paused = False
        self._write_waiter: asyncio.Future[None] | None = None
        self._progress = 0.0
        self._surplus = False
        self._reset()

    def _reset(self) -> None:
        self._uploading = False
        self._reader: AnswerReader | None = None
        self._pieces: list[bytes] = []
        self._take: Callable[[bytes], bool] | None = None
        self._broken: Callable[[], None] | None = None
        self._held = False

    # the exchange

    def begin(self, method: str, head: bytes, *, uploading: bool, upgrade: bool, on_hint: Callable[[AnswerHead], None] | None) -> None:
        """Send ``head`` (with what is there of the body) and await the answer.

        ``uploading``: more of the body follows by ``write`` until ``uploaded``. ``upgrade``: a 101 is an answer. ``on_hint`` gets each 103.
        """
        self._reset()
        self._uploading = uploading
        self._reader = AnswerReader(method, upgrade=upgrade, on_hint=on_hint)
        if self._state is not State.IDLE:
            return  # it failed between connecting and now: answer() tells
        self._state = State.HEAD
        self._progress = self._loop.time()
        self._timer = self._loop.call_later(self._shortest, self._watch)
        self.write(head)

    def write(self, data: bytes) -> None:
        """Send a piece of the request; after a failure it goes nowhere."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._progress = self._loop.time()
            transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream takes more of the request, or the exchange failed."""
        if self._write_paused:
            self._write_waiter = self._loop.create_future()
            await self._write_waiter

    @property
    def writing_paused(self) -> bool:
        """Whether the upstream is behind with reading the request."""
        return self._write_paused

    def uploaded(self) -> None:
        """The request's body was sent whole: from now on the upstream owes the answer."""
        self._uploading = False
        self._progress = self._loop.time()

    async def answer(self) -> AnswerHead:
        """The final head (or the 101 that was asked for). Raises UpstreamFailed, UpstreamTimeout, or what ``fail`` was given."""
        while self._state is State.HEAD and self._failure is None:
            await self._wake()
        if self._failure is not None:
            raise self._failure
        assert self._reader is not None
        assert self._reader.head is not None
        return self._reader.head

    def received(self) -> bytes:
        """What is there of the body and was not taken yet."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def complete(self) -> bool:
        """Whether the answer was received whole."""
        return self._state is State.DONE

    def pour_into(self, take: Callable[[bytes], bool], *, broken: Callable[[], None]) -> None:
        """Hand each piece of the body to ``take`` as it comes; ``take`` returns True when it must be left alone until ``resume``.

        ``broken`` is called when the exchange fails, also while somebody waits for the caller instead of for ``flowed``.
        """
        self._take = take
        self._broken = broken

    async def flowed(self) -> bool:
        """Wait for the body's end (True) or for ``take`` to hold back (False). Raises when the exchange fails."""
        while self._state is State.BODY and not self._held:
            await self._wake()
        if self._failure is not None:
            raise self._failure
        return not self._held

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

    def switch(self) -> tuple[asyncio.Transport, bytes]:
        """After a 101: the transport, now somebody else's, and the bytes that came behind the head."""
        assert self._transport is not None
        self._state = State.SWITCHED
        self._stop_timer()
        return self._transport, self.received()

    def fail(self, failure: GatewayError) -> None:
        """End the exchange. The first failure is the one that counts; the connection is dropped with what was not sent."""
        if self._state in (State.FAILED, State.DONE, State.SWITCHED):
            return
        self._state = State.FAILED
        self._failure = failure
        self.close()
        self._set(self._waiter)
        if self._broken is not None:
            self._broken()

    def close(self) -> None:
        """Drop the connection at once: what was not sent yet is not sent, so that a broken-off request stays broken off."""
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: this one ended cleanly, on both sides, and nothing came after it."""
        reader = self._reader
        head = None if reader is None else reader.head
        return (
            self._state is State.DONE
            and reader is not None
            and head is not None
            and not (reader.surplus or self._surplus or self._uploading or self._write_paused)
            and reader.framing is not Delimiter.CLOSE
            and not head.http10
            and not any(name.lower() == b"connection" and b"close" in value.lower() for name, value in head.headers)
            and self._transport is not None
            and not self._transport.is_closing()
        )

    # what asyncio calls

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._progress = self._loop.time()
        if self._state is State.HEAD or self._state is State.BODY:
            assert self._reader is not None
            try:
                body = self._reader.feed(data)
            except GatewayError as failure:
                self.fail(failure)
            else:
                self._received(self._reader, body)
        else:
            # Invariant 13: bytes on a connection that nobody awaits are nobody's answer.
            self._surplus = True
            self.fail(UpstreamFailed("the upstream sent bytes that nobody asked for"))
            self.close()

    @override
    def eof_received(self) -> bool | None:
        self._lost(orderly=True)
        return None

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(orderly=False)
        self.resume_writing()
        self._transport = None

    @override
    def pause_writing(self) -> None:
        self._write_paused = True

    @override
    def resume_writing(self) -> None:
        self._write_paused = False
        self._set(self._write_waiter)

    # reading

    def _received(self, reader: AnswerReader, body: bytes) -> None:
        if self._state is State.HEAD and reader.head is not None:
            self._state = State.BODY
            self._set(self._waiter)
        if body and self._take is None:
            self._pieces.append(body)
        elif body and self._take is not None and self._take(body) and not reader.complete:
            self.hold()
            self._set(self._waiter)
        if reader.complete:
            self._end()

    def _end(self) -> None:
        self._state = State.DONE
        self._stop_timer()
        self._set(self._waiter)

    def _lost(self, *, orderly: bool) -> None:
        if self._state is State.IDLE:
            self.fail(UpstreamFailed("the upstream closed the connection"))
        elif self._state is State.HEAD or self._state is State.BODY:
            assert self._reader is not None
            try:
                self._reader.end(orderly=orderly)
            except GatewayError as failure:
                self.fail(failure)
            else:
                self._end()

    # waiting

    async def _wake(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    @staticmethod
    def _set(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _watch(self) -> None:
        """One timer an exchange, re-armed only when it fires: progress costs a clock reading, not a new timer."""
        limit = self._timeouts.head if self._state is State.HEAD and not self._uploading else self._timeouts.idle
        left = self._progress + limit - self._loop.time()
        if left <= 0:
            self.fail(
                UpstreamTimeout("the upstream did not answer in time" if self._state is State.HEAD else "the answer's body stood still")
            )
        else:
            self._timer = self._loop.call_later(min(left, self._shortest), self._watch)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
