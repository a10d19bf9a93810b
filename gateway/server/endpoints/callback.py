"""``GET {prefix}/callback``: the redirect URI. The login journey from the provider's answer to a session, top to bottom.

The order is the defence (invariant 5): login cookie of this browser -> state and iss -> the state claimed once, before anything is
spent -> the provider's error or the code exchange -> id_token -> a new session. Types hold it: ``redeem`` takes a ``ValidatedCallback``,
``Birth`` needs the ``SignedIn`` that ``redeem`` alone gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp_session import get_session, new_session

from gateway.errors import LoginExpired, LoginRefused, ProviderFailed
from gateway.oidc.callback import read_callback, validate_callback
from gateway.server import refusals
from gateway.server.browser_sessions import BIRTH, Birth, cookie_lines, signed_in
from gateway.server.login import redirect
from gateway.server.sites import site_of
from gateway.session.cookies import delete_cookie
from gateway.session.login import login_cookie_name, open_login
from gateway.session.record import identity_from
from gateway.telemetry import logs

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.oidc.callback import ValidatedCallback
    from gateway.server.parts import Parts, Site
    from gateway.session.login import Login

log = logs.get("server")


async def callback(parts: Parts, request: web.Request) -> web.StreamResponse:
    """Finish a login, or end it with one page and one way on. Every outcome but an outage of the store uses up the login."""
    site = site_of(parts, request)
    answer = read_callback(request.raw_path.partition("?")[2])
    current = signed_in(await get_session(request))
    try:
        login = open_login(
            parts.keyring,
            cookie_lines(request),
            site.names,
            answer.state,
            now=parts.clock(),
            lifetime=parts.settings.session.lifetimes.login,
        )
    except LoginExpired:
        if current is not None:
            # The back button or a reload after a finished login: this person is signed in already.
            return redirect("/")
        raise
    try:
        validated = validate_callback(answer, expected_state=login.state, metadata=await parts.provider.metadata())
        if not await parts.sessions.claim_login(login.state):
            # A double click or a replay: the first one has the code, and nothing is asked of the provider again.
            response = redirect(login.return_to)
        else:
            response = await _finish(parts, request, site, login, validated)
    except (LoginRefused, ProviderFailed) as failure:
        response = refusals.respond(request, failure, prefix=parts.settings.server.prefix, return_to=login.return_to)
    response.headers.add("Set-Cookie", delete_cookie(login_cookie_name(site.names, login.state), site.names))
    return response


async def _finish(parts: Parts, request: web.Request, site: Site, login: Login, validated: ValidatedCallback) -> web.Response:
    """From a claimed, validated answer to a session that ``aiohttp_session`` saves with the response."""
    current = signed_in(await get_session(request))
    signed = await parts.provider.redeem(validated, code_verifier=login.code_verifier, nonce=login.nonce, redirect_uri=site.redirect_uri)
    session = await new_session(request)
    replaced = login.replaces if current is None else parts.sessions.replaced_by_next_login(current)
    session[BIRTH] = Birth(
        signed_in=signed,
        identity=identity_from(signed.claims, parts.settings.wanted_claims),
        # What the browser holds now; where its cookie is gone, what it held when the login began.
        replaces=() if replaced is None else (replaced,),
    )
    log.info("login.finished", provider=signed.provider)
    return redirect(login.return_to)
