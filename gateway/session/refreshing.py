"""Grants are renewed beside the requests: one attempt a session in this process, detached from whoever caused it, so many at once.

Answers RF-01, RF-08 and invariants 10 and 14. A request never asks a provider: it says that a grant is due, and goes on. Who needs a grant
that has run out waits, bounded in number and time, woken by the attempt or by what the store tells; then 503, and never a sign-out.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError, RefreshUnavailable, StoreUnavailable
from gateway.session.refresh_rules import FIRST_REST, LONGEST_REST, ProviderPause, rest_after
from gateway.session.renewal import LOCK_LIFETIME, Outcome, Renewal
from gateway.session.rests import Rests
from gateway.session.turns import Turns
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.oidc.provider import Provider
    from gateway.session.cache import SessionCache
    from gateway.session.found import Found
    from gateway.session.handle import Handle
    from gateway.session.refresh_rules import RefreshRules
    from gateway.session.store.protocol import SessionStore

AT_ONCE: Final = 24
"""Attempts that talk to store and provider at one time: they leave room on the back channel for people who sign in."""
PACE: Final = 0.02
"""Seconds between the beginnings of two attempts that nobody waits for: what begins together comes back together, while requests wait."""
MOST_RUNNING: Final = 1000
"""Attempts that have begun or wait for a place."""
MOST_AHEAD: Final = 250
"""How many of them there may be before one begins that nobody waits for: who is merely due comes again with the next request."""
MOST_WAITING: Final = 2000
LONGEST_TRUST: Final = 60.0
"""Seconds for which a grant that is not due is not looked at again, whatever an older copy of the session says."""
QUIET: Final = 60.0
"""Seconds between two lines in the log about an outage of the store."""
STORE_REST: Final = 1.0
"""Seconds for which a session rests at most when the store did not answer: it may be back at any moment."""
BLIND_LOOK: Final = 1.0
"""Seconds between two looks at what another replica does, while the store tells no changes."""

log = logs.get("session")


@dataclass(frozen=True, slots=True)
class Renewing:
    """How the grants of sessions are renewed: where, by which rules, and which claims follow. ``spawn`` sees work through to its end."""

    provider: Provider
    rules: RefreshRules
    wanted: frozenset[str]
    spawn: Callable[[Coroutine[object, object, None]], None]


def open_refresher(  # noqa: PLR0913 - all that it takes, put together by ``Sessions`` alone
    renewing: Renewing,
    store: SessionStore,
    *,
    end: Callable[[Handle], Awaitable[object]],
    cache: SessionCache,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    randomness: Callable[[int], bytes],
) -> Refresher:
    """The renewals of a process, told of changes by its cache."""
    renewal = Renewal(
        store,
        renewing.provider,
        renewing.rules,
        wanted=renewing.wanted,
        end=end,
        forget=cache.forget,
        clock=clock,
        randomness=randomness,
    )
    refresher = Refresher(renewal, monotonic=monotonic, spawn=renewing.spawn, cache=cache)
    cache.watch(refresher.changed)
    return refresher


class _Run:
    """One session's attempts, until they are settled. ``done`` gives the seconds to rest, 0.0 for "look again"."""

    __slots__ = ("done", "told", "waiting")

    def __init__(self) -> None:
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.told = asyncio.Event()
        self.waiting = 0


