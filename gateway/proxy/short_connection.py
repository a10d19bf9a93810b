"""A caller's connection that knows where its next request begins, so that one whose head is known needs no parser, no object and no task.

Answers request smuggling on the short way (SM, O1): it is open only to bytes that begin where a message ended, hold one whole head and
nothing else, and come while aiohttp waits for a request. Where a message ends is counted here: after a head without a body that came alone,
after the last byte of a body of known length. Once that is in doubt, it stays in doubt for as long as the connection lasts, and aiohttp's
parser alone says what is a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo
from typing_extensions import override

from gateway.proxy.caller_connection import CallerConnection
from gateway.proxy.downstream import write_start
from gateway.proxy.framing import content_length
from gateway.proxy.known_heads import LONGEST_HEAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aiohttp import web
    from aiohttp.http_parser import RawRequestMessage

    from gateway.proxy.framing import Framing
    from gateway.proxy.short_exchange import ShortExchange

ShortWay: TypeAlias = "Callable[[ShortConnection, bytes], bool]"
"""Answers, or begins to, what one whole head asks for; False, and nothing was done, when it is for aiohttp to read."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_IN_DOUBT: Final = -1


class ShortConnection(CallerConnection):
    """aiohttp's connection, with ``short_way`` before its parser where that cannot make a difference. Without one it is never gone."""

    __slots__ = ("_alone", "_begun", "_exchange", "_handed", "_left", "_remote", "_short_way", "unnamed")

    def __init__(self, manager: web.Server, *, short_way: ShortWay | None = None, **options: Any) -> None:
        super().__init__(manager, **options)
        self._short_way = short_way
        self._left = 0
        """Bytes that the body of the newest request still has; 0: the next byte begins a request."""
        self._alone: tuple[RawRequestMessage, bytes] | None = None
        """The newest request, and its head as it came, if it came alone and there is no body."""
        self._begun = b""
        """What came of a head that is not whole yet."""
        self._exchange: ShortExchange | None = None
        """What is under way, and nobody else knows of."""
        self._handed: ShortExchange | None = None
        """What was handed over, until its request is taken up."""
        self._remote: str | None = None
        self.unnamed = False
        """Whether a PROXY protocol header came and named nobody. What came through is then as the client wrote it, and believed from
        nobody."""

    @property
    def remote(self) -> str | None:
        """The peer's address, as aiohttp's requests tell it."""
        if self._remote is None:
            peername = self.peername
            self._remote = str(peername[0]) if isinstance(peername, tuple | list) else peername
        return self._remote

    def head_of(self, request: web.BaseRequest) -> bytes | None:
        """The head of ``request`` as it came, if nothing came with it and it has no body. To be asked once."""
        alone, self._alone = self._alone, None
        return alone[1] if alone is not None and alone[0] is request._message else None  # noqa: SLF001 - the minor version is pinned

    def take_up(self) -> ShortExchange | None:
        """The exchange of the request that aiohttp begins with now, if it was handed over; it is whoever asks who ends it."""
        handed, self._handed = self._handed, None
        return handed

    # what the short way does

    def began(self, exchange: ShortExchange) -> None:
        """A request went up, and ``answered`` or ``hand_over`` is to come."""
        self._exchange = exchange
        self._head_since = 0.0

    def began_and_answered(self, head: bytes) -> None:
        """A request that nobody else need hear of has this answer, without a body."""
        self._head_since = 0.0
        self.answered(head, 0, b"")

    def interim(self, head: bytes) -> None:
        """Send a 1xx head."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(head)

    def answered(self, head: bytes, framing: Framing, body: bytes) -> None:
        """Send a whole answer, after which the next request may come."""
        self._exchange = None
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        write_start(transport, head, framing, body, complete=True)
        # As aiohttp does after each answer.
        at = self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)

    def hand_over(self) -> None:
        """Have aiohttp read the request that is under way, for whoever takes up its exchange."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.connection.tell_nobody()
        # Nothing waits before it, so that its request is the next that aiohttp begins with.
        self._read(exchange.head)
        if self._messages:
            self._handed = exchange
        else:
            exchange.drop()  # the connection is closing

    # what aiohttp and asyncio call

    @override
    def data_received(self, data: bytes) -> None:
        if self._exchange is not None:
            self.hand_over()
        elif (
            self._left == 0
            and self._short_way is not None
            and (waiter := self._waiter) is not None
            and not waiter.done()
            and not self._paused
            and not self._begun
            and not self._close
            and not self._force_close
            and self._short_way(self, data)
        ):
            return
        self._read(data)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        exchange, handed = self._exchange, self._handed
        self._exchange = self._handed = None
        if exchange is not None:
            exchange.drop()
        if handed is not None:
            handed.drop()
        super().connection_lost(exc)

    @override
    def close(self) -> None:
        self.hand_over()
        super().close()

    @override
    def check(self, now: float) -> None:
        self.hand_over()  # it takes longer than most: whoever looks at connections shall see a request
        super().check(now)

    @override
    def _process_keepalive(self) -> None:
        self.hand_over()
        super()._process_keepalive()

    @override
    def passed_on(self) -> None:
        super().passed_on()
        self._left = 0

    # where the next request begins

    def _read(self, data: bytes) -> None:
        left, before = self._left, self._request_count
        super().data_received(data)
        came = self._request_count - before
        if came:
            whole, self._begun = self._begun + data, b""
            self._left = self._left_after(whole) if came == 1 and left == 0 else _IN_DOUBT
        elif left > 0:
            self._left = left - len(data) if len(data) <= left else _IN_DOUBT
        elif left == 0:
            self._begun += data
            if len(self._begun) > LONGEST_HEAD:
                self._left, self._begun = _IN_DOUBT, b""

    def _left_after(self, data: bytes) -> int:
        """What follows ``data``, which began at the beginning of a request and holds the head of one."""
        self._alone = None
        if not self._messages:
            return _IN_DOUBT
        message, body = self._messages[-1]
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        if isinstance(message, _ErrInfo) or message.upgrade or message.chunked or end < len(_END_OF_HEAD):
            return _IN_DOUBT
        told = message.headers.get("Content-Length")
        if told is None and body is not EMPTY_PAYLOAD:
            return _IN_DOUBT
        length = 0 if told is None else content_length(told.encode("latin-1", "replace"))
        behind = len(data) - end
        if length is None or behind > length:
            return _IN_DOUBT
        if told is None and len(data) <= LONGEST_HEAD:
            self._alone = (message, data)
        return length - behind
