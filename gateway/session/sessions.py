"""Sessions: found by cookie, begun by a finished sign-in, ended for good. The one file of this room that waits for a store.

Answers invariants 5 to 7 and 9: a session is born from verified claims under a new id, together with the end of the one it replaces; an
outage is ``StoreUnavailable``, never "nobody"; of two live sessions in one request neither is taken (CK-07).
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.errors import IdTokenRefused, ProviderFailed, StoreUnavailable
from gateway.session.cookies import cookie_values
from gateway.session.handle import Handle, hashed, new_handle, open_handle
from gateway.session.lifecycle import ended, idle_expires, touch_due
from gateway.session.login import CLOCK_SKEW
from gateway.session.record import Session, session_from_bytes, session_to_bytes
from gateway.session.sealing import Purpose, open_with, seal_with
from gateway.session.store.protocol import MAX_VALUE, NewSession
from gateway.session.token_record import tokens_from_bytes, tokens_to_bytes
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.identity import Identity
    from gateway.oidc.provider import SignedIn
    from gateway.oidc.token_response import Tokens
    from gateway.session.cookies import CookieNames
    from gateway.session.lifecycle import Lifetimes
    from gateway.session.sealing import Keyring
    from gateway.session.store.protocol import SessionStore

MAX_CANDIDATES: Final = 8
"""Different cookies of our name in one request; more are tossed at us, and none of them is taken."""
STORE_GRACE: Final = 60.0
"""Seconds that the store keeps an idle time beyond its end, so that the end is judged here, to the second, and not by the store's timer."""

AbsentReason = Literal["none", "unreadable", "ended", "idle", "expired", "ambiguous"]

log = logs.get("session")


@dataclass(frozen=True, slots=True)
class Found:
    """A live session. ``last_seen`` and ``idle_expires`` are epoch seconds."""

    session: Session
    handle: Handle
    last_seen: float
    idle_expires: float


@dataclass(frozen=True, slots=True)
class Absent:
    """No session, and why. ``handles`` are those of the live sessions when several were presented: whoever ends them ends all."""

    reason: AbsentReason
    handles: tuple[Handle, ...] = ()


