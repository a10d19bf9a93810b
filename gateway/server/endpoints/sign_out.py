"""``GET, POST {prefix}/sign_out``: GET shows a button and changes nothing; POST ends the session here, then at the provider.

Answers logout CSRF (hostile cases LO-01 and LO-02): a POST counts only from our own origin. Local first, then revocation, then the
provider (OpenID Connect RP-Initiated Logout 1.0 section 2; RFC 7009): neither of those two can keep somebody signed in here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp_session import get_session

from gateway.access.return_to import return_target
from gateway.errors import CrossSiteRefused, ProviderFailed
from gateway.server.browser_sessions import presented, signed_in
from gateway.server.login import redirect
from gateway.server.pages import SIGN_OUT_PAGE_HEADERS, sign_out_page
from gateway.server.query import one_value, one_value_of_form
from gateway.server.refusals import PLAIN_HEADERS
from gateway.server.sites import site_of
from gateway.session.sign_out_return import seal_return
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.oidc.token_response import Tokens
    from gateway.server.parts import Parts, Site
    from gateway.session.sessions import Found

log = logs.get("server")

METADATA_WAIT = 2.0
"""Seconds that a sign-out waits for metadata that was never fetched; after that it ends here without the provider."""


async def ask(parts: Parts, request: web.Request) -> web.StreamResponse:
    """The page with the button. A link, an image or a prefetch from anywhere changes nothing."""
    site = site_of(parts, request)
    session = await get_session(request)
    if not presented(session):
        return redirect(site.signed_out_uri)
    wanted = one_value(request, "rd")
    page = sign_out_page(
        action=f"{parts.settings.server.prefix}/sign_out",
        return_to=None if wanted is None else return_target(wanted, site.return_rules),
        name=_name(signed_in(session)),
    )
    return web.Response(body=page, headers=PLAIN_HEADERS | SIGN_OUT_PAGE_HEADERS)


async def sign_out(parts: Parts, request: web.Request) -> web.StreamResponse:
    """End the session here, revoke its tokens, and send the browser to the provider's end_session_endpoint if it has one.

    Raises:
        CrossSiteRefused: the form was not ours.
        StoreUnavailable: the session could not be ended; the cookie is kept, so that trying again can.
    """
    site = site_of(parts, request)
    _check_same_origin(request, site)
    wanted = await one_value_of_form(request, "rd")
    session = await get_session(request)
    tokens: Tokens | None = None
    handles = presented(session)
    for handle in handles:
        ended = await parts.sessions.end(handle)
        if ended is not None:
            # Beside the answer: a slow provider holds nobody up, and what it answers changes nothing here.
            parts.detached.start(parts.provider.revoke(ended))
            tokens = ended
        parts.live.end(handle.key, why="sign_out")
    session.invalidate()
    for _ in handles:
        log.info("session.ended", by="sign_out")
    state = None if wanted is None else _sealed(parts, site, return_target(wanted, site.return_rules))
    return redirect(await _where_next(parts, site, tokens, state))


async def _where_next(parts: Parts, site: Site, tokens: Tokens | None, state: str | None) -> str:
    """The provider's end_session_endpoint, or our own page where there is none, no answer, or no session to end there."""
    here = site.signed_out_uri if state is None else f"{site.signed_out_uri}?state={state}"
    if tokens is None:
        return here
    try:
        async with asyncio.timeout(METADATA_WAIT):
            metadata = await parts.provider.metadata()
        there = parts.provider.end_session_url(
            metadata, id_token_hint=tokens.id_token, post_logout_redirect_uri=site.signed_out_uri, state=state
        )
    except (ProviderFailed, TimeoutError):
        return here
    return there or here


def _sealed(parts: Parts, site: Site, target: str) -> str:
    """The checked target as the ``state`` that the provider brings back."""
    return seal_return(parts.keyring, target, origin=site.origin.text, now=parts.clock())


def _name(found: Found | None) -> str | None:
    """How the person knows the account that the button signs out."""
    if found is None:
        return None
    claims = found.session.identity.claims
    names = (claims.get(claim) for claim in ("name", "preferred_username", "email"))
    return next((name for name in names if isinstance(name, str) and name), found.session.identity.subject)


def _check_same_origin(request: web.Request, site: Site) -> None:
    """Fetch metadata where the browser sends it, Origin elsewhere; a caller with neither is refused."""
    fetched_from = request.headers.getall("Sec-Fetch-Site", ())
    if fetched_from:
        if list(fetched_from) != ["same-origin"]:
            raise CrossSiteRefused("sign-out asked for by another origin (Sec-Fetch-Site)")
        return
    origins = request.headers.getall("Origin", ())
    if list(origins) != [site.origin.text]:
        raise CrossSiteRefused("sign-out without our own Origin")
