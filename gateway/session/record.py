"""What a session holds of a person, as a value and as bytes: the claims that the configuration uses, and nothing more.

Answers invariant 14 (a session is a few KiB) and the threat of a claim that breaks a header or a log line: controls end the login here,
before anything is kept. Bytes that cannot be read back are an ended session, never a crash.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import IdTokenRefused
from gateway.identity import Identity
from gateway.session.grant import Grant, grant_after, grant_from_json, grant_to_json
from gateway.session.stored_json import read_stored, write_stored

if TYPE_CHECKING:
    from gateway.identity import JSONValue
    from gateway.oidc.id_token import RefreshedClaims, VerifiedClaims
    from gateway.oidc.provider import Refreshed

MAX_CLAIMS: Final = 8 * 1024
"""Bytes of JSON that the kept claims of one person may be."""

_VERSION: Final = 1
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, by which provider (its id in the configuration), and until when; all times are epoch seconds."""

    identity: Identity
    provider: str
    created: int
    expires: int
    auth_time: int | None
    sid: str | None
    grant: Grant | None = None
    """None in what an earlier version wrote."""


def identity_from(claims: VerifiedClaims | RefreshedClaims, wanted: frozenset[str]) -> Identity:
    """The person of verified claims, with ``sub`` and the ``wanted`` claims that are there.

    ``IdTokenRefused`` when a kept claim holds a control character (C0, DEL) or is no JSON, or when all of them are more than 8 KiB.
    """
    kept = {name: value for name, value in claims.claims.items() if name in wanted} | {"sub": claims.subject}
    for name, value in kept.items():
        if _has_controls(value):
            raise IdTokenRefused(f"claim {name!r} holds a control character")
    try:
        written = write_stored(kept)
    except (ValueError, TypeError):
        raise IdTokenRefused("a claim is no JSON value") from None
    if len(written) > MAX_CLAIMS:
        raise IdTokenRefused(f"the claims that the configuration uses are {len(written)} bytes, more than {MAX_CLAIMS}")
    return Identity(issuer=claims.issuer, subject=claims.subject, claims=kept)


def session_after(session: Session, refreshed: Refreshed, before: Grant, *, wanted: frozenset[str], now: float) -> Session:
    """The session as it goes on after a refresh; ``IdTokenRefused`` as in ``identity_from``.

    The claims of a new id_token take the place of the kept ones if it carries any of those ``wanted`` beside ``sub``: some providers put
    next to nothing into it, and a person does not lose their groups for that.
    """
    identity = session.identity
    if refreshed.claims is not None and (wanted - {"sub"}) & refreshed.claims.claims.keys():
        identity = identity_from(refreshed.claims, wanted)
    return replace(session, identity=identity, grant=grant_after(refreshed, before, now=now))


def session_to_bytes(session: Session) -> bytes:
    """Compact JSON; ``session_from_bytes`` gives the equal value back.

    A member that is new to this version stands beside those of the first: replicas of both read what either wrote.
    """
    return write_stored(
        {
            "v": _VERSION,
            "iss": session.identity.issuer,
            "sub": session.identity.subject,
            "claims": session.identity.claims,
            "provider": session.provider,
            "created": session.created,
            "expires": session.expires,
            "auth_time": session.auth_time,
            "sid": session.sid,
            "grant": None if session.grant is None else grant_to_json(session.grant),
        }
    )


def session_from_bytes(data: bytes) -> Session | None:
    """The session that these bytes are; None for whatever ``session_to_bytes`` of this version did not write."""
    match read_stored(data):
        case {
            "v": 1,
            "iss": str(issuer),
            "sub": str(subject),
            "claims": dict(claims),
            "provider": str(provider),
            "created": int(created),
            "expires": int(expires),
            "auth_time": None | int() as auth_time,
            "sid": None | str() as sid,
            **later,
        }:
            # What every session has alike is there once: a process keeps thousands.
            named = {sys.intern(name): value for name, value in claims.items()}
            identity = Identity(issuer=sys.intern(issuer), subject=subject, claims=named)
            grant = grant_from_json(later.get("grant"))
            return Session(identity, sys.intern(provider), created, expires, auth_time, sid, grant)
    return None


def _has_controls(value: JSONValue) -> bool:
    if isinstance(value, str):
        return _CONTROLS.search(value) is not None
    if isinstance(value, dict):
        return any(_has_controls(name) or _has_controls(member) for name, member in value.items())
    if isinstance(value, list | tuple):
        return any(_has_controls(member) for member in value)
    return False
