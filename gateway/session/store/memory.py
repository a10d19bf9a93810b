"""The store of one process: bounded, expiring, under the same promises as Redis; gone when the process ends.

Answers invariant 14: when it is full of live sessions, by number or octets, it takes no new login (``StoreUnavailable``) and drops nobody;
an eighth of the octets is left to those who are signed in, whose grants may grow. When strangers fill it with logins that were called back,
the oldest of those make room, and people go on signing in.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace as with_values
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable
from gateway.session.store.memory_shelf import Fleeting, Kept, Shelf
from gateway.session.store.protocol import Ended, Listed, NewSession, Shown, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.session.store.protocol import Follower

MAX_SESSIONS: Final = 20_000
MAX_OCTETS: Final = 128 * 1024 * 1024
"""Of all sessions together: 20,000 of five KiB, some 900 of the largest that there can be. As objects they take about a KiB more each."""
MAX_CLAIMS: Final = 100_000
MAX_FLEETING_OCTETS: Final = 16 * 1024 * 1024
"""Of each kind of what ends by itself: the tokens that ends left; claims and locks are small, and fewer than that."""


class MemoryStore:
    """A ``SessionStore`` in a dict. ``clock`` gives epoch seconds: the same one that ``Sessions`` reads."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        max_sessions: int = MAX_SESSIONS,
        max_octets: int = MAX_OCTETS,
        max_claims: int = MAX_CLAIMS,
        max_fleeting_octets: int = MAX_FLEETING_OCTETS,
    ) -> None:
        self._clock = clock
        self._sessions = Shelf(max_sessions, max_octets)
        self._claims = Fleeting(max_claims, max_fleeting_octets)
        self._locks = Fleeting(max_sessions, max_fleeting_octets)
        self._left = Fleeting(max_sessions, max_fleeting_octets)
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

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> tuple[bytes, ...]:
        """See ``SessionStore.create``."""
        now = self._clock()
        leaving = tuple(dict.fromkeys(key for key in replaces if key != new.key))
        cards = tuple(kept.new.card for key in leaving if (kept := self._live(key, now)) is not None and kept.new.card)
        kept = Kept(new=new, last_seen=new.last_seen, until=now + new.lifetime, idle_until=now + new.idle)
        if not self._sessions.put(new.key, kept, now=now, instead_of=leaving):
            raise StoreUnavailable("the memory store is full of live sessions")
        for key in leaving:
            self._locks.take(key)
        self._tell(new.key, *leaving)
        return cards

    async def tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.tokens``."""
        kept = self._live(key, self._clock())
        return None if kept is None else kept.new.tokens or None

    async def replace(self, key: str, *, record: bytes, tokens: bytes, fence: bytes) -> bool:
        """See ``SessionStore.replace``."""
        now = self._clock()
        kept = self._live(key, now)
        if kept is None or kept.new.tokens != fence:
            return False
        if not self._sessions.change(kept, with_values(kept.new, record=record, tokens=tokens), now=now):
            if self._live(key, now) is None:
                return False
            raise StoreUnavailable("the memory store is full, and what is to be written is larger than what it replaces")
        self._tell(key)
        return True

    async def end(self, key: str, *, leave_tokens: float = 0.0) -> Ended:
        """See ``SessionStore.end``."""
        now = self._clock()
        kept = self._live(key, now)
        self._sessions.take(key)
        self._locks.take(key)
        self._tell(key)
        if kept is None:
            return Ended(tokens=None, card=None, there=False)
        if leave_tokens:
            self._left.put(key, kept.new.tokens, now + leave_tokens, now=now)
        return Ended(tokens=None if leave_tokens else kept.new.tokens or None, card=kept.new.card or None, there=True)

    async def take_tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.take_tokens``."""
        left = self._left.get(key, self._clock())
        self._left.take(key)
        return None if left is None else left[0] or None

    async def unlist(self, key: str, indexes: Sequence[str]) -> None:
        """See ``SessionStore.unlist``."""
        self._sessions.unlist(key, tuple(indexes))

    async def relist(self, key: str, *, card: bytes, indexes: Sequence[str], now: int, lifetime: float) -> bool:  # noqa: ARG002 - it knows
        """See ``SessionStore.relist``."""
        kept = self._live(key, moment := self._clock())
        if kept is None or not kept.new.card:
            return False
        if not self._sessions.relist(kept, card, tuple(indexes), now=moment):
            raise StoreUnavailable("the memory store is full")
        return True

    async def listed(self, index: str, *, cursor: int, count: int) -> Listed:
        """See ``SessionStore.listed``. The cursor is the serial of the last session told, so that none is missed when others end."""
        following = [(key, serial) for key, serial in self._sessions.indexes.get(index, {}).items() if serial > cursor]
        part = following[:count]
        return Listed(keys=tuple(key for key, _ in part), cursor=part[-1][1] if len(part) < len(following) else 0)

    async def show(self, keys: Sequence[str]) -> list[Shown]:
        """See ``SessionStore.show``."""
        now = self._clock()
        kept = [self._live(key, now) for key in keys]
        return [
            Shown(card=None, last_seen=None, there=False)
            if each is None
            else Shown(card=each.new.card or None, last_seen=each.last_seen if now < each.idle_until else None, there=True)
            for each in kept
        ]

    async def lock(self, key: str, *, owner: bytes, lifetime: float) -> float | None:
        """See ``SessionStore.lock``. Of more locks than there is room for the oldest are forgotten: losing one is safe."""
        now = self._clock()
        held = self._locks.get(key, now)
        if held is not None:
            return held[1] - now
        self._locks.put(key, owner, now + lifetime, now=now)
        return None

    async def extend(self, key: str, *, owner: bytes, lifetime: float) -> bool:
        """See ``SessionStore.extend``."""
        now = self._clock()
        held = self._locks.get(key, now)
        if held is None or held[0] != owner:
            return False
        self._locks.put(key, owner, now + lifetime, now=now)
        return True

    async def unlock(self, key: str, *, owner: bytes) -> None:
        """See ``SessionStore.unlock``."""
        held = self._locks.get(key, self._clock())
        if held is not None and held[0] == owner:
            self._locks.take(key)

    async def claim(self, name: str, *, lifetime: float) -> bool:
        """See ``SessionStore.claim``. Of more claims than there is room for, the oldest are forgotten.

        That is safe: a claim is the third of three locks. The login cookie was deleted with the answer to the first callback, and the
        provider takes a code once (RFC 6749 section 4.1.2). To refuse instead would let whoever begins logins close sign-in for everybody.
        """
        now = self._clock()
        if self._claims.get(name, now) is not None:
            return False
        self._claims.put(name, b"", now + lifetime, now=now)
        return True

    async def ready(self) -> None:
        """See ``SessionStore.ready``: memory always answers."""

    async def close(self) -> None:
        """See ``SessionStore.close``: nobody is kept."""
        for each in (self._sessions, self._claims, self._locks, self._left):
            each.clear()
        for follower in self._followers:
            follower.refused()

    def _tell(self, *keys: str) -> None:
        for follower in self._followers:
            for key in keys:
                follower.changed(key)

    def _live(self, key: str, now: float) -> Kept | None:
        kept = self._sessions.items.get(key)
        return kept if kept is not None and now < kept.until else None
