"""A cluster as one store: every command goes to the primary that serves its key, and what a node redirects goes where it says.

Answers RD-05, RD-13 and RD-14. A command that a node redirected (MOVED, ASK) or put off (TRYAGAIN) did not run, so it is sent again;
nothing else is. A transaction stands or falls as a whole: when one of its commands is redirected, EXEC refuses and none of it ran. A node
that gives no answer leaves the topology in doubt, and the next command has it asked anew.

redis-py's own cluster client is not used (decision 0014): it sends again what may have run, has no bounded wait for a connection, runs each
command of a transaction through a thread and a loop of its own, and sends ASKING on another connection than the command that it is for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError

from gateway.session.store.redis_cluster_following import ClusterFollowing
from gateway.session.store.redis_connections import PUSHES, connection_pool
from gateway.session.store.redis_nodes import Nodes
from gateway.session.store.redis_topology import slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from gateway.session.store.protocol import Follower
    from gateway.session.store.redis_address import HostPort, RedisAddress
    from gateway.session.store.scripts import Command

REDIRECTIONS: Final = 8
PUT_OFF: Final = 0.05
"""Seconds before a command is sent again that a node put off."""
_KEYLESS: Final = frozenset({"PING", "MULTI", "EXEC", "WAIT", "ROLE", "INFO"})


class ClusterServers:
    """See ``Servers``."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._nodes = Nodes(address)
        self.place = address.place
        self.patience = address.options.patience
        self.spans_slots = False

    def pipeline(self) -> ClusterPipeline:
        """See ``Servers.pipeline``."""
        return ClusterPipeline(self._nodes)

    def follow(self, follower: Follower, *, prefix: str) -> ClusterFollowing:
        """See ``Servers.follow``."""
        return ClusterFollowing(self._nodes, self._address, follower, prefix=prefix)

    async def primaries(self) -> dict[HostPort | str, Redis]:
        """See ``Servers.primaries``."""
        hosts = sorted((await self._nodes.ask()).primaries)
        return {host: Redis.from_pool(connection_pool(self._address, host=host, connections=1, protocol=PUSHES)) for host in hosts}

    async def close(self) -> None:
        """See ``Servers.close``."""
        await self._nodes.close()


class ClusterPipeline:
    """See ``Servers.pipeline``."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._commands: list[Command] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._commands = []

    def execute_command(self, *words: str | bytes | int) -> Self:
        """See ``Pipeline``."""
        self._commands.append(words)
        return self

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        """See ``Pipeline``. Where the same was sent to every server, its answer is the first error, or the first answer."""
        try:
            answers = await self._execute()
        except (RedisError, OSError):
            self._nodes.doubt()
            raise
        for answer in answers:
            if isinstance(answer, ClusterDownError):
                self._nodes.doubt()
            if raise_on_error and isinstance(answer, Exception):
                raise answer
        return answers

    async def _execute(self) -> list[Any]:
        topology = await self._nodes.topology()
        parts = self._parts()
        if not parts:
            return await self._everywhere(sorted(topology.primaries))
        groups: dict[HostPort, list[_Part]] = {}
        for part in parts:
            owner = topology.owner(part.slot)
            if owner is None:
                raise ClusterDownError("nobody serves the slot of a key")
            groups.setdefault(owner, []).append(part)
        await _all(*(_send(host, group, self._nodes) for host, group in groups.items()))
        for host, group in groups.items():
            for part in group:
                await part.follow(host, self._nodes)
        return [answer for part in parts for answer in part.answers]

    def _parts(self) -> list[_Part]:
        """What has to stay together; nothing where no command has a key."""
        keys = [key for key in map(_key, self._commands) if key is not None]
        if not keys:
            return []
        if self._commands[0][0] == "MULTI":
            return [_Part(slot_of(keys[0]), self._commands)]
        parts: list[_Part] = []
        for command in self._commands:
            key = _key(command)
            if key is not None or not parts:
                parts.append(_Part(slot_of(keys[0] if key is None else key), []))
            parts[-1].commands.append(command)
        return parts

    async def _everywhere(self, primaries: Sequence[HostPort]) -> list[Any]:
        several = await _all(*(_run(host, self._commands, self._nodes) for host in primaries))
        answers = []
        for each in zip(*several, strict=True):
            wrong = [answer for answer in each if isinstance(answer, Exception)]
            answers.append(wrong[0] if wrong else each[0])
        return answers


@dataclass(slots=True)
class _Part:
    """Commands that go to one node together, and their answers."""

    slot: int
    commands: list[Command]
    answers: list[Any] = field(default_factory=list)

    async def follow(self, host: HostPort, nodes: Nodes) -> None:
        """Send what was redirected or put off where it belongs, until it is done or was sent about too often."""
        for _ in range(REDIRECTIONS):
            away = next((answer for answer in self.answers if isinstance(answer, AskError | TryAgainError)), None)
            if away is None:
                return
            asking: list[Command] = []
            if isinstance(away, AskError):
                host = (away.host or host[0], away.port)
                nodes.redirected(host)
                # The flag that ASKING sets holds for one command, and MULTI keeps it for those that it collects.
                asking = [] if isinstance(away, MovedError) else [("ASKING",)]
            else:
                await asyncio.sleep(PUT_OFF)
            self.answers = (await _run(host, [*asking, *self.commands], nodes))[len(asking) :]


async def _send(host: HostPort, parts: Sequence[_Part], nodes: Nodes) -> None:
    answers = await _run(host, [command for part in parts for command in part.commands], nodes)
    for part in parts:
        part.answers = answers[: len(part.commands)]
        del answers[: len(part.commands)]


async def _run(host: HostPort, commands: Sequence[Command], nodes: Nodes) -> list[Any]:
    async with nodes.client(host).pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers


async def _all(*exchanges: Any) -> list[Any]:
    """Let all of them end, then raise what the first of those that failed raised: none is left behind in the middle of an answer."""
    outcomes = await asyncio.gather(*exchanges, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


def _key(command: Command) -> str | bytes | int | None:
    """The first key of a command that the store uses."""
    if command[0] in _KEYLESS:
        return None
    return command[3] if command[0] in {"EVAL", "EVALSHA"} else command[1]
