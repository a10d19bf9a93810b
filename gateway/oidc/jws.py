"""A signed token in compact form: its shape first, then its algorithm, then its signature, and only then its payload.

Answers RFC 7515 sections 4 and 5.2 and RFC 8725 section 3: exactly one spelling is read, the algorithm comes from a pinned list and must
fit the key, ``crit`` is refused (section 4.1.11: what we do not understand), and no key is ever taken from the token itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from gateway.errors import IdTokenRefused
from gateway.oidc import base64url
from gateway.oidc.jwks import ALGORITHMS, MAX_KID_LENGTH
from gateway.oidc.strict_json import JSONError, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.identity import JSONValue
    from gateway.oidc.jwks import KeySet

MAX_TOKEN_LENGTH: Final = 65536
MAX_HEADER_LENGTH: Final = 4096
MAX_SIGNATURE_LENGTH: Final = 4096
MAX_TRIED_KEYS: Final = 8
"""How many keys are tried on a token without a kid: each try costs time."""

_PARTS: Final = 3


class UnknownKey(IdTokenRefused):
    """No key of the set fits this token: it may be signed with a key published since, so one refetch is worth it."""


@dataclass(frozen=True, slots=True)
class VerifiedPayload:
    """The claims of a token whose signature is good, and the algorithm that it was signed with. The claims are not judged yet."""

    alg: str
    claims: Mapping[str, JSONValue] = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnverifiedPayload:
    """What a token says of itself, whoever signed it: good for finding fault with, and for nothing else."""

    alg: str
    claims: Mapping[str, JSONValue] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Read:
    alg: str
    kid: str | None
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)


def verify_compact(token: str, *, keys: KeySet, algs: Sequence[str]) -> VerifiedPayload:
    """The payload of a JWT that one of ``keys`` signed with one of ``algs``.

    Raises:
        UnknownKey: well-formed, but no key of the set has its kid (or, without a kid, signed it).
        IdTokenRefused: anything else.
    """
    read = _read(token, algs)
    candidates = keys.candidates(read.alg, read.kid)
    if not candidates:
        raise UnknownKey("no key of the provider fits the token's kid and alg")
    algorithm = JWSRegistry.algorithms[read.alg]
    for candidate in candidates[:MAX_TRIED_KEYS]:
        try:
            algorithm.check_key(candidate.key)
            good = algorithm.verify(read.signing_input, read.signature, candidate.key)
        except (JoseError, ValueError):
            good = False
        if good:
            return VerifiedPayload(alg=read.alg, claims=_parsed("payload", read.payload))
    if read.kid is None:
        raise UnknownKey("no key of the provider signed this token, which names none")
    raise IdTokenRefused("the signature of the token is wrong")


def read_unverified(token: str, *, algs: Sequence[str]) -> UnverifiedPayload:
    """The payload of a JWT that says it is signed with one of ``algs``; raises ``IdTokenRefused`` for what is no such JWT."""
    read = _read(token, algs)
    return UnverifiedPayload(alg=read.alg, claims=_parsed("payload", read.payload))


def _read(token: str, algs: Sequence[str]) -> _Read:
    if len(token) > MAX_TOKEN_LENGTH:
        raise IdTokenRefused(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise IdTokenRefused(f"a signed token has three parts, this one {len(parts)}; encrypted ones are not taken")
    header_part, payload_part, signature_part = parts
    if len(header_part) > MAX_HEADER_LENGTH or len(signature_part) > MAX_SIGNATURE_LENGTH:
        raise IdTokenRefused("the header or the signature of the token is too long")
    signature = _decoded("signature", signature_part)
    if not signature:
        raise IdTokenRefused("the token is not signed")
    alg, kid = _read_header(_object("header", header_part), algs)
    payload = _decoded("payload", payload_part)
    return _Read(alg, kid, payload, signature, f"{header_part}.{payload_part}".encode("ascii"))


def _read_header(header: Mapping[str, JSONValue], algs: Sequence[str]) -> tuple[str, str | None]:
    alg, typ, kid = header.get("alg"), header.get("typ"), header.get("kid")
    if not isinstance(alg, str) or alg not in algs or alg not in ALGORITHMS:
        raise IdTokenRefused("the token is not signed with an algorithm that id_token_algs names")
    if "crit" in header or "b64" in header:
        raise IdTokenRefused("the token's header has extensions that must be understood")
    if "cty" in header or "zip" in header or "enc" in header:
        raise IdTokenRefused("the token's header speaks of nested, compressed or encrypted content")
    # RFC 8725 section 3.11: explicit typing keeps other kinds of token out. Names of media types ignore case (RFC 7515 section 4.1.9).
    if "typ" in header and not (isinstance(typ, str) and typ.lower() == "jwt"):
        raise IdTokenRefused("the token's typ is not that of an id_token")
    if "kid" in header and not (isinstance(kid, str) and len(kid) <= MAX_KID_LENGTH):
        raise IdTokenRefused("the token's kid is no string of a sensible length")
    return alg, kid if isinstance(kid, str) else None


def _decoded(name: str, part: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError as error:
        raise IdTokenRefused(f"the {name} of the token is {error}") from None


def _parsed(name: str, data: bytes) -> dict[str, JSONValue]:
    try:
        return parse_object(data)
    except JSONError as error:
        raise IdTokenRefused(f"the {name} of the token is not acceptable JSON: {error}") from None


def _object(name: str, part: str) -> dict[str, JSONValue]:
    return _parsed(name, _decoded(name, part))
