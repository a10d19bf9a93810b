"""The server's own word on every change: RESP3's ``CLIENT TRACKING ON BCAST``, on one connection that does nothing else.

Answers invariant 7: a record that is written, deleted or flushed by anybody is told within milliseconds, and silence is noticed. The
server is asked every second what it is (ROLE); its answer comes behind every change that it made before (one connection, in order), so it
proves that all of those were told. Two seconds without a word, and changes count as untold until the connection is made anew. So they do
when it says that it is no primary any more (RD-05): what the new one is told, an old one hears late or never.

redis-py gives pushes to a handler of the parser alone, and reads them alone when asked to: both are private (``_parser``) and tried with
redis-py 8.1, which ``pyproject.toml`` pins, on Redis 6.2 and 7.0 and Valkey 8.1. Nothing outside this module knows of them. One server, one
connection: where there are several primaries, each has a ``Tracking`` (``redis_cluster_following``).
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from gateway.session.store.failures import told
from gateway.session.store.redis_connections import NotPrimary, is_primary
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection

    from gateway.session.store.protocol import Follower

    MakeConnection: TypeAlias = Callable[[], AbstractConnection]

EVERY: Final = 1.0
"""Seconds between two questions."""
SILENCE: Final = 2.0
"""Seconds without a word after which the connection counts as down."""
LAST_CHANCE: Final = 0.05
"""Seconds to read what may have come while the process itself stood still: that is no silence of the server's."""
LONGEST_PAUSE: Final = 1.0
SHORTEST_PAUSE: Final = 0.05
"""Seconds between two attempts to connect. The first after a loss comes at once."""

_KEY: Final = re.compile(rb"\{([A-Za-z0-9_-]{43})\}")

log = logs.get("session")


class Silent(RedisError):
    """The server said nothing for ``SILENCE`` seconds."""


class Tracking:
    """Follows one server. ``connection`` makes a RESP3 connection that nobody else uses; ``prefix`` begins the keys of records alone.

    ``ended`` is called when a server that was followed is so no more, before another is.
    """

    def __init__(
        self, connection: MakeConnection, follower: Follower, *, prefix: str, place: str, ended: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self._follower = follower
        self._prefix = prefix.encode()
        self._place = place
        self._ended = ended
        self._told = ""
        self._attempting: asyncio.Task[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def renew(self) -> None:
        """Leave the server that is followed, and find out anew which one to follow."""
        if self._attempting is not None:
            self._attempting.cancel()

    async def close(self) -> None:
        """Follow no more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        try:
            while True:
                began = loop.time()
                self._attempting = loop.create_task(self._attempt())
                try:
                    await asyncio.wait({self._attempting})
                finally:
                    self._attempting.cancel()
                    await asyncio.wait({self._attempting})
                if self._attempting.cancelled():
                    self._follower.lost()
                pause = 0.0 if loop.time() - began > LONGEST_PAUSE else min(max(SHORTEST_PAUSE, pause * 2), LONGEST_PAUSE)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas over time, nothing secret
        finally:
            self._follower.lost()

    async def _attempt(self) -> None:
        """Follow until that ends, and tell the follower how it ended."""
        try:
            await self._follow()
        except (RedisError, OSError) as error:
            if _is_refusal(error):
                self._follower.refused()
                self._tell(f"{told(self._place, error)}; it takes Redis 6 or Valkey, and the rights to CLIENT TRACKING and ROLE")
            else:
                self._follower.lost()
                self._tell(told(self._place, error))
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is no refusal of the server's, and nobody is told anything more
            self._follower.lost()
            self._tell(f"{self._place}: {type(fault).__name__}")

    async def _follow(self) -> None:
        connection = self._connection()
        was_followed = False
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py gives it no types
            parser: Any = connection._parser  # noqa: SLF001 - see above
            parser.set_invalidation_push_handler(_pushed)
            asked = self._follower.now()
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
            await connection.read_response(push_request=True)
            await connection.send_command("ROLE")
            _require_primary(await connection.read_response(push_request=True))
            was_followed = True
            self._follower.followed()
            self._follower.answered(asked)
            self._told = ""
            log.info("tracking.up", place=self._place)
            await self._listen(connection)
        finally:
            if was_followed:
                self._ended()
            await connection.disconnect(nowait=True)

    async def _listen(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        asked: deque[float] = deque()
        heard = ping_at = loop.time()
        last_chance = False
        while True:
            if loop.time() >= ping_at:
                asked.append(self._follower.now())
                await connection.send_command("ROLE")
                ping_at = loop.time() + EVERY
            answer = await connection.read_response(
                timeout=LAST_CHANCE if last_chance else max(ping_at - loop.time(), LAST_CHANCE),
                disconnect_on_error=False,
                push_request=True,
            )
            if answer is None:
                if last_chance:
                    raise Silent
                last_chance = loop.time() - heard >= SILENCE
                continue
            heard, last_chance = loop.time(), False
            if isinstance(answer, _Pushed):
                self._changed(answer.keys)
            elif asked:
                _require_primary(answer)
                self._follower.answered(asked.popleft())

    def _changed(self, keys: list[bytes] | None) -> None:
        """None is a flush. A key that is not formed like ours is nobody's session."""
        if keys is None:
            self._follower.changed(None)
            return
        for key in keys:
            name = _KEY.fullmatch(key, len(self._prefix)) if key.startswith(self._prefix) else None
            if name is not None:
                self._follower.changed(name[1].decode())

    def _tell(self, detail: str) -> None:
        """Say once what is wrong, until it is something else or was right in between."""
        if detail != self._told:
            self._told = detail
            log.warning("tracking.down", detail=detail)


def _require_primary(role: object) -> None:
    if not is_primary(role):
        raise NotPrimary("a replica tells late or never")


def _is_refusal(error: Exception) -> bool:
    """Whether the server could answer and did not give us its word: too many clients, no right, no such command. Loading is an outage."""
    return isinstance(error, ResponseError | AuthenticationError) or getattr(error, "status_code", None) == "ERR"


class _Pushed:
    """What the server told unasked."""

    __slots__ = ("keys",)

    def __init__(self, keys: list[bytes] | None) -> None:
        self.keys = keys


async def _pushed(push: list[Any]) -> _Pushed:
    """[b"invalidate", keys or None]: what the parser hands to its handler, and gives back to who reads. It must not raise in here."""
    return _Pushed(push[1])
