"""Changes of a whole cluster: a connection to every primary, and a look at who they are every second.

Answers RD-05 and invariant 7. All changes are told while each primary tells its own and the nodes say who the primaries are. When slots
move or a replica takes over, every copy goes, since what the one before had not passed on is lost; a node to which a key was redirected
counts from that moment, before it is asked anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from gateway.session.store.failures import told
from gateway.session.store.joined_follower import JoinedFollower
from gateway.session.store.redis_connections import PUSHES, connection_pool
from gateway.session.store.tracking import EVERY, Tracking
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.session.store.joined_follower import Part
    from gateway.session.store.protocol import Follower
    from gateway.session.store.redis_address import HostPort, RedisAddress
    from gateway.session.store.redis_nodes import Nodes

log = logs.get("session")


class ClusterFollowing:
    """See ``Following``."""

    def __init__(self, nodes: Nodes, address: RedisAddress, follower: Follower, *, prefix: str) -> None:
        self._nodes = nodes
        self._address = address
        self._follower = follower
        self._prefix = prefix
        self._joined = JoinedFollower(follower)
        self._survey = self._joined.part()
        self._trackings: dict[HostPort, tuple[Tracking, Part]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._told = ""
        nodes.watch(self._changed)
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """See ``Following.close``."""
        self._looking.cancel()
        await asyncio.wait({self._looking})
        for host in list(self._trackings):
            self._leave(host)
        if self._closing:
            await asyncio.wait(self._closing)
        self._survey.lost()

    async def _look(self) -> None:
        while True:
            asked = self._follower.now()
            try:
                await self._nodes.ask()
            except (RedisError, OSError) as error:
                self._survey.lost()
                self._tell(told(self._address.place, error))
            else:
                self._tell("")
                if not self._survey.is_followed:
                    self._survey.followed()
                self._survey.answered(asked)
            await asyncio.sleep(EVERY)

    def _changed(self) -> None:
        """Follow those who are primaries now. It is called at once when that is known, and does not wait."""
        if self._looking.done():
            return
        primaries = self._nodes.primaries
        for host in self._trackings.keys() - primaries:
            self._leave(host)
        for host in primaries - self._trackings.keys():
            part = self._joined.part()
            connection = connection_pool(self._address, host=host, connections=1, protocol=PUSHES).make_connection
            place = f"{self._address.place} at {host[0]}:{host[1]}"
            self._trackings[host] = (Tracking(connection, part, prefix=self._prefix, place=place), part)
        self._follower.changed(None)

    def _leave(self, host: HostPort) -> None:
        tracking, part = self._trackings.pop(host)
        self._joined.leave_out(part)
        task = asyncio.get_running_loop().create_task(tracking.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _tell(self, detail: str) -> None:
        """Say once what is wrong, until it is something else or was right in between."""
        if detail and detail != self._told:
            log.warning("tracking.down", detail=detail)
        self._told = detail
