"""The request that turns a code into tokens, over the back channel.

Answers RFC 6749 section 4.1.3 (the very redirect_uri of the authorization request) and RFC 7636 section 4.5. It takes a
``ValidatedCallback``, so that no code is spent, or shown to a provider, that did not come back to the browser that began the login.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import CallbackRefused
from gateway.oidc.client_authentication import client_credentials

if TYPE_CHECKING:
    from gateway.oidc.callback import ValidatedCallback
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings


@dataclass(frozen=True, slots=True)
class FormRequest:
    """A POST of a form to an endpoint of the provider."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    form: tuple[tuple[str, str], ...] = field(repr=False)


def token_request(
    callback: ValidatedCallback, settings: ProviderSettings, metadata: Metadata, *, redirect_uri: str, code_verifier: str
) -> FormRequest:
    """The token request for a code.

    Raises:
        LoginDenied, ProviderRefused: the callback carries an error instead of a code.
        CallbackRefused: the callback was validated against another issuer (mix-up, RFC 9700 section 4.4).
        ProviderFailed: no method of client authentication fits.
    """
    code = callback.require_code()
    if callback.issuer != metadata.issuer:
        raise CallbackRefused("the callback belongs to another issuer than the token endpoint")
    credentials = client_credentials(settings, metadata.token_endpoint_auth_methods_supported)
    form = (
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", code_verifier),
        *credentials.form,
    )
    return FormRequest(url=metadata.token_endpoint, headers=credentials.headers, form=form)
