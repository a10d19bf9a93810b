"""Opened sessions in the process: a signed-in request costs no round trip to the store, and a revocation counts as soon as it is told.

Answers invariants 7 and 14. The store tells every change (``Follower``), and a change wins over a read that is under way: what was read is
used once and not kept. While changes are not told, copies serve until ``outage_grace`` after the last moment up to which all of them had
been told, and no longer; when they are told again, every copy goes first.

A copy is found by the cookie's own bytes, together with the name and origin that it was sealed to. Hashing them would protect nothing: the
process that holds them holds the server's keys too, and a comparison that stops early tells nobody anything about 256 random bits that
have to hash, under a key of the process's own, to the same slot first. A dict compares nothing else.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.oidc.token_response import Tokens
    from gateway.session.sessions import Found

MAX_ENTRIES: Final = 10_000
MAX_OCTETS: Final = 16 * 1024 * 1024
"""Of the kept records together, as the store holds them; as objects they take about three times as much."""
SETTLING: Final = 1.0
"""Seconds that a store which has come back is left to those who have a grant to write: their pauses are shorter."""
LONGEST_UNSETTLED: Final = 30.0
"""Seconds of an outage for which others are waited for: longer than a usual refresh and the attempts to write it take."""
SILENCE: Final = 2.0
"""Seconds without an answer after which changes count as untold, whatever the connection looks like."""

Cookie = tuple[str, str, bytes]
"""Origin, name and value of a session cookie."""


class Entry:
    """One opened session. ``found`` is replaced when it was used; ``octets`` is the size of what is kept, sealed."""

    __slots__ = ("cookie", "found", "octets", "tokens")

    def __init__(self, cookie: Cookie, found: Found, octets: int) -> None:
        self.cookie = cookie
        self.found = found
        self.octets = octets
        self.tokens: Tokens | None = None


class Reading:
    """One read that is under way, or several of one session. Still the one that is known at its end: nothing changed meanwhile."""

    __slots__ = ()


class SessionCache:
    """A bounded cache, least recently used first to go; a ``Follower`` of the store. ``monotonic`` gives seconds that nobody sets.

    One store tells all the changes. Where several tell a part each (the primaries of a cluster), one follower stands before this one that
    says ``followed`` when all of them do, ``answered`` with the earliest of their times, and ``lost`` as soon as one is.
    """

    def __init__(
        self, *, outage_grace: float, monotonic: Callable[[], float], max_entries: int = MAX_ENTRIES, max_octets: int = MAX_OCTETS
    ) -> None:
        self._grace = outage_grace
        self._max_entries = max_entries
        self._max_octets = max_octets
        self._entries: OrderedDict[Cookie, Entry] = OrderedDict()
        self._by_key: dict[str, Entry] = {}
        self._octets = 0
        self._reading: dict[str, Reading] = {}
        self._told_until = -math.inf
        self._good_until = -math.inf
        self._watchers: list[Callable[[str | None], None]] = []
        self._dropped: list[Callable[[Found], None]] = []
        self.is_followed = False
        """Whether every change is told; read by others, set here alone."""
        self._unsettled_until = -math.inf
        self.now = monotonic

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        """Whether the session with this store key is kept, and so every change of it will be told."""
        return self.is_followed and key in self._by_key

    def get(self, cookie: Cookie) -> Entry | None:
        """The entry, unless nobody can say any more whether it is true. Its lifetimes are the caller's to judge."""
        entry = self._entries.get(cookie)
        if entry is None or self.now() >= self._good_until:
            return None
        self._entries.move_to_end(cookie)
        return entry

    @property
    def unsettled(self) -> float:
        """Seconds for which somebody may still have to write what the store could not take; not more than 0 when nobody has."""
        return self._unsettled_until - self.now()

    def begin_reading(self, key: str) -> Reading | None:
        """To be called before the store is asked; None when what it answers cannot be kept."""
        return self._reading.setdefault(key, Reading()) if self.is_followed else None

    def end_reading(self, key: str, reading: Reading | None) -> None:
        """To be called when the store was asked, whatever came of it."""
        if reading is not None and self._reading.get(key) is reading:
            del self._reading[key]

    def keep(self, cookie: Cookie, found: Found, *, octets: int, reading: Reading | None) -> None:
        """Keep what was read, if it is still true."""
        key = found.handle.key
        if reading is None or self._reading.get(key) is not reading or octets > self._max_octets:
            return
        self._drop(self._by_key.get(key))
        self._drop(self._entries.get(cookie))
        self._entries[cookie] = self._by_key[key] = Entry(cookie, found, octets)
        self._octets += octets
        self._make_room()

    def tokens(self, key: str) -> Tokens | None:
        """The session's tokens, where they are kept beside it and it could be served."""
        entry = self._by_key.get(key)
        return None if entry is None or self.now() >= self._good_until else entry.tokens

    def keep_tokens(self, key: str, tokens: Tokens, *, octets: int, reading: Reading | None) -> None:
        """Keep tokens that were read beside the session, if it is kept and they are still true: a change of either is told alike."""
        entry = self._by_key.get(key)
        if entry is None or entry.tokens is not None or reading is None or self._reading.get(key) is not reading:
            return
        entry.tokens = tokens
        entry.octets += octets
        self._octets += octets
        self._make_room()

    def update(self, found: Found) -> None:
        """Put this in the place of what is kept of the session, if something is."""
        entry = self._by_key.get(found.handle.key)
        if entry is not None:
            entry.found = found

    def forget(self, key: str) -> None:
        """Drop what is kept of this session, and have no read that is under way bring it back."""
        self._reading.pop(key, None)
        self._drop(self._by_key.get(key))

    def clear(self) -> None:
        """Forget everything."""
        self._reading.clear()
        self._entries.clear()
        self._by_key.clear()
        self._octets = 0

    def watch(self, changed: Callable[[str | None], None]) -> None:
        """Have ``changed`` called with the store key of each session that changed, or with None when any of them may have."""
        self._watchers.append(changed)

    def watch_dropped(self, dropped: Callable[[Found], None]) -> None:
        """Have ``dropped`` called with what was kept of each session of which a change is told; not when everything goes."""
        self._dropped.append(dropped)

    def followed(self) -> None:
        """See ``Follower``: what was missed is not known, so everything goes first."""
        self.is_followed = True
        if self._unsettled_until > -math.inf:
            self._unsettled_until = self.now() + SETTLING
        self.changed(None)

    def answered(self, at: float) -> None:
        """See ``Follower``."""
        self._told_until = at
        self._good_until = at + max(SILENCE, self._grace)

    def changed(self, key: str | None) -> None:
        """See ``Follower``."""
        if key is None:
            self.clear()
        else:
            entry = self._by_key.get(key)
            self.forget(key)
            if entry is not None:
                for dropped in self._dropped:
                    dropped(entry.found)
        for watcher in self._watchers:
            watcher(key)

    def lost(self) -> None:
        """See ``Follower``."""
        if self.is_followed:
            self._unsettled_until = self.now() + LONGEST_UNSETTLED
        self.is_followed = False
        self._reading.clear()
        self._good_until = self._told_until + self._grace

    def refused(self) -> None:
        """See ``Follower``."""
        self.lost()
        self._unsettled_until = -math.inf
        self.clear()

    def _make_room(self) -> None:
        while len(self._entries) > self._max_entries or self._octets > self._max_octets:
            self._drop(next(iter(self._entries.values())))

    def _drop(self, entry: Entry | None) -> None:
        if entry is not None:
            del self._entries[entry.cookie]
            del self._by_key[entry.found.handle.key]
            self._octets -= entry.octets
