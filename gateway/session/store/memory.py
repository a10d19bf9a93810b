"""The store of one process: bounded, expiring, under the same promises as Redis; gone when the process ends.

Answers invariant 14: when it is full of live sessions it takes no new login (``StoreUnavailable``) and drops nobody; when strangers fill
it with logins that were called back, the oldest of those make room, and people go on signing in.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable
from gateway.session.store.protocol import NewSession, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.session.store.protocol import Follower

MAX_SESSIONS: Final = 20_000
MAX_CLAIMS: Final = 100_000


class MemoryStore:
    """A ``SessionStore`` in a dict. ``clock`` gives epoch seconds: the same one that ``Sessions`` reads."""

    def __init__(self, *, clock: Callable[[], float] = time.time, max_sessions: int = MAX_SESSIONS, max_claims: int = MAX_CLAIMS) -> None:
        self._clock = clock
        self._sessions = _Shelf(max_sessions)
        self._claims: OrderedDict[str, float] = OrderedDict()
        self._max_claims = max_claims
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        """See ``SessionStore.follow``: a change is told within the call that makes it, so a follower is never behind."""
        self._followers.append(follower)
        follower.followed()
        follower.answered(math.inf)

    async def read(self, key: str) -> Stored:
        """See ``SessionStore.read``."""
        now = self._clock()
        kept = self._live(key, now)
        if kept is None:
            return Stored(record=None, last_seen=None)
        return Stored(record=kept.new.record, last_seen=kept.last_seen if now < kept.idle_until else None)

    async def missing(self, keys: Sequence[str]) -> frozenset[str]:
        """See ``SessionStore.missing``."""
        now = self._clock()
        return frozenset(key for key in keys if self._live(key, now) is None)

    async def last_seen(self, keys: Sequence[str]) -> list[int | None]:
        """See ``SessionStore.last_seen``."""
        return [(await self.read(key)).last_seen for key in keys]

    async def touch(self, keys: Sequence[str], *, last_seen: int, idle: float) -> None:
        """See ``SessionStore.touch``."""
        now = self._clock()
        for key in keys:
            kept = self._live(key, now)
            if kept is not None and now < kept.idle_until:
                kept.last_seen, kept.idle_until = last_seen, now + idle

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> None:
        """See ``SessionStore.create``."""
        now = self._clock()
        kept = _Kept(new=new, last_seen=new.last_seen, until=now + new.lifetime, idle_until=now + new.idle)
        if not self._sessions.put(new.key, kept, now=now, instead_of=replaces):
            raise StoreUnavailable("the memory store is full of live sessions")
        self._tell(new.key, *replaces)

    async def tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.tokens``."""
        kept = self._live(key, self._clock())
        return None if kept is None else kept.new.tokens

    async def end(self, key: str) -> bytes | None:
        """See ``SessionStore.end``."""
        kept = self._live(key, self._clock())
        self._sessions.items.pop(key, None)
        self._tell(key)
        return None if kept is None else kept.new.tokens

    async def claim(self, name: str, *, lifetime: float) -> bool:
        """See ``SessionStore.claim``. Of more claims than there is room for, the oldest are forgotten.

        That is safe: a claim is the third of three locks. The login cookie was deleted with the answer to the first callback, and the
        provider takes a code once (RFC 6749 section 4.1.2). To refuse instead would let whoever begins logins close sign-in for everybody.
        """
        now = self._clock()
        # Every claim has the same lifetime, so the first that came is the first to end.
        while self._claims and next(iter(self._claims.values())) <= now:
            self._claims.popitem(last=False)
        if now < self._claims.get(name, now):
            return False
        self._claims.pop(name, None)
        self._claims[name] = now + lifetime
        if len(self._claims) > self._max_claims:
            self._claims.popitem(last=False)
        return True

    async def ready(self) -> None:
        """See ``SessionStore.ready``: memory always answers."""

    async def close(self) -> None:
        """See ``SessionStore.close``: nobody is kept."""
        self._sessions.items.clear()
        self._claims.clear()
        for follower in self._followers:
            follower.refused()

    def _tell(self, *keys: str) -> None:
        for follower in self._followers:
            for key in keys:
                follower.changed(key)

    def _live(self, key: str, now: float) -> _Kept | None:
        kept = self._sessions.items.get(key)
        return kept if kept is not None and now < kept.until else None


@dataclass(slots=True)
class _Kept:
    new: NewSession
    last_seen: int
    until: float
    idle_until: float

    @property
    def deadline(self) -> float:
        return min(self.until, self.idle_until)


@dataclass(slots=True)
class _Shelf:
    """A bounded dict of sessions. It is swept when full, and not again before something on it can have perished."""

    most: int
    items: dict[str, _Kept] = field(default_factory=dict)
    none_before: float = math.inf

    def put(self, key: str, item: _Kept, *, now: float, instead_of: tuple[str, ...]) -> bool:
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
