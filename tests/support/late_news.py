"""The way between one replica and a store in memory, which a test can slow down, cut and mend: commands one way, news the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.session.store.memory import MemoryStore
    from gateway.session.store.protocol import Ended, Follower, NewSession, Stored


class Line:
    """What one replica is told, in order, when a test delivers it; and the replica's way to the store, which can be cut or held up.

    ``gate`` holds up what goes to the store from now on: reads with their answer in hand, writes before they are made.
    """

    def __init__(self, store: MemoryStore, clock: Callable[[], float]) -> None:
        self.store = store
        self.clock = clock
        self.follower: Follower | None = None
        self.queue: list[str | None] = []
        self.cut = False
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()
        store.follow(self)

    # What the store says.
    def now(self) -> float:
        return self.clock()

    def followed(self) -> None: ...
    def answered(self, at: float) -> None: ...
    def lost(self) -> None: ...
    def refused(self) -> None: ...

    def changed(self, key: str | None) -> None:
        if not self.cut:
            self.queue.append(key)

    # What the test does.
    def deliver(self, most: int) -> None:
        assert self.follower is not None
        for key in self.queue[:most]:
            self.follower.changed(key)
        del self.queue[:most]
        if not self.queue and not self.cut:
            self.follower.answered(self.clock())

    def cut_or_mend(self) -> None:
        """Cut both ways, what is on the way included; or mend them, as a new connection would."""
        assert self.follower is not None
        self.cut = not self.cut
        self.queue.clear()
        if self.cut:
            self.follower.lost()
        else:
            self.follower.followed()
            self.follower.answered(self.clock())

    # What the replica asks.
    def follow(self, follower: Follower) -> None:
        self.follower = follower
        follower.followed()
        follower.answered(self.clock())

    async def read(self, key: str) -> Stored:
        self._reach()
        stored = await self.store.read(key)
        await self._wait()
        return stored

    async def tokens(self, key: str) -> bytes | None:
        self._reach()
        return await self.store.tokens(key)

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> tuple[bytes, ...]:
        self._reach()
        await self._wait()
        return await self.store.create(new, replaces=replaces)

    async def touch(self, keys: Sequence[str], *, last_seen: int, idle: float) -> None:
        self._reach()
        await self.store.touch(keys, last_seen=last_seen, idle=idle)

    async def end(self, key: str, *, leave_tokens: float = 0.0) -> Ended:
        self._reach()
        await self._wait()
        return await self.store.end(key, leave_tokens=leave_tokens)

    async def unlist(self, key: str, indexes: Sequence[str]) -> None:
        self._reach()
        await self.store.unlist(key, indexes)

    async def relist(self, key: str, *, card: bytes, indexes: Sequence[str], now: int, lifetime: float) -> bool:
        self._reach()
        return await self.store.relist(key, card=card, indexes=indexes, now=now, lifetime=lifetime)

    async def close(self) -> None: ...

    async def _wait(self) -> None:
        if self.gate is not None:
            self.reached.set()
            await self.gate.wait()

    def _reach(self) -> None:
        if self.cut:
            raise StoreUnavailable("cut off")
