"""What a session holds of a person, as a value and as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.identity import Identity
    from gateway.oidc.id_token import VerifiedClaims


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, by which provider (its id in the configuration), and until when; all times are epoch seconds."""

    identity: Identity
    provider: str
    created: int
    expires: int
    auth_time: int | None
    sid: str | None


def identity_from(claims: VerifiedClaims, wanted: frozenset[str]) -> Identity:
    """The person of verified claims, with the claims that the configuration can use; ``IdTokenRefused`` where one cannot be passed on."""
    raise NotImplementedError
