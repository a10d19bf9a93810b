"""A request that was allowed, forwarded: one function that reads from top to bottom.

Answers invariants 2, 3, 4 and 13: whatever happens on the way, the caller gets one whole answer, or a refusal before its first byte, or
a connection that visibly broke off; and the upstream's connection never outlives its exchange in doubt.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, UpstreamFailed
from gateway.proxy.answer_headers import response_head
from gateway.proxy.delivery import deliver
from gateway.proxy.downstream import Downstream, Relayed
from gateway.proxy.exchange import Sent
from gateway.proxy.framing import Delimiter, framing_down
from gateway.proxy.held import OpenExchange, hold_nothing, is_event_stream, watch_for_vanishing
from gateway.proxy.own_cookies import with_own
from gateway.proxy.request_body import send_body, whole_body
from gateway.proxy.request_head import request_head
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upgrades import TunnelRules, Upgrade, check_switched, read_upgrade
from gateway.proxy.websocket import UPGRADE_REQUIRED
from gateway.proxy.websocket_frames import FrameFollower
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.connector import Upstream
    from gateway.proxy.framing import Framing
    from gateway.proxy.headers import HeaderRules
    from gateway.proxy.held import Hold
    from gateway.proxy.request_headers import RequestHeaders
    from gateway.proxy.short_exchange import ShortExchange

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SWITCHING = 101
_WEBSOCKET_ALONE = TunnelRules()
log = logs.get("proxy")


async def forward(  # noqa: PLR0913 - what an allowed request is made of, from top to bottom
    request: web.BaseRequest,
    upstream: Upstream,
    headers: RequestHeaders,
    *,
    target: str,
    host: bytes | None = None,
    identity: bytes,
    forwarded: bytes,
    rules: HeaderRules,
    hold: Hold = hold_nothing,
    tunnels: TunnelRules = _WEBSOCKET_ALONE,
    own_cookie: Callable[[], str | None] | None = None,
) -> web.StreamResponse:
    """Forward ``request`` to ``upstream`` and relay the answer to the caller; return an answer that has nothing left to send.

    ``headers`` are the request's, as they were read. ``target`` (raw path and query) goes upstream byte for byte. ``host`` replaces the
    caller's Host when not None. ``identity`` and ``forwarded`` are headers of the gateway's (``our_headers``). ``hold`` is called with
    whatever outlives its first write (a tunnel, a long answer, an upload) and returns what to call when that is over. ``tunnels`` says
    which upgrades pass. The Origin of a WebSocket is the server's to check before (``websocket.asks_for_websocket`` says when).
    ``own_cookie`` is asked for a Set-Cookie of the gateway's when the answer's head is here (``own_cookies.with_own``).

    The server must run with ``auto_decompress=False`` (bodies pass untouched) and ``handler_cancellation=True`` (a caller that leaves ends
    the upstream's exchange).

    Raises HeadersRefused, TargetRefused or RequestRefused before anything was sent upstream or when the body breaks off; UpstreamFailed
    or UpstreamTimeout when there is no usable answer; what ``hold`` raises. All of them only while the caller has received
    nothing of a final answer.
    """
    downstream = Downstream(request)
    upgrade = None
    if headers.upgrade:
        upgrade = read_upgrade(request.method, request.raw_headers, tunnels, http10=downstream.http10)
    if upgrade is not None and not upgrade.supported:
        downstream.start(UPGRADE_REQUIRED, 0, b"", complete=True)
        return Relayed(426, body_length=0, keep_alive=False)
    head = request_head(
        request.method,
        target,
        headers,
        identity=identity,
        forwarded=forwarded,
        host=host or upstream.host,
        http10=downstream.http10,
        upgrade=None if upgrade is None else upgrade.protocol,
        persistent=upstream.persistent,
    )
    body = whole_body(request.content, head.framing)
    connection = upstream.take() or await upstream.acquire()
    sending: asyncio.Task[None] | None = None
    forget = None
    try:
        forget = hold(OpenExchange(downstream, request.content)) if body is None else None
        sent = Sent(
            request.method,
            upstream.addressed(head.raw + body if body else head.raw, connection),
            rules,
            upgrade is not None,
            lambda hint: downstream.interim(response_head(hint, framing=Delimiter.NOTHING, keep_alive=True, now=0.0)),
        )
        connection.begin(sent, uploading=body is None)
        if body is None:
            if headers.expects_continue:
                downstream.interim(_CONTINUE)
            sending = asyncio.create_task(send_body(request, connection, head.framing))
        try:
            answer = await connection.answer()
        except UpstreamFailed as failure:
            connection = await upstream.once_more(connection, failure)
            answer = await connection.answer()
        if upgrade is not None and answer.status == _SWITCHING:
            check_switched(upgrade, answer)
            if downstream.gone:
                return Relayed(_SWITCHING, body_length=0, keep_alive=False)
            upstream.detach(connection)
            return await _tunnel(request, connection, answer, upgrade, hold, tunnels.idle)
        # A body still on its way, or an upgrade that was not made: what follows on this connection is in doubt, so nothing does.
        keep_alive = request.keep_alive and not downstream.http10 and not headers.upgrade and request.content.is_eof()
        return await _relay(request, connection, downstream, answer, keep_alive=keep_alive, hold=hold, own_cookie=own_cookie)
    finally:
        if forget is not None:
            forget()
        try:
            if sending is not None and not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
        finally:  # a caller who leaves right now has this cancelled too, and the connection's place must not be lost
            upstream.release(connection)


async def go_on(request: web.BaseRequest, exchange: ShortExchange, *, hold: Hold) -> web.StreamResponse:
    """Relay the answer to ``request``, which was sent already. ``hold`` and what is raised: as ``forward``."""
    upstream, connection = exchange.upstream, exchange.connection
    try:
        try:
            answer = await connection.answer()
        except UpstreamFailed as failure:
            connection = await upstream.once_more(connection, failure)
            answer = await connection.answer()
        return await _relay(request, connection, Downstream(request), answer, keep_alive=request.keep_alive, hold=hold)
    finally:
        upstream.release(connection)


async def _relay(  # noqa: PLR0913 - what is known once the answer's head is here
    request: web.BaseRequest,
    connection: UpstreamConnection,
    downstream: Downstream,
    answer: AnswerHead,
    *,
    keep_alive: bool,
    hold: Hold,
    own_cookie: Callable[[], str | None] | None = None,
) -> web.StreamResponse:
    """Relay the answer whose head is here."""
    framing = framing_down(connection.framing, http10=downstream.http10)
    raw = response_head(answer, framing=framing, keep_alive=keep_alive, now=time.time())
    if own_cookie is not None:
        raw = with_own(raw, answer, own_cookie)
    if connection.complete:
        downstream.start(raw, framing, connection.received(), complete=True)
    elif not await _relay_rest(connection, downstream, raw, framing, hold(_open_answer(request, downstream, answer))):
        keep_alive = False
    return Relayed(answer.status, body_length=downstream.length, keep_alive=keep_alive)


async def _relay_rest(
    connection: UpstreamConnection, downstream: Downstream, head: bytes, framing: Framing, forget: Callable[[], None]
) -> bool:
    """Relay an answer of which more is to come; False when it broke off. ``forget`` is called when it is over."""
    try:
        downstream.start(head, framing, connection.received(), complete=False)
        if not await _pour(connection, downstream):
            downstream.abort()
            return False
    finally:
        forget()
    downstream.finish()
    return True


async def _pour(connection: UpstreamConnection, downstream: Downstream) -> bool:
    """Let the rest of the body flow, as fast as the caller reads; False when it broke off, on either side."""
    connection.pour_into(downstream.take, broken=downstream.abort)
    try:
        await deliver(connection, downstream)
        connection.pour_into(downstream.take, broken=downstream.abort)
        connection.flow(behind=downstream.behind)
        while not await connection.flowed():
            if not await downstream.drain():
                return False
            connection.resume()
    except GatewayError as failure:
        # The head is out: the only honest word left is a connection that visibly breaks off.
        log.warning("answer.broken_off", error=failure.code, detail=failure.detail)
        return False
    return True


def _open_answer(request: web.BaseRequest, downstream: Downstream, answer: AnswerHead) -> OpenExchange:
    endless = is_event_stream(answer)
    if endless and request.transport is not None:
        watch_for_vanishing(request.transport)
    return OpenExchange(downstream, request.content, endless=endless)


async def _tunnel(  # noqa: PLR0913, PLR0917 - what becomes a tunnel, and what is known of it
    request: web.BaseRequest,
    connection: UpstreamConnection,
    answer: AnswerHead,
    upgrade: Upgrade,
    hold: Hold,
    idle: float,
) -> web.StreamResponse:
    head = response_head(answer, framing=Delimiter.NOTHING, keep_alive=True, now=time.time(), upgrade=upgrade.protocol)
    transport, early = connection.switch()
    tunnel = Tunnel(request.protocol, transport, frames=FrameFollower() if upgrade.handshake is not None else None, idle=idle)
    forget = hold(tunnel)
    tunnel.start(head, early)
    try:
        await tunnel.finished()
    finally:
        tunnel.close()
        forget()
    return Relayed(_SWITCHING, body_length=0, keep_alive=False)
