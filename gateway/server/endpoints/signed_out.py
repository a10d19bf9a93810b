"""``GET {prefix}/signed_out``: the public page after a sign-out, and the ``post_logout_redirect_uri`` to register.

Answers RP-Initiated Logout section 3: it works with a wrong or missing ``state``, and goes nowhere that only a parameter names. ``rd``
comes back in a ``state`` that we sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.access.return_to import return_target
from gateway.errors import RequestRefused
from gateway.server.login import redirect
from gateway.server.pages import PAGE_HEADERS, signed_out_page
from gateway.server.query import one_value
from gateway.server.refusals import PLAIN_HEADERS
from gateway.server.sites import site_of
from gateway.session.sign_out_return import open_return

if TYPE_CHECKING:
    from gateway.server.parts import Parts, Site


async def signed_out(parts: Parts, request: web.Request) -> web.StreamResponse:
    """Go on to where the sign-out was asked to end, or say that it is done."""
    site = site_of(parts, request)
    target = _sealed_return(parts, site, request)
    if target is not None:
        # Judged again: the operator may have taken an origin off the list since.
        return redirect(return_target(target, site.return_rules))
    page = signed_out_page(way_on=("Sign in again", f"{parts.settings.server.prefix}/start"))
    return web.Response(body=page, headers=PLAIN_HEADERS | PAGE_HEADERS)


def _sealed_return(parts: Parts, site: Site, request: web.Request) -> str | None:
    try:
        state = one_value(request, "state")
    except RequestRefused:
        return None
    return None if state is None else open_return(parts.keyring, state, origin=site.origin.text, now=parts.clock())
