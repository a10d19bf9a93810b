"""``{prefix}/auth``: the decision for a proxy that asks before it forwards (nginx auth_request and its kin).

The original request is judged by the same code as a direct one, and only when a trusted proxy told it once and completely; it is never
decided on the path of the check itself (oauth2-proxy GHSA-7x63). 202 with the identity, 401, 403, or a refusal: never 2xx by accident.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never
from urllib.parse import quote

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.access.caller import is_navigation
from gateway.access.decision import Allow, SignIn, decide
from gateway.access.forwarded import original_request
from gateway.access.routes import Access
from gateway.access.target import is_own
from gateway.errors import ForwardAuthRefused, MethodRefused, RequestRefused, RouteMissing
from gateway.proxy.answer_headers import date_line
from gateway.proxy.downstream import Downstream, Relayed
from gateway.proxy.websocket import asks_for_websocket
from gateway.server.guard import REFUSED_METHODS
from gateway.server.login import ask_to_sign_in
from gateway.server.peers import is_believed
from gateway.server.refusals import PLAIN_HEADERS
from gateway.server.rendered import rendered_identity
from gateway.server.sites import check_origin
from gateway.session.sessions import Found
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.forwarded import OriginalRequest
    from gateway.access.routes import Route
    from gateway.proxy.request_headers import RequestHeaders
    from gateway.server.parts import Parts, Site

log = logs.get("server")

AUTH_REQUEST_HEADERS = (
    ("X-Auth-Request-User", "sub"),
    ("X-Auth-Request-Email", "email"),
    ("X-Auth-Request-Groups", "groups"),
    ("X-Auth-Request-Preferred-Username", "preferred_username"),
)
"""Header and claim; the names that ops teams have in their ingress annotations already."""

_BLOCK = -1
"""The number of their block with a session; those of routes begin at zero."""

_LET_IN = b"".join(
    (
        b"HTTP/1.1 202 Accepted\r\n",
        *(f"{name}: {value}\r\n".encode("ascii") for name, value in PLAIN_HEADERS.items()),
        b"Content-Length: 0\r\n",
    )
)
_CONNECTION = {True: b"Connection: keep-alive\r\n", False: b"Connection: close\r\n"}


async def auth(parts: Parts, request: web.BaseRequest, headers: RequestHeaders) -> web.StreamResponse:
    """Decide on the request that a trusted proxy describes. The method of the check itself does not matter.

    Its connection ends with the answer where nothing can follow: nobody reads a body of a check.

    Raises:
        ForwardAuthRefused: the proxy is not trusted, or the original request is missing, incomplete, doubled or contradicted.
        CrossSiteRefused: a WebSocket with somebody's session that another site opens.
        StoreUnavailable: nobody can say who this is; the proxy denies.
    """
    closes = headers.upgrade or not request.content.is_eof()
    try:
        believed = is_believed(request, parts.settings.server.trusted_proxies)
        original, site, route = asked_about(parts, headers.told, believed=believed)
    except ForwardAuthRefused:
        raise
    except RequestRefused as refused:
        # nginx knows 2xx, 401 and 403; anything else becomes a 500 that hides the reason.
        log.info("forward_auth.refused", error=refused.code, detail=refused.detail)
        return _closing(closes, web.Response(status=403, text=refused.public, headers=PLAIN_HEADERS))
    session: Found | None = None
    if route.access is not Access.PUBLIC:
        found = parts.sessions.cached(headers.cookies, site.names) or await parts.sessions.find(headers.cookies, site.names)
        session = found if isinstance(found, Found) else None
        if session is not None and _opens_websocket(request, headers):
            check_origin(request, site)
    verdict = decide(route, None if session is None else session.session.identity)
    match verdict:
        case SignIn():
            return _closing(closes, _challenge(site, request, original))
        case Allow():
            identity = b"" if verdict.identity is None or session is None else rendered_user(parts, session)
            return _let_in(request, identity, now=parts.clock(), closes=closes)
        case _:
            assert_never(verdict)


def accepted(identity: bytes, *, now: float, connection: bytes = b"") -> bytes:
    """202, whole; ``connection`` is its line where that is not to be left out."""
    return b"".join((_LET_IN, date_line(now), identity, connection, b"\r\n"))


def rendered_user(parts: Parts, session: Found) -> bytes:
    """The headers that tell the proxy who it is, as lines."""
    return rendered_identity(session, _BLOCK, AUTH_REQUEST_HEADERS, parts.header_rules)


def _let_in(request: web.BaseRequest, identity: bytes, *, now: float, closes: bool) -> web.StreamResponse:
    """202 in one write, as the bytes that it is: a proxy asks before every request of every app."""
    keep_alive = request.keep_alive and not closes
    # What is not said is "keep-alive" in HTTP/1.1 and "close" in 1.0 (RFC 9112 section 9.3).
    connection = b"" if keep_alive and request.version == HttpVersion11 else _CONNECTION[keep_alive]
    downstream = Downstream(request)
    downstream.start(accepted(identity, now=now, connection=connection), 0, b"", complete=True)
    return Relayed(202, body_length=0, keep_alive=keep_alive)


def _closing(closes: bool, response: web.Response) -> web.Response:
    if closes:
        response.force_close()
    return response


def asked_about(parts: Parts, told: Sequence[tuple[bytes, bytes]], *, believed: bool) -> tuple[OriginalRequest, Site, Route]:
    """The original request, where it came to and which route takes it; refused as the same request would be if it came directly.

    ``told`` are the headers of a check, by a proxy that is ``believed`` or not.
    """
    original = original_request(told, trusted=believed)
    site = parts.sites[parts.settings.server.origins.for_url(original.scheme, original.authority)]
    if is_own(original.target, parts.settings.server.prefix):
        raise RouteMissing("the proxy asks about our own prefix: send those paths to the gateway without asking")
    if original.method in REFUSED_METHODS:
        raise MethodRefused(f"the proxy asks about a {original.method}")
    return original, site, parts.settings.routes.match(site.origin.authority, original.target)


def _opens_websocket(request: web.BaseRequest, headers: RequestHeaders) -> bool:
    """Whether the original request is a WebSocket handshake (FA-14). Proxies take Upgrade off, and leave the rest of a handshake."""
    if not headers.upgrade and b"sec-websocket-" not in b"".join(headers.lines).lower():
        return False
    return any(name.lower().startswith(b"sec-websocket-") for name, _ in request.raw_headers) or asks_for_websocket(request.raw_headers)


def _challenge(site: Site, request: web.BaseRequest, original: OriginalRequest) -> web.Response:
    """401; for a navigation, Location names the sign-in with the way back, so that nginx can redirect page loads and nothing else."""
    response = ask_to_sign_in(site)
    if is_navigation(original.method, request.headers):
        response.headers["Location"] = f"{site.start_uri}?rd={quote(original.target.raw, safe='/')}"
    return response
