"""Which peers are proxies of the operator's, and so who the client behind them is.

Answers IH-22, IH-23 and spoofed addresses in general: ``X-Forwarded-For`` is walked from the right (RFC 7239 section 8.1), since every hop
appends what it saw and only what trusted proxies appended is evidence. Nobody is trusted by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNIX = "unix"
"""The word for peers on a Unix socket, which have no address: who may connect is told by the socket's permissions."""
UNKNOWN_CLIENT = "unknown"
"""RFC 7239 section 6.2: the client of a connection without an address."""

_MOST_HOPS = 32
_REMEMBERED = 4096
_LONGEST_HOP = 64
_LONGEST_REMEMBERED = 256

_BRACKETED = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?")
_V4_WITH_PORT = re.compile(r"([0-9.]++):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The operator's proxies: every address in ``networks``, and whoever connects by the Unix socket when ``unix``."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False
    _known: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)
    _clients: dict[tuple[str, tuple[bytes, ...]], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def trusts(self, peer: str | None) -> bool:
        """Whether the other end of a connection is a trusted proxy. None and "" are a Unix socket's, which has no address."""
        if not peer:
            return self.unix
        if not self.networks:
            return False
        known = self._known.get(peer)
        if known is None:
            address = read_address(peer)
            known = address is not None and any(address in network for network in self.networks)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[peer] = known
        return known

    def client(self, peer: str | None, xff: Sequence[bytes]) -> str:
        """The address of the client: the right-most hop that is no trusted proxy.

        ``xff`` holds the values of all X-Forwarded-For lines in their order. What is no address ends the walk at the last hop that was
        one, and so do more than 32 hops. Of a chain of trusted proxies alone the left-most counts. Where nothing told an address:
        ``unknown``.
        """
        asked = (peer or "", tuple(xff))
        known = self._clients.get(asked)
        if known is None:
            known = self._client(peer, xff)
            if sum(map(len, xff)) <= _LONGEST_REMEMBERED:
                if len(self._clients) >= _REMEMBERED:
                    self._clients.clear()
                self._clients[asked] = known
        return known

    def _client(self, peer: str | None, xff: Sequence[bytes]) -> str:
        client = peer or ""
        if xff and self.trusts(peer):
            hops = _hops_from_the_right(xff)
            for _ in range(_MOST_HOPS):
                hop = _shown(next(hops, ""))
                if hop is None:
                    break
                client = hop
                if not self.trusts(client):
                    break
        return _shown(client) or client or UNKNOWN_CLIENT


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; IPv4 in IPv6 is IPv4, and a zone is left out."""
    if len(text) > _LONGEST_HOP:
        return None
    with_port = _BRACKETED.fullmatch(text) or _V4_WITH_PORT.fullmatch(text)
    try:
        address = ip_address((text if with_port is None else with_port[1]).partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=_REMEMBERED)
def _shown(text: str) -> str | None:
    """An address as it is written to apps and compared; None for what is none."""
    address = read_address(text)
    return None if address is None else str(address)


def _hops_from_the_right(xff: Sequence[bytes]) -> Iterator[str]:
    for line in reversed(xff):
        rest = line.decode("latin-1")
        while rest:
            rest, _, hop = rest.rpartition(",")
            yield hop.strip(" \t")