class Refresher:
    """The renewals of one process. ``spawn`` runs work beside everything else, and to its end; ``monotonic`` gives seconds.

    ``cache`` is told by the store: it knows whether every change is told at this moment, and whether the store has just come back.
    """

    def __init__(
        self,
        renewal: Renewal,
        *,
        monotonic: Callable[[], float],
        spawn: Callable[[Coroutine[object, object, None]], None],
        cache: SessionCache,
    ) -> None:
        self._renewal = renewal
        self._cache = cache
        self._monotonic = monotonic
        self._spawn = spawn
        self._running: dict[str, _Run] = {}
        self._rests = Rests(monotonic)
        self._turns = Turns(AT_ONCE, PACE)
        self._pause = ProviderPause()
        self._waiting = 0
        self._quiet_until = -math.inf
        self._stopped = False

    def due(self, found: Found) -> None:
        """The grant of this session is to be renewed; returns at once."""
        key = found.handle.key
        if key in self._running or self._rests.left(key, held=True) > 0 or self._pause.left(self._monotonic()) > 0:
            return
        if self._cache.unsettled <= 0:
            self._begin(found.handle, most=MOST_AHEAD)

    async def renewed(self, found: Found) -> None:
        """Wait until the store has another grant of this session, or none at all any more.

        Raises:
            RefreshUnavailable: neither comes to be in time; its ``retry_after`` says when to try again.
        """
        key = found.handle.key
        run = self._running.get(key)
        if run is None:
            rest, pause = self._rests.left(key, held=False), self._pause.left(self._monotonic())
            run = self._begin(found.handle) if rest <= 0 and pause <= self._renewal.patience else None
            if run is None:
                raise _unavailable("the next attempt is not due yet, or too many are under way", max(rest, pause))
        if self._waiting >= MOST_WAITING:
            raise _unavailable(f"{MOST_WAITING} requests are waiting for a refresh already", FIRST_REST)
        self._waiting += 1
        run.waiting += 1
        self._turns.hurry(key)
        try:
            await asyncio.wait({run.done}, timeout=self._renewal.patience)
        finally:
            self._waiting -= 1
            run.waiting -= 1
        if not run.done.done():
            raise _unavailable("the refresh takes longer than anybody waits", FIRST_REST)
        if (left := run.done.result()) > 0:
            raise _unavailable("the refresh failed for now", left)

    def changed(self, key: str | None) -> None:
        """The store tells that this session changed, or that any may have: whoever waits for another replica looks."""
        for run in self._running.values() if key is None else filter(None, (self._running.get(key),)):
            run.told.set()

    def look(self, handle: Handle) -> None:
        """The tokens of this session cannot be had: find out what became of it, beside everything else."""
        if handle.key not in self._running and self._rests.left(handle.key, held=True) <= 0:
            self._begin(handle, most=MOST_AHEAD)

    def try_again(self) -> None:
        """What made the provider fail may be mended: nothing rests any longer."""
        self._pause = ProviderPause()
        self._rests.clear()

    def stop(self) -> None:
        """Begin no attempt any more, also of those that wait for a place; those that have begun are for ``spawn`` to see through."""
        self._stopped = True
        self._turns.hurry_all()

    def close(self) -> None:
        """``stop``, and hold nobody up for what makes a written grant safer."""
        self.stop()
        self._renewal.close()

    def _begin(self, handle: Handle, *, most: int = MOST_RUNNING) -> _Run | None:
        if self._stopped or len(self._running) >= most:
            return None
        run = self._running[handle.key] = _Run()
        self._spawn(self._run(handle, run))
        return run

    async def _run(self, handle: Handle, run: _Run) -> None:
        left = FIRST_REST
        try:
            left = await self._until_settled(handle, run)
        except StoreUnavailable as outage:
            left = self._rests.unreached(handle.key, STORE_REST * (0.5 + self._renewal.chance() / 2))
            self._tell(outage, left)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it rests, and nobody waits for what does not come
            failures = self._rests.failures(handle.key) + 1
            left = self._rests.failed(handle.key, rest_after(failures, chance=self._renewal.chance()))
            self._tell(fault, left)
        finally:
            del self._running[handle.key]
            run.done.set_result(left)

    async def _until_settled(self, handle: Handle, run: _Run) -> float:
        """Try until there is another grant or none, until it has to rest, or until nobody waits for another replica any longer."""
        until = math.inf
        while True:
            # Before anything is asked: what is told while an answer is on the way is told for that answer.
            run.told.clear()
            async with self._turns.turn(handle.key, awaited=run.waiting > 0):
                if self._stopped:
                    return FIRST_REST
                until = min(until, self._monotonic() + self._renewal.patience)
                outcome = self._left_alone() or await self._attempt(handle)
            if outcome.kind in ("current", "over"):
                self._rests.drop(handle.key)
                if outcome.seconds > 0:
                    self._rests.held(handle.key, min(outcome.seconds, LONGEST_TRUST))
                return 0.0
            if outcome.kind == "failed":
                return self._rests.failed(handle.key, outcome.seconds)
            remaining = until - self._monotonic()
            # What is to last for longer than a lock is taken for is a rest after a failure.
            if not run.waiting or remaining <= 0 or outcome.seconds > LOCK_LIFETIME:
                return self._rests.held(handle.key, outcome.seconds)
            await self._told_within(run, min(outcome.seconds, remaining))
            if await self._renewal.is_settled(handle):
                return 0.0

    def _left_alone(self) -> Outcome | None:
        """Why there is no attempt at this moment: the provider fails, or the store has just come back and somebody may have to write."""
        if self._cache.unsettled > 0:
            return Outcome("held", min(self._cache.unsettled, STORE_REST))
        left = self._pause.left(self._monotonic())
        return Outcome("held", left) if left > 0 else None

    async def _attempt(self, handle: Handle) -> Outcome:
        outcome: Outcome | None = None
        self._pause.enter()
        try:
            outcome = await self._renewal.attempt(handle, failures=self._rests.failures(handle.key))
        finally:
            well, asked = (None, 0.0) if outcome is None else (outcome.provider, outcome.asked)
            self._pause.leave(handle.key, well=well, now=self._monotonic(), chance=self._renewal.chance(), asked=asked)
        return outcome

    async def _told_within(self, run: _Run, seconds: float) -> None:
        """Return when the store told of a change since the last attempt began, or tells of one, or when there is reason to look anyway."""
        try:
            async with asyncio.timeout(seconds if self._cache.is_followed else min(seconds, BLIND_LOOK)):
                await run.told.wait()
        except TimeoutError:
            pass

    def _tell(self, fault: Exception, left: float) -> None:
        """A fault of the store's is told once a minute, since it meets every session that is due."""
        if isinstance(fault, StoreUnavailable):
            if self._monotonic() < self._quiet_until:
                return
            self._quiet_until = self._monotonic() + QUIET
        error = fault.code if isinstance(fault, GatewayError) else "gateway_failed"
        detail = fault.detail if isinstance(fault, GatewayError) else type(fault).__name__
        log.warning("refresh.failed", error=error, detail=detail, again_in=round(left, 1))


def _unavailable(detail: str, seconds: float) -> RefreshUnavailable:
    failure = RefreshUnavailable(detail)
    failure.retry_after = max(1, math.ceil(min(seconds, LONGEST_REST)))
    return failure
