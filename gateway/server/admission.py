"""How many connections there may be, and how many of them one peer's: whoever wants more is let go at once.

Answers SL-05 and SL-16: a flood of connections, from one address or many, leaves descriptors for those that are served, who need one more
each, to the app.
"""

from __future__ import annotations

import resource
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from gateway.access.trusted_proxies import read_address

if TYPE_CHECKING:
    from gateway.access.trusted_proxies import TrustedProxies
    from gateway.config.settings import ConnectionLimits

ONE_SITE: Final = 64
"""Bits of an IPv6 address that one customer of a network has at least: the rest is theirs to choose."""
SPARE_DESCRIPTORS: Final = 64
"""For listeners, logs, the store and the back channel."""

_TRUSTED = ""


class Admission:
    """Counts who is connected. ``open`` is how many there are."""

    def __init__(self, limits: ConnectionLimits, proxies: TrustedProxies) -> None:
        self._most = min(limits.connections, connections_by_descriptors())
        self._most_of_one = limits.connections_per_peer
        self._proxies = proxies
        self._by_site: dict[str, int] = {}
        self.open = 0

    def admit(self, peer: str | None, *, share: bool = False) -> str | None:
        """A seat for a connection from ``peer`` (its address; None or "" on a Unix socket), to give to ``leave``. None: it gets none.

        ``share``: one peer's share is all that it may have, be it a trusted proxy.
        """
        if self.open >= self._most:
            return None
        site = _TRUSTED if not peer or (not share and self._proxies.trusts(peer)) else network_of(peer)
        if site is not _TRUSTED:
            count = self._by_site.get(site, 0)
            if count >= self._most_of_one:
                return None
            self._by_site[site] = count + 1
        self.open += 1
        return site

    def leave(self, seat: str) -> None:
        """The connection that was given ``seat`` is over."""
        self.open -= 1
        if seat != _TRUSTED:
            left = self._by_site[seat] - 1
            if left:
                self._by_site[seat] = left
            else:
                del self._by_site[seat]


def connections_by_descriptors() -> int:
    """How many connections this process's limit of open files allows, after raising it as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # some kernels promise more than they give; then it stays as it was
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(1, (soft - SPARE_DESCRIPTORS) * 3 // 4)


@lru_cache(maxsize=4096)
def network_of(peer: str) -> str:
    """Whom ``peer`` counts as: itself, or the network of an IPv6 address."""
    address = read_address(peer)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, ONE_SITE), strict=False))
    return peer if address is None else str(address)
