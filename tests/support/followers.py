"""A follower of a store's changes that writes down what it is told, and ways to wait for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which something that has to happen counts as never."""


@dataclass
class Heard:
    """See ``Follower``. ``news`` has a word for each call, and the key of each change."""

    news: list[str | None] = field(default_factory=list)
    is_followed: bool = False
    told_until: float = 0.0

    def now(self) -> float:
        return time.monotonic()

    def followed(self) -> None:
        self.is_followed = True
        self.news.append("followed")

    def answered(self, at: float) -> None:
        self.told_until = at

    def changed(self, key: str | None) -> None:
        self.news.append(key)

    def lost(self) -> None:
        if self.is_followed:
            self.news.append("lost")
        self.is_followed = False

    def refused(self) -> None:
        self.is_followed = False
        self.news.append("refused")

    async def until_followed(self) -> None:
        """Return when changes are told, and have been up to a moment after this call."""
        asked = self.now()
        await until(lambda: self.is_followed and self.told_until > asked)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.005)
