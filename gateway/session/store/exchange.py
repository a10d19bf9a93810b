"""How commands travel: each to the server that has its key, or several at once to one; whoever waits, they run to their end.

Answers RD-05, RD-13 and invariants 7 and 13. A caller that is cancelled never cancels redis-py within an exchange, so no connection goes
back to the pool with an answer still to come, and none is lost from it. Nothing that may have run is sent twice.

Commands without a key (MULTI, EXEC, INFO, WAIT) follow one that has a key, and go where that one goes, on the same connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from gateway.errors import StoreUnavailable
from gateway.session.store.failures import told
from gateway.session.store.replicas import Replicas, Replication

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.session.store.scripts import Command
    from gateway.session.store.servers import Servers

ACKNOWLEDGED_WITHIN: Final = 500
"""Milliseconds that a replica has to say that it knows: less than the time that a connection waits for any answer."""

_INFO: Final = ("INFO", "replication")


class Unacknowledged(StoreUnavailable):
    """It was done, with these answers, and no replica knew in time."""

    def __init__(self, detail: str, answers: Sequence[Any]) -> None:
        super().__init__(detail)
        self.answers = answers


class Exchange:
    """Sends commands to ``servers``."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._under_way: set[asyncio.Task[list[Any]]] = set()
        self._replicas = Replicas()

    async def each(self, *commands: Command) -> list[Any]:
        """The answers, one a command: values, or the errors that a server gave instead. Every command finds its own way, by its keys."""
        return await self._run(self._send(commands))

    async def at_once(self, *commands: Command) -> list[Any]:
        """The answers as by ``each``, of commands that are all done, or none of them (MULTI), at the server of the first one's key."""
        return await self._run(self._transact(commands))

    async def at_once_for_good(self, *commands: Command, written: Command) -> list[Any]:
        """As ``at_once``; ``Unacknowledged``, with all of it done, where there are replicas and none knows in time.

        ``written`` is sent where there are any: a write of which they are told in any case, see ``scripts.propagate``.
        """
        return await self._run(self._transact(commands, written=written))

    async def for_good(self, command: Command, *, written: Command) -> Any:
        """The answer to one command, kept as by ``at_once_for_good``."""
        (answer,) = await self._run(self._keep([command], written))
        return answer

    async def ended(self) -> None:
        """Return when nothing is under way, or after the longest that anything takes."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._servers.patience)

    async def close(self) -> None:
        """Let what is under way end, then give up every connection."""
        await self.ended()
        await self._servers.close()

    async def _run(self, sending: Any) -> list[Any]:
        task: asyncio.Task[list[Any]] = asyncio.ensure_future(sending)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._servers.patience):
                return await asyncio.shield(task)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise StoreUnavailable(told(self._servers.place, error)) from None

    def _done(self, task: asyncio.Task[list[Any]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Nobody may be waiting any more: its failure is then nobody's, and no warning of the loop.
            task.exception()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        async with self._servers.pipeline() as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
            return answers

    async def _transact(self, commands: Sequence[Command], *, written: Command | None = None) -> list[Any]:
        """MULTI and EXEC are written out: redis-py sends nothing else on the connection of a transaction of its own."""
        sent: list[Command] = [("MULTI",), *commands, ("EXEC",)]
        answers = await (self._send(sent) if written is None else self._keep(sent, written))
        _raise_first(answers)
        done: list[Any] = answers[-1]
        return done

    async def _keep(self, commands: Sequence[Command], written: Command) -> list[Any]:
        """``WAIT`` counts for what its own connection wrote before. What is written after a deletion is known after it, too."""
        *answers, said = await self._send([*commands, _INFO])
        _raise_first([*answers, said])
        before = _replication(said)
        if self._replicas.are_awaited(before, now=monotonic()):
            acknowledged = await self._send([written, ("WAIT", 1, ACKNOWLEDGED_WITHIN), _INFO])
            _raise_first(acknowledged)
            _, replicas, said = acknowledged
            if replicas < 1 or _replication(said).history != before.history:
                raise Unacknowledged(f"{self._servers.place}: done, but no replica knew of it within {ACKNOWLEDGED_WITHIN} ms", answers)
        return answers


def _raise_first(answers: Sequence[object]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _replication(said: object) -> Replication:
    assert isinstance(said, Mapping)
    return Replication(said)
