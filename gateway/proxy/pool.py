"""The connections of one address: a bounded number, used again while they are clean, with a bounded queue before them.

Answers invariants 13 and 14, UP-13 to UP-16 and UP-25. A connection comes back only after an exchange that ended cleanly on both sides, and
is looked at once more before it is handed out. The newest is used first, so that those that a quiet hour does not need expire. Waiters are
served in order; who finds the queue full, or waits for too long, gets UpstreamBusy. One timer sweeps all connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBusy
from gateway.proxy.balancing import Health
from gateway.proxy.connection import UpstreamConnection
from gateway.proxy.dialling import dial
from gateway.proxy.upstream import PoolLimits

if TYPE_CHECKING:
    import ssl

    from gateway.proxy.shares import Turns
    from gateway.proxy.upstream import Timeouts, UpstreamAddress

TICK: Final = 0.25
"""Seconds between two sweeps, and so how late a timeout may come."""


class Pool:
    """Connections to ``address``, shared by every route that leads there with the same settings. ``close`` it at the end."""

    def __init__(
        self,
        address: UpstreamAddress,
        *,
        limits: PoolLimits | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self.address = address
        self.health = Health()
        self._limits = limits or PoolLimits()
        self._tls = tls
        self._server_name = server_name
        self._idle: list[UpstreamConnection] = []
        self._counted: set[UpstreamConnection] = set()
        self._dialling = 0
        self._waiters: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._tick = TICK
        self._closed = False
        self.uploads: dict[str, int] = {}
        """How many bodies are still coming, by caller: ``UploadShares`` counts."""
        self.callers: dict[str, Turns] = {}
        """Who has exchanges that were begun while connections were scarce: ``ExchangeShares`` counts."""

    @property
    def most(self) -> int:
        """How many connections there may be."""
        return self._limits.connections

    @property
    def load(self) -> int:
        """Exchanges in flight and requests waiting for one."""
        return self.connections - len(self._idle) + len(self._waiters)

    @property
    def connections(self) -> int:
        """Connections that count against the limit: in use, idle, being opened."""
        return len(self._counted) + self._dialling

    @property
    def idle(self) -> int:
        """Connections that wait for an exchange."""
        return len(self._idle)

    def serve(self, timeouts: Timeouts) -> None:
        """Sweep often enough for ``timeouts``."""
        limits = (timeouts.head, timeouts.idle, *(() if timeouts.total is None else (timeouts.total,)))
        self._tick = min(self._tick, *(limit / 4 for limit in limits))

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is fit for an exchange, at once; None when there is none."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.fit():
                return connection
            self._drop(connection)
        return None

    async def acquire(self, timeouts: Timeouts, *, fresh: bool = False) -> UpstreamConnection:
        """A connection that is ready for ``begin``; ``fresh``: one that nobody used before.

        Raises UpstreamFailed or UpstreamTimeout when none can be opened, UpstreamBusy when none becomes free.
        """
        if not fresh:
            taken = self.take()
            if taken is not None:
                return taken
        elif self._idle and self.connections >= self._limits.connections:
            self._drop(self._idle.pop(0))
        if self.connections < self._limits.connections:
            self._dialling += 1
        else:
            given = await self._wait(timeouts.connect)
            if given is not None:
                if not fresh and given.fit():
                    return given
                self._counted.discard(given)
                given.close()
                self._dialling += 1
        return await self._dial(timeouts)

    def release(self, connection: UpstreamConnection) -> None:
        """Take ``connection`` back, however its exchange ended; one that came back before is left as it is."""
        if connection not in self._counted:
            connection.close()
            return
        if not connection.reusable or self._closed or connection.age >= self._limits.age:
            self._drop(connection)
            return
        connection.rest(self._limits.idle)
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle.append(connection)

    def detach(self, connection: UpstreamConnection) -> None:
        """``connection`` changed protocol: from now on it is counted where its caller's connection is, and no longer here."""
        if connection in self._counted:
            self._counted.discard(connection)
            self._slot_freed()

    async def close(self) -> None:
        """Close what is idle; exchanges in flight end by themselves, and their connections with them."""
        self._closed = True
        while self._idle:
            self._drop(self._idle.pop())
        if self._sweeper is not None and not self._counted:
            self._sweeper.cancel()
            self._sweeper = None

    # opening

    async def _dial(self, timeouts: Timeouts) -> UpstreamConnection:
        """Open a connection in the slot that ``_dialling`` counts."""
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(loop, timeouts)
        connection.pool = self
        try:
            await dial(self.address, connection, tls=self._tls, server_name=self._server_name, seconds=timeouts.connect)
        except BaseException:
            connection.close()
            self._dialling -= 1
            self._slot_freed()
            raise
        self._dialling -= 1
        self._counted.add(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._tick, self._sweep, loop)
        return connection

    # the queue

    async def _wait(self, seconds: float) -> UpstreamConnection | None:
        """Wait in line for a connection, or for the right to open one (None; ``_dialling`` counts it already)."""
        if len(self._waiters) >= self._limits.waiting:
            raise UpstreamBusy(f"every connection to {self.address} is in use, and its queue is full")
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except BaseException as broken:
            if waiter.done() and not waiter.cancelled():
                self._give_back(waiter.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(broken, TimeoutError):
                raise UpstreamBusy(f"no connection to {self.address} became free in time") from None
            raise

    def _give_back(self, given: UpstreamConnection | None) -> None:
        """What a waiter was given in the moment in which it stopped waiting."""
        if given is None:
            self._dialling -= 1
            self._slot_freed()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(given)
        elif self._closed:
            self._drop(given)
        else:
            self._idle.append(given)

    def _next_waiter(self) -> asyncio.Future[UpstreamConnection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _drop(self, connection: UpstreamConnection) -> None:
        connection.close()
        if connection in self._counted:
            self._counted.discard(connection)
            self._slot_freed()

    def _slot_freed(self) -> None:
        """One connection fewer: whoever waits first may open another."""
        if self.connections < self._limits.connections:
            waiter = self._next_waiter()
            if waiter is not None:
                self._dialling += 1
                waiter.set_result(None)

    # time

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at every connection once; re-armed while there are any."""
        now = loop.time()
        for connection in tuple(self._counted):
            connection.check(now)
        if any(connection.gone for connection in self._idle):
            gone = [connection for connection in self._idle if connection.gone]
            self._idle = [connection for connection in self._idle if not connection.gone]
            for connection in gone:
                self._drop(connection)
        self._sweeper = loop.call_later(self._tick, self._sweep, loop) if self._counted else None
