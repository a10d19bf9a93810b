"""What is told of a session where nobody shows its cookie: who, by which provider, when and from where. Never a token.

Answers invariants 11 and 14: a card is sealed under a server key and bound to the session's key in the store, so a copy of the store tells
nobody anything, and a card that was moved to another session is none. It is a few hundred bytes: names are clipped, and what only looks
nice goes before what sessions are found by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import IdTokenRefused
from gateway.session.sealing import Purpose
from gateway.session.stored_json import read_stored, write_stored

if TYPE_CHECKING:
    from gateway.session.record import Session
    from gateway.session.sealing import Keyring

MAX_CARD: Final = 3000
"""Bytes of JSON: sealed it is no longer than the longest text that a keyring opens."""
LONGEST_NAME: Final = 128
"""Characters of a name or an e-mail address."""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Card:
    """One session as operators see it; all times are epoch seconds. ``name`` and ``email`` are there if the configuration uses them.

    ``address`` is the client's at the sign-in, ``unknown`` where nothing told one.
    """

    provider: str
    issuer: str
    subject: str
    sid: str | None
    name: str | None
    email: str | None
    address: str
    created: int
    expires: int
    auth_time: int | None


def card_of(session: Session, *, address: str) -> Card:
    """The card of a session that began at a request from ``address``."""
    claims = session.identity.claims
    return Card(
        provider=session.provider,
        issuer=session.identity.issuer,
        subject=session.identity.subject,
        sid=session.sid,
        name=_clipped(claims.get("preferred_username")) or _clipped(claims.get("name")),
        email=_clipped(claims.get("email")),
        address=address,
        created=session.created,
        expires=session.expires,
        auth_time=session.auth_time,
    )


def seal_card(keyring: Keyring, card: Card, *, key: str) -> bytes:
    """The card as the store keeps it, for the session under this store key.

    Raises:
        IdTokenRefused: the provider's names for somebody are longer than any card.
    """
    written = _written(card)
    if len(written) > MAX_CARD:
        written = _written(replace(card, name=None, email=None))
    if len(written) > MAX_CARD:
        raise IdTokenRefused(f"issuer, sub and sid make a card of {len(written)} bytes, more than {MAX_CARD}")
    return keyring.seal(Purpose.CARD, written, bound_to=key).encode()


def open_card(keyring: Keyring, sealed: bytes, *, key: str) -> Card | None:
    """The card of the session under this store key; None for whatever this gateway did not seal for it, under a key that it has."""
    plaintext = keyring.open(Purpose.CARD, sealed, bound_to=key)
    match None if plaintext is None else read_stored(plaintext):
        case {
            "v": 1,
            "provider": str(provider),
            "iss": str(issuer),
            "sub": str(subject),
            "sid": None | str() as sid,
            "name": None | str() as name,
            "email": None | str() as email,
            "address": str(address),
            "created": int(created),
            "expires": int(expires),
            "auth_time": None | int() as auth_time,
        }:
            return Card(
                provider=provider,
                issuer=issuer,
                subject=subject,
                sid=sid,
                name=name,
                email=email,
                address=address,
                created=created,
                expires=expires,
                auth_time=auth_time,
            )
    return None


def _written(card: Card) -> bytes:
    return write_stored(
        {
            "v": _VERSION,
            "provider": card.provider,
            "iss": card.issuer,
            "sub": card.subject,
            "sid": card.sid,
            "name": card.name,
            "email": card.email,
            "address": card.address,
            "created": card.created,
            "expires": card.expires,
            "auth_time": card.auth_time,
        }
    )


def _clipped(claim: object) -> str | None:
    return claim[:LONGEST_NAME] if isinstance(claim, str) and claim else None
