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
from gateway.oidc.jws import read_unverified, verify_compact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity import JSONValue
    from gateway.oidc.jwks import KeySet
    from gateway.oidc.jws import UnverifiedPayload, VerifiedPayload
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings

MAX_SID_LENGTH: Final = 255

_SUBJECT: Final = re.compile(r"[\x20-\x7e]{1,255}\Z")
_LATEST: Final = 2**53
"""Beyond this a JSON number is no exact integer, and no date."""

_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_WITNESS: Final = object()


class WrongTime(IdTokenRefused):
    """A token that passes but for its times: it is too old, too new or does not say, or a clock is wrong. Whose it is, is known."""


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """The claims of an id_token that passed. Only ``verify_id_token`` makes one: a session is born from nothing else.

    ``claims`` holds every claim as JSON values; ``expires``, ``issued`` and ``auth_time`` are epoch seconds.
    """

    claims: Mapping[str, JSONValue] = field(repr=False)
    issuer: str
    subject: str = field(repr=False)
    sid: str | None = field(repr=False)
    auth_time: int | None
    expires: float
    issued: float
    nonce: str = field(repr=False)
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _WITNESS:
            raise TypeError("only verify_id_token makes VerifiedClaims")


@dataclass(frozen=True, slots=True)
class RefreshedClaims:
    """The claims of an id_token that came with a refresh and is about the same sign-in. Only ``verify_refreshed_id_token`` makes one.

    No session is born from it, but one may go on by it. The values are as in ``VerifiedClaims``.
    """

    claims: Mapping[str, JSONValue] = field(repr=False)
    issuer: str
    subject: str = field(repr=False)
    sid: str | None = field(repr=False)
    expires: float
    issued: float
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _WITNESS:
            raise TypeError("only verify_refreshed_id_token makes RefreshedClaims")


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of a sign-in whose grant is refreshed; ``nonce`` is that of the login, ``issued`` the ``iat`` of the last id_token."""

    issuer: str
    subject: str = field(repr=False)
    auth_time: int | None
    nonce: str | None = field(repr=False)
    issued: float | None


@dataclass(frozen=True, slots=True)
class _Checked:
    claims: Mapping[str, JSONValue]
    alg: str
    subject: str
    sid: str | None
    auth_time: int | None


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
        WrongTime: a leaf of it as well: everything is right but ``exp``, ``iat`` or ``nbf``.
        IdTokenRefused: anything else, with the check that failed in its detail.
    """
    payload = verify_compact(token, keys=keys, algs=settings.id_token_algs)
    checked = _check(payload, settings=settings, metadata=metadata, access_token=access_token)
    _check_equal("nonce", checked.claims.get("nonce"), nonce)
    if "c_hash" in checked.claims and code is not None:
        _check_equal("c_hash", checked.claims["c_hash"], left_half_hash(code, checked.alg))
    expires, issued = _check_times(checked.claims, now=now, skew=settings.clock_skew)
    return VerifiedClaims(
        claims=checked.claims,
        issuer=metadata.issuer,
        subject=checked.subject,
        sid=checked.sid,
        auth_time=checked.auth_time,
        expires=expires,
        issued=issued,
        nonce=nonce,
        witness=_WITNESS,
    )


def verify_refreshed_id_token(  # noqa: PLR0913 - everything that an id_token is bound to
    token: str,
    *,
    keys: KeySet,
    settings: ProviderSettings,
    metadata: Metadata,
    before: Before,
    access_token: str,
    now: float,
) -> RefreshedClaims:
    """The claims of an id_token that came with a refresh (OpenID Connect Core section 12.2), if it is about the same sign-in.

    Besides what every id_token has to pass: ``iss`` and ``sub`` are those of the sign-in; ``auth_time`` is the same where both name one; a
    ``nonce`` is that of the login; ``iat`` is not older than that of the id_token before. Times come last: what is wrong with them alone
    is about the sign-in all the same.

    Raises:
        UnknownKey, WrongTime, IdTokenRefused: as ``verify_id_token``.
    """
    payload = verify_compact(token, keys=keys, algs=settings.id_token_algs)
    checked = _check_same(payload, settings=settings, metadata=metadata, before=before, access_token=access_token)
    expires, issued = _check_times(checked.claims, now=now, skew=settings.clock_skew)
    if before.issued is not None and issued < before.issued - settings.clock_skew:
        raise WrongTime(f"iat is {before.issued - issued:.0f} s older than that of the id_token before")
    return RefreshedClaims(
        claims=checked.claims,
        issuer=metadata.issuer,
        subject=checked.subject,
        sid=checked.sid,
        expires=expires,
        issued=issued,
        witness=_WITNESS,
    )


