"""The store of one process: bounded, expiring, under the same promises as Redis; gone when the process ends.

Answers invariant 14: when it is full of live sessions it takes no new login (``StoreUnavailable``) and drops nobody.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from gateway.errors import StoreUnavailable
from gateway.session.store.protocol import NewSession, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SESSIONS: Final = 20_000
MAX_CLAIMS: Final = 100_000


class MemoryStore:
    """A ``SessionStore`` in a dict. ``clock`` gives epoch seconds: the same one that ``Sessions`` reads."""

    def __init__(self, *, clock: Callable[[], float] = time.time, max_sessions: int = MAX_SESSIONS, max_claims: int = MAX_CLAIMS) -> None:
        self._clock = clock
        self._sessions: _Shelf[_Kept] = _Shelf(max_sessions)
        self._claims: _Shelf[_Claim] = _Shelf(max_claims)

    async def read(self, key: str) -> Stored:
        """See ``SessionStore.read``."""
        now = self._clock()
        kept = self._live(key, now)
        if kept is None:
            return Stored(record=None, last_seen=None)
        return Stored(record=kept.new.record, last_seen=kept.last_seen if now < kept.idle_until else None)

    async def touch(self, key: str, *, last_seen: int, idle: float) -> None:
        """See ``SessionStore.touch``."""
        now = self._clock()
        kept = self._live(key, now)
        if kept is not None and now < kept.idle_until:
            kept.last_seen, kept.idle_until = last_seen, now + idle

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> None:
        """See ``SessionStore.create``."""
        now = self._clock()
        kept = _Kept(new=new, last_seen=new.last_seen, until=now + new.lifetime, idle_until=now + new.idle)
        if not self._sessions.put(new.key, kept, now=now, instead_of=replaces):
            raise StoreUnavailable("the memory store is full of live sessions")

    async def tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.tokens``."""
        kept = self._live(key, self._clock())
        return None if kept is None else kept.new.tokens

    async def end(self, key: str) -> bytes | None:
        """See ``SessionStore.end``."""
        kept = self._live(key, self._clock())
        self._sessions.items.pop(key, None)
        return None if kept is None else kept.new.tokens

    async def claim(self, name: str, *, lifetime: float) -> bool:
        """See ``SessionStore.claim``."""
        now = self._clock()
        earlier = self._claims.items.get(name)
        if earlier is not None and now < earlier.deadline:
            return False
        if not self._claims.put(name, _Claim(now + lifetime), now=now, instead_of=()):
            raise StoreUnavailable("the memory store is full of logins in flight")
        return True

    async def ready(self) -> None:
        """See ``SessionStore.ready``: memory always answers."""

    async def close(self) -> None:
        """See ``SessionStore.close``: nobody is kept."""
        self._sessions.items.clear()
        self._claims.items.clear()

    def _live(self, key: str, now: float) -> _Kept | None:
        kept = self._sessions.items.get(key)
        return kept if kept is not None and now < kept.until else None


class _Perishable(Protocol):
    @property
    def deadline(self) -> float: ...


@dataclass(slots=True)
class _Kept:
    new: NewSession
    last_seen: int
    until: float
    idle_until: float

    @property
    def deadline(self) -> float:
        return min(self.until, self.idle_until)


@dataclass(frozen=True, slots=True)
class _Claim:
    deadline: float


Item = TypeVar("Item", bound=_Perishable)


@dataclass(slots=True)
class _Shelf(Generic[Item]):
    """A bounded dict of things that perish. It is swept when full, and not again before something on it can have perished."""

    most: int
    items: dict[str, Item] = field(default_factory=dict)
    none_before: float = math.inf

    def put(self, key: str, item: Item, *, now: float, instead_of: tuple[str, ...]) -> bool:
        """Place ``item`` and take ``instead_of`` away; False, with nothing changed, when no place is left."""
        leaving = {key, *instead_of}
        if self._left_without(leaving) >= self.most:
            self._sweep(now)
            if self._left_without(leaving) >= self.most:
                return False
        for each in leaving:
            self.items.pop(each, None)
        self.items[key] = item
        self.none_before = min(self.none_before, item.deadline)
        return True

    def _left_without(self, leaving: set[str]) -> int:
        return len(self.items) - sum(key in self.items for key in leaving)

    def _sweep(self, now: float) -> None:
        if now < self.none_before:
            return
        self.items = {key: item for key, item in self.items.items() if now < item.deadline}
        self.none_before = min((item.deadline for item in self.items.values()), default=math.inf)
