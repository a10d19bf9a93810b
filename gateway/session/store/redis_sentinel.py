"""The primary that sentinels name, and the one that they name next: commands and changes go where it is.

Answers RD-05. All sentinels are asked at once, and the newest decision among their answers counts (``config-epoch``): one that was cut off
and still names the old primary does not prevail. A server is a primary only if it says so itself. Sentinels are asked at each connecting
and every second; when they name another, every connection to the one of before is given up, even if it still works. While no sentinel
answers, the last known primary stays: their outage is none of the store.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.session.store.failures import told
from gateway.session.store.redis_connections import PUSHES, connection_pool, sentinel_pool
from gateway.session.store.tracking import EVERY, Tracking
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.session.store.protocol import Follower
    from gateway.session.store.redis_address import HostPort, RedisAddress
    from gateway.session.store.servers import Pipeline

OTHERS: Final = 0.25
"""Seconds that the other sentinels have once one has answered."""

log = logs.get("session")


class PrimaryUnknown(RedisError):
    """No sentinel answered, or none knows the service."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a sentinel names. A later decision has a greater ``epoch``."""

    epoch: int
    host: HostPort


class Sentinels:
    """Asks them."""

    def __init__(self, address: RedisAddress) -> None:
        self._service = address.service
        self._clients: list[Redis] = [Redis.from_pool(sentinel_pool(address, host)) for host in address.hosts]
        self._asking: asyncio.Task[HostPort] | None = None

    async def primary(self) -> HostPort:
        """Where the primary is. However many ask at once, each sentinel is asked once.

        ``PrimaryUnknown`` when nobody knows.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_all())
            # Nobody may be waiting any more when it fails.
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Give up the connections."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        for client in self._clients:
            await client.aclose()

    async def _ask_all(self) -> HostPort:
        waiting = {asyncio.get_running_loop().create_task(self._ask(client)) for client in self._clients}
        try:
            answers: list[Named] = []
            faults: list[str] = []
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=OTHERS if answers else None, return_when=asyncio.ALL_COMPLETED if answers else asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    answer = task.result()
                    answers.append(answer) if isinstance(answer, Named) else faults.append(answer)
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
        if not answers:
            raise PrimaryUnknown(", ".join(sorted(set(faults))))
        return max(answers, key=lambda named: named.epoch).host

    async def _ask(self, client: Redis) -> Named | str:
        try:
            async with client.pipeline(transaction=False) as pipe:
                pipe.execute_command("SENTINEL", "MASTER", self._service)
                return _named(*await pipe.execute())
        except (RedisError, OSError, ValueError) as error:
            return type(error).__name__


def _named(answer: object) -> Named:
    """From names and values in turn. ValueError for anything else."""
    if not isinstance(answer, list) or len(answer) % 2:
        raise ValueError("no names with values")
    said = dict(zip(answer[::2], answer[1::2], strict=True))
    try:
        return Named(epoch=int(said.get(b"config-epoch", b"0")), host=(said[b"ip"].decode("ascii"), int(said[b"port"])))
    except (KeyError, AttributeError, UnicodeDecodeError):
        raise ValueError("names no address") from None


class SentinelServers:
    """See ``Servers``."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._sentinels = Sentinels(address)
        self._pool = connection_pool(address, find=self._find)
        self._primary: HostPort | None = None
        self._followings: list[SentinelFollowing] = []
        self.place = address.place
        self.patience = address.options.patience
        self.spans_slots = True
        self.client: Redis = Redis.from_pool(self._pool)

    def pipeline(self) -> Pipeline:
        """See ``Servers.pipeline``."""
        return self.client.pipeline(transaction=False)

    def follow(self, follower: Follower, *, prefix: str) -> SentinelFollowing:
        """See ``Servers.follow``."""
        connection = connection_pool(self._address, find=self._find, connections=1, protocol=PUSHES).make_connection
        tracking = Tracking(connection, follower, prefix=prefix, place=self.place, ended=self._pool.renew)
        following = SentinelFollowing(self, tracking)
        self._followings.append(following)
        return following

    async def primaries(self) -> dict[HostPort | str, Redis]:
        """See ``Servers.primaries``."""
        found = await self._find()
        return {found: Redis.from_pool(connection_pool(self._address, host=found, connections=1, protocol=PUSHES))}

    async def close(self) -> None:
        """See ``Servers.close``."""
        await self.client.aclose()
        await self._sentinels.close()

    async def _find(self) -> HostPort:
        try:
            return await self.look()
        except PrimaryUnknown:
            if self._primary is None:
                raise
            return self._primary

    async def look(self) -> HostPort:
        """Ask the sentinels, and give up a primary that is none any more. ``PrimaryUnknown`` when no sentinel knows."""
        primary = await self._sentinels.primary()
        before, self._primary = self._primary, primary
        if before not in {None, primary}:
            log.warning("store.primary_changed", place=self.place)
            self._pool.renew()
            for following in self._followings:
                following.renew()
        return primary


class SentinelFollowing:
    """A tracking of the primary, and a look at the sentinels every second."""

    def __init__(self, servers: SentinelServers, tracking: Tracking) -> None:
        self._servers = servers
        self._tracking = tracking
        self._told = ""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def renew(self) -> None:
        """Another server is the primary now."""
        self._tracking.renew()

    async def close(self) -> None:
        """See ``Following.close``."""
        self._looking.cancel()
        await asyncio.wait({self._looking})
        await self._tracking.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self._servers.look()
                self._told = ""
            except (RedisError, OSError) as error:
                detail = told(self._servers.place, error)
                if detail != self._told:
                    self._told = detail
                    log.warning("store.sentinels_down", detail=detail)