class Sessions:
    """All that the gateway does with sessions. Every method that waits raises ``StoreUnavailable`` in an outage."""

    def __init__(
        self,
        keyring: Keyring,
        store: SessionStore,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], float] = time.time,
        randomness: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._keyring = keyring
        self._store = store
        self._lifetimes = lifetimes
        self._clock = clock
        self._randomness = randomness

    async def find(self, cookie_headers: Sequence[bytes], names: CookieNames) -> Found | Absent:
        """The one live session of these raw Cookie lines; ``HeadersRefused`` for lines that are no cookies (CK-17).

        The use is noted when a tenth of the idle time has passed since the last note; a note that fails does not fail the request.
        """
        candidates = set(cookie_values(cookie_headers, names.session.encode()))
        if not candidates:
            return Absent("none")
        if len(candidates) > MAX_CANDIDATES:
            return Absent("ambiguous")
        opened = (open_handle(self._keyring, candidate, names) for candidate in candidates)
        handles = {handle.key: handle for handle in opened if handle is not None}
        if not handles:
            return Absent("unreadable")
        now = self._clock()
        outcomes = [await self._read(handle, now) for handle in handles.values()]
        live = [outcome for outcome in outcomes if isinstance(outcome, Found)]
        if len(live) > 1:
            return Absent("ambiguous", handles=tuple(found.handle for found in live))
        if live:
            return await self._used(live[0])
        # Several dead sessions: the reason does not depend on the order in which the browser sent them.
        return Absent(min(outcome for outcome in outcomes if not isinstance(outcome, Found)))

    async def begin(self, signed_in: SignedIn, identity: Identity, names: CookieNames, *, replaces: tuple[str, ...]) -> tuple[str, Found]:
        """A session under a new id, and the value of its cookie; the sessions under the store keys ``replaces`` are destroyed with it.

        ``IdTokenRefused`` or ``ProviderFailed`` where claims or tokens are larger than a session may hold; nothing is written then.
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
        )
        cookie, handle = new_handle(self._keyring, names, self._randomness)
        record = seal_with(handle.data_key, Purpose.IDENTITY, session_to_bytes(session), bound_to=handle.key)
        tokens = seal_with(handle.data_key, Purpose.TOKENS, tokens_to_bytes(signed_in.tokens), bound_to=handle.key)
        if len(record) > MAX_VALUE:
            raise IdTokenRefused(f"the session's record would be {len(record)} bytes, more than {MAX_VALUE}")
        if len(tokens) > MAX_VALUE:
            raise ProviderFailed(f"the provider's tokens are {len(tokens)} bytes, more than {MAX_VALUE}")
        last_seen = int(now * 1000)
        new = NewSession(
            key=handle.key,
            record=record,
            tokens=tokens,
            last_seen=last_seen,
            lifetime=session.expires - now,
            idle=self._lifetimes.idle + STORE_GRACE,
        )
        await self._store.create(new, replaces=replaces)
        return cookie, self._found(session, handle, last_seen / 1000)

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

    async def note_use(self, handle: Handle, *, last_seen: float) -> float:
        """Note a use of now where a tenth of the idle time has passed since ``last_seen``; what counts from now on, epoch seconds."""
        now = self._clock()
        if not touch_due(last_seen=last_seen, lifetimes=self._lifetimes, now=now):
            return last_seen
        await self._store.touch((handle.key,), last_seen=int(now * 1000), idle=self._lifetimes.idle + STORE_GRACE)
        return now

    async def note_uses(self, used: Mapping[str, float]) -> dict[str, float]:
        """``note_use`` of many sessions by store key, in one round trip at the most."""
        now = self._clock()
        due = [key for key, last_seen in used.items() if touch_due(last_seen=last_seen, lifetimes=self._lifetimes, now=now)]
        if due:
            await self._store.touch(due, last_seen=int(now * 1000), idle=self._lifetimes.idle + STORE_GRACE)
        return {**used, **dict.fromkeys(due, now)}

    async def end(self, handle: Handle) -> Tokens | None:
        """Destroy the session; its tokens, for revocation, to the first who ends it."""
        return self._opened_tokens(handle, await self._store.end(handle.key))

    async def tokens(self, handle: Handle) -> Tokens | None:
        """The tokens of a session, None when it has ended."""
        return self._opened_tokens(handle, await self._store.tokens(handle.key))

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

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()

    async def _read(self, handle: Handle, now: float) -> Found | Literal["ended", "idle", "expired"]:
        stored = await self._store.read(handle.key)
        if stored.record is None:
            return "ended"
        plaintext = open_with(handle.data_key, Purpose.IDENTITY, stored.record, bound_to=handle.key)
        session = None if plaintext is None else session_from_bytes(plaintext)
        if session is None:
            log.error("session.damaged", key=handle.key, fault="the stored record is not what was sealed under this key")
            return "ended"
        if stored.last_seen is None:
            return "expired" if now >= session.expires else "idle"
        # A replica whose clock is ahead noted a time that has not come yet: it counts as now.
        last_seen = min(stored.last_seen / 1000, now)
        over = ended(expires=session.expires, last_seen=last_seen, lifetimes=self._lifetimes, now=now)
        return over or self._found(session, handle, last_seen)

    async def _used(self, found: Found) -> Found:
        try:
            last_seen = await self.note_use(found.handle, last_seen=found.last_seen)
        except StoreUnavailable as failure:
            log.warning("session.touch_failed", detail=failure.detail)
            return found
        return found if last_seen == found.last_seen else self._found(found.session, found.handle, last_seen)

    def _found(self, session: Session, handle: Handle, last_seen: float) -> Found:
        until = idle_expires(expires=session.expires, last_seen=last_seen, lifetimes=self._lifetimes)
        return Found(session=session, handle=handle, last_seen=last_seen, idle_expires=until)

    def _opened_tokens(self, handle: Handle, sealed: bytes | None) -> Tokens | None:
        if sealed is None:
            return None
        plaintext = open_with(handle.data_key, Purpose.TOKENS, sealed, bound_to=handle.key)
        tokens = None if plaintext is None else tokens_from_bytes(plaintext)
        if tokens is None:
            log.error("session.damaged", key=handle.key, fault="the stored grant is not what was sealed under this key")
        return tokens
