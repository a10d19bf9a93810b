"""``GET {prefix}/signed_out``: the public page after a sign-out, and the ``post_logout_redirect_uri`` to register.

Answers RP-Initiated Logout section 3: it works with a wrong or missing ``state``, and goes nowhere that only a parameter names. ``rd``
comes back in a ``state`` that we sealed, for this origin and for an hour.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.access.return_to import return_target
from gateway.errors import RequestRefused
from gateway.server.login import redirect
from gateway.server.pages import PAGE_HEADERS, signed_out_page
from gateway.server.query import one_value
from gateway.server.refusals import PLAIN_HEADERS
from gateway.server.sites import site_of
from gateway.session.sealing import Purpose

if TYPE_CHECKING:
    from gateway.server.parts import Parts, Site

RETURN_SECONDS = 3600


async def signed_out(parts: Parts, request: web.Request) -> web.StreamResponse:
    """Go on to where the sign-out was asked to end, or say that it is done."""
    site = site_of(parts, request)
    target = _sealed_return(parts, site, request)
    if target is not None:
        return redirect(target)
    page = signed_out_page(way_on=("Sign in again", f"{parts.settings.server.prefix}/start"))
    return web.Response(body=page, headers=PLAIN_HEADERS | PAGE_HEADERS)


def seal_return(parts: Parts, site: Site, target: str) -> str:
    """The ``state`` that brings a checked return target through the provider and back."""
    return parts.keyring.seal(Purpose.LOGOUT_STATE, json.dumps([int(parts.clock()), target]).encode(), bound_to=site.origin.text)


def _sealed_return(parts: Parts, site: Site, request: web.Request) -> str | None:
    try:
        state = one_value(request, "state")
    except RequestRefused:
        return None
    opened = None if state is None else parts.keyring.open(Purpose.LOGOUT_STATE, state, bound_to=site.origin.text)
    if opened is None:
        return None
    sealed_at, target = json.loads(opened)
    if parts.clock() - sealed_at > RETURN_SECONDS:
        return None
    # Judged again: the operator may have taken an origin off the list since.
    return return_target(target, site.return_rules)
