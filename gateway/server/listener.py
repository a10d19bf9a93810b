"""The public listener: aiohttp's server with bounds, without a banner, and without its own words on a request that it cannot parse.

Answers invariant 14 (what a connection brings is bounded in bytes, number and time before anything of ours runs), LK-05 (no version in any
answer) and LK-09 (one parser, the strict one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiohttp import http_parser, web
from aiohttp.http_exceptions import LineTooLong
from typing_extensions import override

from gateway.access.trusted_proxies import TrustedProxies
from gateway.config.settings import ConnectionLimits
from gateway.errors import ConfigRefused, GatewayFailed, HeadersTooLarge, RequestRefused, TargetTooLong
from gateway.proxy.short_connection import ShortConnection
from gateway.server.admission import Admission
from gateway.server.guard import HEADER_LINE_BYTES, HEADERS_MOST, TARGET_BYTES
from gateway.server.proxy_protocol import read_proxy_header
from gateway.telemetry import logs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import Any

    from gateway.proxy.short_connection import ShortWay

log = logs.get("server")

LINGER_SECONDS = 2.0
"""How long a body that nobody wants is read before its connection is closed."""
READ_AHEAD = 64 * 1024
"""Bytes of a body up to which more is read before anybody takes them: one read of the loop goes over it, a second is not made."""
LONGEST_ROUND = 1.0
"""Seconds between two looks at every connection: how much later than configured one may be ended."""
SAY_FULL_EVERY = 60.0
"""Seconds between two lines of the log about connections that were turned away: a flood must not write the log full."""

DEFAULT_LIMITS = ConnectionLimits()
NOBODY = TrustedProxies()

_TOO_MANY_HEADERS = ("Too many headers received",)
"""What aiohttp's parser says of more than ``HEADERS_MOST``."""


