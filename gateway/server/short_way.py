"""The short way of a request whose head is known: the same judgements as the entry's, in the same order, with nothing to wait for.

Answers "the signed-in path is sacred": nearly all requests are a GET with a head that was read before, of a session that this process
knows, for an application with an idle connection, or a proxy's check of such a one. Everything else is the entry's, and whatever the short
way does not let through at once is judged by the entry anew: it lets in, and it never refuses (invariants 1 and 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.access.decision import Allow, decide
from gateway.access.rewriting import rewritten
from gateway.access.routes import Access
from gateway.access.target import canonical_target, is_own
from gateway.errors import GatewayError
from gateway.proxy.exchange import Sent
from gateway.proxy.known_heads import KnownHeads
from gateway.proxy.request_head import request_head_without_body
from gateway.proxy.short_connection import ShortConnection
from gateway.proxy.short_exchange import ShortExchange
from gateway.server.application import CHECK
from gateway.server.endpoints.auth import accepted, asked_about, rendered_user
from gateway.server.peers import client_at, is_believed_at
from gateway.server.rendered import rendered_forwarded, rendered_identity
from gateway.session.finding import one_cookie
from gateway.telemetry import logs

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.access.routes import Route
    from gateway.access.target import Target
    from gateway.proxy.connector import Upstream
    from gateway.proxy.headers import HeaderRules
    from gateway.proxy.known_heads import Known, Met
    from gateway.proxy.request_headers import RequestHeaders
    from gateway.server.parts import Parts, Site
    from gateway.session.sessions import Found

log = logs.get("server")


class _ToSend(NamedTuple):
    """A request that may go upstream: as bytes, with the session whose it is, or nobody's."""

    upstream: Upstream
    method: str
    raw: bytes
    session: Found | None


class _Allowed(NamedTuple):
    """``session`` is whose request it is, None for nobody's."""

    session: Found | None


class KnownRequests:
    """Answers what it can of ``Parts`` on the short way; the entry tells it what heads there are."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._heads = KnownHeads()
        self._check = parts.settings.server.prefix + CHECK

    def remember(self, request: web.BaseRequest, headers: RequestHeaders) -> None:
        """``request`` is good, and was read as ``headers``: others that look like it need no second reading."""
        caller = request.protocol
        if isinstance(caller, ShortConnection) and request.keep_alive:
            head = caller.head_of(request)
            if head is not None:
                self._heads.remember(head, headers, self._parts.header_rules)

    def __call__(self, caller: ShortConnection, head: bytes) -> bool:
        """See ``ShortWay``."""
        met = self._heads.meet(head)
        if met is None:
            return False
        try:
            judged = self._judge(caller, met)
        except GatewayError:
            return False
        except Exception as fault:  # noqa: BLE001 - nothing was sent: the entry denies, or does better
            log.warning("short_way.failed", fault=type(fault).__name__)
            return False
        if isinstance(judged, _ToSend):
            return _send(caller, head, judged, self._parts.header_rules)
        if judged is None:
            return False
        caller.began_and_answered(judged)
        return True

    def _judge(self, caller: ShortConnection, met: Met) -> _ToSend | bytes | None:
        """What is to be sent upstream, or to whoever asked for a check; None where the entry is to judge. Raises as the entry."""
        target = canonical_target(met.target)
        if not is_own(target, self._parts.settings.server.prefix):
            return self._judge_forward(caller, met, target)
        return self._judge_check(caller, met) if target.path == self._check else None

    def _judge_forward(self, caller: ShortConnection, met: Met, target: Target) -> _ToSend | None:
        parts, known, rules = self._parts, met.known, self._parts.header_rules
        site = parts.site_for_host(known.authority)
        route = parts.settings.routes.match(site.authority, target)
        upstream = parts.upstreams[route.index]
        # A caller may have to wait for his turn, a route that sends a token for one; and a cookie is given out again beside the answer.
        if upstream is None or upstream.exchanges.are_scarce or route.index in parts.token_routes or parts.keyring.has_older:
            return None
        allowed = self._allowed(known, site, route)
        if allowed is None:
            return None
        session = allowed.session
        client = client_at(caller.remote, known.told(met.values), parts.settings.server.trusted_proxies, unnamed=caller.unnamed)
        raw = request_head_without_body(
            met.method,
            (rewritten(target, route) if route.strip_prefix or route.add_prefix else target).raw,
            known.passed(met.values),
            identity=b"" if session is None else rendered_identity(session, route.index, route.identity, rules),
            forwarded=rendered_forwarded(site, client, route.path.removesuffix("/") if route.strip_prefix else "", rules),
            host=upstream.host or known.host,
            persistent=upstream.persistent,
        )
        return _ToSend(upstream, met.method, raw, session)

    def _judge_check(self, caller: ShortConnection, met: Met) -> bytes | None:
        parts, known = self._parts, met.known
        believed = is_believed_at(caller.remote, parts.settings.server.trusted_proxies, unnamed=caller.unnamed)
        _, site, route = asked_about(parts, known.told(met.values), believed=believed)
        allowed = self._allowed(known, site, route)
        if allowed is None:
            return None
        return accepted(b"" if allowed.session is None else rendered_user(parts, allowed.session), now=parts.clock())

    def _allowed(self, known: Known, site: Site, route: Route) -> _Allowed | None:
        """As whom a request may pass; None where the entry is to judge."""
        found = None if route.access is Access.PUBLIC else self._found(known, site)
        if found is None and route.access is not Access.PUBLIC:
            return None
        verdict = decide(route, None if found is None else found.session.identity)
        if not isinstance(verdict, Allow):
            return None
        return _Allowed(None if verdict.identity is None else found)

    def _found(self, known: Known, site: Site) -> Found | None:
        """The session, if this process knows it; None is for the entry to look into."""
        names = site.names
        try:
            cookie = known.cookies_by_origin[names.origin]
        except KeyError:
            cookie = known.cookies_by_origin[names.origin] = one_cookie(known.cookies, names)
        return None if cookie is None else self._parts.sessions.cached_by(cookie)


def _send(caller: ShortConnection, head: bytes, judged: _ToSend, rules: HeaderRules) -> bool:
    upstream, method, raw, session = judged
    connection = upstream.take()
    if connection is None:
        return False
    exchange = ShortExchange(caller, head, upstream, connection, session)
    try:
        caller.began(exchange)
        connection.begin(Sent(method, upstream.addressed(raw, connection), rules, on_hint=exchange.hint), then=exchange.told)
    except BaseException:
        # Nobody knows what was sent, so nothing more is: neither there nor here.
        exchange.drop()
        caller.abort()
        raise
    return True
