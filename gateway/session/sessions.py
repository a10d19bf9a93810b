"""Sessions: found by cookie, begun by a finished sign-in, ended for good. The one face that this room shows.

Answers invariants 5 to 7 and 9: a session is born from verified claims under a new id, together with the end of the one it replaces; an
outage is ``StoreUnavailable``, never "nobody"; of two live sessions in one request neither is taken (CK-07).
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from gateway.session.cache import SessionCache
from gateway.session.finding import MAX_CANDIDATES, Finding
from gateway.session.found import Absent, Found
from gateway.session.grant import grant_at_login
from gateway.session.handle import Handle, hashed, new_handle
from gateway.session.index import SessionIndex
from gateway.session.joined import Joined
from gateway.session.lifecycle import TOUCH_FRACTION, touch_due
from gateway.session.login import CLOCK_SKEW
from gateway.session.notes import Notes
from gateway.session.record import Session
from gateway.session.refresh_rules import RefreshRules
from gateway.session.refreshing import Renewing, open_refresher
from gateway.session.relisting import UNKNOWN, Relisting
from gateway.session.sealed_values import open_tokens, seal_session, seal_tokens
from gateway.session.store.protocol import NewSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.identity import Identity
    from gateway.oidc.provider import SignedIn
    from gateway.oidc.token_response import Tokens
    from gateway.session.cache import Cookie
    from gateway.session.cookies import CookieNames
    from gateway.session.lifecycle import Lifetimes
    from gateway.session.sealing import Keyring
    from gateway.session.store.protocol import SessionStore

__all__ = ["MAX_CANDIDATES", "Absent", "Found", "Renewing", "Sessions"]

STORE_GRACE: Final = 60.0
"""Seconds that the store keeps an idle time beyond its end, so that the end is judged here, to the second, and not by the store's timer."""
OUTAGE_GRACE: Final = 30.0
"""Seconds that a session's copy serves after the store's last word, unless configured otherwise."""