class _Connection(ShortConnection):
    """One client connection, counted; what it says about unparsable requests is ours."""

    __slots__ = ("_seat",)

    def __init__(self, server: PublicServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._seat: str | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._take_seat(transport, _address_of(transport)):
            super().connection_made(transport)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        if self._seat is not None:
            cast("PublicServer", self._manager).admission.leave(self._seat)
            self._seat = None
        super().connection_lost(exc)

    def _take_seat(self, transport: asyncio.BaseTransport, peer: str | None, *, share: bool = False) -> bool:
        server = cast("PublicServer", self._manager)
        self._seat = server.admission.admit(peer, share=share)
        if self._seat is None:
            server.tell_full(peer)
            self._drop(transport)
        return self._seat is not None

    def _drop(self, transport: asyncio.BaseTransport) -> None:
        """End a connection without a word."""
        self._force_close = True
        cast("asyncio.Transport", transport).abort()

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A constant answer and a line of ours: the library's own would echo the request, to the caller and into the log."""
        refused = _as_refusal(exc)
        if refused is not None:
            status, text = refused.status, refused.public
        elif status < 500:  # noqa: PLR2004 - server errors
            text = "This request cannot be understood."
        else:
            text = GatewayFailed.public
        log.info("request.unreadable", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        response = web.Response(
            status=status,
            text=text + "\n",
            headers={"Cache-Control": "no-store", "Server": "gateway"},
        )
        response.force_close()
        return response


class _ProxiedConnection(_Connection):
    """A connection that begins with a PROXY protocol header, and whose peer is the address in it, or the balancer's if there is none."""

    __slots__ = ("_preface",)

    def __init__(self, server: PublicServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._preface: bytes | None = b""
        """What came of the header so far; None once it was read."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        proxies = cast("PublicServer", self._manager).proxies
        if proxies.trusts(_address_of(transport)):
            super().connection_made(transport)
        else:
            log.info("proxy_protocol.refused", detail="a peer that is no trusted proxy: add its address to server.trusted_proxies")
            self._drop(transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._preface is None:
            super().data_received(data)
        elif not self._force_close:
            self._read_preface(self._preface + data)

    def _read_preface(self, received: bytes) -> None:
        transport = self.transport
        assert transport is not None
        try:
            header = read_proxy_header(received)
        except ValueError as wrong:
            log.info("proxy_protocol.refused", detail=str(wrong))
            self.force_close()
            return
        if header is None:
            self._preface = received
            return
        self._preface = None
        peer = header.client
        if peer is None:
            self.unnamed = True
            peer = _address_of(transport)
        else:
            # aiohttp asks for the peer once, and keeps it here.
            self._cache["peername"] = (peer, 0)
        # From here on the connection counts for whom it comes from.
        assert self._seat is not None
        cast("PublicServer", self._manager).admission.leave(self._seat)
        if not self._take_seat(transport, peer, share=self.unnamed):
            return
        rest = received[header.size :]
        if rest:
            super().data_received(rest)


class PublicServer(web.Server):
    """The server of the public listener; ``handler`` sees every request that aiohttp's parser let through, ``short_way`` those before it.

    Raises ConfigRefused when aiohttp has no C parser (``check_parser``).
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        limits: ConnectionLimits = DEFAULT_LIMITS,
        proxies: TrustedProxies = NOBODY,
        proxy_protocol: bool = False,
        short_way: ShortWay | None = None,
        **options: Any,
    ) -> None:
        check_parser()
        super().__init__(handler, handler_cancellation=True, **options)
        self.admission = Admission(limits, proxies)
        self.proxies = proxies
        self._connection = _ProxiedConnection if proxy_protocol else _Connection
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": limits.keepalive_timeout,
            "header_timeout": limits.header_timeout,
            "body_timeout": limits.body_timeout,
            "body_min_rate": limits.body_min_rate,
            "lingering_time": LINGER_SECONDS,
            "short_way": short_way,
            "max_line_size": TARGET_BYTES,
            "max_field_size": HEADER_LINE_BYTES,
            "max_headers": HEADERS_MOST,
            "read_bufsize": READ_AHEAD,
            # Bodies pass as they are; the app reads what the client wrote.
            "auto_decompress": False,
        }
        self._round_seconds = min(LONGEST_ROUND, limits.header_timeout / 4, limits.body_timeout / 4)
        self._next_round: asyncio.TimerHandle | None = None
        self._said_full = -SAY_FULL_EVERY

    @override
    def __call__(self) -> web.RequestHandler:
        return self._connection(self, loop=self._loop, **self._options)

    @override
    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._next_round is None:
            self._next_round = self._loop.call_later(self._round_seconds, self._go_round)

    @override
    async def shutdown(self, timeout: float | None = None) -> None:
        await super().shutdown(timeout)
        if self._next_round is not None:
            self._next_round.cancel()
            self._next_round = None

    def tell_full(self, peer: str | None) -> None:
        """Say that connections are turned away, not each time."""
        now = self._loop.time()
        if now - self._said_full >= SAY_FULL_EVERY:
            self._said_full = now
            log.warning("connections.full", open=self.admission.open, peer=peer)

    def _go_round(self) -> None:
        """Look at every connection: one timer for all of them, while there are any."""
        now = self._loop.time()
        try:
            for connection in self.connections:
                cast("ShortConnection", connection).check(now)
        finally:
            # Whatever is wrong with one of them: without further rounds no limit in time would hold for any.
            self._next_round = self._loop.call_later(self._round_seconds, self._go_round) if self._connections else None


def check_parser() -> None:
    """Raises ConfigRefused when aiohttp parses in Python: that one reads some requests otherwise than the one that our rules stand on."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigRefused(
            ("aiohttp runs without its C parser, which reads HTTP by the letter: unset AIOHTTP_NO_EXTENSIONS, or install aiohttp's wheel",)
        )


def _as_refusal(fault: BaseException | None) -> type[RequestRefused] | None:
    """The leaf of the tree that says what was too much or too late; None for what is simply malformed."""
    if isinstance(fault, RequestRefused):
        return type(fault)
    if isinstance(fault, LineTooLong):
        return TargetTooLong if fault.args[1] == TARGET_BYTES else HeadersTooLarge
    return HeadersTooLarge if fault is not None and fault.args == _TOO_MANY_HEADERS else None


def _address_of(transport: asyncio.BaseTransport) -> str | None:
    """The peer's address; None or "" on a Unix socket."""
    peername = transport.get_extra_info("peername")
    return str(peername[0]) if isinstance(peername, tuple) else peername
