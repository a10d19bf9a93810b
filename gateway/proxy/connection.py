"""One connection to an application, carrying one exchange at a time: its answer, its failure, its flow control.

Answers invariant 13 and the hostile cases UP: every way in which an exchange can go wrong ends in one recorded failure and a dropped
connection; bytes that nobody asked for make the connection unfit for another exchange.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from gateway.errors import GatewayError, UpstreamFailed, UpstreamTimeout
from gateway.proxy.answer_reader import AnswerReader
from gateway.proxy.exchange import IDEMPOTENT, Sent, State
from gateway.proxy.flow_control import FlowControlled, Moment
from gateway.proxy.framing import Delimiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.framing import Framing
    from gateway.proxy.pool import Pool
    from gateway.proxy.upstream import Timeouts

_AHEAD: Final = 64 * 1024
"""Bytes of a body that are read before anybody takes them."""

# An enumeration's members are slow to look up, and these are looked up many times for every request.
_IDLE, _HEAD, _BODY, _DONE, _SWITCHED, _FAILED = State


class UpstreamConnection(FlowControlled):
    """A connection to an upstream. Made by a ``Pool``, which calls ``check`` every now and then: no exchange has a timer of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        super().__init__(loop)
        self.timeouts = timeouts
        """Those of the exchange: routes that share an upstream may differ in them."""
        self.pool: Pool | None = None
        self.made = loop.time()
        self.uses = 0
        self._poll: select.poll | None = None
        self._state = _IDLE
        self._changed = Moment(loop)
        """The exchange moved on."""
        self.failure: GatewayError | None = None
        """How the exchange failed, if it did; set here alone."""
        self._lost = False
        self._surplus = False
        self._began = self.made
        self._expires = 0.0
        self._reset()

    def _reset(self) -> None:
        self._uploading = False
        self._reader: AnswerReader | None = None
        self._sent: Sent | None = None
        self._pieces: list[bytes] = []
        self._take: Callable[[bytes], bool] | None = None
        self._broken: Callable[[], None] | None = None
        self._then: Callable[[], None] | None = None
        self._held = False

    # the exchange

    def begin(self, sent: Sent, *, uploading: bool = False, then: Callable[[], None] | None = None) -> None:
        """Send a request (with what is there of its body) and await the answer; ``uploading``: more of the body follows by ``write``.

        ``then`` is called once, when the answer's head is here with what came behind it, or when the exchange has failed before.
        """
        self._uploading = uploading
        self._then = then
        self._reader = AnswerReader(sent.method, sent.rules, upgrade=sent.upgrade, on_hint=sent.on_hint)
        self._sent = None if uploading or sent.method not in IDEMPOTENT else sent
        self.uses += 1
        if self._state is not _IDLE:
            return  # it failed between connecting and now: answer() tells
        self._state = _HEAD
        self._began = self._progress = self._loop.time()
        assert self._transport is not None
        self._transport.write(sent.head)

    def uploaded(self) -> None:
        """The request's body was sent whole: from now on the upstream owes the answer."""
        self._uploading = False
        self._progress = self._loop.time()

    async def answer(self) -> AnswerHead:
        """The final head (or the 101 that was asked for). Raises UpstreamFailed, UpstreamTimeout, or what ``fail`` was given."""
        while self._state is _HEAD and self.failure is None:
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure
        assert self.head is not None
        return self.head

    @property
    def head(self) -> AnswerHead | None:
        """What ``answer`` waits for, if it is here."""
        return None if self._reader is None else self._reader.head

    def tell_nobody(self) -> None:
        """``begin``'s ``then`` is not to be called any more: somebody waits for ``answer``, or nobody cares."""
        self._then = None

    @property
    def framing(self) -> Framing:
        """Where the body of the answer ends, once its head was read."""
        return self._reader.framing if self._reader is not None else Delimiter.NOTHING

    def received(self) -> bytes:
        """What is there of the body and was not taken yet."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def complete(self) -> bool:
        """Whether the answer was received whole."""
        return self._state is _DONE

    def pour_into(self, take: Callable[[bytes], bool], *, broken: Callable[[], None]) -> None:
        """Hand each piece of the body to ``take`` as it comes; ``take`` returns True when it must be left alone until ``resume``.

        ``broken`` is called when the exchange fails, also while somebody waits for the caller instead of for ``flowed``.
        """
        self._take = take
        self._broken = broken

    @property
    def left(self) -> int:
        """Bytes that are still to come of a body of known length; 0 where there is none."""
        return self._reader.left if self._state is _BODY and self._reader is not None else 0

    def passed(self, count: int) -> None:
        """The next ``count`` bytes of what is ``left`` were read by somebody else. After the last ones, ``flow`` ends the exchange."""
        assert self._reader is not None
        self._reader.passed(count)
        self.progressed()

    def flow(self, *, behind: bool) -> None:
        """Begin to pour: read on unless the caller is ``behind`` already."""
        if self._state is _BODY and self._reader is not None and self._reader.complete:
            self._end()
        if behind:
            self.hold()
        elif self._held:
            self.resume()

    async def flowed(self) -> bool:
        """Wait for the body's end (True) or for ``take`` to hold back (False). Raises when the exchange fails."""
        while self._state is _BODY and not self._held:
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure
        return not self._held

    def switch(self) -> tuple[asyncio.Transport, bytes]:
        """After a 101: the transport, now somebody else's, and the bytes that came behind the head."""
        assert self._transport is not None
        self._state = _SWITCHED
        return self._transport, self.received()

    def fail(self, failure: GatewayError) -> None:
        """End the exchange. The first failure is the one that counts; the connection is dropped with what was not sent."""
        if self._state in (_FAILED, _DONE, _SWITCHED):
            return
        self._state = _FAILED
        self.failure = failure
        self.close()
        self._changed.come()
        if self._broken is not None:
            self._broken()
        self._tell()

    # between exchanges

    @property
    def replayable(self) -> Sent | None:
        """What may be sent once more: the connection had been used before and was lost before any byte of this answer (UP-02)."""
        given_up = self._lost and self.uses > 1 and self._reader is not None and not self._reader.begun
        return self._sent if given_up else None

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return self._loop.time() - self.made

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: this one ended cleanly, on both sides, and nothing came after it."""
        return (
            self._state is _DONE
            and self._reader is not None
            and self._reader.ends_well
            and not (self._surplus or self._uploading or self._write_paused or self._held)
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def rest(self, seconds: float) -> None:
        """After an exchange that left it ``reusable``: wait for the next one, for ``seconds`` or as long as the upstream told."""
        assert self._reader is not None
        self._expires = self._loop.time() + self._reader.rest(seconds)
        self._state = _IDLE
        self._reset()
        if self._poll is None:
            assert self._transport is not None
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def fit(self) -> bool:
        """Whether a connection that rested may carry an exchange: the kernel holds no byte and no end of it that nobody has seen yet."""
        return self._state is _IDLE and self._loop.time() < self._expires and self._poll is not None and not self._poll.poll(0)

    def check(self, now: float) -> None:
        """Fail an exchange that takes too long, and drop a connection that rested for long enough."""
        state = self._state
        if state is _HEAD or state is _BODY:
            timeouts = self.timeouts
            if self._progress + (timeouts.head if state is _HEAD and not self._uploading else timeouts.idle) <= now:
                self.fail(UpstreamTimeout("the upstream did not answer in time" if state is _HEAD else "the answer's body stood still"))
            elif timeouts.total is not None and self._began + timeouts.total <= now:
                self.fail(UpstreamTimeout("the exchange took longer than it may"))
        elif state is _IDLE and self._poll is not None and self._expires <= now:
            self.close()

    # what asyncio calls

    @override
    def data_received(self, data: bytes) -> None:
        if self._state is _HEAD or self._state is _BODY:
            assert self._reader is not None
            try:
                body = self._reader.feed(data)
            except GatewayError as failure:
                self.fail(failure)
            else:
                self._received(self._reader, body)
                if self._then is not None and self._state is not _HEAD:
                    self._tell()
        else:
            # Invariant 13: bytes on a connection that nobody awaits are nobody's answer.
            self._surplus = True
            self.fail(UpstreamFailed("the upstream sent bytes that nobody asked for"))
            self.close()

    @override
    def eof_received(self) -> bool | None:
        self._end_of_stream(orderly=True)
        return None

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_stream(orderly=False)
        super().connection_lost(exc)

    # reading

    def _received(self, reader: AnswerReader, body: bytes) -> None:
        if self._state is _HEAD and reader.head is not None:
            self._state = _BODY
            self._changed.come()
        if body and self._take is None:
            self._pieces.append(body)
            # The event loop may hand on megabytes before the relay that this wakes takes its turn.
            if not reader.complete and sum(map(len, self._pieces)) >= _AHEAD:
                self.hold()
        elif body and self._take is not None and self._take(body) and not reader.complete:
            self.hold()
            self._changed.come()
        if reader.complete:
            self._end()
        elif reader.head is not None:
            self._progress = self._loop.time()

    def _tell(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    def _end(self) -> None:
        self._state = _DONE
        self._changed.come()

    def _end_of_stream(self, *, orderly: bool) -> None:
        if self._state is _IDLE:
            self.fail(UpstreamFailed("the upstream closed the connection"))
        elif self._state is _HEAD or self._state is _BODY:
            assert self._reader is not None
            self._lost = True
            try:
                self._reader.end(orderly=orderly)
            except GatewayError as failure:
                self.fail(failure)
            else:
                self._end()
