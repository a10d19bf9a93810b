"""The beginning of a login: a 303 to the provider and one sealed cookie; nothing is stored for anonymous people (invariant 15).

Also the other answer to somebody who is not signed in: 401 with the address that signs in, for whatever is not a navigation.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.access.return_to import return_target
from gateway.oidc.authorization_request import authorization_url
from gateway.server.refusals import PLAIN_HEADERS
from gateway.session.cookies import delete_cookie, set_cookie
from gateway.session.login import MAX_LOGINS, begin_login, login_cookie_name, seal_login, surplus_logins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.server.parts import Parts, Site


async def send_to_provider(parts: Parts, site: Site, *, wanted: str | None, cookies: Sequence[bytes], replaces: str | None) -> web.Response:
    """303 to the authorization endpoint with a login cookie of this browser (RFC 6749 section 4.1.1).

    ``wanted`` is where the person was going: unchecked, the return rules decide. ``replaces`` names the session that the login takes
    the place of.

    Raises:
        ProviderFailed: there is no metadata to send anybody anywhere.
    """
    metadata = await parts.provider.metadata()
    login = begin_login(
        secrets.token_bytes(32),
        provider=parts.settings.provider.id,
        return_to=return_target(wanted, site.return_rules),
        now=parts.clock(),
        replaces=replaces,
    )
    location = authorization_url(
        metadata,
        parts.settings.provider,
        redirect_uri=site.redirect_uri,
        state=login.state,
        nonce=login.nonce,
        code_verifier=login.code_verifier,
    )
    response = redirect(location)
    lifetime = int(parts.settings.session.lifetimes.login)
    name = login_cookie_name(site.names, login.state)
    response.headers.add("Set-Cookie", set_cookie(name, seal_login(parts.keyring, login, site.names), site.names, max_age=lifetime))
    for surplus in surplus_logins(cookies, site.names, parts.keyring, keep=MAX_LOGINS - 1):
        response.headers.add("Set-Cookie", delete_cookie(surplus, site.names))
    return response


def ask_to_sign_in(site: Site) -> web.Response:
    """401 for fetch, XHR, POST, WebSocket, SSE and API callers: they cannot follow a redirect to a page for people."""
    body = {
        "error": "login_required",
        "message": "Sign in first: open login_url in a browser.",
        "login_url": site.start_uri,
    }
    # RFC 9110 section 15.5.2 wants a challenge. Browsers show no dialogue for a scheme that they do not know.
    headers = PLAIN_HEADERS | {"Content-Type": "application/json", "WWW-Authenticate": 'Cookie realm="gateway"'}
    return web.Response(status=401, body=json.dumps(body).encode(), headers=headers)


def redirect(location: str) -> web.Response:
    """303: what follows is a GET, whatever this was (RFC 9110 section 15.4.4). Never cached, never a Referer."""
    return web.Response(status=303, headers=PLAIN_HEADERS | {"Location": location})
