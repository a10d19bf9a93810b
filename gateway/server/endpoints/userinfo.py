"""``GET {prefix}/userinfo``: who the caller is here and how long for, as JSON for a page's own script; never a token.

``?extend=false`` is no use of the session: a page that warns of the end can ask as often as it likes, and the end comes all the same. Nor
does it have anything renewed, and whoever asks waits for no provider.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import RequestRefused
from gateway.server.browser_sessions import cookie_lines
from gateway.server.login import ask_to_sign_in
from gateway.server.query import one_value
from gateway.server.refusals import PLAIN_HEADERS
from gateway.server.reissuing import reissued
from gateway.server.sites import site_of
from gateway.session.sessions import Found

if TYPE_CHECKING:
    from gateway.identity import JSONValue
    from gateway.server.parts import Parts
    from gateway.session.grant import Grant


async def userinfo(parts: Parts, request: web.Request) -> web.StreamResponse:
    """The caller's identity and session times (epoch seconds, and seconds left), or 401.

    Raises:
        RequestRefused: ``extend`` is there twice, or neither true nor false.
    """
    site = site_of(parts, request)
    extend = one_value(request, "extend")
    if extend not in (None, "true", "false"):
        raise RequestRefused("extend is neither true nor false")
    cookies = cookie_lines(request)
    found = await parts.sessions.find(cookies, site.names, extend=extend != "false", renewed=False)
    if not isinstance(found, Found):
        return ask_to_sign_in(site)
    now = parts.clock()
    identity = found.session.identity
    body = {
        "issuer": identity.issuer,
        "user": identity.subject,
        "email": identity.claims.get("email"),
        "groups": identity.claims.get("groups"),
        "preferred_username": identity.claims.get("preferred_username"),
        "session": {
            "created": found.session.created,
            **_time("expires", min(found.session.expires, found.expires), now),
            **_time("idle_expires", found.idle_expires, now),
            "tokens": _tokens(found.session.grant, now),
        },
    }
    response = web.Response(body=json.dumps(body).encode(), headers=PLAIN_HEADERS | {"Content-Type": "application/json"})
    again = reissued(parts, site, found, cookies)
    if again is not None:
        response.headers.add("Set-Cookie", again)
    return response


def _tokens(grant: Grant | None, now: float) -> JSONValue:
    """What the provider's tokens have left; null for what it did not say."""
    if grant is None:
        return None
    return {
        **_time("access_expires", grant.access_expires, now),
        **_time("id_token_expires", grant.id_expires, now),
        "renewable": grant.refreshable,
    }


def _time(name: str, at: float | None, now: float) -> dict[str, int | None]:
    return {name: None if at is None else int(at), f"{name}_in": None if at is None else max(0, int(at - now))}
