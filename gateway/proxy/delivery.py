"""The rest of a long answer from the application's socket to the caller's, moved by the kernel alone (``splice``).

Answers SL-04, UP-04 and invariant 13 for bytes that never come here: no more is taken than the answer has left, nothing is taken while the
caller has not read what came before, and whatever goes wrong is left to the transports, which go on where this stopped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.proxy.splice import Splice, is_plain

if TYPE_CHECKING:
    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.downstream import Downstream

WORTH_IT: Final = 256 * 1024
"""Bytes that have to be left of an answer for descriptors of its own."""


async def deliver(connection: UpstreamConnection, downstream: Downstream) -> None:
    """Let the kernel move what is left of the answer, if it is long and both sides are plain TCP. What is left then is to be poured.

    Ends also when the exchange fails, or the caller leaves: who pours sees that for itself.
    """
    source, sink = connection.lent, downstream.lent
    if connection.left < WORTH_IT or source is None or sink is None or not (is_plain(source) and is_plain(sink)):
        return
    connection.hold()
    if not await downstream.emptied() or connection.gone:
        return
    delivery = _Delivery(connection, downstream)
    splice = Splice.between(delivery, source, sink, connection.left, asyncio.get_running_loop())
    if splice is None:
        return
    try:
        connection.pour_into(downstream.take, broken=delivery.broke)
        splice.go_on()
        await delivery.over
    finally:
        # Whoever closes a socket means it: no descriptor of ours may keep it open.
        splice.close()


class _Delivery:
    """Whose bytes a splice moves: it tells both sides of them. ``over`` is done when no more of them will move."""

    def __init__(self, connection: UpstreamConnection, downstream: Downstream) -> None:
        self._connection = connection
        self._downstream = downstream
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def broke(self) -> None:
        """The exchange has failed."""
        self._downstream.abort()
        self._settle()

    # what the splice calls

    def took(self, count: int) -> None:
        """Bytes have come."""
        self._connection.passed(count)
        self._downstream.length += count

    def gave(self) -> None:
        """Bytes have been taken."""
        self._connection.progressed()

    def all_given(self) -> None:
        """The answer is over."""
        self._settle()

    def gave_up(self, left_over: bytes) -> None:
        """Something is wrong: go on without, so that the transports see for themselves what it is."""
        self._downstream.length -= len(left_over)  # which were counted when they came
        self._downstream.take(left_over)
        self._settle()

    def _settle(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
