"""``GET {prefix}/start?rd=``: begin a login and come back to ``rd`` (our own origin, or one that the operator listed).

Answers login by prefetch (hostile case ST-20): only a navigation begins a login; anything else is told where to go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp_session import get_session

from gateway.access.caller import is_navigation
from gateway.server.browser_sessions import cookie_lines, signed_in
from gateway.server.login import ask_to_sign_in, send_to_provider
from gateway.server.query import one_value
from gateway.server.sites import site_of

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.server.parts import Parts


async def start(parts: Parts, request: web.Request) -> web.StreamResponse:
    """Send the browser to the provider. A live session is replaced only once the new login has succeeded."""
    site = site_of(parts, request)
    if not is_navigation(request.method, request.headers):
        return ask_to_sign_in(site)
    found = signed_in(await get_session(request))
    return await send_to_provider(
        parts,
        site,
        wanted=one_value(request, "rd"),
        cookies=cookie_lines(request),
        replaces=None if found is None else parts.sessions.replaced_by_next_login(found),
    )