class Sessions:
    """All that the gateway does with sessions. Every method that waits raises ``StoreUnavailable`` in an outage."""

    def __init__(  # noqa: PLR0913 - its parts, and what tests put in the place of time and chance
        self,
        keyring: Keyring,
        store: SessionStore,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        randomness: Callable[[int], bytes] = secrets.token_bytes,
        outage_grace: float = OUTAGE_GRACE,
        renewing: Renewing | None = None,
    ) -> None:
        self._keyring = keyring
        self._store = store
        self._token_reads = Joined(store.tokens)
        self._lifetimes = lifetimes
        self._clock = clock
        self._randomness = randomness
        self._cache = SessionCache(outage_grace=outage_grace, monotonic=monotonic)
        self._notes = Notes(store, kept=lifetimes.idle + STORE_GRACE, worth=lifetimes.idle / TOUCH_FRACTION, clock=clock)
        self._refresher = (
            None
            if renewing is None
            else open_refresher(renewing, store, end=self.end, cache=self._cache, clock=clock, monotonic=monotonic, randomness=randomness)
        )
        self._finding = Finding(
            keyring,
            store,
            lifetimes,
            cache=self._cache,
            notes=self._notes,
            clock=clock,
            rules=RefreshRules() if renewing is None else renewing.rules,
            due=_not_renewed if self._refresher is None else self._refresher.due,
        )
        self.index = SessionIndex(keyring, store, lifetimes, clock=clock, changed=self._cache.changed)
        """Sessions where nobody shows their cookies: for operators, and for a provider that ends them."""
        self.relisting = Relisting(keyring, store, clock=clock)
        """What has to be done before a cookie is given out under a newer key."""
        keyring.on_removed(self._cache.clear)

    def start(self) -> None:
        """Keep copies of opened sessions from now on, as long as the store tells every change. Without it every find reads the store."""
        self._store.follow(self._cache)

    def on_change(self, changed: Callable[[str | None], None]) -> None:
        """Have ``changed`` called with the store key of each session that was written or ended; with None, any of them may have been."""
        self._cache.watch(changed)

    def on_dropped(self, dropped: Callable[[Handle], None]) -> None:
        """Have ``dropped`` called with the handle of each session that this process knew when the store told that it changed."""
        self._cache.watch_dropped(lambda found: dropped(found.handle))

    @property
    def told_of_changes(self) -> bool:
        """Whether the store tells every change right now."""
        return self._cache.is_followed

    def watches(self, handle: Handle) -> bool:
        """Whether this session is as this process knows it, and every change of it will be told."""
        return handle.key in self._cache

    def cached(self, cookie_headers: Sequence[bytes], names: CookieNames) -> Found | None:
        """See ``Finding.cached``: the session if this process knows it, without waiting; None says nothing, and ``find`` finds out."""
        return self._finding.cached(cookie_headers, names)

    def cached_by(self, cookie: Cookie) -> Found | None:
        """See ``Finding.cached_by``: the same for a request of which the one session cookie is known (``finding.one_cookie``)."""
        return self._finding.cached_by(cookie)

    async def find(
        self, cookie_headers: Sequence[bytes], names: CookieNames, *, extend: bool = True, renewed: bool = True
    ) -> Found | Absent:
        """See ``Finding.find``: the one live session of these raw Cookie lines, or why there is none.

        Where it does not serve without a newer grant that is waited for (``RefreshUnavailable``), but not without ``renewed``: who is only
        to be told of the session, or ends it, needs none.
        """
        found = await self._finding.find(cookie_headers, names, extend=extend)
        if renewed and extend and isinstance(found, Found) and self._clock() >= found.serves_until:
            return await self.renewed(found)
        return found

    def renew_if_due(self, found: Found) -> None:
        """Have the grant of a session that is in use renewed, if that is due; returns at once. ``found`` may be an old copy."""
        if self._refresher is not None and self._clock() >= found.due_at:
            self._refresher.due(found)

    def try_again(self) -> None:
        """Have grants renewed at their next use, whatever failed: the configuration may have mended it."""
        if self._refresher is not None:
            self._refresher.try_again()

    async def renewed(self, found: Found) -> Found | Absent:
        """The session with a newer grant, or whatever became of it. Waits for the provider, within bounds.

        Raises:
            RefreshUnavailable: it cannot be had at the moment; nothing is wrong with the session.
        """
        if self._refresher is None:
            return found
        await self._refresher.renewed(found)
        return await self._finding.again(found)

    async def begin(
        self, signed_in: SignedIn, identity: Identity, names: CookieNames, *, replaces: tuple[str, ...], address: str = UNKNOWN
    ) -> tuple[str, Found]:
        """A session under a new id, and the value of its cookie; the sessions under the store keys ``replaces`` are destroyed with it.

        ``address`` is the client's, for operators to see. ``IdTokenRefused`` or ``ProviderFailed`` where claims or tokens are larger than
        a session may hold; nothing is written then.
        """
        now = self._clock()
        created = int(now)
        session = Session(
            identity=identity,
            provider=signed_in.provider,
            created=created,
            expires=created + int(self._lifetimes.lifetime),
            auth_time=signed_in.claims.auth_time,
            sid=signed_in.claims.sid,
            grant=grant_at_login(signed_in.tokens, signed_in.claims, now=now),
        )
        cookie, handle = new_handle(self._keyring, names, self._randomness)
        record, tokens = seal_session(handle, session), seal_tokens(handle, signed_in.tokens)
        card, indexes = self.index.entry(session, handle.key, address=address)
        last_seen = int(now * 1000)
        new = NewSession(
            key=handle.key,
            record=record,
            tokens=tokens,
            last_seen=last_seen,
            lifetime=session.expires - now,
            idle=self._lifetimes.idle + STORE_GRACE,
            card=card,
            indexes=indexes,
        )
        self._forget(*replaces)
        try:
            cards = await self._store.create(new, replaces=replaces)
        finally:
            self._forget(*replaces)
        await self.index.unlist_replaced(replaces, cards)
        return cookie, self._finding.found(session, handle, last_seen / 1000)

    async def still_alive(self, known: Mapping[str, float]) -> dict[str, float]:
        """Of sessions by store key, with the last use that is known here, those that live on, with the last use that is known then.

        All times are epoch seconds. Where a session has been idle for too long as far as is known here, another replica may know better,
        so the store is asked. The absolute end is for the caller to know.
        """
        now, idle = self._clock(), self._lifetimes.idle
        missing = await self._store.missing(list(known))
        alive = {key: last_seen for key, last_seen in known.items() if key not in missing}
        overdue = [key for key, last_seen in alive.items() if now >= last_seen + idle]
        for key, noted in zip(overdue, await self._store.last_seen(overdue) if overdue else (), strict=True):
            last_seen = 0.0 if noted is None else min(noted / 1000, now)
            if now < last_seen + idle:
                alive[key] = last_seen
            else:
                del alive[key]
        return alive

    def stood_idle(self, last_seen: float) -> bool:
        """Whether a session last used at ``last_seen`` (epoch seconds) has stood idle for too long by now."""
        return self._clock() >= last_seen + self._lifetimes.idle

    async def note_uses(self, used: Mapping[str, float]) -> dict[str, float]:
        """Note a use of now of each session by store key that was last used a tenth of the idle time ago; what counts from now on.

        One round trip at the most, and it is waited for; all times are epoch seconds.
        """
        now = self._clock()
        due = [key for key, last_seen in used.items() if touch_due(last_seen=last_seen, lifetimes=self._lifetimes, now=now)]
        if due:
            await self._store.touch(due, last_seen=int(now * 1000), idle=self._lifetimes.idle + STORE_GRACE)
        return {**used, **dict.fromkeys(due, now)}

    async def end(self, handle: Handle) -> Tokens | None:
        """Destroy the session; its tokens, for revocation, to the first who ends it."""
        # Before, so that no request is let in while the store is told; after, so that no read from before brings it back.
        self._forget(handle.key)
        try:
            ended = await self._store.end(handle.key)
        finally:
            self._forget(handle.key)
        await self.index.unlist(handle.key, ended.card)
        return open_tokens(handle, ended.tokens)

    async def take_left_tokens(self, handle: Handle) -> Tokens | None:
        """The tokens of a session that was ended without its cookie (``SessionIndex.end``), to the first who takes them; else None."""
        return open_tokens(handle, await self._store.take_tokens(handle.key))

    async def tokens(self, handle: Handle) -> Tokens | None:
        """The tokens of a session, None when it has ended; without asking the store where this process knows them."""
        kept = self._cache.tokens(handle.key)
        if kept is not None:
            return kept
        reading = self._cache.begin_reading(handle.key)
        try:
            sealed = await self._token_reads.of(handle.key, reading)
            tokens = open_tokens(handle, sealed)
            if tokens is None and self._refresher is not None:
                self._refresher.look(handle)
            elif tokens is not None:
                self._cache.keep_tokens(handle.key, tokens, octets=len(sealed or b""), reading=reading)
        finally:
            self._cache.end_reading(handle.key, reading)
        return tokens

    async def claim_login(self, state: str) -> bool:
        """Whether this is the first callback with this ``state``, over all replicas (ST-05)."""
        # No longer than the login's cookie is good for, by the clock of the replica that is furthest behind the one that began it.
        name = hashed(b"gateway login state", state.encode("utf-8", "surrogatepass"))
        return await self._store.claim(name, lifetime=self._lifetimes.login + CLOCK_SKEW)

    def replaced_by_next_login(self, found: Found) -> str:
        """What ``Login.replaces`` carries so that the next login destroys this session."""
        return found.handle.key

    async def ready(self) -> None:
        """Return when the store answers."""
        await self._store.ready()

    async def notes_written(self) -> None:
        """Return when every use that was to be noted is in the store."""
        await self._notes.written()

    def stop_renewing(self) -> None:
        """Begin no renewal any more; those that have begun go on."""
        if self._refresher is not None:
            self._refresher.stop()

    async def close(self) -> None:
        """Renew nothing any more, write the last notes, and let go of the store."""
        if self._refresher is not None:
            self._refresher.close()
        await self._notes.close()
        await self._store.close()

    def _forget(self, *keys: str) -> None:
        for key in keys:
            self._cache.forget(key)


def _not_renewed(_found: Found) -> None:
    """Nobody renews grants here."""
