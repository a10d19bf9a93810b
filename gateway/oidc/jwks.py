"""A provider's public keys, and which of them may have signed what.

Answers RFC 7517 and RFC 8725 sections 3.1 and 3.2: a key verifies only the algorithms of its own type and curve, symmetric keys and keys
published with their private half are never used, and entries that we cannot use are skipped, so that one odd key does not lock
everybody out. A key is chosen by kid, kty, use and alg together, since providers publish one kid for keys of different kinds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.errors import ProviderFailed
from gateway.oidc import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity import JSONValue

MAX_KEYS: Final = 100
MAX_KID_LENGTH: Final = 256
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 16384

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{1,4096}\Z")
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class KeyKind:
    """What a key must be to verify an algorithm: its type and, where there is one, its curve."""

    kty: str
    crv: str | None = None


ALGORITHMS: Final[Mapping[str, KeyKind]] = {
    **{f"{family}{size}": KeyKind("RSA") for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": KeyKind("EC", "P-256"),
    "ES384": KeyKind("EC", "P-384"),
    "ES512": KeyKind("EC", "P-521"),
    "EdDSA": KeyKind("OKP", "Ed25519"),
    "Ed25519": KeyKind("OKP", "Ed25519"),
}
"""Every algorithm that an operator may pin for id_tokens: asymmetric ones alone (RFC 7518 section 3.1, RFC 8037, RFC 9864)."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key that may verify signatures."""

    kid: str | None
    alg: str | None
    kind: KeyKind
    key: RSAKey | ECKey | OKPKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a JWK set, in its order."""

    keys: tuple[VerificationKey, ...]

    def candidates(self, alg: str, kid: str | None) -> tuple[VerificationKey, ...]:
        """The keys that may have signed with ``alg`` under ``kid``; without a kid, every key that fits the algorithm."""
        kind = ALGORITHMS[alg]
        return tuple(key for key in self.keys if key.kind == kind and key.alg in (None, alg) and (kid is None or key.kid == kid))


def read_jwks(document: Mapping[str, JSONValue], *, provider: str) -> KeySet:
    """The usable keys in a JWK set (RFC 7517 section 5).

    Raises:
        ProviderFailed: no list of keys, or more than ``MAX_KEYS``. A list without a usable key is an empty set.
    """
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ProviderFailed(f"provider {provider}: the JWK set has no list of at most {MAX_KEYS} keys")
    keys = (_read_key(entry) for entry in entries if isinstance(entry, dict))
    return KeySet(tuple(key for key in keys if key is not None))


def _read_key(entry: Mapping[str, JSONValue]) -> VerificationKey | None:
    """One entry, or None when it is not a public key for signatures that we can use."""
    kid, alg, use, key_ops = entry.get("kid"), entry.get("alg"), entry.get("use", "sig"), entry.get("key_ops", ["verify"])
    if not _PRIVATE_MEMBERS.isdisjoint(entry) or use != "sig" or not isinstance(key_ops, list) or "verify" not in key_ops:
        return None
    if not (kid is None or (isinstance(kid, str) and len(kid) <= MAX_KID_LENGTH)) or not (alg is None or isinstance(alg, str)):
        return None
    names: tuple[str, ...]
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            kind, names = KeyKind("RSA"), ("n", "e")
        case "EC", ("P-256" | "P-384" | "P-521") as crv:
            kind, names = KeyKind("EC", crv), ("x", "y")
        case "OKP", "Ed25519":
            kind, names = KeyKind("OKP", "Ed25519"), ("x",)
        case _:
            return None
    members = {name: value for name in names if isinstance(value := entry.get(name), str) and _BASE64URL.match(value)}
    if len(members) != len(names):
        return None
    try:
        key = _import(kind, members)
    except (JoseError, ValueError):
        return None
    return None if key is None else VerificationKey(kid=kid, alg=alg, kind=kind, key=key)


def _import(kind: KeyKind, members: dict[str, str]) -> RSAKey | ECKey | OKPKey | None:
    if kind.kty == "RSA":
        bits = int.from_bytes(base64url.decode(members["n"])).bit_length()
        if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
            return None
        return RSAKey.import_key({"kty": "RSA", **members})
    if kind.kty == "EC":
        return ECKey.import_key({"kty": "EC", "crv": kind.crv or "", **members})
    return OKPKey.import_key({"kty": "OKP", "crv": kind.crv or "", **members})
