"""Reads of the store that many want at one moment are one: of a session that has just changed, or whose grant has just been renewed.

Answers invariant 7: a read is shared only until a change of its session is told (``Reading``). Whoever comes after that reads anew, and
while changes are not told everybody does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.session.cache import Reading

T = TypeVar("T")


class Joined(Generic[T]):
    """``read`` asks the store for what is under a key. A caller that goes away takes nothing from those beside it."""

    def __init__(self, read: Callable[[str], Coroutine[object, object, T]]) -> None:
        self._read = read
        self._under_way: dict[Reading, asyncio.Task[T]] = {}

    async def of(self, key: str, reading: Reading | None) -> T:
        """What the store has under ``key``, or had when somebody else with this very ``reading`` asked."""
        if reading is None:
            return await self._read(key)
        task = self._under_way.get(reading)
        if task is None:
            task = self._under_way[reading] = asyncio.get_running_loop().create_task(self._read(key))
            task.add_done_callback(lambda done: self._ended(reading, done))
        return await asyncio.shield(task)

    def _ended(self, reading: Reading, task: asyncio.Task[T]) -> None:
        del self._under_way[reading]
        if not task.cancelled():
            # Nobody may be waiting any more: its failure is then nobody's.
            task.exception()
