"""The headers by which an app learns who somebody is: which names a route may use, and which no client may bring.

Answers invariant 3 (IH-01 to IH-20): a name is compared as the loosest upstream reads it, a claim never fills a header that a server acts
upon, and the names that the gateway itself speaks by are taken from no client, on any route.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.config.faults import one_of
from gateway.proxy.headers import fold

TOKEN_SOURCES: Final = ("token:access", "token:id")

DEFAULT_IDENTITY: Final = {
    "X-Forwarded-User": "sub",
    "X-Forwarded-Email": "email",
    "X-Forwarded-Groups": "groups",
    "X-Forwarded-Preferred-Username": "preferred_username",
}
"""Header: claim. What an app gets unless its route says otherwise."""

FORWARD_AUTH: Final = ("X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username")
"""What the forward-auth endpoint answers with, for a proxy to copy into the request."""

RESERVED: Final = (*DEFAULT_IDENTITY, *FORWARD_AUTH)
"""Never taken from a client, whatever the routes use; ``proxy.headers`` has more that no configuration changes."""

FRAMING: Final = frozenset({
    # RFC 9110 section 7.6.1: hop-by-hop, and what older agents take for it.
    "connection", "keepalive", "proxyauthenticate", "proxyauthorization", "proxyauthenticationinfo", "proxyconnection", "te", "trailer",
    "transferencoding", "upgrade", "http2settings",
    # The message itself: framing, routing, representation, conditions.
    "host", "contentlength", "contenttype", "contentencoding", "contentrange", "expect", "range", "date", "via", "maxforwards",
    "ifmatch", "ifnonematch", "ifmodifiedsince", "ifunmodifiedsince", "ifrange",
    # What other rules of the gateway, of browsers or of frameworks hang on.
    "cookie", "setcookie", "origin", "referer", "forwarded", "xforwardedfor", "xforwardedhost", "xforwardedproto", "xforwardedport",
    "xforwardedprefix", "xforwardedmethod", "xforwardeduri", "xforwardedserver", "xforwardedscheme", "xrealip", "xoriginalurl",
    "xoriginalmethod", "xoriginaluri", "xrewriteurl", "xhttpmethodoverride", "xhttpmethod", "xmethodoverride",
})  # fmt: skip
"""Folded names that mean something to a server between us and the app, so that no claim may fill them."""

BROWSER_PREFIXES: Final = ("secfetch", "secch", "secwebsocket", "secgpc", "secpurpose", "accesscontrol")
"""How folded names begin that browsers alone set."""

WHY_NOT_AUTHORIZATION: Final = "an access token in Authorization is not built yet; write X-Forwarded-Access-Token: token:access"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""RFC 9110 section 5.6.2."""


def folded(name: str) -> str:
    """A header's name as the loosest upstream reads it: ``X_Forwarded-User`` is ``xforwardeduser``."""
    return fold(name.encode("utf-8", "surrogatepass")).decode("ascii")


def check_identity_header(name: str, source: str) -> None:
    """One header for the app and what fills it.

    Raises:
        ValueError: with what is wrong and what to write; neither name nor source is in the text.
    """
    plain = folded(name)
    if not _TOKEN.fullmatch(name) or not plain:
        raise ValueError("not the name of a header; write letters, digits and - such as X-Forwarded-User")
    if plain == "authorization":
        raise ValueError(
            WHY_NOT_AUTHORIZATION if source == "token:access" else "Authorization is no claim; take a name such as X-Forwarded-User"
        )
    if plain in FRAMING or plain.startswith(BROWSER_PREFIXES):
        raise ValueError("this header means something to browsers and servers already; take one such as X-Forwarded-User")
    if source.startswith("token:") and source not in TOKEN_SOURCES:
        raise ValueError(f"there is no such token; write {one_of(TOKEN_SOURCES)}")
    if not source or len(source) > 256 or not source.isprintable() or " " in source:  # noqa: PLR2004 - claims are names or URLs
        raise ValueError("not a source; write the name of a claim, token:access or token:id")
