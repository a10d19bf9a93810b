"""What there is to say of one exchange with an application, apart from the connection that carries it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.answer import AnswerHead

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What may be sent twice (RFC 9110 section 9.2.2), less what never gets here."""


class Sent(NamedTuple):
    """A request whose every byte was sent at once, and which means the same when it comes twice."""

    method: str
    head: bytes
    upgrade: bool
    on_hint: Callable[[AnswerHead], None] | None


class State(Enum):
    """Where the exchange on a connection stands."""

    IDLE = "no exchange"
    HEAD = "the answer's head is awaited"
    BODY = "the answer's body is coming"
    DONE = "the answer was received whole"
    SWITCHED = "the connection changed protocol"
    FAILED = "the exchange failed; the connection is gone"
