"""Notes of use: written to the store beside the requests, one after another, never on a request's path.

Answers "nobody is signed out for idleness while they work": a note that cannot be written is tried again until the next one of its session
is due. An outage costs one attempt a second and one line in the log a minute, however many sessions are in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.session.store.protocol import SessionStore

MAX_PENDING: Final = 20_000
PAUSE: Final = 1.0
"""Seconds between two attempts while the store is down."""
QUIET: Final = 60.0
"""Seconds between two lines in the log."""

log = logs.get("session")


class Notes:
    """What is to be written, the newest of each session. The store keeps a note for ``kept`` seconds; one is tried for ``worth``."""

    def __init__(self, store: SessionStore, *, kept: float, worth: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._kept = kept
        self._worth = worth
        self._clock = clock
        self._pending: dict[str, float] = {}
        self._writer: asyncio.Task[None] | None = None
        self._quiet_until = 0.0

    def write(self, key: str, at: float) -> None:
        """Note that the session was used at ``at`` (epoch seconds). Returns at once; of too many notes the newest sessions' are dropped."""
        if key not in self._pending and len(self._pending) >= MAX_PENDING:
            return
        self._pending[key] = at
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def written(self) -> None:
        """Return when nothing is left to write."""
        while self._writer is not None:
            await asyncio.wait({self._writer})

    async def close(self) -> None:
        """Write what is pending, as far as the store takes it within a second."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE):
                while self._pending and await self._write_one():
                    pass

    async def _write(self) -> None:
        try:
            while self._pending:
                if not await self._write_one():
                    await asyncio.sleep(PAUSE)
        finally:
            self._writer = None

    async def _write_one(self) -> bool:
        """Write the oldest note; False when the store is down, with the note kept while it is worth anything."""
        key, at = next(iter(self._pending.items()))
        try:
            await self._store.touch((key,), last_seen=int(at * 1000), idle=self._kept)
        except StoreUnavailable as failure:
            if time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + QUIET
                log.warning("session.touch_failed", detail=failure.detail, pending=len(self._pending))
            now = self._clock()
            self._pending = {key: at for key, at in self._pending.items() if now - at < self._worth}
            return False
        if self._pending.get(key) == at:
            del self._pending[key]
        return True
