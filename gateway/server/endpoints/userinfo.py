"""``GET {prefix}/userinfo``: who the caller is here and how long for, as JSON for a page's own script; never a token.

``?extend=false`` is no use of the session: a page that warns of the end can ask as often as it likes, and the end comes all the same.
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
    from gateway.server.parts import Parts


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
    found = await parts.sessions.find(cookies, site.names, extend=extend != "false")
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
            "expires": found.session.expires,
            "expires_in": max(0, int(found.session.expires - now)),
            "idle_expires": int(found.idle_expires),
            "idle_expires_in": max(0, int(found.idle_expires - now)),
        },
    }
    response = web.Response(body=json.dumps(body).encode(), headers=PLAIN_HEADERS | {"Content-Type": "application/json"})
    again = reissued(parts, site, found, cookies)
    if again is not None:
        response.headers.add("Set-Cookie", again)
    return response
