"""Telling the provider that tokens are of no more use.

Answers RFC 7009 section 2.1. The refresh token goes first: with it a provider ends the whole grant, and it is the one that lives long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.oidc.client_authentication import client_credentials
from gateway.oidc.token_request import FormRequest

if TYPE_CHECKING:
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings
    from gateway.oidc.token_response import Tokens


def revocation_requests(tokens: Tokens, settings: ProviderSettings, metadata: Metadata) -> tuple[FormRequest, ...]:
    """The requests to send, in order; none when the provider has no revocation endpoint.

    Raises:
        ProviderFailed: no method of client authentication fits.
    """
    if metadata.revocation_endpoint is None:
        return ()
    credentials = client_credentials(settings, metadata)
    doomed = (("refresh_token", tokens.refresh_token), ("access_token", tokens.access_token))
    return tuple(
        FormRequest(
            url=metadata.revocation_endpoint,
            headers=credentials.headers,
            form=(("token", token), ("token_type_hint", hint), *credentials.form),
        )
        for hint, token in doomed
        if token is not None
    )
