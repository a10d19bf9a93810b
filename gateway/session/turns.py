"""Who begins next: so many at one time, those that somebody waits for before all others, and the others no closer together than a pace.

Answers RF-08 and invariant 14. What many begin at one moment is answered at one moment, and each answer takes time that requests wait for.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    _Queue = OrderedDict[str, asyncio.Future[None]]


class Turns:
    """Turns for ``most`` at one time; ``pace`` is seconds from the beginning of one that nobody waits for to that of the next one."""

    def __init__(self, most: int, pace: float) -> None:
        self._free = most
        self._pace = pace
        self._awaited: _Queue = OrderedDict()
        self._others: _Queue = OrderedDict()
        self._next_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, key: str, *, awaited: bool) -> AsyncIterator[None]:
        """Wait for a turn and have it; ``awaited``: somebody waits for what is done in it. No key waits twice."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._awaited if awaited else self._others)[key] = future
        self._call()
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._awaited.pop(key, None)
                self._others.pop(key, None)
            else:
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def hurry(self, key: str) -> None:
        """Somebody waits for this one by now."""
        future = self._others.pop(key, None)
        if future is not None:
            self._awaited[key] = future
            self._call()

    def hurry_all(self) -> None:
        """From now on nobody keeps a distance to anybody."""
        self._pace, self._next_at = 0.0, -math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key in list(self._others):
            self.hurry(key)

    def _leave(self) -> None:
        self._free += 1
        self._call()

    def _call(self) -> None:
        """Let begin whoever may."""
        while self._awaited and self._free:
            self._let_begin(self._awaited)
        if not self._others or not self._free or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_at:
            self._next_at = loop.time() + self._pace
            self._let_begin(self._others)
        if self._others and self._free:
            self._timer = loop.call_at(self._next_at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._call()

    def _let_begin(self, queue: _Queue) -> None:
        _, future = queue.popitem(last=False)
        if not future.done():
            self._free -= 1
            future.set_result(None)
