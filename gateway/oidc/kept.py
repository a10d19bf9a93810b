"""A document of a provider that is kept fresh: fetched by one task for all who wait, used on while it is fetched anew.

Answers OpenID Connect Discovery section 4 and Core section 10.1.1 (a new kid: fetch the keys again, at a bounded rate): a provider that
fails is left alone for a while, and a caller that goes away takes nothing from those who wait beside it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gateway.errors import ProviderFailed, ProviderUnavailable
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

UNKNOWN_KEY_INTERVAL: Final = 10.0
"""Seconds between two fetches of the keys that a token asked for by naming a key we do not have, while fetching works."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0

T = TypeVar("T")
log = logs.get("oidc")


class Kept(Generic[T]):
    """A document: fetched when first needed; the old one serves until it is replaced.

    Up to ``fresh`` seconds of age it is simply used; from then on it is used and fetched anew in the background; from ``usable`` on it is
    waited for. After a failure nothing is fetched for a pause that doubles from ``FIRST_PAUSE`` to ``LONGEST_PAUSE``. All of it is measured
    by ``now``, a monotonic clock: a wall clock that is set makes nothing old and nothing young.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], now: Callable[[], float], *, fresh: float, usable: float, name: str) -> None:
        self._fetch, self._now, self._fresh, self._usable, self._name = fetch, now, fresh, usable, name
        self.value: T | None = None
        self._closed = False
        self._fetched_at = 0.0
        self._task: asyncio.Task[T | ProviderFailed] | None = None
        self._failures, self._failed_at = 0, 0.0
        self._failure: ProviderFailed | None = None
        self._asked_at: float | None = None

    async def get(self) -> T:
        """The document; raises the ``ProviderFailed`` leaf of the last attempt when there is none that may be used."""
        age = self._now() - self._fetched_at
        if self.value is not None and age < self._usable:
            if age >= self._fresh:
                self.refresh_if_due()
            return self.value
        self.refresh_if_due()
        return await self._wait()

    def refresh_if_due(self) -> None:
        """Start a fetch, unless one is under way or the last one failed just now."""
        if self._task is None and not self._closed and not self._pausing():
            self._task = asyncio.create_task(self._attempt(), name=f"fetch {self._name}")

    async def newer(self, than: T) -> T | None:
        """A document that was fetched after ``than``; None when one was fetched in this way just now and did not help.

        Raises:
            ProviderFailed: the fetch failed, now or the last time: then it was not fetched, and the pause after failures is the bound.
        """
        if self.value is not None and self.value is not than:
            return self.value
        now = self._now()
        if self._task is None:
            if self._failure is None and self._asked_at is not None and now - self._asked_at < UNKNOWN_KEY_INTERVAL:
                return None
            self._asked_at = now
            self.refresh_if_due()
        return await self._wait()

    async def close(self) -> None:
        """End a fetch that is under way, and begin none any more; those who wait for one get ``ProviderUnavailable``."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _wait(self) -> T:
        outcome: T | ProviderFailed | None = None if self._closed else self._failure
        if (task := self._task) is not None:
            # Not awaited itself: whoever goes away leaves the fetch to those who stay.
            await asyncio.wait({task})
            outcome = None if task.cancelled() else task.result()
        if outcome is None:
            raise ProviderUnavailable(f"the {self._name} is fetched no more: the gateway stops")
        if isinstance(outcome, ProviderFailed):
            # A new one for each caller: an exception that is raised twice gathers the tracebacks of strangers.
            raise type(outcome)(outcome.detail)
        return outcome

    async def _attempt(self) -> T | ProviderFailed:
        try:
            value = await self._fetch()
        except Exception as fault:  # noqa: BLE001 - whatever went wrong, the pause holds, and nobody waits for an exception that nobody takes
            failure = fault if isinstance(fault, ProviderFailed) else ProviderFailed(f"the {self._name} broke off: {type(fault).__name__}")
            self._failures += 1
            self._failed_at, self._failure = self._now(), failure
            log.warning("document.failed", document=self._name, reason=failure.detail, error=failure.code, attempts=self._failures)
            return failure
        else:
            self.value, self._fetched_at = value, self._now()
            self._failures, self._failure = 0, None
            return value
        finally:
            self._task = None

    def _pausing(self) -> bool:
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        return self._failure is not None and self._now() - self._failed_at < pause
