"""Which of the listed sessions an operator looks for: by person, client address and age.

Answers "who is that, and where are they signed in": a person is looked for by what is on the card alone, so nothing here opens a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.session.card import Card

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Search:
    """What a card has to match; None and 0 ask for nothing. Ages are seconds since the sign-in.

    ``user`` is a whole ``sub``, or a part of a name or an e-mail address, in any case.
    """

    user: str | None = None
    address: Network | None = None
    min_age: float = 0.0
    max_age: float | None = None

    def matches(self, card: Card, *, now: float) -> bool:
        """Whether this is one of them at ``now`` (epoch seconds)."""
        age = now - card.created
        if age < self.min_age or (self.max_age is not None and age > self.max_age):
            return False
        if self.address is not None and not _is_within(card.address, self.address):
            return False
        return self.user is None or self._is_about(card, self.user)

    def _is_about(self, card: Card, user: str) -> bool:
        part = user.casefold()
        return card.subject == user or any(name is not None and part in name.casefold() for name in (card.name, card.email))


def _is_within(address: str, network: Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False
