"""Every upstream of a gateway, by route: routes that lead to one address in the same way share its connections.

Answers invariant 14: the bound on an address's connections holds over all routes together.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.proxy.connector import Upstream
from gateway.proxy.dialling import tls_context
from gateway.proxy.health_checks import keep_checking
from gateway.proxy.pool import Pool

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from gateway.proxy.upstream import HealthCheck, TlsSettings, UpstreamAddress, UpstreamSettings


class Upstreams:
    """Made from one ``UpstreamSettings`` a route, None for a route that leads nowhere. ``start`` and ``close`` it within one loop."""

    def __init__(self, settings: Sequence[UpstreamSettings | None]) -> None:
        """Raises OSError for a TLS file that cannot be used."""
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}
        self._pools: dict[tuple[object, ...], Pool] = {}
        self._checked: list[tuple[Pool, HealthCheck, str | None]] = []
        self._checks: list[asyncio.Task[None]] = []
        self._by_route = tuple(None if one is None else self._upstream(one) for one in settings)

    def __getitem__(self, index: int) -> Upstream | None:
        """The upstream of the route with this index."""
        return self._by_route[index]

    def start(self) -> None:
        """Begin to check those that have a check."""
        self._checks = [asyncio.create_task(keep_checking(*one)) for one in self._checked]

    async def close(self) -> None:
        """Stop checking, and close what is idle; exchanges in flight end by themselves."""
        checks, self._checks = self._checks, []
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        for pool in self._pools.values():
            await pool.close()

    def _upstream(self, settings: UpstreamSettings) -> Upstream:
        pools = [self._pool(address, settings) for address in settings.addresses]
        return Upstream(pools, timeouts=settings.timeouts, pass_host=settings.pass_host)

    def _pool(self, address: UpstreamAddress, settings: UpstreamSettings) -> Pool:
        host = settings.pass_host if settings.health is not None and isinstance(settings.pass_host, str) else None
        key = (address, settings.tls, settings.limits, settings.health, host)
        pool = self._pools.get(key)
        if pool is None:
            context = None
            if address.scheme == "https":
                context = self._contexts.get(settings.tls) or tls_context(settings.tls)
                self._contexts[settings.tls] = context
            pool = self._pools[key] = Pool(address, limits=settings.limits, tls=context, server_name=settings.tls.server_name)
            if settings.health is not None:
                self._checked.append((pool, settings.health, host))
        return pool
