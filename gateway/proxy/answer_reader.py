"""One answer of an upstream, from bytes to its head and its body: interim heads, the final head, where the body ends, what came after it.

Answers invariant 13 and the hostile cases UP-05 to UP-14: every way in which bytes can fail to be an answer is one UpstreamFailed, and
bytes behind the end are noticed, so that nobody gets them. The rest of a body of known length passes as it comes, unparsed. Pure: bytes
in, bytes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamFailed
from gateway.proxy.answer import MAX_HEAD, check_beginning, read_answer_head
from gateway.proxy.chunked import ChunkedReader
from gateway.proxy.framing import Delimiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.framing import Framing
    from gateway.proxy.headers import HeaderRules

MAX_INTERIM = 16
"""How many 1xx answers one exchange may have."""
_END_OF_HEAD = b"\r\n\r\n"
_SWITCHING = 101
_EARLY_HINTS = 103
_FIRST_FINAL = 200
_CLOSE = Delimiter.CLOSE
_EARLIER: Final = 1
"""Seconds by which we give a connection up before the upstream does, as far as it tells."""


class AnswerReader:
    """Reads the answer to one request of ``method``. ``upgrade``: a 101 is an answer. ``on_hint`` gets each 103."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_interim",
        "_method",
        "_on_hint",
        "_remaining",
        "_rules",
        "_upgrade",
        "begun",
        "complete",
        "framing",
        "head",
        "surplus",
    )

    def __init__(self, method: str, rules: HeaderRules, *, upgrade: bool, on_hint: Callable[[AnswerHead], None] | None) -> None:
        self._method = method
        self._rules = rules
        self._upgrade = upgrade
        self._on_hint = on_hint
        self._interim = 0
        self._buffer = b""
        self._remaining = 0
        self._chunks: ChunkedReader | None = None
        self.begun = False
        """Whether any byte came."""
        self.head: AnswerHead | None = None
        """The final head (or the 101 that was asked for), once it was read."""
        self.framing: Framing = Delimiter.NOTHING
        self.complete = False
        """Whether the answer was received whole."""
        self.surplus = False
        """Whether bytes came behind its end."""

    @property
    def ends_well(self) -> bool:
        """Whether another exchange may follow on its connection, as far as this answer tells."""
        head = self.head
        return (
            head is not None
            and not self.surplus
            and self.framing is not _CLOSE
            and not (head.http10 or head.closes)
            and (head.kept is None or head.kept > _EARLIER)
        )

    def rest(self, seconds: float) -> float:
        """For how long its connection may wait for the next exchange: ``seconds``, or less where the upstream said so."""
        kept = None if self.head is None else self.head.kept
        return seconds if kept is None else min(seconds, kept - _EARLIER)

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that ``data`` holds. Raises UpstreamFailed when this is no answer by the letter."""
        if self.head is None:
            self.begun = True
            data = self._feed_head(data)
            if not data:
                return data
        if self.complete:
            self.surplus = True
            return b""
        framing = self.framing
        if isinstance(framing, int):
            left = self._remaining = self._remaining - len(data)
            if left > 0:
                return data
            self.complete = True
            if left < 0:
                self.surplus = True
                data = data[:left]
        elif framing is Delimiter.CHUNKS:
            chunks = self._chunks
            assert chunks is not None
            data = chunks.feed(data)
            self.complete = chunks.complete
            self.surplus = chunks.surplus
        return data

    @property
    def left(self) -> int:
        """Bytes that are still to come of a body of known length; 0 where its length is not known."""
        return 0 if self.complete else self._remaining

    def passed(self, count: int) -> None:
        """The next ``count`` bytes of what is ``left`` went another way."""
        self._remaining -= count
        self.complete = not self._remaining

    def end(self, *, orderly: bool) -> None:
        """The connection ended. Raises UpstreamFailed unless that, in an orderly way, is how this answer ends."""
        if self.head is None:
            raise UpstreamFailed("the upstream closed the connection without an answer")
        if self.framing is not Delimiter.CLOSE or not orderly:
            raise UpstreamFailed("the upstream broke its answer off")
        self.complete = True

    def _feed_head(self, data: bytes) -> bytes:
        """What follows the final head in ``data``; empty also while that head is not whole."""
        searched = max(0, len(self._buffer) - 3)
        received = self._buffer + data if self._buffer else data
        while True:
            end = received.find(_END_OF_HEAD, searched) + len(_END_OF_HEAD)
            if end < len(_END_OF_HEAD) or end > MAX_HEAD:
                check_beginning(received)
                self._buffer = received
                return b""
            head = read_answer_head(received[:end], self._rules)
            received, searched = received[end:], 0
            if head.status >= _FIRST_FINAL or (head.status == _SWITCHING and self._upgrade):
                break
            self._pass_interim(head)
            if not received:
                self._buffer = b""
                return b""
        self._buffer = b""
        self._begin_body(head)
        return received

    def _pass_interim(self, head: AnswerHead) -> None:
        self._interim += 1
        if head.status == _SWITCHING:
            raise UpstreamFailed("the upstream switched protocols unasked")
        if self._interim > MAX_INTERIM:
            raise UpstreamFailed(f"the upstream sent more than {MAX_INTERIM} interim answers")
        if head.status == _EARLY_HINTS and self._on_hint is not None:
            self._on_hint(head)

    def _begin_body(self, head: AnswerHead) -> None:
        self.head = head
        framing = self.framing = head.framing(self._method)
        if isinstance(framing, int):
            self._remaining = framing
            self.complete = framing == 0
        elif framing is Delimiter.CHUNKS:
            self._chunks = ChunkedReader()
        elif framing is Delimiter.NOTHING:
            # A 101 has no body either, but its connection speaks on.
            self.complete = head.status != _SWITCHING
