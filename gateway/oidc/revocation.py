"""Telling the provider that tokens are of no more use.

Answers RFC 7009 sections 2.1 and 2.2.1. The refresh token goes first: with it a provider ends the whole grant, and it is the one that
lives long. A provider that answers 503 has revoked nothing yet, and says with Retry-After when to come again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.oidc.client_authentication import client_credentials
from gateway.oidc.token_request import FormRequest

if TYPE_CHECKING:
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings
    from gateway.oidc.token_response import Tokens

LONGEST_WAIT: Final = 30.0
"""Seconds of a Retry-After that are waited for; what a provider asks for beyond is cut to this."""

_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Doomed:
    """A token to revoke, and the ``token_type_hint`` that helps the provider to find it."""

    hint: str
    token: str = field(repr=False)


def doomed_tokens(tokens: Tokens) -> tuple[Doomed, ...]:
    """The tokens of a grant that are worth revoking, in the order to revoke them."""
    access = Doomed("access_token", tokens.access_token)
    return (access,) if tokens.refresh_token is None else (Doomed("refresh_token", tokens.refresh_token), access)


def revocation_request(doomed: Doomed, settings: ProviderSettings, metadata: Metadata) -> FormRequest | None:
    """The request that revokes a token; None when the provider has no revocation endpoint.

    Raises:
        ProviderFailed: no method of client authentication fits.
    """
    if metadata.revocation_endpoint is None:
        return None
    # RFC 8414 section 2 has a list for each of the endpoints; most providers give that of the token endpoint alone and mean both.
    supported = metadata.revocation_endpoint_auth_methods_supported
    credentials = client_credentials(settings, metadata.token_endpoint_auth_methods_supported if supported is None else supported)
    form = (("token", doomed.token), ("token_type_hint", doomed.hint), *credentials.form)
    return FormRequest(url=metadata.revocation_endpoint, headers=credentials.headers, form=form)


def is_put_off(status: int) -> bool:
    """Whether an answer means "later" rather than "no"."""
    return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR
