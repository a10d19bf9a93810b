"""What the store of one process keeps, each kind bounded: sessions with the indexes that list them, and what ends by itself.

Answers invariant 14: a shelf that is full of live sessions takes no other and drops nobody; of the rest the oldest make room.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.session.store.protocol import NewSession

RESERVE: Final = 8
"""One part in so many of a shelf's octets takes no new session: the grants of those on it may grow when they are renewed."""


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

    @property
    def octets(self) -> int:
        """Of names and values."""
        return octets_of(self.new)


def octets_of(new: NewSession) -> int:
    """What a session counts for against ``most_octets``: its names and values."""
    return len(new.key) + len(new.record) + len(new.tokens) + len(new.card) + sum(map(len, new.indexes))


@dataclass(slots=True)
class Shelf:
    """A dict of sessions, bounded by number and octets. It is swept when full, and not again before something can have perished."""

    most: int
    most_octets: int
    items: dict[str, Kept] = field(default_factory=dict)
    indexes: dict[str, dict[str, int]] = field(default_factory=dict)
    """By name of an index, the serials of sessions by key, the oldest first."""
    none_before: float = math.inf
    serial: int = 0
    octets: int = 0

    def put(self, key: str, item: Kept, *, now: float, instead_of: tuple[str, ...]) -> bool:
        """Place ``item`` and take ``instead_of`` away; False, with nothing changed, when no place is left."""
        leaving = {key, *instead_of}
        if not self._has_room(item, leaving):
            self._sweep(now)
            if not self._has_room(item, leaving):
                return False
        for each in leaving:
            self.take(each)
        self.serial += 1
        item.serial = self.serial
        self.items[key] = item
        self.octets += item.octets
        for index in item.new.indexes:
            self._list(index, key, item.serial, now)
        self.none_before = min(self.none_before, item.deadline)
        return True

    def change(self, item: Kept, new: NewSession, *, now: float) -> bool:
        """Give a session other values; False, with none given, when there is no room for them, or it had to make room itself."""
        grown = octets_of(new) - item.octets
        if self.octets + grown > self.most_octets:
            self._sweep(now)
            if self.items.get(new.key) is not item or self.octets + grown > self.most_octets:
                return False
        self.octets += grown
        item.new = new
        return True

    def relist(self, item: Kept, card: bytes, indexes: tuple[str, ...], *, now: float) -> bool:
        """Give a session another card, and list it in these indexes too; False, with nothing changed, when there is no room for that."""
        new = replace(item.new, card=card, indexes=tuple(dict.fromkeys((*item.new.indexes, *indexes))))
        if not self.change(item, new, now=now):
            return False
        self.serial += 1
        for index in indexes:
            # In the order of the serials, whoever stood there before.
            self.indexes.get(index, {}).pop(new.key, None)
            self._list(index, new.key, self.serial, now)
        return True

    def take(self, key: str) -> None:
        """Take a session away, out of its indexes too."""
        item = self.items.pop(key, None)
        if item is not None:
            self.octets -= item.octets
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
        self.octets = 0

    def _list(self, index: str, key: str, serial: int, now: float) -> None:
        """List it, in the place of those before it that have expired."""
        for each in list(self.indexes.get(index, {})):
            if now < self.items[each].until:
                break
            self.take(each)
        self.indexes.setdefault(index, {})[key] = serial

    def _has_room(self, item: Kept, leaving: set[str]) -> bool:
        going = [self.items[key].octets for key in leaving if key in self.items]
        octets = self.octets - sum(going) + item.octets
        return len(self.items) - len(going) < self.most and octets <= self.most_octets - self.most_octets // RESERVE

    def _sweep(self, now: float) -> None:
        if now < self.none_before:
            return
        for key in [key for key, item in self.items.items() if now >= item.deadline]:
            self.take(key)
        self.none_before = min((item.deadline for item in self.items.values()), default=math.inf)


class Fleeting:
    """Values by name, each until a time of its own (epoch seconds). Of more than there is room for, the oldest are forgotten."""

    def __init__(self, most: int, most_octets: int) -> None:
        self._most = most
        self._most_octets = most_octets
        self._octets = 0
        self._items: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def get(self, name: str, now: float) -> tuple[bytes, float] | None:
        """The value and until when it is kept; None when there is none any more."""
        kept = self._items.get(name)
        return kept if kept is not None and now < kept[1] else None

    def put(self, name: str, value: bytes, until: float, *, now: float) -> None:
        """Keep this, in the place of what was kept under the name."""
        self.take(name)
        while self._items and next(iter(self._items.values()))[1] <= now:
            self.take(next(iter(self._items)))
        self._items[name] = (value, until)
        self._octets += len(name) + len(value)
        while len(self._items) > self._most or self._octets > self._most_octets:
            self.take(next(iter(self._items)))

    def take(self, name: str) -> None:
        """Forget what is kept under the name."""
        kept = self._items.pop(name, None)
        if kept is not None:
            self._octets -= len(name) + len(kept[0])

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._octets = 0
