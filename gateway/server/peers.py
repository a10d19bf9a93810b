"""Who is at the other end of a request, and whether what it says of others is believed.

Answers spoofed addresses behind balancers on layer 4: such a balancer passes on what its client wrote, X-Forwarded headers included. So
where its PROXY protocol header names an address, that is the peer; and where it names none (UNKNOWN, LOCAL), nobody's headers are believed,
though the balancer itself is trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.trusted_proxies import UNKNOWN_CLIENT
from gateway.server.admission import network_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from gateway.access.trusted_proxies import TrustedProxies

_XFF = b"x-forwarded-for"
_XFF_LENGTH = len(_XFF)


def is_believed(request: web.BaseRequest, proxies: TrustedProxies) -> bool:
    """Whether ``request`` came from a trusted proxy that writes its headers itself."""
    return is_believed_at(request.remote, proxies, unnamed=_is_unnamed(request))


def is_believed_at(remote: str | None, proxies: TrustedProxies, *, unnamed: bool) -> bool:
    """As ``is_believed``, of whatever comes from ``remote``, on a connection that ``_is_unnamed`` or not."""
    return proxies.trusts(remote) and not unnamed


def client_of(request: web.BaseRequest, told: Sequence[tuple[bytes, bytes]], proxies: TrustedProxies) -> str:
    """The address that ``request`` came from, past the proxies that are trusted; ``unknown`` where nothing told one.

    ``told`` are the headers that a proxy may have set (``RequestHeaders.told``).
    """
    return client_at(request.remote, told, proxies, unnamed=_is_unnamed(request))


def client_at(remote: str | None, told: Sequence[tuple[bytes, bytes]], proxies: TrustedProxies, *, unnamed: bool) -> str:
    """As ``client_of``, of whatever comes from ``remote``, on a connection that ``_is_unnamed`` or not."""
    lines: Sequence[bytes] = ()
    if told and proxies and not unnamed:
        lines = [value for name, value in told if len(name) == _XFF_LENGTH and name.lower() == _XFF]
    return proxies.client(remote, lines)


def share_of(request: web.BaseRequest, proxies: TrustedProxies, client: str) -> str | None:
    """As whom ``client_of``'s answer has shares; None where it stands for many, being a trusted proxy's own address or none."""
    if client == UNKNOWN_CLIENT or (proxies.trusts(client) and not _is_unnamed(request)):
        return None
    return network_of(client)


def _is_unnamed(request: web.BaseRequest) -> bool:
    """Whether it came on a connection whose PROXY protocol header named nobody (``listener`` says so)."""
    return getattr(request.protocol, "unnamed", False)
