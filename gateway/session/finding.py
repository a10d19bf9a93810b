"""From raw Cookie lines to the one live session: by this process's copy where there is one, else by one round trip to the store.

Answers CK-07, invariant 9 and "a signed-in request waits for nothing": of two live sessions in one request neither is taken, an outage is
``StoreUnavailable`` and never "nobody", a use is noted beside the request, and a grant that is due is renewed beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from gateway.errors import StoreUnavailable
from gateway.session.cookies import cookie_values
from gateway.session.found import Absent, Found
from gateway.session.handle import open_handle
from gateway.session.joined import Joined
from gateway.session.lifecycle import TOUCH_FRACTION, ended, idle_expires
from gateway.session.sealed_values import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.session.cache import Cookie, Reading, SessionCache
    from gateway.session.cookies import CookieNames
    from gateway.session.handle import Handle
    from gateway.session.lifecycle import Lifetimes
    from gateway.session.notes import Notes
    from gateway.session.record import Session
    from gateway.session.refresh_rules import RefreshRules
    from gateway.session.sealing import Keyring
    from gateway.session.store.protocol import SessionStore, Stored

MAX_CANDIDATES: Final = 8
"""Different cookies of our name in one request; more are tossed at us, and none of them is taken."""

_Over = Literal["ended", "idle", "expired"]


def one_cookie(cookie_headers: Sequence[bytes], names: CookieNames) -> Cookie | None:
    """The session cookie in these raw Cookie lines; None when there is none or more than one. Raises as ``cookie_values``."""
    values = cookie_values(cookie_headers, names.session.encode())
    return (names.origin, names.session, values[0]) if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class _Read:
    """One read of the store: what for, what this process knew, and whether what comes may be kept."""

    handle: Handle
    cookie: Cookie
    known: Found | None
    reading: Reading | None


class Finding:
    """How ``Sessions`` finds. Every method that waits raises ``StoreUnavailable`` in an outage."""

    def __init__(  # noqa: PLR0913 - all that finding takes, put together by ``Sessions`` alone
        self,
        keyring: Keyring,
        store: SessionStore,
        lifetimes: Lifetimes,
        *,
        cache: SessionCache,
        notes: Notes,
        clock: Callable[[], float],
        rules: RefreshRules,
        due: Callable[[Found], None],
    ) -> None:
        self._keyring = keyring
        self._reads = Joined(store.read)
        self._lifetimes = lifetimes
        self._cache = cache
        self._notes = notes
        self._clock = clock
        self._rules = rules
        self._due = due
        self._note_every = lifetimes.idle / TOUCH_FRACTION

    def cached(self, cookie_headers: Sequence[bytes], names: CookieNames) -> Found | None:
        """The one live session of these raw Cookie lines, if this process knows it; None says nothing, and ``find`` finds out.

        Nothing is waited for. The use is noted as in ``find``. ``HeadersRefused`` for lines that are no cookies (CK-17).
        """
        cookie = one_cookie(cookie_headers, names)
        return None if cookie is None else self.cached_by(cookie)

    def cached_by(self, cookie: Cookie) -> Found | None:
        """As ``cached``, for a request with exactly this one cookie of our name."""
        now = self._clock()
        found = self._known(cookie, now)
        if found is None:
            return None
        if now >= found.due_at:
            if now >= found.serves_until:
                return None
            self._due(found)
        return self._used(found, now)

    async def find(self, cookie_headers: Sequence[bytes], names: CookieNames, *, extend: bool = True) -> Found | Absent:
        """The one live session of these raw Cookie lines; ``HeadersRefused`` for lines that are no cookies (CK-17).

        The use is noted, beside the request, when a tenth of the idle time has passed since the last note. Without ``extend`` it is no
        use, and the times are those that the store knows of, so those of all replicas.
        """
        candidates = set(cookie_values(cookie_headers, names.session.encode()))
        if not candidates:
            return Absent("none")
        if len(candidates) > MAX_CANDIDATES:
            return Absent("ambiguous")
        now = self._clock()
        live: dict[str, Found] = {}
        reads: dict[str, _Read] = {}
        for candidate in candidates:
            cookie = (names.origin, names.session, candidate)
            known = self._known(cookie, now)
            if known is not None and extend:
                live[known.handle.key] = known
                continue
            handle = open_handle(self._keyring, candidate, names)
            if handle is not None:
                reads[handle.key] = _Read(handle, cookie, known, self._cache.begin_reading(handle.key))
        return self._one(live, await self._read_all(reads, live), extend=extend)

    async def again(self, found: Found) -> Found | Absent:
        """The same session as it is in the store now."""
        reading = self._cache.begin_reading(found.handle.key)
        try:
            stored = await self._reads.of(found.handle.key, reading)
        finally:
            self._cache.end_reading(found.handle.key, reading)
        outcome = self._judged(found.handle, stored)
        if not isinstance(outcome, Found):
            self._cache.forget(found.handle.key)
            return Absent(outcome)
        return outcome

    def _known(self, cookie: Cookie, now: float) -> Found | None:
        """This process's copy, while it lives. One whose end has come is for the store to judge: another replica may have seen its use."""
        entry = self._cache.get(cookie)
        if entry is None or now >= entry.found.idle_expires:
            return None
        return entry.found

    def _one(self, live: dict[str, Found], over: set[_Over], *, extend: bool) -> Found | Absent:
        if len(live) > 1:
            return Absent("ambiguous", handles=tuple(found.handle for found in live.values()))
        for found in live.values():
            if not extend:
                return found
            now = self._clock()
            if now >= found.due_at:
                self._due(found)
            return self._used(found, now)
        # Several dead sessions: the reason does not depend on the order in which the browser sent them.
        return Absent(min(over)) if over else Absent("unreadable")

    async def _read_all(self, reads: dict[str, _Read], live: dict[str, Found]) -> set[_Over]:
        """Add what lives to ``live``; the answer is why the others do not."""
        over: set[_Over] = set()
        try:
            for key, read in reads.items():
                outcome = await self._read(read)
                if isinstance(outcome, Found):
                    live[key] = outcome
                else:
                    over.add(outcome)
        finally:
            for key, read in reads.items():
                self._cache.end_reading(key, read.reading)
        return over

    async def _read(self, read: _Read) -> Found | _Over:
        try:
            stored = await self._reads.of(read.handle.key, read.reading)
        except StoreUnavailable:
            if read.known is None:
                raise
            return read.known
        outcome = self._judged(read.handle, stored)
        if not isinstance(outcome, Found):
            self._cache.forget(read.handle.key)
            return outcome
        if read.known is not None and read.known.last_seen > outcome.last_seen:
            # Its note is still on the way to the store.
            outcome = replace(outcome, last_seen=read.known.last_seen, idle_expires=read.known.idle_expires)
        self._cache.keep(read.cookie, outcome, octets=len(stored.record or b""), reading=read.reading)
        return outcome

    def _judged(self, handle: Handle, stored: Stored) -> Found | _Over:
        if stored.record is None:
            return "ended"
        session = open_session(handle, stored.record)
        if session is None:
            return "ended"
        now = self._clock()
        expires = min(session.expires, self._rules.ends_at(session.grant))
        if stored.last_seen is None:
            return "expired" if now >= expires else "idle"
        # A replica whose clock is ahead noted a time that has not come yet: it counts as now.
        last_seen = min(stored.last_seen / 1000, now)
        over = ended(expires=expires, last_seen=last_seen, lifetimes=self._lifetimes, now=now)
        return over or self.found(session, handle, last_seen)

    def _used(self, found: Found, now: float) -> Found:
        """The session with this use of it, noted where a tenth of the idle time has passed."""
        # A clock that was set back has it noted at once: by the store's own, the last note ages all the same.
        if 0.0 <= now - found.last_seen < self._note_every:
            return found
        until = idle_expires(expires=found.expires, last_seen=now, lifetimes=self._lifetimes)
        used = replace(found, last_seen=now, idle_expires=until)
        self._cache.update(used)
        self._notes.write(used.handle.key, now)
        return used

    def found(self, session: Session, handle: Handle, last_seen: float) -> Found:
        """A live session, last used at ``last_seen`` (epoch seconds)."""
        grant, rules = session.grant, self._rules
        expires = min(session.expires, rules.ends_at(grant))
        return Found(
            session=session,
            handle=handle,
            last_seen=last_seen,
            idle_expires=idle_expires(expires=expires, last_seen=last_seen, lifetimes=self._lifetimes),
            expires=expires,
            due_at=rules.due_at(grant),
            tokens_until=rules.tokens_until(grant),
            serves_until=rules.serves_until(grant),
        )
