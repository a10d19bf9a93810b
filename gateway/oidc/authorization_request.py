"""The request that the browser carries to the provider.

Answers OpenID Connect Core section 3.1.2.1, RFC 6749 section 4.1.1 and RFC 7636 section 4.3: always a state, a nonce and a PKCE challenge
by S256, and no parameter of the operator's can stand in the place of one of ours.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from gateway.oidc import base64url
from gateway.oidc.endpoint_url import with_parameters

if TYPE_CHECKING:
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings

OUR_PARAMETERS: Final = frozenset(
    {
        "response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
        "code_challenge", "code_challenge_method", "request", "request_uri", "client_secret", "code_verifier",
    }
)  # fmt: skip
"""What ``authorization_params`` can never set: ours, those that would replace ours, and those that must not be in a URL."""

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


def code_challenge(code_verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 section 4.2); raises ``ValueError`` when it is no verifier of section 4.1."""
    if not _VERIFIER.match(code_verifier):
        raise ValueError("a code_verifier is 43 to 128 unreserved characters")
    return base64url.encode(hashlib.sha256(code_verifier.encode("ascii")).digest())


def authorization_url(  # noqa: PLR0913 - the parameters of the standard
    metadata: Metadata, settings: ProviderSettings, *, redirect_uri: str, state: str, nonce: str, code_verifier: str
) -> str:
    """The URL to send a browser to, so that its person signs in and comes back to ``redirect_uri``.

    ``openid`` is always among the scopes. A query that the authorization endpoint has of its own is retained.

    Raises:
        ProviderFailed: that query holds one of our parameters.
    """
    scopes = settings.scopes if "openid" in settings.scopes else ("openid", *settings.scopes)
    extra = {name: value for name, value in settings.authorization_params.items() if name not in OUR_PARAMETERS}
    ours = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": code_challenge(code_verifier),
        "code_challenge_method": "S256",
    }
    return with_parameters(metadata.authorization_endpoint, {**extra, **ours}, settings)
