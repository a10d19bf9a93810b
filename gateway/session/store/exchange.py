"""How commands travel: each to the server that has its key, or several at once to one; whoever waits, they run to their end.

Answers RD-05, RD-13 and invariants 7 and 13. A caller that is cancelled never cancels redis-py within an exchange, so no connection goes
back to the pool with an answer still to come, and none is lost from it. Nothing that may have run is sent twice.

Where a server has replicas, a deletion counts when one of them has it: ``WAIT`` on the connection of the deletion itself. Whether it has
any is asked at most every ten seconds, and only when something is deleted; one that went away is waited for a minute longer, as the server
that was cut off from it may be about to lose what it alone knows.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import MovedError, RedisError

from gateway.errors import StoreUnavailable
from gateway.session.store.failures import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from gateway.session.store.scripts import Command

PATIENCE: Final = 5.0
"""Seconds that a caller waits at most, whatever the waits of pool, connecting and answers add up to."""
ACKNOWLEDGED_WITHIN: Final = 500
"""Milliseconds that a replica has to say that it knows: less than the time that a connection waits for any answer."""
ROLE_EVERY: Final = 10.0
REMEMBERED: Final = 60.0
"""Seconds that a server counts as replicated after it had a replica; Redis itself takes as long to notice one that fell silent."""


class Unacknowledged(StoreUnavailable):
    """It was done, and no replica knows in time."""


class Exchange:
    """Sends commands by ``client``. ``place`` is for messages."""

    def __init__(self, client: Redis | RedisCluster, *, place: str) -> None:
        self._client = client
        self._place = place
        self._under_way: set[asyncio.Task[list[Any]]] = set()
        self._replicas: dict[str, _Replicas] = {}
        self.spans_slots = not isinstance(client, RedisCluster)
        """Whether keys with different hash tags can be written at once."""

    async def each(self, *commands: Command) -> list[Any]:
        """The answers, one a command: values, or the errors that a server gave instead. Every command finds its own way, by its keys."""
        return await self._run(self._send(commands, {}))

    async def at_once(self, *commands: Command) -> list[Any]:
        """The answers as by ``each``, of commands that are all done, or none of them: MULTI, where the first command's key is."""
        return await self._run(self._send_at_once(commands, ending=None))

    async def at_once_for_good(self, *commands: Command, written: Command) -> list[Any]:
        """As ``at_once``; ``Unacknowledged``, with all of it done, where there are replicas and none has it in time.

        ``written`` goes along where there are any: a write that they are told of in any case, see ``scripts.propagate``.
        """
        return await self._run(self._send_at_once(commands, ending=written))

    async def ended(self) -> None:
        """Return when nothing is under way, or after the longest that anything takes."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=PATIENCE)

    async def close(self) -> None:
        """Let what is under way end, then give up every connection."""
        await self.ended()
        await self._client.aclose()

    async def _run(self, sending: Any) -> list[Any]:
        task: asyncio.Task[list[Any]] = asyncio.ensure_future(sending)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(task)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise StoreUnavailable(told(self._place, error)) from None

    def _done(self, task: asyncio.Task[list[Any]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Nobody may be waiting any more: its failure is then nobody's, and no warning of the loop.
            task.exception()

    async def _send(self, commands: Sequence[Command], way: dict[str, Any]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command, **way)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
            return answers

    async def _send_at_once(self, commands: Sequence[Command], *, ending: Command | None) -> list[Any]:
        try:
            return await self._transact(commands, ending=ending)
        except MovedError:
            # Nothing was done. redis-py follows the redirection of a single command, and knows the way from then on.
            await self._client.execute_command("EXISTS", _key(commands[0]))
            return await self._transact(commands, ending=ending)

    async def _transact(self, commands: Sequence[Command], *, ending: Command | None) -> list[Any]:
        """MULTI and EXEC are written out, for ``WAIT`` to follow on their connection; redis-py has them within a lone transaction only."""
        way = await self._way(_key(commands[0]))
        waits = ending is not None and await self._has_replicas(way)
        last = (ending,) if ending is not None and waits else ()
        sent: list[Command] = [("MULTI",), *commands, *last, ("EXEC",)]
        if waits:
            sent.append(("WAIT", 1, ACKNOWLEDGED_WITHIN))
        answers = await self._send(sent, way)
        acknowledged = answers.pop() if waits else 1
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        if isinstance(acknowledged, Exception) or acknowledged < 1:
            raise Unacknowledged(f"{self._place}: done, but no replica knew within {ACKNOWLEDGED_WITHIN} ms")
        done: list[Any] = answers[-1]
        return done[: len(commands)]

    async def _way(self, key: str | bytes | int) -> dict[str, Any]:
        """What leads commands of no key of their own to the server that has ``key``."""
        if not isinstance(self._client, RedisCluster):
            return {}
        cluster = await self._client.initialize()
        return {"target_nodes": cluster.get_node_from_key(str(key))}

    async def _has_replicas(self, way: dict[str, Any]) -> bool:
        name = way["target_nodes"].name if way else ""
        known = self._replicas.get(name)
        now = time.monotonic()
        if known is None or now >= known.asked + ROLE_EVERY:
            (role,) = await self._send([("ROLE",)], way)
            if isinstance(role, Exception):
                raise role
            seen = now if role[0] == b"master" and role[2] else known.seen if known is not None else None
            known = self._replicas[name] = _Replicas(asked=now, seen=seen)
        return known.seen is not None and now < known.seen + REMEMBERED


@dataclass(frozen=True, slots=True)
class _Replicas:
    """When a server was asked for its replicas, and when it was last seen to have one."""

    asked: float
    seen: float | None


def _key(command: Command) -> str | bytes | int:
    return command[3] if command[0] == "EVAL" else command[1]
