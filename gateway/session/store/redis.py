"""Sessions in Redis or Valkey: one round trip to read, one transaction to begin or end, no answer ever to the wrong caller.

Answers RD-01 to RD-19 and invariants 7, 9 and 13. Per session three keys with one hash tag, each with a time to live, values sealed before
they come here; and one key a login that was called back::

    {prefix}s:{<hash>}   the record          {prefix}t:{<hash>}   the tokens
    {prefix}i:{<hash>}   last seen (ms)      {prefix}l:{<hash>}   a claimed login

A command that began runs to its end, whoever waits for it: a caller that is cancelled never cancels redis-py within an exchange, so no
connection goes back to the pool with an answer still to come (RD-13), and none is lost from it. Nothing is sent twice: no retries.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from gateway.errors import StoreUnavailable
from gateway.session.store.failures import told
from gateway.session.store.protocol import MAX_VALUE, Stored
from gateway.session.store.redis_address import MAX_CONNECTIONS
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from gateway.session.store.protocol import Follower, NewSession
    from gateway.session.store.redis_address import RedisAddress
    from gateway.session.store.tracking import Tracking

PATIENCE: Final = 5.0
"""Seconds that a caller waits at most, whatever the waits of pool, connecting and answers add up to."""

_LAST_SEEN: Final = re.compile(rb"[0-9]{1,15}")
_LAST_SEEN_BYTES: Final = 16

Command = tuple[str | bytes | int, ...]

log = logs.get("session")


class RedisStore:
    """A ``SessionStore`` in one Redis or Valkey server. Nothing is connected before the first command."""

    def __init__(self, address: RedisAddress, *, prefix: str = "gateway:", max_connections: int = MAX_CONNECTIONS) -> None:
        self._address = address
        self._place = address.place
        self._client: Redis = address.client(max_connections=max_connections)
        self._prefix = prefix
        self._under_way: set[asyncio.Task[list[Any]]] = set()
        self._trackings: list[Tracking] = []

    def follow(self, follower: Follower) -> None:
        """See ``SessionStore.follow``: one connection of its own. Records alone are under the prefix; notes of use are nobody's news."""
        self._trackings.append(self._address.follow(follower, prefix=f"{self._prefix}s:"))

    async def read(self, key: str) -> Stored:
        """See ``SessionStore.read``. GETRANGE bounds what a foreign value can make us read (RD-10)."""
        record, last_seen = await self._exchange(
            ("GETRANGE", self._key("s", key), 0, MAX_VALUE),
            ("GETRANGE", self._key("i", key), 0, _LAST_SEEN_BYTES),
        )
        return Stored(record=self._ours(record, most=MAX_VALUE, kind="record"), last_seen=self._time(last_seen))

    async def missing(self, keys: Sequence[str]) -> frozenset[str]:
        """See ``SessionStore.missing``. One EXISTS counts them all; each is asked for only where the count falls short."""
        if not keys:
            return frozenset()
        records = [self._key("s", key) for key in keys]
        (there,) = await self._exchange(("EXISTS", *records))
        self._raise_error(there)
        if there == len(keys):
            return frozenset()
        answers = await self._exchange(*(("EXISTS", record) for record in records))
        self._raise_error(*answers)
        return frozenset(key for key, answer in zip(keys, answers, strict=True) if not answer)

    async def last_seen(self, keys: Sequence[str]) -> list[int | None]:
        """See ``SessionStore.last_seen``. The records themselves stay where they are: EXISTS tells that they are there."""
        commands: list[Command] = []
        for key in keys:
            commands += [("EXISTS", self._key("s", key)), ("GETRANGE", self._key("i", key), 0, _LAST_SEEN_BYTES)]
        answers = await self._exchange(*commands)
        self._raise_error(*answers[::2])
        return [self._time(value) if there else None for there, value in zip(answers[::2], answers[1::2], strict=True)]

    async def touch(self, keys: Sequence[str], *, last_seen: int, idle: float) -> None:
        """See ``SessionStore.touch``. XX: a note that comes late does not bring back what a sign-out deleted."""
        if not keys:
            return
        lifetime = _milliseconds(idle)
        self._raise_error(*await self._exchange(*(("SET", self._key("i", key), last_seen, "PX", lifetime, "XX") for key in keys)))

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> None:
        """See ``SessionStore.create``."""
        lifetime = _milliseconds(new.lifetime)
        commands: list[Command] = [
            ("SET", self._key("s", new.key), new.record, "PX", lifetime),
            ("SET", self._key("t", new.key), new.tokens, "PX", lifetime),
            ("SET", self._key("i", new.key), new.last_seen, "PX", _milliseconds(new.idle)),
        ]
        commands += [("DEL", *self._keys(key)) for key in replaces if key != new.key]
        self._raise_error(*await self._exchange(*commands, at_once=True))

    async def tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.tokens``."""
        (tokens,) = await self._exchange(("GETRANGE", self._key("t", key), 0, MAX_VALUE))
        return self._ours(tokens, most=MAX_VALUE, kind="grant")

    async def end(self, key: str) -> bytes | None:
        """See ``SessionStore.end``. A GETDEL that is bounded and leaves no part behind: read and deleted in one transaction."""
        tokens, deleted = await self._exchange(("GETRANGE", self._key("t", key), 0, MAX_VALUE), ("DEL", *self._keys(key)), at_once=True)
        self._raise_error(deleted)
        return self._ours(tokens, most=MAX_VALUE, kind="grant")

    async def claim(self, name: str, *, lifetime: float) -> bool:
        """See ``SessionStore.claim``."""
        (answer,) = await self._exchange(("SET", self._key("l", name), b"1", "PX", _milliseconds(lifetime), "NX"))
        self._raise_error(answer)
        return answer is not None

    async def ready(self) -> None:
        """See ``SessionStore.ready``."""
        self._raise_error(*await self._exchange(("PING",)))

    async def close(self) -> None:
        """See ``SessionStore.close``."""
        for tracking in self._trackings:
            await tracking.close()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=PATIENCE)
        await self._client.aclose()

    def _key(self, kind: str, key: str) -> str:
        return f"{self._prefix}{kind}:{{{key}}}"

    def _keys(self, key: str) -> list[str]:
        return [self._key(kind, key) for kind in "sti"]

    async def _exchange(self, *commands: Command, at_once: bool = False) -> list[Any]:
        """Answers, one a command: values, or the errors that Redis gave instead. ``at_once``: all of them are done or none (MULTI)."""
        task = asyncio.ensure_future(self._send(commands, at_once=at_once))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(task)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise StoreUnavailable(told(self._place, error)) from None

    async def _send(self, commands: tuple[Command, ...], *, at_once: bool) -> list[Any]:
        async with self._client.pipeline(transaction=at_once) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)

    def _done(self, task: asyncio.Task[list[Any]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Nobody may be waiting any more: its failure is then nobody's, and no warning of the loop.
            task.exception()

    def _time(self, answer: object) -> int | None:
        digits = self._ours(answer, most=_LAST_SEEN_BYTES, kind="last seen")
        if digits is not None and not _LAST_SEEN.fullmatch(digits):
            log.error("store.value_refused", kind="last seen", fault="not a time")
            return None
        return None if digits is None else int(digits)

    def _ours(self, answer: object, *, most: int, kind: str) -> bytes | None:
        """The value, None for none; what cannot be ours is logged and is none."""
        if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
            log.error("store.value_refused", kind=kind, fault="wrong type")
            return None
        self._raise_error(answer)
        assert isinstance(answer, bytes)
        if len(answer) > most:
            log.error("store.value_refused", kind=kind, fault="too large")
            return None
        return answer or None

    def _raise_error(self, *answers: object) -> None:
        for answer in answers:
            if isinstance(answer, Exception):
                raise StoreUnavailable(told(self._place, answer))


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
