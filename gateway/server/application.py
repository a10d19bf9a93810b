"""The endpoints as one ``aiohttp.web.Application`` with ``aiohttp_session``; nothing of it is on the forward path (decision 0001)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import aiohttp_session
from aiohttp import web

from gateway.errors import MethodRefused, RouteMissing
from gateway.server.browser_sessions import BrowserSessions
from gateway.server.endpoints.callback import callback
from gateway.server.endpoints.sign_out import ask, sign_out
from gateway.server.endpoints.signed_out import signed_out
from gateway.server.endpoints.start import start
from gateway.server.endpoints.userinfo import userinfo
from gateway.server.query import FORM_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.server.parts import Parts

    Endpoint = Callable[[Parts, web.Request], Awaitable[web.StreamResponse]]

ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    "/start": {"GET": start},
    "/callback": {"GET": callback},
    "/userinfo": {"GET": userinfo},
    "/sign_out": {"GET": ask, "POST": sign_out},
    "/signed_out": {"GET": signed_out},
}
"""Path under the prefix, method, endpoint. The callback has no HEAD: one would be a way to spend a login unseen."""
CHECK = "/auth"
"""The forward-auth check, for any method. The entry answers it: it needs neither router nor session middleware."""


def build_application(parts: Parts) -> web.Application:
    """Every endpoint under ``server.prefix``, each seeing its caller's session."""
    application = web.Application(client_max_size=FORM_BYTES)
    aiohttp_session.setup(application, BrowserSessions(parts))
    for path, methods in ENDPOINTS.items():
        for method, endpoint in methods.items():
            application.router.add_route(method, parts.settings.server.prefix + path, partial(endpoint, parts), expect_handler=_not_yet)
    return application


def check_endpoint(path: str, method: str) -> None:
    """Refuse what the router would refuse, before it says a word: it would answer Expect first, and decode the path.

    ``path`` is the raw path under the prefix. Raises RouteMissing and MethodRefused.
    """
    if path == CHECK:
        return
    methods = ENDPOINTS.get(path)
    if methods is None:
        raise RouteMissing("no such endpoint of ours")
    if method not in methods:
        raise MethodRefused(f"method {method} at an endpoint of ours", allow=tuple(methods))


async def _not_yet(_request: web.Request) -> None:
    """Leave Expect alone: aiohttp would answer before the endpoint could refuse. The one that reads a body answers it itself."""
