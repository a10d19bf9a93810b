"""Who signed in: claims that leave this file have passed every check of OpenID Connect Core section 3.1.3.7.

The signature comes first (``jws``), then the claims. Nothing is taken from a token that fails one of them: no session, no tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.errors import IdTokenRefused
from gateway.oidc import base64url
from gateway.oidc.jws import verify_compact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity import JSONValue
    from gateway.oidc.jwks import KeySet
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings

MAX_SID_LENGTH: Final = 255

_SUBJECT: Final = re.compile(r"[\x20-\x7e]{1,255}\Z")
_LATEST: Final = 2**53
"""Beyond this a JSON number is no exact integer, and no date."""

_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_WITNESS: Final = object()


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """The claims of an id_token that passed. Only ``verify_id_token`` makes one: a session is born from nothing else.

    ``claims`` holds every claim as JSON values; ``expires`` and ``auth_time`` are epoch seconds.
    """

    claims: Mapping[str, JSONValue] = field(repr=False)
    issuer: str
    subject: str = field(repr=False)
    sid: str | None = field(repr=False)
    auth_time: int | None
    expires: float
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _WITNESS:
            raise TypeError("only verify_id_token makes VerifiedClaims")


def verify_id_token(  # noqa: PLR0913 - everything that an id_token is bound to
    token: str,
    *,
    keys: KeySet,
    settings: ProviderSettings,
    metadata: Metadata,
    nonce: str,
    access_token: str | None,
    now: float,
    code: str | None = None,
) -> VerifiedClaims:
    """The claims of an id_token that this provider made for this client, this login and this moment.

    ``now`` is epoch seconds. ``access_token`` and ``code`` are those of the same login, for ``at_hash`` and ``c_hash``.

    Raises:
        UnknownKey: a leaf of ``IdTokenRefused``: no key of the set fits, so that a refetch may help.
        IdTokenRefused: anything else, with the check that failed in its detail.
    """
    payload = verify_compact(token, keys=keys, algs=settings.id_token_algs)
    claims = payload.claims
    if claims.get("iss") != metadata.issuer:
        raise IdTokenRefused("iss is not the issuer that this login went to")
    _check_audience(claims, settings.client_id)
    expires = _check_times(claims, now=now, skew=settings.clock_skew)
    _check_equal("nonce", claims.get("nonce"), nonce)
    if "at_hash" in claims and access_token is not None:
        _check_equal("at_hash", claims["at_hash"], left_half_hash(access_token, payload.alg))
    if "c_hash" in claims and code is not None:
        _check_equal("c_hash", claims["c_hash"], left_half_hash(code, payload.alg))
    subject, sid = claims.get("sub"), claims.get("sid")
    if not isinstance(subject, str) or not _SUBJECT.match(subject):
        raise IdTokenRefused("sub is missing or not 1 to 255 printable ASCII characters")
    if sid is not None and not (isinstance(sid, str) and 0 < len(sid) <= MAX_SID_LENGTH):
        raise IdTokenRefused("sid is no string of a sensible length")
    auth_time = _time(claims, "auth_time")
    return VerifiedClaims(
        claims=MappingProxyType(dict(claims)),
        issuer=metadata.issuer,
        subject=subject,
        sid=sid,
        auth_time=None if auth_time is None else int(auth_time),
        expires=expires,
        witness=_WITNESS,
    )


def left_half_hash(value: str, alg: str) -> str:
    """The ``at_hash`` or ``c_hash`` of a value under a signature algorithm (OpenID Connect Core section 3.1.3.6; SHA-512 for Ed25519)."""
    digest = _HASHES.get(alg[-3:], hashlib.sha512)(value.encode("utf-8")).digest()
    return base64url.encode(digest[: len(digest) // 2])


def _check_audience(claims: Mapping[str, JSONValue], client_id: str) -> None:
    """Steps 3 to 5: this client is the audience, nobody else is, and an authorized party can be no one but this client."""
    audience = claims.get("aud")
    members = audience if isinstance(audience, list) else [audience]
    if not members or any(not isinstance(member, str) or member != client_id for member in members):
        raise IdTokenRefused("aud is not this client alone; check client_id")
    if "azp" in claims and claims["azp"] != client_id:
        raise IdTokenRefused("azp is another client")


def _check_times(claims: Mapping[str, JSONValue], *, now: float, skew: float) -> float:
    """Steps 9 and 10, with ``skew`` seconds of patience both ways; the time of expiry."""
    expires, issued, not_before = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf")
    if expires is None or issued is None:
        raise IdTokenRefused("exp or iat is missing")
    if now >= expires + skew:
        raise IdTokenRefused(f"exp is {now - expires:.0f} s in the past; check the clocks of the gateway and the provider")
    if issued > now + skew:
        raise IdTokenRefused(f"iat is {issued - now:.0f} s in the future; check the clocks of the gateway and the provider")
    if not_before is not None and not_before > now + skew:
        raise IdTokenRefused(f"nbf is {not_before - now:.0f} s in the future; check the clocks of the gateway and the provider")
    return expires


def _time(claims: Mapping[str, JSONValue], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2) as epoch seconds, None when it is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise IdTokenRefused(f"{name} is no date")
    return float(value)


def _check_equal(name: str, claim: JSONValue, expected: str) -> None:
    if not isinstance(claim, str) or not expected or not hmac.compare_digest(claim.encode("utf-8"), expected.encode("utf-8")):
        raise IdTokenRefused(f"{name} is missing or not that of this login")
