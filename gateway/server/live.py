"""What is open, by session: whoever ends a session here ends it at once, and what ended elsewhere is noticed within the second.

Answers "a sign-out, an expiry or an ended session closes it" for tunnels, event streams, downloads and uploads. One timer a process looks
at them twice a second, and only while something is open: it ends what outlived its session or stood idle for too long. Whether a session
lives on is asked of the store as soon as the store tells that it changed, and when its idle time has run out as far as this process knows;
while the store tells no changes, at every look, since another replica or an operator may have ended one. An outage of the store ends nobody
(invariant 9).

What a browser sends through a tunnel or in a long upload is use of its session, and has its tokens renewed as a request has; what an
application sends is not, or a forgotten tab with an event stream would stay signed in for ever.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable, TooManyOpen
from gateway.proxy.websocket_frames import GOING_AWAY, SESSION_ENDED, SILENT
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.proxy.held import Held
    from gateway.proxy.websocket_frames import Ending
    from gateway.session.handle import Handle
    from gateway.session.sessions import Found, Sessions

EVERY: Final = 0.5
"""Seconds between two looks."""
ASKED_AT_ONCE: Final = 256
"""Sessions in one round trip to the store."""
SHARE: Final = 4
"""Asking takes a fifth of the time at most: with very many open sessions it becomes slower, and the process does not."""
MOST_OF_A_SESSION: Final = 1000
"""Open connections of one session. A browser keeps a few; its limit for WebSockets to one host is 255."""

log = logs.get("server")


class _Watched:
    """Something open, and how far it had come when it was last looked at."""

    __slots__ = ("heard", "held", "moved", "moved_at")

    def __init__(self, held: Held, at: float) -> None:
        self.held = held
        self.heard, self.moved = held.heard, held.moved
        self.moved_at = at


class _Holder:
    """All that one session holds open; ``found`` None stands for everybody who came without one."""

    __slots__ = ("changed", "expires", "found", "handle", "last_seen", "named", "told", "used", "watched")

    def __init__(self, found: Found | None) -> None:
        self.found = found
        self.handle: Handle | None = None if found is None else found.handle
        self.expires = 0.0 if found is None else min(float(found.session.expires), found.expires)
        self.last_seen = 0.0 if found is None else found.last_seen
        self.used = False
        self.changed = False
        self.named = False
        self.told = False
        self.watched: dict[Held, _Watched] = {}


class Live:
    """The register of one process. ``clock`` gives epoch seconds, ``monotonic`` seconds that nobody sets."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        found_dead: Callable[[Handle], None] = lambda _: None,
    ) -> None:
        """``found_dead`` is called with each session that held something open here when the store told, by its name, of its end."""
        self._found_dead = found_dead
        self._sessions = sessions
        self._clock = clock
        self._monotonic = monotonic
        self._holders: dict[str | None, _Holder] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self._outage = False
        self._closed = False
        self._stopping: Ending | None = None
        sessions.on_change(self._changed)

    def __len__(self) -> int:
        return sum(len(holder.watched) for holder in self._holders.values())

    def hold(self, found: Found | None, held: Held) -> Callable[[], None]:
        """Register something open of a session, or of nobody; the answer is to be called when it is over.

        Raises:
            TooManyOpen: the session has more open than anybody needs.
        """
        key = None if found is None else found.handle.key
        holder = self._holders.get(key)
        if holder is None:
            holder = self._holders[key] = _Holder(found)
        elif found is not None:
            if len(holder.watched) >= MOST_OF_A_SESSION:
                raise TooManyOpen(f"{MOST_OF_A_SESSION} connections of one session are open")
            holder.found = found
            holder.last_seen = max(holder.last_seen, found.last_seen)
        if found is not None and not self._sessions.watches(found.handle):
            # What the store told between finding it and now was told to nobody who knew that this is open.
            holder.changed = True
        holder.watched[held] = _Watched(held, self._monotonic())
        if self._stopping is not None and held.endless:
            # It came while the process ends: it hears so as soon as it stands.
            asyncio.get_running_loop().call_soon(held.end, self._stopping)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._tick)
        return partial(self._forget, key, held)

    def end(self, key: str, *, why: str, ending: Ending = SESSION_ENDED) -> None:
        """End everything that the session with this store key holds open."""
        holder = self._holders.get(key)
        if holder is None:
            return
        open_now = list(holder.watched)
        for held in open_now:
            held.end(ending)
        if not holder.told:
            holder.told = True
            log.info("session.connections_ended", why=why, connections=len(open_now))

    def end_all(self, ending: Ending = GOING_AWAY) -> None:
        """For a stop: end whatever would never end by itself, now and from now on. Downloads and uploads may finish."""
        self._stopping = ending
        for holder in list(self._holders.values()):
            for held in list(holder.watched):
                if held.endless:
                    held.end(ending)

    async def sweep(self) -> None:
        """One look at everything, with the store's word on every session. The timer does this; so may whoever cannot wait for it."""
        self._look()
        await self._ask()

    async def close(self) -> None:
        """Look no more. What is open stays open: its listener closes it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _forget(self, key: str | None, held: Held) -> None:
        holder = self._holders.get(key)
        if holder is not None:
            holder.watched.pop(held, None)
            if not holder.watched:
                del self._holders[key]

    def _tick(self) -> None:
        self._timer = None
        if not self._holders:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(EVERY, self._tick)
        self._look()
        if loop.time() >= self._rest_until:
            self._begin_asking()

    def _changed(self, key: str | None) -> None:
        """The store told that this session changed, or that any may have."""
        holders = self._holders.values() if key is None else filter(None, (self._holders.get(key),))
        for holder in holders:
            holder.changed = True
            holder.named = key is not None
            self._begin_asking()

    def _begin_asking(self) -> None:
        if not self._closed and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().create_task(self._ask_and_rest())

    def _look(self) -> None:
        """What can be seen without waiting: absolute ends, silence, and use."""
        now, at = self._clock(), self._monotonic()
        for key, holder in list(self._holders.items()):
            if key is not None and now >= holder.expires:
                self.end(key, why="expired")
            for watched in list(holder.watched.values()):
                held = watched.held
                heard, moved = held.heard, held.moved
                if heard != watched.heard:
                    watched.heard = heard
                    holder.used = True
                if moved != watched.moved:
                    watched.moved, watched.moved_at = moved, at
                elif at - watched.moved_at >= held.idle:
                    held.end(SILENT)

    async def _ask(self) -> None:
        """What the store knows: sessions that ended elsewhere, or that nobody used for too long."""
        known = [(holder.handle, holder) for holder in list(self._holders.values()) if holder.handle is not None]
        try:
            for first in range(0, len(known), ASKED_AT_ONCE):
                await self._note_uses(known[first : first + ASKED_AT_ONCE])
            asked = [(handle, holder) for handle, holder in known if self._is_to_be_asked(holder)]
            for first in range(0, len(asked), ASKED_AT_ONCE):
                await self._ask_of(asked[first : first + ASKED_AT_ONCE])
        except StoreUnavailable as failure:
            if not self._outage:
                log.warning("live.store_unavailable", detail=failure.detail)
            self._outage = True
        else:
            self._outage = False

    def _is_to_be_asked(self, holder: _Holder) -> bool:
        return holder.changed or not self._sessions.told_of_changes or self._sessions.stood_idle(holder.last_seen)

    async def _note_uses(self, known: Sequence[tuple[Handle, _Holder]]) -> None:
        used = [(handle.key, holder) for handle, holder in known if holder.used]
        noted = await self._sessions.note_uses({key: holder.last_seen for key, holder in used}) if used else {}
        for key, holder in used:
            holder.last_seen = max(holder.last_seen, noted[key])
            holder.used = False
            if holder.found is not None:
                self._sessions.renew_if_due(holder.found)

    async def _ask_of(self, known: Sequence[tuple[Handle, _Holder]]) -> None:
        for _, holder in known:
            holder.changed = False
        try:
            await self._end_the_dead(known)
        except StoreUnavailable:
            for _, holder in known:
                holder.changed = True
            raise

    async def _end_the_dead(self, known: Sequence[tuple[Handle, _Holder]]) -> None:
        alive = await self._sessions.still_alive({handle.key: holder.last_seen for handle, holder in known})
        for handle, holder in known:
            last_seen = alive.get(handle.key)
            if last_seen is None:
                self.end(handle.key, why="ended")
                if holder.named:
                    self._found_dead(handle)
            else:
                holder.last_seen = max(holder.last_seen, last_seen)
            holder.named = False

    async def _ask_and_rest(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._ask()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the next look has to come
            log.warning("live.failed", fault=type(fault).__name__)
        self._rest_until = loop.time() + SHARE * (loop.time() - began)
