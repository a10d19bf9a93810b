"""Sign-out at the provider, after the session here is gone.

Answers OpenID Connect RP-Initiated Logout 1.0 section 2. The id_token_hint may be expired and is sent all the same; one that would make
the URL longer than servers take is left out, since ``client_id`` says who asks as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.oidc.endpoint_url import with_parameters

if TYPE_CHECKING:
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings

MAX_HINT_LENGTH: Final = 6144


def end_session_url(
    metadata: Metadata, settings: ProviderSettings, *, id_token_hint: str | None, post_logout_redirect_uri: str, state: str | None
) -> str | None:
    """Where to send the browser to sign out at the provider too; None when the provider has no such endpoint.

    Raises:
        ProviderFailed: the endpoint's own query holds one of our parameters.
    """
    if metadata.end_session_endpoint is None:
        return None
    parameters = {"client_id": settings.client_id, "post_logout_redirect_uri": post_logout_redirect_uri}
    if id_token_hint is not None and len(id_token_hint) <= MAX_HINT_LENGTH:
        parameters["id_token_hint"] = id_token_hint
    if state is not None:
        parameters["state"] = state
    return with_parameters(metadata.end_session_endpoint, parameters, settings)
