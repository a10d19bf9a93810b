"""The caller's body on its way up, while the answer may already come down.

Answers invariant 4 and RFC 9112 section 6: what goes up is exactly as long as the head promised, or the upstream's connection is dropped,
so that no broken-off upload ever looks whole. Trailers of the caller are dropped (IH-10, SM-43).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import GatewayError, RequestRefused
from gateway.proxy.framing import LAST_CHUNK, Delimiter, chunk
from gateway.proxy.passage import WORTH_IT
from gateway.proxy.passing_connection import PassingConnection

if TYPE_CHECKING:
    from aiohttp import StreamReader, web

    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.framing import Framing

_BROKEN = "the request's body broke off or is malformed"


def whole_body(content: StreamReader, framing: Framing) -> bytes | None:
    """The framed body when all of it is here already (also when there is none); None when some is still to come.

    Raises RequestRefused when it is not as long as the head promised.
    """
    if not content.is_eof():
        return None
    try:
        data = content.read_nowait()
    except Exception:  # noqa: BLE001 - whatever aiohttp stored for a body it could not read
        raise RequestRefused(_BROKEN) from None
    if framing is Delimiter.CHUNKS:
        return chunk(data) + LAST_CHUNK if data else LAST_CHUNK
    if len(data) != (framing if isinstance(framing, int) else 0):
        raise RequestRefused(_BROKEN)
    return data


async def send_body(request: web.BaseRequest, connection: UpstreamConnection, framing: Framing) -> None:
    """Send the body piece by piece, as fast as the upstream reads. A body that breaks off fails the exchange; nothing is raised.

    A long one whose length is known goes from socket to socket, once what came of it with the head is sent.
    """
    content = request.content
    chunked = framing is Delimiter.CHUNKS
    left = framing if isinstance(framing, int) else 0
    while True:
        if left >= WORTH_IT and await _pass_on(request, left, connection):
            return
        try:
            piece = await content.readany()
        except GatewayError as told:
            connection.fail(told)
            return
        except Exception:  # noqa: BLE001 - the caller went away or broke the framing: aiohttp has many names for one thing
            connection.fail(RequestRefused(_BROKEN))
            return
        if not piece:
            break
        left -= len(piece)
        if left < 0 and not chunked:
            connection.fail(RequestRefused(_BROKEN))
            return
        connection.write(chunk(piece) if chunked else piece)
        if connection.writing_paused:
            await connection.drain()
    if chunked:
        connection.write(LAST_CHUNK)
    elif left:
        connection.fail(RequestRefused(_BROKEN))
        return
    connection.uploaded()


async def _pass_on(request: web.BaseRequest, left: int, connection: UpstreamConnection) -> bool:
    """Let what is ``left`` of the body go from socket to socket, if it may now; at the end it has, or the exchange failed."""
    caller = request.protocol
    passage = caller.pass_on(request.content, left, connection) if isinstance(caller, PassingConnection) else None
    if passage is None:
        return False
    try:
        await passage.over
    finally:
        passage.leave()
    return True
