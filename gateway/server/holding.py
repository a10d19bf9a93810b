"""What outlives its first write is registered for its session, and a long answer counts for its reader's share of the app's connections.

Answers SL-04 beyond one connection (``proxy.shares``) and "a sign-out closes what a person holds open" (``live``). It costs nothing where
an answer is whole in its first write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.proxy.held import OpenAnswer
from gateway.server.peers import client_of, share_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.proxy.connector import Upstream
    from gateway.proxy.held import Held
    from gateway.server.parts import Parts
    from gateway.session.sessions import Found


def hold_open(parts: Parts, request: web.BaseRequest, upstream: Upstream, session: Found | None, held: Held) -> Callable[[], None]:
    """Hold ``held``, which ``request`` opened; what this returns is to be called when it is over. Raises TooManyOpen or UpstreamBusy."""
    if not isinstance(held, OpenAnswer):
        return parts.live.hold(session, held)
    proxies = parts.settings.server.trusted_proxies
    reader = share_of(request, proxies, client_of(request, request.raw_headers, proxies))
    if reader is None:
        return parts.live.hold(session, held)
    read = upstream.answers.begin(reader)
    try:
        forget = parts.live.hold(session, held)
    except BaseException:
        read()
        raise

    def over() -> None:
        read()
        forget()

    return over
