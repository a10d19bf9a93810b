"""What there is to say of one exchange with an application, apart from the connection that carries it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.headers import HeaderRules

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What may be sent twice (RFC 9110 section 9.2.2), less what never gets here."""


class Sent(NamedTuple):
    """A request on its way up: its head (with what was there of its body), and how its answer is to be read.

    ``upgrade``: a 101 is an answer. ``on_hint`` gets each 103.
    """

    method: str
    head: bytes
    rules: HeaderRules
    upgrade: bool = False
    on_hint: Callable[[AnswerHead], None] | None = None


class State(Enum):
    """Where the exchange on a connection stands."""

    IDLE = "no exchange"
    HEAD = "the answer's head is awaited"
    BODY = "the answer's body is coming"
    DONE = "the answer was received whole"
    SWITCHED = "the connection changed protocol"
    FAILED = "the exchange failed; the connection is gone"
