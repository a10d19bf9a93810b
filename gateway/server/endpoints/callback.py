"""``GET {prefix}/callback``: the redirect URI. The login journey from the provider's answer to a session, top to bottom.

The order is the defence (invariant 5): the login cookie of this browser and this state -> the state claimed once, before anything is
spent -> iss -> the provider's error or the code exchange -> id_token -> a new session. Types hold it: ``redeem`` takes a
``ValidatedCallback``, ``begin`` takes the ``SignedIn`` that ``redeem`` alone gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp_session import get_session, new_session

from gateway.errors import LoginExpired, LoginInterrupted, LoginRefused, LoginUnavailable, ProviderFailed, StoreUnavailable
from gateway.oidc.callback import read_callback, validate_callback
from gateway.server import refusals
from gateway.server.browser_sessions import BORN, cookie_lines, presented, signed_in
from gateway.server.login import redirect
from gateway.server.peers import client_of
from gateway.server.sites import site_of
from gateway.session.cookies import delete_cookie
from gateway.session.login import login_cookie_name, open_login
from gateway.session.record import identity_from
from gateway.telemetry import logs

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.errors import GatewayError
    from gateway.oidc.callback import ValidatedCallback
    from gateway.server.parts import Parts, Site
    from gateway.session.login import Login

log = logs.get("server")


async def callback(parts: Parts, request: web.Request) -> web.StreamResponse:
    """Finish a login, or end it with one page and one way on. Every outcome uses up the login, but an outage before its code was spent."""
    site = site_of(parts, request)
    answer = read_callback(request.raw_path.partition("?")[2])
    session = await get_session(request)
    try:
        login = open_login(
            parts.keyring,
            cookie_lines(request),
            site.names,
            answer.state,
            now=parts.clock(),
            lifetime=parts.settings.session.lifetimes.login,
        )
    except LoginExpired as expired:
        # With a session it was the back button or a reload after a finished login: this person is signed in already.
        return_to = expired.return_to or "/"
        response = redirect(return_to) if signed_in(session) is not None else _refusal(parts, request, expired, return_to)
        if expired.return_to is not None:
            response.headers.add("Set-Cookie", delete_cookie(login_cookie_name(site.names, answer.state), site.names))
        return response
    said: str | None = None
    try:
        metadata = await parts.provider.metadata()
        if not await _claim(parts, login):
            # A double click or a replay: the first one has the code, and nothing is asked of the provider again.
            response = redirect(login.return_to)
        else:
            validated = validate_callback(answer, expected_state=login.state, metadata=metadata)
            said = validated.shown_description or validated.shown_error
            response = await _finish(parts, request, site, login, validated)
    except (LoginRefused, ProviderFailed, LoginInterrupted) as failure:
        response = _refusal(parts, request, failure, login.return_to, said)
    response.headers.add("Set-Cookie", delete_cookie(login_cookie_name(site.names, login.state), site.names))
    return response


def _refusal(parts: Parts, request: web.Request, failure: GatewayError, return_to: str, said: str | None = None) -> web.Response:
    return refusals.respond(request, failure, prefix=parts.settings.server.prefix, return_to=return_to, provider_said=said)


async def _claim(parts: Parts, login: Login) -> bool:
    try:
        return await parts.sessions.claim_login(login.state)
    except StoreUnavailable as outage:
        raise LoginUnavailable(outage.detail) from outage


async def _finish(parts: Parts, request: web.Request, site: Site, login: Login, validated: ValidatedCallback) -> web.Response:
    """From a claimed, validated answer to a session; a grant that finds no home here is given back to the provider."""
    signed = await parts.provider.redeem(validated, code_verifier=login.code_verifier, nonce=login.nonce, redirect_uri=site.redirect_uri)
    # What the browser holds now is replaced; where its cookie is gone, what it held when the login began. Its tokens are not revoked:
    # at many providers they share the new login's grant, and revoking one ends the other.
    held = tuple(handle.key for handle in presented(await get_session(request)))
    try:
        cookie, _ = await parts.sessions.begin(
            signed,
            identity_from(signed.claims, parts.settings.wanted_claims),
            site.names,
            replaces=held or ((login.replaces,) if login.replaces is not None else ()),
            address=client_of(request, request.raw_headers, parts.settings.server.trusted_proxies),
        )
    except (StoreUnavailable, LoginRefused, ProviderFailed) as failure:
        parts.detached.start(parts.provider.revoke(signed.tokens))
        if isinstance(failure, StoreUnavailable):
            raise LoginInterrupted(failure.detail) from failure
        raise
    (await new_session(request))[BORN] = cookie
    log.info("login.finished", provider=signed.provider)
    return redirect(login.return_to)
