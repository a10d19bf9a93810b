"""The nodes of a cluster: a pool for each, and what they say together of who serves what.

Answers RD-05: the topology is asked of every node that is known, a node that says the cluster is down is believed, and of different answers
the one with the greatest epoch counts, so that a node that was cut off does not lead into the past.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.session.store.redis_connections import Pool, connection_pool
from gateway.session.store.redis_topology import Topology, read_topology
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.session.store.redis_address import HostPort, RedisAddress

OTHERS: Final = 0.25
"""Seconds that the other nodes have once one has answered."""
ALSO: Final = 60.0
"""Seconds for which a node counts that keys were redirected to before it served anything by itself."""
SOON: Final = 0.1
"""Seconds between two times that commands have the nodes asked."""

log = logs.get("session")


class ClusterUnknown(RedisError):
    """No node told who serves what."""


class ClusterDown(RedisError):
    """The nodes that answer say that the cluster is down."""


class Nodes:
    """Keeps the topology. ``changed`` functions are called, at once, with each new one, and with nodes to which keys were redirected."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._pools: dict[HostPort, Pool] = {}
        self._asked: dict[HostPort, Redis] = {}
        self._also: dict[HostPort, float] = {}
        self._topology: Topology | None = None
        self._asking: asyncio.Task[Topology] | None = None
        self._stale = True
        self._answered = -ALSO
        self._watchers: list[Callable[[], None]] = []
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def primaries(self) -> frozenset[HostPort]:
        """Every node that may take a write now, as far as is known."""
        return (self._topology.primaries if self._topology is not None else frozenset()) | self._also.keys()

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called whenever who serves what is not as it was."""
        self._watchers.append(changed)

    def client(self, host: HostPort) -> Redis:
        """Commands to this node; its pool is shared and stays when this client is dropped."""
        if host not in self._pools:
            self._pools[host] = connection_pool(self._address, host=host)
        return Redis(connection_pool=self._pools[host])

    async def topology(self) -> Topology:
        """Who serves what: as it is known, unless a command found that wrong. ``ClusterUnknown`` or ``ClusterDown``."""
        recent = asyncio.get_running_loop().time() < self._answered + SOON
        if self._topology is not None and (not self._stale or recent):
            return self._topology
        return await self.ask()

    async def ask(self) -> Topology:
        """Who serves what, asked of the nodes now, once however many want to know. ``ClusterUnknown`` or ``ClusterDown``."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_all())
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._asking)

    def doubt(self) -> None:
        """Ask again before the next command: what was known led nowhere."""
        self._stale = True

    def redirected(self, host: HostPort) -> None:
        """A node sent a key here. From now on this one counts, whether or not anybody told of it; called before it is asked anything."""
        self._stale = True
        new = host not in self.primaries
        if self._topology is None or host not in self._topology.primaries:
            self._also[host] = asyncio.get_running_loop().time() + ALSO
        if new:
            self._tell()

    async def close(self) -> None:
        """Give up every connection."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        if self._closing:
            await asyncio.wait(self._closing)
        for client in self._asked.values():
            await client.aclose()
        for pool in self._pools.values():
            await pool.aclose()

    async def _ask_all(self) -> Topology:
        loop = asyncio.get_running_loop()
        known = self._topology.nodes if self._topology is not None else frozenset()
        waiting = {loop.create_task(self._ask(host)) for host in known.union(self._address.hosts)}
        told: list[Topology] = []
        faults: set[str] = set()
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=OTHERS if told else None, return_when=asyncio.ALL_COMPLETED if told else asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    answer = task.result()
                    told.append(answer) if isinstance(answer, Topology) else faults.add(answer)
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
        if not told:
            raise (ClusterDown if _DOWN in faults else ClusterUnknown)(", ".join(sorted(faults)))
        newest = max(told, key=lambda topology: topology.epoch)
        self._stale = False
        self._answered = loop.time()
        self._take(newest)
        return newest

    async def _ask(self, host: HostPort) -> Topology | str:
        """What this node says, or the name of what went wrong."""
        if host not in self._asked:
            self._asked[host] = Redis.from_pool(connection_pool(self._address, host=host, connections=1))
        try:
            async with self._asked[host].pipeline(transaction=False) as pipe:
                pipe.execute_command("CLUSTER", "SLOTS")
                pipe.execute_command("CLUSTER", "INFO")
                slots, info = await pipe.execute(raise_on_error=False)
            for answer in (slots, info):
                if isinstance(answer, ResponseError):
                    return type(answer).__name__
            return read_topology(slots, info, asked=host) or _DOWN
        except (RedisError, OSError, ValueError) as error:
            return type(error).__name__

    def _take(self, topology: Topology) -> None:
        before, self._topology = self._topology, topology
        now = asyncio.get_running_loop().time()
        also = {host: until for host, until in self._also.items() if now < until and host not in topology.primaries}
        changed = before is None or before.ranges != topology.ranges or also.keys() != self._also.keys()
        self._also = also
        if changed:
            self._tell()
        self._forget(topology.nodes.union(self._address.hosts, also))

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _forget(self, kept: frozenset[HostPort]) -> None:
        """Close what leads to nodes that are gone."""
        for host in self._pools.keys() - kept:
            pool = self._pools.pop(host)
            pool.renew()
            self._close(pool.disconnect(inuse_connections=False))
        for host in self._asked.keys() - kept:
            self._close(self._asked.pop(host).aclose())

    def _close(self, closing: object) -> None:
        task = asyncio.ensure_future(closing)  # type: ignore[call-overload]  # redis-py gives it no type
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


_DOWN: Final = "down"
