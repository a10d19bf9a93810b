"""The request that turns a refresh token into new tokens, over the back channel.

Answers RFC 6749 section 6: the client proves itself as it did for the code, and ``scope`` is left out, which asks for what was granted
before and never for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.oidc.client_authentication import client_credentials
from gateway.oidc.token_request import FormRequest

if TYPE_CHECKING:
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings


def refresh_request(refresh_token: str, settings: ProviderSettings, metadata: Metadata) -> FormRequest:
    """The token request for a refresh token.

    Raises:
        ProviderFailed: no method of client authentication fits.
    """
    credentials = client_credentials(settings, metadata.token_endpoint_auth_methods_supported)
    form = (("grant_type", "refresh_token"), ("refresh_token", refresh_token), *credentials.form)
    return FormRequest(url=metadata.token_endpoint, headers=credentials.headers, form=form)
