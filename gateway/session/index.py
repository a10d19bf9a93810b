"""The index of sessions: listing them where nobody shows a cookie, and ending them there.

Answers "ended here means ended everywhere" and "what has ended is in no list": a session is listed together with its birth and unlisted
together with its end, by what its card says; a member that is left over (a crash in between, a DEL by hand, an idle time that ran out) is
passed over when it is seen, and taken off when it is seen again. Not at once: in a store of several servers a session is listed a moment
before it is there. What is there stays listed, whether anybody can read its card or not.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import RequestRefused, StoreUnavailable
from gateway.session.card import card_of, open_card, seal_card
from gateway.session.index_names import EVERYBODY, all_names, names_of, newest_names
from gateway.session.lifecycle import ended, idle_expires
from gateway.session.store.protocol import UnknownToReplicas
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.session.card import Card
    from gateway.session.index_names import Listing
    from gateway.session.lifecycle import Lifetimes
    from gateway.session.record import Session
    from gateway.session.sealing import Keyring
    from gateway.session.search import Search
    from gateway.session.store.protocol import SessionStore

LEAVE_TOKENS: Final = 30.0
"""Seconds that the tokens of a session that was ended without its cookie wait for a replica that can open them."""
LOOKED_AT_ONCE: Final = 64
"""Members of a listing in one round trip or two: few, since whoever is served by this process waits while their cards are opened."""
LOOKED_AT_MOST: Final = 5000
"""Cards opened for one page, however few of them match: then the page ends, with a cursor to go on from."""
ENDED_AT_ONCE: Final = 16
ROUNDS: Final = 5
"""Times that all of a listing is ended, while each found somebody new: people may be signing in meanwhile."""
SETTLED: Final = 10.0
"""Seconds after which a member that was seen without a session cannot be one whose session is being written."""
REMEMBERED: Final = 10_000
_POSITION: Final = re.compile(r"[0-9]{1,20}")
"""What a store's cursor looks like: 64 bits at most."""
_PLACE: Final = 12
"""Characters of a listing's name in a cursor."""

log = logs.get("session")


