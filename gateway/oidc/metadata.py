"""What a provider says about itself, believed only where it names the very issuer that the operator named.

Answers OpenID Connect Discovery sections 4.1 to 4.3 and RFC 8414 section 3.3: an issuer that differs in one code point is another issuer.
A provider that lists PKCE methods without S256 is refused, since RFC 7636 section 7.2 forbids the way down to "plain".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.errors import ProviderFailed
from gateway.oidc.endpoint_url import check_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity import JSONValue
    from gateway.oidc.registration import ProviderSettings

_MAX_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Metadata:
    """The members of a provider's metadata that the gateway uses; None where the provider left an optional one out."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    revocation_endpoint: str | None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None
    revocation_endpoint_auth_methods_supported: tuple[str, ...] | None
    id_token_signing_alg_values_supported: tuple[str, ...] | None
    iss_parameter_supported: bool
    """``authorization_response_iss_parameter_supported`` (RFC 9207 section 3)."""

    @property
    def hosts(self) -> list[str]:
        """The hosts that the browser and the secrets are sent to, and the one that the keys come from."""
        return [urlsplit(url).netloc for url in (self.authorization_endpoint, self.token_endpoint, self.jwks_uri)]


def discovery_url(issuer: str) -> str:
    """Where the metadata of an issuer is (OpenID Connect Discovery section 4.1): one terminating slash goes, the rest stays."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def read_metadata(document: Mapping[str, JSONValue], settings: ProviderSettings) -> Metadata:
    """The metadata in a discovery document; members that we do not know are ignored.

    Raises:
        ProviderFailed: another issuer, an endpoint that is missing or not acceptable, a member of the wrong type, or PKCE without S256.
    """
    # Discovery 4.3: "The issuer value returned MUST be identical to the Issuer URL that was used as the prefix".
    if document.get("issuer") != settings.issuer:
        raise ProviderFailed(
            f"provider {settings.id}: the issuer in the metadata is not the configured one; they must agree to the last character"
        )
    challenge_methods = _listed(document, "code_challenge_methods_supported", settings)
    if challenge_methods and "S256" not in challenge_methods:
        raise ProviderFailed(f"provider {settings.id}: code_challenge_methods_supported has no S256, and plain is never used")
    iss_supported = document.get("authorization_response_iss_parameter_supported", False)
    if not isinstance(iss_supported, bool):
        raise ProviderFailed(f"provider {settings.id}: authorization_response_iss_parameter_supported in the metadata is no boolean")
    return Metadata(
        issuer=settings.issuer,
        authorization_endpoint=check_endpoint("authorization_endpoint", document.get("authorization_endpoint"), settings),
        token_endpoint=check_endpoint("token_endpoint", document.get("token_endpoint"), settings),
        jwks_uri=check_endpoint("jwks_uri", document.get("jwks_uri"), settings),
        end_session_endpoint=_optional_endpoint(document, "end_session_endpoint", settings),
        revocation_endpoint=_optional_endpoint(document, "revocation_endpoint", settings),
        token_endpoint_auth_methods_supported=_listed(document, "token_endpoint_auth_methods_supported", settings),
        revocation_endpoint_auth_methods_supported=_listed(document, "revocation_endpoint_auth_methods_supported", settings),
        id_token_signing_alg_values_supported=_listed(document, "id_token_signing_alg_values_supported", settings),
        iss_parameter_supported=iss_supported,
    )


def _optional_endpoint(document: Mapping[str, JSONValue], name: str, settings: ProviderSettings) -> str | None:
    value = document.get(name)
    return None if value is None else check_endpoint(name, value, settings)


def _listed(document: Mapping[str, JSONValue], name: str, settings: ProviderSettings) -> tuple[str, ...] | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MAX_LISTED or not all(isinstance(member, str) for member in value):
        raise ProviderFailed(f"provider {settings.id}: {name} in the metadata is no list of strings")
    return tuple(value)
