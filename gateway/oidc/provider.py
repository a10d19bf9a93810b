"""One provider, kept fresh: its metadata and keys, and the exchanges that need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.oidc.id_token import VerifiedClaims
    from gateway.oidc.token_response import Tokens


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A finished handshake: what the provider granted, who signed in, and the id of the provider in the configuration."""

    tokens: Tokens
    claims: VerifiedClaims
    provider: str
