"""What the store of one process keeps, each kind bounded: sessions with the indexes that list them, and what ends by itself.

Answers invariant 14: a shelf that is full of live sessions takes no other and drops nobody; of the rest the oldest make room.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from gateway.session.store.protocol import NewSession

V = TypeVar("V")


@dataclass(slots=True)
class Kept:
    """A session; all times are epoch seconds, but for ``last_seen``. ``serial`` orders sessions by when they were placed."""

    new: NewSession
    last_seen: int
    until: float
    idle_until: float
    serial: int = 0

    @property
    def deadline(self) -> float:
        """When nobody misses it any more."""
        return min(self.until, self.idle_until)


@dataclass(slots=True)
class Shelf:
    """A bounded dict of sessions. It is swept when full, and not again before something on it can have perished."""

    most: int
    items: dict[str, Kept] = field(default_factory=dict)
    indexes: dict[str, dict[str, int]] = field(default_factory=dict)
    """By name of an index, the serials of sessions by key, the oldest first."""
    none_before: float = math.inf
    serial: int = 0

    def put(self, key: str, item: Kept, *, now: float, instead_of: tuple[str, ...]) -> bool:
        """Place ``item`` and take ``instead_of`` away; False, with nothing changed, when no place is left."""
        leaving = {key, *instead_of}
        if self._left_without(leaving) >= self.most:
            self._sweep(now)
            if self._left_without(leaving) >= self.most:
                return False
        for each in leaving:
            self.take(each)
        self.serial += 1
        item.serial = self.serial
        self.items[key] = item
        for index in item.new.indexes:
            self._list(index, key, item.serial, now)
        self.none_before = min(self.none_before, item.deadline)
        return True

    def take(self, key: str) -> None:
        """Take a session away, out of its indexes too."""
        item = self.items.pop(key, None)
        if item is not None:
            self.unlist(key, item.new.indexes)

    def unlist(self, key: str, indexes: tuple[str, ...]) -> None:
        """Take a session out of these indexes."""
        for index in indexes:
            listed = self.indexes.get(index, {})
            listed.pop(key, None)
            if not listed:
                self.indexes.pop(index, None)

    def clear(self) -> None:
        """Keep nothing."""
        self.items.clear()
        self.indexes.clear()

    def _list(self, index: str, key: str, serial: int, now: float) -> None:
        """List it, in the place of those before it that have expired."""
        for each in list(self.indexes.get(index, {})):
            if now < self.items[each].until:
                break
            self.take(each)
        self.indexes.setdefault(index, {})[key] = serial

    def _left_without(self, leaving: set[str]) -> int:
        return len(self.items) - sum(key in self.items for key in leaving)

    def _sweep(self, now: float) -> None:
        if now < self.none_before:
            return
        for key in [key for key, item in self.items.items() if now >= item.deadline]:
            self.take(key)
        self.none_before = min((item.deadline for item in self.items.values()), default=math.inf)


class Fleeting(Generic[V]):
    """Small values by name, each until a time of its own (epoch seconds). Of more than there is room for, the oldest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: OrderedDict[str, tuple[V, float]] = OrderedDict()

    def get(self, name: str, now: float) -> tuple[V, float] | None:
        """The value and until when it is kept; None when there is none any more."""
        kept = self._items.get(name)
        return kept if kept is not None and now < kept[1] else None

    def put(self, name: str, value: V, until: float, *, now: float) -> None:
        """Keep this, in the place of what was kept under the name."""
        self._items.pop(name, None)
        while self._items and next(iter(self._items.values()))[1] <= now:
            self._items.popitem(last=False)
        self._items[name] = (value, until)
        if len(self._items) > self._most:
            self._items.popitem(last=False)

    def take(self, name: str) -> None:
        """Forget what is kept under the name."""
        self._items.pop(name, None)

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
