"""Where one route leads: who wants a connection asks here, and gives it back here.

Answers UP-01 and UP-02. Of several addresses the least loaded one that is well is asked first; while nothing was sent, a refused connection
is tried at another one. What an exchange shows of an address is noted when its connection comes back: a health check by use.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBusy, UpstreamFailed, UpstreamTimeout
from gateway.proxy.balancing import choose
from gateway.proxy.dialling import tls_context
from gateway.proxy.pool import Pool
from gateway.proxy.request_head import with_host
from gateway.proxy.shares import ExchangeShares, UploadShares
from gateway.proxy.upstream import Timeouts, TlsSettings
from gateway.telemetry import logs

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.upstream import PoolLimits, UpstreamAddress

ATTEMPTS: Final = 3
"""Addresses tried for one request."""

log = logs.get("proxy")


class Upstream:
    """The application of one route: its pools, its time limits, the Host that it sees. ``pass_host`` as in ``UpstreamSettings``."""

    persistent = True
    """Whether connections are wanted again after an exchange; the request's head says so."""

    def __init__(self, pools: Sequence[Pool], *, timeouts: Timeouts | None = None, pass_host: bool | str = True) -> None:
        self.pools = tuple(pools)
        self.timeouts = timeouts or Timeouts()
        self._pass_host = pass_host
        self.host: bytes | None = None if pass_host is True else _authority(self.pools[0]) if pass_host is False else pass_host.encode()
        """The Host to send; None where the caller's passes."""
        self._only = self.pools[0] if len(self.pools) == 1 else None
        self._turn = 0
        self.uploads = UploadShares(self.pools)
        self.exchanges = ExchangeShares(self.pools)
        for pool in self.pools:
            pool.serve(self.timeouts)

    @classmethod
    def at(
        cls,
        address: UpstreamAddress,
        *,
        timeouts: Timeouts | None = None,
        limits: PoolLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Upstream:
        """An upstream with one address and a pool of its own."""
        context = (tls or tls_context(TlsSettings())) if address.scheme == "https" else None
        return cls([Pool(address, limits=limits, tls=context)], timeouts=timeouts)

    def addressed(self, request: bytes, connection: UpstreamConnection) -> bytes:
        """``request`` as ``connection`` is to get it: of several addresses with Hosts of their own, with that of this one."""
        if self._only is not None or self._pass_host is not False:
            return request
        return with_host(request, _authority(self._pool_of(connection)))

    def take(self) -> UpstreamConnection | None:
        """An idle connection at once, if the address to take has one: the cheap way, without waiting."""
        pool = self._only or self._choose(asyncio.get_running_loop().time(), ())
        connection = pool.take()
        if connection is not None:
            self._turn += 1
            connection.timeouts = self.timeouts
        return connection

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """A connection that is ready for ``begin``; ``fresh``: one that nobody used before.

        Raises UpstreamFailed or UpstreamTimeout when none can be opened at any of ``ATTEMPTS`` addresses, UpstreamBusy when none becomes
        free. Nothing was sent by then, so other addresses are tried whatever the request is.
        """
        loop = asyncio.get_running_loop()
        tried: list[int] = []
        while True:
            pool = self._only or self._choose(loop.time(), tried)
            if not tried:
                self._turn += 1  # once a request, as in ``take``, where asking in vain is nobody's turn
            tried.append(self.pools.index(pool))
            try:
                connection = await pool.acquire(self.timeouts, fresh=fresh)
            except UpstreamBusy:
                raise
            except UpstreamFailed as failure:
                if pool.health.failed(loop.time()):
                    log.warning("upstream.put_aside", upstream=str(pool.address), detail=failure.detail)
                if len(tried) >= min(ATTEMPTS, len(self.pools)):
                    raise
            else:
                connection.timeouts = self.timeouts
                return connection

    async def once_more(self, connection: UpstreamConnection, failure: UpstreamFailed) -> UpstreamConnection:
        """Send the request of ``connection``, which ended by ``failure``, on another one; ``connection`` is released.

        Raises ``failure`` again unless the upstream had given up a connection that it had kept, before any byte of an answer, and the
        request may be sent twice (RFC 9112 section 9.3.1). The new connection is one that nobody used, so it happens once.
        """
        sent = connection.replayable
        if sent is None:
            raise failure
        self.release(connection)
        fresh = await self.acquire(fresh=True)
        fresh.begin(sent._replace(head=self.addressed(sent.head, fresh)))
        return fresh

    def release(self, connection: UpstreamConnection) -> None:
        """Give ``connection`` back, however its exchange ended; note what it showed of its address."""
        pool = self._pool_of(connection)
        if connection.head is not None:
            if pool.health.failures:
                pool.health.answered()
                log.info("upstream.answers", upstream=str(pool.address))
        elif isinstance(connection.failure, UpstreamTimeout) and pool.health.failed(asyncio.get_running_loop().time()):
            log.warning("upstream.put_aside", upstream=str(pool.address), detail=connection.failure.detail)
        pool.release(connection)

    def detach(self, connection: UpstreamConnection) -> None:
        """``connection`` became a tunnel, which counts against no pool."""
        self._pool_of(connection).detach(connection)

    async def close(self) -> None:
        """Close what is idle; exchanges in flight end by themselves."""
        for pool in self.pools:
            await pool.close()

    def _pool_of(self, connection: UpstreamConnection) -> Pool:
        assert connection.pool is not None, "a pool made it"
        return connection.pool

    def _choose(self, now: float, tried: Sequence[int]) -> Pool:
        pools = self.pools
        return pools[choose([pool.health for pool in pools], [pool.load for pool in pools], now=now, turn=self._turn, tried=tried)]


def _authority(pool: Pool) -> bytes:
    return pool.address.authority.encode("ascii")
