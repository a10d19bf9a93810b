"""One Redis or Valkey server, by host or by socket; or a name or address behind which there is one primary at a time (RD-05)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis

from gateway.session.store.redis_connections import PUSHES, connection_pool
from gateway.session.store.tracking import Tracking

if TYPE_CHECKING:
    from gateway.session.store.protocol import Follower
    from gateway.session.store.redis_address import HostPort, RedisAddress
    from gateway.session.store.servers import Pipeline


class OneServer:
    """See ``Servers``."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._pool = connection_pool(address)
        self.place = address.place
        self.patience = address.options.patience
        self.spans_slots = True
        self.client: Redis = Redis.from_pool(self._pool)

    def pipeline(self) -> Pipeline:
        """See ``Servers.pipeline``."""
        return self.client.pipeline(transaction=False)

    def follow(self, follower: Follower, *, prefix: str) -> Tracking:
        """See ``Servers.follow``: one connection of its own.

        When it ends, those of commands are made anew as well: whoever answers them may be a primary no more, and would not say so to reads.
        """
        connection = connection_pool(self._address, connections=1, protocol=PUSHES).make_connection
        return Tracking(connection, follower, prefix=prefix, place=self.place, ended=self._pool.renew)

    async def primaries(self) -> dict[HostPort | str, Redis]:
        """See ``Servers.primaries``."""
        where = self._address.path or self._address.hosts[0]
        return {where: Redis.from_pool(connection_pool(self._address, connections=1, protocol=PUSHES))}

    async def close(self) -> None:
        """See ``Servers.close``."""
        await self.client.aclose()
