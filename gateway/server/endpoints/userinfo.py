"""``GET {prefix}/userinfo``: who the caller is here and how long for, as JSON for a page's own script; never a token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp_session import get_session

from gateway.server.browser_sessions import signed_in
from gateway.server.login import ask_to_sign_in
from gateway.server.refusals import PLAIN_HEADERS
from gateway.server.sites import site_of

if TYPE_CHECKING:
    from gateway.server.parts import Parts


async def userinfo(parts: Parts, request: web.Request) -> web.StreamResponse:
    """The caller's identity and session times (epoch seconds), or 401."""
    found = signed_in(await get_session(request))
    if found is None:
        return ask_to_sign_in(site_of(parts, request))
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
            "idle_expires": int(found.idle_expires),
        },
    }
    return web.Response(body=json.dumps(body).encode(), headers=PLAIN_HEADERS | {"Content-Type": "application/json"})
