"""How this gateway is registered at one provider, and the one type that carries its secret without ever printing it.

Answers RFC 6749 section 2 (client registration) and invariant 11: a secret is shown by ``reveal()`` alone, so that no log line, error or
``repr`` of a setting can hold it by accident.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClientAuth(Enum):
    """How the gateway proves who it is at the token endpoint (OpenID Connect Core section 9); AUTO takes it from the metadata."""

    AUTO = "auto"
    BASIC = "client_secret_basic"
    POST = "client_secret_post"


class Secret:
    """A string that does not print itself. Equality takes the same time whatever the other secret is."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: call it where it is sent or used, and keep no copy."""
        return self._value

    @override
    def __repr__(self) -> str:
        return "Secret(***)"

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass"))

    @override
    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider as the operator describes it. All times are seconds.

    ``issuer`` is compared code point by code point and never normalised. ``id_token_algs`` pins what may sign an id_token.
    ``authorization_params`` are added to the authorization request and can never replace one that the gateway sends itself.
    """

    id: str
    issuer: str
    client_id: str
    client_secret: Secret
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    client_auth: ClientAuth = ClientAuth.AUTO
    id_token_algs: tuple[str, ...] = ("RS256",)
    insecure_http: bool = False
    """A plain-http issuer off loopback is accepted."""
    authorization_params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    connect_timeout: float = 5.0
    total_timeout: float = 10.0
    refresh_timeout: float = 30.0
    """For the exchange of a refresh token: nobody is held up by it, and an answer that is not waited for may cost the grant."""
    clock_skew: float = 60.0
    ca_file: str | None = None
    """A PEM file of authorities to trust instead of the system's."""
