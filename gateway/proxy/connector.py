"""Connections to an application (signatures first)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.proxy.upstream import Timeouts

if TYPE_CHECKING:
    import ssl

    from gateway.proxy.upstream import UpstreamAddress


class Upstream:
    """One application: its address, its time limits, its connections. Make one for each address and keep it; ``close`` it at the end."""

    def __init__(self, address: UpstreamAddress, *, timeouts: Timeouts | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.timeouts = timeouts or Timeouts()
        self._tls = tls

    async def close(self) -> None:
        """Close what is idle; exchanges in flight end by themselves."""