def refuse_unsigned(token: str, *, settings: ProviderSettings, metadata: Metadata, before: Before, access_token: str) -> None:
    """Refuse an id_token that came with a refresh, cannot be verified, and says of itself that it is of another sign-in.

    Nothing may be believed of one that passes. Raises ``IdTokenRefused``.
    """
    _check_same(
        read_unverified(token, algs=settings.id_token_algs), settings=settings, metadata=metadata, before=before, access_token=access_token
    )


def _check_same(
    payload: VerifiedPayload | UnverifiedPayload, *, settings: ProviderSettings, metadata: Metadata, before: Before, access_token: str
) -> _Checked:
    """What an id_token has to pass that came with a refresh, whenever it is."""
    checked = _check(payload, settings=settings, metadata=metadata, access_token=access_token)
    if metadata.issuer != before.issuer:
        raise IdTokenRefused("iss is not the issuer of this sign-in")
    if checked.subject != before.subject:
        raise IdTokenRefused("sub is somebody else than the person of this sign-in")
    if before.auth_time is not None and checked.auth_time not in (None, before.auth_time):
        raise IdTokenRefused("auth_time is not that of this sign-in")
    if "nonce" in checked.claims and before.nonce is not None:
        _check_equal("nonce", checked.claims["nonce"], before.nonce)
    return checked


def _check(
    payload: VerifiedPayload | UnverifiedPayload, *, settings: ProviderSettings, metadata: Metadata, access_token: str | None
) -> _Checked:
    """What an id_token has to pass whichever way it came and whenever it is."""
    claims = payload.claims
    if claims.get("iss") != metadata.issuer:
        raise IdTokenRefused("iss is not the issuer that this login went to")
    _check_audience(claims, settings.client_id)
    if "at_hash" in claims and access_token is not None:
        _check_equal("at_hash", claims["at_hash"], left_half_hash(access_token, payload.alg))
    subject, sid = claims.get("sub"), claims.get("sid")
    if not isinstance(subject, str) or not _SUBJECT.match(subject):
        raise IdTokenRefused("sub is missing or not 1 to 255 printable ASCII characters")
    if sid is not None and not (isinstance(sid, str) and 0 < len(sid) <= MAX_SID_LENGTH):
        raise IdTokenRefused("sid is no string of a sensible length")
    auth_time = _time(claims, "auth_time")
    return _Checked(
        claims=MappingProxyType(dict(claims)),
        alg=payload.alg,
        subject=subject,
        sid=sid,
        auth_time=None if auth_time is None else int(auth_time),
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


def _check_times(claims: Mapping[str, JSONValue], *, now: float, skew: float) -> tuple[float, float]:
    """Steps 9 and 10, with ``skew`` seconds of patience both ways; the times of expiry and of issue. Raises ``WrongTime`` alone."""
    try:
        expires, issued, not_before = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf")
    except IdTokenRefused as refused:
        raise WrongTime(refused.detail) from None
    if expires is None or issued is None:
        raise WrongTime("exp or iat is missing")
    if now >= expires + skew:
        raise WrongTime(f"exp is {now - expires:.0f} s in the past; check the clocks of the gateway and the provider")
    if issued > now + skew:
        raise WrongTime(f"iat is {issued - now:.0f} s in the future; check the clocks of the gateway and the provider")
    if not_before is not None and not_before > now + skew:
        raise WrongTime(f"nbf is {not_before - now:.0f} s in the future; check the clocks of the gateway and the provider")
    return expires, issued


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
