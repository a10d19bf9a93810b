"""An exchange without a task: a request of a known head went up, and its answer goes down in one write if it is whole when it comes.

Answers the cost of what nearly all requests are, and nothing else: whatever turns out otherwise (an answer of which more is to come, a
failure, a caller who says more or leaves) is handed to the way that every other request takes, with the exchange as it stands.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.proxy.answer_headers import response_head
from gateway.proxy.framing import Delimiter, framing_down

if TYPE_CHECKING:
    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.connector import Upstream
    from gateway.proxy.short_connection import ShortConnection


class ShortExchange:
    """``head`` is the caller's request as it came; ``session`` is for who began it, to know whose it is."""

    __slots__ = ("_caller", "connection", "head", "session", "upstream")

    def __init__(self, caller: ShortConnection, head: bytes, upstream: Upstream, connection: UpstreamConnection, session: object) -> None:
        self._caller = caller
        self.head = head
        self.upstream = upstream
        self.connection = connection
        self.session = session

    def hint(self, hint: AnswerHead) -> None:
        """A 103 came."""
        self._caller.interim(response_head(hint, framing=Delimiter.NOTHING, keep_alive=True, now=0.0))

    def told(self) -> None:
        """The answer's head is here, or there will be none: ``UpstreamConnection.begin`` has this called."""
        connection = self.connection
        answer = connection.head
        if answer is None or not connection.complete:
            self._caller.hand_over()
            return
        framing = framing_down(connection.framing, http10=False)
        try:
            raw = response_head(answer, framing=framing, keep_alive=True, now=time.time())
        except GatewayError:
            self._caller.hand_over()
            return
        self._caller.answered(raw, framing, connection.received())
        self.upstream.release(connection)

    def drop(self) -> None:
        """Nobody wants the answer any more."""
        self.connection.tell_nobody()
        self.upstream.release(self.connection)
