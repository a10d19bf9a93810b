"""What stays open of a request after its first write, so that whoever ends a session can end it: a tunnel, a long answer, an upload.

Answers "a sign-out closes what a person holds open". An answer that is whole in its first write is never held, and pays nothing.
"""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp import StreamReader

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.downstream import Downstream
    from gateway.proxy.websocket_frames import Ending

_EVENT_STREAM: Final = b"text/event-stream"
_PROBES: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""After a minute of silence the kernel asks whether the peer is still there; after two it has vanished."""


class Held(Protocol):
    """Something open. The counts only ever grow; whoever compares two of them knows whether anything happened in between."""

    @property
    def endless(self) -> bool:
        """Whether it ends when somebody ends it, and never by itself: a stop need not wait for it."""
        ...

    @property
    def idle(self) -> float:
        """Seconds of silence in both directions after which it is to be ended."""
        ...

    @property
    def heard(self) -> int:
        """How much has come from the caller."""
        ...

    @property
    def moved(self) -> int:
        """How much has come from either side."""
        ...

    def end(self, ending: Ending) -> None:
        """End it, in half a second at the most. May be called at any time and again."""
        ...


Hold: TypeAlias = "Callable[[Held], Callable[[], None]]"
"""Registers something open; what it returns is to be called when that is over. Raises TooManyOpen."""


def hold_nothing(_held: Held) -> Callable[[], None]:
    """For callers with no register: nothing is kept, and there is nothing to forget."""
    return _nothing


def _nothing() -> None:
    pass


class OpenExchange:
    """A request whose body is still going up, or whose answer is still coming down. It is ended by breaking it off, visibly."""

    __slots__ = ("_content", "_downstream", "endless")

    idle = math.inf  # the upstream's own limits watch over it

    def __init__(self, downstream: Downstream, content: StreamReader, *, endless: bool = False) -> None:
        self._downstream = downstream
        self._content = content
        self.endless = endless

    @property
    def heard(self) -> int:
        """Bytes of the caller's body."""
        return self._content.total_bytes

    @property
    def moved(self) -> int:
        """Bytes of both bodies."""
        return self._content.total_bytes + self._downstream.length

    def end(self, _ending: Ending) -> None:
        """Break it off."""
        self._downstream.abort()


def is_event_stream(answer: AnswerHead) -> bool:
    """Whether the answer is a stream of server-sent events, which goes on for as long as somebody listens."""
    return any(name.lower() == b"content-type" and value[:17].lower() == _EVENT_STREAM for name, value in answer.headers)


def watch_for_vanishing(transport: asyncio.BaseTransport) -> None:
    """Let the kernel find out that the peer is gone without a word (WS-10); nothing to do on a unix socket."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _PROBES:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
