"""Under which names a session is listed: by user, by the provider's own session id, by provider, and once whatever it is.

Answers RD-19 and invariant 11: the names of the sets are HMACs under keys derived from the server's, so who reads the store learns how many
sets there are and how large, and not whom they are about. A session is listed under the newest key and looked for under every one that is
configured, so that a rotation hides nobody. The list of everybody has one name, whatever is configured: it holds nothing but what the
names of the records say, and nobody who is signed in is missing from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gateway.session.card import Card
    from gateway.session.sealing import Keyring


EVERYBODY: Final = "everybody"


@dataclass(frozen=True, slots=True)
class OfUser:
    """All sessions of one person: issuer and subject (OpenID Connect Core section 5.7)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class OfProviderSession:
    """All sessions that came from one session at the provider: the issuer and its ``sid`` (Back-Channel Logout 1.0 section 2.4)."""

    issuer: str
    sid: str


@dataclass(frozen=True, slots=True)
class OfProvider:
    """All sessions by one provider, by its id in the configuration."""

    provider: str


@dataclass(frozen=True, slots=True)
class OfEverybody:
    """All sessions there are: under keys and by providers that are configured no more as well."""


Listing: TypeAlias = OfUser | OfProviderSession | OfProvider | OfEverybody


def names_of(keyring: Keyring, listing: Listing) -> tuple[str, ...]:
    """What this listing is called under each server key, newest first."""
    match listing:
        case OfUser():
            return keyring.names("user", listing.issuer, listing.subject)
        case OfProviderSession():
            return keyring.names("sid", listing.issuer, listing.sid)
        case OfProvider():
            return keyring.names("provider", listing.provider)
        case OfEverybody():
            return (EVERYBODY,)


def listings_of(card: Card) -> tuple[Listing, ...]:
    """Every listing that the session with this card is in."""
    listings: tuple[Listing, ...] = (OfUser(card.issuer, card.subject), OfProvider(card.provider), OfEverybody())
    return listings if card.sid is None else (*listings, OfProviderSession(card.issuer, card.sid))


def newest_names(keyring: Keyring, card: Card) -> tuple[str, ...]:
    """Where to list a new session."""
    return tuple(names_of(keyring, listing)[0] for listing in listings_of(card))


def all_names(keyring: Keyring, card: Card) -> tuple[str, ...]:
    """Wherever a session can be listed, under whichever key it was."""
    return tuple(name for listing in listings_of(card) for name in names_of(keyring, listing))
