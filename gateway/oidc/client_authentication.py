"""How the gateway proves who it is at the token and revocation endpoints: one method a request, never in a URL.

Answers RFC 6749 section 2.3.1 (identifier and secret are form-encoded by appendix B *before* base64) and OpenID Connect Core section 9.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from gateway.errors import ProviderFailed
from gateway.oidc.registration import ClientAuth

if TYPE_CHECKING:
    from gateway.oidc.registration import ProviderSettings


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What to add to a request: header fields, or members of the form; one of the two is empty."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def method_for(settings: ProviderSettings, supported: tuple[str, ...] | None) -> ClientAuth:
    """BASIC or POST: what the operator named, else from what the endpoint supports by the metadata.

    None, no word about it, means basic (Discovery section 3).

    Raises:
        ProviderFailed: ``client_auth`` is auto and the provider lists neither.
    """
    if settings.client_auth is not ClientAuth.AUTO:
        return settings.client_auth
    if supported is None or ClientAuth.BASIC.value in supported:
        return ClientAuth.BASIC
    if ClientAuth.POST.value in supported:
        return ClientAuth.POST
    raise ProviderFailed(
        f"provider {settings.id}: it lists neither client_secret_basic nor client_secret_post; set client_auth if it takes one all the same"
    )


def client_credentials(settings: ProviderSettings, supported: tuple[str, ...] | None) -> ClientCredentials:
    """The credentials of this client for one request to an endpoint that supports these methods; raises as ``method_for`` does."""
    secret = settings.client_secret.reveal()
    if method_for(settings, supported) is ClientAuth.POST:
        return ClientCredentials(form=(("client_id", settings.client_id), ("client_secret", secret)))
    pair = f"{quote_plus(settings.client_id, safe='')}:{quote_plus(secret, safe='')}"
    return ClientCredentials(headers=(("Authorization", "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")),))
