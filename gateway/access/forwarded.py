"""What proxies in front of us say about a request, believed from trusted ones only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from gateway.access.origins import Origin
from gateway.access.target import Target


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """The request that a proxy asks a decision for."""

    method: str
    scheme: str
    authority: str
    target: Target


def original_request(headers: Sequence[tuple[bytes, bytes]], *, trusted: bool) -> OriginalRequest:
    """The original request; raises ForwardAuthRefused, TargetRefused."""
    raise NotImplementedError


def is_trusted(peer: str | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the address on the other end of the connection is a trusted proxy's."""
    raise NotImplementedError


def client_address(peer: str | None, xff: Sequence[bytes], networks: Sequence[IPv4Network | IPv6Network]) -> str:
    """The right-most address that is no trusted proxy's; ``xff`` are the values of all X-Forwarded-For lines."""
    raise NotImplementedError


def forwarded_headers(origin: Origin, client: str) -> tuple[tuple[bytes, bytes], ...]:
    """The X-Forwarded-For, -Proto, -Host and -Port lines to send upstream."""
    raise NotImplementedError