@dataclass(frozen=True, slots=True)
class Listed:
    """A live session as operators see it. ``key`` is its key in the store; the times are epoch seconds."""

    key: str
    card: Card
    last_seen: float
    idle_expires: float


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a search. ``cursor`` None: there is no more. ``unreadable`` counts sessions without a card that a configured key opens."""

    sessions: tuple[Listed, ...]
    cursor: str | None
    unreadable: int = 0


class SessionIndex:
    """Part of ``Sessions``. Every method that waits raises ``StoreUnavailable`` in an outage, but the two that unlist."""

    def __init__(
        self,
        keyring: Keyring,
        store: SessionStore,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], float],
        changed: Callable[[str], None],
    ) -> None:
        """``changed`` is called with the store key of each session that ends here, before anybody hears that it did."""
        self._keyring = keyring
        self._store = store
        self._lifetimes = lifetimes
        self._clock = clock
        self._changed = changed
        self._gone: dict[str, float] = {}
        self._looking = asyncio.Lock()

    def entry(self, session: Session, key: str, *, address: str) -> tuple[bytes, tuple[str, ...]]:
        """The sealed card of a new session, and where it is listed. ``IdTokenRefused`` for names longer than a card."""
        card = card_of(session, address=address)
        return seal_card(self._keyring, card, key=key), newest_names(self._keyring, card)

    async def unlist(self, key: str, sealed: bytes | None) -> None:
        """Take a session that has ended off its lists, by its card. An outage leaves it there, to be passed over when it is seen."""
        if sealed is not None:
            card = open_card(self._keyring, sealed, key=key)
            await self._unlist(key, (EVERYBODY,) if card is None else all_names(self._keyring, card))

    async def unlist_replaced(self, keys: Sequence[str], cards: Sequence[bytes]) -> None:
        """The same for sessions that another one replaced: each card opens for its own key alone."""
        for key in keys:
            await self.unlist(key, next((sealed for sealed in cards if open_card(self._keyring, sealed, key=key)), None))

    async def find(self, key: str) -> Listed | None:
        """The live session under this store key."""
        (shown,) = await self._store.show([key])
        card = None if shown.card is None else open_card(self._keyring, shown.card, key=key)
        return None if card is None else self._live(key, card, shown.last_seen)

    async def page(self, listings: Sequence[Listing], search: Search, *, cursor: str | None = None, limit: int) -> Page:
        """Up to ``limit`` live sessions of these listings that match, from ``cursor`` (of the page before) on.

        One that begins or ends meanwhile may be there or not; one that was there all the time is on some page, seldom on two. One page is
        made at a time: operators wait for each other, and nobody else for them.

        Raises:
            RequestRefused: a cursor of another search, or one that was never given out.
        """
        async with self._looking:
            return await self._page(listings, search, cursor=cursor, limit=limit)

    async def _page(self, listings: Sequence[Listing], search: Search, *, cursor: str | None, limit: int) -> Page:
        # Older keys first: one that is listed under the newest key meanwhile is not missed.
        names = self._names(listings)[::-1]
        newest = {names_of(self._keyring, listing)[0] for listing in listings}
        place = _Place.read(cursor, names)
        found: dict[str, Listed] = {}
        looked = unreadable = 0
        while place.at < len(names):
            part = await self._store.listed(names[place.at], cursor=place.position, count=LOOKED_AT_ONCE)
            keys = sorted(key for key in part.keys if key > place.after)
            for first in range(0, len(keys), LOOKED_AT_ONCE):
                some = keys[first : first + LOOKED_AT_ONCE]
                for key, listed in await self._look(names[place.at], some, under_older=names[place.at] not in newest):
                    looked += 1
                    if listed is None:
                        unreadable += 1
                    elif search.matches(listed.card, now=self._clock()):
                        found[key] = listed
                    if len(found) >= limit or looked >= LOOKED_AT_MOST:
                        return Page(tuple(found.values()), place.behind(key).written(names), unreadable)
            place = place.next(part.cursor)
        return Page(tuple(found.values()), None, unreadable)

    async def end(self, key: str) -> bool:
        """End the session under this store key, on every replica; whether there was one.

        Its tokens wait for a replica that holds it open, which revokes them: nobody else can read them.

        Raises:
            UnknownToReplicas: it has ended, and a failover of the store would bring it back. It stays listed, to be ended again.
        """
        try:
            left = await self._store.end(key, leave_tokens=LEAVE_TOKENS)
        finally:
            # Whatever came of it: copies in this process are read anew.
            self._changed(key)
        await self.unlist(key, left.card)
        return left.there

    async def end_all(self, listings: Sequence[Listing], ended_keys: list[str]) -> None:
        """End every session of these listings. ``ended_keys`` grows as they end, so that an outage in between hides none of them.

        One that cannot be ended keeps nobody else signed in: it is raised at last, and at once only where nothing answers any more.
        ``UnknownToReplicas``: all have ended, as far as this store knows.
        """
        for _ in range(ROUNDS):
            before = len(ended_keys)
            failures = [await self._end_listed(name, ended_keys) for name in self._names(listings)]
            failure = _worst(failures)
            if failure is not None:
                raise failure
            if len(ended_keys) == before:
                return

    async def _end_listed(self, name: str, ended_keys: list[str]) -> StoreUnavailable | None:
        worst: StoreUnavailable | None = None
        cursor = 0
        while True:
            try:
                part = await self._store.listed(name, cursor=cursor, count=LOOKED_AT_ONCE)
            except StoreUnavailable as outage:
                return outage
            for first in range(0, len(part.keys), ENDED_AT_ONCE):
                some = part.keys[first : first + ENDED_AT_ONCE]
                failures = await asyncio.gather(*(self._end_one(name, key, ended_keys) for key in some))
                worst = _worst([worst, *failures])
                if sum(map(_is_unanswered, failures)) == ENDED_AT_ONCE:
                    return worst
            cursor = part.cursor
            if not cursor:
                return worst

    async def _end_one(self, name: str, key: str, ended_keys: list[str]) -> StoreUnavailable | None:
        try:
            if await self.end(key):
                ended_keys.append(key)
                # Once more by the list's own name: its card may have been sealed under a key that is no longer configured.
                await self._unlist(key, (name,))
            else:
                await self._pass_over(name, [key])
        except UnknownToReplicas as late:
            if late.ended:
                ended_keys.append(key)
            return late
        except StoreUnavailable as outage:
            return outage
        return None

    async def _look(self, name: str, keys: Sequence[str], *, under_older: bool) -> list[tuple[str, Listed | None]]:
        """Those of ``keys`` that live, with None for one whose card is lost, or cannot be opened; each under one key alone."""
        looked: list[tuple[str, Listed | None]] = []
        gone = []
        for key, shown in zip(keys, await self._store.show(keys) if keys else (), strict=True):
            if shown.card is not None and under_older and self._keyring.is_newest(shown.card):
                continue  # it is in the list under the newest key as well (``Relisting``)
            card = None if shown.card is None else open_card(self._keyring, shown.card, key=key)
            if not shown.there or shown.last_seen is None:
                gone.append(key)
            elif card is None:
                looked.append((key, None))
            elif (listed := self._live(key, card, shown.last_seen)) is not None:
                looked.append((key, listed))
        await self._pass_over(name, gone)
        return looked

    def _live(self, key: str, card: Card, noted: int | None) -> Listed | None:
        if noted is None:
            return None
        now = self._clock()
        last_seen = min(noted / 1000, now)
        if ended(expires=card.expires, last_seen=last_seen, lifetimes=self._lifetimes, now=now):
            return None
        until = idle_expires(expires=card.expires, last_seen=last_seen, lifetimes=self._lifetimes)
        return Listed(key, card, last_seen, until)

    async def _pass_over(self, name: str, keys: Sequence[str]) -> None:
        """Members without a session: remembered, and taken off the list if they were seen so a while ago."""
        now = self._clock()
        for key in keys:
            if len(self._gone) >= REMEMBERED:
                self._gone.clear()
            if now - self._gone.setdefault(key, now) >= SETTLED:
                await self._unlist(key, (name,))

    async def _unlist(self, key: str, names: Sequence[str]) -> None:
        try:
            await self._store.unlist(key, names)
        except StoreUnavailable as outage:
            log.warning("session.left_listed", key=key, detail=outage.detail)

    def _names(self, listings: Sequence[Listing]) -> tuple[str, ...]:
        return tuple(name for listing in listings for name in names_of(self._keyring, listing))


def _is_unanswered(failure: StoreUnavailable | None) -> bool:
    return failure is not None and not isinstance(failure, UnknownToReplicas)


def _worst(failures: Sequence[StoreUnavailable | None]) -> StoreUnavailable | None:
    """The first that left anybody signed in, or else the first that may bring somebody back."""
    known = [failure for failure in failures if failure is not None]
    return next(filter(_is_unanswered, known), known[0] if known else None)


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a search came: in which of its lists, from which cursor of the store's, and after which key of that part."""

    at: int
    position: int = 0
    after: str = ""

    @classmethod
    def read(cls, cursor: str | None, names: Sequence[str]) -> _Place:
        if cursor is None:
            return cls(0)
        name, _, rest = cursor.partition(".")
        position, _, after = rest.partition(".")
        at = [index for index, each in enumerate(names) if each[:_PLACE] == name]
        if not at or not _POSITION.fullmatch(position):
            raise RequestRefused("cursor: not one that this search gave out")
        return cls(at[0], int(position), after)

    def written(self, names: Sequence[str]) -> str:
        return f"{names[self.at][:_PLACE]}.{self.position}.{self.after}"

    def behind(self, key: str) -> _Place:
        return _Place(self.at, self.position, key)

    def next(self, cursor: int) -> _Place:
        return _Place(self.at, cursor) if cursor else _Place(self.at + 1)
