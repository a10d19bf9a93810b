"""Where a store's commands go, and who tells its changes: one server, whoever is the primary of several, or the primaries of a cluster.

A store keeps commands, servers keep where they go. Each kind is one module, and one place chooses among them (``open_servers``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from redis.asyncio import Redis

    from gateway.session.store.protocol import Follower
    from gateway.session.store.redis_address import HostPort


class Pipeline(Protocol):
    """redis-py's, as far as the store uses it."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> object: ...

    def execute_command(self, *words: str | bytes | int) -> object:
        """One command more."""
        ...

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        """An answer to each command, or the error that came instead; RedisError or OSError where there were no answers."""
        ...


class Following(Protocol):
    """Tells a follower of changes, until closed."""

    async def close(self) -> None:
        """Tell no more; the follower is told that, too."""
        ...


class Servers(Protocol):
    """The servers of one address. ``place`` is for logs, ``patience`` the longest that anything takes (seconds).

    ``spans_slots``: keys with different hash tags can be written at once. Nothing is connected before the first command.
    """

    place: str
    patience: float
    spans_slots: bool

    def pipeline(self) -> Pipeline:
        """Several commands in one round trip a server. Each goes where its key is; one without goes with the one before it.

        MULTI at the beginning keeps all of them together, where the first key is. Where none has a key, all go to every server.
        """
        ...

    def follow(self, follower: Follower, *, prefix: str) -> Following:
        """Tell ``follower`` of every change of a key that begins with ``prefix``. Called within the loop."""
        ...

    async def primaries(self) -> dict[HostPort | str, Redis]:
        """A client (RESP3) of each server that takes writes, for a look at it; closing them is the caller's. RedisError or OSError."""
        ...

    async def close(self) -> None:
        """Give up every connection."""
        ...
