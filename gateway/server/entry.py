"""The one entry: every request of the public listener, top to bottom, in one function.

Answers invariants 1 and 2: no byte goes upstream before ``decide`` said so, and what goes upstream is the target that was judged.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, assert_never, cast

from aiohttp import web

from gateway.access.caller import is_navigation
from gateway.access.decision import Allow, SignIn, decide
from gateway.access.identity_headers import identity_headers
from gateway.access.rewriting import rewritten
from gateway.access.routes import Access
from gateway.access.target import is_own
from gateway.errors import GatewayError, RequestRefused, RouteMissing, VersionRefused
from gateway.proxy.relay import forward, go_on
from gateway.proxy.request_head import our_headers
from gateway.proxy.short_connection import ShortConnection
from gateway.proxy.websocket import asks_for_websocket
from gateway.server import refusals
from gateway.server.application import CHECK, check_endpoint
from gateway.server.asked import read_request
from gateway.server.endpoints.auth import auth
from gateway.server.login import ask_to_sign_in, send_to_provider
from gateway.server.peers import client_of, share_of
from gateway.server.reissuing import reissued
from gateway.server.rendered import rendered_forwarded, rendered_identity
from gateway.server.sites import check_origin
from gateway.session.sessions import Found
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.access.routes import Route
    from gateway.proxy.connector import Upstream
    from gateway.server.asked import Asked
    from gateway.server.parts import Parts, Site
    from gateway.server.short_way import KnownRequests

log = logs.get("server")


class Entry:
    """The handler of the public listener. ``endpoints`` answers everything under ``server.prefix``."""

    def __init__(
        self, parts: Parts, endpoints: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, known: KnownRequests | None = None
    ) -> None:
        """``known`` is what the listener asks before anybody: it hears of what this lets in, and what it began may be handed to this."""
        self._parts = parts
        self._endpoints = endpoints
        self._known = known
        self._prefix = parts.settings.server.prefix
        self._callback = self._prefix + "/callback"
        self._check = self._prefix + CHECK

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every failure becomes its one answer here."""
        try:
            caller = request.protocol
            exchange = caller.take_up() if isinstance(caller, ShortConnection) else None
            if exchange is not None:
                session = cast("Found | None", exchange.session)
                return await go_on(request, exchange, hold=partial(self._parts.live.hold, session))
            return await self._journey(request)
        except VersionRefused as failure:
            return refusals.respond_in_our_version(request, failure)
        except GatewayError as failure:
            return refusals.respond(request, failure, prefix=self._prefix)
        except ConnectionError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it denies (invariant 9)
            return refusals.respond(request, refusals.fault_of_ours(fault), prefix=self._prefix)

    async def _journey(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = self._parts
        asked = read_request(request, parts.header_rules)
        if is_own(asked.target, self._prefix):
            return await self._own_endpoint(request, asked)

        site = parts.site_for_host(asked.host)
        route = parts.settings.routes.match(site.authority, asked.target)
        found = None
        if route.access is not Access.PUBLIC:
            cookies = asked.headers.cookies
            found = parts.sessions.cached(cookies, site.names) or await parts.sessions.find(cookies, site.names)
        if isinstance(found, Found) and route.index in parts.token_routes and parts.clock() >= found.tokens_until:
            found = await parts.sessions.renewed(found)
        session = found if isinstance(found, Found) else None

        verdict = decide(route, session.session.identity if session is not None else None)
        match verdict:
            case SignIn():
                if not is_navigation(request.method, request.headers):
                    return _closing_if_unread(request, ask_to_sign_in(site))
                return _closing_if_unread(
                    request,
                    await send_to_provider(parts, site, wanted=asked.target.raw, cookies=asked.headers.cookies, replaces=None),
                )
            case Allow():
                return await self._forward(request, asked, site, route, session if verdict.identity is not None else None)
            case _:
                assert_never(verdict)

    async def _forward(self, request: web.BaseRequest, asked: Asked, site: Site, route: Route, session: Found | None) -> web.StreamResponse:
        parts, headers, rules = self._parts, asked.headers, self._parts.header_rules
        upstream = parts.upstreams[route.index]
        if upstream is None:
            raise RouteMissing(f"route {route.path} has no upstream: it is for forward-auth alone")
        if session is not None and headers.upgrade and asks_for_websocket(request.raw_headers):
            check_origin(request, site)
        client = client_of(request, headers.told, parts.settings.server.trusted_proxies)
        if self._known is not None:
            self._known.remember(request, headers)
        own_cookie = None
        if session is not None and parts.keyring.has_older and request.method == "GET" and is_navigation("GET", request.headers):
            own_cookie = partial(reissued, parts, site, session, headers.cookies)
        turn = await _turn_of(request, upstream, client, parts) if upstream.exchanges.are_scarce and not headers.upgrade else None
        whole = None
        try:
            if not request.content.is_eof():
                whole = _count_upload(request, upstream, client, parts)
            return await forward(
                request,
                upstream,
                headers,
                target=(rewritten(asked.target, route) if route.strip_prefix or route.add_prefix else asked.target).raw,
                identity=b"" if session is None else await self._identity(session, route),
                forwarded=rendered_forwarded(site, client, route.path.removesuffix("/") if route.strip_prefix else "", rules),
                rules=rules,
                hold=partial(parts.live.hold, session),
                tunnels=parts.settings.tunnels[route.index],
                own_cookie=own_cookie,
            )
        finally:
            if whole is not None:
                whole()
            if turn is not None:
                turn()

    async def _identity(self, session: Found, route: Route) -> bytes:
        parts = self._parts
        if route.index not in parts.token_routes:
            return rendered_identity(session, route.index, route.identity, parts.header_rules)
        tokens = await parts.sessions.tokens(session.handle)
        sent = None if tokens is None else (tokens.access_token, tokens.id_token)
        return our_headers(identity_headers(session.session.identity, route.identity, sent), parts.header_rules)

    async def _own_endpoint(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        path = asked.target.path
        check_endpoint(path.removeprefix(self._prefix), request.method)
        try:
            if path == self._callback:
                # It runs on when its browser hangs up: a code is redeemed whole or not at all.
                return await self._parts.detached.shielded(self._endpoints(request))
            if path == self._check:
                # Asked about every request of an app, and in need of neither router nor aiohttp_session.
                answer = await auth(self._parts, request, asked.headers)
                if self._known is not None and answer.status == web.HTTPAccepted.status_code:
                    self._known.remember(request, asked.headers)
                return answer
            response = await self._endpoints(request)
        except web.HTTPException as other:
            raise RequestRefused(f"the endpoints' application answered {other.status}") from other
        if asked.headers.upgrade or not request.content.is_eof():
            response.force_close()
        return response


async def _turn_of(request: web.BaseRequest, upstream: Upstream, client: str, parts: Parts) -> Callable[[], None] | None:
    """An exchange counts for its caller while connections are scarce, until what is returned was called. Raises UpstreamBusy."""
    sharer = share_of(request, parts.settings.server.trusted_proxies, client)
    return None if sharer is None else await upstream.exchanges.begin(sharer, seconds=upstream.timeouts.connect)


def _count_upload(request: web.BaseRequest, upstream: Upstream, client: str, parts: Parts) -> Callable[[], None] | None:
    """A body that is still coming counts for its caller until it is here, or until what is returned was called. Raises UpstreamBusy."""
    sharer = share_of(request, parts.settings.server.trusted_proxies, client)
    if sharer is None:
        return None
    whole = upstream.uploads.begin(sharer)
    request.content.on_eof(whole)
    return whole


def _closing_if_unread(request: web.BaseRequest, response: web.Response) -> web.Response:
    """A request that was not let in: its connection ends with the answer where nothing can follow."""
    if refusals.ends_connection(request):
        response.force_close()
    return response
